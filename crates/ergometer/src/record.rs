//! What a window became: an energy with its uncertainty, provenance and quality, as a line of the log.
//!
//! Plain data. The field names here are the log's format (`docs/log-format.md`), so they carry their units.

mod manifest;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::units::{Energy, Power, Timestamp};

pub use manifest::{
    ClockAnchor, Framework, Machine, Manifest, Methods, Program, State, Unmeasured,
};

/// How far an energy can be trusted, from best to worst; a sum is as good as its worst part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quality {
    /// From a sensor, and the window's boundaries cost at most 5 % of its energy (k = 1).
    Measured,
    /// From a sensor, but the window is shorter than the sensor resolves: its share, by time, of what was measured around it.
    Amortised,
    /// From a model, in whole or in part: no sensor measured it.
    Estimated,
    /// Part of the window was not covered by readings; the energy is what was seen.
    Partial,
    /// Too short to say anything about; the energy is in the enclosing window.
    Unresolved,
}

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Quality::Measured => "measured",
            Quality::Amortised => "amortised",
            Quality::Estimated => "estimated",
            Quality::Partial => "partial",
            Quality::Unresolved => "unresolved",
        })
    }
}

/// An energy, its standard uncertainty (k = 1) and its quality.
///
/// `energy` is `None` where nothing can be said, never 0. Printed, it reads `812.4 J ± 5.7 J measured`, with the
/// expanded uncertainty (k = 2).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The energy; missing where the window is too short to say anything, or nothing covered it.
    #[serde(rename = "energy_j")]
    pub energy: Option<Energy>,
    /// Its standard uncertainty (k = 1).
    #[serde(rename = "u_j")]
    pub uncertainty: Option<Energy>,
    /// How far it can be trusted.
    pub quality: Quality,
}

impl Estimate {
    /// Nothing is known.
    pub const fn unresolved() -> Self {
        Estimate { energy: None, uncertainty: None, quality: Quality::Unresolved }
    }

    /// The expanded uncertainty, k = 2.
    pub fn expanded(&self) -> Option<Energy> {
        self.uncertainty.map(|uncertainty| uncertainty + uncertainty)
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.energy, self.expanded()) {
            (Some(energy), Some(expanded)) => {
                write!(f, "{} {}", energy.plus_minus(expanded), self.quality)
            }
            _ => write!(f, "{}", self.quality),
        }
    }
}

/// The energy of one domain within a window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// The energy; `None` where nothing can be said.
    #[serde(rename = "energy_j")]
    pub energy: Option<Energy>,
    /// Its standard uncertainty (k = 1).
    #[serde(rename = "u_j")]
    pub uncertainty: Option<Energy>,
    /// How far it can be trusted.
    pub quality: Quality,
    /// Cumulative energy of the domain over the run at the window's end, sessions before a resume included.
    #[serde(rename = "total_j")]
    pub total: Energy,
    /// False for what is reported beside the sum, because it overlaps other domains.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub in_total: bool,
}

impl Share {
    /// The share as an estimate of its own.
    pub const fn estimate(&self) -> Estimate {
        Estimate { energy: self.energy, uncertainty: self.uncertainty, quality: self.quality }
    }
}

/// One window's line: a `step`, an `epoch`, a `phase`, or the `end`, whose window is the whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What kind of window this was.
    pub kind: Kind,
    /// The run.
    pub run_id: String,
    /// The rank of the writing process.
    pub rank: u32,
    /// The machine.
    pub host: String,
    /// How often the run had been resumed: 0 for the first time.
    pub session: u32,
    /// The lane (thread) within the process; 0 is the run's own.
    pub lane: u32,
    /// The window's number, unique within rank, session and lane.
    pub id: u64,
    /// The window that this one was opened in.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parent: Option<u64>,
    /// The epoch's number, as the program counts; on a step or phase, the epoch that it adds to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub epoch: Option<u64>,
    /// The step's number, counted over the whole run from 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub step: Option<u64>,
    /// The phase's name; on a step, the phase that it is part of.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub phase: Option<String>,
    /// When the window opened, on the monotonic clock.
    #[serde(rename = "t_start_ns")]
    pub start: Timestamp,
    /// When the window closed.
    #[serde(rename = "t_end_ns")]
    pub end: Timestamp,
    /// The time between, without pauses between sessions.
    #[serde(rename = "duration_s", with = "crate::sensor::seconds")]
    pub duration: Duration,
    /// The energy of all domains in the total.
    #[serde(rename = "energy_j")]
    pub energy: Option<Energy>,
    /// Its standard uncertainty (k = 1).
    #[serde(rename = "u_j")]
    pub uncertainty: Option<Energy>,
    /// How far it can be trusted: as far as its worst part.
    pub quality: Quality,
    /// The energy of each domain.
    pub domains: BTreeMap<String, Share>,
    /// Cumulative energy of the run at the window's end, sessions before a resume included.
    #[serde(rename = "total_j")]
    pub total: Energy,
    /// Samples trained on within the window.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub samples: Option<u64>,
    /// Tokens trained on within the window.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tokens: Option<u64>,
    /// Steps within the window, epoch and end only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub steps: Option<u64>,
    /// Epochs within the window, end only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub epochs: Option<u64>,
    /// The window's energy less what its steps (on an epoch) or its epochs (on the end) carry: their sum and this are
    /// exactly `energy_j`.
    #[serde(rename = "remainder_j", skip_serializing_if = "Option::is_none", default)]
    pub remainder: Option<Energy>,
    /// The part of the window's energy that phases within it carry.
    #[serde(rename = "phases_j", skip_serializing_if = "Option::is_none", default)]
    pub phases: Option<Energy>,
    /// The time that a step waited for its data.
    #[serde(
        rename = "data_s",
        with = "maybe_seconds",
        skip_serializing_if = "Option::is_none",
        default
    )]
    pub data: Option<Duration>,
    /// How many intervals between updates of the slowest sensor the window spans.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub intervals: Option<f64>,
    /// What the program measured itself: loss, accuracy. What is no finite number is `null` in the log, and NaN here.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default, deserialize_with = "numbers")]
    pub metrics: BTreeMap<String, f64>,
    /// How the window ended.
    pub status: Status,
    /// Why the run stopped, where something stopped it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// What is left of the energy after that of an idle machine, where a baseline was given: gross − P·T. Below zero where
    /// the machine used less than that.
    #[serde(rename = "net_j", skip_serializing_if = "Option::is_none", default)]
    pub net: Option<Energy>,
    /// Its standard uncertainty (k = 1).
    #[serde(rename = "u_net_j", skip_serializing_if = "Option::is_none", default)]
    pub net_uncertainty: Option<Energy>,
    /// How much of the energy was this process's own, where it was asked for: a model.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub process: Option<ProcessShare>,
    /// The mean power of what the program did in turns, end only.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub activities: Vec<Activity>,
    /// What measuring cost, end only.
    #[serde(rename = "meter", skip_serializing_if = "Option::is_none", default)]
    pub cost: Option<Cost>,
}

/// A model of how much of a window's energy was this process's own; no sensor knows that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessShare {
    /// The energy: active energy of processors and memory by CPU time, and GPUs whole.
    #[serde(rename = "energy_j")]
    pub energy: Energy,
    /// Its standard uncertainty (k = 1), with 20 % of what was split by CPU time.
    #[serde(rename = "u_j")]
    pub uncertainty: Energy,
    /// This process's part of the CPU time that was spent busy, from 0 to 1.
    pub fraction: f64,
    /// The model, in a word; the manifest has it in full.
    pub model: String,
}

/// The mean power of something that the program did in turns: its steps, a phase, or the rest.
///
/// By least squares over the intervals between updates, so that turns are told apart that are shorter than these. Only
/// there if the turns vary enough to be told apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Activity {
    /// `step`, the phase's name, or `other`.
    pub name: String,
    /// How long, over the run.
    #[serde(rename = "time_s", with = "crate::sensor::seconds")]
    pub time: Duration,
    /// The mean power, of the measured sensors in the total.
    #[serde(rename = "power_w")]
    pub power: Power,
    /// Its standard uncertainty from the fit; the sensors' gain comes on top, and is the same for all activities.
    #[serde(rename = "u_w")]
    pub uncertainty: Power,
}

/// What measuring cost over a run: of this process, in the threads that belong to the meter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Processor time of the sampler threads (of all runs in progress) and of the run's recorder.
    #[serde(rename = "cpu_s", with = "crate::sensor::seconds")]
    pub processor: Duration,
    /// Reads of sensors.
    pub reads: u64,
    /// Reads that failed.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub failed: u64,
    /// How long the call took that half of the calls were faster than, to a fifth.
    #[serde(rename = "call_p50_s", with = "maybe_seconds", default)]
    pub median: Option<Duration>,
    /// How long the call took that 99 % of the calls were faster than, to a fifth.
    #[serde(rename = "call_p99_s", with = "maybe_seconds", default)]
    pub slowest: Option<Duration>,
}

impl Record {
    /// Energy, uncertainty and quality of all domains in the total.
    pub const fn estimate(&self) -> Estimate {
        Estimate { energy: self.energy, uncertainty: self.uncertainty, quality: self.quality }
    }

    /// The mean power over the window.
    pub fn power(&self) -> Option<Power> {
        self.energy?.over(self.duration)
    }

    /// The energy net of an idle machine's, as good as the gross energy; `None` without a baseline.
    pub fn net(&self) -> Option<Estimate> {
        let (energy, uncertainty) = (Some(self.net?), self.net_uncertainty);
        Some(Estimate { energy, uncertainty, quality: self.quality })
    }

    /// The energy for each sample.
    pub fn energy_per_sample(&self) -> Option<Energy> {
        per(self.energy?, self.samples?)
    }

    /// The energy for each token.
    pub fn energy_per_token(&self) -> Option<Energy> {
        per(self.energy?, self.tokens?)
    }
}

fn per(energy: Energy, count: u64) -> Option<Energy> {
    (count > 0).then(|| Energy::from_nanojoules(energy.as_nanojoules() / i128::from(count)))
}

/// The kinds of window that a record can stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// One update of the model, or what the program takes for one.
    Step,
    /// One pass over the training data, or what the program takes for one.
    Epoch,
    /// A named part: an evaluation, a checkpoint.
    Phase,
    /// The whole run.
    End,
}

/// How a window ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// As planned.
    Complete,
    /// Left early, by `break`, `return` or `?`; its energy counts all the same.
    Dropped,
    /// Left by a panic.
    Panicked,
    /// Still open when the window around it closed, which closed it.
    Orphaned,
    /// The process ended within it; the record was made up from what the log held when the run was resumed.
    Interrupted,
    /// A budget that the user set asked the loop to stop.
    Stopped,
}

/// Something that happened beside the windows: a sensor that was reset or lost, a resume, progress in a long window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Always `event`.
    pub kind: EventKind,
    /// The run.
    pub run_id: String,
    /// The rank of the writing process.
    pub rank: u32,
    /// The machine.
    pub host: String,
    /// How often the run had been resumed.
    pub session: u32,
    /// When it was noticed.
    #[serde(rename = "t_ns")]
    pub at: Timestamp,
    /// What happened. To a sensor: `wrap`, `reset`, `ambiguous`, `suspend`, `gap`, `stalled`, `sensor-lost`, `sensor-back`,
    /// `suspect`, `aliasing`. To the run: `overflow`, `fence-failed`, `resumed`, `progress`, `metrics`, `budget`, `contention`,
    /// `process-share`.
    pub event: String,
    /// The domain that it happened to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub domain: Option<String>,
    /// Details in words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
    /// Cumulative energy of the run, on `progress`.
    #[serde(rename = "total_j", skip_serializing_if = "Option::is_none", default)]
    pub total: Option<Energy>,
    /// Cumulative energy of each domain, on `progress`.
    #[serde(rename = "domains_j", skip_serializing_if = "BTreeMap::is_empty", default)]
    pub domains: BTreeMap<String, Energy>,
    /// The epoch that `metrics` are of.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub epoch: Option<u64>,
    /// What was measured of an epoch after its line was written, on `metrics`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "numbers", default)]
    pub metrics: BTreeMap<String, f64>,
}

/// The `kind` of an [`Event`] line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// The only one.
    #[default]
    Event,
}

/// The first line of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// Always `run`.
    pub kind: StartKind,
    /// Version of the log's format.
    pub version: u32,
    /// The run.
    pub run_id: String,
    /// The rank of the writing process.
    pub rank: u32,
    /// The machine.
    pub host: String,
    /// How often the run had been resumed.
    pub session: u32,
    /// The run's name.
    pub name: String,
    /// Trainable parameters of the model.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parameters: Option<u64>,
    /// The session's start on the monotonic clock.
    #[serde(rename = "t_start_ns")]
    pub start: Timestamp,
    /// The same moment in wall time, in nanoseconds since 1970 UTC.
    pub unix_ns: i64,
}

/// The `kind` of a [`Start`] line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartKind {
    /// The only one.
    #[default]
    Run,
}

/// Version of the log's format, in `run.json` and in each session's first line.
pub const FORMAT_VERSION: u32 = 1;

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_yes(value: &bool) -> bool {
    *value
}

/// JSON has no NaN, and a loss that is one must not make its line unreadable.
fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, f64>, D::Error> {
    // Not as `f64`: serde_json is off in the last places of one in ten of them.
    let numbers = BTreeMap::<String, Box<RawValue>>::deserialize(deserializer)?;
    let number = |text: &str| match text {
        "null" => Ok(f64::NAN),
        text => text.parse().map_err(|_| D::Error::custom(format!("`{text}` is not a number"))),
    };
    let each = |(name, text): (String, Box<RawValue>)| Ok((name, number(text.get())?));
    numbers.into_iter().map(each).collect()
}

mod maybe_seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "the signature that serde asks for")]
    pub(super) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.serialize_f64(time.as_secs_f64()),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<f64>::deserialize(deserializer)?
            .and_then(|time| Duration::try_from_secs_f64(time).ok()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_read_as_it_was_written() {
        #[derive(Deserialize)]
        struct Line {
            #[serde(deserialize_with = "numbers")]
            metrics: BTreeMap<String, f64>,
        }
        let read = |text: &str| {
            serde_json::from_str::<Line>(&format!(r#"{{"metrics":{{"a":{text}}}}}"#))
                .map(|line| line.metrics["a"])
        };
        for divisor in 1..10_000 {
            let value = 1.0 / f64::from(divisor);
            let text = serde_json::to_string(&value).unwrap();
            assert_eq!(read(&text).unwrap().to_bits(), value.to_bits(), "{text}");
        }
        assert!(read("null").unwrap().is_nan());
        assert!(read("\"1\"").is_err() && read("{}").is_err() && read("true").is_err());
    }
}
