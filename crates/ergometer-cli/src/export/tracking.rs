//! Tracking servers: what they do not have of a run is sent to them.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use ergometer::{Error, Result, RunLog};
use ergometer_sinks::config::Config;
use ergometer_sinks::mlflow::Mlflow;

use super::{Exported, Format};
use crate::logs::Runs;

/// Which server, and where on it.
#[derive(Args, Debug)]
pub(crate) struct Tracking {
    /// The server's address; without it, `MLFLOW_TRACKING_URI` or `ergometer.toml` names it.
    #[arg(long, value_name = "URL", help_heading = "MLflow")]
    url: Option<String>,
    /// The experiment for runs that are not on the server yet. A token is taken from `MLFLOW_TRACKING_TOKEN`, or a user's name and
    /// password from `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`.
    #[arg(long, value_name = "NAME", help_heading = "MLflow")]
    experiment: Option<String>,
}

impl Tracking {
    /// Refuses what a format that is no server would not heed.
    pub(super) fn fits(&self, format: Format) -> Result<()> {
        if format == Format::Mlflow || (self.url.is_none() && self.experiment.is_none()) {
            return Ok(());
        }
        Err(Error::invalid(format!("--url and --experiment say nothing to `{format}`"))
            .cure("leave them out; they are for mlflow"))
    }

    /// Sends the runs; tells which there are now, and whether nothing was in the way.
    pub(super) fn send(&self, runs: &Runs, err: &mut dyn Write) -> Result<(Vec<Exported>, bool)> {
        let mlflow = self.server()?;
        Ok(runs.read_each(|log| upload(&mlflow, log), err))
    }

    fn server(&self) -> Result<Mlflow> {
        let mut config = Config::read()?.from_env();
        for (key, value) in [("mlflow.url", &self.url), ("mlflow.experiment", &self.experiment)] {
            if let Some(value) = value {
                config = config.set(key, value)?;
            }
        }
        config.mlflow()?.ok_or_else(|| {
            Error::invalid("no MLflow server is named")
                .cure("give its address: `--url http://127.0.0.1:5000`")
        })
    }
}

fn upload(mlflow: &Mlflow, log: &RunLog) -> crate::logs::Reading<Exported> {
    let (uploaded, bad) = mlflow.upload(log)?;
    let run_id = log.manifest.run_id.clone();
    let path = PathBuf::from(uploaded.page);
    Ok((Exported { run_id, path }, bad))
}
