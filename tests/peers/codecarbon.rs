//! CodeCarbon: github.com/mlco2/codecarbon at b05965e (3.3.0 and 3 commits), MIT.

use std::fs;
use std::time::Duration;

use ergometer::sensor::{Quantity, Reading, Specification, rapl};
use ergometer::series::Series;
use ergometer::{Energy, FakeClock};

use super::{at, card, domains, read, watts};
use crate::rapl::Tree;

/// A zone of a tree: its entry, its name, its counter.
type Zone = (&'static str, &'static str, u64);

const PACKAGE: Zone = ("intel-rapl:0", "package-0", 52_649_883_221);
const CORE: Zone = ("intel-rapl:0:0", "core", 11_111_111_111);
const UNCORE: Zone = ("intel-rapl:0:1", "uncore", 22_222_222_222);
/// `intel-rapl:1` there; the kernel puts memory into its package.
const DRAM: Zone = ("intel-rapl:0:2", "dram", 11_111_111_111);
const PSYS: Zone = ("intel-rapl:1", "psys", 99_999_999_999);
const MAPPED: Zone = ("intel-rapl-mmio:0", "package-0", 99_999_999_999);

const CPU: (&str, bool) = ("cpu:package-0", true);
const MEMORY: (&str, bool) = ("dram:package-0", true);
const PLATFORM: (&str, bool) = ("node:psys", false);

fn tree(zones: &[Zone]) -> Tree {
    let tree = Tree::new();
    zones.iter().for_each(|(entry, name, counter)| tree.zone(entry, name, *counter));
    tree
}

#[test]
fn each_package_counts_once_with_its_memory_and_psys_beside() {
    for (zones, expected) in [
        // `tests/test_rapl_parameters.py`: memory only on request there; psys in place of packages on request, and
        // without one where there is no package.
        (&[PACKAGE, DRAM][..], &[CPU, MEMORY][..]),
        (&[PACKAGE, PSYS], &[CPU, PLATFORM]),
        (&[PACKAGE, DRAM, PSYS], &[CPU, MEMORY, PLATFORM]),
        (&[PSYS], &[PLATFORM]),
        // `tests/test_rapl_mmio_scanning.py`: the package and not psys, its parts not beside it, and one of the two
        // interfaces (the memory-mapped one there; they show the same counter).
        (&[PACKAGE, CORE, UNCORE, PSYS], &[CPU, PLATFORM]),
        (&[PACKAGE, MAPPED, CORE], &[CPU]),
    ] {
        let tree = tree(zones);
        let found = rapl::open(tree.root());
        assert_eq!(domains(&found), expected);
        assert!(found.absent.is_empty(), "{found:?}");
    }
}

#[test]
fn a_counter_that_cannot_be_read_is_said_and_the_others_stay() {
    for (zones, closed, expected, absent) in [
        // `tests/test_rapl_permissions.py`: with the package closed, psys alone stands for the CPU there. It is no sum.
        (&[PACKAGE, PSYS][..], &[PACKAGE][..], &[PLATFORM][..], &["rapl cpu:package-0"][..]),
        (&[PACKAGE, PSYS], &[PSYS], &[CPU], &["rapl node:psys"]),
        // `tests/test_rapl_mmio_scanning.py`: one interface closed, and both.
        (&[PACKAGE, MAPPED], &[MAPPED], &[CPU], &[]),
        (&[PACKAGE, MAPPED], &[PACKAGE], &[CPU], &[]),
        (&[PACKAGE, MAPPED], &[PACKAGE, MAPPED], &[], &["rapl cpu:package-0"]),
    ] {
        let tree = tree(zones);
        for (entry, ..) in closed {
            // A directory can be read by nobody, not even by root, who may read a file without permissions.
            let counter = tree.root().join("class/powercap").join(entry).join("energy_uj");
            fs::remove_file(&counter).unwrap();
            fs::create_dir(&counter).unwrap();
        }
        let found = rapl::open(tree.root());
        assert_eq!(domains(&found), expected);
        let sources: Vec<&str> = found.absent.iter().map(|it| it.source.as_str()).collect();
        assert_eq!(sources, absent, "{found:?}");
    }
}

#[test]
fn counters_that_mirror_each_other_count_once() {
    // `tests/test_windows_emi.py`, with the picowatt hours of Windows in microjoules (1 pWh = 3.6 nJ), as the dies of
    // a package: equal ones, ones 0.36 mJ apart, different ones, three of a kind, and two that show nothing.
    for (counters, kept) in [
        (&[18_000_000, 18_000_000][..], 1),
        (&[3_600_000_000, 3_600_000_360], 1),
        (&[18_000_000, 14_400_000], 2),
        (&[25_200_000, 25_200_000, 25_200_000], 1),
        (&[0, 0], 2),
    ] {
        let tree = Tree::new();
        for (die, counter) in counters.iter().enumerate() {
            tree.zone(&format!("intel-rapl:{die}"), &format!("package-0-die-{die}"), *counter);
        }
        assert_eq!(rapl::open(tree.root()).sensors.len(), kept, "{counters:?}");
    }
}

#[test]
fn mirrored_dies_do_not_double_the_power() {
    // The same file: both go from 5 × 10⁹ to 6 × 10⁹ pWh, and 3.6 J are used, not 7.2 J.
    let (tree, clock) = (Tree::new(), FakeClock::new());
    tree.zone("intel-rapl:0", "package-0-die-0", 18_000_000);
    tree.zone("intel-rapl:1", "package-0-die-1", 18_000_000);
    let mut found = rapl::open(tree.root());
    read(&mut found, &clock);
    clock.advance(Duration::from_secs(1));
    tree.set("intel-rapl:0", 21_600_000);
    tree.set("intel-rapl:1", 21_600_000);
    let sum: Energy = read(&mut found, &clock).into_iter().map(|(energy, _)| energy).sum();
    assert_eq!(sum, Energy::from_joules(3.6));
}

#[test]
fn a_wrap_adds_the_range() {
    // `tests/test_energy.py`: from 100 to 10 µJ with a range of 105 µJ are 15 µJ.
    let (tree, clock) = (Tree::new(), FakeClock::new());
    tree.zone("intel-rapl:0", "package-0", 100);
    tree.file("class/powercap/intel-rapl:0/max_energy_range_uj", "105\n");
    let mut found = rapl::open(tree.root());
    read(&mut found, &clock);
    clock.advance(Duration::from_secs(1));
    tree.set("intel-rapl:0", 10);
    assert_eq!(read(&mut found, &clock)[0].0, Energy::from_microjoules(15));
}

#[test]
fn gpu_counters_five_seconds_apart_give_powers_that_add_up() {
    // `tests/test_gpu_nvidia.py`: two counters in millijoules. The last five seconds are 10 J and 20 J, so 2 W and
    // 4 W, and 4 W where only the second GPU is selected; its third test's counters differ in the first GPU alone.
    let powers = [[100_701, 180_001, 190_001], [149_702, 180_002, 200_002]].map(|counts| {
        let mut series = Series::new(&Specification {
            period: Duration::from_secs(5),
            ..Specification::counter(card(0), "counter")
        });
        for (turn, count) in (0_u32..).zip(counts) {
            let (moment, energy) = (at(5.0 * f64::from(turn)), Energy::from_millijoules(count));
            series.push(Reading::new(moment, Quantity::Counter(energy), moment));
        }
        series.power().unwrap()
    });
    assert_eq!(powers, [watts(2.0), watts(4.0)]);
    assert_eq!(powers[0] + powers[1], watts(6.0));
}
