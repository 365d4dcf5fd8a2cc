//! A [`Courier`]: a thread that takes what it is given somewhere that may be slow, or not there at all.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ergometer::{Error, Kind, Record, Result, Verdict};

/// Takes what it is given somewhere, in turn, on a thread of its own.
///
/// Giving never waits: what does not fit pushes out the oldest, and is counted as lost. A place that cannot be reached is tried
/// again, after about a second at first and twice as long each time, at most a minute.
pub(crate) struct Courier<T> {
    desk: Arc<Desk<T>>,
}

/// Why a delivery failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It may work later: nobody there, or too much to do; no sooner than after this long, if that was said.
    Later(Error, Option<Duration>),
    /// It would fail again.
    #[cfg(feature = "http")]
    Never(Error),
}

/// What was lost, or is about to be: a handle that outlives the run.
///
/// `finish` waits a tenth of a second for each sink, and tries a place that failed once more; this waits for as long as it is
/// asked to.
#[derive(Clone)]
pub struct Delivery(Arc<dyn Await>);

struct Desk<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
    capacity: usize,
    /// What is newer says all that the older did, so that an older one may be left out.
    supersedes: bool,
    /// Whose courier this is, and where it goes: without a secret.
    what: String,
    /// What tells later what is lost; empty if nothing does.
    later: &'static str,
}

struct State<T> {
    queue: VecDeque<T>,
    lost: u64,
    /// Losses that have been told.
    told: u64,
    /// The last failure; none since something arrived.
    fault: Option<String>,
    /// The failure that something was last lost by.
    reason: Option<String>,
    /// The failure is to be told.
    news: bool,
    /// It is to be tried again at once; until it was.
    hurry: bool,
    /// When what is left is given up; set at the end.
    until: Option<Instant>,
    started: bool,
    done: bool,
}

/// The first wait after a failure, and the longest.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How long what is left is tried for behind the end, if the process lives that long.
const CLOSING: Duration = Duration::from_secs(30);

/// How long the end of a run waits for each: the run's own log is waited for as well, a second and a half in all.
const MOMENT: Duration = Duration::from_millis(100);

impl<T: Send + 'static> Courier<T> {
    /// Keeps this much until it has arrived. Messages say what tells `later` what is lost.
    pub(crate) fn queue(what: String, capacity: usize, later: &'static str) -> Courier<T> {
        Courier::new(what, capacity, false, later)
    }

    /// Keeps the newest, which says all that the older did.
    pub(crate) fn newest(what: String) -> Courier<T> {
        Courier::new(what, 1, true, "")
    }

    fn new(what: String, capacity: usize, supersedes: bool, later: &'static str) -> Courier<T> {
        let state = State {
            queue: VecDeque::new(),
            lost: 0,
            told: 0,
            fault: None,
            reason: None,
            news: false,
            hurry: false,
            until: None,
            started: false,
            done: false,
        };
        let desk = Desk {
            state: Mutex::new(state),
            changed: Condvar::new(),
            capacity: capacity.max(1),
            supersedes,
            what,
            later,
        };
        Courier { desk: Arc::new(desk) }
    }

    /// Starts the thread; a system that starts no more is told as a fault.
    pub(crate) fn start(
        &self,
        deliver: impl FnMut(&T) -> std::result::Result<(), Failure> + Send + 'static,
    ) {
        let mut state = self.desk.lock();
        if state.started {
            return;
        }
        state.started = true;
        let desk = Arc::clone(&self.desk);
        let spawned = thread::Builder::new()
            .name("ergometer courier".to_owned())
            .spawn(move || desk.work(deliver));
        if let Err(error) = spawned {
            state.fault = Some(format!("no thread for it: {error}"));
            (state.news, state.done) = (true, true);
        }
    }

    /// Gives it something to take along.
    pub(crate) fn give(&self, parcel: T) {
        let mut state = self.desk.lock();
        if state.done {
            state.lost += 1;
            return;
        }
        if state.queue.len() == self.desk.capacity {
            state.queue.pop_front();
            state.lose(u64::from(!self.desk.supersedes));
        }
        state.queue.push_back(parcel);
        self.desk.changed.notify_all();
    }

    /// Whether something waits that is not under way.
    pub(crate) fn has_some(&self) -> bool {
        !self.desk.lock().queue.is_empty()
    }

    /// What there is to say when a window has settled.
    pub(crate) fn verdict(&self, window: &Record) -> Verdict {
        let said = if window.kind == Kind::End { self.outcome() } else { self.news() };
        said.map_or(Verdict::GoOn, Verdict::Warn)
    }

    /// What there is to say since it was last asked: once for each time that the place is gone, and for what was lost.
    pub(crate) fn news(&self) -> Option<String> {
        let mut state = self.desk.lock();
        let news = std::mem::take(&mut state.news);
        if let (true, Some(fault)) = (news, &state.fault) {
            let text = self.desk.said(fault);
            state.told = state.lost;
            return Some(text);
        }
        // While it is gone, one message is enough; and a place that is too slow for good would fill the log, so that is said
        // when it has become twice as many.
        if state.fault.is_some() || state.lost < state.told * 2 {
            return None;
        }
        self.desk.losses(&mut state)
    }

    /// What there is to say when a run is over: from a place that still fails, how much of it has not arrived.
    fn outcome(&self) -> Option<String> {
        let mut state = self.desk.lock();
        // It may be there again, and the next try far off; where nobody is, that is known at once.
        state.hurry = state.fault.is_some();
        self.desk.changed.notify_all();
        let is_tried = |state: &mut State<T>| state.hurry && !state.done;
        let waited = self.desk.changed.wait_timeout_while(state, MOMENT, is_tried);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
        let Some(fault) = &state.fault else {
            // Nothing is asked after this, so that it is all said, however little it is.
            return self.desk.losses(&mut state);
        };
        let missing = state.lost + state.queue.len() as u64;
        let text = format!(
            "the run is over, and {} not arrived, nor has its end: {fault}",
            counted(missing, "has", "have")
        );
        (state.news, state.told) = (false, state.lost);
        Some(self.desk.said(&text))
    }

    /// Nothing comes any more; waits a moment for what is under way, unless it is known to get nowhere.
    pub(crate) fn close(&self) {
        self.desk.close();
        if self.desk.lock().fault.is_none() {
            self.desk.wait(MOMENT);
        }
    }

    pub(crate) fn delivery(&self) -> Delivery {
        Delivery(Arc::clone(&self.desk) as Arc<dyn Await>)
    }
}

impl<T> Drop for Courier<T> {
    fn drop(&mut self) {
        self.desk.close();
    }
}

impl<T> State<T> {
    fn lose(&mut self, times: u64) {
        self.lost += times;
        if times > 0 {
            self.reason = self.fault.clone().or(self.reason.take());
        }
    }

    /// Why something is late, or was lost.
    fn why(&self) -> String {
        let why = self.fault.as_ref().or(self.reason.as_ref());
        why.cloned().unwrap_or_else(|| "it was too slow".to_owned())
    }
}

impl<T> Desk<T> {
    /// What was lost since it was last told.
    fn losses(&self, state: &mut State<T>) -> Option<String> {
        let lost = state.lost - state.told;
        state.told = state.lost;
        let text = lost_for(lost, &state.why());
        (lost > 0).then(|| self.said(&text))
    }

    /// A message of its own.
    fn said(&self, what: &str) -> String {
        let end = if self.later.is_empty() { "" } else { "; " };
        format!("{}: {what}{end}{}", self.what, self.later)
    }

    fn close(&self) {
        let mut state = self.lock();
        // Of a run that never began, nobody works here.
        state.done |= !state.started;
        state.until = state.until.or(Instant::now().checked_add(CLOSING));
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, mut deliver: impl FnMut(&T) -> std::result::Result<(), Failure>) {
        let mut wait = WAITS.0;
        while let Some(parcel) = self.next() {
            match deliver(&parcel) {
                Ok(()) => {
                    wait = WAITS.0;
                    let mut state = self.lock();
                    (state.fault, state.hurry) = (None, false);
                    self.changed.notify_all();
                }
                #[cfg(feature = "http")]
                Err(Failure::Never(error)) => {
                    self.note(&error, 1);
                    wait = WAITS.0;
                }
                Err(Failure::Later(error, asked)) => {
                    self.note(&error, 0);
                    let rest = pause(wait, asked);
                    wait = (wait * 2).min(WAITS.1);
                    self.put_back(parcel);
                    self.rest(rest);
                }
            }
        }
        let (lost, why) = {
            let mut state = self.lock();
            let left = state.queue.len() as u64;
            state.lose(left);
            state.queue.clear();
            state.done = true;
            (state.lost, state.why())
        };
        self.changed.notify_all();
        if lost > 0 {
            log::warn!("ergometer: {}", self.said(&lost_for(lost, &why)));
        }
    }

    /// What is next; `None` if nothing is left, or no time.
    fn next(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if state.until.is_some_and(|until| Instant::now() >= until) {
                return None;
            }
            if let Some(parcel) = state.queue.pop_front() {
                return Some(parcel);
            }
            if state.until.is_some() {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn note(&self, error: &Error, lost: u64) {
        let mut state = self.lock();
        state.news |= state.fault.is_none();
        state.fault = Some(error.to_string());
        state.hurry = false;
        state.lose(lost);
        self.changed.notify_all();
    }

    fn put_back(&self, parcel: T) {
        let mut state = self.lock();
        if state.queue.len() < self.capacity {
            state.queue.push_front(parcel);
        } else {
            state.lose(u64::from(!self.supersedes));
        }
    }

    /// Waits before the next try, but not beyond the end.
    fn rest(&self, time: Duration) {
        let now = Instant::now();
        let Some(again) = now.checked_add(time) else { return };
        let mut state = self.lock();
        let mut closing = state.until.is_some();
        loop {
            // When the end comes, it is tried once more at once.
            if state.hurry || state.until.is_some() && !closing {
                return;
            }
            closing = state.until.is_some();
            let until = state.until.map_or(again, |until| until.min(again));
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let woken = self.changed.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// How long to wait before the next try: at least what is asked for, and at most a minute.
pub(crate) fn pause(wait: Duration, asked: Option<Duration>) -> Duration {
    // Many ranks of a job have lost the same place at the same moment.
    let backoff = wait.mul_f64(0.5 + 0.5 * chance());
    // A place that asks for no wait at all is not tried without one.
    asked.map_or(backoff, |asked| asked.max(backoff)).min(WAITS.1)
}

/// A number from 0 to 1 that is another one each time, and in each process.
#[expect(clippy::cast_precision_loss, reason = "16 bits are held exactly")]
fn chance() -> f64 {
    (RandomState::new().build_hasher().finish() & 0xffff) as f64 / 65_535.0
}

/// What a [`Delivery`] asks of a desk, whatever lies on it.
trait Await: Send + Sync {
    fn wait(&self, patience: Duration) -> bool;
    fn lost(&self) -> u64;
    fn why(&self) -> String;
    fn what(&self) -> &str;
    fn later(&self) -> &'static str;
}

impl<T: Send> Await for Desk<T> {
    fn wait(&self, patience: Duration) -> bool {
        let state = self.lock();
        let waited = self.changed.wait_timeout_while(state, patience, |state| !state.done);
        waited.unwrap_or_else(PoisonError::into_inner).0.done
    }

    fn lost(&self) -> u64 {
        self.lock().lost
    }

    fn why(&self) -> String {
        self.lock().why()
    }

    fn what(&self) -> &str {
        &self.what
    }

    fn later(&self) -> &'static str {
        self.later
    }
}

impl Delivery {
    /// Waits until all has arrived or is lost, at most for `patience`. For after `finish`, in a process that ends then.
    ///
    /// # Errors
    /// If something was lost or is still under way; the text says how much, and the last failure.
    pub fn wait(&self, patience: Duration) -> Result<()> {
        let done = self.0.wait(patience);
        let lost = self.0.lost();
        if done && lost == 0 {
            return Ok(());
        }
        let what = self.0.what();
        let error = Error::lost(if done {
            format!("{what}: {}", lost_for(lost, &self.0.why()))
        } else {
            format!("{what}: the last has not arrived after {patience:?}: {}", self.0.why())
        });
        let later = self.0.later();
        Err(if later.is_empty() { error } else { error.cure(later) })
    }

    /// How often something was lost: pushed out of a full queue, refused, or left at the end.
    pub fn lost(&self) -> u64 {
        self.0.lost()
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("what", &self.0.what())
            .field("lost", &self.lost())
            .finish()
    }
}

impl<T> fmt::Debug for Courier<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Courier").field("what", &self.desk.what).finish_non_exhaustive()
    }
}

fn lost_for(lost: u64, why: &str) -> String {
    format!("{} lost, in whole or in part: {why}", counted(lost, "was", "were"))
}

fn counted(messages: u64, one: &str, several: &str) -> String {
    match messages {
        1 => format!("1 message {one}"),
        _ => format!("{messages} messages {several}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_told_when_they_have_doubled_and_the_rest_at_the_end() {
        let courier = Courier::<u32>::queue("a place".to_owned(), 1, "");
        let lose = |times: u64| {
            courier.desk.lock().lose(times);
            courier.news()
        };
        let told = [1, 1, 1, 1, 1].map(|times| lose(times).is_some());
        assert_eq!(told, [true, true, false, true, false]);
        let rest = courier.outcome().unwrap();
        assert!(
            rest.contains(": 1 message was lost, in whole or in part: it was too slow"),
            "{rest}"
        );
        assert_eq!(courier.outcome(), None);
    }

    #[cfg(feature = "http")]
    #[test]
    fn a_loss_keeps_its_reason_also_behind_what_arrives() {
        let courier = Courier::queue("a place".to_owned(), 8, "read the log");
        courier.start(|parcel: &bool| match parcel {
            true => Ok(()),
            false => Err(Failure::Never(Error::invalid("it is not taken"))),
        });
        let delivery = courier.delivery();
        courier.give(false);
        courier.give(true);
        courier.close();
        let lost = delivery.wait(Duration::from_secs(20)).unwrap_err().to_string();
        assert!(
            lost.contains("1 message was lost, in whole or in part: it is not taken"),
            "{lost}"
        );
        assert!(lost.ends_with("; read the log"), "{lost}");
    }

    #[test]
    fn a_place_may_ask_for_a_longer_pause_and_not_for_a_shorter_one() {
        let (first, longest) = WAITS;
        for asked in [None, Some(Duration::ZERO)] {
            assert!((first / 2..=first).contains(&pause(first, asked)), "{asked:?}");
        }
        assert_eq!(pause(first, Some(first * 7)), first * 7);
        assert_eq!(pause(first, Some(longest * 60)), longest);
    }
}
