//! How short a step a sensor can tell from its neighbours.

use std::time::Duration;

use ergometer::sensor::{Provenance, Specification};
use serde::{Serialize, Serializer};

/// The step lengths from which the boundaries of a step cost at most 5 % of its energy (k = 1): it is *measured* then,
/// where a shorter one is *amortised*.
///
/// A rule of thumb. Read at a tenth of its update period U, a counter dates updates well enough for the error of a window
/// at mean power P to be 0.03·P·U (500 and 200 W in turns of 30 ms, U = 100 ms); that is 5 % of 0.6 U. How the power runs
/// within U decides the rest: while it is steady 0.6 U do, and where it falls from 500 to 200 W in each step, steps of up
/// to 5 U can beat with the updates. A sensor that looks at a part of the time needs longer by as much.
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
        // What is not read is not seen.
        let period = period.max(sensor.interval);
        let steady = period.mul_f64(0.6);
        let any = period.mul_f64(5.0 / sensor.duty.clamp(0.05, 1.0));
        Some(Steps { steady, any })
    }
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}
