//! What a boundary costs a training thread, beside a bare `Instant::now()`; what windows, reads and start-up cost.
//!
//! `cargo bench -p ergometer-benches`. Compare rows of one run: machines are noisy, ratios are not.

use std::collections::HashMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use divan::Bencher;
use divan::counter::ItemsCount;
use ergometer::sensor::fake::{Fake, Load};
use ergometer::sensor::{Domain, Hardware, Sensor, model, nvml, rapl};
use ergometer::{Clock, Lane, Meter, Power, Run, RunBuilder};
use ergometer_sinks::TensorBoard;
use ergometer_sinks::mlflow::Mlflow;
use ergometer_sinks::otlp::Otlp;
use ergometer_sinks::prometheus::{Pushgateway, Scrape, Textfile};

fn main() {
    divan::main();
    // The logs of the runs above; nothing depends on their being gone.
    let _ = std::fs::remove_dir_all(scratch());
}

/// A run over one fake sensor, with its log in memory's file system if there is one.
fn run() -> Run {
    builder().start().expect("threads can be started")
}

fn builder() -> RunBuilder {
    let cpu = Fake::counter(
        Domain::new(Hardware::Cpu, "fake", "fake"),
        Load::Constant(Power::from_watts(50.0)),
    );
    let meter = Meter::builder()
        .sensor(cpu)
        .log_directory(scratch())
        .build()
        .expect("a fake sensor is a sensor");
    meter.run("bench")
}

/// The same run with all sinks on. What is sent goes to an address that takes everything and answers nothing.
fn run_with_sinks() -> ergometer::Result<Run> {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let url = format!("http://{}", silent.local_addr().expect("it has an address"));
    // Connections wait in its queue for as long as the program lives.
    std::mem::forget(silent);
    let every = Duration::from_millis(100);
    builder()
        .observe(TensorBoard::new(scratch().join("tensorboard")))
        .observe(Mlflow::new(&url)?)
        .observe(Scrape::bind("127.0.0.1:0")?)
        .observe(Textfile::new(scratch().join("bench.prom"))?.every(every))
        .observe(Pushgateway::new(&url)?.every(every))
        .observe(Otlp::new(&url)?.every(every))
        .start()
}

fn scratch() -> std::path::PathBuf {
    let memory = Path::new("/dev/shm");
    let root = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    root.join("ergometer-bench")
}

/// Calls `boundary` in rows, and rests between them as a training with real steps does: the recorder empties the ring.
/// Each thread has a lane of its own.
fn rows(bencher: Bencher<'_, '_>, boundary: impl Fn(&Lane) + Sync) {
    rows_of(&run(), bencher, boundary);
}

fn rows_of(run: &Run, bencher: Bencher<'_, '_>, boundary: impl Fn(&Lane) + Sync) {
    let lanes = Mutex::new(HashMap::new());
    bencher
        .with_inputs(|| {
            std::thread::sleep(Duration::from_millis(10));
            let mut lanes = lanes.lock().expect("no thread panics");
            lanes.entry(std::thread::current().id()).or_insert_with(|| run.lane()).clone()
        })
        .counter(ItemsCount::new(ROW))
        .bench_values(|lane| {
            for _ in 0..ROW {
                boundary(black_box(&lane));
            }
            lane
        });
}

const ROW: usize = 1_000;

mod step {
    use super::{
        Bencher, Duration, Instant, ItemsCount, ROW, black_box, rows, rows_of, run_with_sinks,
    };

    #[divan::bench(threads = [1, 4])]
    fn instant_now(bencher: Bencher<'_, '_>) {
        bencher
            .with_inputs(|| std::thread::sleep(Duration::from_millis(10)))
            .counter(ItemsCount::new(ROW))
            .bench_values(|()| {
                for _ in 0..ROW {
                    black_box(Instant::now());
                }
            });
    }

    #[divan::bench(threads = [1, 4])]
    fn tick(bencher: Bencher<'_, '_>) {
        rows(bencher, |lane| lane.tick());
    }

    /// As `tick`, and TensorBoard, MLflow, Prometheus in three ways and OpenTelemetry are told of each step.
    #[divan::bench(threads = [1, 4])]
    fn with_sinks(bencher: Bencher<'_, '_>) {
        let run = run_with_sinks().expect("the sinks can be made");
        rows_of(&run, bencher, |lane| lane.tick());
    }

    /// Two boundaries: it opens and it closes.
    #[divan::bench(threads = [1, 4])]
    fn guard(bencher: Bencher<'_, '_>) {
        rows(bencher, |lane| lane.step().end());
    }

    /// A boundary, and the time that the next item took to come. The first and the last of a row are more.
    #[divan::bench(threads = [1, 4])]
    fn iterator(bencher: Bencher<'_, '_>) {
        use std::cell::RefCell;
        thread_local! {
            /// An iterator has to be kept between rows, and it borrows its lane.
            static ITEMS: RefCell<Option<ergometer::Steps<'static, std::ops::RangeFrom<u32>>>> = const { RefCell::new(None) };
        }
        let run = super::run();
        bencher
            .with_inputs(|| {
                std::thread::sleep(Duration::from_millis(10));
                ITEMS.with_borrow_mut(|items| {
                    items.get_or_insert_with(|| Box::leak(Box::new(run.lane())).steps(0..));
                });
            })
            .counter(ItemsCount::new(ROW))
            .bench_values(|()| {
                ITEMS.with_borrow_mut(|items| {
                    for item in items.iter_mut().flatten().take(ROW) {
                        black_box(item);
                    }
                });
            });
        ITEMS.take();
    }
}

mod window {
    use super::{Bencher, rows, run};

    /// Opening and closing one.
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

/// One read of each source that there is on this machine, and of a powercap zone in a plain file.
mod read {
    use super::{Bencher, Clock, Path, Sensor, model, nvml, rapl, scratch};

    #[divan::bench(args = sources())]
    fn once(bencher: Bencher<'_, '_>, source: &str) {
        let (clock, mut sensor) = (Clock::system(), open(source).expect("it was there before"));
        bencher.bench_local(|| sensor.read(&clock));
    }

    fn sources() -> Vec<&'static str> {
        let all = ["nvml", "rapl", "rapl in a file", "cpu model", "memory model"];
        all.into_iter().filter(|source| open(source).is_some()).collect()
    }

    fn open(source: &str) -> Option<Box<dyn Sensor>> {
        match source {
            "nvml" => nvml::open(None, &ergometer::sensor::Selection::All).sensors.pop(),
            "rapl" => rapl::open(Path::new("/sys")).sensors.pop(),
            "rapl in a file" => rapl::open(&powercap()?).sensors.pop(),
            "cpu model" => model::cpu(Path::new("/proc"), Path::new("/sys"), None).ok(),
            _ => model::memory(Path::new("/proc")).ok(),
        }
    }

    fn powercap() -> Option<std::path::PathBuf> {
        let zone = scratch().join("sys/class/powercap/intel-rapl:0");
        std::fs::create_dir_all(&zone).ok()?;
        for (file, text) in [
            ("name", "package-0"),
            ("energy_uj", "1000000"),
            ("max_energy_range_uj", "262143328850"),
        ] {
            std::fs::write(zone.join(file), text).ok()?;
        }
        Some(scratch().join("sys"))
    }
}

mod start {
    use super::{Bencher, Meter, run};

    #[divan::bench(sample_count = 20, sample_size = 1)]
    fn detect() -> Meter {
        Meter::detect().expect("there is always a model")
    }

    /// Start and finish: it waits for the last reading of its slowest sensor.
    #[divan::bench(sample_count = 20, sample_size = 1)]
    fn run_start_to_finish(bencher: Bencher<'_, '_>) {
        bencher.bench_local(|| run().finish());
    }
}
