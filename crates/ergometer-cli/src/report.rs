//! `ergometer report`: what each run came to.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use ergometer::{Error, Result, Summary};
use ergometer_report::analysis::per_unit::PerUnit;
use ergometer_report::site::Site;
use ergometer_report::{History, Page};
use serde::Serialize;

use crate::file::replace;
use crate::logs::Runs;
use crate::place::Place;
use crate::{FAILURE, complain, write_json};

/// Shows what runs came to.
///
/// Energy by epoch, in total and by domain, with its uncertainty and quality; as a table, or with `-o` as a page to look at.
/// A run that is still going, or was killed, is shown up to its last line. Lines of a log that cannot be understood are
/// told with file and line number; the rest is shown, and the exit status is 1.
#[derive(Args, Debug)]
pub(crate) struct Report {
    #[command(flatten)]
    runs: Runs,
    /// Give an array with an object for each run, energies in joules with standard uncertainties (k = 1).
    #[arg(long, conflicts_with = "output")]
    json: bool,
    /// Write an HTML page with charts, of all runs together; it needs no network and holds its numbers as JSON.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The metric that the page sets energy against. Without it, an accuracy if there is one.
    #[arg(long, value_name = "NAME", requires = "output")]
    metric: Option<String>,
    /// The models are dense transformers: tell the energy for each operation, of which a parameter and a token take six.
    #[arg(long, conflicts_with = "output")]
    transformer: bool,
    #[command(flatten)]
    place: Place,
}

/// A run as JSON: its summary, and what its energy comes to for each thing that it was spent on.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    per_unit: Option<PerUnit>,
}

impl Report {
    pub(crate) fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
        let done = self.site().map(|site| (site, self.output.as_deref()));
        let whole = match done {
            Ok((site, Some(path))) => {
                let read = self.runs.histories(err);
                match self.write_page(path, &read.histories, &site) {
                    Ok(done) => {
                        writeln!(err, "{done}")?;
                        read.whole
                    }
                    Err(error) => {
                        complain(err, error);
                        false
                    }
                }
            }
            Ok((_, None)) => self.tell(out, err)?,
            Err(error) => {
                complain(err, error);
                false
            }
        };
        Ok(if whole { 0 } else { FAILURE })
    }

    /// The place, which only a page has room for; one that is configured and not asked for is no mistake then.
    fn site(&self) -> Result<Site> {
        if self.output.is_none() && !self.place.is_given() {
            return Ok(Site::default());
        }
        let site = self.place.site()?;
        if self.output.is_none() {
            return Err(Error::invalid("the table says nothing of places")
                .cure("write a page with -o, or ask `ergometer whatif`"));
        }
        Ok(site)
    }

    fn tell(&self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<bool> {
        let read = self.runs.histories(err);
        let mut shown = Vec::new();
        for run in &read.histories {
            // Where the energy is not known, the table says so already.
            let per_unit = PerUnit::of(run).ok();
            let per_unit = match (per_unit, self.transformer) {
                (Some(per_unit), true) => match per_unit.dense_transformer() {
                    Ok(per_unit) => Some(per_unit),
                    Err(error) => {
                        complain(err, error);
                        return Ok(false);
                    }
                },
                (per_unit, _) => per_unit,
            };
            shown.push(Shown { summary: &run.summary, per_unit });
        }
        if self.json {
            write_json(out, &shown)?;
            return Ok(read.whole);
        }
        for (place, run) in shown.iter().enumerate() {
            let gap = if place > 0 { "\n" } else { "" };
            writeln!(out, "{gap}{}", run.summary)?;
            if let Some(per_unit) = &run.per_unit {
                writeln!(out, "{per_unit}")?;
            }
        }
        Ok(read.whole)
    }

    /// Writes the page; says what it is of, where it is, and how large.
    fn write_page(&self, path: &Path, runs: &[History], site: &Site) -> Result<String> {
        let page = Page::of(runs, self.metric.as_deref(), site)?;
        let html = page.to_string();
        replace(path, |file| {
            file.write_all(html.as_bytes()).map_err(|cause| Error::file("write", path, cause))
        })?;
        let size = html.len().div_ceil(1_000);
        Ok(format!("{}: `{}`, {size} kB", page.title(), path.display()))
    }
}
