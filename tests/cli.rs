//! The `ergometer` command, called as the function that it is.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ergometer::RunLog;
use serde_json::Value;
use tempfile::TempDir;

use crate::lab::{Lab, check_schema, constant, cpu};
use crate::rapl::Tree;

/// What the command answered.
struct Answer {
    status: u8,
    out: String,
    err: String,
}

fn ergometer(arguments: &[&str]) -> Answer {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = into(arguments, &mut out, &mut err);
    Answer { status, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

fn into(arguments: &[&str], out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    ergometer_cli::run(["ergometer"].iter().chain(arguments).map(Into::into), out, err)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// A machine without any sensor: no powercap, no NVML, one processor and its memory for the models.
struct Bare {
    tree: Tree,
    procfs: TempDir,
}

impl Bare {
    fn new() -> Bare {
        let procfs = TempDir::new().unwrap();
        let write = |name: &str, text: &str| fs::write(procfs.path().join(name), text).unwrap();
        write(
            "cpuinfo",
            "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\nphysical id\t: 0\n\n",
        );
        write("meminfo", "MemTotal:       67108864 kB\n");
        write("stat", "cpu  0 0 0 1000 0 0 0 0 0 0\n");
        Bare { tree: Tree::new(), procfs }
    }

    fn nvml_library(&self) -> PathBuf {
        self.tree.root().join("libnvidia-ml.so.1")
    }

    /// The command with the options that lead to this machine.
    fn call(&self, command: &[&str], rest: &[&str]) -> Answer {
        let library = self.nvml_library();
        let options = [
            ["--sysfs", self.tree.root().to_str().unwrap()],
            ["--procfs", self.procfs.path().to_str().unwrap()],
            ["--nvml-library", library.to_str().unwrap()],
        ];
        ergometer(&[command, options.as_flattened(), rest].concat())
    }
}

/// One run at a time: each passes on the signals that come to this process.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs a command on a bare machine, with its logs in a directory of their own.
fn run(command: &[&str]) -> (Answer, TempDir) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let logs = TempDir::new().unwrap();
    let out = ["--out", logs.path().to_str().unwrap(), "--"];
    (Bare::new().call(&["run"], &[&out, command].concat()), logs)
}

/// The runs that were logged, none if there is none.
fn logged(logs: &TempDir) -> Vec<RunLog> {
    let runs = RunLog::find(logs.path()).unwrap_or_default();
    runs.into_iter().map(|run| RunLog::open(run).unwrap()).collect()
}

#[test]
fn run_reports_on_standard_error_and_logs() {
    let (answer, logs) = run(&["true"]);
    assert_eq!((answer.status, answer.out.as_str()), (0, ""));
    assert!(
        answer.err.starts_with("true · ") && answer.err.contains("estimated"),
        "{}",
        answer.err
    );
    let runs = logged(&logs);
    assert_eq!((runs.len(), runs[0].manifest.name.as_str()), (1, "true"));
    check_schema(runs[0].directory());
}

#[test]
fn run_gives_the_commands_exit_status() {
    for (script, status) in [("exit 7", 7), ("kill -KILL $$", 137)] {
        let (answer, logs) = run(&["sh", "-c", script]);
        assert_eq!(answer.status, status, "{}", answer.err);
        assert_eq!(logged(&logs)[0].manifest.notes["command"], format!("sh -c {script}"));
    }
}

#[test]
fn run_says_why_a_command_cannot_be_run_and_leaves_no_log() {
    let plain = tempfile::NamedTempFile::new().unwrap();
    for (command, status) in
        [("no-such-command-anywhere", 127), (plain.path().to_str().unwrap(), 126)]
    {
        let (answer, logs) = run(&[command]);
        assert_eq!(answer.status, status, "{}", answer.err);
        assert!(
            answer.err.starts_with(&format!("ergometer: cannot run `{command}`: ")),
            "{}",
            answer.err
        );
        assert!(logged(&logs).is_empty());
    }
}

#[test]
fn run_starts_nothing_if_it_cannot_measure() {
    let scratch = TempDir::new().unwrap();
    let (file, mark) = (scratch.path().join("file"), scratch.path().join("mark"));
    fs::write(&file, "").unwrap();
    let answer =
        ergometer(&["run", "--out", file.to_str().unwrap(), "touch", mark.to_str().unwrap()]);
    assert_eq!(answer.status, 125);
    assert!(
        answer.err.contains("cannot create") && answer.err.contains("--out DIR"),
        "{}",
        answer.err
    );
    let nowhere = ["--sysfs", "/nowhere", "--procfs", "/nowhere", "--nvml-library", "/nowhere"];
    let out = ["run", "--out", scratch.path().to_str().unwrap()];
    let answer = ergometer(&[&out[..], &nowhere, &["touch", mark.to_str().unwrap()]].concat());
    assert_eq!(answer.status, 125);
    assert!(answer.err.contains("no energy sensor can be read here"), "{}", answer.err);
    assert!(!mark.exists());
}

#[cfg(unix)]
#[test]
fn run_outlives_an_interrupt_and_passes_a_request_to_end_on() {
    // The shell's parent is this process.
    for (script, status) in [
        ("kill -INT $PPID; exit 5", 5),
        ("trap 'exit 6' TERM; kill -TERM $PPID; sleep 10 & wait", 6),
    ] {
        let (answer, logs) = run(&["sh", "-c", script]);
        assert_eq!(answer.status, status, "{}", answer.err);
        assert_eq!(logged(&logs).len(), 1);
    }
}

/// A logged run of two epochs of ten steps.
fn train(lab: &Lab, name: &str, parameters: u64, watts: f64) -> PathBuf {
    let run = lab.meter([cpu(constant(watts))]).run(name).parameters(parameters).start().unwrap();
    for _epoch in run.epochs(1..=2) {
        for _step in run.steps(0..10).samples(8) {
            lab.pass(500);
        }
    }
    let path = run.path().to_owned();
    run.finish().unwrap();
    path
}

fn edit(run: &Path, change: impl FnOnce(&mut Vec<String>)) {
    let path = run.join("rank-00000.jsonl");
    let mut lines: Vec<String> =
        fs::read_to_string(&path).unwrap().lines().map(|line| format!("{line}\n")).collect();
    change(&mut lines);
    fs::write(path, lines.concat()).unwrap();
}

#[test]
fn report_shows_a_run_and_every_run_of_a_directory() {
    let lab = Lab::new();
    let path = train(&lab, "small", 1_210, 100.0);
    train(&lab, "large", 2_410, 150.0);
    let one = ergometer(&["report", path.to_str().unwrap()]);
    assert_eq!((one.status, one.err.as_str()), (0, ""));
    assert!(
        one.out.starts_with("small · 1,210 parameters") && one.out.contains("epoch 2"),
        "{}",
        one.out
    );
    let all = json(&ergometer(&["report", "--json", lab.logs.path().to_str().unwrap()]).out);
    let energies: Vec<_> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["end"]["energy_j"].as_f64().unwrap())
        .collect();
    assert_eq!(energies.len(), 2);
    assert!((energies.iter().sum::<f64>() - 2_500.0).abs() < 1.0, "{energies:?}");
}

#[test]
fn report_drops_a_torn_last_line_without_a_word() {
    let lab = Lab::new();
    let path = train(&lab, "torn", 1, 100.0);
    edit(&path, |lines| {
        let end = lines.pop().unwrap();
        lines.push(end[..end.len() / 2].to_owned());
    });
    let answer = ergometer(&["report", path.to_str().unwrap()]);
    assert_eq!((answer.status, answer.err.as_str()), (0, ""));
    assert!(answer.out.contains("epoch 2"), "{}", answer.out);
}

#[test]
fn report_tells_a_bad_line_and_shows_the_rest() {
    let lab = Lab::new();
    let path = train(&lab, "garbage", 1, 100.0);
    edit(&path, |lines| lines[2] = "garbage\n".to_owned());
    let answer = ergometer(&["report", path.to_str().unwrap()]);
    assert_eq!(answer.status, 1);
    let place = format!("`{}` line 3: ", path.join("rank-00000.jsonl").display());
    assert!(
        answer.err.contains(&place) && answer.err.contains("; the other lines are read"),
        "{}",
        answer.err
    );
    assert_eq!(answer.err.lines().count(), 1);
    assert!(answer.out.contains("epoch 2") && answer.out.contains("\nrun "), "{}", answer.out);
}

#[test]
fn report_shows_what_it_can_of_many() {
    let lab = Lab::new();
    train(&lab, "sound", 1, 100.0);
    fs::create_dir(lab.logs.path().join("broken")).unwrap();
    fs::write(lab.logs.path().join("broken/run.json"), "{").unwrap();
    let answer = ergometer(&["report", lab.logs.path().to_str().unwrap(), "/nowhere"]);
    assert_eq!(answer.status, 1);
    assert!(answer.out.starts_with("sound · "), "{}", answer.out);
    assert!(
        answer.err.contains("broken/run.json") && answer.err.contains("`/nowhere`"),
        "{}",
        answer.err
    );
}

#[test]
fn a_directory_without_runs_is_an_error() {
    let empty = TempDir::new().unwrap();
    let answer = ergometer(&["report", empty.path().to_str().unwrap()]);
    assert_eq!((answer.status, answer.out.as_str()), (1, ""));
    assert!(answer.err.contains("there is no run in"), "{}", answer.err);
}

#[test]
fn compare_groups_runs_and_takes_any_as_the_baseline() {
    let lab = Lab::new();
    let paths: Vec<_> = [("a", 1_210, 100.0), ("b", 1_210, 100.0), ("c", 2_410, 150.0)]
        .map(|(name, parameters, watts)| train(&lab, name, parameters, watts).display().to_string())
        .to_vec();
    let runs: Vec<&str> = paths.iter().map(String::as_str).collect();
    let answer = ergometer(&[&["compare"], &runs[..]].concat());
    assert_eq!((answer.status, answer.err.as_str()), (0, ""));
    assert!(
        answer.out.contains("Against 1,210 parameters") && answer.out.contains("1.50 × the energy"),
        "{}",
        answer.out
    );
    let answer =
        json(&ergometer(&[&["compare", "--json", "--baseline", "c"], &runs[..]].concat()).out);
    assert_eq!(answer["baseline"], "2,410 parameters");
    assert_eq!(answer["groups"][0]["runs"].as_array().unwrap().len(), 2);
    assert!(
        (answer["groups"][0]["ratio"]["energy"].as_f64().unwrap() * 1.5 - 1.0).abs() < 1e-3,
        "{answer}"
    );
    let answer = ergometer(&[&["compare", "--baseline", "d"], &runs[..]].concat());
    assert_eq!((answer.status, answer.out.as_str()), (1, ""));
    assert!(answer.err.contains("no group is called `d`"), "{}", answer.err);
}

/// A reader that is not there, or a disk that is full.
struct Refusing(io::ErrorKind);

impl Write for Refusing {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error_and_a_full_disk_is_one() {
    for json in [&["doctor"][..], &["doctor", "--json"], &["--help"]] {
        let mut err = Vec::new();
        assert_eq!(into(json, &mut Refusing(io::ErrorKind::BrokenPipe), &mut err), 0);
        assert!(err.is_empty());
        assert_eq!(into(json, &mut Refusing(io::ErrorKind::StorageFull), &mut err), 1);
        assert!(
            String::from_utf8(err).unwrap().starts_with("ergometer: cannot write the answer: ")
        );
    }
}

#[test]
fn wrong_arguments_are_refused_and_help_is_an_answer() {
    let answer = ergometer(&["report"]);
    assert_eq!((answer.status, answer.out.as_str()), (2, ""));
    assert!(answer.err.contains("Usage: ergometer report"), "{}", answer.err);
    for arguments in [
        &["--help"][..],
        &["doctor", "--help"],
        &["run", "--help"],
        &["report", "--help"],
        &["compare", "--help"],
    ] {
        let answer = ergometer(arguments);
        assert_eq!((answer.status, answer.err.as_str()), (0, ""));
        assert!(answer.out.lines().all(|line| line.chars().count() <= 100), "{}", answer.out);
    }
}
