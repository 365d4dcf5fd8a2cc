//! One powercap zone as a sensor.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::sensor::attribute::{number, text};
use crate::sensor::counter::Counter;
use crate::sensor::machine::Machine;
use crate::sensor::{Domain, Hardware, Specification};
use crate::units::{Energy, Power};

use super::domain;

/// Opens the counter of the zone in `directory` and reads it once. To read it the kernel asks the package's first core.
///
/// # Errors
/// If a file of the zone cannot be read, or does not hold a number.
pub(super) fn open(directory: &Path, domain: &Domain, machine: &Machine) -> Result<Counter> {
    let register = register(directory)?;
    let entry = directory.file_name().unwrap_or_default().to_string_lossy();
    let common = domain::specification(
        domain.clone(),
        format!("powercap {entry}"),
        machine,
        has_graphics(directory),
    );
    let specification = Specification {
        quantum: register.map_or(Energy::ZERO, |register| register.quantum),
        wrap: register.map(|register| register.wrap),
        most: most(directory, domain.hardware).unwrap_or(common.most),
        ..common
    };
    Counter::open(specification, directory.join("energy_uj"))
}

/// True if two zones are dies of the same package and show the same counter.
pub(super) fn are_mirrors(one: &mut Counter, other: &mut Counter) -> bool {
    let tolerance = Energy::from_joules(1.0);
    let package = package_of_die(&one.specification.domain);
    if package.is_none() || package != package_of_die(&other.specification.domain) {
        return false;
    }
    let (Ok(before), Ok(value), Ok(after)) = (one.raw(), other.raw(), one.raw()) else {
        return false;
    };
    // The counter may start over between two of the reads, so distances are those on its circle.
    let turn = one.specification.wrap.unwrap_or(Energy::ZERO);
    let distance = (value + tolerance - before).modulo(turn);
    value > Energy::ZERO
        && distance >= Energy::ZERO
        && distance <= (after - before).modulo(turn) + tolerance + tolerance
}

fn package_of_die(domain: &Domain) -> Option<&str> {
    let (package, die) = domain::split(&domain.id);
    die.filter(|_| domain.hardware == Hardware::Cpu).map(|_| package)
}

/// A zone's register of 32 bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Register {
    /// The energy of one count.
    pub(super) quantum: Energy,
    /// The energy after which it starts over.
    pub(super) wrap: Energy,
}

/// The register of the zone in `directory`; `None` if the zone names no range. Everybody may read this file.
///
/// # Errors
/// If the file cannot be read, or does not hold a number.
pub(super) fn register(directory: &Path) -> Result<Option<Register>> {
    let range = number(&directory.join("max_energy_range_uj"))?;
    let range = u64::try_from(range).ok().filter(|range| *range > 0);
    Ok(range.map(|range| {
        // The kernel gives the register's largest value in microjoules, so this is one count of it: 61 µJ on most of
        // Intel's packages, 15.3 µJ on AMD's and for servers' memory, 1 J for some servers' psys.
        let counts = i128::from(u32::MAX);
        let quantum = Energy::from_nanojoules((i128::from(range) * 1_000 + counts / 2) / counts);
        Register { quantum, wrap: Energy::from_microjoules(range) + quantum }
    }))
}

/// The kernel's name for a zone: `package-0`, `dram`.
///
/// # Errors
/// If it cannot be read.
pub(super) fn name(zone: &Path) -> Result<String> {
    text(&zone.join("name"))
}

/// True if a zone beside this one is `uncore`, as on processors for desktops and laptops.
fn has_graphics(directory: &Path) -> bool {
    let Some((package, _)) = directory.to_str().and_then(|path| path.rsplit_once(':')) else {
        return false;
    };
    (0..4).any(|child| {
        name(&PathBuf::from(format!("{package}:{child}"))).is_ok_and(|name| name == "uncore")
    })
}

/// The highest power that is plausible for a package: twice what the zone's limits name, if they name one.
///
/// It tells a wrap from a reset. Too low, and a wrap would count as a reset, which loses energy; too high does no harm
/// at reads some milliseconds apart, since a reset would have to land within a few joules of a wrap. So it is generous.
pub(super) fn most(directory: &Path, hardware: Hardware) -> Option<Power> {
    // The thermal design power, and the limit for short bursts; laptops' exceed twice the former.
    let limits = ["constraint_0_max_power_uw", "constraint_1_power_limit_uw"];
    let limits = limits.iter().filter_map(|limit| power(&directory.join(limit)));
    limits.max().filter(|_| hardware == Hardware::Cpu).map(|limit| limit * 2.0)
}

/// A power above zero in a file of microwatts.
pub(super) fn power(path: &Path) -> Option<Power> {
    number(path).ok().filter(|power| *power > 0).map(Power::from_microwatts)
}
