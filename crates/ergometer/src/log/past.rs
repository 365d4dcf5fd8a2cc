//! What a log holds of the sessions before, for a run that goes on.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::path::Path;
use std::time::Duration;

use super::{Line, Lines, lines_of};
use crate::error::{Error, Result};
use crate::record::{Kind, Quality, Record, Start, Status};
use crate::summary::EpochSum;
use crate::units::{Energy, Timestamp};

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
    /// Whether the machine has not been started anew since, so that its clock has gone on.
    pub(crate) same_boot: bool,
    /// The last step's number in each lane, and the steps in all.
    pub(crate) steps: BTreeMap<u32, u64>,
    pub(crate) step_count: u64,
    pub(crate) epochs: EpochSum,
    /// How many of them went to their end.
    pub(crate) completed: u64,
    /// The epoch of each lane that the process ended within, as far as its steps tell.
    pub(crate) open_epochs: BTreeMap<u32, OpenEpoch>,
    /// Bytes of a torn last line, which was cut off.
    pub(crate) torn: u64,
    /// The last line's time, on its session's clock.
    pub(crate) last: Timestamp,
    /// The last session's `end`, if it got that far: nothing that was used is missing then.
    pub(crate) end: Option<Box<Record>>,
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
    samples: u64,
    tokens: u64,
}

impl Past {
    /// Reads what a rank wrote, and cuts a torn last line off, so that the log can go on behind it.
    pub(crate) fn read(directory: &Path, rank: u32) -> Result<Past> {
        let path = lines_of(directory, rank);
        let mut past = Past::default();
        if !path.exists() {
            return Ok(past); // Killed before its first line.
        }
        let mut lines = Lines::open(&path)?;
        for line in lines.by_ref() {
            match line {
                Ok(Line::Start(start)) => past.begin(start),
                Ok(Line::Window(record)) => past.take(*record),
                Ok(Line::Event(event)) => {
                    past.reach(event.at);
                    past.total = past.total.max(event.total.unwrap_or_default());
                    past.domains.extend(event.domains);
                    if let Some(epoch) = event.epoch {
                        past.epochs.note(epoch, &event.metrics);
                    }
                }
                Err(error) => past.bad.push(error.what().to_owned()),
            }
        }
        past.end_session();
        let length = fs::metadata(&path).map_err(|error| Error::file("read", &path, error))?.len();
        past.torn = length.saturating_sub(lines.offset);
        if past.torn > 0 {
            let file = OpenOptions::new()
                .write(true)
                .open(&path)
                .map_err(|error| Error::file("write", &path, error))?;
            file.set_len(lines.offset).map_err(|error| Error::file("write", &path, error))?;
        }
        Ok(past)
    }

    fn begin(&mut self, start: Start) {
        self.end_session();
        self.end = None;
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
                self.open_epochs.remove(&record.lane);
                self.completed += u64::from(record.status == Status::Complete);
                self.epochs.add(record);
            }
            Kind::Phase => {}
            Kind::End => {
                self.open_epochs.clear();
                self.end = Some(Box::new(record));
            }
        }
    }

    fn take_step(&mut self, record: Record) {
        let open = self.open_epochs.entry(record.lane).or_insert_with(|| OpenEpoch::new(&record));
        if (open.last.session, open.last.epoch) != (record.session, record.epoch) {
            *open = OpenEpoch::new(&record);
        }
        open.steps += 1;
        open.sum += record.energy.unwrap_or_default();
        open.samples += record.samples.unwrap_or(0);
        open.tokens += record.tokens.unwrap_or(0);
        open.last = record;
    }
}

impl OpenEpoch {
    fn new(first: &Record) -> Self {
        let (first, last) = (first.clone(), first.clone());
        OpenEpoch { first, last, steps: 0, sum: Energy::ZERO, samples: 0, tokens: 0 }
    }

    /// The line that the epoch is given when the run goes on: from its first step's start to the last step that the log
    /// holds. What it used behind that is lost.
    pub(crate) fn into_record(self) -> Record {
        let OpenEpoch { first, last, steps, sum, samples, tokens } = self;
        let energy = last.total - first.total + first.energy.unwrap_or_default();
        let mut domains = last.domains.clone();
        let mut quality = Quality::Measured;
        let mut uncertainty = 0.0;
        for (domain, share) in &mut domains {
            let before = first
                .domains
                .get(domain)
                .map_or(share.total, |first| first.total - first.energy.unwrap_or_default());
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
            samples: (samples > 0).then_some(samples),
            tokens: (tokens > 0).then_some(tokens),
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
