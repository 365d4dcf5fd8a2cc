//! Gauges that give the mean of the last second: their energy without the tail that a plain integral loses.
//!
//! Let S be the cumulative energy and M the mean over the time W before a reading. Then M(t) = (S(t) − S(t−W)) / W, so
//! S(t) = S(t−W) + W·M(t): each reading adds to what was known one W ago. Integrating M itself would spread a load's
//! beginning and lose its end.

use std::collections::VecDeque;
use std::time::Duration;

use crate::units::{Energy, Power, Timestamp};

/// The cumulative energy behind a moving mean.
#[derive(Debug)]
pub(super) struct MovingMean {
    width: Duration,
    /// S over the last W, oldest first.
    known: VecDeque<(Timestamp, Energy)>,
    /// The power before the first reading, taken to have been steady for W.
    earlier: Power,
}

impl MovingMean {
    /// A mean over `width`.
    pub(super) fn new(width: Duration) -> Self {
        MovingMean { width, known: VecDeque::new(), earlier: Power::ZERO }
    }

    /// The time that it averages over.
    pub(super) fn width(&self) -> Duration {
        self.width
    }

    /// The first reading: the power is taken to have been what it says for the time before.
    pub(super) fn begin(&mut self, at: Timestamp, mean: Power) {
        self.begin_again(at, mean, Energy::ZERO);
    }

    /// The first reading after a gap that is taken to have cost `energy`.
    pub(super) fn begin_again(&mut self, at: Timestamp, mean: Power, energy: Energy) {
        let before = self.energy();
        self.earlier = mean;
        self.known.clear();
        self.known.push_back((at, before + energy));
    }

    /// A further reading.
    pub(super) fn push(&mut self, at: Timestamp, mean: Power) {
        let start = at.before(self.width);
        // Readings farther apart than the width leave a time that no mean covers: it is taken to have been like the next.
        let gap = self.known.back().map_or(Duration::ZERO, |(last, _)| start.since(*last));
        let energy = self.energy_at(start) + mean * (self.width + gap);
        // What noise would take back is left out: a cumulative energy never falls.
        let energy = energy.max(self.energy());
        self.known.push_back((at, energy));
        while self.known.get(1).is_some_and(|(second, _)| *second <= at.before(self.width)) {
            self.known.pop_front();
        }
    }

    /// S at the last reading.
    pub(super) fn energy(&self) -> Energy {
        self.known.back().map_or(Energy::ZERO, |(_, energy)| *energy)
    }

    /// S at a moment at most W before the last reading.
    fn energy_at(&self, at: Timestamp) -> Energy {
        let next = self.known.partition_point(|(known, _)| *known <= at);
        let Some((from, energy)) = next.checked_sub(1).map(|last| self.known[last]) else {
            let Some((first, energy)) = self.known.front() else { return Energy::ZERO };
            return *energy - self.earlier * first.since(at);
        };
        match self.known.get(next) {
            Some((to, later)) => {
                energy + (*later - energy).fraction(at.since(from), to.since(from))
            }
            None => energy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_power_is_whole_however_seldom_it_is_read() {
        let mut series = MovingMean::new(Duration::from_millis(50));
        let mut at = Timestamp::default() + Duration::from_secs(1);
        series.begin(at, Power::from_watts(300.0));
        for n in 0..100 {
            at = at + Duration::from_millis(20 + 7 * (n % 13));
            series.push(at, Power::from_watts(300.0));
        }
        let truth = 300.0 * (at.as_nanos() as f64 / 1e9 - 1.0);
        assert!((series.energy().as_joules() - truth).abs() < 1e-3, "{} {truth}", series.energy());
    }

    #[test]
    fn a_job_has_its_whole_energy_by_its_end() {
        // 60 W, then 400 W for two seconds, then 60 W, read each 100 ms as the mean of the last second.
        let watts = |t: f64| if (2.0..4.0).contains(&t) { 400.0 } else { 60.0 };
        let mean = |t: f64| (0..1_000).map(|n| watts(t - f64::from(n) / 1e3)).sum::<f64>() / 1e3;
        let at = |t: f64| Timestamp::default() + Duration::from_secs_f64(t + 5.0);
        let mut series = MovingMean::new(Duration::from_secs(1));
        series.begin(at(0.0), Power::from_watts(mean(0.0)));
        let (mut start, mut end) = (Energy::ZERO, Energy::ZERO);
        for tenth in 1..=60_u32 {
            let t = f64::from(tenth) / 10.0;
            series.push(at(t), Power::from_watts(mean(t)));
            match tenth {
                20 => start = series.energy(),
                40 => end = series.energy(),
                _ => {}
            }
        }
        let energy = (end - start).as_joules();
        assert!((energy - 800.0).abs() < 8.0, "{energy}");
    }
}
