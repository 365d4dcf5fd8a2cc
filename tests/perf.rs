//! The `power` unit's perf events, on written trees and scripted counts: which domains they take, and counts that lie.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod kernel;
mod offline;

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use ergometer::FakeClock;
use ergometer::sensor::rapl::event::{self, Event};
use ergometer::sensor::{Found, Incident, Sensor, rapl};
use ergometer::units::{Energy, Power};

use self::kernel::{EACCES, EINVAL, Kernel, MEMORY, PACKAGE, PLATFORM, unit};
use crate::rapl::trees::{four_dies, mirrored_dies};
use crate::rapl::{Tree, counter, domains, only, two_packages};

const ALL: [(&str, u64); 3] =
    [("energy-pkg", PACKAGE), ("energy-ram", MEMORY), ("energy-psys", PLATFORM)];

/// Intel's two sockets, as powercap and perf show them.
fn two_sockets() -> Tree {
    let tree = two_packages();
    tree.vendor("0000");
    unit(&tree, &ALL, &[(0, 0, 0), (28, 1, 0)]);
    tree
}

/// One package without powercap, read by perf alone.
fn alone() -> (Tree, Kernel, Box<dyn Sensor>) {
    let (tree, kernel) = (Tree::new(), Kernel::default());
    tree.vendor("0000");
    unit(&tree, &ALL[..1], &[(0, 0, 0)]);
    let sensor = only(rapl::open_with(tree.root(), &kernel.opener()));
    (tree, kernel, sensor)
}

/// One package with a powercap zone beside, which tells the register and a plausible power of 540 W.
fn beside_powercap() -> (Tree, Kernel, Box<dyn Sensor>) {
    let (tree, kernel) = (Tree::new(), Kernel::default());
    tree.vendor("0000");
    tree.zone("intel-rapl:0", "package-0", 5_000_000);
    tree.file("class/powercap/intel-rapl:0/constraint_0_max_power_uw", "270000000\n");
    unit(&tree, &ALL[..1], &[(0, 0, 0)]);
    let sensor = only(rapl::open_with(tree.root(), &kernel.opener()));
    (tree, kernel, sensor)
}

fn sources(found: &Found) -> BTreeSet<&str> {
    let sensors = found.sensors.iter().map(|sensor| sensor.specification().source.as_str());
    sensors.map(|source| source.split(' ').next().unwrap()).collect()
}

#[test]
fn perf_takes_what_powercap_has_too_under_the_same_ids() {
    let (tree, kernel) = (two_sockets(), Kernel::default());
    let found = rapl::open_with(tree.root(), &kernel.opener());
    assert!(found.absent.is_empty(), "{found:?}");
    assert_eq!(domains(&found), domains(&rapl::open_with(two_packages().root(), &kernel.opener())));
    assert_eq!(sources(&found), BTreeSet::from(["perf"]));
    assert_eq!(found.spare.len(), 5);
    let cpus: BTreeSet<_> =
        kernel.counts().opened.iter().map(|event| (event.config, event.cpu.unwrap())).collect();
    let expected = [(PACKAGE, 0), (PACKAGE, 28), (MEMORY, 0), (MEMORY, 28), (PLATFORM, 0)];
    assert_eq!(cpus, BTreeSet::from(expected));
}

#[test]
fn a_count_is_a_part_of_a_joule() {
    let (tree, kernel, clock) = (two_sockets(), Kernel::default(), FakeClock::new());
    kernel.set(PACKAGE, 28, 1 << 40);
    let mut found = rapl::open_with(tree.root(), &kernel.opener());
    for sensor in &mut found.sensors {
        assert_eq!(counter(&mut **sensor, &clock), (Energy::ZERO, None));
    }
    clock.advance(Duration::from_secs(1));
    kernel.add(PACKAGE, 0, 150.25);
    kernel.add(PACKAGE, 28, 87.5);
    kernel.add(MEMORY, 28, 12.125);
    kernel.add(PLATFORM, 0, 400.0);
    let energies: Vec<f64> =
        found.sensors.iter_mut().map(|it| counter(&mut **it, &clock).0.as_joules()).collect();
    assert_eq!(format!("{energies:?}"), "[150.25, 87.5, 0.0, 12.125, 400.0]");
}

#[test]
fn dies_have_powercap_s_ids_and_count_each() {
    let (tree, kernel) = (four_dies(), Kernel::default());
    unit(&tree, &ALL[..2], &[(0, 0, 0), (24, 0, 1), (48, 1, 0), (72, 1, 1)]);
    let found = rapl::open_with(tree.root(), &kernel.opener());
    assert_eq!(domains(&found), domains(&rapl::open(four_dies().root())));
    assert_eq!((found.sensors.len(), sources(&found)), (8, BTreeSet::from(["perf"])));
}

#[test]
fn cpus_of_one_die_count_it_once() {
    let (tree, kernel) = (Tree::new(), Kernel::default());
    tree.vendor("0000");
    unit(&tree, &ALL, &[(0, 0, 0), (1, 0, 0)]);
    let found = rapl::open_with(tree.root(), &kernel.opener());
    let expected = [("cpu:package-0", true), ("dram:package-0", true), ("node:psys", false)];
    assert_eq!(domains(&found), expected);
}

#[test]
fn amd_s_mirrored_dies_count_each_socket_once() {
    let (tree, kernel) = (mirrored_dies(), Kernel::default());
    unit(&tree, &ALL[..1], &[(0, 0, 0), (16, 0, 1), (32, 1, 0), (48, 1, 1)]);
    // Zones that do not look alike at this moment are no reason to count a die beside its socket.
    tree.set("intel-rapl:1", 0);
    let found = rapl::open_with(tree.root(), &kernel.opener());
    assert_eq!(domains(&found), [("cpu:package-0-die-0", true), ("cpu:package-1-die-0", true)]);
    assert_eq!(sources(&found), BTreeSet::from(["perf"]));
}

#[test]
fn a_package_by_one_way_covers_its_dies_by_the_other() {
    let (tree, kernel) = (four_dies(), Kernel::default());
    // A kernel that counts by package and lists by die.
    tree.file("devices/system/cpu/modalias", "cpu:type:x86,ven0002\n");
    unit(&tree, &ALL[..1], &[(0, 0, 0), (48, 1, 0)]);
    let found = rapl::open_with(tree.root(), &kernel.opener());
    let cpus = domains(&found).into_iter().filter(|(id, _)| id.starts_with("cpu:")).count();
    assert_eq!(cpus, 2, "{found:?}");
}

#[test]
fn powercap_tells_the_register_beneath() {
    let (tree, kernel) = (two_sockets(), Kernel::default());
    tree.file("class/powercap/intel-rapl:2/max_energy_range_uj", "4294967295000000\n");
    tree.file("class/powercap/intel-rapl:0/constraint_0_max_power_uw", "270000000\n");
    let found = rapl::open_with(tree.root(), &kernel.opener());
    let (package, psys) = (found.sensors[0].specification(), found.sensors[4].specification());
    assert_eq!(package.quantum, Energy::from_joules(2_f64.powi(-14)));
    assert_eq!(package.wrap, Some(Energy::from_joules(262_144.0)));
    assert_eq!(package.most, Power::from_watts(540.0));
    assert_eq!(psys.quantum, Energy::from_joules(1.0));
}

#[test]
fn without_powercap_the_register_is_taken_to_be_coarse() {
    let (tree, kernel) = (Tree::new(), Kernel::default());
    unit(&tree, &ALL, &[(0, 0, 0)]);
    let found = rapl::open_with(tree.root(), &kernel.opener());
    let quanta: Vec<_> = found.sensors.iter().map(|it| it.specification().quantum).collect();
    let coarse = Energy::from_joules(2_f64.powi(-14));
    assert_eq!(quanta, [coarse, coarse, Energy::from_joules(1.0)]);
}

#[test]
fn a_count_goes_round_at_64_bits_without_loss() {
    for start in [i64::MAX.cast_unsigned() - 1_000, u64::MAX - 1_000] {
        let (_tree, kernel, mut sensor) = alone();
        let clock = FakeClock::new();
        kernel.set(PACKAGE, 0, start);
        counter(&mut *sensor, &clock);
        clock.advance(Duration::from_secs(1));
        kernel.add(PACKAGE, 0, 320.0);
        assert_eq!(counter(&mut *sensor, &clock), (Energy::from_joules(320.0), None));
    }
}

#[test]
fn a_difference_of_the_wrong_sign_is_undone_where_the_register_is_known() {
    let (_tree, kernel, mut sensor) = beside_powercap();
    let clock = FakeClock::new();
    counter(&mut *sensor, &clock);
    // 300 W for 500 s with nobody reading: 150 kJ, which the kernel takes for 150 000 − 262 144 J.
    clock.advance(Duration::from_secs(500));
    kernel.add(PACKAGE, 0, 150_000.0 - 262_144.0);
    let (energy, incident) = counter(&mut *sensor, &clock);
    assert_eq!((energy, incident), (Energy::from_joules(150_000.0), Some(Incident::Wrap)));
    clock.advance(Duration::from_secs(1));
    kernel.add(PACKAGE, 0, 300.0);
    assert_eq!(counter(&mut *sensor, &clock), (Energy::from_joules(150_300.0), None));
}

#[test]
fn a_count_that_falls_is_ambiguous_and_never_an_energy() {
    let (_tree, kernel, mut sensor) = alone();
    let clock = FakeClock::new();
    kernel.add(PACKAGE, 0, 1_000.0);
    counter(&mut *sensor, &clock);
    clock.advance(Duration::from_secs(1));
    kernel.add(PACKAGE, 0, 100.0);
    counter(&mut *sensor, &clock);
    clock.advance(Duration::from_secs(500));
    kernel.add(PACKAGE, 0, -112_144.0);
    let (energy, incident) = counter(&mut *sensor, &clock);
    assert_eq!((energy, incident), (Energy::from_joules(100.0), Some(Incident::Ambiguous)));
    clock.advance(Duration::from_secs(1));
    kernel.add(PACKAGE, 0, 200.0);
    assert_eq!(counter(&mut *sensor, &clock), (Energy::from_joules(300.0), None));
}

#[test]
fn a_pause_in_which_the_register_may_have_gone_round_is_said() {
    let (_tree, kernel, mut sensor) = beside_powercap();
    let clock = FakeClock::new();
    counter(&mut *sensor, &clock);
    // At the plausible 540 W more than one turn fits into this time.
    clock.advance(Duration::from_secs(600));
    kernel.add(PACKAGE, 0, 60_000.0);
    let (energy, incident) = counter(&mut *sensor, &clock);
    assert_eq!((energy, incident), (Energy::from_joules(60_000.0), Some(Incident::Ambiguous)));
}

#[test]
fn a_register_that_starts_over_after_suspend_is_no_energy() {
    for jump in [79_000.0, -50_000.0] {
        let (_tree, kernel, mut sensor) = beside_powercap();
        let clock = FakeClock::new();
        counter(&mut *sensor, &clock);
        clock.advance(Duration::from_secs(1));
        kernel.add(PACKAGE, 0, jump);
        assert_eq!(counter(&mut *sensor, &clock), (Energy::ZERO, Some(Incident::Reset)));
        clock.advance(Duration::from_secs(1));
        kernel.add(PACKAGE, 0, 100.0);
        assert_eq!(counter(&mut *sensor, &clock), (Energy::from_joules(100.0), None));
    }
}

#[test]
fn where_perf_is_closed_powercap_is_used_without_a_complaint() {
    let tree = two_sockets();
    let found = rapl::open_with(tree.root(), &Kernel::refusing(EACCES).opener());
    assert_eq!((found.sensors.len(), found.absent.len()), (5, 0), "{found:?}");
    assert_eq!(sources(&found), BTreeSet::from(["powercap"]));
}

#[test]
fn a_domain_that_only_one_way_has_is_read_by_that_way() {
    let (tree, kernel) = (two_packages(), Kernel::default());
    unit(&tree, &ALL[..1], &[(0, 0, 0), (28, 1, 0)]);
    let found = rapl::open_with(tree.root(), &kernel.opener());
    assert_eq!((found.sensors.len(), found.absent.len()), (5, 0));
    let source = |index: usize| found.sensors[index].specification().source.as_str();
    assert_eq!((source(0), source(2)), ("perf power/energy-pkg/", "powercap intel-rapl:0:1"));
}

#[cfg(target_os = "linux")]
#[test]
fn where_both_ways_are_closed_one_absence_names_the_three_cures() {
    let tree = two_sockets();
    tree.close_two_packages();
    let found = rapl::open_with(tree.root(), &Kernel::refusing(EACCES).opener());
    assert!(found.sensors.is_empty(), "closed is never 0 W");
    let [absence] = &found.absent[..] else { panic!("{found:?}") };
    assert!(absence.error.is_permission_denied());
    let cure = absence.error.remedy().unwrap();
    for way in ["chmod a+r", "setcap cap_perfmon+ep", "perf_event_paranoid=0", "side channel"] {
        assert!(cure.contains(way), "{way}: {cure}");
    }
}

#[test]
fn a_container_that_hides_powercap_and_closes_perf_is_told_both() {
    let tree = Tree::new();
    unit(&tree, &ALL, &[(0, 0, 0)]);
    let found = rapl::open_with(tree.root(), &Kernel::refusing(EACCES).opener());
    let [absence] = &found.absent[..] else { panic!("{found:?}") };
    assert!(absence.error.is_permission_denied());
    assert!(absence.error.what().contains("container hides them"), "{}", absence.error);
    assert!(absence.error.remedy().unwrap().contains("--cap-add PERFMON"), "{}", absence.error);
}

#[test]
fn a_container_that_hides_powercap_can_be_measured_by_perf() {
    let (tree, kernel) = (Tree::new(), Kernel::default());
    unit(&tree, &ALL, &[(0, 0, 0)]);
    let found = rapl::open_with(tree.root(), &kernel.opener());
    assert_eq!((found.sensors.len(), found.absent.len()), (3, 0), "{found:?}");
}

#[test]
fn what_the_kernel_cannot_count_is_named() {
    let tree = Tree::new();
    tree.zone("intel-rapl:0", "package-0", 1_000_000);
    unit(&tree, &ALL[..2], &[(0, 0, 0)]);
    let found = rapl::open_with(tree.root(), &Kernel::refusing(EINVAL).opener());
    assert_eq!(domains(&found), [("cpu:package-0", true)]);
    let [absence] = &found.absent[..] else { panic!("{found:?}") };
    assert_eq!(absence.source, "rapl dram:package-0");
    assert!(absence.error.is_unsupported(), "{}", absence.error);
    assert!(absence.error.what().contains("energy-ram on CPU 0"), "{}", absence.error);
}

#[test]
fn garbage_in_the_unit_s_files_is_named_by_its_path() {
    for file in [
        "type",
        "cpumask",
        "events/energy-pkg",
        "events/energy-pkg.scale",
        "events/energy-pkg.unit",
    ] {
        for garbage in ["-1.5 furlongs\n", "\u{0}\n", "99999999999999999999\n"] {
            let (tree, kernel) = (Tree::new(), Kernel::default());
            tree.zone("intel-rapl:0", "core", 1_000_000);
            unit(&tree, &ALL[..1], &[(0, 0, 0)]);
            tree.file(&format!("bus/event_source/devices/power/{file}"), garbage);
            let found = rapl::open_with(tree.root(), &kernel.opener());
            assert!(found.sensors.is_empty(), "{file}: {found:?}");
            let text = format!("{:?}", found.absent);
            assert!(text.contains(&format!("power/{file}")), "{file}: {text}");
        }
    }
}

#[test]
fn garbage_in_the_unit_s_files_leaves_powercap() {
    let (tree, kernel) = (two_sockets(), Kernel::default());
    tree.file("bus/event_source/devices/power/cpumask", "none\n");
    let found = rapl::open_with(tree.root(), &kernel.opener());
    assert_eq!((found.sensors.len(), found.absent.len()), (5, 0), "{found:?}");
}

/// The kernel's own events: this thread's time on a CPU, which every system with perf events counts.
#[test]
fn the_kernel_opens_an_event_or_says_why_not() {
    let software = Event { kind: 1, config: 1, cpu: None };
    match event::open(&software) {
        Ok(mut count) => {
            let before = count().unwrap();
            let mut work = 0_u64;
            while count().unwrap() <= before {
                work = std::hint::black_box(work + 1);
            }
        }
        Err(error) if cfg!(target_os = "linux") => {
            let closed = error.kind() == io::ErrorKind::PermissionDenied;
            let missing = error.raw_os_error().is_some();
            assert!(closed || missing, "{error:?}");
            assert!(!closed || error.to_string().contains("perf_event_paranoid"), "{error}");
        }
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::Unsupported),
    }
}

#[cfg(target_os = "linux")]
#[test]
fn the_kernel_refuses_an_event_that_no_unit_has() {
    let error = event::open(&Event { kind: u32::MAX, config: 0, cpu: Some(0) }).err().unwrap();
    assert_ne!(error.kind(), io::ErrorKind::Unsupported, "{error}");
}
