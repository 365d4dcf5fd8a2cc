//! Windows in user code: the iterator adaptors and the guards.

use std::fmt;

use crate::lane::{Lane, Opened};
use crate::mark::Opens;
use crate::record::Status;
use crate::units::Timestamp;

impl Lane {
    /// Goes through `epochs` with a window around each turn of the loop.
    ///
    /// The items are the program's own numbers (`1..=n`; `start..n` after a resume) and stand in the log. The device is
    /// waited for where an epoch ends. An iterator that knows its length tells the log how many are planned. Leaving the loop early closes the epoch; its energy counts all the same.
    pub fn epochs<I>(&self, epochs: I) -> Epochs<'_, I::IntoIter>
    where
        I: IntoIterator<Item: Copy + TryInto<u64>>,
    {
        let items = epochs.into_iter();
        if let (least, Some(most)) = items.size_hint()
            && least == most
        {
            self.plan_epochs(most as u64);
        }
        Epochs { lane: self, items, open: None, turn: 0 }
    }

    /// Goes through `items` with a step around each turn of the loop.
    ///
    /// A step begins when its item is asked for and ends when the next one is, so steps follow each other without a gap.
    /// It has to be the outermost adaptor: `run.steps(batches.enumerate())`. Costs one clock read and a push each turn;
    /// allocates nothing.
    pub fn steps<I: IntoIterator>(&self, items: I) -> Steps<'_, I::IntoIter> {
        Steps {
            lane: self,
            items: items.into_iter(),
            open: None,
            every: 1,
            timed: false,
            taken: 0,
            waited: 0,
            samples: 0,
            tokens: 0,
        }
    }

    /// An epoch that lasts until the guard is dropped. `run.epoch(3)` in loops that are no iterators.
    #[must_use = "a window measures what happens while its guard lives; `let _ =` drops it at once"]
    pub fn epoch(&self, number: u64) -> Window<'_> {
        Window { lane: self, open: Some(self.open_epoch(number)), step: false }
    }

    /// A step that lasts until the guard is dropped. Costs a clock read and a push, and again at the end.
    #[must_use = "a window measures what happens while its guard lives; `let _ =` drops it at once"]
    #[inline]
    pub fn step(&self) -> Window<'_> {
        Window { lane: self, open: Some(self.open_step()), step: true }
    }

    /// A named phase that lasts until the guard is dropped: an evaluation, a checkpoint. Phases may overlap.
    #[must_use = "a window measures what happens while its guard lives; `let _ =` drops it at once"]
    pub fn phase(&self, name: &str) -> Window<'_> {
        Window { lane: self, open: Some(self.open_phase(name)), step: false }
    }
}

/// A window that closes when its guard is dropped. Made by [`Lane::epoch`], [`Lane::step`] and [`Lane::phase`].
#[must_use = "a window measures what happens while its guard lives"]
pub struct Window<'a> {
    lane: &'a Lane,
    open: Option<Opened>,
    step: bool,
}

impl Window<'_> {
    /// Closes the window here, as complete.
    pub fn end(mut self) {
        self.close(Status::Complete);
    }

    fn close(&mut self, status: Status) {
        match self.open.take() {
            Some(open) if self.step => self.lane.close_step(open, status),
            Some(open) => self.lane.close(open, status),
            None => {}
        }
    }
}

impl Drop for Window<'_> {
    fn drop(&mut self) {
        self.close(if std::thread::panicking() { Status::Panicked } else { Status::Complete });
    }
}

/// Epochs as an iterator. Made by [`Lane::epochs`].
pub struct Epochs<'a, I> {
    lane: &'a Lane,
    items: I,
    open: Option<Opened>,
    turn: u64,
}

impl<I> Iterator for Epochs<'_, I>
where
    I: Iterator<Item: Copy + TryInto<u64>>,
{
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        if self.lane.is_stopped() {
            self.close(Status::Stopped);
            return None;
        }
        let Some(item) = self.items.next() else {
            self.close(Status::Complete);
            return None;
        };
        self.turn += 1;
        // A number that is none, such as -1, leaves the count of turns.
        let number = item.try_into().unwrap_or(self.turn);
        self.open = Some(match self.open {
            Some(open) => self.lane.next_epoch(open, number),
            None => self.lane.open_epoch(number),
        });
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, self.items.size_hint().1)
    }
}

impl<I> Epochs<'_, I> {
    fn close(&mut self, status: Status) {
        if let Some(open) = self.open.take() {
            self.lane.close(open, status);
        }
    }
}

impl<I> Drop for Epochs<'_, I> {
    fn drop(&mut self) {
        self.close(if std::thread::panicking() { Status::Panicked } else { Status::Dropped });
    }
}

/// Steps as an iterator. Made by [`Lane::steps`].
pub struct Steps<'a, I> {
    lane: &'a Lane,
    items: I,
    open: Option<Opened>,
    every: u64,
    /// Whether to note how long items take to come.
    timed: bool,
    /// Items taken into the open step.
    taken: u64,
    /// How long the open step's items took to come.
    waited: u64,
    samples: u64,
    tokens: u64,
}

impl<I> Steps<'_, I> {
    /// One step for every `items` turns: gradient accumulation. The last step may hold fewer.
    #[must_use]
    pub fn every(mut self, items: u64) -> Self {
        self.every = items.max(1);
        self
    }

    /// Notes on each step how long its items took to come: the time that the training waited for its data. Costs one more
    /// clock read each turn.
    #[must_use]
    pub fn data_time(mut self) -> Self {
        self.timed = true;
        self
    }

    /// Each turn trains on `samples` samples.
    #[must_use]
    pub fn samples(mut self, samples: u64) -> Self {
        self.samples = samples;
        self
    }

    /// Each turn trains on `tokens` tokens.
    #[must_use]
    pub fn tokens(mut self, tokens: u64) -> Self {
        self.tokens = tokens;
        self
    }

    fn close(&mut self, status: Status) {
        if let Some(open) = self.open.take() {
            self.lane.close_step_after(open, status, self.waited);
        }
    }

    /// The moment at which the next item is asked for: where a step ends and the next one begins, if it is full.
    #[inline]
    fn boundary(&mut self) -> Timestamp {
        match self.open {
            Some(_) if self.taken < self.every && self.timed => self.lane.course.clock.now(),
            Some(_) if self.taken < self.every => Timestamp::default(),
            Some(open) => {
                let (opened, at) = self.lane.next_step(open, self.waited);
                (self.open, self.taken, self.waited) = (Some(opened), 0, 0);
                at
            }
            None => {
                let (opened, at) = self.lane.open(Opens::Step);
                (self.open, self.taken, self.waited) = (Some(opened), 0, 0);
                at
            }
        }
    }
}

impl<I: Iterator> Iterator for Steps<'_, I> {
    type Item = I::Item;

    #[inline]
    fn next(&mut self) -> Option<I::Item> {
        if self.lane.is_stopped() {
            self.close(Status::Stopped);
            return None;
        }
        let asked = self.boundary();
        let Some(item) = self.items.next() else {
            match self.open {
                // The step that would have had this item.
                Some(open) if self.taken == 0 => {
                    self.open = None;
                    self.lane.cancel(open);
                }
                _ => self.close(Status::Complete),
            }
            return None;
        };
        self.taken += 1;
        if self.timed {
            self.waited += self.lane.course.clock.now().as_nanos().saturating_sub(asked.as_nanos());
        }
        if self.samples | self.tokens > 0 {
            self.lane.amount(self.samples, self.tokens);
        }
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // A budget may end it early.
        (0, self.items.size_hint().1)
    }
}

impl<I> Drop for Steps<'_, I> {
    fn drop(&mut self) {
        self.close(if std::thread::panicking() { Status::Panicked } else { Status::Dropped });
    }
}

impl fmt::Debug for Window<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window").field("open", &self.open).finish_non_exhaustive()
    }
}

impl<I> fmt::Debug for Epochs<'_, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Epochs").field("open", &self.open).finish_non_exhaustive()
    }
}

impl<I> fmt::Debug for Steps<'_, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steps").field("open", &self.open).finish_non_exhaustive()
    }
}
