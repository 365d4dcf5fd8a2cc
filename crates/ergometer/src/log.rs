//! The run directory: `run.json` and `rank-00000.jsonl`, written, read back and resumed.
//!
//! The log is append-only. A line is one object and is written whole, so that a process that is killed leaves at most
//! its last line torn; a reader drops that one, and reports every other bad line by its place.

mod journal;
mod past;
mod step;

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::record::{Event, FORMAT_VERSION, Kind, Manifest, Record, Start};

pub(crate) use journal::Journal;
pub(crate) use past::Past;
pub use step::Step;

/// The manifest's file name.
const MANIFEST: &str = "run.json";

/// The log of one rank within a run directory.
fn lines_of(directory: &Path, rank: u32) -> PathBuf {
    directory.join(format!("rank-{rank:05}.jsonl"))
}

/// The rank that a log is of, by its name.
fn rank_of(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.strip_prefix("rank-")?.strip_suffix(".jsonl")?.parse().ok()
}

/// The file name of a rank's manifest: each has sensors of its own.
fn manifest_of(rank: u32) -> String {
    match rank {
        0 => MANIFEST.to_owned(),
        rank => format!("rank-{rank:05}.json"),
    }
}

/// One line of a log.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// A session began.
    Start(Start),
    /// A window closed.
    Window(Box<Record>),
    /// Something happened.
    Event(Event),
}

impl Line {
    /// Understands one line.
    ///
    /// # Errors
    /// If it is not a line of this format; the text says what is wrong, not where.
    pub fn parse(text: &str) -> Result<Line> {
        match &*kind_of(text)? {
            "run" => {
                let start: Start = serde_json::from_str(text).map_err(wrong)?;
                if start.version > FORMAT_VERSION {
                    return Err(Error::invalid(format!(
                        "format version {} is newer than {FORMAT_VERSION}",
                        start.version
                    ))
                    .cure("update ergometer"));
                }
                Ok(Line::Start(start))
            }
            "event" => Ok(Line::Event(serde_json::from_str(text).map_err(wrong)?)),
            "step" | "epoch" | "phase" | "end" => {
                Ok(Line::Window(serde_json::from_str(text).map_err(wrong)?))
            }
            other => Err(Error::invalid(format!("unknown kind `{other}`"))),
        }
    }
}

/// What is met on the way through a log by [`RunLog::scan`].
#[derive(Debug)]
pub enum Entry<'a> {
    /// A step, without its domains, and its line.
    Step(Step, Raw<'a>),
    /// Any other line.
    Line(Line),
    /// A line that cannot be understood, with its place.
    Bad(Error),
}

impl<'a> Entry<'a> {
    fn of(raw: Raw<'a>) -> Result<Entry<'a>> {
        let text = raw.text;
        if text.starts_with(r#"{"kind":"step","#) || kind_of(text)? == "step" {
            Ok(Entry::Step(serde_json::from_str(text).map_err(wrong)?, raw))
        } else {
            Line::parse(text).map(Entry::Line)
        }
    }
}

/// A line as it stands in a log.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    text: &'a str,
    lines: &'a Lines,
}

impl<'a> Raw<'a> {
    /// Its text, without the line's end.
    pub fn text(self) -> &'a str {
        self.text
    }

    /// Understands it whole.
    ///
    /// # Errors
    /// As [`Line::parse`]; the text says where.
    pub fn parse(self) -> Result<Line> {
        Line::parse(self.text).map_err(|error| self.lines.at(error))
    }
}

fn kind_of(text: &str) -> Result<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Peek<'a> {
        #[serde(borrow)]
        kind: Cow<'a, str>,
    }
    serde_json::from_str::<Peek<'_>>(text).map(|peek| peek.kind).map_err(wrong)
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that `map_err` asks for")]
fn wrong(error: serde_json::Error) -> Error {
    // It is a line of its own here: which line of the log it is, who reads it says.
    let text = error.to_string();
    let (what, column) = (text.split(" at line ").next().unwrap_or(&text), error.column());
    Error::invalid(format!("{what}, at column {column}"))
}

/// A run that was logged: its manifest, and its lines one by one.
#[derive(Clone, Debug)]
pub struct RunLog {
    directory: PathBuf,
    /// The rank whose log is meant; `None` for all of them.
    rank: Option<u32>,
    /// The manifest.
    pub manifest: Manifest,
}

impl RunLog {
    /// Opens a run directory.
    ///
    /// # Errors
    /// If there is no readable manifest in it.
    pub fn open(directory: impl Into<PathBuf>) -> Result<RunLog> {
        RunLog::of(directory.into(), MANIFEST, None)
    }

    /// What one rank wrote, with the manifest of that rank.
    ///
    /// # Errors
    /// If that rank has no readable manifest there.
    pub fn of_rank(&self, rank: u32) -> Result<RunLog> {
        RunLog::of(self.directory.clone(), &manifest_of(rank), Some(rank))
    }

    fn of(directory: PathBuf, manifest: &str, rank: Option<u32>) -> Result<RunLog> {
        let path = directory.join(manifest);
        let text = fs::read_to_string(&path).map_err(|error| {
            Error::file("read", &path, error)
                .cure("give the directory of one run, which holds run.json")
        })?;
        let manifest: Manifest = serde_json::from_str(&text)
            .map_err(|error| Error::invalid(format!("`{}`: {error}", path.display())))?;
        if manifest.version > FORMAT_VERSION {
            let text = format!(
                "`{}`: format version {} is newer than {FORMAT_VERSION}",
                path.display(),
                manifest.version
            );
            return Err(Error::invalid(text).cure("update ergometer"));
        }
        Ok(RunLog { directory, rank, manifest })
    }

    /// The run directories in `directory`, oldest first; or the one that it is.
    ///
    /// # Errors
    /// If the directory cannot be read, or holds no run.
    pub fn find(directory: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
        let directory = directory.as_ref();
        let is_run = |path: &PathBuf| path.join(MANIFEST).exists();
        if is_run(&directory.to_owned()) {
            return Ok(vec![directory.to_owned()]);
        }
        let entries =
            fs::read_dir(directory).map_err(|error| Error::file("read", directory, error))?;
        let mut runs: Vec<_> =
            entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_run).collect();
        runs.sort();
        if runs.is_empty() {
            return Err(Error::absent(format!("there is no run in `{}`", directory.display()))
                .cure("give directories that hold run.json, or the directory that they are in"));
        }
        Ok(runs)
    }

    /// The run's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The lines of all ranks, each with its place on error. Reads as it goes, in constant memory.
    ///
    /// A torn last line is not a line. Every other line that cannot be understood is an `Err` that names file and line
    /// number; reading goes on behind it.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn lines(&self) -> Result<impl Iterator<Item = Result<Line>> + use<>> {
        Ok(self.files()?.into_iter().flat_map(|path| match Lines::open(&path) {
            Ok(lines) => Box::new(lines) as Box<dyn Iterator<Item = Result<Line>>>,
            Err(error) => Box::new(std::iter::once(Err(error))),
        }))
    }

    /// Shows `visit` each line of all ranks, steps without their domains: several times as fast as [`lines`](RunLog::lines),
    /// and in constant memory as well.
    ///
    /// # Errors
    /// If the directory or a log in it cannot be read.
    pub fn scan(&self, mut visit: impl FnMut(Entry<'_>)) -> Result<()> {
        for path in self.files()? {
            let mut lines = Lines::open(&path)?;
            while lines.advance()? {
                let raw = lines.text().map(|text| Raw { text, lines: &lines });
                let entry = raw.and_then(Entry::of);
                visit(entry.unwrap_or_else(|error| Entry::Bad(lines.at(error))));
            }
        }
        Ok(())
    }

    /// The ranks that have written a log, in their order.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn ranks(&self) -> Result<Vec<u32>> {
        Ok(self.files()?.iter().filter_map(|path| rank_of(path)).collect())
    }

    fn files(&self) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.directory)
            .map_err(|error| Error::file("read", &self.directory, error))?;
        let mut files: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                rank_of(path).is_some_and(|rank| self.rank.is_none_or(|meant| meant == rank))
            })
            .collect();
        files.sort_by_key(|path| rank_of(path));
        Ok(files)
    }

    /// The windows of one kind, in the log's order; lines that cannot be understood are errors here too.
    ///
    /// # Errors
    /// If the log cannot be read, or a line in it cannot be understood.
    pub fn windows(&self, kind: Kind) -> Result<Vec<Record>> {
        let mut windows = Vec::new();
        for line in self.lines()? {
            if let Line::Window(record) = line?
                && record.kind == kind
            {
                windows.push(*record);
            }
        }
        Ok(windows)
    }
}

/// Bytes that are read at once.
const BUFFER: usize = 1 << 16;

/// The whole lines of one file.
#[derive(Debug)]
struct Lines {
    path: PathBuf,
    file: BufReader<File>,
    number: usize,
    /// Behind the last whole line.
    offset: u64,
    text: Vec<u8>,
}

impl Lines {
    fn open(path: &Path) -> Result<Lines> {
        let file = File::open(path).map_err(|error| Error::file("read", path, error))?;
        Ok(Lines {
            path: path.to_owned(),
            file: BufReader::with_capacity(BUFFER, file),
            number: 0,
            offset: 0,
            text: Vec::new(),
        })
    }
}

impl Lines {
    /// Goes on to the next whole line; false if there is none.
    fn advance(&mut self) -> Result<bool> {
        loop {
            self.text.clear();
            self.number += 1;
            match self.file.read_until(b'\n', &mut self.text) {
                Ok(0) => return Ok(false),
                Ok(_) if self.text.last() != Some(&b'\n') => return Ok(false),
                Ok(read) => self.offset += read as u64,
                Err(error) => return Err(Error::file("read", &self.path, error)),
            }
            if !self.text.iter().all(u8::is_ascii_whitespace) {
                return Ok(true);
            }
        }
    }

    fn text(&self) -> Result<&str> {
        let text =
            std::str::from_utf8(&self.text).map_err(|error| Error::invalid(error.to_string()))?;
        Ok(text.trim_end())
    }

    fn at(&self, error: Error) -> Error {
        error.at(format_args!("`{}` line {}", self.path.display(), self.number))
    }
}

impl Iterator for Lines {
    type Item = Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.advance() {
            Ok(true) => Some(self.text().and_then(Line::parse).map_err(|error| self.at(error))),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }
}
