//! When the device is waited for, by whom, and what a device behind its host does to the boundaries.

use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::Duration;

use ergometer::{DeviceClock, Error, FakeClock, Fence, Result, Timestamp};

use crate::gym::{EVALUATION, Gym, UPDATE};

type Visits = Arc<Mutex<Vec<ThreadId>>>;

fn counting(visits: &Visits) -> impl Fence + use<> {
    let visits = Arc::clone(visits);
    move || {
        visits.lock().unwrap().push(std::thread::current().id());
        Ok(())
    }
}

fn visits_of(sync_every: u64) -> usize {
    let visits = Visits::default();
    let gym =
        Gym::with(|builder| builder.fence(counting(&visits)), |run| run.sync_every(sync_every));
    let mut optimizer = gym.optimizer();
    for _epoch in gym.run.epochs(1..=2) {
        for batch in gym.run.steps(gym.batches(6)) {
            gym.train(&mut optimizer, &batch).unwrap();
        }
        let _evaluation = gym.run.phase("eval");
        gym.evaluate().unwrap();
    }
    gym.finish();
    let visits = visits.lock().unwrap();
    assert!(
        visits.iter().all(|visit| *visit == std::thread::current().id()),
        "only the training thread waits"
    );
    visits.len()
}

#[test]
fn epochs_and_phases_are_fenced_and_steps_by_choice() {
    // Where epoch 1 opens, where it ends and the next opens, where that ends; both phases at both ends; the run's end.
    let ends = 3 + 4 + 1;
    assert_eq!(visits_of(0), ends);
    assert_eq!(visits_of(2), ends + 6);
    assert_eq!(visits_of(1), ends + 12);
}

#[test]
fn a_cpu_has_no_fence() {
    let log = Gym::new().finish();
    assert_eq!(log.manifest.methods.boundaries, "host time; no device to wait for");
}

#[test]
fn a_device_that_fails_is_in_the_log_and_stops_nothing() {
    let fence = || -> Result<()> { Err(Error::lost("an illegal memory access")) };
    let gym = Gym::with(|builder| builder.fence(fence), |run| run);
    let mut optimizer = gym.optimizer();
    for _epoch in gym.run.epochs(1..=2) {
        for batch in gym.run.steps(gym.batches(6)) {
            gym.train(&mut optimizer, &batch).unwrap();
        }
    }
    let log = gym.finish();
    assert_eq!(log.steps.len(), 12);
    let event = log.events.iter().find(|event| event.event == "fence-failed").unwrap();
    assert_eq!(event.detail.as_deref(), Some("an illegal memory access"));
}

/// A device that works off a queue, each piece of work in [`UPDATE`], while its host runs ahead.
#[derive(Clone)]
struct Queue(Arc<Mutex<Work>>);

struct Work {
    hands: FakeClock,
    idle_from: Timestamp,
    marks: Vec<(u64, Timestamp)>,
}

impl Queue {
    fn enqueue(&self) {
        let mut work = self.0.lock().unwrap();
        work.idle_from = work.idle_from.max(work.hands.now()) + UPDATE;
    }
}

impl Fence for Queue {
    fn wait(&self) -> Result<()> {
        let (hands, until) = {
            let work = self.0.lock().unwrap();
            (work.hands.clone(), work.idle_from)
        };
        hands.advance(until.since(hands.now()));
        Ok(())
    }
}

impl DeviceClock for Queue {
    fn mark(&self, boundary: u64) {
        let mut work = self.0.lock().unwrap();
        let at = work.idle_from.max(work.hands.now());
        work.marks.push((boundary, at));
    }

    fn passed(&self, tell: &mut dyn FnMut(u64, Timestamp)) {
        let mut work = self.0.lock().unwrap();
        let now = work.hands.now();
        for (boundary, at) in work.marks.extract_if(.., |(_, at)| *at <= now) {
            tell(boundary, at);
        }
    }
}

/// A training whose host needs a tenth of the device's time.
fn behind(guards: bool) -> crate::gym::Log {
    let hands = FakeClock::new();
    let work = Work { hands: hands.clone(), idle_from: hands.now(), marks: Vec::new() };
    let queue = Queue(Arc::new(Mutex::new(work)));
    let gym = Gym::on(
        hands,
        |builder| builder.fence(queue.clone()).device_clock(queue.clone()),
        |run| run,
    );
    let enqueue = || {
        queue.enqueue();
        gym.hands.advance(UPDATE / 10);
    };
    for _epoch in gym.run.epochs(1..=2) {
        if guards {
            for _ in 0..5 {
                let _step = gym.run.step();
                enqueue();
            }
        } else {
            gym.run.steps(0..5).for_each(|_| enqueue());
        }
        let _evaluation = gym.run.phase("eval");
        gym.hands.advance(EVALUATION);
    }
    gym.finish()
}

#[test]
fn with_a_device_clock_steps_are_the_devices() {
    for guards in [false, true] {
        let log = behind(guards);
        let epoch = UPDATE * 5 + EVALUATION;
        let starts = [Duration::ZERO, epoch]
            .map(|start| [0, 1, 2, 3, 4].map(|turn| start + UPDATE * turn))
            .concat();
        assert_eq!(
            log.step_times(),
            starts.iter().map(|start| (*start, UPDATE)).collect::<Vec<_>>(),
            "{guards}"
        );
        assert!(log.epochs.iter().all(|window| window.duration == epoch));
    }
}
