//! The run directory: `run.json` and `rank-00000.jsonl`, written, read back and resumed.
//!
//! The log is append-only. A line is one object and is written whole, so that a process that is killed leaves at most
//! its last line torn; a reader drops that one, and reports every other bad line by its place.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{self, Error, Result};
use crate::record::{Event, FORMAT_VERSION, Kind, Manifest, Quality, Record, Start, Status};
use crate::summary::EpochSum;
use crate::units::{Energy, Timestamp};

/// The manifest's file name.
const MANIFEST: &str = "run.json";

/// The log of one rank within a run directory.
fn lines_of(directory: &Path, rank: u32) -> PathBuf {
    directory.join(format!("rank-{rank:05}.jsonl"))
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
        #[derive(Deserialize)]
        struct Peek<'a> {
            #[serde(borrow)]
            kind: std::borrow::Cow<'a, str>,
        }
        let wrong = |error: serde_json::Error| Error::invalid(error.to_string());
        match &*serde_json::from_str::<Peek<'_>>(text).map_err(wrong)?.kind {
            "run" => {
                let start: Start = serde_json::from_str(text).map_err(wrong)?;
                if start.version > FORMAT_VERSION {
                    return Err(Error::invalid(format!("format version {} is newer than {FORMAT_VERSION}", start.version))
                        .cure("update ergometer"));
                }
                Ok(Line::Start(start))
            }
            "event" => Ok(Line::Event(serde_json::from_str(text).map_err(wrong)?)),
            "step" | "epoch" | "phase" | "end" => Ok(Line::Window(serde_json::from_str(text).map_err(wrong)?)),
            other => Err(Error::invalid(format!("unknown kind `{other}`"))),
        }
    }
}

/// A run that was logged: its manifest, and its lines one by one.
#[derive(Clone, Debug)]
pub struct RunLog {
    directory: PathBuf,
    /// The manifest.
    pub manifest: Manifest,
}

impl RunLog {
    /// Opens a run directory.
    ///
    /// # Errors
    /// If there is no readable manifest in it.
    pub fn open(directory: impl Into<PathBuf>) -> Result<RunLog> {
        let directory = directory.into();
        let path = directory.join(MANIFEST);
        let text = fs::read_to_string(&path)
            .map_err(|error| Error::file("read", &path, error).cure("give the directory of one run, which holds run.json"))?;
        let manifest: Manifest =
            serde_json::from_str(&text).map_err(|error| Error::invalid(format!("`{}`: {error}", path.display())))?;
        if manifest.version > FORMAT_VERSION {
            let text = format!("`{}`: format version {} is newer than {FORMAT_VERSION}", path.display(), manifest.version);
            return Err(Error::invalid(text).cure("update ergometer"));
        }
        Ok(RunLog { directory, manifest })
    }

    /// All runs in `directory`, oldest first; or the one that it is.
    ///
    /// # Errors
    /// If the directory cannot be read, or a manifest in it.
    pub fn all(directory: impl AsRef<Path>) -> Result<Vec<RunLog>> {
        let directory = directory.as_ref();
        if directory.join(MANIFEST).exists() {
            return Ok(vec![RunLog::open(directory)?]);
        }
        let entries = fs::read_dir(directory).map_err(|error| Error::file("read", directory, error))?;
        let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.sort();
        paths.into_iter().filter(|path| path.join(MANIFEST).exists()).map(RunLog::open).collect()
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
        let entries = fs::read_dir(&self.directory).map_err(|error| Error::file("read", &self.directory, error))?;
        let mut files: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                name.starts_with("rank-") && name.ends_with(".jsonl")
            })
            .collect();
        files.sort();
        Ok(files.into_iter().flat_map(|path| match Lines::open(&path) {
            Ok(lines) => Box::new(lines) as Box<dyn Iterator<Item = Result<Line>>>,
            Err(error) => Box::new(std::iter::once(Err(error))),
        }))
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

/// The whole lines of one file.
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
        Ok(Lines { path: path.to_owned(), file: BufReader::new(file), number: 0, offset: 0, text: Vec::new() })
    }
}

impl Iterator for Lines {
    type Item = Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            self.text.clear();
            self.number += 1;
            match self.file.read_until(b'\n', &mut self.text) {
                Ok(0) => return None,
                Ok(_) if self.text.last() != Some(&b'\n') => return None,
                Ok(read) => self.offset += read as u64,
                Err(error) => return Some(Err(Error::file("read", &self.path, error))),
            }
            if self.text.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let line = std::str::from_utf8(&self.text)
                .map_err(|error| Error::invalid(error.to_string()))
                .and_then(|text| Line::parse(text.trim_end()))
                .map_err(|error| {
                    Error::invalid(format!("`{}` line {}: {}", self.path.display(), self.number, error.what()))
                        .caused_by(error)
                });
            return Some(line);
        }
    }
}

/// What a log holds of the sessions before, for a run that goes on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past {
    /// Sessions so far.
    pub(crate) sessions: u32,
    /// The run's energy at the last line, and each domain's.
    pub(crate) total: Energy,
    pub(crate) domains: BTreeMap<String, Energy>,
    /// Time within the sessions, each up to its last line.
    pub(crate) duration: Duration,
    /// The first session's start.
    pub(crate) first: Option<Start>,
    /// The last step's number in each lane, and the steps in all.
    pub(crate) steps: BTreeMap<u32, u64>,
    pub(crate) step_count: u64,
    pub(crate) epochs: EpochSum,
    /// The epoch that the process ended within, as far as its steps tell.
    pub(crate) open_epoch: Option<OpenEpoch>,
    /// Bytes of a torn last line, which was cut off.
    pub(crate) torn: u64,
    /// The last line's time, on its session's clock.
    pub(crate) last: Timestamp,
    /// Lines that could not be understood, each with its place.
    pub(crate) bad: Vec<String>,
    session: Option<(Timestamp, Timestamp)>,
}

/// An epoch without a line of its own.
#[derive(Clone, Debug)]
pub(crate) struct OpenEpoch {
    first: Record,
    last: Record,
    steps: u64,
    sum: Energy,
}

impl Past {
    /// Reads what a rank wrote, and cuts a torn last line off, so that the log can go on behind it.
    pub(crate) fn read(directory: &Path, rank: u32) -> Result<Past> {
        let path = lines_of(directory, rank);
        let mut past = Past::default();
        let mut lines = Lines::open(&path)?;
        for line in lines.by_ref() {
            match line {
                Ok(Line::Start(start)) => past.begin(start),
                Ok(Line::Window(record)) => past.take(*record),
                Ok(Line::Event(event)) => {
                    past.reach(event.at);
                    past.total = past.total.max(event.total.unwrap_or_default());
                }
                Err(error) => past.bad.push(error.what().to_owned()),
            }
        }
        past.end_session();
        let length = fs::metadata(&path).map_err(|error| Error::file("read", &path, error))?.len();
        past.torn = length.saturating_sub(lines.offset);
        if past.torn > 0 {
            let file = OpenOptions::new().write(true).open(&path).map_err(|error| Error::file("write", &path, error))?;
            file.set_len(lines.offset).map_err(|error| Error::file("write", &path, error))?;
        }
        Ok(past)
    }

    fn begin(&mut self, start: Start) {
        self.end_session();
        self.sessions = start.session + 1;
        self.session = Some((start.start, start.start));
        self.last = start.start;
        self.first.get_or_insert(start);
    }

    fn reach(&mut self, at: Timestamp) {
        self.last = self.last.max(at);
        if let Some((_, end)) = &mut self.session {
            *end = at.max(*end);
        }
    }

    fn end_session(&mut self) {
        if let Some((start, end)) = self.session.take() {
            self.duration += end.since(start);
        }
    }

    fn take(&mut self, record: Record) {
        self.reach(record.end);
        self.total = self.total.max(record.total);
        for (domain, share) in &record.domains {
            let total = self.domains.entry(domain.clone()).or_default();
            *total = share.total.max(*total);
        }
        match record.kind {
            Kind::Step => {
                let number = self.steps.entry(record.lane).or_default();
                *number = record.step.unwrap_or(0).max(*number);
                self.step_count += 1;
                if record.epoch.is_some() {
                    self.take_step(record);
                }
            }
            Kind::Epoch => {
                self.open_epoch = None;
                self.epochs.add(record);
            }
            Kind::Phase => {}
            Kind::End => self.open_epoch = None,
        }
    }

    fn take_step(&mut self, record: Record) {
        let energy = record.energy.unwrap_or_default();
        match &mut self.open_epoch {
            Some(open) if (open.last.session, open.last.epoch) == (record.session, record.epoch) => {
                open.steps += 1;
                open.sum += energy;
                open.last = record;
            }
            open => *open = Some(OpenEpoch { first: record.clone(), last: record, steps: 1, sum: energy }),
        }
    }
}

impl OpenEpoch {
    /// The line that the epoch is given when the run goes on: from its first step's start to the last step that the log
    /// holds. What it used behind that is lost.
    pub(crate) fn into_record(self) -> Record {
        let OpenEpoch { first, last, steps, sum } = self;
        let energy = last.total - first.total + first.energy.unwrap_or_default();
        let mut domains = last.domains.clone();
        let mut quality = Quality::Measured;
        let mut uncertainty = 0.0;
        for (domain, share) in &mut domains {
            let before = first.domains.get(domain).map_or(share.total, |first| {
                first.total - first.energy.unwrap_or_default()
            });
            let gained = share.total - before;
            // The steps' uncertainty is mostly that of the gain, so it grows with the energy.
            let relative = match (share.uncertainty, share.energy) {
                (Some(uncertainty), Some(energy)) if energy > Energy::ZERO => {
                    uncertainty.as_joules() / energy.as_joules()
                }
                _ => 1.0,
            };
            share.energy = Some(gained);
            share.uncertainty = Some(Energy::from_joules(relative * gained.as_joules()));
            if share.in_total {
                uncertainty += relative * gained.as_joules();
                quality = quality.max(share.quality);
            }
        }
        Record {
            kind: Kind::Epoch,
            id: 0,
            parent: None,
            step: None,
            phase: None,
            start: first.start,
            duration: last.end.since(first.start),
            energy: Some(energy),
            uncertainty: Some(Energy::from_joules(uncertainty)),
            quality: quality.max(Quality::Partial),
            domains,
            samples: None,
            tokens: None,
            steps: Some(steps),
            remainder: Some(energy - sum),
            phases: None,
            data: None,
            intervals: None,
            metrics: BTreeMap::new(),
            status: Status::Interrupted,
            reason: None,
            ..last
        }
    }
}

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
            let path = self.directory.join(MANIFEST);
            let draft = self.directory.join(format!(".run-{}.json", self.rank));
            let text = serde_json::to_string_pretty(manifest).unwrap_or_default() + "\n";
            fs::write(&draft, text).map_err(|error| Error::file("write", &draft, error))?;
            fs::rename(&draft, &path).map_err(|error| Error::file("write", &path, error))
        });
        if let Err(error) = written {
            self.fail(error);
        }
    }

    /// Puts a line behind the others; it reaches the disk with [`flush`](Self::flush).
    pub(crate) fn append(&mut self, line: &impl Serialize, step: bool) {
        let Ok(mut text) = serde_json::to_string(line) else { return };
        text.push('\n');
        if step && self.kept_bytes + text.len() > KEPT {
            self.left_out += 1;
            return;
        }
        self.kept_bytes += text.len();
        self.kept.push_back(text);
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
            let whole = file.metadata().map_or(0, |metadata| metadata.len());
            if let Err(error) = file.write_all(self.buffer.as_bytes()) {
                // What a full disk took of the chunk is taken back, so that no torn line stays in the middle.
                let _ = file.set_len(whole);
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
            fs::create_dir_all(&self.directory).map_err(|error| Error::file("create", &self.directory, error))?;
            let path = lines_of(&self.directory, self.rank);
            let file = OpenOptions::new().append(true).create(true).open(&path);
            self.file = Some(file.map_err(|error| Error::file("write", &path, error))?);
        }
        Ok(())
    }

    fn fail(&mut self, error: Error) {
        if self.fault.is_none() {
            log::warn!("ergometer: {error}; the training goes on, and the log is kept in memory meanwhile");
        }
        self.fault = Some(error);
    }

    /// Why lines are missing on disk, if any are.
    pub(crate) fn into_fault(self) -> Option<Error> {
        let waiting = self.kept.len();
        match (self.fault, self.left_out) {
            (Some(error), left_out) => {
                let text = format!("{}; {waiting} lines of the log were kept in memory and {left_out} left out", error.what());
                Some(Error::new(error::Kind::File, text).cure("start the run with another directory: `.directory(…)`").caused_by(error))
            }
            (None, 0) => None,
            (None, left_out) => {
                Some(Error::new(error::Kind::File, format!("{left_out} steps were left out of the log while the disk did not take it")))
            }
        }
    }
}

/// A write of this size is one call to the system.
const CHUNK: usize = 64 << 10;
