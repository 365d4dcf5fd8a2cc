//! NVIDIA GPUs, read through the driver's own management library (NVML).
//!
//! What is read is the board's energy counter. Where the driver has none (before Volta), its instantaneous power is
//! integrated. The power that NVML calls *usage* is a mean over one second on most GPUs since 2020, in which the end of
//! a step or of a training is lost; it is read only where NVML's documentation says that it is instantaneous.
//!
//! The library is loaded when sensors are opened, and stays loaded to the end of the process: a driver call that hangs
//! in another thread must not lose its code, and without a client the driver of an idle GPU is torn down, which sets
//! the counter back and makes the next client wait. So [`Nvml`] is leaked, 12 KB for each call of [`open`]. It could
//! not safely be dropped either, since its `Drop` panics on a library without `nvmlShutdown`.

pub mod cuda;
mod gpu;

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use self::gpu::Gpu;
use crate::error::{Error, Kind, Result};
use crate::sensor::selection::canonical;
use crate::sensor::{Absence, Found, Selection, Sensor};

/// How long a driver may take to answer before its GPUs are given up.
///
/// One that has crashed answers after minutes or never. One whose GPUs nobody holds awake may need seconds for each.
const PATIENCE: Duration = Duration::from_secs(5);

/// Opens the energy counters of the selected GPUs, through `library` or else the system's NVML.
///
/// Each physical GPU gives one sensor, whose domain is `gpu:` and its UUID. It covers the whole board, so the instances
/// of a GPU that is split (MIG) are not told apart. Takes about a millisecond where there is no NVML, and at most five
/// seconds where the driver hangs.
pub fn open(library: Option<&Path>, selection: &Selection) -> Found {
    open_within(PATIENCE, library, selection)
}

/// Opens as [`open`] does, and gives the driver up after `patience`.
///
/// The thread that waits for a hanging driver is left behind; whatever it still finds is dropped.
pub fn open_within(patience: Duration, library: Option<&Path>, selection: &Selection) -> Found {
    if *selection == Selection::Pci(Vec::new()) {
        return Found::default();
    }
    let (library, selection) = (library.map(Path::to_path_buf), selection.clone());
    within(patience, move || discover(library.as_deref(), &selection))
        .unwrap_or_else(|error| Found::nothing("nvml", error))
}

/// The result of `work`, done on a thread of its own, if it comes within `patience`.
fn within<T: Send + 'static>(
    patience: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new()
        .name("ergometer-nvml".to_owned())
        .spawn(move || sender.send(work()))
        .map_err(|cause| {
            Error::lost(format!("NVML: no thread to open it on: {cause}")).caused_by(cause)
        })?;
    receiver.recv_timeout(patience).map_err(|cause| match cause {
        mpsc::RecvTimeoutError::Timeout => {
            let what = format!("NVML: the NVIDIA driver has not answered within {patience:?}");
            Error::lost(what).cure(
                "if `nvidia-smi` is slow too, `sudo nvidia-smi -pm 1` keeps the GPUs awake; \
                 if it hangs, restart the machine",
            )
        }
        mpsc::RecvTimeoutError::Disconnected => Error::lost("NVML: opening it panicked"),
    })
}

fn discover(library: Option<&Path>, selection: &Selection) -> Found {
    let devices = match load(library).and_then(|nvml| select(nvml, selection)) {
        Ok(devices) => devices,
        Err(error) => return Found::nothing("nvml", error),
    };
    let mut found = Found::default();
    for (source, device) in devices {
        match device.and_then(Gpu::open) {
            // Two instances of one GPU, or one address written twice.
            Ok(gpu) if found.sensors.iter().any(|other| same(&**other, &gpu)) => {}
            Ok(gpu) => found.sensors.push(Box::new(gpu)),
            Err(error) => found.absent.push(Absence { source, error }),
        }
    }
    found
}

fn same(one: &dyn Sensor, other: &dyn Sensor) -> bool {
    one.specification().domain == other.specification().domain
}

fn load(library: Option<&Path>) -> Result<&'static Nvml> {
    let mut builder = Nvml::builder();
    if let Some(path) = library {
        builder.lib_path(path.as_os_str());
    }
    match builder.init() {
        Ok(nvml) => Ok(Box::leak(Box::new(nvml))),
        Err(NvmlError::LibloadingError(cause)) => Err(not_loaded(library, cause)),
        Err(error) => Err(explain("NVML", error)),
    }
}

/// Devices, each with the name by which its absence is reported.
type Selected = Vec<(String, Result<Device<'static>>)>;

fn select(nvml: &'static Nvml, selection: &Selection) -> Result<Selected> {
    let count = nvml.device_count().map_err(|error| explain("NVML", error))?;
    if count == 0 {
        return Err(Error::absent("NVML: the driver shows no GPU to this process")
            .cure("in a container, start it with the NVIDIA runtime and `--gpus all`"));
    }
    let at_index = |index: u32| {
        let name = format!("nvml GPU {index}");
        let device = nvml.device_by_index(index).map_err(|error| explain(&name, error));
        (name, device)
    };
    Ok(match selection {
        Selection::All => (0..count).map(at_index).collect(),
        // Asked for one by one, so that a neighbour that nobody wants is not woken, and cannot hang.
        Selection::Pci(addresses) => addresses
            .iter()
            .map(|address| (format!("nvml GPU {address}"), at_address(nvml, address)))
            .collect(),
    })
}

fn at_address(nvml: &'static Nvml, text: &str) -> Result<Device<'static>> {
    let address = canonical(text).ok_or_else(|| {
        Error::invalid(format!("`{text}` is not a PCI address")).cure("write it as `0000:17:00.0`")
    })?;
    nvml.device_by_pci_bus_id(address).map_err(|error| match error {
        NvmlError::NotFound | NvmlError::InvalidArg => {
            Error::absent(format!("NVML: no GPU at PCI address `{text}`"))
                .cure("`nvidia-smi --query-gpu=pci.bus_id,name --format=csv` lists the addresses")
        }
        error => explain(&format!("nvml GPU {text}"), error),
    })
}

/// Why no library was loaded.
fn not_loaded(
    library: Option<&Path>,
    cause: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    let error = match library {
        Some(path) if path.exists() => {
            Error::invalid(format!("`{}` cannot be loaded as NVML: {cause}", path.display()))
                .cure("name the driver's `libnvidia-ml.so.1`, built for this processor")
        }
        Some(path) => Error::absent(format!("NVML: there is no library `{}`", path.display()))
            .cure("correct the path, or leave it out to use the system's"),
        None => Error::absent(format!("NVML: no NVIDIA driver library can be loaded here: {cause}"))
            .cure("where there is an NVIDIA GPU, install its driver, or start the container with `--gpus all`"),
    };
    error.caused_by(cause)
}

/// An NVML error in words, with what the user can do about it.
fn explain(thing: &str, error: NvmlError) -> Error {
    let (kind, cause, cure) = match &error {
        NvmlError::DriverNotLoaded => (
            Kind::Absent,
            "the NVIDIA driver is not loaded",
            "load it with `sudo modprobe nvidia`, or restart the machine if it was installed just now",
        ),
        NvmlError::LibRmVersionMismatch => (
            Kind::Unsupported,
            "the library and the loaded driver are of different versions",
            "restart the machine, or the container, to complete the driver's update",
        ),
        NvmlError::NoPermission => (
            Kind::PermissionDenied,
            "the driver refuses this user",
            "give this user read and write access to `/dev/nvidiactl` and `/dev/nvidia0` …",
        ),
        NvmlError::OperatingSystem => (
            Kind::PermissionDenied,
            "the operating system or a control group blocks the device",
            "allow this container the `/dev/nvidia*` devices, for instance with `--gpus all`",
        ),
        NvmlError::GpuLost => (
            Kind::Lost,
            "the GPU has fallen off the bus",
            "look for `Xid` in `dmesg`; restarting the machine brings the GPU back",
        ),
        NvmlError::ResetRequired => (
            Kind::Lost,
            "the GPU needs a reset",
            "end what runs on it, then `sudo nvidia-smi --gpu-reset`, or restart the machine",
        ),
        NvmlError::InsufficientPower => {
            (Kind::Lost, "the board's power cables are not attached properly", "attach them")
        }
        NvmlError::FailedToLoadSymbol(symbol) => (
            Kind::Unsupported,
            symbol.as_str(),
            "the library is not NVML or too old: update the NVIDIA driver, or name its `libnvidia-ml.so.1`",
        ),
        NvmlError::NotSupported | NvmlError::FunctionNotFound => {
            (Kind::Unsupported, "the driver does not support it", "update the NVIDIA driver")
        }
        other => return Error::lost(format!("{thing}: {other}")).caused_by(error),
    };
    Error::new(kind, format!("{thing}: {cause}")).cure(cure).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_hangs_is_given_up() {
        let (release, gate) = mpsc::channel::<()>();
        let error = within(Duration::from_millis(20), move || gate.recv()).unwrap_err();
        assert!(error.is_lost() && error.what().contains("within 20ms"), "{error}");
        drop(release);
        assert_eq!(within(Duration::from_secs(60), || 7).unwrap(), 7);
    }

    #[test]
    fn work_that_panics_is_an_error() {
        let error =
            within(Duration::from_secs(60), || -> u8 { panic!("as expected by this test") })
                .unwrap_err();
        assert!(error.what().contains("panicked"), "{error}");
    }
}
