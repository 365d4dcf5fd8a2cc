//! Formats that are made of finished runs: one text or table of all of them.

use std::error::Error as _;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::{Args, ValueEnum};
use ergometer::{Error, Kind, Result};
use ergometer_report::History;
use ergometer_report::analysis::embodied::{Embodied, Part, ServiceLife};
use ergometer_report::grid;
use ergometer_report::quantity::{Flop, Pue};
use ergometer_report::site::Site;
use ergometer_sinks::export::{
    self, BoAmps, CodeCarbon, CycloneDx, Gpai, ModelCard, Sci, Sentence, Table, Version,
};

use super::{Exported, Format};
use crate::complain;
use crate::file::{replace, turn};
use crate::logs::Runs;
use crate::place::Place;
use crate::sheet::part;

/// What formats want to know that a log does not.
#[derive(Args, Debug)]
#[expect(clippy::doc_markdown, reason = "a command's help has no markup")]
pub(super) struct Known {
    /// What the training was for.
    #[arg(long, value_enum, value_name = "STAGE", help_heading = "For some formats")]
    stage: Option<Stage>,
    /// A JSON file with what a BoAmps report says of task, data and infrastructure.
    #[arg(long, value_name = "FILE", help_heading = "For some formats")]
    template: Option<PathBuf>,
    /// What the runs used, for the emissions of its manufacture in `sci`: `laptop`, `4 H100`; as often as there are kinds.
    #[arg(long, value_name = "DEVICE", value_parser = part, help_heading = "For some formats")]
    device: Vec<Part>,
    /// Floating-point operations of the training, for `gpai`: `3.1e21`.
    #[arg(long, value_name = "COUNT", help_heading = "For some formats")]
    operations: Option<f64>,
    /// Windows that become rows of `csv` and `parquet`.
    #[arg(long, value_enum, value_name = "ROWS", help_heading = "For some formats")]
    rows: Option<Rows>,
    /// Version of CycloneDX; without it 1.7.
    #[arg(long, value_enum, value_name = "VERSION", help_heading = "For some formats")]
    spec: Option<Spec>,
    /// The `sentence` in LaTeX, with BibTeX entries, instead of Markdown.
    #[arg(long, help_heading = "For some formats")]
    latex: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Stage {
    /// A model from nothing.
    PreTraining,
    /// A model that had been trained before.
    FineTuning,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Rows {
    /// The windows of epochs.
    #[default]
    Epochs,
    /// The windows of steps.
    Steps,
    /// The windows of phases.
    Phases,
    /// A row for each run.
    Runs,
    /// All windows.
    All,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Spec {
    /// Of 2024.
    #[value(name = "1.6")]
    V1_6,
    /// Of 2025.
    #[value(name = "1.7")]
    V1_7,
}

/// What was written, where it went to a file; and whether all of the logs could be read.
type Done = Result<(Vec<Exported>, bool)>;

impl Known {
    /// Writes the runs to a file, or else to `out`.
    pub(super) fn write(
        &self,
        format: Format,
        runs: &Runs,
        path: Option<&Path>,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> io::Result<Done> {
        if let Err(error) = self.fits(format) {
            return Ok(Err(error));
        }
        let done = match format {
            Format::Csv | Format::Parquet => self.table(format, runs, path, out, err),
            _ => self.text(format, runs, path, out, err),
        };
        match done {
            // A reader that has gone away is no error; it is told to the caller, who knows.
            Err(error) => {
                match error.source().and_then(|cause| cause.downcast_ref::<io::Error>()) {
                    Some(cause) if cause.kind() == io::ErrorKind::BrokenPipe => {
                        Err(cause.kind().into())
                    }
                    _ => Ok(Err(error)),
                }
            }
            done => Ok(done),
        }
    }

    /// Refuses what the format would not heed.
    pub(super) fn fits(&self, format: Format) -> Result<()> {
        use Format::{BoAmps, CodeCarbon, Csv, CycloneDx, Gpai, ModelCard, Parquet, Sci, Sentence};
        let given: [(&str, bool, &[Format]); 7] = [
            ("--stage", self.stage.is_some(), &[ModelCard, BoAmps, CycloneDx]),
            ("--template", self.template.is_some(), &[BoAmps]),
            ("--device", !self.device.is_empty(), &[Sci]),
            ("--operations", self.operations.is_some(), &[Gpai]),
            ("--rows", self.rows.is_some(), &[Csv, Parquet]),
            ("--spec", self.spec.is_some(), &[CycloneDx]),
            ("--latex", self.latex, &[Sentence]),
        ];
        for (option, given, formats) in given {
            if given && !formats.contains(&format) {
                let formats: Vec<String> = formats.iter().map(Format::to_string).collect();
                return Err(Error::invalid(format!("{option} says nothing to `{format}`"))
                    .cure(format!("leave it out; it is for {}", formats.join(", "))));
            }
        }
        let placed = [ModelCard, CodeCarbon, BoAmps, CycloneDx, Gpai, Sci, Sentence];
        if !placed.contains(&format) && self.place.is_given() {
            return Err(Error::invalid(format!("`{format}` says nothing of places"))
                .cure("leave the place out, or ask `ergometer whatif`"));
        }
        if self.place.is_priced() {
            return Err(Error::invalid("no format has a place for a price")
                .cure("leave --price out, or ask `ergometer whatif`"));
        }
        Ok(())
    }

    fn text(
        &self,
        format: Format,
        runs: &Runs,
        path: Option<&Path>,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> Done {
        let site = self.place.site()?;
        let mut read = runs.histories(err);
        if read.histories.is_empty() {
            return Err(Error::absent("there is no run to write").cure("name directories of runs"));
        }
        // Those that say nothing do not stand in the way of the others.
        let is_known = |run: &History| run.energy().energy.is_some();
        if read.histories.iter().any(is_known) {
            for run in read.histories.extract_if(.., |run| !is_known(run)) {
                let directory = run.summary.directory.display();
                complain(
                    err,
                    Error::invalid(format!("the energy of `{directory}` is not known"))
                        .cure("the other runs are written; measure a longer run"),
                );
                read.whole = false;
            }
        }
        // What is read of a file has to be what is replaced.
        let keeps = matches!(format, Format::ModelCard | Format::CodeCarbon);
        let is_file = |path: &&Path| fs::metadata(path).map_or(true, |old| old.is_file());
        let _turn = path.filter(|_| keeps).filter(is_file).and_then(turn);
        let text = self.compose(format, &read.histories, &site, path, err)?;
        if let Some(unused) = unused(format, &site) {
            complain(err, unused);
        }
        let Some(path) = path else {
            out.write_all(text.as_bytes()).map_err(unwritten)?;
            return Ok((Vec::new(), read.whole));
        };
        replace(path, |file| file.write_all(text.as_bytes()).map_err(unwritten))?;
        let ids = read.histories.iter().map(|run| run.summary.manifest.run_id.clone());
        Ok((ids.map(|run_id| Exported { run_id, path: path.to_owned() }).collect(), read.whole))
    }

    fn compose(
        &self,
        format: Format,
        runs: &[History],
        site: &Site,
        path: Option<&Path>,
        err: &mut dyn Write,
    ) -> Result<String> {
        let stage = self.stage.map(|stage| match stage {
            Stage::PreTraining => export::Stage::PreTraining,
            Stage::FineTuning => export::Stage::FineTuning,
        });
        let now = SystemTime::now();
        Ok(match format {
            Format::ModelCard => {
                let card = ModelCard::of(runs, site)?;
                let card = stage.into_iter().fold(card, ModelCard::stage);
                match there(path)? {
                    Some((path, old)) => {
                        let (card, kept) = card.written_into(&old, path)?;
                        if !kept.is_empty() {
                            let (path, kept) = (path.display(), kept.join("`, `"));
                            complain(
                                err,
                                format_args!(
                                    "`{path}` keeps `{kept}` from before: see that this holds of this run, too"
                                ),
                            );
                        }
                        card
                    }
                    None => card.to_string(),
                }
            }
            Format::CodeCarbon => {
                let rows = CodeCarbon::of(runs, site)?;
                let text = match there(path)? {
                    Some((path, old)) => rows.written_into(&old, path)?,
                    None => rows.to_string(),
                };
                for (what, of) in rows.unsaid() {
                    let of =
                        if of.len() > 3 { format!("{} runs", of.len()) } else { of.join(", ") };
                    complain(
                        err,
                        format_args!(
                            "CodeCarbon has no column to say of {of}: {what}; say it beside the file"
                        ),
                    );
                }
                text
            }
            Format::BoAmps => BoAmps::of(runs, site, self.template()?, stage, now)?.to_string(),
            Format::CycloneDx => {
                let version = match self.spec {
                    Some(Spec::V1_6) => Version::V1_6,
                    Some(Spec::V1_7) => Version::V1_7,
                    None => Version::default(),
                };
                CycloneDx::of(runs, site, version, stage, now)?.to_string()
            }
            Format::Gpai => Gpai::of(runs, site, self.operations()?)?.to_string(),
            Format::Sci => Sci::of(runs, site, |run| self.embodied(run))?.to_string(),
            Format::Sentence => {
                let sentence = Sentence::of(runs, site)?;
                if self.latex { sentence.latex() } else { sentence.markdown() }
            }
            other => return Err(Error::invalid(format!("`{other}` is no text"))),
        })
    }

    fn template(&self) -> Result<serde_json::Value> {
        let Some(path) = &self.template else { return Ok(serde_json::json!({})) };
        let text = fs::read_to_string(path).map_err(|cause| Error::file("read", path, cause))?;
        serde_json::from_str(&text).map_err(|cause| {
            Error::invalid(format!("`{}`, line {}: {cause}", path.display(), cause.line()))
                .cure("give a JSON object")
        })
    }

    fn operations(&self) -> Result<Option<Flop>> {
        match self.operations {
            Some(count) if !(count.is_finite() && count > 0.0) => {
                Err(Error::invalid(format!("{count} is no number of operations"))
                    .cure("give a count above 0, such as 3.1e21"))
            }
            count => Ok(count.map(Flop::from_count)),
        }
    }

    /// The emissions of manufacture that a run carries, of the devices that were given.
    fn embodied(&self, run: &History) -> Result<Option<Embodied>> {
        if self.device.is_empty() {
            return Ok(None);
        }
        let time = run.summary.end.duration;
        Embodied::of(self.device.clone(), time, ServiceLife::default()).map(Some)
    }

    fn table(
        &self,
        format: Format,
        runs: &Runs,
        path: Option<&Path>,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> Done {
        let kinds: &[Kind] = match self.rows.unwrap_or_default() {
            Rows::Epochs => &[Kind::Epoch],
            Rows::Steps => &[Kind::Step],
            Rows::Phases => &[Kind::Phase],
            Rows::Runs => &[Kind::End],
            Rows::All => &[Kind::Epoch, Kind::Step, Kind::Phase, Kind::End],
        };
        let mut table = Table::new(kinds);
        let (known, mut whole) = runs.read_ranks(
            |log| table.add(log).map(|()| (log.manifest.run_id.clone(), Vec::new())),
            err,
        );
        if known.is_empty() {
            return Err(Error::absent("there is no run to write").cure("name directories of runs"));
        }
        let write = |out: &mut dyn Write| match format {
            Format::Parquet => export::parquet::write(&table, out),
            _ => export::csv::write(&table, out),
        };
        let (bad, exported) = match path {
            Some(path) => {
                let bad = replace(path, write)?;
                let known = known.into_iter();
                (bad, known.map(|run_id| Exported { run_id, path: path.to_owned() }).collect())
            }
            None => (write(out)?, Vec::new()),
        };
        for fault in bad {
            complain(err, fault);
            whole = false;
        }
        Ok((exported, whole))
    }
}

/// What of a place a format has no use for.
fn unused(format: Format, site: &Site) -> Option<&'static str> {
    let overhead = site.pue.value != Pue::NO_OVERHEAD;
    let named = site.name.as_deref().is_some_and(|name| grid::country(name).is_ok());
    match format {
        Format::BoAmps if overhead => {
            Some("the PUE is not used: a BoAmps report has the energy of the IT equipment")
        }
        Format::BoAmps if site.intensity.is_some() && !named => Some(
            "the intensity is not used: a BoAmps report has it beside a country; give that, too",
        ),
        Format::Sentence if overhead && site.intensity.is_none() => Some(
            "the PUE is not used: the sentence tells the energy of the IT equipment, and emissions want an intensity",
        ),
        _ => None,
    }
}

/// What is in a file that is there. A pipe or a device holds nothing to keep, and may never end.
fn there(path: Option<&Path>) -> Result<Option<(&Path, String)>> {
    let Some(path) = path else { return Ok(None) };
    let text = match fs::metadata(path) {
        Ok(old) if !old.is_file() => return Ok(None),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Ok(_) => fs::read_to_string(path),
        Err(cause) => Err(cause),
    };
    text.map(|text| Some((path, text))).map_err(|cause| Error::file("read", path, cause))
}

fn unwritten(cause: io::Error) -> Error {
    Error::invalid(format!("the answer cannot be written: {cause}")).caused_by(cause)
}
