//! What the program was doing at each moment, held against the intervals between updates.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::activity::Fit;
use crate::channel::Channel;
use crate::record::Activity;
use crate::sensor::{Provenance, Specification};
use crate::units::{Power, Timestamp};

/// The time of a program as a row of activities, and for each sensor what its intervals say of them.
#[derive(Debug, Default)]
pub(super) struct Activities {
    names: Vec<String>,
    times: Vec<Duration>,
    /// Each activity with its end, from `since` on.
    row: VecDeque<(usize, Timestamp)>,
    since: Option<Timestamp>,
    /// For each sensor, and how far its intervals have been taken in.
    fits: Vec<(Fit, Timestamp)>,
    /// With several lanes a moment belongs to several activities.
    several_lanes: bool,
}

/// A program of more kinds of phases than this is not told apart.
const KINDS: usize = 8;

impl Activities {
    /// The program did `name` up to `at`.
    pub(super) fn did(&mut self, name: &str, lane: u32, at: Timestamp) {
        self.several_lanes |= lane > 0;
        let Some(from) = self.row.back().map(|(_, end)| *end).or(self.since) else {
            self.since = Some(at);
            return;
        };
        if self.several_lanes || at <= from {
            return;
        }
        let kind = self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.times.push(Duration::ZERO);
            self.names.len() - 1
        });
        self.times[kind] += at.since(from);
        match self.row.back_mut() {
            Some((last, end)) if *last == kind => *end = at,
            _ => self.row.push_back((kind, at)),
        }
    }

    /// Takes in the intervals that lie within the row so far.
    pub(super) fn take_in(&mut self, channels: &[Arc<Channel>]) {
        let (Some(since), Some(&(_, reached))) = (self.since, self.row.back()) else { return };
        if self.several_lanes || self.names.len() > KINDS {
            self.row.clear();
            return;
        }
        if self.fits.is_empty() {
            self.fits = channels.iter().map(|_| (Fit::default(), since)).collect();
        }
        for (channel, (fit, taken)) in channels.iter().zip(&mut self.fits) {
            for (from, to, energy) in channel.told().series.increments(*taken, reached) {
                if let Some(energy) = energy {
                    fit.add(&times(&self.row, since, self.names.len(), from, to), energy);
                }
                *taken = to;
            }
        }
        let taken = self.fits.iter().map(|(_, taken)| *taken).min().unwrap_or(since);
        // A sensor that has gone quiet must not hold on to the row for ever.
        while self.row.len() > 1 && (self.row[0].1 <= taken || self.row.len() > LONGEST) {
            self.since = self.row.pop_front().map(|(_, end)| end);
        }
        let since = self.since.unwrap_or(since);
        self.fits.iter_mut().for_each(|(_, taken)| *taken = (*taken).max(since));
    }

    /// Each activity's mean power, if all measured sensors of the total tell them apart.
    pub(super) fn powers(&self, sensors: &[Specification]) -> Vec<Activity> {
        let measured = sensors
            .iter()
            .zip(&self.fits)
            .filter(|(sensor, _)| sensor.in_total && sensor.provenance != Provenance::Model);
        let fitted: Option<Vec<_>> = measured.map(|(_, (fit, _))| fit.solve()).collect();
        let Some(fitted) = fitted.filter(|fitted| !fitted.is_empty() && !self.several_lanes) else {
            return Vec::new();
        };
        let activities = self.names.iter().zip(&self.times).enumerate();
        activities
            .filter_map(|(kind, (name, time))| {
                let of: Option<Vec<_>> = fitted.iter().map(|powers| powers.get(kind)).collect();
                let of = of?;
                let power = of.iter().fold(Power::ZERO, |sum, fitted| sum + fitted.power);
                let squares: f64 = of.iter().map(|it| it.uncertainty.as_watts().powi(2)).sum();
                let uncertainty = Power::from_watts(squares.sqrt());
                Some(Activity { name: name.clone(), time: *time, power, uncertainty })
            })
            .collect()
    }
}

/// Activities that wait for a sensor's next update.
const LONGEST: usize = 65_536;

/// How long each of `kinds` activities lasted between two moments.
fn times(
    row: &VecDeque<(usize, Timestamp)>,
    since: Timestamp,
    kinds: usize,
    from: Timestamp,
    to: Timestamp,
) -> Vec<Duration> {
    let mut times = vec![Duration::ZERO; kinds];
    let first = row.partition_point(|(_, end)| *end <= from);
    let mut start = if first == 0 { since } else { row[first - 1].1 };
    for (kind, end) in row.range(first..) {
        if start >= to {
            break;
        }
        times[*kind] += (*end).min(to).since(start.max(from));
        start = *end;
    }
    times
}
