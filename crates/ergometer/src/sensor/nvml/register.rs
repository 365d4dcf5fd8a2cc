//! An energy counter's values, held against what the hardware can draw.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::sensor::Incident;
use crate::sensor::counter::Monotone;
use crate::units::{Energy, Power, Timestamp};

/// Makes NVML's counter one that never decreases and never leaps.
///
/// A value below the one before is a reset: NVML's counter starts over with the driver, and 64 bits do not wrap. A value
/// that is higher than the hardware can have made it is taken for a failed read. If the next one agrees with it, the
/// counter has been set forward, which is a reset too.
pub(super) struct Register {
    ceiling: Power,
    fresh: Monotone,
    counter: Monotone,
    /// What was counted before the counter was last set forward.
    counted: Energy,
    total: Energy,
    last: Option<(Timestamp, Energy)>,
    leap: Option<(Timestamp, Energy)>,
}

/// What a reading adds may have been used since the update before, and no counter is updated more seldom than this.
const UPDATE: Duration = Duration::from_secs(1);

impl Register {
    /// The register of hardware that draws at most `most` for a while, and never more than `ceiling`.
    pub(super) fn new(most: Power, ceiling: Power, quantum: Energy) -> Register {
        let fresh = Monotone::new(None, most, quantum);
        Register {
            ceiling,
            counter: fresh.clone(),
            fresh,
            counted: Energy::ZERO,
            total: Energy::ZERO,
            last: None,
            leap: None,
        }
    }

    /// Takes the raw value read at `at`; gives the energy since the first value, and what happened in between.
    ///
    /// # Errors
    /// If the hardware cannot have used that much since the last reading.
    pub(super) fn accept(
        &mut self,
        raw: Energy,
        at: Timestamp,
    ) -> Result<(Energy, Option<Incident>)> {
        let possible = |from: Option<(Timestamp, Energy)>| {
            from.is_none_or(|(then, energy)| {
                raw <= energy + self.ceiling * (at.since(then) + UPDATE)
            })
        };
        let mut forward = false;
        if !possible(self.last) {
            let again = self.leap.is_some_and(|leap| raw >= leap.1 && possible(Some(leap)));
            let used = self.last.map_or(Energy::ZERO, |(_, last)| raw - last);
            if !again {
                self.leap = Some((at, raw));
                return Err(Error::lost(format!(
                    "the energy counter is {used} higher than at the last reading, which is absurd"
                )));
            }
            self.counter = self.fresh.clone();
            self.counted = self.total;
            forward = true;
        }
        self.leap = None;
        self.last = Some((at, raw));
        let (energy, incident) = self.counter.accept(raw, at);
        self.total = self.counted + energy;
        Ok((self.total, if forward { Some(Incident::Reset) } else { incident }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register() -> Register {
        Register::new(Power::from_watts(385.0), Power::from_watts(1_050.0), Energy::ZERO)
    }

    fn at(tenths: u64) -> Timestamp {
        Timestamp::default() + Duration::from_millis(100 * tenths)
    }

    fn joules(joules: f64) -> Energy {
        Energy::from_joules(joules)
    }

    #[test]
    fn a_leap_of_one_reading_is_a_failed_read_and_loses_nothing() {
        let mut register = register();
        register.accept(joules(1_000.0), at(0)).unwrap();
        let error = register.accept(joules(1e15), at(1)).unwrap_err();
        assert!(error.is_lost() && error.what().contains("absurd"), "{error}");
        assert_eq!(register.accept(joules(1_060.0), at(2)).unwrap(), (joules(60.0), None));
    }

    #[test]
    fn a_counter_that_is_set_forward_is_a_reset_and_not_an_energy() {
        let mut register = register();
        register.accept(joules(1_000.0), at(0)).unwrap();
        register.accept(joules(1_030.0), at(1)).unwrap();
        register.accept(joules(9e9), at(2)).unwrap_err();
        let reset = register.accept(joules(9e9 + 30.0), at(3)).unwrap();
        assert_eq!(reset, (joules(30.0), Some(Incident::Reset)));
        assert_eq!(register.accept(joules(9e9 + 60.0), at(4)).unwrap(), (joules(60.0), None));
    }

    #[test]
    fn a_zero_between_two_readings_adds_nothing() {
        let mut register = register();
        register.accept(joules(123_456.0), at(0)).unwrap();
        assert_eq!(
            register.accept(Energy::ZERO, at(1)).unwrap(),
            (Energy::ZERO, Some(Incident::Reset))
        );
        register.accept(joules(123_486.0), at(2)).unwrap_err();
        let reset = register.accept(joules(123_516.0), at(3)).unwrap();
        assert_eq!(reset, (Energy::ZERO, Some(Incident::Reset)));
    }

    #[test]
    fn what_was_used_while_the_gpu_was_away_is_no_leap() {
        let mut register = register();
        register.accept(joules(1_000.0), at(0)).unwrap();
        // Ten minutes at 350 W.
        let away = register.accept(joules(211_000.0), at(6_000)).unwrap();
        assert_eq!(away, (joules(210_000.0), None));
    }
}
