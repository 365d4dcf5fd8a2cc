//! Whole machines as written trees: which domains are read, and what their total is after known energies.

use std::path::Path;
use std::time::Duration;

use ergometer::FakeClock;
use ergometer::sensor::{Found, Hardware, Incident, Provenance, Quantity, Sensor, rapl};
use ergometer::series::Series;
use ergometer::units::{Energy, Power, Timestamp};

use super::{RANGE, Tree, counter, domains, only, two_packages};

/// What the sensors of the total add up to when each of these zones, `(entry, value, joules)`, counts on by its joules.
fn total(tree: &Tree, mut found: Found, zones: &[(&str, u64, u64)]) -> f64 {
    let clock = FakeClock::new();
    let sum = |found: &mut Found| -> Energy {
        let total = found.sensors.iter_mut().filter(|sensor| sensor.specification().in_total);
        total.map(|sensor| counter(&mut **sensor, &clock).0).sum()
    };
    assert_eq!(sum(&mut found), Energy::ZERO);
    for (entry, value, joules) in zones {
        tree.set(entry, value + joules * 1_000_000);
    }
    clock.advance(Duration::from_secs(10));
    sum(&mut found).as_joules()
}

#[test]
fn two_sockets_with_memory_platform_and_mmio_count_each_joule_once() {
    let tree = two_packages();
    tree.vendor("0000");
    let found = rapl::open(tree.root());
    let zones = [
        ("intel-rapl:0", 5_000_000, 1_000),
        ("intel-rapl:0:0", 1_000_000, 700),
        ("intel-rapl:0:1", 1_000_000, 90),
        ("intel-rapl:0:2", 2_000_000, 50),
        ("intel-rapl:1", 9_000_000, 600),
        ("intel-rapl:1:0", 1_000_000, 300),
        ("intel-rapl:1:1", 1_800_000, 40),
        ("intel-rapl:2", 40_000_000, 2_500),
        ("intel-rapl-mmio:0", 5_000_000, 1_000),
    ];
    assert_eq!(total(&tree, found, &zones), 1_000.0 + 90.0 + 600.0 + 40.0);
}

/// Two packages of Cascade Lake-AP, each of two dies with memory of their own.
pub(crate) fn four_dies() -> Tree {
    let tree = Tree::new();
    tree.vendor("0000");
    for (zone, name) in ["package-0-die-0", "package-0-die-1", "package-1-die-0", "package-1-die-1"]
        .into_iter()
        .enumerate()
    {
        // Dies that idled alike since boot: not even equal values make them one.
        tree.zone(&format!("intel-rapl:{zone}"), name, 7_000_000);
        tree.zone(&format!("intel-rapl:{zone}:0"), "core", 3_000_000);
        tree.zone(&format!("intel-rapl:{zone}:1"), "dram", 1_000_000);
    }
    tree
}

#[test]
fn cascade_lake_s_dies_count_each() {
    let tree = four_dies();
    let found = rapl::open(tree.root());
    let expected = [
        ("cpu:package-0-die-0", true),
        ("cpu:package-0-die-1", true),
        ("cpu:package-1-die-0", true),
        ("cpu:package-1-die-1", true),
        ("dram:package-0-die-0", true),
        ("dram:package-0-die-1", true),
        ("dram:package-1-die-0", true),
        ("dram:package-1-die-1", true),
    ];
    assert_eq!(domains(&found), expected);
    let zones = [
        ("intel-rapl:0", 7_000_000, 100),
        ("intel-rapl:1", 7_000_000, 200),
        ("intel-rapl:2", 7_000_000, 300),
        ("intel-rapl:3", 7_000_000, 400),
        ("intel-rapl:3:0", 3_000_000, 350),
        ("intel-rapl:3:1", 1_000_000, 30),
    ];
    assert_eq!(total(&tree, found, &zones), 1_030.0);
}

/// Two sockets of Zen 2, whose kernel shows each socket's counter once for each die.
pub(crate) fn mirrored_dies() -> Tree {
    let tree = Tree::new();
    tree.vendor("0002");
    for (zone, name, value) in [
        (0, "package-0-die-0", 40_000_000_000),
        (1, "package-0-die-1", 40_000_300_000),
        (2, "package-1-die-0", 40_000_100_000),
        (3, "package-1-die-1", 40_000_200_000),
    ] {
        tree.zone(&format!("intel-rapl:{zone}"), name, value);
        tree.zone(&format!("intel-rapl:{zone}:0"), "core", 1_000_000);
    }
    tree
}

#[test]
fn amd_s_mirrored_dies_count_each_socket_once() {
    let tree = mirrored_dies();
    let found = rapl::open(tree.root());
    assert_eq!(domains(&found), [("cpu:package-0-die-0", true), ("cpu:package-1-die-0", true)]);
    let zones = [
        ("intel-rapl:0", 40_000_000_000, 500),
        ("intel-rapl:1", 40_000_300_000, 500),
        ("intel-rapl:2", 40_000_100_000, 800),
        ("intel-rapl:3", 40_000_200_000, 800),
    ];
    assert_eq!(total(&tree, found, &zones), 1_300.0);
}

#[test]
fn a_mirror_is_known_while_its_counter_starts_over() {
    let tree = Tree::new();
    tree.vendor("0002");
    tree.zone("intel-rapl:0", "package-0-die-0", RANGE - 100_000);
    tree.zone("intel-rapl:1", "package-0-die-1", 100_000);
    assert_eq!(domains(&rapl::open(tree.root())), [("cpu:package-0-die-0", true)]);
}

#[test]
fn a_platform_that_counts_whole_joules_is_uncertain_by_them() {
    let tree = Tree::new();
    tree.zone("intel-rapl:0", "package-0", 1_000_000);
    tree.zone("intel-rapl:1", "psys", 4_294_967_000_000_000);
    // The largest value of a 32-bit register that counts joules.
    tree.file("class/powercap/intel-rapl:1/max_energy_range_uj", "4294967295000000\n");
    let mut found = rapl::open(tree.root());
    assert_eq!(domains(&found), [("cpu:package-0", true), ("node:psys", false)]);
    let specification = found.sensors[1].specification().clone();
    assert_eq!(specification.quantum, Energy::from_joules(1.0));
    assert_eq!(specification.wrap, Some(Energy::from_joules(4_294_967_296.0)));

    let clock = FakeClock::new();
    let mut series = Series::new(&specification);
    let mut at = Timestamp::default();
    for joules in [0, 295, 298] {
        tree.set("intel-rapl:1", (4_294_967_000 + joules) * 1_000_000);
        series.push(found.sensors[1].read(&clock.clock()).unwrap());
        at = clock.now();
        clock.advance(Duration::from_secs(1));
    }
    let point = series.at(at).unwrap();
    assert!(point.uncertainty >= 1.0 / 12_f64.sqrt(), "{point:?}");
    tree.set("intel-rapl:1", 4_000_000);
    let (energy, incident) = counter(&mut *found.sensors[1], &clock);
    assert_eq!((energy, incident), (Energy::from_joules(300.0), Some(Incident::Wrap)));
}

#[test]
fn a_counter_at_zero_is_kept() {
    let tree = Tree::new();
    tree.zone("intel-rapl:0", "package-0", 0);
    assert_eq!(domains(&rapl::open(tree.root())), [("cpu:package-0", true)]);
}

#[test]
fn a_processor_with_sgx_is_read_seldom_and_said_to_be_filtered() {
    let tree = two_packages();
    tree.file(
        "devices/system/cpu/modalias",
        "cpu:type:x86,ven0000fam0006mod006A:feature:,0000,0122,0160\n",
    );
    let found = rapl::open(tree.root());
    let (package, memory) = (found.sensors[0].specification(), found.sensors[2].specification());
    assert!(package.scope.contains("filtered"), "{}", package.scope);
    assert_eq!(package.interval, Duration::from_millis(100));
    assert!(!memory.scope.contains("filtered"), "{}", memory.scope);
}

/// An Arm system whose firmware counts a socket's energy, and the power of another.
fn firmware() -> Tree {
    let tree = Tree::new();
    tree.zone("arm-scmi:0", "soc", 3_000_000);
    tree.zone("arm-scmi:0:0", "big-cluster", 2_000_000);
    tree.file("class/powercap/arm-scmi:1/name", "accelerator\n");
    tree.file("class/powercap/arm-scmi:1/power_uw", "12500000\n");
    tree.file("class/powercap/arm-scmi:1/max_power_range_uw", "40000000\n");
    tree.file("class/powercap/arm-scmi:1/constraint_0_time_window_us", "50000\n");
    tree
}

#[test]
fn arm_s_zones_give_energy_or_power_and_no_part_twice() {
    let tree = firmware();
    let mut found = rapl::open(tree.root());
    assert!(found.absent.is_empty(), "{found:?}");
    assert_eq!(domains(&found), [("cpu:scmi-0", true), ("cpu:scmi-1", true)]);
    let clock = FakeClock::new();
    counter(&mut *found.sensors[0], &clock);
    clock.advance(Duration::from_secs(10));
    tree.set("arm-scmi:0", 103_000_000);
    assert_eq!(counter(&mut *found.sensors[0], &clock).0, Energy::from_joules(100.0));

    let gauge = found.sensors[1].specification();
    assert_eq!(
        (gauge.provenance, gauge.domain.hardware, gauge.domain.name.as_str()),
        (Provenance::IntegratedPower, Hardware::Cpu, "accelerator")
    );
    assert_eq!((gauge.averaging, gauge.most), (Duration::from_millis(50), Power::from_watts(80.0)));
    let reading = found.sensors[1].read(&clock.clock()).unwrap();
    assert_eq!(reading.quantity, Quantity::Gauge(Power::from_watts(12.5)));
}

#[test]
fn firmware_that_shows_no_power_has_none() {
    let (tree, clock) = (firmware(), FakeClock::new());
    std::fs::remove_dir_all(tree.powercap().join("arm-scmi:0")).unwrap();
    let mut sensor = only(rapl::open(tree.root()));
    for broken in ["0", "-5000000", "4294967295000000"] {
        tree.file("class/powercap/arm-scmi:1/power_uw", &format!("{broken}\n"));
        assert!(sensor.read(&clock.clock()).unwrap_err().is_lost(), "{broken}");
        let found = rapl::open(tree.root());
        assert!(found.sensors.is_empty() && found.absent.len() == 1, "{broken}: {found:?}");
    }
    tree.file("class/powercap/arm-scmi:1/power_uw", "13000000\n");
    let reading = sensor.read(&clock.clock()).unwrap();
    assert_eq!(reading.quantity, Quantity::Gauge(Power::from_watts(13.0)));
}

#[test]
fn a_firmware_zone_that_vanishes_is_lost_and_found_again() {
    let (tree, clock) = (firmware(), FakeClock::new());
    std::fs::remove_dir_all(tree.powercap().join("arm-scmi:1")).unwrap();
    let mut sensor: Box<dyn Sensor> = only(rapl::open(tree.root()));
    counter(&mut *sensor, &clock);
    tree.unplug("arm-scmi:0");
    assert!(sensor.read(&clock.clock()).unwrap_err().is_lost());
    clock.advance(Duration::from_secs(1));
    tree.zone("arm-scmi:0", "soc", 53_000_000);
    assert_eq!(counter(&mut *sensor, &clock).0, Energy::from_joules(50.0));
}

#[test]
fn an_empty_directory_is_a_container_that_hides_it() {
    let tree = Tree::new();
    let found = rapl::open(tree.root());
    let [absence] = &found.absent[..] else { panic!("{found:?}") };
    assert!(found.sensors.is_empty() && absence.error.is_absent());
    assert!(absence.error.what().contains("container"), "{}", absence.error);
    let cure = absence.error.remedy().unwrap();
    assert!(cure.contains("/host/sys") && cure.contains("--cap-add PERFMON"), "{cure}");
}

#[cfg(unix)]
#[test]
fn links_that_lead_nowhere_are_a_container_that_hides_it() {
    let tree = Tree::new();
    for entry in ["intel-rapl", "intel-rapl:0", "intel-rapl:0:0"] {
        let target = Path::new("../../devices/virtual/powercap").join(entry);
        std::os::unix::fs::symlink(target, tree.powercap().join(entry)).unwrap();
    }
    let found = rapl::open(tree.root());
    let [absence] = &found.absent[..] else { panic!("{found:?}") };
    assert!(absence.error.what().contains("container"), "{}", absence.error);
}
