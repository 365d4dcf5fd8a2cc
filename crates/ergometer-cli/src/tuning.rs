//! `ergometer tuning`: whether a search was worth its energy.

use std::io::{self, Write};

use clap::Args;
use ergometer_report::analysis::tuning::Tuning;
use ergometer_report::metric::Direction;

use crate::logs::Runs;
use crate::returns::accuracy;
use crate::{FAILURE, complain, write_json};

/// Shows what a search for better settings cost, trial by trial, and whether it gained anything.
///
/// Trials are told apart by their notes, such as `learning_rate`; the seed is none of them. Whether the best is better than
/// the default (the first, or the one noted `trial = default`) is judged from runs of both made after the search, three
/// seeds each.
#[derive(Args, Debug)]
pub(crate) struct Search {
    #[command(flatten)]
    runs: Runs,
    /// The metric that was searched for. Without it, an accuracy if there is just one.
    #[arg(long, value_name = "NAME")]
    metric: Option<String>,
    /// Whether `higher` or `lower` is better, where the metric's name does not tell.
    #[arg(long, value_name = "WAY")]
    better: Option<Direction>,
    /// Give an object: `trials` in their order, the energies of the search and the final run, the `verdict`.
    #[arg(long)]
    json: bool,
}

impl Search {
    pub(crate) fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
        let read = self.runs.histories(err);
        let metric = self.metric.clone().map_or_else(|| accuracy(&read.histories), Ok);
        let tuning = metric.and_then(|metric| {
            let direction = self.better.map_or_else(|| Direction::of(&metric), Ok)?;
            Tuning::of(&read.histories, &metric, direction)
        });
        match tuning {
            Ok(tuning) if self.json => write_json(out, &tuning)?,
            Ok(tuning) => writeln!(out, "{tuning}")?,
            Err(error) => {
                complain(err, error);
                return Ok(FAILURE);
            }
        }
        Ok(if read.whole { 0 } else { FAILURE })
    }
}
