//! `ergometer export`: logged runs in the formats of other people's tools.

mod document;
mod monitoring;
mod tracking;

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use ergometer::{Error, Result, RunLog};
use ergometer_sinks::TensorBoard;
use serde::Serialize;

use document::Known;
use tracking::Tracking;

use crate::logs::{Reading, Runs};
use crate::{FAILURE, complain, write_json};

/// Writes runs in the formats of other people's tools.
///
/// From the log; where a sink writes the same beside a training, there is no difference. What is there already is replaced, but for
/// model cards and CodeCarbon's files, of which the rest stays as it is, for read-only files and for logs of runs, which are refused.
/// Without `-o`, or with `-o -`, the answer goes to standard output.
///
/// Lines of a log that cannot be understood are told with file and line number, and so are runs that cannot be written beside
/// others; the rest is written, and the exit status is 1.
#[derive(Args, Debug)]
#[command(mut_arg("price", |price| price.hide(true)))]
pub(crate) struct Export {
    #[command(flatten)]
    runs: Runs,
    /// What to write the runs as.
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Format,
    /// The file to write to, or the directory of `tensorboard`.
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Give an array with an object for each run that was written: `run_id`, and where as `path`.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    known: Known,
    #[command(flatten)]
    tracking: Tracking,
}

/// What runs can be written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[expect(clippy::doc_markdown, reason = "a command's help has no markup")]
enum Format {
    /// Event files in a directory for each run below PATH, for `tensorboard --logdir PATH`; not where a running sink writes.
    #[value(name = "tensorboard")]
    TensorBoard,
    /// Emissions of one run in the metadata of a Hugging Face model card; into the card that is there, or a new one. Wants a place.
    ModelCard,
    /// Lines of CodeCarbon's emissions.csv; at the end of the file that is there, or a new one.
    #[value(name = "codecarbon")]
    CodeCarbon,
    /// A report of one run in Boavizta's format BoAmps 1.1; what the log does not know comes from --template.
    #[value(name = "boamps")]
    BoAmps,
    /// A bill of materials of the models in CycloneDX, with the energy of their training.
    #[value(name = "cyclonedx")]
    CycloneDx,
    /// The figures on the energy of one run that the European Union asks of providers of general-purpose models.
    Gpai,
    /// The parts of a Software Carbon Intensity (ISO/IEC 21031:2024). Wants a place.
    Sci,
    /// Where runs stood at their ends, as Prometheus reads it: for the node exporter's textfile collector.
    Prometheus,
    /// Where runs stood behind each epoch and at their ends, as a request of OTLP/HTTP in JSON.
    Otlp,
    /// What an MLflow server does not have of the runs, sent to it.
    Mlflow,
    /// Windows as comma-separated values: a row for each epoch, or as --rows says.
    Csv,
    /// The same as a Parquet file.
    Parquet,
    /// A paragraph for a paper, with what to cite; runs of one model are one sentence about their mean.
    Sentence,
}

/// As it is given.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

/// A run that was written.
#[derive(Debug, Serialize)]
struct Exported {
    run_id: String,
    path: PathBuf,
}

impl Export {
    pub(crate) fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
        let path = self.path();
        let done = match self.format {
            format if self.tracking.fits(format).is_err() => {
                self.tracking.fits(format).map(|()| (Vec::new(), true))
            }
            Format::Mlflow if self.output.is_some() => {
                Err(Error::invalid("-o says nothing to `mlflow`").cure("name a server by --url"))
            }
            Format::Mlflow => {
                self.known.fits(self.format).and_then(|()| self.tracking.send(&self.runs, err))
            }
            Format::TensorBoard => {
                let place = self.known.fits(self.format).and_then(|()| self.output("a directory"));
                place
                    .and_then(is_directory)
                    .map(|path| self.runs.read_ranks(|log| tensorboard(log, path), err))
            }
            Format::Parquet if self.output.is_none() => {
                self.output("a file").map(|_| (Vec::new(), true))
            }
            _ if self.json && path.is_none() => {
                Err(Error::invalid("--json tells where the file is").cure("name the file with -o"))
            }
            Format::Prometheus | Format::Otlp => match self.known.fits(self.format) {
                Ok(()) => monitoring::write(self.format, &self.runs, path, out, err)?,
                Err(refusal) => Err(refusal),
            },
            format => self.known.write(format, &self.runs, path, out, err)?,
        };
        let (exported, whole) = match done {
            Ok(done) => done,
            Err(error) => {
                complain(err, error);
                return Ok(FAILURE);
            }
        };
        if self.json {
            write_json(out, &exported)?;
        } else {
            for runs in exported.chunk_by(|one, next| one.path == next.path) {
                match runs {
                    [run] => writeln!(err, "{}: `{}`", run.run_id, run.path.display())?,
                    [run, ..] => writeln!(err, "{} runs: `{}`", runs.len(), run.path.display())?,
                    [] => {}
                }
            }
        }
        Ok(if whole { 0 } else { FAILURE })
    }

    /// Where to write, where it is not standard output.
    fn path(&self) -> Option<&Path> {
        self.output.as_deref().filter(|path| *path != Path::new("-"))
    }

    /// The path that a format cannot do without.
    fn output(&self, what: &str) -> Result<&Path> {
        self.path().ok_or_else(|| {
            Error::invalid("there is no place to write to").cure(format!("give {what} by -o"))
        })
    }
}

fn is_directory(path: &Path) -> Result<&Path> {
    if path.is_file() {
        return Err(Error::invalid(format!(
            "cannot make the directory `{}`: it is a file",
            path.display()
        ))
        .cure("give a directory, for the event files below it"));
    }
    Ok(path)
}

fn tensorboard(log: &RunLog, directory: &Path) -> Reading<Exported> {
    let (path, bad) = TensorBoard::new(directory).export(log)?;
    Ok((Exported { run_id: log.manifest.run_id.clone(), path }, bad))
}
