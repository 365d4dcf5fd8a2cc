//! Two threads that train at once, each on a lane of its own.

use std::collections::BTreeSet;

use candle_core::Device;
use candle_nn::{Module, Optimizer, SGD};
use ergometer::Quality;
use ergometer::record::Status;
use tempfile::TempDir;

use crate::gym::{Log, batch, model, power, sensor};

#[test]
fn each_threads_windows_nest_in_its_own() {
    let home = TempDir::new().unwrap();
    let meter = ergometer_candle::builder(&Device::Cpu).unwrap().sensor(sensor()).build().unwrap();
    let run = meter.run("replicas").directory(home.path()).start().unwrap();
    std::thread::scope(|scope| {
        for first in [1_u64, 1_001] {
            let lane = run.lane();
            scope.spawn(move || {
                let (model, variables) = model().unwrap();
                let mut optimizer = SGD::new(variables.all_vars(), 0.1).unwrap();
                for _epoch in lane.epochs(first..first + 4) {
                    for batch in lane.steps(vec![batch(4); 25]) {
                        let loss =
                            model.forward(&batch).unwrap().sqr().unwrap().mean_all().unwrap();
                        optimizer.backward_step(&loss).unwrap();
                    }
                }
            });
        }
    });
    run.finish().unwrap();

    let log = Log::read(home.path());
    assert_eq!((log.epochs.len(), log.steps.len()), (8, 200));
    for epoch in &log.epochs {
        assert_eq!(log.steps_of(epoch).count(), 25);
        assert!(
            log.steps_of(epoch)
                .all(|step| step.epoch == epoch.epoch && step.status == Status::Complete)
        );
        assert_eq!((epoch.lane == log.epochs[0].lane, epoch.parent), {
            let first = log.epochs[0].epoch.unwrap();
            (epoch.epoch.unwrap().abs_diff(first) < 100, None)
        });
    }
    assert_eq!(log.epochs.iter().map(|epoch| epoch.lane).collect::<BTreeSet<_>>().len(), 2);
    let truth = power() * log.end.duration;
    let margin = log.end.estimate().expanded().unwrap();
    // Of a machine that was too busy to read it at the end, the last moment is missing.
    let part = if log.end.quality == Quality::Partial { 0.05 } else { 0.0 };
    assert!(
        (log.end.energy.unwrap() - truth).abs() <= margin + power() * part * log.end.duration,
        "{} is not {truth}",
        log.end.estimate()
    );
}
