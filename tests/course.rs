//! How a training goes on: its projection, its returns, its search, its project; and how it is watched. On made runs, whose
//! truth is known.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, SystemTime};

use ergometer::log::Line;
use ergometer::{Energy, Record, RunLog, Status};
use ergometer_report::History;
use ergometer_report::analysis::projection::{Basis, Calibration, Projection};
use ergometer_report::analysis::returns::{NoiseSource, Question, Returns, Watch};
use ergometer_report::analysis::total::{Declared, Total};
use ergometer_report::analysis::tuning::{Tuning, Verdict};
use ergometer_report::metric::Direction;
use ergometer_report::quantity::CarbonIntensity;
use ergometer_report::site::Site;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::lab::{Lab, check_schema, constant, cpu};

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

fn project(energies: &[f64], planned: u64) -> Projection {
    Projection::of_epochs(&Made::new("run").epochs(energies).records(), planned).unwrap()
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

/// Draws a normal number (Box and Muller 1958).
fn normal(random: &mut fastrand::Rng) -> f64 {
    let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.f64()).cos()
}

/// True if the interval from the first `k` epochs of a made run of `n` holds its total. Epochs inherit `phi` of a deviation;
/// the first takes three times as much as the others.
fn holds(records: &mut [Record], k: usize, n: usize, phi: f64, random: &mut fastrand::Rng) -> bool {
    let mut deviation = normal(random);
    let energies: Vec<f64> = (0..n)
        .map(|epoch| {
            let now = deviation;
            deviation = phi * deviation + (1.0 - phi * phi).sqrt() * normal(random);
            if epoch == 0 { 300.0 } else { 100.0 + 5.0 * now }
        })
        .collect();
    let mut total = 0.0;
    for (record, energy) in records.iter_mut().zip(&energies) {
        total += energy;
        record.energy = Some(Energy::from_joules(*energy));
        record.total = Energy::from_joules(total);
    }
    let projection = Projection::of_epochs(&records[..k], n as u64).unwrap();
    let truth = energies.iter().sum::<f64>();
    (joules(projection.energy) - truth).abs() <= joules(projection.margin)
}

#[test]
fn over_1000_runs_of_correlated_epochs_projections_hold_the_truth_in_92_to_98_percent() {
    let mut records = Made::new("run").epochs(&[1.0; 25]).records();
    for seed in 1..=3 {
        let mut random = fastrand::Rng::with_seed(seed);
        let held = (0..1_000).filter(|_| {
            let (k, phi) = (random.usize(6..=25), 0.7 * random.f64());
            let n = k + random.usize(1..=75);
            holds(&mut records, k, n, phi, &mut random)
        });
        let held = held.count();
        assert!((920..=980).contains(&held), "seed {seed}: {held} of 1000");
    }
}

/// With few epochs the autocorrelation is hardly known, and no interval can be right at each: those of independent epochs
/// hold a little too often, those of much correlated ones a little too rarely.
#[test]
fn at_each_length_and_autocorrelation_they_come_near_it() {
    for k in [6, 10, 20] {
        let mut random = fastrand::Rng::with_seed(k as u64);
        let mut records = Made::new("run").epochs(&vec![1.0; k]).records();
        for (n, phi) in [20, 50, 100].into_iter().flat_map(|n| [0.0, 0.3, 0.6].map(|phi| (n, phi)))
        {
            if n > k {
                let held = (0..1_000).filter(|_| holds(&mut records, k, n, phi, &mut random));
                let held = held.count();
                assert!((910..=990).contains(&held), "{k} of {n}, φ = {phi}: {held} of 1000");
            }
        }
    }
}

#[test]
fn a_plain_interval_would_not_hold_it() {
    // Student's t for independent epochs, at φ = 0.6 and n = 9: what the margin is for.
    let mut random = fastrand::Rng::with_seed(4);
    let (n, m, phi, t) = (9, 40, 0.6_f64, 2.306);
    let held = (0..1_000).filter(|_| {
        let mut deviation = normal(&mut random);
        let row: Vec<f64> = (0..n + m)
            .map(|_| {
                let now = deviation;
                deviation = phi * deviation + (1.0 - phi * phi).sqrt() * normal(&mut random);
                now
            })
            .collect();
        let mean = row[..n].iter().sum::<f64>() / n as f64;
        let s =
            (row[..n].iter().map(|it| (it - mean).powi(2)).sum::<f64>() / (n - 1) as f64).sqrt();
        let ahead = m as f64;
        let margin = t * s * (ahead + ahead * ahead / n as f64).sqrt();
        (row[n..].iter().sum::<f64>() - ahead * mean).abs() <= margin
    });
    assert!(held.count() < 800);
}

#[test]
fn the_warm_up_is_spent_and_not_carried_on() {
    let projection = project(&[300.0, 100.0, 102.0, 98.0], 10);
    assert_close(joules(projection.spent), 600.0);
    assert_close(joules(projection.energy), 1_200.0);
    assert_close(projection.remaining.as_secs_f64(), 60.0);
    assert_close(projection.time.as_secs_f64(), 100.0);
    assert!(matches!(projection.basis, Basis::Scatter { epochs: 3, .. }), "{:?}", projection.basis);
    assert!(joules(projection.margin) > 0.0);
}

#[test]
fn one_epoch_shows_no_scatter_and_has_the_published_range() {
    for energies in [&[100.0][..], &[300.0, 100.0]] {
        let projection = project(energies, 10);
        assert_eq!(projection.basis, Basis::Published);
        let spent: f64 = energies.iter().sum();
        let ahead = 100.0 * (10 - energies.len()) as f64;
        assert_close(joules(projection.energy), spent + ahead);
        assert_close(joules(projection.margin), 0.2 * (spent + ahead));
        assert!(projection.to_string().contains("± 20 % as published"), "{projection}");
    }
}

#[test]
fn sensors_err_alike_in_all_epochs() {
    let made = (0..4)
        .fold(Made::new("run"), |made, _| made.epoch(100.0, json!({})).with("u_j", json!(3.0)));
    let projection = Projection::of_epochs(&made.records(), 10).unwrap();
    // 3 % of 1000 J, twice; the epochs are all alike.
    assert_close(joules(projection.sensors.unwrap()), 60.0);
    assert_close(joules(projection.margin), 0.0);
    assert_eq!(projection.interval(), (Energy::from_joules(940.0), Energy::from_joules(1_060.0)));
    let intensity = CarbonIntensity::from_grams_per_kilowatt_hour(360.0);
    let outlay = projection.at(&Site::default().intensity(intensity, "made").unwrap());
    // 1 kJ at 360 g/kWh is 0.1 g.
    assert_close(outlay.carbon.unwrap().as_grams(), 0.1);
    assert_close(outlay.carbon_high.unwrap().as_grams(), 0.106);
    assert_eq!(outlay.cost, None);
}

#[test]
fn validation_every_few_epochs_counts_by_its_own_rate() {
    // Within the epochs 3 and 6: 50 J of phases.
    let within = (1..=7).fold(Made::new("run"), |made, number| match number % 3 {
        0 => made.epoch(150.0, json!({})).with("phases_j", json!(50.0)),
        _ => made.epoch(100.0, json!({})),
    });
    let projection = Projection::of_epochs(&within.records(), 12).unwrap();
    let recurrence = projection.recurrence.unwrap();
    assert_eq!((recurrence.every, recurrence.last, recurrence.seen), (3, 6, 2));
    assert_close(joules(recurrence.energy), 50.0);
    // Five more epochs, with the validations of 9 and 12.
    assert_close(joules(projection.energy), 800.0 + 500.0 + 100.0);
    // Behind the epochs 3 and 6, and so in no epoch.
    let between = (1..=7).fold(Made::new("run"), |made, number| {
        let made = made.epoch(100.0, json!({}));
        if number % 3 == 0 { made.gap(50.0, 5) } else { made }
    });
    let projection = Projection::of_epochs(&between.records(), 12).unwrap();
    assert_eq!(projection.recurrence.unwrap().last, 6);
    assert_close(joules(projection.energy), 800.0 + 500.0 + 100.0);
    assert_close(projection.remaining.as_secs_f64(), 60.0);
}

#[test]
fn work_in_no_order_stays_in_the_scatter() {
    let made = [2, 3, 6].iter().fold(
        (1..=7).map(|_| 100.0).fold(Vec::new(), |mut all, it| {
            all.push(it);
            all
        }),
        |mut all, number| {
            all[number - 1] = 150.0;
            all
        },
    );
    let made = made.iter().fold(Made::new("run"), |made, joules| {
        made.epoch(*joules, json!({})).with("phases_j", json!(joules - 100.0))
    });
    let projection = Projection::of_epochs(&made.records(), 10).unwrap();
    assert_eq!(projection.recurrence, None);
    assert_close(joules(projection.energy), 850.0 + 3.0 * 125.0);
}

#[test]
fn a_session_warms_up_anew_and_a_broken_epoch_is_spent() {
    let made =
        Made::new("run").epochs(&[300.0, 100.0, 100.0, 40.0]).with("status", json!("interrupted"));
    let mut records = made.epochs(&[250.0, 100.0]).records();
    for (record, number) in records[3..].iter_mut().zip([4, 4, 5]) {
        record.epoch = Some(number);
        record.session = u32::from(record.status == Status::Complete);
    }
    let projection = Projection::of_epochs(&records, 10).unwrap();
    assert_eq!(projection.done, 5);
    assert_close(joules(projection.spent), 890.0);
    assert_close(joules(projection.energy), 890.0 + 500.0);
}

#[test]
fn what_cannot_be_projected_is_refused_with_the_reason() {
    let refusal = Projection::of_epochs(&[], 10).unwrap_err();
    assert!(refusal.what().contains("no epoch is done"), "{refusal}");
    let records = Made::new("run").epochs(&[1.0; 4]).records();
    let refusal = Projection::of_epochs(&records, 3).unwrap_err();
    assert!(refusal.what().contains("4 epochs are done, and 3 planned"), "{refusal}");
    let mut lanes = records.clone();
    lanes[1].lane = 1;
    assert!(Projection::of_epochs(&lanes, 10).unwrap_err().is_unsupported());
    let run = Made::new("run").epochs(&[1.0; 4]).history();
    let refusal = Projection::of(&run, None).unwrap_err();
    assert!(refusal.to_string().contains("note it in the program as `epochs`"), "{refusal}");
    // Without a sensor there is no energy, and that is not 0.
    let unseen = Made::new("run").epochs(&[0.0; 4]).records();
    let refusal = Projection::of_epochs(&unseen, 10).unwrap_err();
    assert!(refusal.what().contains("what the epochs used is not known"), "{refusal}");
    let done = Projection::of_epochs(&records, 4).unwrap();
    assert_eq!((done.energy, done.basis), (done.spent, Basis::Done));
}

#[test]
fn an_early_stop_is_told_from_the_last_best() {
    let made = [0.5, 0.7, 0.8, 0.79, 0.78]
        .iter()
        .fold(Made::new("run"), |made, accuracy| made.epoch(100.0, json!({"accuracy": accuracy})));
    let records = made.records();
    let projection = Projection::of_epochs(&records, 100).unwrap();
    let stop = |patience| projection.early_stop(&records, "accuracy", Direction::Higher, patience);
    let later = stop(10).unwrap();
    assert_eq!((later.best_epoch, later.stop), (3, 13));
    assert_close(joules(later.energy), 1_300.0);
    // It would have stopped already.
    assert_close(joules(stop(1).unwrap().energy), 400.0);
    assert!(projection.early_stop(&records, "f1", Direction::Higher, 3).is_err());
    // Without end, it is the plan that ends it.
    assert_eq!(stop(u64::MAX).unwrap().stop, 100);
}

#[test]
fn a_plan_without_end_has_no_short_time_to_go() {
    let projection = project(&[110.0, 100.0, 101.0], u64::MAX);
    assert!(projection.remaining > Duration::from_secs(1 << 60), "{projection}");
    assert!(projection.time >= projection.remaining, "{projection}");
}

#[test]
fn what_is_spent_is_as_uncertain_as_its_sensors() {
    let made = [130.0, 100.0, 100.0].iter().fold(Made::new("run"), |made, joules| {
        made.epoch(*joules, json!({})).with("u_j", json!(0.05 * joules))
    });
    let text = Projection::of_epochs(&made.records(), 10).unwrap().to_string();
    assert!(text.contains("spent      330 J ± 33 J"), "{text}");
}

#[test]
fn a_finished_run_says_how_well_it_would_have_been_projected() {
    let energies: Vec<f64> =
        [130.0].into_iter().chain([99.0, 101.0].into_iter().cycle().take(19)).collect();
    let made = Made::new("run").epochs(&energies).end(json!({}));
    let calibration = Calibration::of(&made.history()).unwrap();
    let after: Vec<u64> = calibration.checks.iter().map(|check| check.done).collect();
    assert_eq!(after, [1, 2, 5, 10]);
    // 20 times 130 J for 2030 − 1 J.
    assert_close(joules(calibration.energy), 130.0 + 10.0 * 99.0 + 9.0 * 101.0);
    assert_close(calibration.checks[0].error, 2_600.0 / 2_029.0 - 1.0);
    let inside: Vec<bool> = calibration.checks.iter().map(|check| check.is_inside).collect();
    assert_eq!(inside, [false, true, true, true]);
    assert_eq!(calibration.inside(), (3, 4));
    let running = made.set("state", json!("running"));
    assert!(Calibration::of(&running.history()).is_err());
}

/// A run of epochs of 100 J with these accuracies.
fn learning(name: &str, accuracies: &[f64]) -> Made {
    accuracies
        .iter()
        .fold(Made::new(name), |made, accuracy| made.epoch(100.0, json!({"accuracy": accuracy})))
}

#[test]
fn a_gain_costs_the_energy_since_the_best_before() {
    let run = learning("run", &[0.50, 0.70, 0.68, 0.80, 0.801]).note("n_val", "3600").history();
    let returns = Returns::of(&[run], &Question::about("accuracy").unwrap()).unwrap();
    let cost = |epoch: usize| returns.epochs[epoch - 1].cost.map(joules);
    // 100 J for 20 points, and 200 J for 10 from the second epoch to the fourth.
    assert_eq!((cost(1), cost(3)), (None, None));
    assert_close(cost(2).unwrap(), 5.0);
    assert_close(cost(4).unwrap(), 20.0);
    // σ = √(0.801·0.199/3600) = 0.00665: a gain of 0.001 is within noise, at more than 100 J for 2√2·0.665 points.
    let noise = returns.noise.unwrap();
    assert_eq!(noise.source, NoiseSource::Binomial { samples: 3_600 });
    assert!((noise.sigma - 0.006_654).abs() < 1e-6, "{}", noise.sigma);
    assert!(returns.epochs[4].is_noise && !returns.epochs[3].is_noise);
    assert!((cost(5).unwrap() - 100.0 / 1.8820).abs() < 0.01, "{:?}", cost(5));
    assert!(returns.to_string().contains("within noise"), "{returns}");
    // Smoothed, the second and third are 0.69; 99 % of the gain needs all five epochs.
    assert_close(returns.epochs[2].smoothed, 0.69);
    let bought: Vec<f64> = returns.bought.iter().map(|it| it.energy).collect();
    assert_eq!(bought, [0.8, 0.8, 0.8]);
    assert_eq!(returns.bought[0].interval, None);
}

#[test]
fn of_a_loss_less_is_better_and_an_unknown_metric_is_asked_about() {
    let made = [2.0, 1.0, 0.5, 0.6]
        .iter()
        .fold(Made::new("run"), |made, loss| made.epoch(100.0, json!({"loss": loss})));
    let returns = Returns::of(&[made.history()], &Question::about("loss").unwrap()).unwrap();
    assert_eq!(returns.noise, None);
    assert_close(joules(returns.epochs[2].cost.unwrap()), 200.0);
    assert_eq!(returns.epochs[3].cost, None);
    assert_close(returns.epochs[3].best, 0.5);
    assert!(Question::about("temperature").is_err());
    let refusal =
        Returns::of(&[made.history()], &Question::about("accuracy").unwrap()).unwrap_err();
    assert!(refusal.to_string().contains("there are: loss"), "{refusal}");
}

#[test]
fn seeds_tell_the_noise_and_the_interval_of_what_was_bought() {
    let seed = |seed: usize, off: f64| {
        let accuracies: Vec<f64> =
            (0..12).map(|epoch| 0.9 - 0.4 * 0.6_f64.powi(epoch) + off).collect();
        learning(&format!("run-{seed}"), &accuracies).note("seed", &seed.to_string()).history()
    };
    let runs: Vec<History> =
        [0.01, 0.0, -0.01, 0.0].into_iter().enumerate().map(|(n, off)| seed(n, off)).collect();
    let question = Question::about("accuracy").unwrap();
    let returns = Returns::of(&runs, &question).unwrap();
    // The scatter of four seeds is 0.01·√(2/3), that of their mean half of it.
    let noise = returns.noise.unwrap();
    assert_eq!(noise.source, NoiseSource::Seeds { runs: 4 });
    assert_close(noise.sigma, 0.01 * (2.0_f64 / 3.0).sqrt() / 2.0);
    // 1 − 0.6^k ≥ 0.9·(1 − 0.6^11) from k = 5 on, so in the sixth epoch.
    assert_close(returns.bought[0].energy, 0.5);
    assert_eq!(returns.bought[0].interval, Some((0.5, 0.5)));
    let other = learning("other", &[0.5; 12]).note("batch", "64").history();
    let refusal = Returns::of(&[runs[0].clone(), other], &question).unwrap_err();
    assert!(refusal.what().contains("batch"), "{refusal}");
}

#[test]
fn runs_of_one_seed_tell_no_noise() {
    let run = |name: &str, seed: &str, off: f64| {
        let accuracies: Vec<f64> =
            (0..8).map(|epoch| 0.9 - 0.4 * 0.6_f64.powi(epoch) + off).collect();
        learning(name, &accuracies).note("seed", seed).history()
    };
    let question = Question::about("accuracy").unwrap();
    let of = |runs: &[History]| Returns::of(runs, &question).unwrap();
    let repeated = of(&[run("a", "1", 0.0), run("b", "1", 0.001), run("c", "2", 0.0)]);
    assert_eq!((repeated.noise, repeated.bought[0].interval), (None, None));
    // Seeds that change nothing are none.
    let alike = of(&[run("a", "1", 0.0), run("b", "2", 0.0), run("c", "3", 0.0)]);
    assert_eq!(alike.noise, None);
}

#[test]
fn gains_for_an_unknown_energy_are_refused() {
    let made = [0.5, 0.7, 0.8, 0.9].iter().fold(Made::new("run"), |made, accuracy| {
        made.epoch(0.0, json!({"accuracy": accuracy})).with("energy_j", Value::Null)
    });
    let refusal =
        Returns::of(&[made.history()], &Question::about("accuracy").unwrap()).unwrap_err();
    assert!(refusal.what().contains("what the epochs used is not known"), "{refusal}");
}

#[test]
fn all_right_is_not_without_noise() {
    let run = learning("run", &[0.5, 0.9, 0.99, 1.0]).note("n_val", "100").history();
    let noise = Returns::of(&[run], &Question::about("accuracy").unwrap()).unwrap().noise.unwrap();
    assert_close(noise.sigma, (0.99_f64 * 0.01 / 100.0).sqrt());
}

#[test]
fn a_gain_within_noise_buys_nothing() {
    let run = learning("run", &[0.800, 0.801, 0.799, 0.802]).note("n_val", "1000").history();
    let returns = Returns::of(&[run], &Question::about("accuracy").unwrap()).unwrap();
    assert!(returns.bought.is_empty());
    assert!(returns.to_string().contains("the gain over all epochs is within noise"), "{returns}");
}

#[test]
fn a_watch_stops_once_gains_are_not_worth_their_energy() {
    let accuracies = [0.50, 0.70, 0.80, 0.85, 0.86, 0.861, 0.861, 0.861, 0.861, 0.861];
    let stop_at = |value: f64| {
        let mut watch =
            Watch::new("accuracy", Direction::Higher, Energy::from_joules(value), 3).unwrap();
        let mut epochs = accuracies.iter();
        epochs.position(|it| watch.epoch(*it, Energy::from_joules(100.0)).is_some())
    };
    // At 1 J for a point no three epochs are worth 300 J; at 1 kJ they are at first; where there is no gain, none are.
    assert_eq!(stop_at(100.0), Some(3));
    assert_eq!(stop_at(100e3), Some(7));
    assert_eq!(stop_at(1e12), Some(8));
    assert!(Watch::new("accuracy", Direction::Higher, Energy::from_joules(1.0), 2).is_err());
    assert!(Watch::new("accuracy", Direction::Higher, Energy::ZERO, 3).is_err());
    assert!(
        Watch::new("accuracy", Direction::Higher, Energy::from_joules(1.0), usize::MAX).is_err()
    );
    // In hindsight, the same.
    let question = Question {
        worth: Some((Energy::from_joules(100e3), 3)),
        ..Question::about("accuracy").unwrap()
    };
    let stop =
        Returns::of(&[learning("run", &accuracies).history()], &question).unwrap().stop.unwrap();
    assert_eq!(stop.epoch, 8);
    assert_close(joules(stop.saved), 200.0);
    assert_close(stop.missed, 0.0);
    assert!(stop.reason.contains("worth"), "{}", stop.reason);
}

#[test]
fn a_loss_that_diverges_is_a_reason_to_stop() {
    let mut watch = Watch::new("loss", Direction::Lower, Energy::from_joules(1e9), 3).unwrap();
    let energy = Energy::from_joules(1.0);
    assert_eq!(watch.epoch(1.0, energy), None);
    assert_eq!(watch.epoch(f64::NAN, energy), None);
    assert_eq!(watch.epoch(f64::INFINITY, energy), None);
    assert_eq!(watch.epoch(f64::NAN, energy).unwrap(), "loss has been no number for 3 epochs");
    // One that comes back goes on.
    assert_eq!(watch.epoch(0.9, energy), None);
}

/// A trial of one epoch of 100 J.
fn trial(id: &str, rate: &str, seed: u32, accuracy: f64) -> Made {
    Made::new(id)
        .note("learning rate", rate)
        .note("seed", &seed.to_string())
        .set("created", json!(format!("2026-03-01T10:{id}:00Z")))
        .epoch(100.0, json!({}))
        .end(json!({"accuracy": accuracy}))
}

fn tune(trials: &[Made]) -> Tuning {
    let runs: Vec<History> = trials.iter().map(Made::history).collect();
    Tuning::of(&runs, "accuracy", Direction::Higher).unwrap()
}

#[test]
fn a_search_is_judged_by_runs_after_it() {
    let search = || {
        vec![
            trial("00", "0.1", 1, 0.80),
            trial("01", "0.2", 1, 0.78),
            trial("02", "0.3", 1, 0.86),
            trial("03", "0.4", 1, 0.70),
        ]
    };
    let tuning = tune(&search());
    assert_eq!(tuning.verdict, Verdict::NotRepeated { winner: 0, default: 1 });
    assert_close(joules(tuning.search), 400.0);
    assert_eq!(
        (tuning.default.as_str(), tuning.best.as_str()),
        ("learning rate 0.1", "learning rate 0.3")
    );
    // 200 J for 0.06.
    assert_close(joules(tuning.trials[2].cost.unwrap()), 200.0 / 0.06);
    assert!(tuning.to_string().contains("not judged: 0 runs of the winner"), "{tuning}");
    // Its 0.86 was luck: with new seeds it is like the default.
    let again = |winner: [f64; 3], default: [f64; 2]| {
        let mut trials = search();
        for (seed, accuracy) in (2..).zip(winner) {
            trials.push(trial(&format!("1{seed}"), "0.3", seed, accuracy));
        }
        for (seed, accuracy) in (2..).zip(default) {
            trials.push(trial(&format!("2{seed}"), "0.1", seed, accuracy));
        }
        trials
    };
    let luck = tune(&again([0.79, 0.82, 0.80], [0.81, 0.79]));
    let Verdict::NotShown(welch) = luck.verdict else { panic!("{luck}") };
    assert_close(welch.difference, (0.79 + 0.82 + 0.80) / 3.0 - 0.80);
    assert!(luck.to_string().contains("the search spent 900.0 J for no shown gain"), "{luck}");
    let skill = tune(&again([0.86, 0.87, 0.85], [0.81, 0.79]));
    assert!(matches!(skill.verdict, Verdict::Better(_)), "{skill}");
}

#[test]
fn runs_of_one_seed_are_one_and_that_of_the_search_is_not_new() {
    let trials = [
        trial("00", "0.1", 1, 0.80),
        trial("01", "0.3", 1, 0.86),
        trial("02", "0.3", 1, 0.86),
        trial("03", "0.3", 2, 0.85),
        trial("04", "0.3", 2, 0.85),
        trial("05", "0.1", 1, 0.80),
        trial("06", "0.1", 2, 0.81),
    ];
    assert_eq!(tune(&trials).verdict, Verdict::NotRepeated { winner: 1, default: 2 });
}

#[test]
fn a_gain_within_the_noise_of_trials_has_a_least_cost() {
    let trials = [
        trial("00", "0.1", 1, 0.80),
        trial("01", "0.1", 2, 0.78),
        trial("02", "0.3", 1, 0.800_000_01),
    ];
    let tuning = tune(&trials);
    // Two equal trials 0.02 apart: σ = 0.02/√2, and 2σ√2 = 0.04; 200 J since the first.
    assert_close(joules(tuning.trials[2].cost.unwrap()), 200.0 / 0.04);
    assert!(tuning.trials[2].is_noise && tuning.to_string().contains("> 5000.0 J"), "{tuning}");
}

#[test]
fn frameworks_are_settings_and_trials_of_unknown_energy_are_told() {
    let by = |id: &str, framework: &str, accuracy: f64| {
        trial(id, "0.1", 1, accuracy).set("framework", json!({"name": framework, "version": "1"}))
    };
    let unknown = by("02", "candle", 0.7).with("energy_j", Value::Null).with("u_j", Value::Null);
    let tuning = tune(&[by("00", "candle", 0.8), by("01", "burn", 0.9), unknown]);
    assert_eq!(
        (tuning.default.as_str(), tuning.best.as_str()),
        ("framework candle", "framework burn")
    );
    assert_eq!(tuning.unknown, 1);
    assert_close(joules(tuning.search), 200.0);
    assert!(tuning.to_string().contains("1 trials that do not say what they used"), "{tuning}");
}

#[test]
fn a_final_run_is_no_trial_and_a_failed_trial_costs() {
    let failed =
        Made::new("03").note("learning rate", "9").epochs(&[50.0]).set("state", json!("panicked"));
    let trials = [
        trial("00", "0.1", 1, 0.80),
        trial("01", "0.2", 1, 0.70),
        failed,
        trial("04", "0.1", 2, 0.81).note("purpose", "final"),
    ];
    let tuning = tune(&trials);
    assert_eq!(tuning.verdict, Verdict::Default);
    assert_close(joules(tuning.search), 250.0);
    assert_close(joules(tuning.final_runs.unwrap()), 100.0);
    assert!(tuning.to_string().contains("2.5 times as much"), "{tuning}");
}

#[test]
fn trials_that_do_not_say_how_they_differ_are_refused() {
    let runs: Vec<History> = [trial("00", "0.1", 1, 0.8), trial("01", "0.1", 2, 0.7)]
        .iter()
        .map(Made::history)
        .collect();
    let refusal = Tuning::of(&runs, "accuracy", Direction::Higher).unwrap_err();
    assert!(refusal.what().contains("do not say how their settings differ"), "{refusal}");
    assert!(Tuning::of(&runs, "loss", Direction::Lower).is_err());
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

/// A project of a search, a killed run, one that never got anywhere, a torn log, a copy, and runs that cannot be read.
fn project_tree() -> TempDir {
    let logs = TempDir::new().unwrap();
    let deep = logs.path().join("march/search");
    Made::new("search-1")
        .note("purpose", "Search")
        .epochs(&[100.0, 100.0])
        .end(json!({}))
        .write(&deep);
    let killed = Made::new("killed").set("state", json!("running")).set("sensors", sensor("model"));
    let killed = Made { lines: vec![killed.lines[0].clone(), progress("killed", 50.0)], ..killed };
    killed.note("purpose", "search").write(&deep);
    Made::new("early").set("state", json!("running")).write(logs.path());
    let torn = Made::new("torn")
        .set("state", json!("panicked"))
        .set("created", json!("2026-04-02T10:00:00Z"))
        .epochs(&[70.0]);
    let path = torn.write(logs.path()).join("rank-00000.jsonl");
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(br#"{"kind":"epoch","run_id":"to"#).unwrap();
    let last = Made::new("last").note("purpose", "final").epochs(&[40.0, 60.0]).end(json!({}));
    last.write(logs.path());
    last.write(&logs.path().join("backup"));
    fs::create_dir(logs.path().join("broken")).unwrap();
    fs::write(logs.path().join("broken/run.json"), "{").unwrap();
    logs
}

#[test]
fn a_project_counts_what_crashed_and_names_what_it_cannot_read() {
    let logs = project_tree();
    Made::new("newer").set("version", json!(99)).write(logs.path());
    let unmeasured = Some(Duration::from_secs(12 * 3_600));
    let declared = Declared { final_run: None, unmeasured };
    let total = Total::of(logs.path(), &declared).unwrap();
    assert_eq!(total.runs.len(), 5);
    // 200 of the search, 50 of the killed run, 70 of the torn one, 100 of the last.
    assert_close(joules(total.energy), 420.0);
    assert_close(joules(total.estimated), 50.0);
    assert_close(joules(total.measured), 370.0);
    // 20 % of the killed run's 50 J.
    assert_close(joules(total.uncertainty.unwrap()), 10.0);
    assert_close(joules(total.purposes["search"].energy), 250.0);
    assert_eq!(total.purposes["not said"].unknown, 1);
    assert_close(joules(total.states["panicked"].energy), 70.0);
    assert_eq!(total.states["running or killed"].runs, 2);
    assert_close(joules(total.months["2026-04"].energy), 70.0);
    assert_close(total.final_runs.as_ref().unwrap().factor, 4.2);
    let unknown: Vec<&str> = total.unknown().map(|run| run.run_id.as_str()).collect();
    assert_eq!(unknown, ["early"]);
    let reasons: Vec<&str> = total.left_out.iter().map(|it| it.reason.as_str()).collect();
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    for expected in ["broken/run.json", "a copy of `last`", "format version 99 is newer"] {
        assert!(reasons.iter().any(|reason| reason.contains(expected)), "{expected}: {reasons:?}");
    }
    let text = total.to_string();
    assert!(text.contains("4.2 times the final run of 100.0 J (last)"), "{text}");
    assert!(text.contains("in none of the sums: 12.0 h not measured"), "{text}");
}

#[test]
fn a_final_run_is_named_or_there_is_no_factor() {
    let logs = TempDir::new().unwrap();
    Made::new("a").epochs(&[30.0]).end(json!({})).write(logs.path());
    Made::new("b").epochs(&[10.0]).end(json!({})).write(logs.path());
    let of = |name: Option<&str>| {
        let final_run = name.map(str::to_owned);
        Total::of(logs.path(), &Declared { final_run, unmeasured: None })
    };
    assert_eq!(of(None).unwrap().final_runs, None);
    assert_close(of(Some("b")).unwrap().final_runs.unwrap().factor, 4.0);
    let refusal = of(Some("c")).unwrap_err();
    assert!(refusal.to_string().contains("there are: a, b"), "{refusal}");
    // Another of its name was killed before it said anything.
    let early = Made::new("c").set("name", json!("b")).set("state", json!("running"));
    early.write(logs.path());
    let total = of(Some("b")).unwrap();
    assert_eq!(total.final_runs.as_ref().unwrap().unknown, 1);
    assert!(total.to_string().contains("but 1 of these do not say what they used"), "{total}");
}

#[test]
fn of_an_unknown_energy_no_part_is_measured_or_estimated() {
    let logs = TempDir::new().unwrap();
    let share = json!({"cpu:package-0": {"energy_j": 30.0, "u_j": 1.0, "quality": "estimated", "total_j": 30.0}});
    let unknown = Made::new("a").set("sensors", sensor("model")).epochs(&[30.0]).end(json!({}));
    let unknown = unknown.with("energy_j", Value::Null).with("u_j", Value::Null);
    unknown.with("domains", share).write(logs.path());
    let total = Total::of(logs.path(), &Declared::default()).unwrap();
    assert_eq!((total.measured, total.estimated), (Energy::ZERO, Energy::ZERO));
    let path = logs.path().to_str().unwrap();
    let (_, out, _) = ergometer(&["total", path, "--country", "FR"]);
    assert!(out.contains("1 runs · energy not known") && !out.contains("CO2e"), "{out}");
    let (_, out, _) = ergometer(&["total", path, "--country", "FR", "--json"]);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["co2e_kg"], Value::Null);
}

#[cfg(unix)]
#[test]
fn a_directory_below_that_cannot_be_read_is_left_out() {
    use std::os::unix::fs::PermissionsExt;

    let logs = TempDir::new().unwrap();
    Made::new("a").epochs(&[30.0]).end(json!({})).write(logs.path());
    let closed = logs.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    // To the superuser nothing is closed.
    let expected = usize::from(fs::read_dir(&closed).is_err());
    let total = Total::of(logs.path(), &Declared::default()).unwrap();
    assert_eq!((total.runs.len(), total.left_out.len()), (1, expected));
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_back_is_not_followed() {
    let logs = TempDir::new().unwrap();
    Made::new("a").epochs(&[30.0]).end(json!({})).write(logs.path());
    std::os::unix::fs::symlink(logs.path(), logs.path().join("again")).unwrap();
    assert_eq!(Total::of(logs.path(), &Declared::default()).unwrap().runs.len(), 1);
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

/// A run of two epochs that has no end yet, by this process on this machine.
fn running() -> Made {
    let mut made = Made::new("run").note("epochs", "4").set("state", json!("running"));
    if let Ok(host) = fs::read_to_string("/proc/sys/kernel/hostname") {
        made.manifest["machine"]["host"] = json!(host.trim());
    }
    if let Ok(boot) = fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        made.manifest["machine"]["boot_id"] = json!(boot.trim());
    }
    made.epochs(&[120.0, 100.0])
}

fn grow_old(run: &Path, age: Duration) {
    let log = OpenOptions::new().append(true).open(run.join("rank-00000.jsonl")).unwrap();
    log.set_modified(SystemTime::now() - age).unwrap();
}

#[test]
fn total_tells_a_project_and_what_it_could_not_read() {
    let logs = project_tree();
    let path = logs.path().to_str().unwrap();
    let (status, out, err) = ergometer(&["total", path, "--unmeasured", "12 h"]);
    assert_eq!(status, 1);
    assert!(out.contains("5 runs · 420 J ± 20 J (k=2)"), "{out}");
    assert!(out.contains("running or killed") && out.contains("and 1 not known"), "{out}");
    assert!(err.contains("broken/run.json"), "{err}");
    assert!(
        out.lines().filter(|line| !line.contains(path)).all(|line| line.chars().count() <= 100),
        "{out}"
    );
    let (_, out, _) = ergometer(&["total", path, "--json"]);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["energy_j"], json!(420));
    assert_eq!(answer["final_runs"]["factor"], json!(4.2));
    assert_eq!(answer["runs"].as_array().unwrap().len(), 5);
}

#[test]
fn a_directory_without_runs_is_an_error_everywhere() {
    let empty = TempDir::new().unwrap();
    let path = empty.path().to_str().unwrap();
    let (status, out, err) = ergometer(&["total", path]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains("there is no run in or below"), "{err}");
    let (status, out, err) = ergometer(&["project", path]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains("run.json"), "{err}");
    let (status, out, err) = ergometer(&["watch", path, "--timeout", "0.1 s"]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains("waiting for") && err.contains("nothing new"), "{err}");
}

#[test]
fn project_shows_a_running_run_as_it_stands() {
    let logs = TempDir::new().unwrap();
    let run = running().epochs(&[100.0]).write(logs.path());
    let path = run.to_str().unwrap();
    let (status, out, err) =
        ergometer(&["project", path, "--country", "FR", "--price", "0.25 EUR"]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(out.contains("· running\n") && out.contains("3 of 4 done"), "{out}");
    assert!(
        out.contains("projected  420.0") && out.contains("emissions") && out.contains("EUR"),
        "{out}"
    );
    assert!(out.contains("if the intensity stays as it is"), "{out}");
    let (_, out, _) = ergometer(&["project", path, "--json", "--epochs", "10"]);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["projection"]["energy_j"], json!(1_020));
    assert_eq!(answer["outlay"]["co2e_kg"], Value::Null);
    let (status, _, err) = ergometer(&["project", path, "--epochs", "2"]);
    assert_eq!(status, 1);
    assert!(err.contains("3 epochs are done, and 2 planned"), "{err}");
    // Three hours without a word.
    grow_old(&run, Duration::from_secs(3 * 3_600 + 5));
    let (status, _, err) = ergometer(&["project", path]);
    assert_eq!(status, 0);
    assert!(err.contains("its last line is 3 h 0 min old"), "{err}");
}

#[test]
fn project_tells_an_early_stop_and_what_it_needs_for_it() {
    let logs = TempDir::new().unwrap();
    let made =
        learning("run", &[0.5, 0.8, 0.7]).note("epochs", "20").set("state", json!("running"));
    let run = made.write(logs.path());
    let path = run.to_str().unwrap();
    let (status, out, err) =
        ergometer(&["project", path, "--metric", "accuracy", "--patience", "4"]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(out.contains("600.0 J if it stops after epoch 6"), "{out}");
    assert_eq!(ergometer(&["project", path, "--metric", "accuracy"]).0, 2);
    let (status, _, err) = ergometer(&["project", path, "--metric", "speed", "--patience", "4"]);
    assert_eq!(status, 1);
    assert!(err.contains("say so: higher or lower"), "{err}");
}

#[test]
fn project_looks_back_on_a_run_that_has_ended() {
    let lab = Lab::new();
    let run = lab.meter([cpu(constant(100.0))]).run("done").start().unwrap();
    for _epoch in run.epochs(1..=6) {
        for _step in run.steps(0..4) {
            lab.pass(500);
        }
    }
    run.finish().unwrap();
    let (status, out, err) = ergometer(&["project", lab.logs.path().to_str().unwrap()]);
    assert_eq!(status, 0, "{err}");
    assert!(err.contains("the newest run there is"), "{err}");
    assert!(out.contains("6 of 6 done") && out.contains("nothing is left to do"), "{out}");
    assert!(out.contains("4 of 4 intervals hold it"), "{out}");
}

#[test]
fn project_of_a_run_without_epochs_says_why_not() {
    let logs = TempDir::new().unwrap();
    let made = Made::new("run").set("state", json!("running"));
    let killed = Made { lines: vec![made.lines[0].clone(), progress("run", 50.0)], ..made };
    let (status, out, err) = ergometer(&["project", killed.write(logs.path()).to_str().unwrap()]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains("holds no window") && err.contains("50.0 J"), "{err}");
}

#[test]
fn watch_shows_a_run_that_has_ended() {
    let logs = TempDir::new().unwrap();
    let run = running().epochs(&[100.0, 104.0]).end(json!({"accuracy": 0.97})).write(logs.path());
    let (status, out, err) = ergometer(&["watch", run.to_str().unwrap()]);
    assert_eq!((status, err.as_str()), (0, ""));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 7, "{out}");
    assert!(lines[2].starts_with("epoch 1 ") && lines[6].starts_with("run "), "{out}");
    assert!(lines[4].contains("→ 4") && lines[6].contains("accuracy 0.9700"), "{out}");
    assert!(lines.iter().all(|line| line.chars().count() <= 100), "{out}");
}

/// What two threads write and read.
#[derive(Clone, Default)]
struct Shared(std::sync::Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn lines(&self) -> usize {
        self.0.lock().unwrap().iter().filter(|byte| **byte == b'\n').count()
    }

    /// Waits until so many lines are there.
    fn wait_for(&self, lines: usize) {
        while self.lines() < lines {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn watch_follows_a_log_that_is_being_written() {
    let logs = TempDir::new().unwrap();
    let made = running().epochs(&[100.0]).with("session", json!(1)).end(json!({}));
    let (run, out) = (logs.path().join("run"), Shared::default());
    let (path, mut shown) = (run.to_str().unwrap().to_owned(), out.clone());
    let watching = thread::Builder::new().name("watching".to_owned()).spawn(move || {
        let mut err = Vec::new();
        let arguments = ["ergometer", "watch", &path, "--json", "--timeout", "20 s"];
        let status = ergometer_cli::run(arguments.map(Into::into), &mut shown, &mut err);
        (status, String::from_utf8(err).unwrap())
    });
    let watching = watching.unwrap();
    // Not there yet; then a directory without a log; then its first lines, the last of them torn.
    thread::sleep(Duration::from_millis(50));
    fs::create_dir(&run).unwrap();
    fs::write(run.join("run.json"), made.manifest.to_string()).unwrap();
    let text = made.text();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut log = fs::File::create(run.join("rank-00000.jsonl")).unwrap();
    let torn = lines[2].len() / 2;
    write!(log, "{}{}{}", lines[0], lines[1], &lines[2][..torn]).unwrap();
    out.wait_for(1);
    write!(log, "{}", &lines[2][torn..]).unwrap();
    out.wait_for(2);
    // The process is killed and goes on in another session.
    let mut again: Value = serde_json::from_str(lines[0]).unwrap();
    again["session"] = json!(1);
    write!(log, "{again}\n{}{}", lines[3], lines[4]).unwrap();
    let (status, err) = watching.join().unwrap();
    assert_eq!(status, 0, "{err}");
    assert!(err.contains("waiting for `"), "{err}");
    let rows = objects(&String::from_utf8(out.0.lock().unwrap().clone()).unwrap());
    let kinds: Vec<&str> = rows.iter().map(|row| row["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["epoch", "epoch", "start", "epoch", "end"]);
    assert_eq!(rows[1]["total_j"], json!(220));
    assert_eq!(rows[1]["projection"]["energy_j"], json!(420));
}

#[test]
fn project_follows_and_projects_anew_with_each_epoch() {
    let logs = TempDir::new().unwrap();
    let made = running().epochs(&[100.0, 100.0]).end(json!({})).set("state", json!("complete"));
    let run = made.write(logs.path());
    let (status, out, err) = ergometer(&["project", run.to_str().unwrap(), "--follow", "--json"]);
    assert_eq!((status, err.as_str()), (0, ""));
    let rows = objects(&out);
    let projected: Vec<f64> =
        rows[..4].iter().map(|row| row["projection"]["energy_j"].as_f64().unwrap()).collect();
    assert_eq!(projected, [480.0, 420.0, 420.0, 420.0]);
    assert_eq!(rows[4]["checks"].as_array().unwrap().len(), 2);
}

#[test]
fn project_does_not_follow_what_it_cannot_project() {
    let logs = TempDir::new().unwrap();
    let run =
        Made::new("run").set("state", json!("running")).epochs(&[100.0; 3]).write(logs.path());
    let (status, out, err) = ergometer(&["project", run.to_str().unwrap(), "--follow"]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains("give their number with --epochs"), "{err}");
}

#[cfg(target_os = "linux")]
#[test]
fn watch_ends_with_a_process_that_was_killed() {
    let logs = TempDir::new().unwrap();
    // No process has an id beyond the largest.
    let mut made = running();
    made.manifest["program"]["pid"] = json!(4_194_305);
    let run = made.write(logs.path());
    grow_old(&run, Duration::from_secs(90));
    let (status, out, err) = ergometer(&["watch", run.to_str().unwrap(), "--timeout", "20 s"]);
    assert_eq!(status, 1);
    assert!(out.contains("epoch 2"), "{out}");
    assert!(
        err.contains("process 4194305 is gone") && err.contains("its last line is 90 s old"),
        "{err}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn watch_ends_with_a_killed_process_though_the_clock_was_set_back() {
    let logs = TempDir::new().unwrap();
    let mut made = running();
    made.manifest["program"]["pid"] = json!(4_194_305);
    let run = made.write(logs.path());
    let log = OpenOptions::new().append(true).open(run.join("rank-00000.jsonl")).unwrap();
    log.set_modified(SystemTime::now() + Duration::from_secs(3_600)).unwrap();
    let (status, _, err) = ergometer(&["watch", run.to_str().unwrap(), "--timeout", "20 s"]);
    assert_eq!(status, 1);
    assert!(err.contains("process 4194305 is gone"), "{err}");
}

#[test]
fn watch_knows_a_log_that_was_replaced() {
    let logs = TempDir::new().unwrap();
    let (run, out) = (running().write(logs.path()), Shared::default());
    let (path, mut shown) = (run.to_str().unwrap().to_owned(), out.clone());
    let watching = thread::Builder::new().name("watching".to_owned()).spawn(move || {
        let mut err = Vec::new();
        let arguments = ["ergometer", "watch", &path, "--json", "--timeout", "20 s"];
        let status = ergometer_cli::run(arguments.map(Into::into), &mut shown, &mut err);
        (status, String::from_utf8(err).unwrap())
    });
    out.wait_for(2);
    let other = Made::new("run").epochs(&[7.0; 5]).end(json!({}));
    fs::write(run.join("other"), other.text()).unwrap();
    fs::rename(run.join("other"), run.join("rank-00000.jsonl")).unwrap();
    let (status, err) = watching.unwrap().join().unwrap();
    assert_eq!((status, out.lines()), (1, 2));
    assert!(err.contains("is not the file that it was") && err.contains("start again"), "{err}");
}

#[test]
fn a_long_log_is_read_in_parts_and_projected_at_its_last_epoch() {
    let logs = TempDir::new().unwrap();
    let long = "x".repeat(4_000);
    let made = (0..1_200)
        .fold(running().note("epochs", "2000"), |made, _| made.epoch(100.0, json!({ &long: 1 })));
    let run = made.write(logs.path());
    let size = fs::metadata(run.join("rank-00000.jsonl")).unwrap().len();
    assert!(size > 1 << 22, "{size}");
    let arguments = ["watch", run.to_str().unwrap(), "--json", "--timeout", "0.1 s"];
    let rows = objects(&ergometer(&arguments).1);
    assert_eq!(rows.len(), 1_202);
    let projected = |row: usize| rows[row].get("projection").is_some();
    assert!(projected(999) && !projected(1_100) && projected(1_201));
}

#[test]
fn lines_of_hindsight_fit_a_terminal() {
    let logs = TempDir::new().unwrap();
    let accuracies: Vec<f64> = (0..20).map(|epoch| 0.9 - 0.4 * 0.5_f64.powi(epoch)).collect();
    let run = learning("run", &accuracies).note("epochs", "40").set("state", json!("running"));
    let run = run.write(logs.path());
    let path = run.to_str().unwrap();
    for arguments in [
        ["returns", path, "--metric", "accuracy", "--worth", "100"],
        ["project", path, "--metric", "accuracy", "--patience", "12"],
    ] {
        let (status, out, err) = ergometer(&arguments);
        assert_eq!((status, err.as_str()), (0, ""));
        assert!(
            out.contains("stop") && out.lines().all(|line| line.chars().count() <= 100),
            "{out}"
        );
    }
    assert_eq!(ergometer(&["returns", path, "--worth", "inf"]).0, 1);
}

#[test]
fn watch_tells_a_long_silence_with_its_age() {
    let logs = TempDir::new().unwrap();
    let run = running().write(logs.path());
    grow_old(&run, Duration::from_secs(7 * 60 + 2));
    let (status, _, err) = ergometer(&["watch", run.to_str().unwrap(), "--timeout", "0.2 s"]);
    assert_eq!(status, 1);
    assert_eq!(err.matches("its last line is 7 min old").count(), 1, "{err}");
}

#[test]
fn watch_tells_bad_lines_and_refuses_several_ranks() {
    let logs = TempDir::new().unwrap();
    let run = running().end(json!({})).write(logs.path());
    let log = run.join("rank-00000.jsonl");
    let text = fs::read_to_string(&log).unwrap().replacen('\n', "\ngarbage\n", 1);
    fs::write(&log, text).unwrap();
    let (status, out, err) = ergometer(&["watch", run.to_str().unwrap()]);
    assert_eq!(status, 1);
    assert!(out.contains("\nrun ") && err.contains("line 2: "), "{out}{err}");
    fs::write(run.join("rank-00001.jsonl"), "").unwrap();
    let (status, _, err) = ergometer(&["watch", run.to_str().unwrap()]);
    assert_eq!(status, 1);
    assert!(err.contains("several ranks"), "{err}");
}

#[test]
fn help_fits_a_terminal() {
    for command in ["project", "total", "watch"] {
        let (status, out, err) = ergometer(&[command, "--help"]);
        assert_eq!((status, err.as_str()), (0, ""));
        assert!(out.lines().all(|line| line.chars().count() <= 100), "{out}");
    }
}

/// Lines that are made are lines of the format.
#[test]
fn made_lines_are_read_back() {
    for line in running().end(json!({})).lines {
        Line::parse(&line.to_string()).unwrap();
    }
}
