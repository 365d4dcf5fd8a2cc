//! How regularly steps follow each other, and which sensors beat with that.

use std::collections::VecDeque;
use std::time::Duration;

use crate::units::Timestamp;

/// The times between the last steps.
#[derive(Debug, Default)]
pub(super) struct Rhythm {
    last: Option<Timestamp>,
    times: VecDeque<Duration>,
    unheard: usize,
}

/// A regular rhythm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Beat {
    /// The median time from step to step.
    pub(super) step: Duration,
    regular: bool,
}

/// Steps that one judgement is made of, and after how many a new one is.
const ENOUGH: usize = 16;

/// A sensor that is updated, or looks, in step with the load sees the same part of it again and again. In simulation
/// (500/200 W in turns, a counter that looks at 25 of each 100 ms) the error was up to 43 % at step lengths of 100 and
/// 50 ms with jitter up to 1 %, 11 % (sd) with 5 % jitter, and under 3 % at other lengths.
const NEAR: f64 = 0.05;
const REGULAR: f64 = 0.10;

impl Rhythm {
    /// Takes in the start of a step; gives the rhythm now and then, once there is one to judge.
    pub(super) fn of(&mut self, start: Timestamp) -> Option<Beat> {
        if let Some(last) = self.last.replace(start) {
            if self.times.len() == ENOUGH {
                self.times.pop_front();
            }
            self.times.push_back(start.since(last));
        }
        self.unheard += 1;
        if self.times.len() < ENOUGH || self.unheard < ENOUGH {
            return None;
        }
        self.unheard = 0;
        let mut sorted: Vec<_> = self.times.iter().copied().collect();
        sorted.sort_unstable();
        let (median, quarter) = (sorted[ENOUGH / 2], ENOUGH / 4);
        // Half of the steps lie within this range: for normal jitter its half is 0.67 standard deviations.
        let range = (sorted[ENOUGH - quarter] - sorted[quarter]) / 2;
        let regular = range.as_secs_f64() < 0.67 * REGULAR * median.as_secs_f64();
        Some(Beat { step: median, regular })
    }
}

/// Steps of about a period, from 0.4 to 2.5 of it: seen at updates only, a load of 1.3 periods looks like one of 4.3, which
/// would hardly bend the energy between two updates, and does bend it.
const ABOUT: std::ops::RangeInclusive<f64> = 0.4..=2.5;

impl Beat {
    /// True if what updates show of the load cannot tell what it does between two of them.
    pub(super) fn hides_from(&self, period: Duration) -> bool {
        let ratio = self.step.as_secs_f64() / period.as_secs_f64().max(1e-9);
        ABOUT.contains(&ratio) || self.beats_with(period)
    }

    /// True if steps are near a whole part of `period`: once, twice or three times in it.
    pub(super) fn beats_with(&self, period: Duration) -> bool {
        let ratio = period.as_secs_f64() / self.step.as_secs_f64().max(1e-9);
        self.regular && (1..=3).any(|times| (ratio / f64::from(times) - 1.0).abs() < NEAR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(step: impl Fn(u64) -> u64) -> Beat {
        let mut rhythm = Rhythm::default();
        let mut at = Timestamp::default();
        (0..200)
            .filter_map(|n| {
                at = at + Duration::from_millis(step(n));
                rhythm.of(at)
            })
            .last()
            .unwrap()
    }

    #[test]
    fn steps_of_half_a_period_beat_with_it() {
        let beat = beat(|n| 50 + n % 2);
        let hundred = Duration::from_millis(100);
        assert!(beat.beats_with(hundred) && !beat.beats_with(hundred * 7 / 5), "{beat:?}");
    }

    #[test]
    fn steps_of_about_a_period_hide_from_it_and_short_and_long_ones_do_not() {
        let beat = beat(|n| 100 + n % 5);
        let hidden = [50, 130, 240].map(|period| beat.hides_from(Duration::from_millis(period)));
        let seen = [20, 430, 1_000].map(|period| beat.hides_from(Duration::from_millis(period)));
        assert_eq!((hidden, seen), ([true; 3], [false; 3]), "{beat:?}");
    }

    #[test]
    fn irregular_steps_beat_with_nothing() {
        let beat = beat(|n| if n % 2 == 0 { 30 } else { 70 });
        assert!(!beat.beats_with(beat.step), "{beat:?}");
    }
}
