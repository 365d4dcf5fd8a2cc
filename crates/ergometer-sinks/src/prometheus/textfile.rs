//! [`Textfile`]: the node exporter's textfile collector reads a file.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ergometer::{Error, Result};

use super::text;
use crate::courier::{Courier, Delivery, Failure};
use crate::push::{Deliver, Push, push};
use crate::tally::Tally;

/// Writes what the run has used so far into a file, for the textfile collector of Prometheus's node exporter.
///
/// The file is written whole beside its place, and renamed, so that no reader sees half of it. It is written every 10 s of the run,
/// and at its end; it stays behind, and the node exporter goes on to tell of it until somebody deletes it. With several
/// processes, each needs a file of its own.
#[derive(Debug)]
pub struct Textfile {
    path: PathBuf,
    push: Push,
}

const EVERY: Duration = Duration::from_secs(10);

impl Textfile {
    /// Writes into this file, in the directory that `--collector.textfile.directory` names.
    ///
    /// # Errors
    /// If the name does not end in `.prom`, without which the node exporter does not read it.
    pub fn new(path: impl Into<PathBuf>) -> Result<Textfile> {
        let path = path.into();
        if path.extension().is_none_or(|extension| extension != "prom") {
            let what = format!("the node exporter would not read `{}`", path.display());
            return Err(Error::invalid(what).cure("end the name in .prom"));
        }
        let push = Push::new(Courier::newest(format!("textfile `{}`", path.display())), EVERY);
        Ok(Textfile { path, push })
    }

    /// Writes so often, by the run's clock.
    #[must_use]
    pub fn every(mut self, time: Duration) -> Textfile {
        self.push.every = time;
        self
    }

    /// A handle to wait for the last write with, and to see what was lost.
    pub fn delivery(&self) -> Delivery {
        self.push.delivery()
    }

    /// Writes the text of some runs into such a file, whole.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write<'a>(path: &Path, tallies: impl IntoIterator<Item = &'a Tally>) -> Result<()> {
        // Not ending in .prom, so that it is no textfile itself.
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}", std::process::id()));
        let beside = path.with_file_name(name);
        let write = || {
            // A process of this number may have left one; a link that somebody put there is not followed.
            let _ = fs::remove_file(&beside);
            let mut file = OpenOptions::new().write(true).create_new(true).open(&beside)?;
            file.write_all(text(tallies).as_bytes())?;
            fs::rename(&beside, path)
        };
        write().map_err(|error| {
            // Nothing more can be done about what is left of it.
            let _ = fs::remove_file(&beside);
            Error::file("write", path, error)
        })
    }

    fn deliver(&self) -> Arc<Deliver> {
        let path = self.path.clone();
        Arc::new(move |tally| {
            Textfile::write(&path, [tally]).map_err(|error| Failure::Later(error, None))
        })
    }
}

push!(Textfile, "prometheus-textfile");
