//! `ergometer compare`: models against each other, each over its runs.

use std::io::{self, Write};

use clap::Args;
use ergometer::{Result, Summary};
use ergometer_report::analysis::time_energy::TimeEnergy;
use ergometer_report::{AtQuality, Comparison, History, Target};
use serde::Serialize;

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
    /// Compare also the energy that it took to reach a quality, by a metric of the epochs: accuracy=0.95, reward>=10, or a
    /// metric alone for the best value that every run reaches.
    #[arg(long, value_name = "METRIC[=TARGET]")]
    at_equal_quality: Option<Target>,
    /// Show which models no other beats in time and energy: up to the quality of --at-equal-quality, or over whole runs by
    /// --metric as well.
    #[arg(long)]
    front: bool,
    /// A metric that counts beside time and energy in --front: accuracy, loss.
    #[arg(long, value_name = "METRIC", requires = "front", conflicts_with = "at_equal_quality")]
    metric: Option<Target>,
}

/// The comparison, with what else was asked for.
#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    comparison: Comparison,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_equal_quality: Option<AtQuality>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_energy: Option<TimeEnergy>,
}

impl Compare {
    pub(crate) fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
        // What happened within the runs is read only where it is asked for.
        let (summaries, histories, whole) = if self.front || self.at_equal_quality.is_some() {
            let read = self.runs.histories(err);
            let summaries = read.histories.iter().map(|run| run.summary.clone()).collect();
            (summaries, read.histories, read.whole)
        } else {
            let read = self.runs.read(err);
            (read.summaries, Vec::new(), read.whole)
        };
        let answer = match self.answer(&summaries, &histories) {
            Ok(answer) => answer,
            Err(error) => {
                complain(err, error);
                return Ok(FAILURE);
            }
        };
        if self.json {
            write_json(out, &answer)?;
        } else {
            writeln!(out, "{}", answer.comparison)?;
            if let Some(at_quality) = &answer.at_equal_quality {
                writeln!(out, "\n{at_quality}")?;
            }
            if let Some(time_energy) = &answer.time_energy {
                writeln!(out, "\n{time_energy}")?;
            }
        }
        Ok(if whole { 0 } else { FAILURE })
    }

    fn answer(&self, summaries: &[Summary], histories: &[History]) -> Result<Answer> {
        let mut comparison = Comparison::of(summaries);
        if let Some(name) = &self.baseline {
            comparison = comparison.against(name)?;
        }
        let target = self.at_equal_quality.as_ref();
        let at_equal_quality =
            target.map(|target| AtQuality::of(&comparison, histories, target)).transpose()?;
        let front = || TimeEnergy::of(histories, target, self.metric.as_ref());
        let time_energy = self.front.then(front).transpose()?;
        Ok(Answer { comparison, at_equal_quality, time_energy })
    }
}
