//! The passes over a run's loaders: the windows that they open and close, and when, for the metrics to ask.

use std::collections::VecDeque;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn_train::Interrupter;
use ergometer::{Kind, Lane, Opened, Record, Records, Run, Status, Timestamp};

/// What a loader's batches are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Split {
    /// A pass is an epoch.
    Train,
    /// A pass is a phase `valid`.
    Valid,
    /// A pass is a phase `test`.
    Test,
}

impl Split {
    fn phase(self) -> Option<&'static str> {
        match self {
            Split::Train => None,
            Split::Valid => Some("valid"),
            Split::Test => Some("test"),
        }
    }

    pub(crate) fn kind(self) -> Kind {
        if self == Split::Train { Kind::Epoch } else { Kind::Phase }
    }
}

/// All passes of a run. Kept with the run, so that its loaders and its metrics meet here.
pub(crate) struct Passes {
    /// The run's own lane: what the program notes while it trains belongs to the open epoch.
    lane: Lane,
    /// A lane for validation and test, so that their steps do not count among the training's, and so that a shard that
    /// validates while another still trains does not nest in its windows.
    aside: Lane,
    pub(crate) records: Records,
    /// Held while a pass opens, which may wait for the device. Steps and metrics never ask for it.
    opening: Mutex<()>,
    state: Mutex<State>,
    /// The last number given to a loader or a shard.
    numbers: AtomicU64,
}

struct State {
    next_epoch: u64,
    interrupter: Option<Interrupter>,
    /// Passes so far, of each split.
    begun: [u64; 3],
    /// The last passes, newest last, and all that are open.
    passes: VecDeque<Arc<Pass>>,
}

/// Closed passes that metrics can still ask about; they lag behind by less than one of each split.
const REMEMBERED: usize = 8;

impl Passes {
    /// The passes of `run`.
    pub(crate) fn of(run: &Run) -> Arc<Passes> {
        run.attachment(|| Passes {
            lane: Lane::clone(run),
            aside: run.lane(),
            records: run.records(),
            opening: Mutex::default(),
            state: Mutex::new(State {
                next_epoch: run.next_epoch(),
                interrupter: None,
                begun: [0; 3],
                passes: VecDeque::new(),
            }),
            numbers: AtomicU64::new(0),
        })
    }

    /// A number that no loader and no shard of this run has yet.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The next training pass is this epoch.
    pub(crate) fn starting_epoch(&self, epoch: u64) {
        self.state().next_epoch = epoch;
    }

    /// What ends burn's loop when the budget is used up.
    pub(crate) fn interrupt_through(&self, interrupter: Interrupter) {
        self.state().interrupter = Some(interrupter);
    }

    /// How many passes of `split` have begun.
    pub(crate) fn begun(&self, split: Split) -> u64 {
        self.state().begun[split as usize]
    }

    /// Pass number `nth` of `split`, counted from 0, if it has begun and is not long past.
    pub(crate) fn find(&self, split: Split, nth: u64) -> Option<Arc<Pass>> {
        self.state().passes.iter().find(|pass| pass.split == split && pass.nth == nth).cloned()
    }

    /// A shard of a loader begins a pass: the one that the loader's other shards are in, or a new one.
    ///
    /// Nothing begins once the budget is used up. Waits for the device where the window opens.
    pub(crate) fn begin(&self, split: Split, loader: u64, shard: u64) -> Option<Arc<Pass>> {
        let _one_by_one = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        let joined = self
            .state()
            .passes
            .iter()
            .find(|pass| pass.loader == loader && pass.join(shard))
            .cloned();
        if joined.is_some() {
            return joined;
        }
        if split == Split::Train && self.lane.is_stopped() {
            self.interrupt();
            return None;
        }
        let lane = if split == Split::Train { &self.lane } else { &self.aside };
        let before = self.records.now();
        let (window, epoch) = match split.phase() {
            Some(phase) => (lane.open_phase(phase), None),
            None => {
                let epoch = self.next_epoch();
                (lane.open_epoch(epoch), Some(epoch))
            }
        };
        let opened = before..=self.records.now();
        let mut state = self.state();
        let nth = state.begun[split as usize];
        state.begun[split as usize] += 1;
        let pass = Arc::new(Pass {
            split,
            nth,
            epoch,
            loader,
            lane: lane.clone(),
            records: self.records.clone(),
            window,
            opened,
            progress: Mutex::new(Progress::new(shard)),
        });
        if state.passes.len() >= REMEMBERED
            && let Some(oldest) = state.passes.iter().position(|pass| pass.ended().is_some())
        {
            state.passes.remove(oldest);
        }
        state.passes.push_back(Arc::clone(&pass));
        Some(pass)
    }

    /// A shard ends its pass, and with the last of them the pass ends. `whole` if it had all its batches.
    ///
    /// A validation that has begun is finished also when the budget is used up meanwhile: half of it would say nothing.
    /// Waits for the device where the window closes.
    pub(crate) fn end(&self, pass: &Pass, whole: bool, items: Option<u64>) {
        if pass.leave(whole, items) && pass.split != Split::Test && self.lane.is_stopped() {
            self.interrupt();
        }
    }

    /// Asks burn's loop to end, with the reason.
    fn interrupt(&self) {
        if let Some(interrupter) = &self.state().interrupter {
            interrupter.stop(self.records.stop_reason().as_deref());
        }
    }

    fn next_epoch(&self) -> u64 {
        let mut state = self.state();
        state.next_epoch += 1;
        state.next_epoch - 1
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One pass over a loader, or over all shards of it at once.
///
/// Step number s of a pass is its shards' batches number s: it opens when the first of them is handed out, and closes
/// when the first shard asks for the next.
pub(crate) struct Pass {
    split: Split,
    /// How many passes of this split came before.
    nth: u64,
    /// The number of the epoch that it is, in training.
    epoch: Option<u64>,
    loader: u64,
    lane: Lane,
    records: Records,
    window: Opened,
    opened: RangeInclusive<Timestamp>,
    /// Held for a push into the lane at most, never while the device is waited for.
    progress: Mutex<Progress>,
}

struct Progress {
    /// The shards that take part, and how many of them have not ended.
    shards: Vec<u64>,
    open: usize,
    /// True while no shard left early.
    whole: bool,
    /// Steps that a shard has asked for.
    asked: u64,
    /// Steps that have begun.
    begun: u64,
    /// Steps from this one on are not begun: the budget is used up.
    limit: Option<u64>,
    /// The step that is open.
    step: Option<Opened>,
    /// True while a thread closes a step, which may wait for the device.
    closing: bool,
    batches: u64,
    /// The last steps, newest last.
    steps: VecDeque<Step>,
    ended: Option<Timestamp>,
}

/// One step of a pass, as the metrics see it.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    number: u64,
    /// The batches that were handed out before and in this step: burn reports one event for each.
    before: u64,
    batches: u64,
    /// The time within which the window opened.
    pub(crate) opened: RangeInclusive<Timestamp>,
    /// When the window had closed, if it has.
    pub(crate) ended: Option<Timestamp>,
}

/// Steps that metrics can still ask about. Burn lets its loop run two steps ahead of them.
const STEPS: usize = 64;

impl Progress {
    fn new(shard: u64) -> Self {
        Progress {
            shards: vec![shard],
            open: 1,
            whole: true,
            asked: 0,
            begun: 0,
            limit: None,
            step: None,
            closing: false,
            batches: 0,
            steps: VecDeque::with_capacity(STEPS),
            ended: None,
        }
    }

    fn step(&mut self, number: u64) -> Option<&mut Step> {
        self.steps.iter_mut().rev().find(|step| step.number == number)
    }
}

impl Pass {
    /// A shard that has had `number` batches asks for one more. False if it is to have none: the budget is used up.
    ///
    /// A step that any shard has asked for is done by all of them, so that none waits for another's gradients. Costs two
    /// clock reads and a push into the lane's ring; waits for the device only where the run's `sync_every` says so.
    pub(crate) fn ask(&self, number: u64) -> bool {
        let mut progress = self.progress();
        let over = if progress.begun <= number { progress.step.take() } else { None };
        if let Some(window) = over {
            let last = progress.begun - 1;
            progress.closing = true;
            drop(progress);
            self.lane.close_step(window, Status::Complete);
            progress = self.progress();
            progress.closing = false;
            let now = self.records.now();
            if let Some(step) = progress.step(last) {
                step.ended = Some(now);
            }
            if progress.begun > last + 1 {
                self.open_step(&mut progress);
            }
        }
        if progress.limit.is_some_and(|limit| number >= limit) {
            return false;
        }
        if self.split == Split::Train && number >= progress.asked && self.lane.is_stopped() {
            progress.limit = Some(number);
            return false;
        }
        progress.asked = progress.asked.max(number + 1);
        true
    }

    /// A shard that has had `number` batches is handed one more. Costs three clock reads and a push.
    pub(crate) fn hand_out(&self, number: u64) {
        let mut progress = self.progress();
        let before = progress.batches;
        progress.batches += 1;
        if let Some(step) = progress.step(number) {
            step.batches += 1;
        }
        if number < progress.begun {
            return;
        }
        progress.begun = number + 1;
        if progress.steps.len() == STEPS {
            progress.steps.pop_front();
        }
        let now = self.records.now();
        progress.steps.push_back(Step {
            number,
            before,
            batches: 1,
            opened: now..=now,
            ended: None,
        });
        if !progress.closing {
            self.open_step(&mut progress);
        }
    }

    fn open_step(&self, progress: &mut Progress) {
        let before = self.records.now();
        progress.step = Some(self.lane.open_step());
        let opened = before..=self.records.now();
        if let Some(step) = progress.steps.back_mut() {
            step.opened = opened;
        }
    }

    /// A shard takes part too. False if the pass is over, or the shard is or was in it.
    fn join(&self, shard: u64) -> bool {
        let mut progress = self.progress();
        let joins = progress.open > 0 && !progress.shards.contains(&shard);
        if joins {
            progress.shards.push(shard);
            progress.open += 1;
        }
        joins
    }

    /// A shard has ended. True if it was the last, and the pass has ended with it.
    fn leave(&self, whole: bool, items: Option<u64>) -> bool {
        if let Some(items) = items.filter(|_| self.split == Split::Train) {
            self.lane.samples(items);
        }
        let mut progress = self.progress();
        progress.whole &= whole;
        progress.open -= 1;
        if progress.open > 0 {
            return false;
        }
        let status = match (std::thread::panicking(), progress.limit, progress.whole) {
            (true, ..) => Status::Panicked,
            (_, Some(_), _) => Status::Stopped,
            (_, None, true) => Status::Complete,
            (_, None, false) => Status::Dropped,
        };
        let step = progress.step.take();
        let last = progress.begun.saturating_sub(1);
        drop(progress);
        if let Some(window) = step {
            self.lane.close_step(window, status);
            let now = self.records.now();
            if let Some(step) = self.progress().step(last) {
                step.ended = Some(now);
            }
        }
        self.lane.close(self.window, status);
        self.progress().ended = Some(self.records.now());
        true
    }

    /// The number of the epoch that it is, in training.
    pub(crate) fn epoch(&self) -> Option<u64> {
        self.epoch
    }

    /// The time within which the pass opened.
    pub(crate) fn opened(&self) -> &RangeInclusive<Timestamp> {
        &self.opened
    }

    /// When the pass had ended, if it has.
    pub(crate) fn ended(&self) -> Option<Timestamp> {
        self.progress().ended
    }

    /// The step that burn's event number `event` of this pass is the first of.
    ///
    /// A step on several devices has one event for each; its energy is told once.
    pub(crate) fn step_of(&self, event: u64) -> Option<Step> {
        self.progress().steps.iter().find(|step| step.before == event).cloned()
    }

    /// True if `record` is this pass's.
    pub(crate) fn is(&self, record: &Record) -> bool {
        self.opened.contains(&record.start) && record.phase.as_deref() == self.split.phase()
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Passes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passes").field("records", &self.records).finish_non_exhaustive()
    }
}

impl fmt::Debug for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pass")
            .field("split", &self.split)
            .field("nth", &self.nth)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use ergometer::sensor::fake::{Fake, Load};
    use ergometer::sensor::{Domain, Hardware};
    use ergometer::{Energy, FakeClock, Meter, MeterBuilder, Power, RunBuilder, RunLog};
    use tempfile::TempDir;

    use super::*;

    /// A run over a sensor of 100 W on a fake clock.
    struct Bench {
        hands: FakeClock,
        run: Run,
        home: TempDir,
    }

    impl Bench {
        fn new(
            meter: impl FnOnce(MeterBuilder) -> MeterBuilder,
            run: impl FnOnce(RunBuilder) -> RunBuilder,
        ) -> Bench {
            let (hands, home) = (FakeClock::new(), TempDir::new().unwrap());
            let watts = Power::from_watts;
            let domain = Domain::new(Hardware::Cpu, "package-0", "fake");
            let sensor = Fake::counter(domain, Load::Constant(watts(100.0)))
                .power_between(watts(99.0), watts(101.0));
            let meter =
                meter(Meter::builder().sensor(sensor).clock(hands.clock())).build().unwrap();
            let run = run(meter.run("net").directory(home.path())).start().unwrap();
            Bench { hands, run, home }
        }

        fn pass(&self) {
            self.hands.advance(Duration::from_millis(10));
        }

        /// Steps and epochs in the log, in order: how long, and how they ended.
        fn finish(self) -> Vec<(Kind, Duration, Status)> {
            self.run.finish().unwrap();
            let log = RunLog::open(self.home.path()).unwrap();
            let windows = [Kind::Step, Kind::Epoch].map(|kind| log.windows(kind).unwrap()).concat();
            windows
                .into_iter()
                .map(|record| (record.kind, record.duration, record.status))
                .collect()
        }
    }

    const fn millis(time: u64) -> Duration {
        Duration::from_millis(time)
    }

    #[test]
    fn a_step_of_two_shards_lasts_from_the_first_batch_to_the_first_that_asks_for_the_next() {
        let bench = Bench::new(|meter| meter, |run| run);
        let passes = Passes::of(&bench.run);
        let pass = passes.begin(Split::Train, 1, 1).unwrap();
        assert_eq!(passes.begin(Split::Train, 1, 2).unwrap().nth, 0, "the same pass");
        for number in 0..2 {
            assert!(pass.ask(number));
            pass.hand_out(number);
            bench.pass();
            assert!(pass.ask(number));
            pass.hand_out(number);
            bench.pass();
        }
        // The second shard has fewer batches; what it asks again for changes nothing.
        assert!(pass.ask(2));
        passes.end(&pass, true, None);
        bench.pass();
        assert!(pass.ended().is_none());
        passes.end(&pass, true, None);
        assert!(pass.ended().is_some());
        assert_eq!(pass.step_of(0).unwrap().number, 0);
        assert!(pass.step_of(1).is_none(), "a step's energy is told once");
        assert_eq!(pass.step_of(2).unwrap().number, 1);
        let step = (Kind::Step, millis(20), Status::Complete);
        assert_eq!(bench.finish(), [step, step, (Kind::Epoch, millis(50), Status::Complete)]);
    }

    #[test]
    fn a_shard_that_goes_through_its_loader_again_is_in_another_pass() {
        let bench = Bench::new(|meter| meter, |run| run);
        let passes = Passes::of(&bench.run);
        let first = passes.begin(Split::Train, 1, 1).unwrap();
        let slow = passes.begin(Split::Train, 1, 2).unwrap();
        passes.end(&first, true, None);
        let second = passes.begin(Split::Train, 1, 1).unwrap();
        assert_eq!((slow.nth, second.nth), (0, 1));
        assert_eq!(passes.begin(Split::Train, 2, 3).unwrap().nth, 2, "another loader's");
        passes.end(&slow, true, None);
        assert_eq!(passes.begin(Split::Train, 1, 2).unwrap().nth, 1);
    }

    #[test]
    fn a_step_that_one_shard_has_begun_when_the_budget_is_used_up_is_done_by_all() {
        let bench = Bench::new(|meter| meter, |run| run.budget(Energy::from_joules(1.0)));
        let passes = Passes::of(&bench.run);
        let interrupter = Interrupter::new();
        passes.interrupt_through(interrupter.clone());
        let pass = passes.begin(Split::Train, 1, 1).unwrap();
        passes.begin(Split::Train, 1, 2).unwrap();
        assert!(pass.ask(0));
        pass.hand_out(0);
        bench.hands.advance(millis(100));
        assert!(bench.run.is_stopped());
        assert!(pass.ask(0), "the other shard's part of the step");
        pass.hand_out(0);
        assert!(!pass.ask(1));
        passes.end(&pass, false, None);
        assert!(!interrupter.should_stop(), "a shard is still at work");
        assert!(!pass.ask(1));
        passes.end(&pass, false, None);
        assert_eq!(interrupter.get_message(), bench.run.stop_reason());
        assert!(interrupter.should_stop());
        assert!(passes.begin(Split::Train, 1, 1).is_none());
        assert_eq!(bench.finish()[1].2, Status::Stopped);
    }

    #[test]
    fn a_step_waits_for_the_one_before_that_another_thread_is_closing() {
        let (waiting, told) = mpsc::channel();
        let (release, gate) = mpsc::channel();
        let (waiting, gate) = (Mutex::new(waiting), Mutex::new(gate));
        // The fence is a device that takes its time at the first step, and none before.
        let fence = move || {
            waiting.lock().unwrap().send(()).unwrap();
            gate.lock().unwrap().recv().unwrap();
            Ok(())
        };
        let bench = Bench::new(|meter| meter.fence(fence), |run| run.sync_every(1));
        let passes = Passes::of(&bench.run);
        release.send(()).unwrap();
        let pass = passes.begin(Split::Train, 1, 1).unwrap();
        told.recv().unwrap();
        passes.begin(Split::Train, 1, 2).unwrap();
        assert!(pass.ask(0));
        pass.hand_out(0);
        std::thread::scope(|scope| {
            let closes = std::thread::Builder::new().spawn_scoped(scope, || pass.ask(1)).unwrap();
            told.recv().unwrap();
            assert!(pass.ask(1));
            pass.hand_out(1);
            bench.pass();
            release.send(()).unwrap();
            assert!(closes.join().unwrap());
        });
        bench.pass();
        (0..6).for_each(|_| release.send(()).unwrap());
        assert!(pass.ask(2));
        passes.end(&pass, true, None);
        passes.end(&pass, true, None);
        let steps = bench.finish();
        let complete = (Kind::Step, millis(10), Status::Complete);
        assert_eq!(steps[..2], [complete, complete]);
    }
}
