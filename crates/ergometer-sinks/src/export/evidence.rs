//! [`Evidence`]: a run's energy and emissions with what stands behind them, in the words that formats share.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use ergometer::record::{Quality, State};
use ergometer::sensor::{Hardware, Provenance, Specification};
use ergometer::{Energy, Error, Result};
use ergometer_report::History;
use ergometer_report::grid::Country;
use ergometer_report::quantity::{CarbonIntensity, Co2e};
use ergometer_report::site::{Site, Sourced};

/// A run whose energy is known, at a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence<'a> {
    pub(super) history: &'a History,
    pub(super) site: &'a Site,
    /// The energy of the IT equipment.
    pub(super) energy: Energy,
    /// Its expanded uncertainty, k = 2.
    pub(super) expanded: Option<Energy>,
}

impl<'a> Evidence<'a> {
    /// # Errors
    /// A run whose energy is not known.
    pub(super) fn of(history: &'a History, site: &'a Site) -> Result<Evidence<'a>> {
        let estimate = history.energy();
        let energy = estimate.energy.ok_or_else(|| {
            Error::invalid(format!("the energy of run `{}` is not known", line(history.name())))
                .cure("it was too short, or no sensor in its total was read; measure a longer run")
        })?;
        Ok(Evidence { history, site, energy, expanded: estimate.expanded() })
    }

    /// The one run of a format that has room for one.
    ///
    /// # Errors
    /// None or several, and a run whose energy is not known.
    pub(super) fn of_one(
        runs: &'a [History],
        site: &'a Site,
        format: &str,
    ) -> Result<Evidence<'a>> {
        match runs {
            [run] => Evidence::of(run, site),
            _ => Err(Error::invalid(format!("{format} is of one run, and {} are given", runs.len()))
                .cure("name the run that made the model; what all of a project used, `ergometer total` tells")),
        }
    }

    /// The energy with the facility's overhead.
    pub(super) fn facility(&self) -> Energy {
        self.site.facility(self.energy)
    }

    /// Its expanded uncertainty, of the energy alone: the overhead is taken as exact.
    pub(super) fn facility_expanded(&self) -> Option<Energy> {
        self.expanded.map(|expanded| self.site.facility(expanded))
    }

    /// The emissions, where the intensity is known.
    pub(super) fn carbon(&self) -> Option<Co2e> {
        self.site.carbon(self.energy)
    }

    /// Their expanded uncertainty, of the energy alone: the intensity is taken as exact.
    pub(super) fn carbon_expanded(&self) -> Option<Co2e> {
        self.site.carbon(self.expanded?)
    }

    /// The emissions and the intensity behind them, which this format needs.
    ///
    /// # Errors
    /// An intensity that is not known.
    pub(super) fn emissions(&self, format: &str) -> Result<(Co2e, &'a Sourced<CarbonIntensity>)> {
        let intensity = self.site.intensity.as_ref().ok_or_else(|| {
            Error::absent(format!(
                "{format} tells emissions, and the carbon intensity of the electricity is not known"
            ))
            .cure(
                "give the country, as in `--country FR`, or the intensity, as in `--intensity 41`",
            )
        })?;
        Ok((self.facility() * intensity.value, intensity))
    }

    /// How the energy came about: `measured`, or that a model stands for it, in whole or in part.
    pub(super) fn how(&self) -> &'static str {
        let (models, sensors): (Vec<_>, Vec<_>) =
            self.sensors().partition(|sensor| sensor.provenance == Provenance::Model);
        match (models.is_empty(), sensors.is_empty()) {
            (true, _) => "measured",
            (false, true) => "estimated by a model, not measured",
            (false, false) => "estimated in part by a model",
        }
    }

    /// What measured or estimated: `ergometer 0.1.0 (energy counter: nvml; model: cpu, dram)`.
    pub(super) fn source(&self) -> String {
        let mut ways: BTreeMap<Provenance, BTreeSet<&str>> = BTreeMap::new();
        for sensor in self.sensors() {
            // All models are one stack; what they stand for tells more.
            let name = match sensor.provenance {
                Provenance::Model => sensor.domain.hardware.prefix(),
                _ => sensor.stack.as_str(),
            };
            ways.entry(sensor.provenance).or_default().insert(name);
        }
        let ways: Vec<String> = ways
            .into_iter()
            .map(|(way, names)| format!("{way}: {}", Vec::from_iter(names).join(", ")))
            .collect();
        line(&format!("{} ({})", self.meter(), ways.join("; ")))
    }

    /// The meter and its version.
    pub(super) fn meter(&self) -> String {
        format!("ergometer {}", self.history.summary.manifest.program.ergometer)
    }

    /// What has to be known of a run that did not end as it was meant to, was not covered all the time, or did not have the
    /// machine for itself.
    pub(super) fn caveats(&self) -> Vec<&'static str> {
        let summary = &self.history.summary;
        let end = match summary.manifest.state {
            State::Complete if self.is_whole() => None,
            State::Complete => Some(
                "for a part of the run there were no readings: the figures are those of what was covered",
            ),
            State::Running => Some(
                "the run had not ended when this was written, or was killed: the figures are those up to its last record",
            ),
            State::Dropped => Some("the run was left before its end"),
            State::Panicked => Some("a panic ended the run"),
            State::Stopped => Some("the run was stopped before its planned end"),
        };
        let shared = summary.events.keys().any(|(event, _)| event == "contention");
        let shared =
            shared.then_some("other programs used the machine meanwhile; their energy is in it");
        end.into_iter().chain(shared).collect()
    }

    /// The same in one.
    pub(super) fn caveat(&self) -> Option<String> {
        let caveats = self.caveats();
        (!caveats.is_empty()).then(|| caveats.join("; "))
    }

    /// Whether the record goes from the run's start to its end.
    pub(super) fn is_whole(&self) -> bool {
        self.history.summary.manifest.state != State::Running
            && self.history.energy().quality != Quality::Partial
    }

    /// What no sensor covered, in words: parts of the machine, and interfaces to sensors that told nothing.
    pub(super) fn unmeasured(&self) -> Option<String> {
        let sources = self.history.summary.manifest.unmeasured.iter();
        let sources: BTreeSet<&str> = sources.map(|part| part.source.as_str()).collect();
        // An interface has a name of one word, such as `rapl`, which is no part of a machine.
        let (parts, silent): (Vec<_>, Vec<_>) =
            sources.into_iter().partition(|source| source.contains(' '));
        let silent = match &silent[..] {
            [] => None,
            silent => Some(format!("nothing was read from {}", silent.join(", "))),
        };
        let told: Vec<String> = parts.into_iter().map(str::to_owned).chain(silent).collect();
        (!told.is_empty()).then(|| line(&told.join("; ")))
    }

    /// The sensors in the total.
    pub(super) fn sensors(&self) -> impl Iterator<Item = &'a Specification> {
        self.history.summary.manifest.sensors.iter().filter(|sensor| sensor.in_total)
    }

    /// The names of the devices of a kind that were measured or estimated, and how many there are of each.
    pub(super) fn devices(&self, hardware: Hardware) -> BTreeMap<&'a str, usize> {
        let mut devices = BTreeMap::new();
        for sensor in self.sensors().filter(|sensor| sensor.domain.hardware == hardware) {
            *devices.entry(sensor.domain.name.as_str()).or_default() += 1;
        }
        devices
    }

    /// The GPUs that were measured, as others write them: `2 x NVIDIA H100`.
    pub(super) fn gpus(&self) -> Option<String> {
        let gpus = self.devices(Hardware::Gpu).into_iter();
        let gpus: Vec<String> = gpus.map(|(name, count)| format!("{count} x {name}")).collect();
        (!gpus.is_empty()).then(|| line(&gpus.join(", ")))
    }

    /// GPUs and processor.
    pub(super) fn hardware(&self) -> Option<String> {
        let cpu = self.history.summary.manifest.machine.cpu.as_deref().map(line);
        let parts: Vec<String> = self.gpus().into_iter().chain(cpu).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    /// The energy of one kind of hardware; `None` where no sensor tells it apart, or not all of it is known.
    pub(super) fn part(&self, hardware: Hardware) -> Option<Energy> {
        let domains = &self.history.summary.end.domains;
        let mut sensors =
            self.sensors().filter(|sensor| sensor.domain.hardware == hardware).peekable();
        sensors.peek()?;
        sensors.map(|sensor| domains.get(&sensor.domain.id)?.energy).sum()
    }

    /// The wall time of the run's start and end.
    pub(super) fn wall(&self) -> Option<(SystemTime, SystemTime)> {
        let began = self.history.trace.began?;
        let (_, end) = self.history.span(&self.history.summary.end);
        Some((began, began.checked_add(end)?))
    }

    /// The intensity and PUE in words: `41.4 g CO2e/kWh (France, …, location-based), PUE 1.1 (…)`.
    pub(super) fn place(&self, intensity: &Sourced<CarbonIntensity>) -> String {
        let (size, pue) = (intensity.value.as_grams_per_kilowatt_hour(), &self.site.pue);
        // What the grid of a place emits, whatever was bought there (GHG Protocol, Scope 2 Guidance, 2015).
        let mean = self.grid().is_some_and(|country| country.source() == intensity.source);
        let basis = if mean { ", location-based" } else { "" };
        let (ratio, whose) = (pue.value.ratio(), &pue.source);
        line(&format!("{size} g CO2e/kWh ({}{basis}), PUE {ratio:?} ({whose})", intensity.source))
    }

    /// The country, where the place is one.
    pub(super) fn grid(&self) -> Option<Country> {
        ergometer_report::grid::country(self.site.name.as_deref()?).ok()
    }
}

/// Text that fits in a line: control characters become blanks.
pub(super) fn line(text: &str) -> String {
    text.chars().map(|letter| if breaks(letter) { ' ' } else { letter }).collect()
}

/// True for what may end a line, or is not for print.
pub(super) fn breaks(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// A number in plain decimal digits: with two significant ones of its expanded uncertainty (JCGM 100:2008, 7.2.6) and no fewer
/// of its own, or with four of its own where there is no uncertainty.
pub(super) fn rounded(value: f64, expanded: Option<f64>) -> String {
    let places = shown(value, expanded);
    format!("{value:.places$}")
}

/// The number and its uncertainty, both to the same place.
pub(super) fn plus_minus(value: f64, expanded: Option<f64>, unit: &str) -> String {
    let places = shown(value, expanded);
    match expanded {
        Some(expanded) => format!("{value:.places$} {unit} ± {expanded:.places$} {unit}"),
        None => format!("{value:.places$} {unit}"),
    }
}

fn shown(value: f64, expanded: Option<f64>) -> usize {
    match expanded {
        Some(expanded) if expanded > 0.0 => places(value).max(places(expanded)),
        _ => places(value / 100.0),
    }
}

/// The decimal places that leave two significant digits of a number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the decade of a finite number is between -324 and 308, and is clamped"
)]
fn places(value: f64) -> usize {
    let decade = value.abs().log10().floor();
    // Rounding may carry into the next decade: 0.0996 is 0.10.
    let decade = if value.abs() / 10_f64.powf(decade) >= 9.95 { decade + 1.0 } else { decade };
    if decade.is_finite() { (1.0 - decade).clamp(0.0, 30.0) as usize } else { 0 }
}

/// A wall time in UTC, as `strftime` writes it.
///
/// # Errors
/// A time that no calendar has.
pub(super) fn written(time: SystemTime, format: &str) -> Result<String> {
    let time = jiff::Timestamp::try_from(time)
        .map_err(|cause| Error::invalid("a wall time is beyond the calendar").caused_by(cause))?;
    Ok(time.strftime(format).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_two_digits_of_their_uncertainty_and_of_themselves() {
        assert_eq!(rounded(14.910_261, Some(10.875)), "15");
        assert_eq!(rounded(14.910_261, Some(0.0996)), "14.91");
        assert_eq!(rounded(0.000_171_469, Some(0.000_125)), "0.00017");
        assert_eq!(rounded(0.000_171_469, Some(0.03)), "0.00017");
        assert_eq!(rounded(0.000_171_469, None), "0.0001715");
        assert_eq!(rounded(552_100.0, Some(5_000.0)), "552100");
        assert_eq!(rounded(0.0, None), "0");
        assert_eq!(plus_minus(0.998, Some(0.0031), "g"), "0.9980 g ± 0.0031 g");
    }

    #[test]
    fn what_ends_a_line_becomes_a_blank() {
        assert_eq!(line("a\r\nb\u{2028}c\u{7f}d"), "a  b c d");
    }
}
