//! Optimizers that say themselves where a step ends.

use std::time::Duration;

use candle_core::{Result, Tensor};
use candle_nn::{AdamW, Optimizer, ParamsAdamW, SGD};
use ergometer::record::Status;
use ergometer_candle::Metered;

use crate::gym::{EVALUATION, Gym, UPDATE, batch, power};

#[test]
fn each_update_is_a_step_and_evaluation_is_none() {
    let gym = Gym::new();
    let mut optimizer = Metered::new(gym.optimizer(), &gym.run);
    for _epoch in gym.run.epochs(1..=3) {
        for _ in 0..2 {
            gym.train(&mut optimizer, &batch(4)).unwrap();
        }
        gym.evaluate().unwrap();
    }
    let log = gym.finish();
    let epoch = UPDATE * 2 + EVALUATION;
    let starts = [0, 1, 2].map(|turn| [epoch * turn, epoch * turn + UPDATE]).concat();
    assert_eq!(log.step_times(), starts.iter().map(|start| (*start, UPDATE)).collect::<Vec<_>>());
    assert!(log.epochs.iter().all(|epoch| epoch.remainder == Some(power() * EVALUATION)));
    assert!(log.windows().all(|window| window.status == Status::Complete));
}

#[test]
fn without_epochs_a_step_begins_at_the_update_before() {
    let gym = Gym::new();
    let mut optimizer = Metered::new(gym.optimizer(), &gym.run);
    for episode in 0..6 {
        gym.hands.advance(EVALUATION);
        if episode % 2 == 1 {
            gym.train(&mut optimizer, &batch(4)).unwrap();
        }
    }
    let log = gym.finish();
    let step = EVALUATION * 2 + UPDATE;
    assert_eq!(log.step_times(), [(Duration::ZERO, step), (step, step), (step * 2, step)]);
}

#[test]
fn an_update_that_fails_is_no_step() {
    let gym = Gym::new();
    let mut optimizer = Metered::new(gym.optimizer(), &gym.run);
    for wide in [4, 5, 4] {
        let _ = gym.train(&mut optimizer, &batch(wide));
    }
    let log = gym.finish();
    assert_eq!(log.step_times(), [(Duration::ZERO, UPDATE), (UPDATE, UPDATE * 2)]);
}

#[test]
fn two_wrapped_optimizers_tick_twice_and_one_of_them_once() {
    let updates = |wrap_both: bool| {
        let gym = Gym::new();
        let mut actor = Metered::new(gym.optimizer(), &gym.run);
        let (mut critic, mut counted) = (gym.optimizer(), Metered::new(gym.optimizer(), &gym.run));
        for _ in 0..4 {
            if wrap_both {
                gym.train(&mut counted, &batch(4)).unwrap();
            } else {
                gym.train(&mut critic, &batch(4)).unwrap();
            }
            gym.train(&mut actor, &batch(4)).unwrap();
        }
        gym.finish().step_times()
    };
    assert_eq!(updates(true), (0..8).map(|turn| (UPDATE * turn, UPDATE)).collect::<Vec<_>>());
    assert_eq!(
        updates(false),
        (0..4).map(|turn| (UPDATE * 2 * turn, UPDATE * 2)).collect::<Vec<_>>()
    );
}

/// Takes a closure instead of gradients, as L-BFGS does, so that it is no `Optimizer`.
struct LineSearch(SGD);

impl LineSearch {
    fn backward_step(&mut self, mut loss: impl FnMut() -> Result<Tensor>) -> Result<()> {
        for _ in 0..3 {
            self.0.backward_step(&loss()?)?;
        }
        Ok(())
    }
}

#[test]
fn what_is_no_optimizer_ticks_by_hand() {
    let gym = Gym::new();
    let mut optimizer = LineSearch(gym.optimizer());
    for _epoch in gym.run.epochs(1..=2) {
        for _ in 0..2 {
            let search = || {
                gym.hands.advance(UPDATE);
                gym.loss(&batch(4))
            };
            optimizer.backward_step(search).unwrap();
            gym.run.tick();
        }
    }
    let log = gym.finish();
    assert_eq!(
        log.step_times(),
        (0..4).map(|turn| (UPDATE * 3 * turn, UPDATE * 3)).collect::<Vec<_>>()
    );
}

/// An agent as reinforcement-learning crates have it: it makes its optimizer itself.
struct Agent<O> {
    optimizer: O,
}

impl<O: Optimizer<Config = ParamsAdamW>> Agent<O> {
    fn new(gym: &Gym) -> Agent<O> {
        Agent { optimizer: O::new(gym.variables.all_vars(), ParamsAdamW::default()).unwrap() }
    }

    fn learn(&mut self, gym: &Gym) {
        let gradients = gym.loss(&batch(4)).unwrap().backward().unwrap();
        gym.hands.advance(UPDATE);
        self.optimizer.step(&gradients).unwrap();
    }
}

#[test]
fn an_optimizer_that_generic_code_made_counts_once_it_has_a_lane() {
    let gym = Gym::new();
    let mut agent = Agent::<Metered<AdamW>>::new(&gym);
    agent.learn(&gym);
    agent.optimizer.set_lane(&gym.run);
    agent.learn(&gym);
    let log = gym.finish();
    assert_eq!(log.steps.len(), 1);
}

#[test]
fn the_wrapped_optimizer_is_at_hand() {
    let gym = Gym::new();
    let adam = AdamW::new_lr(gym.variables.all_vars(), 1e-3).unwrap();
    let mut optimizer = Metered::new(adam, &gym.run);
    optimizer.set_learning_rate(1e-4);
    let parameters = optimizer.params().clone();
    optimizer.set_params(ParamsAdamW { beta1: 0.8, ..parameters });
    let adam = optimizer.into_inner();
    assert_eq!((adam.learning_rate(), adam.params().beta1), (1e-4, 0.8));
    gym.hands.advance(UPDATE);
    assert!(gym.finish().steps.is_empty());
}
