//! From a CUDA ordinal to a PCI address, by asking the CUDA driver.
//!
//! CUDA counts the devices that `CUDA_VISIBLE_DEVICES` leaves over, in the order of `CUDA_DEVICE_ORDER` (by default the
//! fastest first); NVML counts all, by PCI address. The driver applies both variables itself, as it did for the
//! framework in the same process, so it is asked and nothing is computed here.

#![expect(unsafe_code, reason = "the CUDA driver is a C library, loaded at run time")]

use std::ffi::{CStr, c_char, c_int, c_uint};
use std::mem::ManuallyDrop;
use std::path::Path;

use libloading::{Library, Symbol};

use crate::error::{Error, Result};

const LIBRARY: &str = if cfg!(windows) { "nvcuda.dll" } else { "libcuda.so.1" };

/// The PCI address of the device that CUDA calls `ordinal` in this process: `0000:17:00.0`.
///
/// Initialises the CUDA driver, which a framework that uses the device has done before; creates no context on the
/// device. The CUDA driver is `library`, or else the system's.
///
/// # Errors
/// If there is no CUDA driver, it shows no device to this process, or it has none of this ordinal.
pub fn pci_address(library: Option<&Path>, ordinal: usize) -> Result<String> {
    let driver = Driver::load(library)?;
    driver.init()?;
    driver.address(ordinal)
}

/// The PCI addresses of the devices that CUDA shows to this process, in its order; `None` if this process has not loaded
/// and initialised the CUDA driver.
///
/// Initialises nothing itself: that would take a while, and would settle `CUDA_VISIBLE_DEVICES` before the program may
/// have set it. The CUDA driver is `library`, or else the system's.
pub fn initialised(library: Option<&Path>) -> Option<Vec<String>> {
    let driver = Driver::loaded(library.unwrap_or(Path::new(LIBRARY)))?;
    let count = usize::try_from(driver.count().ok()?).ok()?;
    (0..count).map(|ordinal| driver.address(ordinal).ok()).collect()
}

type Init = unsafe extern "system" fn(flags: c_uint) -> c_int;
type Count = unsafe extern "system" fn(count: *mut c_int) -> c_int;
type Get = unsafe extern "system" fn(device: *mut c_int, ordinal: c_int) -> c_int;
type Address = unsafe extern "system" fn(text: *mut c_char, length: c_int, device: c_int) -> c_int;

const SUCCESS: c_int = 0;

/// The CUDA driver's library. It is never unloaded: it has threads and exit handlers of its own.
struct Driver(ManuallyDrop<Library>);

impl Driver {
    fn load(library: Option<&Path>) -> Result<Driver> {
        let name = library.unwrap_or(Path::new(LIBRARY));
        // SAFETY: the CUDA driver is made to be loaded at run time, into any thread. A file that the caller names
        // instead is trusted to be one; loading any library runs its code.
        let library = unsafe { Library::new(name) }.map_err(|cause| {
            Error::absent(format!("the CUDA driver `{}` cannot be loaded: {cause}", name.display()))
                .cure("install the NVIDIA driver; start a container with `--gpus all`")
                .caused_by(cause)
        })?;
        Ok(Driver(ManuallyDrop::new(library)))
    }

    /// The driver, if it is in this process already.
    #[cfg(target_os = "linux")]
    fn loaded(name: &Path) -> Option<Driver> {
        use libloading::os::unix::{Library, RTLD_LAZY};
        // From Linux's `dlfcn.h`, the same on every architecture that CUDA is made for.
        const RTLD_NOLOAD: c_int = 4;
        // SAFETY: nothing is loaded, so no code is run.
        let library = unsafe { Library::open(Some(name), RTLD_LAZY | RTLD_NOLOAD) }.ok()?;
        Some(Driver(ManuallyDrop::new(library.into())))
    }

    #[cfg(windows)]
    fn loaded(name: &Path) -> Option<Driver> {
        let library = libloading::os::windows::Library::open_already_loaded(name).ok()?;
        Some(Driver(ManuallyDrop::new(library.into())))
    }

    /// There is no CUDA on other systems.
    #[cfg(not(any(target_os = "linux", windows)))]
    fn loaded(_name: &Path) -> Option<Driver> {
        None
    }

    fn init(&self) -> Result<()> {
        let init = self.function::<Init>("cuInit")?;
        // SAFETY: the type is the one in CUDA's header; 0 is the only flag there is.
        match unsafe { init(0) } {
            SUCCESS => Ok(()),
            code => Err(explain(code)),
        }
    }

    fn address(&self, ordinal: usize) -> Result<String> {
        let (get, address) = (
            self.function::<Get>("cuDeviceGet")?,
            self.function::<Address>("cuDeviceGetPCIBusId")?,
        );
        let mut device = 0;
        let found = c_int::try_from(ordinal).is_ok_and(|ordinal| {
            // SAFETY: the type is the one in CUDA's header, `device` outlives the call, and the driver is initialised.
            unsafe { get(&raw mut device, ordinal) == SUCCESS }
        });
        if !found {
            return Err(Error::absent(format!(
                "CUDA has no device {ordinal}: it shows {} to this process, {}",
                self.count()?,
                visible()
            ))
            .cure("use an ordinal below that, or let `CUDA_VISIBLE_DEVICES` name more devices"));
        }
        let mut text: [c_char; 32] = [0; 32];
        // SAFETY: the type is the one in CUDA's header; the length is that of `text`, and leaves its last byte 0.
        match unsafe { address(text.as_mut_ptr(), 31, device) } {
            SUCCESS => {}
            code => return Err(explain(code)),
        }
        // SAFETY: `text` holds a 0 at or before its last byte, and lives to the end of this function.
        Ok(unsafe { CStr::from_ptr(text.as_ptr()) }.to_string_lossy().into_owned())
    }

    fn count(&self) -> Result<c_int> {
        let function = self.function::<Count>("cuDeviceGetCount")?;
        let mut count = 0;
        // SAFETY: the type is the one in CUDA's header, `count` outlives the call, and the driver is initialised.
        match unsafe { function(&raw mut count) } {
            SUCCESS => Ok(count),
            code => Err(explain(code)),
        }
    }

    fn function<T>(&self, name: &str) -> Result<Symbol<'_, T>> {
        // SAFETY: every caller names the type that CUDA's header gives for `name`.
        unsafe { self.0.get(name.as_bytes()) }.map_err(|cause| {
            Error::unsupported(format!("the CUDA driver has no function `{name}`: {cause}"))
                .cure("update the NVIDIA driver")
                .caused_by(cause)
        })
    }
}

/// A code of CUDA's `CUresult` in words, with what the user can do about it.
fn explain(code: c_int) -> Error {
    match code {
        34 => Error::unsupported("the CUDA driver that was loaded is a stub for linking")
            .cure("take the toolkit's `stubs` directory out of `LD_LIBRARY_PATH`"),
        100 => {
            Error::absent(format!("the CUDA driver shows no device to this process: {}", visible()))
                .cure(
                    "let `CUDA_VISIBLE_DEVICES` name a device; start a container with `--gpus all`",
                )
        }
        803 => {
            Error::unsupported("the CUDA library and the loaded driver are of different versions")
                .cure("restart the machine, or the container, to complete the driver's update")
        }
        code => Error::lost(format!("the CUDA driver fails with error {code}"))
            .cure("see whether `nvidia-smi` works, and what `dmesg` says of `NVRM`"),
    }
}

fn visible() -> String {
    match std::env::var_os("CUDA_VISIBLE_DEVICES") {
        Some(value) => format!("`CUDA_VISIBLE_DEVICES` is `{}`", value.display()),
        None => "`CUDA_VISIBLE_DEVICES` is not set".to_owned(),
    }
}
