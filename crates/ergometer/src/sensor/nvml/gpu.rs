//! One NVIDIA GPU: what of it is read, and how far it can be trusted.

use std::time::Duration;

use nvml_wrapper::Device;
use nvml_wrapper::enums::device::{DeviceArchitecture, SampleValue};
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::sys_exports::field_id::NVML_FI_DEV_POWER_INSTANT;

use super::explain;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::sensor::counter::Monotone;
use crate::sensor::{Domain, Hardware, Quantity, Reading, Sensor, Specification};
use crate::units::{Energy, Power};

/// One physical GPU.
pub(super) struct Gpu {
    device: Device<'static>,
    method: Method,
    counter: Monotone,
    specification: Specification,
}

impl Gpu {
    /// Opens the GPU behind `device`, which may stand for one of its instances.
    pub(super) fn open(device: Device<'static>) -> Result<Gpu> {
        // Energy is known of the board, not of its instances.
        let device = match device.mig_is_mig_device_handle() {
            Ok(true) => device
                .mig_parent_device()
                .map_err(|error| explain("the GPU of a MIG instance", error))?,
            _ => device,
        };
        let model = device.name().unwrap_or_else(|_| "NVIDIA GPU".to_owned());
        let uuid = device.uuid().map_err(|error| explain(&model, error))?;
        let architecture = architecture(&device);
        let method = Method::of(&device, architecture.as_ref(), &format!("{model} ({uuid})"))?;

        let domain = Domain::new(Hardware::Gpu, uuid, &model);
        let (specification, quantum) = match method {
            Method::EnergyCounter => {
                (Specification::counter(domain, "nvml energy counter"), Energy::from_millijoules(1))
            }
            Method::InstantaneousPower => {
                (Specification::gauge(domain, "nvml instantaneous power"), Energy::ZERO)
            }
            Method::PowerUsage => (Specification::gauge(domain, "nvml power usage"), Energy::ZERO),
        };
        let (gain, offset) = uncertainty(architecture.as_ref());
        let split = device.mig_mode().is_ok_and(|mode| mode.current != 0);
        let instances = if split { ", all of its MIG instances together" } else { "" };
        let specification = Specification {
            stack: "nvml".to_owned(),
            scope: format!(
                "the GPU's board with its memory{instances}; not the host, NVSwitch or power supply"
            ),
            quantum,
            period: Duration::from_millis(100),
            interval: Duration::from_millis(20),
            gain,
            offset,
            // Cards of one model err alike: four RTX 3090 within 0.7 %, models by several % (arXiv 2312.02741).
            family: model,
            // A tenth above the limit that the board enforces: it holds on average, not at every moment.
            most: match device.enforced_power_limit() {
                Ok(limit) if limit > 0 => Power::from_milliwatts(limit) * 1.1,
                _ => Power::from_watts(1_500.0),
            },
            ..specification
        };
        let counter = Monotone::new(None, specification.most, specification.quantum);
        Ok(Gpu { device, method, counter, specification })
    }
}

impl Sensor for Gpu {
    fn specification(&self) -> &Specification {
        &self.specification
    }

    fn read(&mut self, clock: &Clock) -> Result<Reading> {
        let (before, quantity, after) = clock.bracket(|| self.method.read(&self.device));
        let domain = &self.specification.domain;
        let quantity = quantity
            .map_err(|error| explain(&format!("{} ({})", domain.name, domain.id), error))?;
        match quantity {
            Quantity::Counter(raw) => {
                let (energy, incident) = self.counter.accept(raw, before.midpoint(after));
                Ok(Reading { before, after, quantity: Quantity::Counter(energy), incident })
            }
            gauge => Ok(Reading::new(before, gauge, after)),
        }
    }
}

/// What of a GPU is read, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    EnergyCounter,
    InstantaneousPower,
    PowerUsage,
}

impl Method {
    /// The best method that this GPU answers to.
    fn of(
        device: &Device<'_>,
        architecture: Option<&DeviceArchitecture>,
        gpu: &str,
    ) -> Result<Method> {
        let momentary = usage_is_instantaneous(device, architecture);
        let usage = momentary.then_some(Method::PowerUsage);
        for method in [Method::EnergyCounter, Method::InstantaneousPower].into_iter().chain(usage) {
            match method.read(device) {
                Ok(_) => return Ok(method),
                Err(error) if is_lacking(&error) => {}
                Err(error) => return Err(explain(gpu, error)),
            }
        }
        let lacks = "the driver gives no energy counter and no instantaneous power";
        let instead = match device.power_usage() {
            Ok(_) if !momentary => "only the power's mean over a second, in which a step is lost",
            _ => "as is usual of a virtual GPU",
        };
        Err(Error::unsupported(format!("{gpu}: {lacks}, {instead}")).cure(
            "on a virtual machine measure on the host; else update the NVIDIA driver to 530 or later",
        ))
    }

    fn read(self, device: &Device<'_>) -> Result<Quantity, NvmlError> {
        match self {
            Method::EnergyCounter => device
                .total_energy_consumption()
                .map(Energy::from_millijoules)
                .map(Quantity::Counter),
            Method::InstantaneousPower => {
                let mut samples = device.field_values_for(&[FieldId(NVML_FI_DEV_POWER_INSTANT)])?;
                match samples.pop().ok_or(NvmlError::NoData)??.value? {
                    SampleValue::U32(power) => Ok(Quantity::Gauge(Power::from_milliwatts(power))),
                    _ => Err(NvmlError::NotSupported),
                }
            }
            Method::PowerUsage => {
                device.power_usage().map(Power::from_milliwatts).map(Quantity::Gauge)
            }
        }
    }
}

/// True if a GPU or its driver does not have what was asked for, as opposed to failing at it.
///
/// A driver from before a field existed calls the field's number invalid.
fn is_lacking(error: &NvmlError) -> bool {
    matches!(
        error,
        NvmlError::NotSupported
            | NvmlError::FailedToLoadSymbol(_)
            | NvmlError::FunctionNotFound
            | NvmlError::InvalidArg
            | NvmlError::UnexpectedVariant(_)
    )
}

/// The GPU's architecture, `Unknown` for those newer than the library's bindings; `None` if the driver does not say.
fn architecture(device: &Device<'_>) -> Option<DeviceArchitecture> {
    match device.architecture() {
        Err(NvmlError::UnexpectedVariant(_)) => Some(DeviceArchitecture::Unknown),
        architecture => architecture.ok(),
    }
}

/// Whether `nvmlDeviceGetPowerUsage` gives the power now, and not its mean over the last second.
///
/// NVML's header: a mean over one second on Ampere and newer, except GA100. The Ampere chip GA100 (A100, A30, A800) has
/// the PCI device ids 20xx, the others have 22xx and above (list of GPUs in NVIDIA's open kernel modules).
fn usage_is_instantaneous(device: &Device<'_>, architecture: Option<&DeviceArchitecture>) -> bool {
    use DeviceArchitecture::{Ampere, Kepler, Maxwell, Pascal, Turing, Volta};
    match architecture {
        Some(Kepler | Maxwell | Pascal | Volta | Turing) => true,
        Some(Ampere) => device.pci_info().is_ok_and(|pci| pci.pci_device_id >> 16 < 0x2200),
        _ => false,
    }
}

/// Standard uncertainty of the gain (relative), and of an offset.
///
/// NVIDIA states no accuracy. These rest on the errors of NVML's power against an external meter that Yang, Adamek and
/// Armour measured (SC24, arXiv 2312.02741): nine boards of Ampere and Ada 3.3 % (root mean square), taken for what
/// came later too; single boards of Turing and Kepler up to 11 %; four of Pascal under 1 %, so few that 2 % are taken
/// for them and for Volta. A GPU that does not say what it is gets the widest.
fn uncertainty(architecture: Option<&DeviceArchitecture>) -> (f64, Power) {
    use DeviceArchitecture::{Kepler, Maxwell, Pascal, Turing, Volta};
    match architecture {
        Some(Pascal | Volta) => (0.02, Power::from_watts(1.0)),
        Some(Kepler | Maxwell | Turing) | None => (0.06, Power::from_watts(3.0)),
        Some(_) => (0.035, Power::ZERO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_that_does_not_say_what_it_is_gets_the_widest_uncertainty() {
        let widest = uncertainty(None);
        for architecture in
            [DeviceArchitecture::Kepler, DeviceArchitecture::Volta, DeviceArchitecture::Hopper]
        {
            let (gain, offset) = uncertainty(Some(&architecture));
            assert!(gain <= widest.0 && offset <= widest.1, "{architecture}");
        }
        assert_eq!(
            uncertainty(Some(&DeviceArchitecture::Unknown)),
            uncertainty(Some(&DeviceArchitecture::Ampere))
        );
    }
}
