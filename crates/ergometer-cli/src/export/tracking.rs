//! Tracking servers: what they do not have of a run is sent to them.

use std::cell::RefCell;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use ergometer::{Error, Result, RunLog};
use ergometer_sinks::config::Config;
use ergometer_sinks::mlflow::Mlflow;

use super::{Exported, Format};
use crate::complain;
use crate::logs::{Reading, Runs};

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
        let err = RefCell::new(err);
        let (mut sent, mut there) = (0, 0);
        let mut upload = |log: &RunLog| -> Reading<Exported> {
            let run_id = log.manifest.run_id.clone();
            let again =
                |error: &Error| complain(&mut Shared(&err), format_args!("{error}; trying again"));
            let (uploaded, bad) = mlflow.upload_telling(log, again)?;
            if let Some(experiment) = &uploaded.elsewhere {
                let experiment = experiment.escape_debug();
                let text = format_args!(
                    "{run_id} is in the experiment `{experiment}` already, and stays there"
                );
                complain(&mut Shared(&err), text);
            }
            (sent, there) = (sent + uploaded.sent, there + uploaded.there);
            Ok((Exported { run_id, path: PathBuf::from(uploaded.page) }, bad))
        };
        let (runs, whole) = runs.read_ranks(&mut upload, &mut Shared(&err));
        if !runs.is_empty() {
            let text = match sent {
                0 => format!("nothing was missing: {there} values are there"),
                sent => format!("{sent} values were sent, and {there} were there already"),
            };
            complain(&mut Shared(&err), text);
        }
        Ok((runs, whole))
    }

    fn server(&self) -> Result<Mlflow> {
        let mut config = Config::read()?.from_env();
        for (argument, key, value) in [
            ("--url", "mlflow.url", &self.url),
            ("--experiment", "mlflow.experiment", &self.experiment),
        ] {
            if let Some(value) = value {
                config = config.argument(argument, key, value)?;
            }
        }
        config.mlflow()?.ok_or_else(|| {
            Error::invalid("no MLflow server is named")
                .cure("give its address: `--url http://127.0.0.1:5000`")
        })
    }
}

/// Standard error, for a reader of logs and what it calls meanwhile.
struct Shared<'a, 'b>(&'a RefCell<&'b mut dyn Write>);

impl Write for Shared<'_, '_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.borrow_mut().flush()
    }
}
