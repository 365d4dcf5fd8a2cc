//! The energy of one sensor as a function of time. Pure: no clock, no IO, no thread.
//!
//! Readings go in, and a monotone cumulative energy Ê(t) comes out, linear between *update edges*: the moments at which
//! the sensor published a new value. The energy of a window is Ê(end) − Ê(start), so windows nest, overlap and add up
//! exactly, and the error of a boundary that two windows share cancels in their sum.

mod bend;
mod mean;
mod span;
mod times;

use std::collections::VecDeque;
use std::time::Duration;

use self::bend::Bends;
use self::mean::MovingMean;
pub(crate) use self::span::Reach;
pub use self::span::{Place, Point, Span};
use self::times::{REMEMBERED, Times};
use crate::sensor::{Calibration, Incident, Provenance, Quantity, Reading, Specification};
use crate::units::{Energy, Power, Timestamp};

/// Ê(t) of one sensor, from its readings so far.
#[derive(Debug)]
pub struct Series {
    quantum: Energy,
    /// Of the sensor's own readings, and of what a calibration makes of them.
    reach: Reach,
    reach_calibrated: Reach,
    model: bool,
    gauge: bool,
    /// The part of the time that a counter does not look at.
    unseen: f64,
    calibration: Option<(Calibration, Timestamp)>,
    /// The nominal time between two updates; zero for a sensor that is always up to date.
    period: Duration,
    /// True once a value was seen to stay for longer than that: then an update is not known to have been so near.
    slower: bool,
    /// How often the sensor is read: no update is seen sooner.
    interval: Duration,
    /// The last times between two updates that were seen.
    intervals: Times,
    /// Those among them in which the old value was seen once more, so that no update was missed.
    updates: Times,
    /// True if the last value was seen more than once.
    repeated: bool,
    /// How often the last value of a counter was seen again.
    again: u32,
    /// When the last update was seen, wherever it is put.
    seen: Timestamp,
    /// The smallest change of a counter that was seen.
    step: Option<Energy>,
    edges: VecDeque<Edge>,
    bends: Bends,
    /// The last good reading; its value decides whether the next one is an update.
    last: Option<Reading>,
    /// Readings in a row that took too long to date an update.
    slow: u32,
    /// The energy given out so far for gauges, which have no total of their own.
    integral: Energy,
    /// The last two gauge readings that were updates.
    powers: (Option<Power>, Option<Power>),
    mean: Option<MovingMean>,
    /// True while the first edge waits for a period to be seen, to be put where it belongs.
    unplaced: bool,
    /// True while the load repeats itself about as often as the sensor is updated.
    hidden: bool,
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
    /// What sampling has added to the variance of `energy` so far, in J²: a gauge and a counter that looks away for a
    /// part of the time do not see everything.
    variance: f64,
    /// The most that sampling can have added to the error of `energy` so far, in joules.
    slack: f64,
}

impl Series {
    /// An empty series of a sensor.
    pub fn new(specification: &Specification) -> Self {
        Series {
            quantum: specification.quantum,
            reach: Reach::of(specification),
            reach_calibrated: Reach::calibrated(specification),
            model: specification.provenance == Provenance::Model,
            gauge: specification.provenance == Provenance::IntegratedPower,
            unseen: 1.0 - specification.duty.clamp(0.0, 1.0),
            calibration: specification.calibration.clone().zip(Some(Timestamp::default())),
            period: specification.period,
            slower: false,
            interval: specification.interval,
            intervals: Times::default(),
            updates: Times::default(),
            repeated: false,
            again: 0,
            seen: Timestamp::default(),
            step: None,
            edges: VecDeque::new(),
            bends: Bends::default(),
            last: None,
            slow: 0,
            integral: Energy::ZERO,
            powers: (None, None),
            mean: (!specification.averaging.is_zero())
                .then(|| MovingMean::new(specification.averaging)),
            unplaced: false,
            hidden: false,
        }
    }

    /// Takes in a reading, and tells whether it showed an update. Readings come in the order of time.
    pub fn push(&mut self, reading: Reading) -> bool {
        let newest = self.edges.back().map(|edge| edge.at);
        match reading.quantity {
            Quantity::Counter(energy) => self.push_counter(reading, energy),
            Quantity::Gauge(power) => self.push_gauge(reading, power),
        }
        newest != self.edges.back().map(|edge| edge.at)
    }

    fn push_counter(&mut self, reading: Reading, energy: Energy) {
        let Some(last) = self.last else {
            self.last = Some(reading);
            // The first value was published at some time in the period before it was read.
            return self.open(reading.before.before(self.period), reading.after, energy);
        };
        let whole = !is_break(reading.incident);
        let newest = self.edges.back().map_or(last.before, |edge| edge.at);
        if last.quantity == reading.quantity && whole {
            self.last = Some(reading);
            self.repeated |= reading.before > last.after;
            self.again += 1;
            self.slower |= reading.before.since(newest) > self.period * 3 / 2;
            return;
        }
        self.again = 0;
        // A reading during which the thread was put aside cannot date its update; the next one can.
        let width = reading.after.since(reading.before);
        if whole && width > self.period / 4 && self.period >= DATABLE && self.slow < 3 {
            self.slow += 1;
            // The value counts from here on: a further change is one after this reading.
            self.last = Some(reading);
            return;
        }
        self.slow = 0;
        // The update happened after the last read that did not show it, and not longer ago than one period. What a driver
        // shows when it comes back from a stall is up to one period old, too, whenever it came back.
        let period = self.update_period();
        let near = reading.before.before(period * 5 / 4).max(newest);
        let from = match self.updates.median() {
            Some(period) if reading.before.since(self.seen.max(newest)) > period * 3 / 2 => near,
            None if self.slower => last.before.max(newest),
            _ => last.before.max(near),
        };
        if let (Quantity::Counter(before), true) = (last.quantity, whole) {
            self.step = Some(self.step.map_or(energy - before, |step| step.min(energy - before)));
        }
        let seen = last.before.max(newest).midpoint(reading.after);
        if self.repeated && whole {
            self.updates.push(seen.since(self.seen));
        }
        self.seen = seen;
        self.last = Some(reading);
        self.edge(from, reading.after, energy, whole);
    }

    fn push_gauge(&mut self, reading: Reading, power: Power) {
        let Some(last) = self.last else {
            self.last = Some(reading);
            self.powers = (None, Some(power));
            if let Some(mean) = &mut self.mean {
                mean.begin(reading.before.midpoint(reading.after), power);
            }
            return self.open(reading.before, reading.after, Energy::ZERO);
        };
        let Quantity::Gauge(before) = last.quantity else { return };
        let newest = self.edges.back().map_or(last.before, |edge| edge.at);
        // A gauge that repeats itself within a period has not been updated: integrate over updates, not over polls.
        let again = before == power && reading.before.since(newest) < self.period;
        if again && !is_break(reading.incident) {
            self.repeated = true;
            return;
        }
        self.last = Some(reading);
        let at = reading.before.midpoint(reading.after);
        let time = at.since(newest);
        let whole = time <= stall(self.period) && !is_break(reading.incident);
        if self.repeated && whole {
            self.updates.push(time);
        }
        match &mut self.mean {
            // Across a gap a mean says nothing of what was before its own window.
            Some(mean) if !whole => mean.begin_again(at, power, before.mean(power) * time),
            Some(mean) => mean.push(at, power),
            None => {
                self.integral += before.mean(power) * time;
                if let (Some(first), true) = (self.powers.0, whole) {
                    let second_difference = (first + power - before - before).as_watts();
                    self.bends.sampled(second_difference * time.as_secs_f64());
                }
                self.powers = (Some(before), Some(power));
            }
        }
        let energy = self.mean.as_ref().map_or(self.integral, MovingMean::energy);
        self.edge(reading.before, reading.after, energy, whole);
    }

    fn open(&mut self, from: Timestamp, to: Timestamp, energy: Energy) {
        let at = from.midpoint(to);
        if let Some((_, origin)) = &mut self.calibration {
            *origin = at;
        }
        let half = to.since(from) / 2;
        self.edges.push_back(Edge { at, half, energy, broken: 0, variance: 0.0, slack: 0.0 });
    }

    fn edge(&mut self, from: Timestamp, to: Timestamp, energy: Energy, whole: bool) {
        let at = from.midpoint(to);
        let Some(&last) = self.edges.back().filter(|last| last.at < at) else { return };
        let half = to.since(from) / 2;
        let mut edge = Edge { at, half, energy, broken: last.broken + u64::from(!whole), ..last };
        let length = at.since(last.at);
        let repeated = std::mem::take(&mut self.repeated);
        if whole {
            self.intervals.push(length);
            let power = (energy - last.energy).over(length).unwrap_or_default();
            self.learn(edge, power);
            let (variance, slack) = self.sampling(power, length.as_secs_f64(), half);
            edge.variance += variance;
            edge.slack += slack;
        }
        // The first value's own update was before the first read. Now that a period has been seen, it can be placed.
        if self.edges.len() == 1 {
            self.unplaced = repeated;
        } else if std::mem::take(&mut self.unplaced) && repeated && edge.broken == 0 {
            let [first, second] = [self.edges[0], self.edges[1]];
            let period = at.since(second.at);
            if second.at.before(period) < first.at && second.at.since(first.at) < period {
                self.edges[0].at = second.at.before(period);
                // It came some jitter sooner or later than that.
                self.edges[0].half = second.half.max(edge.half).max(period / 4);
            }
        }
        self.edges.push_back(edge);
    }

    /// What an interval between two updates adds to the error of a sensor that does not see everything: the variance in
    /// J², and the most it can be, in joules.
    fn sampling(&self, power: Power, length: f64, half: Duration) -> (f64, f64) {
        if let Some(mean) = &self.mean {
            // Each turn of the mean's width adds the error of one interpolation, and of one date.
            let turn = length / mean.width().as_secs_f64();
            let timing = power.as_watts() * half.as_secs_f64();
            let bend = self.bends.at(0.5).unwrap_or(self.reach.bend(power, length / 2.0, length));
            return (turn * (bend * bend + timing * timing / 3.0), 0.0);
        }
        let unseen = if self.gauge { 1.0 } else { self.unseen };
        let most = unseen * self.reach.spread(power) * length;
        let variance = match self.gauge {
            true => self.bends.of_a_sample(),
            false => self.bends.of_an_increment(),
        };
        let variance = variance.filter(|_| !self.hidden);
        let rectangular = most * most / 3.0;
        (variance.map_or(rectangular, |variance| (variance * unseen).min(rectangular)), most)
    }

    /// Holds the edges before against the lines that would be drawn without them.
    fn learn(&mut self, newest: Edge, power: Power) {
        if self.model {
            return;
        }
        let before = |back: usize| {
            self.edges.len().checked_sub(back).and_then(|place| self.edges.get(place)).copied()
        };
        let off = |from: Edge, middle: Edge| {
            let line = from.energy
                + (newest.energy - from.energy)
                    .fraction(middle.at.since(from.at), newest.at.since(from.at));
            (middle.energy - line).as_joules()
        };
        let usual = self.period();
        let (power, quantum) = (power.as_watts(), self.quantum.as_joules());
        // What the edges' own uncertainties make of a straight line; a gap, or an edge that is not dated well, would teach
        // more of itself than of the load.
        let seen = |from: Edge, middle: Edge, doubled: u32| {
            let times = newest.at.since(from.at) <= usual * doubled * 5 / 4;
            let dated = [from, middle, newest].iter().all(|edge| edge.half <= usual / 4);
            let noise =
                [(from, 0.25), (middle, 1.0), (newest, 0.25)].into_iter().map(|(edge, part)| {
                    let timing = power * edge.half.as_secs_f64();
                    part * (timing * timing / 3.0 + quantum * quantum / 12.0)
                });
            (times && dated).then(|| off(from, middle).powi(2) - noise.sum::<f64>())
        };
        let short = before(1).zip(before(2)).and_then(|(middle, from)| seen(from, middle, 2));
        let long = before(2).zip(before(4)).and_then(|(middle, from)| seen(from, middle, 4));
        self.bends.learn(short, long);
    }

    /// The time between two updates as seen: their median, or the nominal period before three have been seen.
    ///
    /// Never shorter than the interval at which the sensor is read.
    pub fn period(&self) -> Duration {
        self.intervals.median().unwrap_or(self.period)
    }

    /// The time between two updates as seen; `None` before three were seen, of which none can have been missed.
    pub fn observed_period(&self) -> Option<Duration> {
        self.updates.median()
    }

    /// The time between two updates as far as no update can have been missed, or the nominal one.
    pub fn update_period(&self) -> Duration {
        self.updates.median().unwrap_or(self.period)
    }

    /// True if a counter was seen again and again with the same value.
    pub(crate) fn is_repeating(&self) -> bool {
        self.again >= 16
    }

    /// The smallest change of a counter that was seen: a multiple of its quantum.
    pub fn smallest_change(&self) -> Option<Energy> {
        self.step
    }

    /// True once the time between two updates is known: from eight of them, or because each of many readings was one.
    pub fn is_period_known(&self) -> bool {
        let (dated, all) = (self.updates.count(), self.intervals.count());
        dated >= 8 || dated == 0 && all == REMEMBERED
    }

    /// The median distance of the times between two updates from [`update_period`](Series::update_period); `None` before
    /// eight were seen.
    pub fn jitter(&self) -> Option<Duration> {
        self.updates.deviation()
    }

    /// The moment of the last update that was seen.
    pub fn updated(&self) -> Option<Timestamp> {
        self.edges.back().map(|edge| edge.at)
    }

    /// The moment up to which the series is settled; `None` until the first interval is.
    pub fn covered(&self) -> Option<Timestamp> {
        if self.edges.len() < 2 || self.unplaced { None } else { self.updated() }
    }

    /// The moment of the last good reading, whether it was an update or not.
    pub fn last_read(&self) -> Option<Timestamp> {
        self.last.map(|reading| reading.after)
    }

    /// The mean power over the last interval between updates.
    pub fn power(&self) -> Option<Power> {
        let newest = self.edges.len().checked_sub(1)?;
        self.power_of(newest)
    }

    /// The mean power over the last seconds, as far as updates are remembered, if that is at least a second.
    ///
    /// That of a single interval of a counter that is updated each millisecond says little.
    pub fn recent_power(&self) -> Option<Power> {
        let (first, last) = (self.edges.front()?, self.edges.back()?);
        let time = last.at.since(first.at);
        (time >= Duration::from_secs(1)).then(|| (last.energy - first.energy).over(time)).flatten()
    }

    /// The mean power over the interval that ends with an edge.
    fn power_of(&self, edge: usize) -> Option<Power> {
        let (from, to) = (self.edges.get(edge.checked_sub(1)?)?, self.edges.get(edge)?);
        (to.energy - from.energy).over(to.at.since(from.at))
    }

    /// Ê at `at`; `None` before the first reading of all.
    ///
    /// The uncertainty is that of a boundary. The course of the power between two updates bends Ê off its line by a
    /// standard deviation b, learned from how far updates lie off the lines between their neighbours, and at most by D;
    /// update times are known to ± h; the counter counts in steps of q: u² = min(b², D²/3) + (P·h)²/3 + q²/12
    /// (rectangular distributions, GUM 4.3.7).
    pub fn at(&self, at: Timestamp) -> Option<Point> {
        self.point(at, true)
    }

    /// Ê at `at`, without anything that no update has shown: what is written down for a sensor that has gone quiet must not
    /// be taken back when it returns.
    pub fn settled_at(&self, at: Timestamp) -> Option<Point> {
        self.point(at, false)
    }

    fn point(&self, at: Timestamp, extrapolate: bool) -> Option<Point> {
        let next = self.edges.partition_point(|edge| edge.at <= at);
        let point = match (next.checked_sub(1).map(|last| self.edges[last]), self.edges.get(next)) {
            (None, None) => return None,
            (None, Some(first)) => Point {
                energy: first.energy,
                uncertainty: 0.0,
                bound: 0.0,
                place: Place::Before,
                power: self.power_of(1).unwrap_or_default(),
                variance: first.variance,
                slack: (first.slack, first.slack),
                broken: (first.broken, first.broken),
            },
            (Some(last), None) => {
                let lag = at.since(last.at);
                let late = self.period().max(self.period).max(self.interval) * 2;
                // After a single update no power is known that could be extrapolated.
                let (place, power) = match self.power() {
                    Some(power) if lag <= late && extrapolate => (Place::After, power),
                    _ => (Place::Beyond, Power::ZERO),
                };
                let bend = self.reach.spread(power) * lag.as_secs_f64();
                let (uncertainty, bound) =
                    self.boundary(bend / 3_f64.sqrt(), bend, power, last.half);
                Point {
                    energy: last.energy + power * lag,
                    uncertainty,
                    bound,
                    place,
                    power,
                    variance: last.variance,
                    slack: (last.slack, last.slack),
                    broken: (last.broken, last.broken),
                }
            }
            (Some(from), Some(to)) => {
                let (length, ahead) = (to.at.since(from.at), at.since(from.at));
                let gained = to.energy - from.energy;
                let power = gained.over(length).unwrap_or_default();
                let part = ahead.as_secs_f64() / length.as_secs_f64();
                let (deviation, bend) = self.bend(next, power, part, length.as_secs_f64());
                let (uncertainty, bound) =
                    self.boundary(deviation, bend, power, from.half.max(to.half));
                Point {
                    energy: from.energy + gained.fraction(ahead, length),
                    uncertainty,
                    bound,
                    place: Place::Between,
                    power,
                    variance: from.variance + part * (to.variance - from.variance),
                    // What is not looked at may be all before, or all after.
                    slack: (from.slack, if at > from.at { to.slack } else { from.slack }),
                    broken: (from.broken, to.broken),
                }
            }
        };
        // Nothing is added for a sensor that is gone.
        let until = if point.place == Place::Beyond { self.updated() } else { None };
        Some(self.calibrated(point, until.unwrap_or(at)))
    }

    /// The energy between two moments; `None` where nothing is known about either.
    pub fn between(&self, start: Timestamp, end: Timestamp) -> Option<Span> {
        let reach = self.reach_calibrated;
        Some(Span::new(self.at(start)?, self.at(end)?, end.since(start), reach))
    }

    /// The intervals between updates from `after` to `until`, with the energy of each; `None` for one within which something
    /// happened that the readings do not tell.
    pub(crate) fn increments(
        &self,
        after: Timestamp,
        until: Timestamp,
    ) -> Vec<(Timestamp, Timestamp, Option<Energy>)> {
        let first = self.edges.partition_point(|edge| edge.at < after);
        let edges = self.edges.range(first..).take_while(|edge| edge.at <= until);
        edges
            .clone()
            .zip(edges.skip(1))
            .map(|(from, to)| {
                let energy = (from.broken == to.broken).then_some(to.energy - from.energy);
                (from.at, to.at, energy)
            })
            .collect()
    }

    /// Says whether the load repeats itself about as often as the sensor is updated, so that updates cannot tell what it
    /// does in between.
    pub fn set_hidden(&mut self, hidden: bool) {
        self.hidden = hidden;
    }

    /// Forgets edges that no moment from `moment` on needs.
    pub fn forget(&mut self, moment: Timestamp) {
        let keep = self.edges.partition_point(|edge| edge.at <= moment);
        // Five more stay: one before the moment, and those against which the next updates are held.
        for _ in 5..keep {
            self.edges.pop_front();
        }
    }

    /// The standard deviation of the true energy from the line, and the most it can be, `part` of the way into the
    /// interval of `length` that ends with the edge `to`.
    fn bend(&self, to: usize, power: Power, part: f64, length: f64) -> (f64, f64) {
        if self.model {
            return (0.0, 0.0); // A model's error is in its gain; between its readings it claims nothing else.
        }
        let most = self.reach.bend(power, part * length, length);
        let typical = self.period().as_secs_f64();
        // What was learned holds for intervals as they usually are, not for gaps.
        let learned =
            (length <= 2.0 * typical && !self.hidden).then(|| self.bends.at(part)).flatten();
        let rectangular = most / 3_f64.sqrt();
        let Some(learned) = learned else { return (rectangular, most) };
        if let Some(mean) = &self.mean {
            // What the power did in the first turn, before any reading, comes back in every turn.
            let turn = mean.width().as_secs_f64();
            let first =
                self.bends.over(turn / typical).min(self.reach.bend(power, turn / 2.0, turn));
            let reach = turn * (self.reach.most - self.reach.least).as_watts();
            return (learned.hypot(first), most + reach);
        }
        // A jump of the power within the interval is no part of what is usual, and shows in the neighbours.
        let jump = match (self.power_of(to - 1), self.power_of(to + 1)) {
            (Some(before), Some(after)) => bend::of_a_jump(before, power, after, part, length),
            _ => 0.0,
        };
        let jump = if jump > 3.0 * learned { jump } else { 0.0 };
        (learned.hypot(jump / 3_f64.sqrt()).min(rectangular), most)
    }

    fn boundary(&self, deviation: f64, bend: f64, power: Power, half: Duration) -> (f64, f64) {
        let timing = power.as_watts() * half.as_secs_f64();
        let quantum = self.quantum.as_joules();
        let uncertainty =
            (deviation * deviation + timing * timing / 3.0 + quantum * quantum / 12.0).sqrt();
        // At the edge's worst place the power is the highest, not the mean.
        let slack = self.reach.most.max(power).as_watts() * half.as_secs_f64();
        (uncertainty, bend + slack + quantum)
    }

    /// The point with the sensor's gain and offset put right, E′ = a·E + b·t.
    fn calibrated(&self, point: Point, at: Timestamp) -> Point {
        let Some((calibration, origin)) = &self.calibration else { return point };
        let gain = calibration.gain;
        Point {
            energy: calibration.correct(point.energy, at.since(*origin)),
            uncertainty: gain * point.uncertainty,
            bound: gain * point.bound,
            power: point.power * gain + calibration.offset,
            variance: gain * gain * point.variance,
            slack: (gain * point.slack.0, gain * point.slack.1),
            ..point
        }
    }
}

/// True if something happened to the counter that the readings around it do not tell.
fn is_break(incident: Option<Incident>) -> bool {
    matches!(incident, Some(Incident::Reset | Incident::Ambiguous | Incident::Suspend))
}

/// Updates closer together than this are not worth dating by quick readings alone.
const DATABLE: Duration = Duration::from_millis(10);

/// After this long without a change a counter is taken to stand still, and a gap in a gauge's samples to hide something.
pub(crate) fn stall(period: Duration) -> Duration {
    (period * 10).max(Duration::from_secs(1))
}
