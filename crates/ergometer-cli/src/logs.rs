//! The runs that arguments name.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use ergometer::{Error, Result, RunLog, Summary};
use ergometer_report::History;

use crate::complain;

/// Which runs are meant.
#[derive(Args, Debug)]
pub(crate) struct Runs {
    /// Directories of runs, each of one (it holds run.json) or of many.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
}

/// What could be read of the runs.
pub(crate) struct Read {
    pub(crate) summaries: Vec<Summary>,
    /// True if nothing was in the way.
    pub(crate) whole: bool,
}

/// What a log holds, and its lines that could not be understood.
pub(crate) type Reading<T> = Result<(T, Vec<Error>)>;

/// What could be read of the runs, for analysis.
pub(crate) struct Histories {
    pub(crate) histories: Vec<History>,
    /// True if nothing was in the way.
    pub(crate) whole: bool,
}

impl Runs {
    /// Reads all there is to read, and complains about the rest.
    pub(crate) fn read(&self, err: &mut dyn Write) -> Read {
        let (summaries, whole) = self.read_each(Summary::read, err);
        Read { summaries, whole }
    }

    /// Reads all there is to read for analysis, and complains about the rest.
    pub(crate) fn histories(&self, err: &mut dyn Write) -> Histories {
        let (histories, whole) = self.read_each(History::read, err);
        Histories { histories, whole }
    }

    /// Reads each rank of each run by `read`, for what makes no sums of them, and complains as [`read_each`](Runs::read_each).
    pub(crate) fn read_ranks<T>(
        &self,
        mut read: impl FnMut(&RunLog) -> Reading<T>,
        err: &mut dyn Write,
    ) -> (Vec<T>, bool) {
        let mut read_run = |log: &RunLog| {
            let ranks = log.ranks()?;
            if ranks.len() < 2 {
                return read(log).map(|(one, bad)| (vec![one], bad));
            }
            let (mut all, mut faults) = (Vec::new(), Vec::new());
            for rank in ranks {
                let (one, bad) = read(&log.of_rank(rank)?)?;
                all.push(one);
                faults.extend(bad);
            }
            Ok((all, faults))
        };
        let (runs, whole) = self.read_each(&mut read_run, err);
        (runs.into_iter().flatten().collect(), whole)
    }

    /// Reads each run by `read`, and complains about what is in the way; true if nothing was.
    pub(crate) fn read_each<T>(
        &self,
        mut read: impl FnMut(&RunLog) -> Reading<T>,
        err: &mut dyn Write,
    ) -> (Vec<T>, bool) {
        let (mut runs, mut faults) = (Vec::new(), Vec::new());
        let mut seen: BTreeMap<String, PathBuf> = BTreeMap::new();
        for path in &self.runs {
            let directories = RunLog::find(path).unwrap_or_else(|error| {
                faults.push(error);
                Vec::new()
            });
            for directory in directories {
                let log = match RunLog::open(directory) {
                    Ok(log) => log,
                    Err(error) => {
                        faults.push(error);
                        continue;
                    }
                };
                // A run that counts twice doubles sums, and makes intervals narrower than they are.
                let place = fs::canonicalize(log.directory()).unwrap_or_default();
                match seen.entry(log.manifest.run_id.clone()) {
                    Entry::Occupied(first) if *first.get() == place => continue,
                    Entry::Occupied(first) => {
                        faults.push(twice(&log, first.get()));
                        continue;
                    }
                    Entry::Vacant(first) => first.insert(place),
                };
                match read(&log) {
                    Ok((run, bad)) => {
                        runs.push(run);
                        faults.extend(bad.into_iter().map(cured));
                    }
                    Err(error) => faults.push(error),
                }
            }
        }
        for fault in &faults {
            complain(err, fault);
        }
        (runs, faults.is_empty())
    }
}

/// The error of a run that is there in two places.
fn twice(log: &RunLog, first: &Path) -> Error {
    let (copy, id) = (log.directory().display(), &log.manifest.run_id);
    Error::invalid(format!("`{copy}` is the run `{id}` of `{}` once more", first.display()))
        .cure("the first is counted, and this one left out; remove the copy")
}

/// A bad line's error with what can be done about it.
fn cured(error: Error) -> Error {
    match error.remedy() {
        Some(_) => error,
        None => error.cure("the other lines are read; remove this one to be rid of the message"),
    }
}
