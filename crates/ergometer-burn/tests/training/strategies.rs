//! The boundaries of steps and epochs, in each way in which burn trains.

use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::Duration;

use burn::tensor::{Device, TensorReadError};
use burn::train::metric::{Metric, MetricMetadata, MetricName, SerializedEntry};
use burn::train::{ExecutionStrategy, MultiDeviceOptim};
use ergometer::{Kind, Status};
use ergometer_burn::MeteredRun;

use crate::gym::{BATCH, Findings, Gym, loader};

/// Each epoch's steps, by what was computed in them.
fn computed(findings: &Findings) -> Vec<Vec<String>> {
    let epochs = findings.of(Kind::Epoch);
    let steps =
        |epoch| findings.steps(epoch).into_iter().map(|step| findings.within(step)).collect();
    epochs.into_iter().map(steps).collect()
}

#[test]
fn on_one_device_a_step_is_the_train_step_and_its_optimizer() {
    let gym = Gym::new();
    gym.train(10 * BATCH, |training| training);
    let findings = gym.finish();
    findings.check_boundaries();
    findings.check_burn_logs();
    assert_eq!(computed(&findings), vec![vec!["SO"; 10]; 2]);
    for epoch in findings.of(Kind::Epoch) {
        assert_eq!(epoch.status, Status::Complete);
        assert_eq!(epoch.samples, Some(10 * BATCH as u64));
    }
}

#[test]
fn validation_lies_apart_from_the_training() {
    let gym = Gym::new();
    gym.train(10 * BATCH, |training| training);
    let findings = gym.finish();
    let (epochs, phases) = (findings.of(Kind::Epoch), findings.of(Kind::Phase));
    assert_eq!(epochs.iter().map(|epoch| epoch.epoch).collect::<Vec<_>>(), [Some(1), Some(2)]);
    assert_eq!(phases.len(), 2);
    for (epoch, phase) in epochs.iter().zip(&phases) {
        assert_eq!(phase.phase.as_deref(), Some("valid"));
        assert!(epoch.end <= phase.start, "the epoch is over before the validation begins");
        let steps = findings.steps(phase);
        assert_eq!(steps.iter().map(|step| findings.within(step)).collect::<Vec<_>>(), ["V"; 3]);
        assert!(
            steps.iter().all(|step| step.epoch.is_none() && step.phase.as_deref() == Some("valid"))
        );
    }
    // The training's steps are numbered through, as burn numbers its iterations.
    let numbers: Vec<_> = epochs
        .iter()
        .flat_map(|epoch| findings.steps(epoch))
        .filter_map(|step| step.step)
        .collect();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
    // What the phases used is in the run, and in no epoch.
    assert!(findings.end().remainder > phases.iter().map(|phase| phase.energy).sum());
    assert_eq!(findings.end().samples, Some(20 * BATCH as u64));
}

#[test]
fn loading_threads_change_no_boundary() {
    let gym = Gym::new();
    gym.training(loader(10 * BATCH, 2), loader(2 * BATCH, 2)).launch(gym.learner());
    let findings = gym.finish();
    findings.check_boundaries();
    findings.check_burn_logs();
    assert_eq!(computed(&findings), vec![vec!["SO"; 10]; 2]);
}

#[test]
fn accumulated_gradients_put_the_optimizer_into_the_last_batch_of_each_group() {
    let gym = Gym::new();
    gym.train(10 * BATCH, |training| training.grads_accumulation(4));
    let findings = gym.finish();
    findings.check_boundaries();
    findings.check_burn_logs();
    // The last group has two batches, which burn learns from the loader's progress.
    let epoch = ["S", "S", "S", "SO", "S", "S", "S", "SO", "S", "SO"];
    assert_eq!(computed(&findings), [epoch; 2]);
}

#[test]
fn on_two_devices_a_step_is_both_shards_batches_together() {
    let gym = Gym::new();
    let devices = vec![Device::flex(); 2];
    let strategy = ExecutionStrategy::multi(devices, MultiDeviceOptim::OptimMainDevice);
    gym.train(10 * BATCH, |training| training.with_training_strategy(strategy.into()));
    let findings = gym.finish();
    findings.check_boundaries();
    findings.check_burn_logs();
    assert_eq!(computed(&findings), vec![vec!["SSO"; 5]; 2]);
    assert_eq!(findings.of(Kind::Epoch)[0].samples, Some(10 * BATCH as u64));
}

#[test]
fn shards_of_unequal_length_end_their_epoch_together() {
    let gym = Gym::new();
    let devices = vec![Device::flex(); 3];
    let strategy = ExecutionStrategy::multi(devices, MultiDeviceOptim::OptimSharded);
    // Three, three and four batches.
    gym.train(9 * BATCH + 2, |training| training.with_training_strategy(strategy.into()));
    let findings = gym.finish();
    findings.check_boundaries();
    findings.check_burn_logs();
    assert_eq!(computed(&findings), [["SSSO", "SSSO", "SSSO", "SO"]; 2]);
    assert!(findings.of(Kind::Epoch).iter().all(|epoch| epoch.status == Status::Complete));
}

/// A metric that takes its time, like one that draws pictures.
#[derive(Clone)]
struct Slow(Duration);

impl Metric for Slow {
    type Input = ();

    fn name(&self) -> MetricName {
        Arc::new("Slow".to_owned())
    }

    fn update(&mut self, (): &(), _: &MetricMetadata) -> Result<SerializedEntry, TensorReadError> {
        std::thread::sleep(self.0);
        Ok(SerializedEntry::new("-".to_owned(), "0".to_owned()))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        Ok(SerializedEntry::new("-".to_owned(), "0".to_owned()))
    }

    fn clear(&mut self) {}
}

#[test]
fn a_slow_metric_moves_no_boundary() {
    let gym = Gym::new();
    gym.train(6 * BATCH, |training| training.metric_train(Slow(Duration::from_millis(60))));
    let findings = gym.finish();
    findings.check_boundaries();
    findings.check_burn_logs();
    assert_eq!(computed(&findings), vec![vec!["SO"; 6]; 2]);
    // Burn's loop waits for its metrics, and that is time in which a step holds the machine.
    let epoch = findings.of(Kind::Epoch)[0];
    assert!(epoch.duration > Duration::from_millis(3 * 60));
    assert!(findings.steps(epoch).iter().any(|step| step.duration > Duration::from_millis(30)));
}

#[test]
fn the_training_thread_waits_for_the_device_where_passes_begin_and_end_and_every_nth_step() {
    let waits: Arc<Mutex<Vec<ThreadId>>> = Arc::default();
    let noted = Arc::clone(&waits);
    let fence = move || {
        noted.lock().unwrap().push(std::thread::current().id());
        Ok(())
    };
    let gym = Gym::with(|meter| meter.fence(fence), |run| run.sync_every(5));
    gym.train(10 * BATCH, |training| training);
    let before = waits.lock().unwrap().len();
    // Two at each of four passes; two of ten steps of an epoch, and none of a validation's three and then three more.
    assert_eq!(before, 4 * 2 + 2 * 2 + 1);
    assert!(waits.lock().unwrap().iter().all(|thread| *thread == std::thread::current().id()));
    gym.finish().check_boundaries();
}

#[test]
fn a_loader_is_wrapped_without_a_change() {
    let gym = Gym::new();
    let bare = loader(5 * BATCH, 0);
    let wrapped = gym.run.train(Arc::clone(&bare));
    assert_eq!(wrapped.num_items(), bare.num_items());
    assert_eq!(wrapped.slice(3, 70).num_items(), 67);
    assert_eq!(wrapped.to_device(&Device::flex()).num_items(), 5 * BATCH);
    let part = wrapped.slice(0, 3 * BATCH).to_device(&Device::flex());
    let mut batches = part.iter();
    for number in 1..=3 {
        assert_eq!(batches.next().unwrap().unwrap().inputs.dims(), [BATCH, 16]);
        assert_eq!(batches.progress().items_processed, number * BATCH);
    }
    assert!(batches.progress().is_completed());
    assert!(batches.next().is_none());
    drop(batches);
    let findings = gym.finish();
    assert_eq!(findings.of(Kind::Step).len(), 3);
}
