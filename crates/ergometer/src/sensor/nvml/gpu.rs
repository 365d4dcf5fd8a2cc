//! One NVIDIA GPU, or a superchip's module, or a GPU's memory, as a sensor.

use std::time::Duration;

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use super::architecture::PowerSensor;
use super::failure::{explain, is_gone};
use super::method::{Limit, Method};
use super::raw::{self, Scope};
use super::register::Register;
use super::sharing::Processes;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::sensor::{Domain, Hardware, Quantity, Reading, Sensor, Specification};
use crate::units::{Energy, Power, Timestamp};

/// One physical GPU, or what is reported in its place or of a part of it.
pub(super) struct Gpu {
    nvml: &'static Nvml,
    device: Device<'static>,
    uuid: String,
    method: Method,
    check: Option<Method>,
    limit: Limit,
    register: Register,
    /// When it was last looked for, while it is lost, and whether the library has to be initialised again for that.
    lost: Option<(Timestamp, bool)>,
    specification: Specification,
}

/// A GPU that is lost is looked for this often: it may hold up the driver for all others.
const RETRY: Duration = Duration::from_secs(1);

impl Gpu {
    /// Opens the GPU behind `device`, which may stand for one of its instances.
    pub(super) fn open(device: Device<'static>) -> Result<Gpu> {
        let device = physical(device)?;
        let model = device.name().unwrap_or_else(|_| "NVIDIA GPU".to_owned());
        let uuid = device.uuid().map_err(|error| explain(&model, error))?;
        let sensor = PowerSensor::of(&device, &model);
        let limit = |scope| Limit::of(&device, scope);
        let method = Method::of(&device, &sensor, &format!("{model} ({uuid})"), limit)?;
        Ok(Gpu::new(device, uuid, &model, &sensor, method))
    }

    /// The memory of this GPU, where the driver gives its power.
    pub(super) fn memory(&self) -> Option<Gpu> {
        let device = self.nvml.device_by_uuid(self.uuid.as_str()).ok()?;
        let method = Method::of_memory(&device, &Limit::of(&device, Scope::Memory))?;
        let model = self.specification.domain.name.clone();
        let sensor = PowerSensor::of(&device, &model);
        Some(Gpu::new(device, self.uuid.clone(), &model, &sensor, method))
    }

    fn new(
        device: Device<'static>,
        uuid: String,
        model: &str,
        sensor: &PowerSensor,
        method: Method,
    ) -> Gpu {
        let limit = Limit::of(&device, method.scope());
        let split = device.mig_mode().is_ok_and(|mode| mode.current != 0);
        let specification = specification(&uuid, model, sensor, method, limit, split);
        Gpu {
            nvml: device.nvml(),
            check: method.cross_check(&device, sensor),
            register: Register::new(limit.most, limit.ceiling, specification.quantum),
            device,
            uuid,
            method,
            limit,
            lost: None,
            specification,
        }
    }

    /// True if what is read is the module of a superchip.
    pub(super) fn is_module(&self) -> bool {
        self.method.scope() == Scope::Module
    }

    /// What the driver gives now, as it is.
    pub(super) fn raw(&self) -> Option<Quantity> {
        self.method.read(&self.device).ok()
    }

    /// Looks for a GPU that is lost, at most once in [`RETRY`].
    fn find(&mut self, now: Timestamp) -> Result<()> {
        let Some((asked, uninitialised)) = self.lost else { return Ok(()) };
        if now.since(asked) < RETRY {
            let what = format!("{}: it is lost, and looked for each second", self.name());
            return Err(Error::lost(what));
        }
        self.lost = Some((now, uninitialised));
        if uninitialised {
            raw::init_again(self.nvml).map_err(|error| explain("NVML", error))?;
        }
        self.device = self
            .nvml
            .device_by_uuid(self.uuid.as_str())
            .map_err(|error| explain(&self.name(), error))?;
        Ok(())
    }

    fn name(&self) -> String {
        format!("{} ({})", self.specification.domain.name, self.specification.domain.id)
    }
}

/// The physical GPU behind a device that may stand for one of its instances: energy is known of the board alone.
pub(super) fn physical(device: Device<'static>) -> Result<Device<'static>> {
    match device.mig_is_mig_device_handle() {
        Ok(true) => {
            device.mig_parent_device().map_err(|error| explain("the GPU of a MIG instance", error))
        }
        _ => Ok(device),
    }
}

fn specification(
    uuid: &str,
    model: &str,
    sensor: &PowerSensor,
    method: Method,
    limit: Limit,
    split: bool,
) -> Specification {
    let scope = method.scope();
    let domain = match scope {
        Scope::Gpu | Scope::Module => Domain::new(Hardware::Gpu, uuid, model),
        Scope::Memory => {
            Domain::new(Hardware::Gpu, format!("{uuid}:memory"), format!("{model} memory"))
        }
    };
    let specification = if method.counts() {
        Specification::counter(domain, method.source())
    } else {
        Specification::gauge(domain, method.source())
    };
    let split = if split { ", all of its MIG instances together" } else { "" };
    let covered = match scope {
        Scope::Gpu => format!(
            "the GPU's board with its memory{split}; not the host, NVSwitch or power supply"
        ),
        Scope::Module => format!(
            "module: GPU and its processor, with the memory of both{split}; the driver does not give the GPU alone; not \
             NVSwitch or power supply"
        ),
        Scope::Memory => "the GPU's memory, a part of its board".to_owned(),
    };
    let seen = match sensor.duty {
        duty if duty >= 1.0 => String::new(),
        duty if method.counts() => format!(
            "; the power sensor looks at {:.0} % of the time, and whether the counter sees the rest is not known",
            duty * 100.0
        ),
        duty => format!("; the power sensor looks at {:.0} % of the time", duty * 100.0),
    };
    Specification {
        stack: "nvml".to_owned(),
        scope: covered + &seen,
        quantum: if method.counts() { Energy::from_millijoules(1) } else { Energy::ZERO },
        period: sensor.period,
        averaging: if method.is_mean() { MEAN } else { Duration::ZERO },
        duty: sensor.duty,
        // A value describes its update period; anything from no age to this is taken to be as likely.
        delay: sensor.period / 2,
        // The memory's power is not in the sum, and each call costs all the driver's clients.
        interval: match scope {
            Scope::Memory => sensor.period / 2,
            Scope::Gpu | Scope::Module => Duration::from_millis(20),
        },
        gain: sensor.gain,
        offset: sensor.offset,
        // Cards of one model err alike: four RTX 3090 within 0.7 %, models by several % (arXiv 2312.02741).
        family: match scope {
            Scope::Gpu => model.to_owned(),
            Scope::Module => format!("{model} module"),
            Scope::Memory => format!("{model} memory"),
        },
        most: limit.most,
        in_total: scope != Scope::Memory,
        includes: match scope {
            Scope::Module => vec![Hardware::Cpu, Hardware::Dram],
            Scope::Gpu | Scope::Memory => Vec::new(),
        },
        ..specification
    }
}

/// NVML's header: the average of power is over one second.
const MEAN: Duration = Duration::from_secs(1);

impl Sensor for Gpu {
    fn specification(&self) -> &Specification {
        &self.specification
    }

    fn read(&mut self, clock: &Clock) -> Result<Reading> {
        self.find(clock.now())?;
        let (before, read, after) = clock.bracket(|| self.method.read(&self.device));
        let quantity = read.map_err(|error| {
            if is_gone(&error) {
                self.lost = Some((after, matches!(error, NvmlError::Uninitialized)));
            }
            explain(&self.name(), error)
        })?;
        self.lost = None;
        match quantity {
            Quantity::Counter(raw) => {
                let (energy, incident) = self
                    .register
                    .accept(raw, before.midpoint(after))
                    .map_err(|error| error.at(self.name()))?;
                Ok(Reading { before, after, quantity: Quantity::Counter(energy), incident })
            }
            Quantity::Gauge(power) if !self.limit.allows(quantity) => {
                Err(Error::lost(format!("{}: a power of {power}, which is absurd", self.name())))
            }
            gauge => Ok(Reading::new(before, gauge, after)),
        }
    }

    fn sharing(&mut self) -> Option<String> {
        if self.lost.is_some() {
            return None;
        }
        let device = self.nvml.device_by_uuid(self.uuid.as_str()).ok()?;
        match Processes::of(device).others() {
            Ok(Some(1)) => {
                Some("another process computes on this GPU; the energy is that of both".to_owned())
            }
            Ok(Some(others)) if others > 1 => Some(format!(
                "{others} other processes compute on this GPU; the energy is that of all"
            )),
            _ => None,
        }
    }

    fn cross_check(&mut self) -> Option<Power> {
        let check = self.check.filter(|_| self.lost.is_none())?;
        match check.read(&self.device).ok()? {
            gauge @ Quantity::Gauge(power) if self.limit.allows(gauge) => Some(power),
            _ => None,
        }
    }
}
