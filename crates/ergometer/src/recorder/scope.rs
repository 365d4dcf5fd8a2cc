//! Whose energy it is: who else uses the machine, what an idle one would have used, and what was this process's own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{ROUND, Recording};
use crate::contention::Contention;
use crate::cpu_time::CpuTime;
use crate::mark::{Mark, Opens, What};
use crate::record::{Event, ProcessShare, Record};
use crate::share;
use crate::units::Timestamp;

/// What a recorder knows of others, and of the CPU time of its own process.
pub(super) struct Scope {
    contention: Option<Contention>,
    /// Sensors on whose hardware others were seen.
    shared: BTreeSet<usize>,
    /// CPU times at the boundaries of epochs and phases, where a process share was asked for.
    times: Option<Times>,
    /// Why there is no process share, as far as it has been said.
    said: BTreeSet<String>,
}

/// CPU times of machine and process, read in the round in which the recorder first sees a boundary: up to one round late.
struct Times {
    procfs: Option<PathBuf>,
    /// At the run's start.
    origin: Option<CpuTime>,
    read: BTreeMap<Timestamp, CpuTime>,
    /// Epochs and phases that are open, by lane and number.
    open: BTreeSet<(u32, u64)>,
}

/// A window must be so long that a round at either end is no more than a tenth of it.
const LEAST: Duration = ROUND.saturating_mul(10);

impl Scope {
    pub(super) fn new(procfs: Option<&Path>, share: bool, now: Timestamp) -> Self {
        let times = share.then(|| Times {
            procfs: procfs.map(Path::to_owned),
            origin: procfs.and_then(CpuTime::read),
            read: BTreeMap::new(),
            open: BTreeSet::new(),
        });
        Scope {
            contention: procfs.map(|procfs| Contention::new(procfs, now)),
            shared: BTreeSet::new(),
            times,
            said: BTreeSet::new(),
        }
    }

    /// Notes that others were seen on a sensor's hardware.
    pub(super) fn share(&mut self, sensor: usize) {
        self.shared.insert(sensor);
    }

    /// True if CPU times are wanted at this mark.
    pub(super) fn wants(&mut self, lane: u32, mark: Mark) -> bool {
        let Some(times) = &mut self.times else { return false };
        match mark.what {
            What::Open { id, opens: Opens::Epoch(_) | Opens::Phase(_) } => {
                times.open.insert((lane, id))
            }
            What::NextEpoch { closes, id, .. } => {
                times.open.remove(&(lane, closes));
                times.open.insert((lane, id))
            }
            What::Close { id, .. } => times.open.remove(&(lane, id)),
            _ => false,
        }
    }

    /// Reads CPU times, where they are wanted.
    pub(super) fn read(&mut self, now: Timestamp) {
        if let Some(times) = &mut self.times
            && let Some(time) = times.procfs.as_deref().and_then(CpuTime::read)
        {
            times.read.insert(now, time);
        }
    }

    /// True if CPU times have been read at `at` or later, or need not be.
    pub(super) fn has_read(&self, at: Timestamp) -> bool {
        self.times.as_ref().is_none_or(|times| {
            times.procfs.is_none()
                || times.read.last_key_value().is_some_and(|(last, _)| *last >= at)
        })
    }

    /// Forgets CPU times that no boundary from `horizon` on can ask for.
    pub(super) fn forget(&mut self, horizon: Timestamp) {
        if let Some(times) = &mut self.times {
            times.read = times.read.split_off(&horizon);
        }
    }

    /// The CPU times at a boundary; `None` where nobody asked for a share, or there are none.
    pub(super) fn at(&self, at: Timestamp) -> Option<CpuTime> {
        let read = &self.times.as_ref()?.read;
        read.range(at..).next().or(read.last_key_value()).map(|(_, time)| *time)
    }

    /// The CPU times at the run's start.
    pub(super) fn origin(&self) -> Option<CpuTime> {
        self.times.as_ref()?.origin
    }
}

impl Recording {
    /// Says if others use the processors, too.
    pub(super) fn look_around(&mut self, now: Timestamp, over: bool) {
        let Some(contention) = &mut self.scope.contention else { return };
        if let Some(detail) = contention.look(now, over) {
            let event = self.event(now, "contention");
            self.note(Event { detail: Some(detail), ..event });
        }
    }

    /// Adds to a window's line what is left of its energy after that of an idle machine, and the process's own share.
    pub(super) fn set_scope(&mut self, record: &mut Record, opened: Option<CpuTime>) {
        let baseline = self.run.manifest.baseline.as_ref();
        let net = baseline.and_then(|baseline| baseline.net(record, &self.sensors));
        (record.net, record.net_uncertainty) = net.unzip();
        record.process = self.process(record, opened);
    }

    fn process(&mut self, record: &Record, opened: Option<CpuTime>) -> Option<ProcessShare> {
        let times = self.scope.times.as_ref()?;
        let shared = |sensor| self.scope.shared.contains(&sensor);
        let share = match (times.origin, opened, self.scope.at(record.end)) {
            (None, ..) => Err("CPU times cannot be read here".to_owned()),
            (_, Some(opened), Some(closed)) if record.duration >= LEAST => {
                let passed = closed.since(opened)?;
                share::of_process(record, &self.sensors, shared, passed)
            }
            _ => Ok(None),
        };
        share.unwrap_or_else(|reason| {
            let detail = format!("there is no share of this process: {reason}");
            if self.scope.said.insert(reason) {
                let event = self.event(record.end, "process-share");
                self.note(Event { detail: Some(detail), ..event });
            }
            None
        })
    }
}
