//! Loops of the shapes that candle programs have, and where their boundaries lie.

use std::time::Duration;

use candle_core::Device;
use candle_nn::VarMap;
use ergometer::Energy;
use ergometer::record::{State, Status};

use crate::gym::{EVALUATION, FETCH, Gym, UPDATE, batch, model, power, statuses};

const STEP: Duration = FETCH.saturating_add(UPDATE);

#[test]
fn steps_follow_each_other_without_a_gap_and_know_their_data() {
    let gym = Gym::new();
    let mut optimizer = gym.optimizer();
    for _epoch in gym.run.epochs(1..=2) {
        for batch in gym.run.steps(gym.batches(3)).samples(8).data_time() {
            gym.train(&mut optimizer, &batch).unwrap();
        }
        let _evaluation = gym.run.phase("eval");
        gym.run.metric("loss", gym.evaluate().unwrap());
    }
    let log = gym.finish();
    let epoch = STEP * 3 + EVALUATION;
    let starts = [Duration::ZERO, STEP, STEP * 2, epoch, epoch + STEP, epoch + STEP * 2];
    assert_eq!(log.step_times(), starts.map(|start| (start, STEP)));
    for step in &log.steps {
        assert_eq!((step.data, step.samples), (Some(FETCH), Some(8)));
    }
    for (epoch, phase) in log.epochs.iter().zip(&log.phases) {
        assert_eq!((epoch.samples, epoch.remainder, epoch.phases), {
            let evaluation = Some(power() * EVALUATION);
            (Some(24), evaluation, evaluation)
        });
        assert_eq!((phase.parent, phase.end), (Some(epoch.id), epoch.end));
        assert!(phase.metrics.contains_key("loss"));
    }
    assert_eq!(log.manifest.state, State::Complete);
}

#[test]
fn an_empty_loader_makes_no_step() {
    let gym = Gym::new();
    for _epoch in gym.run.epochs(1..=2) {
        for batch in gym.run.steps(gym.batches(0)) {
            gym.train(&mut gym.optimizer(), &batch).unwrap();
        }
        gym.hands.advance(EVALUATION);
    }
    let log = gym.finish();
    assert!(log.steps.is_empty());
    assert_eq!(statuses(&log.epochs), [Status::Complete; 2]);
    assert_eq!(log.epochs[0].remainder, Some(power() * EVALUATION));
}

#[test]
fn accumulated_gradients_are_one_step() {
    let gym = Gym::new();
    for _epoch in gym.run.epochs(1..=1) {
        for batch in gym.run.steps(gym.batches(7)).every(3).samples(8).data_time() {
            gym.hands.advance(UPDATE);
            gym.loss(&batch).unwrap().backward().unwrap();
        }
    }
    let log = gym.finish();
    assert_eq!(
        log.step_times(),
        [(Duration::ZERO, STEP * 3), (STEP * 3, STEP * 3), (STEP * 6, STEP)]
    );
    assert_eq!(
        log.steps.iter().map(|step| step.samples).collect::<Vec<_>>(),
        [Some(24), Some(24), Some(8)]
    );
    assert_eq!(
        log.steps.iter().map(|step| step.data).collect::<Vec<_>>(),
        [Some(FETCH * 3), Some(FETCH * 3), Some(FETCH)]
    );
    assert_eq!(log.epochs[0].remainder, Some(Energy::ZERO));
}

#[test]
fn an_endless_loop_without_epochs_evaluates_within_its_steps() {
    let gym = Gym::new();
    let mut optimizer = gym.optimizer();
    for (index, batch) in gym.run.steps(gym.batches(usize::MAX).enumerate()) {
        gym.train(&mut optimizer, &batch).unwrap();
        if index % 4 == 3 {
            let _evaluation = gym.run.phase("eval");
            gym.evaluate().unwrap();
        }
        if index == 10 {
            break;
        }
    }
    let log = gym.finish();
    assert!(log.epochs.is_empty());
    assert_eq!(log.steps.len(), 11);
    assert_eq!(log.steps[3].duration, STEP + EVALUATION);
    assert_eq!(
        log.steps[3].phases,
        Some(power() * EVALUATION),
        "what training alone took is the difference"
    );
    assert_eq!(
        log.phases.iter().map(|phase| phase.parent).collect::<Vec<_>>(),
        [Some(log.steps[3].id), Some(log.steps[7].id)]
    );
    assert_eq!((log.end.steps, log.end.remainder), (Some(11), log.end.energy));
}

#[test]
fn a_full_batch_loop_needs_epochs_alone() {
    let gym = Gym::new();
    let mut optimizer = gym.optimizer();
    for _epoch in gym.run.epochs(0..3_usize) {
        gym.train(&mut optimizer, &batch(4)).unwrap();
        gym.evaluate().unwrap();
    }
    let log = gym.finish();
    assert_eq!(
        log.epochs.iter().map(|epoch| epoch.epoch).collect::<Vec<_>>(),
        [Some(0), Some(1), Some(2)]
    );
    assert!(log.epochs.iter().all(|epoch| epoch.duration == UPDATE + EVALUATION));
}

#[test]
fn a_loop_within_candles_thread_pool_is_the_same_lane() {
    let gym = Gym::new();
    let outside = std::thread::current().id();
    let inside = Device::Cpu.with_context(|| {
        let mut optimizer = gym.optimizer();
        for _epoch in gym.run.epochs(1..=2) {
            for batch in gym.run.steps(gym.batches(3)) {
                gym.train(&mut optimizer, &batch).unwrap();
            }
        }
        std::thread::current().id()
    });
    assert_ne!(outside, inside);
    let log = gym.finish();
    assert_eq!(log.steps.len(), 6);
    assert!(log.windows().all(|window| window.lane == 0 && window.status == Status::Complete));
    assert!(log.epochs.iter().all(|epoch| log.steps_of(epoch).count() == 3));
}

#[test]
fn a_budget_ends_both_loops_within_a_step_and_says_why() {
    let budget = Energy::from_joules(10.0);
    let gym = Gym::with(|builder| builder, |run| run.budget(budget));
    let mut optimizer = gym.optimizer();
    for _epoch in gym.run.epochs(1..=1_000) {
        for batch in gym.run.steps(gym.batches(4)) {
            gym.train(&mut optimizer, &batch).unwrap();
        }
    }
    assert!(gym.run.is_stopped() && gym.run.stop_reason().is_some());
    // The model is there to be saved, and is the trained one when it comes back.
    let directory = tempfile::tempdir().unwrap();
    let weights = directory.path().join("model.safetensors");
    gym.variables.save(&weights).unwrap();
    let (_, mut saved) = model().unwrap();
    saved.load(&weights).unwrap();
    let sum = |variables: &VarMap| -> f32 {
        let weights = variables.all_vars();
        weights
            .iter()
            .map(|it| it.abs().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap())
            .sum()
    };
    assert!((sum(&saved) - sum(&gym.variables)).abs() < 1e-6);

    let (table, log) = gym.finish_with_table();
    assert!(table.contains("stopped: the energy budget of 10.0 J is used up"), "{table}");
    assert_eq!(log.steps.last().unwrap().status, Status::Stopped);
    assert_eq!(log.epochs.last().unwrap().status, Status::Stopped);
    assert_eq!((log.end.status, log.manifest.state), (Status::Stopped, State::Stopped));
    assert!(log.end.reason.as_deref().unwrap().contains("10.0 J"));
    let spent = log.end.energy.unwrap();
    // The step at work when it was used up is finished; the recorder may look a millisecond late.
    let most = budget + power() * (STEP + Duration::from_millis(1));
    assert!((budget..=most).contains(&spent), "{spent}");
}
