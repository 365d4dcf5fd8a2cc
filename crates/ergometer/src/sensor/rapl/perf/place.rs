//! Which CPU stands for which package or die.

use std::path::Path;

use crate::error::{Error, Result};
use crate::sensor::attribute::{number, text};
use crate::sensor::machine::{Machine, Vendor};

/// A part of the machine whose counters the kernel reads on one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) package: i64,
    pub(super) die: i64,
    pub(super) cpu: u32,
}

impl Place {
    /// The places that the `power` unit names now, each once: offline packages are not among them.
    ///
    /// # Errors
    /// If the unit's `cpumask` or the topology of one of its CPUs cannot be read.
    pub(super) fn all(sysfs: &Path, machine: &Machine) -> Result<Vec<Place>> {
        let path = sysfs.join("bus/event_source/devices/power/cpumask");
        let mask = text(&path)?;
        let cpus = list(&mask).ok_or_else(|| {
            Error::invalid(format!(
                "`{}` should hold a list of CPUs and holds {mask:?}",
                path.display()
            ))
        })?;
        let mut places =
            cpus.into_iter().map(|cpu| Place::of(sysfs, cpu)).collect::<Result<Vec<_>>>()?;
        places.sort_unstable();
        places.dedup_by_key(|place| (place.package, place.die));
        if machine.vendor != Vendor::Intel {
            // AMD's register counts the whole package whichever die reads it, though kernels before 6.12 name a CPU of
            // each die (Linux, "perf/x86/rapl: Fix the energy-pkg event for AMD CPUs").
            places.dedup_by_key(|place| place.package);
        }
        Ok(places)
    }

    fn of(sysfs: &Path, cpu: u32) -> Result<Place> {
        let topology = sysfs.join(format!("devices/system/cpu/cpu{cpu}/topology"));
        // Kernels before 5.1 know no dies.
        let die = number(&topology.join("die_id")).unwrap_or(0);
        Ok(Place { package: number(&topology.join("physical_package_id"))?, die, cpu })
    }

    /// The kernel's name for it in powercap if packages have several dies: `package-0-die-1`.
    pub(super) fn die_name(&self) -> String {
        format!("package-{}-die-{}", self.package, self.die)
    }

    /// The kernel's name for it in powercap if they have not: `package-0`.
    pub(super) fn package_name(&self) -> String {
        format!("package-{}", self.package)
    }
}

/// The numbers of a list as the kernel writes it: `0,28-30`.
fn list(text: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for range in text.split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        // More CPUs than any kernel supports are no list of CPUs.
        numbers.extend((last < 1 << 16).then_some(first..=last)?);
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_written_with_commas_and_dashes() {
        assert_eq!(list("0,28-30"), Some(vec![0, 28, 29, 30]));
        assert_eq!(list(""), Some(vec![]));
        for text in ["0;28", "a", "0-", "-3", "0-4294967295"] {
            assert_eq!(list(text), None, "{text}");
        }
    }
}
