//! The energy of one sensor as a function of time. Pure: no clock, no IO, no thread.
//!
//! Readings go in, and a monotone cumulative energy Ê(t) comes out, linear between *update edges*: the moments at which
//! the sensor published a new value. The energy of a window is Ê(end) − Ê(start), so windows nest, overlap and add up
//! exactly, and the error of a boundary that two windows share cancels in their sum.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::sensor::{Incident, Provenance, Quantity, Reading, Specification};
use crate::units::{Energy, Power, Timestamp};

/// Ê(t) of one sensor, from its readings so far.
#[derive(Debug)]
pub struct Series {
    quantum: Energy,
    least: Power,
    most: Power,
    model: bool,
    /// The nominal time between two updates; zero for a sensor that is always up to date.
    period: Duration,
    /// True once a value was seen to stay for longer than that: then an update is not known to have been so near.
    slower: bool,
    /// How often the sensor is read: no update is seen sooner.
    interval: Duration,
    /// The last intervals between updates, for their median.
    intervals: VecDeque<Duration>,
    edges: VecDeque<Edge>,
    /// The last good reading; its value decides whether the next one is an update.
    last: Option<Reading>,
    /// The energy given out so far for gauges, which have no total of their own.
    integral: Energy,
    /// True once two readings in a row gave the same value: the sensor is read faster than it is updated.
    oversampled: bool,
    /// True while the first edge waits for a period to be seen, to be put where it belongs.
    unplaced: bool,
}

/// The moment at which a sensor published a new value.
#[derive(Clone, Copy, Debug)]
struct Edge {
    at: Timestamp,
    /// Half of the time within which the update happened.
    half: Duration,
    energy: Energy,
    /// Intervals up to this edge within which something happened that the readings do not tell (a reset, say).
    broken: u64,
}

/// Ê at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The cumulative energy.
    pub energy: Energy,
    /// Its standard uncertainty from update times, quantum and the power's course between two updates, in joules.
    pub uncertainty: f64,
    /// No error of these kinds can be larger than this, given the sensor's range of power, in joules.
    pub bound: f64,
    /// Where the moment lies.
    pub place: Place,
    /// Broken intervals that ended before this moment, and those that ended or were under way.
    broken: (u64, u64),
}

impl Point {
    fn is_covered(&self) -> bool {
        matches!(self.place, Place::Between | Place::After)
    }
}

/// Where a moment lies in a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Between two updates: settled, it will never change.
    Between,
    /// Before the first update: what happened before is not known.
    Before,
    /// Less than a period after the last update: extrapolated, and provisional until the next one.
    After,
    /// Longer after the last update, or after a single one: the sensor is lost, or late, and nothing is added for it.
    Beyond,
}

impl Series {
    /// An empty series of a sensor.
    pub fn new(specification: &Specification) -> Self {
        Series {
            quantum: specification.quantum,
            least: specification.least,
            most: specification.most,
            model: specification.provenance == Provenance::Model,
            period: specification.period,
            slower: false,
            interval: specification.interval,
            intervals: VecDeque::with_capacity(INTERVALS),
            edges: VecDeque::new(),
            last: None,
            integral: Energy::ZERO,
            oversampled: false,
            unplaced: false,
        }
    }

    /// Takes in a reading. Readings come in the order of time.
    pub fn push(&mut self, reading: Reading) {
        match reading.quantity {
            Quantity::Counter(energy) => self.push_counter(reading, energy),
            Quantity::Gauge(power) => self.push_gauge(reading, power),
        }
    }

    fn push_counter(&mut self, reading: Reading, energy: Energy) {
        let Some(last) = self.last.replace(reading) else {
            // The first value was published at some time in the period before it was read.
            return self.open(reading.before.before(self.period), reading.after, energy);
        };
        let whole = !matches!(reading.incident, Some(Incident::Reset | Incident::Ambiguous));
        let changed = last.quantity != reading.quantity || !whole;
        let newest = self.edges.back().map_or(last.before, |edge| edge.at);
        if !changed {
            self.oversampled = true;
            self.slower |= reading.before.since(last.before.max(newest)) > self.period;
            if reading.before.since(newest) < stall(self.period) {
                return;
            }
        }
        // The update happened after the last read that did not show it, and not longer ago than one period. A counter
        // that does not move at all is one that measures no energy: that too is known, and lets windows settle.
        let nearest = if self.slower { last.before } else { reading.before.before(self.period) };
        let from = last.before.max(nearest).max(newest);
        self.edge(from, reading.after, energy, whole);
    }

    fn push_gauge(&mut self, reading: Reading, power: Power) {
        let Some(last) = self.last else {
            self.last = Some(reading);
            return self.open(reading.before, reading.after, Energy::ZERO);
        };
        let Quantity::Gauge(before) = last.quantity else { return };
        let newest = self.edges.back().map_or(last.before, |edge| edge.at);
        // A gauge that repeats itself within a period has not been updated: integrate over updates, not over polls.
        if before == power && reading.before.since(newest) < self.period {
            return;
        }
        self.last = Some(reading);
        let at = reading.before.midpoint(reading.after);
        self.integral += before.mean(power) * at.since(newest);
        let whole = at.since(newest) <= stall(self.period);
        self.edge(reading.before, reading.after, self.integral, whole);
    }

    fn open(&mut self, from: Timestamp, to: Timestamp, energy: Energy) {
        self.edges.push_back(Edge {
            at: from.midpoint(to),
            half: to.since(from) / 2,
            energy,
            broken: 0,
        });
    }

    fn edge(&mut self, from: Timestamp, to: Timestamp, energy: Energy, whole: bool) {
        let at = from.midpoint(to);
        let Some(last) = self.edges.back().filter(|last| last.at < at) else { return };
        let edge =
            Edge { at, half: to.since(from) / 2, energy, broken: last.broken + u64::from(!whole) };
        if whole {
            self.observe(at.since(last.at));
        }
        // The first value's own update was before the first read. Now that a period has been seen, it can be placed.
        if self.edges.len() == 1 {
            self.unplaced = self.oversampled;
        } else if std::mem::take(&mut self.unplaced) && edge.broken == 0 {
            let [first, second] = [self.edges[0], self.edges[1]];
            let period = at.since(second.at);
            if second.at.before(period) < first.at && second.at.since(first.at) < period {
                self.edges[0].at = second.at.before(period);
                self.edges[0].half = second.half.max(edge.half);
            }
        }
        self.edges.push_back(edge);
    }

    fn observe(&mut self, interval: Duration) {
        if self.intervals.len() == INTERVALS {
            self.intervals.pop_front();
        }
        self.intervals.push_back(interval);
    }

    /// The time between two updates as observed: their median, or the nominal period before three have been seen.
    ///
    /// Never shorter than the interval at which the sensor is read.
    pub fn period(&self) -> Duration {
        if self.intervals.len() < 3 {
            return self.period;
        }
        let mut sorted: Vec<_> = self.intervals.iter().copied().collect();
        sorted.sort_unstable();
        sorted[sorted.len() / 2]
    }

    /// The moment up to which the series is settled; `None` until the first interval is.
    pub fn covered(&self) -> Option<Timestamp> {
        if self.edges.len() < 2 || self.unplaced {
            None
        } else {
            self.edges.back().map(|edge| edge.at)
        }
    }

    /// The moment of the last good reading, whether it was an update or not.
    pub fn last_read(&self) -> Option<Timestamp> {
        self.last.map(|reading| reading.after)
    }

    /// The mean power over the last interval between updates.
    pub fn power(&self) -> Option<Power> {
        let newest = self.edges.len().checked_sub(1)?;
        let (from, to) = (self.edges.get(newest.checked_sub(1)?)?, self.edges.get(newest)?);
        (to.energy - from.energy).over(to.at.since(from.at))
    }

    /// Ê at `at`; `None` before the first reading of all.
    ///
    /// The uncertainty is that of a boundary: the course of the power between two updates can bend Ê by at most D, the
    /// update times are known to ± h, the counter counts in steps of q:
    /// u² = D²/3 + (P·h)²/3 + q²/12 (rectangular distributions, GUM 4.3.7).
    pub fn at(&self, at: Timestamp) -> Option<Point> {
        let next = self.edges.partition_point(|edge| edge.at <= at);
        match (next.checked_sub(1).map(|last| self.edges[last]), self.edges.get(next)) {
            (None, None) => None,
            (None, Some(first)) => Some(Point {
                energy: first.energy,
                uncertainty: 0.0,
                bound: 0.0,
                place: Place::Before,
                broken: (first.broken, first.broken),
            }),
            (Some(last), None) => {
                let lag = at.since(last.at);
                let late = self.period().max(self.period).max(self.interval) * 2;
                // After a single update no power is known that could be extrapolated.
                let (place, power) = match self.power() {
                    Some(power) if lag <= late => (Place::After, power),
                    _ => (Place::Beyond, Power::ZERO),
                };
                let spread =
                    (self.most - power).as_watts().max((power - self.least).as_watts()).max(0.0);
                let (uncertainty, bound) =
                    self.boundary(spread * lag.as_secs_f64(), power, last.half);
                let energy = last.energy + power * lag;
                Some(Point {
                    energy,
                    uncertainty,
                    bound,
                    place,
                    broken: (last.broken, last.broken),
                })
            }
            (Some(from), Some(to)) => {
                let (length, ahead) = (to.at.since(from.at), at.since(from.at));
                let gained = to.energy - from.energy;
                let power = gained.over(length).unwrap_or_default();
                let (uncertainty, bound) =
                    self.boundary(self.bend(power, ahead, length), power, from.half.max(to.half));
                let energy = from.energy + gained.fraction(ahead, length);
                Some(Point {
                    energy,
                    uncertainty,
                    bound,
                    place: Place::Between,
                    broken: (from.broken, to.broken),
                })
            }
        }
    }

    /// The energy between two moments; `None` where nothing is known about either.
    pub fn between(&self, start: Timestamp, end: Timestamp) -> Option<Span> {
        let time = end.since(start);
        Some(Span::new(self.at(start)?, self.at(end)?, self.least * time..=self.most * time))
    }

    /// Forgets edges that no moment from `moment` on needs.
    pub fn forget(&mut self, moment: Timestamp) {
        let keep = self.edges.partition_point(|edge| edge.at <= moment);
        // Two more stay: one before the moment, and one so that the power before it is known.
        for _ in 2..keep {
            self.edges.pop_front();
        }
    }

    /// How far the true energy can lie off the straight line, `ahead` into an interval of `length` at mean `power`:
    /// its slope stays within the sensor's range of power, and both ends are known.
    fn bend(&self, power: Power, ahead: Duration, length: Duration) -> f64 {
        if self.model {
            return 0.0; // A model's error is in its gain; between its readings it claims nothing else.
        }
        let (ahead, rest) = (ahead.as_secs_f64(), length.saturating_sub(ahead).as_secs_f64());
        let above = (self.most - power).as_watts().max(0.0);
        let below = (power - self.least).as_watts().max(0.0);
        (above * ahead).min(below * rest).max((below * ahead).min(above * rest))
    }

    fn boundary(&self, bend: f64, power: Power, half: Duration) -> (f64, f64) {
        let timing = power.as_watts() * half.as_secs_f64();
        let quantum = self.quantum.as_joules();
        let uncertainty =
            (bend * bend / 3.0 + timing * timing / 3.0 + quantum * quantum / 12.0).sqrt();
        // At the edge's worst place the power is the highest, not the mean.
        let slack = self.most.max(power).as_watts() * half.as_secs_f64();
        (uncertainty, bend + slack + quantum)
    }
}

/// What a series knows of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// The energy, by interpolation between updates.
    pub energy: Energy,
    /// Its standard uncertainty from the two boundaries, in joules; the sensor's gain comes on top.
    pub uncertainty: f64,
    /// No error of the boundaries can be larger than this, in joules.
    pub bound: f64,
    /// False if part of the window is not covered by readings.
    pub whole: bool,
    /// True if a boundary is extrapolated and may still change.
    pub provisional: bool,
}

impl Span {
    /// The window from `start` to `end`, over which the sensor's power allows for a `possible` energy.
    pub(crate) fn new(start: Point, end: Point, possible: RangeInclusive<Energy>) -> Self {
        let energy = end.energy - start.energy;
        // The true energy is a possible one too: often the tighter limit, for a very short window.
        let below = (energy - *possible.start()).as_joules();
        let above = (*possible.end() - energy).as_joules();
        let farthest = below.abs().max(above.abs());
        Span {
            energy,
            uncertainty: start.uncertainty.hypot(end.uncertainty).min(farthest / 3_f64.sqrt()),
            bound: (start.bound + end.bound).min(farthest),
            whole: start.is_covered() && end.is_covered() && start.broken.0 == end.broken.1,
            provisional: end.place == Place::After,
        }
    }
}

/// How many intervals between updates the median looks back on.
const INTERVALS: usize = 31;

/// After this long without a change a counter is taken to stand still, and a gap in a gauge's samples to hide something.
pub(crate) fn stall(period: Duration) -> Duration {
    (period * 10).max(Duration::from_secs(1))
}
