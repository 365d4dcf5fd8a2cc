//! The mathematics of one sensor's series, against the integral of a known load.

use std::time::Duration;

use ergometer::sensor::fake::{Fake, Load};
use ergometer::sensor::{Calibration, Domain, Hardware, Sensor};
use ergometer::series::{Place, Series};
use ergometer::{Energy, FakeClock, Power, Timestamp};
use proptest::prelude::*;

use crate::lab::{constant, cpu, gpu, steps_of_30_ms};

/// Reads `sensor` every `interval` over `time`, as a sampler would, into a series.
fn sampled(mut sensor: Fake, interval: Duration, time: Duration) -> (Series, Timestamp, Timestamp) {
    let hands = FakeClock::new();
    let clock = hands.clock();
    let mut series = Series::new(sensor.specification());
    let start = hands.now();
    while hands.now().since(start) < time {
        if let Ok(reading) = sensor.read(&clock) {
            series.push(reading);
        }
        hands.advance(interval);
    }
    (series, start, hands.now())
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

prop_compose! {
    /// Loads between 60 and 700 W, from steady to steps that beat with the sensor.
    fn loads()(high in 60.0..700.0_f64, low in 60.0..700.0_f64, period in 1_u64..400, duty in 0.05..0.95_f64) -> Load {
        Load::Square { high: Power::from_watts(high), low: Power::from_watts(low), period: millis(period), duty }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn no_error_is_larger_than_the_bound(
        load in loads(),
        period in prop::sample::select(vec![1_u64, 20, 100, 500]),
        jitter in 0.0..0.2_f64,
        wrap in prop::option::of(500.0..5_000.0_f64),
        windows in prop::collection::vec((0.0..1.0_f64, 0.0..1.0_f64), 20),
    ) {
        let sensor = gpu(load.clone()).period(millis(period)).jitter(jitter);
        let sensor = match wrap {
            Some(wrap) => sensor.wraps_after(Energy::from_joules(wrap)),
            None => sensor,
        };
        let interval = millis((period / 10).max(1));
        // The fake's updates are late by up to the jitter, which is longer than the nominal period.
        let time = millis(period) * 40;
        let (series, start, _) = sampled(sensor, interval, time);
        let from = start + millis(period) * 3;
        let covered = series.covered().unwrap().since(from);
        for (one, other) in windows {
            let (begin, end) = (from + covered.mul_f64(one.min(other)), from + covered.mul_f64(one.max(other)));
            let span = series.between(begin, end).unwrap();
            let error = (span.energy - load.between(begin, end)).as_joules().abs();
            prop_assert!(error <= span.bound + 1e-6, "off by {error} J, bound {} J: {span:?}", span.bound);
            prop_assert!(span.energy >= Energy::ZERO && span.whole && !span.provisional);
        }
    }

    #[test]
    fn windows_add_up_to_the_last_digit(load in loads(), cuts in prop::collection::vec(0_u64..3_000_000_000, 2..20)) {
        let (series, start, _) = sampled(gpu(load), millis(10), millis(3_200));
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| start + Duration::from_nanos(cut)).collect();
        cuts.sort_unstable();
        let parts: Energy = cuts.windows(2).map(|pair| series.between(pair[0], pair[1]).unwrap().energy).sum();
        prop_assert_eq!(parts, series.between(cuts[0], *cuts.last().unwrap()).unwrap().energy);
    }
}

#[test]
fn interpolation_between_updates_beats_a_plain_difference_tenfold() {
    // 1 s windows over a counter of 100 ms: a plain difference is off by 4 % (sd), edges by 0.45 % or less.
    let load = steps_of_30_ms();
    let (series, start, _) = sampled(gpu(load.clone()), millis(10), millis(120_000));
    let mut squares = 0.0;
    for window in 0..100 {
        let begin = start + millis(1_000 + 1_013 * window);
        let end = begin + millis(1_000);
        let truth = load.between(begin, end).as_joules();
        squares += (series.between(begin, end).unwrap().energy.as_joules() / truth - 1.0).powi(2);
    }
    let sd = (squares / 100.0).sqrt();
    assert!(sd < 0.0045, "sd {sd}");
}

#[test]
fn steps_far_shorter_than_the_period_have_no_bias() {
    let load = steps_of_30_ms();
    let (series, start, _) = sampled(gpu(load.clone()), millis(10), millis(63_000));
    let (mut ours, mut truth) = (0.0, 0.0);
    for step in 0..2_000 {
        let begin = start + millis(1_000 + 30 * step);
        let end = begin + millis(24);
        ours += series.between(begin, end).unwrap().energy.as_joules();
        truth += load.between(begin, end).as_joules();
    }
    // The steps are the high part of each turn, which no counter of 100 ms can tell from the low part: their energy by
    // time is that of the mean power. Nothing is dropped and nothing counted twice.
    let mean =
        load.between(start + millis(1_000), start + millis(61_000)).as_joules() * 24.0 / 30.0;
    assert!(
        (ours / mean - 1.0).abs() < 1e-3,
        "{ours} J against {mean} J by time ({truth} J in truth)"
    );
}

#[test]
fn nothing_is_lost_over_a_wrap() {
    let load = constant(150.0);
    let sensor = cpu(load.clone()).wraps_after(Energy::from_joules(100.0));
    let (series, start, end) = sampled(sensor, millis(100), millis(10_000));
    let (start, end) = (start + millis(200), end.before(millis(200)));
    let error = series.between(start, end).unwrap().energy - load.between(start, end);
    assert!(error.as_joules().abs() < 1e-3, "{error}");
}

#[test]
fn a_reset_is_not_a_wrap_and_the_window_says_that_it_is_partial() {
    let at = |millis_: u64| Timestamp::from_nanos(1_000_000_000) + millis(millis_);
    let sensor =
        cpu(constant(150.0)).wraps_after(Energy::from_joules(10_000.0)).resets_at(at(5_005));
    let (series, ..) = sampled(sensor, millis(10), millis(10_000));
    let (around, before) = (
        series.between(at(4_000), at(6_000)).unwrap(),
        series.between(at(1_000), at(4_000)).unwrap(),
    );
    assert!(!around.whole && before.whole);
    // The energy between two reads is lost, not ten kilojoules won.
    assert!((around.energy.as_joules() - 300.0).abs() < 3.0, "{}", around.energy);
}

#[test]
fn a_sensor_that_fails_for_a_while_leaves_its_energy_known_and_only_its_split_not() {
    let at = |millis_: u64| Timestamp::from_nanos(1_000_000_000) + millis(millis_);
    let load =
        Load::Steps(vec![(at(0), Power::from_watts(20.0)), (at(4_000), Power::from_watts(180.0))]);
    let (series, ..) =
        sampled(cpu(load.clone()).fails_over(at(3_000)..at(5_000)), millis(10), millis(10_000));
    let whole = series.between(at(1_000), at(7_000)).unwrap();
    assert!(
        (whole.energy - load.between(at(1_000), at(7_000))).as_joules().abs() < 0.1,
        "{}",
        whole.energy
    );
    let half = series.between(at(1_000), at(4_000)).unwrap();
    let error = (half.energy - load.between(at(1_000), at(4_000))).as_joules().abs();
    assert!(error > 10.0 && error <= half.bound, "off by {error} J, bound {} J", half.bound);
}

#[test]
fn nothing_is_added_for_a_sensor_that_is_gone() {
    let at = |millis_: u64| Timestamp::from_nanos(1_000_000_000) + millis(millis_);
    let (series, ..) =
        sampled(cpu(constant(100.0)).fails_over(at(2_000)..at(60_000)), millis(10), millis(10_000));
    let gone = series.at(at(9_000)).unwrap();
    assert_eq!(gone.place, Place::Beyond);
    assert_eq!(gone.energy, series.at(at(5_000)).unwrap().energy);
    assert!(!series.between(at(1_000), at(9_000)).unwrap().whole);
}

#[test]
fn a_counter_that_stands_still_says_nothing_and_loses_nothing() {
    let at = |millis_: u64| Timestamp::from_nanos(1_000_000_000) + millis(millis_);
    let load = constant(100.0);
    let stuck = cpu(load.clone()).stalls_over(at(2_000)..at(7_000));
    let (series, ..) = sampled(stuck, millis(20), millis(6_000));
    // While it stands still it cannot be told from a broken one: no energy of 0 is made up.
    let still = series.between(at(1_000), at(5_000)).unwrap();
    assert!(!still.whole && series.covered().unwrap() <= at(2_100), "{still:?}");
    let (series, ..) =
        sampled(cpu(load.clone()).stalls_over(at(2_000)..at(7_000)), millis(20), millis(9_000));
    let around = series.between(at(1_000), at(8_000)).unwrap();
    assert!(around.whole, "{around:?}");
    assert!((around.energy - load.between(at(1_000), at(8_000))).as_joules().abs() < 1.0);
    let within = series.between(at(1_000), at(4_000)).unwrap();
    let error = (within.energy - load.between(at(1_000), at(4_000))).as_joules().abs();
    assert!(error <= within.bound && within.uncertainty > 10.0, "{error} J, {within:?}");
}

#[test]
fn a_gauge_is_integrated_over_its_updates_and_not_over_polls() {
    let load = Load::Square {
        high: Power::from_watts(500.0),
        low: Power::from_watts(200.0),
        period: millis(4_000),
        duty: 0.5,
    };
    let gauge =
        Fake::gauge(Domain::new(Hardware::Gpu, "0", "fake"), load.clone()).period(millis(100));
    let (series, start, _) = sampled(gauge, millis(10), millis(41_000));
    let (start, end) = (start + millis(500), start + millis(40_500));
    let (ours, truth) = (series.between(start, end).unwrap().energy, load.between(start, end));
    assert!((ours.as_joules() / truth.as_joules() - 1.0).abs() < 0.01, "{ours} against {truth}");
}

fn calibration(gain: f64, offset: f64) -> Calibration {
    Calibration {
        gain,
        gain_uncertainty: 0.01,
        offset: Power::from_watts(offset),
        offset_uncertainty: Power::from_watts(0.5),
        date: "2026-11-22".to_owned(),
        reference: "a power analyser".to_owned(),
    }
}

#[test]
fn a_calibration_puts_energy_and_its_uncertainty_right_and_adds_nothing_for_a_sensor_that_is_gone()
{
    let at = |millis_: u64| Timestamp::from_nanos(1_000_000_000) + millis(millis_);
    let gone = || gpu(constant(200.0)).fails_over(at(20_000)..at(90_000));
    let calibrated = |gain, offset| {
        let sensor = gone().specified(|it| it.calibration = Some(calibration(gain, offset)));
        sampled(sensor, millis(10), millis(40_000)).0
    };
    let (bare, ..) = sampled(gone(), millis(10), millis(40_000));
    for (gain, offset) in [(2.0, 0.0), (1.0, 38.0), (1.045, -22.6)] {
        let series = calibrated(gain, offset);
        let span = series.between(at(2_050), at(12_020)).unwrap();
        let plain = bare.between(at(2_050), at(12_020)).unwrap();
        let expected = gain * plain.energy.as_joules() + offset * 9.97;
        assert!((span.energy.as_joules() - expected).abs() < 1e-6, "{span:?}");
        assert!((span.uncertainty / plain.uncertainty - gain).abs() < 1e-6, "{span:?} {plain:?}");
        let after = series.between(at(25_000), at(35_000)).unwrap();
        assert_eq!(after.energy, Energy::ZERO, "{gain} {offset}");
    }
}

#[test]
fn a_coarse_quantum_is_in_the_uncertainty() {
    // The platform counter of some servers moves in steps of 1 J.
    let at = |millis_: u64| Timestamp::from_nanos(1_000_000_000) + millis(millis_);
    let psys = Fake::counter(Domain::new(Hardware::Node, "psys", "fake"), constant(300.0))
        .quantum(Energy::from_joules(1.0));
    let (series, ..) = sampled(psys, millis(20), millis(10_000));
    let span = series.between(at(5_000), at(6_000)).unwrap();
    assert!(span.uncertainty >= (2.0 / 12.0_f64).sqrt(), "{span:?}");
}

#[test]
fn a_late_sensor_is_uncertain_where_the_power_changes_and_nowhere_else() {
    let at = |millis_: u64| Timestamp::from_nanos(1_000_000_000) + millis(millis_);
    let load =
        Load::Steps(vec![(at(0), Power::from_watts(60.0)), (at(8_000), Power::from_watts(400.0))]);
    let late = gpu(load).specified(|it| it.delay = millis(50));
    let (series, ..) = sampled(late, millis(10), millis(12_000));
    let uncertainty = |from, to| series.between(at(from), at(to)).unwrap().uncertainty;
    let across = 0.05 * 340.0 / 3_f64.sqrt();
    assert!(uncertainty(5_000, 10_000) >= across, "{}", uncertainty(5_000, 10_000));
    assert!(uncertainty(5_000, 7_000) < across / 2.0, "{}", uncertainty(5_000, 7_000));
}
