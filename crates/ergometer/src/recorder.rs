//! The thread that settles windows and writes the log.
//!
//! It drains the lanes' rings, waits until every series covers a boundary, takes Ê there, and keeps the tree of open
//! windows, so that a window's energy is known the moment its last boundary is settled.

mod activities;
mod beginning;
mod ending;
mod events;
mod expense;
mod late;
mod outbox;
mod rhythm;
mod scope;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::attribution::Boundary;
use crate::channel::Channel;
use crate::error::Result;
use crate::lane::Course;
use crate::log::{Journal, Past};
use crate::mark::{Mark, What};
use crate::observer::{Observer, Observers, Remark, Verdict};
use crate::record::{Event, Kind, Manifest, Record, Status};
use crate::sensor::Specification;
use crate::series::stall;
use crate::summary::{EpochSum, PhaseSum, Summary};
use crate::units::{Energy, Timestamp};
use activities::Activities;
use expense::Expense;
use late::Late;
use rhythm::Rhythm;
use scope::Scope;
use tree::Branch;

pub(crate) use outbox::{Outbox, Published};

/// A run's recorder, before and while it runs on its thread.
pub(crate) struct Recorder {
    pub(crate) serial: u64,
    pub(crate) course: Arc<Course>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) channels: Vec<Arc<Channel>>,
    pub(crate) journal: Journal,
    pub(crate) manifest: Manifest,
    pub(crate) rank: u32,
    pub(crate) start: Timestamp,
    pub(crate) past: Past,
    pub(crate) observers: Observers,
    pub(crate) procfs: Option<PathBuf>,
}

/// How often the recorder looks at the rings, unless one fills up.
const ROUND: Duration = Duration::from_millis(20);

/// The least time between two looks.
const LEAST_REST: Duration = Duration::from_millis(1);

/// Marks taken over from a ring and not settled yet; beyond that they stay in the ring.
const QUEUE: usize = 32_768;

/// The longest that the end of a run waits for the last update of its slowest sensor.
const LAST_EDGE: Duration = Duration::from_secs(1);

/// A process that is killed loses at most this much of a long window.
const PROGRESS: Duration = Duration::from_secs(30);

impl Recorder {
    /// Notes how things stand at the run's start; what this gives settles and writes until the run is finished, on a
    /// thread of its own.
    pub(crate) fn begin(self) -> impl FnOnce() + Send + 'static {
        let course = Arc::clone(&self.course);
        let outbox = Arc::clone(&self.outbox);
        let (channels, serial) = (self.channels.clone(), self.serial);
        let recording = Recording::new(self);
        move || {
            let result = recording.run();
            for channel in &channels {
                channel.told().horizons.remove(&serial);
            }
            course.finished.store(true, Ordering::Release);
            outbox.close(result);
        }
    }

    fn session(&self) -> u32 {
        self.past.sessions
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("run", &self.manifest.run_id).finish_non_exhaustive()
    }
}

/// The recorder at work.
struct Recording {
    run: Recorder,
    sensors: Vec<Specification>,
    branches: Vec<Branch>,
    /// The run's start.
    origin: Boundary,
    /// How far each channel's happenings have been written.
    seen: Vec<usize>,
    epochs: EpochSum,
    phases: BTreeMap<String, PhaseSum>,
    events: BTreeMap<(String, Option<String>), u64>,
    /// Metrics noted while no window was open.
    metrics: BTreeMap<String, f64>,
    /// Metrics of epochs whose lines are not there yet.
    late: Vec<Late>,
    samples: u64,
    tokens: u64,
    steps: u64,
    overflows: u64,
    /// What the meter had cost when the run began.
    expense: Expense,
    rhythm: Rhythm,
    /// The sensors that the run was warned of because they beat with its steps.
    warned: BTreeSet<usize>,
    activities: Activities,
    scope: Scope,
    progress: Timestamp,
    /// The run's energy when it was last looked at, and when the recorder is to look again for it.
    looked: (Timestamp, Energy),
    due: Option<Timestamp>,
    finish: Option<(Timestamp, Status)>,
}

impl Recording {
    fn new(run: Recorder) -> Self {
        let sensors = run.channels.iter().map(|channel| channel.specification.clone()).collect();
        let seen = run.channels.iter().map(|channel| channel.told().happened()).collect();
        let epochs = run.past.epochs.clone();
        let share = run.manifest.methods.process.is_some();
        let scope = Scope::new(run.procfs.as_deref(), share, run.start);
        Recording {
            sensors,
            branches: Vec::new(),
            origin: Boundary::new(run.start, run.channels.iter().map(|_| None)),
            seen,
            epochs,
            phases: BTreeMap::new(),
            events: BTreeMap::new(),
            metrics: BTreeMap::new(),
            late: Vec::new(),
            samples: 0,
            tokens: 0,
            steps: run.past.step_count,
            overflows: 0,
            expense: Expense::of(&run.channels),
            rhythm: Rhythm::default(),
            warned: BTreeSet::new(),
            activities: Activities::default(),
            scope,
            progress: run.start,
            looked: (run.start, run.past.total),
            due: None,
            finish: None,
            run,
        }
    }

    fn run(mut self) -> Result<Summary> {
        self.begin();
        let mut begun = false;
        loop {
            self.finish = self.finish.or(self.run.outbox.lock().finish);
            self.drain();
            let now = self.run.course.clock.now();
            if !begun && self.is_settled(self.run.start, now) {
                begun = true;
                self.origin = self.boundary(self.run.start);
                self.run.outbox.lock().origin = Some(self.origin.clone());
            }
            self.look_after_sensors(now);
            let mut idle = begun;
            if begun {
                idle = self.settle(now);
                self.activities.take_in(&self.run.channels);
                self.watch(now);
            }
            self.look_around(now, false);
            self.note_happenings();
            self.note_late(now, false);
            self.run.journal.flush(now, false);
            self.keep_horizon(now, begun);
            if let Some((end, status)) = self.finish
                && idle
                && self.is_settled(end, now)
            {
                return self.end(end, status);
            }
            // Towards the end, nothing is gained by resting long.
            let round = if self.finish.is_some() { ROUND / 10 } else { ROUND };
            let until = self.due.map_or(now + round, |due| due.min(now + round));
            self.run.course.clock.rest(&self.run.course.alarm, until);
        }
    }

    fn drain(&mut self) {
        for ring in self.run.course.new_rings() {
            let lane = u32::try_from(self.branches.len()).unwrap_or(u32::MAX);
            let steps = self.run.past.steps.get(&lane).copied().unwrap_or(0);
            self.branches.push(Branch::new(lane, ring, steps));
        }
        let origin = self.run.course.origin;
        let limit = if self.finish.is_some() { usize::MAX } else { QUEUE };
        let mut timed = self.finish.is_some_and(|(end, _)| !self.scope.has_read(end));
        for branch in &mut self.branches {
            while branch.queue.len() < limit
                && let Some(mark) = Mark::read(&mut branch.ring, origin)
            {
                timed |= self.scope.wants(branch.lane, mark);
                match mark.what {
                    What::Passed { boundary } => branch.passed(boundary, mark.at),
                    _ => branch.queue.push_back(mark),
                }
            }
        }
        if timed {
            self.scope.read(self.run.course.clock.now());
        }
    }

    /// Settles what can be settled; true if nothing is left to do.
    fn settle(&mut self, now: Timestamp) -> bool {
        let mut idle = true;
        let mut branches = std::mem::take(&mut self.branches);
        for branch in &mut branches {
            while let Some(&mark) = branch.queue.front() {
                // A mark without a time of its own belongs where it stands among the others.
                let timeless = matches!(
                    mark.what,
                    What::Metric { .. } | What::Amount { .. } | What::Cancel { .. }
                );
                // The device's time, or the host's if the device has not told it in time.
                if mark.deferred.is_some()
                    && self.finish.is_none()
                    && now.since(mark.at) < stall(Duration::ZERO) * 5
                {
                    break;
                }
                // A device that is behind its host can pass a boundary after the host has set the next one.
                let at = mark.at.max(branch.reached);
                if !timeless && !self.is_settled(at, now) {
                    break;
                }
                branch.queue.pop_front();
                branch.reached = at;
                let boundary = if timeless { None } else { Some(self.settled_boundary(at)) };
                branch.apply(self, mark, boundary);
            }
            branch.decide_if_over(self, now);
            branch.write(self);
            idle &= branch.queue.is_empty();
        }
        self.branches = branches;
        idle
    }

    /// True if no sensor that is alive will still change Ê at `at`.
    fn is_settled(&self, at: Timestamp, now: Timestamp) -> bool {
        let given_up = self.finish.is_some_and(|(end, _)| now.since(end) >= self.last_wait());
        given_up
            || self.run.channels.iter().all(|channel| {
                let told = channel.told();
                let late = stall(told.series.period());
                told.series.covered().is_some_and(|covered| covered >= at)
                    || told.series.last_read().is_none_or(|read| now.since(read) > late)
                        && now.since(at) > late
                    || now.since(at) > late * 2
            })
    }

    /// How long the end of the run waits for its last update.
    fn last_wait(&self) -> Duration {
        let slowest = self.run.channels.iter().map(|channel| {
            channel.told().series.period().max(channel.specification.period)
                + channel.specification.interval * 3 / 2
        });
        slowest.max().unwrap_or_default().min(LAST_EDGE)
    }

    /// A boundary whose windows are written down.
    fn settled_boundary(&self, at: Timestamp) -> Boundary {
        let points = self.run.channels.iter().map(|channel| {
            let told = channel.told();
            // At the end nothing comes after that could take an extrapolation back, if the sensor is up to date there.
            let end = self.finish.and_then(|(end, _)| told.series.at(end));
            match end.is_some_and(|end| end.is_covered()) && !told.is_lost() {
                true => told.series.at(at),
                false => told.series.settled_at(at),
            }
        });
        Boundary::new(at, points)
    }

    fn boundary(&self, at: Timestamp) -> Boundary {
        Boundary::new(at, self.run.channels.iter().map(|channel| channel.told().series.at(at)))
    }

    /// The sensors' observed periods.
    fn periods(&self) -> Vec<Duration> {
        let period = |channel: &Arc<Channel>| {
            channel.told().series.period().max(channel.specification.interval)
        };
        self.run.channels.iter().map(period).collect()
    }

    /// The run's cumulative energy at a boundary.
    fn total(&self, at: &Boundary) -> Energy {
        self.run.past.total + at.energy(&self.sensors) - self.origin.energy(&self.sensors)
    }

    /// Each sensor's cumulative energy over the run.
    fn totals(&self, at: &Boundary) -> Vec<Energy> {
        let sensors = self.sensors.iter().enumerate();
        sensors
            .map(|(sensor, specification)| {
                let past = self
                    .run
                    .past
                    .domains
                    .get(&specification.domain.id)
                    .copied()
                    .unwrap_or_default();
                past + at.energy_of(sensor) - self.origin.energy_of(sensor)
            })
            .collect()
    }

    /// A window's record, as far as its boundaries tell.
    fn record(
        &self,
        kind: Kind,
        start: &Boundary,
        end: &Boundary,
    ) -> (Record, crate::attribution::Attribution) {
        let attribution = start.to(end, &self.sensors);
        let (estimate, domains) = attribution.estimates(&self.sensors, &self.totals(end));
        let record = Record {
            kind,
            run_id: self.run.manifest.run_id.clone(),
            rank: self.run.rank,
            host: self.run.manifest.machine.host.clone(),
            session: self.run.session(),
            lane: 0,
            id: 0,
            parent: None,
            epoch: None,
            step: None,
            phase: None,
            start: start.at,
            end: end.at,
            duration: end.at.since(start.at),
            energy: estimate.energy,
            uncertainty: estimate.uncertainty,
            quality: estimate.quality,
            domains,
            total: self.total(end),
            samples: None,
            tokens: None,
            steps: None,
            epochs: None,
            remainder: None,
            phases: None,
            data: None,
            intervals: None,
            metrics: BTreeMap::new(),
            status: Status::Complete,
            reason: None,
            net: None,
            net_uncertainty: None,
            process: None,
            activities: Vec::new(),
            cost: None,
        };
        (record, attribution)
    }

    /// Tells the program of an epoch or a phase, which is settled before the quality of its steps may be.
    fn announce(&self, record: &Record) {
        self.run.outbox.tell(record.clone());
    }

    /// Writes a window's line.
    fn publish(&mut self, record: Record) -> bool {
        let kept = self.run.journal.append(&record, record.kind == Kind::Step);
        self.tell(record.end, |observer| observer.settled(&record));
        match record.kind {
            Kind::Epoch => self.epochs.add(record),
            Kind::Phase => self
                .phases
                .entry(record.phase.clone().unwrap_or_default())
                .or_default()
                .add(&record),
            Kind::End => {}
            Kind::Step => {
                self.steps += 1;
                self.run.outbox.tell(record);
            }
        }
        kept
    }

    /// Looks at the energy so far: budgets, and a line of progress now and then.
    fn watch(&mut self, now: Timestamp) {
        // What is used while the run's last window settles is not the run's.
        let now = self.finish.map_or(now, |(end, _)| end.min(now));
        let boundary = self.boundary(now);
        // A sensor that comes late counts from its first reading.
        if let Some(origin) = self.origin.completed(&self.boundary(self.run.start)) {
            self.run.outbox.lock().origin = Some(origin.clone());
            self.origin = origin;
        }
        let total = self.total(&boundary);
        self.tell(now, |observer| observer.used(total, now));
        self.due = self.expect(now, total);
        self.take_plan();
        if now.since(self.progress) >= PROGRESS {
            self.progress = now;
            let ids = self.sensors.iter().map(|specification| specification.domain.id.clone());
            let domains = ids.zip(self.totals(&boundary)).collect();
            // What a resumed run takes over if this process is killed: not worth a line in a table.
            let event = self.event(now, "progress");
            self.run.journal.append(&Event { total: Some(total), domains, ..event }, false);
        }
        let overflows = self.run.course.overflows.load(Ordering::Relaxed);
        if overflows > self.overflows {
            let detail = format!(
                "{} boundaries came faster than they could be recorded; their energy is in the windows around",
                overflows - self.overflows
            );
            self.overflows = overflows;
            let event = self.event(now, "overflow");
            self.note(Event { detail: Some(detail), ..event });
        }
        if let Some(fault) = self.run.course.take_fence_fault() {
            let event = self.event(now, "fence-failed");
            self.note(Event { detail: Some(fault), ..event });
        }
    }

    /// Tells the observers something, and does what they ask for.
    fn tell(&mut self, now: Timestamp, tell: impl FnMut(&mut dyn Observer) -> Verdict) {
        for (name, remark) in self.run.observers.tell(tell) {
            let detail = match remark {
                Remark::Warning(text) => text,
                Remark::Lost(who) => events::lost(&who),
                Remark::Stop(reason) => {
                    self.ask_to_stop(&reason);
                    reason
                }
            };
            let total = Some(self.total(&self.boundary(now)));
            let event = self.event(now, &name);
            self.note(Event { detail: Some(detail), total, ..event });
        }
    }

    /// When the energy that an observer awaits will be used, at the mean power since the last look.
    fn expect(&mut self, now: Timestamp, total: Energy) -> Option<Timestamp> {
        let (then, before) = std::mem::replace(&mut self.looked, (now, total));
        let left = self.run.observers.awaited(total)? - total;
        let turns = left.as_joules() / (total - before).as_joules();
        let time = Duration::try_from_secs_f64(now.since(then).as_secs_f64() * turns).ok()?;
        // Looking in the very moment could find it just not used yet, over and over.
        Some(now + time.max(LEAST_REST))
    }

    /// Asks the loops to end, unless the program ended the run before or was asked already.
    fn ask_to_stop(&mut self, reason: &str) {
        let mut told = self.run.outbox.lock();
        if told.finish.is_none() && told.reason.is_none() {
            // The reason first: a loop that sees that it is to stop asks why at once.
            told.reason = Some(reason.to_owned());
            self.run.course.stopped.store(true, Ordering::Release);
        }
    }

    /// Notes in the manifest how many epochs the program means to train, once it is known.
    fn take_plan(&mut self) {
        let planned = self.run.course.planned.load(Ordering::Relaxed);
        if planned == 0 {
            return;
        }
        let planned = Some(self.run.past.completed + planned);
        if self.run.manifest.planned_epochs != planned {
            self.run.manifest.planned_epochs = planned;
            self.run.journal.write_manifest(&self.run.manifest);
        }
    }

    /// Notices drivers that hang, and counters that the power beside them contradicts.
    fn look_after_sensors(&mut self, now: Timestamp) {
        for (sensor, channel) in self.sensors.iter_mut().zip(&self.run.channels) {
            let mut told = channel.told();
            let specification = &channel.specification;
            told.check_heartbeat(now);
            // What was in doubt once may have been wrong all the time.
            sensor.gain = sensor.gain.max(specification.gain.hypot(told.doubt));
        }
    }

    /// Notes a step's length, and warns of sensors that beat with the steps.
    fn keep_rhythm(&mut self, step: &Record) {
        let Some(rhythm) = self.rhythm.of(step.start) else { return };
        for sensor in 0..self.run.channels.len() {
            let channel = Arc::clone(&self.run.channels[sensor]);
            let period = {
                let mut told = channel.told();
                let period = told.series.update_period();
                told.series.set_hidden(rhythm.hides_from(period));
                if !rhythm.beats_with(period) || !self.warned.insert(sensor) {
                    continue;
                }
                period
            };
            let detail = format!(
                "steps of {:.1?} beat with updates each {period:.1?}: what happens between two updates cannot be \
                 learned, and the uncertainty is that of the worst case",
                rhythm.step
            );
            let domain = Some(channel.specification.domain.id.clone());
            let event = self.event(step.end, "aliasing");
            self.note(Event { domain, detail: Some(detail), ..event });
        }
    }

    /// Lets the series forget what no boundary of this run can still ask for.
    fn keep_horizon(&mut self, now: Timestamp, begun: bool) {
        let oldest =
            self.branches.iter().filter_map(|branch| branch.queue.front()).map(|mark| mark.at);
        let start = (!begun).then_some(self.run.start);
        let horizon =
            oldest.chain(start).filter(|at| *at > Timestamp::default()).min().unwrap_or(now);
        for channel in &self.run.channels {
            channel.told().horizons.insert(self.run.serial, horizon.min(now));
        }
        if self.finish.is_none() {
            self.scope.forget(horizon.min(now));
        }
    }
}
