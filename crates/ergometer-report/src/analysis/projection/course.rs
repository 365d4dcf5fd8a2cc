//! The [`Course`] of a training: what each epoch took, without its warm-up, and what recurs apart.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ergometer::record::{Quality, Status};
use ergometer::{Energy, Error, Record, Result, Timestamp};
use serde::Serialize;

/// What epochs took until now, in rows that can be carried on.
pub(super) struct Course {
    /// Epochs that came to their end.
    pub(super) done: u64,
    /// All energy to the end of the last.
    pub(super) spent: Energy,
    /// All time of the epochs, and between them within a session.
    pub(super) time: Duration,
    /// Joules and seconds of each epoch that stands for those to come, with what lies before it.
    pub(super) energies: Vec<f64>,
    pub(super) times: Vec<f64>,
    /// Work that comes every so many epochs, and how many joules and seconds it took each time.
    pub(super) recurrence: Option<Recurrence>,
    pub(super) recurring_energies: Vec<f64>,
    pub(super) recurring_times: Vec<f64>,
    /// The energy's standard uncertainty as a share of it, as if all of it were the sensors' gain.
    pub(super) relative: Option<f64>,
    pub(super) is_estimated: bool,
}

/// Work that comes every so many epochs: a validation, a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Recurrence {
    /// Every so many epochs.
    pub every: u64,
    /// The epoch of the last time, counted from 1.
    pub last: u64,
    /// How often until now.
    pub seen: usize,
    /// What it takes beside the epoch itself, on average.
    #[serde(rename = "energy_j")]
    pub energy: Energy,
}

impl Recurrence {
    /// How often it comes until the end of epoch `planned`.
    pub(super) fn left(self, planned: u64) -> u64 {
        planned.saturating_sub(self.last) / self.every
    }
}

/// One epoch that came to its end.
struct Epoch {
    /// Joules and seconds since the epoch before, or of itself; no joules where it was too short to say.
    energy: Option<f64>,
    time: f64,
    /// Joules of phases within it, and of what lies between it and the one before.
    within: f64,
    between: f64,
    /// The first of its session, which warms up.
    is_warm_up: bool,
}

impl Course {
    pub(super) fn of(records: &[Record]) -> Result<Course> {
        let done = completed(records);
        let Some(last) = records.last().filter(|_| !done.is_empty()) else {
            return Err(Error::absent("no epoch is done, so there is nothing to project from")
                .cure("wait for the end of the first"));
        };
        if records.iter().any(|record| record.lane != last.lane) {
            return Err(Error::unsupported("several threads count epochs at once")
                .cure("project each run of one thread by itself"));
        }
        let spent = records.iter().map(|record| record.total).max().unwrap_or_default();
        if spent <= Energy::ZERO {
            return Err(Error::unsupported("what the epochs used is not known")
                .cure("project a run that a sensor or a model measures"));
        }
        let epochs = epochs(records);
        let (recurrence, is_again) = recurrence(&epochs);
        let goes_on = |place: usize| !epochs[place].is_warm_up && !is_again[place];
        // While there is no other, the warm-up has to stand for the epochs to come.
        let only_warm_up = !(0..epochs.len()).any(goes_on);
        let stands = |place: &usize| goes_on(*place) || (only_warm_up && !is_again[*place]);
        let rows = || (0..epochs.len()).filter(stands).map(|place| &epochs[place]);
        let energies: Vec<f64> = rows().filter_map(|epoch| epoch.energy).collect();
        let times: Vec<f64> = rows().map(|epoch| epoch.time).collect();
        let (energy, time) = (super::mean(&energies), super::mean(&times));
        let again = || (0..epochs.len()).filter(|place| is_again[*place]).map(|it| &epochs[it]);
        let recurring_energies: Vec<f64> =
            again().filter_map(|epoch| Some(epoch.energy? - energy)).collect();
        Ok(Course {
            done: distinct(&done),
            spent,
            time: elapsed(records),
            energies,
            times,
            recurrence: recurrence.map(|it| Recurrence {
                energy: Energy::from_joules(super::mean(&recurring_energies)),
                ..it
            }),
            recurring_times: again().map(|epoch| epoch.time - time).collect(),
            recurring_energies,
            relative: relative(&done),
            is_estimated: records.iter().any(|record| {
                record.quality == Quality::Estimated
                    || record
                        .domains
                        .values()
                        .any(|share| share.in_total && share.quality == Quality::Estimated)
            }),
        })
    }
}

/// The epochs that came to their end.
pub(super) fn completed(records: &[Record]) -> Vec<&Record> {
    records.iter().filter(|record| record.status == Status::Complete).collect()
}

/// An epoch that was done again after a resume counts once.
pub(super) fn distinct(done: &[&Record]) -> u64 {
    let numbers: Option<BTreeSet<u64>> = done.iter().map(|record| record.epoch).collect();
    numbers.map_or(done.len(), |numbers| numbers.len()) as u64
}

fn epochs(records: &[Record]) -> Vec<Epoch> {
    let before = |place: usize| place.checked_sub(1).map(|place| &records[place]);
    let (mut epochs, mut warm) = (Vec::new(), BTreeSet::new());
    for (place, record) in records.iter().enumerate() {
        if record.status != Status::Complete {
            continue;
        }
        let neighbour = before(place)
            .filter(|before| before.session == record.session && before.status == Status::Complete);
        let own = record.energy.map(Energy::as_joules);
        let since = neighbour.map(|before| (record.total - before.total).as_joules());
        epochs.push(Epoch {
            energy: since.or(own),
            time: neighbour
                .map_or(record.duration, |before| record.end.since(before.end))
                .as_secs_f64(),
            within: record.phases.unwrap_or_default().as_joules(),
            between: since.zip(own).map_or(0.0, |(since, own)| since - own),
            is_warm_up: warm.insert(record.session),
        });
    }
    epochs
}

/// Work that is less than this share of an epoch is not told apart from it.
const WORTH: f64 = 0.02;

/// Looks for work that some epochs have and others do not, at equal distances; and says in which epochs' rows it lies.
///
/// An epoch has it if its phases and what lies before it take at least twice as much as in any epoch without. What comes in
/// each epoch, or in no order, stays in the epochs.
fn recurrence(epochs: &[Epoch]) -> (Option<Recurrence>, Vec<bool>) {
    let nowhere = vec![false; epochs.len()];
    let work: Vec<f64> = epochs.iter().map(|epoch| epoch.within + epoch.between).collect();
    let (low, high) =
        work.iter().fold((f64::MAX, f64::MIN), |(low, high), it| (low.min(*it), high.max(*it)));
    let is_again: Vec<bool> = work.iter().map(|it| *it > f64::midpoint(low, high)).collect();
    let of = |is: bool| work.iter().zip(&is_again).filter(move |(_, again)| **again == is);
    let least = of(true).map(|(work, _)| *work).fold(f64::MAX, f64::min);
    let most = of(false).map(|(work, _)| *work).fold(0.0, f64::max);
    let whole: Vec<f64> = epochs.iter().filter_map(|epoch| epoch.energy).collect();
    if of(true).next().is_none() || least < 2.0 * most || least - most < WORTH * super::mean(&whole)
    {
        return (None, nowhere);
    }
    // What lies before an epoch belongs to the one before.
    let sum = |part: fn(&Epoch) -> f64| -> f64 {
        epochs
            .iter()
            .zip(&is_again)
            .filter(|(_, again)| **again)
            .map(|(epoch, _)| part(epoch))
            .sum()
    };
    let behind = u64::from(sum(|epoch| epoch.between) > sum(|epoch| epoch.within));
    let places: Vec<u64> = (1..)
        .zip(&is_again)
        .filter(|(_, again)| **again)
        .map(|(place, _): (u64, _)| place - behind)
        .collect();
    let (Some(first), Some(last)) = (places.first(), places.last()) else {
        return (None, nowhere);
    };
    let every = places.get(1).map_or(*first, |second| second - first);
    let seen_to = epochs.len() as u64 - behind;
    let is_regular = places.windows(2).all(|pair| pair[1] - pair[0] == every)
        && every > 1
        && *first <= every
        && seen_to < last + every;
    if !is_regular {
        return (None, nowhere);
    }
    let recurrence = Recurrence { every, last: *last, seen: places.len(), energy: Energy::ZERO };
    (Some(recurrence), is_again)
}

fn elapsed(records: &[Record]) -> Duration {
    let mut sessions: BTreeMap<u32, (Timestamp, Timestamp)> = BTreeMap::new();
    for Record { session, start, end, .. } in records {
        let span = sessions.entry(*session).or_insert((*start, *end));
        *span = (span.0.min(*start), span.1.max(*end));
    }
    sessions.into_values().map(|(start, end)| end.since(start)).sum()
}

fn relative(done: &[&Record]) -> Option<f64> {
    let known = || done.iter().filter_map(|record| Some((record.energy?, record.uncertainty?)));
    let energy: Energy = known().map(|(energy, _)| energy).sum();
    let uncertainty: Energy = known().map(|(_, uncertainty)| uncertainty).sum();
    (energy > Energy::ZERO).then(|| uncertainty.as_joules() / energy.as_joules())
}
