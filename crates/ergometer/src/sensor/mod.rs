//! What can be read: the [`Sensor`] trait, and one file for each source.
//!
//! New hardware is one new file here: something that implements [`Sensor`], and a line in [`Search::run`].

pub mod amdgpu;
mod attempt;
pub(crate) mod attribute;
pub mod battery;
mod calibration;
pub mod counter;
pub mod fake;
mod gauge;
pub mod hsmp;
pub mod hwmon;
pub mod intel_gpu;
mod machine;
pub mod model;
pub mod nvml;
mod pci;
pub mod rapl;
mod search;
mod selection;

pub use calibration::{Calibration, Level};
pub use search::Search;
pub use selection::Selection;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::units::{Energy, Power, Timestamp};

/// Something readable that covers one [`Domain`]: an energy counter or a power gauge.
///
/// A sensor lives on its driver stack's own thread, so a read may take its time; it never runs on a training thread.
pub trait Sensor: Send {
    /// What the sensor covers and how well, fixed when it was opened.
    fn specification(&self) -> &Specification;

    /// Reads the sensor once, between two reads of `clock`.
    ///
    /// A counter that leaves here never decreases: a wrap has been undone, a reset has been bridged and is said.
    ///
    /// # Errors
    /// If this read failed. The sampler counts it and tries again; the record says that the sensor was lost meanwhile.
    fn read(&mut self, clock: &Clock) -> Result<Reading>;

    /// The power now by another way than [`read`](Sensor::read), to hold the first against; `None` where there is none.
    ///
    /// Asked for now and then, never at each reading.
    fn cross_check(&mut self) -> Option<Power> {
        None
    }

    /// Who else uses the hardware now, in words; `None` where nobody is seen, which need not mean that nobody is there.
    ///
    /// May take a driver milliseconds: asked for when a run starts and at most once a minute.
    fn sharing(&mut self) -> Option<String> {
        None
    }
}

/// What a source found on this machine: sensors to read, and what cannot be read and why.
#[derive(Default)]
pub struct Found {
    /// The sensors that gave a first reading when they were opened.
    pub sensors: Vec<Box<dyn Sensor>>,
    /// Sensors that would do, and are not used because a better one covers their domain.
    pub spare: Vec<Box<dyn Sensor>>,
    /// What is not there, or is there and cannot be read.
    pub absent: Vec<Absence>,
    /// The PCI addresses of the GPUs that the source knows, as NVML writes them: `00000000:17:00.0`.
    pub gpus: Vec<String>,
}

impl Found {
    /// Nothing but a reason.
    pub fn nothing(source: impl Into<String>, error: Error) -> Self {
        Found { absent: vec![Absence { source: source.into(), error }], ..Found::default() }
    }

    /// Takes in what another source found.
    pub fn extend(&mut self, other: Found) {
        self.sensors.extend(other.sensors);
        self.spare.extend(other.spare);
        self.absent.extend(other.absent);
        self.gpus.extend(other.gpus);
    }
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sensors: Vec<_> = self.sensors.iter().map(|sensor| sensor.specification()).collect();
        f.debug_struct("Found").field("sensors", &sensors).field("absent", &self.absent).finish()
    }
}

/// Something that could have been measured, and why it is not.
#[derive(Debug)]
pub struct Absence {
    /// The source or domain: `nvml`, `rapl package-0`.
    pub source: String,
    /// Why, and what the user can do about it.
    pub error: Error,
}

/// One reading, and the time within which it was taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// The clock before the read.
    pub before: Timestamp,
    /// The clock after the read.
    pub after: Timestamp,
    /// What was read.
    pub quantity: Quantity,
    /// What the sensor had to mend to give a reading that never decreases.
    pub incident: Option<Incident>,
}

impl Reading {
    /// A reading without an incident.
    pub const fn new(before: Timestamp, quantity: Quantity, after: Timestamp) -> Self {
        Reading { before, after, quantity, incident: None }
    }
}

/// What a sensor gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// Energy since a fixed moment; never decreases.
    Counter(Energy),
    /// Power now, or a stated mean.
    Gauge(Power),
}

/// What happened to a counter between two readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Incident {
    /// The counter reached its end and started over; nothing is lost.
    Wrap,
    /// The counter was set back (driver reload, resume from suspend); the energy since the reading before is lost.
    Reset,
    /// So much time passed that the counter may have wrapped more than once; the energy is a lower bound.
    Ambiguous,
    /// The machine was asleep since the reading before; what it used meanwhile has no time to belong to.
    Suspend,
}

/// What a sensor covers and how well, fixed when it is opened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Specification {
    /// The part of the machine that is covered.
    pub domain: Domain,
    /// The source in words: `nvml energy counter`, `powercap intel-rapl:0`.
    pub source: String,
    /// The driver stack. One thread reads all sensors of a stack, so that a hanging driver stops only its own.
    pub stack: String,
    /// How the number comes about.
    pub provenance: Provenance,
    /// What the number contains, and what it does not, in words.
    pub scope: String,
    /// The smallest change of the counter; zero where there is none, or for a gauge.
    #[serde(rename = "quantum_j")]
    pub quantum: Energy,
    /// The nominal time between two updates. The true one is observed; nothing relies on this beyond the first seconds.
    #[serde(rename = "period_s", with = "seconds")]
    pub period: Duration,
    /// The time over which a gauge averages; zero for one that gives the power of the moment.
    #[serde(rename = "averaging_s", with = "seconds", default)]
    pub averaging: Duration,
    /// The part of the time that the sensor looks at, from 0 to 1: some look at a quarter of each period.
    #[serde(default = "always")]
    pub duty: f64,
    /// What is published describes the time up to this long ago, or any time in between; how long is not known.
    #[serde(rename = "delay_s", with = "seconds", default)]
    pub delay: Duration,
    /// How often the sampler reads.
    #[serde(rename = "interval_s", with = "seconds")]
    pub interval: Duration,
    /// The energy after which the counter starts over; the sensor undoes it.
    #[serde(rename = "wrap_j", skip_serializing_if = "Option::is_none", default)]
    pub wrap: Option<Energy>,
    /// Standard uncertainty of the gain, relative (k = 1).
    pub gain: f64,
    /// Standard uncertainty of a constant offset (k = 1).
    #[serde(rename = "offset_w")]
    pub offset: Power,
    /// Sensors of one family share their gain's error (correlation 1): identical GPUs, all of RAPL, all models.
    pub family: String,
    /// The lowest power that is plausible.
    #[serde(rename = "power_min_w")]
    pub least: Power,
    /// The highest power that is plausible.
    #[serde(rename = "power_max_w")]
    pub most: Power,
    /// False for what is reported beside the sum because it overlaps other domains (a node meter, psys).
    pub in_total: bool,
    /// What a reference instrument found out about this sensor; its gain and offset are then those of the calibration.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub calibration: Option<Calibration>,
    /// Kinds of hardware that the number contains beside its domain's own: the processor and memory of a superchip's
    /// module. No model stands in for them.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub includes: Vec<Hardware>,
}

impl Specification {
    /// An energy counter over `domain`, read every 20 ms, with no uncertainty of its own yet.
    pub fn counter(domain: Domain, source: impl Into<String>) -> Self {
        let source = source.into();
        Specification {
            family: source.clone(),
            stack: source.clone(),
            domain,
            source,
            provenance: Provenance::Counter,
            scope: String::new(),
            quantum: Energy::ZERO,
            period: Duration::ZERO,
            averaging: Duration::ZERO,
            duty: 1.0,
            delay: Duration::ZERO,
            interval: Duration::from_millis(20),
            wrap: None,
            gain: 0.0,
            offset: Power::ZERO,
            least: Power::ZERO,
            most: Power::from_watts(1_000.0),
            in_total: true,
            calibration: None,
            includes: Vec::new(),
        }
    }

    /// True if the number contains hardware of this kind, as its domain or as a part.
    pub fn contains(&self, hardware: Hardware) -> bool {
        self.domain.hardware == hardware || self.includes.contains(&hardware)
    }

    /// A power gauge over `domain`, read every 20 ms, with no uncertainty of its own yet.
    pub fn gauge(domain: Domain, source: impl Into<String>) -> Self {
        Specification {
            provenance: Provenance::IntegratedPower,
            ..Specification::counter(domain, source)
        }
    }
}

/// How an energy comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Provenance {
    /// The difference of an energy counter.
    Counter,
    /// The integral of a power gauge.
    IntegratedPower,
    /// A model: no sensor measured this energy.
    Model,
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Provenance::Counter => "energy counter",
            Provenance::IntegratedPower => "integrated power",
            Provenance::Model => "model",
        })
    }
}

/// The part of a machine that a sensor covers, with an id that is stable over runs: `gpu:GPU-…`, `cpu:package-0`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Domain {
    /// The stable id.
    pub id: String,
    /// What kind of hardware it is.
    pub hardware: Hardware,
    /// What a person calls it: `NVIDIA H100 PCIe`.
    pub name: String,
}

impl Domain {
    /// A domain of `hardware`, told apart by `key` among its kind.
    pub fn new(hardware: Hardware, key: impl fmt::Display, name: impl Into<String>) -> Self {
        Domain { id: format!("{}:{key}", hardware.prefix()), hardware, name: name.into() }
    }
}

/// The kinds of hardware that a domain can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hardware {
    /// A graphics or compute card.
    Gpu,
    /// A processor package.
    Cpu,
    /// Main memory.
    Dram,
    /// A whole machine.
    Node,
}

impl Hardware {
    /// The part of a domain's id before the colon.
    pub const fn prefix(self) -> &'static str {
        match self {
            Hardware::Gpu => "gpu",
            Hardware::Cpu => "cpu",
            Hardware::Dram => "dram",
            Hardware::Node => "node",
        }
    }
}

fn always() -> f64 {
    1.0
}

/// Durations as seconds, for the manifest and the log.
pub(crate) mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        time: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(time.as_secs_f64())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        f64::deserialize(deserializer)
            .map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default())
    }
}
