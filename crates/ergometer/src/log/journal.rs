//! The writing end of a run directory.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::{lines_of, manifest_of};
use crate::error::{self, Error, Result};
use crate::record::Manifest;
use crate::units::Timestamp;

/// The writing end of a run directory.
///
/// When the disk fails, lines are kept in memory up to [`KEPT`] and written when it works again; beyond that, steps are
/// left out first, and counted.
#[derive(Debug)]
pub(crate) struct Journal {
    directory: PathBuf,
    rank: u32,
    file: Option<File>,
    kept: VecDeque<String>,
    kept_bytes: usize,
    /// Lines left out because neither disk nor memory took them.
    left_out: u64,
    fault: Option<Error>,
    retry: Timestamp,
    buffer: String,
}

/// Bytes of lines that are kept in memory while the disk does not take them.
pub(crate) const KEPT: usize = 16 << 20;

/// How long to wait before the disk is tried again.
const RETRY: Duration = Duration::from_secs(5);

impl Journal {
    /// The directory of a new run, made unless the disk refuses.
    pub(crate) fn new(directory: PathBuf, rank: u32) -> Journal {
        Journal {
            directory,
            rank,
            file: None,
            kept: VecDeque::new(),
            kept_bytes: 0,
            left_out: 0,
            fault: None,
            retry: Timestamp::default(),
            buffer: String::new(),
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Replaces the manifest in one move.
    pub(crate) fn write_manifest(&mut self, manifest: &Manifest) {
        let written = self.open().and_then(|()| {
            let name = manifest_of(self.rank);
            let (path, draft) =
                (self.directory.join(&name), self.directory.join(format!(".{name}")));
            let text = serde_json::to_string_pretty(manifest).unwrap_or_default() + "\n";
            fs::write(&draft, text).map_err(|error| Error::file("write", &draft, error))?;
            fs::rename(&draft, &path).map_err(|error| Error::file("write", &path, error))
        });
        if let Err(error) = written {
            self.fail(error);
        }
    }

    /// Puts a line behind the others; it reaches the disk with [`flush`](Self::flush).
    /// False if neither disk nor memory takes it.
    pub(crate) fn append(&mut self, line: &impl Serialize, step: bool) -> bool {
        let Ok(mut text) = serde_json::to_string(line) else { return false };
        text.push('\n');
        // Many steps can be settled at once: only a disk that failed leaves lines in memory.
        if self.kept_bytes + text.len() > KEPT
            && self.fault.is_none()
            && let Err(error) = self.try_flush()
        {
            self.fail(error);
        }
        if step && self.kept_bytes + text.len() > KEPT {
            self.left_out += 1;
            return false;
        }
        self.kept_bytes += text.len();
        self.kept.push_back(text);
        true
    }

    /// Writes the lines that wait, whole, in as few writes as there are chunks of 64 KB.
    pub(crate) fn flush(&mut self, now: Timestamp, force: bool) {
        if self.kept.is_empty() || (self.fault.is_some() && !force && now < self.retry) {
            return;
        }
        self.retry = now + RETRY;
        if let Err(error) = self.try_flush() {
            self.fail(error);
        } else {
            self.fault = None;
        }
    }

    fn try_flush(&mut self) -> Result<()> {
        self.open()?;
        let path = lines_of(&self.directory, self.rank);
        while !self.kept.is_empty() {
            self.buffer.clear();
            let mut lines = 0;
            for line in &self.kept {
                if lines > 0 && self.buffer.len() + line.len() > CHUNK {
                    break;
                }
                self.buffer.push_str(line);
                lines += 1;
            }
            let Some(file) = &mut self.file else { break };
            let whole = file.metadata().map(|metadata| metadata.len());
            if let Err(error) = file.write_all(self.buffer.as_bytes()) {
                // What a full disk took of the chunk is taken back, so that no torn line stays in the middle.
                if let Ok(whole) = whole {
                    let _ = file.set_len(whole);
                }
                self.file = None;
                return Err(Error::file("write", &path, error));
            }
            for line in self.kept.drain(..lines) {
                self.kept_bytes -= line.len();
            }
        }
        Ok(())
    }

    fn open(&mut self) -> Result<()> {
        if self.file.is_none() {
            fs::create_dir_all(&self.directory)
                .map_err(|error| Error::file("create", &self.directory, error))?;
            let path = lines_of(&self.directory, self.rank);
            let file = OpenOptions::new().append(true).create(true).open(&path);
            self.file = Some(file.map_err(|error| Error::file("write", &path, error))?);
        }
        Ok(())
    }

    fn fail(&mut self, error: Error) {
        if self.fault.is_none() {
            log::warn!(
                "ergometer: {error}; the training goes on, and the log is kept in memory meanwhile"
            );
        }
        self.fault = Some(error);
    }

    /// Why lines are missing on disk, if any are.
    pub(crate) fn into_fault(self) -> Option<Error> {
        let waiting = self.kept.len();
        match (self.fault, self.left_out) {
            (Some(error), left_out) => {
                let text = format!(
                    "{}; {waiting} lines of the log were kept in memory and {left_out} left out",
                    error.what()
                );
                Some(
                    Error::new(error::Kind::File, text)
                        .cure("start the run with another directory: `.directory(…)`")
                        .caused_by(error),
                )
            }
            (None, 0) => None,
            (None, left_out) => Some(Error::new(
                error::Kind::File,
                format!("{left_out} steps were left out of the log while the disk did not take it"),
            )),
        }
    }
}

/// A write of this size is one call to the system.
const CHUNK: usize = 64 << 10;
