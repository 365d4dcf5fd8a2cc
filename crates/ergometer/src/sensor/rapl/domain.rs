//! The domains of RAPL: their ids, which all interfaces share, and what is known of every counter of them.

use std::time::Duration;

use crate::sensor::{Domain, Hardware, Specification};
use crate::units::Power;

use crate::sensor::machine::{Machine, Vendor};

/// A processor package or one of its dies, by the kernel's name for it: `package-0`, `package-0-die-1`.
pub(super) fn package(name: &str) -> Domain {
    Domain::new(Hardware::Cpu, name, spoken(name))
}

/// The memory attached to a package or die.
pub(super) fn memory(package: &str) -> Domain {
    Domain::new(Hardware::Dram, package, format!("memory of {}", spoken(package)))
}

/// The platform, `psys`, or what a further package counts as one, `psys-1`.
pub(super) fn platform(name: &str) -> Domain {
    Domain::new(Hardware::Node, name, "platform")
}

/// `package-0-die-1` as a person says it.
fn spoken(package: &str) -> String {
    package.replacen("package-", "CPU package ", 1).replacen("-die-", ", die ", 1)
}

/// True if two domain ids mean parts of the same kind of hardware that overlap: the same, or a package and its die.
pub(super) fn overlap(one: &str, other: &str) -> bool {
    let (package, die) = split(one);
    let (others_package, others_die) = split(other);
    package == others_package && (die.is_none() || others_die.is_none() || die == others_die)
}

/// The id of the package, and the die in it.
pub(super) fn split(id: &str) -> (&str, Option<&str>) {
    id.split_once("-die-").map_or((id, None), |(package, die)| (package, Some(die)))
}

/// What is known of every counter of `domain`, by whichever interface it is read.
///
/// `graphics` tells desktops and laptops from servers.
pub(super) fn specification(
    domain: Domain,
    source: String,
    machine: &Machine,
    graphics: bool,
) -> Specification {
    let hardware = domain.hardware;
    let filtered = machine.filtered && hardware == Hardware::Cpu;
    let (gain, offset) = uncertainty(hardware, machine.vendor, graphics);
    let mut specification = Specification {
        family: super::SOURCE.to_owned(),
        stack: super::SOURCE.to_owned(),
        scope: scope(hardware).to_owned(),
        // "Updated every 1 ms" (kernel.org, Documentation/hwmon/amd_energy.rst); Intel's counters are no slower.
        period: Duration::from_millis(1),
        gain,
        offset,
        most: most(hardware),
        in_total: hardware != Hardware::Node,
        ..Specification::counter(domain, source)
    };
    if filtered {
        specification.interval = FILTER;
        specification.scope.push_str(
            "; filtered: with SGX enabled the processor adds noise to its counter, which evens out over longer times",
        );
    }
    specification
}

/// How often a filtered counter is read. Single readings are off by up to a half, and their sum is right; with edges this
/// far apart a shorter window rests on interpolation, and its uncertainty says so.
const FILTER: Duration = Duration::from_millis(100);

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
/// desktops (Desrochers et al., MEMSYS 2016), which are told by their integrated graphics.
fn uncertainty(hardware: Hardware, vendor: Vendor, graphics: bool) -> (f64, Power) {
    match hardware {
        Hardware::Dram if graphics => (0.15, Power::from_watts(1.0)),
        Hardware::Dram => (0.06, Power::from_watts(1.0)),
        // What psys contains is up to the board.
        Hardware::Node => (0.10, Power::ZERO),
        Hardware::Cpu | Hardware::Gpu if vendor == Vendor::Intel => (0.03, Power::ZERO),
        Hardware::Cpu | Hardware::Gpu => (0.06, Power::ZERO),
    }
}

/// The highest power that is plausible where no limit says more.
fn most(hardware: Hardware) -> Power {
    Power::from_watts(match hardware {
        Hardware::Dram => 400.0,
        Hardware::Node => 10_000.0,
        Hardware::Cpu | Hardware::Gpu => 1_000.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_overlaps_its_dies_and_no_other_package() {
        assert!(overlap("cpu:package-0", "cpu:package-0-die-1"));
        assert!(overlap("cpu:package-0-die-1", "cpu:package-0-die-1"));
        assert!(!overlap("cpu:package-0-die-0", "cpu:package-0-die-1"));
        assert!(!overlap("cpu:package-1", "cpu:package-10"));
        assert!(!overlap("cpu:package-0", "dram:package-0"));
    }
}
