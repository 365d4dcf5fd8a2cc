//! Runs on fake sensors and a fake clock: windows, sums, statuses, metrics, lanes.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use ergometer::{Energy, Kind, Quality, Record, Status, Summary};

use crate::lab::{Lab, constant, cpu, gpu, of, steps_of_30_ms, windows};

/// What a record says against the truth: the error in units of the standard uncertainty.
fn pull(record: &Record, truth: Energy) -> f64 {
    (record.energy.unwrap() - truth).as_joules().abs() / record.uncertainty.unwrap().as_joules()
}

#[test]
fn energies_agree_with_the_integral_per_step_epoch_and_run() {
    let lab = Lab::new();
    let (gpu_load, cpu_load) = (steps_of_30_ms(), constant(50.0));
    let meter = lab.meter([gpu(gpu_load.clone()), cpu(cpu_load.clone())]);
    let run = meter.run("truth").parameters(101_770).start().unwrap();
    for _epoch in run.epochs(1..=3) {
        for _batch in run.steps(0..100).samples(32) {
            lab.pass(31);
        }
        lab.pass(200);
    }
    let path = run.path().to_owned();
    run.finish().unwrap();
    let windows = windows(&path);
    let truth = |record: &Record| {
        gpu_load.between(record.start, record.end) + cpu_load.between(record.start, record.end)
    };
    assert_eq!(of(&windows, Kind::Step).len(), 300);
    for step in of(&windows, Kind::Step) {
        assert!(pull(step, truth(step)) <= 2.0, "{step:?}");
        assert!(matches!(step.quality, Quality::Measured | Quality::Amortised), "{step:?}");
        assert_eq!(step.samples, Some(32));
    }
    for epoch in of(&windows, Kind::Epoch) {
        assert!(pull(epoch, truth(epoch)) <= 2.0, "{epoch:?}");
        assert_eq!(epoch.quality, Quality::Measured);
        assert_eq!((epoch.steps, epoch.samples), (Some(100), Some(3_200)));
    }
    let end = of(&windows, Kind::End)[0];
    assert!(pull(end, truth(end)) <= 2.0, "{end:?}");
    assert!(end.uncertainty.unwrap().as_joules() < 0.01 * end.energy.unwrap().as_joules());
    assert_eq!((end.epochs, end.steps, end.samples), (Some(3), Some(300), Some(9_600)));
}

#[test]
fn steps_follow_each_other_without_a_gap() {
    let lab = Lab::new();
    let meter = lab.meter([cpu(constant(50.0))]);
    let run = meter.run("contiguous").start().unwrap();
    let slow = (0..10).inspect(|_| lab.pass(5));
    for _epoch in run.epochs([7]) {
        for _batch in run.steps(slow.clone()).data_time() {
            lab.pass(20);
        }
    }
    let path = run.path().to_owned();
    run.finish().unwrap();
    let windows = windows(&path);
    let steps = of(&windows, Kind::Step);
    assert_eq!(steps.len(), 10);
    for (step, next) in steps.iter().zip(&steps[1..]) {
        assert_eq!(step.end, next.start);
        assert_eq!(
            (step.duration, step.data),
            (Duration::from_millis(25), Some(Duration::from_millis(5)))
        );
    }
    let numbers: Vec<_> = steps.iter().map(|step| (step.epoch, step.step.unwrap())).collect();
    assert_eq!(numbers, (1..=10).map(|number| (Some(7), number)).collect::<Vec<_>>());
}

#[test]
fn a_loop_left_early_closes_its_windows_and_says_so() {
    let lab = Lab::new();
    let meter = lab.meter([cpu(constant(50.0))]);
    let run = meter.run("early").start().unwrap();
    let fails = || -> Result<(), &'static str> {
        for _epoch in run.epochs(1..=3) {
            for batch in run.steps(0..10) {
                lab.pass(10);
                if batch == 4 {
                    Err("a bad batch")?;
                }
            }
        }
        Ok(())
    };
    assert!(fails().is_err());
    let panics = catch_unwind(AssertUnwindSafe(|| {
        for batch in run.steps(0..3) {
            lab.pass(10);
            assert_ne!(batch, 0, "the training panics");
        }
    }));
    assert!(panics.is_err());
    for batch in run.steps(0..10) {
        lab.pass(10);
        if batch == 1 {
            break;
        }
    }
    let path = run.path().to_owned();
    run.finish().unwrap();
    let windows = windows(&path);
    let statuses: Vec<_> =
        of(&windows, Kind::Step).iter().map(|step| (step.step.unwrap(), step.status)).collect();
    let complete = |number| (number, Status::Complete);
    assert_eq!(statuses[..4], [complete(1), complete(2), complete(3), complete(4)]);
    let rest =
        [(5, Status::Dropped), (6, Status::Panicked), (7, Status::Complete), (8, Status::Dropped)];
    assert_eq!(statuses[4..], rest);
    assert_eq!(of(&windows, Kind::Epoch)[0].status, Status::Dropped);
    assert_eq!(of(&windows, Kind::End)[0].status, Status::Complete);
}

#[test]
fn a_leaked_guard_is_closed_with_the_window_around_it() {
    let lab = Lab::new();
    let meter = lab.meter([cpu(constant(50.0))]);
    let run = meter.run("leak").start().unwrap();
    {
        let epoch = run.epoch(1);
        std::mem::forget(run.step());
        lab.pass(50);
        epoch.end();
    }
    std::mem::forget(run.phase("never closed"));
    lab.pass(50);
    let path = run.path().to_owned();
    run.finish().unwrap();
    let windows = windows(&path);
    assert_eq!(of(&windows, Kind::Step)[0].status, Status::Orphaned);
    assert_eq!(of(&windows, Kind::Epoch)[0].status, Status::Complete);
    assert_eq!(of(&windows, Kind::Phase)[0].status, Status::Orphaned);
}

#[test]
fn ticks_begin_where_the_last_one_was_or_the_window_around_opened() {
    let lab = Lab::new();
    let meter = lab.meter([cpu(constant(50.0))]);
    let run = meter.run("ticks").start().unwrap();
    for epoch in 1..=2 {
        let _epoch = run.epoch(epoch);
        for _ in 0..3 {
            lab.pass(40);
            run.tick();
        }
        lab.pass(100);
    }
    let path = run.path().to_owned();
    run.finish().unwrap();
    let windows = windows(&path);
    let steps = of(&windows, Kind::Step);
    assert_eq!(steps.len(), 6);
    assert!(steps.iter().all(|step| step.duration == Duration::from_millis(40)), "{steps:?}");
    assert_eq!(steps[3].epoch, Some(2));
}

#[test]
fn accumulated_items_make_one_step() {
    let lab = Lab::new();
    let meter = lab.meter([cpu(constant(50.0))]);
    let run = meter.run("accumulate").start().unwrap();
    for _item in run.steps(0..7).every(3).tokens(128) {
        lab.pass(10);
    }
    for _nothing in run.steps(std::iter::empty::<u8>()) {
        lab.pass(10);
    }
    let path = run.path().to_owned();
    let summary = run.finish().unwrap();
    let windows = windows(&path);
    let steps: Vec<_> = of(&windows, Kind::Step)
        .iter()
        .map(|step| (step.duration.as_millis(), step.tokens))
        .collect();
    assert_eq!(steps, [(30, Some(384)), (30, Some(384)), (10, Some(128))]);
    assert_eq!((summary.end.tokens, summary.end.steps), (Some(896), Some(3)));
}

#[test]
fn phases_nest_overlap_and_stand_apart_from_the_steps_of_an_epoch() {
    let lab = Lab::new();
    let meter = lab.meter([cpu(constant(50.0))]);
    let run = meter.run("phases").start().unwrap();
    for _epoch in run.epochs([1]) {
        for _batch in run.steps(0..5) {
            lab.pass(100);
            let _eval = run.phase("inner");
            lab.pass(50);
        }
        let outer = run.phase("validate");
        for _batch in run.steps(0..2) {
            lab.pass(100);
        }
        run.metric("accuracy", 0.5);
        let other = run.phase("checkpoint");
        lab.pass(60);
        drop(outer);
        lab.pass(60);
        drop(other);
        run.metric("loss", 2.5);
    }
    let path = run.path().to_owned();
    run.finish().unwrap();
    let windows = windows(&path);
    let epoch = of(&windows, Kind::Epoch)[0];
    let steps = of(&windows, Kind::Step);
    let inside: Energy =
        steps.iter().filter(|step| step.epoch == Some(1)).filter_map(|step| step.energy).sum();
    assert_eq!(epoch.steps, Some(5));
    assert!((inside.as_joules() - 37.5).abs() < 0.5, "{inside}");
    assert_eq!(steps.iter().filter(|step| step.phase.as_deref() == Some("validate")).count(), 2);
    let phases = of(&windows, Kind::Phase);
    let named =
        |name: &str| *phases.iter().find(|phase| phase.phase.as_deref() == Some(name)).unwrap();
    assert_eq!(named("validate").duration, Duration::from_millis(260));
    assert_eq!(named("checkpoint").duration, Duration::from_millis(120));
    assert_eq!(named("checkpoint").parent, Some(named("validate").id));
    assert_eq!(named("validate").metrics, BTreeMap::from([("accuracy".to_owned(), 0.5)]));
    assert_eq!(epoch.metrics, BTreeMap::from([("loss".to_owned(), 2.5)]));
    let step = steps[0];
    assert!((step.phases.unwrap().as_joules() - 2.5).abs() < 0.2, "{step:?}");
}

#[test]
fn each_thread_has_a_lane_of_its_own() {
    let lab = Lab::new();
    let meter = lab.meter([cpu(constant(50.0))]);
    let run = meter.run("lanes").start().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let lane = run.lane();
            scope.spawn(move || {
                for _epoch in lane.epochs(1..=2) {
                    for _batch in lane.steps(0..50) {
                        std::hint::black_box(0);
                    }
                }
            });
        }
    });
    lab.pass(500);
    let path = run.path().to_owned();
    run.finish().unwrap();
    let windows = windows(&path);
    for lane in [1, 2] {
        let steps: Vec<_> =
            of(&windows, Kind::Step).into_iter().filter(|step| step.lane == lane).collect();
        assert_eq!(
            steps.iter().map(|step| step.step.unwrap()).collect::<Vec<_>>(),
            (1..=100).collect::<Vec<_>>()
        );
        for step in steps {
            let parent = windows.iter().find(|record| {
                (record.lane, Some(record.id), record.kind) == (lane, step.parent, Kind::Epoch)
            });
            assert_eq!(parent.unwrap().epoch, step.epoch);
        }
    }
}

#[test]
fn a_step_below_the_sensors_period_is_amortised_in_a_long_row_and_unresolved_in_a_short_one() {
    let lab = Lab::new();
    let meter = lab.meter([gpu(constant(400.0))]);
    let quality = |steps: u64| {
        let run = meter.run("rows").start().unwrap();
        for _epoch in run.epochs([1]) {
            for _batch in run.steps(0..steps) {
                lab.pass(10);
            }
        }
        let path = run.path().to_owned();
        run.finish().unwrap();
        let windows = windows(&path);
        let steps = of(&windows, Kind::Step);
        assert!(
            steps
                .iter()
                .all(|step| step.quality == steps[0].quality && step.intervals.unwrap() < 0.2)
        );
        assert!(
            steps.iter().all(|step| step.energy.is_some() == (step.quality == Quality::Amortised))
        );
        steps[0].quality
    };
    assert_eq!(quality(400), Quality::Amortised);
    assert_eq!(quality(30), Quality::Unresolved);
}

#[test]
fn a_budget_ends_the_loops_and_the_log_says_why() {
    let lab = Lab::new();
    let meter = lab.meter([cpu(constant(100.0))]);
    let run = meter.run("budget").budget(Energy::from_joules(100.0)).start().unwrap();
    let mut steps = 0;
    for _epoch in run.epochs(1..=100) {
        for _batch in run.steps(0..10) {
            lab.pass(50);
            steps += 1;
        }
    }
    // 100 J at 100 W are a second, and one step may be under way.
    assert!((20..=21).contains(&steps), "{steps} steps");
    assert!(run.stop_reason().unwrap().contains("energy budget of 100.0 J"));
    let path = run.path().to_owned();
    let summary = run.finish().unwrap();
    assert!(summary.to_string().contains("stopped: the energy budget"), "{summary}");
    let windows = windows(&path);
    let end = of(&windows, Kind::End)[0];
    assert_eq!(end.status, Status::Stopped);
    assert!(end.reason.as_ref().unwrap().contains("budget"));
    assert_eq!(of(&windows, Kind::Epoch).last().unwrap().status, Status::Stopped);
}

#[test]
fn the_last_epoch_and_the_energy_so_far_can_be_asked_for_in_the_loop() {
    let lab = Lab::new();
    let meter = lab.meter([cpu(constant(100.0))]);
    let run = meter.run("asked").start().unwrap();
    assert!(run.last_epoch().is_none());
    for epoch in run.epochs(1..=3_u64) {
        lab.pass(1_000);
        let so_far = run.energy();
        let truth = 100.0 * epoch as f64;
        let error = (so_far.energy.unwrap().as_joules() - truth).abs();
        assert!(
            error <= 2.0 * so_far.uncertainty.unwrap().as_joules() + 0.1,
            "{so_far} against {truth}"
        );
        if epoch > 1 {
            assert_eq!(run.last_epoch().unwrap().epoch, Some(epoch - 1));
        }
    }
    run.finish().unwrap();
}

#[test]
fn two_meters_and_two_runs_of_one_meter_do_not_disturb_each_other() {
    let lab = Lab::new();
    let (first, second) = (lab.meter([cpu(constant(100.0))]), lab.meter([cpu(constant(30.0))]));
    let runs = [
        first.run("a").start().unwrap(),
        first.run("b").start().unwrap(),
        second.run("c").start().unwrap(),
    ];
    lab.pass(2_000);
    let totals = runs.map(|run| run.finish().unwrap().estimate().energy.unwrap().as_joules());
    for (total, truth) in totals.into_iter().zip([200.0, 200.0, 60.0]) {
        assert!((total - truth).abs() < 0.05 * truth, "{total} against {truth}");
    }
}

#[test]
fn the_table_shows_every_epoch_with_its_uncertainty_and_what_is_missing() {
    let lab = Lab::new();
    let meter = lab.meter([gpu(constant(400.0)), cpu(constant(50.0))]);
    let run = meter.run("table").parameters(101_770).start().unwrap();
    for _epoch in run.epochs(1..=2) {
        for _batch in run.steps(0..30).samples(8) {
            lab.pass(100);
        }
        run.metric("accuracy", 0.75);
    }
    let path = run.path().to_owned();
    let summary = run.finish().unwrap();
    let text = summary.to_string();
    for part in [
        "101,770 parameters",
        "epoch 1",
        "epoch 2",
        "±",
        "measured",
        "accuracy",
        "gpu:GPU-0",
        "not measured: power supply",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    let (read, faults) = Summary::read(&ergometer::RunLog::open(&path).unwrap()).unwrap();
    assert!(faults.is_empty(), "{faults:?}");
    assert_eq!(read.to_string(), text);
}

#[test]
fn a_metric_that_is_no_number_is_logged_and_read_back_as_such() {
    let lab = Lab::new();
    let run = lab.meter([cpu(constant(50.0))]).run("diverged").start().unwrap();
    for _epoch in run.epochs([1]) {
        lab.pass(100);
        run.metric("loss", f64::NAN);
        run.metric("accuracy", 0.25);
    }
    let path = run.path().to_owned();
    run.finish().unwrap();
    let windows = windows(&path);
    let metrics = &of(&windows, Kind::Epoch)[0].metrics;
    assert!(metrics["loss"].is_nan() && (metrics["accuracy"] - 0.25).abs() < 1e-12, "{metrics:?}");
}
