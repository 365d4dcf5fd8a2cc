//! Loops that are left early: every window is closed, says how, and its energy counts.

use std::panic::{AssertUnwindSafe, catch_unwind};

use candle_core::Result;
use ergometer::Energy;
use ergometer::record::Status;

use crate::gym::{
    EVALUATION, FETCH, Gym, UPDATE, assert_all_complete_but_last, batch, power, statuses,
};

#[test]
fn an_error_in_the_loop_drops_its_step_and_its_epoch() {
    let gym = Gym::new();
    let train = || -> Result<()> {
        let mut optimizer = gym.optimizer();
        for _epoch in gym.run.epochs(1..=3) {
            for (index, good) in gym.run.steps(gym.batches(9).enumerate()) {
                let batch = if index == 4 { batch(5) } else { good };
                gym.train(&mut optimizer, &batch)?;
            }
        }
        Ok(())
    };
    assert!(train().unwrap_err().to_string().contains("shape mismatch"));
    let log = gym.finish();
    assert_all_complete_but_last(&log.steps, 5, Status::Dropped);
    assert_eq!(statuses(&log.epochs), [Status::Dropped]);
    assert_eq!(log.epochs[0].energy, Some(power() * ((FETCH + UPDATE) * 5)));
    assert_eq!(log.epochs[0].remainder, Some(Energy::ZERO));
}

#[test]
fn an_error_past_a_guard_closes_it() {
    let gym = Gym::new();
    let train = || -> Result<()> {
        let mut optimizer = gym.optimizer();
        let _epoch = gym.run.epoch(1);
        for wide in [4, 4, 5, 4] {
            let _step = gym.run.step();
            gym.train(&mut optimizer, &batch(wide))?;
        }
        Ok(())
    };
    assert!(train().is_err());
    gym.hands.advance(EVALUATION);
    let log = gym.finish();
    // A guard cannot tell this end from any other; the window ends where the guard did.
    assert_eq!(statuses(&log.steps), [Status::Complete; 3]);
    assert_eq!(log.epochs[0].duration, UPDATE * 3);
    assert_eq!(log.end.duration, UPDATE * 3 + EVALUATION);
}

#[test]
fn break_drops_the_step_and_leaves_the_epoch_complete() {
    let gym = Gym::new();
    let mut optimizer = gym.optimizer();
    for _epoch in gym.run.epochs(1..=2) {
        for (index, batch) in gym.run.steps(gym.batches(9).enumerate()) {
            gym.train(&mut optimizer, &batch).unwrap();
            if index == 2 {
                break;
            }
        }
        gym.evaluate().unwrap();
    }
    let log = gym.finish();
    assert_eq!(statuses(&log.epochs), [Status::Complete; 2]);
    let rest = power() * EVALUATION;
    for epoch in &log.epochs {
        let steps: Vec<_> = log.steps_of(epoch).map(|step| step.status).collect();
        assert_eq!(steps, [Status::Complete, Status::Complete, Status::Dropped]);
        assert_eq!(epoch.remainder, Some(rest));
    }
    assert_eq!(
        log.steps.iter().map(|step| step.step).collect::<Vec<_>>(),
        (1..=6).map(Some).collect::<Vec<_>>()
    );
}

#[test]
fn break_of_the_outer_loop_drops_both() {
    let gym = Gym::new();
    let mut optimizer = gym.optimizer();
    'training: for _epoch in gym.run.epochs(1..=5) {
        for (index, batch) in gym.run.steps(gym.batches(3).enumerate()) {
            gym.train(&mut optimizer, &batch).unwrap();
            if gym.run.last_epoch().is_some() && index == 1 {
                break 'training;
            }
        }
    }
    gym.hands.advance(EVALUATION);
    let log = gym.finish();
    assert_eq!(log.steps.last().unwrap().status, Status::Dropped);
    assert_all_complete_but_last(&log.epochs, log.epochs.len(), Status::Dropped);
    assert_eq!(log.since_start(log.epochs.last().unwrap().end) + EVALUATION, log.end.duration);
}

#[test]
fn continue_ends_a_step_like_any_other() {
    let gym = Gym::new();
    let mut optimizer = gym.optimizer();
    for (index, batch) in gym.run.steps(gym.batches(4).enumerate()) {
        if index % 2 == 0 {
            continue;
        }
        gym.train(&mut optimizer, &batch).unwrap();
    }
    let log = gym.finish();
    assert_eq!(statuses(&log.steps), [Status::Complete; 4]);
    let whole = FETCH + UPDATE;
    assert_eq!(
        log.steps.iter().map(|step| step.duration).collect::<Vec<_>>(),
        [FETCH, whole, FETCH, whole]
    );
}

#[test]
fn a_panic_that_is_caught_marks_its_windows_and_no_later_ones() {
    let gym = Gym::new();
    let mut optimizer = gym.optimizer();
    let caught = catch_unwind(AssertUnwindSafe(|| {
        for _epoch in gym.run.epochs(1..=1) {
            for batch in gym.run.steps(gym.batches(3)) {
                let _phase = gym.run.phase("forward");
                gym.hands.advance(UPDATE);
                assert!(batch.dims() == [0], "as expected by this test");
            }
        }
    }));
    assert!(caught.is_err());
    for _epoch in gym.run.epochs(2..=2) {
        for batch in gym.run.steps(gym.batches(2)) {
            gym.train(&mut optimizer, &batch).unwrap();
        }
    }
    let log = gym.finish();
    assert_eq!(statuses(&log.phases), [Status::Panicked]);
    assert_eq!(statuses(&log.steps), [Status::Panicked, Status::Complete, Status::Complete]);
    assert_eq!(statuses(&log.epochs), [Status::Panicked, Status::Complete]);
    assert_eq!(log.end.status, Status::Complete);
}

#[test]
fn a_leaked_guard_is_closed_with_its_epoch() {
    let gym = Gym::new();
    for _epoch in gym.run.epochs(1..=2) {
        std::mem::forget(gym.run.step());
        gym.hands.advance(UPDATE);
    }
    let log = gym.finish();
    assert_eq!(statuses(&log.steps), [Status::Orphaned; 2]);
    assert_eq!(statuses(&log.epochs), [Status::Complete; 2]);
    assert_eq!(log.steps[0].end, log.epochs[0].end);
}

#[test]
fn guards_dropped_in_the_wrong_order_close_once() {
    let gym = Gym::new();
    let epoch = gym.run.epoch(1);
    let step = gym.run.step();
    gym.hands.advance(UPDATE);
    drop(epoch);
    gym.hands.advance(EVALUATION);
    drop(step);
    let next = gym.run.step();
    gym.hands.advance(UPDATE);
    next.end();
    let log = gym.finish();
    assert_eq!(statuses(&log.steps), [Status::Orphaned, Status::Complete]);
    assert_eq!(
        log.steps.iter().map(|step| (step.parent, step.duration)).collect::<Vec<_>>(),
        [(Some(log.epochs[0].id), UPDATE), (None, UPDATE)]
    );
}

#[test]
fn a_retry_after_an_error_counts_on() {
    let gym = Gym::new();
    let mut widths = [4, 4, 5, 4, 4, 4].into_iter();
    let mut attempt = || -> Result<()> {
        let mut optimizer = gym.optimizer();
        for _epoch in gym.run.epochs(1..=1) {
            for wide in gym.run.steps(widths.by_ref().take(3)) {
                gym.train(&mut optimizer, &batch(wide))?;
            }
        }
        Ok(())
    };
    while attempt().is_err() {}
    let log = gym.finish();
    assert_eq!(
        log.steps.iter().map(|step| step.step).collect::<Vec<_>>(),
        (1..=6).map(Some).collect::<Vec<_>>()
    );
    assert_eq!(statuses(&log.epochs), [Status::Dropped, Status::Complete]);
}
