//! CPUs that go offline and come back while their package is counted.

use std::time::Duration;

use ergometer::FakeClock;
use ergometer::sensor::{Incident, Sensor, rapl};
use ergometer::units::Energy;

use super::kernel::{Kernel, PACKAGE, unit};
use super::{ALL, alone, two_sockets};
use crate::rapl::counter;

/// Reads each half second; a read that fails gives its error's text.
fn reads(sensor: &mut dyn Sensor, clock: &FakeClock, times: usize) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..times {
        clock.advance(Duration::from_millis(500));
        if let Err(error) = sensor.read(&clock.clock()) {
            assert!(error.is_lost(), "{error}");
            told.push(error.what().to_owned());
        }
    }
    told
}

#[test]
fn a_cpu_that_goes_offline_is_lost_and_found_again() {
    let (tree, kernel, mut sensor) = alone();
    let clock = FakeClock::new();
    counter(&mut *sensor, &clock);
    clock.advance(Duration::from_secs(1));
    kernel.add(PACKAGE, 0, 100.0);
    assert_eq!(counter(&mut *sensor, &clock).0, Energy::from_joules(100.0));

    kernel.take_offline(0);
    tree.file("bus/event_source/devices/power/cpumask", "\n");
    let told = reads(&mut *sensor, &clock, 8);
    assert!(told[0].starts_with("cpu:package-0 was lost: its count stands still"), "{told:?}");
    assert!(told.last().unwrap().contains("offline"), "{told:?}");

    kernel.bring_back(0);
    kernel.set(PACKAGE, 0, 0);
    tree.file("bus/event_source/devices/power/cpumask", "0\n");
    clock.advance(Duration::from_secs(1));
    let (energy, incident) = counter(&mut *sensor, &clock);
    assert_eq!((energy, incident), (Energy::from_joules(100.0), Some(Incident::Reset)));
    clock.advance(Duration::from_secs(1));
    kernel.add(PACKAGE, 0, 50.0);
    assert_eq!(counter(&mut *sensor, &clock), (Energy::from_joules(150.0), None));
}

#[test]
fn another_cpu_of_the_package_takes_over() {
    let (tree, kernel, clock) = (two_sockets(), Kernel::default(), FakeClock::new());
    let mut found = rapl::open_with(tree.root(), &kernel.opener());
    let sensor = &mut *found.sensors[1];
    counter(sensor, &clock);
    kernel.add(PACKAGE, 28, 10.0);
    clock.advance(Duration::from_secs(1));
    counter(sensor, &clock);
    kernel.take_offline(28);
    unit(&tree, &ALL, &[(0, 0, 0), (29, 1, 0)]);
    assert_eq!(reads(sensor, &clock, 8).len(), 1);
    kernel.add(PACKAGE, 29, 5.0);
    clock.advance(Duration::from_secs(1));
    assert_eq!(counter(sensor, &clock).0, Energy::from_joules(15.0));
}

#[test]
fn a_part_that_draws_nothing_is_not_lost() {
    let (_tree, _kernel, mut sensor) = alone();
    let clock = FakeClock::new();
    assert_eq!(reads(&mut *sensor, &clock, 40), Vec::<String>::new());
}
