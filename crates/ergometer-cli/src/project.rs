//! `ergometer project`: what a run will come to.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;
use ergometer::log::Line;
use ergometer::record::{Manifest, State};
use ergometer::{Error, Kind, Record, Result, RunLog};
use ergometer_report::History;
use ergometer_report::analysis::projection::{
    Calibration, EarlyStop, Outlay, Projection, planned_epochs,
};
use ergometer_report::metric::Direction;
use ergometer_report::site::Site;
use serde::Serialize;

use crate::follow::{Follower, Patience, is_worth, newest, stale};
use crate::place::Place;
use crate::{FAILURE, complain, write_json};

/// Shows what a run will come to: energy, time, emissions, money.
///
/// From the epochs that are done, without those that warm up, with an interval of 95 %. A run that is still going is shown as
/// it stands, or with --follow anew at the end of each epoch. Of a run that has ended, it is shown how well it would have
/// been projected. Of a directory of several runs, the newest is taken.
#[derive(Args, Debug)]
pub(crate) struct Project {
    /// The run's directory.
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Epochs in all, if the program does not note them as `epochs`.
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// A metric that ends the training once it gets no better, with --patience.
    #[arg(long, value_name = "NAME", requires = "patience_epochs")]
    metric: Option<String>,
    /// Epochs that are waited for a better metric.
    #[arg(long = "patience", value_name = "EPOCHS", requires = "metric")]
    patience_epochs: Option<u64>,
    /// Whether the metric should be `higher` or `lower`, if its name does not tell.
    #[arg(long, value_name = "DIRECTION", requires = "metric")]
    better: Option<Direction>,
    #[command(flatten)]
    place: Place,
    /// Follow the run until it ends, and project anew at the end of each epoch; of more than a thousand that are done
    /// already, at the end of the last.
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    patience: Patience,
    /// Give an object with `projection`, `outlay` and, of a run that has ended, `calibration`; one in each line with --follow.
    #[arg(long)]
    json: bool,
}

/// What is said of a run.
#[derive(Serialize)]
struct Answer {
    run_id: String,
    name: String,
    state: State,
    projection: Projection,
    #[serde(skip_serializing_if = "Option::is_none")]
    early_stop: Option<EarlyStop>,
    site: Site,
    outlay: Outlay,
    #[serde(skip_serializing_if = "Option::is_none")]
    calibration: Option<Calibration>,
}

impl Project {
    pub(crate) fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
        let site = match self.place.site() {
            Ok(site) => site,
            Err(error) => {
                complain(err, error);
                return Ok(FAILURE);
            }
        };
        let directory = newest(&self.run, err);
        if self.follow {
            self.follow(directory, &site, out, err)
        } else {
            self.once(directory, &site, out, err)
        }
    }

    fn once(
        &self,
        directory: PathBuf,
        site: &Site,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> io::Result<u8> {
        let read = RunLog::open(directory).and_then(|log| Ok((History::read(&log)?, log)));
        let answer = read.and_then(|((run, bad), log)| {
            if let Some(word) = stale(&log) {
                complain(err, word);
            }
            bad.iter().for_each(|fault| complain(err, fault));
            Ok((self.answer_of(&run, site)?, bad.is_empty()))
        });
        match answer {
            Ok((answer, whole)) => {
                if self.json {
                    write_json(out, &answer)?;
                } else {
                    write!(out, "{}", answer.text())?;
                }
                Ok(if whole { 0 } else { FAILURE })
            }
            Err(error) => {
                complain(err, error);
                Ok(FAILURE)
            }
        }
    }

    fn follow(
        &self,
        directory: PathBuf,
        site: &Site,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> io::Result<u8> {
        let mut epochs: Vec<Record> = Vec::new();
        let mut follower = Follower::new(directory.clone());
        let mut status = follower.follow(&self.patience, err, |manifest, line, is_last| {
            if let Line::Window(window) = line
                && window.kind == Kind::Epoch
            {
                epochs.push((**window).clone());
                if !is_worth(epochs.len(), is_last) {
                    return Ok(ControlFlow::Continue(()));
                }
                let planned = self.epochs.or_else(|| planned_epochs(manifest));
                match self.answer(manifest, &epochs, planned, site) {
                    Ok(answer) => self.show(&answer, out)?,
                    // An epoch that was broken off may be all there is yet.
                    Err(error) if error.is_absent() && self.metric.is_none() => {}
                    Err(error) => return Ok(ControlFlow::Break(error)),
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        // At its end, it is looked at as a whole.
        let ended = RunLog::open(directory).and_then(|log| History::read(&log));
        if let Ok((run, _)) = ended
            && let Ok(calibration) = Calibration::of(&run)
        {
            if self.json {
                serde_json::to_writer(&mut *out, &calibration)?;
                writeln!(out)?;
            } else {
                writeln!(out, "{calibration}")?;
            }
        } else {
            status = status.max(u8::from(epochs.is_empty()) * FAILURE);
        }
        Ok(status)
    }

    fn show(&self, answer: &Answer, out: &mut dyn Write) -> io::Result<()> {
        if self.json {
            serde_json::to_writer(&mut *out, answer)?;
            writeln!(out)?;
        } else {
            writeln!(out, "{}", answer.text())?;
        }
        out.flush()
    }

    fn answer_of(&self, run: &History, site: &Site) -> Result<Answer> {
        let manifest = &run.summary.manifest;
        let calibration = Calibration::of(run).ok();
        // A run that has ended as planned has done what was planned.
        let done = calibration.is_some().then(|| Calibration::epochs(run));
        let planned = self.epochs.or(done).or_else(|| planned_epochs(manifest));
        let mut answer = self.answer(manifest, &run.epochs, planned, site)?;
        answer.projection.is_estimated |= run.is_estimated();
        Ok(Answer { calibration, ..answer })
    }

    fn answer(
        &self,
        manifest: &Manifest,
        epochs: &[Record],
        planned: Option<u64>,
        site: &Site,
    ) -> Result<Answer> {
        let Some(planned) = planned else {
            return Err(Error::invalid(format!(
                "run `{}` does not say how many epochs are planned",
                manifest.run_id
            ))
            .cure("give their number with --epochs, or note it in the program as `epochs`"));
        };
        let projection = Projection::of_epochs(epochs, planned)?;
        let early_stop = match (&self.metric, self.patience_epochs) {
            (Some(metric), Some(patience)) => {
                let direction = self.better.map_or_else(|| Direction::of(metric), Ok)?;
                Some(projection.early_stop(epochs, metric, direction, patience)?)
            }
            _ => None,
        };
        Ok(Answer {
            run_id: manifest.run_id.clone(),
            name: manifest.name.clone(),
            state: manifest.state,
            outlay: projection.at(site),
            site: site.clone(),
            projection,
            early_stop,
            calibration: None,
        })
    }
}

impl Answer {
    fn text(&self) -> String {
        let state = match self.state {
            State::Running => "running",
            State::Complete => "complete",
            State::Dropped => "left early",
            State::Panicked => "panicked",
            State::Stopped => "stopped",
        };
        let mut text = format!("{} · {} · {state}\n{}\n", self.name, self.run_id, self.projection);
        let early_stop = self.early_stop.as_ref().map(ToString::to_string);
        let outlay = Some(self.outlay.to_string()).filter(|text| !text.is_empty());
        let place = outlay.is_some().then(|| self.site.to_string());
        let calibration = self.calibration.as_ref().map(ToString::to_string);
        for part in [early_stop, outlay, place, calibration].into_iter().flatten() {
            text.push_str(&part);
            text.push('\n');
        }
        text
    }
}
