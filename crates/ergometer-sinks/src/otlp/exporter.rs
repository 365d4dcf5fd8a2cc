//! [`Otlp`]: sends where the run stands to a collector.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ergometer::{Error, Result};
use serde_json::Value;

use super::{CONTENT_TYPE, Resource, request};
use crate::courier::{Courier, Delivery, Failure};
use crate::post::{self, Post};
use crate::push::{Deliver, Push, push};
use crate::tally::Tally;

/// Sends where the run stands to an OpenTelemetry collector, every 10 s of the run and at its end, by OTLP/HTTP with JSON.
///
/// While the collector is down, what was to be sent waits, at most 64 times; beyond that the oldest is lost. Energies are
/// cumulative, so that what is lost is how the run went meanwhile, not what it used. A warning in the run's log says when it
/// began, and how much was lost.
#[derive(Debug)]
pub struct Otlp {
    post: Post,
    resource: Resource,
    push: Push,
}

const EVERY: Duration = Duration::from_secs(10);

/// What waits for a collector that is down: more than ten minutes.
const QUEUE: usize = 64;

/// What tells a collector later.
const LATER: &str =
    "`ergometer export RUN --format otlp` writes what there is to tell from the log";

impl Otlp {
    /// To the collector at this address, `http://127.0.0.1:4318`; metrics go to its path `/v1/metrics`.
    ///
    /// # Errors
    /// If the address is none of HTTP, holds a password, a `?` or a `#`, or needs TLS and is built without.
    pub fn new(base: impl AsRef<str>) -> Result<Otlp> {
        Otlp::at(format!("{}/v1/metrics", post::base(base.as_ref())?))
    }

    /// To this very address: `http://127.0.0.1:9090/api/v1/otlp/v1/metrics` is Prometheus's own.
    ///
    /// # Errors
    /// As [`new`](Otlp::new); it may have a query.
    pub fn at(url: impl Into<String>) -> Result<Otlp> {
        let post = Post::new(url, "http://127.0.0.1:4318")?;
        let courier = Courier::queue(format!("OTLP `{}`", post.place()), QUEUE, LATER);
        let push = Push::new(courier, EVERY);
        Ok(Otlp { post, resource: Resource::default(), push })
    }

    /// As OpenTelemetry's variables say: `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`, `OTEL_EXPORTER_OTLP_ENDPOINT`, their `_HEADERS` and
    /// `_CERTIFICATE`, `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_METRIC_EXPORT_INTERVAL`. `None` where
    /// `OTEL_SDK_DISABLED` is `true`, or `OTEL_METRICS_EXPORTER` names others than `otlp` only; `http://localhost:4318` where no
    /// address is named.
    ///
    /// `OTEL_EXPORTER_OTLP_PROTOCOL` may be `http/json`, or `http/protobuf`, to which JSON is sent too: collectors take both at
    /// the same address, by the content's type.
    ///
    /// # Errors
    /// If a value is not understood, or asks for gRPC or another protocol, and as [`certificate`](Otlp::certificate). No message
    /// repeats a header's value.
    pub fn from_env() -> Result<Option<Otlp>> {
        Otlp::from_variables(|name| std::env::var(name).ok())
    }

    /// As [`from_env`](Otlp::from_env), with variables from elsewhere.
    ///
    /// # Errors
    /// As [`from_env`](Otlp::from_env).
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Otlp>> {
        let named = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        if Otlp::switched_off(&variable).is_some() {
            return Ok(None);
        }
        let either = |rest: &str| {
            named(&format!("OTEL_EXPORTER_OTLP_METRICS_{rest}"))
                .or_else(|| named(&format!("OTEL_EXPORTER_OTLP_{rest}")))
        };
        let spoken = ["http/json", "http/protobuf"];
        if let Some(other) = either("PROTOCOL").filter(|it| !spoken.contains(&it.trim())) {
            let asked = shortened(&other);
            let what = format!("OTEL_EXPORTER_OTLP_PROTOCOL is `{asked}`, and only HTTP is spoken");
            return Err(Error::unsupported(what).cure("set it to http/json, and a port of HTTP"));
        }
        let mut otlp = match named("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT") {
            Some(url) => Otlp::at(url)?,
            None => match named("OTEL_EXPORTER_OTLP_ENDPOINT") {
                Some(base) => Otlp::new(base)?,
                None => Otlp::new("http://localhost:4318")?,
            },
        };
        if let Some(file) = either("CERTIFICATE") {
            otlp = otlp.certificate(file)?;
        }
        for (name, value) in pairs("a list of OTLP headers", either("HEADERS"))? {
            otlp = otlp.header(&name, &value)?;
        }
        for (key, value) in pairs("OTEL_RESOURCE_ATTRIBUTES", named("OTEL_RESOURCE_ATTRIBUTES"))? {
            otlp.resource = otlp.resource.attribute(key, value);
        }
        if let Some(name) = named("OTEL_SERVICE_NAME") {
            otlp.resource = otlp.resource.service(name);
        }
        if let Some(interval) = named("OTEL_METRIC_EXPORT_INTERVAL") {
            let time = interval.trim().parse().map_err(|_| {
                Error::invalid(format!("OTEL_METRIC_EXPORT_INTERVAL is `{interval}`"))
                    .cure("give a whole number of thousandths of a second")
            })?;
            otlp = otlp.every(Duration::from_millis(time));
        }
        Ok(Some(otlp))
    }

    /// Why OpenTelemetry's variables ask for nothing to be sent, if they do.
    pub(crate) fn switched_off(variable: impl Fn(&str) -> Option<String>) -> Option<&'static str> {
        let off = |value: &String| value.eq_ignore_ascii_case("true");
        if variable("OTEL_SDK_DISABLED").as_ref().is_some_and(off) {
            return Some("OTEL_SDK_DISABLED is true");
        }
        let list = variable("OTEL_METRICS_EXPORTER").filter(|list| !list.trim().is_empty())?;
        let elsewhere = list.split(',').all(|exporter| exporter.trim() != "otlp");
        elsewhere.then_some("OTEL_METRICS_EXPORTER names others")
    }

    /// Sends a token along, in the header `Authorization`.
    ///
    /// # Errors
    /// If it holds characters that a header cannot, or would go unencrypted to another machine.
    pub fn bearer(self, token: &str) -> Result<Otlp> {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// Sends this header along; its value is never written anywhere.
    ///
    /// # Errors
    /// If it is no header, or a secret would go unencrypted to another machine.
    pub fn header(self, name: &str, value: &str) -> Result<Otlp> {
        Ok(Otlp { post: self.post.header(name, value)?, ..self })
    }

    /// Trusts the authorities of this file (PEM), such as a company's own, and no others. Certificates are always checked.
    ///
    /// The file is not read where the address is not one of https.
    ///
    /// # Errors
    /// If it cannot be read, or holds no certificate.
    pub fn certificate(self, file: impl AsRef<Path>) -> Result<Otlp> {
        Ok(Otlp { post: self.post.trusting(file.as_ref())?, ..self })
    }

    /// The attributes that go along.
    #[must_use]
    pub fn resource(self, resource: Resource) -> Otlp {
        Otlp { resource, ..self }
    }

    /// Sends so often, by the run's clock.
    #[must_use]
    pub fn every(mut self, time: Duration) -> Otlp {
        self.push.every = time;
        self
    }

    /// A handle to wait for the last request with, and to see what was lost.
    pub fn delivery(&self) -> Delivery {
        self.push.delivery()
    }

    fn deliver(&self) -> Arc<Deliver> {
        let (post, resource) = (self.post.clone(), self.resource.clone());
        Arc::new(move |tally| send(&post, &resource, tally))
    }
}

push!(Otlp, "otlp");

fn send(post: &Post, resource: &Resource, tally: &Tally) -> std::result::Result<(), Failure> {
    let answer = post.post(CONTENT_TYPE, request([tally], resource).to_string().as_bytes())?;
    // An answer of protobuf, or none at all, tells nothing of refused points.
    let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
    let partial = &answer["partialSuccess"];
    let rejected = match &partial["rejectedDataPoints"] {
        Value::String(count) => count.parse().unwrap_or(0),
        count => count.as_u64().unwrap_or(0),
    };
    if rejected == 0 {
        return Ok(());
    }
    let why = partial["errorMessage"].as_str().unwrap_or("it does not say why");
    let (place, why) = (post.place(), shortened(&post.masked(why)));
    Err(Failure::Never(Error::lost(format!("`{place}` refused {rejected} points: {why}"))))
}

/// What somebody else wrote, for a message: not long, and on one line.
fn shortened(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_debug).collect()
}

/// A list such as `a=1,b=x%20y`, as W3C Baggage writes it; the values are not repeated in messages.
fn pairs(what: &str, list: Option<String>) -> Result<Vec<(String, String)>> {
    let list = list.unwrap_or_default();
    let pairs = list.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=')?;
            Some((unescaped(key.trim())?, unescaped(value.trim())?))
        })
        .collect::<Option<_>>()
        .ok_or_else(|| {
            Error::invalid(format!("{what} is not understood"))
                .cure("write it as key=value,key=value")
        })
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = char::from(rest.next()?).to_digit(16)?;
            let low = char::from(rest.next()?).to_digit(16)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(variables: &[(&str, &str)]) -> Result<Option<Otlp>> {
        Otlp::from_variables(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_signal_s_own_address_is_taken_as_it_is_and_the_general_one_gets_a_path() {
        let url = |variables: &[_]| from(variables).unwrap().unwrap().post.url().to_owned();
        assert_eq!(url(&[]), "http://localhost:4318/v1/metrics");
        let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1/a/");
        assert_eq!(url(&[general]), "http://127.0.0.1:1/a/v1/metrics");
        let own = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://127.0.0.1:2/b");
        assert_eq!(url(&[general, own]), "http://127.0.0.1:2/b");
    }

    #[test]
    fn it_can_be_switched_off_and_grpc_is_refused() {
        assert!(from(&[("OTEL_SDK_DISABLED", "TRUE")]).unwrap().is_none());
        assert!(from(&[("OTEL_METRICS_EXPORTER", "none")]).unwrap().is_none());
        for other in ["grpc", "http/xml"] {
            let protocol = [("OTEL_EXPORTER_OTLP_PROTOCOL", other)];
            assert!(from(&protocol).unwrap_err().is_unsupported(), "{other}");
        }
        for spoken in ["http/json", "http/protobuf"] {
            assert!(from(&[("OTEL_EXPORTER_OTLP_PROTOCOL", spoken)]).unwrap().is_some());
        }
    }

    #[test]
    fn only_an_exporter_of_otlp_sends() {
        let sends = |list| from(&[("OTEL_METRICS_EXPORTER", list)]).unwrap().is_some();
        assert!(sends("otlp") && sends("console, otlp") && sends(""));
        assert!(!sends("prometheus") && !sends("console,none"));
    }

    #[test]
    fn what_a_collector_says_is_short_and_on_one_line() {
        let text = shortened(&format!("a\n\u{1b}[2J{}", "é".repeat(10_000)));
        assert!(text.starts_with(r"a\n\u{1b}[2Jé"), "{text}");
        assert!(text.chars().count() < 220 && !text.contains('\n'), "{text}");
    }

    #[test]
    fn a_base_with_a_query_is_refused_and_a_whole_address_may_have_one() {
        assert!(Otlp::new("http://127.0.0.1:1/?key=a").is_err());
        assert!(Otlp::new("http://127.0.0.1:1/#a").is_err());
        assert!(Otlp::at("http://127.0.0.1:1/v1/metrics?key=a").is_ok());
    }

    #[test]
    fn headers_are_unescaped_and_never_shown() {
        let otlp = from(&[
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20s3cret, x-scope=a"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=first,k8s.pod.name=p%2C1"),
            ("OTEL_SERVICE_NAME", "second"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "2500"),
        ]);
        let otlp = otlp.unwrap().unwrap();
        assert_eq!(otlp.push.every, Duration::from_millis(2_500));
        assert_eq!(otlp.resource.0["service.name"], "second");
        assert_eq!(otlp.resource.0["k8s.pod.name"], "p,1");
        assert!(!format!("{otlp:?}").contains("s3cret"));
        let bad = from(&[("OTEL_EXPORTER_OTLP_HEADERS", "authorization:s3cret")]).unwrap_err();
        assert!(!format!("{bad} {bad:?}").contains("s3cret"));
    }
}
