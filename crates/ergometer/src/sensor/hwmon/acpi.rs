//! The firmware's power meter (ACPI000D): a whole machine, a power supply, or on NVIDIA Grace the parts of a socket.
//!
//! Linux's `acpi_power_meter` asks the firmware at most once in its sampling time, which it does not tell, and answers
//! from memory in between.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::sensor::attribute::{self, Attribute};
use crate::sensor::gauge::{Gauge, of_firmware};
use crate::sensor::{Absence, Domain, Found, Hardware, Specification};
use crate::units::Power;

use super::grace::Label;
use super::{Chip, grace, offer};

pub(super) const NAME: &str = "power_meter";

/// Opens every power meter: those of sockets by what they measure, all others beside the sum, since a machine contains
/// everything that other sensors cover.
pub(super) fn open(chips: &[&Chip], sysfs: &Path) -> Found {
    let mut found = Found::default();
    if chips.is_empty() {
        found.absent.extend(unread(sysfs));
        return found;
    }
    let mut sockets = Vec::new();
    let mut meters = Vec::new();
    for chip in chips {
        let label = attribute::text(&chip.path("power1_oem_info")).unwrap_or_default();
        match Label::of(&label) {
            Some(label) => sockets.push((*chip, label)),
            None => meters.push(*chip),
        }
    }
    grace::open(&mut found, &sockets);
    for (index, chip) in meters.iter().enumerate() {
        let key = if meters.len() == 1 { NAME.to_owned() } else { format!("{NAME}-{index}") };
        let domain = Domain::new(Hardware::Node, key, "power meter of the machine");
        let specification = Specification {
            scope: scope(chip),
            // An accelerator node's power supplies, twice.
            most: Power::from_watts(20_000.0),
            in_total: false,
            ..specification(chip, domain, Duration::from_secs(1))
        };
        meter(&mut found, chip, specification);
    }
    found
}

/// What a meter says of itself. Where it does not tell over what time it averages, that is taken to be `averaging`.
pub(super) fn specification(chip: &Chip, domain: Domain, averaging: Duration) -> Specification {
    let averaging = attribute::number(&chip.path("power1_average_interval"))
        .ok()
        .and_then(|number| u64::try_from(number).ok())
        .filter(|number| *number > 0)
        .map_or(averaging, Duration::from_millis);
    // A mean over minutes is still renewed every second or so.
    let period = averaging.min(Duration::from_secs(1));
    Specification {
        gain: gain(chip),
        ..Gauge::specification(domain, NAME, chip.source(), period, averaging)
    }
}

/// Takes in one meter, or why it cannot be read.
pub(super) fn meter(found: &mut Found, chip: &Chip, specification: Specification) -> bool {
    let path = chip.path("power1_average");
    let id = specification.domain.id.clone();
    let gauge = attribute(&path).and_then(|mut attribute| {
        Gauge::open(specification, move || attribute.power().and_then(of_firmware))
    });
    offer(found, &id, &path, gauge)
}

fn attribute(path: &Path) -> Result<Attribute> {
    Attribute::open(path).map_err(|error| {
        if !error.is_absent() {
            return error;
        }
        error.cure(
            "boot with acpi_power_meter.force_cap_on=y on the kernel's command line, which some firmware needs to \
             show its meters",
        )
    })
}

/// Standard uncertainty of the gain: the stated accuracy's distance from 100 %, taken as a rectangle's half-width; 3 %
/// where none is stated (a judgement). Nothing is exact, so firmware that says 100 % has stated none.
fn gain(chip: &Chip) -> f64 {
    attribute::text(&chip.path("power1_accuracy"))
        .ok()
        .and_then(|text| accuracy(&text))
        .filter(|accuracy| (0.5..1.0).contains(accuracy))
        .map_or(0.03, |accuracy| (1.0 - accuracy) / 3_f64.sqrt())
}

/// The part of 1 in `98.50%`. The driver prints thousandths without leading zeros (`"%u.%u%%"` in Linux's
/// `acpi_power_meter.c`), so this is 98.050 %.
fn accuracy(text: &str) -> Option<f64> {
    let text = text.trim().trim_end_matches('%');
    let (whole, thousandths) = text.split_once('.').unwrap_or((text, "0"));
    let (whole, thousandths): (u32, u32) = (whole.parse().ok()?, thousandths.parse().ok()?);
    (thousandths < 1_000).then(|| (f64::from(whole) + f64::from(thousandths) / 1e3) / 1e2)
}

/// What a meter covers, with the names of the devices that the firmware says it measures.
fn scope(chip: &Chip) -> String {
    let mut measured: Vec<_> = fs::read_dir(chip.path("measures"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    measured.sort();
    let named = match &measured[..] {
        [] => String::new(),
        names => format!(", here {}", names.join(", ")),
    };
    format!(
        "what the firmware's meter measures{named}: as a rule the whole machine at its power supplies, or one of \
         them; reported beside the sum"
    )
}

/// A meter that the firmware has and no driver reads.
fn unread(sysfs: &Path) -> Option<Absence> {
    let devices = fs::read_dir(sysfs.join("bus/acpi/devices")).ok()?;
    let meter = |name: &str| name.starts_with("ACPI000D");
    devices.flatten().any(|device| device.file_name().to_str().is_some_and(meter)).then(|| {
        let error =
            Error::absent("the firmware has a power meter (ACPI000D), and no driver reads it")
                .cure("sudo modprobe acpi_power_meter");
        Absence { source: format!("hwmon node:{NAME}"), error }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fraction_of_an_accuracy_is_in_thousandths() {
        let part = |text| accuracy(text).unwrap();
        assert!((part("98.500%\n") - 0.985).abs() < 1e-12);
        assert!((part("98.50%") - 0.9805).abs() < 1e-12);
        assert!((part("99.0%") - 0.99).abs() < 1e-12);
        assert!((part("97%") - 0.97).abs() < 1e-12);
        for garbage in ["", "%", "n/a", "98.", "98.1000%", "-1.0%", "98,5%"] {
            assert_eq!(accuracy(garbage), None, "{garbage}");
        }
    }
}
