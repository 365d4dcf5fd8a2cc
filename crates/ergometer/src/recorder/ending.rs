//! The end of a run: its last line.

use super::{Recording, tree};
use crate::attribution::{Boundary, Budget};
use crate::error::{Error, Result};
use crate::observer::Verdict;
use crate::record::{Kind, Quality, Record, State, Status};
use crate::summary::Summary;
use crate::units::{Energy, Timestamp};

impl Recording {
    /// Closes what is open, and the run.
    pub(super) fn end(mut self, at: Timestamp, status: Status) -> Result<Summary> {
        let end = self.boundary(at);
        let mut branches = std::mem::take(&mut self.branches);
        for branch in &mut branches {
            branch.close_all(&mut self, &end);
            branch.write(&mut self);
        }
        self.note_late(at, true);
        self.watch(at);
        self.look_around(at, true);
        let mut record = self.whole_run(&end);
        // The CPU times of earlier sessions are not known.
        let opened = self.scope.origin().filter(|_| self.run.session() == 0);
        self.set_scope(&mut record, opened);
        record.reason = self.run.outbox.lock().reason.clone();
        record.status = if record.reason.is_some() && status == Status::Complete {
            Status::Stopped
        } else {
            status
        };
        self.run.manifest.state = match record.status {
            Status::Complete => State::Complete,
            Status::Stopped => State::Stopped,
            Status::Panicked => State::Panicked,
            Status::Dropped | Status::Orphaned | Status::Interrupted => State::Dropped,
        };
        // What an observer has to say of the end is an event before it: the log has nothing behind the end.
        self.tell(at, |observer| observer.settled(&record));
        self.run.journal.append(&record, false);
        self.run.journal.flush(at, true);
        self.run.journal.write_manifest(&self.run.manifest);
        let summary = Summary {
            manifest: self.run.manifest,
            epochs: self.epochs,
            phases: self.phases,
            events: self.events,
            end: record,
            directory: self.run.journal.directory().to_owned(),
        };
        self.run.observers.tell(|observer| {
            observer.ended(&summary);
            Verdict::GoOn
        });
        match self.run.journal.into_fault() {
            None => Ok(summary),
            Some(fault) => Err(Error::new(
                crate::error::Kind::File,
                format!("{}; the run used {}", fault.what(), summary.end.estimate()),
            )
            .cure("start the run with a directory that can be written: `.directory(…)`")
            .caused_by(fault)),
        }
    }

    /// The window from the first session's start to the end, without the pauses between sessions.
    fn whole_run(&self, end: &Boundary) -> Record {
        let (mut record, mut attribution) = self.record(Kind::End, &self.origin, end);
        if attribution.unresolved().next().is_some() {
            // No window around it could carry the energy, so it is given however uncertain.
            record.intervals = Some(attribution.intervals(&self.periods()));
            attribution.amortise(|_| true);
            tree::set_estimate(&mut record, &attribution, self, &self.totals(end));
        }
        let past = &self.run.past;
        if let (Some(first), true) = (&past.first, past.same_boot) {
            record.start = first.start;
        }
        record.duration += past.duration;
        if past.total > Energy::ZERO {
            // Parts that an earlier session saw and this one does not are missing now.
            let sees = |end: &Record| {
                let mut parts = end.domains.iter().filter(|(_, share)| share.in_total);
                parts.all(|(id, _)| record.domains.contains_key(id))
            };
            let quality = match &past.end {
                Some(end) if sees(end) => end.quality,
                _ => Quality::Partial,
            };
            record.quality = record.quality.max(quality);
            // Linearly: what the sensors' gain makes of it is common to all sessions.
            let before = past.end.as_ref().and_then(|end| end.uncertainty);
            let mut budget = Budget::default();
            for specification in &self.sensors {
                let id = &specification.domain.id;
                let domain = past.domains.get(id).copied().unwrap_or_default();
                if specification.in_total {
                    budget.add_gain(specification, domain, past.duration);
                }
                if let Some(share) = record.domains.get_mut(id) {
                    let told = past.end.as_ref().and_then(|end| end.domains.get(id));
                    if told.is_none() && share.in_total {
                        // Earlier sessions did not see this part.
                        record.quality = record.quality.max(Quality::Partial);
                    }
                    share.quality =
                        share.quality.max(told.map_or(Quality::Partial, |told| told.quality));
                    let before = told.and_then(|told| told.uncertainty).unwrap_or_else(|| {
                        let mut own = Budget::default();
                        own.add_gain(specification, domain, past.duration);
                        Energy::from_joules(own.uncertainty())
                    });
                    if share.energy.is_some() || domain > Energy::ZERO {
                        // What this session saw nothing of, earlier ones did.
                        share.energy = Some(share.energy.unwrap_or_default() + domain);
                        share.uncertainty = Some(share.uncertainty.unwrap_or_default() + before);
                    }
                }
            }
            let before = before.unwrap_or_else(|| Energy::from_joules(budget.uncertainty()));
            record.energy = Some(past.total + attribution.energy(&self.sensors));
            record.uncertainty = Some(record.uncertainty.unwrap_or_default() + before);
        }
        record.remainder = record.energy.map(|energy| energy - self.epochs.energy);
        record.epochs = Some(self.epochs.count);
        record.steps = Some(self.steps);
        let samples = self.samples + past.epochs.samples;
        let tokens = self.tokens + past.epochs.tokens;
        record.samples = (samples > 0).then_some(samples);
        record.tokens = (tokens > 0).then_some(tokens);
        record.metrics = self.metrics.clone();
        record.activities = self.activities.powers(&self.sensors);
        record.cost = Some(self.expense.since(&self.run.channels, &self.run.course.clock));
        record
    }
}
