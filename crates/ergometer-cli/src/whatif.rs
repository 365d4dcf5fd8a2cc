//! `ergometer whatif`: what runs would emit and cost at other places.

use std::io::{self, Write};

use clap::Args;
use ergometer_report::analysis::places::Places;

use crate::logs::Runs;
use crate::place::Place;
use crate::{FAILURE, complain, write_json};

/// Shows what runs would emit and cost at other places.
///
/// Name places by `--country`, once for each; the first is the own one, which the others are set against. An `--intensity`
/// is that of the first. One `--pue` or `--price` holds everywhere; several are those of the places in their order. The
/// energy is that of all runs together.
#[derive(Args, Debug)]
pub(crate) struct WhatIf {
    #[command(flatten)]
    runs: Runs,
    #[command(flatten)]
    place: Place,
    /// Give an object: the energy of the equipment, and `places` with `co2e_kg`, `ratio` and `cost`.
    #[arg(long)]
    json: bool,
}

impl WhatIf {
    pub(crate) fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
        let sites = match self.place.sites() {
            Ok(sites) => sites,
            Err(error) => {
                complain(err, error);
                return Ok(FAILURE);
            }
        };
        let read = self.runs.histories(err);
        match Places::of(&read.histories, &sites) {
            Ok(places) if self.json => write_json(out, &places)?,
            Ok(places) => writeln!(out, "{places}")?,
            Err(error) => {
                complain(err, error);
                return Ok(FAILURE);
            }
        }
        Ok(if read.whole { 0 } else { FAILURE })
    }
}
