//! What models cost up to one quality, which is another question than what they cost for one work.

use std::fmt;

use ergometer::{Energy, Result};
use serde::Serialize;

use super::{Arrival, Comparison, Group, Target};
use crate::History;
use crate::analysis::family::is_whole;
use crate::conditions::{Conditions, EXTENT, SEED, SHAPE, differences, named_like};
use crate::statistics::{Sample, student, welch};

/// The groups of a [`Comparison`] by the energy that a quality took: up to the end of the first epoch that reached it.
///
/// A ratio is that of geometric means, e to the difference of the means of ln E, with its interval by Welch's t. It stands
/// for the scatter from seed to seed; what the sensors of one machine err by in common cancels. For a verdict, three runs
/// of each are asked for, and that all of them reached the target: of those that did not, it is only known that they would
/// have taken more.
#[derive(Clone, Debug, Serialize)]
pub struct AtQuality {
    /// What is to be reached.
    pub target: Target,
    /// True if the target was not given: it is then the best that every run reaches, chosen after the fact.
    pub chosen: bool,
    /// The label of the group that the others are set against.
    pub baseline: Option<String>,
    /// The groups, in the comparison's order.
    pub groups: Vec<Reached>,
    /// True if the runs of each model followed one another, so that a drift of the machine, its warming up say, is in the
    /// ratios; models that take turns share it.
    pub in_blocks: bool,
    /// True if a model stands for any part of the energies.
    pub estimated: bool,
}

/// A group, and what the quality took it.
#[derive(Clone, Debug, Serialize)]
pub struct Reached {
    /// The group's label.
    pub label: String,
    /// The runs that reached the target.
    pub crossings: Vec<Crossing>,
    /// The ids of the runs that never reached it.
    pub never: Vec<String>,
    /// The ids of the runs that reached it, and of whose energy until then a part was not measured: they are not in the mean.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
    /// The geometric mean of the energy up to the target, of the runs that reached it.
    #[serde(rename = "energy_j")]
    pub energy: Option<Energy>,
    /// The 95 % interval of that mean by Student's t on logarithms; missing for a single run.
    #[serde(rename = "interval_j")]
    pub interval: Option<(Energy, Energy)>,
    /// The energy up to the target as a multiple of the baseline's; missing for the baseline itself, and where the two are
    /// not comparable.
    pub at_quality: Option<Contrast>,
    /// The energy at equal work as a multiple of the baseline's: for a sample trained on, or of a run where samples are not
    /// counted.
    pub at_work: Option<Contrast>,
    /// In what the runs differ from the baseline's beside model and framework, where they do: the energies then do not compare
    /// the models.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incomparable: Option<String>,
}

/// Where a run reached the target.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Crossing {
    /// The run's id.
    pub run: String,
    /// The epoch's number.
    pub epoch: Option<u64>,
    /// The energy of the run up to that epoch's end.
    #[serde(rename = "energy_j")]
    pub energy: Energy,
}

/// A ratio of energies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Contrast {
    /// The ratio of the geometric means.
    pub ratio: f64,
    /// Its 95 % interval; missing if either is a single run.
    pub interval: Option<(f64, f64)>,
    /// The number of runs here and in the baseline.
    pub runs: (usize, usize),
    /// What may be concluded.
    pub verdict: Verdict,
}

/// What a ratio with its interval lets one conclude.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// More energy than the baseline.
    More,
    /// Less energy than the baseline.
    Less,
    /// The interval holds 1: no difference is shown.
    NotShown,
    /// Fewer than three runs of either.
    TooFewRuns,
    /// Some runs never reached the target, so that the ratio is only that of the others.
    Censored,
}

/// The least number of runs of each for a verdict.
const RUNS: usize = 3;

impl AtQuality {
    /// Finds what the target took each run, and sets the groups against the comparison's baseline.
    ///
    /// `runs` are the runs that the comparison is of.
    ///
    /// # Errors
    /// A metric that is not known at the end of epochs of every run.
    pub fn of(comparison: &Comparison, runs: &[History], target: &Target) -> Result<AtQuality> {
        let settled = target.settled(&runs.iter().collect::<Vec<_>>())?;
        let members = |group: &Group| -> Vec<&History> {
            let is = |run: &&History| group.runs.contains(&run.summary.manifest.run_id);
            runs.iter().filter(is).collect()
        };
        let baseline = comparison
            .groups
            .iter()
            .find(|group| Some(&group.label) == comparison.baseline.as_ref());
        let first =
            baseline.map(|group| (members(group), Reached::of(group, &members(group), &settled)));
        let groups = comparison.groups.iter().map(|group| {
            let own = members(group);
            let reached = Reached::of(group, &own, &settled);
            match &first {
                Some((others, there)) if group.label != there.label => {
                    reached.against(there, &own, others)
                }
                _ => reached,
            }
        });
        Ok(AtQuality {
            groups: groups.collect(),
            chosen: target.value.is_none(),
            target: settled,
            baseline: comparison.baseline.clone(),
            in_blocks: in_blocks(comparison, runs),
            estimated: runs.iter().any(History::is_estimated),
        })
    }
}

impl Reached {
    fn of(group: &Group, runs: &[&History], target: &Target) -> Reached {
        let (mut crossings, mut never, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
        for run in runs {
            let id = run.summary.manifest.run_id.clone();
            match target.arrival(run) {
                Arrival::At(epoch) => {
                    crossings.push(Crossing { run: id, epoch: epoch.epoch, energy: epoch.total });
                }
                Arrival::Never => never.push(id),
                Arrival::Unknown => unknown.push(id),
            }
        }
        let logs = logarithms(crossings.iter().map(|crossing| crossing.energy.as_joules()));
        let mean = super::Spread::of(&logs).map(|spread| spread.mean);
        let exp = |log: f64| Energy::from_joules(log.exp());
        let interval = Sample::of(&logs).and_then(|sample| {
            let n = super::count(sample.n);
            let margin = student::two_sided(0.95, n - 1.0).ok()? * (sample.variance / n).sqrt();
            Some((exp(sample.mean - margin), exp(sample.mean + margin)))
        });
        Reached {
            label: group.label.clone(),
            crossings,
            never,
            unknown,
            energy: mean.map(exp),
            interval,
            at_quality: None,
            at_work: None,
            incomparable: None,
        }
    }

    fn against(mut self, baseline: &Reached, own: &[&History], others: &[&History]) -> Reached {
        let conditions = own.iter().chain(others).map(|run| Conditions::of(&run.summary));
        let different = unlike(conditions, &EXTENT);
        if !different.is_empty() {
            self.incomparable = Some(different.join("; "));
            return self;
        }
        let energies = |reached: &Reached| {
            logarithms(reached.crossings.iter().map(|crossing| crossing.energy.as_joules()))
        };
        let censored = !(self.never.is_empty() && baseline.never.is_empty());
        self.at_quality = Contrast::of(&energies(&self), &energies(baseline), censored);
        self.at_work = work(own, others);
        self
    }
}

/// In what runs of two groups differ that should be the same, names with one of `parts` in them and the framework aside: one
/// may well compare two.
pub(super) fn unlike(runs: impl Iterator<Item = Conditions>, parts: &[&str]) -> Vec<String> {
    let runs: Vec<Conditions> = runs.collect();
    let frameworks: Vec<String> = differences(&runs, &|name| name != "framework");
    let varies = |name: &str| {
        named_like(name, &SEED)
            || named_like(name, &SHAPE)
            || named_like(name, parts)
            // Each framework names devices in its own words, and runs its own threads.
            || name == "framework"
            || (!frameworks.is_empty() && ["device", "framework threads"].contains(&name))
    };
    differences(&runs, &varies)
}

/// The ratio of energies for equal work, over the runs that went to their end and were measured whole.
fn work(own: &[&History], others: &[&History]) -> Option<Contrast> {
    let complete = |runs: &[&History]| -> Vec<(f64, Option<u64>)> {
        let ended = runs.iter().filter(|run| run.is_complete() && is_whole(run));
        let energy = |run: &&History| Some(run.energy().energy?.as_joules());
        ended.filter_map(|run| Some((energy(run)?, run.summary.end.samples))).collect()
    };
    let (own, others) = (complete(own), complete(others));
    let counted = own.iter().chain(&others).all(|(_, samples)| samples.is_some_and(|n| n > 0));
    #[expect(clippy::cast_precision_loss, reason = "a number of samples is exact in f64 up to 2⁵³")]
    let each = |runs: &[(f64, Option<u64>)]| {
        logarithms(runs.iter().map(|(energy, samples)| match samples {
            Some(samples) if counted => energy / *samples as f64,
            _ => *energy,
        }))
    };
    Contrast::of(&each(&own), &each(&others), false)
}

impl Contrast {
    /// Of logarithms of energies.
    fn of(own: &[f64], others: &[f64], censored: bool) -> Option<Contrast> {
        let mean = |logs: &[f64]| super::Spread::of(logs).map(|spread| spread.mean);
        let ratio = (mean(own)? - mean(others)?).exp();
        let tested = Sample::of(own)
            .zip(Sample::of(others))
            .and_then(|(own, others)| welch(own, others, 0.95).ok());
        let interval = tested.map(|welch| (welch.interval.0.exp(), welch.interval.1.exp()));
        let verdict = match interval {
            _ if censored => Verdict::Censored,
            Some(_) | None if own.len().min(others.len()) < RUNS => Verdict::TooFewRuns,
            Some((low, _)) if low > 1.0 => Verdict::More,
            Some((_, high)) if high < 1.0 => Verdict::Less,
            _ => Verdict::NotShown,
        };
        Some(Contrast { ratio, interval, runs: (own.len(), others.len()), verdict })
    }
}

/// Natural logarithms of what has some.
fn logarithms(values: impl Iterator<Item = f64>) -> Vec<f64> {
    values.filter(|value| *value > 0.0).map(f64::ln).collect()
}

impl fmt::Display for AtQuality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chosen = if self.chosen { " (the best that every run reaches)" } else { "" };
        writeln!(f, "Energy up to {}{chosen}, geometric means with 95 % intervals:", self.target)?;
        let width = self.groups.iter().map(|group| group.label.chars().count()).max();
        let width = width.unwrap_or(0).min(48);
        for group in &self.groups {
            let runs = group.crossings.len() + group.never.len() + group.unknown.len();
            write!(f, "  {:width$}  {} of {runs} runs", group.label, group.crossings.len())?;
            match (group.energy, group.interval) {
                (Some(energy), Some((low, high))) => writeln!(f, ", {energy} ({low} to {high})")?,
                (Some(energy), None) => writeln!(f, ", {energy} (one run: no interval)")?,
                (None, _) if group.unknown.is_empty() => writeln!(f, ": never reached")?,
                (None, _) => writeln!(f, ": the energy until then is not known")?,
            }
        }
        self.ratios(f, width)?;
        if self.groups.iter().any(|group| !group.never.is_empty()) {
            writeln!(
                f,
                "Of runs that never reached it, it is only known that they would have taken more:"
            )?;
            for run in self.groups.iter().flat_map(|group| &group.never) {
                writeln!(f, "  {run}")?;
            }
        }
        if self.groups.iter().any(|group| !group.unknown.is_empty()) {
            writeln!(
                f,
                "Of these, part of the energy until then was not measured; they are left out:"
            )?;
            for run in self.groups.iter().flat_map(|group| &group.unknown) {
                writeln!(f, "  {run}")?;
            }
        }
        if self.in_blocks {
            writeln!(
                f,
                "The runs of each model followed one another: a drift of the machine is in the ratios."
            )?;
        }
        if self.estimated {
            writeln!(f, "The energies are estimated by a model, which sees times and loads.")?;
        }
        write!(
            f,
            "Counted to the end of the first epoch that reaches it; noise of the metric may do so early."
        )
    }
}

impl AtQuality {
    fn ratios(&self, f: &mut fmt::Formatter<'_>, width: usize) -> fmt::Result {
        let Some(baseline) = self.baseline.as_deref().filter(|_| self.groups.len() > 1) else {
            return Ok(());
        };
        writeln!(f, "Energy against {baseline} (Welch's t on logarithms):")?;
        writeln!(f, "  {:width$}  {:<32}  at equal work", "", "at this quality")?;
        let others = || self.groups.iter().filter(|group| group.label != baseline);
        for group in others() {
            write!(f, "  {:width$}  ", group.label)?;
            match &group.incomparable {
                Some(reason) => writeln!(f, "not comparable: {reason}")?,
                None => writeln!(
                    f,
                    "{:<32}  {}",
                    contrast(group.at_quality.as_ref()),
                    contrast(group.at_work.as_ref())
                )?,
            }
        }
        let has = |verdict: Verdict| {
            let contrasts = others().flat_map(|group| [group.at_quality, group.at_work]);
            contrasts.flatten().any(|contrast| contrast.verdict == verdict)
        };
        if has(Verdict::TooFewRuns) {
            writeln!(f, "A verdict takes three runs of each model.")?;
        }
        if has(Verdict::Censored) {
            writeln!(
                f,
                "Where runs never reached it, the ratio is that of the others, and no verdict."
            )?;
        }
        if others().count() > 1 {
            writeln!(
                f,
                "Each interval is of 95 % by itself: among many models, some differ by chance."
            )?;
        }
        Ok(())
    }
}

fn contrast(contrast: Option<&Contrast>) -> String {
    let Some(contrast) = contrast else { return "—".to_owned() };
    let Contrast { ratio, interval, runs, verdict } = contrast;
    let Some((low, high)) = interval else {
        return match runs {
            (1, 1) => format!("{ratio:.2} ×, one run each: no interval"),
            _ => format!("{ratio:.2} ×, a single run: no interval"),
        };
    };
    let verdict = match verdict {
        Verdict::More => "more",
        Verdict::Less => "less",
        Verdict::NotShown => "undecided",
        Verdict::TooFewRuns | Verdict::Censored => "no verdict",
    };
    format!("{ratio:.2} × ({low:.2} to {high:.2}) {verdict}")
}

/// True if the runs of each group were begun one after the other, and any group has several.
fn in_blocks(comparison: &Comparison, runs: &[History]) -> bool {
    let mut order: Vec<(&str, &str, &str)> = Vec::new();
    for run in runs {
        let manifest = &run.summary.manifest;
        let group = comparison.groups.iter().find(|group| group.runs.contains(&manifest.run_id));
        let (created, id) = (manifest.created.as_str(), manifest.run_id.as_str());
        order.extend(group.map(|group| (created, id, group.label.as_str())));
    }
    // Starts to the second, and within one the ids, which begin with the time as a rule.
    order.sort_unstable();
    order.dedup_by_key(|(.., label)| *label);
    let groups = comparison.groups.len();
    groups > 1 && order.len() == groups && runs.len() > groups
}
