//! Sensors of a known P(t): the physics is faked, not the calls.
//!
//! A fake has what real sensors have (an update period, jitter, a quantum, a counter that wraps, resets, stalls or
//! fails) and beside it the true integral, so that what a meter says can be held against the truth.

use std::ops::Range;
use std::time::Duration;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::sensor::counter::Monotone;
use crate::sensor::{Domain, Quantity, Reading, Sensor, Specification};
use crate::units::{Energy, Power, Timestamp};

/// A power as a function of time, with its exact integral.
#[derive(Clone, Debug, PartialEq)]
pub enum Load {
    /// Always the same.
    Constant(Power),
    /// `high` for the part `duty` of every `period`, and `low` for the rest of it.
    Square {
        /// The power during the first part of a period.
        high: Power,
        /// The power during the rest.
        low: Power,
        /// The length of a period.
        period: Duration,
        /// The first part's share, from 0 to 1.
        duty: f64,
    },
    /// From each moment on, this power; nothing before the first.
    Steps(Vec<(Timestamp, Power)>),
    /// Several loads at once.
    Sum(Vec<Load>),
}

impl Load {
    /// The power at a moment.
    pub fn at(&self, at: Timestamp) -> Power {
        match self {
            Load::Constant(power) => *power,
            Load::Square { high, low, period, duty } => {
                let into = at.as_nanos() % ticks(*period).max(1);
                if into < ticks(period.mul_f64(*duty)) { *high } else { *low }
            }
            Load::Steps(steps) => {
                let next = steps.partition_point(|(from, _)| *from <= at);
                next.checked_sub(1).map_or(Power::ZERO, |last| steps[last].1)
            }
            Load::Sum(loads) => loads.iter().fold(Power::ZERO, |sum, load| sum + load.at(at)),
        }
    }

    /// The energy from the clock's origin to a moment.
    pub fn energy(&self, until: Timestamp) -> Energy {
        let time = until.since(Timestamp::default());
        match self {
            Load::Constant(power) => *power * time,
            Load::Square { high, low, period, duty } => {
                let on = period.mul_f64(*duty);
                let whole = ticks(time) / ticks(*period).max(1);
                let into = Duration::from_nanos(ticks(time) % ticks(*period).max(1));
                let each = *high * on + *low * (*period - on);
                Energy::from_nanojoules(each.as_nanojoules() * i128::from(whole))
                    + *high * into.min(on)
                    + *low * into.saturating_sub(on)
            }
            Load::Steps(steps) => {
                let ends = steps.iter().skip(1).map(|(from, _)| *from).chain([until]);
                steps
                    .iter()
                    .zip(ends)
                    .map(|((from, power), to)| *power * to.min(until).since((*from).min(until)))
                    .sum()
            }
            Load::Sum(loads) => loads.iter().map(|load| load.energy(until)).sum(),
        }
    }

    /// The energy between two moments.
    pub fn between(&self, start: Timestamp, end: Timestamp) -> Energy {
        self.energy(end) - self.energy(start)
    }
}

fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A sensor of a known [`Load`].
#[derive(Debug)]
pub struct Fake {
    specification: Specification,
    load: Load,
    gauge: bool,
    period: Duration,
    jitter: f64,
    quantum: Energy,
    wrap: Option<Energy>,
    resets: Vec<Timestamp>,
    stalls: Vec<Range<Timestamp>>,
    failures: Vec<Range<Timestamp>>,
    latency: Duration,
    gain: f64,
    /// What a counter that looks away has counted up to an update.
    counted: (u64, Energy),
    counter: Monotone,
}

impl Fake {
    /// An energy counter of `load` over `domain` that is updated continuously.
    pub fn counter(domain: Domain, load: Load) -> Self {
        Fake::new(Specification::counter(domain, "fake counter"), load, false)
    }

    /// A power gauge of `load` over `domain` that is updated continuously.
    pub fn gauge(domain: Domain, load: Load) -> Self {
        Fake::new(Specification::gauge(domain, "fake gauge"), load, true)
    }

    fn new(specification: Specification, load: Load, gauge: bool) -> Self {
        Fake {
            counter: Monotone::new(None, specification.most, Energy::ZERO),
            specification,
            load,
            gauge,
            period: Duration::ZERO,
            jitter: 0.0,
            quantum: Energy::ZERO,
            wrap: None,
            resets: Vec::new(),
            stalls: Vec::new(),
            failures: Vec::new(),
            latency: Duration::ZERO,
            gain: 1.0,
            counted: (0, Energy::ZERO),
        }
    }

    /// A new value is published once in `period`, as the specification says.
    #[must_use]
    pub fn period(mut self, period: Duration) -> Self {
        self.period = period;
        self.specification.period = period;
        self.specification.interval =
            (period / 10).clamp(Duration::from_millis(1), Duration::from_millis(20));
        self
    }

    /// Updates come early or late by up to this part of a period.
    #[must_use]
    pub fn jitter(mut self, part: f64) -> Self {
        self.jitter = part.clamp(0.0, 0.45);
        self
    }

    /// The counter moves in steps of this size.
    #[must_use]
    pub fn quantum(mut self, quantum: Energy) -> Self {
        self.quantum = quantum;
        self.specification.quantum = quantum;
        self
    }

    /// The counter starts over after this energy.
    #[must_use]
    pub fn wraps_after(mut self, energy: Energy) -> Self {
        self.wrap = Some(energy);
        self.specification.wrap = Some(energy);
        self.renew()
    }

    /// The counter is set back to nothing at this moment.
    #[must_use]
    pub fn resets_at(mut self, at: Timestamp) -> Self {
        self.resets.push(at);
        self
    }

    /// The counter shows the same value over this time.
    #[must_use]
    pub fn stalls_over(mut self, time: Range<Timestamp>) -> Self {
        self.stalls.push(time);
        self
    }

    /// Reads fail over this time.
    #[must_use]
    pub fn fails_over(mut self, time: Range<Timestamp>) -> Self {
        self.failures.push(time);
        self
    }

    /// A read takes this long; what it shows is from its beginning.
    #[must_use]
    pub fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// The sensor shows this many times the true energy or power.
    #[must_use]
    pub fn gain(mut self, gain: f64) -> Self {
        self.gain = gain;
        self
    }

    /// The sensor looks at the last part `duty` of each period only, and takes it for the whole of it.
    #[must_use]
    pub fn duty(mut self, duty: f64) -> Self {
        self.specification.duty = duty.clamp(0.01, 1.0);
        self
    }

    /// The gauge shows the mean over this time before its update.
    #[must_use]
    pub fn averages_over(mut self, time: Duration) -> Self {
        self.specification.averaging = time;
        self
    }

    /// The range of power that the meter may assume.
    #[must_use]
    pub fn power_between(mut self, least: Power, most: Power) -> Self {
        self.specification.least = least;
        self.specification.most = most;
        self.renew()
    }

    /// Changes the specification: stack, family, gain, interval.
    #[must_use]
    pub fn specified(mut self, change: impl FnOnce(&mut Specification)) -> Self {
        change(&mut self.specification);
        self.renew()
    }

    fn renew(mut self) -> Self {
        self.counter = Monotone::new(self.wrap, self.specification.most, self.quantum);
        self
    }

    /// The last moment not after `at` at which a value was published.
    fn published(&self, at: Timestamp) -> Timestamp {
        let at =
            self.stalls.iter().find(|stall| stall.contains(&at)).map_or(at, |stall| stall.start);
        if self.period.is_zero() {
            return at;
        }
        // Jitter is less than half a period, so the update is this turn's or the one before.
        let turn = at.as_nanos() / ticks(self.period);
        let update = self.update(turn);
        if update <= at { update } else { self.update(turn.saturating_sub(1)) }
    }

    /// The moment of the `turn`th update.
    fn update(&self, turn: u64) -> Timestamp {
        let late = self.period.mul_f64(self.jitter * noise(turn));
        Timestamp::from_nanos(turn * ticks(self.period)) + late
    }

    /// The counter's register: steps of a quantum, since the last reset, modulo the wrap.
    fn register(&mut self, at: Timestamp) -> Energy {
        let origin =
            self.resets.iter().filter(|reset| **reset <= at).max().copied().unwrap_or_default();
        let energy = if self.specification.duty < 1.0 {
            self.count(at)
        } else {
            self.load.between(origin, at.max(origin))
        };
        let energy = energy.scaled(self.gain);
        let energy = energy - energy.modulo(self.quantum.max(Energy::from_nanojoules(1)));
        self.wrap.map_or(energy, |wrap| energy.modulo(wrap))
    }

    /// What the parts of periods that were looked at come to, each taken for the whole period.
    fn count(&mut self, until: Timestamp) -> Energy {
        let (mut turn, mut energy) = self.counted;
        if turn == 0 {
            turn = until.as_nanos() / ticks(self.period).max(1);
        }
        while self.update(turn + 1) <= until {
            let (from, to) = (self.update(turn), self.update(turn + 1));
            let seen = to.since(from).mul_f64(self.specification.duty);
            let part = self.load.between(to.before(seen), to);
            energy += part.scaled(1.0 / self.specification.duty);
            turn += 1;
        }
        self.counted = (turn, energy);
        energy
    }

    /// What a gauge shows that was updated at `at`.
    fn power(&self, at: Timestamp) -> Power {
        let time = self.specification.averaging;
        let mean = self.load.between(at.before(time), at).over(time);
        mean.unwrap_or_else(|| self.load.at(at)) * self.gain
    }
}

/// A number from 0 to 1 that depends on `turn` alone.
fn noise(turn: u64) -> f64 {
    // SplitMix64's mixing function, so that neighbouring turns have nothing in common.
    let mut mixed = turn.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    f64::from(u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

impl Sensor for Fake {
    fn specification(&self) -> &Specification {
        &self.specification
    }

    fn read(&mut self, clock: &Clock) -> Result<Reading> {
        let before = clock.now();
        if self.failures.iter().any(|failure| failure.contains(&before)) {
            return Err(Error::lost("the fake sensor was told to fail"));
        }
        let shown = self.published(before);
        let after = clock.now().max(before + self.latency);
        if self.gauge {
            return Ok(Reading::new(before, Quantity::Gauge(self.power(shown)), after));
        }
        let register = self.register(shown);
        let (energy, incident) = self.counter.accept(register, before);
        Ok(Reading { incident, ..Reading::new(before, Quantity::Counter(energy), after) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_square_load_integrates_to_its_mean() {
        let load = Load::Square {
            high: Power::from_watts(500.0),
            low: Power::from_watts(200.0),
            period: Duration::from_millis(30),
            duty: 0.5,
        };
        let second = Timestamp::from_nanos(3_000_000_000);
        assert_eq!(load.energy(second), Energy::from_joules(1_050.0));
        assert_eq!(load.at(Timestamp::from_nanos(16_000_000)), Power::from_watts(200.0));
    }

    #[test]
    fn a_stepped_load_integrates_piece_by_piece() {
        let at = |millis| Timestamp::default() + Duration::from_millis(millis);
        let load = Load::Steps(vec![
            (at(0), Power::from_watts(100.0)),
            (at(500), Power::from_watts(300.0)),
        ]);
        assert_eq!(load.between(at(250), at(1_000)), Energy::from_joules(175.0));
    }
}
