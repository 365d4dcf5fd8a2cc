//! What runs are worth: when to start, manufacture, money, equivalents, published trainings, use, and the sheet. The expected
//! numbers are worked out by hand beside them.

mod embodied;
mod schedule;
mod sheet;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ergometer::{Energy, RunLog};
use ergometer_report::History;
use ergometer_report::analysis::amortisation::Amortisation;
use ergometer_report::analysis::cost::{Cost, Prices};
use ergometer_report::analysis::equivalents::Equivalents;
use ergometer_report::analysis::published::{Basis, Published, Reference};
use ergometer_report::quantity::{
    CarbonIntensity, CarbonPrice, Co2e, Currency, DevicePrice, EnergyPrice, Flop, Money, Pue,
};
use ergometer_report::site::{Site, Sourced};
use serde_json::json;

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

fn ergometer(arguments: &[&str]) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let arguments = ["ergometer"].iter().chain(arguments).map(OsString::from);
    let status = ergometer_cli::run(arguments, &mut out, &mut err);
    (status, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}
