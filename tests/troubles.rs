//! What users run into, at each command: a clear message that names the place and the cure, the rest of the answer, no panic.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::made::{TRAINING, Training};

/// Every command that reads many runs, with what else it needs.
const COMMANDS: [&[&str]; 6] = [
    &["report"],
    &["compare"],
    &["scaling"],
    &["whatif", "--country", "FR", "--country", "PL"],
    &["total"],
    &["sheet"],
];

/// The exit status, and all that was said.
fn ergometer(arguments: &[&str], runs: &Path) -> (u8, String) {
    let words = ["ergometer"].iter().chain(arguments).map(Into::into);
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status = ergometer_cli::run(words.chain([runs.into()]), &mut out, &mut err);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status, text(out) + &text(err))
}

/// Three sizes of three seeds each, over a factor of 16.
fn runs() -> (TempDir, Vec<PathBuf>) {
    let logs = tempfile::tempdir().unwrap();
    let mut directories = Vec::new();
    for seed in 1..=3 {
        for (parameters, watts) in [(1_000, 50.0), (4_000, 110.0), (16_000, 190.0)] {
            let watts = watts + seed as f64;
            directories.push(Training { parameters, seed, watts, ..TRAINING }.run(logs.path()));
        }
    }
    (logs, directories)
}

fn edit(file: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    change(&mut value);
    fs::write(file, value.to_string()).unwrap();
}

fn edit_lines(run: &Path, change: impl FnOnce(&mut Vec<String>)) {
    let log = run.join("rank-00000.jsonl");
    let mut lines: Vec<String> =
        fs::read_to_string(&log).unwrap().lines().map(str::to_owned).collect();
    change(&mut lines);
    fs::write(log, lines.join("\n") + "\n").unwrap();
}

#[test]
fn a_run_of_a_newer_version_is_named_and_the_others_are_shown() {
    let (logs, directories) = runs();
    edit(&directories[8].join("run.json"), |manifest| manifest["version"] = 2.into());
    for command in COMMANDS {
        let (status, said) = ergometer(command, logs.path());
        let place = directories[8].join("run.json").display().to_string();
        assert_eq!(status, 1, "{command:?}: {said}");
        assert!(said.contains(&place), "{command:?}: {said}");
        assert!(said.contains("version 2 is newer than 1"), "{command:?}: {said}");
        assert!(said.contains("update ergometer"), "{command:?}: {said}");
        assert!(said.lines().count() > 3, "{command:?} shows nothing of the others: {said}");
    }
}

#[test]
fn a_session_of_a_newer_version_is_a_bad_line_with_its_place() {
    let (logs, directories) = runs();
    edit_lines(&directories[0], |lines| {
        let newer = lines[0].replace("\"version\":1", "\"version\":7");
        lines.push(newer);
    });
    let (status, said) = ergometer(&["report"], logs.path());
    assert_eq!(status, 1);
    assert!(said.contains("rank-00000.jsonl` line ") && said.contains("version 7"), "{said}");
}

#[test]
fn mixed_hardware_is_named_and_not_compared_or_fitted() {
    let (logs, directories) = runs();
    for run in &directories[6..] {
        edit(&run.join("run.json"), |manifest| {
            manifest["machine"]["cpu"] = "another processor".into();
            manifest["machine"]["host"] = "elsewhere".into();
            manifest["machine"]["boot_id"] = "another boot".into();
        });
    }
    let (status, said) = ergometer(&["scaling"], logs.path());
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("another processor") || said.contains("elsewhere"), "{said}");
    assert!(!said.contains("Doubling the size"), "{said}");
    let (_, said) = ergometer(&["compare"], logs.path());
    assert!(said.contains("another processor") || said.contains("elsewhere"), "{said}");
}

#[test]
fn an_empty_directory_is_named_by_every_command() {
    let empty = tempfile::tempdir().unwrap();
    for command in COMMANDS {
        for directory in [empty.path().to_owned(), empty.path().join("nowhere")] {
            let (status, said) = ergometer(command, &directory);
            assert_eq!(status, 1, "{command:?}: {said}");
            assert!(said.contains(&directory.display().to_string()), "{command:?}: {said}");
        }
    }
}

#[test]
fn a_running_run_and_one_that_crashed_are_shown_and_said_to_be_so() {
    let (logs, directories) = runs();
    edit(&directories[0].join("run.json"), |manifest| manifest["state"] = "running".into());
    edit_lines(&directories[0], |lines| drop(lines.pop()));
    // Killed in the middle of a line.
    edit(&directories[1].join("run.json"), |manifest| manifest["state"] = "running".into());
    let log = directories[1].join("rank-00000.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, &text[..text.len() - 40]).unwrap();
    for command in COMMANDS {
        let (_, said) = ergometer(command, logs.path());
        let words = ["running", "still going", "did not end", "no end in the log", "killed"];
        assert!(words.iter().any(|word| said.contains(word)), "{command:?}: {said}");
    }
    let (status, said) = ergometer(&["report"], &directories[0]);
    assert_eq!(status, 0, "that it goes on is no fault: {said}");
    assert!(said.contains("still going, or was killed"), "{said}");
}

#[test]
fn a_run_that_was_killed_at_once_is_named_and_the_others_are_shown() {
    let (logs, directories) = runs();
    edit(&directories[2].join("run.json"), |manifest| manifest["state"] = "running".into());
    edit_lines(&directories[2], |lines| lines.truncate(1));
    for command in COMMANDS {
        let (_, said) = ergometer(command, logs.path());
        let name = directories[2].file_name().unwrap().to_string_lossy().into_owned();
        assert!(said.contains(&name), "{command:?}: {said}");
    }
}

#[test]
fn an_unknown_country_and_an_intensity_of_zero_are_errors_with_a_cure() {
    let (logs, _) = runs();
    for command in ["whatif", "total", "sheet", "scaling", "report"] {
        let (status, said) = ergometer(&[command, "--country", "Germny"], logs.path());
        assert_eq!(status, 1, "{command}: {said}");
        assert!(said.contains("`Germny`") && said.contains("Germany (DE)"), "{command}: {said}");
        for intensity in ["0", "-3", "NaN"] {
            let option = format!("--intensity={intensity}");
            let (status, said) = ergometer(&[command, &option], logs.path());
            assert_ne!(status, 0, "{command} {intensity}: {said}");
            assert!(said.contains("intensity"), "{command} {intensity}: {said}");
        }
    }
}

#[test]
fn a_damaged_manifest_and_a_damaged_line_are_named_with_file_and_line() {
    let (logs, directories) = runs();
    fs::write(directories[3].join("run.json"), "{\"format\": \"ergometer-run\",").unwrap();
    edit_lines(&directories[4], |lines| lines[2] = "{\"kind\":\"step\",\"rank\":".to_owned());
    for command in COMMANDS {
        let (status, said) = ergometer(command, logs.path());
        assert_eq!(status, 1, "{command:?}: {said}");
        assert!(said.contains(&directories[3].display().to_string()), "{command:?}: {said}");
        let line = format!("{}` line 3", directories[4].join("rank-00000.jsonl").display());
        assert!(said.contains(&line), "{command:?}: {said}");
    }
}
