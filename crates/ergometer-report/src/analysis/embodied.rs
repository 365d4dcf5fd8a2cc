//! The manufacture of the hardware: the part of it that a training carries, as a range.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use ergometer::sensor::Hardware;
use ergometer::{Error, Result, Summary};
use serde::Serialize;

use crate::footprint::{LifeCycle, embodied_amortised, life_cycle_total};
use crate::quantity::{Co2e, YEAR};

/// Emissions of the manufacture of devices, spread over their hours of use and charged to the hours that a training used
/// them (Luccioni et al. 2023, BLOOM).
///
/// Factors for one card differ 3.5-fold between sources, and the share of its life in which a card is used is a guess as a
/// rule, so what is printed is a range of one digit. Not in it: building, network, end of life, water, metals.
#[derive(Clone, Debug, Serialize)]
pub struct Embodied {
    /// The devices.
    pub parts: Vec<Part>,
    /// How long each was used.
    #[serde(rename = "duration_s", serialize_with = "crate::analysis::seconds")]
    pub time: Duration,
    /// The lifetime and the share of it in use that were assumed.
    pub life: ServiceLife,
    /// From the lowest to the highest factor, with this life.
    pub range: Range,
    /// From the lowest factor with the longest and busiest life to the highest with the shortest and idlest.
    pub widest: Range,
}

/// Emissions from the lowest to the highest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Range {
    /// The lower end.
    #[serde(rename = "low_co2e_kg")]
    pub low: Co2e,
    /// The upper end.
    #[serde(rename = "high_co2e_kg")]
    pub high: Co2e,
}

/// How many of a device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Part {
    /// Which one.
    pub device: Device,
    /// How many; a quarter of a server's GPUs come with a quarter of the server.
    pub count: f64,
}

/// How long a device is kept, and how much of that time it works.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ServiceLife {
    /// From the first day to the last.
    #[serde(rename = "lifetime_s", serialize_with = "crate::analysis::seconds")]
    pub lifetime: Duration,
    /// The share of it in which the device is in use.
    pub utilisation: f64,
}

impl ServiceLife {
    const LONGEST: ServiceLife = ServiceLife { lifetime: years(6), utilisation: 0.85 };
    const SHORTEST: ServiceLife = ServiceLife { lifetime: years(3), utilisation: 0.30 };
}

/// Four years, in use for half of the time: between what published accounts assume (3 years in `EcoLogits`, 6 years at 85 %
/// for BLOOM).
impl Default for ServiceLife {
    fn default() -> Self {
        ServiceLife { lifetime: years(4), utilisation: 0.5 }
    }
}

impl fmt::Display for ServiceLife {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let years = self.lifetime.as_secs_f64() / YEAR.as_secs_f64();
        write!(f, "{years:.1} years of life, in use {:.0} % of it", 100.0 * self.utilisation)
    }
}

const fn years(years: u32) -> Duration {
    YEAR.saturating_mul(years)
}

/// A device and what its manufacture emitted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Device {
    /// What it is called.
    pub name: Cow<'static, str>,
    /// The lowest factor that is known.
    pub low: Factor,
    /// The highest factor that is known; the same where there is one source.
    pub high: Factor,
}

/// What manufacturing one device emitted, and whose figure it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Factor {
    /// The emissions.
    #[serde(rename = "co2e_kg")]
    pub mass: Co2e,
    /// Whose figure.
    pub source: Cow<'static, str>,
}

const BLOOM: &str = "Luccioni et al. 2023 (BLOOM)";
const BOAVIZTA: &str = "BoaviztAPI 2.5.0";
const NVIDIA: &str =
    "NVIDIA HGX H100 product carbon footprint, by card, through the EcoLogits documentation";
const ECOLOGITS: &str = "host of 8 GPUs in EcoLogits 0.11.3";
const HPE: &str = "HPE ProLiant DL345, in Luccioni et al. 2023 (BLOOM)";
const NEGAOCTET: &str = "ADEME NégaOctet, in BoaviztAPI 2.5.0";

/// What is known of devices, the more special ones of a kind first. All are emissions of one unit's manufacture; some sources
/// count the die and memory only, some the card.
const DEVICES: &[Device] = &[
    device("A100 80GB", 150.0, BLOOM, 568.0, BOAVIZTA),
    device("A100 40GB", 150.0, BLOOM, 322.0, BOAVIZTA),
    device("A100", 150.0, BLOOM, 568.0, BOAVIZTA),
    device("H100", 164.0, NVIDIA, 575.0, BOAVIZTA),
    single("H200", 1067.0, BOAVIZTA),
    single("B200", 1415.0, BOAVIZTA),
    single("MI300X", 1497.0, BOAVIZTA),
    single("V100 16GB", 206.0, BOAVIZTA),
    single("V100 32GB", 290.0, BOAVIZTA),
    device("V100", 206.0, BOAVIZTA, 290.0, BOAVIZTA),
    single("P100", 159.0, BOAVIZTA),
    single("L40S", 277.0, BOAVIZTA),
    single("L4", 124.0, BOAVIZTA),
    single("T4", 131.0, BOAVIZTA),
    single("GTX 1080 Ti", 109.0, BOAVIZTA),
    single("TITAN RTX", 200.0, BOAVIZTA),
    device("server", 2500.0, HPE, 5700.0, ECOLOGITS),
    single("desktop", 277.0, NEGAOCTET),
    single("laptop", 181.0, NEGAOCTET),
];

const fn device(
    name: &'static str,
    low: f64,
    low_source: &'static str,
    high: f64,
    high_source: &'static str,
) -> Device {
    Device {
        name: Cow::Borrowed(name),
        low: Factor { mass: Co2e::from_kilograms(low), source: Cow::Borrowed(low_source) },
        high: Factor { mass: Co2e::from_kilograms(high), source: Cow::Borrowed(high_source) },
    }
}

const fn single(name: &'static str, mass: f64, source: &'static str) -> Device {
    device(name, mass, source, mass, source)
}

impl Device {
    /// The devices that are known, by name.
    pub fn known() -> impl Iterator<Item = &'static Device> {
        DEVICES.iter()
    }

    /// A known device, by its name or by that which a driver gives it: `NVIDIA A100-SXM4-80GB`. A whole machine has no other
    /// word in its name: a card's may say which machines it is for.
    ///
    /// # Errors
    /// A device of which nothing is known, with the names of those that are.
    pub fn named(name: &str) -> Result<Device> {
        let words = words(name);
        // A part of a card is no card.
        let part = words.iter().any(|word| word == "MIG");
        Device::known()
            .find(|device| {
                let is_machine = device.name.chars().all(|letter| letter.is_ascii_lowercase());
                let is_named = words_of(&device.name).all(|word| words.contains(&word));
                !part && is_named && !(is_machine && words.len() > 1)
            })
            .cloned()
            .ok_or_else(|| {
                let names: Vec<&str> = Device::known().map(|device| &*device.name).collect();
                Error::absent(format!("nothing is known of the manufacture of `{name}`"))
                    .cure(format!("give its emissions, or one of: {}", names.join(", ")))
            })
    }

    /// A device of which the user knows what its manufacture emitted, and from where.
    pub fn given(name: impl Into<String>, mass: Co2e, source: impl Into<String>) -> Device {
        let factor = Factor { mass, source: Cow::Owned(source.into()) };
        Device { name: Cow::Owned(name.into()), low: factor.clone(), high: factor }
    }
}

/// The words of a device's name in capitals: `NVIDIA A100-SXM4-80GB` has four.
fn words(name: &str) -> Vec<String> {
    words_of(name).collect()
}

fn words_of(name: &str) -> impl Iterator<Item = String> {
    name.split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_ascii_uppercase)
}

impl Part {
    /// The GPUs that a run measured, by the names that their drivers gave.
    ///
    /// # Errors
    /// A run that measured no GPU, and a GPU of which nothing is known.
    pub fn measured(summary: &Summary) -> Result<Vec<Part>> {
        let mut parts: Vec<Part> = Vec::new();
        for sensor in &summary.manifest.sensors {
            if sensor.domain.hardware == Hardware::Gpu && sensor.in_total {
                let device = Device::named(&sensor.domain.name)?;
                match parts.iter_mut().find(|part| part.device == device) {
                    Some(part) => part.count += 1.0,
                    None => parts.push(Part { device, count: 1.0 }),
                }
            }
        }
        if parts.is_empty() {
            let name = &summary.manifest.name;
            return Err(Error::absent(format!(
                "`{name}` names no device whose manufacture is known"
            ))
            .cure("say which it ran on: `laptop`, `desktop`, `server`"));
        }
        Ok(parts)
    }
}

impl Embodied {
    /// What the devices' manufacture comes to when each is used for `time`.
    ///
    /// # Errors
    /// No device, a number of them that is not above 0, or a life in which they are never used.
    pub fn of(parts: Vec<Part>, time: Duration, life: ServiceLife) -> Result<Embodied> {
        if parts.is_empty()
            || parts.iter().any(|part| !(part.count > 0.0 && part.count.is_finite()))
        {
            return Err(Error::invalid("there is no device whose manufacture could be counted")
                .cure("name a device, and how many of it"));
        }
        let sum = |factor: fn(&Device) -> Co2e, life: ServiceLife| -> Result<Co2e> {
            let mut sum = Co2e::default();
            for part in &parts {
                let all = Co2e::from_kilograms(factor(&part.device).as_kilograms() * part.count);
                sum = sum + embodied_amortised(all, life.lifetime, life.utilisation, time)?.total;
            }
            Ok(sum)
        };
        let low = |life| sum(|device| device.low.mass, life);
        let high = |life| sum(|device| device.high.mass, life);
        let range = Range { low: low(life)?, high: high(life)? };
        let widest = Range { low: low(ServiceLife::LONGEST)?, high: high(ServiceLife::SHORTEST)? };
        Ok(Embodied { parts, time, life, range, widest })
    }

    /// The manufacture of the GPUs that runs measured, each run for its own time; a device's count is its mean over all the time.
    ///
    /// # Errors
    /// As [`Part::measured`] for each run, and runs that took no time.
    pub fn measured<'a>(
        runs: impl IntoIterator<Item = &'a Summary>,
        life: ServiceLife,
    ) -> Result<Embodied> {
        let (mut parts, mut time): (Vec<Part>, Duration) = (Vec::new(), Duration::ZERO);
        for run in runs {
            let took = run.end.duration;
            time += took;
            for Part { device, count } in Part::measured(run)? {
                let used = count * took.as_secs_f64();
                match parts.iter_mut().find(|part| part.device == device) {
                    Some(part) => part.count += used,
                    None => parts.push(Part { device, count: used }),
                }
            }
        }
        parts.iter_mut().for_each(|part| part.count /= time.as_secs_f64());
        Embodied::of(parts, time, life)
    }

    /// The whole life cycle with these emissions of use, at both ends of the range; `idle` is the part of a machine that did
    /// nothing, where it was measured.
    ///
    /// # Errors
    /// Emissions that are negative, or no number.
    pub fn life_cycle(&self, dynamic: Co2e, idle: Option<Co2e>) -> Result<[LifeCycle; 2]> {
        Ok([
            life_cycle_total(dynamic, idle, self.range.low)?,
            life_cycle_total(dynamic, idle, self.range.high)?,
        ])
    }
}

impl Range {
    /// Both ends with as much more.
    pub(crate) fn with(self, mass: Co2e) -> Range {
        Range { low: self.low + mass, high: self.high + mass }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match [rounded(self.low, 1), rounded(self.high, 1)] {
            [low, high] if low == high => write!(f, "about {low}"),
            [low, high] => write!(f, "{low} to {high}"),
        }
    }
}

/// A mass of which this many digits are known.
pub(crate) fn rounded(mass: Co2e, digits: i32) -> String {
    let size = mass.as_kilograms();
    if size == 0.0 {
        return mass.to_string();
    }
    let last = 10f64.powf(size.abs().log10().floor() - f64::from(digits - 1));
    let rounded = Co2e::from_kilograms((size / last).round() * last);
    // One digit before the point leaves the others behind it.
    let text = format!("{rounded:.0}");
    if text.starts_with(|it: char| it.is_ascii_digit()) && text.find(' ') == Some(1) && digits > 1 {
        format!("{rounded:.1}")
    } else {
        text
    }
}

/// A number of devices, which is whole as a rule.
pub(crate) fn count(count: f64) -> String {
    if (count - count.round()).abs() < 1e-9 { format!("{count:.0}") } else { format!("{count:.2}") }
}

impl fmt::Display for Embodied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "manufacture of the hardware: {}", self.range)?;
        writeln!(f, "  assumed: {}", self.life)?;
        writeln!(f, "  with 3 to 6 years and 30 to 85 %: {}", self.widest)?;
        for part in &self.parts {
            let Device { name, low, high } = &part.device;
            write!(f, "  {} × {name}: {:.0} ({})", count(part.count), low.mass, low.source)?;
            match low == high {
                true => writeln!(f, ", the only source")?,
                false => writeln!(f, "\n    to {:.0} ({})", high.mass, high.source)?,
            }
        }
        writeln!(
            f,
            "  factors for one card differ 3.5-fold by source and scope (die, card, server)"
        )?;
        write!(f, "  not counted: building, network, end of life, water, metals")
    }
}
