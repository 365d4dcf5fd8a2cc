//! The fence: waits, where epochs and phases open and close, until the devices have done what was asked of them.

use std::fmt::Display;

use candle_core::{Device, DeviceLocation};
use ergometer::{Error, Fence, Result};

use crate::device::name;

/// Waits for all work that the calling thread has given to the devices.
///
/// That is `Device::synchronize`, and it has to be called on the training thread: candle's CUDA device works on the
/// calling thread's own stream, so another thread would wait for nothing. It waits by spinning, which the processor's
/// counter sees; once an epoch that is nothing beside the epoch.
#[derive(Debug)]
pub(crate) struct DeviceFence(Vec<Device>);

impl DeviceFence {
    /// A fence for `devices`, or none if all of them are CPUs: there, work is done when a call returns.
    pub(crate) fn of(devices: &[Device]) -> Option<DeviceFence> {
        let devices: Vec<_> = devices.iter().filter(|device| !device.is_cpu()).cloned().collect();
        (!devices.is_empty()).then_some(DeviceFence(devices))
    }
}

impl Fence for DeviceFence {
    fn wait(&self) -> Result<()> {
        // A device that fails does not keep the others from being waited for.
        self.0.iter().map(synchronize).fold(Ok(()), Result::and)
    }
}

fn synchronize(device: &Device) -> Result<()> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = device {
        return crate::events::synchronize(&device.cuda_stream());
    }
    device.synchronize().map_err(|error| fault(device.location(), error))
}

/// A device's fault, as a fence gives it.
pub(crate) fn fault(place: DeviceLocation, error: impl Display) -> Error {
    Error::lost(format!("{} fails: {error}", name(place)))
        .cure("look for the fault in what the training did last")
}
