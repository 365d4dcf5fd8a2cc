//! A laptop's battery: what the whole machine draws, as long as it draws from nowhere else.
//!
//! The number covers everything, screen and regulators included, so it stands beside the sum of the parts. It is
//! coarse: the battery's controller averages over a second or more. While a power supply is plugged in it says nothing
//! about the machine, and is no reading. Neither is it of a battery that waits for another one to be emptied.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::sensor::attribute::{self, Attribute};
use crate::sensor::gauge::Gauge;
use crate::sensor::{Absence, Domain, Found, Hardware, Specification};
use crate::units::Power;

/// Opens the power gauge of each battery of this machine under a sysfs root, `/sys` as a rule.
///
/// One that is not discharging is absent. Batteries of mice and headsets are not the machine's.
pub fn open(sysfs: &Path) -> Found {
    let mut found = Found::default();
    for directory in batteries(sysfs) {
        let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match gauge(&directory, &name) {
            Ok(gauge) => found.sensors.push(Box::new(gauge)),
            Err(error) => {
                found.absent.push(Absence { source: format!("{SOURCE} {name}"), error });
            }
        }
    }
    found
}

const SOURCE: &str = "battery";

/// The directories of this machine's own batteries, by name.
fn batteries(sysfs: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(sysfs.join("class/power_supply")).into_iter().flatten();
    let mut paths: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let says = |file: &str| attribute::text(&path.join(file)).ok();
            says("type").as_deref() == Some("Battery")
                && says("scope").is_none_or(|scope| scope != "Device")
                && says("present").is_none_or(|present| present != "0")
        })
        .collect();
    paths.sort();
    paths
}

/// Opens the gauge of the battery in `directory` and reads it once.
fn gauge(directory: &Path, name: &str) -> Result<Gauge> {
    must_discharge(directory)?;
    let attribute = |file: &str| Attribute::open(directory.join(file));
    let mut controller = match attribute("power_now") {
        Ok(power) => Controller::Power(power),
        Err(error) => match (attribute("voltage_now"), attribute("current_now")) {
            (Ok(voltage), Ok(current)) => Controller::Product { voltage, current },
            _ => return Err(error.cure("update the kernel or the machine's firmware")),
        },
    };
    let source = match &controller {
        Controller::Power(_) => "battery power_now",
        Controller::Product { .. } => "battery voltage_now × current_now",
    };
    let specification = Specification {
        stack: SOURCE.to_owned(),
        family: SOURCE.to_owned(),
        scope: "the whole machine, all that the battery feeds; reported beside the sum".to_owned(),
        // ACPI's battery driver asks the controller at most once a second (its `cache_time`); how long the controller
        // itself averages is not known.
        period: Duration::from_secs(1),
        interval: Duration::from_millis(500),
        delay: Duration::from_secs(2),
        // A judgement: the controllers' gauges serve to estimate the time that is left.
        gain: 0.05,
        offset: Power::from_watts(0.1),
        most: Power::from_watts(300.0),
        in_total: false,
        ..Specification::gauge(Domain::new(Hardware::Node, name, "battery"), source)
    };
    let directory = directory.to_owned();
    Gauge::open(specification, move || {
        let power = controller.power()?;
        // Read after the power, so that a supply which was plugged in meanwhile is seen.
        must_discharge(&directory).map(|()| power)
    })
}

/// What a battery's controller shows.
enum Controller {
    Power(Attribute),
    /// One that counts charge gives a current.
    Product {
        voltage: Attribute,
        current: Attribute,
    },
}

impl Controller {
    /// The power now. Some controllers give what flows out of the battery as negative.
    ///
    /// # Errors
    /// If a file cannot be read, or shows no power: the machine that reads it draws some.
    fn power(&mut self) -> Result<Power> {
        let power = match self {
            Controller::Power(power) => Power::from_microwatts(power.number()?.saturating_abs()),
            Controller::Product { voltage, current } => {
                // Both are in millionths of their units, and so is the power.
                let product = i128::from(voltage.number()?) * i128::from(current.number()?);
                let power = i64::try_from(product.abs() / 1_000_000).unwrap_or(i64::MAX);
                Power::from_microwatts(power)
            }
        };
        if power == Power::ZERO {
            return Err(Error::unsupported("the battery's controller shows no power"));
        }
        Ok(power)
    }
}

/// Makes sure that the machine draws from the battery.
fn must_discharge(directory: &Path) -> Result<()> {
    let status = attribute::text(&directory.join("status"))?;
    if status == "Discharging" {
        return Ok(());
    }
    Err(Error::unsupported(format!(
        "the machine does not draw from its battery, whose status is {status:?}"
    ))
    .cure("to measure the whole machine, unplug the power supply"))
}
