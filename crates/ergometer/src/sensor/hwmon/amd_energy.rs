//! AMD's energy counters through the driver `amd_energy`, which Linux had from 5.8 to 5.12 and AMD offers on its own.
//!
//! It shows a counter for each core and one for each socket. Cores are parts of their socket and are not read; threads
//! of one core share its counter, which matters to who adds them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::error::Error;
use crate::sensor::attribute;
use crate::sensor::counter::Counter;
use crate::sensor::{Domain, Found, Hardware, Specification};
use crate::units::Energy;

use super::{Chip, offer};

pub(super) const NAME: &str = "amd_energy";

/// Opens the counter of each socket.
pub(super) fn open(chips: &[&Chip]) -> Found {
    let mut found = Found::default();
    let mut seen = BTreeSet::new();
    for chip in chips {
        for (number, socket) in sockets(chip) {
            if !seen.insert(socket) {
                continue;
            }
            let path = chip.path(&format!("energy{number}_input"));
            let counter = Counter::open(specification(chip, number, socket), &path)
                .map_err(|error| closed(error, &path));
            offer(&mut found, &format!("cpu:package-{socket}"), &path, counter);
        }
    }
    found
}

fn closed(error: Error, path: &Path) -> Error {
    if !error.is_permission_denied() {
        return error;
    }
    error.cure(format!(
        "until the next boot: sudo chmod a+r {} (any user can then watch this power, which is the side channel of \
         CVE-2020-12912)",
        path.display()
    ))
}

/// The attributes' numbers that are sockets, `Esocket1`, with the sockets' numbers.
fn sockets(chip: &Chip) -> Vec<(u16, u16)> {
    let mut numbers: Vec<u16> = fs::read_dir(&chip.directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            name.to_str()?.strip_prefix("energy")?.strip_suffix("_label")?.parse().ok()
        })
        .collect();
    numbers.sort_unstable();
    let socket = |number: u16| {
        let label = attribute::text(&chip.path(&format!("energy{number}_label"))).ok()?;
        Some((number, label.strip_prefix("Esocket")?.parse().ok()?))
    };
    numbers.into_iter().filter_map(socket).collect()
}

fn specification(chip: &Chip, number: u16, socket: u16) -> Specification {
    let domain =
        Domain::new(Hardware::Cpu, format!("package-{socket}"), format!("CPU package {socket}"));
    Specification {
        stack: NAME.to_owned(),
        // The same registers as RAPL's, which err alike.
        family: "rapl".to_owned(),
        scope: "whole package, whoever uses it: cores, caches, memory controller; memory, board and power supply not \
                included"
            .to_owned(),
        // 15.3 µJ, and "updated every 1ms" (kernel.org, Documentation/hwmon/amd_energy.rst). The driver adds up the
        // register's wraps.
        quantum: Energy::from_nanojoules(15_259),
        period: Duration::from_millis(1),
        // Modelled, not measured: Schöne et al., arXiv:2108.00808.
        gain: 0.06,
        ..Specification::counter(domain, format!("{} energy{number}", chip.source()))
    }
}
