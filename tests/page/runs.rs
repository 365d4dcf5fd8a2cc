//! Runs to draw: families, long ones, ones that were killed, and ones whose names are HTML.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use ergometer::record::Framework;
use ergometer::sensor::fake::Fake;
use ergometer::sensor::{Domain, Hardware, Provenance};
use ergometer::{Meter, Power, RunLog};
use ergometer_report::History;

use crate::lab::{Lab, constant};

/// A training on fake sensors.
#[derive(Clone, Copy)]
pub(super) struct Training<'a> {
    name: &'a str,
    framework: &'a str,
    parameters: Option<u64>,
    watts: f64,
    epochs: u64,
    gpus: u64,
    provenance: Provenance,
    accuracy: Option<f64>,
}

pub(super) const TRAINING: Training<'_> = Training {
    name: "small",
    framework: "candle",
    parameters: Some(4_810),
    watts: 150.0,
    epochs: 4,
    gpus: 0,
    provenance: Provenance::Counter,
    accuracy: Some(0.96),
};

impl Training<'_> {
    fn sensors(&self) -> Vec<Fake> {
        let sensor = |hardware: Hardware, key: &str, name: &str, watts: f64| {
            Fake::counter(Domain::new(hardware, key, name), constant(watts))
                .power_between(Power::ZERO, Power::from_watts(1e5))
                .specified(|it| {
                    (it.provenance, it.gain) = (self.provenance, 0.03);
                    (it.family, it.scope) = (hardware.prefix().to_owned(), "all of it".to_owned());
                })
        };
        let gpu = |number: u64| {
            sensor(Hardware::Gpu, &format!("GPU-{number}"), "NVIDIA H100", 2.0 * self.watts)
        };
        let cpu = sensor(Hardware::Cpu, "package-0", "AMD EPYC", self.watts);
        (0..self.gpus).map(gpu).chain([cpu]).collect()
    }

    pub(super) fn log(&self, lab: &Lab) -> PathBuf {
        let framework = Framework {
            name: self.framework.to_owned(),
            version: "1.0".to_owned(),
            ..Framework::default()
        };
        let meter =
            Meter::builder().clock(lab.clock()).log_directory(lab.logs.path()).framework(framework);
        let meter = self.sensors().into_iter().fold(meter, |meter, sensor| meter.sensor(sensor));
        let run = meter.build().unwrap().run(self.name).note("seed", 1);
        let run = match self.parameters {
            Some(parameters) => run.parameters(parameters),
            None => run,
        };
        let run = run.start().unwrap();
        for epoch in run.epochs(1..=self.epochs) {
            for _step in run.steps(0..3).samples(32) {
                lab.pass(400 + 30 * (epoch % 5));
            }
            let _phase = run.phase("evaluate");
            lab.pass(150);
            if let Some(accuracy) = self.accuracy {
                run.metric("accuracy", accuracy - 0.3 / (epoch as f64).powi(2));
                run.metric("loss", 0.9 / epoch as f64);
            }
        }
        let path = run.path().to_owned();
        run.finish().unwrap();
        path
    }

    fn history(&self) -> History {
        let lab = Lab::new();
        read(&self.log(&lab))
    }
}

pub(super) fn read(run: &Path) -> History {
    History::read(&RunLog::open(run).unwrap()).unwrap().0
}

/// As many models as there are, each trained by two frameworks with so many seeds.
pub(super) fn family(sizes: u64, seeds: u64, training: Training<'_>) -> Vec<History> {
    let mut runs = Vec::new();
    for framework in ["candle", "burn"] {
        for size in 1..=sizes {
            for seed in 0..seeds {
                let (parameters, watts) = (Some(5_000 << size), 40.0 * (size + seed) as f64);
                let accuracy = Some(0.9 + 0.01 * size as f64);
                let training = Training { framework, parameters, watts, accuracy, ..training };
                runs.push(training.history());
            }
        }
    }
    runs
}

/// Runs, each set for one page.
pub(super) static RUNS: LazyLock<Vec<(&str, Vec<History>)>> = LazyLock::new(|| {
    let model = Provenance::Model;
    vec![
        ("one", vec![TRAINING.history()]),
        ("one estimated", vec![Training { provenance: model, ..TRAINING }.history()]),
        ("two GPUs", vec![Training { gpus: 2, epochs: 12, ..TRAINING }.history()]),
        ("nine GPUs", vec![Training { gpus: 9, epochs: 12, ..TRAINING }.history()]),
        ("long", vec![Training { epochs: 200, ..TRAINING }.history()]),
        (
            "without anything",
            vec![Training { accuracy: None, parameters: None, ..TRAINING }.history()],
        ),
        ("crashed", vec![crashed(), TRAINING.history()]),
        ("ten", family(5, 1, Training { gpus: 2, epochs: 40, ..TRAINING })),
        ("thirty estimated", family(5, 3, Training { provenance: model, epochs: 8, ..TRAINING })),
        ("hostile", hostile()),
    ]
});

/// Killed within its third epoch.
pub(super) fn crashed() -> History {
    let lab = Lab::new();
    let run = Training { name: "killed", ..TRAINING }.log(&lab);
    let log = run.join("rank-00000.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    fs::write(&log, lines[..lines.len() / 2].concat()).unwrap();
    let manifest = run.join("run.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("\"complete\"", "\"running\"")).unwrap();
    read(&run)
}

pub(super) const HOSTILE: &str =
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&<!--\u{202e}";

pub(super) const HOSTILE_METRIC: &str = "accuracy/~0<img src=x onerror=alert(3)>\"'&\u{202e}";

/// Names that are HTML wherever a user can put one, and metrics that are no numbers.
pub(super) fn hostile() -> Vec<History> {
    let plain = Training { gpus: 1, parameters: None, ..TRAINING };
    let runs =
        [Training { name: HOSTILE, framework: HOSTILE, ..plain }, Training { name: "b", ..plain }];
    let mut runs = runs.map(|training| training.history());
    for run in &mut runs {
        let summary = &mut run.summary;
        summary.manifest.machine.host = HOSTILE.to_owned();
        summary.manifest.notes.insert(HOSTILE.to_owned(), HOSTILE.to_owned());
        for sensor in &mut summary.manifest.sensors {
            (sensor.source, sensor.domain.name) = (HOSTILE.to_owned(), HOSTILE.to_owned());
        }
        for part in &mut summary.manifest.unmeasured {
            part.reason = HOSTILE.to_owned();
        }
        summary.end.reason = Some(HOSTILE.to_owned());
        summary.manifest.state = ergometer::record::State::Stopped;
        let sum = summary.phases["evaluate"].clone();
        summary.phases.insert(HOSTILE.to_owned(), sum);
        summary.events.insert((HOSTILE.to_owned(), Some(HOSTILE.to_owned())), 3);
        for phase in &mut run.phases {
            phase.name = HOSTILE.to_owned();
        }
        for epoch in run.epochs.iter_mut().chain(&mut summary.epochs.recent) {
            let value = 0.1 * epoch.epoch.unwrap() as f64;
            epoch.metrics =
                [(HOSTILE_METRIC.to_owned(), value), ("loss/~1".to_owned(), f64::NAN)].into();
        }
    }
    runs.into()
}
