//! Hand-written loops, and loops that end in other ways than by their last batch.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use burn::data::dataloader::DataLoaderBuilder;
use burn::data::dataset::{Dataset, DatasetError};
use burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::optim::{AdamConfig, ModuleOptimizer};
use burn::tensor::Device;
use burn::train::TrainStep;
use ergometer::{Kind, Status};
use ergometer_burn::MeteredRun;

use crate::gym::{BATCH, Gym, Item, Sums, loader, power};

#[test]
fn a_loop_written_by_hand_needs_the_wrapper_alone() {
    let gym = Gym::new();
    let train = gym.run.train(loader(5 * BATCH, 0).to_device(&Device::flex().autodiff()));
    let valid = gym.run.valid(loader(2 * BATCH, 0));
    let mut model = gym.model();
    let mut optimizer: ModuleOptimizer = AdamConfig::new().init();
    for _epoch in 1..=2 {
        for batch in train.iter().map(Result::unwrap) {
            let output = TrainStep::step(&model, batch);
            model = model.optimize(&mut optimizer, ModuleLearningRate::from(1e-3), output.grads);
        }
        for batch in valid.iter().map(Result::unwrap) {
            gym.notes.note('V', || model.forward(batch));
        }
    }
    let findings = gym.finish();
    findings.check_boundaries();
    let epochs = findings.of(Kind::Epoch);
    assert_eq!(epochs.iter().map(|epoch| epoch.epoch).collect::<Vec<_>>(), [Some(1), Some(2)]);
    for epoch in epochs {
        assert!(findings.steps(epoch).iter().all(|step| findings.within(step) == "SO"));
        assert_eq!((findings.steps(epoch).len(), epoch.status), (5, Status::Complete));
    }
    for phase in findings.of(Kind::Phase) {
        assert!(findings.steps(phase).iter().all(|step| findings.within(step) == "V"));
        assert_eq!((findings.steps(phase).len(), phase.phase.as_deref()), (2, Some("valid")));
    }
}

#[test]
fn what_is_noted_in_a_loop_belongs_to_its_step_and_its_epoch() {
    let gym = Gym::new();
    let train = gym.run.train(loader(2 * BATCH, 0));
    let mut batches = train.iter();
    while let Some(batch) = batches.next() {
        drop(batch.unwrap());
        gym.run.metric("loss", batches.progress().items_processed as f64);
        gym.run.tokens(7);
    }
    drop(batches);
    let findings = gym.finish();
    let epoch = findings.of(Kind::Epoch)[0];
    assert_eq!((epoch.tokens, epoch.samples), (Some(14), Some(2 * BATCH as u64)));
    let losses: Vec<_> = findings.steps(epoch).iter().map(|step| step.metrics["loss"]).collect();
    assert_eq!(losses, [32.0, 64.0]);
}

#[test]
fn a_test_is_a_phase_of_its_own() {
    let gym = Gym::new();
    assert_eq!(gym.run.test(loader(2 * BATCH, 0)).iter().count(), 2);
    let findings = gym.finish();
    assert_eq!(findings.of(Kind::Phase)[0].phase.as_deref(), Some("test"));
    assert_eq!(findings.of(Kind::Step).len(), 2);
    assert_eq!(findings.end().samples, None, "nothing was trained on");
}

#[test]
fn a_loop_that_is_left_closes_its_windows() {
    let gym = Gym::new();
    let train = gym.run.train(loader(5 * BATCH, 0));
    for (number, batch) in train.iter().enumerate() {
        drop(batch.unwrap());
        if number == 2 {
            break;
        }
    }
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        for (number, batch) in train.iter().enumerate() {
            drop(batch.unwrap());
            assert_ne!(number, 1, "as expected by this test");
        }
    }));
    assert!(panicked.is_err());
    let findings = gym.finish();
    let epochs = findings.of(Kind::Epoch);
    assert_eq!(
        epochs.iter().map(|epoch| epoch.status).collect::<Vec<_>>(),
        [Status::Dropped, Status::Panicked]
    );
    let last =
        |epoch| findings.steps(epoch).into_iter().map(|step| step.status).collect::<Vec<_>>();
    assert_eq!(last(epochs[0]), [Status::Complete, Status::Complete, Status::Dropped]);
    assert_eq!(last(epochs[1]), [Status::Complete, Status::Panicked]);
    assert_eq!(epochs[0].samples, Some(3 * BATCH as u64));
}

/// A data set with an item that cannot be read.
struct Torn;

impl Dataset<Item> for Torn {
    fn get(&self, index: usize) -> Result<Item, DatasetError> {
        match index {
            70 => Err(DatasetError::new(io::Error::other("as expected by this test"))),
            _ => Ok([0.5; 16]),
        }
    }

    fn len(&self) -> usize {
        5 * BATCH
    }
}

#[test]
fn data_that_cannot_be_read_end_the_training_as_without_a_meter() {
    let gym = Gym::new();
    let torn = DataLoaderBuilder::new(Sums::default()).batch_size(BATCH).build(Torn);
    let result = gym.training(torn, loader(BATCH, 0)).launch(gym.learner());
    assert!(result.error.unwrap().to_string().contains("as expected by this test"));
    let findings = gym.finish();
    findings.check_boundaries();
    let epochs = findings.of(Kind::Epoch);
    assert_eq!(epochs.len(), 1);
    assert_eq!((findings.steps(epochs[0]).len(), epochs[0].status), (2, Status::Dropped));
}

/// A data set that takes 5 ms for each batch.
struct Slow;

impl Dataset<Item> for Slow {
    fn get(&self, index: usize) -> Result<Item, DatasetError> {
        if index.is_multiple_of(BATCH) {
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok([0.5; 16])
    }

    fn len(&self) -> usize {
        4 * BATCH
    }
}

#[test]
fn loading_the_data_is_in_the_epoch_and_in_no_step() {
    let gym = Gym::new();
    let slow = DataLoaderBuilder::new(Sums::default()).batch_size(BATCH).build(Slow);
    gym.training(slow, loader(BATCH, 0)).launch(gym.learner());
    let findings = gym.finish();
    findings.check_boundaries();
    for epoch in findings.of(Kind::Epoch) {
        assert!(epoch.remainder.unwrap() > power() * Duration::from_millis(4 * 5));
    }
}

#[test]
fn two_runs_in_one_program_do_not_meet() {
    let (one, other) = (Gym::new(), Gym::new());
    std::thread::scope(|scope| {
        for gym in [&one, &other] {
            std::thread::Builder::new()
                .spawn_scoped(scope, || drop(gym.train(4 * BATCH, |training| training)))
                .unwrap();
        }
    });
    for findings in [one.finish(), other.finish()] {
        findings.check_boundaries();
        findings.check_burn_logs();
        assert_eq!(findings.of(Kind::Step).len(), 2 * (4 + 1));
    }
}
