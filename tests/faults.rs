//! What could go wrong in long runs: rows that wait, sensors that come late, rings that are full, processes that are killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ergometer::log::Line;
use ergometer::sensor::fake::Fake;
use ergometer::sensor::{Domain, Hardware, Provenance, Quantity, Reading, Sensor, Specification};
use ergometer::{
    Clock, Energy, Error, Kind, Meter, Quality, Record, Result, RunLog, Status, Summary, Timestamp,
};

use crate::lab::{Lab, check_schema, check_sums, constant, cpu, gpu, of};

/// The windows that are on disk by now.
fn on_disk(run: &Path) -> Vec<Record> {
    let lines = RunLog::open(run).unwrap().lines().unwrap();
    lines
        .filter_map(|line| match line.unwrap() {
            Line::Window(record) => Some(*record),
            _ => None,
        })
        .collect()
}

/// A run's directory as a kill would leave it at this moment.
fn killed(run: &Path, lab: &Lab) -> PathBuf {
    let left = lab.logs.path().join("killed");
    fs::create_dir(&left).unwrap();
    for file in fs::read_dir(run).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), left.join(file.file_name())).unwrap();
    }
    left
}

#[test]
fn one_step_that_is_too_short_holds_back_no_later_line() {
    let lab = Lab::new();
    let run = lab.meter([gpu(constant(400.0))]).run("held").start().unwrap();
    lab.pass(1_000);
    let mut first = true;
    for _epoch in run.epochs(1..=20) {
        for _batch in run.steps(0..10) {
            lab.pass(if std::mem::take(&mut first) { 5 } else { 5_000 });
        }
    }
    lab.pass(2_000);
    assert_eq!(of(&on_disk(run.path()), Kind::Epoch).len(), 20);
    run.finish().unwrap();
}

#[test]
fn a_short_epoch_is_written_while_a_long_evaluation_follows() {
    let lab = Lab::new();
    let run = lab.meter([gpu(constant(400.0))]).run("short").start().unwrap();
    lab.pass(1_000);
    for _epoch in run.epochs(1..=1) {
        for _batch in run.steps(0..50) {
            lab.pass(30);
        }
    }
    let evaluate = run.phase("evaluate");
    lab.pass(10_000);
    assert_eq!(of(&on_disk(run.path()), Kind::Epoch).len(), 1);
    drop(evaluate);
    run.finish().unwrap();
}

#[test]
fn steps_that_are_settled_all_at_once_are_all_written() {
    let lab = Lab::new();
    let slow = gpu(constant(400.0)).period(Duration::from_secs(1));
    let run = lab.meter([slow]).run("at-once").start().unwrap();
    lab.pass(3_000);
    for _epoch in run.epochs(1..=1) {
        for batch in run.steps(0..40_000) {
            lab.hands.advance(Duration::from_micros(if batch % 50 == 0 { 25_000 } else { 1 }));
        }
    }
    let path = run.path().to_owned();
    run.finish().unwrap();
    let windows = on_disk(&path);
    assert_eq!(of(&windows, Kind::Step).len(), 40_000);
    check_sums(&windows);
}

#[test]
fn boundaries_that_do_not_fit_in_the_ring_do_no_harm_to_later_ones() {
    let lab = Lab::new();
    let run = lab.meter([gpu(constant(400.0))]).run("overflow").start().unwrap();
    lab.pass(1_000);
    for _epoch in run.epochs(1..=2) {
        // The clock stands still meanwhile, so the recorder does too.
        for batch in run.steps(0..60_100) {
            if batch >= 60_000 {
                lab.pass(1_000);
            }
        }
    }
    let path = run.path().to_owned();
    let summary = run.finish().unwrap();
    assert!(summary.events.keys().any(|(event, _)| event == "overflow"));
    let windows = on_disk(&path);
    check_sums(&windows);
    let long = windows
        .iter()
        .filter(|it| it.kind == Kind::Step && it.duration >= Duration::from_millis(500));
    let (mut count, mut orphans) = (0, 0);
    for step in long {
        count += 1;
        orphans += usize::from(step.status == Status::Orphaned);
        assert!(step.epoch.is_some() && step.duration <= Duration::from_secs(2), "{step:?}");
    }
    assert!((198..=200).contains(&count) && orphans <= 2, "{count} long steps, {orphans} orphaned");
    assert_eq!(of(&windows, Kind::Epoch).len(), 2);
}

/// A counter since long ago that can only be read from some moment on.
struct Late {
    specification: Specification,
    from: Timestamp,
}

impl Late {
    fn new(seconds: u64) -> Late {
        let domain = Domain::new(Hardware::Cpu, "late", "a late sensor");
        let counter = Specification::counter(domain, "late");
        let specification = Specification {
            period: Duration::from_millis(100),
            stack: "late".to_owned(),
            ..counter
        };
        Late { specification, from: Timestamp::default() + Duration::from_secs(seconds) }
    }
}

impl Sensor for Late {
    fn specification(&self) -> &Specification {
        &self.specification
    }

    fn read(&mut self, clock: &Clock) -> Result<Reading> {
        let now = clock.now();
        if now < self.from {
            return Err(Error::lost("not yet"));
        }
        let energy = 1e6 + 100.0 * now.since(Timestamp::default()).as_secs_f64();
        Ok(Reading::new(now, Quantity::Counter(Energy::from_joules(energy)), now))
    }
}

fn with_late(lab: &Lab, seconds: u64) -> Meter {
    let builder = Meter::builder().clock(lab.clock()).log_directory(lab.logs.path());
    builder.sensor(gpu(constant(400.0))).sensor(Late::new(seconds)).build().unwrap()
}

#[test]
fn a_sensor_that_comes_late_counts_from_its_first_reading() {
    let lab = Lab::new();
    let run = with_late(&lab, 20).run("late").start().unwrap();
    for _epoch in run.epochs(1..=4) {
        lab.pass(10_000);
    }
    lab.pass(1_000);
    let path = run.path().to_owned();
    let summary = run.finish().unwrap();
    check_sums(&on_disk(&path));
    // 41 s at 400 W, and 22 s at 100 W of the sensor that came after 19 s.
    let total = summary.end.energy.unwrap().as_joules();
    assert!((total - 18_600.0).abs() < 100.0, "{total}");
    assert_eq!(summary.end.total, summary.end.energy.unwrap());
}

#[test]
fn a_sensor_that_never_comes_takes_nothing_from_the_others() {
    let lab = Lab::new();
    let meter = with_late(&lab, 1_000);
    lab.pass(3_000);
    let run = meter.run("never").start().unwrap();
    lab.pass(20_000);
    let summary = run.finish().unwrap();
    let energy = summary.end.domains["gpu:GPU-0"].energy.unwrap().as_joules();
    assert!((energy - 8_000.0).abs() < 80.0, "{energy}");
}

#[test]
fn where_a_sensor_saw_nothing_its_energy_is_missing_and_no_0() {
    let lab = Lab::new();
    let at = |seconds| Timestamp::default() + Duration::from_secs(seconds);
    let lost = gpu(constant(400.0)).fails_over(at(10)..at(20));
    let run = lab.meter([lost, cpu(constant(80.0))]).run("lost").start().unwrap();
    for _epoch in run.epochs(1..=3) {
        for _batch in run.steps(0..10) {
            lab.pass(1_000);
        }
    }
    let path = run.path().to_owned();
    let summary = run.finish().unwrap();
    let windows = on_disk(&path);
    check_schema(&path);
    check_sums(&windows);
    let (mut blind, mut whole) = (0, 0);
    for window in &windows {
        let share = &window.domains["gpu:GPU-0"];
        let within = window.start >= at(10) && window.end < at(20);
        assert_eq!(share.energy.is_none(), within, "{window:?}");
        assert_eq!(share.uncertainty.is_none(), within, "{window:?}");
        if within {
            blind += 1;
            assert_eq!((share.quality, window.quality), (Quality::Partial, Quality::Partial));
            let seen = window.energy.unwrap().as_joules();
            assert!((seen - 80.0).abs() < 1.0, "{window:?}");
        } else if share.quality == Quality::Measured {
            whole += 1;
        }
    }
    assert!(blind == 9 && whole >= 12, "{blind} {whole}");
    // What it counted meanwhile is in the window of its return, and in the sums.
    let gpu = summary.end.domains["gpu:GPU-0"].energy.unwrap().as_joules();
    assert!((gpu - 12_000.0).abs() < 100.0, "{gpu}");
}

#[test]
fn what_earlier_sessions_saw_is_kept_where_the_last_one_sees_nothing() {
    for beside in [false, true] {
        let lab = Lab::new();
        let at = |seconds| Timestamp::default() + Duration::from_secs(seconds);
        let lost = gpu(constant(400.0)).fails_over(at(13)..at(99)).specified(|it| it.gain = 0.1);
        let meter =
            lab.meter([Some(lost), beside.then(|| cpu(constant(80.0)))].into_iter().flatten());
        let run = meter.run("lost").start().unwrap();
        let path = run.path().to_owned();
        for _epoch in run.epochs(1..=2) {
            lab.pass(5_000);
        }
        let first = run.finish().unwrap().end;
        lab.pass(10_000);
        let run = meter.resume(&path).unwrap().start().unwrap();
        lab.pass(5_000);
        let live = run.energy().energy.unwrap();
        let second = run.finish().unwrap().end;
        check_schema(&path);
        check_sums(&on_disk(&path));
        let gpu_of = |end: &Record| end.domains["gpu:GPU-0"].energy.unwrap();
        assert_eq!(gpu_of(&first), gpu_of(&second));
        assert_eq!(second.quality, Quality::Partial);
        let gained = (second.energy.unwrap() - first.energy.unwrap()).as_joules();
        let expected = if beside { 400.0 } else { 0.0 };
        assert!((gained - expected).abs() < 2.0, "{gained}");
        assert!((live - second.energy.unwrap()).as_joules().abs() < 5.0, "{live}");
        assert_eq!(
            second.domains.values().filter_map(|share| share.energy).sum::<Energy>(),
            second.energy.unwrap()
        );
        assert!(second.uncertainty >= first.uncertainty, "{second:?}");
        // And a session in which it is back.
        let run = meter.resume(&path).unwrap().start().unwrap();
        lab.pass(100_000);
        let third = run.finish().unwrap().end;
        check_sums(&on_disk(&path));
        let part = third.uncertainty.unwrap().as_joules() / gpu_of(&third).as_joules();
        assert!(part > 0.09, "{part}: {third:?}");
    }
}

#[test]
fn a_counter_that_stands_still_before_the_end_takes_no_energy_back() {
    let lab = Lab::new();
    let at = |millis| Timestamp::default() + Duration::from_millis(millis);
    let stalled = gpu(constant(400.0)).stalls_over(at(10_000)..at(60_000));
    let run = lab.meter([stalled]).run("still").start().unwrap();
    lab.pass(8_950);
    for _batch in run.steps(0..10) {
        lab.pass(50);
    }
    let path = run.path().to_owned();
    let end = run.finish().unwrap().end;
    let windows = on_disk(&path);
    check_sums(&windows);
    assert_eq!(of(&windows, Kind::Step).len(), 10);
    for window in windows.iter().filter(|window| window.energy.is_some()) {
        assert!(window.energy >= Some(Energy::ZERO), "{window:?}");
    }
    let energy = end.energy.unwrap().as_joules();
    assert!((3_500.0..3_640.0).contains(&energy), "{energy}");
}

#[test]
fn an_estimate_says_so_also_where_it_is_not_whole() {
    let lab = Lab::new();
    let at = |seconds| Timestamp::default() + Duration::from_secs(seconds);
    let model = Fake::gauge(Domain::new(Hardware::Cpu, "model", "model"), constant(50.0))
        .specified(|it| {
            it.provenance = Provenance::Model;
            it.period = Duration::from_millis(100);
            it.gain = 0.3;
        })
        .fails_over(at(10)..at(20));
    let run = lab.meter([model]).run("estimate").start().unwrap();
    for _epoch in run.epochs(1..=3) {
        lab.pass(10_000);
    }
    let text = run.finish().unwrap().to_string();
    for line in text.lines().filter(|line| line.starts_with("epoch") || line.starts_with("run ")) {
        assert!(line.contains("estimated"), "{line}");
    }
    assert!(text.contains("estimated, partial"), "{text}");
}

#[test]
fn a_resumed_run_keeps_the_sums_and_samples_of_every_lane() {
    let lab = Lab::new();
    let meter = lab.meter([gpu(constant(400.0))]);
    let run = meter.run("lanes").start().unwrap();
    lab.pass(2_000);
    let other = run.lane();
    let epochs = (run.open_epoch(1), other.open_epoch(1));
    for step in 0..15 {
        let both = (step < 10).then(|| run.open_step());
        let one = other.open_step();
        other.samples(32);
        lab.pass(1_000);
        other.close_step(one, Status::Complete);
        if let Some(step) = both {
            run.samples(32);
            run.close_step(step, Status::Complete);
        }
        if step == 9 {
            run.close(epochs.0, Status::Complete);
        }
    }
    lab.pass(5_000);
    let left = killed(run.path(), &lab);
    drop(run);

    let run = meter.resume(&left).unwrap().start().unwrap();
    lab.pass(2_000);
    let summary = run.finish().unwrap();
    check_schema(&left);
    let windows = on_disk(&left);
    check_sums(&windows);
    let interrupted: Vec<_> = windows
        .iter()
        .filter(|it| it.status == Status::Interrupted)
        .map(|it| (it.lane, it.steps))
        .collect();
    assert_eq!(interrupted, [(1, Some(15))]);
    assert_eq!(summary.end.samples, Some(800));
}

#[test]
fn a_long_window_that_is_killed_is_known_up_to_its_last_line_of_progress() {
    let lab = Lab::new();
    let meter = lab.meter([gpu(constant(400.0)).specified(|it| it.gain = 0.1)]);
    let run = meter.run("long").start().unwrap();
    let _epoch = run.open_epoch(1);
    lab.pass(600_000);
    let left = killed(run.path(), &lab);
    drop(run);
    let error = Summary::read(&RunLog::open(&left).unwrap()).unwrap_err().to_string();
    assert!(error.contains("it had used 240.0 kJ") || error.contains("it had used 239"), "{error}");

    let run = meter.resume(&left).unwrap().start().unwrap();
    lab.pass(2_000);
    let end = run.finish().unwrap().end;
    check_sums(&on_disk(&left));
    let (energy, uncertainty) =
        (end.energy.unwrap().as_joules(), end.uncertainty.unwrap().as_joules());
    assert!((energy - 240_800.0).abs() < 13_000.0, "{energy}");
    assert!((uncertainty / energy - 0.1).abs() < 0.01, "{uncertainty} of {energy}");
}

#[test]
fn a_counter_updated_more_seldom_than_it_says_is_no_more_certain_for_that() {
    let lab = Lab::new();
    let load = constant(400.0);
    let sensor = gpu(load.clone()).specified(|it| {
        it.period = Duration::ZERO;
        it.interval = Duration::from_millis(20);
    });
    let run = lab.meter([sensor]).run("seldom").start().unwrap();
    lab.pass(3_000);
    for _epoch in run.epochs(1..=30) {
        lab.pass(1_003);
    }
    let summary = run.finish().unwrap();
    for epoch in &summary.epochs.recent {
        let error =
            (epoch.energy.unwrap() - load.between(epoch.start, epoch.end)).as_joules().abs();
        assert!(error <= 2.5 * epoch.uncertainty.unwrap().as_joules(), "{error} J off: {epoch:?}");
    }
}
