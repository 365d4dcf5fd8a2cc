//! What a sampler leaves of a sensor for whoever asks: its series, and what happened to it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::agreement;
use crate::calls::Calls;
use crate::error::Result;
use crate::pace::IDLE;
use crate::sensor::{Incident, Reading, Specification};
use crate::series::{Series, stall};
use crate::units::Timestamp;

/// What one sensor has told so far: its series and what happened to it.
///
/// The lock is held for a push or a look-up, never over a read of the sensor or any other IO.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) specification: Specification,
    state: Mutex<Told>,
}

#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) series: Series,
    /// In the order of time; a recorder remembers how far it has read.
    happenings: VecDeque<Happening>,
    /// Happenings that were forgotten.
    forgotten: usize,
    /// How far back each recorder still looks; what lies before all of them is forgotten.
    pub(crate) horizons: BTreeMap<u64, Timestamp>,
    lost: bool,
    /// True while the driver does not answer, and while the counter stands still.
    silent: bool,
    still: bool,
    /// What the calls into the driver cost.
    pub(crate) calls: Calls,
    /// The stack's processor time, on the first of its sensors.
    pub(crate) processor: Duration,
    /// A standard uncertainty that comes on top of the gain's, because something beside the sensor tells otherwise.
    pub(crate) doubt: f64,
    /// False while the sensor is tried out.
    pub(crate) tried: bool,
    /// The counter's power over that of the gauge beside it, and its standard uncertainty, as last compared.
    pub(crate) agreement: Option<(f64, f64)>,
}

/// Something that happened to a sensor.
#[derive(Clone, Debug)]
pub(crate) struct Happening {
    pub(crate) at: Timestamp,
    pub(crate) event: &'static str,
    pub(crate) detail: Option<String>,
}

/// A boundary that a training thread has stamped reaches the recorder a little later.
const MARGIN: Duration = Duration::from_secs(5);

/// A sensor that flickers must not fill the memory of a run of weeks: the oldest happenings, which every recorder has long
/// read, are forgotten.
const HAPPENINGS: usize = 4_096;

impl Channel {
    pub(crate) fn new(specification: Specification) -> Self {
        let series = Series::new(&specification);
        Channel {
            specification,
            state: Mutex::new(Told {
                series,
                happenings: VecDeque::new(),
                forgotten: 0,
                horizons: BTreeMap::new(),
                lost: false,
                silent: false,
                still: false,
                calls: Calls::default(),
                processor: Duration::ZERO,
                doubt: 0.0,
                tried: false,
                agreement: None,
            }),
        }
    }

    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what a read gave; tells whether it showed an update.
    pub(crate) fn take(&self, reading: Result<Reading>, now: Timestamp, took: Duration) -> bool {
        let mut told = self.told();
        told.calls.add(took, reading.is_ok());
        match reading {
            Ok(reading) => {
                let silent = std::mem::take(&mut told.silent);
                if std::mem::take(&mut told.lost) || silent {
                    told.note(reading.before, "sensor-back", None);
                } else if let Some(last) = told.series.last_read() {
                    let gap = reading.before.since(last);
                    if gap > stall(told.series.period()) + IDLE {
                        let detail = format!(
                            "not read for {gap:.1?}: how its energy lies in that time is not known"
                        );
                        told.note(last, "gap", Some(detail));
                    }
                }
                if let Some(incident) = reading.incident {
                    told.note(reading.before, name(incident), None);
                }
                let updated = told.series.push(reading);
                let horizon = told.horizons.values().copied().min().unwrap_or(now);
                told.series.forget(horizon.before(MARGIN));
                updated
            }
            Err(error) => {
                if !std::mem::replace(&mut told.lost, true) {
                    told.note(now, "sensor-lost", Some(error.to_string()));
                }
                false
            }
        }
    }

    /// Notes that the sensor's power by another way is not what its counter says.
    pub(crate) fn compare(&self, agreement: (f64, f64), now: Timestamp) {
        let mut told = self.told();
        told.agreement = Some(agreement);
        let doubt = agreement::doubt(agreement).unwrap_or(0.0);
        if doubt > 0.0 && told.doubt <= 0.0 {
            told.note(now, "suspect", Some(suspicion(agreement)));
        }
        told.doubt = doubt;
    }
}

impl Told {
    /// How many happenings there have been.
    pub(crate) fn happened(&self) -> usize {
        self.forgotten + self.happenings.len()
    }

    /// The happenings behind the first `seen`.
    pub(crate) fn happenings(&self, seen: usize) -> Vec<Happening> {
        self.happenings.iter().skip(seen.saturating_sub(self.forgotten)).cloned().collect()
    }

    /// Why the sensor is in doubt, if it is: for a run that begins after that was found out.
    pub(crate) fn suspicion(&self) -> Option<String> {
        self.agreement.filter(|_| self.doubt > 0.0).map(suspicion)
    }

    /// True while readings fail.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Says so, once, if a driver has not answered for so long that it must hang, or if a counter stands still.
    ///
    /// The sampler cannot: it may be the one that hangs.
    pub(crate) fn check_heartbeat(&mut self, now: Timestamp) {
        let patience = stall(self.series.period()) + IDLE;
        let long_ago = |at: Option<Timestamp>| at.is_some_and(|at| now.since(at) > patience);
        if long_ago(self.series.last_read()) && !self.lost && !self.silent {
            self.silent = true;
            let detail = format!("the driver has not answered for {patience:.1?}");
            self.note(now, "stalled", Some(detail));
        }
        let still = long_ago(self.series.updated()) && self.series.is_repeating() && !self.silent;
        if still && !self.still {
            let detail = format!("its counter has not moved for {patience:.1?}");
            self.note(now, "stalled", Some(detail));
        }
        self.still = still;
    }

    pub(crate) fn note(&mut self, at: Timestamp, event: &'static str, detail: Option<String>) {
        if self.happenings.len() == HAPPENINGS {
            self.happenings.pop_front();
            self.forgotten += 1;
        }
        self.happenings.push_back(Happening { at, event, detail });
    }
}

fn suspicion(agreement: (f64, f64)) -> String {
    format!("{}; the uncertainty covers both", agreement::words(agreement))
}

fn name(incident: Incident) -> &'static str {
    match incident {
        Incident::Wrap => "wrap",
        Incident::Reset => "reset",
        Incident::Ambiguous => "ambiguous",
        Incident::Suspend => "suspend",
    }
}
