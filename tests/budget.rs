//! Budgets and other observers: what they are told, what they may ask for, and what a log says of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ergometer::record::{Event, Manifest, State};
use ergometer::{
    Budget, Energy, Kind, Observer, Power, Record, RunLog, Status, Summary, Timestamp, Verdict,
};

use crate::lab::{Lab, constant, cpu, gpu, lines, of, windows};

/// Keeps what it is told.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn write(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }
}

impl Observer for Diary {
    fn name(&self) -> &str {
        "diary"
    }

    fn began(&mut self, manifest: &Manifest) {
        self.write(format!("began {}", manifest.name));
    }

    fn settled(&mut self, window: &Record) -> Verdict {
        self.write(format!("{:?} {}", window.kind, window.energy.unwrap()));
        Verdict::GoOn
    }

    fn happened(&mut self, event: &Event) {
        self.write(event.event.clone());
    }

    fn ended(&mut self, summary: &Summary) {
        self.write(format!("ended {:?}", summary.end.status));
    }
}

#[test]
fn an_observer_is_told_what_the_log_holds_in_its_order() {
    let lab = Lab::new();
    let diary = Diary::default();
    let meter = lab.meter([cpu(constant(100.0))]);
    let budget = Budget::new(Energy::from_joules(30.0)).warn();
    let run = meter.run("told").observe(diary.clone()).budget(budget).start().unwrap();
    for _epoch in run.epochs(1..=2) {
        for _batch in run.steps(0..2) {
            lab.pass(100);
        }
    }
    let path = run.path().to_owned();
    run.finish().unwrap();
    let told = diary.0.lock().unwrap().clone();
    let logged: Vec<String> = lines(&path)
        .into_iter()
        .map(|line| match line {
            ergometer::log::Line::Start(start) => format!("began {}", start.name),
            ergometer::log::Line::Window(window) => {
                format!("{:?} {}", window.kind, window.energy.unwrap())
            }
            ergometer::log::Line::Event(event) => event.event,
        })
        .collect();
    assert_eq!(told[..told.len() - 1], logged);
    assert!(told.contains(&"budget".to_owned()), "{told:?}");
    assert_eq!(told.last().unwrap(), "ended Complete");
}

#[test]
fn a_budget_that_warns_lets_the_training_go_on() {
    let lab = Lab::new();
    let meter = lab.meter([cpu(constant(100.0))]);
    let budget = Budget::new(Energy::from_joules(20.0)).named("allowance of 20 J").warn();
    let run = meter.run("warned").budget(budget).start().unwrap();
    assert_eq!(run.steps(0..10).inspect(|_| lab.pass(100)).count(), 10);
    assert!(!run.is_stopped() && run.stop_reason().is_none());
    let path = run.path().to_owned();
    let summary = run.finish().unwrap();
    assert_eq!((summary.end.status, &summary.end.reason), (Status::Complete, &None));
    let warnings = events(&path, "budget");
    assert_eq!(warnings.len(), 1, "said once");
    let (said, total) = (warnings[0].detail.clone().unwrap(), warnings[0].total.unwrap());
    assert!(said.contains("the allowance of 20 J is used up"), "{said}");
    assert!((20.0..20.5).contains(&total.as_joules()), "{total}");
    assert!(summary.to_string().contains("happened: budget (1×)"), "{summary}");
}

#[test]
fn the_loop_ends_within_a_step_of_the_crossing_however_short_the_steps() {
    for step in [1, 3, 7, 12, 50, 400] {
        let lab = Lab::new();
        let meter = lab.meter([cpu(constant(100.0))]);
        let limit = Energy::from_joules(100.0);
        let run = meter.run("short").budget(limit).start().unwrap();
        for _batch in run.steps(0..1_000_000) {
            lab.pass(step);
        }
        let reason = run.stop_reason().unwrap();
        assert!(reason.contains("energy budget of 100.0 J is used up"), "{reason}");
        let path = run.path().to_owned();
        run.finish().unwrap();
        let windows = windows(&path);
        let last = *of(&windows, Kind::Step).last().unwrap();
        assert_eq!(last.status, Status::Stopped);
        let over = last.total - limit;
        // A step at work, and the millisecond that a look may come late.
        let most =
            Power::from_watts(100.0) * (Duration::from_millis(step) + Duration::from_millis(1));
        assert!(
            over > -Energy::from_joules(0.01) && over <= most,
            "steps of {step} ms: {over} over"
        );
    }
}

#[test]
fn of_several_budgets_the_first_that_is_used_up_stops_the_loop() {
    let lab = Lab::new();
    let meter = lab.meter([cpu(constant(100.0))]);
    let run = meter
        .run("several")
        .budget(Energy::from_joules(500.0))
        .budget(Budget::new(Energy::from_joules(40.0)).warn())
        .budget(Budget::new(Energy::from_joules(80.0)).named("carbon budget"))
        .start()
        .unwrap();
    run.steps(0..1_000).for_each(|_| lab.pass(50));
    let path = run.path().to_owned();
    let summary = run.finish().unwrap();
    assert!(summary.end.reason.as_ref().unwrap().contains("the carbon budget is used up"));
    assert_eq!(summary.manifest.state, State::Stopped);
    assert_eq!(events(&path, "budget").len(), 2);
}

#[test]
fn what_is_used_while_the_log_is_closed_counts_for_no_budget() {
    let lab = Lab::new();
    let meter = lab.meter([gpu(constant(100.0))]);
    let run = meter.run("whole").budget(Energy::from_joules(100.0)).start().unwrap();
    lab.pass(950);
    let path = run.path().to_owned();
    // It waits for the sensor's last update, up to a tenth of a second, in which 10 J more are used.
    let summary = run.finish().unwrap();
    assert_eq!((summary.end.status, &summary.end.reason), (Status::Complete, &None));
    assert!(events(&path, "budget").is_empty());
}

#[test]
fn an_observer_that_panics_is_told_no_more_and_the_training_goes_on() {
    struct Faulty(Arc<Mutex<u32>>);
    impl Observer for Faulty {
        fn name(&self) -> &str {
            "faulty"
        }
        fn used(&mut self, _: Energy, now: Timestamp) -> Verdict {
            *self.0.lock().unwrap() += 1;
            panic!("at {now:?}");
        }
    }
    let lab = Lab::new();
    let meter = lab.meter([cpu(constant(100.0))]);
    let calls = Arc::new(Mutex::new(0));
    let run = meter.run("faulty").observe(Faulty(Arc::clone(&calls))).start().unwrap();
    assert_eq!(run.steps(0..5).inspect(|_| lab.pass(100)).count(), 5);
    let path = run.path().to_owned();
    let summary = run.finish().unwrap();
    assert_eq!(summary.end.status, Status::Complete);
    assert_eq!(events(&path, "observer-lost").len(), 1);
    assert!(calls.is_poisoned() || *calls.lock().unwrap() == 1);
}

#[test]
fn an_observer_that_panics_over_an_event_is_named_in_the_log() {
    struct Fragile;
    impl Observer for Fragile {
        fn name(&self) -> &str {
            "fragile"
        }
        fn happened(&mut self, event: &Event) {
            panic!("at {}", event.event);
        }
    }
    let lab = Lab::new();
    let run = lab.meter([cpu(constant(100.0))]).run("fragile").observe(Fragile).start().unwrap();
    let path = run.path().to_owned();
    for _epoch in run.epochs(1..=2) {
        lab.pass(1_000);
    }
    run.records().epoch_metrics(2, [("loss".to_owned(), 0.5)]);
    run.finish().unwrap();
    let lost = events(&path, "observer-lost");
    assert!(
        matches!(&lost[..], [it] if it.detail.as_ref().unwrap().contains("`fragile` panicked")),
        "{lost:?}"
    );
}

#[test]
fn planned_epochs_stand_in_the_manifest_while_the_run_goes_on() {
    let lab = Lab::new();
    let meter = lab.meter([cpu(constant(100.0))]);
    let run = meter.run("planned").start().unwrap();
    let planned = || RunLog::open(run.path()).unwrap().manifest.planned_epochs;
    for _epoch in run.epochs(1..=12).take(2) {
        lab.pass(100);
        assert_eq!(planned(), Some(12));
    }
    let path = run.path().to_owned();
    run.finish().unwrap();
    let run = meter.resume(&path).unwrap().start().unwrap();
    for _epoch in run.epochs(3..=6) {
        lab.pass(100);
    }
    let summary = run.finish().unwrap();
    // One of the first session's was left by `take`, after its end; four more were planned.
    let before = summary.epochs.recent.iter().take(2);
    let completed = before.filter(|epoch| epoch.status == Status::Complete).count() as u64;
    assert_eq!(summary.manifest.planned_epochs, Some(completed + 4));
}

fn events(run: &std::path::Path, name: &str) -> Vec<Event> {
    lines(run)
        .into_iter()
        .filter_map(|line| match line {
            ergometer::log::Line::Event(event) if event.event == name => Some(event),
            _ => None,
        })
        .collect()
}
