//! What was measured of an epoch, and became known when it was over.

use std::collections::BTreeMap;

use ergometer::log::Line;
use ergometer::{Kind, Meter, RunLog, Summary};
use ergometer_report::History;

use crate::lab::{Lab, constant, cpu, lines};

fn meter(lab: &Lab) -> Meter {
    lab.meter([cpu(constant(50.0))])
}

fn metrics(value: f64) -> BTreeMap<String, f64> {
    BTreeMap::from([("valid/Accuracy".to_owned(), value)])
}

/// The epochs' lines, by their numbers, and those of their metrics, in the log's order.
fn order(log: &RunLog) -> Vec<(&'static str, u64)> {
    let lines = lines(log.directory()).into_iter().filter_map(|line| match line {
        Line::Window(window) if window.kind == Kind::Epoch => Some(("epoch", window.epoch?)),
        Line::Event(event) if event.event == "metrics" => Some(("metrics", event.epoch?)),
        _ => None,
    });
    lines.collect()
}

#[test]
fn they_stand_behind_the_epoch_s_line_and_count_as_the_epoch_s() {
    let lab = Lab::new();
    let run = meter(&lab).run("net").start().unwrap();
    let (records, path) = (run.records(), run.path().to_owned());
    for epoch in run.epochs(1..=3) {
        lab.pass(1_000);
        // Of this epoch, whose line is not there; and of the one before, whose line is.
        records.epoch_metrics(epoch, [("train/Loss".to_owned(), 1.0 / epoch as f64)]);
        if epoch > 1 {
            records.epoch_metrics(epoch - 1, metrics(0.5));
        }
    }
    records.epoch_metrics(3, metrics(f64::NAN));
    let summary = run.finish().unwrap();
    records.epoch_metrics(3, metrics(0.9));
    let log = RunLog::open(path).unwrap();
    let order = order(&log);
    assert_eq!(order.len(), 3 + 6, "what comes behind the end is lost: {order:?}");
    for epoch in 1..=3 {
        let line = order.iter().position(|it| *it == ("epoch", epoch)).unwrap();
        let first = order.iter().position(|it| *it == ("metrics", epoch)).unwrap();
        assert!(line < first, "{order:?}");
    }
    let (history, bad) = History::read(&log).unwrap();
    assert!(bad.is_empty());
    let accuracies = history.epochs.iter().map(|epoch| epoch.metrics["valid/Accuracy"]);
    let accuracies: Vec<f64> = accuracies.collect();
    assert_eq!(accuracies[..2], [0.5, 0.5]);
    assert!(accuracies[2].is_nan());
    assert_eq!(history.metric("train/Loss"), Some(1.0 / 3.0));
    let (read, _) = Summary::read(&log).unwrap();
    for summary in [&summary, &read] {
        let last = summary.epochs.recent.back().unwrap();
        assert_eq!(last.metrics["train/Loss"].to_bits(), (1.0_f64 / 3.0).to_bits());
        assert!(summary.events.keys().all(|(event, _)| event != "metrics"), "no mishap");
    }
    assert_eq!(summary.to_string(), read.to_string());
}

#[test]
fn a_resumed_run_knows_them() {
    let lab = Lab::new();
    let run = meter(&lab).run("net").start().unwrap();
    let path = run.path().to_owned();
    for _epoch in run.epochs(1..=1) {
        lab.pass(1_000);
    }
    run.records().epoch_metrics(1, metrics(0.5));
    run.finish().unwrap();
    let run = meter(&lab).resume(&path).unwrap().start().unwrap();
    lab.pass(1_000);
    let summary = run.finish().unwrap();
    assert_eq!(summary.epochs.recent[0].metrics, metrics(0.5));
}
