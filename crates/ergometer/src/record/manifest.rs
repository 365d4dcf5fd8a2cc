//! The manifest of a run, `run.json`: what ran where, what measured it, and what did not.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::baseline::Baseline;
use crate::sensor::Specification;
use crate::units::Timestamp;

/// What could have been measured, and why it was not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmeasured {
    /// The source or the part of the machine.
    pub source: String,
    /// Why not.
    pub reason: String,
    /// What can be done about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cure: Option<String>,
}

/// The manifest of a run, `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always `ergometer-run`.
    pub format: String,
    /// Version of the format.
    pub version: u32,
    /// The run's id, the name of its directory.
    pub run_id: String,
    /// The run's name.
    pub name: String,
    /// Start of the first session, RFC 3339 in UTC.
    pub created: String,
    /// `running`, or the status of the end.
    pub state: State,
    /// Trainable parameters of the model.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parameters: Option<u64>,
    /// Epochs that the program means to train in all, as far as it has said.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub planned_epochs: Option<u64>,
    /// What the user noted: seed, data set, batch size.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub notes: BTreeMap<String, String>,
    /// The program.
    pub program: Program,
    /// The machine.
    pub machine: Machine,
    /// The framework, as its adapter tells.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub framework: Option<Framework>,
    /// The clock of all timestamps, anchored to wall time.
    pub clock: ClockAnchor,
    /// What measured, and how well.
    pub sensors: Vec<Specification>,
    /// What could have been measured and was not.
    pub unmeasured: Vec<Unmeasured>,
    /// How the numbers were made.
    pub methods: Methods,
    /// The idle power that net energies are net of, where there are any.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub baseline: Option<Baseline>,
    /// How often the run was started: 1, and one more for each resume.
    pub sessions: u32,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Not ended, or ended without a word (killed, out of power).
    Running,
    /// Ended as planned.
    Complete,
    /// Left without `finish`.
    Dropped,
    /// Left by a panic.
    Panicked,
    /// Stopped by a budget.
    Stopped,
}

/// The program that was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its file name.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    /// The version of this crate.
    pub ergometer: String,
}

/// The machine that it ran on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its name.
    pub host: String,
    /// Operating system.
    pub os: String,
    /// Processor architecture.
    pub architecture: String,
    /// Processor name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cpu: Option<String>,
    /// Hardware threads that the program may use.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub threads: Option<usize>,
    /// The kernel's id of this boot: timestamps compare only within one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub boot_id: Option<String>,
}

/// The framework that trained.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Framework {
    /// `candle`, `burn`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The device in the framework's words.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub device: Option<String>,
    /// Worker threads of its CPU backend.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub threads: Option<usize>,
}

/// One moment on both clocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockAnchor {
    /// The monotonic clock's name.
    pub name: String,
    /// The moment on it.
    #[serde(rename = "anchor_ns")]
    pub anchor: Timestamp,
    /// The same moment in nanoseconds since 1970 UTC.
    pub unix_ns: i64,
}

/// How the numbers of a run were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Methods {
    /// What a total covers.
    pub total: String,
    /// What `u_j` is.
    pub uncertainty: String,
    /// When the device is waited for.
    pub boundaries: String,
    /// The model of the process's own share, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub process: Option<String>,
}
