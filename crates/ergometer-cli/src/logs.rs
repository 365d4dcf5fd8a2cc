//! The runs that arguments name.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use ergometer::{Error, RunLog, Summary};

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
        let mut read = Read { summaries: Vec::new(), whole: true };
        for path in &self.runs {
            let summaries = directories(path).and_then(|directories| {
                if directories.is_empty() {
                    return Err(Error::absent(format!("there is no run in `{}`", path.display()))
                        .cure("give directories that hold run.json, or the directory that they are in"));
                }
                Ok(directories)
            });
            let mut failed = |error: &Error| {
                read.whole = false;
                complain(err, error);
            };
            for directory in summaries.unwrap_or_else(|error| {
                failed(&error);
                Vec::new()
            }) {
                match RunLog::open(directory).and_then(|log| Summary::read(&log)) {
                    Ok((summary, bad)) => {
                        bad.iter().for_each(&mut failed);
                        read.summaries.push(summary);
                    }
                    Err(error) => failed(&error),
                }
            }
        }
        read
    }
}

/// The run directories in `path`, by name and so by age; or the one that it is.
fn directories(path: &Path) -> ergometer::Result<Vec<PathBuf>> {
    let is_run = |path: &Path| path.join("run.json").exists();
    if is_run(path) {
        return Ok(vec![path.to_owned()]);
    }
    let entries = path.read_dir().map_err(|cause| Error::file("read", path, cause))?;
    let mut directories: Vec<_> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_run(path)).collect();
    directories.sort();
    Ok(directories)
}
