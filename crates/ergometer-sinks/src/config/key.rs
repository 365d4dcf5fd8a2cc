//! The keys that there are.

use std::fmt;
use std::path::PathBuf;

use ergometer::Error;

/// Something that can be set.
#[derive(Debug)]
pub(super) struct Key {
    /// `mlflow.url`: the table of the file, and the key in it.
    pub(super) name: &'static str,
    pub(super) variable: &'static str,
    pub(super) kind: Kind,
    pub(super) meaning: &'static str,
    /// What holds where it is not set.
    pub(super) default: Option<&'static str>,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    /// Of a server, with or without a scheme.
    Address,
    /// In the environment or a program, never in a file that is shared.
    Secret,
}

/// Where a value is from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Nobody says otherwise.
    Default,
    /// A file, and its line.
    File(PathBuf, usize),
    /// A variable of the environment.
    Environment(&'static str),
    /// The program.
    Program,
    /// An argument of a command: `--url`.
    Argument(&'static str),
}

const fn key(name: &'static str, variable: &'static str, kind: Kind, meaning: &'static str) -> Key {
    Key { name, variable, kind, meaning, default: None }
}

pub(super) const KEYS: [Key; 15] = [
    key(
        "tensorboard.directory",
        "ERGOMETER_TENSORBOARD",
        Kind::Text,
        "what `tensorboard --logdir` takes",
    ),
    key("mlflow.url", "MLFLOW_TRACKING_URI", Kind::Address, "the tracking server"),
    Key {
        default: Some("Default"),
        ..key("mlflow.experiment", "MLFLOW_EXPERIMENT_NAME", Kind::Text, "the experiment's name")
    },
    key("mlflow.run", "MLFLOW_RUN_ID", Kind::Text, "a run that somebody else has begun"),
    key("mlflow.token", "MLFLOW_TRACKING_TOKEN", Kind::Secret, "a token for the server"),
    key("mlflow.username", "MLFLOW_TRACKING_USERNAME", Kind::Secret, "or a user's name"),
    key("mlflow.password", "MLFLOW_TRACKING_PASSWORD", Kind::Secret, "and password"),
    key(
        "prometheus.address",
        "ERGOMETER_PROMETHEUS",
        Kind::Address,
        "where Prometheus asks, on loopback",
    ),
    key("otlp.endpoint", "OTEL_EXPORTER_OTLP_ENDPOINT", Kind::Address, "the collector"),
    key(
        "otlp.metrics-endpoint",
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        Kind::Address,
        "the collector's address for metrics, as it is",
    ),
    key("otlp.headers", "OTEL_EXPORTER_OTLP_HEADERS", Kind::Secret, "headers for the collector"),
    key("otlp.service", "OTEL_SERVICE_NAME", Kind::Text, "the service's name"),
    key("place.country", "ERGOMETER_COUNTRY", Kind::Text, "whose electricity is used"),
    Key {
        default: Some("1.0"),
        ..key(
            "place.pue",
            "ERGOMETER_PUE",
            Kind::Number,
            "the building's energy over that of its computers",
        )
    },
    key("place.price", "ERGOMETER_PRICE", Kind::Text, "of a kilowatt hour"),
];

/// Headers for metrics alone, which are as secret as those for all.
pub(super) const METRICS_HEADERS: &str = "OTEL_EXPORTER_OTLP_METRICS_HEADERS";

/// Variables of MLflow and OpenTelemetry that go to their sinks as they are. Whom to trust is nothing that a file may say: it may
/// be of a repository that somebody else wrote.
pub(super) const PASSED: [&str; 11] = [
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE",
    METRICS_HEADERS,
    "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_METRICS_EXPORTER",
    "OTEL_METRIC_EXPORT_INTERVAL",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SDK_DISABLED",
];

impl Key {
    /// A value as it may be shown: passwords and keys are often part of addresses.
    pub(super) fn shown(&self, value: &str) -> String {
        match self.kind {
            Kind::Secret => "set".to_owned(),
            Kind::Address => without_secrets(value),
            // A directory may be an address too.
            Kind::Text | Kind::Number if value.contains("://") => without_secrets(value),
            Kind::Text | Kind::Number => value.to_owned(),
        }
    }
}

/// An address without its user, password and query, however badly it is written.
fn without_secrets(address: &str) -> String {
    let address = address.trim();
    let is_scheme = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    let (scheme, rest) = match address.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => (format!("{scheme}://"), rest),
        _ => (String::new(), address),
    };
    let (place, query) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    // A password may hold a `?`, and a query an `@`: where one ends and the other begins is not known then.
    if query.contains('@') {
        return format!("{scheme}…");
    }
    let query = if query.is_empty() { "" } else { "?…" };
    match place.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}…@{host}{query}"),
        None => format!("{scheme}{place}{query}"),
    }
}

impl Origin {
    pub(super) fn rank(&self) -> u8 {
        match self {
            Origin::Default => 0,
            Origin::File(..) => 1,
            Origin::Environment(_) => 2,
            Origin::Program | Origin::Argument(_) => 3,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.pad("default"),
            Origin::File(path, line) => f.pad(&format!("{}:{line}", path.display())),
            Origin::Environment(variable) => f.pad(&format!("{variable} in the environment")),
            Origin::Program => f.pad("the program"),
            Origin::Argument(name) => f.pad(name),
        }
    }
}

/// An error about a word that is not known, with the nearest of those that are, or else all of them.
pub(super) fn nearest<'a>(error: Error, word: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let known: Vec<&str> = known.collect();
    error.cure(match near(word, known.iter().copied()) {
        Some(near) => format!("write `{near}`"),
        None => format!("write one of `{}`", known.join("`, `")),
    })
}

/// The known word that another one is a slip of: more than every other letter wrong is none.
fn near<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (edits, near) = known.map(|known| (distance(word, known), known)).min()?;
    (edits * 2 <= near.chars().count()).then_some(near)
}

/// That a variable, by its name, is a slip of one of ours.
pub(super) fn slip(name: &str) -> Option<Error> {
    let own = |name| str::strip_prefix(name, "ERGOMETER_");
    let word = own(name).filter(|_| KEYS.iter().all(|key| key.variable != name))?;
    let near = near(word, KEYS.iter().filter_map(|key| own(key.variable)))?;
    let what = format!("{} in the environment says nothing", name.escape_debug());
    Some(Error::invalid(what).cure(format!("write `ERGOMETER_{near}`")))
}

/// How many letters have to be changed, added or left out to make one word of the other (Levenshtein, 1966).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, letter) in one.chars().enumerate() {
        let mut next = vec![line + 1];
        let mut left = line + 1;
        for (pair, known) in row.windows(2).zip(&other) {
            let &[corner, above] = pair else { continue };
            left = (corner + usize::from(letter != *known)).min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_levenshtein_s() {
        for (one, other, edits) in [
            ("", "", 0),
            ("kitten", "sitting", 3),
            ("url", "", 3),
            ("", "url", 3),
            ("pue", "pue", 0),
            ("adress", "address", 1),
        ] {
            assert_eq!(distance(one, other), edits, "{one} {other}");
        }
    }

    fn key(name: &str) -> &'static Key {
        KEYS.iter().find(|key| key.name == name).unwrap()
    }

    #[test]
    fn an_address_is_shown_without_what_may_be_secret() {
        for (value, shown) in [
            ("http://127.0.0.1:5000/a", "http://127.0.0.1:5000/a"),
            ("databricks://profile", "databricks://profile"),
            ("127.0.0.1:9464", "127.0.0.1:9464"),
            ("http://me:s3@cret@host/a", "http://…@host/a"),
            ("HTTP://me:s3cret@Host:5000", "HTTP://…@Host:5000"),
            ("user:s3cret@host:5000", "…@host:5000"),
            ("//user:s3cret@host", "…@host"),
            (r"http:\\user:s3cret@host", "…@host"),
            ("  http://s3cret@host ", "http://…@host"),
            ("http://me:s3/cret@host/a", "http://…@host/a"),
            ("s3cret@host/x://y", "…@host/x://y"),
            ("host?token=s3cret", "host?…"),
            ("http://host/a#s3cret", "http://host/a?…"),
            ("http://host/a?key=s3@cret", "http://…"),
            ("http://me:s3?cret@host", "http://…"),
            ("me:s3#cret@host", "…"),
        ] {
            for name in
                ["mlflow.url", "prometheus.address", "otlp.endpoint", "otlp.metrics-endpoint"]
            {
                assert_eq!(key(name).shown(value), shown, "{name}");
            }
        }
        let directory = key("tensorboard.directory");
        assert_eq!(directory.shown("s3://me:s3cret@bucket/board"), "s3://…@bucket/board");
        assert_eq!(directory.shown("me@home/a?b#c"), "me@home/a?b#c");
        assert_eq!(key("mlflow.password").shown("s3cret"), "set");
    }

    #[test]
    fn every_key_stands_in_a_table_and_once() {
        let mut names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
        assert!(names.iter().all(|name| name.matches('.').count() == 1));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KEYS.len());
    }
}
