//! `ergometer schedule`: what a run would emit if it began at another hour.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ergometer::{Error, Result};
use ergometer_report::analysis::schedule;
use ergometer_report::grid::hourly::Hours;
use ergometer_report::quantity::Pue;
use ergometer_report::site::{Site, Sourced};
use jiff::{Span, SpanRelativeTo};

use crate::logs::Runs;
use crate::{FAILURE, complain, write_json};

/// Shows what runs would emit if they began at other hours.
///
/// Takes the course of their power from the logs and the carbon intensity of each hour from a file, one line an hour:
/// `2026-01-31T13:00Z,61`. Says the best, the worst and the mean start, and what the best one saves of each.
#[derive(Args, Debug)]
pub(crate) struct Schedule {
    #[command(flatten)]
    runs: Runs,
    /// The file of intensities: a line for each hour with its beginning, a comma, and g CO2e/kWh.
    #[arg(long, value_name = "FILE")]
    hours: PathBuf,
    /// The time zone of a file whose times do not say their offset: `Europe/Paris`, `+01:00`.
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// How much later than the file's first hour a run may start.
    #[arg(long, value_name = "TIME", default_value = "24 h", value_parser = time)]
    slack: Duration,
    /// Power usage effectiveness of the building: its energy over that of its computers.
    #[arg(long, value_name = "RATIO")]
    pue: Option<f64>,
    /// Give an array with an object for each run, with every start.
    #[arg(long)]
    json: bool,
}

impl Schedule {
    pub(crate) fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
        let (hours, pue) = match self.prepare() {
            Ok(prepared) => prepared,
            Err(error) => {
                complain(err, error);
                return Ok(FAILURE);
            }
        };
        let read = self.runs.histories(err);
        let (mut told, mut whole) = (Vec::new(), read.whole);
        for history in &read.histories {
            match schedule::Schedule::of(history, &hours, self.slack, &pue) {
                Ok(schedule) => told.push(schedule),
                Err(error) => {
                    complain(err, error);
                    whole = false;
                }
            }
        }
        if self.json {
            write_json(out, &told)?;
        } else {
            for (place, schedule) in told.iter().enumerate() {
                let gap = if place > 0 { "\n" } else { "" };
                writeln!(out, "{gap}{schedule}")?;
            }
        }
        Ok(if whole { 0 } else { FAILURE })
    }

    fn prepare(&self) -> Result<(Hours, Sourced<Pue>)> {
        let pue = match self.pue {
            Some(ratio) => {
                Sourced { value: Pue::new(ratio)?, source: "given by the user".to_owned() }
            }
            None => Site::default().pue,
        };
        Ok((Hours::read(&self.hours, self.zone.as_deref())?, pue))
    }
}

/// A length of time as people write it: `24 h`, `90 min`, `2 d`.
pub(crate) fn time(text: &str) -> Result<Duration> {
    let wrong = || {
        Error::invalid(format!("`{text}` is not a length of time"))
            .cure("write it as in `24 h` or `2 d`")
    };
    let span: Span = text.parse().map_err(|cause: jiff::Error| wrong().caused_by(cause))?;
    let time = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|cause| wrong().caused_by(cause))?;
    Duration::try_from(time).map_err(|cause| wrong().caused_by(cause))
}
