//! One powercap zone as a sensor.

use std::path::{Path, PathBuf};

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::sensor::attribute::{Attribute, number, text};
use crate::sensor::counter::Monotone;
use crate::sensor::{Domain, Hardware, Quantity, Reading, Sensor, Specification};
use crate::units::{Energy, Power};

use super::domain;
use super::machine::Machine;

/// The energy counter of one zone. Its file is kept open; a read is one system call (about 1 µs) plus what the kernel
/// needs to fetch the register on the package's first core.
#[derive(Debug)]
pub(super) struct Zone {
    specification: Specification,
    counter: Monotone,
    energy: Attribute,
}

impl Zone {
    /// Opens the counter of the zone in `directory` and reads it once.
    ///
    /// # Errors
    /// If a file of the zone cannot be read, or does not hold a number.
    pub(super) fn open(directory: &Path, domain: &Domain, machine: &Machine) -> Result<Self> {
        let register = register(directory)?;
        let quantum = register.map_or(Energy::ZERO, |register| register.quantum);
        let wrap = register.map(|register| register.wrap);
        let entry = directory.file_name().unwrap_or_default().to_string_lossy();
        let common = domain::specification(
            domain.clone(),
            format!("powercap {entry}"),
            machine,
            has_graphics(directory),
        );
        let most = most(directory, domain.hardware).unwrap_or(common.most);
        let specification = Specification { quantum, wrap, most, ..common };
        let counter = Monotone::new(wrap, most, quantum);
        let energy = Attribute::open(directory.join("energy_uj"))?;
        Ok(Zone { specification, counter, energy })
    }

    /// True if `other` is a die of the same package and shows the same counter.
    pub(super) fn is_mirrored_by(&mut self, other: &mut Zone) -> bool {
        let tolerance = Energy::from_joules(1.0);
        if self.package_of_die().is_none() || self.package_of_die() != other.package_of_die() {
            return false;
        }
        let (Ok(before), Ok(value), Ok(after)) =
            (self.energy.energy(), other.energy.energy(), self.energy.energy())
        else {
            return false;
        };
        // The counter may start over between two of the reads, so distances are those on its circle.
        let turn = self.specification.wrap.unwrap_or(Energy::ZERO);
        let distance = (value + tolerance - before).modulo(turn);
        value > Energy::ZERO
            && distance >= Energy::ZERO
            && distance <= (after - before).modulo(turn) + tolerance + tolerance
    }

    /// Notes that `mirror` shows this counter, too.
    pub(super) fn stand_for(&mut self, mirror: &Zone) {
        self.specification
            .scope
            .push_str(&format!("; {} shows this same counter", mirror.specification.domain.id));
    }

    fn package_of_die(&self) -> Option<&str> {
        let Domain { id, hardware, .. } = &self.specification.domain;
        let (package, die) = domain::split(id);
        die.filter(|_| *hardware == Hardware::Cpu).map(|_| package)
    }
}

impl Sensor for Zone {
    fn specification(&self) -> &Specification {
        &self.specification
    }

    fn read(&mut self, clock: &Clock) -> Result<Reading> {
        let (before, value, after) = clock.bracket(|| self.energy.energy());
        let value = value.map_err(|cause| {
            Error::lost(format!("{} was lost: {cause}", self.specification.domain.id))
                .caused_by(cause)
        })?;
        let (energy, incident) = self.counter.accept(value, before.midpoint(after));
        Ok(Reading { incident, ..Reading::new(before, Quantity::Counter(energy), after) })
    }
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
