//! The first lines of a session: who runs, what earlier sessions left behind, what is known of the sensors.

use std::time::Duration;

use super::Recording;
use crate::observer::{Earlier, Verdict};
use crate::record::{Event, Start, StartKind};
use crate::units::Timestamp;

impl Recording {
    /// The session's first lines.
    pub(super) fn begin(&mut self) {
        self.run.journal.write_manifest(&self.run.manifest);
        let manifest = self.run.manifest.clone();
        self.tell(self.run.start, |observer| {
            observer.began(&manifest);
            Verdict::GoOn
        });
        if self.run.session() > 0 {
            let past = &self.run.past;
            let earlier = Earlier {
                epochs: past.epochs.clone(),
                steps: past.steps.clone(),
                energy: past.total,
                domains: past.domains.clone(),
            };
            self.tell(self.run.start, |observer| {
                observer.resumed(&earlier);
                Verdict::GoOn
            });
        }
        let line = Start {
            kind: StartKind::Run,
            version: manifest.version,
            run_id: manifest.run_id.clone(),
            rank: self.run.rank,
            host: manifest.machine.host.clone(),
            session: self.run.session(),
            name: manifest.name.clone(),
            parameters: manifest.parameters,
            start: self.run.start,
            unix_ns: manifest.clock.unix_ns + offset(manifest.clock.anchor, self.run.start),
        };
        if self.run.session() > 0 {
            self.resume();
        }
        self.run.journal.append(&line, false);
        if self.run.session() > 0 {
            let past = &self.run.past;
            let mut detail = format!("continued after {} in earlier sessions", past.total);
            if past.end.is_none() {
                detail += "; what the last one used after its last line is not known";
            }
            if past.torn > 0 {
                detail += &format!("; a torn last line of {} bytes was cut off", past.torn);
            }
            if !past.bad.is_empty() {
                detail += &format!(
                    "; {} lines could not be understood: {}",
                    past.bad.len(),
                    past.bad.join(", ")
                );
            }
            let total = Some(past.total);
            let event = self.event(self.run.start, "resumed");
            self.note(Event { detail: Some(detail), total, ..event });
        }
        self.note_inherited();
        self.run.journal.flush(self.run.start, true);
    }

    /// Notes what was found out about sensors before the run began: its log is read without those of other runs.
    fn note_inherited(&mut self) {
        for channel in self.run.channels.clone() {
            let (lost, suspicion) = {
                let told = channel.told();
                (told.is_lost(), told.suspicion())
            };
            let lost = lost.then(|| "it was lost before the run began".to_owned());
            for (name, detail) in [("sensor-lost", lost), ("suspect", suspicion)] {
                if detail.is_some() {
                    let domain = Some(channel.specification.domain.id.clone());
                    let event = self.event(self.run.start, name);
                    self.note(Event { domain, detail, ..event });
                }
            }
        }
    }

    /// Gives the epoch that the process ended within its line, so that the sums stay whole.
    fn resume(&mut self) {
        for open in std::mem::take(&mut self.run.past.open_epochs).into_values() {
            let record = open.into_record();
            self.run.journal.append(&record, false);
            // `end` counts what earlier sessions trained on from here.
            self.run.past.epochs.samples += record.samples.unwrap_or(0);
            self.run.past.epochs.tokens += record.tokens.unwrap_or(0);
            self.epochs.add(record);
        }
    }
}

/// The signed distance from `from` to `to`, in the clock's unit.
fn offset(from: Timestamp, to: Timestamp) -> i64 {
    let distance = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    if to >= from { distance(to.since(from)) } else { -distance(from.since(to)) }
}
