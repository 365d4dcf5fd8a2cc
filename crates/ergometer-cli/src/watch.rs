//! `ergometer watch`: a run's energy while it trains.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ergometer::log::Line;
use ergometer::record::{Event, Manifest};
use ergometer::sensor::Provenance;
use ergometer::{Energy, Kind, Power, Quality, Record, Timestamp};
use ergometer_report::analysis::projection::{Projection, planned_epochs};
use serde::Serialize;

use crate::follow::{Follower, Patience, is_worth, newest};

/// Shows a run's energy while it trains, and ends when it does.
///
/// A line for each epoch and phase whose energy is settled, with the run's energy until then, and what it will come to if
/// the number of epochs is known. Epochs that are already done are shown first, projected up to the thousandth. The run need not have begun. Of a directory
/// of several runs, the newest is watched. The exit status is 1 if the run was killed.
#[derive(Args, Debug)]
pub(crate) struct Watch {
    /// The run's directory.
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Epochs in all, if the program does not note them as `epochs`.
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// Give an object in each line: `kind`, `energy_j`, `u_j`, `total_j`, `power_w`, `projection`.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    patience: Patience,
}

impl Watch {
    pub(crate) fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
        let mut screen = Screen { epochs: Vec::new(), is_begun: false, progress: None };
        Follower::new(newest(&self.run, err)).follow(
            &self.patience,
            err,
            |manifest, line, is_last| {
                let Some(row) = screen.row(manifest, line, is_last, self.epochs) else {
                    return Ok(ControlFlow::Continue(()));
                };
                if self.json {
                    serde_json::to_writer(&mut *out, &row)?;
                    writeln!(out)?;
                } else {
                    screen.begin(manifest, out)?;
                    writeln!(out, "{}", row.text())?;
                }
                // Whoever reads wants it now.
                out.flush().map(ControlFlow::Continue)
            },
        )
    }
}

/// What has been shown.
struct Screen {
    epochs: Vec<Record>,
    is_begun: bool,
    /// When progress was last told, and the energy until then.
    progress: Option<(Timestamp, Energy)>,
}

/// What is told of one line of a log.
#[derive(Serialize)]
struct Row {
    kind: &'static str,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    #[serde(rename = "energy_j")]
    energy: Option<Energy>,
    #[serde(rename = "u_j")]
    uncertainty: Option<Energy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quality: Option<Quality>,
    #[serde(rename = "power_w")]
    power: Option<Power>,
    #[serde(rename = "duration_s", serialize_with = "seconds")]
    time: Option<Duration>,
    #[serde(rename = "total_j")]
    total: Energy,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metrics: BTreeMap<String, f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    projection: Option<Projection>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

impl Screen {
    fn begin(&mut self, manifest: &Manifest, out: &mut dyn Write) -> io::Result<()> {
        if std::mem::replace(&mut self.is_begun, true) {
            return Ok(());
        }
        let sensors = || manifest.sensors.iter().filter(|sensor| sensor.in_total);
        let is_model = |provenance| sensors().any(|sensor| sensor.provenance == provenance);
        let model =
            if is_model(Provenance::Model) { " · estimated, in whole or in part" } else { "" };
        writeln!(out, "{} · {}{model}", manifest.name, manifest.run_id)?;
        writeln!(
            out,
            "{:<10} {:>20} {:>9} {:>8} {:>10}  → at the end (95 %)",
            "window", "energy ± U (k=2)", "power", "time", "run"
        )
    }

    fn row(
        &mut self,
        manifest: &Manifest,
        line: &Line,
        is_last: bool,
        planned: Option<u64>,
    ) -> Option<Row> {
        match line {
            Line::Window(window) if window.kind == Kind::Step => None,
            Line::Window(window) => {
                let is_epoch = window.kind == Kind::Epoch;
                if is_epoch {
                    self.epochs.push((**window).clone());
                }
                let planned = planned
                    .or_else(|| planned_epochs(manifest))
                    .filter(|_| is_epoch && is_worth(self.epochs.len(), is_last));
                let projection =
                    planned.and_then(|planned| Projection::of_epochs(&self.epochs, planned).ok());
                Some(Row::of(window, projection))
            }
            Line::Start(start) => {
                self.progress = Some((start.start, Energy::ZERO));
                (start.session > 0).then(|| {
                    let again = format!("session {} goes on", start.session + 1);
                    Row::word(
                        "start",
                        again,
                        self.epochs.last().map_or(Energy::ZERO, |it| it.total),
                    )
                })
            }
            Line::Event(event) => Some(self.event(event)),
        }
    }

    fn event(&mut self, event: &Event) -> Row {
        let last = self.epochs.last().map_or(Energy::ZERO, |epoch| epoch.total);
        let total = event.total.unwrap_or(last);
        let mut row = Row::word("event", event.event.clone(), total);
        let words = [event.domain.as_deref(), event.detail.as_deref()];
        let words: Vec<&str> = words.into_iter().flatten().collect();
        row.detail = (!words.is_empty()).then(|| words.join(": "));
        if let (Some(total), Some((at, before))) = (event.total, self.progress) {
            let time = event.at.since(at);
            // Over the time since the line of progress before, or the session's start.
            row.power = (total - before).over(time).filter(|_| before > Energy::ZERO);
            row.time = Some(time);
        }
        if event.total.is_some() {
            self.progress = Some((event.at, total));
        }
        row
    }
}

impl Row {
    fn of(window: &Record, projection: Option<Projection>) -> Row {
        let (kind, name) = match window.kind {
            Kind::Epoch => ("epoch", format!("epoch {}", window.epoch.unwrap_or(0))),
            Kind::End => ("end", "run".to_owned()),
            Kind::Step | Kind::Phase => ("phase", window.phase.clone().unwrap_or_default()),
        };
        Row {
            kind,
            name,
            epoch: window.epoch,
            energy: window.energy,
            uncertainty: window.uncertainty,
            quality: Some(window.quality),
            power: window.power(),
            time: Some(window.duration),
            total: window.total,
            metrics: window.metrics.clone(),
            projection,
            detail: (window.status != ergometer::Status::Complete || window.reason.is_some()).then(
                || {
                    window
                        .reason
                        .clone()
                        .unwrap_or_else(|| format!("{:?}", window.status).to_lowercase())
                },
            ),
        }
    }

    fn word(kind: &'static str, name: String, total: Energy) -> Row {
        Row {
            kind,
            name,
            epoch: None,
            energy: None,
            uncertainty: None,
            quality: None,
            power: None,
            time: None,
            total,
            metrics: BTreeMap::new(),
            projection: None,
            detail: None,
        }
    }

    /// The row as a line of at most 100 columns; metrics are left out where they do not fit.
    fn text(&self) -> String {
        let energy = match (self.energy, self.uncertainty) {
            (Some(energy), Some(uncertainty)) => {
                energy.plus_minus(uncertainty + uncertainty).to_string()
            }
            _ if self.quality.is_some() => "not resolved".to_owned(),
            _ => String::new(),
        };
        let power = self.power.map_or(String::new(), |power| power.to_string());
        let time = self.time.map_or(String::new(), |time| {
            let digits = usize::from(time < Duration::from_secs(1_000))
                * (1 + usize::from(time < Duration::from_secs(10)));
            match time.as_secs_f64() {
                short if short < 0.1 => format!("{:.2} ms", 1e3 * short),
                long => format!("{long:.digits$} s"),
            }
        });
        let total = self.total.to_string();
        let mut line = format!("{:<10} {energy:>20} {power:>9} {time:>8} {total:>10}", self.name);
        if let Some(projection) = &self.projection {
            let interval = projection.energy.plus_minus(projection.expanded());
            line.push_str(&format!("  → {interval}"));
        }
        let words = self.metrics.iter().map(|(name, value)| format!("{name} {value:.4}"));
        for word in words.chain(self.detail.clone()) {
            if line.chars().count() + word.chars().count() + 2 <= COLUMNS {
                line = format!("{line}  {word}");
            }
        }
        line.trim_end().to_owned()
    }
}

const COLUMNS: usize = 100;

fn seconds<S: serde::Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64()).serialize(serializer)
}
