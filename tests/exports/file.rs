//! What the command writes to, what it refuses, and what it leaves as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread::{self, Builder};
use std::time::Duration;

use serde_json::Value;

use super::measured;
use crate::made::ergometer;

#[test]
fn runs_that_say_nothing_do_not_stand_in_the_way_of_others() {
    let logs = tempfile::tempdir().unwrap();
    let (good, empty) = (measured(&logs.path().join("good")), measured(&logs.path().join("empty")));
    fs::write(empty.join("rank-00000.jsonl"), "").unwrap();
    let unknown = measured(&logs.path().join("unknown"));
    let log = unknown.join("rank-00000.jsonl");
    let end = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        if line["kind"] == "end" {
            (line["energy_j"], line["u_j"]) = (Value::Null, Value::Null);
            line["quality"] = "unresolved".into();
        }
        format!("{line}\n")
    };
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, text.lines().map(end).collect::<String>()).unwrap();
    let id = good.file_name().unwrap().to_str().unwrap();
    for format in ["csv", "codecarbon", "cyclonedx", "sci", "sentence"] {
        let place: &[&str] = if format == "csv" { &["--rows", "runs"] } else { &["--country=FR"] };
        let paths = [&empty, &unknown, &good].map(|path| path.to_str().unwrap());
        let (status, out, err) =
            ergometer(&[&["export", "--format", format], place, &paths].concat());
        assert_eq!(status, 1, "{format}");
        assert!(err.contains(paths[0]) && err.contains("holds no window"), "{format}: {err}");
        assert!(out.contains(if format == "sentence" { "1500 J" } else { id }), "{format}: {out}");
        if format == "csv" {
            assert_eq!(out.lines().count(), 3, "{out}");
        } else {
            let said = format!("the energy of `{}` is not known", paths[1]);
            assert!(err.contains(&said), "{format}: {err}");
        }
    }
}

#[test]
fn writers_of_one_file_wait_for_each_other() {
    let logs = tempfile::tempdir().unwrap();
    let runs: Vec<PathBuf> =
        (0..8).map(|place| measured(&logs.path().join(place.to_string()))).collect();
    let file = logs.path().join("emissions.csv");
    thread::scope(|scope| {
        for run in &runs {
            let paths = ["-o", file.to_str().unwrap(), run.to_str().unwrap()];
            scope.spawn(move || {
                let (status, _, err) =
                    ergometer(&[&["export", "--format", "codecarbon"], &paths[..]].concat());
                assert_eq!(status, 0, "{err}");
            });
        }
    });
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text.lines().count(), 1 + runs.len(), "{text}");
    for run in &runs {
        assert!(text.contains(run.file_name().unwrap().to_str().unwrap()), "{text}");
    }
}

#[test]
fn a_runs_own_log_is_never_written_over() {
    let logs = tempfile::tempdir().unwrap();
    let run = measured(logs.path());
    for name in ["run.json", "rank-00000.jsonl"] {
        let path = run.join(name);
        let before = fs::read(&path).unwrap();
        let (status, _, err) = ergometer(&[
            "export",
            "--format",
            "csv",
            "-o",
            path.to_str().unwrap(),
            run.to_str().unwrap(),
        ]);
        assert_eq!(status, 1);
        assert!(err.contains(&format!("{name}` is a part of a run's log")), "{err}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_written_to_and_never_read() {
    let logs = tempfile::tempdir().unwrap();
    let run = measured(&logs.path().join("runs")).to_str().unwrap().to_owned();
    let pipe = logs.path().join("pipe");
    if !Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()) {
        return; // No mkfifo on this system.
    }
    for format in ["gpai", "model-card", "codecarbon"] {
        let (told, answers) = channel();
        let (from, run, to) = (pipe.clone(), run.clone(), pipe.to_str().unwrap().to_owned());
        let heard = told.clone();
        let reader = Builder::new().name("reader".to_owned());
        reader.spawn(move || heard.send(fs::read_to_string(from).unwrap())).unwrap();
        let writer = Builder::new().name("writer".to_owned()).spawn(move || {
            let arguments = ["export", "--format", format, "--country", "FR", "-o", &to, &run];
            let (_, _, err) = ergometer(&arguments);
            told.send(err)
        });
        writer.unwrap();
        let answers: Vec<String> = (0..2)
            .map(|_| answers.recv_timeout(Duration::from_secs(30)).expect("the pipe was read"))
            .collect();
        let begin = ["Amount of energy", "---\nco2_eq_emissions:", "timestamp,"];
        let is_whole = |text: &String| begin.iter().any(|begin| text.starts_with(begin));
        assert!(answers.iter().any(is_whole), "{format}: {answers:?}");
    }
}

#[test]
fn what_is_only_replaced_need_not_be_text() {
    let logs = tempfile::tempdir().unwrap();
    let run = measured(&logs.path().join("runs"));
    let file = logs.path().join("old");
    let export = |format: &str| {
        fs::write(&file, b"\xff\xfe").unwrap();
        let (run, file) = (run.to_str().unwrap(), file.to_str().unwrap());
        let arguments = ["export", "--format", format, "--country", "FR", "-o", file, run];
        ergometer(&arguments).0
    };
    assert_eq!(export("gpai"), 0);
    assert!(fs::read_to_string(&file).unwrap().starts_with("Amount of energy"));
    // A card keeps what was there, so it has to be understood.
    assert_eq!(export("model-card"), 1);
    assert_eq!(fs::read(&file).unwrap(), b"\xff\xfe");
}

#[test]
fn a_dash_is_standard_output() {
    let logs = tempfile::tempdir().unwrap();
    let run = measured(logs.path());
    let export = |format: &str, place: &[&str]| {
        let arguments = ["export", "--format", format, run.to_str().unwrap()];
        ergometer(&[&arguments[..], place].concat())
    };
    for format in ["csv", "gpai", "prometheus"] {
        let (status, out, err) = export(format, &["-o", "-"]);
        assert_eq!((status, err.as_str()), (0, ""), "{format}");
        assert_eq!(out, export(format, &[]).1, "{format}");
    }
    assert!(!Path::new("-").exists());
}

#[test]
fn a_path_of_the_wrong_kind_and_json_without_one_are_refused_with_what_to_do() {
    let logs = tempfile::tempdir().unwrap();
    let run = measured(&logs.path().join("runs"));
    let file = logs.path().join("file");
    fs::write(&file, "mine").unwrap();
    let (directory, file) = (logs.path().to_str().unwrap(), file.to_str().unwrap());
    for (format, options, told) in [
        ("csv", vec!["-o", directory], "it is a directory; name a file in it"),
        ("tensorboard", vec!["-o", file], "/file`: it is a file; give a directory"),
        ("tensorboard", vec!["-o", "-"], "no place to write to; give a directory by -o"),
        ("csv", vec!["--json"], "--json tells where the file is; name the file with -o"),
        ("csv", vec!["--json", "-o", "-"], "--json tells where the file is"),
    ] {
        let arguments = ["export", "--format", format, run.to_str().unwrap()];
        let (status, out, err) = ergometer(&[&arguments[..], &options].concat());
        assert_eq!((status, out.as_str()), (1, ""), "{format} {options:?}");
        assert!(err.contains(told), "{format} {options:?}: {err}");
    }
    assert_eq!(fs::read_to_string(file).unwrap(), "mine");
}

#[test]
fn an_option_that_a_format_does_not_heed_is_refused() {
    let logs = tempfile::tempdir().unwrap();
    let run = measured(logs.path());
    for (format, option) in [
        ("csv", "--latex"),
        ("gpai", "--stage=fine-tuning"),
        ("sentence", "--rows=steps"),
        ("csv", "--country=FR"),
        ("sci", "--operations=1"),
        ("model-card", "--spec=1.6"),
    ] {
        let (status, out, err) =
            ergometer(&["export", "--format", format, option, run.to_str().unwrap()]);
        assert_eq!((status, out.as_str()), (1, ""), "{format} {option}");
        assert!(err.contains(&format!("`{format}`")) && err.contains("leave"), "{err}");
    }
}

#[test]
fn what_a_format_would_not_heed_is_refused_with_what_it_is_for() {
    let logs = tempfile::tempdir().unwrap();
    let run = measured(logs.path());
    for (format, option, told) in [
        ("csv", "--latex", "it is for sentence"),
        ("sentence", "--rows=steps", "it is for csv, parquet"),
        ("codecarbon", "--stage=fine-tuning", "it is for model-card, boamps, cyclonedx"),
        ("csv", "--country=FR", "says nothing of places"),
        ("csv", "--url=http://127.0.0.1:1", "mlflow"),
        ("sci", "--price=0.25 EUR", "no format has a place for a price"),
    ] {
        let arguments = ["export", "--format", format, option, run.to_str().unwrap()];
        let (status, out, err) = ergometer(&arguments);
        assert_eq!((status, &*out), (1, ""), "{format} {option}");
        assert!(err.contains(told), "{format} {option}: {err}");
    }
}
