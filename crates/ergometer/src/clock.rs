//! Time: the monotonic clock, and one that a test moves by hand.
//!
//! Background threads rest on the [`Clock`], never on `std::thread::sleep`. So a fake clock can carry real sampler and
//! recorder threads through ten minutes of training in a millisecond, one deadline at a time, the same in every run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use crate::units::Timestamp;

/// What time it is: the system's monotonic clock, or a [`FakeClock`]'s.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    Fake(FakeClock),
}

impl Clock {
    /// The system's monotonic clock: `CLOCK_MONOTONIC` on Unix; elsewhere the time since the first reading.
    pub const fn system() -> Self {
        Clock(Source::System)
    }

    /// The time now. Costs one clock read (about 25 ns).
    #[inline]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => system_now(),
            Source::Fake(fake) => fake.now(),
        }
    }

    /// How long the machine has been asleep since it was started: the monotonic clock stands still meanwhile.
    ///
    /// Always zero where the system does not tell (only Linux does), which is then not known.
    pub fn asleep(&self) -> Duration {
        match &self.0 {
            Source::System => system_asleep(),
            Source::Fake(fake) => fake.lock().asleep,
        }
    }

    /// The processor time that the calling thread has used; zero on a fake clock and where the system does not tell.
    pub(crate) fn processor_time(&self) -> Duration {
        match &self.0 {
            Source::System => thread_time(),
            Source::Fake(_) => Duration::ZERO,
        }
    }

    /// Runs `read` between two clock reads, and gives both beside its result.
    pub fn bracket<T>(&self, read: impl FnOnce() -> T) -> (Timestamp, T, Timestamp) {
        let before = self.now();
        let value = read();
        (before, value, self.now())
    }

    /// What the clock is called in a run's manifest.
    pub fn name(&self) -> &'static str {
        match self.0 {
            Source::System if cfg!(unix) => "CLOCK_MONOTONIC",
            Source::System => "monotonic, since the process began",
            Source::Fake(_) => "fake",
        }
    }

    /// The fake clock behind this one, where it is fake.
    pub(crate) fn fake(&self) -> Option<&FakeClock> {
        match &self.0 {
            Source::System => None,
            Source::Fake(fake) => Some(fake),
        }
    }

    /// An alarm that wakes the thread resting on it.
    pub(crate) fn alarm(&self) -> Alarm {
        Alarm(match &self.0 {
            Source::System => Bell::System(Arc::default()),
            Source::Fake(fake) => Bell::Fake(fake.clone(), fake.lock().new_sleeper()),
        })
    }

    /// Announces a background thread: until the guard is dropped, a fake clock stands still while that thread works.
    pub(crate) fn attend(&self) -> Presence {
        Presence(self.fake().map(|fake| {
            fake.lock().busy += 1;
            fake.clone()
        }))
    }

    /// Rests until `deadline`, or until `alarm` rings.
    pub(crate) fn rest(&self, alarm: &Alarm, deadline: Timestamp) {
        match &alarm.0 {
            Bell::System(bell) => {
                bell.sleeper.get_or_init(std::thread::current);
                while !bell.rung.swap(false, Ordering::Acquire) {
                    let now = self.now();
                    if now >= deadline {
                        return;
                    }
                    std::thread::park_timeout(deadline.since(now));
                }
            }
            Bell::Fake(fake, sleeper) => fake.rest(*sleeper, deadline),
        }
    }
}

#[cfg(unix)]
#[expect(
    clippy::cast_sign_loss,
    reason = "the monotonic clock counts from boot and is never negative"
)]
#[inline]
fn system_now() -> Timestamp {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Timestamp::from_nanos(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

#[cfg(unix)]
fn since_origin(clock: rustix::time::ClockId) -> Duration {
    let time = rustix::time::clock_gettime(clock);
    let (seconds, rest) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    Duration::from_secs(seconds.unwrap_or(0)) + Duration::from_nanos(rest.unwrap_or(0))
}

#[cfg(unix)]
fn thread_time() -> Duration {
    since_origin(rustix::time::ClockId::ThreadCPUTime)
}

#[cfg(not(unix))]
fn thread_time() -> Duration {
    Duration::ZERO
}

#[cfg(target_os = "linux")]
fn system_asleep() -> Duration {
    use rustix::time::ClockId;
    // Read before the other, so that a pause between the two does not look like sleep.
    let boot = since_origin(ClockId::Boottime);
    boot.saturating_sub(since_origin(ClockId::Monotonic))
}

#[cfg(not(target_os = "linux"))]
fn system_asleep() -> Duration {
    Duration::ZERO
}

#[cfg(not(unix))]
fn system_now() -> Timestamp {
    static ORIGIN: OnceLock<std::time::Instant> = OnceLock::new();
    let elapsed = ORIGIN.get_or_init(std::time::Instant::now).elapsed();
    Timestamp::default() + elapsed
}

/// Wakes the thread that rests on it. Ringing never blocks on IO; it costs a futex call if the thread is asleep.
#[derive(Clone, Debug)]
pub(crate) struct Alarm(Bell);

#[derive(Clone, Debug)]
enum Bell {
    System(Arc<SystemBell>),
    Fake(FakeClock, usize),
}

#[derive(Debug, Default)]
struct SystemBell {
    rung: AtomicBool,
    sleeper: OnceLock<Thread>,
}

impl Alarm {
    pub(crate) fn ring(&self) {
        match &self.0 {
            Bell::System(bell) => {
                bell.rung.store(true, Ordering::Release);
                if let Some(thread) = bell.sleeper.get() {
                    thread.unpark();
                }
            }
            Bell::Fake(fake, sleeper) => {
                fake.lock().wake(*sleeper);
                fake.0.turn.notify_all();
            }
        }
    }
}

/// A background thread's presence on a fake clock.
#[derive(Debug)]
pub(crate) struct Presence(Option<FakeClock>);

impl Drop for Presence {
    fn drop(&mut self) {
        if let Some(fake) = &self.0 {
            fake.lock().busy -= 1;
            fake.0.turn.notify_all();
        }
    }
}

/// A clock that stands still until a test moves it.
///
/// [`FakeClock::advance`] goes from deadline to deadline and lets every background thread that is due finish its work
/// before time moves on, so that a simulated run is the same each time.
///
/// ```
/// use ergometer::{Clock, FakeClock};
/// use std::time::Duration;
///
/// let hands = FakeClock::new();
/// let clock: Clock = hands.clock();
/// let start = clock.now();
/// hands.advance(Duration::from_secs(60));
/// assert_eq!(clock.now().since(start), Duration::from_secs(60));
/// ```
#[derive(Clone, Debug, Default)]
pub struct FakeClock(Arc<Fake>);

#[derive(Debug, Default)]
struct Fake {
    state: Mutex<FakeState>,
    turn: Condvar,
}

#[derive(Debug, Default)]
struct FakeState {
    now: Timestamp,
    /// How long the machine has been asleep.
    asleep: Duration,
    /// Background threads at work.
    busy: usize,
    sleepers: Vec<Sleeper>,
}

#[derive(Debug, Default)]
struct Sleeper {
    rung: bool,
    /// Set while the thread rests.
    deadline: Option<Timestamp>,
}

impl FakeState {
    fn new_sleeper(&mut self) -> usize {
        self.sleepers.push(Sleeper::default());
        self.sleepers.len() - 1
    }

    fn wake(&mut self, sleeper: usize) {
        self.sleepers[sleeper].rung = true;
        if self.sleepers[sleeper].deadline.take().is_some() {
            self.busy += 1;
        }
    }
}

impl FakeClock {
    /// A clock that stands at one second.
    pub fn new() -> Self {
        let fake = FakeClock::default();
        fake.lock().now = Timestamp::from_nanos(1_000_000_000);
        fake
    }

    /// The clock that a meter is given.
    pub fn clock(&self) -> Clock {
        Clock(Source::Fake(self.clone()))
    }

    /// The time on the hands.
    pub fn now(&self) -> Timestamp {
        self.lock().now
    }

    /// The machine sleeps for `time`: the hands stand still.
    pub fn sleep(&self, time: Duration) {
        self.lock().asleep += time;
    }

    /// Moves the hands on by `time`, letting background threads work at each of their deadlines on the way.
    ///
    /// # Panics
    /// If a background thread does not come to rest within ten real seconds.
    pub fn advance(&self, time: Duration) {
        let mut state = self.lock();
        let target = state.now + time;
        loop {
            let (rested, timeout) = self
                .0
                .turn
                .wait_timeout_while(state, Duration::from_secs(10), |state| state.busy > 0)
                .unwrap_or_else(PoisonError::into_inner);
            assert!(!timeout.timed_out(), "a background thread has not rested for ten seconds");
            state = rested;
            let due = (0..state.sleepers.len())
                .filter_map(|sleeper| Some((state.sleepers[sleeper].deadline?, sleeper)))
                .min()
                .filter(|(deadline, _)| *deadline <= target);
            let Some((deadline, sleeper)) = due else { break };
            state.now = state.now.max(deadline);
            state.wake(sleeper);
            self.0.turn.notify_all();
        }
        state.now = state.now.max(target);
    }

    fn rest(&self, sleeper: usize, deadline: Timestamp) {
        let mut state = self.lock();
        if !state.sleepers[sleeper].rung && deadline > state.now {
            state.sleepers[sleeper].deadline = Some(deadline);
            state.busy -= 1;
            self.0.turn.notify_all();
            state = self
                .0
                .turn
                .wait_while(state, |state| state.sleepers[sleeper].deadline.is_some())
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.sleepers[sleeper].rung = false;
    }

    fn lock(&self) -> MutexGuard<'_, FakeState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
