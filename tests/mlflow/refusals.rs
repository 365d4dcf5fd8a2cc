//! Servers that refuse, in part or in all, and what they are told then.

use std::thread;
use std::time::{Duration, Instant};

use ergometer::RunLog;
use serde_json::json;

use super::tracking::{Mood, Tracking};
use super::{measured, said, train, trained};
use crate::lab::Lab;

#[test]
fn what_a_server_refuses_keeps_nothing_else_away() {
    for status in [400, 413, 500] {
        let (lab, server, well) = (Lab::new(), Tracking::start(), Tracking::start());
        let run = measured(&lab).run("mlp").note("odd", "NaN").note("seed", 1).start().unwrap();
        let path = run.path().to_owned();
        for _epoch in run.epochs(1..=20) {
            lab.pass(1_000);
            run.metric("bad", f64::NAN);
            run.metric("good", 1.0);
        }
        run.finish().unwrap();
        let log = RunLog::open(&path).unwrap();
        well.sink().upload(&log).unwrap();
        let whole = well.run();

        server.is(Mood::Refuses(status, "\"NaN\""));
        let refusal = server.sink().upload(&log).unwrap_err().to_string();
        let expected = format!("answers runs/log-batch with {status}");
        assert!(refusal.contains(&expected), "{refusal}");
        assert!(refusal.contains("`epoch/bad` and 1 more"), "{refusal}");
        let run = server.run();
        assert_eq!((run.status.as_str(), run.params.len()), ("FINISHED", whole.params.len() - 1));
        let missing = whole.metrics.difference(&run.metrics);
        assert_eq!(missing.clone().count(), 20);
        assert!(missing.into_iter().all(|it| it.0 == "epoch/bad"));

        server.is(Mood::Well);
        assert_eq!(server.sink().upload(&log).unwrap().0.sent, 20);
        let again = server.sink().upload(&log).unwrap().0;
        assert_eq!((again.sent, again.there), (0, whole.metrics.len()), "NaN is NaN");
        assert_eq!((server.run().metrics, server.run().params), (whole.metrics, whole.params));
    }
}

#[test]
fn a_training_tells_the_rest_and_its_end_to_a_server_that_refuses_a_value() {
    let (lab, server) = (Lab::new(), Tracking::start());
    server.is(Mood::Refuses(400, "epoch/accuracy"));
    let sink = server.sink();
    let delivery = sink.delivery();
    let run = measured(&lab).run("mlp").observe(sink).start().unwrap();
    let path = run.path().to_owned();
    train(&lab, &run, 1..=5);
    let (start, log) = (Instant::now(), RunLog::open(&path).unwrap());
    while said(&log).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(20));
        lab.pass(100);
    }
    let said = said(&log);
    assert!(said[0].contains("it does not take `epoch/accuracy`"), "{said:?}");
    run.finish().unwrap();
    assert!(delivery.wait(Duration::from_secs(20)).unwrap_err().is_lost());
    assert_eq!(delivery.lost(), 5, "something of each epoch");
    let run = server.ended();
    assert_eq!(run.metric("energy/epoch_joules").len(), 5);
    assert_eq!(run.metric("step/loss").len(), 15);
    assert_eq!(run.metric("energy/total_joules").len(), 1);
}

#[test]
fn a_server_that_takes_nothing_is_not_asked_for_each_value() {
    let (lab, server) = (Lab::new(), Tracking::start());
    let run = measured(&lab).run("mlp").start().unwrap();
    let path = run.path().to_owned();
    for _epoch in run.epochs(1..=1) {
        for place in 0..900 {
            run.metric(&format!("metric {place}"), 1.0);
        }
        lab.pass(1_000);
    }
    run.finish().unwrap();
    server.is(Mood::Refuses(400, "timestamp"));
    let refusal = server.sink().upload(&RunLog::open(&path).unwrap()).unwrap_err();
    assert!(refusal.to_string().contains("answers runs/log-batch with 400"), "{refusal}");
    let asked = server.state.lock().unwrap().asked.len();
    assert!(asked < 200, "{asked}");
}

#[test]
fn a_run_that_is_deleted_meanwhile_is_said_to_be() {
    let (lab, server) = (Lab::new(), Tracking::start());
    let sink = server.sink();
    let delivery = sink.delivery();
    let run = measured(&lab).run("mlp").observe(sink).start().unwrap();
    let path = run.path().to_owned();
    train(&lab, &run, 1..=2);
    let start = Instant::now();
    while server.runs().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(20));
        lab.pass(100);
    }
    server.state.lock().unwrap().runs[0].deleted = true;
    train(&lab, &run, 3..=9);
    run.finish().unwrap();
    let refusal = delivery.wait(Duration::from_secs(20)).unwrap_err().to_string();
    assert!(refusal.contains("the run `run-0`") && refusal.contains("is deleted"), "{refusal}");
    assert!(server.state.lock().unwrap().asked.len() < 40);
    // An upload makes another one.
    server.sink().upload(&RunLog::open(&path).unwrap()).unwrap();
    assert_eq!(server.runs()[1].metric("energy/epoch_joules").len(), 9);
}

#[test]
fn a_server_that_is_out_of_order_is_waited_for() {
    let (lab, server) = (Lab::new(), Tracking::start());
    let sink = server.sink();
    let delivery = sink.delivery();
    let run = measured(&lab).run("mlp").observe(sink).start().unwrap();
    train(&lab, &run, 1..=2);
    let start = Instant::now();
    let asked = || server.state.lock().unwrap().asked.len();
    while server.runs().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(20));
        lab.pass(100);
    }
    server.is(Mood::Says(500, String::new()));
    train(&lab, &run, 3..=4);
    let before = asked();
    // Three times a value, and whether anything else can be had: by then one that the store cannot keep is left out.
    while asked() < before + 5 {
        assert!(start.elapsed() < Duration::from_secs(40));
        lab.pass(100);
        thread::sleep(Duration::from_millis(5));
    }
    server.is(Mood::Well);
    run.finish().unwrap();
    delivery.wait(Duration::from_secs(20)).unwrap();
    assert_eq!(delivery.lost(), 0);
    assert_eq!(server.run().metric("energy/epoch_joules").len(), 4);
}

#[test]
fn a_server_that_asks_for_no_wait_gets_one() {
    let (lab, server) = (Lab::new(), Tracking::start());
    let log = trained(&lab, measured(&lab).run("mlp"), 2);
    server.is(Mood::Busy(Instant::now() + Duration::from_millis(400)));
    server.sink().upload(&log).unwrap();
    assert_eq!(server.run().metric("energy/epoch_joules").len(), 2);
    let asked = server.state.lock().unwrap().asked.clone();
    assert!(asked.iter().filter(|asked| asked.0 == "experiments/search").count() <= 2);
}

#[test]
fn a_server_that_refuses_loses_what_it_refuses_and_nobody_tells_the_token() {
    for (status, kind) in [(403, "403"), (400, "400")] {
        let (lab, server) = (Lab::new(), Tracking::start());
        // A server that throws back what it was sent.
        let echo = json!({ "error_code": "Bearer s3cret", "message": "Bearer s3cret" });
        server.is(Mood::Says(status, echo.to_string()));
        let sink = server.sink().bearer("s3cret").unwrap();
        let (debug, delivery) = (format!("{sink:?}"), sink.delivery());
        let log = trained(&lab, measured(&lab).run("mlp").observe(sink), 20);
        let lost = delivery.wait(Duration::from_secs(20)).unwrap_err();
        assert_eq!(delivery.lost(), 21, "twenty epochs and the end");
        let said = said(&log);
        assert!(said[0].contains(kind), "{said:?}");
        let refusal = server.sink().bearer("s3cret").unwrap().upload(&log).unwrap_err();
        assert_eq!(refusal.is_permission_denied(), status == 403);
        let asked = server.state.lock().unwrap().asked.clone();
        assert!(asked.iter().all(|(_, token, _)| token.as_deref() == Some("Bearer s3cret")));
        let logged = std::fs::read_dir(log.directory()).unwrap();
        let logged = logged.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
        let all = format!("{debug} {lost} {lost:?} {refusal} {refusal:?} {said:?}");
        assert!(!(all + &logged.collect::<String>()).contains("s3cret"));
    }
}
