//! How a training goes on: its projection, its returns, its search, its project; and how it is watched. On made runs, whose
//! truth is known.

mod projection;
mod returns;
mod total;
mod tuning;
mod watch;

use std::fs;
use std::path::{Path, PathBuf};

use ergometer::{Energy, Record, RunLog};
use ergometer_report::History;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::lab::check_schema;

/// A run as its log has it, written line by line.
struct Made {
    manifest: Value,
    lines: Vec<Value>,
    at: u64,
    total: f64,
}

impl Made {
    fn new(name: &str) -> Made {
        let manifest = json!({
            "format": "ergometer-run", "version": 1, "run_id": name, "name": name,
            "created": "2026-03-01T10:00:00Z", "state": "complete",
            "program": {"name": "train", "pid": std::process::id(), "ergometer": "0.1.0"},
            "machine": {"host": "lab", "os": "Linux", "architecture": "x86_64"},
            "clock": {"name": "CLOCK_MONOTONIC", "anchor_ns": 0, "unix_ns": 0},
            "sensors": [], "unmeasured": [], "sessions": 1,
            "methods": {"total": "gross", "uncertainty": "k = 1", "boundaries": "host time"},
        });
        let start = json!({
            "kind": "run", "version": 1, "run_id": name, "rank": 0, "host": "lab", "session": 0, "name": name,
            "t_start_ns": 0, "unix_ns": 0,
        });
        Made { manifest, lines: vec![start], at: 0, total: 0.0 }
    }

    fn note(mut self, name: &str, value: &str) -> Made {
        self.manifest["notes"][name] = json!(value);
        self
    }

    fn set(mut self, name: &str, value: Value) -> Made {
        self.manifest[name] = value;
        self
    }

    /// Time and energy between windows.
    fn gap(mut self, joules: f64, seconds: u64) -> Made {
        self.at += seconds * 1_000_000_000;
        self.total += joules;
        self
    }

    /// An epoch of ten seconds.
    fn epoch(mut self, joules: f64, metrics: Value) -> Made {
        let number = self.lines.iter().filter(|line| line["kind"] == "epoch").count() + 1;
        let window = self.window("epoch", joules, 10);
        self.lines.push(window);
        let last = self.lines.last_mut().unwrap();
        (last["epoch"], last["steps"], last["metrics"]) = (json!(number), json!(1), metrics);
        self
    }

    fn epochs(self, energies: &[f64]) -> Made {
        energies.iter().fold(self, |made, joules| made.epoch(*joules, json!({})))
    }

    /// Sets a field of the last line.
    fn with(mut self, name: &str, value: Value) -> Made {
        self.lines.last_mut().unwrap()[name] = value;
        self
    }

    fn end(mut self, metrics: Value) -> Made {
        let (at, total) = (self.at, self.total);
        (self.at, self.total) = (0, 0.0);
        let mut window = self.window("end", total, at / 1_000_000_000);
        let epochs = self.records().len();
        (window["epochs"], window["steps"], window["metrics"]) =
            (json!(epochs), json!(epochs), metrics);
        self.lines.push(window);
        self
    }

    fn window(&mut self, kind: &str, joules: f64, seconds: u64) -> Value {
        let start = self.at;
        self.at += seconds * 1_000_000_000;
        self.total += joules;
        json!({
            "kind": kind, "run_id": self.manifest["run_id"], "rank": 0, "host": "lab", "session": 0, "lane": 0,
            "id": self.lines.len(), "t_start_ns": start, "t_end_ns": self.at, "duration_s": seconds,
            "energy_j": joules, "u_j": 0.0, "quality": "measured", "domains": {}, "total_j": self.total,
            "status": "complete",
        })
    }

    fn records(&self) -> Vec<Record> {
        let epochs = self.lines.iter().filter(|line| line["kind"] == "epoch");
        epochs.map(|line| serde_json::from_value(line.clone()).unwrap()).collect()
    }

    fn text(&self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }

    fn write(&self, logs: &Path) -> PathBuf {
        let run = logs.join(self.manifest["run_id"].as_str().unwrap());
        fs::create_dir_all(&run).unwrap();
        fs::write(run.join("rank-00000.jsonl"), self.text()).unwrap();
        fs::write(run.join("run.json"), self.manifest.to_string()).unwrap();
        check_schema(&run);
        run
    }

    fn history(&self) -> History {
        let logs = TempDir::new().unwrap();
        let (history, bad) =
            History::read(&RunLog::open(self.write(logs.path())).unwrap()).unwrap();
        assert!(bad.is_empty(), "{bad:?}");
        history
    }
}

fn joules(energy: Energy) -> f64 {
    energy.as_joules()
}

#[track_caller]
fn assert_close(value: f64, expected: f64) {
    assert!(
        (value - expected).abs() <= 1e-6 * expected.abs().max(1.0),
        "{value} is not {expected}"
    );
}

/// A run of epochs of 100 J with these accuracies.
fn learning(name: &str, accuracies: &[f64]) -> Made {
    accuracies
        .iter()
        .fold(Made::new(name), |made, accuracy| made.epoch(100.0, json!({"accuracy": accuracy})))
}

/// A progress line of a run that was killed before its first window.
fn progress(run: &str, joules: f64) -> Value {
    json!({
        "kind": "event", "run_id": run, "rank": 0, "host": "lab", "session": 0, "t_ns": 30_000_000_000_u64,
        "event": "progress", "total_j": joules, "domains_j": {"cpu:package-0": joules},
    })
}

/// A sensor that knows its gain to 2 %, or a model that knows it to 20 %.
fn sensor(provenance: &str) -> Value {
    let gain = if provenance == "model" { 0.2 } else { 0.02 };
    json!([{
        "domain": {"id": "cpu:package-0", "hardware": "cpu", "name": "CPU"}, "source": "made", "stack": "made",
        "provenance": provenance, "scope": "package", "quantum_j": 0.0, "period_s": 0.0, "interval_s": 0.05,
        "gain": gain, "power_min_w": 1.0, "power_max_w": 9.0, "offset_w": 0.0, "family": "made", "in_total": true,
    }])
}

/// What the command answered: exit status, standard output, standard error.
fn ergometer(arguments: &[&str]) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let arguments = ["ergometer"].iter().chain(arguments).map(Into::into);
    let status = ergometer_cli::run(arguments, &mut out, &mut err);
    (status, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
