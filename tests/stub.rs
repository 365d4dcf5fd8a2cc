//! Copies of the stub libraries, each with a machine of its own to answer from.

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ergometer::{Clock, Energy, Timestamp};
use serde::Serialize;
use tempfile::TempDir;

pub(crate) use stub_cuda::Driver;
pub(crate) use stub_nvidia_ml::{Gpu, Machine, Profile};

/// An NVML library over a machine whose time 0 is the moment it was made.
pub(crate) struct Nvml {
    directory: TempDir,
    machine: Machine,
}

impl Nvml {
    pub(crate) fn new(machine: Machine) -> Nvml {
        let directory = copy("stub_nvidia_ml", NVML);
        let machine = Machine { origin: Clock::system().now().as_nanos(), ..machine };
        describe(&directory, NVML, &machine);
        Nvml { directory, machine }
    }

    pub(crate) fn of(gpus: impl Into<Vec<Gpu>>) -> Nvml {
        Nvml::new(Machine { gpus: gpus.into(), ..Machine::default() })
    }

    /// The library without these functions, as an older driver's would be.
    pub(crate) fn without(self, functions: &[&str]) -> Nvml {
        let mut library = fs::read(self.path()).expect("the library");
        for function in functions {
            // In the table of names each stands between two zeros; another letter makes it another name.
            let name = format!("\0{function}\0");
            let at = library.windows(name.len()).position(|bytes| bytes == name.as_bytes());
            library[at.unwrap_or_else(|| panic!("the stub has no `{function}`")) + 1] = b'x';
        }
        fs::write(self.path(), library).expect("a library that nobody has loaded yet");
        self
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join(NVML)
    }

    /// What a GPU truly uses between two points of the system's clock.
    pub(crate) fn energy_between(&self, gpu: usize, start: Timestamp, end: Timestamp) -> Energy {
        let profile = &self.machine.gpus[gpu].profile;
        Energy::from_joules(profile.energy(self.seconds(end)) - profile.energy(self.seconds(start)))
    }

    /// The machine's time now.
    pub(crate) fn time(&self) -> f64 {
        self.seconds(Clock::system().now())
    }

    /// Lets real time pass until the machine's time is `seconds`.
    pub(crate) fn wait_until(&self, seconds: f64) {
        std::thread::sleep(Duration::from_secs_f64((seconds - self.time()).max(0.0)));
    }

    /// The machine's time.
    fn seconds(&self, at: Timestamp) -> f64 {
        at.since(Timestamp::from_nanos(self.machine.origin)).as_secs_f64()
    }
}

/// A CUDA driver library.
pub(crate) struct Cuda {
    directory: TempDir,
}

impl Cuda {
    pub(crate) fn new(driver: &Driver) -> Cuda {
        let directory = copy("stub_cuda", CUDA);
        describe(&directory, CUDA, driver);
        Cuda { directory }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join(CUDA)
    }
}

const NVML: &str = "libnvidia-ml.so.1";
const CUDA: &str = "libcuda.so.1";

/// A directory with a copy of a built library. A link would not do: the loader takes two names of one file for one
/// library.
fn copy(package: &str, name: &str) -> TempDir {
    // Cargo builds the shared library of a dependency into the directory of the test binary.
    let program = std::env::current_exe().expect("the test binary");
    let built = program.with_file_name(format!("{DLL_PREFIX}{package}{DLL_SUFFIX}"));
    let directory = TempDir::new().expect("a temporary directory");
    fs::copy(&built, directory.path().join(name))
        .unwrap_or_else(|error| panic!("{}: {error}", built.display()));
    directory
}

/// Writes beside the library what it is to know.
fn describe(directory: &TempDir, name: &str, known: &impl Serialize) {
    let known = serde_json::to_vec(known).expect("JSON");
    fs::write(directory.path().join(format!("{name}.json")), known).expect("a description");
}
