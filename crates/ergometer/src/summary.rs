//! What a run came to: the table that `finish` gives and `ergometer report` prints.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::attribution::Budget;
use crate::error::{Error, Result};
use crate::log::{Entry, Line, RunLog, Step};
use crate::record::{Estimate, Kind, Manifest, Quality, Record, State};
use crate::sensor::Provenance;
use crate::units::{Energy, Timestamp};

/// What a run came to, over all its windows. Printed, it is a table with a line for each epoch.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The run's manifest.
    pub manifest: Manifest,
    /// The run's directory.
    pub directory: PathBuf,
    /// All epochs, and the last of them one by one.
    pub epochs: EpochSum,
    /// Phases, by name.
    pub phases: BTreeMap<String, PhaseSum>,
    /// The window over the whole run.
    pub end: Record,
    /// How often what happened, to which domain.
    #[serde(serialize_with = "events")]
    pub events: BTreeMap<(String, Option<String>), u64>,
}

/// All epochs of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct EpochSum {
    /// How many.
    pub count: u64,
    /// The energy that their lines carry.
    #[serde(rename = "energy_j")]
    pub energy: Energy,
    /// Samples trained on within them.
    pub samples: u64,
    /// Tokens trained on within them.
    pub tokens: u64,
    /// The last of them, at most 1,024.
    pub recent: VecDeque<Record>,
}

/// Epochs that are kept one by one.
const RECENT: usize = 1_024;

impl EpochSum {
    pub(crate) fn add(&mut self, record: Record) {
        self.count += 1;
        self.energy += record.energy.unwrap_or_default();
        self.samples += record.samples.unwrap_or(0);
        self.tokens += record.tokens.unwrap_or(0);
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(record);
    }

    /// Adds what was measured of an epoch that is over, if it is one of the last.
    pub(crate) fn note(&mut self, epoch: u64, metrics: &BTreeMap<String, f64>) {
        let of = self.recent.iter_mut().rev().find(|record| record.epoch == Some(epoch));
        if let Some(record) = of {
            record.metrics.extend(metrics.iter().map(|(name, value)| (name.clone(), *value)));
        }
    }
}

/// All phases of one name.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PhaseSum {
    /// How many.
    pub count: u64,
    /// How many of them were too short to say anything about.
    pub unresolved: u64,
    /// The energy of the others.
    #[serde(rename = "energy_j")]
    pub energy: Energy,
    /// Its standard uncertainty: their errors are mostly that of the gain, and add up.
    #[serde(rename = "u_j")]
    pub uncertainty: Energy,
    /// The worst quality among them.
    pub quality: Option<Quality>,
    /// Their time.
    #[serde(rename = "duration_s", with = "crate::sensor::seconds")]
    pub time: Duration,
    /// What the program measured in them, the last value of each.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
}

impl PhaseSum {
    pub(crate) fn add(&mut self, record: &Record) {
        self.count += 1;
        match record.energy {
            Some(energy) => self.energy += energy,
            None => self.unresolved += 1,
        }
        self.uncertainty += record.uncertainty.unwrap_or_default();
        self.time += record.duration;
        self.quality = self.quality.max(Some(record.quality));
        self.metrics.extend(record.metrics.iter().map(|(name, value)| (name.clone(), *value)));
    }
}

impl Summary {
    /// Reads a run's log to the end. A run that is still going, or was killed, ends with its last line.
    ///
    /// Beside the summary come the lines that could not be understood, each with its place; what they said is missing
    /// from it. The first hundred of them are told one by one.
    ///
    /// # Errors
    /// If the log cannot be read, or holds no window.
    pub fn read(log: &RunLog) -> Result<(Summary, Vec<Error>)> {
        Summary::read_with(log, |_| ())
    }

    /// Reads a run's log to the end as [`read`](Summary::read) does, and shows each line to `visit` on the way, for those who
    /// want to know more than the summary tells.
    ///
    /// # Errors
    /// As [`read`](Summary::read).
    pub fn read_with(
        log: &RunLog,
        mut visit: impl FnMut(&Entry<'_>),
    ) -> Result<(Summary, Vec<Error>)> {
        let (mut bad, mut unsaid) = (Vec::new(), 0_u64);
        let mut read = Read::default();
        log.scan(|entry| {
            visit(&entry);
            match entry {
                Entry::Step(step, raw) => read.take_step(&step, raw.text()),
                Entry::Line(line) => read.take(line),
                Entry::Bad(error) if bad.len() < SAID => bad.push(error),
                Entry::Bad(_) => unsaid += 1,
            }
        })?;
        if unsaid > 0 {
            let place = log.directory().display();
            bad.push(Error::invalid(format!("`{place}`: {unsaid} more lines are not understood")));
        }
        let place = log.directory().display();
        if read.ranks.len() > 1 {
            return Err(Error::unsupported(format!(
                "`{place}` holds the logs of {} ranks, and their energies may overlap",
                read.ranks.len()
            ))
            .cure("read one of them, with `RunLog::of_rank`, or write them by `ergometer export` as rows or for a dashboard"));
        }
        let Some(last) = read.last() else {
            let so_far = read
                .progress
                .map_or(String::new(), |(_, total, _)| format!("; it had used {total}"));
            return Err(Error::invalid(format!(
                "`{place}` holds no window: the run has not got that far, or was killed before{so_far}"
            )));
        };
        let over = last.kind == Kind::End && !read.resumed;
        let end = if over { last } else { read.unfinished(last, &log.manifest) };
        let Read { epochs, phases, events, .. } = read;
        let (manifest, directory) = (log.manifest.clone(), log.directory().to_owned());
        Ok((Summary { manifest, directory, epochs, phases, end, events }, bad))
    }

    /// The energy of the whole run.
    pub fn estimate(&self) -> Estimate {
        self.end.estimate()
    }

    fn columns(&self) -> Columns {
        let rows = || self.epochs.recent.iter().chain([&self.end]);
        let mut metrics: Vec<String> = rows().flat_map(|row| row.metrics.keys().cloned()).collect();
        metrics.sort();
        metrics.dedup();
        metrics.truncate(3);
        Columns {
            samples: rows().any(|row| row.samples.is_some()),
            tokens: rows().any(|row| row.tokens.is_some()),
            metrics,
            models: self
                .manifest
                .sensors
                .iter()
                .filter(|sensor| sensor.provenance == Provenance::Model)
                .map(|sensor| sensor.domain.id.clone())
                .collect(),
        }
    }
}

/// Lines that cannot be understood and are told one by one.
const SAID: usize = 100;

/// What has been read of a log.
#[derive(Default)]
struct Read {
    epochs: EpochSum,
    phases: BTreeMap<String, PhaseSum>,
    events: BTreeMap<(String, Option<String>), u64>,
    steps: u64,
    samples: u64,
    tokens: u64,
    ranks: BTreeSet<u32>,
    /// Each session's start and last line.
    sessions: Vec<(Timestamp, Timestamp)>,
    last: Option<Record>,
    /// True from the start of another session to its first window.
    resumed: bool,
    /// The line of the last step, where it is the last window.
    last_step: String,
    /// The last line of progress.
    progress: Option<(Timestamp, Energy, BTreeMap<String, Energy>)>,
}

impl Read {
    fn take(&mut self, line: Line) {
        match line {
            Line::Start(start) => {
                self.ranks.insert(start.rank);
                self.resumed = self.last.is_some();
                self.sessions.push((start.start, start.start));
            }
            Line::Event(event) => {
                self.reach(event.at);
                if event.event == "progress" {
                    self.progress =
                        Some((event.at, event.total.unwrap_or_default(), event.domains));
                } else if let Some(epoch) = event.epoch {
                    self.epochs.note(epoch, &event.metrics);
                } else {
                    *self.events.entry((event.event, event.domain)).or_default() += 1;
                }
            }
            Line::Window(record) => {
                self.reach(record.end);
                match record.kind {
                    Kind::Step | Kind::End => {}
                    Kind::Epoch => self.epochs.add((*record).clone()),
                    Kind::Phase => {
                        self.phases
                            .entry(record.phase.clone().unwrap_or_default())
                            .or_default()
                            .add(&record);
                    }
                }
                self.last_step.clear();
                self.resumed = false;
                self.last = Some(*record);
            }
        }
    }

    fn take_step(&mut self, step: &Step, text: &str) {
        self.ranks.insert(step.rank);
        self.reach(step.end);
        self.steps += 1;
        self.samples += step.samples.unwrap_or(0);
        self.tokens += step.tokens.unwrap_or(0);
        self.resumed = false;
        self.last_step.clear();
        self.last_step.push_str(text);
    }

    /// The last window.
    fn last(&mut self) -> Option<Record> {
        match Line::parse(&self.last_step) {
            Ok(Line::Window(step)) => Some(*step),
            _ => self.last.take(),
        }
    }

    fn reach(&mut self, at: Timestamp) {
        if let Some((_, last)) = self.sessions.last_mut() {
            *last = at.max(*last);
        }
    }

    /// The end of a run that has none in its log: what it had used at its last line.
    fn unfinished(&self, mut end: Record, manifest: &Manifest) -> Record {
        if let Some((at, total, domains)) = self.progress.clone().filter(|(at, ..)| *at > end.end) {
            (end.end, end.total) = (at, total);
            for (domain, total) in domains {
                if let Some(share) = end.domains.get_mut(&domain) {
                    share.total = total;
                }
            }
        }
        end.start = self.sessions.first().map_or(end.start, |(start, _)| *start);
        end.duration = self.sessions.iter().map(|(start, last)| last.since(*start)).sum();
        // Over a whole run, the boundaries are nothing beside the gain.
        let mut budget = Budget::default();
        for sensor in &manifest.sensors {
            let Some(share) = end.domains.get_mut(&sensor.domain.id) else { continue };
            let mut own = Budget::default();
            own.add_gain(sensor, share.total, end.duration);
            share.energy = Some(share.total);
            share.uncertainty = Some(Energy::from_joules(own.uncertainty()));
            share.quality =
                if share.quality == Quality::Estimated { share.quality } else { Quality::Partial };
            if sensor.in_total {
                budget.add_gain(sensor, share.total, end.duration);
            }
        }
        let samples = self.samples.max(self.epochs.samples);
        let tokens = self.tokens.max(self.epochs.tokens);
        Record {
            kind: Kind::End,
            parent: None,
            epoch: None,
            step: None,
            phase: None,
            energy: Some(end.total),
            uncertainty: Some(Energy::from_joules(budget.uncertainty())),
            quality: Quality::Partial,
            samples: (samples > 0).then_some(samples),
            tokens: (tokens > 0).then_some(tokens),
            steps: Some(self.steps),
            epochs: Some(self.epochs.count),
            remainder: Some(end.total - self.epochs.energy),
            phases: None,
            data: None,
            intervals: None,
            metrics: BTreeMap::new(),
            net: None,
            net_uncertainty: None,
            process: None,
            ..end
        }
    }
}

/// The columns that a table has beside those that every table has.
struct Columns {
    samples: bool,
    tokens: bool,
    metrics: Vec<String>,
    /// Domains that a model estimates.
    models: Vec<String>,
}

impl Columns {
    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<10} {:>25} {:>9} {:>9}", "window", "energy ± U (k=2)", "power", "time")?;
        if self.samples {
            write!(f, " {:>11}", "J/sample")?;
        }
        if self.tokens {
            write!(f, " {:>11}", "J/token")?;
        }
        for metric in &self.metrics {
            write!(f, " {metric:>10}")?;
        }
        writeln!(f, "  quality")
    }

    fn row(&self, f: &mut fmt::Formatter<'_>, name: &str, record: &Record) -> fmt::Result {
        let energy = match (record.energy, record.estimate().expanded()) {
            (Some(energy), Some(expanded)) => energy.plus_minus(expanded).to_string(),
            _ => "not resolved".to_owned(),
        };
        let power = record.power().map_or("—".to_owned(), |power| power.to_string());
        write!(f, "{name:<10} {energy:>25} {power:>9} {:>9}", seconds(record.duration))?;
        if self.samples {
            write!(
                f,
                " {:>11}",
                record
                    .energy_per_sample()
                    .map_or("—".to_owned(), |energy| format!("{energy:.2}"))
            )?;
        }
        if self.tokens {
            write!(
                f,
                " {:>11}",
                record.energy_per_token().map_or("—".to_owned(), |energy| format!("{energy:.2}"))
            )?;
        }
        for metric in &self.metrics {
            match record.metrics.get(metric) {
                Some(value) => write!(f, " {value:>10.4}")?,
                None => write!(f, " {:>10}", "")?,
            }
        }
        // What is not whole may be an estimate all the same, and then has to say so.
        let estimated = record
            .domains
            .iter()
            .any(|(domain, share)| share.in_total && self.models.contains(domain));
        let worse = record.quality > Quality::Estimated && record.energy.is_some();
        writeln!(f, "  {}{}", if estimated && worse { "estimated, " } else { "" }, record.quality)
    }
}

/// A time in seconds, with a fitting number of digits.
fn seconds(time: Duration) -> String {
    match time.as_secs_f64() {
        short if short < 10.0 => format!("{short:.2} s"),
        medium if medium < 1_000.0 => format!("{medium:.1} s"),
        long => format!("{long:.0} s"),
    }
}

/// Epochs that a table shows at its top and at its foot; those between are left out.
const SHOWN: usize = 10;

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.manifest.name)?;
        if let Some(parameters) = self.manifest.parameters {
            write!(f, " · {} parameters", thousands(parameters))?;
        }
        if let Some(framework) = &self.manifest.framework {
            write!(f, " · {} {}", framework.name, framework.version)?;
        }
        writeln!(f, " · {}", self.directory.display())?;
        let columns = self.columns();
        columns.head(f)?;
        let epochs = &self.epochs.recent;
        for (place, epoch) in epochs.iter().enumerate() {
            if place >= SHOWN && place + SHOWN < epochs.len() {
                if place == SHOWN {
                    writeln!(f, "  … {} more", epochs.len() - 2 * SHOWN)?;
                }
                continue;
            }
            columns.row(f, &format!("epoch {}", epoch.epoch.unwrap_or(0)), epoch)?;
        }
        columns.row(f, "run", &self.end)?;
        self.parts(f)?;
        self.notes(f)
    }
}

impl Summary {
    /// The run's phases, and its domains.
    fn parts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, phase) in &self.phases {
            write!(f, "of which {name} ({}×, {}): ", phase.count, seconds(phase.time))?;
            if phase.unresolved < phase.count {
                let energy = phase.energy.plus_minus(phase.uncertainty + phase.uncertainty);
                write!(f, "{energy} {}", phase.quality.unwrap_or(Quality::Unresolved))?;
            }
            match phase.unresolved {
                0 => writeln!(f)?,
                all if all == phase.count => writeln!(f, "too short to be resolved")?,
                some => writeln!(f, ", {some} of them too short to be resolved")?,
            }
        }
        for sensor in &self.manifest.sensors {
            let Some(share) = self.end.domains.get(&sensor.domain.id) else { continue };
            let beside = if share.in_total { "" } else { ", beside the sum" };
            let (domain, provenance) = (&sensor.domain.id, sensor.provenance);
            writeln!(f, "{domain}: {} by {provenance}{beside}", share.estimate())?;
        }
        if let (Some(net), Some(baseline)) = (self.end.net(), &self.manifest.baseline) {
            write!(f, "net of an idle machine ({} measured): {net}", seconds(baseline.time))?;
            writeln!(f, "{}", baseline.warning.as_ref().map_or("", |_| ", but it was not idle"))?;
        }
        if let Some(process) = &self.end.process {
            let energy = process.energy.plus_minus(process.uncertainty + process.uncertainty);
            let part = 100.0 * process.fraction;
            writeln!(f, "process share (model): {energy}, by {part:.0} % of the busy CPU time")?;
        }
        Ok(())
    }

    /// What happened, and what is not in the numbers.
    fn notes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(reason) = &self.end.reason {
            writeln!(f, "stopped: {reason}")?;
        } else if self.manifest.state == State::Running {
            writeln!(f, "no end in the log: the run is still going, or was killed after this")?;
        }
        for ((event, domain), count) in &self.events {
            match domain {
                Some(domain) => writeln!(f, "happened: {event} of {domain} ({count}×)")?,
                None => writeln!(f, "happened: {event} ({count}×)")?,
            }
        }
        let activities: Vec<_> = self
            .end
            .activities
            .iter()
            .map(|it| format!("{} {} ± {}", it.name, it.power, it.uncertainty * 2.0))
            .collect();
        if !activities.is_empty() {
            writeln!(f, "mean power (k=2, of the fit): {}", activities.join(", "))?;
        }
        if let Some(cost) = &self.end.cost {
            let share = cost.processor.as_secs_f64() / self.end.duration.as_secs_f64().max(1e-9);
            write!(f, "the meter itself: {:.2} % of one processor, ", 100.0 * share)?;
            match cost.slowest {
                Some(slowest) => writeln!(
                    f,
                    "{} reads of sensors, 99 % within {slowest:.1?}",
                    thousands(cost.reads)
                )?,
                None => writeln!(f, "no reads of sensors")?,
            }
        }
        // The last line, without an end: there is always something that no sensor covers.
        let unmeasured: Vec<_> =
            self.manifest.unmeasured.iter().map(|part| part.source.as_str()).collect();
        write!(f, "not measured: {}", unmeasured.join(", "))
    }
}

/// A number with commas between its thousands.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn events<S: serde::Serializer>(
    events: &BTreeMap<(String, Option<String>), u64>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Row<'a> {
        event: &'a str,
        domain: Option<&'a str>,
        count: u64,
    }
    let rows = events.iter().map(|((event, domain), count)| Row {
        event,
        domain: domain.as_deref(),
        count: *count,
    });
    serializer.collect_seq(rows)
}
