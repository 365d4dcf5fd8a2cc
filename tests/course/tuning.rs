//! What a search for settings cost, and brought.

use ergometer_report::History;
use ergometer_report::analysis::tuning::{Tuning, Verdict};
use ergometer_report::metric::Direction;
use serde_json::{Value, json};

use super::{Made, assert_close, joules};

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
