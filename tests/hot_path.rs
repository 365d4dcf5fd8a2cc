//! A step boundary allocates nothing. A test program of its own, because it counts what its thread allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;

use ergometer::sensor::fake::{Fake, Load};
use ergometer::sensor::{Domain, Hardware};
use ergometer::{Meter, Power};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

#[expect(unsafe_code, reason = "a counting allocator is an unsafe trait")]
// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are the system allocator's conditions.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
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
