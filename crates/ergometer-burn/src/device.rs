//! From burn's devices to what is measured: which GPUs, what to wait for, and the words for the manifest.

use std::slice;

use burn_backend::DeviceOps;
use burn_core::tensor::Device;
use ergometer::record::Framework;
use ergometer::sensor::Selection;
use ergometer::sensor::nvml::cuda;
use ergometer::{Error, Fence, Meter, MeterBuilder, Result};

/// The version of burn that this adapter is built and tested with.
const VERSION: &str = "0.22.1";

/// A meter for a training on `device`: its GPU, and the processor and memory that feed it.
///
/// GPUs that do not take part are left out, all of them if the training is on the CPU; their idle power is not the
/// training's. [`builder`] takes another choice, and [`Meter::detect`] measures all there are. Opening the sensors takes
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
/// framework's line in the manifest. A CUDA device is matched to its sensor by the PCI address that the CUDA driver gives
/// for its ordinal, so `CUDA_VISIBLE_DEVICES` is honoured. A device of wgpu or Vulkan does not say which GPU it is; then
/// all are measured rather than a wrong one, and [`Meter::unmeasured`] says so.
///
/// # Errors
/// None for a single device; the sensors are opened by [`MeterBuilder::build`].
pub fn builder(device: &Device) -> Result<MeterBuilder> {
    builder_of(slice::from_ref(device))
}

/// What [`meter_of`] builds, before it is built. A device that is named twice is one.
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
    let places: Vec<_> = used.iter().map(|device| (name(device), Place::of(device))).collect();
    let choice = Choice::of(&places, |ordinal| cuda::pci_address(None, ordinal));
    let names: Vec<_> = places.iter().map(|(name, _)| name.as_str()).collect();
    let mut builder = Meter::builder().gpus(choice.gpus).framework(Framework {
        name: "burn".to_owned(),
        version: VERSION.to_owned(),
        device: Some(names.join(", ")),
        threads: None,
    });
    for (source, error) in choice.absent {
        builder = builder.unmeasured(source, error);
    }
    let fence = DeviceFence::of(used);
    Ok(if fence.0.is_empty() { builder } else { builder.fence(fence) })
}

/// Where a device computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Processor,
    /// On the NVIDIA GPU of this CUDA ordinal.
    Cuda(usize),
    Amd,
    Apple,
    /// On another machine, by burn's remote backend.
    Remote,
    /// Burn does not say.
    Unknown,
}

impl Place {
    fn of(device: &Device) -> Place {
        let id = device.as_dispatch().id();
        Place::of_id(id.type_id, id.index_id)
    }

    /// Burn 0.22 puts the backend's number (`DispatchDeviceId`) into the high byte of a device's type and the backend's
    /// own into the low one; for cubecl that begins with the runtime's (`RuntimeId`), which is the same in every build.
    fn of_id(kind: u16, index: u16) -> Place {
        match (kind >> 8, (kind >> 5) & 7, kind & 31) {
            (0, 0, _) | (5, 0, 0) => Place::Cuda(index.into()),
            (0, 1, _) => Place::Amd,
            (0, 2, _) | (5, 0, 1) => Place::Apple,
            (0, 4, _) | (4 | 6, ..) | (5, 0, 2) => Place::Processor,
            (10, ..) => Place::Remote,
            _ => Place::Unknown,
        }
    }
}

/// The GPUs to measure, and what cannot be.
struct Choice {
    gpus: Selection,
    absent: Vec<(String, Error)>,
}

impl Choice {
    /// Chooses the GPUs of devices at `places`; `address` tells the PCI address of a CUDA ordinal.
    fn of(places: &[(String, Place)], address: impl Fn(usize) -> Result<String>) -> Choice {
        let (mut addresses, mut absent) = (Vec::new(), Vec::new());
        let mut matched = true;
        for (name, place) in places {
            let error = match place {
                Place::Processor => continue,
                Place::Cuda(ordinal) => match address(*ordinal) {
                    Ok(address) => {
                        addresses.push(address);
                        continue;
                    }
                    Err(error) => {
                        matched = false;
                        unmatched(name, Some(error))
                    }
                },
                Place::Unknown => {
                    matched = false;
                    unmatched(name, None)
                }
                Place::Amd | Place::Apple => {
                    Error::unsupported("no sensor here reads the energy of this GPU")
                        .cure("measure the machine at the wall")
                }
                Place::Remote => Error::absent("it computes on another machine")
                    .cure("measure there: `ergometer run -- COMMAND` around burn's server"),
            };
            absent.push((name.clone(), error));
        }
        Choice { gpus: if matched { Selection::Pci(addresses) } else { Selection::All }, absent }
    }
}

fn unmatched(name: &str, cause: Option<Error>) -> Error {
    let what = format!("which GPU {name} is, is not known, so all of them are measured");
    let Some(cause) = cause else {
        return Error::unsupported(what)
            .cure("choose it with `ergometer_burn::builder(&device)?.gpus(…)`");
    };
    let error = Error::unsupported(format!("{what}: {}", cause.what()));
    let cure = cause.remedy().map(str::to_owned);
    let error = error.caused_by(cause);
    match cure {
        Some(cure) => error.cure(cure),
        None => error,
    }
}

/// A device in burn's words, without what is the same for all.
fn name(device: &Device) -> String {
    let words = format!("{device:?}");
    let inner = words.strip_prefix("Device<").and_then(|words| words.strip_suffix('>'));
    inner.unwrap_or(&words).to_owned()
}

/// Waits for all work that the calling thread has given to the devices.
///
/// Burn's GPU backends keep a stream for each thread, so this has to be called on the training thread, where the meter
/// calls it. Operations that fusion still holds back are sent off first.
#[derive(Debug)]
struct DeviceFence(Vec<Device>);

impl DeviceFence {
    /// A fence for those of `devices` that work behind their host.
    fn of(devices: Vec<Device>) -> DeviceFence {
        let waits = |device: &Device| Place::of(device) != Place::Processor;
        DeviceFence(devices.into_iter().filter(waits).collect())
    }
}

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

    fn address(ordinal: usize) -> Result<String> {
        let addresses = ["0000:65:00.0", "0000:17:00.0"];
        addresses
            .get(ordinal)
            .map(ToString::to_string)
            .ok_or_else(|| Error::absent("no such device").cure("use another"))
    }

    fn choice(places: &[Place]) -> Choice {
        let places: Vec<_> = places.iter().map(|place| (format!("{place:?}"), *place)).collect();
        Choice::of(&places, address)
    }

    #[test]
    fn a_devices_id_says_where_it_computes() {
        assert_eq!(Place::of(&Device::flex()), Place::Processor);
        // What burn-dispatch 0.22.1 and cubecl 0.11 make of their devices; no GPU backend is in this build.
        assert_eq!(Place::of_id(0, 3), Place::Cuda(3));
        assert_eq!(Place::of_id(0x0500, 1), Place::Cuda(1));
        assert_eq!(Place::of_id(0x0502, 0), Place::Processor);
        assert_eq!(Place::of_id(1 << 5, 0), Place::Amd);
        assert_eq!(Place::of_id(2 << 5, 0), Place::Apple);
        assert_eq!(Place::of_id(3 << 5 | 1, 0), Place::Unknown);
        assert_eq!(Place::of_id(4 << 5, 0), Place::Processor);
        assert_eq!(Place::of_id(0x0a00, 0), Place::Remote);
    }

    #[test]
    fn a_cuda_device_is_measured_by_its_address() {
        let choice = choice(&[Place::Processor, Place::Cuda(1)]);
        assert_eq!(choice.gpus, Selection::Pci(vec!["0000:17:00.0".to_owned()]));
        assert!(choice.absent.is_empty());
    }

    #[test]
    fn a_device_that_cannot_be_matched_has_all_gpus_measured() {
        let choice = choice(&[Place::Cuda(7), Place::Unknown]);
        assert_eq!(choice.gpus, Selection::All);
        let [(first, error), (second, other)] = &choice.absent[..] else {
            panic!("two are not matched")
        };
        assert_eq!((first.as_str(), second.as_str()), ("Cuda(7)", "Unknown"));
        assert!(error.what().ends_with("all of them are measured: no such device"), "{error}");
        assert_eq!(error.remedy(), Some("use another"));
        assert!(other.remedy().is_some_and(|cure| cure.contains("gpus(…)")), "{other}");
    }

    #[test]
    fn what_computes_where_no_sensor_is_measures_no_other_gpu() {
        for place in [Place::Amd, Place::Apple, Place::Remote] {
            let choice = choice(&[place]);
            assert_eq!(choice.gpus, Selection::Pci(vec![]));
            assert!(choice.absent[0].1.remedy().is_some(), "{place:?}");
        }
    }

    #[test]
    fn the_manifest_names_each_device_once() {
        let builder = builder_of(&[Device::flex(), Device::flex().autodiff()]).unwrap();
        let home = tempfile::tempdir().unwrap();
        let run = builder.build().unwrap().run("net").directory(home.path()).start().unwrap();
        let framework = run.finish().unwrap().manifest.framework.unwrap();
        assert_eq!(
            (framework.name.as_str(), framework.device.as_deref()),
            ("burn", Some("Flex(Cpu)"))
        );
    }
}
