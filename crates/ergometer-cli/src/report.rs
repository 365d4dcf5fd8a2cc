//! `ergometer report`: what each run came to.

use std::io::{self, Write};

use clap::Args;

use crate::logs::Runs;
use crate::{FAILURE, write_json};

/// Shows what runs came to.
///
/// Energy by epoch, in total and by domain, with its uncertainty and quality.
/// A run that is still going, or was killed, is shown up to its last line. Lines of a log that cannot be understood are
/// told with file and line number; the rest is shown, and the exit status is 1.
#[derive(Args, Debug)]
pub(crate) struct Report {
    #[command(flatten)]
    runs: Runs,
    /// Give an array with an object for each run, energies in joules with standard uncertainties (k = 1).
    #[arg(long)]
    json: bool,
}

impl Report {
    pub(crate) fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
        let read = self.runs.read(err);
        if self.json {
            write_json(out, &read.summaries)?;
        } else {
            for (place, summary) in read.summaries.iter().enumerate() {
                let gap = if place > 0 { "\n" } else { "" };
                writeln!(out, "{gap}{summary}")?;
            }
        }
        Ok(if read.whole { 0 } else { FAILURE })
    }
}
