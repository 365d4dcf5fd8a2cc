//! The last of many times between two updates.

use std::collections::VecDeque;
use std::time::Duration;

/// The last of many times, and their median, which is asked for far more often than it changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    times: VecDeque<Duration>,
    median: Option<Duration>,
}

/// How many times the median looks back on.
pub(super) const REMEMBERED: usize = 31;

impl Times {
    /// How many are remembered.
    pub(super) fn count(&self) -> usize {
        self.times.len()
    }

    pub(super) fn push(&mut self, time: Duration) {
        if self.times.len() == REMEMBERED {
            self.times.pop_front();
        }
        self.times.push_back(time);
        self.median = middle(self.times.iter().copied()).filter(|_| self.times.len() >= 3);
    }

    /// `None` before there are three.
    pub(super) fn median(&self) -> Option<Duration> {
        self.median
    }

    /// The median distance from the median; `None` before there are eight.
    pub(super) fn deviation(&self) -> Option<Duration> {
        let median = self.median.filter(|_| self.times.len() >= 8)?;
        middle(self.times.iter().map(|time| time.abs_diff(median)))
    }
}

fn middle(times: impl Iterator<Item = Duration>) -> Option<Duration> {
    let mut sorted: Vec<_> = times.collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}
