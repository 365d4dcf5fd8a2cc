//! `ergometer total`: what a whole project used.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ergometer_report::analysis::total::{Declared, Total};

use crate::{FAILURE, complain, write_json};

/// Adds up a whole project: every run in and below a directory, those that crashed included.
///
/// By what the runs were for (their note `purpose`: search, ablation, debugging, final), by how they ended, by month; and how
/// many times the final run it all took. The exit status is 1 if a run could not be read.
#[derive(Args, Debug)]
pub(crate) struct ProjectTotal {
    /// The directory that the project's runs are logged in.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Name or id of the final run; without it, runs count that note the purpose `final`.
    #[arg(long = "final", value_name = "NAME")]
    final_run: Option<String>,
    /// How long was trained without a measurement, such as `12 h`: told beside the sums, in none of them.
    #[arg(long, value_name = "TIME", value_parser = crate::schedule::time)]
    unmeasured: Option<Duration>,
    /// Give an object: all `runs`, sums by `purposes`, `states` and `months`, `final_runs`, `left_out`.
    #[arg(long)]
    json: bool,
}

impl ProjectTotal {
    pub(crate) fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
        let declared = Declared { final_run: self.final_run.clone(), unmeasured: self.unmeasured };
        let total = match Total::of(&self.directory, &declared) {
            Ok(total) => total,
            Err(error) => {
                complain(err, error);
                return Ok(FAILURE);
            }
        };
        for fault in &total.left_out {
            complain(err, &fault.reason);
        }
        if self.json {
            write_json(out, &total)?;
        } else {
            writeln!(out, "{total}")?;
        }
        Ok(if total.left_out.is_empty() { 0 } else { FAILURE })
    }
}
