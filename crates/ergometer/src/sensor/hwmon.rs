//! Power gauges of servers and boards, through Linux's class for hardware monitoring (hwmon).
//!
//! A chip is known by its `name`; the numbers of its directory change from boot to boot. Read here are the ACPI power
//! meter with NVIDIA Grace's sockets, AMD's HSMP and `amd_energy`, Ampere's `SMpro`, and the INA3221 of Jetson boards.
//! Graphics cards have chips of this class, too; those belong to their own sources.
//!
//! Each driver is a stack of its own: behind one is a controller on a slow bus, behind another the management
//! controller, and neither may delay the rest.

mod acpi;
mod amd_energy;
mod grace;
mod hsmp;
mod ina3221;
mod smpro;

pub use grace::FAMILY as GRACE;

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::sensor::{Absence, Found, Sensor, attribute};

/// Opens the gauges and counters of every known chip under a sysfs root, `/sys` as a rule.
///
/// A machine without such a chip lacks nothing, and nothing is said of it. A chip that is there and cannot be read is
/// absent with its cause, as is a power meter that the firmware has and no driver reads.
pub fn open(sysfs: &Path) -> Found {
    let chips = match chips(sysfs) {
        Ok(chips) => chips,
        Err(error) if error.is_absent() => return Found::default(),
        Err(error) => return Found::nothing("hwmon", error),
    };
    let mut found = acpi::open(&named(&chips, acpi::NAME), sysfs);
    found.extend(hsmp::open(&named(&chips, hsmp::NAME)));
    found.extend(amd_energy::open(&named(&chips, amd_energy::NAME)));
    found.extend(smpro::open(&named(&chips, smpro::NAME)));
    found.extend(ina3221::open(&named(&chips, ina3221::NAME)));
    found
}

/// The sockets that AMD's HSMP driver shows as chips, and nothing else.
pub(super) fn sockets(sysfs: &Path) -> Found {
    chips(sysfs).map(|chips| hsmp::open(&named(&chips, hsmp::NAME))).unwrap_or_default()
}

/// One chip of the class.
#[derive(Debug)]
struct Chip {
    name: String,
    directory: PathBuf,
    /// The device behind it; two chips of one driver are told apart by it, since it does not change from boot to boot.
    device: PathBuf,
}

impl Chip {
    /// The chip in `directory`, or nothing if it does not say what it is.
    fn of(directory: PathBuf) -> Option<Chip> {
        // Drivers of the old interface have their attributes, `name` among them, at the device.
        let name = attribute::text(&directory.join("name"))
            .or_else(|_| attribute::text(&directory.join("device/name")))
            .ok()?;
        let device = fs::canonicalize(directory.join("device")).unwrap_or_default();
        Some(Chip { name, directory, device })
    }

    /// Where an attribute is: at the chip, or at its device with drivers of the old interface.
    fn path(&self, attribute: &str) -> PathBuf {
        let own = self.directory.join(attribute);
        let device = self.directory.join("device").join(attribute);
        if !own.exists() && device.exists() { device } else { own }
    }

    /// What the chip is called in a sensor's source: `hwmon power_meter hwmon3`.
    fn source(&self) -> String {
        let entry = self.directory.file_name().unwrap_or_default().to_string_lossy();
        format!("hwmon {} {entry}", self.name)
    }

    fn number(&self) -> Option<u32> {
        self.directory.file_name()?.to_str()?.strip_prefix("hwmon")?.parse().ok()
    }
}

/// Every chip, by its device and then by its number.
fn chips(sysfs: &Path) -> Result<Vec<Chip>> {
    let class = sysfs.join("class/hwmon");
    let failed = |cause| Error::file("list", &class, cause);
    let mut chips = Vec::new();
    for entry in fs::read_dir(&class).map_err(failed)? {
        chips.extend(Chip::of(entry.map_err(failed)?.path()));
    }
    chips.sort_by_cached_key(|chip| (chip.device.clone(), chip.number()));
    Ok(chips)
}

fn named<'a>(chips: &'a [Chip], name: &str) -> Vec<&'a Chip> {
    chips.iter().filter(|chip| chip.name == name).collect()
}

/// Takes in a sensor over the domain `id` that reads `path`, or why there is none.
fn offer(found: &mut Found, id: &str, path: &Path, sensor: Result<impl Sensor + 'static>) -> bool {
    let opened = sensor.is_ok();
    match sensor {
        Ok(sensor) => found.sensors.push(Box::new(sensor)),
        Err(error) => {
            let error = cured(error, path);
            found.absent.push(Absence { source: format!("hwmon {id}"), error });
        }
    }
    opened
}

fn cured(error: Error, path: &Path) -> Error {
    if error.remedy().is_some() {
        error
    } else if error.is_permission_denied() {
        error.cure(format!("until the next boot: sudo chmod a+r {}", path.display()))
    } else {
        error.cure("load the chip's driver again, or update the kernel")
    }
}
