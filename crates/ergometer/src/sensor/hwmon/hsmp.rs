//! AMD's host system management port as a chip for each socket (`amd_hsmp_hwmon`, Linux 6.16 or later).

use crate::sensor::attribute::{self, Attribute};
use crate::sensor::gauge::{Gauge, of_firmware};
use crate::sensor::{Found, hsmp};
use crate::units::Power;

use super::{Chip, offer};

pub(super) const NAME: &str = "amd_hsmp_hwmon";

/// Opens the package power of each socket.
pub(super) fn open(chips: &[&Chip]) -> Found {
    let mut found = Found::default();
    // Without ACPI all sockets are chips of one device, registered in their order, and have no number of their own.
    let numbers: Option<Vec<u16>> = chips.iter().map(|chip| socket(chip)).collect();
    for (socket, chip) in (0..).zip(chips) {
        let socket = numbers.as_ref().map_or(socket, |numbers| numbers[usize::from(socket)]);
        let path = chip.path("power1_input");
        let limit = attribute::number(&chip.path("power1_cap_max")).ok();
        let limit = limit.map(Power::from_microwatts).filter(|limit| *limit > Power::ZERO);
        let specification = hsmp::specification(socket, chip.source(), limit);
        let id = specification.domain.id.clone();
        let gauge = Attribute::open(&path).and_then(|mut attribute| {
            Gauge::open(specification, move || attribute.power().and_then(of_firmware))
        });
        offer(&mut found, &id, &path, gauge);
    }
    found
}

/// The socket's number in the firmware's own id of the device, `ID01`.
fn socket(chip: &Chip) -> Option<u16> {
    let id = chip.directory.join("device/firmware_node/uid");
    attribute::text(&id).ok()?.strip_prefix("ID")?.parse().ok()
}
