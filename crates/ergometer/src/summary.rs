//! What a run came to: the table that `finish` gives and `ergometer report` prints.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::log::{Line, RunLog};
use crate::record::{Estimate, Kind, Manifest, Quality, Record, State};
use crate::units::Energy;

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
}

/// All phases of one name.
#[derive(Clone, Copy, Debug, Default, Serialize)]
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
    }
}

impl Summary {
    /// Reads a run's log to the end. A run that is still going, or was killed, ends with its last line.
    ///
    /// Beside the summary come the lines that could not be understood, each with its place; what they said is missing
    /// from it.
    ///
    /// # Errors
    /// If the log cannot be read, or holds no window.
    pub fn read(log: &RunLog) -> Result<(Summary, Vec<Error>)> {
        let mut bad = Vec::new();
        let (mut epochs, mut phases, mut events) =
            (EpochSum::default(), BTreeMap::new(), BTreeMap::new());
        let (mut last, mut steps, mut samples, mut tokens) = (None, 0, 0, 0);
        let mut start = None;
        for line in log.lines()? {
            match line {
                Err(error) => bad.push(error),
                Ok(Line::Start(line)) => _ = start.get_or_insert(line.start),
                Ok(Line::Event(event)) if event.event == "progress" => {}
                Ok(Line::Event(event)) => {
                    *events.entry((event.event, event.domain)).or_default() += 1;
                }
                Ok(Line::Window(record)) => {
                    match record.kind {
                        Kind::Step => {
                            steps += 1;
                            samples += record.samples.unwrap_or(0);
                            tokens += record.tokens.unwrap_or(0);
                        }
                        Kind::Epoch => epochs.add((*record).clone()),
                        Kind::Phase => {
                            phases
                                .entry(record.phase.clone().unwrap_or_default())
                                .or_insert_with(PhaseSum::default)
                                .add(&record);
                        }
                        Kind::End => {}
                    }
                    last = Some(*record);
                }
            }
        }
        let Some(mut end) = last else {
            let place = log.directory().display();
            return Err(Error::invalid(format!(
                "`{place}` holds no window: the run has not got that far, or was killed at once"
            )));
        };
        if end.kind != Kind::End {
            // What the run had used at its last line.
            end.kind = Kind::End;
            end.energy = Some(end.total);
            end.uncertainty = relative(&end)
                .map(|relative| Energy::from_joules(relative * end.total.as_joules()));
            for share in end.domains.values_mut() {
                let relative = share
                    .uncertainty
                    .zip(share.energy)
                    .map(|(part, whole)| part.as_joules() / whole.as_joules());
                share.energy = Some(share.total);
                share.uncertainty = relative
                    .map(|relative| Energy::from_joules(relative * share.total.as_joules()));
            }
            end.quality = end.quality.max(Quality::Partial);
            end.start = start.unwrap_or(end.start);
            end.duration = end.end.since(end.start);
            end.remainder = Some(end.total - epochs.energy);
            (end.epochs, end.steps) = (Some(epochs.count), Some(steps));
            end.samples = (samples > 0).then_some(samples);
            end.tokens = (tokens > 0).then_some(tokens);
            (end.epoch, end.step, end.phase, end.parent) = (None, None, None, None);
            (end.phases, end.data, end.intervals) = (None, None, None);
        }
        let directory = log.directory().to_owned();
        Ok((
            Summary { manifest: log.manifest.clone(), directory, epochs, phases, end, events },
            bad,
        ))
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
        }
    }
}

/// The relative standard uncertainty of a window.
fn relative(record: &Record) -> Option<f64> {
    let (uncertainty, energy) = (record.uncertainty?.as_joules(), record.energy?.as_joules());
    (energy > 0.0).then(|| uncertainty / energy)
}

/// The columns that a table has beside those that every table has.
struct Columns {
    samples: bool,
    tokens: bool,
    metrics: Vec<String>,
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
            .values()
            .any(|share| share.in_total && share.quality == Quality::Estimated);
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
