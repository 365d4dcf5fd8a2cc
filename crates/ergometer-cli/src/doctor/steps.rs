//! How short a step a sensor can tell from its neighbours.

use std::time::Duration;

use ergometer::sensor::{Provenance, Specification};
use serde::{Serialize, Serializer};

/// The step lengths from which the boundaries of a step cost at most 5 % of its energy (k = 1): it is *measured* then,
/// where a shorter one is *amortised*.
///
/// Rules of thumb. At mean power P, a counter of update period U that is read at U/10 errs by 0.03·P·U over a window (500
/// and 200 W in turns of 30 ms, U = 100 ms), which is 5 % of 0.6 U. But regular steps of up to 2.5 U may beat with the
/// updates, which is why a run takes the worst for them; and where the power falls from 500 to 200 W within each step, it
/// takes 5 U until that shows in the updates. A counter that is up to date whenever it is read has the time between two
/// reads in the place of U. One that looks at a part of the time needs longer by as much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Steps {
    /// If the power is steady.
    #[serde(rename = "steady_s", serialize_with = "seconds")]
    pub(super) steady: Duration,
    /// Whatever the power does within a step.
    #[serde(rename = "any_s", serialize_with = "seconds")]
    pub(super) any: Duration,
}

impl Steps {
    /// For a counter that is updated once in `period`; `None` for a gauge, which does not see what is between two of its
    /// values, and for a model.
    pub(super) fn of(sensor: &Specification, period: Duration) -> Option<Steps> {
        if sensor.provenance != Provenance::Counter {
            return None;
        }
        // One that is up to date at each read has nothing to beat with.
        let (period, beating) =
            if period * 2 <= sensor.interval { (sensor.interval, 0.6) } else { (period, 2.5) };
        let steady = period.mul_f64(beating);
        let any = period.mul_f64(5.0 / sensor.duty.clamp(0.05, 1.0));
        Some(Steps { steady, any })
    }
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}
