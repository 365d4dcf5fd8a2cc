//! How sensors are read: as seldom as is enough, around the updates, over sleep, hangs and contradictions.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ergometer::log::Line;
use ergometer::sensor::fake::{Fake, Load};
use ergometer::sensor::{Domain, Hardware, Reading, Sensor, Specification};
use ergometer::{Clock, Energy, Kind, Meter, Power, Quality, Record, Result, Timestamp};

use crate::lab::{Lab, constant, cpu, gpu, lines, of, steps_of_30_ms, windows};

/// Notes when a sensor is read, and gives a second opinion on its power.
struct Watched {
    sensor: Fake,
    reads: Arc<Mutex<Vec<Timestamp>>>,
    opinion: Option<Box<dyn Fn(usize) -> Power + Send>>,
    asked: Arc<AtomicUsize>,
}

impl Watched {
    fn new(sensor: Fake) -> (Watched, Arc<Mutex<Vec<Timestamp>>>) {
        let reads = Arc::<Mutex<Vec<Timestamp>>>::default();
        let watched =
            Watched { sensor, reads: Arc::clone(&reads), opinion: None, asked: Arc::default() };
        (watched, reads)
    }
}

impl Sensor for Watched {
    fn specification(&self) -> &Specification {
        self.sensor.specification()
    }

    fn read(&mut self, clock: &Clock) -> Result<Reading> {
        self.reads.lock().unwrap().push(clock.now());
        self.sensor.read(clock)
    }

    fn cross_check(&mut self) -> Option<Power> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        self.opinion.as_ref().map(|opinion| opinion(asked))
    }
}

fn meter(lab: &Lab, sensor: impl Sensor + 'static) -> Meter {
    Meter::builder()
        .clock(lab.clock())
        .log_directory(lab.logs.path())
        .sensor(sensor)
        .build()
        .unwrap()
}

/// A run of `seconds`, with an epoch each ten of them; gives its directory.
fn train(lab: &Lab, meter: &Meter, seconds: u64) -> std::path::PathBuf {
    let run = meter.run("sampled").start().unwrap();
    let path = run.path().to_owned();
    for _epoch in run.epochs(1..=seconds / 10) {
        for _step in run.steps(0..10) {
            lab.pass(1_000);
        }
    }
    run.finish().unwrap();
    path
}

fn events(path: &std::path::Path, name: &str) -> Vec<String> {
    lines(path)
        .into_iter()
        .filter_map(|line| match line {
            Line::Event(event) if event.event == name => Some(format!(
                "{} {}",
                event.domain.unwrap_or_default(),
                event.detail.unwrap_or_default()
            )),
            _ => None,
        })
        .collect()
}

#[test]
fn a_counter_of_known_period_is_read_two_or_three_times_for_each_update() {
    for (period, most) in [(20, 3.0), (100, 3.0), (500, 3.0), (1_000, 3.5), (2_000, 3.5)] {
        let lab = Lab::new();
        let (sensor, reads) =
            Watched::new(gpu(steps_of_30_ms()).period(Duration::from_millis(period)).jitter(0.01));
        let meter = meter(&lab, sensor);
        let run = meter.run("tracked").start().unwrap();
        lab.pass(20_000);
        let before = reads.lock().unwrap().len();
        lab.pass(20_000);
        let reads = reads.lock().unwrap().len() - before;
        run.finish().unwrap();
        let each = reads as f64 / (20_000.0 / period as f64);
        assert!((1.0..most).contains(&each), "{each} reads for each update of {period} ms");
    }
}

#[test]
fn a_counter_slower_than_its_specification_is_found_out() {
    // A GPU that says nothing of it and is updated each 500 ms, as some are since 2025.
    let lab = Lab::new();
    let slow = gpu(constant(300.0))
        .period(Duration::from_millis(500))
        .specified(|it| it.period = Duration::from_millis(100));
    let meter = meter(&lab, slow);
    let path = train(&lab, &meter, 20);
    let windows = windows(&path);
    for epoch in of(&windows, Kind::Epoch) {
        assert_eq!(epoch.quality, Quality::Measured, "{epoch:?}");
        let error = (epoch.energy.unwrap() - Energy::from_joules(3_000.0)).as_joules().abs();
        assert!(error <= 2.0 * epoch.uncertainty.unwrap().as_joules().max(1.0), "{error} J");
    }
}

#[test]
fn a_trial_ends_and_a_meter_without_a_run_reads_each_second() {
    let lab = Lab::new();
    let (sensor, reads) = Watched::new(gpu(constant(100.0)));
    let _meter = meter(&lab, sensor);
    lab.pass(1_500);
    let trial = reads.lock().unwrap().len();
    assert!((400..=1_300).contains(&trial), "{trial} reads in the trial");
    lab.pass(20_000);
    let idle = reads.lock().unwrap().len() - trial;
    assert!((17..=24).contains(&idle), "{idle} reads in twenty idle seconds");
}

#[test]
fn a_slow_driver_is_read_less_often() {
    let lab = Lab::new();
    let count = |latency| {
        let slow = cpu(constant(100.0)).latency(Duration::from_millis(latency));
        let (sensor, reads) = Watched::new(slow);
        let meter = meter(&lab, sensor);
        let run = meter.run("slow").start().unwrap();
        lab.pass(30_000);
        let before = reads.lock().unwrap().len();
        lab.pass(20_000);
        let count = reads.lock().unwrap().len() - before;
        run.finish().unwrap();
        count
    };
    let (quick, slow) = (count(0), count(5));
    assert!(
        slow * 8 < quick && slow >= 20,
        "{slow} reads of a slow driver, {quick} of a quick one"
    );
}

#[test]
fn sleep_is_an_event_and_its_window_is_partial() {
    let lab = Lab::new();
    let meter = lab.meter([cpu(constant(100.0))]);
    let run = meter.run("slept").start().unwrap();
    let path = run.path().to_owned();
    for epoch in run.epochs(1..=3) {
        lab.pass(5_000);
        if epoch == 2 {
            lab.hands.sleep(Duration::from_secs(3_600));
        }
        lab.pass(5_000);
    }
    run.finish().unwrap();
    let windows = windows(&path);
    let qualities: Vec<_> = of(&windows, Kind::Epoch).iter().map(|epoch| epoch.quality).collect();
    assert_eq!(qualities, [Quality::Measured, Quality::Partial, Quality::Measured]);
    assert_eq!(events(&path, "suspend").len(), 1);
}

#[test]
fn a_counter_that_its_own_power_contradicts_is_suspect_and_less_certain() {
    // 187 J counted beside 327 J by integrated power, over the same five seconds (Zeus issue 181).
    let uncertainty = |opinion: f64| {
        let lab = Lab::new();
        let (mut sensor, _) =
            Watched::new(gpu(constant(37.4)).power_between(Power::ZERO, Power::from_watts(700.0)));
        sensor.opinion =
            Some(Box::new(move |asked| Power::from_watts(opinion + 0.01 * (asked % 7) as f64)));
        let meter = meter(&lab, sensor);
        let path = train(&lab, &meter, 60);
        let windows = windows(&path);
        let end: &Record = of(&windows, Kind::End)[0];
        (
            events(&path, "suspect"),
            end.uncertainty.unwrap().as_joules() / end.energy.unwrap().as_joules(),
        )
    };
    let (events, doubted) = uncertainty(65.4);
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(
        ["0.55", "0.56", "0.57", "0.58"].iter().any(|ratio| events[0].contains(ratio)),
        "{events:?}"
    );
    // ± 2u reaches from what the counter says to what the power says.
    assert!(1.0 + 2.0 * doubted > 65.4 / 37.4, "{doubted}");
    let (events, trusted) = uncertainty(38.0);
    assert!(events.is_empty() && trusted < 0.01, "{events:?}, {trusted}");
}

#[test]
fn steps_as_long_as_a_period_are_warned_of_and_not_trusted() {
    let uncertainty = |step: u64| {
        let lab = Lab::new();
        let step_ = Duration::from_millis(step);
        let load = Load::Square {
            high: Power::from_watts(600.0),
            low: Power::from_watts(100.0),
            period: step_,
            duty: 0.5,
        };
        let meter = lab.meter([gpu(load).jitter(0.0).duty(0.25)]);
        let run = meter.run("beating").start().unwrap();
        let path = run.path().to_owned();
        for _epoch in run.epochs(1..=3) {
            for _step in run.steps(0..200) {
                lab.pass(step);
            }
        }
        run.finish().unwrap();
        let windows = windows(&path);
        let last = of(&windows, Kind::Epoch)[2];
        let (energy, u) = (last.energy.unwrap(), last.uncertainty.unwrap());
        (
            events(&path, "aliasing").len(),
            energy.as_joules() / last.duration.as_secs_f64(),
            u.as_joules() / energy.as_joules(),
        )
    };
    // The counter looks at the last quarter of each period, in which the load is always low.
    let (events, power, beating) = uncertainty(100);
    assert_eq!(events, 1);
    assert!(power < 150.0 && beating > 0.1, "{power} W, u {beating}");
    let (events, power, apart) = uncertainty(137);
    assert_eq!(events, 0);
    assert!((power - 350.0).abs() < 20.0 && apart < 0.05, "{power} W, u {apart}");
}

#[test]
fn the_meters_own_cost_is_in_the_record() {
    let lab = Lab::new();
    let meter = lab.meter([gpu(constant(100.0)).latency(Duration::from_micros(300))]);
    let path = train(&lab, &meter, 20);
    let windows = windows(&path);
    let cost = of(&windows, Kind::End)[0].cost.unwrap();
    assert!((300..4_000).contains(&cost.reads) && cost.failed == 0, "{cost:?}");
    let median = cost.median.unwrap().as_secs_f64();
    assert!((240e-6..375e-6).contains(&median), "{cost:?}");
}

/// How far off epochs of a tracked counter are, in standard uncertainties, with steps of this part of a period.
fn deviations(period: u64, part: f64) -> Vec<f64> {
    let lab = Lab::new();
    let updates = Duration::from_millis(period);
    let step = updates.mul_f64(part);
    let square = |high: f64, low: f64, period: Duration, duty: f64| Load::Square {
        high: Power::from_watts(high),
        low: Power::from_watts(low),
        period,
        duty,
    };
    let other = square(150.0, 0.0, updates * 7, 0.4);
    let load = Load::Sum(vec![square(450.0, 200.0, step, 0.7), other]);
    let meter = lab.meter([gpu(load.clone()).period(updates).jitter(0.02)]);
    let run = meter.run("tracked").start().unwrap();
    let path = run.path().to_owned();
    let train = |steps: u64| run.steps(0..steps).for_each(|_| lab.hands.advance(step));
    train(200);
    lab.hands.advance(updates * 20);
    for epoch in run.epochs(1..=100) {
        train(1 + epoch * 7 % 23);
    }
    run.finish().unwrap();
    let windows = windows(&path);
    of(&windows, Kind::Epoch)
        .into_iter()
        .filter_map(|window| {
            let truth = load.between(window.start, window.end).as_joules();
            Some((window.energy?.as_joules() - truth).abs() / window.uncertainty?.as_joules())
        })
        .collect()
}

#[test]
fn error_bars_hold_the_truth_with_the_real_sampler_too() {
    for period in [20, 100, 500] {
        let z: Vec<f64> = [0.23, 0.41, 0.77, 1.3, 3.7]
            .into_iter()
            .flat_map(|part| deviations(period, part))
            .collect();
        let held = z.iter().filter(|z| **z <= 2.0).count() as f64 / z.len() as f64;
        let worst = z.iter().copied().fold(0.0, f64::max);
        assert!(z.len() > 300 && held >= 0.93, "{held} of {} at {period} ms", z.len());
        assert!(worst < 6.0, "{worst} u at {period} ms");
    }
}

#[test]
fn turns_shorter_than_an_update_are_told_apart_over_many() {
    let lab = Lab::new();
    // Steps of 10 to 40 ms at 400 W, each followed by an evaluation of 10 to 60 ms at 150 W.
    let turns: Vec<_> = (0..2_000_u64).map(|n| (10 + n * 7 % 31, 10 + n * 13 % 51)).collect();
    let mut at = lab.hands.now() + Duration::from_millis(100);
    let mut course = vec![(Timestamp::default(), Power::from_watts(150.0))];
    for (step, evaluation) in &turns {
        course.push((at, Power::from_watts(400.0)));
        course.push((at + Duration::from_millis(*step), Power::from_watts(150.0)));
        at = at + Duration::from_millis(step + evaluation);
    }
    let meter = lab.meter([gpu(Load::Steps(course))]);
    let run = meter.run("turns").start().unwrap();
    let path = run.path().to_owned();
    lab.pass(100);
    for (step, evaluation) in turns {
        let guard = run.step();
        lab.pass(step);
        drop(guard);
        let guard = run.phase("evaluation");
        lab.pass(evaluation);
        drop(guard);
    }
    run.finish().unwrap();
    let windows = windows(&path);
    let end = of(&windows, Kind::End)[0];
    let power = |name: &str| end.activities.iter().find(|activity| activity.name == name).unwrap();
    for (name, truth) in [("step", 400.0), ("evaluation", 150.0)] {
        let activity = power(name);
        let (error, u) = (activity.power.as_watts() - truth, activity.uncertainty.as_watts());
        assert!(error.abs() < 3.0 * u && u < 4.0, "{activity:?}");
    }
    assert!((power("step").time.as_secs_f64() - 50.0).abs() < 1.0, "{:?}", end.activities);
}

#[test]
fn no_energy_is_negative_where_a_sensor_is_lost() {
    for back in [false, true] {
        let lab = Lab::new();
        let from = Timestamp::from_nanos(21_030_000_000);
        let until = from + Duration::from_secs(if back { 7 } else { 600 });
        let meter = lab.meter([gpu(constant(300.0)).fails_over(from..until)]);
        let run = meter.run("lost").start().unwrap();
        let path = run.path().to_owned();
        for _epoch in run.epochs(1..=4) {
            for _step in run.steps(0..100) {
                lab.pass(100);
            }
        }
        run.finish().unwrap();
        let windows = windows(&path);
        let least = windows.iter().filter_map(|window| window.energy).min().unwrap();
        assert!(least >= Energy::ZERO, "{least}, back: {back}");
    }
}

#[test]
fn idle_time_between_runs_and_steady_phases_are_no_disagreement() {
    let lab = Lab::new();
    let at = |seconds: u64| Timestamp::from_nanos(1_000_000_000) + Duration::from_secs(seconds);
    let load = Load::Steps(vec![
        (at(0), Power::from_watts(400.0)),
        (at(60), Power::from_watts(60.0)),
        (at(660), Power::from_watts(390.0)),
        (at(700), Power::from_watts(60.0)),
        (at(900), Power::from_watts(410.0)),
    ]);
    let (mut sensor, _) = Watched::new(gpu(load.clone()));
    let hands = lab.hands.clone();
    sensor.opinion = Some(Box::new(move |_| load.at(hands.now())));
    let meter = meter(&lab, sensor);
    let first = train(&lab, &meter, 60);
    lab.pass(600_000);
    let second = train(&lab, &meter, 400);
    assert_eq!((events(&first, "suspect").len(), events(&second, "suspect").len()), (0, 0));
}

#[test]
fn sleep_is_noticed_by_a_gauge_that_repeats_itself() {
    let lab = Lab::new();
    let gauge = Fake::gauge(Domain::new(Hardware::Node, "0", "fake"), constant(100.0))
        .period(Duration::from_secs(1));
    let meter = lab.meter([gauge]);
    let run = meter.run("slept").start().unwrap();
    let path = run.path().to_owned();
    for epoch in run.epochs(1..=3) {
        lab.pass(5_300);
        if epoch == 2 {
            lab.hands.sleep(Duration::from_secs(3_600));
        }
        lab.pass(5_300);
    }
    run.finish().unwrap();
    let windows = windows(&path);
    let partial: Vec<_> =
        of(&windows, Kind::Epoch).iter().map(|epoch| epoch.quality == Quality::Partial).collect();
    assert_eq!(partial, [false, true, false]);
}

#[test]
fn a_counter_that_stands_still_is_said_and_not_asked_for_ever_faster() {
    let lab = Lab::new();
    let at = |seconds: u64| Timestamp::from_nanos(1_000_000_000) + Duration::from_secs(seconds);
    let (sensor, reads) = Watched::new(gpu(constant(300.0)).stalls_over(at(20)..at(60)));
    let meter = meter(&lab, sensor);
    let run = meter.run("still").start().unwrap();
    let path = run.path().to_owned();
    let mut counts = Vec::new();
    for _epoch in run.epochs(1..=8) {
        let before = reads.lock().unwrap().len();
        lab.pass(10_000);
        counts.push(reads.lock().unwrap().len() - before);
    }
    run.finish().unwrap();
    assert!(counts[3] <= counts[1], "{counts:?}");
    assert_eq!(events(&path, "stalled").len(), 1);
    let total: Energy = of(&windows(&path), Kind::Epoch).iter().filter_map(|it| it.energy).sum();
    assert!((total.as_joules() - 24_000.0).abs() < 60.0, "{total}");
}

#[test]
fn a_run_says_what_was_found_out_about_its_sensors_before_it_began() {
    let lab = Lab::new();
    let (mut sensor, _) = Watched::new(gpu(constant(70.0)));
    sensor.opinion = Some(Box::new(|_| Power::from_watts(140.0)));
    let gone = Timestamp::from_nanos(3_000_000_000)..Timestamp::from_nanos(900_000_000_000);
    let meter = Meter::builder()
        .clock(lab.clock())
        .log_directory(lab.logs.path())
        .sensor(sensor)
        .sensor(cpu(constant(50.0)).fails_over(gone))
        .build()
        .unwrap();
    lab.pass(10_000);
    let path = train(&lab, &meter, 10);
    let (suspect, lost) = (events(&path, "suspect"), events(&path, "sensor-lost"));
    assert_eq!((suspect.len(), lost.len()), (1, 1), "{suspect:?} {lost:?}");
    assert!(["0.49", "0.50", "0.51"].iter().any(|ratio| suspect[0].contains(ratio)), "{suspect:?}");
    assert_eq!(lost[0], "cpu:package-0 it was lost before the run began");
}
