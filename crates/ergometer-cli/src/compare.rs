//! `ergometer compare`: models against each other, each over its runs.

use std::io::{self, Write};

use clap::Args;
use ergometer_report::Comparison;

use crate::logs::Runs;
use crate::{FAILURE, complain, write_json};

/// Compares models, each over its runs.
///
/// Runs of one framework and number of parameters are taken for runs of one model that differ in their seeds. Shows the
/// mean of each model's runs with its uncertainty, and its energy as a multiple of the first model's. For runs on one
/// host the sensors' common error cancels in that ratio.
#[derive(Args, Debug)]
pub(crate) struct Compare {
    #[command(flatten)]
    runs: Runs,
    /// Give an object: `groups`, each with means, uncertainties and `ratio` to the `baseline`.
    #[arg(long)]
    json: bool,
    /// Compare with the group of this label, or with a run of this name or id.
    #[arg(long, value_name = "NAME")]
    baseline: Option<String>,
}

impl Compare {
    pub(crate) fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
        let read = self.runs.read(err);
        let mut comparison = Comparison::of(&read.summaries);
        if let Some(name) = &self.baseline {
            comparison = match comparison.against(name) {
                Ok(comparison) => comparison,
                Err(error) => {
                    complain(err, error);
                    return Ok(FAILURE);
                }
            };
        }
        if self.json {
            write_json(out, &comparison)?;
        } else {
            writeln!(out, "{comparison}")?;
        }
        Ok(if read.whole { 0 } else { FAILURE })
    }
}
