//! [`Steps`]: how energy and time of a run's steps are distributed.

use std::collections::BTreeMap;

use ergometer::log::Step;
use serde::Serialize;

use crate::statistics::batch_means::BatchMeans;
use crate::statistics::quantiles::Quantiles;

/// How energy and time of a run's steps are distributed.
///
/// The steps of the first epoch of each session and lane stand apart where there are others: they pay for compilation,
/// tuning and cold caches.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Steps {
    /// How many there were.
    pub count: u64,
    /// How many were too short to say anything about, so that their energy is not below.
    pub unresolved: u64,
    /// Energy of a step, in **joules**, without those of the first epoch.
    #[serde(rename = "energy_j")]
    pub energy: Option<Distribution>,
    /// Time of a step, in **seconds**, without those of the first epoch.
    #[serde(rename = "duration_s")]
    pub time: Option<Distribution>,
    /// Energy of a step of the first epoch, in **joules**.
    #[serde(rename = "first_epoch_energy_j")]
    pub warm_up: Option<Distribution>,
}

/// How a quantity of many steps is distributed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Distribution {
    /// How many steps.
    pub n: u64,
    /// Their mean.
    pub mean: f64,
    /// The 95 % interval of the mean, from means over batches, since steps are not independent of their neighbours; missing
    /// where there are too few.
    pub interval: Option<(f64, f64)>,
    /// What 5 % of the steps are below, to 1 %.
    pub p5: f64,
    /// The median, to 1 %.
    pub median: f64,
    /// What 95 % of the steps are below, to 1 %.
    pub p95: f64,
}

#[derive(Debug, Default)]
pub(super) struct Collector {
    count: u64,
    unresolved: u64,
    /// The first epoch of each lane in this session.
    first: BTreeMap<u32, u64>,
    warm_up: [Column; 2],
    steady: [Column; 2],
}

impl Collector {
    pub(super) fn take(&mut self, step: &Step) {
        self.count += 1;
        // Steps outside epochs are all alike.
        let warming =
            step.epoch.is_some_and(|epoch| *self.first.entry(step.lane).or_insert(epoch) == epoch);
        let [energies, times] = if warming { &mut self.warm_up } else { &mut self.steady };
        match step.energy {
            Some(energy) => energies.push(energy.as_joules()),
            None => self.unresolved += 1,
        }
        times.push(step.end.since(step.start).as_secs_f64());
    }

    /// What was warm is cold again.
    pub(super) fn begin_session(&mut self) {
        self.first.clear();
    }

    pub(super) fn finish(self) -> Steps {
        let Collector { count, unresolved, warm_up, steady, .. } = self;
        let [first_energy, first_time] = warm_up.map(Column::finish);
        let [energy, time] = steady.map(Column::finish);
        // A single epoch is all there is.
        match time {
            Some(_) => Steps { count, unresolved, energy, time, warm_up: first_energy },
            None => {
                Steps { count, unresolved, energy: first_energy, time: first_time, warm_up: None }
            }
        }
    }
}

#[derive(Debug, Default)]
struct Column {
    means: BatchMeans,
    quantiles: Quantiles,
}

impl Column {
    fn push(&mut self, value: f64) {
        self.means.push(value);
        self.quantiles.push(value);
    }

    fn finish(self) -> Option<Distribution> {
        Some(Distribution {
            n: self.means.count(),
            mean: self.means.mean()?,
            interval: self.means.interval(0.95),
            p5: self.quantiles.at(0.05)?,
            median: self.quantiles.at(0.5)?,
            p95: self.quantiles.at(0.95)?,
        })
    }
}
