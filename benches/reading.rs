//! How fast a long log is read, on one core, and in how much memory: ten million steps, or as many as are asked for.
//!
//! `cargo bench -p ergometer-benches --bench reading [-- STEPS]`. The log is written first, some 600 bytes for a step, so
//! that the whole takes 6 GB of the temporary directory for a minute. `ergometer report` runs in a process of its own, so that
//! the peak of its memory is its own. The rows above it do ever more of its work, and tell what bounds it.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark prints its table, and a process of its own the peak of its memory"
)]

use std::error::Error;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ergometer::log::{Entry, Line};
use ergometer::sensor::fake::{Fake, Load};
use ergometer::sensor::{Domain, Hardware};
use ergometer::{Energy, FakeClock, Kind, Meter, Power, Record, RunLog};
use ergometer_report::History;

/// Steps of the log, and when cargo only tries whether the benchmark runs.
const STEPS: u64 = 10_000_000;
const TRIED: u64 = 50_000;

/// Steps of an epoch.
const EPOCH: u64 = 100_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, kind, run] = &arguments[..]
        && first == "--report"
    {
        return report(kind, Path::new(run));
    }
    let tried = arguments.iter().any(|argument| argument == "--test");
    let given = arguments.iter().find_map(|argument| argument.parse().ok());
    let steps = given.unwrap_or(if tried { TRIED } else { STEPS });

    let home = tempfile::tempdir()?;
    let run = write(home.path(), steps)?;
    let bytes = fs::metadata(run.join("rank-00000.jsonl"))?.len();
    println!("a log of {steps} steps, {:.2} GB", bytes as f64 / 1e9);
    let row = |name: &str, time: Duration| {
        println!("{name:<44} {:>7.0} MB/s", bytes as f64 / 1e6 / time.as_secs_f64());
    };
    row("lines, looked at by nobody", timed(|| lines(&run))?);
    row("every line's syntax and a step's own fields", timed(|| scan(&run))?);
    row("and the statistics of steps, power over time", timed(|| history(&run))?);
    if tried || given.is_some() {
        row("each line whole, for comparison", timed(|| whole(&run))?);
    }
    for kind in ["text", "page"] {
        let start = Instant::now();
        let out =
            Command::new(std::env::current_exe()?).args(["--report", kind]).arg(&run).output()?;
        let time = start.elapsed();
        let memory = String::from_utf8(out.stderr)?;
        if !out.status.success() {
            return Err(format!("report: {memory}").into());
        }
        row(&format!("ergometer report, {kind}{}", memory.trim_end()), time);
    }
    Ok(())
}

/// `ergometer report`, in this process.
fn report(kind: &str, run: &Path) -> Result<(), Box<dyn Error>> {
    let page = run.join("report.html");
    let mut words = vec!["ergometer".into(), "report".into(), run.as_os_str().to_owned()];
    if kind == "page" {
        words.extend(["-o".into(), page.into_os_string()]);
    }
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = ergometer_cli::run(words, &mut out, &mut err);
    if status != 0 {
        return Err(String::from_utf8(err)?.into());
    }
    // Where the system tells no peak, none is told.
    if let Ok(text) = fs::read_to_string("/proc/self/status")
        && let Some(peak) = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))
    {
        let size: f64 = peak.trim().trim_end_matches(" kB").parse()?;
        eprintln!(" ({:.1} MB resident)", size / 1024.0);
    }
    Ok(())
}

fn timed(work: impl FnOnce() -> Result<(), Box<dyn Error>>) -> Result<Duration, Box<dyn Error>> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}

fn lines(run: &Path) -> Result<(), Box<dyn Error>> {
    let mut file = BufReader::with_capacity(1 << 16, File::open(run.join("rank-00000.jsonl"))?);
    let mut line = Vec::new();
    while file.read_until(b'\n', &mut line)? > 0 {
        black_box(&line);
        line.clear();
    }
    Ok(())
}

fn scan(run: &Path) -> Result<(), Box<dyn Error>> {
    let mut sum = Energy::ZERO;
    RunLog::open(run)?.scan(|entry| {
        if let Entry::Step(step, _) = entry {
            sum += step.energy.unwrap_or_default();
        }
    })?;
    black_box(sum);
    Ok(())
}

fn history(run: &Path) -> Result<(), Box<dyn Error>> {
    let (history, bad) = History::read(&RunLog::open(run)?)?;
    black_box(history);
    bad.first().map_or(Ok(()), |bad| Err(bad.to_string().into()))
}

fn whole(run: &Path) -> Result<(), Box<dyn Error>> {
    for line in RunLog::open(run)?.lines()? {
        black_box(line?);
    }
    Ok(())
}

/// Writes a log of `steps` steps: a short run's lines, its steps repeated.
fn write(home: &Path, steps: u64) -> Result<PathBuf, Box<dyn Error>> {
    let hands = FakeClock::new();
    let sensor = |hardware, id, watts| {
        Fake::counter(Domain::new(hardware, id, "fake"), Load::Constant(Power::from_watts(watts)))
    };
    let meter = Meter::builder()
        .clock(hands.clock())
        .log_directory(home)
        .sensor(sensor(Hardware::Gpu, "GPU-7b5aa4d0-4f3e-4f0c-8f39-0c5a2a1b9d11", 300.0))
        .sensor(sensor(Hardware::Cpu, "package-0", 80.0))
        .build()?;
    let run = meter.run("reading").parameters(101_770).start()?;
    for _epoch in run.epochs(1..=1) {
        for _step in run.steps(0..2).samples(128) {
            hands.advance(Duration::from_millis(40));
        }
        run.metric("accuracy", 0.97);
    }
    let path = run.path().to_owned();
    run.finish()?;

    let lines: Vec<Line> = RunLog::open(&path)?.lines()?.collect::<Result<_, _>>()?;
    let window = |kind| {
        lines.iter().find_map(|line| match line {
            Line::Window(record) if record.kind == kind => Some((**record).clone()),
            _ => None,
        })
    };
    let (Some(mut step), Some(mut epoch), Some(mut end)) =
        (window(Kind::Step), window(Kind::Epoch), window(Kind::End))
    else {
        return Err("a run has steps, an epoch and an end".into());
    };
    let log = path.join("rank-00000.jsonl");
    let start = BufReader::new(File::open(&log)?).lines().next().ok_or("an empty log")??;
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&log)?);
    writeln!(out, "{start}")?;
    let (length, first) = (step.duration, step.start);
    for number in 1..=steps {
        step.step = Some(number);
        step.id = number + 1;
        step.epoch = Some((number - 1) / EPOCH + 1);
        (step.start, step.end) = (step.end, step.end + length);
        pass(&mut step);
        put(&mut out, &step)?;
        if number % EPOCH == 0 || number == steps {
            (epoch.start, epoch.end, epoch.total) = (epoch.end, step.end, step.total);
            epoch.epoch = step.epoch;
            put(&mut out, &epoch)?;
        }
    }
    (end.start, end.end, end.total, end.duration) =
        (first, step.end, step.total, step.end.since(first));
    end.energy = Some(step.total);
    put(&mut out, &end)?;
    out.flush()?;
    Ok(path)
}

/// Moves a step's totals on by its energy.
fn pass(step: &mut Record) {
    step.total += step.energy.unwrap_or_default();
    for share in step.domains.values_mut() {
        share.total += share.energy.unwrap_or_default();
    }
}

fn put(out: &mut impl Write, record: &Record) -> Result<(), Box<dyn Error>> {
    serde_json::to_writer(&mut *out, record)?;
    out.write_all(b"\n")?;
    Ok(())
}
