//! Devices that run behind the host: fences, and the device's own clock.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ergometer::log::Line;
use ergometer::{Clock, DeviceClock, Error, Kind, Meter, Timestamp};

use crate::lab::{Lab, constant, cpu, lines, of, windows};

/// A meter whose fence counts how often it is called.
fn fenced(lab: &Lab) -> (Meter, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let meter = Meter::builder()
        .clock(lab.clock())
        .log_directory(lab.logs.path())
        .sensor(cpu(constant(50.0)))
        .fence(move || {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
        .build()
        .unwrap();
    (meter, calls)
}

#[test]
fn the_device_is_waited_for_where_epochs_and_phases_open_and_close_and_at_no_step() {
    let lab = Lab::new();
    let (meter, calls) = fenced(&lab);
    let run = meter.run("fences").start().unwrap();
    let count = |what: &mut dyn FnMut()| {
        let before = calls.load(Ordering::Relaxed);
        what();
        calls.load(Ordering::Relaxed) - before
    };
    assert_eq!(count(&mut || run.steps(0..100).for_each(drop)), 0);
    assert_eq!(count(&mut || (0..100).for_each(|_| run.tick())), 0);
    // Where an epoch ends and the next begins is one place.
    assert_eq!(count(&mut || run.epochs(1..=3).for_each(drop)), 4);
    assert_eq!(count(&mut || run.phase("evaluate").end()), 2);
    run.finish().unwrap();
}

#[test]
fn the_device_is_waited_for_at_every_nth_step_if_asked_for() {
    let lab = Lab::new();
    let (meter, calls) = fenced(&lab);
    let run = meter.run("sync").sync_every(4).start().unwrap();
    (0..12).for_each(|_| run.tick());
    assert_eq!(calls.load(Ordering::Relaxed), 3);
    let summary = run.finish().unwrap();
    assert!(summary.manifest.methods.boundaries.contains("every 4 steps"));
}

#[test]
fn a_fence_that_fails_is_in_the_log_and_stops_nothing() {
    let lab = Lab::new();
    let meter = Meter::builder()
        .clock(lab.clock())
        .log_directory(lab.logs.path())
        .sensor(cpu(constant(50.0)))
        .fence(|| Err(Error::lost("the device is on fire")))
        .build()
        .unwrap();
    let run = meter.run("fire").start().unwrap();
    for _epoch in run.epochs(1..=2) {
        lab.pass(100);
    }
    let path = run.path().to_owned();
    run.finish().unwrap();
    assert_eq!(of(&windows(&path), Kind::Epoch).len(), 2);
    let said = lines(&path).into_iter().any(|line| {
        matches!(line, Line::Event(event) if event.event == "fence-failed"
            && event.detail.as_deref() == Some("the device is on fire"))
    });
    assert!(said);
}

/// A device that passes each mark a fixed time after the host made it.
struct Behind {
    clock: Clock,
    lag: Duration,
    marks: Mutex<VecDeque<(u64, Timestamp)>>,
}

impl DeviceClock for Behind {
    fn mark(&self, boundary: u64) {
        self.marks.lock().unwrap().push_back((boundary, self.clock.now() + self.lag));
    }

    fn passed(&self, tell: &mut dyn FnMut(u64, Timestamp)) {
        let mut marks = self.marks.lock().unwrap();
        while let Some((boundary, at)) = marks.pop_front_if(|(_, at)| *at <= self.clock.now()) {
            tell(boundary, at);
        }
    }
}

#[test]
fn step_boundaries_are_on_the_devices_clock_where_it_has_one() {
    let lab = Lab::new();
    let lag = Duration::from_millis(7);
    let device = Behind { clock: lab.clock(), lag, marks: Mutex::default() };
    let meter = Meter::builder()
        .clock(lab.clock())
        .log_directory(lab.logs.path())
        .sensor(cpu(constant(50.0)))
        .device_clock(device)
        .build()
        .unwrap();
    let run = meter.run("behind").start().unwrap();
    let begun = lab.hands.now();
    (0..20).for_each(|_| {
        lab.pass(10);
        run.tick();
    });
    lab.pass(100);
    run.tick();
    let path = run.path().to_owned();
    run.finish().unwrap();
    let windows = windows(&path);
    let steps = of(&windows, Kind::Step);
    for (step, number) in steps[..20].iter().zip(1..) {
        assert_eq!(step.end, begun + Duration::from_millis(10) * number + lag, "step {number}");
    }
    // What the device had not told when the run ended is on the host's clock.
    assert_eq!(steps[20].end, begun + Duration::from_millis(300));
}
