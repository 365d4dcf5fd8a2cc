//! How far off windows are: the plain difference of two counter readings beside ergometer, on the same simulated counters.
//!
//! `cargo bench -p ergometer-benches --bench accuracy` prints a table. Nothing in it depends on the machine: the counters
//! and the clock are simulated, the samplers, the recorder and the log are the real ones.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark prints, may panic, and its counts are small"
)]

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use ergometer::sensor::fake::{Fake, Load};
use ergometer::sensor::{Domain, Hardware, Sensor};
use ergometer::{Energy, FakeClock, Kind, Meter, Power, RunLog, Timestamp};

/// 500 W and 200 W in turns of 30 ms, the higher one 80 % of the time: what training steps look like.
fn load() -> Load {
    Load::Square {
        high: Power::from_watts(500.0),
        low: Power::from_watts(200.0),
        period: Duration::from_millis(30),
        duty: 0.8,
    }
}

fn counter(period: Duration) -> Fake {
    Fake::counter(Domain::new(Hardware::Gpu, "0", "simulated"), load())
        .period(period)
        .jitter(0.01)
        .quantum(Energy::from_millijoules(1))
        .latency(Duration::from_micros(100))
        .power_between(Power::from_watts(60.0), Power::from_watts(700.0))
}

/// `SplitMix64`, from 0 to 1.
struct Draw(u64);

impl Draw {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        f64::from(u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or(0)) / f64::from(u32::MAX)
    }
}

/// Relative errors of many windows.
struct Errors(Vec<f64>);

impl Errors {
    fn deviation(&self) -> f64 {
        let squares: f64 = self.0.iter().map(|error| error * error).sum();
        100.0 * (squares / self.0.len() as f64).sqrt()
    }

    fn percentile_95(&self) -> f64 {
        let mut sorted: Vec<f64> = self.0.iter().map(|error| 100.0 * error.abs()).collect();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() * 95 / 100]
    }
}

/// What became of the windows of one kind.
struct Row {
    plainly: Errors,
    ours: Errors,
    /// How many of ergometer's ± 2u held the truth, in percent.
    held: f64,
    /// Of how many it gave an energy at all.
    given: f64,
}

/// Windows of about `length` (± 20 %), back to back if they are steps: their errors by plain difference, and by ergometer.
fn measure(period: Duration, length: Duration, steps: bool, logs: &Path) -> Row {
    let (hands, mut draw) = (FakeClock::new(), Draw(7));
    let meter = Meter::builder()
        .clock(hands.clock())
        .log_directory(logs)
        .sensor(counter(period))
        .build()
        .unwrap();
    // The same counter once more, for who reads it at the boundaries only.
    let mut plain = counter(period);
    let mut shown = || match plain.read(&hands.clock()).unwrap().quantity {
        ergometer::sensor::Quantity::Counter(energy) => energy,
        ergometer::sensor::Quantity::Gauge(_) => Energy::ZERO,
    };
    let run = meter.run("accuracy").start().unwrap();
    let path = run.path().to_owned();
    // A second of trial, and enough updates to have learned from.
    hands.advance(period * 40 + Duration::from_secs(2));
    let count = if steps { 4_000 } else { 300 };
    let mut plainly = Vec::new();
    let mut before = shown();
    for _ in 0..count {
        if !steps {
            hands.advance(period.mul_f64(draw.unit()));
            before = shown();
        }
        let window = if steps { run.step() } else { run.phase("window") };
        let spread = if steps { 0.05 } else { 0.2 };
        hands.advance(length.mul_f64(1.0 - spread + 2.0 * spread * draw.unit()));
        drop(window);
        let after = shown();
        plainly.push(after - before);
        before = after;
    }
    run.finish().unwrap();
    let kind = if steps { Kind::Step } else { Kind::Phase };
    let windows: Vec<_> = RunLog::open(&path)
        .unwrap()
        .lines()
        .unwrap()
        .filter_map(|line| match line.unwrap() {
            ergometer::log::Line::Window(record) if record.kind == kind => Some(*record),
            _ => None,
        })
        .collect();
    let truth = |start: Timestamp, end: Timestamp| load().between(start, end).as_joules();
    let mean = windows.iter().map(|it| truth(it.start, it.end)).sum::<f64>() / windows.len() as f64;
    let off = |energy: Energy, start, end| (energy.as_joules() - truth(start, end)) / mean;
    let plainly = windows.iter().zip(plainly);
    let plainly = plainly.map(|(window, energy)| off(energy, window.start, window.end)).collect();
    let (mut ours, mut held) = (Vec::new(), 0);
    // A window that is too short to say anything of has no energy, and so no error.
    for window in windows.iter().filter(|window| window.energy.is_some()) {
        let error = off(window.energy.unwrap(), window.start, window.end);
        held += usize::from(error.abs() * mean <= 2.0 * window.uncertainty.unwrap().as_joules());
        ours.push(error);
    }
    let given = 100.0 * ours.len() as f64 / windows.len() as f64;
    let held = 100.0 * held as f64 / ours.len() as f64;
    Row { plainly: Errors(plainly), ours: Errors(ours), held, given }
}

fn main() {
    let logs = tempfile::tempdir().unwrap();
    let mut table = String::from(
        "errors relative to the mean of such windows: standard deviation (95th percentile)\n\
         updates   windows        plain difference         ergometer           ± 2u holds  given\n",
    );
    let cases = [(100, &[100, 300, 1_000, 5_000][..]), (20, &[100, 1_000]), (500, &[1_000, 5_000])];
    for (period, lengths) in cases {
        let period = Duration::from_millis(period);
        let lengths = lengths.iter().map(|length| (Duration::from_millis(*length), false));
        for (length, steps) in [(Duration::from_millis(30), true)].into_iter().chain(lengths) {
            let Row { plainly, ours, held, given } = measure(period, length, steps, logs.path());
            let what = if steps { format!("steps {length:?}") } else { format!("{length:?}") };
            writeln!(
                table,
                "{:<9} {what:<12} {:>8.2} % ({:>6.2} %)   {:>7.3} % ({:>6.3} %)   {held:>6.1} %  {given:>6.1} %",
                format!("{period:?}"),
                plainly.deviation(),
                plainly.percentile_95(),
                ours.deviation(),
                ours.percentile_95(),
            )
            .unwrap();
        }
    }
    println!("{table}");
}
