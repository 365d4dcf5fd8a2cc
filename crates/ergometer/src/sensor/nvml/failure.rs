//! Why NVML is not there or fails, in words, with what the user can do about it.

use std::path::Path;

use nvml_wrapper::error::NvmlError;

use crate::error::{Error, Kind};

/// Why no library was loaded.
pub(super) fn not_loaded(
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
pub(super) fn explain(thing: &str, error: NvmlError) -> Error {
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

/// True if a GPU or its driver does not have what was asked for, as opposed to failing at it.
///
/// A driver from before a field existed calls the field's number invalid, and one that knows the field but not for this
/// scope may call the scope so. What has never had a value has none.
pub(super) fn is_lacking(error: &NvmlError) -> bool {
    matches!(
        error,
        NvmlError::NotSupported
            | NvmlError::FailedToLoadSymbol(_)
            | NvmlError::FunctionNotFound
            | NvmlError::InvalidArg
            | NvmlError::NoData
            | NvmlError::UnexpectedVariant(_)
    )
}

/// True if the handle of a GPU that gave readings is of no more use, and the GPU has to be looked for.
pub(super) fn is_gone(error: &NvmlError) -> bool {
    matches!(
        error,
        NvmlError::GpuLost
            | NvmlError::ResetRequired
            | NvmlError::Uninitialized
            | NvmlError::InvalidArg
            | NvmlError::NotFound
            | NvmlError::DriverNotLoaded
    )
}
