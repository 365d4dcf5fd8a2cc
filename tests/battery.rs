//! Batteries through sysfs trees on disk: the machine's own, and only while it lives on them.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::time::Duration;

use ergometer::FakeClock;
use ergometer::sensor::{Found, Hardware, Provenance, Quantity, Sensor, battery};
use ergometer::units::Power;

use crate::rapl::Tree;

fn supply(tree: &Tree, name: &str, files: &[(&str, &str)]) {
    for (file, text) in files {
        tree.file(&format!("class/power_supply/{name}/{file}"), &format!("{text}\n"));
    }
}

/// A laptop with one battery, a mouse, and a socket for a power supply.
pub(crate) fn laptop(status: &str) -> Tree {
    let tree = Tree::new();
    let mains = if status == "Discharging" { "0" } else { "1" };
    supply(&tree, "AC", &[("type", "Mains"), ("online", mains)]);
    let battery = [
        ("type", "Battery"),
        ("present", "1"),
        ("status", status),
        ("power_now", "14250000"),
        ("energy_now", "41000000"),
    ];
    supply(&tree, "BAT0", &battery);
    let mouse = [
        ("type", "Battery"),
        ("scope", "Device"),
        ("status", "Discharging"),
        ("power_now", "100000"),
    ];
    supply(&tree, "hidpp_battery_0", &mouse);
    tree
}

fn power(sensor: &mut dyn Sensor, clock: &FakeClock) -> Power {
    let reading = sensor.read(&clock.clock()).unwrap();
    let Quantity::Gauge(power) = reading.quantity else { panic!("{reading:?}") };
    power
}

fn ids(found: &Found) -> Vec<&str> {
    found.sensors.iter().map(|sensor| sensor.specification().domain.id.as_str()).collect()
}

#[test]
fn a_laptop_on_battery_is_measured_beside_the_sum() {
    let (tree, clock) = (laptop("Discharging"), FakeClock::new());
    let mut found = battery::open(tree.root());
    assert_eq!(ids(&found), ["node:BAT0"]);
    assert!(found.absent.is_empty(), "{found:?}");
    assert_eq!(power(&mut *found.sensors[0], &clock), Power::from_watts(14.25));
    let specification = found.sensors[0].specification();
    assert_eq!(specification.domain.hardware, Hardware::Node);
    assert_eq!(specification.provenance, Provenance::IntegratedPower);
    assert_eq!(specification.stack, "battery");
    assert!(!specification.in_total);
    assert!(specification.period >= Duration::from_secs(1));
}

#[test]
fn a_laptop_on_mains_says_to_unplug_it() {
    for status in ["Charging", "Full", "Not charging", "Unknown"] {
        let found = battery::open(laptop(status).root());
        assert!(found.sensors.is_empty(), "{found:?}");
        let [absence] = found.absent.as_slice() else { panic!("{found:?}") };
        assert_eq!(absence.source, "battery BAT0");
        assert!(absence.error.what().contains(status), "{}", absence.error);
        assert!(absence.error.remedy().unwrap().contains("unplug"), "{}", absence.error);
    }
}

#[test]
fn a_mouse_is_not_the_machine() {
    let tree = laptop("Discharging");
    std::fs::remove_dir_all(tree.root().join("class/power_supply/BAT0")).unwrap();
    let found = battery::open(tree.root());
    assert!(found.sensors.is_empty() && found.absent.is_empty(), "{found:?}");
}

#[test]
fn a_supply_that_is_plugged_in_is_an_error_until_it_is_gone() {
    let (tree, clock) = (laptop("Discharging"), FakeClock::new());
    let mut sensor = battery::open(tree.root()).sensors.remove(0);
    assert_eq!(power(&mut *sensor, &clock), Power::from_watts(14.25));
    // While it charges, the same file gives what flows into the battery.
    supply(&tree, "BAT0", &[("status", "Charging"), ("power_now", "45000000")]);
    let error = sensor.read(&clock.clock()).unwrap_err();
    assert!(error.is_lost() && error.remedy().unwrap().contains("unplug"), "{error}");
    supply(&tree, "BAT0", &[("status", "Discharging"), ("power_now", "16000000")]);
    assert_eq!(power(&mut *sensor, &clock), Power::from_watts(16.0));
}

#[test]
fn voltage_times_current_stands_in_for_power_and_signs_do_not_matter() {
    let product: [(&str, &str); 2] = [("voltage_now", "11400000"), ("current_now", "-1250000")];
    for gauge in [&product[..], &[("power_now", "-14250000")]] {
        let (tree, clock) = (Tree::new(), FakeClock::new());
        supply(
            &tree,
            "BAT1",
            &[("type", "Battery"), ("scope", "System"), ("status", "Discharging")],
        );
        supply(&tree, "BAT1", gauge);
        let mut found = battery::open(tree.root());
        assert_eq!(ids(&found), ["node:BAT1"]);
        assert_eq!(power(&mut *found.sensors[0], &clock), Power::from_watts(14.25));
    }
}

#[test]
fn each_battery_is_a_domain() {
    let tree = laptop("Discharging");
    let files = [("type", "Battery"), ("status", "Discharging"), ("power_now", "1000000")];
    supply(&tree, "BAT1", &files);
    assert_eq!(ids(&battery::open(tree.root())), ["node:BAT0", "node:BAT1"]);
}

#[test]
fn a_machine_that_runs_draws_power() {
    let (tree, clock) = (laptop("Discharging"), FakeClock::new());
    let mut sensor = battery::open(tree.root()).sensors.remove(0);
    supply(&tree, "BAT0", &[("power_now", "0")]);
    assert!(sensor.read(&clock.clock()).unwrap_err().is_lost());
    let found = battery::open(tree.root());
    assert!(found.sensors.is_empty() && found.absent[0].error.is_unsupported(), "{found:?}");
}

#[test]
fn a_battery_without_a_gauge_is_absent() {
    let tree = Tree::new();
    supply(&tree, "BAT0", &[("type", "Battery"), ("status", "Discharging")]);
    let found = battery::open(tree.root());
    assert!(found.sensors.is_empty(), "{found:?}");
    assert!(found.absent[0].error.what().contains("power_now"), "{found:?}");
}
