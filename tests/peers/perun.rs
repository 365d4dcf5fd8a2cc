//! perun: github.com/Helmholtz-AI-Energy/perun at a40e45d (0.9.1 and 14 commits), BSD-3-Clause.

use std::time::Duration;

use ergometer::sensor::{Quantity, Reading, Specification};
use ergometer::series::Series;

use super::{at, joules, package, watts};

/// One value a second: 0, 10, 20, 30, 40, as in `tests/perun/test_processing.py`.
fn series(specification: Specification, quantity: impl Fn(f64) -> Quantity) -> Series {
    let mut series =
        Series::new(&Specification { interval: Duration::from_secs(1), ..specification });
    for second in 0..5 {
        let moment = at(f64::from(second));
        series.push(Reading::new(moment, quantity(10.0 * f64::from(second)), moment));
    }
    series
}

#[test]
fn a_counter_of_ten_joules_a_second_gives_forty_joules_and_ten_watts() {
    let counter = Specification::counter(package(0), "counter");
    let series = series(counter, |value| Quantity::Counter(joules(value)));
    let whole = series.between(at(0.0), at(4.0)).unwrap();
    assert_eq!(whole.energy, joules(40.0));
    assert_eq!(whole.energy.over(Duration::from_secs(4)), Some(watts(10.0)));
    // The region that is interpolated there: from 1 to 3.5 s the values go from 10 to 35.
    assert_eq!(series.between(at(1.0), at(3.5)).unwrap().energy, joules(25.0));
}

#[test]
fn a_power_that_rises_is_interpolated_within_a_region() {
    // The same values as watts: 10 W at 1 s, 35 W at 3.5 s, and a straight line between. The meter's Ê is itself a
    // straight line between samples, so a boundary between two of them costs up to 1.25 J, the bend of a second.
    let gauge = Specification::gauge(package(0), "gauge");
    let series = series(gauge, |value| Quantity::Gauge(watts(value)));
    assert_eq!(series.between(at(0.0), at(4.0)).unwrap().energy, joules(80.0));
    assert_eq!(series.between(at(1.0), at(3.0)).unwrap().energy, joules(40.0));
    let region = series.between(at(1.0), at(3.5)).unwrap().energy.as_joules();
    super::assert_near(region, (1.0 + 3.5) / 2.0 * 2.5 * 10.0, 1.25);
}
