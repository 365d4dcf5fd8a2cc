//! When to start.

use std::path::PathBuf;
use std::time::Duration;

use ergometer_report::History;
use ergometer_report::analysis::schedule::Schedule;
use ergometer_report::grid::hourly::Hours;
use ergometer_report::quantity::{CarbonIntensity, Pue};
use ergometer_report::site::Sourced;
use tempfile::TempDir;

use super::{HOUR, Made, assert_close, assert_fits, ergometer, made, no_overhead, slack};

/// Hours from midnight of a Sunday.
fn hours(intensities: &[f64]) -> Hours {
    Hours {
        start: "2026-11-22T00:00:00Z".parse().unwrap(),
        intensities: intensities
            .iter()
            .map(|grams| CarbonIntensity::from_grams_per_kilowatt_hour(*grams))
            .collect(),
        source: "made".to_owned(),
    }
}

#[test]
fn a_start_costs_the_sum_over_its_hours_of_energy_times_intensity() {
    // 1 kWh, 3 kWh, and 1 kWh in the last half hour.
    let run = made(Made {
        epochs: vec![(HOUR, 3.6e6), (HOUR, 10.8e6), (HOUR / 2, 3.6e6)],
        ..Made::default()
    });
    let hours = hours(&[400.0, 100.0, 200.0, 300.0, 500.0]);
    let schedule = Schedule::of(&run, &hours, slack(24), &no_overhead()).unwrap();
    // 1·400 + 3·100 + 1·200; 1·100 + 3·200 + 1·300; 1·200 + 3·300 + 1·500.
    let told: Vec<f64> = schedule.starts.iter().map(|start| start.co2e.as_grams()).collect();
    for (told, expected) in told.iter().zip([900.0, 1_000.0, 1_600.0]) {
        assert_close(*told, expected);
    }
    assert_eq!(told.len(), 3);
    assert_eq!(schedule.best.at.to_string(), "2026-11-22T00:00:00Z");
    assert_eq!(schedule.worst.at.to_string(), "2026-11-22T02:00:00Z");
    assert_close(schedule.mean.as_grams(), 3_500.0 / 3.0);
    assert_close(schedule.saving.of_worst, 1.0 - 900.0 / 1_600.0);
    assert_close(schedule.saving.of_mean, 1.0 - 900.0 / (3_500.0 / 3.0));
    assert_eq!(schedule.saving.of_midnight, Some(0.0));
    assert!(schedule.cut_short, "the file ends before a day of slack does");
    assert_fits(&schedule.to_string());
}

#[test]
fn the_course_of_the_power_decides_where_a_flat_one_would_not() {
    let run = |first: f64, second: f64| {
        made(Made { epochs: vec![(HOUR, first), (HOUR, second)], ..Made::default() })
    };
    let hours = hours(&[100.0, 200.0, 100.0]);
    let best = |run: &History| {
        Schedule::of(run, &hours, slack(1), &no_overhead()).unwrap().best.at.to_string()
    };
    assert_eq!(best(&run(9e6, 1e6)), "2026-11-22T00:00:00Z");
    assert_eq!(best(&run(1e6, 9e6)), "2026-11-22T01:00:00Z");
}

#[test]
fn a_pause_between_sessions_is_not_repeated() {
    let epochs = || vec![(HOUR, 3.6e6), (HOUR, 7.2e6)];
    let whole = made(Made { epochs: epochs(), ..Made::default() });
    let paused = made(Made { epochs: epochs(), away: Some((1, 50 * HOUR)), ..Made::default() });
    let hours = hours(&[400.0, 100.0, 200.0, 300.0]);
    let starts = |run| Schedule::of(run, &hours, slack(2), &no_overhead()).unwrap().starts;
    for (a, b) in starts(&whole).iter().zip(starts(&paused)) {
        assert_close(a.co2e.as_grams(), b.co2e.as_grams());
    }
    assert_eq!(starts(&paused).len(), 3);
}

#[test]
fn the_overhead_is_applied_once_and_changes_no_saving() {
    let run = made(Made::default());
    let hours = hours(&[300.0, 100.0, 200.0]);
    let of = |pue: &Sourced<Pue>| Schedule::of(&run, &hours, slack(2), pue).unwrap();
    let pue = Sourced { value: Pue::new(1.5).unwrap(), source: "given".to_owned() };
    assert_close(of(&no_overhead()).best.co2e.as_grams(), 100.0);
    assert_close(of(&pue).best.co2e.as_grams(), 150.0);
    assert_close(of(&pue).saving.of_worst, of(&no_overhead()).saving.of_worst);
}

#[test]
fn one_start_is_no_choice() {
    let run = made(Made { epochs: vec![(HOUR, 1e6), (HOUR, 1e6)], ..Made::default() });
    let of = |hours: &Hours, time| Schedule::of(&run, hours, time, &no_overhead()).unwrap_err();
    let alone = of(&hours(&[100.0, 200.0]), slack(24)).to_string();
    assert!(alone.contains("leave one start") && alone.contains("an hour of slack"), "{alone}");
    assert!(
        of(&hours(&[1.0, 2.0, 3.0]), Duration::from_secs(60)).to_string().contains("one start")
    );
    assert!(of(&hours(&[100.0]), slack(24)).to_string().contains("do not cover"));
}

fn day(logs: &TempDir) -> PathBuf {
    let file = logs.path().join("hours.csv");
    let lines: String = (0..24)
        .map(|hour| format!("2026-11-22T{hour:02}:00Z,{}\n", if hour == 13 { 50 } else { 100 }))
        .collect();
    std::fs::write(&file, lines).unwrap();
    file
}

#[test]
fn the_schedule_command_finds_the_clean_hour() {
    let logs = tempfile::tempdir().unwrap();
    let run = Made::default().write(logs.path());
    let (run, file) = (run.to_str().unwrap().to_owned(), day(&logs));
    let file = file.to_str().unwrap();
    let (status, out, err) = ergometer(&["schedule", &run, "--hours", file]);
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("best      2026-11-22 13:00Z       50.0 g CO2e"), "{out}");
    assert!(out.contains("the best saves 50.0 % of it"), "{out}");
    let (status, out, _) =
        ergometer(&["schedule", &run, "--hours", file, "--slack", "6h", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, json[0]["starts"].as_array().unwrap().len()), (0, 7));
    assert_eq!(json[0]["best"]["at"], "2026-11-22T00:00:00Z");
    let (status, _, err) = ergometer(&["schedule", &run, "--hours", file, "--slack", "soon"]);
    assert_eq!(status, 2);
    assert!(err.contains("`soon` is not a length of time"), "{err}");
    let (status, _, err) = ergometer(&["schedule", &run, "--hours", "nowhere.csv"]);
    assert_eq!(status, 1);
    assert!(err.contains("cannot read `nowhere.csv`"), "{err}");
}
