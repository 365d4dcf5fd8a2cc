//! From burn's devices to what is measured: which GPUs, what to wait for, and the words for the manifest.

use std::slice;

use burn_core::tensor::Device;
use ergometer::record::Framework;
use ergometer::sensor::nvml::Selection;
use ergometer::{Error, Fence, Meter, MeterBuilder, Result};

/// The version of burn that this adapter is built and tested with.
const VERSION: &str = "0.22.1";

/// A meter for a training on `device`: its GPU, and the processor and memory that feed it.
///
/// A training on the CPU measures no GPU; the idle power of those that stand beside is not the training's.
/// [`builder`] takes another choice, and [`Meter::detect`] measures all there are. Opening the sensors takes
/// milliseconds.
///
/// # Errors
/// If no energy sensor can be read here and there is no model of the processor either.
pub fn meter(device: &Device) -> Result<Meter> {
    builder(device)?.build()
}

/// A meter for a training on several `devices`, as burn's multi-device strategies take them.
///
/// # Errors
/// If `devices` is empty, or no energy sensor can be read here.
pub fn meter_of(devices: &[Device]) -> Result<Meter> {
    builder_of(devices)?.build()
}

/// What [`meter`] builds, before it is built: for another log directory, more sensors, another choice of GPUs.
///
/// Set are the GPU, the fence (`Device::sync`; none for the CPU, whose work is done when a call returns), and the
/// framework's line in the manifest. With the feature `cubecl` burn is asked for the PCI address of the device, which
/// holds whatever `CUDA_VISIBLE_DEVICES` says. Without it, or where burn does not know, all GPUs are measured rather
/// than a wrong one, and [`Meter::unmeasured`] says so.
///
/// # Errors
/// None for a single device; the sensors are opened by [`MeterBuilder::build`].
pub fn builder(device: &Device) -> Result<MeterBuilder> {
    builder_of(slice::from_ref(device))
}

/// What [`meter_of`] builds, before it is built.
///
/// # Errors
/// If `devices` is empty.
pub fn builder_of(devices: &[Device]) -> Result<MeterBuilder> {
    let mut used: Vec<Device> = Vec::new();
    for device in devices.iter().map(|device| device.clone().without_autodiff()) {
        if !used.contains(&device) {
            used.push(device);
        }
    }
    if used.is_empty() {
        return Err(Error::invalid("no device is named to be measured")
            .cure("name the devices that the program trains on"));
    }
    let mut builder = Meter::builder().framework(Framework {
        name: "burn".to_owned(),
        version: VERSION.to_owned(),
        device: Some(used.iter().map(name).collect::<Vec<_>>().join(", ")),
        threads: None,
    });
    let mut addresses = Some(Vec::new());
    for device in &used {
        match Place::of(device) {
            Place::Processor => {}
            Place::Card(address) => addresses.iter_mut().for_each(|all| all.push(address.clone())),
            Place::Unknown => {
                addresses = None;
                builder = builder.unmeasured(name(device), unmatched(device));
            }
        }
    }
    let builder = builder.gpus(addresses.map_or(Selection::All, Selection::Pci));
    let fence = DeviceFence(used.into_iter().filter(|device| !is_processor(device)).collect());
    Ok(if fence.0.is_empty() { builder } else { builder.fence(fence) })
}

/// Where a device computes.
enum Place {
    /// On the CPU, or in some other way on no card.
    Processor,
    /// On the card at this PCI address.
    #[cfg_attr(
        not(feature = "cubecl"),
        expect(dead_code, reason = "only the feature `cubecl` tells addresses")
    )]
    Card(String),
    /// Burn does not say.
    Unknown,
}

impl Place {
    fn of(device: &Device) -> Place {
        if is_processor(device) {
            return Place::Processor;
        }
        #[cfg(feature = "cubecl")]
        if let Some(identity) = device.identity() {
            return match identity.physical.map(|card| card.pci_address) {
                None => Place::Processor,
                Some(Some(address)) => Place::Card(address.to_string()),
                Some(None) => Place::Unknown,
            };
        }
        Place::Unknown
    }
}

fn is_processor(device: &Device) -> bool {
    *device == Device::flex()
}

fn unmatched(device: &Device) -> Error {
    let what =
        format!("burn does not say which GPU {} is, so all of them are measured", name(device));
    let cure = if cfg!(feature = "cubecl") {
        "choose with `ergometer_burn::builder(&device)?.gpus(…)`"
    } else {
        "turn on the feature `cubecl` of ergometer-burn, or choose with `ergometer_burn::builder(&device)?.gpus(…)`"
    };
    Error::unsupported(what).cure(cure)
}

/// A device in burn's words, without what is the same for all: `Flex(Cpu)`.
fn name(device: &Device) -> String {
    let words = format!("{device:?}");
    words
        .strip_prefix("Device<")
        .and_then(|words| words.strip_suffix('>'))
        .map_or(words.clone(), str::to_owned)
}

/// Waits for all work that the calling thread has given to the devices.
///
/// Burn's GPU backends keep a stream for each thread, so this has to be called on the training thread, where the meter
/// calls it. Operations that fusion still holds back are sent off first.
#[derive(Debug)]
struct DeviceFence(Vec<Device>);

impl Fence for DeviceFence {
    fn wait(&self) -> Result<()> {
        // A device that fails does not keep the others from being waited for.
        self.0.iter().map(wait).fold(Ok(()), Result::and)
    }
}

fn wait(device: &Device) -> Result<()> {
    device.sync().map_err(|error| {
        Error::lost(format!("{} fails: {error}", name(device)))
            .cure("look for the fault in what the training did last")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_training_on_the_cpu_measures_no_gpu_and_waits_for_nothing() {
        let builder = builder(&Device::flex().autodiff()).unwrap();
        let words = format!("{builder:?}");
        assert!(words.contains("Pci([])"), "{words}");
    }

    #[test]
    fn no_device_is_an_error_with_a_cure() {
        let error = builder_of(&[]).unwrap_err();
        assert_eq!(error.remedy(), Some("name the devices that the program trains on"));
    }

    #[test]
    fn a_device_that_burn_does_not_place_has_all_gpus_measured() {
        let error = unmatched(&Device::flex());
        assert!(error.what().ends_with("so all of them are measured"), "{error}");
        assert!(error.remedy().is_some_and(|cure| cure.contains("gpus(…)")), "{error}");
    }
}
