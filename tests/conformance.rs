//! Simulated sensors against the integral of what they measure: no error above the bound, error bars that are neither too
//! short nor too long, no bias, nothing lost.
//!
//! Each sensor has a period, jitter, latency, a quantum and a gain of its own, drawn at random; some look at a quarter of
//! the time, wrap, stall, or fail now and then. Each is read as the sampler reads, over a load drawn at random, and
//! judged in windows drawn at random from 0.05 to 500 periods. Everything is drawn from a fixed seed.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    reason = "draws are small, and the table is what `--nocapture` is asked for"
)]

use std::time::Duration;

use ergometer::sensor::fake::{Fake, Load};
use ergometer::sensor::{Domain, Hardware, Sensor};
use ergometer::series::Series;
use ergometer::{Energy, FakeClock, Power, Timestamp};

/// `SplitMix64`: the same draws in every run.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    /// Uniform from 0 to 1.
    pub(crate) fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn between(&mut self, least: f64, most: f64) -> f64 {
        least + (most - least) * self.unit()
    }

    /// Uniform in the logarithm.
    fn log_between(&mut self, least: f64, most: f64) -> f64 {
        self.between(least.ln(), most.ln()).exp()
    }

    fn below(&mut self, count: usize) -> usize {
        (self.unit() * count as f64) as usize
    }

    /// Normal with mean 0 and standard deviation 1 (sum of twelve, less six).
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

const LEAST: f64 = 60.0;
const MOST: f64 = 700.0;

/// Steps, epochs and whatever else beats with neither: three square waves on a floor, 60 to 700 W in all.
fn load(draw: &mut Draw, period: Duration) -> Load {
    let mut left = MOST - LEAST;
    let mut parts = vec![Load::Constant(Power::from_watts(LEAST))];
    for (shortest, longest) in [(0.02, 1.0), (0.5, 20.0), (20.0, 400.0)] {
        let swing = left * draw.between(0.05, 0.7);
        left -= swing;
        parts.push(Load::Square {
            high: Power::from_watts(swing),
            low: Power::ZERO,
            period: period.mul_f64(draw.log_between(shortest, longest)),
            duty: draw.between(0.1, 0.9),
        });
    }
    Load::Sum(parts)
}

/// What a sensor is, or does beside counting.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Counter,
    Wraps,
    Resets,
    Stalls,
    Fails,
    LooksAway,
    Gauge,
    MeanGauge,
}

/// Relative standard uncertainty of the gain that each sensor is drawn with.
const GAIN: f64 = 0.035;

/// How long each sensor is read, in periods, and in how many windows it is judged.
const READ: f64 = 700.0;
const WINDOWS: usize = 240;

/// A sensor of a kind, and its gain.
fn sensor(draw: &mut Draw, kind: Kind, load: &Load, period: Duration) -> (Fake, f64) {
    let at = |periods: f64| Timestamp::from_nanos(1_000_000_000) + period.mul_f64(periods);
    let domain = Domain::new(Hardware::Gpu, "0", "fake");
    let gain = 1.0 + GAIN * draw.normal();
    let fake = match kind {
        Kind::Gauge => Fake::gauge(domain, load.clone()),
        Kind::MeanGauge => Fake::gauge(domain, load.clone()).averages_over(period * 10),
        _ => Fake::counter(domain, load.clone())
            .quantum(Energy::from_nanojoules([1_000_000, 61_035, 15_259][draw.below(3)])),
    };
    let fake = fake
        .period(period)
        .jitter(draw.between(0.0, 0.1))
        .gain(gain)
        .latency(period.mul_f64(draw.log_between(1e-4, 1e-2)))
        .power_between(Power::from_watts(LEAST * 0.85), Power::from_watts(MOST * 1.15));
    let fake = match kind {
        Kind::Counter | Kind::Gauge | Kind::MeanGauge => fake,
        Kind::Wraps => {
            let turn = Power::from_watts(MOST) * period.mul_f64(draw.between(20.0, 300.0));
            fake.wraps_after(turn)
        }
        Kind::Resets => fake.resets_at(at(draw.between(100.0, 600.0))),
        Kind::Stalls => {
            let from = draw.between(50.0, 600.0);
            fake.stalls_over(at(from)..at(from + draw.between(2.0, 30.0)))
        }
        Kind::Fails => (0..5).fold(fake, |fake, _| {
            let from = draw.between(10.0, 600.0);
            fake.fails_over(at(from)..at(from + draw.between(0.1, 5.0)))
        }),
        Kind::LooksAway => fake.duty(0.25),
    };
    (fake, gain)
}

/// What became of many windows.
#[derive(Clone, Copy, Debug, Default)]
struct Judged {
    windows: usize,
    /// Within ± 2u of the truth, the gain's uncertainty included.
    held: usize,
    /// Within ± 2u of what the sensor should show, the gain left out: the boundaries alone.
    held_by_boundaries: usize,
    /// Farther off than the bound, or below zero.
    impossible: usize,
    /// Windows up to 20 periods, and the sum of their errors, relative to what such a window holds on average.
    short: usize,
    errors: f64,
}

impl Judged {
    fn and(self, other: Judged) -> Judged {
        Judged {
            windows: self.windows + other.windows,
            held: self.held + other.held,
            held_by_boundaries: self.held_by_boundaries + other.held_by_boundaries,
            impossible: self.impossible + other.impossible,
            short: self.short + other.short,
            errors: self.errors + other.errors,
        }
    }

    fn share(&self, count: usize) -> f64 {
        100.0 * count as f64 / self.windows as f64
    }

    fn bias(&self) -> f64 {
        100.0 * self.errors / self.short as f64
    }
}

fn judge(draw: &mut Draw, kind: Kind, period: Duration) -> Judged {
    let load = load(draw, period);
    let (mut sensor, gain) = sensor(draw, kind, &load, period);
    let (hands, mut series) = (FakeClock::new(), Series::new(sensor.specification()));
    let (clock, start) = (hands.clock(), hands.now());
    let at = |periods: f64| start + period.mul_f64(periods);
    while hands.now() < at(READ) {
        if let Ok(reading) = sensor.read(&clock) {
            series.push(reading);
        }
        hands.advance((period / 10).mul_f64(draw.between(0.9, 1.1)));
    }
    let mut judged = Judged::default();
    for _ in 0..WINDOWS {
        let length = draw.log_between(0.05, 500.0);
        let begin = draw.between(40.0, READ - 5.0 - length);
        let (begin, end) = (at(begin), at(begin + length));
        let span = series.between(begin, end).unwrap();
        if !span.whole {
            assert_eq!(kind, Kind::Resets, "{span:?}");
            continue;
        }
        let truth = load.between(begin, end).as_joules();
        let (energy, shown) = (span.energy.as_joules(), truth * gain);
        let u = span.uncertainty.hypot(GAIN * energy);
        // A gauge of means takes the power before the first reading to have been steady, and knows its own window's
        // length to a tenth: it is no counter, and has no bound.
        let bounded = kind != Kind::MeanGauge;
        let beyond = (energy - shown).abs() > span.bound * gain.max(1.0) + 1e-6;
        judged.windows += 1;
        judged.held += usize::from((energy - truth).abs() <= 2.0 * u);
        judged.held_by_boundaries += usize::from((energy - shown).abs() <= 2.0 * span.uncertainty);
        judged.impossible += usize::from(bounded && beyond || span.energy < Energy::ZERO);
        if length <= 20.0 {
            judged.short += 1;
            // Relative to what such a window holds on average: relative to its own truth, a short window that happens to
            // hold little would count for more than one that happens to hold much.
            let usual = load.between(at(0.0), at(READ)).as_joules() * length / READ;
            judged.errors += (energy - shown) / usual;
        }
    }
    judged
}

fn judge_all(kind: Kind, period: Duration) -> Judged {
    let mut draw = Draw(period.as_nanos() as u64 + kind as u64);
    let judged =
        (0..SENSORS).map(|_| judge(&mut draw, kind, period)).fold(Judged::default(), Judged::and);
    println!(
        "{period:>6?} {kind:<10?} {:6} windows, ± 2u holds {:.1} %, of the boundaries alone {:.1} %, bias {:+.3} %",
        judged.windows,
        judged.share(judged.held),
        judged.share(judged.held_by_boundaries),
        judged.bias(),
    );
    assert_eq!(judged.impossible, 0, "{kind:?} at {period:?}: {judged:?}");
    judged
}

/// Sensors of each kind and period. Their gains are what the share with gain varies by.
const SENSORS: usize = 50;

const PERIODS: [Duration; 4] = [
    Duration::from_millis(1),
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(500),
];

#[test]
fn error_bars_of_counters_hold_the_truth_as_often_as_they_say() {
    let kinds =
        [Kind::Counter, Kind::Wraps, Kind::Resets, Kind::Stalls, Kind::Fails, Kind::LooksAway];
    let mut all = Judged::default();
    for period in PERIODS {
        let judged = kinds
            .map(|kind| judge_all(kind, period))
            .into_iter()
            .fold(Judged::default(), Judged::and);
        for share in [judged.share(judged.held), judged.share(judged.held_by_boundaries)] {
            assert!((93.0..98.0).contains(&share), "{share} % at {period:?}: {judged:?}");
        }
        all = all.and(judged);
    }
    assert!(all.bias().abs() < 0.1, "{all:?}");
}

#[test]
fn error_bars_of_gauges_are_not_too_short() {
    for kind in [Kind::Gauge, Kind::MeanGauge] {
        let judged = PERIODS
            .map(|period| judge_all(kind, period))
            .into_iter()
            .fold(Judged::default(), Judged::and);
        assert!(judged.share(judged.held_by_boundaries) >= 93.0, "{kind:?}: {judged:?}");
    }
}
