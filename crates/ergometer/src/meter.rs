//! The [`Meter`]: which sensors there are, and the threads that read them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::baseline::Baseline;
use crate::channel::Channel;
use crate::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::lane::{DeviceClock, Fence};
use crate::log::RunLog;
use crate::record::Framework;
use crate::run::RunBuilder;
use crate::sampler::Samplers;
use crate::sensor::rapl::plausibility;
use crate::sensor::{
    Absence, Calibration, Found, Provenance, Search, Selection, Sensor, Specification,
};
use crate::trial::Trial;
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
    /// Where CPU times are read; `None` where they do not go with the clock.
    pub(crate) procfs: Option<PathBuf>,
    pub(crate) runs: Runs,
}

/// How many runs there have been.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    started: AtomicU64,
    over: AtomicU64,
}

impl Runs {
    pub(crate) fn started(&self) -> u64 {
        self.started.load(Ordering::Acquire)
    }

    pub(crate) fn in_progress(&self) -> bool {
        self.started() > self.over.load(Ordering::Acquire)
    }
}

impl Parts {
    /// Says that a run begins, so that the sensors are read at their full rate, from now.
    pub(crate) fn begin_run(&self) {
        self.runs.started.fetch_add(1, Ordering::AcqRel);
        self.samplers.wake();
    }

    /// Says that a run is over.
    pub(crate) fn end_run(&self) {
        self.samplers.rest();
        self.runs.over.fetch_add(1, Ordering::AcqRel);
    }
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

    /// What is known of each sensor by trying it.
    ///
    /// The trial begins with the meter, on its own threads, and takes about a second; nothing has to ask for it. Who asks
    /// here waits for its end, and then, up to `patience` in all, until the time between updates is known of every sensor,
    /// which are read at their full rate meanwhile.
    pub fn trials(&self, patience: Duration) -> Vec<Trial> {
        let (clock, deadline) = (&self.0.clock, self.0.clock.now() + patience);
        let alarm = clock.alarm();
        let known = |channel: &Channel| {
            let told = channel.told();
            let model = channel.specification.provenance == Provenance::Model;
            let seen = told.series.recent_power().is_some();
            told.tried && told.calls.good > 0 && seen && (model || told.series.is_period_known())
        };
        self.0.samplers.wake();
        while clock.now() < deadline && !self.0.channels.iter().all(|channel| known(channel)) {
            let pause = Duration::from_millis(10);
            match clock.fake() {
                Some(hands) => hands.advance(pause),
                None => clock.rest(&alarm, clock.now() + pause),
            }
        }
        self.0.samplers.rest();
        let mut trials: Vec<_> = self.0.channels.iter().map(|channel| Trial::of(channel)).collect();
        // A model fits whatever it was made to fit.
        let measured = |channel: &Channel| channel.specification.provenance != Provenance::Model;
        let powers = self.0.channels.iter().zip(&trials).filter(|(channel, _)| measured(channel));
        let powers: Vec<_> = powers
            .filter_map(|(channel, trial)| {
                Some((channel.specification.domain.clone(), trial.power?))
            })
            .collect();
        for (domain, reason) in plausibility::suspects(&powers) {
            if let Some(trial) = trials.iter_mut().find(|trial| trial.domain == domain.id) {
                trial.doubt(reason);
            }
        }
        trials
    }

    /// Measures the power of the machine while nothing is trained, for net energies: waits for `time`, ten seconds or more.
    ///
    /// To be called in the state that training starts from: device opened, its context created, some work done. See
    /// [`Baseline`] for what it is good for. Not for a training loop: it waits.
    ///
    /// # Errors
    /// If the time is too short, a run of this meter is in progress or starts meanwhile, or no sensor gives its power all
    /// the time. That others were busy meanwhile is no error: [`Baseline::warning`] says so.
    pub fn idle(&self, time: Duration) -> Result<Baseline> {
        Baseline::measure(&self.0, time)
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
    calibrations: Vec<(String, Calibration)>,
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

    /// Another root than `/proc`, for CPU times: a bind mount of the host's in a container, or a written tree.
    pub fn procfs(mut self, root: impl Into<PathBuf>) -> Self {
        self.search.procfs = root.into();
        self
    }

    /// Another NVML library than the driver's `libnvidia-ml.so.1`.
    pub fn nvml_library(mut self, path: impl Into<PathBuf>) -> Self {
        self.search.nvml_library = Some(path.into());
        self
    }

    /// The GPUs to measure; by default those that the environment lets the program train on.
    pub fn gpus(mut self, selection: Selection) -> Self {
        self.search.gpus = selection;
        self
    }

    /// The processor's thermal design power, for the model; better than what a table says.
    pub fn thermal_design_power(mut self, power: Power) -> Self {
        self.search.thermal_design_power = Some(power);
        self
    }

    /// Puts the sensor of a domain (`gpu:GPU-…`, `cpu:package-0`) right by what a reference instrument found out about it.
    ///
    /// Its energy is then a·E + b·T, with the calibration's uncertainties for gain and offset; sensors that are calibrated
    /// on their own no longer share a gain error with their family. A domain that is not there is not calibrated, which
    /// [`Meter::unmeasured`] says.
    pub fn calibration(mut self, domain: impl Into<String>, calibration: Calibration) -> Self {
        self.calibrations.push((domain.into(), calibration));
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
        for (domain, _) in &self.calibrations {
            if !found.sensors.iter().any(|sensor| sensor.specification().domain.id == *domain) {
                let error = Error::absent(format!(
                    "there is a calibration of {domain}, and no such sensor"
                ))
                .cure("`ergometer doctor` lists the domains");
                found.absent.push(Absence { source: format!("calibration of {domain}"), error });
            }
        }
        // The machine's CPU time does not go with a fake clock; a written tree may.
        let real = self.clock.fake().is_none() || self.search.procfs != Search::default().procfs;
        let procfs = real.then(|| self.search.procfs.clone());
        let (samplers, channels) = Samplers::start(found.sensors, &self.calibrations, &self.clock)?;
        Ok(Meter(Arc::new(Parts {
            clock: self.clock,
            samplers,
            channels,
            absent: found.absent,
            fence: self.fence,
            device_clock: self.device_clock,
            framework: self.framework,
            log_directory: self.log_directory.unwrap_or_else(|| PathBuf::from("runs")),
            procfs,
            runs: Runs::default(),
        })))
    }
}

impl fmt::Debug for MeterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeterBuilder").field("search", &self.search).finish_non_exhaustive()
    }
}
