//! The `ergometer` command: what can be measured here, what a program uses, and what runs came to.
//!
//! The command is [`run`], so that it can be called without a process of its own.

mod compare;
mod config;
mod doctor;
mod export;
mod file;
mod follow;
#[cfg(feature = "live")]
mod live;
mod logs;
mod measure;
mod place;
mod project;
mod report;
mod returns;
mod scaling;
mod schedule;
mod sheet;
mod total;
mod tuning;
mod watch;
mod whatif;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use ergometer::sensor::Selection;
use ergometer::{Meter, MeterBuilder};

/// Measures the energy that programs use, above all those that train models.
#[derive(Debug, Parser)]
#[command(name = "ergometer", version, max_term_width = 100, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  ergometer doctor                        what can be measured here, and how well
  ergometer doctor --self-test            the same, and whether it holds
  ergometer run -- python train.py        measure any program
  ergometer report runs                   every run in a directory
  ergometer report runs -o report.html    the same as a page with charts
  ergometer compare runs --json           models against each other, for a program to read
  ergometer scaling runs                  what doubling the size costs, and halving the error
  ergometer returns runs/MY-RUN           what each gain of a training cost
  ergometer watch runs                    the newest run, while it trains
  ergometer project runs --epochs 40      what it will come to
  ergometer total runs                    the whole project, with the runs that crashed
  ergometer whatif runs --country FR      what they would emit and cost there
  ergometer export runs --format csv      for other people's tools: TensorBoard, model cards and more
  ergometer config show                   which of them are on while programs train, and where that is set";

#[derive(Debug, Subcommand)]
enum Command {
    Doctor(doctor::Doctor),
    Run(measure::Measure),
    Watch(watch::Watch),
    Project(project::Project),
    Report(report::Report),
    Compare(compare::Compare),
    Scaling(scaling::Scaling),
    Returns(returns::Gains),
    Tuning(tuning::Search),
    Total(total::ProjectTotal),
    #[command(name = "whatif")]
    WhatIf(whatif::WhatIf),
    Schedule(schedule::Schedule),
    Sheet(sheet::ProjectSheet),
    Export(export::Export),
    Config(config::Configuration),
}

/// Where the machine's sensors are looked for.
#[derive(Args, Clone, Debug)]
struct Sources {
    /// Where sysfs is: in a container, the mount of the host's.
    #[arg(long, value_name = "DIR", default_value = "/sys")]
    sysfs: PathBuf,
    /// Where procfs is.
    #[arg(long, value_name = "DIR", default_value = "/proc")]
    procfs: PathBuf,
    /// Where device files are.
    #[arg(long, value_name = "DIR", default_value = "/dev")]
    devices: PathBuf,
    /// NVIDIA's management library, if it is not where the system looks for it.
    #[arg(long, value_name = "FILE")]
    nvml_library: Option<PathBuf>,
    /// All GPUs, also those that `CUDA_VISIBLE_DEVICES`, `ROCR_VISIBLE_DEVICES` and the like hide.
    #[arg(long)]
    all_gpus: bool,
}

impl Sources {
    fn gpus(&self) -> Selection {
        if self.all_gpus { Selection::All } else { Selection::Visible }
    }

    /// A meter of what is found there.
    fn meter(&self) -> MeterBuilder {
        let meter = Meter::builder()
            .sysfs(&self.sysfs)
            .procfs(&self.procfs)
            .devices(&self.devices)
            .gpus(self.gpus());
        match &self.nvml_library {
            Some(library) => meter.nvml_library(library),
            None => meter,
        }
    }
}

/// The exit status of a command that could not do what it should.
const FAILURE: u8 = 1;

/// Does what the arguments say, the program's name first; gives the exit status.
///
/// Answers go to `out`, messages to `err`. A reader of `out` that has gone away is no error. The status is 0 if all went
/// well, 1 if not, 2 for wrong arguments; `ergometer run` gives its command's, as its help says.
pub fn run(
    arguments: impl IntoIterator<Item = OsString>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let done = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => match arguments.command {
            Command::Doctor(doctor) => doctor.run(out),
            Command::Run(measure) => Ok(measure.run(err)),
            Command::Watch(watch) => watch.run(out, err),
            Command::Project(project) => project.run(out, err),
            Command::Report(report) => report.run(out, err),
            Command::Compare(compare) => compare.run(out, err),
            Command::Scaling(scaling) => scaling.run(out, err),
            Command::Returns(returns) => returns.run(out, err),
            Command::Tuning(tuning) => tuning.run(out, err),
            Command::Total(total) => total.run(out, err),
            Command::WhatIf(whatif) => whatif.run(out, err),
            Command::Schedule(schedule) => schedule.run(out, err),
            Command::Sheet(sheet) => sheet.run(out, err),
            Command::Export(export) => export.run(out, err),
            Command::Config(config) => config.run(out, err),
        },
        Err(refusal) => {
            let text = refusal.render();
            let written =
                if refusal.use_stderr() { write!(err, "{text}") } else { write!(out, "{text}") };
            written.map(|()| u8::try_from(refusal.exit_code()).unwrap_or(FAILURE))
        }
    };
    match done.and_then(|status| out.flush().map(|()| status)) {
        Ok(status) => status,
        Err(gone) if gone.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(failure) => {
            complain(err, format_args!("cannot write the answer: {failure}"));
            FAILURE
        }
    }
}

/// Tells something on standard error; if that does not listen either, there is nobody left to tell.
fn complain(err: &mut dyn Write, what: impl std::fmt::Display) {
    let _ = writeln!(err, "ergometer: {what}");
}

/// Writes an answer as JSON, and a line's end.
fn write_json(out: &mut dyn Write, answer: &impl serde::Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, answer)?;
    writeln!(out)
}
