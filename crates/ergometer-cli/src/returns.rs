//! `ergometer returns`: what each gain of a training cost.

use std::io::{self, Write};

use clap::Args;
use ergometer::{Energy, Error, Result};
use ergometer_report::History;
use ergometer_report::analysis::returns::{Question, Returns};
use ergometer_report::metric::Direction;

use crate::logs::Runs;
use crate::{FAILURE, complain, write_json};

/// Shows what each gain of a training cost, epoch by epoch.
///
/// The energy between successive bests of a metric, for each point of it; what within noise cannot be told; the share of the
/// energy that the last part of the gain took. Of several runs their mean is shown, as of seeds of one model: give runs of
/// one. With `--worth`, it says after which epoch the training was no longer worth its energy.
#[derive(Args, Debug)]
pub(crate) struct Gains {
    #[command(flatten)]
    runs: Runs,
    /// The metric of validation. Without it, an accuracy if there is just one.
    #[arg(long, value_name = "NAME")]
    metric: Option<String>,
    /// Whether `higher` or `lower` is better, where the metric's name does not tell.
    #[arg(long, value_name = "WAY")]
    better: Option<Direction>,
    /// Samples that the metric is measured on, which tells the noise of an accuracy; else the runs' note `n_val`.
    #[arg(long, value_name = "N")]
    validation: Option<u64>,
    /// Joules that a whole unit of the metric is worth: of an accuracy from 0 to 1, a hundred times those of a point.
    #[arg(long, value_name = "JOULES")]
    worth: Option<f64>,
    /// Epochs that a gain is waited for, with `--worth`.
    #[arg(long, value_name = "EPOCHS", default_value_t = 5, requires = "worth")]
    patience: usize,
    /// Give an object: `epochs` with `per_point_j` where the metric got better, `bought`, `stop`.
    #[arg(long)]
    json: bool,
}

impl Gains {
    pub(crate) fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
        let read = self.runs.histories(err);
        match self.question(&read.histories).and_then(|it| Returns::of(&read.histories, &it)) {
            Ok(returns) if self.json => write_json(out, &returns)?,
            Ok(returns) => writeln!(out, "{returns}")?,
            Err(error) => {
                complain(err, error);
                return Ok(FAILURE);
            }
        }
        Ok(if read.whole { 0 } else { FAILURE })
    }

    fn question(&self, runs: &[History]) -> Result<Question> {
        let metric = match &self.metric {
            Some(metric) => metric.clone(),
            None => accuracy(runs)?,
        };
        let direction = self.better.map_or_else(|| Direction::of(&metric), Ok)?;
        if let Some(worth) = self.worth.filter(|worth| !worth.is_finite()) {
            return Err(
                Error::invalid(format!("{worth} is no worth")).cure("give a number of joules")
            );
        }
        let worth = self.worth.map(|worth| (Energy::from_joules(worth), self.patience));
        Ok(Question { metric, direction, validation: self.validation, worth })
    }
}

/// The accuracy that the runs measured, if there is just one.
pub(crate) fn accuracy(runs: &[History]) -> Result<String> {
    let mut names: Vec<&str> = runs.iter().flat_map(History::metric_names).collect();
    names.sort_unstable();
    names.dedup();
    match names.iter().filter(|name| name.contains("acc")).collect::<Vec<_>>()[..] {
        [name] => Ok((*name).to_owned()),
        _ if names.is_empty() => Err(Error::absent("the runs have no metric")
            .cure("note one in the program's loop: `run.metric(\"accuracy\", value)`")),
        _ => Err(Error::invalid("which metric is meant is not clear")
            .cure(format!("give one by --metric: {}", names.join(", ")))),
    }
}
