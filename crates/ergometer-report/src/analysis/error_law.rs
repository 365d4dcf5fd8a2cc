//! What a smaller error costs: error against energy, over models that were trained apart.

mod forms;
mod measure;
mod table;

use ergometer::{Energy, Error, Result};
use serde::Serialize;

pub use self::forms::{Floor, Form, Forms, Shape};
pub use self::measure::{Measure, Scale};
use super::family::{Family, replicates};
use super::size_law::{beside_left_out, plural};
use crate::comparison::thousands;
use crate::conditions::{EXTENT, SHAPE};
use crate::footprint::{HalvingCost, LogLogFit, Prediction, error_law, pareto};
use crate::quantity::{Co2e, Money};
use crate::site::Site;

/// The error of trained models as a power law of the energy that training took, error = a·E^−α, and the price of halving it
/// (Thompson et al. 2020).
///
/// The points are models that were trained apart, of different sizes or on different shares of the data; the epochs of one
/// run are a learning curve, which is another law. Runs that differ in their seeds only are one point, the mean of their
/// logarithms, for the reason that [`SizeLaw`](super::size_law::SizeLaw) gives.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorLaw {
    /// How the error follows from what was measured.
    pub measure: Measure,
    /// The models, by energy.
    pub models: Vec<Trained>,
    /// The law through all models.
    pub all: Slope,
    /// The law through the models that no other beats in both energy and error. They were chosen by their errors, so that
    /// their interval holds less than 95 %. Missing where they are too few or too close.
    pub front: Option<Slope>,
    /// Why there is no law through the front.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_front: Option<String>,
    /// The power law against other forms.
    pub forms: Forms,
    /// The largest expanded uncertainty (k = 2) of a run's energy, relative to it.
    #[serde(rename = "relative_expanded_uncertainty")]
    pub uncertainty: Option<f64>,
    /// True if a model stands for any part of the energies.
    pub estimated: bool,
    /// Runs that are left out, with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// A model, over its seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trained {
    /// What it is called.
    pub label: String,
    /// The geometric mean of its runs' energies.
    #[serde(rename = "energy_j")]
    pub energy: Energy,
    /// The geometric mean of its runs' errors.
    pub error: f64,
    /// The number of runs.
    pub runs: usize,
    /// True if no other model has less of both.
    pub on_front: bool,
}

/// A power law through some of the models.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Slope {
    /// log10 of 1/error on log10 of the energy in joules; its exponent is α.
    pub fit: LogLogFit,
    /// log10 of the largest energy over the smallest.
    pub decades: f64,
    /// α, k and the factor 2^k by which halving the error multiplies the energy; missing where α is not above 0.
    pub halving: Option<HalvingCost>,
    /// The lower end of the factor's interval.
    pub factor_low: Option<f64>,
    /// Its upper end; missing where α's interval reaches 0, so that the factor is not bounded.
    pub factor_high: Option<f64>,
}

/// What half of the best error would cost, at present cost.
///
/// The energies are where the line and the ends of its prediction interval reach that error: inverse regression (Draper and
/// Smith 1998, Applied Regression Analysis, section 3.2). The best model's energy times the factor of halving would take the
/// luck of the model that was chosen for its error as lasting, and the factor's interval knows nothing of how much one model
/// is off the line.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Half {
    /// The error that is aimed at.
    pub error: f64,
    /// The energy at which the law through all models reaches it.
    #[serde(rename = "energy_j")]
    pub energy: Energy,
    /// The lower end of the 95 % interval for one more model; missing where α's interval reaches 0.
    #[serde(rename = "energy_low_j")]
    pub low: Option<Energy>,
    /// Its upper end; missing where it is not bounded, or more than a decade beyond the data.
    #[serde(rename = "energy_high_j")]
    pub high: Option<Energy>,
    /// What the energy emits, where a place is given.
    #[serde(rename = "co2e_kg", skip_serializing_if = "Option::is_none")]
    pub carbon: Option<Co2e>,
    /// What the energy costs, where a price is given.
    #[serde(serialize_with = "crate::site::money", skip_serializing_if = "Option::is_none")]
    pub cost: Option<Money>,
}

/// The least number of models.
const MODELS: usize = 5;

/// The least range of energies, in decades.
const DECADES: f64 = 1.5;

/// How far beyond the largest energy a law is followed, as a factor: one decade.
const BEYOND: f64 = 10.0;

impl ErrorLaw {
    /// Fits the law to the runs of a family, by a metric or else by an accuracy, an error or a loss, whichever they have.
    ///
    /// # Errors
    /// Runs that differ in more than size, share of the data and seed, with the difference named; a metric that no run has,
    /// or that is no measure of an error; an error of 0; and as [`through`](ErrorLaw::through).
    pub fn of(family: &Family<'_>, metric: Option<&str>) -> Result<ErrorLaw> {
        family.alike(&[&SHAPE[..], &EXTENT[..]].concat())?;
        let measure = Measure::of(&family.runs, metric)?;
        let mut left_out = family.left_out.clone();
        let mut models = Vec::new();
        for replicates in replicates(family.runs.iter().copied(), &[]) {
            let mut logs = Vec::new();
            for run in &replicates {
                let id = &run.summary.manifest.run_id;
                match (measure.error(run), run.energy().energy) {
                    (Ok(error), Some(energy)) if error > 0.0 => {
                        logs.push((energy.as_joules().ln(), error.ln()));
                    }
                    (Ok(error), _) => {
                        return Err(Error::unsupported(format!(
                            "{id}: its error is {error}, which has no logarithm"
                        ))
                        .cure("test on more samples, so that there is an error to see"));
                    }
                    (Err(reason), _) => left_out.push(format!("{id}: {reason}")),
                }
            }
            let parts: (Vec<f64>, Vec<f64>) = logs.into_iter().unzip();
            if let Some((energy, error)) =
                crate::Spread::of(&parts.0).zip(crate::Spread::of(&parts.1))
            {
                let manifest = &replicates[0].summary.manifest;
                let label = match manifest.parameters {
                    Some(parameters) => format!("{} parameters", thousands(parameters)),
                    None => manifest.name.clone(),
                };
                models.push(Trained {
                    label,
                    energy: Energy::from_joules(energy.mean.exp()),
                    error: error.mean.exp(),
                    runs: parts.0.len(),
                    on_front: false,
                });
            }
        }
        let law = ErrorLaw::through(models, measure)
            .map_err(|error| beside_left_out(&error, &left_out))?;
        let (uncertainty, estimated) = (family.uncertainty(), family.is_estimated());
        Ok(ErrorLaw { uncertainty, estimated, left_out, ..law })
    }

    /// Fits the law to models, each with the mean energy and error of its seeds.
    ///
    /// # Errors
    /// Fewer than 5 models, energies over fewer than 1.5 decades, or what has no logarithm.
    pub fn through(mut models: Vec<Trained>, measure: Measure) -> Result<ErrorLaw> {
        models.sort_by_key(|model| model.energy);
        carries(&models)?;
        let criteria: Vec<[f64; 2]> =
            models.iter().map(|model| [model.energy.as_joules(), model.error]).collect();
        for place in pareto(&criteria)?.on {
            models[place].on_front = true;
        }
        let all = Slope::through(&models)?;
        let front: Vec<Trained> = models.iter().filter(|model| model.on_front).cloned().collect();
        let (front, no_front) = match carries(&front).and_then(|()| Slope::through(&front)) {
            Ok(front) => (Some(front), None),
            Err(error) => (None, Some(error.what().to_owned())),
        };
        let forms = Forms::of(&criteria);
        let (uncertainty, estimated, left_out) = (None, false, Vec::new());
        Ok(ErrorLaw {
            measure,
            models,
            all,
            front,
            no_front,
            forms,
            uncertainty,
            estimated,
            left_out,
        })
    }

    /// The error that a training of this energy is expected to reach by the law through all models, with the prediction
    /// interval of one more model.
    ///
    /// # Errors
    /// An energy more than a decade beyond those of the models.
    pub fn predict(&self, energy: Energy) -> Result<Prediction> {
        let first = self.models.first().map_or(Energy::ZERO, |model| model.energy);
        if energy > self.limit() || energy < first.scaled(1.0 / BEYOND) {
            return Err(Error::unsupported(format!(
                "{energy} is more than a decade beyond the energies of the models"
            ))
            .cure("train a model of an energy that is nearer"));
        }
        let inverse = self.all.fit.predict(energy.as_joules())?;
        Ok(Prediction {
            value: 1.0 / inverse.value,
            low: 1.0 / inverse.high,
            high: 1.0 / inverse.low,
        })
    }

    /// The model with the smallest error.
    pub fn best(&self) -> Option<&Trained> {
        self.models.iter().min_by(|a, b| a.error.total_cmp(&b.error))
    }

    /// What half of the best model's error would cost by the law through all models.
    ///
    /// # Errors
    /// An exponent that is not above 0, an energy more than a decade beyond the data, or an error with a floor, near which
    /// the power law's price is too low.
    pub fn half(&self) -> Result<Half> {
        let (Some(best), Some(_)) = (self.best(), self.all.halving) else {
            return Err(Error::unsupported("more energy does not lower the error here"));
        };
        if let (Some(Shape::Floor), Some(floor)) = (self.forms.best, self.forms.floor) {
            return Err(Error::unsupported(format!(
                "the error has a floor of {:.4}, near which the power law's price is too low",
                floor.floor
            ))
            .cure("no number is given: more or other data may lower the floor"));
        }
        let error = best.error / 2.0;
        let there = self.all.fit.solve(1.0 / error)?;
        let refused = || {
            let times = there.value / best.energy.as_joules();
            Error::unsupported(format!(
                "half of the best error lies more than a decade of energy beyond the data, at {times:.3e} times the best model's"
            ))
            .cure("no number is given: train larger models first")
        };
        let within =
            |energy: f64| (energy <= self.limit().as_joules()).then(|| Energy::from_joules(energy));
        let energy = within(there.value).ok_or_else(refused)?;
        let (low, high) = there.ends.unzip();
        let (low, high) = (low.map(Energy::from_joules), high.and_then(within));
        Ok(Half { error, energy, low, high, carbon: None, cost: None })
    }

    /// The number of runs.
    pub fn runs(&self) -> usize {
        self.models.iter().map(|model| model.runs).sum()
    }

    /// The largest energy to which the law is followed.
    fn limit(&self) -> Energy {
        self.models.last().map_or(Energy::ZERO, |model| model.energy.scaled(BEYOND))
    }
}

impl Half {
    /// The same at a place: what the energy emits and costs there, its overhead included.
    #[must_use]
    pub fn at(self, site: &Site) -> Half {
        Half { carbon: site.carbon(self.energy), cost: site.cost(self.energy), ..self }
    }
}

impl Slope {
    fn through(models: &[Trained]) -> Result<Slope> {
        let points: Vec<(f64, f64)> =
            models.iter().map(|model| (model.energy.as_joules(), model.error)).collect();
        let fit = error_law(&points, 0.95)?;
        let halving = HalvingCost::from_alpha(fit.exponent).ok();
        let (low, high) = HalvingCost::bounds(fit.interval);
        Ok(Slope {
            fit,
            decades: decades(models),
            halving,
            factor_low: halving.map(|_| low),
            factor_high: halving.map(|_| high).filter(|high| high.is_finite()),
        })
    }
}

/// Refuses what cannot carry a law, with the numbers found.
fn carries(models: &[Trained]) -> Result<()> {
    if let Some(model) = models.iter().find(|model| !(model.error > 0.0 && model.error.is_finite()))
    {
        return Err(Error::invalid(format!(
            "{}: an error of {} has no logarithm",
            model.label, model.error
        ))
        .cure("give models whose errors are above 0"));
    }
    if models.iter().any(|model| model.energy <= Energy::ZERO) {
        return Err(Error::invalid("an energy of 0 has no logarithm")
            .cure("give models whose energy is known"));
    }
    let (number, decades) = (models.len(), decades(models));
    if number < MODELS || decades < DECADES {
        return Err(Error::unsupported(format!(
            "{} over {decades:.2} decades of energy {} not carry an error law, which takes {MODELS} over {DECADES}",
            plural(number, "model"),
            if number == 1 { "does" } else { "do" }
        ))
        .cure("train models of more sizes, or on more shares of the data, further apart in energy"));
    }
    Ok(())
}

fn decades(models: &[Trained]) -> f64 {
    let energies = || models.iter().map(|model| model.energy.as_joules());
    let ends = energies().reduce(f64::max).zip(energies().reduce(f64::min));
    ends.map_or(0.0, |(most, least)| (most / least).log10())
}
