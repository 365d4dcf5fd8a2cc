//! Alumet: github.com/alumet-dev/alumet at afb0aa1 (0.9.5 and later), EUPL-1.2.

use std::time::Duration;

use ergometer::sensor::{Incident, rapl};
use ergometer::{Energy, FakeClock};

use super::{domains, gains, joules, read, watts};
use crate::rapl::Tree;

#[test]
fn nine_values_of_a_counter_up_to_255_give_eight_differences() {
    // `core/alumet/src/plugin/util.rs`; a count is a joule here.
    let raw = [10, 15, 45, 255, 0, 10, 3, 2, 2].map(|count| joules(f64::from(count)));
    let wrap = Some(Incident::Wrap);
    let expected = [
        (5, None),
        (30, None),
        (210, None),
        (1, wrap),
        (10, None),
        (249, wrap),
        (255, wrap),
        (0, None),
    ]
    .map(|(count, incident)| (joules(f64::from(count)), incident));
    // 255 J have to be plausible since the second last reading, and two turns must not be.
    let found = gains(Some(joules(256.0)), watts(116.0), Duration::from_secs(1), &raw);
    assert_eq!(found, expected);
}

/// The zones of `plugins/rapl/src/powercap.rs`. Memory is a top-level zone there; the kernel puts it into its package.
fn zones() -> Tree {
    let tree = Tree::new();
    tree.file("class/powercap/intel-rapl/enabled", "1\n");
    tree.zone("intel-rapl:0", "package-0", 124_599_532_281);
    tree.zone("intel-rapl:0:0", "core", 23_893_449_269);
    tree.zone("intel-rapl:0:1", "uncore", 23_992_349_269);
    tree.zone("intel-rapl:0:2", "dram", 212_143_328_850);
    tree.zone("intel-rapl:1", "psys", 154_571_208_422);
    tree
}

const DOMAINS: [(&str, bool); 3] =
    [("cpu:package-0", true), ("dram:package-0", true), ("node:psys", false)];

#[test]
fn zones_gain_what_their_files_do_over_a_wrap_too() {
    let (tree, clock) = (zones(), FakeClock::new());
    let mut found = rapl::open(tree.root());
    assert_eq!(domains(&found), DOMAINS);
    read(&mut found, &clock);
    clock.advance(Duration::from_secs(240));
    tree.set("intel-rapl:0", 129_999_532_281);
    tree.set("intel-rapl:0:0", 24_293_449_269);
    tree.set("intel-rapl:0:2", 908_522);
    tree.set("intel-rapl:1", 154_581_208_422);
    let readings = read(&mut found, &clock);
    assert_eq!(readings[0], (joules(5_400.0), None));
    // There, 50 000.908523 J: from the last value to the end, one microjoule to zero, and the new value. To zero it is
    // one count of the register, which is 61 µJ.
    let count = Energy::from_nanojoules(61_035);
    assert_eq!(readings[1], (joules(50_000.908_522) + count, Some(Incident::Wrap)));
    assert_eq!(readings[2].0, joules(10.0));
}

#[test]
fn the_first_reading_is_no_energy_and_thirty_kilojoules_are() {
    // `plugins/rapl/src/tests/tests.rs`: nothing, then 0 J, then 30 000 J.
    let (tree, clock) = (zones(), FakeClock::new());
    let mut found = rapl::open(tree.root());
    let mut package = || {
        clock.advance(Duration::from_secs(60));
        read(&mut found, &clock)[0].0
    };
    assert_eq!((package(), package()), (Energy::ZERO, Energy::ZERO));
    tree.set("intel-rapl:0", 154_599_532_281);
    assert_eq!(package(), joules(30_000.0));
}

#[test]
fn a_package_without_a_range_and_an_empty_tree_are_no_rapl() {
    // The same file: starting the plugin fails in both. Here the meter goes on, and says it.
    let tree = Tree::new();
    let found = rapl::open(tree.root());
    assert_eq!((found.sensors.len(), found.absent.len()), (0, 1), "{found:?}");
    tree.zone("intel-rapl:0", "package-0", 10);
    std::fs::remove_file(tree.root().join("class/powercap/intel-rapl:0/max_energy_range_uj"))
        .unwrap();
    let found = rapl::open(tree.root());
    assert_eq!((found.sensors.len(), found.absent.len()), (0, 1), "{found:?}");
}
