//! Carbon intensities and places: what is known of a country, which figure is chosen, and what runs come to elsewhere.

use std::fs;
use std::path::Path;

use ergometer::Energy;
use ergometer_report::grid::{countries, country};
use ergometer_report::quantity::{CarbonIntensity, Currency, EnergyPrice, Money, Pue};
use ergometer_report::site::{Site, Sourced};
use serde_json::Value;

use crate::lab::{Lab, constant, cpu};

const TABLE: &str = include_str!("../crates/ergometer-report/src/grid/countries.csv");

fn grams(size: f64) -> CarbonIntensity {
    CarbonIntensity::from_grams_per_kilowatt_hour(size)
}

fn live(size: f64) -> Sourced<CarbonIntensity> {
    Sourced { value: grams(size), source: "a service, now".to_owned() }
}

#[test]
fn the_table_is_the_one_that_was_made() {
    let header: Vec<&str> = TABLE.lines().take_while(|line| line.starts_with('#')).collect();
    let table: String = TABLE.lines().skip(header.len()).flat_map(|line| [line, "\n"]).collect();
    // FNV-1a of 64 bits.
    let hash = table.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let rows = table.lines().count() - 1;
    let known = countries().count();
    assert_eq!(
        *header.last().unwrap(),
        format!("# Check: {rows} rows, {known} with g/kWh, FNV-1a of the lines below {hash:016x}.")
    );
    let header = header.join("\n");
    for needed in ["Ember (2026)", "Our World in Data", "CC BY 4.0", "as of 2026-06-30"] {
        assert!(header.contains(needed), "{needed}");
    }
}

#[test]
fn no_country_has_an_intensity_that_electricity_cannot_have() {
    for country in countries() {
        let size = country.intensity.as_grams_per_kilowatt_hour();
        assert!((10.0..=1_350.0).contains(&size), "{}: {size}", country.name);
        assert!((2020..=2026).contains(&country.year), "{}: {}", country.name, country.year);
    }
}

#[test]
fn a_country_is_found_by_either_code_and_by_name_in_any_case() {
    for asked in ["FR", "fr", "FRA", "fra", "France", "FRANCE", " france "] {
        let found = country(asked).unwrap();
        assert_eq!((found.alpha2, found.alpha3, found.name), ("FR", "FRA", "France"));
    }
    assert_eq!(country("united states").unwrap().alpha2, "US");
    assert_eq!(country("UK").unwrap().name, "United Kingdom");
    assert_eq!(country("NA").unwrap().name, "Namibia");
    assert_eq!(country("Great Britain").unwrap().name, "United Kingdom");
    assert_eq!(country("Czech Republic").unwrap().name, "Czechia");
    // A 26th of what the other Congo's emits.
    assert_eq!(country("DR Congo").unwrap().alpha2, "CD");
    assert_eq!(
        country("PL").unwrap().source(),
        "Poland, Ember via Our World in Data, 2025, annual mean of production"
    );
}

#[test]
fn an_unknown_country_is_an_error_with_the_nearest_names() {
    for (asked, nearest) in [
        ("Germny", "Germany (DE)"),
        ("Swizerland", "Switzerland (CH)"),
        ("United State of America", "United States (US)"),
        ("Korea", "North Korea (KP), South Korea (KR)"),
        ("Frankreich", "France (FR)"),
        ("XX", "no country `XX` is listed"),
    ] {
        let refusal = country(asked).unwrap_err().to_string();
        assert!(refusal.contains(nearest), "{refusal}");
    }
    // Kosovo is in neither list of codes.
    assert!(country("XK").is_err());
}

#[test]
fn the_world_does_not_stand_in_for_a_country() {
    for asked in ["World", "EU", "EU-27", "Europe", "European Union", ""] {
        assert!(country(asked).is_err(), "{asked}");
        assert!(Site::default().country(asked).is_err(), "{asked}");
    }
    assert!(country("world").unwrap_err().to_string().contains("is not a country"));
}

#[test]
fn a_country_without_a_recent_figure_is_missing_and_not_zero() {
    for (asked, year) in [("CF", "2012"), ("Western Sahara", "2009")] {
        let refusal = country(asked).unwrap_err();
        assert!(refusal.is_absent());
        assert!(refusal.what().ends_with(&format!("the last figure is of {year}")), "{refusal}");
        assert_eq!(refusal.remedy(), Some("give the carbon intensity of the electricity"));
    }
}

#[test]
fn a_given_intensity_goes_before_a_live_one_and_that_before_the_country() {
    let chosen = |given: Option<f64>, live_one: Option<f64>, country: Option<&str>| {
        Site::choose(given.map(grams), live_one.map(live), country).unwrap()
    };
    let intensity = |site: &Site| {
        site.intensity
            .as_ref()
            .map(|it| (it.value.as_grams_per_kilowatt_hour().round(), it.source.clone()))
    };
    let all = chosen(Some(300.0), Some(200.0), Some("FR"));
    assert_eq!(intensity(&all), Some((300.0, "given by the user".to_owned())));
    assert_eq!(all.name.as_deref(), Some("France"));
    let live_one = chosen(None, Some(200.0), Some("FR"));
    assert_eq!(intensity(&live_one), Some((200.0, "a service, now".to_owned())));
    let of_country = chosen(None, None, Some("FR"));
    assert_eq!(intensity(&of_country).unwrap().0.to_bits(), 41.0_f64.to_bits());
    let nothing = chosen(None, None, None);
    assert_eq!(nothing, Site::default());
    assert_eq!(nothing.carbon(Energy::from_kilowatt_hours(1.0)), None);
    // A country without a mean of its own is a name where the intensity is given.
    assert_eq!(chosen(Some(300.0), None, Some("Kosovo")).name.as_deref(), Some("Kosovo"));
    assert!(Site::choose(None, None, Some("Kosovo")).is_err());
}

#[test]
fn an_intensity_that_cannot_be_is_refused_with_the_cure() {
    for (size, cure) in [
        (0.0, "what was bought as green is no emission saved"),
        (-20.0, "give what the grid emits"),
        (f64::NAN, "give what the grid emits"),
        (2_001.0, "give grams of CO2 equivalent per kilowatt hour"),
        (f64::INFINITY, "give grams"),
    ] {
        let refusal = Site::default().intensity(grams(size), "test").unwrap_err().to_string();
        assert!(refusal.contains("is not possible") && refusal.contains(cure), "{refusal}");
        assert!(Site::choose(Some(grams(size)), None, None).is_err());
        assert!(Site::choose(None, Some(live(size)), Some("FR")).is_err());
    }
    assert!(Site::default().intensity(grams(2_000.0), "test").is_ok());
    let odd = Site::default().intensity(grams(0.385), "test").unwrap().to_string();
    assert!(odd.contains("0.385 g CO2e/kWh is outside of 10 to 1350 g CO2e/kWh"), "{odd}");
}

#[test]
fn the_overhead_is_applied_once_and_its_absence_said() {
    let price = EnergyPrice::per_kilowatt_hour(Money::new(0.25, Currency::EURO));
    let it = Energy::from_kilowatt_hours(8.0);
    let plain = Site::default().intensity(grams(100.0), "test").unwrap().price(price);
    assert_eq!(plain.facility(it), it);
    assert_eq!(plain.carbon(it).unwrap().as_grams().round().to_bits(), 800.0_f64.to_bits());
    assert_eq!(plain.cost(it).unwrap().to_string(), "2.00 EUR");
    assert!(plain.to_string().contains("PUE        1.0: no cooling or other overhead counted"));
    let housed = plain.pue(Pue::new(1.5).unwrap(), "the operator, 2025");
    assert_eq!(housed.facility(it), Energy::from_kilowatt_hours(12.0));
    assert_eq!(housed.carbon(it).unwrap().as_grams().round().to_bits(), 1_200.0_f64.to_bits());
    assert_eq!(housed.cost(it).unwrap().to_string(), "3.00 EUR");
    assert!(housed.to_string().contains("PUE        1.5: the operator, 2025"));
    assert!(housed.to_string().contains("price      0.2500 EUR/kWh"));
}

/// A directory of runs of 1 Wh each: 100 W for 36 s.
fn runs(count: usize) -> Lab {
    let lab = Lab::new();
    for seed in 0..count {
        let meter = lab.meter([cpu(constant(100.0))]);
        let run = meter.run(format!("seed-{seed}")).start().unwrap();
        for _step in run.steps(0..36) {
            lab.pass(1_000);
        }
        run.finish().unwrap();
    }
    lab
}

fn whatif(runs: &Path, options: &[&str]) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let arguments = ["ergometer", "whatif", runs.to_str().unwrap()];
    let status =
        ergometer_cli::run(arguments.iter().chain(options).map(Into::into), &mut out, &mut err);
    (status, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

fn json(runs: &Path, options: &[&str]) -> Value {
    let (status, out, err) = whatif(runs, &[options, &["--json"]].concat());
    assert_eq!((status, err.as_str()), (0, ""));
    serde_json::from_str(&out).unwrap()
}

fn close(value: &Value, expected: f64) {
    let value = value.as_f64().unwrap();
    assert!((value / expected - 1.0).abs() < 1e-3, "{value} is not {expected}");
}

#[test]
fn the_same_joules_are_set_against_the_first_place() {
    let lab = runs(2);
    let told = json(
        lab.logs.path(),
        &["--country", "FR", "--country", "poland", "--country", "SWE", "--pue", "1.2"],
    );
    close(&told["it"]["energy_j"], 7_200.0);
    assert_eq!(told["runs"], 2);
    let places = told["places"].as_array().unwrap();
    let names: Vec<_> =
        places.iter().map(|place| place["site"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Sweden", "France", "Poland"]);
    for place in places {
        let intensity = place["site"]["intensity_g_per_kwh"]["value"].as_f64().unwrap();
        close(&place["facility"]["energy_j"], 8_640.0);
        close(&place["co2e_kg"], 2.4e-6 * intensity);
        close(&place["ratio"], intensity / 41.44);
        assert_eq!(place["own"], place["site"]["name"] == "France");
        assert_eq!(place["cost"], Value::Null);
    }
    let (status, table, _) = whatif(lab.logs.path(), &["--country", "FR", "--country", "PL"]);
    assert_eq!(status, 0);
    let lines: Vec<&str> = table.lines().collect();
    assert!(
        lines[0].starts_with("2 runs: 7200.000 J ± 0.000 J measured of IT equipment"),
        "{table}"
    );
    assert!(lines[2].contains("France (own)") && lines[2].ends_with("1.00"), "{table}");
    assert!(lines[3].contains("Poland") && lines[3].ends_with("14.20"), "{table}");
    assert!(table.contains("PUE 1.0: no cooling or other overhead counted"), "{table}");
    assert!(table.contains("not what moving one training changes"), "{table}");
    assert!(lines.iter().all(|line| line.chars().count() <= 100), "{table}");
}

#[test]
fn prices_and_overheads_are_those_of_the_places_in_their_order() {
    let lab = runs(1);
    let options = [
        ["--country", "FR"],
        ["--country", "PL"],
        ["--pue", "1.5"],
        ["--pue", "1.0"],
        ["--price", "0.20 EUR"],
        ["--price", "0.10 usd"],
    ];
    let told = json(lab.logs.path(), options.as_flattened());
    let [france, poland] = [&told["places"][0], &told["places"][1]];
    close(&france["cost"]["amount"], 0.001 * 1.5 * 0.20);
    assert_eq!(france["cost"]["currency"], "EUR");
    close(&poland["cost"]["amount"], 0.001 * 0.10);
    assert_eq!(poland["cost"]["currency"], "USD");
    close(&poland["ratio"], 588.6 / (1.5 * 41.44));
}

#[test]
fn a_price_alone_tells_money_and_no_emissions() {
    let lab = runs(1);
    let told = json(lab.logs.path(), &["--price", "0.25 EUR"]);
    assert_eq!(told["places"][0]["co2e_kg"], Value::Null);
    close(&told["places"][0]["cost"]["amount"], 0.00025);
    let (_, table, _) = whatif(lab.logs.path(), &["--price", "0.25 EUR"]);
    assert!(table.contains("intensity not known, so no emissions are told"), "{table}");
}

#[test]
fn what_is_wrong_with_a_place_is_said() {
    let lab = runs(1);
    for (options, status, told) in [
        (&["--country", "Polnd"][..], 1, "no country `Polnd` is listed; nearest are Poland (PL)"),
        (&["--country", "CF"], 1, "is not known: the last figure is of 2012"),
        (&["--intensity", "0"], 1, "a carbon intensity of 0 g CO2e/kWh is not possible"),
        (&["--intensity", "-3"], 1, "a carbon intensity of -3 g CO2e/kWh is not possible"),
        (&["--country", "FR", "--pue", "0.8"], 1, "a PUE of 0.8 is not possible"),
        (
            &["--country", "FR", "--pue", "1", "--pue", "2"],
            1,
            "--pue is given 2 times for 1 places",
        ),
        (&["--price", "0.25"], 2, "`0.25` is not a price; write money for a kilowatt hour"),
        (&["--price", "0 EUR"], 2, "`0 EUR` is not a price"),
        (&["--price", "0.25 €"], 2, "`€` is not the code of a currency"),
        (&[], 1, "nothing is known of any place; give a country"),
    ] {
        let (got, out, err) = whatif(lab.logs.path(), options);
        assert_eq!((got, out.as_str()), (status, ""), "{options:?}");
        assert!(err.contains(told), "{err}");
    }
    let empty = tempfile::tempdir().unwrap();
    let (status, out, _) = whatif(empty.path(), &["--country", "FR"]);
    assert_eq!((status, out.as_str()), (1, ""));
}

#[test]
fn a_run_that_was_killed_counts_and_is_named() {
    let lab = runs(2);
    let killed = fs::read_dir(lab.logs.path()).unwrap().next().unwrap().unwrap().path();
    let manifest = fs::read_to_string(killed.join("run.json")).unwrap();
    fs::write(killed.join("run.json"), manifest.replace("\"complete\"", "\"running\"")).unwrap();
    let (status, table, err) = whatif(lab.logs.path(), &["--country", "FR"]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(table.contains("1 of 2 runs did not end as planned."), "{table}");
}
