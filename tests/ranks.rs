//! Runs of several ranks: each has a log and a manifest of its own, and is told of for itself.

use std::fs;
use std::path::PathBuf;

use ergometer::{Energy, Kind, RunLog, Summary};
use serde_json::Value;

use crate::lab::{Lab, constant, cpu, gpu, of, windows};
use crate::made::ergometer;

/// Two ranks of 600 J and 900 J, and their run's directory.
fn job(lab: &Lab) -> PathBuf {
    let first = lab.meter([cpu(constant(100.0))]).run("job").start().unwrap();
    let path = first.path().to_owned();
    let second = lab.meter([gpu(constant(150.0))]).run("job").directory(&path).rank(1);
    let second = second.start().unwrap();
    lab.pass(6_000);
    second.finish().unwrap();
    first.finish().unwrap();
    path
}

#[test]
fn each_rank_is_read_for_itself_with_its_own_sensors() {
    let lab = Lab::new();
    let log = RunLog::open(job(&lab)).unwrap();
    assert_eq!(log.ranks().unwrap(), [0, 1]);
    let refusal = Summary::read(&log).unwrap_err();
    assert!(refusal.remedy().unwrap().contains("RunLog::of_rank"), "{refusal}");
    for (rank, domain, joules) in [(0, "cpu:package-0", 600.0), (1, "gpu:GPU-0", 900.0)] {
        let (summary, bad) = Summary::read(&log.of_rank(rank).unwrap()).unwrap();
        assert!(bad.is_empty());
        assert_eq!(summary.end.rank, rank);
        assert_eq!(summary.manifest.sensors[0].domain.id, domain);
        let energy = summary.end.energy.unwrap() - Energy::from_joules(joules);
        assert!(energy.as_joules().abs() < 1.0, "{}", summary.end.estimate());
    }
    assert!(log.of_rank(2).unwrap_err().to_string().contains("rank-00002.json"));
}

#[test]
fn what_makes_no_sums_is_written_for_each_rank() {
    let lab = Lab::new();
    let path = job(&lab);
    let run = path.to_str().unwrap();
    let of_format = |format: &str| ergometer(&["export", "--format", format, run]);
    let ends: Vec<_> = of(&windows(&path), Kind::End).into_iter().cloned().collect();
    assert_eq!(ends.len(), 2);
    let (status, text, _) = of_format("prometheus");
    assert_eq!(status, 0);
    for end in &ends {
        let rank = format!("rank=\"{}\"", end.rank);
        let total = serde_json::to_string(&end.total).unwrap();
        let is_total = |line: &&str| line.starts_with("ergometer_run_energy_joules_total{");
        let line = text.lines().filter(is_total).find(|line| line.contains(&rank)).unwrap();
        assert!(line.ends_with(&format!(" {total}")), "{line}");
    }
    let (status, rows, _) = ergometer(&["export", "--format=csv", "--rows=runs", run]);
    assert_eq!((status, rows.lines().count()), (0, 3), "{rows}");
    let out = tempfile::tempdir().unwrap();
    let board = out.path().to_str().unwrap();
    let arguments = ["export", "--format", "tensorboard", run, "-o", board, "--json"];
    let (status, told, err) = ergometer(&arguments);
    assert_eq!((status, &*err), (0, ""));
    let told: Value = serde_json::from_str(&told).unwrap();
    let places: Vec<PathBuf> =
        told.as_array().unwrap().iter().map(|it| it["path"].as_str().unwrap().into()).collect();
    let name = path.file_name().unwrap();
    assert_eq!(places, [out.path().join(name), out.path().join(name).join("rank-00001")]);
    // A group of the table is a mean over its members, so that each rank is one.
    let group = format!("{}/rank-00001", name.to_str().unwrap());
    let holds = |place: &PathBuf| {
        let mut files = fs::read_dir(place).unwrap().map(|it| it.unwrap().path());
        let file = files.find(|it| it.is_file()).unwrap();
        let bytes = fs::read(file).unwrap();
        bytes.windows(group.len()).any(|some| some == group.as_bytes())
    };
    assert_eq!([holds(&places[0]), holds(&places[1])], [false, true]);
    // A sum over ranks may count a part of the machine twice.
    let (status, _, err) = of_format("sentence");
    assert_eq!(status, 1);
    assert!(err.contains("2 ranks"), "{err}");
}
