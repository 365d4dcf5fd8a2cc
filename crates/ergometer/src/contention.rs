//! Who else uses the machine: its sensors measure whoever computes, and the run's record says when that was not one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cpu_time::CpuTime;
use crate::units::Timestamp;

/// Watches what other programs have of the processors while a run is in progress.
#[derive(Debug)]
pub(crate) struct Contention {
    procfs: PathBuf,
    /// When the CPU time was last looked at, and what it was; `None` where it cannot be read.
    last: Option<(Timestamp, CpuTime)>,
    /// How long the next look waits.
    pause: Duration,
    /// The others' part as last told; 0 where there is nothing to tell.
    told: f64,
}

/// The shortest time that is judged, and the time between two looks.
const FIRST: Duration = Duration::from_secs(2);
const EACH: Duration = Duration::from_mins(1);

/// Others are told of when they have more than this part of all processors' time: a system at rest, with its services
/// and the shell that started the run, has less.
const MUCH: f64 = 0.10;

/// They are told of again when their part has changed by this, or after it had fallen below half of what is much.
const CHANGE: f64 = 0.20;

impl Contention {
    pub(crate) fn new(procfs: &Path, now: Timestamp) -> Self {
        Contention {
            procfs: procfs.to_owned(),
            last: CpuTime::read(procfs).map(|time| (now, time)),
            pause: FIRST,
            told: 0.0,
        }
    }

    /// Looks if it is time to, or if the run is `over`; gives what there is to tell, in words.
    pub(crate) fn look(&mut self, now: Timestamp, over: bool) -> Option<String> {
        let (since, before) = self.last?;
        let time = now.since(since);
        if time < if over { FIRST } else { self.pause } {
            return None;
        }
        let Some(read) = CpuTime::read(&self.procfs) else {
            // For lack of a file handle, say. The next look sees all of the time since the last.
            self.pause = time + EACH;
            return None;
        };
        self.pause = EACH;
        self.last = Some((now, read));
        let passed = read.since(before)?;
        let (others, load) = (passed.others()?, passed.load()?);
        if others < MUCH / 2.0 {
            self.told = 0.0;
        }
        if others <= MUCH || (others - self.told).abs() < CHANGE && self.told > 0.0 {
            return None;
        }
        self.told = others;
        Some(format!(
            "other programs had {:.0} % of all processors' time over the last {time:.0?}, this one {:.0} %; the energy is \
             that of all",
            100.0 * others,
            100.0 * (load - others)
        ))
    }
}
