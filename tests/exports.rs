//! Finished runs in other people's formats: what each says, and that what was there before is left unharmed.

mod card;
mod file;
mod sentence;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ergometer::record::Framework;
use ergometer::sensor::fake::Fake;
use ergometer::sensor::{Domain, Hardware, Provenance};
use ergometer::{Meter, Power};
use ergometer_report::History;
use ergometer_report::quantity::{Flop, Pue};
use ergometer_report::site::Site;
use ergometer_sinks::export::{
    BoAmps, CodeCarbon, CycloneDx, Gpai, ModelCard, Sentence, Stage, Version,
};
use serde_json::{Value, json};

use crate::lab::{Lab, check_schema, constant};
use crate::made::{self, ergometer, read};

/// A training on 100 W by a sensor or a model, 10 steps in each of 3 epochs, in all 15 s and 1,500 J.
fn train(logs: &Path, name: &str, provenance: Provenance) -> PathBuf {
    let lab = Lab::new();
    let domain = Domain::new(Hardware::Cpu, "0", "a \"quoted\", processor");
    let modelled = provenance == Provenance::Model;
    let sensor = Fake::counter(domain, constant(100.0))
        .power_between(Power::ZERO, Power::from_watts(1_000.0))
        .specified(|it| {
            it.provenance = provenance;
            it.stack = if modelled { "model" } else { "rapl" }.to_owned();
            it.gain = if modelled { 0.2 } else { 0.02 };
        });
    let framework = Framework { name: "candle".to_owned(), ..Framework::default() };
    let meter = Meter::builder().clock(lab.clock()).log_directory(logs).sensor(sensor);
    let meter = if modelled { meter } else { meter.framework(framework) };
    let run = meter.build().unwrap().run(name);
    let run = if modelled { run } else { run.parameters(1_000) }.start().unwrap();
    for _epoch in run.epochs(1..=3) {
        for _step in run.steps(0..10).samples(32) {
            lab.pass(500);
        }
        if modelled {
            run.metric("a,\"b\"\n", f64::NAN);
        } else {
            run.metric("accuracy", 0.9);
        }
    }
    let directory = run.finish().unwrap().directory;
    check_schema(&directory);
    directory
}

fn measured(logs: &Path) -> PathBuf {
    train(logs, "mlp", Provenance::Counter)
}

fn estimated(logs: &Path, name: &str) -> PathBuf {
    train(logs, name, Provenance::Model)
}

fn history(run: &Path) -> Vec<History> {
    read(&[run.to_owned()])
}

fn france() -> Site {
    Site::default().country("FR").unwrap().pue(Pue::new(1.2).unwrap(), "the provider's mean")
}

const HOSTILE: &str = "=cmd|'!A1,\"<b>\u{85}\u{2028}\r\n--- \\end{x} $& _*`%#~^[x](y) é";

/// A line of CodeCarbon's file by its columns.
fn columns(text: &str) -> impl Fn(&str) -> String + use<> {
    let mut lines = text.lines();
    let (names, values) = (lines.next().unwrap().to_owned(), lines.next_back().unwrap().to_owned());
    move |column| {
        let place = names.split(',').position(|name| name == column).unwrap();
        values.split(',').nth(place).unwrap().to_owned()
    }
}

#[test]
fn codecarbons_columns_are_in_its_units_and_what_is_not_known_is_empty() {
    let logs = tempfile::tempdir().unwrap();
    let runs = history(&measured(logs.path()));
    let text = CodeCarbon::of(&runs, &france()).unwrap().to_string();
    let value = columns(&text);
    let number = |column: &str| value(column).parse::<f64>().unwrap();
    let near = |column: &str, expected: f64| {
        assert!((number(column) / expected - 1.0).abs() < 1e-6, "{column}: {}", value(column));
    };
    // 1,500 J · 1.2 in kWh, at 41.44 g/kWh in kg.
    near("energy_consumed", 0.0005);
    near("cpu_energy", 0.0005);
    near("cpu_power", 120.0);
    near("emissions", 0.00002072);
    near("emissions_rate", 0.00002072 / 15.0);
    near("duration", 15.0);
    assert_eq!(
        [value("country_name"), value("country_iso_code"), value("pue")],
        ["France", "FRA", "1.2"]
    );
    for unknown in [
        "gpu_energy",
        "ram_energy",
        "gpu_count",
        "water_consumed",
        "wue",
        "python_version",
        "codecarbon_version",
        "on_cloud",
        "cpu_utilization_percent",
    ] {
        assert_eq!(value(unknown), "", "{unknown}");
    }
    let nowhere = columns(&CodeCarbon::of(&runs, &Site::default()).unwrap().to_string());
    assert_eq!(
        [nowhere("emissions"), nowhere("emissions_rate"), nowhere("country_name")],
        ["", "", ""]
    );
    assert_ne!(nowhere("energy_consumed"), "");
}

#[test]
fn a_file_of_codecarbon_is_added_to_in_its_own_order_and_a_line_of_the_same_run_is_replaced() {
    let logs = tempfile::tempdir().unwrap();
    let runs = history(&measured(logs.path()));
    let rows = CodeCarbon::of(&runs, &france()).unwrap();
    let text = rows.to_string();
    let turned: Vec<&str> = text.lines().next().unwrap().split(',').rev().collect();
    let others = ",".repeat(turned.len() - 1);
    let file = format!("{}\n{others}", turned.join(","));
    let path = Path::new("emissions.csv");
    let added = rows.written_into(&file, path).unwrap();
    assert!(added.starts_with(&format!("{file}\n")), "{added}");
    assert_eq!(columns(&added)("energy_consumed"), columns(&text)("energy_consumed"));
    assert_eq!(rows.written_into(&added, path).unwrap(), added);
    assert_eq!(rows.written_into("", path).unwrap(), text);
    // Exported again from another place, with a line of another's behind it that ends as it did.
    let theirs = format!("\"1,\n2\"{}\r\n", &others[1..]);
    let again = CodeCarbon::of(&runs, &Site::default()).unwrap();
    let again = again.written_into(&format!("{added}{theirs}"), path).unwrap();
    assert!(again.starts_with(&format!("{file}\n")) && again.ends_with(&theirs), "{again}");
    let ours = columns(again.strip_suffix(&theirs).unwrap());
    assert_eq!([ours("pue"), ours("emissions")], ["1", ""]);
    assert_ne!(ours("energy_consumed"), columns(&text)("energy_consumed"));
    assert_eq!(again.matches(&ours("run_id")).count(), 1, "{again}");
    let ended = rows.written_into(&file.replace('\n', "\r\n"), path).unwrap();
    assert_eq!(ended, added.replace('\n', "\r\n"));
    let refused = rows.written_into("timestamp,run_id\n1,2\n", path).unwrap_err();
    assert!(refused.what().starts_with("`emissions.csv`, line 1: "), "{refused}");
    let refused = rows.written_into(&format!("{file}\n\"open\n"), path).unwrap_err();
    assert_eq!(refused.what(), "`emissions.csv` ends within quotes");
}

/// A validator of the schemas of `BoAmps` 1.1.0.
fn boamps_faults(report: &Value) -> Option<String> {
    const PLACE: &str = "https://raw.githubusercontent.com/Boavizta/BoAmps/main/model";
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    for (name, text) in [
        ("algorithm", include_str!("data/boamps/algorithm_schema.json")),
        ("dataset", include_str!("data/boamps/dataset_schema.json")),
        ("hardware", include_str!("data/boamps/hardware_schema.json")),
        ("measure", include_str!("data/boamps/measure_schema.json")),
        ("report", include_str!("data/boamps/report_schema.json")),
    ] {
        let schema = serde_json::from_str(text).unwrap();
        compiler.add_resource(&format!("{PLACE}/{name}_schema.json"), schema).unwrap();
    }
    let schema = compiler.compile(&format!("{PLACE}/report_schema.json"), &mut schemas).unwrap();
    schemas.validate(report, schema).err().map(|fault| format!("{fault:#}"))
}

fn template() -> Value {
    json!({
        "task": {
            "taskFamily": "image classification",
            "dataset": [{ "dataUsage": "input", "dataType": "image" }],
        },
        "infrastructure": { "infraType": "onPremise" },
    })
}

#[test]
fn a_report_of_boamps_is_valid_and_what_the_template_says_stands() {
    let logs = tempfile::tempdir().unwrap();
    let report = |run: PathBuf, template: Value| {
        let report = BoAmps::of(&history(&run), &france(), template, None, SystemTime::now());
        report.map(|report| serde_json::from_str::<Value>(&report.to_string()).unwrap())
    };
    let made = report(measured(logs.path()), template()).unwrap();
    assert_eq!(boamps_faults(&made), None);
    // Without the facility's overhead, for which the format has no place.
    let energy = made["measures"][0]["powerConsumption"].as_f64().unwrap();
    assert!((energy * 3.6e6 - 1_500.0).abs() < 0.01, "{energy}");
    assert_eq!(made["task"]["algorithms"][0]["parametersNumber"], 1e-6);
    assert_eq!(made["task"]["measuredAccuracy"], 0.9);
    assert_eq!(made["environment"]["powerSourceCarbonIntensity"], 41.44);

    let mut said = template();
    said["task"]["algorithms"] = json!([{ "framework": "mine" }]);
    said["environment"] = json!({ "country": "Norway" });
    let made = report(estimated(logs.path(), HOSTILE), said).unwrap();
    assert_eq!(boamps_faults(&made), None);
    assert_eq!(made["task"]["algorithms"][0], json!({ "framework": "mine", "epochsNumber": 3 }));
    assert_eq!(made["environment"], json!({ "country": "Norway" }));
    assert_eq!(made["measures"][0]["cpuTrackingMode"], "model");
    let method = made["measures"][0]["measurementMethod"].as_str().unwrap();
    assert!(method.ends_with("(model: cpu), estimated by a model, not measured"), "{method}");
    let description = made["task"]["taskDescription"].as_str().unwrap();
    assert!(description.ends_with(". Times are in UTC"), "{description}");
    assert_eq!(made["quality"], "low");
}

#[test]
fn the_calibration_of_boamps_is_of_what_is_in_the_total_or_is_not_there() {
    let logs = tempfile::tempdir().unwrap();
    let run = measured(logs.path());
    let calibration = |idle: Value| {
        made::rewrite(&run, |manifest| {
            manifest["baseline"] =
                json!({ "measured": "2026-01-01T00:00:00Z", "duration_s": 10.0, "domains": idle });
        });
        let runs = history(&run);
        let report = BoAmps::of(&runs, &france(), template(), None, SystemTime::now()).unwrap();
        let report: Value = serde_json::from_str(&report.to_string()).unwrap();
        let measure = &report["measures"][0];
        let of = |key: &str| measure.get(key).and_then(Value::as_f64);
        (of("powerCalibrationMeasurement"), of("durationCalibrationMeasurement"))
    };
    let watts = |power: f64| json!({ "power_w": power, "u_w": 1.0 });
    let (energy, time) = calibration(json!({ "cpu:0": watts(36.0), "psys:0": watts(90.0) }));
    assert!((energy.unwrap() / 1e-4 - 1.0).abs() < 1e-9, "{energy:?}");
    assert_eq!(time, Some(10.0));
    assert_eq!(calibration(json!({ "psys:0": watts(90.0) })), (None, None));
}

#[test]
fn a_report_of_boamps_without_task_and_data_is_refused() {
    let logs = tempfile::tempdir().unwrap();
    let runs = history(&measured(logs.path()));
    let refusal = |template: Value| {
        let done = BoAmps::of(&runs, &france(), template, None, SystemTime::now());
        done.unwrap_err().to_string()
    };
    for (place, change) in [
        ("/task/taskFamily` is missing", json!({})),
        (
            "/task/dataset` is no list",
            json!({ "task": { "taskFamily": "a" }, "infrastructure": { "infraType": "other" } }),
        ),
        (
            "/infrastructure/infraType` is `cloud`, and none of",
            json!({ "task": template()["task"], "infrastructure": { "infraType": "cloud" } }),
        ),
        ("no object", json!([])),
        ("`measures`", json!({ "measures": [] })),
    ] {
        let text = refusal(change);
        assert!(text.contains(place) && text.contains("give what the log cannot know"), "{text}");
    }
}

#[test]
fn a_bill_of_materials_has_kilowatt_hours_and_tonnes() {
    let logs = tempfile::tempdir().unwrap();
    let runs = read(&[measured(logs.path()), estimated(logs.path(), HOSTILE)]);
    for (version, site) in [(Version::V1_6, france()), (Version::V1_7, Site::default())] {
        let bill = CycloneDx::of(&runs, &site, version, Some(Stage::FineTuning), SystemTime::now());
        let bill: Value = serde_json::from_str(&bill.unwrap().to_string()).unwrap();
        assert_eq!(bill["specVersion"], version.to_string());
        let of = |place: usize| {
            &bill["components"][place]["modelCard"]["considerations"]["environmentalConsiderations"]
                ["energyConsumptions"][0]
        };
        assert_eq!(of(0)["activity"], "fine-tuning");
        let energy = of(0)["activityEnergyCost"]["value"].as_f64().unwrap();
        assert!((energy * 3.6e6 - 1_500.0 * site.pue.value.ratio()).abs() < 0.01, "{energy}");
        match site.intensity {
            Some(_) => {
                let mass = of(0)["co2CostEquivalent"]["value"].as_f64().unwrap();
                assert!((mass - 2.072e-8).abs() < 1e-12, "{mass}");
            }
            None => assert_eq!(of(0).get("co2CostEquivalent"), None),
        }
        let said = |place: usize| of(place)["properties"][0].clone();
        assert_eq!(said(0), json!({ "name": "ergometer:energy", "value": "measured" }));
        assert_eq!(said(1)["value"], "estimated by a model, not measured");
        assert_eq!(bill["components"][1]["name"], HOSTILE);
        // A loss that is no number has no value to tell.
        assert_eq!(
            bill["components"][1]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"],
            json!([])
        );
    }
}

#[test]
fn the_block_for_the_european_form_is_four_lines_in_megawatt_hours() {
    let logs = tempfile::tempdir().unwrap();
    let of = |run: PathBuf, operations| {
        Gpai::of(&history(&run), &france(), operations).unwrap().to_string()
    };
    let text = of(measured(logs.path()), Some(Flop::from_count(3.1e12)));
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.starts_with("Amount of energy used for training: 0.00000050"), "{text}");
    assert!(text.contains(" MWh (k = 2), measured\n"), "{text}");
    assert!(text.contains("multiplied by a PUE of 1.2 (the provider's mean)"), "{text}");
    assert!(text.contains("Training time: 0.00017 days (15.0 s)\n"), "{text}");
    assert!(
        text.ends_with("training: 3.1e12 floating-point operations, as the provider says\n"),
        "{text}"
    );
    let text = of(estimated(logs.path(), HOSTILE), None);
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.contains("(k = 2), estimated by a model, not measured\n"), "{text}");
    assert!(text.ends_with("not known to the meter, which counts energy\n"), "{text}");
    assert!(!text.to_lowercase().contains("complian"), "{text}");
}

#[test]
fn there_is_no_score_without_embodied_emissions_and_none_without_an_intensity() {
    let logs = tempfile::tempdir().unwrap();
    let run = measured(&logs.path().join("runs"));
    let sci = |arguments: &[&str]| {
        let (status, out, err) =
            ergometer(&[&["export", "--format", "sci", run.to_str().unwrap()], arguments].concat());
        (status, serde_json::from_str::<Value>(&out).unwrap_or_default(), err)
    };
    let (status, _, err) = sci(&[]);
    assert!(status == 1 && err.contains("--country FR"), "{err}");
    let (_, found, err) = sci(&["--intensity", "100"]);
    let near = |value: &Value, expected: f64| {
        assert!((value.as_f64().unwrap() / expected - 1.0).abs() < 1e-6, "{value} {expected}");
    };
    assert_eq!(err, "");
    near(&found[0]["E_kwh"], 1_500.0 / 3.6e6);
    near(&found[0]["O_g"], 0.1 / 2.4);
    assert!(found[0]["note"].as_str().unwrap().starts_with("M is not given"));
    let units: Vec<&str> = found[0]["R"]
        .as_array()
        .unwrap()
        .iter()
        .map(|unit| unit["unit"].as_str().unwrap())
        .collect();
    assert_eq!(units, ["run", "epoch", "step", "sample"]);
    near(&found[0]["R"][3]["O_g"], 0.1 / 2.4 / 960.0);
    assert_eq!(found[0]["R"][0].get("sci_g"), None);
    let (_, found, _) = sci(&["--intensity", "100", "--device", "laptop"]);
    let (score, mass) = (&found[0]["R"][0]["sci_g"], &found[0]["M_g"]);
    for end in ["low", "high"] {
        let mass = mass[end].as_f64().unwrap();
        assert!(mass > 0.0, "{found}");
        near(&score[end], mass + 0.1 / 2.4);
    }
    assert_eq!(found[0]["M_source"][0]["device"]["name"], "laptop");
    assert_eq!(found[0]["service_life"]["utilisation"], 0.5);
    let lifetime = found[0]["service_life"]["lifetime_s"].as_f64().unwrap();
    near(&found[0]["time_share"], 15.0 / (lifetime * 0.5));
    near(&found[0]["time_share"], mass["low"].as_f64().unwrap() / 181_000.0);
    // 2 % of the gain, twice.
    near(&found[0]["O_expanded_uncertainty_g"], 0.04 * 0.1 / 2.4);
    near(&found[0]["R"][3]["O_expanded_uncertainty_g"], 0.04 * 0.1 / 2.4 / 960.0);
    assert!(found[0]["note"].as_str().unwrap().contains("comes on top"), "{found}");
}

#[test]
fn formats_of_one_run_refuse_several_and_a_run_that_was_stopped_is_said_to_be() {
    let logs = tempfile::tempdir().unwrap();
    let run = measured(logs.path());
    let two = read(&[run.clone(), estimated(logs.path(), "other")]);
    for refused in [
        ModelCard::of(&two, &france()).unwrap_err(),
        Gpai::of(&two, &france(), None).unwrap_err(),
        BoAmps::of(&two, &france(), template(), None, SystemTime::now()).unwrap_err(),
    ] {
        assert!(refused.what().ends_with("is of one run, and 2 are given"), "{refused}");
    }
    made::rewrite(&run, |manifest| manifest["state"] = "stopped".into());
    let runs = history(&run);
    let said = "the run was stopped before its planned end";
    assert!(ModelCard::of(&runs, &france()).unwrap().to_string().contains(said));
    assert!(Gpai::of(&runs, &france(), None).unwrap().to_string().contains(said));
    assert!(Sentence::of(&runs, &france()).unwrap().markdown().contains(said));
    let bill = CycloneDx::of(&runs, &france(), Version::V1_7, None, SystemTime::now()).unwrap();
    assert!(bill.to_string().contains(said));
}

#[test]
fn codecarbons_file_is_written_with_a_word_on_estimates() {
    let logs = tempfile::tempdir().unwrap();
    let runs = [measured(&logs.path().join("a")), estimated(&logs.path().join("b"), "b")];
    let said = runs.map(|run| {
        let (status, _, err) =
            ergometer(&["export", "--format", "codecarbon", run.to_str().unwrap()]);
        assert_eq!(status, 0, "{err}");
        err
    });
    assert_eq!(said[0], "");
    assert!(said[1].contains(": estimated by a model, not measured; say it beside"), "{}", said[1]);
}

/// The run as one that was killed, while another program used the machine.
fn killed(run: &Path) {
    let log = run.join("rank-00000.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    let end: Value = serde_json::from_str(lines.pop().unwrap()).unwrap();
    let event = json!({
        "kind": "event", "run_id": end["run_id"], "rank": 0, "host": end["host"], "session": 0,
        "t_ns": end["t_end_ns"], "event": "contention", "detail": "others",
    });
    fs::write(&log, format!("{}\n{event}\n", lines.join("\n"))).unwrap();
    made::rewrite(run, |manifest| manifest["state"] = "running".into());
}

#[test]
fn every_document_tells_that_a_run_was_killed_and_that_others_used_the_machine() {
    let logs = tempfile::tempdir().unwrap();
    let run = measured(&logs.path().join("runs"));
    let of = |format: &str, more: &[&str]| {
        let path = run.to_str().unwrap();
        let (status, out, err) =
            ergometer(&[&["export", "--format", format, "--country=FR", path], more].concat());
        assert_eq!(status, 0, "{err}");
        out + &err
    };
    let said_before = of("gpai", &[]);
    assert!(said_before.contains("over the whole run `mlp`; measured"), "{said_before}");
    killed(&run);
    let file = logs.path().join("template.json");
    fs::write(&file, template().to_string()).unwrap();
    for (format, more) in [
        ("model-card", vec![]),
        ("codecarbon", vec![]),
        ("boamps", vec!["--template", file.to_str().unwrap()]),
        ("cyclonedx", vec![]),
        ("gpai", vec![]),
        ("sci", vec![]),
        ("sentence", vec![]),
    ] {
        let said = of(format, &more);
        assert!(
            said.contains("or was killed: the figures are those up to its last record"),
            "{said}"
        );
        assert!(said.contains("other programs used the machine meanwhile"), "{said}");
        assert!(
            format != "gpai" || said.contains("over the run `mlp` as far as it is recorded"),
            "{said}"
        );
    }
}

#[test]
fn what_is_given_of_a_place_and_not_used_is_told() {
    let logs = tempfile::tempdir().unwrap();
    let run = measured(&logs.path().join("runs"));
    let file = logs.path().join("template.json");
    fs::write(&file, template().to_string()).unwrap();
    let template = format!("--template={}", file.display());
    for (format, options, told) in [
        ("sentence", vec!["--pue=1.2"], "the PUE is not used"),
        ("sentence", vec!["--pue=1.2", "--country=FR"], ""),
        ("boamps", vec![&template, "--pue=1.2", "--country=FR"], "the PUE is not used"),
        ("boamps", vec![&template, "--intensity=41"], "the intensity is not used"),
        ("boamps", vec![&template, "--intensity=41", "--country=FR"], ""),
        ("gpai", vec!["--pue=1.2"], ""),
    ] {
        let arguments = ["export", "--format", format, run.to_str().unwrap()];
        let (status, _, err) = ergometer(&[&arguments[..], &options].concat());
        assert_eq!(status, 0, "{err}");
        assert_eq!(err.is_empty(), told.is_empty(), "{format} {options:?}: {err}");
        assert!(err.contains(told), "{format} {options:?}: {err}");
    }
}
