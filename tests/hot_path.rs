//! A step boundary allocates nothing, and a long log is read in little memory. A test program of its own, because it counts
//! what its threads allocate.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::time::Duration;

use ergometer::sensor::fake::{Fake, Load};
use ergometer::sensor::{Domain, Hardware};
use ergometer::{FakeClock, Meter, Power, Record, RunLog};
use ergometer_report::History;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    /// Bytes that are held, and the most that were.
    static HELD: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

#[expect(unsafe_code, reason = "a counting allocator is an unsafe trait")]
// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        HELD.with(|held| held.set(held.get().wrapping_add(layout.size())));
        PEAK.with(|peak| peak.set(peak.get().max(HELD.with(Cell::get))));
        // SAFETY: the caller's promises are the system allocator's conditions.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // What another thread allocated may be given back here.
        HELD.with(|held| held.set(held.get().saturating_sub(layout.size())));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

/// The most bytes that `work` held at a time.
fn peak(work: impl FnOnce()) -> usize {
    let before = HELD.with(Cell::get);
    PEAK.with(|peak| peak.set(before));
    work();
    PEAK.with(Cell::get) - before
}

#[test]
fn a_log_of_ten_times_the_steps_is_read_in_the_same_memory() {
    let logs = tempfile::tempdir().unwrap();
    let hands = FakeClock::new();
    let cpu = Fake::counter(
        Domain::new(Hardware::Cpu, "0", "fake"),
        Load::Constant(Power::from_watts(50.0)),
    );
    let meter = Meter::builder().clock(hands.clock()).sensor(cpu).log_directory(logs.path());
    let run = meter.build().unwrap().run("long").start().unwrap();
    run.steps(0..2).for_each(|_| hands.advance(Duration::from_secs(2)));
    let log = RunLog::open(run.path()).unwrap();
    run.finish().unwrap();
    let path = log.directory().join("rank-00000.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let [first, step, .., end] = &text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
    let read = |steps: usize| {
        let mut step: Record = serde_json::from_str(step).unwrap();
        let mut lines = vec![(*first).to_owned()];
        for _ in 0..steps {
            (step.start, step.end) = (step.end, step.end + step.duration);
            step.total += step.energy.unwrap();
            lines.push(serde_json::to_string(&step).unwrap());
        }
        lines.push((*end).to_owned());
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        drop(lines);
        let mut count = 0;
        let held = peak(|| count = History::read(&log).unwrap().0.steps.count);
        assert_eq!(count, steps as u64);
        held
    };
    let (short, long) = (read(3_000), read(30_000));
    assert!(long < short + 4_096, "{short} and {long} bytes");
    assert!(long < 512 * 1_024, "{long} bytes");
}

#[test]
fn a_step_boundary_allocates_nothing() {
    let logs = tempfile::tempdir().unwrap();
    let cpu = Fake::counter(
        Domain::new(Hardware::Cpu, "0", "fake"),
        Load::Constant(Power::from_watts(50.0)),
    );
    let meter = Meter::builder().sensor(cpu).log_directory(logs.path()).build().unwrap();
    let run = meter.run("allocations").start().unwrap();
    // The counter counts, or this test could not fail.
    assert_eq!(allocations(|| drop(black_box(Box::new(1)))), 1);
    run.metric("loss", 1.0);
    drop(run.phase("evaluate"));
    // More than a ring holds, so that a full ring is covered too.
    for _ in 0..40 {
        let each = allocations(|| {
            for item in run.steps(0..1_000).samples(32).tokens(8) {
                black_box(item);
            }
            for _ in 0..1_000 {
                run.tick();
                run.step().end();
                run.samples(3);
                run.metric("loss", 1.0);
                run.phase("evaluate").end();
            }
        });
        assert_eq!(each, 0);
    }
    run.finish().unwrap();
}
