//! Whether a counter and the power beside it tell the same.
//!
//! They need not: a counter of 187 J beside an integrated power of 327 J over the same five seconds has been reported
//! (Zeus issue 181). Which of the two is right cannot be told from inside, so both are kept, and the uncertainty covers
//! both.

use crate::series::{Point, Reach, Span};
use crate::units::{Energy, Power, Timestamp};

/// A comparison of an energy counter with readings of the power, over some time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agreement {
    begun: Option<(Timestamp, Point)>,
    count: f64,
    /// Readings that were not the one before: a value that stays has not been updated, or the power is steady.
    changes: f64,
    mean: f64,
    squares: f64,
    last: Option<(Timestamp, Power)>,
    /// The integral of the power between its readings.
    integral: Energy,
}

/// Readings that one judgement is made of.
const ENOUGH: f64 = 40.0;

/// Fewer are enough at the end of the trial, with the wider interval that they give.
const SOME: f64 = 6.0;

/// A ratio whose standard uncertainty is larger says nothing: of a few updates, neither end's energy is known well enough.
const CLEAR: f64 = 0.25;

/// Up to here the two agree: their gains differ, and neither looks all of the time.
const TOLERANCE: f64 = 0.1;

impl Agreement {
    /// Takes in the power read at `at`, when the counter stood at `point`.
    pub(crate) fn add(&mut self, power: Power, at: Timestamp, point: Point) {
        if self.begun.is_none() && !point.is_covered() {
            return;
        }
        if let Some((then, before)) = self.last {
            self.integral += before.mean(power) * at.since(then);
        }
        let steady = self.last.replace((at, power)).is_some_and(|(_, before)| before == power);
        self.changes += if steady { 0.0 } else { 1.0 };
        self.begun.get_or_insert((at, point));
        self.count += 1.0;
        let off = power.as_watts() - self.mean;
        self.mean += off / self.count;
        self.squares += off * (power.as_watts() - self.mean);
    }

    /// The counter's power over the gauge's, and the standard uncertainty of this ratio, once there are enough readings
    /// (or `now`, with some) and the counter is known well enough; the next comparison begins then.
    pub(crate) fn judge(
        &mut self,
        at: Timestamp,
        point: Point,
        reach: Reach,
        now: bool,
    ) -> Option<(f64, f64)> {
        if self.count < if now { SOME } else { ENOUGH } || !point.is_covered() {
            return None;
        }
        let ((since, start), (then, power)) = (self.begun?, self.last?);
        let time = at.since(since);
        let span = Span::new(start, point, time, reach);
        if !span.whole {
            // Some of the counter's energy is not known, and may have been all that is missing.
            *self = Agreement::default();
            return None;
        }
        let counter = span.energy.over(time)?.as_watts();
        let mean = (self.integral + power * at.since(then)).over(time)?.as_watts();
        // Readings of one update are one reading, as far as the scatter goes.
        let scatter = self.squares / (self.count - 1.0) / self.changes;
        let error = (scatter + (span.uncertainty / time.as_secs_f64()).powi(2)).sqrt();
        if mean > 0.0 && error > CLEAR * mean {
            return None;
        }
        *self = Agreement::default();
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

    fn compared(counter: f64, gauge: impl Fn(u32) -> f64) -> (f64, f64) {
        let (mut series, mut agreement) = (Series::new(&card()), Agreement::default());
        for n in 0..150 {
            let now = n * 100;
            read(&mut series, now, Power::from_watts(counter) * (Duration::from_millis(100) * n));
            if let Some(point) = series.at(at(now)).filter(|_| n > 2) {
                agreement.add(Power::from_watts(gauge(n)), at(now), point);
            }
        }
        let point = series.at(at(14_900)).unwrap();
        agreement.judge(at(14_900), point, Reach::calibrated(&card()), false).unwrap()
    }

    #[test]
    fn a_counter_that_counts_half_is_doubted() {
        let ratio = compared(187.0 / 5.0, |n| 65.4 + f64::from(n % 3));
        assert!(ratio.0 < 0.6 && doubt(ratio).unwrap() > 0.4, "{ratio:?}");
    }

    #[test]
    fn a_gauge_that_jumps_about_its_mean_is_no_reason_to_doubt() {
        let ratio =
            compared(350.0, |n| if n % 2 == 0 { 200.5 } else { 500.0 } + f64::from(n) / 3.0);
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
        let (mut series, mut agreement) = (Series::new(&card()), Agreement::default());
        let counted =
            |now: u32| Power::from_watts(200.0) * (Duration::from_millis(512) * (now / 512));
        for now in (0..=500).chain(1_000..=1_560).step_by(20) {
            read(&mut series, now, counted(now));
            if now >= 1_420 {
                agreement.add(Power::from_watts(200.0), at(now), series.at(at(now)).unwrap());
            }
        }
        let judge = |agreement: &mut Agreement, series: &Series, now: u32| {
            agreement.judge(at(now), series.at(at(now)).unwrap(), Reach::calibrated(&card()), true)
        };
        assert_eq!(judge(&mut agreement, &series, 1_560), None);
        // The longer the two are compared, the less an end matters.
        for now in (1_580..20_000).step_by(20) {
            read(&mut series, now, counted(now));
            agreement.add(Power::from_watts(200.0), at(now), series.at(at(now)).unwrap());
        }
        let ratio = judge(&mut agreement, &series, 19_980).unwrap();
        assert!((ratio.0 - 1.0).abs() < 3.0 * ratio.1 && doubt(ratio).is_none(), "{ratio:?}");
    }

    #[test]
    fn energy_that_nobody_saw_is_no_contradiction() {
        let (mut series, mut agreement) = (Series::new(&card()), Agreement::default());
        for n in 0..100 {
            let now = at(n * 100);
            let energy = Power::from_watts(300.0) * (Duration::from_millis(100) * n);
            let incident = (n == 50).then_some(crate::sensor::Incident::Reset);
            series.push(Reading { incident, ..Reading::new(now, Quantity::Counter(energy), now) });
            if let Some(point) = series.at(now).filter(|_| n > 2) {
                agreement.add(Power::from_watts(300.0), now, point);
            }
        }
        let now = at(9_900);
        let point = series.at(now).unwrap();
        assert_eq!(agreement.judge(now, point, Reach::calibrated(&card()), true), None);
    }
}
