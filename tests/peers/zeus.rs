//! Zeus: github.com/ml-energy/zeus at 75a8b93 (0.16.0 and 24 commits), Apache-2.0.

use std::time::Duration;

use ergometer::sensor::fake::{Fake, Load};
use ergometer::sensor::{Domain, Hardware, Incident, Provenance, Quantity, Reading, Sensor};
use ergometer::sensor::{Specification, rapl};
use ergometer::series::Series;
use ergometer::{Energy, FakeClock, Kind, Meter, Power};

use super::{
    Register, assert_near, at, card, domains, gains, meter, package, used, used_by, watts,
};
use crate::lab::{Lab, constant, gpu, of, windows};
use crate::rapl::Tree;

/// Windows by name, with the tick at which each begins and its length in ticks, in the order in which they end: two
/// after each other, two that overlap, and two of which one lies within the other. `tests/monitor/test_energy.py`.
const WINDOWS: [(&str, u64, u64); 6] = [
    ("window1", 4, 2),
    ("window2", 9, 4),
    ("window3", 14, 5),
    ("window4", 16, 7),
    ("window6", 25, 3),
    ("window5", 24, 8),
];

/// What each counter shows before the first tick, and adds at each tick, in millijoules.
const GPU: (u64, u64) = (1_000, 3);
const CPU: (u64, u64) = (1_000, 10);
const DRAM: (u64, u64) = (200, 5);

const TICK: Duration = Duration::from_secs(1);

/// A counter that moves by a step each tick, and evenly meanwhile; a tick is a second.
fn ticking(
    domain: Domain,
    (start, step): (u64, u64),
    stack: &str,
) -> Register<impl FnMut(Duration) -> Option<Energy> + Send + use<>> {
    let power = Energy::from_millijoules(step).over(TICK).unwrap();
    let raw = move |time: Duration| Some(Energy::from_millijoules(start) + power * time);
    Register::new(domain, None, watts(1.0), raw).specified(|it| it.stack = stack.to_owned())
}

/// Two packages, of which the first has memory with a counter, and the GPUs of `visible`. Those of `old` have no
/// counter: in that file they are of Pascal's generation, and their power stands in.
fn machine(lab: &Lab, visible: &[usize], old: &[usize]) -> Meter {
    let dram = Domain::new(Hardware::Dram, "package-0", "memory");
    let mut builder = meter(lab)
        .sensor(ticking(package(0), CPU, "rapl"))
        .sensor(ticking(package(1), CPU, "rapl"))
        .sensor(ticking(dram, DRAM, "rapl"));
    for number in visible {
        builder = if old.contains(number) {
            let power = Energy::from_millijoules(GPU.1).over(TICK).unwrap();
            let gauge = Fake::gauge(card(*number), Load::Constant(power));
            builder.sensor(gauge.specified(|it| it.stack = "nvml".to_owned()))
        } else {
            builder.sensor(ticking(card(*number), GPU, "nvml"))
        };
    }
    builder.build().unwrap()
}

#[test]
fn windows_of_any_gpus_one_by_one_overlapping_and_nested_have_the_energy_of_their_ticks() {
    let tolerance = |step: u64| 1e-4 * Energy::from_millijoules(step).as_joules();
    for set in 1..16_usize {
        let visible: Vec<usize> = (0..4).filter(|number| set & (1 << number) != 0).collect();
        let old = if set % 2 == 0 { &[1, 3][..] } else { &[] };
        let lab = Lab::new();
        let run = machine(&lab, &visible, old).run("zeus").start().unwrap();
        let mut open = Vec::new();
        for tick in 0..34 {
            open.retain(|(_, end)| *end != tick);
            let begins = WINDOWS.iter().filter(|(_, begin, _)| *begin == tick);
            open.extend(begins.map(|(name, begin, ticks)| (run.phase(name), begin + ticks)));
            lab.pass(1_000);
        }
        drop(open);
        let path = run.path().to_owned();
        run.finish().unwrap();
        let windows = windows(&path);
        let phases = of(&windows, Kind::Phase);
        let names: Vec<&str> = phases.iter().map(|it| it.phase.as_deref().unwrap()).collect();
        assert_eq!(names, WINDOWS.map(|(name, ..)| name));
        for (window, (_, begin, ticks)) in phases.into_iter().zip(WINDOWS) {
            assert_eq!(window.start, at(0.0) + Duration::from_secs(begin));
            assert_eq!(window.duration, Duration::from_secs(ticks));
            assert_eq!(window.domains.len(), visible.len() + 3);
            let check = |domain: String, step| {
                let expected = Energy::from_millijoules(step * ticks).as_joules();
                assert_near(used_by(window, &domain), expected, tolerance(step));
            };
            visible.iter().for_each(|number| check(format!("gpu:GPU-{number}"), GPU.1));
            check("cpu:package-0".to_owned(), CPU.1);
            check("cpu:package-1".to_owned(), CPU.1);
            check("dram:package-0".to_owned(), DRAM.1);
            let step = 2 * CPU.1 + DRAM.1 + GPU.1 * visible.len() as u64;
            let expected = Energy::from_millijoules(step * ticks).as_joules();
            assert_near(used(window), expected, tolerance(step));
        }
    }
}

#[test]
fn a_window_without_an_update_is_not_zero() {
    // That file: a window shorter than the counter's period is 0 J, with a warning.
    let lab = Lab::new();
    let run = lab.meter([gpu(constant(400.0))]).run("short").start().unwrap();
    lab.pass(2_030);
    let window = run.phase("window0");
    lab.pass(30);
    drop(window);
    lab.pass(2_000);
    let path = run.path().to_owned();
    let summary = run.finish().unwrap();
    let windows = windows(&path);
    let window = of(&windows, Kind::Phase)[0];
    match window.energy {
        Some(energy) => assert_near(energy.as_joules(), 12.0, 1.0),
        None => assert!(window.uncertainty.is_none(), "{window:?}"),
    }
    assert_near(used(&summary.end), 4.06 * 400.0, 10.0);
}

/// One window of a log: when it began after the first one, its length, and the joules of each GPU.
type Logged<const GPUS: usize> = (f64, f64, [f64; GPUS]);

/// `tests/profile_data/A40+resnet50+gpu0,1,2,3.csv`, to the millisecond and the millijoule.
const RESNET_50_ON_FOUR_A40: [Logged<4>; 9] = [
    (0.0, 8.226, [1_067.513, 1_072.433, 1_049.198, 1_129.595]),
    (10.406, 8.025, [1_066.006, 1_045.991, 1_062.390, 1_142.164]),
    (20.740, 8.028, [1_061.593, 1_071.112, 1_087.781, 1_058.114]),
    (31.034, 8.313, [1_070.479, 1_066.319, 1_094.137, 1_073.363]),
    (41.679, 8.476, [1_060.655, 1_076.426, 1_088.532, 1_079.507]),
    (52.342, 8.266, [1_006.833, 1_016.473, 1_023.950, 1_007.266]),
    (62.914, 7.946, [929.934, 944.442, 945.117, 918.854]),
    (73.141, 8.141, [906.692, 925.950, 906.449, 892.036]),
    (83.607, 8.274, [839.172, 870.139, 845.641, 837.489]),
];

/// `tests/profile_data/A40+shufflenetv2+gpu0.csv`, likewise.
const SHUFFLENET_ON_ONE_A40: [Logged<1>; 9] = [
    (0.0, 1.679, [328.660]),
    (2.134, 1.695, [328.702]),
    (4.290, 1.711, [328.801]),
    (9.246, 1.688, [336.575]),
    (11.396, 1.696, [330.223]),
    (13.553, 1.818, [306.220]),
    (18.587, 1.785, [268.701]),
    (20.960, 2.275, [286.206]),
    (24.352, 4.410, [439.545]),
];

/// Replays a log through counters that are updated every 100 ms. The file does not say what the GPUs used between its
/// windows: 30 W here.
fn replay<const GPUS: usize>(log: &[Logged<GPUS>]) {
    let (lab, first) = (Lab::new(), 2.0);
    let sensors = (0..GPUS).map(|number| {
        let mut steps = vec![(at(0.0), watts(30.0))];
        for (begin, length, energy) in log {
            steps.push((at(first + begin), watts(energy[number] / length)));
            steps.push((at(first + begin + length), watts(30.0)));
        }
        Fake::counter(card(number), Load::Steps(steps))
            .period(Duration::from_millis(100))
            .jitter(0.01)
            .quantum(Energy::from_millijoules(1))
            .power_between(watts(20.0), watts(330.0))
            .specified(|it| it.stack = "nvml".to_owned())
    });
    let run = lab.meter(sensors).run("profile").start().unwrap();
    let until = |moment: f64| {
        lab.hands.advance(at(moment).since(run.records().now()));
    };
    for (begin, length, _) in log {
        until(first + begin);
        let window = run.phase("profile");
        until(first + begin + length);
        drop(window);
    }
    until(first + log[log.len() - 1].0 + 6.0);
    let path = run.path().to_owned();
    let summary = run.finish().unwrap();
    let windows = windows(&path);
    let phases = of(&windows, Kind::Phase);
    assert_eq!(phases.len(), log.len());
    let (mut total, mut allowed) = (0.0, 0.0);
    for (window, (_, length, energy)) in phases.into_iter().zip(log) {
        assert_near(window.duration.as_secs_f64(), *length, 1e-6);
        let mut tolerance = 0.0;
        for (number, energy) in energy.iter().enumerate() {
            // The power changes with the window. In the middle of an interval, that bends the energy by a quarter of
            // 100 ms of the change, at either end; the moments of updates are known to some 20 ms.
            let worst = 0.07 * (energy / length - 30.0) + 0.5;
            assert_near(used_by(window, &format!("gpu:GPU-{number}")), *energy, worst);
            tolerance += worst;
        }
        assert_near(used(window), energy.iter().sum(), tolerance);
        total += energy.iter().sum::<f64>();
        allowed += tolerance;
    }
    assert_near(summary.phases["profile"].energy.as_joules(), total, allowed);
}

#[test]
fn logged_windows_of_four_gpus_come_out_as_logged() {
    replay(&RESNET_50_ON_FOUR_A40);
}

#[test]
fn logged_windows_of_two_seconds_come_out_as_logged() {
    replay(&SHUFFLENET_ON_ONE_A40);
}

/// A series of power samples, one a second.
fn samples(samples: &[(f64, f64)]) -> Series {
    let mut specification = Specification::gauge(card(0), "power");
    specification.period = Duration::from_secs(1);
    let mut series = Series::new(&specification);
    for (moment, power) in samples {
        series.push(Reading::new(at(*moment), Quantity::Gauge(watts(*power)), at(*moment)));
    }
    series
}

#[test]
fn power_samples_are_integrated_between_the_first_and_the_last() {
    // `tests/monitor/test_power.py`: 100 J and 200 J, also for the three seconds around, of which nothing is known.
    for (power, energy) in [(100.0, 100.0), (200.0, 200.0)] {
        let series = samples(&[(100.0, power), (101.0, power)]);
        let inside = series.between(at(100.0), at(101.0)).unwrap();
        assert_eq!(inside.energy, Energy::from_joules(energy));
        assert!(inside.whole);
        let around = series.between(at(99.0), at(104.0)).unwrap();
        assert!(!around.whole, "{around:?}");
    }
    // The samples of another of its tests: 50 W, then 60 W.
    let series = samples(&[(100.0, 50.0), (101.0, 60.0)]);
    assert_eq!(series.between(at(100.0), at(101.0)).unwrap().energy, Energy::from_joules(55.0));
}

#[test]
fn each_counter_has_its_own_period() {
    // `tests/monitor/test_power.py`: counters of 0.4 s and 0.12 s, and one polling period of 0.06 s for both (0 in
    // 0.16.0). Here each sensor is read by its own.
    for period in [0.4, 0.12] {
        let hands = FakeClock::new();
        let period = Duration::from_secs_f64(period);
        let mut sensor = Fake::counter(card(0), constant(200.0)).period(period);
        let mut series = Series::new(sensor.specification());
        for _ in 0..500 {
            series.push(sensor.read(&hands.clock()).unwrap());
            hands.advance(Duration::from_millis(10));
        }
        assert_near(series.period().as_secs_f64(), period.as_secs_f64(), 0.01);
    }
}

#[test]
fn a_counter_that_falls_at_nearly_every_read_wraps_each_time() {
    // `tests/device/cpu/test_rapl.py`: a range of 100 000, and eight wraps among these values. A count is a millijoule
    // here, a microjoule there.
    let raw = [100_000, 90_000, 80_000, 70_000, 60_000, 50_000, 40_000, 50_000, 20_000, 10_000]
        .map(Energy::from_millijoules);
    let range = Energy::from_millijoules(100_000);
    let gains = gains(Some(range), watts(45.0), Duration::from_secs(1), &raw);
    let wraps = gains.iter().filter(|(_, incident)| *incident == Some(Incident::Wrap)).count();
    assert_eq!(wraps, 8);
    // There, 80 000 after five wraps is 580 000. Here, a counter starts from nothing at its first value.
    let total: Energy = gains.iter().map(|(gain, _)| *gain).sum();
    assert_eq!(total, Energy::from_millijoules(10_000 + 8 * 100_000 - 100_000));
}

#[test]
fn a_zone_that_lacks_a_file_is_absent_and_takes_no_other_with_it() {
    // `tests/device/cpu/test_rapl.py`: a package without one of these files cannot be opened; a part that cannot be
    // opened leaves the package.
    for file in ["energy_uj", "max_energy_range_uj"] {
        let tree = Tree::new();
        tree.zone("intel-rapl:0", "package-0", 1_000_000);
        tree.zone("intel-rapl:0:0", "dram", 500_000);
        let part = tree.root().join("class/powercap/intel-rapl:0:0").join(file);
        std::fs::remove_file(part).unwrap();
        let found = rapl::open(tree.root());
        assert_eq!(domains(&found), [("cpu:package-0", true)]);
        assert_eq!(found.absent.len(), 1, "{found:?}");
        let whole = tree.root().join("class/powercap/intel-rapl:0").join(file);
        std::fs::remove_file(whole).unwrap();
        let found = rapl::open(tree.root());
        assert!(found.sensors.is_empty());
        assert_eq!(found.absent.len(), 2, "{found:?}");
    }
}

#[test]
fn power_in_place_of_a_counter_is_said() {
    let lab = Lab::new();
    let meter = machine(&lab, &[0, 1], &[1]);
    let provenance: Vec<Provenance> = meter
        .sensors()
        .filter(|it| it.domain.hardware == Hardware::Gpu)
        .map(|it| it.provenance)
        .collect();
    assert_eq!(provenance, [Provenance::Counter, Provenance::IntegratedPower]);
    assert_eq!(Power::from_milliwatts(3) * Duration::from_secs(1), Energy::from_millijoules(3));
}
