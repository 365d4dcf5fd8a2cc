//! A project on one page.

use std::path::Path;

use ergometer::Energy;
use ergometer_report::History;
use ergometer_report::analysis::frugality::{Sheet, Statement};
use ergometer_report::site::Site;

use super::{HOUR, Made, assert_close, ergometer, in_france};

/// Two runs in each of two months; later ones use less for a sample, and more in all.
fn project(logs: &Path) -> Vec<History> {
    let run = |name, created, energy, samples, provenance| Made {
        name,
        created,
        epochs: vec![(HOUR, energy)],
        samples,
        provenance,
        evaluation: 0.1 * energy,
        ..Made::default()
    };
    [
        run("a", "2026-10-30T06:00:00Z", 1e6, 1_000, "counter"),
        run("b", "2026-10-31T06:00:00Z", 1e6, 1_000, "counter"),
        run("c", "2026-11-01T06:00:00Z", 2e6, 4_000, "counter"),
        run("d", "2026-11-02T06:00:00Z", 1e6, 2_000, "model"),
    ]
    .iter()
    .map(|made| made.read(logs))
    .collect()
}

#[test]
fn a_sheet_adds_up_and_shows_the_rebound() {
    let logs = tempfile::tempdir().unwrap();
    let sheet = Sheet::of(&project(logs.path()), &in_france(), Statement::default()).unwrap();
    assert_close(sheet.total.energy.as_joules(), 5e6);
    assert_close(sheet.total.uncertainty.unwrap().as_joules(), 0.25e6);
    assert_close(sheet.total.measured.as_joules(), 4e6);
    let phases: Energy = sheet.phases.values().copied().sum();
    assert_eq!(phases, sheet.total.energy);
    assert_close(sheet.phases["evaluation"].as_joules(), 0.5e6);
    let months: Vec<_> = sheet
        .months
        .iter()
        .map(|(name, it)| (name.as_str(), it.runs, it.energy_per_sample().unwrap().as_joules()))
        .collect();
    assert_eq!(months, [("2026-10", 2, 1_000.0), ("2026-11", 2, 500.0)]);
    assert_eq!(sheet.rebound(), Some(("2026-10", "2026-11")));
    // 5 MJ at 50 g/kWh.
    assert_close(sheet.co2e.unwrap().as_grams(), 5.0 / 3.6 * 50.0);
    let text = sheet.to_string();
    assert!(text.contains("| 2026-11 | 2 | 3.0 MJ | 500.0 J |"), "{text}");
    assert!(text.contains("80 % measured, 20 % estimated"), "{text}");
    assert!(text.contains("a rebound"), "{text}");
    assert!(text.contains("**Need:** not stated"), "{text}");
    assert!(text.contains("- fans: no sensor"), "{text}");
    assert!(text.contains("AFNOR SPEC 2314") && text.contains("not a label"), "{text}");
    assert!(!text.to_lowercase().contains("is frugal"), "{text}");
}

#[test]
fn a_month_that_uses_less_in_all_is_no_rebound() {
    let logs = tempfile::tempdir().unwrap();
    let runs = &project(logs.path())[..3];
    let reversed = [&runs[1..2], &runs[2..]].concat();
    let sheet = Sheet::of(&reversed, &Site::default(), Statement::default()).unwrap();
    assert_eq!(sheet.rebound(), Some(("2026-10", "2026-11")));
    let equal = Sheet::of(runs, &Site::default(), Statement::default()).unwrap();
    assert_eq!(equal.rebound(), None, "2 MJ in either month");
    assert!(Sheet::of(&[], &Site::default(), Statement::default()).is_err());
}

#[test]
fn the_sheet_command_takes_words_and_devices() {
    let logs = tempfile::tempdir().unwrap();
    project(logs.path());
    let runs = logs.path().to_str().unwrap();
    let (status, out, err) = ergometer(&[
        "sheet",
        runs,
        "--need",
        "reads digits",
        "--alternative",
        "a rule by hand",
        "--device",
        "2 L4",
        "--intensity",
        "50",
    ]);
    assert_eq!((status, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("**Need:** reads digits") && out.contains("- a rule by hand"), "{out}");
    // Two of 124 kg for four hours.
    assert!(out.contains("| manufacture | about 60 g CO2e | 2 × L4; 4.0 years"), "{out}");
    let (status, out, _) = ergometer(&["sheet", runs, "--json"]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, json["total"]["energy_j"].as_f64()), (0, Some(5e6)));
    // The logs name an A100.
    assert_eq!(json["embodied"]["parts"][0]["device"]["name"], "A100 80GB");
    let (status, _, err) = ergometer(&["sheet", runs, "--device", "abacus"]);
    assert_eq!(status, 2);
    assert!(err.contains("`abacus`") && err.contains("laptop"), "{err}");
}
