//! carbontracker: github.com/lfwa/carbontracker at 8beb2b9 (2.3.0 and later), MIT.

use std::time::Duration;

use ergometer::sensor::fake::{Fake, Load};
use ergometer::sensor::{Incident, rapl};
use ergometer::{Energy, FakeClock, Kind, Quality};

use super::{assert_near, at, domains, package, read, used, watts};
use crate::lab::{Lab, of, windows};
use crate::rapl::Tree;

#[test]
fn epochs_have_the_energy_of_their_own_power() {
    // `tests/test_component.py`: 1, 2 and 3 kW over 1, 2 and 3 s, in kilowatt hours. A fourth epoch of 4 s in which
    // nothing was measured is given the third one's energy there.
    let expected = [0.000_277_777_777_777_777_8, 0.001_111_111_111_111_111_1, 0.0025];
    let lab = Lab::new();
    let load = Load::Steps(vec![
        (at(0.0), watts(1_000.0)),
        (at(1.0), watts(2_000.0)),
        (at(3.0), watts(3_000.0)),
    ]);
    let sensor = Fake::counter(package(0), load)
        .power_between(watts(0.0), watts(4_000.0))
        .fails_over(at(6.02)..at(60.0))
        .specified(|it| it.interval = Duration::from_millis(2));
    let run = lab.meter([sensor]).run("epochs").start().unwrap();
    for epoch in run.epochs(1..=4) {
        lab.pass(1_000 * epoch);
    }
    let path = run.path().to_owned();
    run.finish().unwrap();
    let windows = windows(&path);
    let epochs = of(&windows, Kind::Epoch);
    for (epoch, expected) in epochs.iter().zip(expected) {
        // Within 2 ms of reading, 1 kW more or less.
        let found = epoch.energy.unwrap().as_kilowatt_hours();
        assert_near(found, expected, Energy::from_joules(2.0).as_kilowatt_hours());
        assert_eq!(epoch.quality, Quality::Measured);
    }
    let unseen = epochs[3];
    assert_eq!((unseen.quality, unseen.duration), (Quality::Partial, Duration::from_secs(4)));
    assert!(unseen.energy.is_none() || used(unseen) < 100.0, "{unseen:?}");
}

#[test]
fn package_and_memory_are_read_and_no_part_of_the_package() {
    // `tests/components/test_intel.py`, with the names it uses; psys is left out there.
    let tree = Tree::new();
    tree.zone("intel-rapl:0", "package-0", 1_000_000);
    tree.zone("intel-rapl:0:0", "cores", 88);
    tree.zone("intel-rapl:0:1", "uncores", 88);
    tree.zone("intel-rapl:0:2", "dram", 99_999);
    tree.zone("intel-rapl:1", "psys", 88);
    let found = rapl::open(tree.root());
    let expected = [("cpu:package-0", true), ("dram:package-0", true), ("node:psys", false)];
    assert_eq!(domains(&found), expected);
    assert!(found.absent.is_empty(), "{found:?}");
}

#[test]
fn a_counter_that_falls_takes_nothing_from_its_neighbour() {
    // The same file, in microjoules a second apart: 10 and 20, then 20 and 30, are 10 µW each; 30 and 20, then 20 and
    // 30, are 0 W for both there, though the second counter gained 10 µJ.
    let ten = Energy::from_microjoules(10);
    for (before, after, expected) in [
        ([10, 20], [20, 30], [(ten, None), (ten, None)]),
        ([30, 20], [20, 30], [(Energy::ZERO, Some(Incident::Reset)), (ten, None)]),
    ] {
        let (tree, clock) = (Tree::new(), FakeClock::new());
        let zones = ["intel-rapl:0", "intel-rapl:1"];
        for (number, zone) in zones.iter().enumerate() {
            tree.zone(zone, &format!("package-{number}"), before[number]);
        }
        let mut found = rapl::open(tree.root());
        read(&mut found, &clock);
        clock.advance(Duration::from_secs(1));
        zones.iter().zip(after).for_each(|(zone, counter)| tree.set(zone, counter));
        assert_eq!(read(&mut found, &clock), expected);
    }
}
