//! From candle's devices to what is measured: which GPUs, what is not, and the words for the manifest.

use std::slice;

use candle_core::{Device, DeviceLocation, utils};
use ergometer::record::Framework;
use ergometer::sensor::Selection;
use ergometer::sensor::nvml::cuda;
use ergometer::{Error, Meter, MeterBuilder, Result};

use crate::fence::DeviceFence;

/// The version of candle that this adapter is built and tested with.
const VERSION: &str = "0.11.1";

/// A meter for a training on `device`: its GPU, and the processor and memory that feed it.
///
/// GPUs that do not take part are left out, all of them if the training is on the CPU; their idle power is not the
/// training's. [`builder`] takes another choice, and [`ergometer::Meter::detect`] measures all there are. Opening the
/// sensors takes milliseconds.
///
/// # Errors
/// If no energy sensor can be read here and there is no model of the processor either.
pub fn meter(device: &Device) -> Result<Meter> {
    builder(device)?.build()
}

/// A meter for a training on several `devices`; each physical GPU is measured once, however often it is named.
///
/// # Errors
/// If `devices` is empty, or no energy sensor can be read here.
pub fn meter_of(devices: &[Device]) -> Result<Meter> {
    builder_of(devices)?.build()
}

/// What [`meter`] builds, before it is built: for another log directory, more sensors, another choice of GPUs.
///
/// Set are the GPU, the fence (none for the CPU, whose work is done when a call returns), and the framework's line in
/// the manifest: candle's version, the device, and the worker threads. A CUDA device is matched to its sensor by the
/// PCI address that the CUDA driver gives for its ordinal, so `CUDA_VISIBLE_DEVICES` and `CUDA_DEVICE_ORDER` are
/// honoured. Where the driver cannot be asked, all GPUs are measured rather than a wrong one, and
/// [`Meter::unmeasured`] says so.
///
/// # Errors
/// None for a single device; the sensors are opened by [`MeterBuilder::build`].
pub fn builder(device: &Device) -> Result<MeterBuilder> {
    builder_of(slice::from_ref(device))
}

/// What [`meter_of`] builds, before it is built.
///
/// The thread that closes an epoch waits for all of the devices. With one thread for each device, let each use a lane of
/// its own ([`ergometer::Run::lane`]): candle gives every thread a CUDA stream of its own, so each waits for its own work.
///
/// # Errors
/// If `devices` is empty.
pub fn builder_of(devices: &[Device]) -> Result<MeterBuilder> {
    let mut places: Vec<DeviceLocation> = Vec::new();
    for place in devices.iter().map(Device::location) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    if places.is_empty() {
        return Err(Error::invalid("no device is named to be measured")
            .cure("name the devices that the program trains on"));
    }
    let choice = Choice::of(&places, |ordinal| cuda::pci_address(None, ordinal));
    let mut builder = Meter::builder().gpus(choice.gpus).framework(framework(&places));
    for (source, error) in choice.absent {
        builder = builder.unmeasured(source, error);
    }
    Ok(match DeviceFence::of(devices) {
        Some(fence) => builder.fence(fence),
        None => builder,
    })
}

/// The GPUs to measure, and what cannot be.
struct Choice {
    gpus: Selection,
    absent: Vec<(String, Error)>,
}

impl Choice {
    /// Chooses the GPUs at `places`; `address` tells the PCI address of a CUDA ordinal.
    fn of(places: &[DeviceLocation], address: impl Fn(usize) -> Result<String>) -> Choice {
        let (mut addresses, mut absent) = (Vec::new(), Vec::new());
        let mut matched = true;
        for place in places {
            match place {
                DeviceLocation::Cpu => {}
                DeviceLocation::Cuda { gpu_id } => match address(*gpu_id) {
                    Ok(address) => addresses.push(address),
                    Err(error) => {
                        matched = false;
                        absent.push((name(*place), unmatched(*gpu_id, error)));
                    }
                },
                DeviceLocation::Metal { .. } => absent.push((
                    name(*place),
                    Error::unsupported("no sensor here reads the energy of an Apple GPU")
                        .cure("measure the machine at the wall"),
                )),
            }
        }
        Choice { gpus: if matched { Selection::Pci(addresses) } else { Selection::All }, absent }
    }
}

fn unmatched(ordinal: usize, error: Error) -> Error {
    let what = format!(
        "which GPU is CUDA device {ordinal} is not known, so all of them are measured: {}",
        error.what()
    );
    let explained = Error::unsupported(what);
    match error.remedy() {
        Some(cure) => explained.cure(cure),
        None => explained,
    }
    .caused_by(error)
}

fn framework(places: &[DeviceLocation]) -> Framework {
    let names: Vec<_> = places.iter().copied().map(name).collect();
    Framework {
        name: "candle".to_owned(),
        version: VERSION.to_owned(),
        device: Some(names.join(", ")),
        threads: Some(utils::get_num_threads()),
    }
}

/// A device in candle's words; the CPU with the library that multiplies its matrices, which changes the joules.
pub(crate) fn name(place: DeviceLocation) -> String {
    match place {
        DeviceLocation::Cpu if utils::has_mkl() => "cpu (mkl)".to_owned(),
        DeviceLocation::Cpu if utils::has_accelerate() => "cpu (accelerate)".to_owned(),
        DeviceLocation::Cpu => "cpu (gemm)".to_owned(),
        DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: DeviceLocation = DeviceLocation::Cuda { gpu_id: 0 };
    const SECOND: DeviceLocation = DeviceLocation::Cuda { gpu_id: 1 };

    fn address(ordinal: usize) -> Result<String> {
        let addresses = ["0000:65:00.0", "0000:17:00.0"];
        addresses
            .get(ordinal)
            .map(ToString::to_string)
            .ok_or_else(|| Error::absent("no such device").cure("use another"))
    }

    #[test]
    fn a_cuda_device_is_measured_by_its_address() {
        let choice = Choice::of(&[DeviceLocation::Cpu, SECOND], address);
        assert_eq!(choice.gpus, Selection::Pci(vec!["0000:17:00.0".to_owned()]));
        assert!(choice.absent.is_empty());
    }

    #[test]
    fn a_training_on_the_cpu_measures_no_gpu() {
        assert_eq!(Choice::of(&[DeviceLocation::Cpu], address).gpus, Selection::Pci(vec![]));
    }

    #[test]
    fn a_device_that_cannot_be_matched_has_all_gpus_measured() {
        let choice = Choice::of(&[FIRST, DeviceLocation::Cuda { gpu_id: 7 }], address);
        assert_eq!(choice.gpus, Selection::All);
        let [(source, error)] = &choice.absent[..] else { panic!("{:?}", choice.absent) };
        assert_eq!(source, "cuda:7");
        assert!(error.what().contains("all of them are measured: no such device"), "{error}");
        assert_eq!(error.remedy(), Some("use another"));
    }

    #[test]
    fn an_apple_gpu_is_named_as_not_measured() {
        let choice = Choice::of(&[DeviceLocation::Metal { gpu_id: 0 }], address);
        assert_eq!(choice.gpus, Selection::Pci(vec![]));
        assert_eq!(choice.absent[0].0, "metal:0");
    }

    #[test]
    fn the_manifest_names_every_device() {
        let framework = framework(&[FIRST, SECOND]);
        assert_eq!(framework.device.as_deref(), Some("cuda:0, cuda:1"));
    }
}
