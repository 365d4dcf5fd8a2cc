//! A run's history: what is read of a log for analysis, in one pass.

use std::fs;
use std::path::Path;

use ergometer::{Energy, Kind, RunLog, Summary};
use ergometer_report::History;

use crate::lab::{Lab, constant, cpu};

fn read(run: &Path) -> History {
    let (history, bad) = History::read(&RunLog::open(run).unwrap()).unwrap();
    assert!(bad.is_empty(), "{bad:?}");
    history
}

#[test]
fn what_was_measured_in_phases_within_an_epoch_is_the_epochs_too() {
    let lab = Lab::new();
    let run = lab.meter([cpu(constant(100.0))]).run("phases").start().unwrap();
    let other = run.lane();
    // Another lane's epochs come and go within.
    let long = other.open_epoch(100);
    let evaluation = other.phase("other");
    other.metric("elsewhere", 0.3);
    evaluation.end();
    for epoch in run.epochs(1..=3) {
        run.steps(0..4).for_each(|_| lab.pass(50));
        let validation = run.phase("validate");
        let inner = run.phase("inner");
        lab.pass(20);
        run.metric("accuracy", epoch as f64 / 10.0);
        inner.end();
        run.metric("loss", epoch as f64);
        validation.end();
    }
    other.close(long, ergometer::Status::Complete);
    let path = run.path().to_owned();
    run.finish().unwrap();
    let history = read(&path);
    let of = |epoch: u64| {
        &history.epochs.iter().find(|record| record.epoch == Some(epoch)).unwrap().metrics
    };
    for epoch in 1..=3 {
        assert_eq!(of(epoch).get("accuracy"), Some(&(epoch as f64 / 10.0)));
        assert_eq!(of(epoch).get("loss"), Some(&(epoch as f64)));
    }
    assert_eq!(of(100).get("elsewhere"), Some(&0.3));
    assert_eq!(
        history.metric_names().into_iter().collect::<Vec<_>>(),
        ["accuracy", "elsewhere", "loss"]
    );
}

#[test]
fn a_run_that_went_on_after_its_end_and_was_killed_is_not_over() {
    let lab = Lab::new();
    let run = lab.meter([cpu(constant(100.0))]).run("again").start().unwrap();
    run.epochs(1..=2).for_each(|_| lab.pass(500));
    let path = run.path().to_owned();
    run.finish().unwrap();
    let log = path.join("rank-00000.jsonl");
    let ended = fs::read_to_string(&log).unwrap();
    let start = ended.lines().next().unwrap().replace("\"session\":0", "\"session\":1");
    fs::write(&log, format!("{ended}{start}\n")).unwrap();
    let (summary, _) = Summary::read(&RunLog::open(&path).unwrap()).unwrap();
    assert_eq!(summary.end.kind, Kind::End);
    assert_eq!(summary.end.quality, ergometer::Quality::Partial);
    assert_eq!(summary.end.energy, Some(summary.end.total));
    assert!((summary.end.total - Energy::from_joules(100.0)).abs() < Energy::from_joules(0.1));
}

#[test]
fn each_session_and_lane_has_its_own_warm_up() {
    let lab = Lab::new();
    let meter = lab.meter([cpu(constant(100.0))]);
    let mut path = None;
    for _session in 0..2 {
        let run = match &path {
            None => meter.run("sessions"),
            Some(path) => meter.resume(path).unwrap(),
        };
        let run = run.start().unwrap();
        for epoch in run.epochs(1..=3) {
            run.steps(0..5).for_each(|_| lab.pass(if epoch == 1 { 400 } else { 100 }));
        }
        path = Some(run.path().to_owned());
        run.finish().unwrap();
    }
    let steps = read(&path.unwrap()).steps;
    assert_eq!((steps.count, steps.warm_up.unwrap().n), (30, 10));
    assert!((steps.time.unwrap().p95 - 0.1).abs() < 0.002, "{steps:?}");
}

#[test]
fn a_bad_line_is_told_with_its_line_and_column() {
    let lab = Lab::new();
    let run = lab.meter([cpu(constant(100.0))]).run("bad").start().unwrap();
    run.epochs(1..=2).for_each(|_| lab.pass(500));
    let path = run.path().to_owned();
    run.finish().unwrap();
    let log = path.join("rank-00000.jsonl");
    let text =
        fs::read_to_string(&log).unwrap().replacen("\"kind\":\"epoch\"", "\"kind\":epoch", 1);
    fs::write(&log, text).unwrap();
    let (_, bad) = History::read(&RunLog::open(&path).unwrap()).unwrap();
    let said = bad[0].to_string();
    assert!(said.contains("line 2: ") && said.contains("at column 9"), "{said}");
    assert!(!said.contains("line 1"), "{said}");
}
