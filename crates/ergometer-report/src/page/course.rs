//! The course of a run, thinned to as many rows as a page has room for: its epochs, and its power over time.

use std::collections::BTreeMap;
use std::time::Duration;

use ergometer::{Energy, Record};
use serde::Serialize;

use super::layer::Layer;
use super::metric::Metric;
use crate::History;
use crate::history::{Span, Trace};

/// The epochs of a run, in columns. A row may stand for several successive epochs; its energies and times are then their
/// means.
#[derive(Debug, Default, Serialize)]
pub(super) struct Course {
    /// The number of a row's first epoch.
    pub(super) first: Vec<u64>,
    /// The number of its last.
    pub(super) last: Vec<u64>,
    /// The energy of an epoch; missing where it is not known for all of a row.
    #[serde(rename = "energy_j")]
    pub(super) energies: Vec<Option<Energy>>,
    #[serde(rename = "u_j")]
    pub(super) uncertainties: Vec<Option<Energy>>,
    #[serde(rename = "duration_s")]
    pub(super) times: Vec<f64>,
    /// By domain, or by kind of hardware where there are many domains.
    #[serde(rename = "parts_j")]
    pub(super) parts: BTreeMap<String, Vec<Option<Energy>>>,
    /// At the end of a row.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) metrics: BTreeMap<String, Vec<Option<f64>>>,
}

impl Course {
    /// At most `rows` rows of a run's epochs, with so many metrics, the chosen one first. The first epoch, which pays for the
    /// warm-up, has a row of its own.
    pub(super) fn of(
        run: &History,
        layers: &[Layer],
        metric: Option<&Metric>,
        (rows, metrics): (usize, usize),
    ) -> Course {
        let mut course = Course::default();
        let has = |layer: &&Layer| {
            layer.domains.iter().any(|id| run.summary.end.domains.contains_key(id))
        };
        let layers: Vec<&Layer> = layers.iter().filter(has).collect();
        let mut names: Vec<&str> =
            run.epochs.iter().flat_map(|epoch| epoch.metrics.keys().map(String::as_str)).collect();
        names.sort_unstable();
        names.dedup();
        names.sort_by_key(|name| metric.is_none_or(|metric| metric.name != *name));
        names.truncate(metrics);
        let (warm_up, others) = run.epochs.split_at(run.epochs.len().min(1));
        let size = others.len().div_ceil(rows.saturating_sub(1).max(1)).max(1);
        let mut number = 0;
        for row in warm_up.chunks(1).chain(others.chunks(size)) {
            let [Some(first), Some(last)] = [row.first(), row.last()] else { continue };
            course.first.push(first.epoch.unwrap_or(number + 1));
            number += row.len() as u64;
            course.last.push(last.epoch.unwrap_or(number));
            course.energies.push(mean(row, |epoch| epoch.energy));
            // The errors of a run's epochs are mostly that of the gain, so their mean is as uncertain as one of them.
            course.uncertainties.push(mean(row, |epoch| epoch.uncertainty));
            let time: Duration = row.iter().map(|epoch| epoch.duration).sum();
            let each = time / u32::try_from(row.len()).unwrap_or(u32::MAX);
            course.times.push(each.as_secs_f64());
            for layer in &layers {
                let energy = mean(row, |epoch| layer.energy(epoch));
                course.parts.entry(layer.key.clone()).or_default().push(energy);
            }
            for name in &names {
                let value = last.metrics.get(*name).copied().filter(|value| value.is_finite());
                course.metrics.entry((*name).to_owned()).or_default().push(value);
            }
        }
        course
    }

    /// The most epochs that a row stands for.
    pub(super) fn merged(&self) -> u64 {
        self.first
            .iter()
            .zip(&self.last)
            .map(|(first, last)| last.saturating_sub(*first) + 1)
            .max()
            .unwrap_or(1)
    }
}

/// The mean power of a run over time, in columns, and when its phases ran.
#[derive(Debug, Serialize)]
pub(super) struct Power {
    #[serde(rename = "start_s")]
    pub(super) starts: Vec<f64>,
    #[serde(rename = "end_s")]
    pub(super) ends: Vec<f64>,
    #[serde(rename = "power_w")]
    pub(super) powers: Vec<ergometer::Power>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) phases: BTreeMap<String, Stretches>,
}

/// When the phases of one name ran; those that follow each other at once count as one.
#[derive(Debug, Default, Serialize)]
pub(super) struct Stretches {
    #[serde(rename = "start_s")]
    pub(super) starts: Vec<f64>,
    #[serde(rename = "end_s")]
    pub(super) ends: Vec<f64>,
    /// How many more there were, in between.
    pub(super) left_out: usize,
}

/// Phases of a run that a chart has room for.
const STRETCHES: usize = 64;

impl Power {
    /// At most `rows` means of a run's power, and its phases.
    pub(super) fn of(run: &History, rows: usize) -> Power {
        let points = &run.trace.points;
        let stride = points.len().div_ceil(rows.max(1)).max(1);
        let last = points.len().saturating_sub(1);
        let paused = |place: usize| points.get(place).is_some_and(|point| point.paused);
        let keeps = |place: usize| {
            place.is_multiple_of(stride) || place == last || paused(place) || paused(place + 1)
        };
        let points = points.iter().enumerate().filter(|(place, _)| keeps(*place));
        let thinned = Trace { began: None, points: points.map(|(_, point)| *point).collect() };
        let mut power = Power {
            starts: Vec::new(),
            ends: Vec::new(),
            powers: Vec::new(),
            phases: BTreeMap::new(),
        };
        for (start, end, mean) in thinned.powers() {
            power.starts.push(start.as_secs_f64());
            power.ends.push(end.as_secs_f64());
            power.powers.push(mean);
        }
        let whole = power.ends.last().copied().unwrap_or(0.0);
        power.phases = stretches(&run.phases, whole / 1_000.0);
        let number: usize = power.phases.values().map(|all| all.starts.len()).sum();
        let stride = number.div_ceil(STRETCHES).max(1);
        for all in power.phases.values_mut() {
            all.left_out = all.starts.len() - all.starts.len().div_ceil(stride);
            all.starts = all.starts.iter().copied().step_by(stride).collect();
            all.ends = all.ends.iter().copied().step_by(stride).collect();
        }
        power
    }
}

/// Phases, with those of one name that are less than `gap` seconds apart as one.
fn stretches(phases: &[Span], gap: f64) -> BTreeMap<String, Stretches> {
    let mut stretches: BTreeMap<String, Stretches> = BTreeMap::new();
    for phase in phases {
        let (start, end) = (phase.start.as_secs_f64(), phase.end.as_secs_f64());
        let all = stretches.entry(phase.name.clone()).or_default();
        match all.ends.last_mut() {
            Some(last) if start - *last <= gap => *last = last.max(end),
            _ => {
                all.starts.push(start);
                all.ends.push(end);
            }
        }
    }
    stretches
}

/// The mean over epochs of what is known of all of them.
fn mean(row: &[Record], part: impl Fn(&Record) -> Option<Energy>) -> Option<Energy> {
    let sum: Energy = row.iter().map(part).sum::<Option<Energy>>()?;
    if row.len() == 1 { Some(sum) } else { Some(sum.scaled(1.0 / count(row.len()))) }
}

#[expect(clippy::cast_precision_loss, reason = "a number of epochs is exact in f64 up to 2⁵³")]
fn count(number: usize) -> f64 {
    number as f64
}
