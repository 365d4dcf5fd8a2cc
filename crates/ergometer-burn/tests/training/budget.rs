//! A budget of energy, and trainings that go on where an earlier one ended.

use std::path::Path;
use std::time::Duration;

use burn::module::Module;
use burn::tensor::ElementConversion;
use ergometer::record::State;
use ergometer::{Energy, Kind, Status};
use ergometer_burn::MeteredRun;

use crate::gym::{BATCH, Gym, Sums, builder, loader, loader_of, run_log};

#[test]
fn a_budget_ends_the_training_with_its_reason() {
    let gym = Gym::with(|meter| meter, |run| run.budget(Energy::from_joules(20.0)));
    // Steps of 20 ms: so much longer than it takes to look that none can slip in between.
    let slow = loader_of(Sums { time: Duration::from_millis(20) }, 10 * BATCH, 0);
    let training = gym.training(slow, loader(BATCH, 0)).num_epochs(10_000);
    let result = training.launch(gym.learner());
    let reason = gym.run.stop_reason().unwrap();
    assert!(reason.contains("budget of 20.0 J"), "{reason}");
    assert_eq!(result.interrupted.unwrap().reason, Some(reason.clone()));
    assert!(result.error.is_none());

    // The model is the trained one, can be saved, and computes when it comes back.
    let batch = loader(BATCH, 0).iter().next().unwrap().unwrap();
    let weights = gym.home.path().join("model.bpk");
    let before: f32 = result.model.forward(batch.clone()).loss.into_scalar::<f32>().elem();
    result.model.save_file(&weights).unwrap();
    let again = gym.model().load_file(&weights);
    let after: f32 = again.forward(batch).loss.into_scalar::<f32>().elem();
    assert!(before.is_finite() && (before - after).abs() < 1e-6, "{before} and {after}");

    let findings = gym.finish();
    findings.check_boundaries();
    findings.check_burn_logs();
    let end = findings.end();
    assert_eq!((end.status, end.reason.as_ref()), (Status::Stopped, Some(&reason)));
    assert_eq!(run_log(findings.home.path()).manifest.state, State::Stopped);
    let said = findings.events.iter().find(|event| event.event == "budget").unwrap();
    // Noticed when it was used up: a busy machine may wake the recorder late, so the energy is not held to a step here.
    let used = said.total.unwrap().as_joules();
    assert!((20.0..220.0).contains(&used), "{used} J");
    // The step at work is finished, and no other is begun, but for one in the moment between.
    let later = findings.of(Kind::Step).iter().filter(|step| step.start > said.at).count();
    assert!(later <= 1, "{later} steps were begun after the budget was used up");
    // No epochs were begun for nothing, but for one that the end may have met at its first batch.
    let epochs = findings.of(Kind::Epoch);
    assert!(epochs.iter().filter(|epoch| findings.steps(epoch).is_empty()).count() <= 1);
}

#[test]
fn a_validation_that_has_begun_is_finished() {
    let gym = Gym::with(|meter| meter, |run| run.budget(Energy::from_joules(10.0)));
    let valid = gym.run.valid(loader(3 * BATCH, 0));
    let mut batches = valid.iter();
    batches.next().unwrap().unwrap();
    while !gym.run.is_stopped() {
        std::thread::yield_now();
    }
    assert_eq!(batches.by_ref().count(), 2);
    drop(batches);
    assert_eq!(gym.run.train(loader(3 * BATCH, 0)).iter().count(), 0);
    let findings = gym.finish();
    assert_eq!(findings.of(Kind::Phase)[0].status, Status::Complete);
    assert!(findings.of(Kind::Epoch).is_empty(), "an epoch that cannot begin is none");
}

#[test]
fn a_training_from_a_checkpoint_counts_its_epochs_as_burn_does() {
    let gym = Gym::new();
    gym.train(3 * BATCH, |training| training.with_default_checkpointers());

    // Another run that goes on from the same checkpoint.
    let burn = gym.burn();
    let again = Gym::new();
    copy(&burn, &again.burn());
    again.run.starting_epoch(2 + 1);
    again.train(3 * BATCH, |training| {
        training.with_default_checkpointers().checkpoint(2).num_epochs(4)
    });
    let findings = again.finish();
    let numbers: Vec<_> = findings.of(Kind::Epoch).iter().filter_map(|epoch| epoch.epoch).collect();
    assert_eq!(numbers, [3, 4]);
    for epoch in findings.of(Kind::Epoch) {
        let total = findings.burn_total("train", epoch.epoch.unwrap(), "Energy");
        assert!((total / epoch.energy.unwrap().as_joules() - 1.0).abs() < 1e-9);
    }
}

#[test]
fn a_resumed_run_counts_on_by_itself() {
    let gym = Gym::new();
    for _batch in gym.run.train(loader(3 * BATCH, 0)).iter() {}
    let home = gym.home;
    gym.run.finish().unwrap();
    let resumed = builder().build().unwrap().resume(home.path().join("run")).unwrap();
    let run = resumed.start().unwrap();
    for _batch in run.train(loader(3 * BATCH, 0)).iter() {}
    run.finish().unwrap();
    let epochs = run_log(home.path()).windows(Kind::Epoch).unwrap();
    assert_eq!(epochs.iter().filter_map(|epoch| epoch.epoch).collect::<Vec<_>>(), [1, 2]);
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(from, to).unwrap();
        }
    }
}
