//! Whether a counter and the power beside it tell the same.
//!
//! They need not: a counter of 187 J beside an integrated power of 327 J over the same five seconds has been reported
//! (Zeus issue 181). Which of the two is right cannot be told from inside, so both are kept, and the uncertainty covers
//! both.

use crate::series::{Point, Reach, Span};
use crate::units::{Energy, Power, Timestamp};

/// A comparison of an energy counter with readings of the power, over some time: from one update of the counter to another,
/// where its energy is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agreement {
    begun: Option<Update>,
    /// The last update that was seen.
    newest: Option<Update>,
    count: f64,
    /// Readings that were not the one before: a value that stays has not been updated, or the power is steady.
    changes: f64,
    mean: f64,
    squares: f64,
    last: Option<(Timestamp, Power)>,
    /// The integral of the power between its readings.
    integral: Energy,
}

/// An update of the counter.
#[derive(Clone, Copy, Debug)]
struct Update {
    at: Timestamp,
    point: Point,
    /// When the power was read next, and its integral up to there.
    read: Timestamp,
    integral: Energy,
}

/// Readings that one judgement is made of.
const ENOUGH: f64 = 40.0;

/// Fewer are enough at the end of the trial, with the wider interval that they give.
const SOME: f64 = 6.0;

/// Up to here the two agree: their gains differ, and neither looks all of the time.
const TOLERANCE: f64 = 0.1;

impl Agreement {
    /// Takes in the power read at `read`, when the counter's last update was at `at`, and the counter at `point` then.
    pub(crate) fn add(&mut self, power: Power, read: Timestamp, at: Timestamp, point: Point) {
        if let Some((then, before)) = self.last {
            self.integral += before.mean(power) * read.since(then);
        }
        let steady = self.last.replace((read, power)).is_some_and(|(_, before)| before == power);
        if self.newest.is_none_or(|newest| newest.at < at) {
            let update = Update { at, point, read, integral: self.integral };
            // The first one seen may be an old one.
            if self.newest.replace(update).is_some() {
                self.begun.get_or_insert(update);
            }
        }
        if self.begun.is_none() {
            return;
        }
        self.changes += if steady { 0.0 } else { 1.0 };
        self.count += 1.0;
        let off = power.as_watts() - self.mean;
        self.mean += off / self.count;
        self.squares += off * (power.as_watts() - self.mean);
    }

    /// The counter's power over the gauge's, and the standard uncertainty of this ratio, once there are enough readings
    /// (or `now`, with some); the next comparison begins then.
    pub(crate) fn judge(&mut self, reach: Reach, now: bool) -> Option<(f64, f64)> {
        if self.count < if now { SOME } else { ENOUGH } {
            return None;
        }
        let Agreement { begun, newest, count, changes, squares, .. } = std::mem::take(self);
        let (begun, newest) = (begun?, newest?);
        let time = newest.at.since(begun.at);
        // Where some of the counter's energy is not known, that may be all that is missing.
        let span = Span::new(begun.point, newest.point, time, reach);
        let counter = span.energy.over(time).filter(|_| span.whole)?.as_watts();
        let gauge = (newest.integral - begun.integral).over(newest.read.since(begun.read))?;
        let mean = gauge.as_watts();
        // Readings of one update are one reading, as far as the scatter goes.
        let scatter = squares / (count - 1.0) / changes.max(1.0);
        // When the updates were.
        let ends = begun.point.uncertainty.hypot(newest.point.uncertainty) / time.as_secs_f64();
        let error = scatter.sqrt().hypot(ends);
        (mean > 0.0).then(|| (counter / mean, error / mean))
    }
}

/// The standard uncertainty of the gain that covers both, if this ratio is no agreement.
pub(crate) fn doubt((ratio, uncertainty): (f64, f64)) -> Option<f64> {
    let off = (ratio - 1.0).abs();
    // Rectangular: the truth is taken to lie anywhere between the two.
    (off > TOLERANCE + 2.0 * uncertainty).then(|| off / ratio.max(1e-3) / 3_f64.sqrt())
}

/// What to say of a ratio that is no agreement.
pub(crate) fn words((ratio, _): (f64, f64)) -> String {
    format!("its counter gives {ratio:.2} times the energy of the power beside it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensor::{Domain, Hardware, Quantity, Reading, Specification};
    use crate::series::Series;
    use std::time::Duration;

    /// A counter of up to 700 W.
    fn card() -> Specification {
        let mut card =
            Specification::counter(Domain::new(Hardware::Gpu, "GPU-0", "a card"), "fake");
        card.most = Power::from_watts(700.0);
        card.period = Duration::from_millis(100);
        card
    }

    fn at(millis: u32) -> Timestamp {
        Timestamp::default() + Duration::from_millis(1) * millis
    }

    fn read(series: &mut Series, millis: u32, energy: Energy) {
        let now = at(millis);
        series.push(Reading::new(now, Quantity::Counter(energy), now));
    }

    /// Reads the power beside the counter.
    fn read_beside(agreement: &mut Agreement, series: &Series, millis: u32, watts: f64) {
        if let Some(update) = series.covered() {
            let point = series.at(update).unwrap();
            agreement.add(Power::from_watts(watts), at(millis), update, point);
        }
    }

    fn judge(agreement: &mut Agreement, now: bool) -> Option<(f64, f64)> {
        agreement.judge(Reach::calibrated(&card()), now)
    }

    fn compared(counter: f64, gauge: impl Fn(u32) -> f64) -> (f64, f64) {
        let (mut series, mut agreement) = (Series::new(&card()), Agreement::default());
        for n in 0..50 {
            let energy = Power::from_watts(counter) * (Duration::from_millis(100) * n);
            read(&mut series, n * 100, energy);
            read_beside(&mut agreement, &series, n * 100, gauge(n));
        }
        judge(&mut agreement, false).unwrap()
    }

    #[test]
    fn a_counter_that_counts_half_is_doubted() {
        let ratio = compared(187.0 / 5.0, |n| 65.4 + f64::from(n % 3));
        assert!(ratio.0 < 0.6 && doubt(ratio).unwrap() > 0.4, "{ratio:?}");
    }

    #[test]
    fn a_gauge_that_jumps_about_its_mean_is_no_reason_to_doubt() {
        let ratio = compared(350.0, |n| if n % 2 == 0 { 200.5 } else { 500.0 } + f64::from(n));
        assert_eq!(doubt(ratio), None, "{ratio:?}");
    }

    #[test]
    fn a_steady_power_can_be_judged() {
        let ratio = compared(187.0, |_| 327.0);
        assert!(doubt(ratio).is_some() && ratio.1 < 0.02, "{ratio:?}");
        assert_eq!(doubt(compared(327.0, |_| 327.0)), None);
    }

    #[test]
    fn an_update_that_was_seen_late_accuses_nobody() {
        // 200 W, counted every 512 ms; the one who reads was kept from it for half a second, in which the first update came.
        let counted =
            |now: u32| Power::from_watts(200.0) * (Duration::from_millis(512) * (now / 512));
        for end in (1_500..4_000).step_by(20) {
            for begin in (1_040..1_500).step_by(20) {
                let (mut series, mut agreement) = (Series::new(&card()), Agreement::default());
                for now in (0..=500).chain(1_000..end).step_by(20) {
                    read(&mut series, now, counted(now));
                    if now >= begin {
                        read_beside(&mut agreement, &series, now, 200.0);
                    }
                }
                let ratio = judge(&mut agreement, true);
                assert_eq!(ratio.and_then(doubt), None, "{begin} to {end}: {ratio:?}");
            }
        }
    }

    #[test]
    fn energy_that_nobody_saw_is_no_contradiction() {
        let (mut series, mut agreement) = (Series::new(&card()), Agreement::default());
        for n in 0..100 {
            let now = at(n * 100);
            let energy = Power::from_watts(300.0) * (Duration::from_millis(100) * n);
            let incident = (n == 50).then_some(crate::sensor::Incident::Reset);
            series.push(Reading { incident, ..Reading::new(now, Quantity::Counter(energy), now) });
            read_beside(&mut agreement, &series, n * 100, 300.0);
        }
        assert_eq!(judge(&mut agreement, true), None);
    }
}
