//! What runs are worth: when to start, manufacture, money, equivalents, published trainings, use, and the sheet. The expected
//! numbers are worked out by hand beside them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ergometer::{Energy, RunLog};
use ergometer_report::History;
use ergometer_report::analysis::amortisation::Amortisation;
use ergometer_report::analysis::cost::{Cost, Prices};
use ergometer_report::analysis::embodied::{Device, Embodied, Part, ServiceLife};
use ergometer_report::analysis::equivalents::Equivalents;
use ergometer_report::analysis::frugality::{Sheet, Statement};
use ergometer_report::analysis::published::{Basis, Published, Reference};
use ergometer_report::analysis::schedule::Schedule;
use ergometer_report::grid::hourly::Hours;
use ergometer_report::quantity::{
    CarbonIntensity, CarbonPrice, Co2e, Currency, DevicePrice, EnergyPrice, Flop, Money, Pue,
};
use ergometer_report::site::{Site, Sourced};
use serde_json::json;
use tempfile::TempDir;

use crate::lab::check_schema;

const HOUR: u64 = 3_600;

/// A run as its log has it: epochs of given lengths and energies, one after the other.
struct Made {
    name: &'static str,
    created: &'static str,
    /// Seconds and joules of each epoch.
    epochs: Vec<(u64, f64)>,
    /// Seconds for which the process was away before an epoch.
    away: Option<(usize, u64)>,
    samples: u64,
    gpu: &'static str,
    provenance: &'static str,
    host: &'static str,
    /// Joules of the evaluations.
    evaluation: f64,
}

impl Default for Made {
    fn default() -> Made {
        Made {
            name: "made",
            created: "2026-11-22T06:00:00Z",
            epochs: vec![(HOUR, 3.6e6)],
            away: None,
            samples: 0,
            gpu: "NVIDIA A100-SXM4-80GB",
            provenance: "counter",
            host: "one",
            evaluation: 0.0,
        }
    }
}

impl Made {
    /// Writes the run, with an uncertainty of 5 % (k = 1), and reads it back.
    fn read(&self, logs: &Path) -> History {
        let (history, bad) = History::read(&RunLog::open(self.write(logs)).unwrap()).unwrap();
        assert!(bad.is_empty(), "{bad:?}");
        history
    }

    fn write(&self, logs: &Path) -> PathBuf {
        let directory = logs.join(self.name);
        std::fs::create_dir_all(&directory).unwrap();
        let manifest = json!({
            "format": "ergometer-run", "version": 1, "run_id": self.name, "name": self.name,
            "created": self.created, "state": "complete",
            "program": {"name": "train", "pid": 1, "ergometer": "0.1.0"},
            "machine": {"host": self.host, "os": "Linux", "architecture": "x86_64"},
            "clock": {"name": "CLOCK_MONOTONIC", "anchor_ns": 0, "unix_ns": 1_795_330_069_000_000_000_i64},
            "sensors": [{
                "domain": {"id": "gpu:0", "hardware": "gpu", "name": self.gpu},
                "source": "made", "stack": "nvml", "provenance": self.provenance, "scope": "the card",
                "quantum_j": 0, "period_s": 0.1, "interval_s": 0.05, "gain": 0.05, "offset_w": 0.0,
                "family": "made", "power_min_w": 0.0, "power_max_w": 700.0, "in_total": true
            }],
            "unmeasured": [{"source": "fans", "reason": "no sensor"}],
            "methods": {"total": "gross", "uncertainty": "k = 1", "boundaries": "host time"},
            "sessions": 1
        });
        std::fs::write(directory.join("run.json"), manifest.to_string()).unwrap();
        std::fs::write(directory.join("rank-00000.jsonl"), self.lines()).unwrap();
        check_schema(&directory);
        directory
    }

    fn lines(&self) -> String {
        let quality = if self.provenance == "model" { "estimated" } else { "measured" };
        let (mut lines, mut at, mut total, mut session) = (Vec::new(), 0, 0.0, 0);
        let start = |session: u32, at: u64| {
            json!({
                "kind": "run", "version": 1, "run_id": self.name, "rank": 0, "host": self.host,
                "session": session, "name": self.name, "t_start_ns": at * 1_000_000_000,
                "unix_ns": 1_795_330_069_000_000_000_i64 + i64::try_from(at).unwrap() * 1_000_000_000
            })
        };
        let window = |kind: &str,
                      session: u32,
                      id: usize,
                      from: u64,
                      to: u64,
                      energy: f64,
                      total: f64| {
            json!({
                "kind": kind, "run_id": self.name, "rank": 0, "host": self.host, "session": session,
                "lane": 0, "id": id, "t_start_ns": from * 1_000_000_000, "t_end_ns": to * 1_000_000_000,
                "duration_s": to - from, "energy_j": energy, "u_j": 0.05 * energy, "quality": quality,
                "domains": {"gpu:0": {"energy_j": energy, "u_j": 0.05 * energy, "quality": quality, "total_j": total}},
                "total_j": total, "status": "complete"
            })
        };
        lines.push(start(session, at));
        for (place, (time, energy)) in self.epochs.iter().enumerate() {
            if let Some((_, away)) = self.away.filter(|(before, _)| *before == place) {
                at += away;
                session += 1;
                lines.push(start(session, at));
            }
            if place == 0 && self.evaluation > 0.0 {
                let (energy, id) = (self.evaluation, 100);
                let mut line = window("phase", session, id, at, at + 1, energy, energy);
                line["phase"] = json!("evaluation");
                line["epoch"] = json!(1);
                lines.push(line);
            }
            total += energy;
            let mut line = window("epoch", session, place + 1, at, at + time, *energy, total);
            line["epoch"] = json!(place + 1);
            line["steps"] = json!(0);
            line["remainder_j"] = json!(energy);
            lines.push(line);
            at += time;
        }
        let mut end = window("end", session, 0, 0, at, total, total);
        let ran: u64 = self.epochs.iter().map(|(time, _)| time).sum();
        end["duration_s"] = json!(ran);
        end["steps"] = json!(0);
        end["epochs"] = json!(self.epochs.len());
        end["remainder_j"] = json!(0);
        if self.samples > 0 {
            end["samples"] = json!(self.samples);
        }
        lines.push(end);
        lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

fn made(made: Made) -> History {
    made.read(tempfile::tempdir().unwrap().path())
}

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

fn no_overhead() -> Sourced<Pue> {
    Site::default().pue
}

fn in_france() -> Site {
    let intensity = CarbonIntensity::from_grams_per_kilowatt_hour(50.0);
    Site::default().intensity(intensity, "given").unwrap()
}

fn slack(hours: u64) -> Duration {
    Duration::from_secs(hours * HOUR)
}

fn assert_close(value: f64, expected: f64) {
    assert!((value / expected - 1.0).abs() < 1e-6, "{value} is not {expected}");
}

/// No line is wider than a terminal.
fn assert_fits(text: &str) {
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

// When to start.

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

// Manufacture.

#[test]
fn a_card_carries_what_its_factors_over_its_hours_of_use_come_to() {
    let part = Part { device: Device::named("NVIDIA A100-SXM4-80GB").unwrap(), count: 1.0 };
    let hour = Embodied::of(vec![part.clone()], slack(1), ServiceLife::default()).unwrap();
    // 150 and 568 kg over 4 · 8,760 h · 50 %.
    assert_close(hour.range.low.as_grams(), 150e3 / 17_520.0);
    assert_close(hour.range.high.as_grams(), 568e3 / 17_520.0);
    // 150 kg over 6 years at 85 %, 568 kg over 3 years at 30 %.
    assert_close(hour.widest.low.as_grams(), 150e3 / (6.0 * 8_760.0 * 0.85));
    assert_close(hour.widest.high.as_grams(), 568e3 / (3.0 * 8_760.0 * 0.3));
    let text = hour.to_string();
    assert!(text.contains("manufacture of the hardware: 9 g CO2e to 30 g CO2e\n"), "{text}");
    assert!(text.contains("3 g CO2e to 70 g CO2e"), "{text}");
    assert_fits(&text);
    let eight = Part { count: 8.0, ..part };
    let eight = Embodied::of(vec![eight], slack(1), ServiceLife::default()).unwrap();
    assert_close(eight.range.low.as_grams(), 8.0 * hour.range.low.as_grams());
}

#[test]
fn cards_are_known_by_the_names_of_their_drivers() {
    for (driver, name) in [
        ("Tesla V100-SXM2-16GB", "V100 16GB"),
        ("Tesla V100-SXM2", "V100"),
        ("Tesla P100-PCIE-16GB", "P100"),
        ("NVIDIA A100-PCIE-40GB", "A100 40GB"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA L4", "L4"),
        ("Tesla T4", "T4"),
        ("NVIDIA GeForce GTX 1080 Ti", "GTX 1080 Ti"),
        ("NVIDIA TITAN RTX", "TITAN RTX"),
        ("AMD Instinct MI300X", "MI300X"),
        ("laptop", "laptop"),
    ] {
        assert_eq!(Device::named(driver).unwrap().name, name, "{driver}");
    }
    for unknown in [
        "NVIDIA GeForce RTX 4090",
        "NVIDIA A100-SXM4-80GB MIG 3g.40gb",
        "GTX 1080",
        "",
        // Cards that are named after the machines they are for.
        "NVIDIA GeForce RTX 3080 Laptop GPU",
        "NVIDIA RTX PRO 6000 Blackwell Server Edition",
    ] {
        let error = Device::named(unknown).unwrap_err();
        assert!(error.is_absent() && error.to_string().contains("or one of: A100"), "{error}");
    }
}

#[test]
fn the_share_of_the_manufacture_is_larger_where_electricity_is_clean() {
    let part = Part { device: Device::named("A100 80GB").unwrap(), count: 1.0 };
    let embodied = Embodied::of(vec![part], slack(1), ServiceLife::default()).unwrap();
    // 400 W for an hour at PUE 1.2, with 44.2 and 383.6 g/kWh (Ember, 2024): 21 and 184 g.
    let use_at = |grams: f64| Co2e::from_grams(0.48 * grams);
    let [low, high] = embodied.life_cycle(use_at(44.2), None).unwrap();
    assert!((0.28..0.30).contains(&low.embodied_share), "{low:?}");
    assert!((0.60..0.61).contains(&high.embodied_share), "{high:?}");
    let [_, dirty] = embodied.life_cycle(use_at(383.6), None).unwrap();
    assert!(dirty.embodied_share < 0.16, "{dirty:?}");
}

#[test]
fn a_device_that_is_given_keeps_its_source_and_none_is_no_answer() {
    let given = Device::given("mine", Co2e::from_kilograms(400.0), "its maker, 2026");
    let parts = vec![Part { device: given, count: 2.0 }];
    let told = Embodied::of(parts, slack(100), ServiceLife::default()).unwrap().to_string();
    assert!(told.contains("2 × mine: 400 kg CO2e (its maker, 2026), the only source"), "{told}");
    assert!(Embodied::of(Vec::new(), slack(1), ServiceLife::default()).is_err());
    let never = ServiceLife { utilisation: 0.0, ..ServiceLife::default() };
    let part = Part { device: Device::named("T4").unwrap(), count: 1.0 };
    assert!(Embodied::of(vec![part], slack(1), never).is_err());
}

#[test]
fn measured_cards_are_counted_for_the_time_of_their_run() {
    let a = made(Made { epochs: vec![(3 * HOUR, 1e6)], ..Made::default() });
    let b = made(Made { gpu: "NVIDIA L4", ..Made::default() });
    let of = |runs: &[&History]| {
        Embodied::measured(runs.iter().map(|run| &run.summary), ServiceLife::default())
    };
    let both = of(&[&a, &b]).unwrap();
    // Three hours of an A100 and one of an L4.
    assert_close(both.range.high.as_grams(), (3.0 * 568e3 + 124e3) / 17_520.0);
    let unknown = made(Made { gpu: "Some GPU", ..Made::default() });
    assert!(of(&[&a, &unknown]).unwrap_err().to_string().contains("`Some GPU`"));
}

// Money.

fn euros(amount: f64) -> Money {
    Money::new(amount, Currency::EURO)
}

fn dated<T>(value: T) -> Sourced<T> {
    Sourced { value, source: "own contract, 2026-11".to_owned() }
}

#[test]
fn electricity_is_paid_for_the_facility_rent_by_the_hour_and_carbon_by_the_tonne() {
    let two = || vec![(HOUR, 18e6), (HOUR, 18e6)];
    let runs = [
        made(Made { name: "a", epochs: two(), ..Made::default() }),
        made(Made { name: "b", epochs: two(), ..Made::default() }),
    ];
    let prices = Prices {
        electricity: Some(dated(EnergyPrice::per_kilowatt_hour(euros(0.20)))),
        device: Some(dated(DevicePrice::per_hour(euros(2.5)))),
        carbon: Some(dated(CarbonPrice::per_tonne(euros(80.0)))),
    };
    let site = in_france().pue(Pue::new(1.5).unwrap(), "given");
    let cost = Cost::of(&runs, &site, &prices, 8).unwrap();
    // 20 kWh of equipment are 30 of the facility, and 1.5 kg; four hours of eight devices.
    assert_close(cost.total.electricity.unwrap().amount, 6.0);
    assert_close(cost.total.devices.unwrap().amount, 80.0);
    assert_close(cost.total.carbon.unwrap().amount, 0.12);
    assert_close(cost.epoch.unwrap().electricity.unwrap().amount, 1.5);
    assert_close(cost.runs[1].bill.electricity.unwrap().amount, 3.0);
    let text = cost.to_string();
    assert!(text.contains("own contract, 2026-11") && text.contains("PUE 1.5"), "{text}");
    assert!(text.contains("6.00 EUR, 1.50 EUR an epoch, 3.00 EUR a run"), "{text}");
    assert_fits(&text);
    let json = serde_json::to_value(&cost).unwrap();
    assert_eq!(json["total"]["electricity"]["currency"], "EUR");
}

#[test]
fn without_a_price_or_what_it_applies_to_there_is_no_cost() {
    let runs = [made(Made::default())];
    let error = Cost::of(&runs, &in_france(), &Prices::default(), 1).unwrap_err().to_string();
    assert!(error.contains("no price") && error.contains("kilowatt hour"), "{error}");
    let carbon = Some(dated(CarbonPrice::per_tonne(euros(80.0))));
    let prices = Prices { carbon, ..Prices::default() };
    let error = Cost::of(&runs, &Site::default(), &prices, 1).unwrap_err().to_string();
    assert!(error.contains("emissions have a price, and are not known"), "{error}");
    let site = Site::default().price(EnergyPrice::per_kilowatt_hour(euros(0.2)));
    assert!(Cost::of(&[], &site, &Prices::default(), 1).is_err());
    let cost = Cost::of(&runs, &site, &Prices::default(), 1).unwrap();
    assert_close(cost.total.electricity.unwrap().amount, 0.2);
    assert_eq!((cost.total.devices, cost.total.carbon), (None, None));
}

// Equivalents.

#[test]
fn three_things_at_most_come_to_numbers_that_one_can_picture() {
    for decade in 0..16 {
        let energy = Energy::from_joules(3.0 * 10f64.powi(decade));
        for co2e in [None, Some(energy * CarbonIntensity::from_grams_per_kilowatt_hour(300.0))] {
            let items = match Equivalents::of(energy, co2e) {
                Ok(told) => told.items,
                Err(_) => {
                    assert!(decade == 15, "{energy}");
                    continue;
                }
            };
            assert!((1..=3).contains(&items.len()), "{items:?}");
            assert!(items.iter().all(|item| (0.1..=1e4).contains(&item.count)), "{items:?}");
            assert!(items.iter().all(|item| item.source.contains(|it: char| it.is_ascii_digit())));
            assert!(items[0].energy, "{items:?}");
            assert!(co2e.is_some() || items.iter().all(|item| item.energy), "{items:?}");
        }
    }
}

#[test]
fn energy_is_told_without_a_carbon_intensity() {
    let told = Equivalents::of(Energy::from_kilowatt_hours(1.0), None).unwrap();
    // 3600/335.2 litres.
    assert_close(told.items[0].count, 3_600.0 / 335.2);
    assert!(
        told.to_string().contains("as much as 11 litres of water brought from 20 °C to the boil")
    );
    assert!(Equivalents::of(Energy::from_nanojoules(5), None).is_err());
}

#[test]
fn emissions_are_told_with_factor_source_and_year() {
    let co2e = Co2e::from_kilograms(9_100.0);
    let told = Equivalents::of(Energy::from_kilowatt_hours(2e4), Some(co2e)).unwrap();
    let text = told.to_string();
    assert!(
        text.contains("passengers flown between New York")
            && text.contains("900 kg: Strubell et al. 2019, table 1"),
        "{text}"
    );
    assert!(text.contains("107 to 254 g/km"), "{text}");
}

// Published trainings.

#[test]
fn published_trainings_have_the_joules_per_token_that_their_figures_give() {
    let of = |name: &str| Reference::all().find(|it| it.name == name).unwrap();
    let token = |name: &str| of(name).energy_per_token().unwrap();
    assert_eq!(format!("{:.1}", token("GPT-3 175B")), "15.4");
    assert_eq!(format!("{:.2}", token("LLaMA 65B")), "1.15");
    assert_eq!(format!("{:.1}", token("Llama 3.1 405B")), "5.0");
    assert_eq!(format!("{:.1e}", of("GPT-3 175B").energy_per_operation().unwrap()), "1.5e-11");
    assert!(Reference::all().all(|it| !it.name.contains("GPT-4")), "there is no primary source");
    for reference in Reference::all().filter(|it| it.basis != Basis::Withdrawn) {
        let text = reference.to_string();
        assert!(!text.contains("imply"), "{text}");
    }
}

#[test]
fn a_run_is_set_against_the_nearest_within_their_boundaries() {
    // 20 kWh of equipment, 30 of the facility.
    let run = made(Made { epochs: vec![(HOUR, 72e6)], ..Made::default() });
    let site = Site::default().pue(Pue::new(1.5).unwrap(), "given");
    let told = Published::of(&run, &site, Some(Flop::from_count(1e18))).unwrap();
    let ratios: Vec<_> = told.ratios.iter().map(|it| (it.reference.name, it.ratio)).collect();
    let names: Vec<_> = ratios.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["ViT Base on ImageNet", "Transformer base", "BERT small, pre-training"]);
    assert_close(ratios[1].1, 30.0 / 27.0); // its PUE is in
    assert_close(ratios[2].1, 20.0 / 37.3); // its PUE is not
    assert_close(told.flop.unwrap(), 72e-12);
    let text = told.to_string();
    assert!(text.contains("(sampled power × time, with PUE; Strubell et al. 2019)"), "{text}");
    assert_fits(&text);
}

#[test]
fn a_withdrawn_estimate_is_no_yardstick() {
    let told =
        Published::of_energy(Energy::from_kilowatt_hours(656_347.0), &Site::default()).unwrap();
    assert!(told.ratios.iter().all(|it| it.reference.basis != Basis::Withdrawn));
    let search = Reference::all().find(|it| it.basis == Basis::Withdrawn).unwrap();
    assert!(search.to_string().contains("3.2 t reported where 284 t were estimated"), "{search}");
    assert!(Published::of_energy(Energy::ZERO, &Site::default()).is_err());
}

// Use.

#[test]
fn a_training_is_outweighed_after_its_energy_over_that_of_an_inference() {
    let trainings = [
        made(Made { epochs: vec![(HOUR, 3e6)], ..Made::default() }),
        made(Made { epochs: vec![(HOUR, 1e6)], ..Made::default() }),
    ];
    let inference = made(Made { epochs: vec![(100, 2_000.0)], samples: 1_000, ..Made::default() });
    let told = Amortisation::of(&trainings, &inference, Some(50_000.0)).unwrap();
    // 4 MJ over 2 J.
    assert_close(told.inferences, 2e6);
    assert_close(told.time.unwrap().as_secs_f64(), 40.0 * 86_400.0);
    // Five per cent of each.
    assert_close(told.u.unwrap(), 2e6 * 0.05 * 2f64.sqrt());
    assert!(told.differs.is_empty());
    let text = told.to_string();
    assert!(
        text.contains("2000000 inferences ± 280000 (k=2)") && text.contains("40 days"),
        "{text}"
    );
    assert_fits(&text);
}

#[test]
fn inferences_that_nobody_counted_amortise_nothing_and_another_machine_is_named() {
    let training = || made(Made::default());
    let uncounted = made(Made { epochs: vec![(100, 2_000.0)], ..Made::default() });
    let error = Amortisation::of(&[training()], &uncounted, None).unwrap_err().to_string();
    assert!(error.contains("how many inferences") && error.contains("samples"), "{error}");
    let elsewhere = made(Made { samples: 10, host: "two", ..Made::default() });
    let told = Amortisation::of(&[training()], &elsewhere, None).unwrap();
    assert_eq!(told.differs, ["host one and two"]);
    assert!(Amortisation::of(&[training()], &elsewhere, Some(0.0)).is_err());
}

// The sheet.

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

// The commands.

fn ergometer(arguments: &[&str]) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let arguments = ["ergometer"].iter().chain(arguments).map(OsString::from);
    let status = ergometer_cli::run(arguments, &mut out, &mut err);
    (status, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
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
