//! Faults that were found in other meters by running their own code on fake sensors, in the versions named. The comment
//! of each test says what they report.

use std::time::{Duration, Instant};

use ergometer::sensor::fake::{Fake, Load};
use ergometer::sensor::{Domain, Hardware, Provenance, Quantity, Reading, Sensor, Specification};
use ergometer::{Clock, Energy, Kind, Meter, Quality, Result, Summary};

use super::{
    RANGE, Register, assert_near, at, card, count, domains, joules, meter, package, used, used_by,
    watts,
};
use crate::lab::{Lab, constant, cpu, gpu, of, windows};
use crate::rapl::Tree;

/// A counter of 100 W that is read once a second, as most meters do.
fn once_a_second(domain: Domain) -> Fake {
    Fake::counter(domain, constant(100.0)).specified(|it| it.interval = Duration::from_secs(1))
}

#[test]
fn devices_and_domains_add_up() {
    // carbontracker 2.4.7, of eight GPUs of 100 W in an hour: 0.1 kWh; of a package of 150 W and memory of 30 W: 0.09 kWh.
    let lab = Lab::new();
    let gpus = (0..8).map(|number| (card(number), 100.0, "nvml"));
    let memory = Domain::new(Hardware::Dram, "package-0", "memory");
    let sensors = gpus.chain([(package(0), 150.0, "rapl"), (memory, 30.0, "rapl")]);
    let sensors = sensors.map(|(domain, power, stack)| {
        Fake::counter(domain, constant(power)).specified(|it| {
            it.interval = Duration::from_secs(1);
            it.stack = stack.to_owned();
        })
    });
    let run = lab.meter(sensors).run("hour").start().unwrap();
    lab.pass(3_600_000);
    let end = run.finish().unwrap().end;
    let of = |prefix: &str| -> f64 {
        let domains = end.domains.iter().filter(|(id, _)| id.starts_with(prefix));
        domains.map(|(_, share)| share.energy.unwrap().as_kilowatt_hours()).sum()
    };
    // Read once a second, the ends of the hour are known to a fraction of a second.
    assert_near(of("gpu:"), 0.8, 8e-5);
    assert_near(of("cpu:") + of("dram:"), 0.18, 2e-5);
    assert_near(end.energy.unwrap().as_kilowatt_hours(), 0.98, 1e-4);
}

#[test]
fn a_wrap_within_a_sample_loses_nothing_of_it() {
    // carbontracker 2.4.7: 0 W in that sample, for every domain.
    let lab = Lab::new();
    let wraps = cpu(constant(100.0)).quantum(Energy::ZERO).wraps_after(joules(150.0));
    let beside = once_a_second(package(1)).specified(|it| it.stack = "rapl".to_owned());
    let run = lab.meter([wraps, beside]).run("wrap").start().unwrap();
    for _epoch in run.epochs(1..=3) {
        lab.pass(1_000);
    }
    let path = run.path().to_owned();
    let summary = run.finish().unwrap();
    for epoch in of(&windows(&path), Kind::Epoch) {
        assert_near(used_by(epoch, "cpu:package-0"), 100.0, 1e-6);
        assert_near(used_by(epoch, "cpu:package-1"), 100.0, 1e-6);
    }
    assert_eq!(count(&summary, "wrap", "cpu:package-0"), 2);
}

#[test]
fn an_unreadable_counter_costs_nothing_once_it_can_be_read_again() {
    // Of 300 J in 3 s, CodeCarbon 3.3.0: 262 444 J, and 3.3.2: 100 J. Of 500 J in 5 s, perun 1.0.0: 262 643 J.
    for (seconds, expected) in [(3_u64, 300.0), (5, 500.0)] {
        let lab = Lab::new();
        let sensor = once_a_second(package(0)).wraps_after(RANGE).fails_over(at(0.5)..at(1.5));
        let run = lab.meter([sensor]).run("unreadable").start().unwrap();
        lab.pass(1_000 * seconds);
        let summary = run.finish().unwrap();
        assert_near(used(&summary.end), expected, 1e-6);
        for event in ["sensor-lost", "sensor-back"] {
            assert_eq!(count(&summary, event, "cpu:package-0"), 1, "{event}");
        }
    }
}

/// Ten seconds at 100 W, in the middle of which a counter that had come to `before` is set back.
fn set_back(wrap: Option<Energy>, before: Energy) -> Summary {
    let lab = Lab::new();
    let middle = Duration::from_secs(5);
    let sensor = Register::new(package(0), wrap, watts(200.0), move |time| {
        let used = watts(100.0) * time.saturating_sub(middle);
        Some(if time < middle { before - watts(100.0) * (middle - time) } else { used })
    });
    let run = meter(&lab).sensor(sensor).build().unwrap().run("reset").start().unwrap();
    lab.pass(10_000);
    run.finish().unwrap()
}

#[test]
fn a_counter_that_is_set_back_has_not_gone_round() {
    for (wrap, before) in [
        // CodeCarbon 3.3.2, RAPL after a suspend or a reload: 161 748 J more.
        (Some(RANGE), 100_395.0),
        // Alumet's arithmetic on NVML's counter, with a range of 2⁶⁴ − 1 mJ: 1.8 × 10¹⁶ J more.
        (None, 5e9),
        (Some(Energy::from_millijoules(u64::MAX)), 5e9),
    ] {
        let summary = set_back(wrap, joules(before));
        // One interval between reads is lost, 22 ms at most, and it is said.
        let energy = used(&summary.end);
        assert!((997.3..=1_000.1).contains(&energy), "{energy} J");
        assert_eq!(count(&summary, "reset", "cpu:package-0"), 1);
        assert_eq!(summary.end.quality, Quality::Partial);
    }
}

#[test]
fn windows_of_30_ms_at_a_constant_load_are_equal() {
    // CodeCarbon 3.3.2, flush() every 30 ms: 0, 1.8, 0, 1.7, 0, 1.7 J.
    let lab = Lab::new();
    let run = lab.meter([gpu(constant(400.0)), cpu(constant(60.0))]).run("equal").start().unwrap();
    lab.pass(2_000);
    for _epoch in run.epochs(1..=1) {
        for _batch in run.steps(0..100) {
            lab.pass(30);
        }
    }
    lab.pass(1_000);
    let path = run.path().to_owned();
    run.finish().unwrap();
    let windows = windows(&path);
    let steps = of(&windows, Kind::Step);
    assert_eq!(steps.len(), 100);
    for step in &steps {
        assert_near(used_by(step, "cpu:package-0"), 1.8, 0.001);
        // The GPU's updates are known to some 20 ms in 100 ms, and come 1 % early or late.
        assert_near(used_by(step, "gpu:GPU-0"), 12.0, 2.0);
    }
    let sum: f64 = steps.iter().map(|step| used(step)).sum();
    assert_near(sum, 3.0 * 460.0, 15.0);
}

#[test]
fn a_window_that_ends_just_after_a_wrap_has_its_energy() {
    // Zeus 0.16.0: −261 950 J of 193 J.
    let lab = Lab::new();
    let sensor = Register::new(package(0), Some(RANGE), watts(200.0), |time| {
        // The counter starts over 10 ms before the window ends.
        let before = RANGE - watts(100.0) * Duration::from_millis(2_920);
        let energy = before + watts(100.0) * time;
        Some(if energy >= RANGE { energy - RANGE } else { energy })
    });
    let run = meter(&lab).sensor(sensor).build().unwrap().run("wrap").start().unwrap();
    lab.pass(1_000);
    let window = run.phase("window");
    lab.pass(1_930);
    drop(window);
    lab.pass(500);
    let path = run.path().to_owned();
    let summary = run.finish().unwrap();
    assert_near(used(of(&windows(&path), Kind::Phase)[0]), 193.0, 1e-6);
    assert_eq!(count(&summary, "wrap", "cpu:package-0"), 1);
}

#[test]
fn a_package_and_psys_are_one_processor() {
    // Zeus 0.16.0: two CPUs.
    let tree = Tree::new();
    tree.zone("intel-rapl:0", "package-0", 1_000_000);
    tree.zone("intel-rapl:1", "psys", 3_000_000);
    let found = ergometer::sensor::rapl::open(tree.root());
    assert_eq!(domains(&found), [("cpu:package-0", true), ("node:psys", false)]);
    let hardware = found.sensors.iter().map(|sensor| sensor.specification().domain.hardware);
    assert_eq!(hardware.filter(|it| *it == Hardware::Cpu).count(), 1);

    // And in a run's total.
    let lab = Lab::new();
    let psys = Fake::counter(Domain::new(Hardware::Node, "psys", "platform"), constant(150.0))
        .specified(|it| it.in_total = false);
    let run = lab.meter([cpu(constant(100.0)), psys]).run("psys").start().unwrap();
    lab.pass(10_000);
    let end = run.finish().unwrap().end;
    assert_near(used(&end), 1_000.0, 0.5);
    assert_near(used_by(&end, "node:psys"), 1_500.0, 0.5);
}

#[test]
fn a_burst_counts_once_wherever_it_is() {
    // perun 1.0.0: a burst of 1 000 J in the first of five seconds is 1 500 J, in the last 500 J.
    for burst in 0..5_u32 {
        let lab = Lab::new();
        let from = f64::from(burst);
        let load = Load::Steps(vec![(at(from), watts(1_000.0)), (at(from + 1.0), watts(0.0))]);
        let sensor = Fake::counter(package(0), load)
            .power_between(watts(0.0), watts(1_500.0))
            .specified(|it| it.interval = Duration::from_millis(2));
        let run = lab.meter([sensor]).run("burst").start().unwrap();
        for _epoch in run.epochs(0..5) {
            lab.pass(1_000);
        }
        let path = run.path().to_owned();
        let summary = run.finish().unwrap();
        assert_near(used(&summary.end), 1_000.0, 0.5);
        for (epoch, number) in of(&windows(&path), Kind::Epoch).into_iter().zip(0..) {
            // A second in which nothing is used may be too little to resolve; it is no burst in any case. Reads are
            // 2 ms apart, in which 2 J are used.
            let expected = if number == burst { 1_000.0 } else { 0.0 };
            assert_near(epoch.energy.map_or(0.0, Energy::as_joules), expected, 4.0);
        }
    }
}

#[test]
fn a_region_from_the_start_is_not_the_whole_run() {
    // perun 1.0.0: 500 J for the 200 J of the first two seconds of five.
    let lab = Lab::new();
    let run = lab.meter([cpu(constant(100.0))]).run("region").start().unwrap();
    let region = run.phase("region");
    lab.pass(2_000);
    drop(region);
    lab.pass(3_000);
    let path = run.path().to_owned();
    let summary = run.finish().unwrap();
    assert_near(used(of(&windows(&path), Kind::Phase)[0]), 200.0, 0.5);
    assert_near(used(&summary.end), 500.0, 0.5);
}

/// A counter of 100 W whose every read takes 250 ms.
struct Slow(Specification);

impl Sensor for Slow {
    fn specification(&self) -> &Specification {
        &self.0
    }

    fn read(&mut self, clock: &Clock) -> Result<Reading> {
        let (before, (), after) = clock.bracket(|| std::thread::sleep(Duration::from_millis(250)));
        let energy = watts(100.0) * before.midpoint(after).since(at(0.0));
        Ok(Reading::new(before, Quantity::Counter(energy), after))
    }
}

#[test]
fn a_reading_longer_than_its_interval_is_slow_and_no_more() {
    // EnergiBridge: a panic, where 250 ms of reading fall into an interval of 200 ms.
    let logs = tempfile::tempdir().unwrap();
    let specification = Specification::counter(package(0), "slow");
    let interval = Duration::from_millis(200);
    let slow = Slow(Specification { interval, most: watts(200.0), ..specification });
    let meter = Meter::builder().sensor(slow).log_directory(logs.path()).build().unwrap();
    // Until it has been read once, nothing can be said.
    std::thread::sleep(Duration::from_millis(600));
    let run = meter.run("slow").start().unwrap();
    let began = Instant::now();
    for _batch in run.steps(0..100) {}
    let boundaries = began.elapsed();
    // Waiting for one reading at each would take 25 s.
    assert!(boundaries < Duration::from_secs(5), "100 steps took {boundaries:?}");
    std::thread::sleep(Duration::from_millis(1_500));
    let end = run.finish().unwrap().end;
    let expected = 100.0 * end.duration.as_secs_f64();
    // A read tells its value to within its own length.
    assert_near(used(&end), expected, 25.0);
    assert!(end.uncertainty.unwrap() > joules(1.0), "{end:?}");
}

#[test]
fn a_gpu_without_a_counter_with_a_failed_read_or_a_reset_has_its_energy_and_says_so() {
    // CodeCarbon 3.3.2: 600 J of 600 J in all three, without a mark.
    let lab = Lab::new();
    let sensors = [
        Fake::gauge(card(0), constant(100.0)),
        Fake::counter(card(1), constant(100.0)).fails_over(at(2.5)..at(3.5)),
        Fake::counter(card(2), constant(100.0)).resets_at(at(3.01)),
    ];
    let sensors = sensors.map(|sensor| {
        sensor.power_between(watts(20.0), watts(300.0)).specified(|it| it.stack = "nvml".to_owned())
    });
    let run = lab.meter(sensors).run("three").start().unwrap();
    lab.pass(6_000);
    let summary = run.finish().unwrap();
    assert_near(used_by(&summary.end, "gpu:GPU-0"), 600.0, 0.1);
    assert_near(used_by(&summary.end, "gpu:GPU-1"), 600.0, 0.5);
    // The interval of the reset is lost, at most 22 ms, and it is said.
    let energy = used_by(&summary.end, "gpu:GPU-2");
    assert!((597.3..=600.1).contains(&energy), "{energy} J");
    assert_eq!(summary.manifest.sensors[0].provenance, Provenance::IntegratedPower);
    assert_eq!(count(&summary, "sensor-lost", "gpu:GPU-1"), 1);
    assert_eq!(count(&summary, "reset", "gpu:GPU-2"), 1);
    assert_eq!(summary.end.domains["gpu:GPU-2"].quality, Quality::Partial);
}
