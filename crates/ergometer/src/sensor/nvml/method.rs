//! What of a GPU is read, the best first.

use nvml_wrapper::Device;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::sys_exports::field_id::{
    NVML_FI_DEV_ENERGY as ENERGY, NVML_FI_DEV_POWER_AVERAGE as POWER_AVERAGE,
    NVML_FI_DEV_POWER_CURRENT_LIMIT as POWER_LIMIT, NVML_FI_DEV_POWER_INSTANT as POWER_INSTANT,
    NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION as TOTAL_ENERGY,
};

use super::architecture::PowerSensor;
use super::failure::{explain, is_lacking};
use super::raw::{self, Scope};
use crate::error::{Error, Result};
use crate::sensor::Quantity;
use crate::units::{Energy, Power};

/// One way to read a GPU's energy or power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// `nvmlDeviceGetTotalEnergyConsumption`.
    EnergyCounter,
    /// A field that is an energy counter.
    EnergyField(u32, Scope),
    /// The power of the moment, a field.
    InstantaneousPower(Scope),
    /// `nvmlDeviceGetPowerUsage` where it gives the power of the moment.
    PowerUsage,
    /// The mean over the last second, a field.
    MeanPower(Scope),
    /// `nvmlDeviceGetPowerUsage` where it gives the mean over the last second.
    MeanPowerUsage,
}

impl Method {
    /// The best method that this GPU answers to with a plausible value.
    ///
    /// The module of a superchip is read only where the GPU on it cannot be, and a mean over a second only where there
    /// is nothing else.
    ///
    /// # Errors
    /// If it answers to none, or the driver fails.
    pub(super) fn of(
        device: &Device<'_>,
        sensor: &PowerSensor,
        gpu: &str,
        limit: impl Fn(Scope) -> Limit,
    ) -> Result<Method> {
        let (usage, mean) = match sensor.usage_is_instantaneous {
            true => (Some(Method::PowerUsage), None),
            false => (None, Some(Method::MeanPowerUsage)),
        };
        let methods = [
            Method::EnergyCounter,
            Method::EnergyField(ENERGY, Scope::Gpu),
            Method::EnergyField(TOTAL_ENERGY, Scope::Gpu),
            Method::InstantaneousPower(Scope::Gpu),
        ];
        let instead = [
            Method::EnergyField(ENERGY, Scope::Module),
            Method::InstantaneousPower(Scope::Module),
            Method::MeanPower(Scope::Gpu),
        ];
        let mut absurd = None;
        for method in methods.into_iter().chain(usage).chain(instead).chain(mean) {
            match method.read(device) {
                Ok(quantity) if limit(method.scope()).allows(quantity) => return Ok(method),
                Ok(quantity) => absurd = Some(quantity),
                Err(error) if is_lacking(&error) => {}
                Err(error) => return Err(explain(gpu, error)),
            }
        }
        let lacks = "the driver gives neither its energy nor its power";
        let (why, cure) = match absurd {
            Some(quantity) => (
                format!("what it gives is absurd ({})", words(quantity)),
                "see whether `nvidia-smi` shows a power for it; update the NVIDIA driver",
            ),
            None => (
                "as is usual of a virtual GPU (vGPU), or where confidential computing hides it"
                    .to_owned(),
                "on a virtual machine measure on the host; else update the NVIDIA driver",
            ),
        };
        Err(Error::unsupported(format!("{gpu}: {lacks}: {why}")).cure(cure))
    }

    /// How the memory of a GPU is read, if at all; a part of what its board draws.
    pub(super) fn of_memory(device: &Device<'_>, limit: &Limit) -> Option<Method> {
        [Method::InstantaneousPower(Scope::Memory), Method::MeanPower(Scope::Memory)]
            .into_iter()
            .find(|method| method.read(device).is_ok_and(|quantity| limit.allows(quantity)))
    }

    /// Another way to the power of what an energy counter counts.
    pub(super) fn cross_check(self, device: &Device<'_>, sensor: &PowerSensor) -> Option<Method> {
        if !self.counts() {
            return None;
        }
        let usage = sensor.usage_is_instantaneous && self.scope() == Scope::Gpu;
        [Method::InstantaneousPower(self.scope())]
            .into_iter()
            .chain(usage.then_some(Method::PowerUsage))
            .find(|method| method.read(device).is_ok())
    }

    /// True for an energy counter.
    pub(super) const fn counts(self) -> bool {
        matches!(self, Method::EnergyCounter | Method::EnergyField(..))
    }

    /// True for a mean over the last second.
    pub(super) const fn is_mean(self) -> bool {
        matches!(self, Method::MeanPower(_) | Method::MeanPowerUsage)
    }

    pub(super) const fn scope(self) -> Scope {
        match self {
            Method::EnergyField(_, scope)
            | Method::InstantaneousPower(scope)
            | Method::MeanPower(scope) => scope,
            Method::EnergyCounter | Method::PowerUsage | Method::MeanPowerUsage => Scope::Gpu,
        }
    }

    /// The source in words.
    pub(super) const fn source(self) -> &'static str {
        match (self, self.scope()) {
            (Method::EnergyCounter | Method::EnergyField(..), Scope::Module) => {
                "nvml module energy counter"
            }
            (Method::EnergyCounter | Method::EnergyField(..), _) => "nvml energy counter",
            (Method::InstantaneousPower(_), Scope::Module) => "nvml module instantaneous power",
            (Method::InstantaneousPower(_), Scope::Memory) => "nvml memory instantaneous power",
            (Method::InstantaneousPower(_), Scope::Gpu) => "nvml instantaneous power",
            (Method::PowerUsage, _) => "nvml power usage",
            (Method::MeanPower(_), Scope::Memory) => "nvml memory mean power over a second",
            (Method::MeanPower(_) | Method::MeanPowerUsage, _) => "nvml mean power over a second",
        }
    }

    /// Reads once. What the driver gives as all ones is no value.
    pub(super) fn read(self, device: &Device<'_>) -> Result<Quantity, NvmlError> {
        let counter = |raw: u64| match raw {
            u64::MAX => Err(NvmlError::NoData),
            raw => Ok(Quantity::Counter(Energy::from_millijoules(raw))),
        };
        let gauge = |raw: u64| match u32::try_from(raw) {
            Ok(u32::MAX) => Err(NvmlError::NoData),
            // More than the type of a power holds is absurd, and is judged as such.
            raw => Ok(Quantity::Gauge(Power::from_milliwatts(raw.unwrap_or(u32::MAX)))),
        };
        match self {
            Method::EnergyCounter => device.total_energy_consumption().and_then(counter),
            Method::EnergyField(field, scope) => raw::field(device, field, scope).and_then(counter),
            Method::InstantaneousPower(scope) => {
                raw::field(device, POWER_INSTANT, scope).and_then(gauge)
            }
            Method::MeanPower(scope) => raw::field(device, POWER_AVERAGE, scope).and_then(gauge),
            Method::PowerUsage | Method::MeanPowerUsage => {
                device.power_usage().and_then(|power| gauge(power.into()))
            }
        }
    }
}

/// What a GPU, a module or a memory can draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    /// The highest power that is plausible for a while.
    pub(super) most: Power,
    /// No board draws more than this, not for an instant: what is above is no power.
    pub(super) ceiling: Power,
}

impl Limit {
    /// What the driver enforces; where it does not say, or says what cannot be, more than any GPU or module draws.
    pub(super) fn of(device: &Device<'_>, scope: Scope) -> Limit {
        let enforced = match scope {
            Scope::Gpu | Scope::Memory => device.enforced_power_limit().ok(),
            Scope::Module => raw::field(device, POWER_LIMIT, scope)
                .ok()
                .and_then(|limit| u32::try_from(limit).ok()),
        };
        let plausible = Power::from_watts(1.0)..Power::from_watts(10_000.0);
        let enforced =
            enforced.map(Power::from_milliwatts).filter(|limit| plausible.contains(limit));
        let unknown = Power::from_watts(if scope == Scope::Module { 3_000.0 } else { 1_500.0 });
        Limit {
            // A tenth above the limit that the board enforces: it holds on average, not at every moment.
            most: enforced.map_or(unknown, |limit| limit * 1.1),
            ceiling: enforced.unwrap_or(unknown) * 3.0,
        }
    }

    /// True if hardware of this limit can give that. What answers is powered, so no power at all is no power.
    pub(super) fn allows(&self, quantity: Quantity) -> bool {
        match quantity {
            Quantity::Counter(_) => true,
            Quantity::Gauge(power) => power > Power::ZERO && power <= self.ceiling,
        }
    }
}

fn words(quantity: Quantity) -> String {
    match quantity {
        Quantity::Counter(energy) => energy.to_string(),
        Quantity::Gauge(power) => power.to_string(),
    }
}
