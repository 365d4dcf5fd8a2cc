//! `ergometer sheet`: a project on one page.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use ergometer::{Result, RunLog};
use ergometer_report::History;
use ergometer_report::analysis::amortisation::Amortisation;
use ergometer_report::analysis::cost::{Cost, Prices};
use ergometer_report::analysis::embodied::{Device, Embodied, Part, ServiceLife};
use ergometer_report::analysis::frugality::{Sheet, Statement};

use crate::logs::Runs;
use crate::place::Place;
use crate::{FAILURE, complain, write_json};

/// Writes a project on one page, in Markdown.
///
/// The need and what was tried instead, in your words; energy, emissions with the hardware's manufacture, shares by phase,
/// the course by month, and what was not counted. It states figures and gives no label. The questions are those of AFNOR
/// SPEC 2314 (2024).
#[derive(Args, Debug)]
pub(crate) struct ProjectSheet {
    #[command(flatten)]
    runs: Runs,
    /// The need that the model is to meet, in a sentence.
    #[arg(long, value_name = "TEXT")]
    need: Option<String>,
    /// What was tried instead, in a sentence; as often as there are.
    #[arg(long, value_name = "TEXT")]
    alternative: Vec<String>,
    /// What the runs used, for its manufacture: `laptop`, `server`, `4 H100`; as often as there are kinds. Without it, the
    /// GPUs that the logs name.
    #[arg(long, value_name = "DEVICE", value_parser = part)]
    device: Vec<Part>,
    /// A run of the model in use, with its inferences counted as samples: after how many of them has use taken as much?
    #[arg(long, value_name = "RUN")]
    inference: Option<PathBuf>,
    /// How many inferences there will be in a day.
    #[arg(long, value_name = "NUMBER", requires = "inference")]
    load: Option<f64>,
    #[command(flatten)]
    place: Place,
    /// Give an object.
    #[arg(long)]
    json: bool,
}

impl ProjectSheet {
    pub(crate) fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
        let read = self.runs.histories(err);
        let sheet = match self.sheet(&read.histories) {
            Ok(sheet) => sheet,
            Err(error) => {
                complain(err, error);
                return Ok(FAILURE);
            }
        };
        if self.json {
            write_json(out, &sheet)?;
        } else {
            writeln!(out, "{sheet}")?;
        }
        Ok(if read.whole { 0 } else { FAILURE })
    }

    fn sheet(&self, runs: &[History]) -> Result<Sheet> {
        let site = self.place.site()?;
        let statement =
            Statement { need: self.need.clone(), alternatives: self.alternative.clone() };
        let mut sheet = Sheet::of(runs, &site, statement)?;
        if let Some(embodied) = self.embodied(runs)? {
            sheet = sheet.embodied(embodied);
        }
        if site.price.is_some() {
            sheet = sheet.cost(Cost::of(runs, &site, &Prices::default(), 1)?);
        }
        if let Some(amortisation) = self.amortisation(runs)? {
            sheet = sheet.amortisation(amortisation);
        }
        Ok(sheet)
    }

    /// The manufacture of the devices that were given, or else of the GPUs that the logs name.
    fn embodied(&self, runs: &[History]) -> Result<Option<Embodied>> {
        let life = ServiceLife::default();
        if self.device.is_empty() {
            return Ok(Embodied::measured(runs.iter().map(|run| &run.summary), life).ok());
        }
        let time = runs.iter().map(|run| run.summary.end.duration).sum();
        Embodied::of(self.device.clone(), time, life).map(Some)
    }

    fn amortisation(&self, runs: &[History]) -> Result<Option<Amortisation>> {
        let Some(path) = &self.inference else { return Ok(None) };
        let (inference, _bad) = History::read(&RunLog::open(path)?)?;
        Amortisation::of(runs, &inference, self.load).map(Some)
    }
}

/// A device and how many: `laptop`, `4 H100`.
pub(crate) fn part(text: &str) -> Result<Part> {
    let (count, name) = match text.split_once(' ').map(|(count, name)| (count.parse(), name)) {
        Some((Ok(count), name)) => (count, name),
        _ => (1.0, text),
    };
    Ok(Part { device: Device::named(name)?, count })
}
