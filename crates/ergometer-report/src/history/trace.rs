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

    fn keep(&mut self, point: Point) {
        if self.points.len() >= POINTS {
            let mut place = 0;
            let next_paused: Vec<bool> =
                self.points.iter().skip(1).map(|point| point.paused).chain([false]).collect();
            self.points.retain(|point| {
                place += 1;
                place % 2 == 1 || point.paused || next_paused[place - 1]
            });
            self.stride *= 2;
        }
        self.points.push(point);
        self.skipped = 0;
    }
}
