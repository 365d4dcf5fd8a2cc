//! Logs that are torn, garbled, unwritable, killed and resumed.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ergometer::log::Line;
use ergometer::{Energy, Kind, Meter, Quality, Record, RunLog, Status, Summary};

use crate::lab::{Lab, check_schema, check_sums, constant, cpu, gpu, lines, of, windows};

/// Trains `epochs` of five steps of 100 ms at 100 W.
fn train(lab: &Lab, run: &ergometer::Run, epochs: std::ops::RangeInclusive<u64>) {
    for _epoch in run.epochs(epochs) {
        for _batch in run.steps(0..5) {
            lab.pass(100);
        }
    }
}

fn log_of(run: &Path) -> PathBuf {
    run.join("rank-00000.jsonl")
}

fn append(run: &Path, text: &str) {
    OpenOptions::new().append(true).open(log_of(run)).unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_torn_last_line_is_not_a_line() {
    let lab = Lab::new();
    let run = lab.meter([cpu(constant(100.0))]).run("torn").start().unwrap();
    train(&lab, &run, 1..=2);
    let path = run.path().to_owned();
    run.finish().unwrap();
    let whole = lines(&path);
    append(&path, r#"{"kind":"step","run_id":"#);
    assert_eq!(
        RunLog::open(&path).unwrap().lines().unwrap().map(Result::unwrap).collect::<Vec<_>>(),
        whole
    );
}

#[test]
fn every_other_bad_line_is_named_by_file_and_number() {
    let lab = Lab::new();
    let run = lab.meter([cpu(constant(100.0))]).run("garbage").start().unwrap();
    train(&lab, &run, 1..=1);
    let path = run.path().to_owned();
    run.finish().unwrap();
    let text = fs::read_to_string(log_of(&path)).unwrap();
    let mut bad: Vec<&str> = text.lines().collect();
    let count = bad.len();
    bad.insert(2, "not json at all");
    bad.insert(4, r#"{"kind":"dance"}"#);
    bad.insert(5, r#"{"kind":"run","version":99}"#);
    bad.insert(6, "");
    fs::write(log_of(&path), bad.join("\n") + "\n").unwrap();
    let (good, faults): (Vec<_>, Vec<_>) =
        RunLog::open(&path).unwrap().lines().unwrap().partition(Result::is_ok);
    assert_eq!(good.len(), count);
    let faults: Vec<_> = faults.into_iter().map(|fault| fault.unwrap_err().to_string()).collect();
    assert_eq!(faults.len(), 3, "{faults:?}");
    for (fault, says) in
        faults.iter().zip(["line 3: expected", "line 5: unknown kind `dance`", "line 6: "])
    {
        assert!(fault.contains("rank-00000.jsonl` ") && fault.contains(says), "{fault}");
    }
}

#[test]
fn a_directory_that_is_no_run_says_what_is_missing() {
    let lab = Lab::new();
    let error = RunLog::open(lab.logs.path()).unwrap_err();
    assert!(error.is_absent() && error.to_string().contains("run.json"), "{error}");
    fs::write(lab.logs.path().join("run.json"), "{").unwrap();
    assert!(RunLog::open(lab.logs.path()).unwrap_err().to_string().contains("run.json"));
}

#[test]
fn a_resumed_run_goes_on_with_its_numbers_and_its_joules() {
    let lab = Lab::new();
    let meter = lab.meter([cpu(constant(100.0))]);
    let run = meter.run("resumed").parameters(7).note("seed", 3).start().unwrap();
    train(&lab, &run, 1..=2);
    let path = run.path().to_owned();
    let first = run.finish().unwrap();
    lab.pass(5_000);

    let run = meter.resume(&path).unwrap().start().unwrap();
    assert_eq!((run.next_epoch(), run.path()), (3, &*path));
    assert!(run.energy().energy.unwrap() >= first.end.energy.unwrap());
    train(&lab, &run, run.next_epoch()..=4);
    let summary = run.finish().unwrap();

    let windows = windows(&path);
    let steps: Vec<_> = of(&windows, Kind::Step).iter().map(|step| step.step.unwrap()).collect();
    assert_eq!(steps, (1..=20).collect::<Vec<_>>());
    let epochs: Vec<_> = of(&windows, Kind::Epoch)
        .iter()
        .map(|epoch| (epoch.epoch.unwrap(), epoch.session))
        .collect();
    assert_eq!(epochs, [(1, 0), (2, 0), (3, 1), (4, 1)]);
    // Four epochs of half a second at 100 W; the pause between the sessions is nobody's.
    assert!(
        (summary.end.energy.unwrap().as_joules() - 200.0).abs() < 1.0,
        "{}",
        summary.estimate()
    );
    assert_eq!(summary.end.duration, Duration::from_secs(2));
    // The first session got to its end, so that nothing is missing, and its uncertainty is there too.
    assert_eq!(summary.end.quality, first.end.quality);
    assert!(summary.end.uncertainty > first.end.uncertainty);
    assert_eq!((summary.end.epochs, summary.end.steps), (Some(4), Some(20)));
    assert_eq!((summary.manifest.sessions, summary.manifest.parameters), (2, Some(7)));
    assert_eq!(summary.manifest.notes["seed"], "3");
    assert!(
        lines(&path)
            .iter()
            .any(|line| matches!(line, Line::Event(event) if event.event == "resumed"))
    );
}

#[test]
fn a_session_that_sees_less_or_more_than_those_before_is_partial() {
    let lab = Lab::new();
    let (less, more) =
        (lab.meter([cpu(constant(100.0))]), lab.meter([cpu(constant(100.0)), gpu(constant(50.0))]));
    for (first, second) in [(&more, &less), (&less, &more)] {
        let run = first.run("moved").start().unwrap();
        lab.pass(2_000);
        let path = run.path().to_owned();
        assert_eq!(run.finish().unwrap().end.quality, Quality::Measured);
        let run = second.resume(&path).unwrap().start().unwrap();
        lab.pass(2_000);
        let end = run.finish().unwrap().end;
        assert_eq!(end.quality, Quality::Partial);
        let off = (end.energy.unwrap().as_joules() - 500.0).abs();
        assert!(off <= 2.0 * end.uncertainty.unwrap().as_joules(), "{}", end.estimate());
    }
}

#[test]
fn a_directory_that_holds_a_run_is_not_written_over() {
    let lab = Lab::new();
    let meter = lab.meter([cpu(constant(100.0))]);
    let run = meter.run("first").start().unwrap();
    lab.pass(100);
    let path = run.path().to_owned();
    run.finish().unwrap();
    let error = meter.run("second").directory(&path).start().unwrap_err().to_string();
    assert!(error.contains("holds a run already") && error.contains("resume"), "{error}");
}

/// The process that `a_killed_run_…` kills: trains until then. Not a test of its own: it does nothing unless asked.
#[test]
fn child_that_trains_until_it_is_killed() {
    let Ok(logs) = std::env::var("ERGOMETER_TEST_TRAIN_INTO") else { return };
    let meter = Meter::builder().sensor(cpu(constant(100.0))).log_directory(logs).build().unwrap();
    let run = meter.run("killed").start().unwrap();
    let mut steps = 0;
    for _epoch in run.epochs(1..=3) {
        for _batch in run.steps(0..20) {
            steps += 1;
            // In the middle of the third epoch it waits for its end.
            let time = if steps < 55 { Duration::from_millis(10) } else { Duration::from_mins(2) };
            std::thread::sleep(time);
        }
    }
}

#[test]
fn a_killed_run_loses_its_unsettled_tail_and_counts_nothing_twice() {
    let logs = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "log::child_that_trains_until_it_is_killed"])
        .env("ERGOMETER_TEST_TRAIN_INTO", logs.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let patience = Instant::now() + Duration::from_secs(20);
    let path = loop {
        assert!(Instant::now() < patience, "the child does not train");
        std::thread::sleep(Duration::from_millis(5));
        let Ok(runs) = RunLog::find(logs.path()) else { continue };
        let Ok(run) = RunLog::open(&runs[0]) else { continue };
        let steps = run.windows(Kind::Step).map_or(0, |steps| steps.len());
        if steps > 50 {
            break run.directory().to_owned();
        }
    };
    child.kill().unwrap();
    child.wait().unwrap();
    append(&path, r#"{"kind":"step","run_id":"torn"#);
    let (killed, _) = Summary::read(&RunLog::open(&path).unwrap()).unwrap();
    assert!(killed.to_string().contains("was killed"), "{killed}");

    let meter = Meter::builder().sensor(cpu(constant(100.0))).build().unwrap();
    let run = meter.resume(&path).unwrap().start().unwrap();
    assert_eq!(run.next_epoch(), 3);
    for _epoch in run.epochs(run.next_epoch()..=4) {
        for _batch in run.steps(0..20) {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    let summary = run.finish().unwrap();

    let windows = windows(&path);
    let epochs: Vec<_> = of(&windows, Kind::Epoch)
        .iter()
        .map(|epoch| (epoch.epoch.unwrap(), epoch.session, epoch.status))
        .collect();
    let complete = |epoch, session| (epoch, session, Status::Complete);
    assert_eq!(epochs[..3], [complete(1, 0), complete(2, 0), (3, 0, Status::Interrupted)]);
    assert_eq!(epochs[3..], [complete(3, 1), complete(4, 1)]);
    let steps: Vec<_> = of(&windows, Kind::Step).iter().map(|step| step.step.unwrap()).collect();
    assert_eq!(steps, (1..=steps.len() as u64).collect::<Vec<_>>());
    // What the first session had used at its last line, and the second session's own.
    let sessions = [0, 1].map(|session| -> Energy {
        let last = windows
            .iter()
            .rfind(|record| record.session == session && record.kind != Kind::End)
            .unwrap();
        last.total
    });
    let own = windows.last().unwrap();
    let truth = 100.0
        * of(&windows, Kind::Epoch).iter().map(|epoch| epoch.duration.as_secs_f64()).sum::<f64>();
    assert!(sessions[0] < sessions[1] && sessions[1] <= own.total);
    assert!(
        (own.energy.unwrap().as_joules() - truth).abs() < 0.15 * truth,
        "{} against {truth} J",
        summary.estimate()
    );
    let resumed = lines(&path).into_iter().find_map(|line| match line {
        Line::Event(event) if event.event == "resumed" => event.detail,
        _ => None,
    });
    let resumed = resumed.unwrap();
    assert!(
        resumed.contains("torn last line of 29 bytes") && resumed.contains("not known"),
        "{resumed}"
    );
}

/// Collects what goes through `log`. Process-wide, because `log` is.
struct Warnings(Mutex<Vec<String>>);

impl log::Log for Warnings {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }
    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.lock().unwrap().push(record.args().to_string());
        }
    }
    fn flush(&self) {}
}

static WARNINGS: Warnings = Warnings(Mutex::new(Vec::new()));

#[test]
fn an_unwritable_directory_does_not_stop_the_training_and_is_said_at_the_end() {
    let _ = log::set_logger(&WARNINGS);
    log::set_max_level(log::LevelFilter::Warn);
    let lab = Lab::new();
    let file = lab.logs.path().join("not-a-directory");
    fs::write(&file, "").unwrap();
    let directory = file.join("run");
    let meter = lab.meter([cpu(constant(100.0))]);
    let run = meter.run("unwritable").directory(&directory).start().unwrap();
    train(&lab, &run, 1..=40);
    assert_eq!(run.last_epoch().unwrap().epoch, Some(39));
    let error = run.finish().unwrap_err().to_string();
    for part in ["not-a-directory", "kept in memory", "J ±", ".directory("] {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
    let warnings = WARNINGS.0.lock().unwrap();
    let ours: Vec<_> =
        warnings.iter().filter(|warning| warning.contains("not-a-directory")).collect();
    assert_eq!(ours.len(), 1, "{warnings:?}");
}

#[test]
fn a_directory_that_becomes_writable_again_gets_every_line() {
    let lab = Lab::new();
    let directory = lab.logs.path().join("later");
    fs::write(&directory, "in the way").unwrap();
    let meter = lab.meter([cpu(constant(100.0))]);
    let run = meter.run("later").directory(&directory).start().unwrap();
    train(&lab, &run, 1..=4);
    fs::remove_file(&directory).unwrap();
    train(&lab, &run, 5..=8);
    run.finish().unwrap();
    check_schema(&directory);
    let windows: Vec<Record> = RunLog::open(&directory).unwrap().windows(Kind::Step).unwrap();
    assert_eq!(windows.len(), 40);
    check_sums(&windows);
}

#[test]
fn a_step_takes_no_memory_and_no_lock_that_io_can_hold() {
    let lab = Lab::new();
    // A disk that hangs: a pipe that nobody reads blocks the recorder at its first write.
    let directory = lab.logs.path().join("hangs");
    fs::create_dir(&directory).unwrap();
    let made = Command::new("mkfifo").arg(log_of(&directory)).status();
    if !made.is_ok_and(|status| status.success()) {
        return; // No mkfifo on this system: the allocation test below still holds.
    }
    let meter = Meter::builder().sensor(cpu(constant(100.0))).build().unwrap();
    let run = meter.run("hangs").directory(&directory).start().unwrap();
    let begun = Instant::now();
    for _batch in run.steps(0..200_000) {
        run.tick();
    }
    // The disk hangs for ever.
    assert!(begun.elapsed() < Duration::from_secs(20), "the training was held up");
    let ended = Instant::now();
    assert!(run.finish().unwrap_err().is_lost());
    assert!(ended.elapsed() < Duration::from_secs(20), "the end was held up");
}

#[test]
fn the_schema_refuses_what_is_no_line() {
    let run = tempfile::tempdir().unwrap();
    for line in [r#"{"kind":"step"}"#, r#"{"kind":"dance"}"#, "3"] {
        fs::write(log_of(run.path()), format!("{line}\n")).unwrap();
        assert!(std::panic::catch_unwind(|| check_schema(run.path())).is_err(), "{line}");
    }
}
