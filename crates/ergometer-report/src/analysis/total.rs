//! [`Total`]: what a whole project used, with every run that went into it.

mod table;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ergometer::record::State;
use ergometer::{Energy, Error, Result};
use serde::Serialize;

use crate::analysis::{maybe_seconds, seconds};
use crate::footprint::development_multiplier;

/// What a whole project used: every run of a directory tree, those that crashed included.
///
/// A run that was killed before its first window counts with what its lines of progress say, and one without these is
/// named: what it used is not known. The factor of research and development is all energy over that of the final runs. For
/// comparison: BLOOM 2.7 (Luccioni et al. 2023), a tuned parser some 2,000 (LISA; Strubell et al. 2019).
#[derive(Clone, Debug, Serialize)]
pub struct Total {
    /// The directory.
    pub directory: PathBuf,
    /// All runs that could be read, oldest first.
    pub runs: Vec<Counted>,
    /// Their energy.
    #[serde(rename = "energy_j")]
    pub energy: Energy,
    /// Its standard uncertainty (k = 1), as if all sensors erred alike; missing where one's is.
    #[serde(rename = "u_j")]
    pub uncertainty: Option<Energy>,
    /// Their time.
    #[serde(rename = "duration_s", serialize_with = "seconds")]
    pub time: Duration,
    /// The part of the energy that sensors measured.
    #[serde(rename = "measured_j")]
    pub measured: Energy,
    /// The part that models estimated.
    #[serde(rename = "estimated_j")]
    pub estimated: Energy,
    /// By what the runs were for, as their note `purpose` says.
    pub purposes: BTreeMap<String, Part>,
    /// By how they ended.
    pub states: BTreeMap<String, Part>,
    /// By the month in which they began.
    pub months: BTreeMap<String, Part>,
    /// The final runs, and how many times as much the whole took; missing where no run is said to be final.
    pub final_runs: Option<FinalRuns>,
    /// Time of training that was not measured, as declared by hand; in none of the sums.
    #[serde(rename = "unmeasured_s", serialize_with = "maybe_seconds")]
    pub unmeasured: Option<Duration>,
    /// Runs and lines that could not be read, and copies, which are not counted again.
    pub left_out: Vec<LeftOut>,
}

/// One run of a project.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Counted {
    /// Its id.
    pub run_id: String,
    /// Its name.
    pub name: String,
    /// Its directory.
    pub directory: PathBuf,
    /// What it was for; missing where it does not say.
    pub purpose: Option<String>,
    /// How it ended.
    pub state: State,
    /// When it began, RFC 3339 in UTC.
    pub created: String,
    /// What it used; missing where its log does not say.
    #[serde(rename = "energy_j")]
    pub energy: Option<Energy>,
    /// Its standard uncertainty (k = 1).
    #[serde(rename = "u_j")]
    pub uncertainty: Option<Energy>,
    /// The part of it that models estimated.
    #[serde(rename = "estimated_j")]
    pub estimated: Energy,
    /// How long it ran.
    #[serde(rename = "duration_s", serialize_with = "seconds")]
    pub time: Duration,
}

/// What some runs of a project came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Part {
    /// How many.
    pub runs: usize,
    /// How many of them do not say what they used.
    pub unknown: usize,
    /// The energy of the others.
    #[serde(rename = "energy_j")]
    pub energy: Energy,
    /// The time of all.
    #[serde(rename = "duration_s", serialize_with = "seconds")]
    pub time: Duration,
}

/// The runs that a project was for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FinalRuns {
    /// Their names.
    pub names: BTreeSet<String>,
    /// How many there are.
    pub runs: usize,
    /// How many of them do not say what they used.
    pub unknown: usize,
    /// The energy of the others.
    #[serde(rename = "energy_j")]
    pub energy: Energy,
    /// The energy of all runs over theirs.
    pub factor: f64,
}

/// What is not in the sums: a run, or a line of its log.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LeftOut {
    /// The run's directory.
    pub directory: PathBuf,
    /// Why, with the place.
    pub reason: String,
}

/// What a project says of itself beside its logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared {
    /// The name or id of the final run, or runs; without it, those count whose note `purpose` is `final`.
    pub final_run: Option<String>,
    /// How long was trained without a measurement.
    pub unmeasured: Option<Duration>,
}

impl Total {
    /// Adds up the runs in a directory and in all directories below it; links are not followed, and a directory below it that
    /// cannot be read is left out.
    ///
    /// # Errors
    /// A directory that cannot be read itself or holds no run, and a final run that is not there or of which nothing is known.
    pub fn of(directory: impl AsRef<Path>, declared: &Declared) -> Result<Total> {
        let directory = directory.as_ref();
        let (found, mut left_out) = tree::runs_below(directory)?;
        if found.is_empty() {
            return Err(Error::absent(format!(
                "there is no run in or below `{}`",
                directory.display()
            ))
            .cure("give the directory that a project's runs are logged in"));
        }
        let mut runs = Vec::new();
        let mut known = BTreeSet::new();
        for directory in found {
            let reasons = match tree::count(&directory) {
                Ok((run, _)) if !known.insert(run.run_id.clone()) => {
                    vec![format!("`{}`: a copy of `{}`", directory.display(), run.run_id)]
                }
                Ok((run, bad)) => {
                    runs.push(run);
                    bad.into_iter().map(|error| error.to_string()).collect()
                }
                Err(error) => vec![error.to_string()],
            };
            left_out.extend(
                reasons.into_iter().map(|reason| LeftOut { directory: directory.clone(), reason }),
            );
        }
        runs.sort_by(|a: &Counted, b: &Counted| {
            (&a.created, &a.run_id).cmp(&(&b.created, &b.run_id))
        });
        let energy = runs.iter().filter_map(|run| run.energy).sum();
        let estimated = runs.iter().map(|run| run.estimated).sum();
        Ok(Total {
            directory: directory.to_owned(),
            energy,
            uncertainty: runs
                .iter()
                .filter(|run| run.energy.is_some())
                .map(|run| run.uncertainty)
                .sum(),
            time: runs.iter().map(|run| run.time).sum(),
            measured: energy - estimated,
            estimated,
            purposes: parts(&runs, |run| run.purpose.clone().unwrap_or("not said".to_owned())),
            states: parts(&runs, |run| ending(run.state).to_owned()),
            months: parts(&runs, |run| run.created.chars().take(7).collect()),
            final_runs: final_runs(&runs, energy, declared.final_run.as_deref())?,
            unmeasured: declared.unmeasured,
            left_out,
            runs,
        })
    }

    /// False if no run says what it used, so that the sums are of nothing.
    pub fn is_known(&self) -> bool {
        self.runs.iter().any(|run| run.energy.is_some())
    }

    /// Runs whose energy is not known.
    pub fn unknown(&self) -> impl Iterator<Item = &Counted> {
        self.runs.iter().filter(|run| run.energy.is_none())
    }
}

fn parts(runs: &[Counted], of: impl Fn(&Counted) -> String) -> BTreeMap<String, Part> {
    let mut parts: BTreeMap<String, Part> = BTreeMap::new();
    for run in runs {
        let part = parts.entry(of(run)).or_default();
        part.runs += 1;
        part.unknown += usize::from(run.energy.is_none());
        part.energy += run.energy.unwrap_or_default();
        part.time += run.time;
    }
    parts
}

fn final_runs(runs: &[Counted], all: Energy, name: Option<&str>) -> Result<Option<FinalRuns>> {
    let is_final = |run: &&Counted| match name {
        Some(name) => run.name == name || run.run_id == name,
        None => run.purpose.as_deref() == Some("final"),
    };
    let found: Vec<&Counted> = runs.iter().filter(is_final).collect();
    if found.is_empty() {
        return match name {
            None => Ok(None),
            Some(name) => {
                let names: BTreeSet<&str> = runs.iter().map(|run| run.name.as_str()).collect();
                let names: Vec<&str> = names.into_iter().take(10).collect();
                Err(Error::invalid(format!("no run is called `{name}`"))
                    .cure(format!("give a run's name or id; there are: {}", names.join(", "))))
            }
        };
    }
    let energy: Energy = found.iter().filter_map(|run| run.energy).sum();
    Ok(Some(FinalRuns {
        names: found.iter().map(|run| run.name.clone()).collect(),
        runs: found.len(),
        unknown: found.iter().filter(|run| run.energy.is_none()).count(),
        energy,
        factor: development_multiplier(all, energy).map_err(|_| {
            Error::unsupported("the final run does not say what it used").cure("name another")
        })?,
    }))
}

/// How a run ended, in words.
fn ending(state: State) -> &'static str {
    match state {
        State::Complete => "complete",
        State::Running => "running or killed",
        State::Dropped => "left early",
        State::Panicked => "panicked",
        State::Stopped => "stopped by a budget",
    }
}
