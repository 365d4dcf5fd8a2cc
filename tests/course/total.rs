//! What a whole project used.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::time::Duration;

use ergometer::Energy;
use ergometer_report::analysis::total::{Declared, Total};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Made, assert_close, ergometer, joules, progress, sensor};

/// A project of a search, a killed run, one that never got anywhere, a torn log, a copy, and runs that cannot be read.
fn project_tree() -> TempDir {
    let logs = TempDir::new().unwrap();
    let deep = logs.path().join("march/search");
    Made::new("search-1")
        .note("purpose", "Search")
        .epochs(&[100.0, 100.0])
        .end(json!({}))
        .write(&deep);
    let killed = Made::new("killed").set("state", json!("running")).set("sensors", sensor("model"));
    let killed = Made { lines: vec![killed.lines[0].clone(), progress("killed", 50.0)], ..killed };
    killed.note("purpose", "search").write(&deep);
    Made::new("early").set("state", json!("running")).write(logs.path());
    let torn = Made::new("torn")
        .set("state", json!("panicked"))
        .set("created", json!("2026-04-02T10:00:00Z"))
        .epochs(&[70.0]);
    let path = torn.write(logs.path()).join("rank-00000.jsonl");
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(br#"{"kind":"epoch","run_id":"to"#).unwrap();
    let last = Made::new("last").note("purpose", "final").epochs(&[40.0, 60.0]).end(json!({}));
    last.write(logs.path());
    last.write(&logs.path().join("backup"));
    fs::create_dir(logs.path().join("broken")).unwrap();
    fs::write(logs.path().join("broken/run.json"), "{").unwrap();
    logs
}

#[test]
fn a_project_counts_what_crashed_and_names_what_it_cannot_read() {
    let logs = project_tree();
    Made::new("newer").set("version", json!(99)).write(logs.path());
    let unmeasured = Some(Duration::from_secs(12 * 3_600));
    let declared = Declared { final_run: None, unmeasured };
    let total = Total::of(logs.path(), &declared).unwrap();
    assert_eq!(total.runs.len(), 5);
    // 200 of the search, 50 of the killed run, 70 of the torn one, 100 of the last.
    assert_close(joules(total.energy), 420.0);
    assert_close(joules(total.estimated), 50.0);
    assert_close(joules(total.measured), 370.0);
    // 20 % of the killed run's 50 J.
    assert_close(joules(total.uncertainty.unwrap()), 10.0);
    assert_close(joules(total.purposes["search"].energy), 250.0);
    assert_eq!(total.purposes["not said"].unknown, 1);
    assert_close(joules(total.states["panicked"].energy), 70.0);
    assert_eq!(total.states["running or killed"].runs, 2);
    assert_close(joules(total.months["2026-04"].energy), 70.0);
    assert_close(total.final_runs.as_ref().unwrap().factor, 4.2);
    let unknown: Vec<&str> = total.unknown().map(|run| run.run_id.as_str()).collect();
    assert_eq!(unknown, ["early"]);
    let reasons: Vec<&str> = total.left_out.iter().map(|it| it.reason.as_str()).collect();
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    for expected in ["broken/run.json", "a copy of `last`", "format version 99 is newer"] {
        assert!(reasons.iter().any(|reason| reason.contains(expected)), "{expected}: {reasons:?}");
    }
    let text = total.to_string();
    assert!(text.contains("4.2 times the final run of 100.0 J (last)"), "{text}");
    assert!(text.contains("in none of the sums: 12.0 h not measured"), "{text}");
}

#[test]
fn a_final_run_is_named_or_there_is_no_factor() {
    let logs = TempDir::new().unwrap();
    Made::new("a").epochs(&[30.0]).end(json!({})).write(logs.path());
    Made::new("b").epochs(&[10.0]).end(json!({})).write(logs.path());
    let of = |name: Option<&str>| {
        let final_run = name.map(str::to_owned);
        Total::of(logs.path(), &Declared { final_run, unmeasured: None })
    };
    assert_eq!(of(None).unwrap().final_runs, None);
    assert_close(of(Some("b")).unwrap().final_runs.unwrap().factor, 4.0);
    let refusal = of(Some("c")).unwrap_err();
    assert!(refusal.to_string().contains("there are: a, b"), "{refusal}");
    // Another of its name was killed before it said anything.
    let early = Made::new("c").set("name", json!("b")).set("state", json!("running"));
    early.write(logs.path());
    let total = of(Some("b")).unwrap();
    assert_eq!(total.final_runs.as_ref().unwrap().unknown, 1);
    assert!(total.to_string().contains("but 1 of these do not say what they used"), "{total}");
}

#[test]
fn of_an_unknown_energy_no_part_is_measured_or_estimated() {
    let logs = TempDir::new().unwrap();
    let share = json!({"cpu:package-0": {"energy_j": 30.0, "u_j": 1.0, "quality": "estimated", "total_j": 30.0}});
    let unknown = Made::new("a").set("sensors", sensor("model")).epochs(&[30.0]).end(json!({}));
    let unknown = unknown.with("energy_j", Value::Null).with("u_j", Value::Null);
    unknown.with("domains", share).write(logs.path());
    let total = Total::of(logs.path(), &Declared::default()).unwrap();
    assert_eq!((total.measured, total.estimated), (Energy::ZERO, Energy::ZERO));
    let path = logs.path().to_str().unwrap();
    let (_, out, _) = ergometer(&["total", path, "--country", "FR"]);
    assert!(out.contains("1 runs · energy not known") && !out.contains("CO2e"), "{out}");
    let (_, out, _) = ergometer(&["total", path, "--country", "FR", "--json"]);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["co2e_kg"], Value::Null);
}

#[cfg(unix)]
#[test]
fn a_directory_below_that_cannot_be_read_is_left_out() {
    use std::os::unix::fs::PermissionsExt;

    let logs = TempDir::new().unwrap();
    Made::new("a").epochs(&[30.0]).end(json!({})).write(logs.path());
    let closed = logs.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    // To the superuser nothing is closed.
    let expected = usize::from(fs::read_dir(&closed).is_err());
    let total = Total::of(logs.path(), &Declared::default()).unwrap();
    assert_eq!((total.runs.len(), total.left_out.len()), (1, expected));
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_back_is_not_followed() {
    let logs = TempDir::new().unwrap();
    Made::new("a").epochs(&[30.0]).end(json!({})).write(logs.path());
    std::os::unix::fs::symlink(logs.path(), logs.path().join("again")).unwrap();
    assert_eq!(Total::of(logs.path(), &Declared::default()).unwrap().runs.len(), 1);
}

#[test]
fn total_tells_a_project_and_what_it_could_not_read() {
    let logs = project_tree();
    let path = logs.path().to_str().unwrap();
    let (status, out, err) = ergometer(&["total", path, "--unmeasured", "12 h"]);
    assert_eq!(status, 1);
    assert!(out.contains("5 runs · 420 J ± 20 J (k=2)"), "{out}");
    assert!(out.contains("running or killed") && out.contains("and 1 not known"), "{out}");
    assert!(err.contains("broken/run.json"), "{err}");
    assert!(
        out.lines().filter(|line| !line.contains(path)).all(|line| line.chars().count() <= 100),
        "{out}"
    );
    let (_, out, _) = ergometer(&["total", path, "--json"]);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["energy_j"], json!(420));
    assert_eq!(answer["final_runs"]["factor"], json!(4.2));
    assert_eq!(answer["runs"].as_array().unwrap().len(), 5);
}

#[test]
fn a_directory_without_runs_is_an_error_everywhere() {
    let empty = TempDir::new().unwrap();
    let path = empty.path().to_str().unwrap();
    let (status, out, err) = ergometer(&["total", path]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains("there is no run in or below"), "{err}");
    let (status, out, err) = ergometer(&["project", path]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains("run.json"), "{err}");
    let (status, out, err) = ergometer(&["watch", path, "--timeout", "0.1 s"]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains("waiting for") && err.contains("nothing new"), "{err}");
}
