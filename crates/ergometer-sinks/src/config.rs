//! [`Config`]: which sinks are on, and where a training runs, from a program, its environment and `ergometer.toml`.
//!
//! ```toml
//! [tensorboard]
//! directory = "tensorboard"
//!
//! [mlflow]
//! url = "http://127.0.0.1:5000"
//! experiment = "digits"
//!
//! [prometheus]
//! address = "127.0.0.1:9464"
//!
//! [otlp]
//! endpoint = "http://127.0.0.1:4318"
//!
//! [place]
//! country = "FR"
//! pue = 1.2
//! price = "0.25 EUR"
//! ```
//! What a program sets counts before what its environment says, and that before the file. A sink is on when its directory or
//! address is set.

mod file;
mod key;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ergometer::{Error, Result};
use ergometer_report::quantity::Pue;
use ergometer_report::site::Site;

use crate::mlflow::Mlflow;
use crate::otlp::Otlp;
use crate::prometheus::Scrape;
pub use key::Origin;
use key::{KEYS, Key, Kind, METRICS_HEADERS, PASSED};

/// What is set, and where.
///
/// Nothing is read unless it is asked for: neither a file nor the environment. `Debug`, [`settings`](Config::settings) and errors
/// show of a secret that it is set, and no more.
#[derive(Clone, Default)]
pub struct Config {
    set: BTreeMap<&'static str, (String, Origin)>,
    /// Variables that sinks understand and that have no key.
    passed: BTreeMap<&'static str, String>,
}

/// A key, what it is set to, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// `mlflow.url`.
    pub key: &'static str,
    /// `MLFLOW_TRACKING_URI`: what sets it in the environment.
    pub variable: &'static str,
    /// What it means, in a few words.
    pub meaning: &'static str,
    /// The value; of a secret `set`, and without what is secret in an address. `None` where it is not set.
    pub value: Option<String>,
    /// Where it is from; `None` where it is not set.
    pub origin: Option<Origin>,
}

/// The file's name.
pub const FILE: &str = "ergometer.toml";

impl Config {
    /// `ergometer.toml` in the current directory; nothing is set if there is none.
    ///
    /// # Errors
    /// If it cannot be read, is no TOML, or has a key or a value that is not understood.
    pub fn read() -> Result<Config> {
        let path = Path::new(FILE);
        match path.try_exists() {
            Ok(false) => Ok(Config::default()),
            _ => Config::open(path),
        }
    }

    /// This file. A directory in it is meant from where the file is.
    ///
    /// # Errors
    /// As [`read`](Config::read), and if there is none.
    pub fn open(path: impl AsRef<Path>) -> Result<Config> {
        let mut config = Config::default();
        for (key, value, line) in file::read(path.as_ref())? {
            config.put(key, value, Origin::File(path.as_ref().to_owned(), line));
        }
        Ok(config)
    }

    /// With what the environment says: variables that MLflow and OpenTelemetry have for it, and `ERGOMETER_TENSORBOARD`,
    /// `ERGOMETER_PROMETHEUS`, `ERGOMETER_COUNTRY`, `ERGOMETER_PUE` and `ERGOMETER_PRICE`. A variable that is empty says nothing.
    #[must_use]
    pub fn from_env(self) -> Config {
        self.from_variables(|name| std::env::var(name).ok())
    }

    /// As [`from_env`](Config::from_env), with variables from elsewhere.
    #[must_use]
    pub fn from_variables(mut self, variable: impl Fn(&str) -> Option<String>) -> Config {
        let named = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        for key in &KEYS {
            if let Some(value) = named(key.variable) {
                self.put(key, value, Origin::Environment(key.variable));
            }
        }
        self.passed.extend(PASSED.iter().filter_map(|name| Some((*name, named(name)?))));
        self
    }

    /// With this, whatever else says: `set("mlflow.url", "http://127.0.0.1:5000")`.
    ///
    /// # Errors
    /// If there is no such key.
    pub fn set(self, key: &str, value: impl Into<String>) -> Result<Config> {
        self.set_by(Origin::Program, key, value.into())
    }

    /// As [`set`](Config::set), by an argument of a command, which messages name: `--url`.
    ///
    /// # Errors
    /// As [`set`](Config::set).
    pub fn argument(
        self,
        argument: &'static str,
        key: &str,
        value: impl Into<String>,
    ) -> Result<Config> {
        self.set_by(Origin::Argument(argument), key, value.into())
    }

    fn set_by(mut self, origin: Origin, key: &str, value: String) -> Result<Config> {
        let known = KEYS.iter().find(|known| known.name == key).ok_or_else(|| {
            let what = format!("there is no setting `{}`", key.escape_debug());
            key::nearest(Error::invalid(what), key, KEYS.iter().map(|key| key.name))
        })?;
        self.put(known, value, origin);
        Ok(self)
    }

    /// All that there is to set, set or not.
    pub fn settings(&self) -> impl Iterator<Item = Setting> {
        KEYS.iter().map(|key| {
            let set = self.set.get(key.name);
            let value = set.map(|(value, _)| key.shown(value));
            let origin = set.map(|(_, origin)| origin.clone());
            let default = key.default.filter(|_| set.is_none());
            Setting {
                key: key.name,
                variable: key.variable,
                meaning: key.meaning,
                value: value.or(default.map(str::to_owned)),
                origin: origin.or(default.map(|_| Origin::Default)),
            }
        })
    }

    /// Where the training runs.
    ///
    /// # Errors
    /// An unknown country, and numbers that cannot be; the text says where they are set.
    pub fn site(&self) -> Result<Site> {
        let mut site = Site::default();
        if let Some(country) = self.value("place.country") {
            site = self.said("place.country", site.country(country))?;
        }
        if let Some(pue) = self.value("place.pue") {
            let number =
                pue.trim().parse().map_err(|_| Error::invalid(format!("`{pue}` is no number")));
            let pue = self.said("place.pue", number.and_then(Pue::new))?;
            site = site.pue(pue, self.whose("place.pue"));
        }
        if let Some(price) = self.value("place.price") {
            site = site.price(self.said("place.price", price.parse())?);
        }
        Ok(site)
    }

    /// The MLflow server, if one is named: to observe a run, or to upload logs.
    ///
    /// # Errors
    /// If its address is not understood.
    pub fn mlflow(&self) -> Result<Option<Mlflow>> {
        self.guard("mlflow.url")?;
        self.said("mlflow.url", Mlflow::from_variables(|name| self.variable(name)))
    }

    /// The collector of OpenTelemetry's, if one is named.
    ///
    /// # Errors
    /// If its address or its headers are not understood.
    pub fn otlp(&self) -> Result<Option<Otlp>> {
        let Some(key) = self.collector() else { return Ok(None) };
        self.guard(key)?;
        self.said(key, Otlp::from_variables(|name| self.variable(name)))
    }

    /// What would keep a training from its start, or a command from its end; nothing is connected to.
    pub fn faults(&self) -> Vec<Error> {
        let mlflow = if self.left_out().is_some() { None } else { self.mlflow().err() };
        let faults = [mlflow, self.prometheus().err(), self.otlp().err(), self.site().err()];
        faults.into_iter().flatten().collect()
    }

    /// The sinks that there are, each with why it is off, if it is; nothing is connected to.
    pub fn sinks(&self) -> [(&'static str, Option<String>); 4] {
        fn off<T>(asked: Result<Option<T>>, why: &str) -> Option<String> {
            match asked {
                Ok(Some(_)) => None,
                Ok(None) => Some(why.to_owned()),
                Err(_) => Some("not understood".to_owned()),
            }
        }
        let unset = "not set";
        let elsewhere = Otlp::switched_off(|name| self.variable(name));
        let elsewhere = elsewhere.filter(|_| self.collector().is_some());
        let left_out = self.left_out().map(|error| error.what().to_owned());
        [
            ("tensorboard", off(Ok(self.value("tensorboard.directory")), unset)),
            ("mlflow", left_out.or_else(|| off(self.mlflow(), unset))),
            ("prometheus", off(self.prometheus(), unset)),
            ("otlp", off(self.otlp(), elsewhere.unwrap_or(unset))),
        ]
    }

    /// Which variables, by their names, are slips of some that this reads: `ERGOMETER_TENSORBORD`.
    pub fn slips(names: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<Error> {
        names.into_iter().filter_map(|name| key::slip(name.as_ref())).collect()
    }

    /// Why the MLflow that the environment names is left out: the variable is for other programs too, and some of what it may
    /// say is for them alone.
    pub(crate) fn left_out(&self) -> Option<Error> {
        let key = "mlflow.url";
        let Some((url, Origin::Environment(_))) = self.set.get(key) else { return None };
        let refusal = Mlflow::new(url).err().filter(Error::is_unsupported)?;
        self.said(key, Err::<(), Error>(refusal)).err()
    }

    /// Where Prometheus is to ask.
    pub(crate) fn prometheus(&self) -> Result<Option<Vec<SocketAddr>>> {
        let key = "prometheus.address";
        self.said(key, self.value(key).map(Scrape::addresses).transpose())
    }

    /// What a key is set to.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        self.set.get(key).map(|(value, _)| value.as_str())
    }

    /// The directory that a key is set to, from where it was meant.
    pub(crate) fn path(&self, key: &str) -> Option<PathBuf> {
        let (value, origin) = self.set.get(key)?;
        Some(match origin {
            Origin::File(file, _) => {
                file.parent().map_or_else(PathBuf::new, Path::to_owned).join(value)
            }
            _ => PathBuf::from(value),
        })
    }

    /// The address of a collector that holds: that of the higher origin, and of two of the same the one for metrics.
    fn collector(&self) -> Option<&'static str> {
        let rank = |key: &str| self.set.get(key).map(|(_, origin)| origin.rank());
        let (metrics, all) = ("otlp.metrics-endpoint", "otlp.endpoint");
        match (rank(metrics), rank(all)) {
            (None, None) => None,
            (metrics_rank, all_rank) if metrics_rank >= all_rank => Some(metrics),
            _ => Some(all),
        }
    }

    /// Refuses to send a secret of the environment to an address that a file names: the file may be of a repository that
    /// somebody else wrote.
    ///
    /// # Errors
    /// If the address at `key` is from a file, and a secret for it is from the environment.
    fn guard(&self, key: &str) -> Result<()> {
        let Some((_, Origin::File(..))) = self.set.get(key) else { return Ok(()) };
        let family = key.split('.').next().unwrap_or(key);
        let secret = KEYS.iter().find_map(|secret| {
            let (_, origin) = self.set.get(secret.name)?;
            let of_it = secret.kind == Kind::Secret
                && secret.name.split('.').next() == Some(family)
                && matches!(origin, Origin::Environment(_));
            of_it.then_some(secret.variable)
        });
        let passed = METRICS_HEADERS;
        let passed = (family == "otlp" && self.passed.contains_key(passed)).then_some(passed);
        match secret.or(passed) {
            None => Ok(()),
            Some(variable) => Err(Error::invalid(format!(
                "`{key}` is from {}, and {variable} from the environment: a file does not say where secrets go",
                self.origin(key)
            ))
            .cure("name the address in the environment too")),
        }
    }

    /// True if a variable that no key stands for is outdone by what the program says.
    fn is_outdone(&self, name: &str) -> bool {
        let key = match name {
            "MLFLOW_EXPERIMENT_ID" => "mlflow.experiment",
            METRICS_HEADERS => "otlp.headers",
            _ => return false,
        };
        self.set.get(key).is_some_and(|(_, origin)| origin.rank() == Origin::Program.rank())
    }

    /// The variable of this name, or what is set instead of it.
    fn variable(&self, name: &str) -> Option<String> {
        let outdone = self.collector() == Some("otlp.endpoint")
            && name == "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT";
        if outdone || self.is_outdone(name) {
            return None;
        }
        let key = KEYS.iter().find(|key| key.variable == name);
        let set = key.and_then(|key| self.value(key.name)).map(str::to_owned);
        set.or_else(|| self.passed.get(name).cloned())
    }

    /// A result of what a key is set to; an error says where that is.
    pub(crate) fn said<T>(&self, key: &str, result: Result<T>) -> Result<T> {
        result.map_err(|error| {
            let said = Error::invalid(format!("`{key}` ({}): {}", self.origin(key), error.what()));
            match error.remedy() {
                Some(cure) => said.cure(cure),
                None => said,
            }
        })
    }

    fn origin(&self, key: &str) -> String {
        self.set.get(key).map_or_else(String::new, |(_, origin)| origin.to_string())
    }

    /// Where a value is from, for documents that others read: they have neither the file's lines nor the directories here.
    fn whose(&self, key: &str) -> String {
        match self.set.get(key) {
            Some((_, Origin::File(path, _))) => {
                format!("given in {}", path.file_name().unwrap_or_default().to_string_lossy())
            }
            _ => "given by the user".to_owned(),
        }
    }

    fn put(&mut self, key: &'static Key, value: String, origin: Origin) {
        let before = self.set.get(key.name);
        if before.is_none_or(|(_, before)| before.rank() <= origin.rank()) {
            self.set.insert(key.name, (value, origin));
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = self.settings().filter_map(|it| Some((it.key, it.value?)));
        f.debug_map().entries(set).finish()
    }
}
