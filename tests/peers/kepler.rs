//! Kepler: github.com/sustainable-computing-io/kepler at 13944a6 (0.11.4 and 116 commits), Apache-2.0.

use std::time::Duration;

use ergometer::sensor::fake::Fake;
use ergometer::sensor::{Incident, rapl};
use ergometer::{Energy, FakeClock, Power, Quality};

use super::{
    Register, assert_near, count, domains, gains, joules, meter, package, read, used, used_by,
    watts,
};
use crate::lab::{Lab, constant};
use crate::rapl::Tree;

const SECOND: Duration = Duration::from_secs(1);
const WRAP: Option<Incident> = Some(Incident::Wrap);
const RESET: Option<Incident> = Some(Incident::Reset);

/// The gains of a counter of 1 000 J from values a second apart.
fn of_a_thousand(most: Power, raw: &[f64]) -> Vec<(f64, Option<Incident>)> {
    let raw: Vec<Energy> = raw.iter().map(|energy| joules(*energy)).collect();
    let gains = gains(Some(joules(1_000.0)), most, SECOND, &raw);
    gains.into_iter().map(|(gain, incident)| (gain.as_joules(), incident)).collect()
}

#[test]
fn zones_wrap_each_for_itself() {
    // `internal/device/energy_zone_test.go`, on a range of 1 000: 1 700 becomes 1 950.
    let (one, other) = (
        of_a_thousand(watts(450.0), &[900.0, 100.0]),
        of_a_thousand(watts(450.0), &[800.0, 850.0]),
    );
    assert_eq!((&one[..], &other[..]), (&[(200.0, WRAP)][..], &[(50.0, None)][..]));
    // Wrap after wrap: 900, 100 (+200), 50 (+950).
    let twice = of_a_thousand(watts(450.0), &[900.0, 100.0, 50.0]);
    assert_eq!(twice, [(200.0, WRAP), (950.0, WRAP)]);
    // No change is no energy, and what follows is counted once: 100, 100, 150.
    assert_eq!(of_a_thousand(watts(200.0), &[100.0, 100.0, 150.0]), [(0.0, None), (50.0, None)]);
    // Beyond its own range: 900, 1 100.
    assert_eq!(of_a_thousand(watts(450.0), &[900.0, 1_100.0]), [(200.0, None)]);
}

#[test]
fn a_counter_that_goes_back_is_no_turn_of_its_range() {
    // The same file: 500, then 400, counts as a wrap of 900. Hardware of 100 W does not use 900 J in a second.
    assert_eq!(of_a_thousand(watts(100.0), &[500.0, 400.0, 450.0]), [(0.0, RESET), (50.0, None)]);
}

#[test]
fn huge_values_neither_overflow_nor_lose_a_count() {
    // The same file; a count is a microjoule.
    let half = u64::MAX / 2;
    for (range, values) in [
        (u64::MAX, [half - 1_000, half - 500]),
        (u64::MAX, [half - 2_000, half - 1_500]),
        (half, [half - 1_000, half - 500]),
        (half, [half - 2_000, half - 1_500]),
    ] {
        let (range, raw) = (Energy::from_microjoules(range), values.map(Energy::from_microjoules));
        let gains = gains(Some(range), watts(100.0), SECOND, &raw);
        assert_eq!(gains, [(Energy::from_microjoules(500), None)]);
    }
    // A range of a million: from 100 below its end to 50 behind it.
    let raw = [999_900, 50].map(Energy::from_microjoules);
    let range = Some(Energy::from_microjoules(1_000_000));
    let found = gains(range, watts(0.4), SECOND, &raw);
    assert_eq!(found, [(Energy::from_microjoules(150), WRAP)]);
    // A fall that would mean 18 TJ in a second; there, whatever comes out without a panic.
    let raw = [1_000, 100].map(Energy::from_microjoules);
    let range = Some(Energy::from_microjoules(u64::MAX - 1_000));
    assert_eq!(gains(range, watts(100.0), SECOND, &raw), [(Energy::ZERO, RESET)]);
}

#[test]
fn a_range_of_zero_is_none() {
    // The same file: zones with a range of 0 can be read. Then no fall is a wrap.
    let (tree, clock) = (Tree::new(), FakeClock::new());
    for (number, energy) in [(0, 100), (1, 200)] {
        tree.zone(&format!("intel-rapl:{number}"), &format!("package-{number}"), energy);
        let range = format!("class/powercap/intel-rapl:{number}/max_energy_range_uj");
        tree.file(&range, "0\n");
    }
    let mut found = rapl::open(tree.root());
    assert_eq!(domains(&found), [("cpu:package-0", true), ("cpu:package-1", true)]);
    assert!(found.sensors.iter().all(|sensor| sensor.specification().wrap.is_none()));
    read(&mut found, &clock);
    clock.advance(SECOND);
    tree.set("intel-rapl:0", 50);
    tree.set("intel-rapl:1", 260);
    let expected = [(Energy::ZERO, RESET), (Energy::from_microjoules(60), None)];
    assert_eq!(read(&mut found, &clock), expected);
}

#[test]
fn one_zone_that_cannot_be_read_takes_nothing_from_the_other() {
    // The same file: an error of one zone is an error of all, and no energy. Here, 100 W of one go on.
    let lab = Lab::new();
    let raw = |time: Duration| joules(100.0 * time.as_secs_f64());
    let run = meter(&lab)
        .sensor(Register::new(package(0), None, watts(200.0), move |time| {
            (time < Duration::from_secs(2)).then(|| raw(time))
        }))
        .sensor(Register::new(package(1), None, watts(200.0), move |time| Some(raw(time))))
        .build()
        .unwrap()
        .run("zones")
        .start()
        .unwrap();
    lab.pass(5_000);
    let summary = run.finish().unwrap();
    let (lost, kept) =
        (&summary.end.domains["cpu:package-0"], &summary.end.domains["cpu:package-1"]);
    assert_eq!((lost.quality, kept.quality), (Quality::Partial, Quality::Measured));
    assert_near(used_by(&summary.end, "cpu:package-1"), 500.0, 0.5);
    // What was seen of the other before is not thrown away, and nothing is made up behind it.
    assert!(lost.energy.is_none_or(|energy| energy <= joules(210.0)), "{lost:?}");
    assert_eq!(summary.end.quality, Quality::Partial);
    assert_eq!(count(&summary, "sensor-lost", "cpu:package-0"), 1);
}

#[test]
fn powers_of_several_zones_add_up() {
    // The same file: powers, and their sum.
    for (powers, sum) in [
        (&[50.0, 75.5][..], 125.5),
        (&[42.5], 42.5),
        (&[25.0, 30.5, 45.25, 60.0], 160.75),
        (&[12.345, 67.890], 80.235),
        (&[999_999.99, 888_888.88], 1_888_888.87),
        (&[100.0, 0.0, 50.0], 150.0),
    ] {
        let lab = Lab::new();
        let gauges = powers.iter().enumerate().map(|(number, power)| {
            Fake::gauge(package(number), constant(*power))
                .power_between(watts(0.0), watts(1e6))
                .specified(|it| it.stack = "hwmon".to_owned())
        });
        let run = lab.meter(gauges).run("powers").start().unwrap();
        lab.pass(10_000);
        let summary = run.finish().unwrap();
        assert_near(used(&summary.end), 10.0 * sum, 1e-6 * sum);
    }
}

#[test]
fn an_unreadable_power_is_no_zero() {
    // The same file: 50 W and a failing zone are an error and 0 W.
    let lab = Lab::new();
    let gauge = |number: usize, power: f64| {
        Fake::gauge(package(number), constant(power)).specified(|it| it.stack = "hwmon".to_owned())
    };
    let failing = gauge(1, 75.5).fails_over(super::at(0.0)..super::at(100.0));
    let run = lab.meter([gauge(0, 50.0), failing]).run("failing").start().unwrap();
    lab.pass(10_000);
    let end = run.finish().unwrap().end;
    assert_near(used_by(&end, "cpu:package-0"), 500.0, 1e-3);
    assert_eq!(end.domains["cpu:package-1"].energy, None);
    assert_eq!(end.quality, Quality::Partial);
}

#[test]
fn the_fixture_tree_is_two_packages() {
    // `internal/device/testdata/sys/class/powercap`: the registers' interface goes before the memory-mapped one, and
    // `core` is within its package. There, `core` is a zone of its own beside the sum of the packages.
    let tree = Tree::new();
    for interface in ["intel-rapl", "intel-rapl-mmio"] {
        tree.file(&format!("class/powercap/{interface}/enabled"), "1\n");
        tree.file(&format!("class/powercap/{interface}/uevent"), "");
    }
    tree.zone("intel-rapl:0", "package-0", 240_422_366_267);
    tree.zone("intel-rapl:0:0", "core", 118_821_284_256);
    tree.file("class/powercap/intel-rapl:0:0/enabled", "0\n");
    tree.zone("intel-rapl:a", "package-10", 240_422_366_267);
    tree.zone("intel-rapl-mmio:0", "package-0", 240_422_366_267);
    let found = rapl::open(tree.root());
    assert_eq!(domains(&found), [("cpu:package-0", true), ("cpu:package-10", true)]);
    assert_eq!(found.sensors[0].specification().source, "powercap intel-rapl:0");
    assert!(found.absent.is_empty(), "{found:?}");
}

#[test]
fn the_registers_go_before_the_memory_mapped_twin() {
    // `internal/device/rapl_sysfs_power_meter_test.go`, TestStandardPathPreference.
    let (registers, mapped) = ("intel-rapl:0", "intel-rapl-mmio:0");
    for (zones, expected) in [
        (&[registers][..], registers),
        (&[mapped], mapped),
        (&[mapped, registers], registers),
        (&[registers, mapped], registers),
    ] {
        let tree = Tree::new();
        zones.iter().for_each(|zone| tree.zone(zone, "package-0", 1_000_000));
        let found = rapl::open(tree.root());
        assert_eq!(domains(&found), [("cpu:package-0", true)]);
        assert_eq!(found.sensors[0].specification().source, format!("powercap {expected}"));
    }
}

#[test]
fn no_zone_stands_for_another() {
    // The same file, TestPrimaryEnergyZone: one zone is the machine's, by the order psys, package, core, dram, uncore.
    // Here package and memory are added, as neither contains the other, and psys, which contains both, is beside them.
    let (cpu, dram, psys) =
        (("cpu:package-0", true), ("dram:package-0", true), ("node:psys", false));
    for (zones, expected) in [
        (
            &[("intel-rapl:0", "package-0"), ("intel-rapl:1", "psys"), ("intel-rapl:0:0", "core")]
                [..],
            &[cpu, psys][..],
        ),
        (
            &[
                ("intel-rapl:0:0", "core"),
                ("intel-rapl:0", "package-0"),
                ("intel-rapl:0:1", "dram"),
            ],
            &[cpu, dram],
        ),
        (&[("intel-rapl:0", "unknown1"), ("intel-rapl:1", "unknown2")], &[]),
    ] {
        let tree = Tree::new();
        zones.iter().for_each(|(entry, name)| tree.zone(entry, name, 1_000_000));
        let found = rapl::open(tree.root());
        assert_eq!(domains(&found), expected);
        // Something is said where nothing is read.
        assert_eq!(found.absent.is_empty(), !expected.is_empty(), "{found:?}");
    }
}
