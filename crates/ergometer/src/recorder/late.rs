//! What was measured of an epoch becomes known when its line is written: by frameworks that measure on another thread.

use std::collections::BTreeMap;

use super::Recording;
use crate::record::Event;
use crate::units::Timestamp;

/// Metrics of an epoch, by its number.
pub(crate) type Late = (u64, BTreeMap<String, f64>);

impl Recording {
    /// Notes metrics of epochs whose lines are there, or in the `end` all that there are.
    pub(super) fn note_late(&mut self, now: Timestamp, end: bool) {
        let late = std::mem::take(&mut self.run.outbox.lock().late);
        self.late.extend(late);
        for (epoch, metrics) in std::mem::take(&mut self.late) {
            let there = self.epochs.recent.iter().any(|record| record.epoch == Some(epoch));
            if !there && !end {
                self.late.push((epoch, metrics));
                continue;
            }
            self.epochs.note(epoch, &metrics);
            let event = Event { epoch: Some(epoch), metrics, ..self.event(now, "metrics") };
            self.run.journal.append(&event, false);
            self.tell_of(&event);
        }
    }
}
