//! Whether a counter and the power beside it tell the same.
//!
//! They need not: a counter of 187 J beside an integrated power of 327 J over the same five seconds has been reported
//! (Zeus issue 181). Which of the two is right cannot be told from inside, so both are kept, and the uncertainty covers
//! both.

use crate::units::{Energy, Power, Timestamp};

/// A comparison of an energy counter with readings of the power, over some time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agreement {
    begun: Option<(Timestamp, Energy)>,
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

/// Up to here the two agree: their gains differ, and neither looks all of the time.
const TOLERANCE: f64 = 0.1;

impl Agreement {
    /// Takes in the power read at `at`, when the counter's Ê was `energy`.
    pub(crate) fn add(&mut self, power: Power, at: Timestamp, energy: Energy) {
        if let Some((then, before)) = self.last {
            self.integral += before.mean(power) * at.since(then);
        }
        let steady = self.last.replace((at, power)).is_some_and(|(_, before)| before == power);
        self.changes += if steady { 0.0 } else { 1.0 };
        self.begun.get_or_insert((at, energy));
        self.count += 1.0;
        let off = power.as_watts() - self.mean;
        self.mean += off / self.count;
        self.squares += off * (power.as_watts() - self.mean);
    }

    /// The counter's power over the gauge's, and the standard uncertainty of this ratio, once there are enough readings
    /// (or `now`, with some); the next comparison begins then.
    pub(crate) fn judge(&mut self, at: Timestamp, energy: Energy, now: bool) -> Option<(f64, f64)> {
        if self.count < if now { SOME } else { ENOUGH } {
            return None;
        }
        let Agreement { begun, count, changes, squares, last, integral, .. } = std::mem::take(self);
        let ((since, start), (then, power)) = (begun?, last?);
        let counter = (energy - start).over(at.since(since))?.as_watts();
        let mean = (integral + power * at.since(then)).over(at.since(since))?.as_watts();
        // Readings of one update are one reading, as far as the scatter goes.
        let error = (squares / (count - 1.0) / changes).sqrt();
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
    use std::time::Duration;

    fn compared(counter: f64, gauge: impl Fn(u32) -> f64) -> (f64, f64) {
        let mut agreement = Agreement::default();
        let at = |n: u32| Timestamp::default() + Duration::from_millis(100) * n;
        let energy = |n: u32| Power::from_watts(counter) * (Duration::from_millis(100) * n);
        for n in 0..50 {
            agreement.add(Power::from_watts(gauge(n)), at(n), energy(n));
        }
        agreement.judge(at(50), energy(50), false).unwrap()
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
        assert!(doubt(ratio).is_some() && ratio.1 == 0.0, "{ratio:?}");
        assert_eq!(doubt(compared(327.0, |_| 327.0)), None);
    }
}
