//! A project on one page: what it was for, what it used, what was not counted.

mod markdown;

use std::collections::BTreeMap;
use std::time::Duration;

use ergometer::record::State;
use ergometer::sensor::Provenance;
use ergometer::{Energy, Error, Result};
use serde::Serialize;

use crate::analysis::amortisation::Amortisation;
use crate::analysis::cost::Cost;
use crate::analysis::embodied::Embodied;
use crate::analysis::equivalents::Equivalents;
use crate::analysis::published::Published;
use crate::history::History;
use crate::quantity::Co2e;
use crate::site::Site;

/// What the user says of a project, in words; no number can.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Statement {
    /// The need that the model is to meet.
    pub need: Option<String>,
    /// What was tried instead: a smaller model, no model.
    pub alternatives: Vec<String>,
}

/// A project's sheet, in Markdown: need, totals over the life cycle, shares by phase, course by month, what was not counted.
///
/// The questions are those of AFNOR SPEC 2314, *Référentiel général pour l'IA frugale* (2024). The sheet states figures; it
/// is no label, and does not say whether a project is frugal.
#[derive(Clone, Debug, Serialize)]
pub struct Sheet {
    /// What the user says.
    pub statement: Statement,
    /// All runs.
    pub total: Total,
    /// The energy of each phase, by name; `training` is the rest.
    #[serde(rename = "phases_j")]
    pub phases: BTreeMap<String, Energy>,
    /// Phases too short to be resolved, whose energy is in `training`.
    pub unresolved: u64,
    /// The months in which runs started, as `2026-11`.
    pub months: BTreeMap<String, Month>,
    /// Where it ran.
    pub site: Site,
    /// What the facility emitted, where the intensity is known.
    #[serde(rename = "co2e_kg")]
    pub co2e: Option<Co2e>,
    /// The manufacture of the hardware, where it is known.
    pub embodied: Option<Embodied>,
    /// What it cost, where there are prices.
    pub cost: Option<Cost>,
    /// What it comes to in other things.
    pub equivalents: Option<Equivalents>,
    /// Published trainings of about this energy.
    pub published: Option<Published>,
    /// After how much use the project is outweighed, where an inference was measured.
    pub amortisation: Option<Amortisation>,
    /// What no sensor saw, and why.
    pub unmeasured: BTreeMap<String, String>,
}

/// What all runs of a project come to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Total {
    /// How many runs there are, by how they ended.
    pub runs: BTreeMap<String, usize>,
    /// Runs whose energy is not known, and is missing from the sum.
    pub unknown: usize,
    /// Energy of the equipment.
    #[serde(rename = "energy_j")]
    pub energy: Energy,
    /// Its standard uncertainty (k = 1), as if all runs erred together; missing where one's is.
    #[serde(rename = "u_j")]
    pub uncertainty: Option<Energy>,
    /// The part that sensors measured; a model stands for the rest.
    #[serde(rename = "measured_j")]
    pub measured: Energy,
    /// Time of all runs together.
    #[serde(rename = "duration_s", serialize_with = "crate::analysis::seconds")]
    pub time: Duration,
    /// Samples trained on.
    pub samples: u64,
}

/// What the runs of a month come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Month {
    /// How many started.
    pub runs: usize,
    /// Their energy.
    #[serde(rename = "energy_j")]
    pub energy: Energy,
    /// The energy of those that count samples.
    #[serde(rename = "counted_j")]
    pub counted: Energy,
    /// Their samples.
    pub samples: u64,
}

impl Month {
    /// The energy for each sample of runs that count them.
    pub fn energy_per_sample(&self) -> Option<Energy> {
        (self.samples > 0).then(|| {
            Energy::from_nanojoules(self.counted.as_nanojoules() / i128::from(self.samples))
        })
    }
}

impl Sheet {
    /// The sheet of a project's runs at a site: all of them, failed ones too.
    ///
    /// # Errors
    /// No run whose energy is known.
    pub fn of(runs: &[History], site: &Site, statement: Statement) -> Result<Sheet> {
        let mut total = Total { uncertainty: Some(Energy::ZERO), ..Total::default() };
        let mut phases: BTreeMap<String, Energy> = BTreeMap::new();
        let mut months: BTreeMap<String, Month> = BTreeMap::new();
        let (mut unmeasured, mut unresolved) = (BTreeMap::new(), 0);
        for run in runs {
            let manifest = &run.summary.manifest;
            *total.runs.entry(ended(manifest.state).to_owned()).or_default() += 1;
            let missing = manifest.unmeasured.iter();
            unmeasured.extend(missing.map(|it| (it.source.clone(), it.reason.clone())));
            total.time += run.summary.end.duration;
            let month = months.entry(manifest.created.chars().take(7).collect()).or_default();
            month.runs += 1;
            let Some(energy) = run.energy().energy else {
                total.unknown += 1;
                continue;
            };
            total.energy += energy;
            total.uncertainty = total.uncertainty.zip(run.energy().uncertainty).map(|(a, b)| a + b);
            total.measured += measured(run, energy);
            month.energy += energy;
            if let Some(samples) = run.summary.end.samples {
                total.samples += samples;
                month.samples += samples;
                month.counted += energy;
            }
            let mut rest = energy;
            for (name, phase) in &run.summary.phases {
                *phases.entry(name.clone()).or_default() += phase.energy;
                rest -= phase.energy;
                unresolved += phase.unresolved;
            }
            *phases.entry(TRAINING.to_owned()).or_default() += rest;
        }
        if total.energy <= Energy::ZERO {
            return Err(Error::invalid("there is no run whose energy is known")
                .cure("give a directory with runs that a sensor or a model measured"));
        }
        let co2e = site.carbon(total.energy);
        Ok(Sheet {
            statement,
            phases,
            unresolved,
            months,
            co2e,
            embodied: None,
            cost: None,
            amortisation: None,
            equivalents: Equivalents::of(site.facility(total.energy), co2e).ok(),
            published: Published::of_energy(total.energy, site).ok(),
            site: site.clone(),
            unmeasured,
            total,
        })
    }

    /// The sheet with the manufacture of the hardware.
    #[must_use]
    pub fn embodied(self, embodied: Embodied) -> Sheet {
        Sheet { embodied: Some(embodied), ..self }
    }

    /// The sheet with what the runs cost.
    #[must_use]
    pub fn cost(self, cost: Cost) -> Sheet {
        Sheet { cost: Some(cost), ..self }
    }

    /// The sheet with the use that outweighs the project.
    #[must_use]
    pub fn amortisation(self, amortisation: Amortisation) -> Sheet {
        Sheet { amortisation: Some(amortisation), ..self }
    }

    /// The first and the last month if the energy for a sample fell between them and the absolute energy rose: a rebound.
    pub fn rebound(&self) -> Option<(&str, &str)> {
        let (first, early) = self.months.first_key_value()?;
        let (last, late) = self.months.last_key_value()?;
        let fell = late.energy_per_sample()? < early.energy_per_sample()?;
        (fell && late.energy > early.energy).then_some((first, last))
    }
}

/// What is no phase.
const TRAINING: &str = "training";

fn ended(state: State) -> &'static str {
    match state {
        State::Running => "running or killed",
        State::Complete => "complete",
        State::Dropped => "dropped",
        State::Panicked => "panicked",
        State::Stopped => "stopped by a budget",
    }
}

/// The part of a run's energy that sensors measured, by what its domains came to.
fn measured(run: &History, energy: Energy) -> Energy {
    let sensors = &run.summary.manifest.sensors;
    let (mut by_sensor, mut all) = (Energy::ZERO, Energy::ZERO);
    for (domain, share) in run.summary.end.domains.iter().filter(|(_, share)| share.in_total) {
        let model =
            sensors.iter().any(|it| it.domain.id == *domain && it.provenance == Provenance::Model);
        all += share.total;
        if !model {
            by_sensor += share.total;
        }
    }
    if all > Energy::ZERO {
        energy.scaled(by_sensor.as_joules() / all.as_joules())
    } else {
        Energy::ZERO
    }
}
