//! The windows of one lane: which are open within which, and the lines of those that closed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rtrb::Consumer;

use super::Recording;
use crate::attribution::{Attribution, Boundary};
use crate::cpu_time::CpuTime;
use crate::mark::{Mark, Opens, What};
use crate::record::{Kind, Record, Status};
use crate::series::stall;
use crate::units::{Energy, Timestamp};

/// One lane, as the recorder sees it.
pub(super) struct Branch {
    pub(super) lane: u32,
    pub(super) ring: Consumer<u64>,
    /// Marks that wait to be settled.
    pub(super) queue: VecDeque<Mark>,
    /// The last settled mark's time.
    pub(super) reached: Timestamp,
    /// Open windows, the innermost last.
    open: Vec<Open>,
    /// Closed windows in their order, of which the first may still wait for its quality.
    closed: VecDeque<Closed>,
    /// Steps so far, over all sessions.
    steps: u64,
    /// The last tick.
    ticked: Option<Boundary>,
    /// The row of steps that the last one belongs to; it goes on over epochs.
    block: Option<Block>,
    /// What the written lines of steps carry, for the epoch that they add to.
    carried: BTreeMap<u64, Energy>,
}

struct Open {
    id: u64,
    kind: Kind,
    /// The step's number.
    step: Option<u64>,
    /// The epoch's number; on a step or phase, that of the epoch whose sum it is part of.
    epoch: Option<u64>,
    /// The phase's name; on a step, that of the phase that it is part of.
    phase: Option<String>,
    /// The window that it was opened in.
    parent: Option<u64>,
    start: Boundary,
    /// The CPU times there, where a process share is wanted.
    cpu_time: Option<CpuTime>,
    steps: u64,
    phase_energy: Option<Energy>,
    samples: u64,
    tokens: u64,
    metrics: BTreeMap<String, f64>,
}

/// A row of steps that follow each other without a longer break than a sensor's period.
#[derive(Clone, Copy)]
struct Block {
    start: Timestamp,
    end: Timestamp,
}

struct Closed {
    record: Record,
    /// While the window's quality depends on how long its block gets: what it was made from.
    undecided: Option<(Attribution, Vec<Energy>)>,
}

/// A block of steps is resolved where it is this many times longer than the sensor's period: its energy is then known to
/// 2 %, by 0.41 / 20 for a plain difference, and better by interpolation.
const BLOCK: u32 = 20;

/// Steps that wait for their block to get long enough.
const UNDECIDED: usize = 65_536;

impl Branch {
    pub(super) fn new(lane: u32, ring: Consumer<u64>, steps: u64) -> Self {
        Branch {
            lane,
            ring,
            queue: VecDeque::new(),
            reached: Timestamp::default(),
            open: Vec::new(),
            closed: VecDeque::new(),
            steps,
            ticked: None,
            block: None,
            carried: BTreeMap::new(),
        }
    }

    /// The device told when it passed a boundary: the mark waits no longer.
    pub(super) fn passed(&mut self, boundary: u64, at: Timestamp) {
        let waits = |mark: &&mut Mark| {
            mark.deferred.is_some_and(|number| u64::from(number.get()) == boundary)
        };
        if let Some(mark) = self.queue.iter_mut().find(waits) {
            // The device cannot be ahead of the host that asked.
            mark.at = mark.at.max(at);
            mark.deferred = None;
        }
    }

    /// Applies a settled mark to the tree.
    pub(super) fn apply(
        &mut self,
        recording: &mut Recording,
        mark: Mark,
        boundary: Option<Boundary>,
    ) {
        if let Some(boundary) = &boundary {
            recording.activities.did(self.activity(), self.lane, boundary.at);
        }
        match (mark.what, boundary) {
            (What::Open { id, opens }, Some(at)) => self.open(recording, id, opens, at),
            (What::Close { id, status, waited }, Some(at)) => {
                self.close(recording, id, status, waited, &at);
            }
            (What::NextStep { closes, waited, id }, Some(at)) => {
                // If its opening did not fit in the ring, the step before it was never closed: it ends here.
                let closes =
                    match self.open.iter().rfind(|window| window.id == closes).or(self.open.last())
                    {
                        Some(last) if last.kind == Kind::Step => last.id,
                        _ => closes,
                    };
                self.close(recording, closes, Status::Complete, waited, &at);
                self.open_step(id, at);
            }
            (What::NextEpoch { closes, id, number }, Some(at)) => {
                // Likewise: an epoch is followed by an epoch, not nested in one that was never closed.
                let known = self.open.iter().any(|window| window.id == closes);
                let last = self.open.iter().rfind(|window| window.kind == Kind::Epoch);
                let closes = last.filter(|_| !known).map_or(closes, |last| last.id);
                self.close(recording, closes, Status::Complete, 0, &at);
                self.open(recording, id, Opens::Epoch(number), at);
            }
            (What::Tick { id }, Some(at)) => self.tick(recording, id, at),
            (What::Metric { name, value }, _) => {
                let name = recording.run.course.name(name).to_string();
                match self.open.last_mut() {
                    Some(window) => window.metrics.insert(name, value),
                    None => recording.metrics.insert(name, value),
                };
            }
            (What::Amount { samples, tokens }, _) => match self.open.last_mut() {
                Some(window) => {
                    window.samples += samples;
                    window.tokens += tokens;
                }
                None => {
                    recording.samples += samples;
                    recording.tokens += tokens;
                }
            },
            (What::Cancel { id }, _) => self.cancel(id),
            (What::Passed { .. }, _) | (_, None) => {}
        }
    }

    /// What the program is doing, as far as its windows tell.
    fn activity(&self) -> &str {
        match self.open.last() {
            Some(Open { phase: Some(phase), .. }) => phase,
            Some(Open { kind: Kind::Step, .. }) => "step",
            _ => "other",
        }
    }

    fn open(&mut self, recording: &Recording, id: u64, opens: Opens, start: Boundary) {
        let mut window = match opens {
            Opens::Step => return self.open_step(id, start),
            Opens::Epoch(number) => {
                Open { epoch: Some(number), ..Open::new(id, Kind::Epoch, start) }
            }
            Opens::Phase(name) => {
                let epoch = self.open.iter().rev().find(|window| window.kind == Kind::Epoch);
                let epoch = epoch.and_then(|epoch| epoch.epoch);
                let phase = Some(recording.run.course.name(name).to_string());
                Open { epoch, phase, ..Open::new(id, Kind::Phase, start) }
            }
        };
        window.parent = self.open.last().map(|around| around.id);
        window.cpu_time = recording.scope.at(window.start.at);
        self.open.push(window);
    }

    fn open_step(&mut self, id: u64, start: Boundary) {
        self.steps += 1;
        let mut step = Open { step: Some(self.steps), ..Open::new(id, Kind::Step, start) };
        if let Some(around) = self.open.last() {
            step.parent = Some(around.id);
            match around.kind {
                Kind::Epoch => step.epoch = around.epoch,
                Kind::Phase => step.phase.clone_from(&around.phase),
                Kind::Step | Kind::End => {}
            }
        }
        self.open.push(step);
    }

    fn cancel(&mut self, id: u64) {
        if let Some(place) = self.open.iter().rposition(|window| window.id == id)
            && self.open.remove(place).kind == Kind::Step
        {
            self.steps -= 1;
        }
    }

    fn tick(&mut self, recording: &mut Recording, id: u64, at: Boundary) {
        let around = self.open.last().map_or(&recording.origin, |window| &window.start);
        let start = match &self.ticked {
            Some(ticked) if ticked.at >= around.at => ticked.clone(),
            _ => around.clone(),
        };
        self.open_step(id, start);
        self.close(recording, id, Status::Complete, 0, &at);
        self.ticked = Some(at);
    }

    /// Closes a window. Steps and epochs close what is still open within them; phases may overlap.
    fn close(
        &mut self,
        recording: &mut Recording,
        id: u64,
        status: Status,
        waited: u64,
        at: &Boundary,
    ) {
        let Some(place) = self.open.iter().rposition(|window| window.id == id) else { return };
        for inner in (place + 1..self.open.len()).rev() {
            let kind = self.open[inner].kind;
            let within = match self.open[place].kind {
                Kind::Epoch | Kind::End => true,
                Kind::Step => kind != Kind::Epoch,
                Kind::Phase => kind == Kind::Step,
            };
            if within {
                self.close_at(recording, inner, Status::Orphaned, 0, at);
            }
        }
        self.close_at(recording, place, status, waited, at);
    }

    /// Closes what the program left open when the run ended.
    pub(super) fn close_all(&mut self, recording: &mut Recording, at: &Boundary) {
        for place in (0..self.open.len()).rev() {
            self.close_at(recording, place, Status::Orphaned, 0, at);
        }
        self.decide(recording);
    }

    fn close_at(
        &mut self,
        recording: &mut Recording,
        place: usize,
        status: Status,
        waited: u64,
        at: &Boundary,
    ) {
        let window = self.open.remove(place);
        let (mut record, attribution) = recording.record(window.kind, &window.start, at);
        record.lane = self.lane;
        record.id = window.id;
        record.parent = window.parent;
        record.epoch = window.epoch;
        record.step = window.step;
        record.phase = window.phase;
        record.status = status;
        record.data = (waited > 0).then(|| Duration::from_nanos(waited));
        record.samples = (window.samples > 0).then_some(window.samples);
        record.tokens = (window.tokens > 0).then_some(window.tokens);
        record.steps = (window.kind == Kind::Epoch).then_some(window.steps);
        record.phases = window.phase_energy;
        record.metrics = window.metrics;
        match self.open.iter_mut().rev().find(|around| Some(around.id) == window.parent) {
            Some(around) => {
                around.samples += window.samples;
                around.tokens += window.tokens;
                match window.kind {
                    Kind::Step => around.steps += 1,
                    Kind::Phase => {
                        *around.phase_energy.get_or_insert_default() +=
                            attribution.energy(&recording.sensors);
                    }
                    Kind::Epoch | Kind::End => {}
                }
            }
            None => {
                recording.samples += window.samples;
                recording.tokens += window.tokens;
            }
        }
        if window.kind == Kind::Step {
            self.close_step(recording, record, attribution, at);
        } else {
            self.close_whole(record, attribution, window.cpu_time, recording, at);
        }
    }

    /// An epoch or a phase: too short to be resolved by itself, it is a block of its own.
    fn close_whole(
        &mut self,
        mut record: Record,
        mut attribution: Attribution,
        opened: Option<CpuTime>,
        recording: &mut Recording,
        at: &Boundary,
    ) {
        let periods = recording.periods();
        if attribution.unresolved().next().is_some() {
            record.intervals = Some(attribution.intervals(&periods));
            // With at least one update within it, its share by time says more than nothing, and the uncertainty how little.
            let duration = record.duration;
            attribution.amortise(|sensor| duration >= periods[sensor]);
            set_estimate(&mut record, &attribution, recording, &recording.totals(at));
        }
        recording.set_scope(&mut record, opened);
        recording.announce(&record);
        self.closed.push_back(Closed { record, undecided: None });
    }

    fn close_step(
        &mut self,
        recording: &mut Recording,
        record: Record,
        attribution: Attribution,
        at: &Boundary,
    ) {
        let unresolved: Vec<_> = attribution.unresolved().collect();
        let periods = recording.periods();
        let slowest = unresolved.iter().map(|sensor| periods[*sensor]).max();
        let gap = slowest.or_else(|| periods.iter().copied().max()).unwrap_or_default();
        let block = match self.block {
            Some(block) if record.start.since(block.end) <= gap => {
                Block { start: block.start, end: record.end }
            }
            _ => {
                self.decide(recording);
                Block { start: record.start, end: record.end }
            }
        };
        self.block = Some(block);
        recording.keep_rhythm(&record);
        let undecided = slowest.map(|_| (attribution, recording.totals(at)));
        self.closed.push_back(Closed { record, undecided });
        let waits = self.closed.front().is_some_and(|closed| closed.undecided.is_some());
        if waits && (block.end.since(block.start) >= gap * BLOCK || self.closed.len() > UNDECIDED) {
            self.decide(recording);
        }
    }

    /// Decides on a row of steps that nothing has followed for so long that nothing can.
    pub(super) fn decide_if_over(&mut self, recording: &Recording, now: Timestamp) {
        let slowest = recording.periods().into_iter().max().unwrap_or_default();
        let over = self.block.is_some_and(|block| now.since(block.end) > stall(slowest) * 3);
        let stepping = self.open.iter().any(|window| window.kind == Kind::Step);
        if over && !stepping && self.queue.is_empty() {
            self.decide(recording);
            self.block = None;
        }
    }

    /// Settles the quality of the steps that wait for it: sensor by sensor, amortised if the row of steps is long enough
    /// for the sensor's period, else unresolved. They are the newest; whatever came before them is decided.
    fn decide(&mut self, recording: &Recording) {
        let periods = recording.periods();
        let block = self.block.map_or(Duration::ZERO, |block| block.end.since(block.start));
        for closed in self.closed.iter_mut().rev() {
            match closed.undecided.take() {
                Some((mut attribution, totals)) => {
                    closed.record.intervals = Some(attribution.intervals(&periods));
                    attribution.amortise(|sensor| block >= periods[sensor] * BLOCK);
                    set_estimate(&mut closed.record, &attribution, recording, &totals);
                }
                None if closed.record.intervals.is_some() && closed.record.kind == Kind::Step => {
                    break;
                }
                None => {}
            }
        }
    }

    /// Writes the lines whose quality is known, in their order.
    pub(super) fn write(&mut self, recording: &mut Recording) {
        while let Some(Closed { mut record, .. }) =
            self.closed.pop_front_if(|closed| closed.undecided.is_none())
        {
            let steps = self.carried.remove(&record.id).unwrap_or_default();
            if record.kind == Kind::Epoch {
                record.remainder = record.energy.map(|energy| energy - steps);
            }
            let carries = record.energy.zip(record.parent).filter(|_| record.kind == Kind::Step);
            // A step without a line adds to its epoch's remainder.
            if recording.publish(record)
                && let Some((energy, parent)) = carries
            {
                *self.carried.entry(parent).or_default() += energy;
            }
        }
    }
}

pub(super) fn set_estimate(
    record: &mut Record,
    attribution: &Attribution,
    recording: &Recording,
    totals: &[Energy],
) {
    let (estimate, domains) = attribution.estimates(&recording.sensors, totals);
    record.energy = estimate.energy;
    record.uncertainty = estimate.uncertainty;
    record.quality = estimate.quality;
    record.domains = domains;
}

impl Open {
    fn new(id: u64, kind: Kind, start: Boundary) -> Self {
        Open {
            id,
            kind,
            step: None,
            epoch: None,
            phase: None,
            parent: None,
            start,
            cpu_time: None,
            steps: 0,
            phase_energy: None,
            samples: 0,
            tokens: 0,
            metrics: BTreeMap::new(),
        }
    }
}
