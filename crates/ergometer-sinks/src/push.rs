//! A [`Push`]: tells of a run every so often, to a place that may be slow.

use std::sync::Arc;
use std::time::Duration;

use ergometer::record::{Event, Manifest};
use ergometer::{Earlier, Kind, Observer, Record, Summary, Timestamp, Verdict};

use crate::courier::{Courier, Delivery, Failure};
use crate::tally::Tally;

/// What the sinks have in common that tell where a run stands, over and over: the tally, the rhythm and the courier.
#[derive(Debug)]
pub(crate) struct Push {
    tally: Tally,
    courier: Courier<Tally>,
    pub(crate) every: Duration,
    /// When it told last.
    told: Option<Timestamp>,
    /// There is something to tell.
    stale: bool,
}

/// A place that tallies are taken to.
pub(crate) type Deliver = dyn Fn(&Tally) -> Result<(), Failure> + Send + Sync;

impl Push {
    pub(crate) fn new(courier: Courier<Tally>, every: Duration) -> Push {
        Push { tally: Tally::default(), courier, every, told: None, stale: false }
    }

    pub(crate) fn delivery(&self) -> Delivery {
        self.courier.delivery()
    }

    pub(crate) fn began(&mut self, manifest: &Manifest, deliver: &Arc<Deliver>) {
        let deliver = Arc::clone(deliver);
        self.courier.start(move |tally| deliver(tally));
        self.tally.began(manifest);
        // The clock of another boot may be behind.
        self.told = None;
    }

    pub(crate) fn resumed(&mut self, earlier: &Earlier) {
        self.tally.resumed(earlier);
    }

    pub(crate) fn settled(&mut self, window: &Record) -> Verdict {
        self.tally.settled(window);
        self.stale = true;
        if window.kind == Kind::End {
            // It is told with the summary.
            return self.courier.verdict(window);
        }
        self.tell(window.end)
    }

    pub(crate) fn tell(&mut self, now: Timestamp) -> Verdict {
        if self.stale && self.told.is_none_or(|told| now.since(told) >= self.every) {
            (self.told, self.stale) = (Some(now), false);
            self.courier.give(self.tally.clone());
        }
        self.courier.news().map_or(Verdict::GoOn, Verdict::Warn)
    }

    pub(crate) fn happened(&mut self, event: &Event) {
        self.tally.happened(event);
        self.stale |= !event.metrics.is_empty();
    }

    pub(crate) fn ended(&mut self, summary: &Summary) {
        self.tally.ended(summary);
        self.courier.give(self.tally.clone());
        self.courier.close();
    }
}

/// Makes a type with a field `push` and a method `deliver` an observer.
macro_rules! push {
    ($sink:ty, $name:literal) => {
        impl ergometer::Observer for $sink {
            fn name(&self) -> &str {
                $name
            }

            fn began(&mut self, manifest: &ergometer::record::Manifest) {
                let deliver = self.deliver();
                self.push.began(manifest, &deliver);
            }

            fn resumed(&mut self, earlier: &ergometer::Earlier) {
                self.push.resumed(earlier);
            }

            fn settled(&mut self, window: &ergometer::Record) -> ergometer::Verdict {
                self.push.settled(window)
            }

            fn used(
                &mut self,
                _energy: ergometer::Energy,
                now: ergometer::Timestamp,
            ) -> ergometer::Verdict {
                self.push.tell(now)
            }

            fn happened(&mut self, event: &ergometer::record::Event) {
                self.push.happened(event);
            }

            fn ended(&mut self, summary: &ergometer::Summary) {
                self.push.ended(summary);
            }
        }
    };
}
pub(crate) use push;
