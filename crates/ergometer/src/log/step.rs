//! A [`Step`]'s line, read without its domains: what most readers want of the many.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::record::{Estimate, Quality, Status};
use crate::units::{Energy, Timestamp};

/// A step as a log tells of it, without what each domain used.
///
/// Logs are steps for the most part, and reading one whole takes several times as long. The fields are those of a
/// [`Record`](crate::Record).
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Step {
    /// The rank of the writing process.
    pub rank: u32,
    /// The lane (thread) within the process.
    pub lane: u32,
    /// The epoch that it adds to.
    #[serde(default)]
    pub epoch: Option<u64>,
    /// When it began, on the monotonic clock.
    #[serde(rename = "t_start_ns")]
    pub start: Timestamp,
    /// When it ended.
    #[serde(rename = "t_end_ns")]
    pub end: Timestamp,
    /// The energy of all domains in the total; missing where nothing can be said.
    #[serde(rename = "energy_j", deserialize_with = "exactly")]
    pub energy: Option<Energy>,
    /// Its standard uncertainty (k = 1).
    #[serde(rename = "u_j", deserialize_with = "exactly")]
    pub uncertainty: Option<Energy>,
    /// How far it can be trusted.
    pub quality: Quality,
    /// Cumulative energy of the run at its end.
    #[serde(rename = "total_j", deserialize_with = "known")]
    pub total: Energy,
    /// Samples trained on.
    #[serde(default)]
    pub samples: Option<u64>,
    /// Tokens trained on.
    #[serde(default)]
    pub tokens: Option<u64>,
    /// How it ended.
    pub status: Status,
}

impl Step {
    /// Energy, uncertainty and quality of all domains in the total.
    pub const fn estimate(&self) -> Estimate {
        Estimate { energy: self.energy, uncertainty: self.uncertainty, quality: self.quality }
    }
}

/// An energy to the digit, from text that is borrowed: the general way takes a copy of each number.
fn exactly<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Energy>, D::Error> {
    let number = <Option<&RawValue>>::deserialize(deserializer)?;
    number.map(|number| Energy::parse(number.get()).map_err(serde::de::Error::custom)).transpose()
}

fn known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Energy, D::Error> {
    let number = <&RawValue>::deserialize(deserializer)?;
    Energy::parse(number.get()).map_err(serde::de::Error::custom)
}
