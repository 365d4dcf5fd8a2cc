//! The runs that arguments name.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use ergometer::{Error, Result, RunLog, Summary};

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

impl Runs {
    /// Reads all there is to read, and complains about the rest.
    pub(crate) fn read(&self, err: &mut dyn Write) -> Read {
        let (mut summaries, mut faults) = (Vec::new(), Vec::new());
        for path in &self.runs {
            let directories = directories(path).unwrap_or_else(|error| {
                faults.push(error);
                Vec::new()
            });
            for directory in directories {
                match RunLog::open(directory).and_then(|log| Summary::read(&log)) {
                    Ok((summary, bad)) => {
                        summaries.push(summary);
                        faults.extend(bad.into_iter().map(cured));
                    }
                    Err(error) => faults.push(error),
                }
            }
        }
        for fault in &faults {
            complain(err, fault);
        }
        Read { summaries, whole: faults.is_empty() }
    }
}

/// The run directories in `path`, by name and so by age; or the one that it is.
fn directories(path: &Path) -> Result<Vec<PathBuf>> {
    let is_run = |path: &PathBuf| path.join("run.json").exists();
    if is_run(&path.to_owned()) {
        return Ok(vec![path.to_owned()]);
    }
    let entries = path.read_dir().map_err(|cause| Error::file("read", path, cause))?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut directories: Vec<_> = paths.filter(is_run).collect();
    directories.sort();
    if directories.is_empty() {
        return Err(Error::absent(format!("there is no run in `{}`", path.display()))
            .cure("give directories that hold run.json, or the directory that they are in"));
    }
    Ok(directories)
}

/// A bad line's error with what can be done about it.
fn cured(error: Error) -> Error {
    match error.remedy() {
        Some(_) => error,
        None => error.cure("the other lines are read; remove this one to be rid of the message"),
    }
}
