//! Powers that do not fit together: zones that count something else than their name says.
//!
//! Broken zones exist: on a Xeon 6767P one socket's memory read 200 W and the other's 6 W (PAPI pull request 635).

use crate::sensor::{Domain, Hardware};
use crate::units::Power;

/// Below this, in watts, a package is idle, and its memory may well draw more than half of it.
const BUSY: f64 = 50.0;

/// The domains whose mean power over the same time, at least a second under load, does not fit the others', with the
/// reason in words.
///
/// Memory should not draw more than half of its package, nor ten times as much as another package's. Both happen for good
/// reasons, too (much memory beside an idle processor), so this makes a sensor suspect and not wrong.
pub fn suspects(powers: &[(Domain, Power)]) -> Vec<(&Domain, String)> {
    let of = |hardware| powers.iter().filter(move |(domain, _)| domain.hardware == hardware);
    let mut suspects = Vec::new();
    for (memory, power) in of(Hardware::Dram) {
        let key = memory.id.trim_start_matches(Hardware::Dram.prefix());
        let package = of(Hardware::Cpu)
            .find(|(cpu, _)| cpu.id.trim_start_matches(Hardware::Cpu.prefix()) == key);
        let busy = Power::from_watts(BUSY);
        let odd = package.filter(|(_, beside)| *beside >= busy && *power > *beside * 0.5);
        if let Some((cpu, beside)) = odd {
            let reason = format!("{power} is more than half of the {beside} of {}", cpu.id);
            suspects.push((memory, reason));
        }
    }
    for hardware in [Hardware::Cpu, Hardware::Dram] {
        let lowest = of(hardware).min_by_key(|(_, power)| *power);
        for (domain, power) in of(hardware) {
            if let Some((other, least)) = lowest.filter(|(_, least)| *power > *least * 10.0) {
                let reason = format!("{power} is over ten times the {least} of {}", other.id);
                suspects.push((domain, reason));
            }
        }
    }
    suspects
}

#[cfg(test)]
mod tests {
    use super::*;

    fn powers(watts: &[(Hardware, &str, f64)]) -> Vec<(Domain, Power)> {
        let domain = |(hardware, key, watts): &(Hardware, &str, f64)| {
            (Domain::new(*hardware, key, *key), Power::from_watts(*watts))
        };
        watts.iter().map(domain).collect()
    }

    fn named(powers: &[(Domain, Power)]) -> Vec<&str> {
        suspects(powers).into_iter().map(|(domain, _)| domain.id.as_str()).collect()
    }

    #[test]
    fn a_socket_s_memory_at_200_watts_beside_6_is_suspect() {
        let powers = powers(&[
            (Hardware::Cpu, "package-0", 250.0),
            (Hardware::Cpu, "package-1", 240.0),
            (Hardware::Dram, "package-0", 200.0),
            (Hardware::Dram, "package-1", 6.0),
        ]);
        assert_eq!(named(&powers), ["dram:package-0", "dram:package-0"]);
        assert!(suspects(&powers)[0].1.contains("cpu:package-0"));
    }

    #[test]
    fn usual_powers_are_not() {
        let powers = powers(&[
            (Hardware::Cpu, "package-0", 250.0),
            (Hardware::Cpu, "package-1", 60.0),
            (Hardware::Dram, "package-0", 30.0),
            (Hardware::Dram, "package-1", 12.0),
            (Hardware::Node, "psys", 700.0),
        ]);
        assert!(suspects(&powers).is_empty());
    }
}
