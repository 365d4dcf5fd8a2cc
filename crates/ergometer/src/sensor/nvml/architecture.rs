//! What is known of a GPU's power sensor from its architecture: how often it looks, for how long, and how it errs.
//!
//! NVIDIA states none of this for its GPUs since Maxwell. The figures rest on the measurements of more than 70 GPUs
//! against external meters by Yang, Adamek and Armour (SC24, arXiv 2312.02741), and on NVML's header where it says more.

use std::time::Duration;

use nvml_wrapper::Device;
use nvml_wrapper::enums::device::DeviceArchitecture;
use nvml_wrapper::error::NvmlError;

use crate::units::Power;

/// The power sensor of one GPU.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PowerSensor {
    /// Whether `nvmlDeviceGetPowerUsage` gives the power now, and not its mean over the last second.
    pub(super) usage_is_instantaneous: bool,
    /// The time between two updates.
    pub(super) period: Duration,
    /// The part of the time that it looks at.
    pub(super) duty: f64,
    /// Standard uncertainty of the gain, relative.
    pub(super) gain: f64,
    /// Standard uncertainty of a constant offset.
    pub(super) offset: Power,
}

impl PowerSensor {
    /// What is known of the sensor of `device`, a GPU of this `model`.
    pub(super) fn of(device: &Device<'_>, model: &str) -> PowerSensor {
        // Unknown is an architecture newer than the library's bindings; none, one that the driver does not tell.
        let architecture = match device.architecture() {
            Err(NvmlError::UnexpectedVariant(_)) => Some(DeviceArchitecture::Unknown),
            architecture => architecture.ok(),
        };
        // The Ampere chip GA100 (A100, A30, A800) has the PCI device ids 20xx, the others have 22xx and above (list of
        // GPUs in NVIDIA's open kernel modules).
        let is_ga100 = || device.pci_info().is_ok_and(|pci| pci.pci_device_id >> 16 < 0x2200);
        PowerSensor::known(architecture.as_ref(), is_ga100, model)
    }

    fn known(
        architecture: Option<&DeviceArchitecture>,
        is_ga100: impl FnOnce() -> bool,
        model: &str,
    ) -> PowerSensor {
        use DeviceArchitecture::{Ampere, Hopper, Kepler, Maxwell, Pascal, Turing, Volta};
        let ga100 = matches!(architecture, Some(Ampere)) && is_ga100();
        let (gain, offset) = uncertainty(architecture);
        PowerSensor {
            // NVML's header: a mean over one second on Ampere and newer, except GA100.
            usage_is_instantaneous: ga100
                || matches!(architecture, Some(Kepler | Maxwell | Pascal | Volta | Turing)),
            // Refreshed each 20 ms on Pascal and Volta, each 100 ms since (up to 500 ms by drivers of 2025 and later).
            period: match architecture {
                Some(Pascal | Volta) => Duration::from_millis(20),
                _ => Duration::from_millis(100),
            },
            // Of each 100 ms GA100 and Hopper see about 25 ms, and the Turing board Quadro RTX 8000 20 ms; of each
            // 20 ms Pascal and Volta see 10 ms.
            duty: match architecture {
                _ if ga100 => 0.25,
                Some(Hopper) => 0.25,
                Some(Pascal | Volta) => 0.5,
                Some(Turing) if model.contains("RTX 8000") => 0.2,
                _ => 1.0,
            },
            gain,
            offset,
        }
    }
}

/// Standard uncertainty of the gain (relative), and of an offset.
///
/// From the errors of NVML's power against an external meter: nine boards of Ampere and Ada 3.3 % (root mean square),
/// taken for what came later too; single boards of Turing and Kepler up to 11 %; four of Pascal under 1 %, so few that
/// 2 % are taken for them and for Volta. A GPU that does not say what it is gets the widest.
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
    use DeviceArchitecture::{Ampere, Hopper, Kepler, Turing, Unknown, Volta};

    fn known(architecture: DeviceArchitecture) -> PowerSensor {
        PowerSensor::known(Some(&architecture), || false, "NVIDIA")
    }

    #[test]
    fn a_gpu_that_does_not_say_what_it_is_gets_the_widest_uncertainty() {
        let widest = uncertainty(None);
        for architecture in [Kepler, Volta, Hopper] {
            let (gain, offset) = uncertainty(Some(&architecture));
            assert!(gain <= widest.0 && offset <= widest.1, "{architecture}");
        }
        assert_eq!(uncertainty(Some(&Unknown)), uncertainty(Some(&Ampere)));
    }

    #[test]
    fn the_part_of_the_time_that_is_seen_is_that_of_the_measured_boards() {
        let seen = |sensor: PowerSensor| format!("{:.0} %", sensor.duty * 100.0);
        let a100 = PowerSensor::known(Some(&Ampere), || true, "NVIDIA A100-SXM4-80GB");
        assert!(a100.usage_is_instantaneous && !known(Ampere).usage_is_instantaneous);
        assert_eq!([a100, known(Ampere)].map(seen), ["25 %", "100 %"]);
        assert_eq!([Hopper, Volta, Turing].map(known).map(seen), ["25 %", "50 %", "100 %"]);
        let quadro = PowerSensor::known(Some(&Turing), || false, "Quadro RTX 8000");
        assert_eq!(seen(quadro), "20 %");
        assert_eq!(known(Volta).period, Duration::from_millis(20));
        assert!(known(Turing).usage_is_instantaneous && !known(Hopper).usage_is_instantaneous);
    }
}
