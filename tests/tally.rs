//! What monitoring is told: that parts add up to the run, and that counters of a run that is resumed do not fall.

use std::sync::{Arc, Mutex};

use ergometer::record::Manifest;
use ergometer::sensor::{Domain, Hardware};
use ergometer::{Earlier, Energy, Observer, Record, Verdict};
use ergometer_sinks::tally::{Number, Tally};

use crate::lab::{Lab, constant, cpu};

/// Where a metric stands, summed over its points.
fn sum(tally: &Tally, name: &str) -> Option<f64> {
    let metrics = tally.metrics();
    let metric = metrics.iter().find(|metric| metric.name == name)?;
    let value = |number: &Number| match number {
        Number::Energy(energy) => energy.as_joules(),
        Number::Power(power) => power.as_watts(),
        Number::Count(count) => *count as f64,
        Number::Real(value) => *value,
    };
    Some(metric.points.iter().map(|point| value(&point.value)).sum())
}

/// Keeps what a tally says behind each window: steps and the energy of the parts.
#[derive(Clone, Default)]
struct Watch(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    tally: Tally,
    stands: Vec<(f64, f64)>,
}

impl Observer for Watch {
    fn name(&self) -> &str {
        "watch"
    }

    fn began(&mut self, manifest: &Manifest) {
        self.0.lock().unwrap().tally.began(manifest);
    }

    fn resumed(&mut self, earlier: &Earlier) {
        self.0.lock().unwrap().tally.resumed(earlier);
    }

    fn settled(&mut self, window: &Record) -> Verdict {
        let mut told = self.0.lock().unwrap();
        let _ = told.tally.settled(window);
        let of = |name: &str| sum(&told.tally, name).unwrap_or_default();
        let stands = (of("ergometer.run.steps"), of("hw.energy"));
        told.stands.push(stands);
        Verdict::GoOn
    }
}

#[test]
fn no_counter_of_a_run_that_is_resumed_falls() {
    let lab = Lab::new();
    let meter = lab.meter([cpu(constant(100.0))]);
    let train = |run: &ergometer::Run| {
        let lanes = [run.lane(), run.lane()];
        for _step in 0..3 {
            for lane in &lanes {
                let step = lane.step();
                lab.pass(500);
                step.end();
            }
        }
    };
    let run = meter.run("lanes").start().unwrap();
    train(&run);
    let path = run.path().to_owned();
    run.finish().unwrap();
    let watch = Watch::default();
    let run = meter.resume(&path).unwrap().observe(watch.clone()).start().unwrap();
    train(&run);
    run.finish().unwrap();
    let told = &watch.0.lock().unwrap().stands;
    let rises = |pair: &[(f64, f64)]| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1;
    assert!(told[0].0 >= 6.0 && told[0].1 >= 300.0, "{told:?}");
    assert!(told.windows(2).all(rises), "{told:?}");
    assert_eq!(told.last().unwrap().0.to_bits(), 12.0_f64.to_bits());
}

#[test]
fn parts_in_the_total_add_up_to_the_run_whatever_they_are() {
    let lab = Lab::new();
    // As on boards with one meter for all of them.
    let board = cpu(constant(30.0)).specified(|it| {
        it.domain = Domain::new(Hardware::Node, "VDD_IN", "board");
        it.in_total = true;
    });
    let watch = Watch::default();
    let run = lab.meter([board]).run("board").observe(watch.clone()).start().unwrap();
    run.steps(0..4).for_each(|_| lab.pass(1_000));
    let energy = run.finish().unwrap().end.energy.unwrap();
    let tally = &watch.0.lock().unwrap().tally;
    let parts = sum(tally, "hw.energy").unwrap();
    assert!(
        (Energy::from_joules(parts) - energy).as_joules().abs() < 1e-6,
        "{parts} J of {energy}"
    );
    assert_eq!(sum(tally, "hw.host.energy"), None);
}
