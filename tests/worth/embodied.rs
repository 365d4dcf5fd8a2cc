//! What manufacturing the hardware emitted.

use ergometer_report::History;
use ergometer_report::analysis::embodied::{Device, Embodied, Part, ServiceLife};
use ergometer_report::quantity::Co2e;

use super::{HOUR, Made, assert_close, assert_fits, made, slack};

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
