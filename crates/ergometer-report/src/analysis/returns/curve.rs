//! A [`Curve`]: a metric against the energy that it took, epoch by epoch.

use std::collections::{BTreeMap, BTreeSet};

use ergometer::{Energy, Error, Result, Status};

use super::{Question, count};
use crate::History;
use crate::conditions::{Conditions, EXTENT, SEED, differences, named_like};
use crate::metric::Direction;
use crate::statistics::isotonic;

/// A metric at the end of each epoch, and the energy of the run until then.
pub(super) struct Curve {
    pub(super) epochs: Vec<u64>,
    pub(super) values: Vec<f64>,
    pub(super) totals: Vec<Energy>,
}

/// Epochs that a curve has at least.
const FEWEST: usize = 4;

impl Curve {
    /// The curves of runs that differ in their seeds, over the epochs that have the metric in each of them.
    pub(super) fn of_each(runs: &[History], question: &Question) -> Result<Vec<Curve>> {
        let metric = &question.metric;
        let conditions: Vec<Conditions> =
            runs.iter().map(|run| Conditions::of(&run.summary)).collect();
        let varies = |name: &str| named_like(name, &SEED) || named_like(name, &EXTENT);
        let mut different = differences(&conditions, &varies);
        let sizes: BTreeSet<Option<u64>> =
            runs.iter().map(|run| run.summary.manifest.parameters).collect();
        if sizes.len() > 1 {
            different.push("parameters".to_owned());
        }
        if !different.is_empty() {
            return Err(Error::unsupported(format!(
                "the runs differ in more than their seeds: {}",
                different.join("; ")
            ))
            .cure("give runs of one configuration"));
        }
        let known: Vec<BTreeMap<u64, (f64, Energy)>> =
            runs.iter().map(|run| values(run, metric)).collect();
        let common = known
            .iter()
            .map(|values| values.keys().copied().collect::<BTreeSet<u64>>())
            .reduce(|common, epochs| &common & &epochs)
            .unwrap_or_default();
        if common.len() < FEWEST {
            let names: BTreeSet<&str> = runs.iter().flat_map(History::metric_names).collect();
            let names: Vec<&str> = names.into_iter().collect();
            return Err(Error::unsupported(format!(
                "`{metric}` is known at the end of {} epochs, and it takes {FEWEST} to see what a gain costs",
                common.len()
            ))
            .cure(format!(
                "log it in each epoch with `run.metric`, or give another; there are: {}",
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            )));
        }
        let curves: Vec<Curve> = known
            .into_iter()
            .map(|values| Curve {
                epochs: common.iter().copied().collect(),
                values: common.iter().map(|epoch| values[epoch].0).collect(),
                totals: common.iter().map(|epoch| values[epoch].1).collect(),
            })
            .collect();
        let is_known = |curve: &Curve| curve.totals.last().is_some_and(|it| *it > Energy::ZERO);
        if !curves.iter().all(is_known) {
            return Err(Error::unsupported("what the epochs used is not known")
                .cure("give runs that a sensor or a model measured"));
        }
        Ok(curves)
    }

    /// The mean of curves over the same epochs.
    pub(super) fn mean(curves: &[&Curve]) -> Curve {
        let n = count(curves.len());
        let epochs = curves.first().map_or(Vec::new(), |curve| curve.epochs.clone());
        let over = |place: usize| {
            let value = curves.iter().map(|curve| curve.values[place]).sum::<f64>() / n;
            let total: Energy = curves.iter().map(|curve| curve.totals[place]).sum();
            (value, total.scaled(1.0 / n))
        };
        let (values, totals) = (0..epochs.len()).map(over).unzip();
        Curve { epochs, values, totals }
    }

    /// How much better the smoothed curve is at its end than at its start.
    pub(super) fn gain(&self, direction: Direction) -> f64 {
        let smooth = self.smooth(direction);
        smooth.last().zip(smooth.first()).map_or(0.0, |(last, first)| last - first)
    }

    /// The part of the energy until the smoothed curve has `part` of its final gain.
    pub(super) fn bought(&self, part: f64, direction: Direction) -> f64 {
        self.bought_each([part], direction)[0]
    }

    /// The same of several parts, with the curve smoothed once.
    pub(super) fn bought_each<const N: usize>(
        &self,
        parts: [f64; N],
        direction: Direction,
    ) -> [f64; N] {
        let smooth = self.smooth(direction);
        let last = smooth.len() - 1;
        parts.map(|part| {
            let goal = smooth[0] + part * (smooth[last] - smooth[0]);
            // The last value is reached, whatever is rounded.
            let place = smooth.iter().position(|value| *value >= goal).unwrap_or(last);
            self.totals[place].as_joules() / self.totals[last].as_joules()
        })
    }

    fn smooth(&self, direction: Direction) -> Vec<f64> {
        isotonic(&self.values.iter().map(|value| direction.upward(*value)).collect::<Vec<_>>())
    }
}

/// A metric and the run's energy at the end of each epoch that has it; of an epoch that was done again, the last time.
fn values(run: &History, metric: &str) -> BTreeMap<u64, (f64, Energy)> {
    (1..)
        .zip(run.epochs.iter().filter(|epoch| epoch.status == Status::Complete))
        .filter_map(|(place, epoch)| {
            let value = epoch.metrics.get(metric).copied().filter(|value| value.is_finite())?;
            Some((epoch.epoch.unwrap_or(place), (value, epoch.total)))
        })
        .collect()
}

/// The standard deviation between runs at the same epoch, pooled over the second half of the epochs.
pub(super) fn scatter(curves: &[Curve]) -> f64 {
    let length = curves.first().map_or(0, |curve| curve.values.len());
    let variances = (length / 2..length).map(|place| {
        let mean =
            curves.iter().map(|curve| curve.values[place]).sum::<f64>() / count(curves.len());
        let squares: f64 = curves.iter().map(|curve| (curve.values[place] - mean).powi(2)).sum();
        squares / count(curves.len() - 1)
    });
    (variances.sum::<f64>() / count(length - length / 2)).sqrt()
}
