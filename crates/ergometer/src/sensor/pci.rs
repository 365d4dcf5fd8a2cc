//! A PCI device as sysfs shows it: its address, and whether it sleeps.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::sensor::selection::canonical;
use crate::sensor::{Absence, attribute};

/// The directory of one PCI device.
#[derive(Clone, Debug)]
pub(super) struct Device {
    /// Among the devices, not by a link: the numbers of those change when a driver is loaded again.
    pub(super) directory: PathBuf,
    /// As the kernel writes it: `0000:c1:00.0`.
    pub(super) address: String,
}

impl Device {
    /// The device of this directory, unless it is of another bus.
    pub(super) fn at(directory: &Path) -> Option<Device> {
        let uevent = fs::read_to_string(directory.join("uevent")).ok()?;
        let address = uevent.lines().find_map(|line| line.strip_prefix("PCI_SLOT_NAME="))?;
        let directory = fs::canonicalize(directory).ok()?;
        Some(Device { directory, address: address.trim().to_owned() })
    }

    /// True if the device is at one of these addresses, in whatever spelling.
    pub(super) fn is_among(&self, addresses: &[String]) -> bool {
        let place = canonical(&self.address);
        place.is_some() && addresses.iter().any(|address| canonical(address) == place)
    }

    /// Makes sure that the device is awake.
    ///
    /// To read a sensor of a sleeping card either fails (amdgpu since Linux 6.15) or wakes the card and keeps it awake,
    /// so that the measurement itself would use the energy.
    ///
    /// # Errors
    /// If the kernel says that it sleeps.
    pub(super) fn awake(&self) -> Result<()> {
        match attribute::text(&self.directory.join("power/runtime_status")) {
            Ok(status) if status == "suspended" => {
                Err(Error::lost(format!("the GPU at {} is asleep", self.address))
                    .cure("use it once, a tensor is enough, before the meter looks for sensors"))
            }
            _ => Ok(()),
        }
    }
}

/// What is said of cards that draw power beside the training and are not asked about it.
pub(super) fn left_out(source: &str, addresses: &[&str]) -> Option<Absence> {
    (!addresses.is_empty()).then(|| Absence {
        source: format!("{source} {}", addresses.join(", ")),
        error: Error::unsupported("not used by the training, so not measured")
            .cure("measure all: `.gpus(Selection::All)`"),
    })
}

/// An error in reading sysfs, with what can be done where permissions are the cause.
pub(super) fn curable(error: Error) -> Error {
    if error.is_permission_denied() {
        error.cure(
            "every user may read it on a usual system; in a container, mount the host's /sys to another path \
             (docker run -v /sys:/host/sys:ro) and give that path to the meter as its sysfs root",
        )
    } else {
        error
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_permissions_close_has_a_cure_and_keeps_its_kind() {
        let failed = |kind| Error::file("read", Path::new("/sys/x"), io::Error::from(kind));
        let closed = curable(failed(io::ErrorKind::PermissionDenied));
        assert!(closed.is_permission_denied());
        assert!(closed.remedy().unwrap().contains("/host/sys"), "{closed}");
        assert_eq!(curable(failed(io::ErrorKind::NotFound)).remedy(), None);
    }

    #[test]
    fn spellings_of_an_address_are_one_place() {
        let device = Device { directory: PathBuf::new(), address: "0000:0a:00.0".to_owned() };
        assert!(device.is_among(&["00000000:0A:00".to_owned()]));
        assert!(!device.is_among(&["0000:0b:00.0".to_owned(), "nonsense".to_owned()]));
        let nowhere = Device { address: "nonsense".to_owned(), ..device };
        assert!(!nowhere.is_among(&["nonsense".to_owned()]));
    }
}
