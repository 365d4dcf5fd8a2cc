//! Trainings of known power and quality, for what is made of logs.

use std::fs;
use std::path::{Path, PathBuf};

use ergometer::record::Framework;
use ergometer::sensor::fake::Fake;
use ergometer::sensor::{Domain, Hardware};
use ergometer::{Meter, Power, RunLog};
use ergometer_report::History;
use serde_json::Value;

use crate::lab::{Lab, check_schema, constant};

/// A training that a test describes.
pub(crate) struct Training<'a> {
    pub(crate) framework: &'a str,
    pub(crate) parameters: u64,
    pub(crate) seed: u64,
    pub(crate) watts: f64,
    pub(crate) batch: u64,
    /// The accuracy at the end of each epoch of 5 s.
    pub(crate) accuracies: &'a [f64],
}

pub(crate) const TRAINING: Training<'_> = Training {
    framework: "candle",
    parameters: 1_000,
    seed: 1,
    watts: 100.0,
    batch: 32,
    accuracies: &[0.5, 0.8, 0.9],
};

impl Training<'_> {
    /// Trains, and gives the run's directory.
    pub(crate) fn run(&self, logs: &Path) -> PathBuf {
        let lab = Lab::new();
        let domain = Domain::new(Hardware::Cpu, "0", "fake");
        let sensor = Fake::counter(domain, constant(self.watts))
            .power_between(Power::ZERO, Power::from_watts(100_000.0));
        let framework = Framework { name: self.framework.to_owned(), ..Framework::default() };
        let meter = Meter::builder()
            .clock(lab.clock())
            .log_directory(logs)
            .framework(framework)
            .sensor(sensor)
            .build()
            .unwrap();
        let name = format!("{}-{}", self.framework, self.parameters);
        let run = meter.run(&name).parameters(self.parameters);
        let run = run.note("seed", self.seed).note("batch", self.batch).start().unwrap();
        for (_epoch, accuracy) in run.epochs(1..=self.accuracies.len() as u64).zip(self.accuracies)
        {
            for _step in run.steps(0..10).samples(32) {
                lab.pass(500);
            }
            run.metric("accuracy", *accuracy);
        }
        let directory = run.finish().unwrap().directory;
        check_schema(&directory);
        directory
    }
}

pub(crate) fn read(directories: &[PathBuf]) -> Vec<History> {
    let read = |directory: &PathBuf| {
        let (history, bad) = History::read(&RunLog::open(directory).unwrap()).unwrap();
        assert!(bad.is_empty(), "{bad:?}");
        history
    };
    directories.iter().map(read).collect()
}

/// Six sizes over two decades, two seeds of each; energy in proportion to size^0.8, error to energy^−0.4.
pub(crate) fn sizes(logs: &Path, framework: &str) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    let sizes = [1_000, 3_162, 10_000, 31_623, 100_000, 316_228];
    for (place, parameters) in (0..).zip(sizes) {
        for seed in [1, 2] {
            let size = parameters as f64;
            let noise = 1.0 + 0.01 * (seed as f64 - 1.5) * f64::from(1 - 2 * (place % 2));
            let watts = 10.0 * (size / 1_000.0).powf(0.8) * noise;
            let accuracy = 1.0 - 0.4 * (watts / 10.0).powf(-0.4);
            let training = Training {
                framework,
                parameters,
                seed,
                watts,
                accuracies: &[accuracy],
                ..TRAINING
            };
            directories.push(training.run(logs));
        }
    }
    directories
}

/// Changes text of a manifest, as if the run had been made elsewhere.
pub(crate) fn rewrite(run: &Path, change: impl Fn(&mut Value)) {
    let path = run.join("run.json");
    let mut manifest: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut manifest);
    fs::write(&path, manifest.to_string()).unwrap();
}

/// Three runs of each of two models: the second uses half the power and reaches 0.9 an epoch later.
pub(crate) fn two_models(logs: &Path, seeds: u64) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    for seed in 1..=seeds {
        let noise = 1.0 + 0.01 * (seed as f64 - 2.0);
        let accuracies = [0.5, 0.9, 0.92, 0.93];
        let training = Training { seed, watts: 100.0 * noise, accuracies: &accuracies, ..TRAINING };
        directories.push(training.run(logs));
    }
    for seed in 1..=seeds {
        let noise = 1.0 + 0.01 * (seed as f64 - 2.0);
        let accuracies = [0.5, 0.8, 0.9, 0.94];
        let (parameters, watts) = (2_000, 50.0 * noise);
        let training = Training { parameters, seed, watts, accuracies: &accuracies, ..TRAINING };
        directories.push(training.run(logs));
    }
    directories
}

/// The command: its status, its answer, its messages.
pub(crate) fn ergometer(arguments: &[&str]) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let arguments = ["ergometer"].iter().chain(arguments).map(Into::into);
    let status = ergometer_cli::run(arguments, &mut out, &mut err);
    (status, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}
