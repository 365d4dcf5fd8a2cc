//! Counters with a power beside them: those that tell the same are left alone, those that do not are found out soon.

use std::time::Duration;

use ergometer::log::Line;
use ergometer::record::Event;
use ergometer::sensor::fake::{Fake, Load};
use ergometer::sensor::{Reading, Sensor, Specification};
use ergometer::{Clock, Meter, Power, Result, Timestamp};

use crate::lab::{Lab, constant, gpu, lines};

/// A counter, and a gauge of the same hardware.
struct Beside {
    counter: Fake,
    clock: Clock,
    gauge: Box<dyn Fn(Timestamp) -> f64 + Send>,
}

impl Sensor for Beside {
    fn specification(&self) -> &Specification {
        self.counter.specification()
    }

    fn read(&mut self, clock: &Clock) -> Result<Reading> {
        self.counter.read(clock)
    }

    fn cross_check(&mut self) -> Option<Power> {
        Some(Power::from_watts((self.gauge)(self.clock.now())))
    }
}

/// What a run says of it that begins `before` milliseconds after the meter was built and takes 40 s.
fn suspicions(
    lab: &Lab,
    counter: Fake,
    before: u64,
    gauge: impl Fn(Timestamp) -> f64 + Send + 'static,
) -> Vec<Event> {
    let both = Beside { counter, clock: lab.clock(), gauge: Box::new(gauge) };
    let meter = Meter::builder().clock(lab.clock()).log_directory(lab.logs.path()).sensor(both);
    let meter = meter.build().unwrap();
    lab.pass(before);
    let run = meter.run("compared").start().unwrap();
    let path = run.path().to_owned();
    lab.pass(40_000);
    run.finish().unwrap();
    let event = |line| match line {
        Line::Event(event) if event.event == "suspect" => Some(event),
        _ => None,
    };
    lines(&path).into_iter().filter_map(event).collect()
}

/// Some watts up and down, each 20 ms others.
fn noise(at: Timestamp) -> f64 {
    f64::from(u32::try_from(at.as_nanos() / 20_000_000 * 7_919 % 13).unwrap()) / 13.0 - 0.5
}

#[test]
fn an_honest_counter_is_left_alone_whenever_the_load_begins() {
    for duty in [1.0, 0.25] {
        for idle in [500, 1_300, 2_000, 4_500] {
            for (low, high) in [(70.0, 400.0), (70.0, 650.0)] {
                let lab = Lab::new();
                let begins = lab.hands.now() + Duration::from_millis(idle);
                let power = Power::from_watts;
                let load = Load::Steps(vec![(lab.hands.now(), power(low)), (begins, power(high))]);
                let gauge = move |at| 4.0 * noise(at) + if at < begins { low } else { high };
                let told = suspicions(&lab, gpu(load).specified(|it| it.duty = duty), 0, gauge);
                assert_eq!(told, [], "duty {duty}, {low} to {high} W after {idle} ms");
            }
        }
    }
}

#[test]
fn a_counter_that_counts_half_is_found_in_its_first_seconds() {
    for duty in [1.0, 0.25] {
        for watts in [70.0, 150.0, 400.0] {
            for before in [0, 2_000] {
                let lab = Lab::new();
                let counter = gpu(constant(watts * 0.57)).specified(|it| {
                    it.duty = duty;
                    it.least = Power::ZERO;
                });
                let begun = lab.hands.now();
                let told = suspicions(&lab, counter, before, move |at| watts + 2.0 * noise(at));
                let [event] = &told[..] else { panic!("duty {duty}, {watts} W: {told:?}") };
                let after = event.at.since(begun);
                assert!(after < Duration::from_secs(4), "duty {duty}, {watts} W: {after:?}");
                assert!(event.detail.as_deref().unwrap().contains("0.57"), "{event:?}");
            }
        }
    }
}
