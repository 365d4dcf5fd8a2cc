//! NVIDIA GPUs, read through the driver's own management library (NVML).
//!
//! What is read is the board's energy counter. Where the driver has none (before Volta), its instantaneous power is
//! integrated. On some superchips the driver gives neither for the GPU alone but for the module, which is the GPU and its
//! processor. The power that NVML calls *usage* is a mean over one second on most GPUs since 2020, in which the end of a
//! step or of a training is blurred; it is read only where there is nothing else, and said to be one.
//!
//! The library is loaded when sensors are opened, and stays loaded to the end of the process: a driver call that hangs
//! in another thread must not lose its code, and without a client the driver of an idle GPU is torn down, which sets
//! the counter back and makes the next client wait. So [`Nvml`] is leaked, 12 KB for each call of [`open`]. It could
//! not safely be dropped either, since its `Drop` panics on a library without `nvmlShutdown`.

mod architecture;
pub mod cuda;
mod failure;
mod gpu;
mod method;
mod module;
mod raw;
mod register;
mod sharing;
mod visible;

pub use sharing::Processes;
pub use visible::Visibility;

use std::path::Path;
use std::time::Duration;

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

use self::failure::{explain, not_loaded};
use self::gpu::Gpu;
use self::visible::Card;
use crate::error::{Error, Result};
use crate::sensor::attempt::Attempt;
use crate::sensor::selection::canonical;
use crate::sensor::{Absence, Found, Selection, Sensor};

/// Opens the energy counters of the selected GPUs, through `library` or else the system's NVML.
///
/// Each physical GPU gives one sensor, whose domain is `gpu:` and its UUID. It covers the whole board, so the instances
/// of a GPU that is split (MIG) are not told apart. Where the driver gives the power of a GPU's memory, that is a second
/// sensor, `gpu:UUID:memory`, beside the sum. Takes about a millisecond where there is no NVML, and at most five seconds
/// where the driver hangs, two where the system shows no sign of an NVIDIA driver.
pub fn open(library: Option<&Path>, selection: &Selection) -> Found {
    open_within(patience(), library, selection, &Visibility::of_process())
}

/// Opens as [`open`] does, with [`Selection::Visible`] meaning what `visibility` says, and gives the driver up after
/// `patience`.
///
/// The thread that waits for a hanging driver is left behind; whatever it still finds is dropped.
pub fn open_within(
    patience: Duration,
    library: Option<&Path>,
    selection: &Selection,
    visibility: &Visibility,
) -> Found {
    let none = match selection {
        Selection::Visible => visibility.is_none(),
        Selection::All => false,
        Selection::Pci(addresses) => addresses.is_empty(),
    };
    if none {
        return Found::default();
    }
    let library = library.map(Path::to_path_buf);
    let (selection, visibility) = (selection.clone(), visibility.clone());
    let work = move || discover(library.as_deref(), &selection, &visibility);
    Attempt::begin("nvml", AWAKE, work)
        .within(patience)
        .unwrap_or_else(|error| Found::nothing("nvml", error))
}

/// What to do about a driver that did not answer.
const AWAKE: &str = "if `nvidia-smi` is slow too, `sudo nvidia-smi -pm 1` keeps the GPUs awake; if it hangs, restart the \
                     machine";

/// How long a driver may take to answer before its GPUs are given up.
///
/// One that has crashed answers after minutes or never. One whose GPUs nobody holds awake may need seconds to wake them,
/// and that one can be seen: its kernel module has a directory in procfs.
fn patience() -> Duration {
    let nothing_to_wake = cfg!(target_os = "linux") && !Path::new("/proc/driver/nvidia").exists();
    Duration::from_secs(if nothing_to_wake { 2 } else { 5 })
}

fn discover(library: Option<&Path>, selection: &Selection, visibility: &Visibility) -> Found {
    let selected = load(library).and_then(|nvml| select(nvml, selection, visibility));
    let (devices, mut found) = match selected {
        Ok(selected) => selected,
        Err(error) => return Found::nothing("nvml", error),
    };
    let mut gpus: Vec<Gpu> = Vec::new();
    for (source, device) in devices {
        match device.and_then(Gpu::open) {
            // Two instances of one GPU, or one address written twice.
            Ok(gpu) if gpus.iter().any(|other| id(other) == id(&gpu)) => {}
            Ok(gpu) => gpus.push(gpu),
            Err(error) => found.absent.push(Absence { source, error }),
        }
    }
    for gpu in without_mirrors(gpus, &mut found.absent) {
        let memory = gpu.memory();
        found.sensors.push(Box::new(gpu));
        found.sensors.extend(memory.map(|memory| Box::new(memory) as Box<dyn Sensor>));
    }
    found
}

/// The GPUs without those that report a module that another one before them reports already.
fn without_mirrors(gpus: Vec<Gpu>, absent: &mut Vec<Absence>) -> Vec<Gpu> {
    let (modules, mut kept): (Vec<Gpu>, Vec<Gpu>) = gpus.into_iter().partition(Gpu::is_module);
    let firsts = module::firsts(&modules.iter().collect::<Vec<_>>());
    let ids: Vec<_> = modules.iter().map(|gpu| id(gpu).to_owned()).collect();
    for (place, (gpu, first)) in modules.into_iter().zip(firsts).enumerate() {
        if first == place {
            kept.push(gpu);
        } else {
            let error = Error::unsupported(format!(
                "the driver gives the power of its module only, which is in `{}` already",
                ids[first]
            ));
            absent.push(Absence { source: ids[place].clone(), error });
        }
    }
    kept
}

fn id(gpu: &Gpu) -> &str {
    &gpu.specification().domain.id
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

fn select(
    nvml: &'static Nvml,
    selection: &Selection,
    visibility: &Visibility,
) -> Result<(Selected, Found)> {
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
        // CUDA counts GPUs, and knows instances by their UUIDs only.
        Selection::Visible => {
            let is_gpu = |(_, device): &(String, Result<Device<'static>>)| {
                !device.as_ref().is_ok_and(|device| {
                    device.mig_is_mig_device_handle().is_ok_and(|instance| instance)
                })
            };
            let all = (0..count).map(at_index).filter(is_gpu).collect();
            let (devices, absent) = visible(visibility, all);
            (devices, Found { absent, ..Found::default() })
        }
        Selection::All => ((0..count).map(at_index).collect(), Found::default()),
        // Asked for one by one, so that a neighbour that nobody wants is not woken, and cannot hang.
        Selection::Pci(addresses) => {
            let (mut devices, mut found) = (Vec::new(), Found::default());
            for address in addresses.iter().filter_map(|text| canonical(text)) {
                let name = format!("nvml GPU {address}");
                match nvml.device_by_pci_bus_id(address.as_str()) {
                    // It may be another driver's.
                    Err(NvmlError::NotFound | NvmlError::InvalidArg) => {}
                    device => {
                        let device = device.map_err(|error| explain(&name, error));
                        devices.push((name, device));
                        found.gpus.push(address);
                    }
                }
            }
            (devices, found)
        }
    })
}

/// The visible ones of `devices`, and what there is to say of the others.
fn visible(visibility: &Visibility, devices: Selected) -> (Selected, Vec<Absence>) {
    let cards: Vec<_> =
        devices.iter().map(|(_, device)| device.as_ref().map(card).unwrap_or_default()).collect();
    let (chosen, note) = visible::choose(visibility, &cards);
    let mut absent: Vec<_> = note
        .into_iter()
        .map(|error| Absence { source: "CUDA_VISIBLE_DEVICES".to_owned(), error })
        .collect();
    if chosen.len() < devices.len() {
        let what =
            format!("{visibility}: the training does not use them, so they are not measured");
        let error = Error::unsupported(what).cure("measure all: `.gpus(Selection::All)`");
        let source = format!("{} other GPUs", devices.len() - chosen.len());
        absent.push(Absence { source, error });
    }
    let mut devices: Vec<_> = devices.into_iter().map(Some).collect();
    (chosen.into_iter().filter_map(|place| devices[place].take()).collect(), absent)
}

/// What tells a GPU from the others.
fn card(device: &Device<'static>) -> Card {
    let split = device.mig_mode().is_ok_and(|mode| mode.current != 0);
    let instances = if split { device.mig_device_count().unwrap_or(0) } else { 0 };
    Card {
        uuid: device.uuid().unwrap_or_default(),
        address: device.pci_info().map(|pci| pci.bus_id).unwrap_or_default(),
        model: device.name().unwrap_or_default(),
        // A place for an instance may be empty.
        instances: (0..instances)
            .filter_map(|place| device.mig_device_by_index(place).ok()?.uuid().ok())
            .collect(),
    }
}
