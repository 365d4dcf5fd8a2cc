//! A [`History`]: one run, read for analysis.

mod steps;
mod trace;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use ergometer::log::{Entry, Line};
use ergometer::record::{Estimate, Kind, Start, State};
use ergometer::sensor::Provenance;
use ergometer::{Error, Record, Result, RunLog, Summary, units::Timestamp};

pub use steps::{Distribution, Steps};
pub use trace::{Point, Trace};

/// One run as the analyses want it: its summary, all its epochs, statistics of its steps, its power over time.
///
/// Read in one pass. Memory grows with the epochs and sessions, not with the steps, of which there may be millions.
#[derive(Clone, Debug)]
pub struct History {
    /// The manifest, the run's end, phases, events.
    pub summary: Summary,
    /// Every epoch, in the log's order. What was measured in phases within an epoch, or told after it, stands in its `metrics` too.
    pub epochs: Vec<Record>,
    /// How energy and time of the steps are distributed.
    pub steps: Steps,
    /// The run's energy over time.
    pub trace: Trace,
    /// When phases ran, the first 1,024 of them.
    pub phases: Vec<Span>,
    sessions: Vec<Session>,
}

/// When a phase ran, from the run's start.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The phase's name.
    pub name: String,
    /// When it opened.
    pub start: Duration,
    /// When it closed.
    pub end: Duration,
}

/// Phases that are kept one by one.
const SPANS: usize = 1_024;

impl History {
    /// Reads a run's log to the end. A run that is still going, or was killed, ends with its last line.
    ///
    /// Beside the history come the lines that could not be understood, each with its place; what they said is missing from
    /// it.
    ///
    /// # Errors
    /// If the log cannot be read, or holds no window.
    pub fn read(log: &RunLog) -> Result<(History, Vec<Error>)> {
        let mut reader = Reader::default();
        let (summary, bad) = Summary::read_with(log, |entry| reader.take(entry))?;
        let Reader { epochs, steps, trace, phases, sessions, .. } = reader;
        let steps = steps.finish();
        let trace = trace.finish(sessions.first().map(|first| first.began));
        Ok((History { summary, epochs, steps, trace, phases, sessions }, bad))
    }

    /// The energy of the run.
    pub fn energy(&self) -> Estimate {
        self.summary.estimate()
    }

    /// The run's name.
    pub fn name(&self) -> &str {
        &self.summary.manifest.name
    }

    /// True if a model stands for any part of the energy.
    pub fn is_estimated(&self) -> bool {
        let sensors = &self.summary.manifest.sensors;
        sensors.iter().any(|sensor| sensor.in_total && sensor.provenance == Provenance::Model)
    }

    /// True if the run ended as it was meant to.
    pub fn is_complete(&self) -> bool {
        self.summary.manifest.state == State::Complete
    }

    /// The last value of a metric: at the run's end, or else in the last epoch that has it.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let rows = self.epochs.iter().chain([&self.summary.end]);
        rows.rev().find_map(|row| row.metrics.get(name).copied())
    }

    /// The names of what the program measured itself.
    pub fn metric_names(&self) -> BTreeSet<&str> {
        let rows = self.epochs.iter().chain([&self.summary.end]);
        rows.flat_map(|row| row.metrics.keys().map(String::as_str)).collect()
    }

    /// How long after the run's start a window of it opened and closed, pauses between sessions included.
    pub fn span(&self, window: &Record) -> (Duration, Duration) {
        let place = usize::try_from(window.session).unwrap_or(usize::MAX);
        let session = self.sessions.get(place).or(self.sessions.last());
        let since = |at| session.map_or(Duration::ZERO, |session| session.elapsed(at));
        (since(window.start), since(window.end))
    }
}

/// A session's start on its clock, and how long after the run's that was.
#[derive(Clone, Copy, Debug)]
struct Session {
    start: Timestamp,
    offset: Duration,
    began: SystemTime,
}

impl Session {
    fn new(start: &Start, first: Option<SystemTime>) -> Session {
        let since = Duration::from_nanos(u64::try_from(start.unix_ns).unwrap_or(0));
        let began = SystemTime::UNIX_EPOCH + since;
        // A wall clock that was set back between sessions tells nothing about the pause.
        let offset =
            first.map_or(Duration::ZERO, |first| began.duration_since(first).unwrap_or_default());
        Session { start: start.start, offset, began }
    }

    fn elapsed(&self, at: Timestamp) -> Duration {
        self.offset + at.since(self.start)
    }
}

#[derive(Default)]
struct Reader {
    epochs: Vec<Record>,
    steps: steps::Collector,
    trace: trace::Collector,
    phases: Vec<Span>,
    sessions: Vec<Session>,
    /// What was measured in phases of an epoch whose line has not come yet, by session, lane and window.
    within: BTreeMap<(u32, u32, u64), BTreeMap<String, f64>>,
}

impl Reader {
    fn take(&mut self, entry: &Entry<'_>) {
        match entry {
            Entry::Step(step, _) => {
                self.steps.take(step);
                self.reach(step.end, step.total);
            }
            Entry::Line(Line::Start(start)) => {
                let first = self.sessions.first().map(|first| first.began);
                let session = Session::new(start, first);
                self.steps.begin_session();
                self.sessions.push(session);
                self.trace.resume(session.elapsed(session.start));
            }
            Entry::Line(Line::Event(event)) => {
                if let Some(total) = event.total {
                    self.reach(event.at, total);
                }
                let of = |epoch: &&mut Record| event.epoch.is_some() && epoch.epoch == event.epoch;
                if let Some(epoch) = self.epochs.iter_mut().rev().find(of) {
                    epoch.metrics.extend(event.metrics.clone());
                }
            }
            Entry::Line(Line::Window(window)) => self.take_window(window),
            Entry::Bad(_) => {}
        }
    }

    fn reach(&mut self, at: Timestamp, total: ergometer::Energy) {
        if let Some(session) = self.sessions.last() {
            self.trace.take(session.elapsed(at), total);
        }
    }

    fn take_window(&mut self, window: &Record) {
        let key = |id| (window.session, window.lane, id);
        match window.kind {
            Kind::Epoch => {
                let mut epoch = window.clone();
                for (name, value) in self.within.remove(&key(epoch.id)).unwrap_or_default() {
                    epoch.metrics.entry(name).or_insert(value);
                }
                // Ids grow within a lane: nothing older can still be open around anything.
                self.within.retain(|(session, lane, id), _| {
                    (*session, *lane) != (epoch.session, epoch.lane) || *id > epoch.id
                });
                self.epochs.push(epoch);
            }
            Kind::Phase => {
                let mut metrics = self.within.remove(&key(window.id)).unwrap_or_default();
                metrics.extend(window.metrics.iter().map(|(name, value)| (name.clone(), *value)));
                if let (Some(parent), false) = (window.parent, metrics.is_empty()) {
                    self.within.entry(key(parent)).or_default().extend(metrics);
                }
                if let Some(session) = self.sessions.last()
                    && self.phases.len() < SPANS
                {
                    self.phases.push(Span {
                        name: window.phase.clone().unwrap_or_default(),
                        start: session.elapsed(window.start),
                        end: session.elapsed(window.end),
                    });
                }
            }
            Kind::Step | Kind::End => {}
        }
        self.reach(window.end, window.total);
    }
}
