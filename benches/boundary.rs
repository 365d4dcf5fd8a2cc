//! What a boundary costs a training thread, beside a bare `Instant::now()`; what windows, reads and start-up cost.
//!
//! `cargo bench -p ergometer-benches`. Compare rows of one run: machines are noisy, ratios are not.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use divan::Bencher;
use ergometer::sensor::fake::{Fake, Load};
use ergometer::sensor::{Domain, Found, Hardware, Sensor, model, nvml, rapl};
use ergometer::{Clock, Lane, Meter, Power, Run};

fn main() {
    divan::main();
}

/// A run over one fake sensor, with its log in memory's file system if there is one.
fn run() -> Run {
    let cpu = Fake::counter(Domain::new(Hardware::Cpu, "fake", "fake"), Load::Constant(Power::from_watts(50.0)));
    let meter = Meter::builder().sensor(cpu).log_directory(scratch()).build().expect("a fake sensor is a sensor");
    meter.run("bench").start().expect("threads can be started")
}

fn scratch() -> std::path::PathBuf {
    let memory = Path::new("/dev/shm");
    let root = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    root.join("ergometer-bench")
}

/// Calls `boundary` in rows that fit a lane's ring, and rests between them, as a training with real steps does.
fn rows(bencher: Bencher<'_, '_>, boundary: impl Fn(&Lane) + Sync) {
    let run = run();
    bencher
        .with_inputs(|| {
            // The recorder empties the ring meanwhile.
            std::thread::sleep(Duration::from_micros(500));
            run.lane()
        })
        .counter(divan::counter::ItemsCount::new(ROW))
        .bench_values(|lane| {
            for _ in 0..ROW {
                boundary(black_box(&lane));
            }
            lane
        });
    drop(run);
}

const ROW: usize = 1_000;

mod step {
    use super::{Bencher, Duration, Instant, ROW, black_box, rows, run};

    #[divan::bench(threads = [1, 4])]
    fn instant_now(bencher: Bencher<'_, '_>) {
        bencher
            .with_inputs(|| std::thread::sleep(Duration::from_micros(500)))
            .counter(divan::counter::ItemsCount::new(ROW))
            .bench_values(|()| {
                for _ in 0..ROW {
                    black_box(Instant::now());
                }
            });
    }

    #[divan::bench(threads = [1, 4])]
    fn iterator(bencher: Bencher<'_, '_>) {
        let run = run();
        bencher
            .with_inputs(|| {
                std::thread::sleep(Duration::from_micros(500));
                run.lane()
            })
            .counter(divan::counter::ItemsCount::new(ROW))
            .bench_values(|lane| {
                for item in lane.steps(0..ROW) {
                    black_box(item);
                }
                lane
            });
    }

    #[divan::bench(threads = [1, 4])]
    fn tick(bencher: Bencher<'_, '_>) {
        rows(bencher, |lane| lane.tick());
    }

    /// Two boundaries: it opens and it closes.
    #[divan::bench(threads = [1, 4])]
    fn guard(bencher: Bencher<'_, '_>) {
        rows(bencher, |lane| lane.step().end());
    }
}

mod window {
    use super::{Bencher, rows, run};

    #[divan::bench]
    fn phase(bencher: Bencher<'_, '_>) {
        rows(bencher, |lane| lane.phase("evaluate").end());
    }

    #[divan::bench]
    fn energy_so_far(bencher: Bencher<'_, '_>) {
        let run = run();
        bencher.bench(|| run.energy());
    }
}
