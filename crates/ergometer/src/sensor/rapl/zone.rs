//! One powercap zone as a sensor.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::sensor::attribute::{Attribute, number};
use crate::sensor::counter::Monotone;
use crate::sensor::{Domain, Hardware, Quantity, Reading, Sensor, Specification};
use crate::units::{Energy, Power};

use super::Vendor;

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
    pub(super) fn open(directory: &Path, domain: &Domain, vendor: Vendor) -> Result<Self> {
        let range = number(&directory.join("max_energy_range_uj"))?;
        let range = u64::try_from(range).unwrap_or(0);
        // The register has 32 bits, and the kernel gives its largest value in microjoules, so this is one count of it:
        // 61 µJ on most of Intel's packages, 15.3 µJ on AMD's and for servers' memory, 1 J for some servers' psys.
        let counts = i128::from(u32::MAX);
        let quantum = Energy::from_nanojoules((i128::from(range) * 1_000 + counts / 2) / counts);
        let wrap = (range > 0).then(|| Energy::from_microjoules(range) + quantum);
        let most = most(directory, domain.hardware);
        let (gain, offset) = uncertainty(directory, domain.hardware, vendor);
        let entry = directory.file_name().unwrap_or_default().to_string_lossy();
        let specification = Specification {
            family: super::SOURCE.to_owned(),
            stack: super::SOURCE.to_owned(),
            scope: scope(domain.hardware).to_owned(),
            quantum,
            // "Updated every 1 ms" (kernel.org, Documentation/hwmon/amd_energy.rst); Intel's counters are no slower.
            period: Duration::from_millis(1),
            wrap,
            gain,
            offset,
            most,
            in_total: domain.hardware != Hardware::Node,
            ..Specification::counter(domain.clone(), format!("powercap {entry}"))
        };
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
        value > Energy::ZERO && value + tolerance >= before && value <= after + tolerance
    }

    /// Notes that `mirror` shows this counter, too.
    pub(super) fn stand_for(&mut self, mirror: &Zone) {
        self.specification
            .scope
            .push_str(&format!("; {} shows this same counter", mirror.specification.domain.id));
    }

    fn package_of_die(&self) -> Option<&str> {
        let Domain { id, hardware, .. } = &self.specification.domain;
        id.split_once("-die-").filter(|_| *hardware == Hardware::Cpu).map(|(package, _)| package)
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

fn scope(hardware: Hardware) -> &'static str {
    match hardware {
        Hardware::Dram => "memory attached to this package, whoever uses it",
        Hardware::Node => {
            "what the firmware counts as the platform, packages included; reported beside the sum"
        }
        Hardware::Cpu | Hardware::Gpu => {
            "whole package, whoever uses it: cores, caches, memory controller, integrated graphics; memory, board and \
             power supply not included"
        }
    }
}

/// Standard uncertainties of gain and offset (k = 1).
///
/// Judgements: packages follow the plug closely on Intel (Khan et al., "RAPL in Action", 2018) and are modelled on AMD
/// (Schöne et al., arXiv:2108.00808); memory is measured at its regulator on servers and is off by a constant on
/// desktops (Desrochers et al., MEMSYS 2016), which are told by their integrated graphics, `uncore`.
fn uncertainty(directory: &Path, hardware: Hardware, vendor: Vendor) -> (f64, Power) {
    match hardware {
        Hardware::Dram if has_graphics(directory) => (0.15, Power::from_watts(1.0)),
        Hardware::Dram => (0.06, Power::from_watts(1.0)),
        // What psys contains is up to the board.
        Hardware::Node => (0.10, Power::ZERO),
        Hardware::Cpu | Hardware::Gpu if vendor == Vendor::Intel => (0.03, Power::ZERO),
        Hardware::Cpu | Hardware::Gpu => (0.06, Power::ZERO),
    }
}

/// True if a zone beside this one is `uncore`, as on processors for desktops and laptops.
fn has_graphics(directory: &Path) -> bool {
    let Some((package, _)) = directory.to_str().and_then(|path| path.rsplit_once(':')) else {
        return false;
    };
    (0..4).any(|child| {
        super::name(&PathBuf::from(format!("{package}:{child}"))).is_ok_and(|name| name == "uncore")
    })
}

/// The highest power that is plausible: twice what the zone's limits name.
///
/// It tells a wrap from a reset. Too low, and a wrap would count as a reset, which loses energy; too high does no harm
/// at reads some milliseconds apart, since a reset would have to land within a few joules of a wrap. So it is generous.
fn most(directory: &Path, hardware: Hardware) -> Power {
    let default = Power::from_watts(match hardware {
        Hardware::Dram => 200.0,
        Hardware::Node => 10_000.0,
        Hardware::Cpu | Hardware::Gpu => 1_000.0,
    });
    if hardware != Hardware::Cpu {
        return default;
    }
    // The thermal design power, and the limit for short bursts; laptops' exceed twice the former.
    let limits = ["constraint_0_max_power_uw", "constraint_1_power_limit_uw"];
    limits
        .iter()
        .filter_map(|limit| power(&directory.join(limit)))
        .max()
        .map_or(default, |limit| limit * 2.0)
}

/// A power above zero in a file of microwatts.
pub(super) fn power(path: &Path) -> Option<Power> {
    number(path).ok().filter(|power| *power > 0).map(Power::from_microwatts)
}
