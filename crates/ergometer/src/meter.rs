//! The [`Meter`]: which sensors there are, and the threads that read them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::lane::{DeviceClock, Fence};
use crate::log::RunLog;
use crate::record::Framework;
use crate::run::RunBuilder;
use crate::sampler::{Channel, Samplers};
use crate::sensor::{Absence, Found, Search, Selection, Sensor, Specification};
use crate::units::Power;

/// Reads the energy sensors of this machine, and starts runs.
///
/// Clones share the sensors and their threads, which end with the last of them. A program may have several meters.
#[derive(Clone, Debug)]
pub struct Meter(pub(crate) Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) clock: Clock,
    pub(crate) samplers: Samplers,
    pub(crate) channels: Vec<Arc<Channel>>,
    pub(crate) absent: Vec<Absence>,
    pub(crate) fence: Option<Arc<dyn Fence>>,
    pub(crate) device_clock: Option<Arc<dyn DeviceClock>>,
    pub(crate) framework: Option<Framework>,
    pub(crate) log_directory: PathBuf,
}

impl Meter {
    /// Opens every sensor that can be read here: NVIDIA GPUs, CPU packages and memory by RAPL, and for CPU and memory
    /// without a counter a model of them.
    ///
    /// What is there and cannot be read, or is not there, is listed by [`unmeasured`](Meter::unmeasured) with the reason
    /// and the cure. Takes milliseconds without an NVIDIA driver; a driver that hangs is given up after five seconds.
    ///
    /// # Errors
    /// If there is no sensor at all and no model either.
    pub fn detect() -> Result<Meter> {
        Meter::builder().build()
    }

    /// A meter with everything explicit: sensors, clock, directories, libraries.
    pub fn builder() -> MeterBuilder {
        MeterBuilder::default()
    }

    /// Describes a run named `name`; it begins with [`start`](RunBuilder::start).
    pub fn run(&self, name: impl Into<String>) -> RunBuilder {
        RunBuilder::new(self.clone(), name.into())
    }

    /// Goes on with a run that was logged in `directory`: step and epoch numbers and the energy so far are taken over.
    ///
    /// A process that was killed leaves nothing behind its last line; how much time that was is in the log then.
    ///
    /// # Errors
    /// If there is no readable run in the directory.
    pub fn resume(&self, directory: impl AsRef<Path>) -> Result<RunBuilder> {
        Ok(RunBuilder::resume(self.clone(), RunLog::open(directory.as_ref())?))
    }

    /// What is measured, and how well.
    pub fn sensors(&self) -> impl Iterator<Item = &Specification> {
        self.0.channels.iter().map(|channel| &channel.specification)
    }

    /// What could be measured and is not, with the reason and the cure.
    pub fn unmeasured(&self) -> &[Absence] {
        &self.0.absent
    }

    /// The clock of all its timestamps.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter")
            .field("channels", &self.channels)
            .field("absent", &self.absent)
            .finish_non_exhaustive()
    }
}

/// Puts a [`Meter`] together.
///
/// With sensors of its own it has these only, unless [`detected`](MeterBuilder::detected) asks for the machine's as well.
#[derive(Default)]
#[must_use = "a builder does nothing until `build`"]
pub struct MeterBuilder {
    sensors: Vec<Box<dyn Sensor>>,
    detected: bool,
    clock: Clock,
    search: Search,
    absent: Vec<Absence>,
    fence: Option<Arc<dyn Fence>>,
    device_clock: Option<Arc<dyn DeviceClock>>,
    framework: Option<Framework>,
    log_directory: Option<PathBuf>,
}

impl MeterBuilder {
    /// Adds a sensor: one of the crate's, a fake, or the user's own.
    pub fn sensor(mut self, sensor: impl Sensor + 'static) -> Self {
        self.sensors.push(Box::new(sensor));
        self
    }

    /// Opens the machine's sensors too, beside those that were added.
    pub fn detected(mut self) -> Self {
        self.detected = true;
        self
    }

    /// The clock of all timestamps; a [`FakeClock`](crate::FakeClock)'s in tests.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Another root than `/sys`: a bind mount of the host's in a container, or a written tree.
    pub fn sysfs(mut self, root: impl Into<PathBuf>) -> Self {
        self.search.sysfs = root.into();
        self
    }

    /// Another root than `/dev`, for the sources that are devices.
    pub fn devices(mut self, root: impl Into<PathBuf>) -> Self {
        self.search.devices = root.into();
        self
    }

    /// Another root than `/proc`.
    pub fn procfs(mut self, root: impl Into<PathBuf>) -> Self {
        self.search.procfs = root.into();
        self
    }

    /// Another NVML library than the driver's `libnvidia-ml.so.1`.
    pub fn nvml_library(mut self, path: impl Into<PathBuf>) -> Self {
        self.search.nvml_library = Some(path.into());
        self
    }

    /// The GPUs to measure; all of them by default.
    pub fn gpus(mut self, selection: Selection) -> Self {
        self.search.gpus = selection;
        self
    }

    /// The processor's thermal design power, for the model; better than what a table says.
    pub fn thermal_design_power(mut self, power: Power) -> Self {
        self.search.thermal_design_power = Some(power);
        self
    }

    /// Says of something that it is not measured, and why. For adapters, which know what a framework's device is.
    pub fn unmeasured(mut self, source: impl Into<String>, error: Error) -> Self {
        self.absent.push(Absence { source: source.into(), error });
        self
    }

    /// What to wait for where epochs and phases open and close.
    pub fn fence(mut self, fence: impl Fence + 'static) -> Self {
        self.fence = Some(Arc::new(fence));
        self
    }

    /// The device's own clock at step boundaries.
    pub fn device_clock(mut self, clock: impl DeviceClock + 'static) -> Self {
        self.device_clock = Some(Arc::new(clock));
        self
    }

    /// The framework that trains, for the manifest.
    pub fn framework(mut self, framework: Framework) -> Self {
        self.framework = Some(framework);
        self
    }

    /// Where runs are logged; `runs` by default. Each makes a directory of its own there.
    pub fn log_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.log_directory = Some(directory.into());
        self
    }

    /// Opens the sensors and starts their threads.
    ///
    /// # Errors
    /// If there is no sensor at all, or the system starts no more threads.
    pub fn build(mut self) -> Result<Meter> {
        let mut found = Found {
            sensors: std::mem::take(&mut self.sensors),
            absent: std::mem::take(&mut self.absent),
            ..Found::default()
        };
        if self.detected || found.sensors.is_empty() {
            found.extend(self.search.run());
        }
        if found.sensors.is_empty() {
            let reasons: Vec<_> = found
                .absent
                .iter()
                .map(|absence| format!("{}: {}", absence.source, absence.error))
                .collect();
            return Err(Error::new(
                Kind::NoSensor,
                format!("no energy sensor can be read here ({})", reasons.join(" | ")),
            )
            .cure("run `ergometer doctor`"));
        }
        let (samplers, channels) = Samplers::start(found.sensors, &self.clock)?;
        Ok(Meter(Arc::new(Parts {
            clock: self.clock,
            samplers,
            channels,
            absent: found.absent,
            fence: self.fence,
            device_clock: self.device_clock,
            framework: self.framework,
            log_directory: self.log_directory.unwrap_or_else(|| PathBuf::from("runs")),
        })))
    }
}

impl fmt::Debug for MeterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeterBuilder").field("search", &self.search).finish_non_exhaustive()
    }
}
