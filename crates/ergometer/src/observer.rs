//! An [`Observer`]: somebody who is told of a run as it goes, beside its log.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::record::{Event, Manifest, Record};
use crate::summary::{EpochSum, Summary};
use crate::units::{Energy, Timestamp};

/// Somebody who is told of a run as it goes: a budget, a forecast, another log.
///
/// Everything is called on the run's recorder thread. The training never waits for it, but the log does: what may take longer
/// than a few milliseconds belongs on a thread of the observer's own. One that panics is told no more, and an event
/// `observer-lost` says so.
pub trait Observer: Send {
    /// What it is, in a word that events of the log are named by: `budget`.
    fn name(&self) -> &str;

    /// The run began.
    fn began(&mut self, _manifest: &Manifest) {}

    /// The run goes on behind earlier sessions; told after [`began`](Observer::began).
    fn resumed(&mut self, _earlier: &Earlier) {}

    /// A window has settled and its line was written: a step, an epoch, a phase. The line of the end follows what is said of it.
    fn settled(&mut self, _window: &Record) -> Verdict {
        Verdict::GoOn
    }

    /// The run has used this much energy, earlier sessions included; told every 20 ms or so, provisionally.
    fn used(&mut self, _energy: Energy, _now: Timestamp) -> Verdict {
        Verdict::GoOn
    }

    /// The energy at which it wants to be told again at once, so that it is not up to 20 ms late.
    fn awaits(&self) -> Option<Energy> {
        None
    }

    /// Something happened beside the windows.
    fn happened(&mut self, _event: &Event) {}

    /// The run is over. `finish` waits for it.
    fn ended(&mut self, _summary: &Summary) {}
}

/// What earlier sessions of a run came to.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Earlier {
    /// Their epochs.
    pub epochs: EpochSum,
    /// The number of the last step in each lane.
    pub steps: BTreeMap<u32, u64>,
    /// The energy of the run at their last line.
    pub energy: Energy,
    /// The same of each domain.
    pub domains: BTreeMap<String, Energy>,
}

/// What an observer makes of what it was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing to say.
    #[default]
    GoOn,
    /// The log is to say this, and the training goes on.
    Warn(String),
    /// The loop is asked to end, for this reason: `steps` and `epochs` yield no more.
    Stop(String),
}

/// A limit on the energy of a run, sessions before a resume included.
///
/// When it is used up, the loop is asked to end, or the log warned, by choice. The step at work is finished first, so that a
/// loop ends within a step of the crossing, as far as the sensors tell it in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    limit: Energy,
    name: String,
    warns: bool,
    over: bool,
}

impl Budget {
    /// A limit in energy, that ends the loops.
    pub fn new(limit: Energy) -> Budget {
        Budget { limit, name: format!("energy budget of {limit}"), warns: false, over: false }
    }

    /// Calls the budget so in its messages: `budget of 2.00 EUR at 0.25 EUR/kWh`.
    pub fn named(self, name: impl Into<String>) -> Budget {
        Budget { name: name.into(), ..self }
    }

    /// Has the log warned, and the training go on.
    pub fn warn(self) -> Budget {
        Budget { warns: true, ..self }
    }

    /// The limit.
    pub fn limit(&self) -> Energy {
        self.limit
    }
}

impl From<Energy> for Budget {
    fn from(limit: Energy) -> Budget {
        Budget::new(limit)
    }
}

impl Observer for Budget {
    fn name(&self) -> &str {
        "budget"
    }

    fn used(&mut self, energy: Energy, _now: Timestamp) -> Verdict {
        if self.over || energy < self.limit {
            return Verdict::GoOn;
        }
        self.over = true;
        let reason = format!("the {} is used up ({energy})", self.name);
        if self.warns { Verdict::Warn(reason) } else { Verdict::Stop(reason) }
    }

    fn awaits(&self) -> Option<Energy> {
        (!self.over).then_some(self.limit)
    }
}

/// The observers of a run, none of which can take the recorder down with it.
#[derive(Default)]
pub(crate) struct Observers(Vec<Box<dyn Observer>>);

impl Observers {
    pub(crate) fn push(&mut self, observer: Box<dyn Observer>) {
        self.0.push(observer);
    }

    /// Tells all of them; gives what each made of it, by its name.
    pub(crate) fn tell(
        &mut self,
        mut tell: impl FnMut(&mut dyn Observer) -> Verdict,
    ) -> Vec<(String, Remark)> {
        let mut remarks = Vec::new();
        self.0.retain_mut(|observer| {
            let told = catch_unwind(AssertUnwindSafe(|| match tell(&mut **observer) {
                Verdict::GoOn => None,
                Verdict::Warn(text) => Some((observer.name().to_owned(), Remark::Warning(text))),
                Verdict::Stop(text) => Some((observer.name().to_owned(), Remark::Stop(text))),
            }));
            let alive = told.is_ok();
            remarks.extend(told.unwrap_or_else(|_| {
                let name = catch_unwind(AssertUnwindSafe(|| observer.name().to_owned()));
                Some(("observer-lost".to_owned(), Remark::Lost(name.unwrap_or_default())))
            }));
            alive
        });
        remarks
    }

    /// The least energy above `energy` that one of them awaits.
    pub(crate) fn awaited(&self, energy: Energy) -> Option<Energy> {
        let awaits = self.0.iter().filter_map(|observer| {
            catch_unwind(AssertUnwindSafe(|| observer.awaits())).unwrap_or_default()
        });
        awaits.filter(|awaited| *awaited > energy).min()
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|observer| observer.name())).finish()
    }
}

/// What is to be noted of an observer.
#[derive(Debug)]
pub(crate) enum Remark {
    Warning(String),
    Stop(String),
    /// It panicked; its name.
    Lost(String),
}
