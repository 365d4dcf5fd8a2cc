//! The hot path: what a training thread does at a boundary.
//!
//! A boundary is a clock read and a push into the lane's preallocated ring; the recorder does the rest. The lane's lock
//! orders threads that share one lane and is held for nothing but the push. It allocates nothing and does no IO.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rtrb::{Consumer, Producer, RingBuffer};

use crate::clock::{Alarm, Clock};
use crate::error::Result;
use crate::mark::{Mark, Opens, What};
use crate::record::Status;
use crate::units::Timestamp;

/// Waits, on the training thread, until the device has done what was asked of it.
///
/// A framework's adapter gives one; the meter calls it where epochs and phases open and close, and at every n-th step if
/// the run was started with `sync_every(n)`.
pub trait Fence: Send + Sync {
    /// Waits for the device.
    ///
    /// # Errors
    /// If the device reports a fault; the run's log records it, and the training is not stopped.
    fn wait(&self) -> Result<()>;
}

impl<F: Fn() -> Result<()> + Send + Sync> Fence for F {
    fn wait(&self) -> Result<()> {
        self()
    }
}

/// The device's own clock at step boundaries, for devices that run behind the host: CUDA events, say.
///
/// Both are called on the training thread and must not wait for the device.
pub trait DeviceClock: Send + Sync {
    /// Enqueues a mark behind the work submitted so far.
    fn mark(&self, boundary: u64);

    /// Tells the marks that the device has passed since the last call, in order, and when.
    fn passed(&self, tell: &mut dyn FnMut(u64, Timestamp));
}

/// Words that a ring holds: 0.2 MB, some ten thousand marks, and half a second of steps of 60 µs should the recorder be
/// kept from running.
const RING: usize = 24_576;

/// What the lanes of a run share.
pub(crate) struct Course {
    pub(crate) clock: Clock,
    /// Marks count their time from here.
    pub(crate) origin: Timestamp,
    pub(crate) fence: Option<Arc<dyn Fence>>,
    pub(crate) device_clock: Option<Arc<dyn DeviceClock>>,
    pub(crate) sync_every: Option<u64>,
    /// Set when a budget or another observer asks for it: the iterators stop yielding.
    pub(crate) stopped: AtomicBool,
    /// Epochs that the program means to train in this session; 0 where that is not known.
    pub(crate) planned: AtomicU64,
    /// Set by `finish`: later marks are not taken.
    pub(crate) finished: AtomicBool,
    /// Wakes the recorder.
    pub(crate) alarm: Alarm,
    /// Names of phases and metrics; a mark carries the place.
    names: Mutex<Vec<Arc<str>>>,
    /// Rings of lanes that the recorder has not taken over yet.
    rings: Mutex<Vec<Consumer<u64>>>,
    fence_fault: Mutex<Option<String>>,
    /// Boundaries that found their ring full.
    pub(crate) overflows: AtomicU64,
    /// Boundaries so far whose time the device tells.
    boundaries: AtomicU64,
}

impl Course {
    pub(crate) fn new(clock: Clock) -> Self {
        Course {
            alarm: clock.alarm(),
            // A device may have passed a boundary shortly before, by its own clock.
            origin: clock.now().before(Duration::from_secs(1)),
            clock,
            fence: None,
            device_clock: None,
            sync_every: None,
            stopped: AtomicBool::new(false),
            planned: AtomicU64::new(0),
            finished: AtomicBool::new(false),
            names: Mutex::default(),
            rings: Mutex::default(),
            fence_fault: Mutex::default(),
            overflows: AtomicU64::new(0),
            boundaries: AtomicU64::new(0),
        }
    }

    /// A number for a boundary, of whatever lane: from 1, over and over, since never so many wait that two share one.
    fn next_boundary(&self) -> NonZeroU32 {
        let turn = self.boundaries.fetch_add(1, Ordering::Relaxed) % u64::from(u32::MAX);
        u32::try_from(turn).map_or(NonZeroU32::MIN, |turn| NonZeroU32::MIN.saturating_add(turn))
    }

    /// The place of a name; allocates when the name is new.
    fn intern(&self, name: &str) -> u32 {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let place = names.iter().position(|known| **known == *name).unwrap_or_else(|| {
            names.push(Arc::from(name));
            names.len() - 1
        });
        u32::try_from(place).unwrap_or(u32::MAX)
    }

    pub(crate) fn name(&self, place: u32) -> Arc<str> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(place as usize).cloned().unwrap_or_else(|| Arc::from("?"))
    }

    pub(crate) fn new_rings(&self) -> Vec<Consumer<u64>> {
        std::mem::take(&mut *self.rings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn take_fence_fault(&self) -> Option<String> {
        self.fence_fault.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn fence(&self) {
        if let Some(Err(error)) = self.fence.as_ref().map(|fence| fence.wait()) {
            *self.fence_fault.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(error.to_string());
        }
    }
}

impl fmt::Debug for Course {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Course").field("clock", &self.clock).finish_non_exhaustive()
    }
}

/// One thread's stack of windows: epochs, steps, phases.
///
/// A run has one; a program that trains on several threads takes one for each with [`Run::lane`](crate::Run::lane).
/// Clones are the same lane.
#[derive(Clone)]
pub struct Lane {
    pub(crate) course: Arc<Course>,
    ring: Arc<Mutex<Ring>>,
}

struct Ring {
    producer: Producer<u64>,
    /// The number of the last window.
    windows: u64,
    /// Marks so far.
    marks: u64,
    /// Step boundaries so far, for `sync_every`.
    steps: u64,
}

/// A window that was opened by hand and is to be closed by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened(pub(crate) u64);

impl Lane {
    pub(crate) fn new(course: Arc<Course>) -> Self {
        let (mut producer, mut consumer) = RingBuffer::new(RING);
        // Memory that was never touched costs a page fault at its first use, which is not to be a step's.
        while producer.push(0).is_ok() {}
        while consumer.pop().is_ok() {}
        course.rings.lock().unwrap_or_else(PoisonError::into_inner).push(consumer);
        Lane {
            course,
            ring: Arc::new(Mutex::new(Ring { producer, windows: 0, marks: 0, steps: 0 })),
        }
    }

    /// Opens epoch `number`, after the device has come to rest.
    pub fn open_epoch(&self, number: u64) -> Opened {
        self.open(Opens::Epoch(number)).0
    }

    /// Opens a phase, after the device has come to rest. Allocates when the name is new to the run.
    pub fn open_phase(&self, name: &str) -> Opened {
        self.open(Opens::Phase(self.course.intern(name))).0
    }

    /// Opens a step. Costs one clock read and a push.
    #[inline]
    pub fn open_step(&self) -> Opened {
        self.open(Opens::Step).0
    }

    /// Closes a window, after the device has come to rest if it is an epoch or a phase.
    ///
    /// Windows still open within an epoch or a step are closed with it. A window that is closed already stays closed.
    pub fn close(&self, opened: Opened, status: Status) {
        self.fence();
        self.mark(|_| What::Close { id: opened.0, status, waited: 0 });
    }

    /// Closes a step. Costs one clock read and a push.
    #[inline]
    pub fn close_step(&self, opened: Opened, status: Status) {
        self.close_step_after(opened, status, 0);
    }

    #[inline]
    pub(crate) fn close_step_after(&self, opened: Opened, status: Status, waited: u64) {
        self.sync_if_due();
        self.mark_step(|_| What::Close { id: opened.0, status, waited });
    }

    /// Says that a step ends here; it began at the tick before, or where the window around it did.
    ///
    /// Costs one clock read and a push.
    #[inline]
    pub fn tick(&self) {
        self.sync_if_due();
        self.mark_step(|ring| What::Tick { id: ring.next_window() });
    }

    /// Notes a metric on the innermost open window, or on the run. Allocates when the name is new to the run.
    pub fn metric(&self, name: &str, value: f64) {
        let name = self.course.intern(name);
        self.push(Mark {
            at: Timestamp::default(),
            what: What::Metric { name, value },
            deferred: None,
        });
    }

    /// Adds samples trained on to the innermost open window and those around it.
    #[inline]
    pub fn samples(&self, samples: u64) {
        self.amount(samples, 0);
    }

    /// Adds tokens trained on to the innermost open window and those around it.
    #[inline]
    pub fn tokens(&self, tokens: u64) {
        self.amount(0, tokens);
    }

    pub(crate) fn amount(&self, samples: u64, tokens: u64) {
        self.push(Mark {
            at: Timestamp::default(),
            what: What::Amount { samples, tokens },
            deferred: None,
        });
    }

    /// Says that the program means to train so many epochs more in this session, so that a projection knows. `epochs` says it
    /// of itself where its iterator knows its length.
    pub fn plan_epochs(&self, epochs: u64) {
        self.course.planned.fetch_add(epochs, Ordering::Relaxed);
    }

    /// True once a budget or another observer that the user set asks the loop to stop.
    #[inline]
    pub fn is_stopped(&self) -> bool {
        self.course.stopped.load(Ordering::Relaxed)
    }

    /// Closes a step and opens the next in the same moment; gives the moment too.
    #[inline]
    pub(crate) fn next_step(&self, closes: Opened, waited: u64) -> (Opened, Timestamp) {
        let mut opened = Opened(0);
        self.sync_if_due();
        let at = self.mark_step(|ring| {
            opened = Opened(ring.next_window());
            What::NextStep { closes: closes.0, waited, id: opened.0 }
        });
        (opened, at)
    }

    /// Closes an epoch and opens the next in the same moment.
    pub(crate) fn next_epoch(&self, closes: Opened, number: u64) -> Opened {
        let mut opened = Opened(0);
        self.fence();
        self.mark(|ring| {
            opened = Opened(ring.next_window());
            What::NextEpoch { closes: closes.0, id: opened.0, number }
        });
        opened
    }

    /// Opens a window; gives the moment too.
    #[inline]
    pub(crate) fn open(&self, opens: Opens) -> (Opened, Timestamp) {
        let mut opened = Opened(0);
        let open = |ring: &mut Ring| {
            opened = Opened(ring.next_window());
            What::Open { id: opened.0, opens }
        };
        let at = if opens == Opens::Step {
            self.mark_step(open)
        } else {
            self.fence();
            self.mark(open)
        };
        (opened, at)
    }

    pub(crate) fn cancel(&self, opened: Opened) {
        self.push(Mark {
            at: Timestamp::default(),
            what: What::Cancel { id: opened.0 },
            deferred: None,
        });
    }

    /// Waits for the device, and takes down which boundaries it passed meanwhile.
    pub(crate) fn fence(&self) {
        self.course.fence();
        if let Some(device) = &self.course.device_clock {
            self.take_passed(&mut self.lock(), &**device);
        }
    }

    #[inline]
    fn sync_if_due(&self) {
        if let Some(every) = self.course.sync_every {
            let steps = {
                let mut ring = self.lock();
                ring.steps += 1;
                ring.steps
            };
            if steps.is_multiple_of(every) {
                self.course.fence();
            }
        }
    }

    #[inline]
    fn mark(&self, what: impl FnOnce(&mut Ring) -> What) -> Timestamp {
        let mut ring = self.lock();
        // The clock is read under the lane's lock, so that the marks in the ring are in the order of time.
        let at = self.course.clock.now();
        let what = what(&mut ring);
        self.put(&mut ring, Mark { at, what, deferred: None });
        at
    }

    /// A mark at a step's boundary: if the device keeps its own clock, its time is told later.
    #[inline]
    fn mark_step(&self, what: impl FnOnce(&mut Ring) -> What) -> Timestamp {
        match &self.course.device_clock {
            None => self.mark(what),
            Some(device) => self.mark_deferred(what, &**device),
        }
    }

    fn mark_deferred(
        &self,
        what: impl FnOnce(&mut Ring) -> What,
        device: &dyn DeviceClock,
    ) -> Timestamp {
        let mut ring = self.lock();
        let at = self.course.clock.now();
        let what = what(&mut ring);
        let boundary = self.course.next_boundary();
        device.mark(boundary.get().into());
        self.put(&mut ring, Mark { at, what, deferred: Some(boundary) });
        self.take_passed(&mut ring, device);
        at
    }

    fn take_passed(&self, ring: &mut Ring, device: &dyn DeviceClock) {
        device.passed(&mut |boundary, at| {
            self.put(ring, Mark { at, what: What::Passed { boundary }, deferred: None });
        });
    }

    #[inline]
    fn push(&self, mark: Mark) {
        let mut ring = self.lock();
        self.put(&mut ring, mark);
    }

    #[inline]
    fn put(&self, ring: &mut Ring, mark: Mark) {
        if self.course.finished.load(Ordering::Relaxed) {
            return;
        }
        if !mark.write(&mut ring.producer, self.course.origin) {
            // The recorder is kept from running. The energy stays in the windows around, and the log says how often.
            self.course.overflows.fetch_add(1, Ordering::Relaxed);
        }
        // A third of a ring or more since the last time: the recorder is better woken than waited for.
        ring.marks += 1;
        if ring.marks.is_multiple_of(RING as u64 / 6) {
            self.course.alarm.ring();
        }
    }

    #[inline]
    fn lock(&self) -> std::sync::MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn next_window(&mut self) -> u64 {
        self.windows += 1;
        self.windows
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").finish_non_exhaustive()
    }
}
