//! OTLP/HTTP with JSON: what OpenTelemetry's collectors, and many databases themselves, take.
//!
//! Names are those of OpenTelemetry's `hw.*` (semantic conventions 1.44.0, "Hardware metrics"). Energies are sums that only grow,
//! cumulative since the run began; powers are gauges. The request is that of the protocol's version 1 in its JSON form: times are
//! strings of nanoseconds, and the content's type is `application/json` and nothing beside it.

#[cfg(feature = "http")]
mod exporter;

use std::collections::BTreeMap;
use std::time::Duration;

use ergometer::record::{Event, Manifest};
use ergometer::{Kind, Observer, Record, Summary, Verdict};
use serde_json::{Value, json};

use crate::tally::{Number, Tally};

#[cfg(feature = "http")]
pub use exporter::Otlp;

/// The content's type of a request: the bare word, since some collectors compare the whole header.
pub const CONTENT_TYPE: &str = "application/json";

/// A request, `ExportMetricsServiceRequest`, of where runs stand or stood; nothing of those that had no window yet.
///
/// Tallies of one run in turn become points of one series. All of them go into the one request, however many there are: collectors
/// limit its length, to 20 MiB in OpenTelemetry's own unless it is told otherwise (`max_request_body_size`, v0.159).
pub fn request<'a>(tallies: impl IntoIterator<Item = &'a Tally>, resource: &Resource) -> Value {
    let mut runs: BTreeMap<(&str, u32), (Value, Vec<Series>)> = BTreeMap::new();
    for tally in tallies {
        let Some(((manifest, rank), time)) =
            tally.manifest().zip(tally.rank()).zip(tally.wall_time())
        else {
            continue;
        };
        let start = tally.start().unwrap_or(time).min(time);
        let key = (manifest.run_id.as_str(), rank);
        let (_, all) = runs.entry(key).or_insert_with(|| (resource.of(manifest, rank), Vec::new()));
        for metric in tally.metrics() {
            let points = metric.points.iter().map(|point| data_point(point, start, time));
            match all.iter_mut().find(|series| series.metric.name == metric.name) {
                Some(series) => series.points.extend(points),
                None => {
                    let points = points.collect();
                    all.push(Series { metric, points });
                }
            }
        }
    }
    let resources = runs.into_values().map(|(resource, all)| {
        let metrics: Vec<Value> = all.into_iter().map(Series::into_json).collect();
        let scope = json!({ "name": "ergometer", "version": env!("CARGO_PKG_VERSION") });
        json!({ "resource": resource, "scopeMetrics": [{ "scope": scope, "metrics": metrics }] })
    });
    json!({ "resourceMetrics": resources.collect::<Vec<_>>() })
}

/// The attributes of what tells: its service's name, and what else is given.
///
/// Beside them go `service.instance.id`, `host.name`, and the run's id, name and rank.
#[derive(Clone, Debug, Default)]
pub struct Resource(BTreeMap<String, String>);

impl Resource {
    /// Names the service; without it, that is the program's name.
    #[must_use]
    pub fn service(self, name: impl Into<String>) -> Resource {
        self.attribute("service.name", name)
    }

    /// Adds an attribute, or replaces one of those that are there without.
    #[must_use]
    pub fn attribute(mut self, key: impl Into<String>, value: impl Into<String>) -> Resource {
        self.0.insert(key.into(), value.into());
        self
    }

    fn of(&self, manifest: &Manifest, rank: u32) -> Value {
        let run = &manifest.run_id;
        let mut all: BTreeMap<&str, String> = BTreeMap::from([
            ("service.name", manifest.program.name.clone()),
            ("service.instance.id", format!("{run}/{rank}")),
            ("host.name", manifest.machine.host.clone()),
            ("ergometer.run.id", run.clone()),
            ("ergometer.run.name", manifest.name.clone()),
            ("ergometer.rank", rank.to_string()),
        ]);
        if let Some(framework) = &manifest.framework {
            all.insert("ergometer.framework.name", framework.name.clone());
            all.insert("ergometer.framework.version", framework.version.clone());
        }
        all.extend(self.0.iter().map(|(key, value)| (key.as_str(), value.clone())));
        json!({ "attributes": attributes(all.iter().map(|(key, value)| (*key, value))) })
    }
}

/// Where a run stood behind each epoch and at its end: what an export of a log tells.
#[derive(Debug, Default)]
pub struct Course {
    now: Tally,
    stood: Vec<Tally>,
}

impl Course {
    /// Where it stood, in order.
    pub fn tallies(&self) -> &[Tally] {
        &self.stood
    }
}

impl Observer for Course {
    fn name(&self) -> &str {
        "otlp"
    }

    fn began(&mut self, manifest: &Manifest) {
        self.now.began(manifest);
    }

    fn settled(&mut self, window: &Record) -> Verdict {
        self.now.settled(window);
        if window.kind == Kind::Epoch {
            self.stood.push(self.now.clone());
        }
        Verdict::GoOn
    }

    fn happened(&mut self, event: &Event) {
        self.now.happened(event);
    }

    fn ended(&mut self, summary: &Summary) {
        self.now.ended(summary);
        self.stood.push(self.now.clone());
    }
}

/// A metric, and its points over time.
struct Series {
    metric: crate::tally::Metric,
    points: Vec<Value>,
}

impl Series {
    fn into_json(self) -> Value {
        let Series { metric, points } = self;
        let (name, unit, description) = (metric.name, metric.unit, metric.description);
        if metric.monotonic {
            // 2 is cumulative; Prometheus takes no other.
            let sum =
                json!({ "dataPoints": points, "aggregationTemporality": 2, "isMonotonic": true });
            json!({ "name": name, "unit": unit, "description": description, "sum": sum })
        } else {
            let gauge = json!({ "dataPoints": points });
            json!({ "name": name, "unit": unit, "description": description, "gauge": gauge })
        }
    }
}

fn data_point(point: &crate::tally::Point, start: Duration, time: Duration) -> Value {
    let attributes = attributes(point.attributes.iter().map(|(key, value)| (*key, value)));
    let (start, time) = (start.as_nanos().to_string(), time.as_nanos().to_string());
    let mut json =
        json!({ "attributes": attributes, "startTimeUnixNano": start, "timeUnixNano": time });
    // 64-bit integers are strings in this form.
    let (key, value) = match point.value {
        Number::Count(count) => ("asInt", json!(count.to_string())),
        other => ("asDouble", json!(other.as_f64())),
    };
    json[key] = value;
    json
}

fn attributes<'a>(all: impl Iterator<Item = (&'a str, &'a String)>) -> Value {
    all.map(|(key, value)| json!({ "key": key, "value": { "stringValue": value } })).collect()
}
