//! A CUDA driver library of known devices.
//!
//! It answers from a [`Driver`] described beside it: a copy `dir/libcuda.so.1` reads `dir/libcuda.so.1.json`. Copies
//! share nothing, and none looks at the environment, so tests run side by side.

#![expect(unsafe_code, reason = "a C interface")]

use std::ffi::{CStr, OsStr, c_char, c_int, c_uint};
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

/// What the driver knows, written beside each copy of the library as JSON.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Driver {
    /// The PCI addresses of the devices, in the driver's order: `0000:17:00.0`.
    pub devices: Vec<String>,
    /// What `CUDA_VISIBLE_DEVICES` is taken to be: indices, of which the first that does not exist ends the list.
    pub visible: Option<String>,
    /// What `cuInit` returns where devices are visible, a `CUresult`.
    pub init: c_int,
}

const SUCCESS: c_int = 0;
const INVALID_VALUE: c_int = 1;
const NOT_INITIALIZED: c_int = 3;
const NO_DEVICE: c_int = 100;
const INVALID_DEVICE: c_int = 101;

static READY: AtomicBool = AtomicBool::new(false);

#[unsafe(no_mangle)]
extern "C" fn cuInit(flags: c_uint) -> c_int {
    let result = match flags {
        0 if visible().is_empty() => NO_DEVICE,
        0 => driver().init,
        _ => INVALID_VALUE,
    };
    READY.store(result == SUCCESS, Ordering::Release);
    result
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetCount(count: &mut c_int) -> c_int {
    *count = c_int::try_from(visible().len()).unwrap_or(c_int::MAX);
    if READY.load(Ordering::Acquire) { SUCCESS } else { NOT_INITIALIZED }
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGet(device: &mut c_int, ordinal: c_int) -> c_int {
    if !READY.load(Ordering::Acquire) {
        return NOT_INITIALIZED;
    }
    let known = usize::try_from(ordinal).is_ok_and(|ordinal| ordinal < visible().len());
    *device = ordinal;
    if known { SUCCESS } else { INVALID_DEVICE }
}

#[unsafe(no_mangle)]
extern "C" fn cuDeviceGetPCIBusId(text: *mut c_char, length: c_int, device: c_int) -> c_int {
    let visible = visible();
    let (Ok(length), Ok(device)) = (usize::try_from(length), usize::try_from(device)) else {
        return INVALID_VALUE;
    };
    let Some(address) = visible.get(device) else { return INVALID_DEVICE };
    if address.len() >= length {
        return INVALID_VALUE;
    }
    // SAFETY: CUDA's header asks the caller for `length` bytes, and the address with its 0 is no longer.
    unsafe {
        text.copy_from_nonoverlapping(address.as_ptr().cast(), address.len());
        *text.add(address.len()) = 0;
    }
    SUCCESS
}

/// The devices in the process's own order.
fn visible() -> Vec<&'static str> {
    let devices = &driver().devices;
    let at = |index: usize| devices.get(index).map(String::as_str);
    match &driver().visible {
        None => devices.iter().map(String::as_str).collect(),
        Some(list) => list.split(',').map_while(|index| at(index.trim().parse().ok()?)).collect(),
    }
}

fn driver() -> &'static Driver {
    static DRIVER: OnceLock<Driver> = OnceLock::new();
    DRIVER.get_or_init(|| {
        // SAFETY: all zeros is a value of this struct of pointers.
        let mut place: libc::Dl_info = unsafe { std::mem::zeroed() };
        // SAFETY: the address is one of this library's functions, and `place` is a place for what is found.
        let found =
            unsafe { libc::dladdr(cuInit as *const () as *const libc::c_void, &raw mut place) };
        assert!(found != 0, "the stub does not know where it lies");
        // SAFETY: the name is a string that ends with 0 and lives as long as the library.
        let name = OsStr::from_bytes(unsafe { CStr::from_ptr(place.dli_fname) }.to_bytes());
        let path = format!("{}.json", name.display());
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
    })
}
