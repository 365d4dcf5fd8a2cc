//! [`PerUnit`]: what a run's energy comes to for each step, epoch, sample, token, parameter and operation.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use ergometer::record::{Estimate, Status};
use ergometer::{Energy, Error, Record, Result};
use serde::Serialize;

use crate::History;
use crate::history::{Distribution, Steps};
use crate::quantity::Flop;
use crate::statistics::student;

/// What a run's energy comes to for each thing that it was spent on.
///
/// Energies are gross, of the whole machine as far as its sensors see it. What is the same in every window, the sensors' gain
/// above all, is in the run's ± and not in the intervals of means, which tell how much windows differ.
#[derive(Clone, Debug, Serialize)]
pub struct PerUnit {
    /// The run.
    pub run_id: String,
    /// The run's energy.
    #[serde(flatten)]
    pub energy: Estimate,
    /// Its time, without pauses.
    #[serde(rename = "duration_s", serialize_with = "super::seconds")]
    pub time: Duration,
    /// True if a model stands for any part of the energy.
    pub estimated: bool,
    /// How energy and time of the steps are distributed.
    pub steps: Steps,
    /// The epochs that went to their end.
    pub epochs: Option<Epochs>,
    /// Energy for each sample trained on.
    pub sample: Option<Ratio>,
    /// Energy for each token trained on.
    pub token: Option<Ratio>,
    /// Energy for each trainable parameter: it describes a run, and says nothing for or against it.
    pub parameter: Option<Ratio>,
    /// Energy for each floating-point operation, as far as 6·N·D tells how many there were.
    pub operation: Option<Ratio>,
    /// Each phase's share of the energy.
    pub phases: BTreeMap<String, f64>,
    /// Each domain's share of the energy.
    pub domains: BTreeMap<String, f64>,
    /// The energy net of an idle machine's, where that was measured before.
    pub net: Option<Estimate>,
}

/// The epochs of a run; one of them is one observation, its steps are not.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Epochs {
    /// How many.
    pub n: usize,
    /// The first, which pays for compilation, tuning and cold caches.
    pub first: Estimate,
    /// Mean energy of the others.
    #[serde(rename = "mean_j")]
    pub mean: Option<Energy>,
    /// The 95 % interval of that mean by Student's t, from how much epochs differ; missing below two others.
    #[serde(rename = "interval_j")]
    pub interval: Option<(Energy, Energy)>,
}

/// An energy for each of something, in **joules**.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// How many there were.
    pub count: f64,
    /// The energy for each.
    #[serde(rename = "each_j")]
    pub each: f64,
    /// Its standard uncertainty (k = 1), that of the energy.
    #[serde(rename = "u_j")]
    pub uncertainty: Option<f64>,
}

impl PerUnit {
    /// Divides a run's energy.
    ///
    /// # Errors
    /// A run whose energy is not known.
    pub fn of(history: &History) -> Result<PerUnit> {
        let (end, manifest) = (&history.summary.end, &history.summary.manifest);
        let energy = end.energy.ok_or_else(|| {
            Error::invalid(format!("the energy of `{}` is not known", manifest.run_id))
                .cure("measure a run that is longer than its slowest sensor's update period")
        })?;
        let each = |count: Option<f64>| Ratio::of(end.estimate(), count?);
        let counted = |count: Option<u64>| each(count.map(exact));
        let shares = |part: Energy| part.as_joules() / energy.as_joules();
        let whole = energy > Energy::ZERO;
        let phases = history.summary.phases.iter().filter(|(_, phase)| phase.unresolved == 0);
        let domains = end.domains.iter().filter(|(_, share)| share.in_total);
        Ok(PerUnit {
            run_id: manifest.run_id.clone(),
            energy: end.estimate(),
            time: end.duration,
            estimated: history.is_estimated(),
            steps: history.steps.clone(),
            epochs: Epochs::of(&history.epochs),
            sample: counted(end.samples),
            token: counted(end.tokens),
            parameter: counted(manifest.parameters),
            operation: None,
            phases: phases
                .filter(|_| whole)
                .map(|(name, phase)| (name.clone(), shares(phase.energy)))
                .collect(),
            domains: domains
                .filter(|_| whole)
                .filter_map(|(id, share)| Some((id.clone(), shares(share.energy?))))
                .collect(),
            net: end.net(),
        })
    }

    /// Adds the energy for each floating-point operation of a dense transformer, which takes 6·N·D of them for N parameters
    /// and D tokens (Kaplan et al. 2020, arXiv:2001.08361, section 2.1). Counting operations says little about energy across
    /// models (Henderson et al. 2020, JMLR 21:248).
    ///
    /// # Errors
    /// A run that does not say how many parameters it trains, or on how many tokens.
    pub fn dense_transformer(mut self) -> Result<PerUnit> {
        let (Some(parameters), Some(tokens)) = (self.parameter, self.token) else {
            return Err(Error::absent(format!(
                "`{}` does not say how many parameters it trains, or on how many tokens",
                self.run_id
            ))
            .cure(
                "give them: `.parameters(n)` where the run is made, `run.tokens(n)` in its loop",
            ));
        };
        let operations = Flop::of_transformer(parameters.count, tokens.count);
        self.operation = Ratio::of(self.energy, operations.as_count());
        Ok(self)
    }
}

impl Ratio {
    fn of(energy: Estimate, count: f64) -> Option<Ratio> {
        let each = energy.energy?.as_joules() / count;
        let uncertainty = energy.uncertainty.map(|uncertainty| uncertainty.as_joules() / count);
        (count > 0.0).then_some(Ratio { count, each, uncertainty })
    }
}

impl Epochs {
    fn of(epochs: &[Record]) -> Option<Epochs> {
        let completed: Vec<&Record> =
            epochs.iter().filter(|epoch| epoch.status == Status::Complete).collect();
        let first = completed.first()?;
        // Each session and each lane warms up anew.
        let mut warm = BTreeSet::new();
        let others: Vec<&&Record> =
            completed.iter().filter(|epoch| !warm.insert((epoch.session, epoch.lane))).collect();
        let energies: Option<Vec<f64>> =
            others.iter().map(|epoch| Some(epoch.energy?.as_joules())).collect();
        let energies = energies.filter(|energies| !energies.is_empty());
        let n = exact(others.len() as u64);
        let mean = energies.as_ref().map(|energies| energies.iter().sum::<f64>() / n);
        let interval = energies.as_ref().zip(mean).and_then(|(energies, mean)| {
            let squares: f64 = energies.iter().map(|energy| (energy - mean).powi(2)).sum();
            let margin = student::two_sided(0.95, n - 1.0).ok()? * (squares / (n - 1.0) / n).sqrt();
            Some((Energy::from_joules(mean - margin), Energy::from_joules(mean + margin)))
        });
        Some(Epochs {
            n: completed.len(),
            first: first.estimate(),
            mean: mean.map(Energy::from_joules),
            interval,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count is exact in f64 up to 2⁵³")]
fn exact(count: u64) -> f64 {
    count as f64
}

/// What stands beside a run's own table: the mean of epochs and steps, and the energy for each of what was trained on.
impl fmt::Display for PerUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(epochs) = &self.epochs {
            write!(f, "epoch      first {}", epochs.first)?;
            if let Some(mean) = epochs.mean {
                write!(f, "; mean of the {} others {mean}", epochs.n - 1)?;
            }
            if let Some((low, high)) = epochs.interval {
                write!(f, " ({low} to {high}, 95 %)")?;
            }
            writeln!(f)?;
        }
        self.write_steps(f)?;
        for (name, ratio) in [
            ("sample", &self.sample),
            ("token", &self.token),
            ("parameter", &self.parameter),
            ("operation", &self.operation),
        ] {
            if let Some(ratio) = ratio {
                writeln!(f, "{name:<10} {} (of {:.4e})", joules(ratio), ratio.count)?;
            }
        }
        for (what, shares) in [("phases", &self.phases), ("domains", &self.domains)] {
            let shares: Vec<String> = shares
                .iter()
                .map(|(name, share)| format!("{name} {:.0} %", 100.0 * share))
                .collect();
            if !shares.is_empty() {
                writeln!(f, "{what:<10} {}", shares.join(", "))?;
            }
        }
        match &self.net {
            Some(net) => write!(f, "idle       net of an idle machine {net}"),
            None => {
                write!(f, "idle       not measured: what an idle machine would have used is in it")
            }
        }
    }
}

impl PerUnit {
    fn write_steps(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Steps { count, unresolved, energy, time, .. } = &self.steps;
        if *count == 0 {
            return Ok(());
        }
        if let Some(energy) = energy {
            writeln!(
                f,
                "step       {}",
                spread(energy, |value| Energy::from_joules(value).to_string())
            )?;
        }
        if let Some(time) = time {
            let words = |value: f64| {
                format!("{:.2?}", Duration::try_from_secs_f64(value).unwrap_or_default())
            };
            writeln!(f, "step time  {}", spread(time, words))?;
        }
        if *unresolved > 0 {
            writeln!(
                f,
                "           {unresolved} of {count} steps were too short to have an energy of their own"
            )?;
        }
        Ok(())
    }
}

fn spread(of: &Distribution, words: impl Fn(f64) -> String) -> String {
    let interval = of
        .interval
        .map_or(String::new(), |(low, high)| format!(" ({} to {}, 95 %)", words(low), words(high)));
    let (median, low, high) = (words(of.median), words(of.p5), words(of.p95));
    format!("mean {}{interval}; median {median}, 90 % within {low} to {high}", words(of.mean))
}

/// Joules in powers of ten: a parameter's or an operation's are far below what prefixes cover.
fn joules(ratio: &Ratio) -> String {
    match ratio.uncertainty {
        Some(uncertainty) => format!("{:.3e} J ± {:.1e} J", ratio.each, 2.0 * uncertainty),
        None => format!("{:.3e} J", ratio.each),
    }
}
