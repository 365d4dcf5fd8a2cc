//! The runs that arguments name.

use std::io::Write;
use std::path::PathBuf;

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
        let (mut summaries, mut faults) = (Vec::new(), Vec::new());
        for path in &self.runs {
            let directories = RunLog::find(path).unwrap_or_else(|error| {
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

/// A bad line's error with what can be done about it.
fn cured(error: Error) -> Error {
    match error.remedy() {
        Some(_) => error,
        None => error.cure("the other lines are read; remove this one to be rid of the message"),
    }
}
