//! How long the calls into a driver took.

use std::time::Duration;

/// Counts calls by their duration, without keeping each: four classes for each doubling, so a percentile is right to 19 %.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    classes: [u64; CLASSES],
    /// Calls that gave a reading.
    pub(crate) good: u64,
    /// Calls that failed.
    pub(crate) failed: u64,
    /// All of their time.
    pub(crate) time: Duration,
}

const CLASSES: usize = 160;

impl Default for Calls {
    fn default() -> Self {
        Calls { classes: [0; CLASSES], good: 0, failed: 0, time: Duration::ZERO }
    }
}

impl Calls {
    /// Counts one call.
    pub(crate) fn add(&mut self, took: Duration, good: bool) {
        self.classes[class(took)] += 1;
        self.good += u64::from(good);
        self.failed += u64::from(!good);
        self.time += took;
    }

    /// The calls since `earlier`, an earlier state of the same count.
    pub(crate) fn since(&self, earlier: &Calls) -> Calls {
        let mut calls = self.clone();
        for (class, before) in calls.classes.iter_mut().zip(earlier.classes) {
            *class -= before;
        }
        calls.good -= earlier.good;
        calls.failed -= earlier.failed;
        calls.time -= earlier.time;
        calls
    }

    /// All calls of both.
    pub(crate) fn and(mut self, other: &Calls) -> Calls {
        for (class, more) in self.classes.iter_mut().zip(other.classes) {
            *class += more;
        }
        self.good += other.good;
        self.failed += other.failed;
        self.time += other.time;
        self
    }

    /// The duration that this part of the calls (0 to 1) did not exceed; `None` without calls.
    pub(crate) fn percentile(&self, part: f64) -> Option<Duration> {
        let all = self.good + self.failed;
        let mut below = 0;
        let class = self.classes.iter().position(|class| {
            below += class;
            below > 0 && as_number(below) >= part * as_number(all)
        })?;
        Some(Duration::from_secs_f64(1e-9 * ((as_number(class as u64) + 1.0) / 4.0).exp2()))
    }
}

/// Class n holds what took up to 2^((n+1)/4) of the clock's ticks.
fn class(took: Duration) -> usize {
    let ticks = took.as_nanos().max(1);
    let doublings = ticks.ilog2();
    // The two bits below the highest tell the quarter, near enough.
    let quarter = (ticks << 2 >> doublings) & 3;
    usize::try_from(u128::from(doublings) * 4 + quarter)
        .map_or(CLASSES - 1, |at| at.min(CLASSES - 1))
}

#[expect(clippy::cast_precision_loss, reason = "counts of calls, for a percentile")]
fn as_number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_to_a_class() {
        let mut calls = Calls::default();
        assert_eq!(calls.percentile(0.5), None);
        for n in 1..=1_000 {
            calls.add(Duration::from_micros(n), n % 10 > 0);
        }
        assert_eq!((calls.good, calls.failed), (900, 100));
        for (part, truth) in [(0.5, 500e-6), (0.99, 990e-6)] {
            let value = calls.percentile(part).unwrap().as_secs_f64();
            assert!((0.8..1.25).contains(&(value / truth)), "{part}: {value}");
        }
    }

    #[test]
    fn what_was_counted_before_is_left_out() {
        let mut calls = Calls::default();
        calls.add(Duration::from_millis(9), true);
        let before = calls.clone();
        calls.add(Duration::from_micros(3), false);
        let since = calls.since(&before);
        assert_eq!((since.good, since.failed, since.time), (0, 1, Duration::from_micros(3)));
        assert!(since.percentile(0.99).unwrap() < Duration::from_micros(5));
        assert_eq!(since.and(&before).time, calls.time);
    }
}
