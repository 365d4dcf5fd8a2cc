//! MLflow, on a server that keeps to its rules and can be slow, refuse, or be gone.

mod refusals;
mod tracking;

use std::thread;
use std::time::{Duration, Instant};

use ergometer::log::Line;
use ergometer::{Kind, Meter, Run, RunBuilder, RunLog};
use ergometer_sinks::mlflow::Mlflow;
use ergometer_sinks::tally::Tally;
use ergometer_sinks::{prometheus, replay};

use crate::lab::{Lab, constant, cpu, gpu, lines, windows};
use tracking::{Mood, Stored, Tracking};

fn measured(lab: &Lab) -> Meter {
    lab.meter([gpu(constant(300.0)), cpu(constant(80.0))])
}

/// Epochs of three steps of a second.
fn train(lab: &Lab, run: &Run, epochs: std::ops::RangeInclusive<u64>) {
    for _epoch in run.epochs(epochs) {
        for step in run.steps(0..3) {
            lab.pass(1_000);
            run.metric("loss", 1.0 / f64::from(step + 1));
        }
        run.metric("accuracy", 0.9);
    }
}

/// Trains with a sink, and gives the log.
fn trained(lab: &Lab, builder: RunBuilder, epochs: u64) -> RunLog {
    let run = builder.start().unwrap();
    let path = run.path().to_owned();
    train(lab, &run, 1..=epochs);
    run.finish().unwrap();
    RunLog::open(path).unwrap()
}

/// What the log says of the sink.
fn said(log: &RunLog) -> Vec<String> {
    let events = lines(log.directory()).into_iter().filter_map(|line| match line {
        Line::Event(event) if event.event == "mlflow" => event.detail,
        _ => None,
    });
    events.collect()
}

#[test]
fn a_run_is_there_with_its_parameters_its_epochs_its_powers_and_its_end() {
    let (lab, server) = (Lab::new(), Tracking::start());
    let sink = server.sink().experiment("digits");
    let delivery = sink.delivery();
    let run = measured(&lab).run("mlp").parameters(1_234).note("batch size", 32).observe(sink);
    let log = trained(&lab, run, 5);
    delivery.wait(Duration::from_secs(20)).unwrap();
    let run = server.ended();
    assert_eq!(server.state.lock().unwrap().experiments[run.experiment], "digits");
    assert_eq!((run.name.as_str(), run.status.as_str()), ("mlp", "FINISHED"));
    assert_eq!(
        (run.params["parameters"].as_str(), run.params["batch size"].as_str()),
        ("1234", "32")
    );
    assert_eq!(run.tags["ergometer.run_id"], log.manifest.run_id);
    assert!(run.tags["mlflow.note.content"].contains("epoch 5"), "{:?}", run.tags);
    let windows = windows(log.directory());
    let epochs: Vec<(i64, f64)> = windows
        .iter()
        .filter_map(|it| {
            Some((i64::try_from(it.epoch.filter(|_| it.steps.is_some())?).unwrap(), it.energy?))
        })
        .map(|(epoch, energy)| (epoch, serde_json::to_string(&energy).unwrap().parse().unwrap()))
        .collect();
    assert_eq!(epochs.len(), 5);
    assert_eq!(run.metric("energy/epoch_joules"), epochs);
    assert_eq!(run.metric("epoch/accuracy"), [1, 2, 3, 4, 5].map(|epoch| (epoch, 0.9)));
    assert_eq!(run.metric("step/loss").len(), 15);
    assert_eq!(run.metric("energy/total_joules").len(), 1);
    let watts = run.metric("system/gpu_0_power_usage_watts");
    assert_eq!(watts.len(), 1, "one in ten seconds: {watts:?}");
    assert!((watts[0].1 - 300.0).abs() < 3.0, "{watts:?}");
    assert!(run.keys().contains("system/cpu_package_0_power_usage_watts"));
    assert!(run.keys().contains("energy/gpu-GPU-0/epoch_joules"), "{:?}", run.keys());
    assert!(run.keys().contains("uncertainty/cpu-package-0/total_joules"));
    assert_eq!(server.refused(), [""; 0]);
    assert_eq!(delivery.lost(), 0);
}

#[test]
fn requests_keep_to_the_limits_and_hostile_names_to_the_rules() {
    let (lab, server) = (Lab::new(), Tracking::start());
    let sink = server.sink();
    let delivery = sink.delivery();
    let mut builder = measured(&lab).run("wide \u{1f600}'\"`").observe(sink);
    for place in 0..250 {
        builder = builder.note(format!("note {place}"), "ä\"".repeat(5_000));
    }
    let run = builder.start().unwrap();
    for _epoch in run.epochs(1..=1) {
        for place in 0..2_500 {
            run.metric(&format!("metric {place}"), f64::from(place));
        }
        for hostile in ["top[5]", "top(5)", "../../etc", "/", "a//b", "naïve", "loss\r\nX: 1"] {
            run.metric(hostile, f64::NAN);
        }
        lab.pass(1_000);
    }
    run.finish().unwrap();
    delivery.wait(Duration::from_secs(20)).unwrap();
    assert_eq!(server.refused(), [""; 0]);
    let run = server.ended();
    assert_eq!(run.params.len(), 250);
    let noted = run.keys().iter().filter(|key| key.starts_with("epoch/metric ")).count();
    assert_eq!(noted, 2_500);
    let not_numbers = run.metrics.iter().filter(|metric| metric.3 == "NaN");
    assert_eq!(not_numbers.count(), 7, "each under a key of its own");
    let asked = server.state.lock().unwrap().asked.clone();
    assert!(asked.iter().filter(|asked| asked.2 == 1_000).count() >= 2, "{asked:?}");
}

#[test]
fn a_slow_server_delays_no_step_and_no_end() {
    let (lab, server) = (Lab::new(), Tracking::start());
    server.is(Mood::Slow(Duration::from_millis(500)));
    let sink = server.sink();
    let delivery = sink.delivery();
    let start = Instant::now();
    let log = trained(&lab, measured(&lab).run("mlp").observe(sink), 20);
    // The server alone would take ten seconds and more.
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(delivery.wait(Duration::ZERO).unwrap_err().is_lost(), "it is still at work");
    server.is(Mood::Well);
    delivery.wait(Duration::from_secs(20)).unwrap();
    assert_eq!(server.run().metric("energy/epoch_joules").len(), 20);
    assert_eq!(said(&log), [""; 0]);
}

#[test]
fn a_server_that_is_gone_for_a_while_is_told_all_of_it() {
    let (lab, server) = (Lab::new(), Tracking::start());
    let sink = server.sink();
    let delivery = sink.delivery();
    let run = measured(&lab).run("mlp").observe(sink).start().unwrap();
    let path = run.path().to_owned();
    train(&lab, &run, 1..=3);
    server.is(Mood::Gone);
    train(&lab, &run, 4..=6);
    let start = Instant::now();
    // The training goes on meanwhile, and says that the server is gone.
    while said(&RunLog::open(&path).unwrap()).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(20));
        lab.pass(100);
    }
    server.is(Mood::Well);
    train(&lab, &run, 7..=9);
    // It is tried again at the end, however far off the next try is.
    run.finish().unwrap();
    delivery.wait(Duration::from_secs(20)).unwrap();
    assert_eq!(delivery.lost(), 0);
    let run = server.ended();
    assert_eq!(run.metric("energy/epoch_joules").len(), 9);
    // Once, and at the end again if what waited was on its way just then.
    let said = said(&RunLog::open(&path).unwrap());
    let left = said.iter().filter(|text| text.contains("the run is over")).count();
    assert_eq!((said.len() - left, left.min(2)), (1, left.min(1)), "{said:?}");
}

#[test]
fn what_has_not_arrived_at_the_end_is_said_before_the_log_s_last_line_with_the_cure() {
    let (lab, server) = (Lab::new(), Tracking::start());
    server.is(Mood::Gone);
    let run = measured(&lab).run("mlp").observe(server.sink()).start().unwrap();
    let path = run.path().to_owned();
    train(&lab, &run, 1..=3);
    let (start, log) = (Instant::now(), RunLog::open(&path).unwrap());
    while said(&log).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(20));
        lab.pass(100);
    }
    let summary = run.finish().unwrap();
    let said = said(&log);
    let [gone, left] = &said[..] else { panic!("{said:?}") };
    for text in [gone, left] {
        assert!(
            text.ends_with("; `ergometer export RUN --format mlflow` tells it later"),
            "{text}"
        );
    }
    // One of the three may be on its way just then.
    let is_told = |count| left.contains(&format!("over, and {count} messages have not arrived"));
    assert!(is_told(2) || is_told(3), "{left}");
    assert_eq!(summary.events[&("mlflow".to_owned(), None)], 2);
    let last = lines(&path).pop().unwrap();
    assert!(matches!(last, Line::Window(end) if end.kind == Kind::End));
}

#[test]
fn a_run_that_is_in_another_experiment_stays_there_and_is_told_once() {
    let (lab, server) = (Lab::new(), Tracking::start());
    let log = trained(&lab, measured(&lab).run("mlp"), 2);
    let upload = |experiment: &str| server.sink().experiment(experiment).upload(&log).unwrap().0;
    let first = upload("digits");
    assert_eq!(first.elsewhere, None);
    assert_eq!(upload("digits").elsewhere, None);
    let other = upload("other");
    assert_eq!((other.elsewhere.as_deref(), other.sent), (Some("digits"), 0));
    assert_eq!((&other.run, &other.page), (&first.run, &first.page));
    let by_id = server.sink().experiment_id("0").upload(&log).unwrap().0;
    assert_eq!(by_id.elsewhere.as_deref(), Some("digits"));
    assert_eq!(server.runs().len(), 1, "and no run counts twice");
    assert_eq!(server.refused(), [""; 0]);
}

/// What the command says on standard error.
fn exported(log: &RunLog, more: &[&str]) -> (u8, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let words = ["ergometer", "export", log.directory().to_str().unwrap(), "--format", "mlflow"];
    let words = words.iter().chain(more);
    let status = ergometer_cli::run(words.map(Into::into), &mut out, &mut err);
    (status, String::from_utf8(err).unwrap())
}

#[test]
fn the_command_says_how_much_was_missing_where_it_stays_and_that_it_tries_again() {
    let (lab, server) = (Lab::new(), Tracking::start());
    let log = trained(&lab, measured(&lab).run("mlp"), 2);
    let export = |experiment| exported(&log, &["--url", &server.url, "--experiment", experiment]);
    let (status, first) = export("digits");
    assert_eq!(status, 0, "{first}");
    let values = server.run().metrics.len();
    assert!(first.contains(&format!("{values} values were sent, and 0 were there")), "{first}");
    let (_, second) = export("other");
    assert!(
        second.contains(&format!("nothing was missing: {values} values are there")),
        "{second}"
    );
    assert!(second.contains("is in the experiment `digits` already"), "{second}");
    server.is(Mood::Gone);
    let (status, gone) = export("digits");
    assert_eq!((status, gone.matches("; trying again").count()), (1, 2), "{gone}");
    let (status, wrong) = exported(&log, &["--url", "ftp://host"]);
    assert!(status == 1 && wrong.contains("`mlflow.url` (--url):"), "{wrong}");
}

#[test]
fn the_description_says_which_uncertainties_are_which() {
    let (lab, server) = (Lab::new(), Tracking::start());
    server.sink().upload(&trained(&lab, measured(&lab).run("mlp"), 1)).unwrap();
    let note = &server.run().tags["mlflow.note.content"];
    let last = note.lines().last().unwrap();
    assert!(last.contains("(k = 2)") && last.ends_with("standard ones (k = 1)."), "{note}");
}

#[test]
fn what_was_lost_is_counted_and_an_upload_tells_it_once() {
    let (lab, server) = (Lab::new(), Tracking::start());
    let sink = server.sink();
    let delivery = sink.delivery();
    let run = measured(&lab).run("mlp").observe(sink).start().unwrap();
    let path = run.path().to_owned();
    train(&lab, &run, 1..=12);
    // What has been told so far has arrived.
    let start = Instant::now();
    while server.runs().iter().all(|run| run.metric("energy/epoch_joules").len() < 10) {
        assert!(start.elapsed() < Duration::from_secs(20));
        lab.pass(100);
        thread::sleep(Duration::from_millis(2));
    }
    server.is(Mood::Says(401, String::new()));
    train(&lab, &run, 13..=20);
    run.finish().unwrap();
    assert!(delivery.wait(Duration::from_secs(20)).is_err());
    assert!(delivery.lost() >= 8, "{}", delivery.lost());
    server.is(Mood::Well);
    let before = server.run();
    assert_eq!(before.status, "RUNNING");
    let log = RunLog::open(&path).unwrap();
    let (uploaded, bad) = server.sink().upload(&log).unwrap();
    assert!(bad.is_empty());
    let after = server.run();
    assert_eq!(after.status, "FINISHED");
    assert_eq!(after.metric("energy/epoch_joules").len(), 20);
    assert!(before.metrics.is_subset(&after.metrics), "what was told live is what the log tells");
    assert_eq!(uploaded.there, before.metrics.len());
    assert_eq!(uploaded.sent, after.metrics.len() - before.metrics.len());
    let (again, _) = server.sink().upload(&log).unwrap();
    assert_eq!((again.sent, again.there), (0, after.metrics.len()));
    assert_eq!(server.run().metrics, after.metrics);
    assert_eq!(server.refused(), [""; 0]);
}

#[test]
fn what_somebody_wrote_on_the_server_since_is_left_where_nothing_is_missing() {
    let (lab, server) = (Lab::new(), Tracking::start());
    let log = trained(&lab, measured(&lab).run("mlp"), 2);
    server.sink().upload(&log).unwrap();
    {
        let mut state = server.state.lock().unwrap();
        state.runs[0].tags.insert("mlflow.note.content".to_owned(), "mine".to_owned());
        state.runs[0].status = "FAILED".to_owned();
    }
    assert_eq!(server.sink().upload(&log).unwrap().0.sent, 0);
    let run = server.run();
    assert_eq!((run.tags["mlflow.note.content"].as_str(), run.status.as_str()), ("mine", "FAILED"));
}

#[test]
fn a_run_that_somebody_else_has_begun_is_added_to_and_left_open() {
    let (lab, server) = (Lab::new(), Tracking::start());
    let theirs = Stored {
        status: "RUNNING".to_owned(),
        tags: [("mlflow.note.content".to_owned(), "ours".to_owned())].into(),
        params: [("parameters".to_owned(), "5".to_owned())].into(),
        ..Stored::default()
    };
    server.state.lock().unwrap().runs.push(theirs);
    let variable = |name: &str| match name {
        "MLFLOW_TRACKING_URI" => Some(server.url.clone()),
        "MLFLOW_RUN_ID" => Some("run-0".to_owned()),
        "MLFLOW_TRACKING_USERNAME" => Some("me".to_owned()),
        "MLFLOW_TRACKING_PASSWORD" => Some("s3cret".to_owned()),
        _ => None,
    };
    let sink = Mlflow::from_variables(variable).unwrap().unwrap();
    let delivery = sink.delivery();
    let log =
        trained(&lab, measured(&lab).run("mlp").parameters(7).note("seed", 1).observe(sink), 2);
    delivery.wait(Duration::from_secs(20)).unwrap();
    let run = server.run();
    assert_eq!((run.status.as_str(), run.params["parameters"].as_str()), ("RUNNING", "5"));
    assert_eq!(run.params["seed"], "1");
    assert_eq!(run.tags["mlflow.note.content"], "ours");
    assert!(run.tags.contains_key("ergometer.summary"));
    assert_eq!(run.metric("energy/epoch_joules").len(), 2);
    // An upload knows it by its tag, and that it is somebody else's.
    let (uploaded, _) = server.sink().upload(&log).unwrap();
    assert_eq!((uploaded.run.as_str(), uploaded.sent), ("run-0", 0));
    assert_eq!(server.run().status, "RUNNING");
    assert_eq!(server.refused(), [""; 0]);
    let asked = server.state.lock().unwrap().asked.clone();
    assert!(asked.iter().any(|asked| asked.1.as_deref() == Some("Basic bWU6czNjcmV0")));
}

#[test]
fn a_run_that_is_resumed_goes_on_where_it_was() {
    let (lab, server) = (Lab::new(), Tracking::start());
    let log = trained(&lab, measured(&lab).run("mlp").observe(server.sink()), 2);
    server.ended();
    let sink = server.sink();
    let delivery = sink.delivery();
    let run = measured(&lab).resume(log.directory()).unwrap().observe(sink).start().unwrap();
    train(&lab, &run, 3..=4);
    run.finish().unwrap();
    delivery.wait(Duration::from_secs(20)).unwrap();
    let run = server.run();
    assert_eq!(run.status, "FINISHED");
    assert_eq!(
        run.metric("energy/epoch_joules").iter().map(|it| it.0).collect::<Vec<_>>(),
        [1, 2, 3, 4]
    );
    let (uploaded, _) = server.sink().upload(&log).unwrap();
    assert_eq!(uploaded.sent, 0, "{uploaded:?}");
}

/// Epochs with an evaluation in each, and one behind them.
fn train_and_evaluate(lab: &Lab, run: &Run, epochs: std::ops::RangeInclusive<u64>) {
    for _epoch in run.epochs(epochs) {
        for _step in run.steps(0..3) {
            lab.pass(1_000);
            let _load = run.phase("load");
        }
        let _valid = run.phase("valid");
        lab.pass(500);
        run.metric("accuracy", 0.5);
    }
    for loss in [1.0, 2.0] {
        let _test = run.phase("test");
        lab.pass(500);
        run.metric("loss", loss);
    }
}

#[test]
fn a_run_that_is_resumed_has_told_what_its_log_tells() {
    let (lab, server, other) = (Lab::new(), Tracking::start(), Tracking::start());
    let run = measured(&lab).run("mlp").observe(server.sink()).start().unwrap();
    let path = run.path().to_owned();
    train_and_evaluate(&lab, &run, 1..=2);
    run.finish().unwrap();
    server.ended();
    for session in 2..=3 {
        // Another process: another clock, an hour later.
        let lab = Lab::new();
        lab.pass(session * 3_600_000);
        let sink = server.sink();
        let delivery = sink.delivery();
        let run = measured(&lab).resume(&path).unwrap().observe(sink).start().unwrap();
        train_and_evaluate(&lab, &run, session * 2 - 1..=session * 2);
        run.finish().unwrap();
        delivery.wait(Duration::from_secs(20)).unwrap();
    }
    let log = RunLog::open(&path).unwrap();
    other.sink().upload(&log).unwrap();
    let (live, told) = (server.run(), other.run());
    assert_eq!(live.metrics, told.metrics);
    assert_eq!((&live.status, &live.params), (&told.status, &told.params));
    let steps = |key| live.metric(key).iter().map(|it| it.0).collect::<Vec<_>>();
    assert_eq!(steps("phase_valid/accuracy"), [1, 2, 3, 4, 5, 6]);
    assert_eq!(steps("epoch/accuracy"), [1, 2, 3, 4, 5, 6]);
    assert_eq!(steps("phase_test/loss"), [1, 1, 1, 2, 2, 2], "those of each session");
    let totals = live.keys().into_iter().filter(|key| key.starts_with("energy/total_joules"));
    assert_eq!(totals.map(|key| live.metric(key).len()).sum::<usize>(), 3, "one a session");
    let again = server.sink().upload(&log).unwrap().0;
    assert_eq!((again.sent, again.there), (0, live.metrics.len()));
    assert_eq!(server.run().metrics, live.metrics);
}

#[test]
fn an_upload_of_a_run_that_goes_on_is_gone_on_with_by_the_next() {
    let (lab, server, other) = (Lab::new(), Tracking::start(), Tracking::start());
    let run = measured(&lab).run("mlp").start().unwrap();
    let path = run.path().to_owned();
    let upload = |server: &Tracking| server.sink().upload(&RunLog::open(&path).unwrap()).unwrap().0;
    train(&lab, &run, 1..=3);
    let start = Instant::now();
    while windows_of(&path) < 2 {
        assert!(start.elapsed() < Duration::from_secs(20));
        lab.pass(100);
    }
    let first = upload(&server);
    assert!(first.sent > 10, "{first:?}");
    assert_eq!(server.run().status, "RUNNING");
    train(&lab, &run, 4..=6);
    run.finish().unwrap();
    let second = upload(&server);
    assert_eq!((&second.run, server.run().status.as_str()), (&first.run, "FINISHED"));
    assert_eq!(upload(&server).sent, 0);
    upload(&other);
    let (grown, whole) = (server.run(), other.run());
    assert!(grown.metrics.is_superset(&whole.metrics));
    // What the run had used by then is true still.
    let more: Vec<_> = grown.metrics.difference(&whole.metrics).collect();
    assert!(more.iter().all(|(key, ..)| key.contains("total_")), "{more:?}");
    assert_eq!(grown.tags["mlflow.note.content"], whole.tags["mlflow.note.content"]);
}

/// How many epochs a log holds.
fn windows_of(run: &std::path::Path) -> usize {
    RunLog::open(run).unwrap().windows(Kind::Epoch).unwrap().len()
}

#[test]
fn two_runs_of_one_name_are_two_runs() {
    let (lab, server) = (Lab::new(), Tracking::start());
    let logs = [2, 3].map(|epochs| trained(&lab, measured(&lab).run("mlp"), epochs));
    for _ in 0..2 {
        for log in &logs {
            server.sink().upload(log).unwrap();
        }
    }
    let runs = server.runs();
    let epochs = runs.iter().map(|run| run.metric("energy/epoch_joules").len());
    assert_eq!(epochs.collect::<Vec<_>>(), [2, 3]);
    assert!(runs.iter().all(|run| run.name == "mlp"));
}

#[test]
fn two_values_of_one_step_and_moment_are_two() {
    let (lab, server) = (Lab::new(), Tracking::start());
    let sink = server.sink();
    let delivery = sink.delivery();
    let run = measured(&lab).run("mlp").observe(sink).start().unwrap();
    let path = run.path().to_owned();
    for _epoch in run.epochs(1..=1) {
        lab.pass(1_000);
        for score in [0.25, 0.5, 0.5, f64::NAN] {
            let _valid = run.phase("valid");
            run.metric("score", score);
        }
    }
    run.finish().unwrap();
    delivery.wait(Duration::from_secs(20)).unwrap();
    let live = server.ended();
    let scores = |run: &Stored| -> Vec<String> {
        let all = run.metrics.iter().filter(|it| it.0 == "phase_valid/score");
        all.map(|it| it.3.clone()).collect()
    };
    assert_eq!(scores(&live), ["0.25", "0.5", "NaN"]);
    let log = RunLog::open(&path).unwrap();
    assert_eq!(server.sink().upload(&log).unwrap().0.sent, 0);
    // One of them is lost on the server, and one is off in the last place.
    let state = || server.state.lock().unwrap();
    let changed = |it: &(String, i64, i64, String)| match (it.0.as_str(), it.3.as_str()) {
        ("phase_valid/score", "0.25") => None,
        ("phase_valid/score", "0.5") => {
            Some((it.0.clone(), it.1, it.2, "0.5000000000000001".to_owned()))
        }
        _ => Some(it.clone()),
    };
    let there = live.metrics.iter().filter_map(changed).collect();
    state().runs[0].metrics = there;
    assert_eq!(server.sink().upload(&log).unwrap().0.sent, 1);
    assert_eq!(scores(&server.run()), ["0.25", "0.5000000000000001", "NaN"]);
}

#[test]
fn a_user_without_a_password_is_refused_and_a_token_beside_is_sent() {
    let sink = |set: &[(&str, &str)]| {
        let set: Vec<(String, String)> = set
            .iter()
            .map(|(name, value)| (format!("MLFLOW_TRACKING_{name}"), (*value).to_owned()))
            .collect();
        Mlflow::from_variables(|name| {
            if name == "MLFLOW_TRACKING_URI" {
                return Some("http://127.0.0.1:1".to_owned());
            }
            set.iter().find(|(set, _)| set == name).map(|(_, value)| value.clone())
        })
    };
    let refusal = |set: &[(&str, &str)]| {
        let refusal = sink(set).unwrap_err();
        let text = format!("{refusal} {refusal:?}");
        assert!(!text.contains("s3cret"), "{text}");
        refusal.to_string()
    };
    let missing = refusal(&[("USERNAME", "s3cret")]);
    assert!(missing.contains("MLFLOW_TRACKING_PASSWORD is not"), "{missing}");
    let missing = refusal(&[("PASSWORD", "s3cret"), ("USERNAME", " ")]);
    assert!(missing.contains("MLFLOW_TRACKING_USERNAME is not"), "{missing}");
    for half in [("USERNAME", "me"), ("PASSWORD", "s3cret")] {
        assert!(sink(&[half, ("TOKEN", "t0ken")]).unwrap().is_some());
    }
    assert!(sink(&[("USERNAME", "me"), ("PASSWORD", "s3cret")]).unwrap().is_some());
}

#[test]
fn what_became_known_of_an_epoch_when_it_was_over_is_the_epoch_s() {
    let (lab, server) = (Lab::new(), Tracking::start());
    let sink = server.sink();
    let delivery = sink.delivery();
    let run = measured(&lab).run("mlp").observe(sink).start().unwrap();
    let path = run.path().to_owned();
    train(&lab, &run, 1..=2);
    for epoch in 1..=2 {
        run.records().epoch_metrics(epoch, [("valid/Accuracy".to_owned(), 0.5)]);
    }
    lab.pass(1_000);
    run.finish().unwrap();
    delivery.wait(Duration::from_secs(20)).unwrap();
    assert_eq!(server.ended().metric("epoch/valid/Accuracy"), [(1, 0.5), (2, 0.5)]);
    let log = RunLog::open(&path).unwrap();
    assert_eq!(server.sink().upload(&log).unwrap().0.sent, 0);
    let mut tally = Tally::default();
    replay(&log, &mut tally).unwrap();
    let page = prometheus::text([&tally]);
    assert!(page.contains("metric=\"valid/Accuracy\""), "{page}");
}

#[test]
fn what_is_no_mlflow_is_said_to_be_none() {
    let (lab, server) = (Lab::new(), Tracking::start());
    let log = trained(&lab, measured(&lab).run("mlp"), 1);
    server.is(Mood::Says(200, "<html>".to_owned()));
    let refusal = server.sink().upload(&log).unwrap_err();
    assert!(refusal.to_string().contains("does not answer as MLflow does"), "{refusal}");
    for address in
        ["sqlite:///mlflow.db", "http://127.0.0.1:1/?key=s3cret", "http://127.0.0.1:1#s3cret"]
    {
        let refusal = Mlflow::new(address).unwrap_err();
        assert!(!format!("{refusal} {refusal:?}").contains("s3cret"), "{refusal}");
    }
    assert!(Mlflow::from_variables(|_| None).unwrap().is_none());
}
