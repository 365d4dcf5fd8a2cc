//! Arm's powercap zones, which the firmware measures (SCMI, the System Control and Management Interface).

use std::path::Path;
use std::time::Duration;

use crate::error::Result;
use crate::sensor::attribute::{Attribute, number};
use crate::sensor::counter::Counter;
use crate::sensor::gauge::{Gauge, of_firmware};
use crate::sensor::{Domain, Hardware, Sensor, Specification};
use crate::units::Energy;

use super::zone;

/// The domain of the top zone with this number. What it contains is up to the firmware, which names it.
pub(super) fn domain(number: &str, name: &str) -> Domain {
    Domain::new(Hardware::Cpu, format!("scmi-{number}"), name)
}

/// Opens the zone in `directory`: its energy counter, or else its power, and reads it once.
///
/// # Errors
/// If it has neither, or neither can be read.
pub(super) fn open(directory: &Path, domain: &Domain) -> Result<Box<dyn Sensor>> {
    let most = zone::power(&directory.join("max_power_range_uw"));
    let common = |specification: Specification| Specification {
        family: FAMILY.to_owned(),
        stack: FAMILY.to_owned(),
        scope: format!("what the firmware counts as `{}`, whoever uses it", domain.name),
        // A judgement: what firmware measures at its regulators is as good as a board's monitor.
        gain: 0.05,
        most: most.map_or(specification.most, |most| most * 2.0),
        ..specification
    };
    let source = |file: &str| {
        let entry = directory.file_name().unwrap_or_default().to_string_lossy();
        format!("powercap {entry} {file}")
    };
    let register = zone::register(directory).ok().flatten();
    let counter = common(Specification {
        quantum: register.map_or(Energy::ZERO, |register| register.quantum),
        wrap: register.map(|register| register.wrap),
        period: PERIOD,
        ..Specification::counter(domain.clone(), source(ENERGY))
    });
    let closed = match Counter::open(counter, directory.join(ENERGY)) {
        Ok(counter) => return Ok(Box::new(counter)),
        Err(closed) => closed,
    };
    let mut power = Attribute::open(directory.join(POWER))
        .map_err(|missing| if missing.is_absent() { closed } else { missing })?;
    let averaging = averaging(directory);
    let gauge = common(Specification {
        averaging: averaging.unwrap_or_default(),
        period: averaging.unwrap_or(PERIOD),
        ..Specification::gauge(domain.clone(), source(POWER))
    });
    Ok(Box::new(Gauge::open(gauge, move || power.power().and_then(of_firmware))?))
}

const FAMILY: &str = "arm-scmi";
const ENERGY: &str = "energy_uj";
const POWER: &str = "power_uw";

/// No firmware says how often it measures; what is observed takes over from this judgement within seconds.
const PERIOD: Duration = Duration::from_millis(100);

/// The zone's averaging interval, which the driver offers as its limit's window (Linux, `arm_scmi_powercap.c`).
fn averaging(directory: &Path) -> Option<Duration> {
    let window = number(&directory.join("constraint_0_time_window_us")).ok()?;
    u64::try_from(window).ok().filter(|window| *window > 0).map(Duration::from_micros)
}
