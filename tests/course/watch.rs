//! Runs that are watched while they go on, by the commands `watch` and `project --follow`.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use ergometer::log::Line;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Made, ergometer, learning, objects, progress};
use crate::lab::{Lab, constant, cpu};

/// A run of two epochs that has no end yet, by this process on this machine.
fn running() -> Made {
    let mut made = Made::new("run").note("epochs", "4").set("state", json!("running"));
    if let Ok(host) = fs::read_to_string("/proc/sys/kernel/hostname") {
        made.manifest["machine"]["host"] = json!(host.trim());
    }
    if let Ok(boot) = fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        made.manifest["machine"]["boot_id"] = json!(boot.trim());
    }
    made.epochs(&[120.0, 100.0])
}

fn grow_old(run: &Path, age: Duration) {
    let log = OpenOptions::new().append(true).open(run.join("rank-00000.jsonl")).unwrap();
    log.set_modified(SystemTime::now() - age).unwrap();
}

#[test]
fn project_shows_a_running_run_as_it_stands() {
    let logs = TempDir::new().unwrap();
    let run = running().epochs(&[100.0]).write(logs.path());
    let path = run.to_str().unwrap();
    let (status, out, err) =
        ergometer(&["project", path, "--country", "FR", "--price", "0.25 EUR"]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(out.contains("· running\n") && out.contains("3 of 4 done"), "{out}");
    assert!(
        out.contains("projected  420.0") && out.contains("emissions") && out.contains("EUR"),
        "{out}"
    );
    assert!(out.contains("if the intensity stays as it is"), "{out}");
    let (_, out, _) = ergometer(&["project", path, "--json", "--epochs", "10"]);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["projection"]["energy_j"], json!(1_020));
    assert_eq!(answer["outlay"]["co2e_kg"], Value::Null);
    let (status, _, err) = ergometer(&["project", path, "--epochs", "2"]);
    assert_eq!(status, 1);
    assert!(err.contains("3 epochs are done, and 2 planned"), "{err}");
    // Three hours without a word.
    grow_old(&run, Duration::from_secs(3 * 3_600 + 5));
    let (status, _, err) = ergometer(&["project", path]);
    assert_eq!(status, 0);
    assert!(err.contains("its last line is 3 h 0 min old"), "{err}");
}

#[test]
fn project_tells_an_early_stop_and_what_it_needs_for_it() {
    let logs = TempDir::new().unwrap();
    let made =
        learning("run", &[0.5, 0.8, 0.7]).note("epochs", "20").set("state", json!("running"));
    let run = made.write(logs.path());
    let path = run.to_str().unwrap();
    let (status, out, err) =
        ergometer(&["project", path, "--metric", "accuracy", "--patience", "4"]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(out.contains("600.0 J if it stops after epoch 6"), "{out}");
    assert_eq!(ergometer(&["project", path, "--metric", "accuracy"]).0, 2);
    let (status, _, err) = ergometer(&["project", path, "--metric", "speed", "--patience", "4"]);
    assert_eq!(status, 1);
    assert!(err.contains("say so: higher or lower"), "{err}");
}

#[test]
fn project_looks_back_on_a_run_that_has_ended() {
    let lab = Lab::new();
    let run = lab.meter([cpu(constant(100.0))]).run("done").start().unwrap();
    for _epoch in run.epochs(1..=6) {
        for _step in run.steps(0..4) {
            lab.pass(500);
        }
    }
    run.finish().unwrap();
    let (status, out, err) = ergometer(&["project", lab.logs.path().to_str().unwrap()]);
    assert_eq!(status, 0, "{err}");
    assert!(err.contains("the newest run there is"), "{err}");
    assert!(out.contains("6 of 6 done") && out.contains("nothing is left to do"), "{out}");
    assert!(out.contains("4 of 4 intervals hold it"), "{out}");
}

#[test]
fn project_of_a_run_without_epochs_says_why_not() {
    let logs = TempDir::new().unwrap();
    let made = Made::new("run").set("state", json!("running"));
    let killed = Made { lines: vec![made.lines[0].clone(), progress("run", 50.0)], ..made };
    let (status, out, err) = ergometer(&["project", killed.write(logs.path()).to_str().unwrap()]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains("holds no window") && err.contains("50.0 J"), "{err}");
}

#[test]
fn watch_shows_a_run_that_has_ended() {
    let logs = TempDir::new().unwrap();
    let run = running().epochs(&[100.0, 104.0]).end(json!({"accuracy": 0.97})).write(logs.path());
    let (status, out, err) = ergometer(&["watch", run.to_str().unwrap()]);
    assert_eq!((status, err.as_str()), (0, ""));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 7, "{out}");
    assert!(lines[2].starts_with("epoch 1 ") && lines[6].starts_with("run "), "{out}");
    assert!(lines[4].contains("→ 4") && lines[6].contains("accuracy 0.9700"), "{out}");
    assert!(lines.iter().all(|line| line.chars().count() <= 100), "{out}");
}

/// What two threads write and read.
#[derive(Clone, Default)]
struct Shared(std::sync::Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn lines(&self) -> usize {
        self.0.lock().unwrap().iter().filter(|byte| **byte == b'\n').count()
    }

    /// Waits until so many lines are there.
    fn wait_for(&self, lines: usize) {
        let start = Instant::now();
        while self.lines() < lines {
            assert!(start.elapsed() < Duration::from_secs(20), "{} lines", self.lines());
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[test]
fn watch_follows_a_log_that_is_being_written() {
    let logs = TempDir::new().unwrap();
    let made = running().epochs(&[100.0]).with("session", json!(1)).end(json!({}));
    let (run, out, err) = (logs.path().join("run"), Shared::default(), Shared::default());
    let (path, mut shown, mut said) = (run.to_str().unwrap().to_owned(), out.clone(), err.clone());
    let watching = thread::Builder::new().name("watching".to_owned()).spawn(move || {
        let arguments = ["ergometer", "watch", &path, "--json", "--timeout", "20 s"];
        ergometer_cli::run(arguments.map(Into::into), &mut shown, &mut said)
    });
    let watching = watching.unwrap();
    // Not there yet; then a directory without a log; then its first lines, the last of them torn.
    err.wait_for(1);
    fs::create_dir(&run).unwrap();
    // Whole at once, as a run writes it.
    fs::write(run.join("run.new"), made.manifest.to_string()).unwrap();
    fs::rename(run.join("run.new"), run.join("run.json")).unwrap();
    let text = made.text();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut log = fs::File::create(run.join("rank-00000.jsonl")).unwrap();
    let torn = lines[2].len() / 2;
    write!(log, "{}{}{}", lines[0], lines[1], &lines[2][..torn]).unwrap();
    out.wait_for(1);
    write!(log, "{}", &lines[2][torn..]).unwrap();
    out.wait_for(2);
    // The process is killed and goes on in another session.
    let mut again: Value = serde_json::from_str(lines[0]).unwrap();
    again["session"] = json!(1);
    write!(log, "{again}\n{}{}", lines[3], lines[4]).unwrap();
    let (status, err) = (watching.join().unwrap(), err.text());
    assert_eq!(status, 0, "{err}");
    assert!(err.contains("waiting for `"), "{err}");
    let rows = objects(&out.text());
    let kinds: Vec<&str> = rows.iter().map(|row| row["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["epoch", "epoch", "start", "epoch", "end"]);
    assert_eq!(rows[1]["total_j"], json!(220));
    assert_eq!(rows[1]["projection"]["energy_j"], json!(420));
}

#[test]
fn project_follows_and_projects_anew_with_each_epoch() {
    let logs = TempDir::new().unwrap();
    let made = running().epochs(&[100.0, 100.0]).end(json!({})).set("state", json!("complete"));
    let run = made.write(logs.path());
    let (status, out, err) = ergometer(&["project", run.to_str().unwrap(), "--follow", "--json"]);
    assert_eq!((status, err.as_str()), (0, ""));
    let rows = objects(&out);
    let projected: Vec<f64> =
        rows[..4].iter().map(|row| row["projection"]["energy_j"].as_f64().unwrap()).collect();
    assert_eq!(projected, [480.0, 420.0, 420.0, 420.0]);
    assert_eq!(rows[4]["checks"].as_array().unwrap().len(), 2);
}

#[test]
fn project_does_not_follow_what_it_cannot_project() {
    let logs = TempDir::new().unwrap();
    let run =
        Made::new("run").set("state", json!("running")).epochs(&[100.0; 3]).write(logs.path());
    let (status, out, err) = ergometer(&["project", run.to_str().unwrap(), "--follow"]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains("give their number with --epochs"), "{err}");
}

#[cfg(target_os = "linux")]
#[test]
fn watch_ends_with_a_process_that_was_killed() {
    let logs = TempDir::new().unwrap();
    // No process has an id beyond the largest.
    let mut made = running();
    made.manifest["program"]["pid"] = json!(4_194_305);
    let run = made.write(logs.path());
    grow_old(&run, Duration::from_secs(90));
    let (status, out, err) = ergometer(&["watch", run.to_str().unwrap(), "--timeout", "20 s"]);
    assert_eq!(status, 1);
    assert!(out.contains("epoch 2"), "{out}");
    assert!(
        err.contains("process 4194305 is gone") && err.contains("its last line is 90 s old"),
        "{err}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn watch_ends_with_a_killed_process_though_the_clock_was_set_back() {
    let logs = TempDir::new().unwrap();
    let mut made = running();
    made.manifest["program"]["pid"] = json!(4_194_305);
    let run = made.write(logs.path());
    let log = OpenOptions::new().append(true).open(run.join("rank-00000.jsonl")).unwrap();
    log.set_modified(SystemTime::now() + Duration::from_secs(3_600)).unwrap();
    let (status, _, err) = ergometer(&["watch", run.to_str().unwrap(), "--timeout", "20 s"]);
    assert_eq!(status, 1);
    assert!(err.contains("process 4194305 is gone"), "{err}");
}

#[test]
fn watch_knows_a_log_that_was_replaced() {
    let logs = TempDir::new().unwrap();
    let (run, out) = (running().write(logs.path()), Shared::default());
    let (path, mut shown) = (run.to_str().unwrap().to_owned(), out.clone());
    let watching = thread::Builder::new().name("watching".to_owned()).spawn(move || {
        let mut err = Vec::new();
        let arguments = ["ergometer", "watch", &path, "--json", "--timeout", "20 s"];
        let status = ergometer_cli::run(arguments.map(Into::into), &mut shown, &mut err);
        (status, String::from_utf8(err).unwrap())
    });
    out.wait_for(2);
    let other = Made::new("run").epochs(&[7.0; 5]).end(json!({}));
    fs::write(run.join("other"), other.text()).unwrap();
    fs::rename(run.join("other"), run.join("rank-00000.jsonl")).unwrap();
    let (status, err) = watching.unwrap().join().unwrap();
    assert_eq!((status, out.lines()), (1, 2));
    assert!(err.contains("is not the file that it was") && err.contains("start again"), "{err}");
}

#[test]
fn a_long_log_is_read_in_parts_and_projected_at_its_last_epoch() {
    let logs = TempDir::new().unwrap();
    let long = "x".repeat(4_000);
    let made = (0..1_200)
        .fold(running().note("epochs", "2000"), |made, _| made.epoch(100.0, json!({ &long: 1 })));
    let run = made.write(logs.path());
    let size = fs::metadata(run.join("rank-00000.jsonl")).unwrap().len();
    assert!(size > 1 << 22, "{size}");
    let arguments = ["watch", run.to_str().unwrap(), "--json", "--timeout", "0.1 s"];
    let rows = objects(&ergometer(&arguments).1);
    assert_eq!(rows.len(), 1_202);
    let projected = |row: usize| rows[row].get("projection").is_some();
    assert!(projected(999) && !projected(1_100) && projected(1_201));
}

#[test]
fn lines_of_hindsight_fit_a_terminal() {
    let logs = TempDir::new().unwrap();
    let accuracies: Vec<f64> = (0..20).map(|epoch| 0.9 - 0.4 * 0.5_f64.powi(epoch)).collect();
    let run = learning("run", &accuracies).note("epochs", "40").set("state", json!("running"));
    let run = run.write(logs.path());
    let path = run.to_str().unwrap();
    for arguments in [
        ["returns", path, "--metric", "accuracy", "--worth", "100"],
        ["project", path, "--metric", "accuracy", "--patience", "12"],
    ] {
        let (status, out, err) = ergometer(&arguments);
        assert_eq!((status, err.as_str()), (0, ""));
        assert!(
            out.contains("stop") && out.lines().all(|line| line.chars().count() <= 100),
            "{out}"
        );
    }
    assert_eq!(ergometer(&["returns", path, "--worth", "inf"]).0, 1);
}

#[test]
fn watch_tells_a_long_silence_with_its_age() {
    let logs = TempDir::new().unwrap();
    let run = running().write(logs.path());
    grow_old(&run, Duration::from_secs(7 * 60 + 2));
    let (status, _, err) = ergometer(&["watch", run.to_str().unwrap(), "--timeout", "0.2 s"]);
    assert_eq!(status, 1);
    assert_eq!(err.matches("its last line is 7 min old").count(), 1, "{err}");
}

#[test]
fn watch_tells_bad_lines_and_refuses_several_ranks() {
    let logs = TempDir::new().unwrap();
    let run = running().end(json!({})).write(logs.path());
    let log = run.join("rank-00000.jsonl");
    let text = fs::read_to_string(&log).unwrap().replacen('\n', "\ngarbage\n", 1);
    fs::write(&log, text).unwrap();
    let (status, out, err) = ergometer(&["watch", run.to_str().unwrap()]);
    assert_eq!(status, 1);
    assert!(out.contains("\nrun ") && err.contains("line 2: "), "{out}{err}");
    fs::write(run.join("rank-00001.jsonl"), "").unwrap();
    let (status, _, err) = ergometer(&["watch", run.to_str().unwrap()]);
    assert_eq!(status, 1);
    assert!(err.contains("several ranks"), "{err}");
}

#[test]
fn help_fits_a_terminal() {
    for command in ["project", "total", "watch"] {
        let (status, out, err) = ergometer(&[command, "--help"]);
        assert_eq!((status, err.as_str()), (0, ""));
        assert!(out.lines().all(|line| line.chars().count() <= 100), "{out}");
    }
}

/// Lines that are made are lines of the format.
#[test]
fn made_lines_are_read_back() {
    for line in running().end(json!({})).lines {
        Line::parse(&line.to_string()).unwrap();
    }
}
