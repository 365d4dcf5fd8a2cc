//! What models cost up to one quality, and which no other beats in time and energy.

use std::fs;
use std::path::{Path, PathBuf};

use ergometer::Power;
use ergometer_report::analysis::time_energy::{Reading, Setting, Standing, TimeEnergy};
use ergometer_report::{AtQuality, Comparison, Verdict};
use serde_json::Value;
use tempfile::TempDir;

use crate::made::{TRAINING, Training, ergometer, read, rewrite, two_models};

#[test]
fn equal_work_and_equal_quality_are_two_answers() {
    let logs = TempDir::new().unwrap();
    let runs = read(&two_models(logs.path(), 3));
    let summaries: Vec<_> = runs.iter().map(|run| run.summary.clone()).collect();
    let comparison = Comparison::of(&summaries);
    let target = "accuracy=0.9".parse().unwrap();
    let answer = AtQuality::of(&comparison, &runs, &target).unwrap();
    // 10 s of 100 W against 15 s of 50 W; at equal work half the energy.
    let first = answer.groups[0].energy.unwrap().as_joules();
    assert!((first / 1_000.0 - 1.0).abs() < 1e-3, "{first}");
    let second = &answer.groups[1];
    let (at_quality, at_work) = (second.at_quality.unwrap(), second.at_work.unwrap());
    assert!((at_quality.ratio - 0.75).abs() < 1e-3 && (at_work.ratio - 0.5).abs() < 1e-3);
    // ln 0.99, 0, ln 1.01 scatter by s = 0.0100007, alike in both: 4 degrees, t = 2.776445, u = s·√(2/3).
    let margin = (2.776_445_f64 * 0.010_000_7 * (2.0_f64 / 3.0).sqrt()).exp();
    let (low, high) = at_quality.interval.unwrap();
    assert!((low * margin / at_quality.ratio - 1.0).abs() < 1e-4, "{low} to {high}");
    assert!((high / margin / at_quality.ratio - 1.0).abs() < 1e-4, "{low} to {high}");
    assert_eq!((at_quality.verdict, at_work.verdict), (Verdict::Less, Verdict::Less));
    assert_eq!(second.crossings[0].epoch, Some(3));
}

#[test]
fn a_target_that_is_not_given_is_the_best_that_every_run_reaches() {
    let logs = TempDir::new().unwrap();
    let runs = read(&two_models(logs.path(), 2));
    let summaries: Vec<_> = runs.iter().map(|run| run.summary.clone()).collect();
    let comparison = Comparison::of(&summaries);
    let chosen = AtQuality::of(&comparison, &runs, &"accuracy".parse().unwrap()).unwrap();
    assert!(chosen.chosen && chosen.target.value == Some(0.93));
    let verdict = chosen.groups[1].at_quality.unwrap().verdict;
    assert_eq!(verdict, Verdict::TooFewRuns);
    // The second model alone reaches 0.94.
    let high = AtQuality::of(&comparison, &runs, &"accuracy=0.94".parse().unwrap()).unwrap();
    assert_eq!((high.groups[0].crossings.len(), high.groups[0].never.len()), (0, 2));
    assert_eq!(high.groups[1].at_quality, None);
    assert!(high.to_string().contains("never reached"), "{high}");
    let unknown = AtQuality::of(&comparison, &runs, &"f1=0.5".parse().unwrap()).unwrap_err();
    assert!(
        unknown
            .to_string()
            .contains("has a metric `f1`; measure `f1` in each epoch, or give one of `accuracy`"),
        "{unknown}"
    );
}

#[test]
fn one_run_each_gives_no_interval_and_no_verdict() {
    let logs = TempDir::new().unwrap();
    let directories = two_models(logs.path(), 1);
    rewrite(&directories[1], |manifest| manifest["notes"]["batch"] = "64".into());
    let answer = |directories: &[PathBuf]| {
        let runs = read(directories);
        let summaries: Vec<_> = runs.iter().map(|run| run.summary.clone()).collect();
        AtQuality::of(&Comparison::of(&summaries), &runs, &"accuracy=0.9".parse().unwrap()).unwrap()
    };
    let unlike = answer(&directories).to_string();
    assert!(unlike.contains("not comparable: batch: 32, 64"), "{unlike}");
    rewrite(&directories[1], |manifest| manifest["notes"]["batch"] = "32".into());
    let alike = answer(&directories);
    let contrast = alike.groups[1].at_quality.unwrap();
    assert_eq!((contrast.interval, contrast.verdict), (None, Verdict::TooFewRuns));
    assert!(alike.to_string().contains("one run each: no interval"), "{alike}");
}

#[test]
fn a_comparison_says_in_what_runs_differ_beside_the_model() {
    let logs = TempDir::new().unwrap();
    let directories = two_models(logs.path(), 2);
    for run in &directories[2..] {
        rewrite(run, |manifest| {
            manifest["machine"]["cpu"] = "Other Processor".into();
            manifest["machine"]["boot_id"] = "elsewhere".into();
            manifest["machine"]["host"] = "another".into();
        });
    }
    let summaries: Vec<_> = read(&directories).into_iter().map(|run| run.summary).collect();
    let comparison = Comparison::of(&summaries);
    let unlike = &comparison.groups[1].unlike;
    assert!(unlike.iter().any(|difference| difference.contains("Other Processor")), "{unlike:?}");
    assert!(unlike.iter().any(|difference| difference.starts_with("host: another")), "{unlike:?}");
    assert!(comparison.to_string().contains("not the models alone"), "{comparison}");
    let alike = Comparison::of(
        &read(&two_models(logs.path(), 2)).into_iter().map(|run| run.summary).collect::<Vec<_>>(),
    );
    assert!(alike.groups[1].unlike.is_empty(), "{:?}", alike.groups[1].unlike);
}

#[test]
fn models_that_take_turns_are_not_said_to_follow_one_another() {
    let logs = TempDir::new().unwrap();
    let directories = two_models(logs.path(), 2);
    let answer = |order: [u64; 4]| {
        for (run, second) in directories.iter().zip(order) {
            let created = format!("2026-01-01T00:00:0{second}Z");
            rewrite(run, |manifest| manifest["created"] = created.clone().into());
        }
        let runs = read(&directories);
        let summaries: Vec<_> = runs.iter().map(|run| run.summary.clone()).collect();
        AtQuality::of(&Comparison::of(&summaries), &runs, &"accuracy".parse().unwrap()).unwrap()
    };
    assert!(answer([1, 2, 3, 4]).in_blocks && answer([3, 4, 1, 2]).in_blocks);
    assert!(!answer([1, 3, 2, 4]).in_blocks);
}

#[test]
fn energies_of_different_coverage_have_no_front() {
    let logs = TempDir::new().unwrap();
    let directories = two_models(logs.path(), 1);
    rewrite(&directories[0], |manifest| manifest["sensors"][0]["provenance"] = "model".into());
    let refusal = TimeEnergy::of(&read(&directories), None, None).unwrap_err().to_string();
    assert!(refusal.contains("cpu by energy counter; cpu by model"), "{refusal}");
}

#[test]
fn runs_of_several_machines_have_no_front() {
    let logs = TempDir::new().unwrap();
    let directories = two_models(logs.path(), 2);
    rewrite(&directories[0], |manifest| {
        manifest["machine"]["host"] = "another".into();
        manifest["machine"]["boot_id"] = "elsewhere".into();
    });
    let refusal = TimeEnergy::of(&read(&directories), None, None).unwrap_err().to_string();
    assert!(refusal.contains("the runs are of several machines: host: another, "), "{refusal}");
    assert!(refusal.contains("give runs of one machine"), "{refusal}");
}

/// Changes the lines of a kind in a run's log.
fn damage(run: &Path, kind: &str, change: impl Fn(&mut Value)) {
    let path = run.join("rank-00000.jsonl");
    let lines: Vec<String> = fs::read_to_string(&path)
        .unwrap()
        .lines()
        .map(|line| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            if line["kind"] == kind {
                change(&mut line);
            }
            line.to_string() + "\n"
        })
        .collect();
    fs::write(path, lines.concat()).unwrap();
}

#[test]
fn energies_that_were_measured_in_part_are_in_no_mean_and_named() {
    let logs = TempDir::new().unwrap();
    let directories = two_models(logs.path(), 3);
    for kind in ["epoch", "end"] {
        damage(&directories[0], kind, |line| {
            line["quality"] = "partial".into();
            line["energy_j"] = 1.into();
        });
        damage(&directories[1], kind, |line| line["total_j"] = 0.into());
    }
    let runs = read(&directories);
    let summaries: Vec<_> = runs.iter().map(|run| run.summary.clone()).collect();
    let target = "accuracy=0.9".parse().unwrap();
    let answer = AtQuality::of(&Comparison::of(&summaries), &runs, &target).unwrap();
    let first = &answer.groups[0];
    assert_eq!((first.crossings.len(), first.never.len(), first.unknown.len()), (1, 0, 2));
    let text = answer.to_string();
    assert!(text.contains("1 of 3 runs, 1010") || text.contains("1 of 3 runs, 1.0"), "{text}");
    assert!(text.contains("part of the energy until then was not measured"), "{text}");
    // At equal work the run that was measured in part does not count either.
    let at_work = answer.groups[1].at_work.unwrap();
    assert_eq!((at_work.runs, at_work.verdict), ((3, 2), Verdict::TooFewRuns));

    let front = TimeEnergy::of(&runs, None, None).unwrap();
    assert_eq!(front.settings[0].runs + front.settings[1].runs, 5);
    assert!(front.left_out[0].ends_with("its energy is partial"), "{:?}", front.left_out);
    let front = TimeEnergy::of(&runs, Some(&target), None).unwrap();
    assert_eq!(front.left_out.len(), 2);
}

#[test]
fn a_run_that_diverged_reaches_no_value_and_does_not_hide_the_others() {
    let logs = TempDir::new().unwrap();
    let mut directories = two_models(logs.path(), 2);
    let diverged = Training { seed: 9, accuracies: &[f64::NAN; 4], ..TRAINING };
    directories.push(diverged.run(logs.path()));
    let runs = read(&directories);
    let summaries: Vec<_> = runs.iter().map(|run| run.summary.clone()).collect();
    let comparison = Comparison::of(&summaries);
    let answer = AtQuality::of(&comparison, &runs, &"accuracy=0.9".parse().unwrap()).unwrap();
    assert_eq!((answer.groups[0].crossings.len(), answer.groups[0].never.len()), (2, 1));
    let refusal = AtQuality::of(&comparison, &runs, &"accuracy".parse().unwrap()).unwrap_err();
    assert!(refusal.to_string().contains("is no number in any epoch"), "{refusal}");
}

#[test]
fn a_run_that_is_named_twice_counts_once_and_a_copy_of_it_is_complained_about() {
    let logs = TempDir::new().unwrap();
    let directories = two_models(logs.path(), 2);
    let all = logs.path().to_str().unwrap();
    let one = directories[0].to_str().unwrap();
    let (_, once, _) = ergometer(&["compare", all]);
    let (status, twice, err) = ergometer(&["compare", all, one, all]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert_eq!(once, twice);

    let copy = logs.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for file in ["run.json", "rank-00000.jsonl"] {
        fs::copy(directories[0].join(file), copy.join(file)).unwrap();
    }
    let (status, out, err) = ergometer(&["compare", all]);
    assert_eq!((status, out), (1, once));
    assert!(err.contains("once more; the first is counted"), "{err}");
}

fn setting(label: &str, time: [f64; 3], energy: [f64; 3]) -> Setting {
    let reading = |[low, mean, high]: [f64; 3]| Reading { mean, interval: Some((low, high)) };
    let (time, energy) = (reading(time), reading(energy));
    Setting {
        label: label.to_owned(),
        runs: 3,
        time,
        energy,
        quality: None,
        standing: Standing::Front,
    }
}

#[test]
fn only_intervals_that_part_make_one_training_beat_another() {
    let settings = vec![
        setting("fast", [98.0, 100.0, 102.0], [980.0, 1_000.0, 1_020.0]),
        setting("middle", [118.0, 120.0, 122.0], [580.0, 600.0, 620.0]),
        setting("frugal", [197.0, 200.0, 203.0], [490.0, 500.0, 510.0]),
        setting("near the middle", [119.0, 123.0, 127.0], [590.0, 605.0, 620.0]),
        setting("beaten", [150.0, 155.0, 160.0], [690.0, 700.0, 710.0]),
    ];
    let found = TimeEnergy::among(settings, None, None, Vec::new()).unwrap();
    let standings: Vec<Standing> = found.settings.iter().map(|setting| setting.standing).collect();
    assert_eq!(
        standings,
        [
            Standing::Front,
            Standing::Front,
            Standing::Tied(1),
            Standing::Dominated(1),
            Standing::Front
        ]
    );
    // Scaled to the front, the middle one is at (0.2, 0.2), far below the line from (0, 1) to (1, 0).
    assert_eq!(found.knee, Some(1));
    // 400 J saved in 20 s, and 100 J in 80 s.
    let per_hour: Vec<f64> =
        found.savings.iter().map(|saving| saving.per_hour.as_joules()).collect();
    assert!((per_hour[0] - 72_000.0).abs() < 1e-6 && (per_hour[1] - 4_500.0).abs() < 1e-6);
    // Where intervals overlap there is no saving to tell.
    let near = vec![
        setting("fast", [98.0, 100.0, 102.0], [580.0, 600.0, 620.0]),
        setting("as fast", [98.1, 100.1, 102.1], [570.0, 590.0, 610.0]),
    ];
    assert_eq!(TimeEnergy::among(near, None, None, Vec::new()).unwrap().savings, []);
    // At η = 0.5 with 20 W at most: (1000 + 2000)/2, and (600 + 2400)/2.
    let costs = found.costs(0.5, Power::from_watts(20.0)).unwrap();
    assert!((costs[0].as_joules() - 1_500.0).abs() < 1e-6);
    assert!((costs[1].as_joules() - 1_500.0).abs() < 1e-6);
    assert!(found.costs(1.5, Power::from_watts(20.0)).is_err());
    assert!((found.settings[0].energy_delay() - 100_000.0).abs() < 1e-6);
}

#[test]
fn the_front_up_to_a_target_is_read_from_logs() {
    let logs = TempDir::new().unwrap();
    let directories = two_models(logs.path(), 3);
    let runs = read(&directories);
    let found = TimeEnergy::of(&runs, Some(&"accuracy=0.9".parse().unwrap()), None).unwrap();
    assert_eq!(found.settings.len(), 2);
    assert!((found.settings[0].time.mean - 10.0).abs() < 1e-6);
    assert!((found.settings[1].energy.mean / 750.0 - 1.0).abs() < 1e-3);
    assert_eq!(found.front().count(), 2);
    assert!(!found.estimated && !found.to_string().contains("estimated"));
    for run in &directories {
        rewrite(run, |manifest| manifest["sensors"][0]["provenance"] = "model".into());
    }
    let modelled = TimeEnergy::of(&read(&directories), None, None).unwrap().to_string();
    assert!(modelled.contains("The energies are estimated by a model"), "{modelled}");
    let whole = TimeEnergy::of(&runs, None, Some(&"accuracy".parse().unwrap())).unwrap();
    // As long, half the energy, and more accurate.
    assert_eq!(whole.settings.len(), 2);
    assert!(whole.settings.iter().all(|setting| setting.quality.is_some()));
}

#[test]
fn compare_answers_at_equal_quality_beside_what_it_always_did() {
    let logs = TempDir::new().unwrap();
    two_models(logs.path(), 3);
    let directory = logs.path().to_str().unwrap();
    let (status, plain, _) = ergometer(&["compare", directory]);
    assert_eq!(status, 0);
    let (status, out, err) =
        ergometer(&["compare", directory, "--at-equal-quality", "accuracy=0.9", "--front"]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(out.starts_with(plain.trim_end()), "{out}");
    assert!(out.contains("Energy up to accuracy ≥ 0.9, geometric means"), "{out}");
    assert!(out.contains("0.75 × (0.73 to 0.77) less"), "{out}");
    assert!(out.contains("0.50 × (0.49 to 0.51) less"), "{out}");
    assert!(out.contains("Time and energy up to accuracy ≥ 0.9"), "{out}");
    let (_, out, _) =
        ergometer(&["compare", directory, "--json", "--at-equal-quality", "accuracy"]);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["groups"].as_array().unwrap().len(), 2);
    assert_eq!(answer["at_equal_quality"]["target"]["value"], 0.93);
    let (status, _, err) = ergometer(&["compare", directory, "--at-equal-quality", "pace=3"]);
    assert_eq!(status, 2);
    assert!(err.contains("`pace>=VALUE` or `pace<=VALUE`"), "{err}");
}
