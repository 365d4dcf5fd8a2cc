//! What a run's recorder tells its program.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::late::Late;
use crate::attribution::Boundary;
use crate::error::Result;
use crate::lane::Course;
use crate::record::{Kind, Record, Status};
use crate::summary::Summary;
use crate::units::Timestamp;

/// The place where a recorder leaves what it knows, and a program leaves word that the run is over.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    state: Mutex<Published>,
    news: Condvar,
}

#[derive(Debug, Default)]
pub(crate) struct Published {
    /// The run's start, as soon as it is settled.
    pub(crate) origin: Option<Boundary>,
    /// Epochs that settled, newest last; as many as a program can look back on.
    pub(crate) epochs: VecDeque<Record>,
    /// Phases that settled, likewise.
    pub(crate) phases: VecDeque<Record>,
    /// Steps that settled, likewise.
    pub(crate) steps: VecDeque<Record>,
    /// What was measured of epochs, to be noted.
    pub(crate) late: Vec<Late>,
    /// Why the run was stopped.
    pub(crate) reason: Option<String>,
    /// When and how the program ended the run.
    pub(crate) finish: Option<(Timestamp, Status)>,
    pub(crate) result: Option<Result<Summary>>,
}

/// Windows of each kind that a program can look back on.
const REMEMBERED: usize = 1_024;

impl Outbox {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Published> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of a window that has settled.
    pub(super) fn tell(&self, record: Record) {
        let mut told = self.lock();
        let row = match record.kind {
            Kind::Step => &mut told.steps,
            Kind::Epoch => &mut told.epochs,
            Kind::Phase | Kind::End => &mut told.phases,
        };
        if row.len() == REMEMBERED {
            row.pop_front();
        }
        row.push_back(record);
        drop(told);
        self.news.notify_all();
    }

    /// Tells how the run ended.
    pub(super) fn close(&self, result: Result<Summary>) {
        self.lock().result = Some(result);
        self.news.notify_all();
    }

    /// Waits until `done` gives something, at most for `patience` of `course`'s clock.
    pub(crate) fn wait<T>(
        &self,
        course: &Course,
        patience: Duration,
        mut done: impl FnMut(&mut Published) -> Option<T>,
    ) -> Option<T> {
        let deadline = course.clock.now() + patience;
        let mut state = self.lock();
        loop {
            if let Some(found) = done(&mut state) {
                return Some(found);
            }
            let now = course.clock.now();
            if now >= deadline {
                return None;
            }
            match course.clock.fake() {
                Some(hands) => {
                    drop(state);
                    hands.advance(Duration::from_millis(1));
                    state = self.lock();
                }
                None => {
                    let wait = self.news.wait_timeout(state, deadline.since(now));
                    state =
                        wait.map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state);
                }
            }
        }
    }
}
