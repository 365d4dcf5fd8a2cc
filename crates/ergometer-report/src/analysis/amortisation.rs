//! After how much use a training has been outweighed.

use std::fmt;
use std::time::Duration;

use ergometer::{Energy, Error, Estimate, Result};
use serde::Serialize;

use crate::analysis::equivalents::two_digits;
use crate::footprint::amortisation;
use crate::history::History;

/// How many inferences use as much energy as training and tuning did: N* = (training + tuning)/inference, all measured
/// (Luccioni et al. 2024).
///
/// For four models of the `BLOOMz` family N* is 2·10⁸ to 6·10⁸. An inference service's idle energy is not in an
/// inference's, and was three quarters of all for BLOOM's (Luccioni et al. 2023).
#[derive(Clone, Debug, Serialize)]
pub struct Amortisation {
    /// What the trainings and tunings used.
    #[serde(rename = "training_j")]
    pub training: Energy,
    /// What one inference uses.
    #[serde(rename = "inference_j")]
    pub inference: Energy,
    /// The inferences that were measured.
    pub measured: u64,
    /// N*.
    pub inferences: f64,
    /// The standard uncertainty of N* (k = 1), as if the two energies' were independent: too wide where they share a sensor.
    pub u: Option<f64>,
    /// The inferences a day that the user declares.
    pub load: Option<f64>,
    /// How long N* takes at this load.
    #[serde(rename = "duration_s", serialize_with = "crate::analysis::maybe_seconds")]
    pub time: Option<Duration>,
    /// Machines that differ between training and inference; the ratio then holds for this pair only.
    pub differs: Vec<String>,
    /// True if a model stands for part of an energy.
    pub estimated: bool,
}

const DAY: Duration = Duration::from_secs(86_400);

impl Amortisation {
    /// The amortisation of trainings, tuning runs among them, over inferences like those of a measured run, at `load`
    /// inferences a day.
    ///
    /// # Errors
    /// A run whose energy is not known, an inference run that counts no samples, or a load that is not above 0.
    pub fn of(
        training: &[History],
        inference: &History,
        load: Option<f64>,
    ) -> Result<Amortisation> {
        let mut trained = Estimate { energy: Some(Energy::ZERO), ..known(inference)?.1 };
        trained.uncertainty = Some(Energy::ZERO);
        for run in training {
            let (energy, estimate) = known(run)?;
            trained.energy = trained.energy.map(|sum| sum + energy);
            // Runs on the same sensors err together, so their uncertainties add up.
            trained.uncertainty = trained.uncertainty.zip(estimate.uncertainty).map(|(a, b)| a + b);
        }
        let (used, of_inference) = known(inference)?;
        let name = &inference.summary.manifest.name;
        let measured =
            inference.summary.end.samples.filter(|samples| *samples > 0).ok_or_else(|| {
                Error::invalid(format!("`{name}` does not say how many inferences it made"))
                    .cure("count them as its samples: `run.steps(…).samples(…)`")
            })?;
        if let Some(load) = load.filter(|load| !(*load > 0.0 && load.is_finite())) {
            return Err(Error::invalid(format!("a load of {load} inferences a day has no end"))
                .cure("give a number above 0"));
        }
        #[expect(clippy::cast_precision_loss, reason = "exact to some 15 digits")]
        let one = used.scaled(1.0 / measured as f64);
        let sum = trained.energy.unwrap_or_default();
        let inferences = amortisation(sum, Energy::ZERO, one)?;
        let relative = |energy: Energy, estimate: Estimate| {
            Some(estimate.uncertainty?.as_joules() / energy.as_joules())
        };
        let u = relative(sum, trained)
            .zip(relative(used, of_inference))
            .map(|(a, b)| inferences * a.hypot(b))
            .filter(|u| u.is_finite());
        Ok(Amortisation {
            training: sum,
            inference: one,
            measured,
            inferences,
            u,
            load,
            time: load.and_then(|load| {
                Duration::try_from_secs_f64(inferences / load * DAY.as_secs_f64()).ok()
            }),
            differs: differs(training, inference),
            estimated: training.iter().chain([inference]).any(History::is_estimated),
        })
    }
}

/// The energy of a run that has one, and how sure it is.
fn known(run: &History) -> Result<(Energy, Estimate)> {
    let estimate = run.energy();
    let energy = estimate.energy.filter(|energy| *energy > Energy::ZERO).ok_or_else(|| {
        Error::invalid(format!("the energy of `{}` is not known", run.summary.manifest.name))
            .cure("give runs that have ended, with a sensor or a model")
    })?;
    Ok((energy, estimate))
}

/// What the machines of training and inference differ in.
fn differs(training: &[History], inference: &History) -> Vec<String> {
    let here = &inference.summary.manifest;
    let mut differs = Vec::new();
    for run in training {
        let there = &run.summary.manifest;
        if there.machine.host != here.machine.host {
            differs.push(format!("host {} and {}", there.machine.host, here.machine.host));
        }
        let parts = |manifest: &ergometer::record::Manifest| -> Vec<String> {
            let counted = manifest.sensors.iter().filter(|sensor| sensor.in_total);
            counted.map(|sensor| sensor.domain.id.clone()).collect()
        };
        if parts(there) != parts(here) {
            differs.push(format!("{} and {}", parts(there).join(" + "), parts(here).join(" + ")));
        }
    }
    differs.sort();
    differs.dedup();
    differs
}

impl fmt::Display for Amortisation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = if self.estimated { "estimated" } else { "measured" };
        writeln!(f, "training and tuning   {:>12}  {by}", self.training.to_string())?;
        writeln!(
            f,
            "one inference         {:>12}  mean of {}",
            self.inference.to_string(),
            self.measured
        )?;
        write!(f, "as much after         {} inferences", two_digits(self.inferences))?;
        match self.u {
            Some(u) => writeln!(f, " ± {} (k=2)", two_digits(2.0 * u))?,
            None => writeln!(f)?,
        }
        if let (Some(load), Some(time)) = (self.load, self.time) {
            let days = time.as_secs_f64() / DAY.as_secs_f64();
            writeln!(f, "at {load} a day         {} days", two_digits(days))?;
        }
        if !self.differs.is_empty() {
            writeln!(f, "* Not the same machine: {}.", self.differs.join("; "))?;
        }
        writeln!(f, "* 200 to 590 million for four BLOOMz models (Luccioni et al. 2024).")?;
        writeln!(
            f,
            "* Holds for this hardware and batch size. A service that waits uses energy too:"
        )?;
        write!(f, "  75 % of all that BLOOM's interface used (Luccioni et al. 2023).")
    }
}
