//! Raw counters made monotone: a wrap is undone, a reset is bridged and said.

use std::path::PathBuf;
use std::time::Duration;

use crate::clock::Clock;
use crate::error::Result;
use crate::sensor::attribute::Attribute;
use crate::sensor::{Incident, Quantity, Reading, Sensor, Specification};
use crate::units::{Energy, Power, Timestamp};

/// Turns a raw counter that wraps and resets into one that never decreases.
///
/// A value far above the one before, beyond all that the hardware can have drawn, is a reset.
/// A value below the one before is a wrap only if the counter has a modulus and the energy that this would mean fits the
/// time that passed at the highest plausible power; otherwise it is a reset (RAPL wraps after 65 to 262 kJ;
/// NVML's counter starts over with the driver).
#[derive(Clone, Debug)]
pub struct Monotone {
    modulus: Option<Energy>,
    most: Power,
    quantum: Energy,
    /// The last read and its value, and the last read that showed an earlier value: what the next value adds was used
    /// since then, however seldom the counter is updated.
    last: Option<(Timestamp, Energy, Timestamp)>,
    sum: Energy,
}

/// Before the first read an update may have been this long ago; no counter is updated more seldom.
const FIRST: Duration = Duration::from_secs(1);

impl Monotone {
    /// A counter that starts over after `modulus`, if it ever does, and whose hardware draws at most `most`.
    pub const fn new(modulus: Option<Energy>, most: Power, quantum: Energy) -> Self {
        Monotone { modulus, most, quantum, last: None, sum: Energy::ZERO }
    }

    /// Takes the raw value read at `at`; gives the energy since the first value, and what happened in between.
    pub fn accept(&mut self, raw: Energy, at: Timestamp) -> (Energy, Option<Incident>) {
        let Some((then, last, since)) = self.last else {
            self.last = Some((at, raw, at.before(FIRST)));
            return (self.sum, None);
        };
        self.last = Some((at, raw, if raw == last { since } else { then }));
        // A tenth above the plausible power, and one quantum: rounding is no reset.
        let ceiling = self.most * 1.1 * at.since(since) + self.quantum;
        // A register that fell to 0 and came back is no energy; some drivers count its fall as a turn. Generous, since what
        // is plausible is known roughly, and an update may have been held back.
        let leap = self.most * 3.0 * (at.since(since) + FIRST) + self.quantum;
        let (gained, incident) = match self.modulus {
            _ if raw - last > leap => (Energy::ZERO, Some(Incident::Reset)),
            _ if raw >= last => (raw - last, None),
            Some(modulus) if (raw - last).modulo(modulus) <= ceiling => {
                ((raw - last).modulo(modulus), Some(Incident::Wrap))
            }
            _ => (Energy::ZERO, Some(Incident::Reset)),
        };
        self.sum += gained;
        // Past one whole turn at the highest power, a difference no longer tells how often the counter went round.
        let ambiguous = self.modulus.is_some_and(|modulus| ceiling > modulus + gained);
        (
            self.sum,
            if ambiguous && incident != Some(Incident::Reset) {
                Some(Incident::Ambiguous)
            } else {
                incident
            },
        )
    }
}

/// An energy counter that the kernel shows as an attribute. A read is one system call (about 1 µs) plus what the driver
/// needs to fetch the value.
#[derive(Debug)]
pub(super) struct Counter {
    pub(super) specification: Specification,
    energy: Attribute,
    monotone: Monotone,
}

impl Counter {
    /// Opens the counter at `path` and reads it once.
    ///
    /// # Errors
    /// If it cannot be read, or does not hold a number.
    pub(super) fn open(specification: Specification, path: impl Into<PathBuf>) -> Result<Counter> {
        let energy = Attribute::open(path)?;
        let Specification { wrap, most, quantum, .. } = specification;
        Ok(Counter { specification, energy, monotone: Monotone::new(wrap, most, quantum) })
    }

    /// The energy that the attribute holds now.
    ///
    /// # Errors
    /// If it cannot be read, or does not hold a number.
    pub(super) fn raw(&mut self) -> Result<Energy> {
        self.energy.energy()
    }
}

impl Sensor for Counter {
    fn specification(&self) -> &Specification {
        &self.specification
    }

    fn read(&mut self, clock: &Clock) -> Result<Reading> {
        let (before, value, after) = clock.bracket(|| self.raw());
        let value = value.map_err(|cause| cause.loses(&self.specification.domain.id))?;
        let (energy, incident) = self.monotone.accept(value, before.midpoint(after));
        Ok(Reading { incident, ..Reading::new(before, Quantity::Counter(energy), after) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter() -> Monotone {
        Monotone::new(Some(Energy::from_joules(1_000.0)), Power::from_watts(200.0), Energy::ZERO)
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::default() + Duration::from_secs(seconds)
    }

    #[test]
    fn a_wrap_loses_nothing() {
        let mut counter = counter();
        counter.accept(Energy::from_joules(900.0), at(0));
        assert_eq!(
            counter.accept(Energy::from_joules(50.0), at(1)),
            (Energy::from_joules(150.0), Some(Incident::Wrap))
        );
    }

    #[test]
    fn a_reset_is_not_a_wrap() {
        let mut counter = counter();
        counter.accept(Energy::from_joules(500.0), at(0));
        // Undoing a wrap would mean 510 J in a second from hardware of 200 W.
        assert_eq!(
            counter.accept(Energy::from_joules(10.0), at(1)),
            (Energy::ZERO, Some(Incident::Reset))
        );
        assert_eq!(
            counter.accept(Energy::from_joules(110.0), at(2)),
            (Energy::from_joules(100.0), None)
        );
    }

    #[test]
    fn a_leap_is_no_energy() {
        let mut counter = counter();
        counter.accept(Energy::from_joules(900.0), at(0));
        assert_eq!(counter.accept(Energy::ZERO, at(1)).1, Some(Incident::Wrap));
        let mut counter = Monotone::new(None, Power::from_watts(200.0), Energy::ZERO);
        let values = [200_000.0, 0.0, 200_000.0, 200_100.0].map(Energy::from_joules);
        let seen: Vec<_> =
            values.iter().zip(0..).map(|(value, n)| counter.accept(*value, at(n))).collect();
        assert_eq!(seen[1], (Energy::ZERO, Some(Incident::Reset)));
        assert_eq!(seen[2], (Energy::ZERO, Some(Incident::Reset)));
        assert_eq!(seen[3], (Energy::from_joules(100.0), None));
    }

    #[test]
    fn a_counter_without_a_modulus_never_wraps() {
        let mut counter = Monotone::new(None, Power::from_watts(200.0), Energy::ZERO);
        counter.accept(Energy::from_joules(900.0), at(0));
        assert_eq!(counter.accept(Energy::from_joules(1.0), at(9)).1, Some(Incident::Reset));
    }

    #[test]
    fn a_pause_longer_than_a_turn_is_said() {
        let mut counter = counter();
        counter.accept(Energy::from_joules(100.0), at(0));
        assert_eq!(counter.accept(Energy::from_joules(300.0), at(60)).1, Some(Incident::Ambiguous));
    }
}
