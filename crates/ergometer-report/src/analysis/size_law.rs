//! What a larger model costs: energy against parameters.

use std::collections::BTreeMap;
use std::fmt;

use ergometer::{Energy, Error, Result};
use serde::Serialize;

use super::family::Family;
use crate::comparison::thousands;
use crate::conditions::SHAPE;
use crate::footprint::{LogLogFit, Prediction, loglog_fit};

/// The energy of a training as a power law of the model's parameters, E ~ N^b.
///
/// The line goes through one point for each size, the mean of log10 E over its seeds. Runs of one size have in common what
/// sets this size apart from the law, so that they are not independent observations of it: with them all, the interval
/// would be too narrow. The means are independent, and with as many seeds of each size they scatter alike, so that the
/// interval by Student's t with n − 2 degrees of freedom, n sizes, is exact. With different numbers of seeds it is close
/// where sizes differ from the law more than seeds among each other; were seeds all the scatter, and 1 of some sizes and 10
/// of others, intervals of 95 % would hold between 88 and 99 %.
#[derive(Clone, Debug, Serialize)]
pub struct SizeLaw {
    /// The sizes, from the smallest.
    pub sizes: Vec<Size>,
    /// log10 of the energy in joules on log10 of the parameters.
    pub fit: LogLogFit,
    /// What doubling the parameters multiplies the energy by.
    pub doubling: Prediction,
    /// How the slope stands to 1, that of energy in proportion to size.
    pub proportion: Proportion,
    /// The largest expanded uncertainty (k = 2) of a run's energy, relative to it. What the sensors err by in all runs alike
    /// moves the energies, and not the slope.
    #[serde(rename = "relative_expanded_uncertainty")]
    pub uncertainty: Option<f64>,
    /// True if a model stands for any part of the energies.
    pub estimated: bool,
    /// Runs that are left out, with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// The runs of one size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Size {
    /// Trainable parameters.
    pub parameters: u64,
    /// The geometric mean of the runs' energies.
    #[serde(rename = "energy_j")]
    pub energy: Energy,
    /// The standard deviation of ln E over the runs, close to the relative one of E; missing for a single run.
    pub scatter: Option<f64>,
    /// The number of runs.
    pub runs: usize,
}

/// How the interval of an exponent stands to 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Proportion {
    /// Below 1: a parameter of a larger model costs less.
    Less,
    /// Above 1: a parameter of a larger model costs more.
    More,
    /// The interval holds 1, and cannot decide.
    Undecided,
}

/// The least number of sizes: a line through two has no interval.
const SIZES: usize = 3;

/// The least range of sizes, largest over smallest: two doublings.
const RANGE: f64 = 4.0;

impl SizeLaw {
    /// Fits the law to the runs of a family.
    ///
    /// # Errors
    /// Runs that differ in more than size and seed, with the difference named, and as [`through`](SizeLaw::through).
    pub fn of(family: &Family<'_>) -> Result<SizeLaw> {
        family.alike(&SHAPE)?;
        let (mut points, mut left_out) = (Vec::new(), family.left_out.clone());
        for run in &family.runs {
            let manifest = &run.summary.manifest;
            match (manifest.parameters, run.energy().energy) {
                (Some(parameters), Some(energy)) => points.push((parameters, energy)),
                _ => left_out.push(format!("{}: it does not say its parameters", manifest.run_id)),
            }
        }
        let law = SizeLaw::through(&points).map_err(|error| beside_left_out(&error, &left_out))?;
        let (uncertainty, estimated) = (family.uncertainty(), family.is_estimated());
        Ok(SizeLaw { uncertainty, estimated, left_out, ..law })
    }

    /// Fits the law to parameters and energies of runs that differ in size and seed only.
    ///
    /// # Errors
    /// Fewer than three sizes, a range of sizes below a factor of 4, or what has no logarithm.
    pub fn through(points: &[(u64, Energy)]) -> Result<SizeLaw> {
        let mut by_size: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        for (parameters, energy) in points {
            if *parameters == 0 || *energy <= Energy::ZERO {
                return Err(Error::invalid(format!(
                    "{energy} for {parameters} parameters has no logarithm"
                ))
                .cure("give runs whose size and energy are known"));
            }
            by_size.entry(*parameters).or_default().push(energy.as_joules().ln());
        }
        let sizes: Vec<Size> = by_size
            .into_iter()
            .filter_map(|(parameters, logs)| {
                let spread = crate::Spread::of(&logs)?;
                let energy = Energy::from_joules(spread.mean.exp());
                Some(Size { parameters, energy, scatter: spread.sd, runs: logs.len() })
            })
            .collect();
        let number = |size: &Size| float(size.parameters);
        if sizes.len() < SIZES {
            return Err(Error::unsupported(format!(
                "{} {} not carry a size law",
                plural(sizes.len(), "size"),
                if sizes.len() == 1 { "does" } else { "do" }
            ))
            .cure("train three sizes at least; five or more say something"));
        }
        let range = sizes.last().map_or(1.0, number) / sizes.first().map_or(1.0, number);
        if range < RANGE {
            return Err(Error::unsupported(format!(
                "the largest size is {range:.1} times the smallest, too narrow a range for a size law"
            ))
            .cure("train sizes over a factor of 4 at least"));
        }
        let means: Vec<(f64, f64)> =
            sizes.iter().map(|size| (number(size), size.energy.as_joules())).collect();
        let fit = loglog_fit(&means, 0.95)?;
        let proportion = match fit.interval {
            (_, high) if high < 1.0 => Proportion::Less,
            (low, _) if low > 1.0 => Proportion::More,
            _ => Proportion::Undecided,
        };
        let doubling = fit.multiplier(2.0)?;
        let (uncertainty, estimated, left_out) = (None, false, Vec::new());
        Ok(SizeLaw { sizes, fit, doubling, proportion, uncertainty, estimated, left_out })
    }

    /// The energy of a training of another size, with the prediction interval of one more size.
    ///
    /// # Errors
    /// A size more than ten times beyond those that were trained.
    pub fn predict(&self, parameters: u64) -> Result<Prediction> {
        let ends = self.sizes.first().zip(self.sizes.last());
        let (first, last) =
            ends.map_or((0, 0), |(first, last)| (first.parameters, last.parameters));
        if parameters > last.saturating_mul(10) || parameters.saturating_mul(10) < first {
            return Err(Error::unsupported(format!(
                "{} parameters are more than ten times beyond the sizes of {} to {}",
                thousands(parameters),
                thousands(first),
                thousands(last)
            ))
            .cure("train a size that is nearer"));
        }
        self.fit.predict(float(parameters))
    }

    /// The number of runs.
    pub fn runs(&self) -> usize {
        self.sizes.iter().map(|size| size.runs).sum()
    }
}

impl fmt::Display for SizeLaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (fit, doubling) = (&self.fit, &self.doubling);
        writeln!(f, "{:>14}  {:>12}  {:>8}  runs", "parameters", "energy", "scatter")?;
        for size in &self.sizes {
            let scatter =
                size.scatter.map_or("—".to_owned(), |sd| format!("{:.1} %", sd * 100.0));
            let (parameters, energy) = (thousands(size.parameters), size.energy.to_string());
            writeln!(f, "{parameters:>14}  {energy:>12}  {scatter:>8}  {:>4}", size.runs)?;
        }
        let (low, high) = fit.interval;
        writeln!(
            f,
            "energy ~ parameters^b, b = {:.2} ({low:.2} to {high:.2}), R² = {:.3}",
            fit.exponent, fit.r_squared
        )?;
        writeln!(
            f,
            "Doubling the size multiplies the energy by {:.2} ({:.2} to {:.2}).",
            doubling.value, doubling.low, doubling.high
        )?;
        writeln!(
            f,
            "{}",
            match self.proportion {
                Proportion::Less =>
                    "A parameter of a larger model costs less: the interval of b is below 1.",
                Proportion::More =>
                    "A parameter of a larger model costs more: the interval of b is above 1.",
                Proportion::Undecided =>
                    "Whether energy is in proportion to size (b = 1), the interval cannot decide.",
            }
        )?;
        writeln!(
            f,
            "Intervals of 95 % by Student's t of {} of freedom, over the means of {}, {}.",
            plural(fit.degrees_of_freedom(), "degree"),
            plural(self.sizes.len(), "size"),
            plural(self.runs(), "run")
        )?;
        trust(f, self.uncertainty, self.estimated)?;
        for run in &self.left_out {
            writeln!(f, "left out: {run}")?;
        }
        write!(f, "It holds for this machine, framework, precision, batch size and data.")
    }
}

/// A refusal that says beside its reason how many runs were left out, and why the first of them was.
pub(super) fn beside_left_out(error: &Error, left_out: &[String]) -> Error {
    let aside = left_out.first().map_or(String::new(), |first| {
        let are = if left_out.len() == 1 { "is" } else { "are" };
        format!("; {} {are} left out, {first}", plural(left_out.len(), "run"))
    });
    Error::unsupported(format!("{}{aside}", error.what()))
        .cure(error.remedy().unwrap_or_default().to_owned())
}

/// How far the energies under a law can be trusted.
pub(super) fn trust(
    f: &mut fmt::Formatter<'_>,
    uncertainty: Option<f64>,
    estimated: bool,
) -> fmt::Result {
    match uncertainty {
        Some(uncertainty) => {
            let percent = uncertainty * 100.0;
            writeln!(
                f,
                "Each energy is known to ±{percent:.0} % (k = 2); what the sensors err by in all runs alike moves"
            )?;
            writeln!(f, "the energies together, and not the exponent.")?;
        }
        None => writeln!(f, "The logs do not say of every energy how well it is known.")?,
    }
    if estimated {
        writeln!(
            f,
            "The energies are estimated: the law is one of a model, which sees times and loads."
        )?;
    }
    Ok(())
}

/// A number and what it counts: `1 run`, `3 runs`.
pub(super) fn plural(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[expect(clippy::cast_precision_loss, reason = "a size is in a law to three digits")]
fn float(parameters: u64) -> f64 {
    parameters as f64
}
