//! Events: what happened beside the windows, written and told.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Recording;
use crate::observer::{Remark, Verdict};
use crate::record::{Event, EventKind};
use crate::units::Timestamp;

impl Recording {
    /// Writes what happened to the sensors.
    pub(super) fn note_happenings(&mut self) {
        for sensor in 0..self.run.channels.len() {
            let channel = Arc::clone(&self.run.channels[sensor]);
            let (new, seen) = {
                let told = channel.told();
                (told.happenings(self.seen[sensor]), told.happened())
            };
            self.seen[sensor] = seen;
            for happening in new {
                if happening.event == "contention" {
                    self.scope.share(sensor);
                }
                let domain = channel.specification.domain.id.clone();
                let event = self.event(happening.at, happening.event);
                self.note(Event { domain: Some(domain), detail: happening.detail, ..event });
            }
        }
    }

    /// An event of this run, with nothing said of it yet.
    pub(super) fn event(&self, at: Timestamp, event: &str) -> Event {
        Event {
            kind: EventKind::Event,
            run_id: self.run.manifest.run_id.clone(),
            rank: self.run.rank,
            host: self.run.manifest.machine.host.clone(),
            session: self.run.session(),
            at,
            event: event.to_owned(),
            domain: None,
            detail: None,
            total: None,
            domains: BTreeMap::new(),
            epoch: None,
            metrics: BTreeMap::new(),
        }
    }

    /// Writes an event's line, and counts it for the summary.
    pub(super) fn note(&mut self, event: Event) {
        self.run.journal.append(&event, false);
        self.tell_of(&event);
        *self.events.entry((event.event, event.domain)).or_default() += 1;
    }

    /// Tells the observers of an event. Not by `tell`: what one says of an event would be the next event.
    pub(super) fn tell_of(&mut self, event: &Event) {
        let remarks = self.run.observers.tell(|observer| {
            observer.happened(event);
            Verdict::GoOn
        });
        for (name, remark) in remarks {
            if let Remark::Lost(who) = remark {
                let lost = Event { detail: Some(lost(&who)), ..self.event(event.at, &name) };
                self.run.journal.append(&lost, false);
                *self.events.entry((lost.event, None)).or_default() += 1;
            }
        }
    }
}

/// What the log says of an observer that panicked.
pub(super) fn lost(who: &str) -> String {
    format!("the observer `{who}` panicked and is told no more")
}
