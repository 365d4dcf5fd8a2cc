//! A [`Trace`]: a run's energy over time, in few points.

use std::time::{Duration, SystemTime};

use ergometer::{Energy, Power};

/// A run's energy over time, at no more than 512 points however long it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// The wall time of the run's start, where the log tells.
    pub began: Option<SystemTime>,
    /// Where windows closed and progress was told, in order of time.
    pub points: Vec<Point>,
}

/// How much energy a run had used at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The time since the run's start, pauses between sessions included.
    pub at: Duration,
    /// The run's energy up to there.
    pub energy: Energy,
    /// True if the program did not run between the point before and this one.
    pub paused: bool,
}

impl Trace {
    /// The mean power between each two points, with the time of both; none where the program did not run.
    pub fn powers(&self) -> impl Iterator<Item = (Duration, Duration, Power)> {
        self.points.windows(2).filter(|pair| !pair[1].paused).filter_map(|pair| {
            let (from, to) = (pair[0], pair[1]);
            Some((from.at, to.at, (to.energy - from.energy).over(to.at.saturating_sub(from.at))?))
        })
    }
}

/// Points that are kept; a power of two times the thinning.
const POINTS: usize = 512;

/// Thins points evenly as they come: once there are too many, every other is left out, of those to come as well.
#[derive(Debug)]
pub(super) struct Collector {
    points: Vec<Point>,
    /// One of so many is kept.
    stride: usize,
    /// Points since the last that was kept.
    skipped: usize,
    /// The last that came, which is kept at the end.
    last: Option<Point>,
    paused: bool,
}

impl Default for Collector {
    fn default() -> Self {
        Collector { points: Vec::new(), stride: 1, skipped: 0, last: None, paused: true }
    }
}

impl Collector {
    pub(super) fn take(&mut self, at: Duration, energy: Energy) {
        // Lanes may close their windows out of order.
        if self.last.is_some_and(|last| at <= last.at || energy < last.energy) {
            return;
        }
        let point = Point { at, energy, paused: std::mem::take(&mut self.paused) };
        self.skipped += 1;
        if point.paused {
            // Both ends of a pause are kept, so that it is not taken for low power.
            self.keep_last();
        }
        if point.paused || self.skipped >= self.stride {
            self.keep(point);
        }
        self.last = Some(point);
    }

    /// A session starts, with the energy of those before it.
    pub(super) fn resume(&mut self, at: Duration) {
        self.paused = true;
        self.take(at, self.last.map_or(Energy::ZERO, |last| last.energy));
    }

    pub(super) fn finish(mut self, began: Option<SystemTime>) -> Trace {
        self.keep_last();
        Trace { began, points: self.points }
    }

    fn keep_last(&mut self) {
        if let Some(last) = self.last
            && self.points.last() != Some(&last)
        {
            self.keep(last);
        }
    }

    fn keep(&mut self, mut point: Point) {
        if self.points.len() >= POINTS {
            let mut place = 0;
            let next_paused: Vec<bool> =
                self.points.iter().skip(1).map(|point| point.paused).chain([false]).collect();
            self.points.retain(|point| {
                place += 1;
                place % 2 == 1 || point.paused || next_paused[place - 1]
            });
            self.stride = self.stride.saturating_mul(2);
            if self.points.len() >= POINTS {
                point.paused |= self.join_pauses();
            }
        }
        self.points.push(point);
        self.skipped = 0;
    }

    /// Leaves out every other point where pauses alone are too many; what is between then counts as paused.
    /// True if that is also what is between the last and the next.
    fn join_pauses(&mut self) -> bool {
        let (mut place, mut lost) = (0, false);
        self.points.retain_mut(|point| {
            place += 1;
            let kept = place % 2 == 1;
            if kept {
                point.paused |= std::mem::take(&mut lost);
            } else {
                lost |= point.paused;
            }
            kept
        });
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_a_thousand_sessions_keeps_few_points_and_all_its_energy() {
        let mut trace = Collector::default();
        let at = |second: u64| Duration::from_secs(second);
        for session in 0..1_000 {
            trace.resume(at(session * 100));
            for step in 1..=5 {
                trace.take(
                    at(session * 100 + step),
                    Energy::from_joules(50.0 * session as f64 + 10.0 * step as f64),
                );
            }
        }
        let trace = trace.finish(None);
        assert!(trace.points.len() <= POINTS + 2, "{}", trace.points.len());
        assert_eq!(trace.points.last().unwrap().energy, Energy::from_joules(50_000.0));
        // Where the program did not run there is no power; where it ran, never more than there was.
        assert!(trace.powers().all(|(.., power)| power <= Power::from_watts(10.0 + 1e-6)));
    }

    #[test]
    fn thinning_keeps_both_ends_of_a_pause() {
        let mut trace = Collector::default();
        let at = |second: u64| Duration::from_secs(second);
        for second in 0..3_000 {
            trace.take(at(second), Energy::from_joules(second as f64));
        }
        trace.resume(at(10_000));
        for second in 1..3_000 {
            trace.take(at(10_000 + second), Energy::from_joules((2_999 + second) as f64));
        }
        let trace = trace.finish(None);
        let powers: Vec<_> = trace.powers().collect();
        assert!(powers.iter().all(|(.., power)| (power.as_watts() - 1.0).abs() < 1e-6));
        let told: f64 =
            powers.iter().map(|(from, to, power)| (*power * (*to - *from)).as_joules()).sum();
        assert!((told - 5_998.0).abs() < 1e-3, "{told}");
    }
}
