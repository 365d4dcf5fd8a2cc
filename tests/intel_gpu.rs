//! Intel's graphics cards through sysfs trees on disk: one counter for each card, and which one.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::time::Duration;

use ergometer::FakeClock;
use ergometer::sensor::{Found, Incident, Quantity, Selection, Sensor, intel_gpu};
use ergometer::units::{Energy, Power};

use crate::rapl::Tree;

/// A directory of sensors of a card, with the counters' numbers, labels and values.
pub(crate) fn hwmon(
    tree: &Tree,
    number: u32,
    driver: &str,
    address: &str,
    counters: &[(u32, &str, u64)],
) {
    let hwmon = format!("class/hwmon/hwmon{number}");
    tree.file(&format!("{hwmon}/name"), &format!("{driver}\n"));
    tree.file(
        &format!("{hwmon}/device/uevent"),
        &format!("DRIVER={driver}\nPCI_SLOT_NAME={address}\n"),
    );
    for (counter, label, value) in counters {
        tree.file(&format!("{hwmon}/energy{counter}_input"), &format!("{value}\n"));
        if !label.is_empty() {
            tree.file(&format!("{hwmon}/energy{counter}_label"), &format!("{label}\n"));
        }
    }
}

fn open(tree: &Tree) -> Found {
    intel_gpu::open(tree.root(), &Selection::All)
}

fn sources(found: &Found) -> Vec<(&str, &str, bool)> {
    found
        .sensors
        .iter()
        .map(|sensor| sensor.specification())
        .map(|it| (it.domain.id.as_str(), it.source.as_str(), it.in_total))
        .collect()
}

fn counter(sensor: &mut dyn Sensor, clock: &FakeClock) -> (Energy, Option<Incident>) {
    let reading = sensor.read(&clock.clock()).unwrap();
    let Quantity::Counter(energy) = reading.quantity else { panic!("{reading:?}") };
    (energy, reading.incident)
}

#[test]
fn of_card_and_package_the_card_counts() {
    let (tree, clock) = (Tree::new(), FakeClock::new());
    hwmon(&tree, 3, "xe", "0000:03:00.0", &[(1, "card", 5_000_000), (2, "pkg", 3_000_000)]);
    tree.file("class/hwmon/hwmon3/power1_max", "190000000\n");
    let mut found = open(&tree);
    assert!(found.absent.is_empty() && found.spare.is_empty(), "{found:?}");
    assert_eq!(sources(&found), [("gpu:0000:03:00.0", "xe energy1_input", true)]);
    let specification = found.sensors[0].specification();
    assert_eq!(specification.domain.name, "Intel GPU");
    assert_eq!((specification.stack.as_str(), specification.gain), ("intel gpu", 0.05));
    assert_eq!(specification.most, Power::from_watts(380.0));
    counter(&mut *found.sensors[0], &clock);
    clock.advance(Duration::from_secs(1));
    tree.file("class/hwmon/hwmon3/energy1_input", "165000000\n");
    tree.file("class/hwmon/hwmon3/energy2_input", "123000000\n");
    assert_eq!(counter(&mut *found.sensors[0], &clock), (Energy::from_joules(160.0), None));
}

#[test]
fn the_places_count_where_there_are_no_labels() {
    let tree = Tree::new();
    hwmon(&tree, 3, "xe", "0000:03:00.0", &[(1, "", 5), (2, "", 3)]);
    hwmon(&tree, 4, "xe", "0000:04:00.0", &[(2, "", 3)]);
    hwmon(&tree, 5, "xe", "0000:05:00.0", &[(1, "pkg", 5), (2, "card", 3), (3, "vram", 1)]);
    let expected = [
        ("gpu:0000:03:00.0", "xe energy1_input", true),
        ("gpu:0000:04:00.0", "xe energy2_input", true),
        ("gpu:0000:05:00.0", "xe energy2_input", true),
    ];
    let found = open(&tree);
    assert_eq!(sources(&found), expected);
    let scope = |place: usize| found.sensors[place].specification().scope.as_str();
    assert!(scope(1).contains("package"));
    assert!(scope(2).contains("whole card"));
}

#[test]
fn without_a_label_nothing_says_that_it_is_more_than_the_package() {
    for driver in ["xe", "i915"] {
        let tree = Tree::new();
        hwmon(&tree, 3, driver, "0000:03:00.0", &[(1, "", 5)]);
        let found = open(&tree);
        assert_eq!(found.sensors.len(), 1);
        let scope = &found.sensors[0].specification().scope;
        assert!(scope.contains("package; not the memory"), "{driver}: {scope}");
    }
}

#[test]
fn tiles_are_parts_of_their_card() {
    let tree = Tree::new();
    hwmon(&tree, 4, "i915_gt0", "0000:4d:00.0", &[(1, "", 400)]);
    hwmon(&tree, 5, "i915_gt1", "0000:4d:00.0", &[(1, "", 300)]);
    hwmon(&tree, 6, "i915", "0000:4d:00.0", &[(1, "", 1_000)]);
    assert_eq!(sources(&open(&tree)), [("gpu:0000:4d:00.0", "i915 energy1_input", true)]);
}

#[test]
fn tiles_count_where_nothing_shows_the_card() {
    let (tree, clock) = (Tree::new(), FakeClock::new());
    hwmon(&tree, 6, "i915", "0000:4d:00.0", &[]);
    hwmon(&tree, 4, "i915_gt0", "0000:4d:00.0", &[(1, "", 0)]);
    hwmon(&tree, 5, "i915_gt1", "0000:4d:00.0", &[(1, "", 0)]);
    let mut found = open(&tree);
    let expected = [
        ("gpu:0000:4d:00.0-gt0", "i915_gt0 energy1_input", true),
        ("gpu:0000:4d:00.0-gt1", "i915_gt1 energy1_input", true),
    ];
    assert_eq!(sources(&found), expected);
    for sensor in &mut found.sensors {
        counter(&mut **sensor, &clock);
    }
    clock.advance(Duration::from_secs(1));
    tree.file("class/hwmon/hwmon4/energy1_input", "70000000\n");
    tree.file("class/hwmon/hwmon5/energy1_input", "80000000\n");
    let total: Energy =
        found.sensors.iter_mut().map(|sensor| counter(&mut **sensor, &clock).0).sum();
    assert_eq!(total, Energy::from_joules(150.0));
}

#[test]
fn tiles_count_where_the_cards_counter_cannot_be_read() {
    let tree = Tree::new();
    hwmon(&tree, 6, "i915", "0000:4d:00.0", &[(1, "", 0)]);
    tree.file("class/hwmon/hwmon6/energy1_input", "");
    hwmon(&tree, 4, "i915_gt0", "0000:4d:00.0", &[(1, "", 0)]);
    let expected = [("gpu:0000:4d:00.0-gt0", "i915_gt0 energy1_input", true)];
    assert_eq!(sources(&open(&tree)), expected);
}

#[test]
fn a_card_in_a_guest_is_in_the_sum_wherever_the_guest_has_it() {
    let tree = Tree::new();
    hwmon(&tree, 2, "xe", "0000:00:02.0", &[(1, "card", 7)]);
    assert_eq!(sources(&open(&tree)), [("gpu:0000:00:02.0", "xe energy1_input", true)]);
}

#[cfg(unix)]
#[test]
fn a_card_keeps_its_counter_when_chips_change_their_numbers() {
    let (tree, clock) = (Tree::new(), FakeClock::new());
    let cards = [("0000:03:00.0", 1, 1_000_000_u64), ("0000:04:00.0", 2, 900_000_000_000)];
    for (address, number, value) in cards {
        let device = format!("devices/{address}");
        let chip = format!("{device}/hwmon/hwmon{number}");
        tree.file(&format!("{device}/uevent"), &format!("PCI_SLOT_NAME={address}\n"));
        tree.file(&format!("{chip}/name"), "xe\n");
        tree.file(&format!("{chip}/energy1_label"), "card\n");
        tree.file(&format!("{chip}/energy1_input"), &format!("{value}\n"));
        tree.link(&format!("{chip}/device"), &device);
        tree.link(&format!("class/hwmon/hwmon{number}"), &chip);
    }
    let mut sensor = open(&tree).sensors.remove(0);
    counter(&mut *sensor, &clock);
    // Its driver is loaded again.
    tree.file("devices/0000:03:00.0/hwmon/hwmon1/energy1_input", "");
    clock.advance(Duration::from_secs(1));
    assert!(sensor.read(&clock.clock()).unwrap_err().is_lost());
    for (address, from, to) in [("0000:03:00.0", 1, 2), ("0000:04:00.0", 2, 1)] {
        let chip = format!("devices/{address}/hwmon/hwmon{to}");
        tree.rename(&format!("devices/{address}/hwmon/hwmon{from}"), &chip);
        std::fs::remove_file(tree.root().join(format!("class/hwmon/hwmon{to}"))).unwrap();
        tree.link(&format!("class/hwmon/hwmon{to}"), &chip);
    }
    tree.file("devices/0000:03:00.0/hwmon/hwmon2/energy1_input", "3000000\n");
    clock.advance(Duration::from_secs(1));
    assert_eq!(counter(&mut *sensor, &clock), (Energy::from_joules(2.0), None));
}

#[test]
fn a_card_without_a_counter_is_absent() {
    let tree = Tree::new();
    hwmon(&tree, 2, "xe", "0000:03:00.0", &[]);
    let found = open(&tree);
    assert!(found.sensors.is_empty(), "{found:?}");
    assert_eq!(found.absent[0].source, "intel gpu 0000:03:00.0");
    assert!(found.absent[0].error.is_unsupported());
}

#[test]
fn only_the_named_cards_are_read_and_the_others_said() {
    let tree = Tree::new();
    hwmon(&tree, 3, "xe", "0000:03:00.0", &[(1, "card", 5)]);
    hwmon(&tree, 4, "xe", "0000:0a:00.0", &[(1, "card", 5)]);
    let selection = Selection::Pci(vec!["00000000:0A:00.0".to_owned()]);
    let found = intel_gpu::open(tree.root(), &selection);
    assert_eq!(sources(&found), [("gpu:0000:0a:00.0", "xe energy1_input", true)]);
    assert_eq!(found.absent[0].source, "intel gpu 0000:03:00.0");
}

#[test]
fn a_fall_is_a_reset_since_the_driver_undoes_wraps() {
    let (tree, clock) = (Tree::new(), FakeClock::new());
    hwmon(&tree, 3, "xe", "0000:03:00.0", &[(1, "card", 262_000_000_000)]);
    let mut sensor = open(&tree).sensors.remove(0);
    counter(&mut *sensor, &clock);
    clock.advance(Duration::from_secs(1));
    tree.file("class/hwmon/hwmon3/energy1_input", "50000000\n");
    assert_eq!(counter(&mut *sensor, &clock), (Energy::ZERO, Some(Incident::Reset)));
}

#[test]
fn after_a_pause_longer_than_the_register_lasts_the_energy_is_a_lower_bound() {
    let (tree, clock) = (Tree::new(), FakeClock::new());
    hwmon(&tree, 3, "xe", "0000:03:00.0", &[(1, "card", 0)]);
    tree.file("class/hwmon/hwmon3/power1_rated_max", "500000000\n");
    let mut sensor = open(&tree).sensors.remove(0);
    counter(&mut *sensor, &clock);
    // 1000 W are plausible, at which 2³² counts last 262 s.
    clock.advance(Duration::from_secs(260));
    tree.file("class/hwmon/hwmon3/energy1_input", "1000000\n");
    assert_eq!(counter(&mut *sensor, &clock), (Energy::from_joules(1.0), None));
    clock.advance(Duration::from_secs(263));
    tree.file("class/hwmon/hwmon3/energy1_input", "2000000\n");
    let expected = (Energy::from_joules(2.0), Some(Incident::Ambiguous));
    assert_eq!(counter(&mut *sensor, &clock), expected);
}

#[test]
fn other_drivers_and_a_machine_without_cards_say_nothing() {
    let tree = Tree::new();
    hwmon(&tree, 0, "coretemp", "0000:03:00.0", &[(1, "", 5)]);
    let found = open(&tree);
    assert!(found.sensors.is_empty() && found.absent.is_empty(), "{found:?}");
}
