//! The rails of Ampere's Altra, from its management processor (`smpro_hwmon`).
//!
//! As a rule it is wired to the board's management controller, and the machine itself does not see it.

use std::time::Duration;

use crate::sensor::attribute::{self, Attribute};
use crate::sensor::gauge::Gauge;
use crate::sensor::{Domain, Found, Hardware, Specification};
use crate::units::Power;

use super::{Chip, offer};

pub(super) const NAME: &str = "smpro_hwmon";

/// The rails by their attribute's number (kernel.org, Documentation/hwmon/smpro-hwmon.rst). Each has a regulator of its
/// own, so all of them add up; the last one feeds the chip's PCI Express root complexes.
const RAILS: [(u8, Hardware, &str, &str); 5] = [
    (1, Hardware::Cpu, "core-vrd", "CORE VRD"),
    (2, Hardware::Cpu, "soc-vrd", "SoC"),
    (3, Hardware::Dram, "dimm-vrd1", "DIMM VRD1"),
    (4, Hardware::Dram, "dimm-vrd2", "DIMM VRD2"),
    (5, Hardware::Cpu, "rca-vrd", "RCA VRD"),
];

/// Opens every rail of every socket.
pub(super) fn open(chips: &[&Chip]) -> Found {
    let mut found = Found::default();
    for (socket, chip) in chips.iter().enumerate() {
        for (number, hardware, key, name) in RAILS {
            let path = chip.path(&format!("power{number}_input"));
            // The driver begins its labels with the attribute's name: `power1 CORE VRD`.
            let label = attribute::text(&chip.path(&format!("power{number}_label")))
                .ok()
                .map(|label| label.trim_start_matches(&format!("power{number} ")).to_owned())
                .filter(|label| !label.is_empty())
                .unwrap_or_else(|| name.to_owned());
            let key = match chips.len() {
                1 => key.to_owned(),
                _ => format!("{key}-{socket}"),
            };
            let domain = Domain::new(hardware, key, label);
            let id = domain.id.clone();
            let source = format!("{} power{number}", chip.source());
            let specification = specification(domain, source);
            let gauge = Attribute::open(&path)
                .and_then(|mut attribute| Gauge::open(specification, move || attribute.power()));
            offer(&mut found, &id, &path, gauge);
        }
    }
    found
}

fn specification(domain: Domain, source: String) -> Specification {
    let scope = match domain.hardware {
        Hardware::Dram => "the output of the regulator of this half of the memory",
        _ => "the output of the regulator of this part of the processor",
    };
    // How often a rail is measured is not documented.
    let period = Duration::from_millis(100);
    Specification {
        scope: format!("{scope}; the regulator's own loss not included"),
        // A judgement: what regulators' own measurements are commonly good for.
        gain: 0.05,
        // The register has ten bits of watts.
        most: Power::from_watts(1_024.0),
        ..Gauge::specification(domain, NAME, source, period, Duration::ZERO)
    }
}
