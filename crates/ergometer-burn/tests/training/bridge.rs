//! Burn's metrics in the run's log.

use ergometer::{Run, RunLog};
use ergometer_burn::{MetricLog, prelude::*};

use crate::gym::{BATCH, Findings, Gym};

/// What the log says of an epoch's metrics.
fn logged(findings: &Findings, epoch: u64) -> std::collections::BTreeMap<String, f64> {
    let of = findings.events.iter().filter(|event| event.event == "metrics");
    let of = of.filter(|event| event.epoch == Some(epoch));
    of.flat_map(|event| event.metrics.clone()).collect()
}

fn log(run: &Run, gym: &Gym) -> MetricLog {
    MetricLog::new(run, gym.burn())
}

#[test]
fn each_epoch_has_burn_s_final_values_and_burn_keeps_its_files() {
    let gym = Gym::new();
    gym.train(4 * BATCH, |training| training.with_metric_logger(log(&gym.run, &gym)));
    let findings = gym.finish();
    findings.check_burn_logs();
    for epoch in 1..=2 {
        let logged = logged(&findings, epoch);
        assert_eq!(logged.keys().collect::<Vec<_>>(), ["train/Loss", "valid/Loss"]);
        for split in ["train", "valid"] {
            let file = findings.burn_total(split, epoch, "Loss");
            assert_eq!(logged[&format!("{split}/Loss")].to_bits(), file.to_bits());
        }
    }
}

#[test]
fn a_run_that_counts_on_gives_them_to_its_own_epochs() {
    let gym = Gym::new();
    gym.run.starting_epoch(7);
    gym.train(4 * BATCH, |training| training.with_metric_logger(log(&gym.run, &gym)));
    let path = gym.run.path().to_owned();
    let findings = gym.finish();
    assert_eq!(logged(&findings, 7).len(), 2);
    assert_eq!(logged(&findings, 8).len(), 2);
    assert!(logged(&findings, 1).is_empty());
    let (summary, _) = ergometer::Summary::read(&RunLog::open(path).unwrap()).unwrap();
    assert!(summary.epochs.recent.iter().all(|epoch| epoch.metrics.contains_key("valid/Loss")));
}
