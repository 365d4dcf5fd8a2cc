//! `ergometer total`: what a whole project used.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ergometer::Result;
use ergometer_report::analysis::total::{Declared, Total};
use ergometer_report::quantity::Co2e;
use ergometer_report::site::Site;
use serde::Serialize;

use crate::place::Place;
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
    #[command(flatten)]
    place: Place,
    /// Give an object: all `runs`, sums by `purposes`, `states` and `months`, `final_runs`, `left_out`.
    #[arg(long)]
    json: bool,
}

/// A total with what it emitted at a place.
#[derive(Serialize)]
struct Placed<'a> {
    #[serde(flatten)]
    total: &'a Total,
    site: &'a Site,
    #[serde(rename = "co2e_kg")]
    carbon: Option<Co2e>,
    cost: Option<String>,
}

impl ProjectTotal {
    pub(crate) fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
        let declared = Declared { final_run: self.final_run.clone(), unmeasured: self.unmeasured };
        let read = || -> Result<(Total, Site)> {
            let site = self.place.site()?;
            Ok((Total::of(&self.directory, &declared)?, site))
        };
        let (total, site) = match read() {
            Ok(read) => read,
            Err(error) => {
                complain(err, error);
                return Ok(FAILURE);
            }
        };
        for fault in &total.left_out {
            complain(err, &fault.reason);
        }
        if self.json {
            let energy = Some(total.energy).filter(|_| total.is_known());
            let carbon = energy.and_then(|energy| site.carbon(energy));
            let cost = energy.and_then(|energy| site.cost(energy)).map(|money| money.to_string());
            write_json(out, &Placed { total: &total, site: &site, carbon, cost })?;
        } else {
            writeln!(out, "{total}")?;
            write_place(out, &total, &site)?;
        }
        Ok(if total.left_out.is_empty() { 0 } else { FAILURE })
    }
}

/// What the whole emitted and cost at a place, where one is given; as uncertain as its energy.
fn write_place(out: &mut dyn Write, total: &Total, site: &Site) -> io::Result<()> {
    if !total.is_known() || site.intensity.is_none() && site.price.is_none() {
        return Ok(());
    }
    writeln!(out, "\n{site}")?;
    let expanded = total.uncertainty.map_or(String::new(), |uncertainty| {
        let relative = uncertainty.as_joules() / total.energy.as_joules().max(f64::MIN_POSITIVE);
        format!(" ± {:.0} % (k=2, of the energy alone)", 200.0 * relative)
    });
    if let Some(carbon) = site.carbon(total.energy) {
        writeln!(out, "emissions  {carbon}{expanded}")?;
    }
    if let Some(cost) = site.cost(total.energy) {
        writeln!(out, "cost       {cost}{expanded}")?;
    }
    Ok(())
}
