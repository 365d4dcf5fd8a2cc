//! [`Tuning`]: what a search for better settings cost, and whether it found any.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ergometer::{Energy, Error, Result};
use serde::Serialize;

use crate::History;
use crate::conditions::{SEED, named_like};
use crate::metric::Direction;
use crate::statistics::{Sample, Welch, welch};

/// What a search for better settings cost, trial by trial, and whether what it found is better than what there was.
///
/// A trial's settings are its notes, its number of parameters, its framework and device; the note `trial = default` marks the settings that the
/// search set out from, or else the first trial has them. Trials that failed have no metric, and their energy counts. Runs
/// with the note `purpose = final` are no trials.
///
/// A search picks the best of noisy values, which is too good to be true. So the winner is judged by runs made after the
/// last new settings were tried, three or more with new seeds, against three or more with the default: Welch's t. Of runs
/// that note the same seed, the first counts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tuning {
    /// The metric.
    pub metric: String,
    /// Whether more of it is better.
    pub direction: Direction,
    /// The runs of the search, in the order of their starts.
    pub trials: Vec<Trial>,
    /// Energy of the search, without that of trials that do not say what they used.
    #[serde(rename = "search_j")]
    pub search: Energy,
    /// How many these are.
    pub unknown: usize,
    /// Energy of the final runs; missing where there is none.
    #[serde(rename = "final_j")]
    pub final_runs: Option<Energy>,
    /// Standard deviation of the metric between trials of the same settings; missing where none was repeated.
    pub noise: Option<f64>,
    /// The settings that the search set out from.
    pub default: String,
    /// The settings of the best trial.
    pub best: String,
    /// Whether these are better.
    pub verdict: Verdict,
    /// True if a model stands for part of the energy.
    pub is_estimated: bool,
}

/// One run of a search.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// The run's id.
    pub run_id: String,
    /// Its settings, as far as they differ between trials.
    pub settings: String,
    /// The metric at its end; missing where it has none.
    pub value: Option<f64>,
    /// Energy of the search until its end.
    #[serde(rename = "total_j")]
    pub total: Energy,
    /// The best until then.
    pub best: Option<f64>,
    /// What one unit of this gain cost; missing where there is none.
    #[serde(rename = "per_unit_j")]
    pub cost: Option<Energy>,
    /// True if the gain is below 2σ√2 of the trials' noise, so that the cost is a lower bound.
    pub is_noise: bool,
}

/// Whether a search found better settings.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Verdict {
    /// The interval of the difference is above 0.
    Better(Welch),
    /// The interval holds 0, or is below it.
    NotShown(Welch),
    /// There are too few runs to say, of the winner or of the default.
    NotRepeated {
        /// Runs with the winner's settings, made after it was picked.
        winner: usize,
        /// Runs with the default settings.
        default: usize,
    },
    /// No trial did better than the default.
    Default,
}

/// Runs of each that a verdict takes.
const REPEATS: usize = 3;

/// The note that says what a run is for, and that which marks the default.
const PURPOSE: &str = "purpose";
const TRIAL: &str = "trial";

impl Tuning {
    /// Looks at the runs of one search.
    ///
    /// # Errors
    /// Fewer than two trials with the metric, or trials that do not say how they differ.
    pub fn of(runs: &[History], metric: &str, direction: Direction) -> Result<Tuning> {
        let (final_runs, mut trials): (Vec<&History>, Vec<&History>) =
            runs.iter().partition(|run| note(run, PURPOSE) == Some("final"));
        trials.sort_by_key(|run| {
            let manifest = &run.summary.manifest;
            (manifest.created.clone(), manifest.run_id.clone())
        });
        let value = |run: &History| run.metric(metric).filter(|value| value.is_finite());
        if trials.iter().filter(|run| value(run).is_some()).count() < 2 {
            return Err(Error::unsupported(format!(
                "fewer than two trials have a metric `{metric}`"
            ))
            .cure("give the runs of a search, which log it"));
        }
        let settings = Settings::of(&trials);
        if settings.are_alike() {
            return Err(Error::unsupported("the trials do not say how their settings differ")
                .cure("note what was tried: `Meter::run(…).note(\"learning rate\", …)`"));
        }
        let default =
            trials.iter().position(|run| note(run, TRIAL) == Some("default")).unwrap_or(0);
        let noise = settings.noise(&trials, &value);
        let rows = rows(&trials, &settings, &value, direction, noise);
        let tried = settings.tried();
        let winner = winner(&trials[..=tried], &value, direction).unwrap_or(default);
        let all = |runs: &[&History]| runs.iter().filter_map(|run| run.energy().energy).sum();
        Ok(Tuning {
            metric: metric.to_owned(),
            direction,
            search: all(&trials),
            unknown: trials.iter().filter(|run| run.energy().energy.is_none()).count(),
            final_runs: (!final_runs.is_empty()).then(|| all(&final_runs)),
            noise,
            default: settings.name(default),
            best: settings.name(winner),
            verdict: verdict(&trials, &settings, &value, direction, default, winner)?,
            is_estimated: runs.iter().any(History::is_estimated),
            trials: rows,
        })
    }
}

/// What the runs of a search were made with.
struct Settings(Vec<BTreeMap<String, String>>);

impl Settings {
    fn of(trials: &[&History]) -> Settings {
        let of = |run: &&History| {
            let manifest = &run.summary.manifest;
            let notes = manifest
                .notes
                .iter()
                .filter(|(name, _)| !named_like(name, &SEED) && *name != PURPOSE && *name != TRIAL);
            let framework = manifest.framework.as_ref();
            let beside = [
                ("parameters", manifest.parameters.map(|count| count.to_string())),
                ("framework", framework.map(|framework| framework.name.clone())),
                ("device", framework.and_then(|framework| framework.device.clone())),
            ];
            let beside =
                beside.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
            notes.map(|(name, value)| (name.clone(), value.clone())).chain(beside).collect()
        };
        Settings(trials.iter().map(of).collect())
    }

    /// The last trial with settings that no trial before it has: with it the search is over, and the winner is picked.
    fn tried(&self) -> usize {
        let is_first = |trial: &usize| self.like(*trial).next() == Some(*trial);
        (0..self.0.len()).rev().find(is_first).unwrap_or(0)
    }

    fn are_alike(&self) -> bool {
        self.0.windows(2).all(|pair| pair[0] == pair[1])
    }

    /// The runs with the settings of one, in their order.
    fn like(&self, trial: usize) -> impl Iterator<Item = usize> {
        (0..self.0.len()).filter(move |other| self.0[*other] == self.0[trial])
    }

    /// What sets a trial apart from others.
    fn name(&self, trial: usize) -> String {
        let names: BTreeSet<&String> = self.0.iter().flat_map(BTreeMap::keys).collect();
        let of = |name: &&String| self.0[trial].get(*name).map_or("none", String::as_str);
        let vary = names
            .into_iter()
            .filter(|name| self.0.iter().any(|other| other.get(*name) != self.0[trial].get(*name)));
        vary.map(|name| format!("{name} {}", of(&name))).collect::<Vec<_>>().join(", ")
    }

    /// The standard deviation of a metric between runs of equal settings, pooled.
    fn noise(&self, trials: &[&History], value: &dyn Fn(&History) -> Option<f64>) -> Option<f64> {
        let firsts = (0..trials.len()).filter(|trial| self.like(*trial).next() == Some(*trial));
        let samples: Vec<Sample> = firsts
            .filter_map(|first| {
                let values: Vec<f64> =
                    self.like(first).filter_map(|trial| value(trials[trial])).collect();
                Sample::of(&values)
            })
            .collect();
        let degrees: f64 = samples.iter().map(|sample| exact(sample.n - 1)).sum();
        let squares: f64 = samples.iter().map(|sample| exact(sample.n - 1) * sample.variance).sum();
        (degrees > 0.0).then(|| (squares / degrees).sqrt())
    }
}

/// The place of the best trial.
fn winner(
    trials: &[&History],
    value: &dyn Fn(&History) -> Option<f64>,
    direction: Direction,
) -> Option<usize> {
    let upward = |place: &usize| value(trials[*place]).map(|value| direction.upward(value));
    (0..trials.len())
        .filter(|place| upward(place).is_some())
        .max_by(|a, b| upward(a).unwrap_or(f64::MIN).total_cmp(&upward(b).unwrap_or(f64::MIN)))
}

fn rows(
    trials: &[&History],
    settings: &Settings,
    value: &dyn Fn(&History) -> Option<f64>,
    direction: Direction,
    noise: Option<f64>,
) -> Vec<Trial> {
    let floor = noise.map(|sigma| 2.0 * sigma * 2.0_f64.sqrt());
    let mut total = Energy::ZERO;
    let mut best: Option<(f64, Energy)> = None;
    (0..trials.len())
        .map(|place| {
            let run = trials[place];
            total += run.energy().energy.unwrap_or_default();
            let gain = value(run).map(|value| {
                best.map_or(f64::INFINITY, |(before, _)| direction.gain(before, value))
            });
            let since = best.map_or(total, |(_, at)| total - at);
            let gain = gain.filter(|gain| *gain > 0.0);
            if let (Some(_), Some(value)) = (gain, value(run)) {
                best = Some((value, total));
            }
            let gain = gain.filter(|gain| gain.is_finite());
            let is_noise = gain.zip(floor).is_some_and(|(gain, floor)| gain < floor);
            let divisor = if is_noise { floor } else { gain };
            Trial {
                run_id: run.summary.manifest.run_id.clone(),
                settings: settings.name(place),
                value: value(run),
                total,
                best: best.map(|(best, _)| best),
                cost: gain.and(divisor).map(|gain| since.scaled(1.0 / gain)),
                is_noise,
            }
        })
        .collect()
}

fn verdict(
    trials: &[&History],
    settings: &Settings,
    value: &dyn Fn(&History) -> Option<f64>,
    direction: Direction,
    default: usize,
    winner: usize,
) -> Result<Verdict> {
    if settings.0[default] == settings.0[winner] {
        return Ok(Verdict::Default);
    }
    let upward = |place: usize| value(trials[place]).map(|value| direction.upward(value));
    let tried = settings.tried();
    // A seed that was seen tells nothing new; and that of the search is the one that was picked for its luck.
    let new_seeds = |places: &mut dyn Iterator<Item = usize>, after: Option<usize>| -> Vec<f64> {
        let mut seen = BTreeSet::new();
        let new = places.filter(|place| {
            let seed = seed(trials[*place]);
            seen.insert(seed.clone()) || seed.is_empty()
        });
        new.filter(|place| Some(*place) > after).filter_map(upward).collect()
    };
    let fresh = new_seeds(&mut settings.like(winner), Some(tried));
    let standing = new_seeds(&mut settings.like(default), None);
    match (Sample::of(&fresh), Sample::of(&standing)) {
        (Some(best), Some(first)) if best.n >= REPEATS && first.n >= REPEATS => {
            let difference = welch(best, first, 0.95)?;
            let is_better = difference.interval.0 > 0.0;
            Ok(if is_better { Verdict::Better(difference) } else { Verdict::NotShown(difference) })
        }
        _ => Ok(Verdict::NotRepeated { winner: fresh.len(), default: standing.len() }),
    }
}

/// What a run notes of its seed; nothing where it does not.
fn seed(run: &History) -> Vec<(&String, &String)> {
    run.summary.manifest.notes.iter().filter(|(name, _)| named_like(name, &SEED)).collect()
}

fn note<'a>(run: &'a History, name: &str) -> Option<&'a str> {
    run.summary.manifest.notes.get(name).map(|value| value.trim())
}

#[expect(clippy::cast_precision_loss, reason = "a number of trials is small")]
fn exact(n: usize) -> f64 {
    n as f64
}

/// A table of the trials that did better than all before them, and the verdict.
impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = if self.is_estimated { " (estimated by a model)" } else { "" };
        writeln!(
            f,
            "{} trials for a better {} ({}), {}{model}",
            self.trials.len(),
            self.metric,
            self.direction,
            self.search
        )?;
        writeln!(
            f,
            "{:>6} {:>12} {:>12} {:>14}  settings",
            "trial", self.metric, "search", "J/unit"
        )?;
        for (place, trial) in (1..).zip(&self.trials) {
            let (Some(value), true) = (trial.value, place == 1 || trial.cost.is_some()) else {
                continue;
            };
            let total = trial.total.to_string();
            let cost = match trial.cost {
                Some(cost) => format!("{}{cost}", if trial.is_noise { "> " } else { "" }),
                None => "—".to_owned(),
            };
            writeln!(f, "{place:>6} {value:>12.4} {total:>12} {cost:>14}  {}", trial.settings)?;
        }
        if self.unknown > 0 {
            writeln!(f, "not in it: {} trials that do not say what they used", self.unknown)?;
        }
        match self.noise {
            Some(noise) => {
                writeln!(
                    f,
                    "noise between equal trials σ = {noise:.2e}; > marks gains below 2σ√2, by their least cost"
                )?;
            }
            None => writeln!(f, "no settings were tried twice, so the noise is not known")?,
        }
        if let Some(last) = self.final_runs {
            let ratio = self.search.as_joules() / last.as_joules();
            writeln!(f, "the final run took {last}, the search {ratio:.1} times as much")?;
        }
        match &self.verdict {
            Verdict::Better(welch) => write!(
                f,
                "better by {:.4} ({:.4} to {:.4}, 95 %): {}",
                welch.difference, welch.interval.0, welch.interval.1, self.best
            ),
            Verdict::NotShown(welch) => write!(
                f,
                "the search spent {} for no shown gain: {:.4} ({:.4} to {:.4}, 95 %)",
                self.search, welch.difference, welch.interval.0, welch.interval.1
            ),
            Verdict::NotRepeated { winner, default } => write!(
                f,
                "not judged: {winner} runs of the winner after it was picked, {default} of the default; \
                 it takes {REPEATS} of each,\nwith new seeds"
            ),
            Verdict::Default => {
                write!(
                    f,
                    "no settings did better than the default; the search spent {}",
                    self.search
                )
            }
        }
    }
}
