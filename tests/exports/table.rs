//! Tables of windows, as text and as Parquet.

use std::fs;

use ergometer::record::Kind;
use ergometer::sensor::fake::Fake;
use ergometer::sensor::{Domain, Hardware};
use ergometer::{Meter, RunLog};
use ergometer_sinks::export::{self, Table};
use serde_json::{Value, json};

use super::{HOSTILE, estimated, measured};
use crate::lab::{Lab, constant};
use crate::made::{self, ergometer};

#[test]
fn a_table_has_the_logs_names_and_digits() {
    let logs = tempfile::tempdir().unwrap();
    let run = RunLog::open(estimated(logs.path(), HOSTILE)).unwrap();
    let of = |kinds: &[Kind]| {
        let mut text = Vec::new();
        let runs = [run.clone()];
        let bad = export::csv::write(&Table::of(&runs, kinds).unwrap(), &mut text).unwrap();
        assert!(bad.is_empty(), "{bad:?}");
        String::from_utf8(text).unwrap()
    };
    let epochs = of(&[Kind::Epoch]);
    assert!(
        epochs.starts_with("run_id,name,framework,framework_version,device,parameters,"),
        "{epochs}"
    );
    assert!(
        epochs.contains(",domains.cpu:0.energy_j,domains.cpu:0.u_j,\"metrics.a,\"\"b\"\"\n\"\n"),
        "{epochs}"
    );
    assert!(
        epochs
            .contains(",\"=cmd|'!A1,\"\"<b>\u{85}\u{2028}\r\n--- \\end{x} $& _*`%#~^[x](y) é\",,,"),
        "{epochs}"
    );
    assert_eq!(epochs.matches(",estimated,true,").count(), 3, "{epochs}");
    assert_eq!(epochs.matches(",NaN\n").count(), 3, "{epochs}");
    assert!(epochs.contains(",5,500,"), "{epochs}");
    assert_eq!(of(&[Kind::Step]).matches(",step,").count(), 30 + 1);
    let whole = of(&[Kind::End]);
    assert_eq!(whole.matches(",end,").count(), 1, "{whole}");
    assert!(whole.contains(",15,1500,"), "{whole}");
}

/// The values of a column of a table without commas in its text.
fn column(text: &str, name: &str) -> Vec<String> {
    let place = text.lines().next().unwrap().split(',').position(|it| it == name).unwrap();
    text.lines().skip(1).map(|row| row.split(',').nth(place).unwrap().to_owned()).collect()
}

#[test]
fn a_run_has_its_notes_and_its_device_and_is_complete_only_where_its_log_has_an_end() {
    let logs = tempfile::tempdir().unwrap();
    let runs = [made::TRAINING.run(logs.path()), measured(logs.path())];
    made::rewrite(&runs[0], |manifest| {
        manifest["framework"]["version"] = "0.9".into();
        manifest["framework"]["device"] = "cuda:0".into();
    });
    made::rewrite(&runs[1], |manifest| manifest["notes"] = json!({ "data": "digits" }));
    let of = || {
        let paths = [&runs[0], &runs[1]].map(|run| run.to_str().unwrap());
        let arguments = ["export", "--format=csv", "--rows=runs"];
        ergometer(&[&arguments[..], &paths].concat()).1
    };
    let text = of();
    for (name, values) in [
        ("framework_version", ["0.9", ""]),
        ("device", ["cuda:0", ""]),
        ("notes.batch", ["32", ""]),
        ("notes.seed", ["1", ""]),
        ("notes.data", ["", "digits"]),
        ("status", ["complete", "complete"]),
    ] {
        assert_eq!(column(&text, name), values, "{name}: {text}");
    }
    super::killed(&runs[0]);
    assert_eq!(column(&of(), "status"), ["running", "complete"]);
}

#[test]
fn where_no_sensor_told_of_anything_the_sum_is_empty() {
    let logs = tempfile::tempdir().unwrap();
    let run = measured(logs.path());
    let log = run.join("rank-00000.jsonl");
    let unknown = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        if line["kind"] == "epoch" && line["epoch"] == 1 {
            (line["energy_j"], line["u_j"]) = (Value::Null, Value::Null);
            (line["total_j"], line["domains"]) = (json!(0), json!({}));
        } else if line["kind"] == "epoch" && line["epoch"] == 2 {
            (line["energy_j"], line["u_j"]) = (Value::Null, Value::Null);
        }
        format!("{line}\n")
    };
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, text.lines().map(unknown).collect::<String>()).unwrap();
    let (runs, mut table) = ([RunLog::open(&run).unwrap()], Vec::new());
    export::csv::write(&Table::of(&runs, &[Kind::Epoch]).unwrap(), &mut table).unwrap();
    let table = String::from_utf8(table).unwrap();
    let place = table.lines().next().unwrap().split(',').position(|name| name == "total_j");
    let totals: Vec<&str> = table
        .lines()
        .skip(1)
        .map(|row| {
            row.split("\"a \"\"quoted").next().unwrap().split(',').nth(place.unwrap()).unwrap()
        })
        .collect();
    assert_eq!(totals, ["", "1000", "1500"]);
}

#[test]
fn an_epoch_of_a_table_has_what_was_measured_in_its_phases_and_after_it_and_a_run_its_last() {
    let (lab, logs) = (Lab::new(), tempfile::tempdir().unwrap());
    let sensor = Fake::counter(Domain::new(Hardware::Cpu, "0", "fake"), constant(100.0));
    let meter = Meter::builder().clock(lab.clock()).log_directory(logs.path()).sensor(sensor);
    let run = meter.build().unwrap().run("late").start().unwrap();
    let records = run.records();
    for epoch in run.epochs(1..=2) {
        lab.pass(1_000);
        let evaluation = run.phase("evaluate");
        lab.pass(1_000);
        run.metric("accuracy", f64::from(u32::try_from(epoch).unwrap()) / 4.0);
        drop(evaluation);
        run.metric("loss", 2.0);
    }
    records.epoch_metrics(1, [("burn".to_owned(), 7.0)]);
    records.epoch_metrics(2, [("burn".to_owned(), 8.0)]);
    let directory = run.finish().unwrap().directory;
    let runs = [RunLog::open(directory).unwrap()];
    let of = |kind: Kind| {
        let mut text = Vec::new();
        let bad = export::csv::write(&Table::of(&runs, &[kind]).unwrap(), &mut text).unwrap();
        assert!(bad.is_empty(), "{bad:?}");
        let text = String::from_utf8(text).unwrap();
        ["metrics.accuracy", "metrics.burn", "metrics.loss"].map(|name| column(&text, name))
    };
    assert_eq!(of(Kind::Epoch), [["0.25", "0.5"], ["7", "8"], ["2", "2"]]);
    assert_eq!(of(Kind::End), [["0.5"], ["8"], ["2"]]);
}

#[test]
fn lines_that_are_not_understood_are_told_and_the_others_are_rows() {
    let logs = tempfile::tempdir().unwrap();
    let run = measured(&logs.path().join("runs"));
    let log = run.join("rank-00000.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<String> = text
        .lines()
        .enumerate()
        .map(|(place, line)| match place {
            2 => line.replacen("\"energy_j\":", "\"energy_j\":\"x\",\"other\":", 1),
            3 => line.replacen("\"duration_s\":", "\"other\":", 1),
            4 => line[..40].to_owned(),
            _ => line.to_owned(),
        })
        .collect();
    assert!(lines[2..5].iter().all(|line| line.contains("\"step\"")), "{lines:#?}");
    fs::write(&log, lines.join("\n") + "\n").unwrap();
    let arguments = ["export", "--format", "csv", "--rows", "steps", run.to_str().unwrap()];
    let (status, out, err) = ergometer(&arguments);
    assert_eq!((status, out.lines().count(), err.lines().count()), (1, 1 + 30 - 3, 3), "{err}");
    for told in ["line 3: ", "line 5: ", "line 4: missing field `duration_s`"] {
        assert!(err.contains(told), "{told}: {err}");
    }
}

#[test]
fn a_parquet_file_begins_and_ends_as_one_and_knows_its_length() {
    let logs = tempfile::tempdir().unwrap();
    let runs = [RunLog::open(measured(logs.path())).unwrap()];
    let mut file = Vec::new();
    export::parquet::write(&Table::of(&runs, &[Kind::Step]).unwrap(), &mut file).unwrap();
    assert!(file.starts_with(b"PAR1") && file.ends_with(b"PAR1"));
    let length = u32::from_le_bytes(file[file.len() - 8..file.len() - 4].try_into().unwrap());
    let footer = &file[file.len() - 8 - length as usize..file.len() - 8];
    // A structure whose first field is the version, 2, and whose last is who wrote it.
    assert_eq!(footer[..2], [0x15, 4]);
    let said = b"standard uncertainties (k = 1) in joules";
    assert!(footer.windows(said.len()).any(|bytes| bytes == said));
    assert!(footer.ends_with(format!("ergometer {}\0", env!("CARGO_PKG_VERSION")).as_bytes()));
}
