//! How far the energy lies off the straight line between two updates, learned from the updates themselves.
//!
//! What happens between two updates is not seen. But each update was itself between its neighbours, and how far it lies
//! off the line that would have been drawn without it is seen: at twice, and at four times, the distance between
//! updates. The growth from one to the other tells how to come down to a single distance: not at all for a load that
//! repeats itself within it, by the square root for one that varies at random, faster for one that drifts.
//! A load that repeats itself about as often as the counter is updated shows too little of this, or nothing. Where the
//! program's steps do so, the worst case is taken instead.

use crate::units::Power;

/// Mean squares of what was seen, in J², forgetting what is long ago.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bends {
    short: Square,
    long: Square,
    sample: Square,
}

/// Before so many updates nothing has been learned.
const ENOUGH: f64 = 16.0;

/// Updates that are looked back on: long enough for a mean square to ± 12 %, short enough to follow a training's phases.
const MEMORY: f64 = 128.0;

impl Bends {
    /// Takes in the squares of how far one update lies off the line between its neighbours, and one off the line between
    /// those at twice the distance, in J², less what the updates' own uncertainty explains of them.
    pub(super) fn learn(&mut self, short: Option<f64>, long: Option<f64>) {
        short.into_iter().for_each(|square| self.short.add(square));
        long.into_iter().for_each(|square| self.long.add(square));
    }

    /// Takes in the second difference of three readings of a gauge, times the distance of two, in joules.
    pub(super) fn sampled(&mut self, off: f64) {
        self.sample.add(off * off);
    }

    /// The standard deviation off the line, in joules, `part` of the way from one update to the next.
    ///
    /// With m the mean square in the middle of a doubled distance and 2^H the growth over one more doubling, it is
    /// m / 2^H in the middle, and falls to the ends with (4x(1−x))^H: exact for the two limits, the repeating load
    /// (H = 0) and the random one (H = 1, a Brownian bridge).
    pub(super) fn at(&self, part: f64) -> Option<f64> {
        let (short, growth) = self.growth()?;
        let middle = short / growth.exp2();
        Some((middle * (4.0 * part * (1.0 - part)).clamp(0.0, 1.0).powf(growth)).sqrt())
    }

    /// The standard deviation off a line over so many times the distance of two updates, in joules, in its middle.
    pub(super) fn over(&self, distances: f64) -> f64 {
        let Some((short, growth)) = self.growth() else { return f64::INFINITY };
        (short * (distances / 2.0).powf(growth)).sqrt()
    }

    /// The mean square in the middle of a doubled distance, in J², and H.
    fn growth(&self) -> Option<(f64, f64)> {
        let (short, long) = (self.short.mean()?.max(0.0), self.long.mean()?);
        let growth = if short > 0.0 { (long / short).max(1.0).log2().min(2.0) } else { 0.0 };
        Some((short, growth))
    }

    /// The variance of one increment of a counter that looks away for a part of the time, if that were all there is:
    /// an update lies off its neighbours' line by half the difference of two increments.
    pub(super) fn of_an_increment(&self) -> Option<f64> {
        self.short.mean().map(|short| 2.0 * short.max(0.0))
    }

    /// The variance of the energy between two readings of a gauge: of readings that vary at random with σ², the second
    /// difference has 6σ², and the trapezoids between them add up with σ² each.
    pub(super) fn of_a_sample(&self) -> Option<f64> {
        self.sample.mean().map(|sample| sample / 6.0)
    }
}

/// How far the energy lies off the line if the power jumped once within an interval, from that of the interval before to
/// that of the interval after, in joules: where it jumped follows from the mean power within.
pub(super) fn of_a_jump(before: Power, within: Power, after: Power, part: f64, length: f64) -> f64 {
    let step = (after - before).as_watts();
    if step.abs() <= 0.0 {
        return 0.0;
    }
    let place = ((after - within).as_watts() / step).clamp(0.0, 1.0);
    let triangle = if part < place { part * (1.0 - place) } else { place * (1.0 - part) };
    step.abs() * length * triangle
}

/// A mean that forgets, slowly and fast: the larger counts, so that a load that has just begun to vary is not taken for
/// the steady one before.
#[derive(Clone, Copy, Debug, Default)]
struct Square {
    slow: f64,
    fast: f64,
    count: f64,
}

impl Square {
    fn add(&mut self, square: f64) {
        self.count += 1.0;
        self.slow += (square - self.slow) / self.count.min(MEMORY);
        self.fast += (square - self.fast) / self.count.min(ENOUGH);
    }

    fn mean(&self) -> Option<f64> {
        (self.count >= ENOUGH).then_some(self.slow.max(self.fast))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_before_enough_was_seen() {
        let mut bends = Bends::default();
        for _ in 0..15 {
            bends.learn(Some(1.0), Some(1.0));
        }
        assert_eq!(bends.at(0.5), None);
        bends.learn(Some(1.0), Some(1.0));
        assert_eq!(bends.at(0.5), Some(1.0));
    }

    #[test]
    fn a_random_load_bends_less_over_half_the_distance() {
        let mut bends = Bends::default();
        for _ in 0..32 {
            bends.learn(Some(1.0), Some(2.0));
        }
        assert!((bends.at(0.5).unwrap() - 0.5_f64.sqrt()).abs() < 1e-9);
        assert!(bends.at(0.01).unwrap() < 0.2);
    }

    #[test]
    fn a_jump_bends_most_where_it_happened() {
        let watts = Power::from_watts;
        let at = |part| of_a_jump(watts(100.0), watts(200.0), watts(300.0), part, 1.0);
        assert!((at(0.5) - 50.0).abs() < 1e-9 && at(0.1) < at(0.5) && at(0.9) < at(0.5));
    }
}
