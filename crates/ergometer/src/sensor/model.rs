//! Estimates for what no sensor measures: the processors from their CPU time, the memory from its size.
//!
//! The processor model is that of B. Davy, "Estimating AWS EC2 Instances Power Consumption" (Teads, 2021): power at 0,
//! 10, 50 and 100 % load, as shares of the thermal design power, measured with RAPL on Intel servers, and linear in
//! between. Published estimates of this kind miss a wall meter by up to 40 % (R. Fischer, arXiv:2509.22092), hence the
//! large uncertainties.

mod load;
mod processor;
mod rating;

use std::path::Path;
use std::time::Duration;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::sensor::{Domain, Hardware, Provenance, Quantity, Reading, Sensor, Specification};
use crate::units::{Energy, Power, Timestamp};

use self::load::Load;
use self::processor::Processor;
use self::rating::Rating;

/// Estimates the energy of all processors that this system sees, in joules, as domain `cpu:model`.
///
/// `thermal_design_power` is that of all these processors together (in a virtual machine, of its share) and beats what
/// is known of them. Without it, it comes from the kernel's powercap zones, from a table of processors, or from the
/// microarchitecture; [`Specification::source`] says which. A virtual machine counts as so many threads of its host.
/// A read parses a line of `<procfs>/stat`: some microseconds.
///
/// # Errors
/// If CPU times cannot be read.
pub fn cpu(
    procfs: &Path,
    sysfs: &Path,
    thermal_design_power: Option<Power>,
) -> Result<Box<dyn Sensor>> {
    let processor = Processor::identify(procfs)?;
    let rating = Rating::of(&processor, sysfs, thermal_design_power);
    let load = Load::open(procfs)?;
    let whose = if processor.virtual_machine {
        "this virtual machine's part of the processors"
    } else {
        "all processors"
    };
    let specification = Specification {
        family: FAMILY.to_owned(),
        stack: FAMILY.to_owned(),
        provenance: Provenance::Model,
        scope: format!(
            "{whose} with caches and memory controllers, whoever uses them; memory, board and power supply not included"
        ),
        interval: load.interval(),
        gain: rating.gain,
        least: rating.power * SHARES[0].1,
        most: rating.power * SHARES[SHARES.len() - 1].1,
        ..Specification::counter(
            Domain::new(Hardware::Cpu, FAMILY, &*processor.brand),
            format!("model, CPU time × {}", rating.rule),
        )
    };
    Ok(Box::new(Processors {
        specification,
        power: rating.power,
        load,
        last: None,
        energy: Energy::ZERO,
    }))
}

/// Estimates the power of the main memory, in watts, as domain `dram:model`.
///
/// The form of Boavizta's API, release 2.5: each module of S GB draws (3.0 W + 0.055 W/GB · S)·(0.7 + 0.3 · load).
/// Modules are taken as the 32 GB that are typical of DDR4, and the load, which nothing reports, as one half. In a
/// virtual machine only its own memory counts, with that part of a module which it fills.
///
/// # Errors
/// If the size of the memory cannot be read.
pub fn memory(procfs: &Path) -> Result<Box<dyn Sensor>> {
    let size = memory_size(procfs)?;
    let modules = size / MODULE;
    let modules = if Processor::identify(procfs).is_ok_and(|processor| processor.virtual_machine) {
        modules
    } else {
        modules.ceil()
    };
    let rated = Power::from_watts(3.0 * modules + 0.055 * size);
    let specification = Specification {
        family: FAMILY.to_owned(),
        stack: FAMILY.to_owned(),
        provenance: Provenance::Model,
        scope: "main memory, whoever uses it, at half load".to_owned(),
        interval: INTERVAL,
        gain: 0.40,
        least: rated * 0.7,
        most: rated,
        ..Specification::gauge(
            Domain::new(Hardware::Dram, FAMILY, format!("{size:.0} GB of memory")),
            format!("model, {modules:.1} modules for {size:.1} GB"),
        )
    };
    Ok(Box::new(Memory { specification, power: rated * (0.7 + 0.3 * 0.5) }))
}

const FAMILY: &str = "model";
const INTERVAL: Duration = Duration::from_millis(50);

/// Gigabytes in a memory module, of the size typical of DDR4 (Boavizta's API, release 2.5).
const MODULE: f64 = 32.0;

/// Load, and power as a share of the thermal design power (Teads, 2021).
const SHARES: [(f64, f64); 4] = [(0.0, 0.12), (0.1, 0.32), (0.5, 0.75), (1.0, 1.02)];

/// The power at a load between 0 and 1, as a share of the thermal design power.
fn share(load: f64) -> f64 {
    let load = load.clamp(0.0, 1.0);
    let upper =
        SHARES.iter().position(|(point, _)| *point >= load).unwrap_or(SHARES.len() - 1).max(1);
    let ((left, low), (right, high)) = (SHARES[upper - 1], SHARES[upper]);
    low + (high - low) * (load - left) / (right - left)
}

struct Processors {
    specification: Specification,
    power: Power,
    load: Load,
    last: Option<Timestamp>,
    energy: Energy,
}

impl Sensor for Processors {
    fn specification(&self) -> &Specification {
        &self.specification
    }

    fn read(&mut self, clock: &Clock) -> Result<Reading> {
        let (before, load, after) = clock.bracket(|| self.load.since_last());
        let load = load?;
        let now = before.midpoint(after);
        if let Some(last) = self.last.replace(now) {
            self.energy += self.power * share(load) * now.since(last);
        }
        Ok(Reading::new(before, Quantity::Counter(self.energy), after))
    }
}

struct Memory {
    specification: Specification,
    power: Power,
}

impl Sensor for Memory {
    fn specification(&self) -> &Specification {
        &self.specification
    }

    fn read(&mut self, clock: &Clock) -> Result<Reading> {
        let now = clock.now();
        Ok(Reading::new(now, Quantity::Gauge(self.power), now))
    }
}

/// The size of the main memory in gigabytes of 2³⁰ bytes, as modules are sold.
#[expect(
    clippy::cast_precision_loss,
    reason = "a size in bytes is exact in f64 up to eight petabytes"
)]
fn memory_size(procfs: &Path) -> Result<f64> {
    let path = procfs.join("meminfo");
    let bytes = if cfg!(target_os = "linux") || path.exists() {
        let text =
            std::fs::read_to_string(&path).map_err(|cause| Error::file("read", &path, cause))?;
        total_memory(&text).ok_or_else(|| {
            Error::invalid(format!("`{}` has no usable `MemTotal`", path.display()))
        })?
    } else {
        let mut system = sysinfo::System::new();
        system.refresh_memory();
        Some(system.total_memory())
            .filter(|bytes| *bytes > 0)
            .ok_or_else(|| Error::absent("the size of the memory"))?
    };
    Ok(bytes as f64 / f64::from(1 << 30))
}

/// The bytes that `/proc/meminfo` calls `MemTotal`, in which "kB" are 1024 bytes.
fn total_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace()
        .next()?
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
        .filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_goes_through_its_points() {
        for (load, expected) in
            [(0.0, 0.12), (0.1, 0.32), (0.5, 0.75), (1.0, 1.02), (0.05, 0.22), (0.75, 0.885)]
        {
            assert!((share(load) - expected).abs() < 1e-12, "{load}: {}", share(load));
        }
    }

    #[test]
    fn the_curve_ends_where_load_does() {
        assert!((share(-0.5) - 0.12).abs() < 1e-12);
        assert!((share(7.0) - 1.02).abs() < 1e-12);
    }

    #[test]
    fn memory_is_counted_in_binary_kilobytes() {
        assert_eq!(total_memory("MemFree: 1 kB\nMemTotal:       16 kB\n"), Some(16_384));
        assert_eq!(total_memory("MemTotal: much\n"), None);
        assert_eq!(total_memory(""), None);
    }
}
