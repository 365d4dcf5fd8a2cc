//! What was found out about a sensor by trying it, as opposed to what its specification says.

use std::time::Duration;

use serde::Serialize;

use crate::agreement;
use crate::channel::Channel;
use crate::units::{Energy, Power};

/// What was found out about one sensor since it was opened: at first by reading it as fast as it allows for a second, and
/// from then on with each reading.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// The domain's id.
    pub domain: String,
    /// True once the first second of fast reading is over.
    pub complete: bool,
    /// The median time between two updates; `None` if no update was seen that could be dated.
    #[serde(rename = "period_s", serialize_with = "maybe_seconds")]
    pub period: Option<Duration>,
    /// The median distance of these times from their median.
    #[serde(rename = "jitter_s", serialize_with = "maybe_seconds")]
    pub jitter: Option<Duration>,
    /// The smallest change of the counter that was seen: a multiple of its quantum.
    #[serde(rename = "smallest_change_j")]
    pub smallest_change: Option<Energy>,
    /// The mean power over the last seconds; `None` before there is one.
    #[serde(rename = "power_w")]
    pub power: Option<Power>,
    /// Good reads, and those that failed.
    pub reads: u64,
    /// Reads that failed.
    pub failed: u64,
    /// How long a read took, in the median and for all but one of a hundred, to a fifth.
    #[serde(rename = "call_p50_s", serialize_with = "maybe_seconds")]
    pub call: Option<Duration>,
    /// The same for all but one of a hundred.
    #[serde(rename = "call_p99_s", serialize_with = "maybe_seconds")]
    pub slow_call: Option<Duration>,
    /// The counter's power over that of the gauge beside it, where there is one, and the ratio's standard uncertainty.
    pub agreement: Option<(f64, f64)>,
    /// Why the sensor is not to be trusted, each reason in words; none as a rule. If a counter and the power beside it
    /// differ by more than a tenth, the energy's uncertainty covers both.
    pub doubts: Vec<String>,
    /// True if there is any doubt.
    pub suspect: bool,
}

impl Trial {
    pub(crate) fn of(channel: &Channel) -> Trial {
        let told = channel.told();
        let (series, calls) = (&told.series, &told.calls);
        let off = told.agreement.filter(|agreement| agreement::doubt(*agreement).is_some());
        Trial {
            domain: channel.specification.domain.id.clone(),
            complete: told.tried,
            period: series.observed_period(),
            jitter: series.jitter(),
            smallest_change: series.smallest_change(),
            power: series.recent_power(),
            reads: calls.good,
            failed: calls.failed,
            call: calls.percentile(0.5),
            slow_call: calls.percentile(0.99),
            agreement: told.agreement,
            doubts: off.map(agreement::words).into_iter().collect(),
            suspect: off.is_some(),
        }
    }

    pub(crate) fn doubt(&mut self, reason: String) {
        self.doubts.push(reason);
        self.suspect = true;
    }
}

#[expect(clippy::ref_option, reason = "the signature that serde asks for")]
fn maybe_seconds<S: serde::Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    Serialize::serialize(&time.map(|time| time.as_secs_f64()), serializer)
}
