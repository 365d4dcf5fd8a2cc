//! MLflow: a run's parameters, its epochs and its totals on a tracking server, over REST.
//!
//! | What | As |
//! |---|---|
//! | the user's notes, `parameters`, `framework`, `device` | params; those that are there already stay as they are |
//! | epochs, phases and the whole run | metrics: `energy/epoch_joules`, `uncertainty/…`, `power/…_watts`, `time/…_seconds`, and `energy/gpu-GPU-0/epoch_joules` for each domain |
//! | what the program notes itself | metrics `epoch/loss`, `phase_valid/accuracy`, `total/…`; of steps, `step/…`, one in a second |
//! | powers, means over ten seconds or more | `system/gpu_0_power_usage_watts` and the like, for the tab "System metrics" |
//! | the table of the run | the description |
//!
//! What is not measured has it in its key: `energy/epoch_joules_estimated`. Uncertainties are standard ones (k = 1). What is not
//! resolved has no value. Letters that MLflow does not take are underscores, with a checksum behind them, so that no two names
//! become one.
//!
//! The request is that of MLflow's REST API 2.0, which its versions 1 to 3 have.

mod server;
mod told;

use std::path::Path;

use ergometer::record::{Event, Manifest};
use ergometer::{Energy, Error, Observer, Record, Result, RunLog, Summary, Timestamp, Verdict};

use crate::base64;
use crate::courier::{Courier, Delivery};
use crate::post::{Post, base};
use crate::replay;
use server::Server;
use told::{Parcel, Told};

/// Tells an MLflow server of a run: when an epoch ends, at least every ten seconds in which something ends, and at the end.
///
/// On a thread of its own. While the server is down or slow, what is to be told waits, up to 256 times; beyond that the oldest is
/// lost. A warning in the run's log says when it began, and how much was lost; [`upload`](Mlflow::upload) tells it afterwards.
#[derive(Debug)]
pub struct Mlflow {
    server: Server,
    told: Told,
    courier: Courier<Parcel>,
}

/// What waits for a server that is down: three quarters of an hour, or 256 epochs.
const QUEUE: usize = 256;

/// An address, for messages.
const EXAMPLE: &str = "http://127.0.0.1:5000";

/// What tells a server later what is lost.
const LATER: &str = "`ergometer export RUN --format mlflow` tells it later";

impl Mlflow {
    /// To the tracking server at this address, `http://127.0.0.1:5000`, in its experiment `Default`.
    ///
    /// # Errors
    /// If the address is none of HTTP, holds a password, a `?` or a `#`, or needs TLS and is built without;
    /// [`Error::is_unsupported`] for one that MLflow's own client would understand: `sqlite:///mlflow.db`, `./mlruns`.
    pub fn new(url: impl AsRef<str>) -> Result<Mlflow> {
        let url = url.as_ref();
        if is_store(url) {
            let what = "the address is of a store that MLflow opens itself, and no server's";
            return Err(Error::unsupported(what).cure(if url.starts_with("databricks") {
                "name the workspace's own address, which begins with https://"
            } else {
                "start `mlflow server --backend-store-uri …` with it, and name the server's address, http://127.0.0.1:5000"
            }));
        }
        let server = Server::new(Post::new(base(url)?, EXAMPLE)?);
        let courier = Courier::queue(format!("MLflow `{}`", server.place()), QUEUE, LATER);
        Ok(Mlflow { server, told: Told::default(), courier })
    }

    /// As MLflow's variables say: `MLFLOW_TRACKING_URI`, `MLFLOW_EXPERIMENT_NAME` or `_ID`, `MLFLOW_RUN_ID`,
    /// `MLFLOW_TRACKING_USERNAME` and `_PASSWORD`, or `MLFLOW_TRACKING_TOKEN`, and `MLFLOW_TRACKING_SERVER_CERT_PATH`. `None` where
    /// no server is named. As MLflow's own client does, it sends a user with a password rather than a token, and a token rather
    /// than one of the two alone. `MLFLOW_TRACKING_INSECURE_TLS` is not followed.
    ///
    /// # Errors
    /// As [`new`](Mlflow::new), [`bearer`](Mlflow::bearer) and [`certificate`](Mlflow::certificate), or if a user has no password,
    /// or a password no user, and there is no token. No message repeats a secret.
    pub fn from_env() -> Result<Option<Mlflow>> {
        Mlflow::from_variables(|name| std::env::var(name).ok())
    }

    /// As [`from_env`](Mlflow::from_env), with variables from elsewhere.
    ///
    /// # Errors
    /// As [`from_env`](Mlflow::from_env).
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Mlflow>> {
        let named = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let Some(url) = named("MLFLOW_TRACKING_URI") else { return Ok(None) };
        let mut mlflow = Mlflow::new(url)?;
        if let Some(name) = named("MLFLOW_EXPERIMENT_NAME") {
            mlflow = mlflow.experiment(name);
        }
        if let Some(id) = named("MLFLOW_EXPERIMENT_ID") {
            mlflow = mlflow.experiment_id(id);
        }
        if let Some(id) = named("MLFLOW_RUN_ID") {
            mlflow = mlflow.join(id);
        }
        if let Some(file) = named("MLFLOW_TRACKING_SERVER_CERT_PATH") {
            mlflow = mlflow.certificate(file)?;
        }
        let (user, password) =
            (named("MLFLOW_TRACKING_USERNAME"), named("MLFLOW_TRACKING_PASSWORD"));
        match (user, password, named("MLFLOW_TRACKING_TOKEN")) {
            (Some(user), Some(password), _) => mlflow.basic(&user, &password),
            (_, _, Some(token)) => mlflow.bearer(&token),
            (None, None, None) => Ok(mlflow),
            (Some(_), None, None) => Err(half("USERNAME", "PASSWORD")),
            (None, Some(_), None) => Err(half("PASSWORD", "USERNAME")),
        }
        .map(Some)
    }

    /// A new run is made in the experiment of this name, and that too if it is not there. One that is there already stays where
    /// it is.
    #[must_use]
    pub fn experiment(mut self, name: impl Into<String>) -> Mlflow {
        self.server.experiment = server::Experiment::Named(name.into());
        self
    }

    /// A new run is made in the experiment of this id.
    #[must_use]
    pub fn experiment_id(mut self, id: impl Into<String>) -> Mlflow {
        self.server.experiment = server::Experiment::Id(id.into());
        self
    }

    /// Adds to this run of MLflow's, which somebody else has begun and will end. Its state and its description are left alone.
    #[must_use]
    pub fn join(mut self, id: impl Into<String>) -> Mlflow {
        self.server.join = Some(id.into());
        self
    }

    /// Sends a token along, in the header `Authorization`.
    ///
    /// # Errors
    /// If it holds characters that a header cannot, or would go unencrypted to another machine.
    pub fn bearer(self, token: &str) -> Result<Mlflow> {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// Sends a user's name and password along, in the header `Authorization` (RFC 7617).
    ///
    /// # Errors
    /// As [`bearer`](Mlflow::bearer).
    pub fn basic(self, user: &str, password: &str) -> Result<Mlflow> {
        let pair = base64::encode(format!("{user}:{password}").as_bytes());
        self.header("Authorization", &format!("Basic {pair}"))
    }

    /// Sends this header along; its value is never written anywhere.
    ///
    /// # Errors
    /// If it is no header, or a secret would go unencrypted to another machine.
    pub fn header(mut self, name: &str, value: &str) -> Result<Mlflow> {
        self.server = self.server.header(name, value)?;
        Ok(self)
    }

    /// Trusts the authorities of this file (PEM), such as a company's own, and no others. Certificates are always checked.
    ///
    /// The file is not read where the address is not one of https.
    ///
    /// # Errors
    /// If it cannot be read, or holds no certificate.
    pub fn certificate(mut self, file: impl AsRef<Path>) -> Result<Mlflow> {
        self.server = self.server.trusting(file.as_ref())?;
        Ok(self)
    }

    /// A handle to wait for the last of it with, and to see what was lost.
    pub fn delivery(&self) -> Delivery {
        self.courier.delivery()
    }

    /// Tells the server now what a log holds and the server does not; of a run that it has in whole, nothing.
    ///
    /// A run that a sink has told of is found by its tag `ergometer.run_id`, in whichever experiment; else a new one is made, and
    /// none is joined. Beside what was told come the lines of the log that could not be understood.
    ///
    /// # Errors
    /// If the log cannot be read, or the server is not there, or refuses. What had arrived by then stays, and is not told again.
    /// Values that it refuses keep no others away.
    pub fn upload(&self, log: &RunLog) -> Result<(Uploaded, Vec<Error>)> {
        self.upload_telling(log, |_| ())
    }

    /// As [`upload`](Mlflow::upload), and tells `again` what fails before it is tried again: three tries can take half a minute.
    ///
    /// # Errors
    /// As [`upload`](Mlflow::upload).
    pub fn upload_telling(
        &self,
        log: &RunLog,
        mut again: impl FnMut(&Error),
    ) -> Result<(Uploaded, Vec<Error>)> {
        let mut course = Course::default();
        let bad = replay(log, &mut course)?;
        let uploaded = self.server.upload(course.parcels, &mut again)?;
        Ok((uploaded, bad))
    }

    fn give(&self, parcel: Option<Parcel>) {
        if let Some(parcel) = parcel {
            self.courier.give(parcel);
        }
    }
}

impl Observer for Mlflow {
    fn name(&self) -> &str {
        "mlflow"
    }

    fn began(&mut self, manifest: &Manifest) {
        let mut server = self.server.clone();
        self.courier.start(move |parcel| server.deliver(parcel));
        self.told.began(manifest);
    }

    fn settled(&mut self, window: &Record) -> Verdict {
        let verdict = self.courier.verdict(window);
        let parcel = self.told.settled(window);
        self.give(parcel);
        verdict
    }

    fn used(&mut self, _energy: Energy, _now: Timestamp) -> Verdict {
        self.courier.news().map_or(Verdict::GoOn, Verdict::Warn)
    }

    fn happened(&mut self, event: &Event) {
        self.told.happened(event);
    }

    fn ended(&mut self, summary: &Summary) {
        let parcel = self.told.ended(summary);
        self.give(parcel);
        self.courier.close();
    }
}

/// Whether MLflow's client takes an address for a data base, a directory or a service that it signs in to.
fn is_store(url: &str) -> bool {
    let url = url.trim();
    let scheme = url.split([':', '+']).next().unwrap_or_default().to_ascii_lowercase();
    let stores = [
        "sqlite",
        "mysql",
        "postgresql",
        "postgres",
        "mssql",
        "file",
        "databricks",
        "databricks-uc",
        "uc",
    ];
    // A directory, as it is written by itself.
    stores.contains(&scheme.as_str()) || !url.contains(':') || url.starts_with(['.', '~'])
}

/// One of a user's name and password is there, the other one is not.
fn half(there: &str, missing: &str) -> Error {
    Error::invalid(format!(
        "MLFLOW_TRACKING_{there} is set, and MLFLOW_TRACKING_{missing} is not: neither would be sent"
    ))
    .cure(format!("set MLFLOW_TRACKING_{missing} too, or a token alone: MLFLOW_TRACKING_TOKEN"))
}

/// What [`Mlflow::upload`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Uploaded {
    /// MLflow's id of the run.
    pub run: String,
    /// Values that were sent.
    pub sent: usize,
    /// Values that were there already.
    pub there: usize,
    /// The run's page.
    pub page: String,
    /// The name of the experiment that it was in already, if another one was asked for.
    pub elsewhere: Option<String>,
}

/// All that a log has to tell.
#[derive(Default)]
struct Course {
    told: Told,
    parcels: Vec<Parcel>,
}

impl Observer for Course {
    fn name(&self) -> &str {
        "mlflow"
    }

    fn began(&mut self, manifest: &Manifest) {
        self.parcels.extend(self.told.rest());
        self.told.began(manifest);
    }

    fn settled(&mut self, window: &Record) -> Verdict {
        self.parcels.extend(self.told.settled(window));
        Verdict::GoOn
    }

    fn happened(&mut self, event: &Event) {
        self.told.happened(event);
    }

    fn ended(&mut self, summary: &Summary) {
        self.parcels.extend(self.told.ended(summary));
    }
}
