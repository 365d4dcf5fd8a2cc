//! Projections of a run's energy.

use std::time::Duration;

use ergometer::{Energy, Record, Status};
use ergometer_report::analysis::projection::{Basis, Calibration, Projection};
use ergometer_report::metric::Direction;
use ergometer_report::quantity::CarbonIntensity;
use ergometer_report::site::Site;
use serde_json::json;

use super::{Made, assert_close, joules};

fn project(energies: &[f64], planned: u64) -> Projection {
    Projection::of_epochs(&Made::new("run").epochs(energies).records(), planned).unwrap()
}

/// Draws a normal number (Box and Muller 1958).
fn normal(random: &mut fastrand::Rng) -> f64 {
    let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.f64()).cos()
}

/// True if the interval from the first `k` epochs of a made run of `n` holds its total. Epochs inherit `phi` of a deviation;
/// the first takes three times as much as the others.
fn holds(records: &mut [Record], k: usize, n: usize, phi: f64, random: &mut fastrand::Rng) -> bool {
    let mut deviation = normal(random);
    let energies: Vec<f64> = (0..n)
        .map(|epoch| {
            let now = deviation;
            deviation = phi * deviation + (1.0 - phi * phi).sqrt() * normal(random);
            if epoch == 0 { 300.0 } else { 100.0 + 5.0 * now }
        })
        .collect();
    let mut total = 0.0;
    for (record, energy) in records.iter_mut().zip(&energies) {
        total += energy;
        record.energy = Some(Energy::from_joules(*energy));
        record.total = Energy::from_joules(total);
    }
    let projection = Projection::of_epochs(&records[..k], n as u64).unwrap();
    let truth = energies.iter().sum::<f64>();
    (joules(projection.energy) - truth).abs() <= joules(projection.margin)
}

#[test]
fn over_1000_runs_of_correlated_epochs_projections_hold_the_truth_in_92_to_98_percent() {
    let mut records = Made::new("run").epochs(&[1.0; 25]).records();
    for seed in 1..=3 {
        let mut random = fastrand::Rng::with_seed(seed);
        let held = (0..1_000).filter(|_| {
            let (k, phi) = (random.usize(6..=25), 0.7 * random.f64());
            let n = k + random.usize(1..=75);
            holds(&mut records, k, n, phi, &mut random)
        });
        let held = held.count();
        assert!((920..=980).contains(&held), "seed {seed}: {held} of 1000");
    }
}

/// With few epochs the autocorrelation is hardly known, and no interval can be right at each: those of independent epochs
/// hold a little too often, those of much correlated ones a little too rarely.
#[test]
fn at_each_length_and_autocorrelation_they_come_near_it() {
    for k in [6, 10, 20] {
        let mut random = fastrand::Rng::with_seed(k as u64);
        let mut records = Made::new("run").epochs(&vec![1.0; k]).records();
        for (n, phi) in [20, 50, 100].into_iter().flat_map(|n| [0.0, 0.3, 0.6].map(|phi| (n, phi)))
        {
            if n > k {
                let held = (0..1_000).filter(|_| holds(&mut records, k, n, phi, &mut random));
                let held = held.count();
                assert!((910..=990).contains(&held), "{k} of {n}, φ = {phi}: {held} of 1000");
            }
        }
    }
}

#[test]
fn a_plain_interval_would_not_hold_it() {
    // Student's t for independent epochs, at φ = 0.6 and n = 9: what the margin is for.
    let mut random = fastrand::Rng::with_seed(4);
    let (n, m, phi, t) = (9, 40, 0.6_f64, 2.306);
    let held = (0..1_000).filter(|_| {
        let mut deviation = normal(&mut random);
        let row: Vec<f64> = (0..n + m)
            .map(|_| {
                let now = deviation;
                deviation = phi * deviation + (1.0 - phi * phi).sqrt() * normal(&mut random);
                now
            })
            .collect();
        let mean = row[..n].iter().sum::<f64>() / n as f64;
        let s =
            (row[..n].iter().map(|it| (it - mean).powi(2)).sum::<f64>() / (n - 1) as f64).sqrt();
        let ahead = m as f64;
        let margin = t * s * (ahead + ahead * ahead / n as f64).sqrt();
        (row[n..].iter().sum::<f64>() - ahead * mean).abs() <= margin
    });
    assert!(held.count() < 800);
}

#[test]
fn the_warm_up_is_spent_and_not_carried_on() {
    let projection = project(&[300.0, 100.0, 102.0, 98.0], 10);
    assert_close(joules(projection.spent), 600.0);
    assert_close(joules(projection.energy), 1_200.0);
    assert_close(projection.remaining.as_secs_f64(), 60.0);
    assert_close(projection.time.as_secs_f64(), 100.0);
    assert!(matches!(projection.basis, Basis::Scatter { epochs: 3, .. }), "{:?}", projection.basis);
    assert!(joules(projection.margin) > 0.0);
}

#[test]
fn one_epoch_shows_no_scatter_and_has_the_published_range() {
    for energies in [&[100.0][..], &[300.0, 100.0]] {
        let projection = project(energies, 10);
        assert_eq!(projection.basis, Basis::Published);
        let spent: f64 = energies.iter().sum();
        let ahead = 100.0 * (10 - energies.len()) as f64;
        assert_close(joules(projection.energy), spent + ahead);
        assert_close(joules(projection.margin), 0.2 * (spent + ahead));
        assert!(projection.to_string().contains("± 20 % as published"), "{projection}");
    }
}

#[test]
fn sensors_err_alike_in_all_epochs() {
    let made = (0..4)
        .fold(Made::new("run"), |made, _| made.epoch(100.0, json!({})).with("u_j", json!(3.0)));
    let projection = Projection::of_epochs(&made.records(), 10).unwrap();
    // 3 % of 1000 J, twice; the epochs are all alike.
    assert_close(joules(projection.sensors.unwrap()), 60.0);
    assert_close(joules(projection.margin), 0.0);
    assert_eq!(projection.interval(), (Energy::from_joules(940.0), Energy::from_joules(1_060.0)));
    let intensity = CarbonIntensity::from_grams_per_kilowatt_hour(360.0);
    let outlay = projection.at(&Site::default().intensity(intensity, "made").unwrap());
    // 1 kJ at 360 g/kWh is 0.1 g.
    assert_close(outlay.carbon.unwrap().as_grams(), 0.1);
    assert_close(outlay.carbon_high.unwrap().as_grams(), 0.106);
    assert_eq!(outlay.cost, None);
}

#[test]
fn validation_every_few_epochs_counts_by_its_own_rate() {
    // Within the epochs 3 and 6: 50 J of phases.
    let within = (1..=7).fold(Made::new("run"), |made, number| match number % 3 {
        0 => made.epoch(150.0, json!({})).with("phases_j", json!(50.0)),
        _ => made.epoch(100.0, json!({})),
    });
    let projection = Projection::of_epochs(&within.records(), 12).unwrap();
    let recurrence = projection.recurrence.unwrap();
    assert_eq!((recurrence.every, recurrence.last, recurrence.seen), (3, 6, 2));
    assert_close(joules(recurrence.energy), 50.0);
    // Five more epochs, with the validations of 9 and 12.
    assert_close(joules(projection.energy), 800.0 + 500.0 + 100.0);
    // Behind the epochs 3 and 6, and so in no epoch.
    let between = (1..=7).fold(Made::new("run"), |made, number| {
        let made = made.epoch(100.0, json!({}));
        if number % 3 == 0 { made.gap(50.0, 5) } else { made }
    });
    let projection = Projection::of_epochs(&between.records(), 12).unwrap();
    assert_eq!(projection.recurrence.unwrap().last, 6);
    assert_close(joules(projection.energy), 800.0 + 500.0 + 100.0);
    assert_close(projection.remaining.as_secs_f64(), 60.0);
}

#[test]
fn work_in_no_order_stays_in_the_scatter() {
    let made = [2, 3, 6].iter().fold(
        (1..=7).map(|_| 100.0).fold(Vec::new(), |mut all, it| {
            all.push(it);
            all
        }),
        |mut all, number| {
            all[number - 1] = 150.0;
            all
        },
    );
    let made = made.iter().fold(Made::new("run"), |made, joules| {
        made.epoch(*joules, json!({})).with("phases_j", json!(joules - 100.0))
    });
    let projection = Projection::of_epochs(&made.records(), 10).unwrap();
    assert_eq!(projection.recurrence, None);
    assert_close(joules(projection.energy), 850.0 + 3.0 * 125.0);
}

#[test]
fn a_session_warms_up_anew_and_a_broken_epoch_is_spent() {
    let made =
        Made::new("run").epochs(&[300.0, 100.0, 100.0, 40.0]).with("status", json!("interrupted"));
    let mut records = made.epochs(&[250.0, 100.0]).records();
    for (record, number) in records[3..].iter_mut().zip([4, 4, 5]) {
        record.epoch = Some(number);
        record.session = u32::from(record.status == Status::Complete);
    }
    let projection = Projection::of_epochs(&records, 10).unwrap();
    assert_eq!(projection.done, 5);
    assert_close(joules(projection.spent), 890.0);
    assert_close(joules(projection.energy), 890.0 + 500.0);
}

#[test]
fn what_cannot_be_projected_is_refused_with_the_reason() {
    let refusal = Projection::of_epochs(&[], 10).unwrap_err();
    assert!(refusal.what().contains("no epoch is done"), "{refusal}");
    let records = Made::new("run").epochs(&[1.0; 4]).records();
    let refusal = Projection::of_epochs(&records, 3).unwrap_err();
    assert!(refusal.what().contains("4 epochs are done, and 3 planned"), "{refusal}");
    let mut lanes = records.clone();
    lanes[1].lane = 1;
    assert!(Projection::of_epochs(&lanes, 10).unwrap_err().is_unsupported());
    let run = Made::new("run").epochs(&[1.0; 4]).history();
    let refusal = Projection::of(&run, None).unwrap_err();
    assert!(refusal.to_string().contains("note it in the program as `epochs`"), "{refusal}");
    // Without a sensor there is no energy, and that is not 0.
    let unseen = Made::new("run").epochs(&[0.0; 4]).records();
    let refusal = Projection::of_epochs(&unseen, 10).unwrap_err();
    assert!(refusal.what().contains("what the epochs used is not known"), "{refusal}");
    let done = Projection::of_epochs(&records, 4).unwrap();
    assert_eq!((done.energy, done.basis), (done.spent, Basis::Done));
}

#[test]
fn an_early_stop_is_told_from_the_last_best() {
    let made = [0.5, 0.7, 0.8, 0.79, 0.78]
        .iter()
        .fold(Made::new("run"), |made, accuracy| made.epoch(100.0, json!({"accuracy": accuracy})));
    let records = made.records();
    let projection = Projection::of_epochs(&records, 100).unwrap();
    let stop = |patience| projection.early_stop(&records, "accuracy", Direction::Higher, patience);
    let later = stop(10).unwrap();
    assert_eq!((later.best_epoch, later.stop), (3, 13));
    assert_close(joules(later.energy), 1_300.0);
    // It would have stopped already.
    assert_close(joules(stop(1).unwrap().energy), 400.0);
    assert!(projection.early_stop(&records, "f1", Direction::Higher, 3).is_err());
    // Without end, it is the plan that ends it.
    assert_eq!(stop(u64::MAX).unwrap().stop, 100);
}

#[test]
fn a_plan_without_end_has_no_short_time_to_go() {
    let projection = project(&[110.0, 100.0, 101.0], u64::MAX);
    assert!(projection.remaining > Duration::from_secs(1 << 60), "{projection}");
    assert!(projection.time >= projection.remaining, "{projection}");
}

#[test]
fn what_is_spent_is_as_uncertain_as_its_sensors() {
    let made = [130.0, 100.0, 100.0].iter().fold(Made::new("run"), |made, joules| {
        made.epoch(*joules, json!({})).with("u_j", json!(0.05 * joules))
    });
    let text = Projection::of_epochs(&made.records(), 10).unwrap().to_string();
    assert!(text.contains("spent      330 J ± 33 J"), "{text}");
}

#[test]
fn a_finished_run_says_how_well_it_would_have_been_projected() {
    let energies: Vec<f64> =
        [130.0].into_iter().chain([99.0, 101.0].into_iter().cycle().take(19)).collect();
    let made = Made::new("run").epochs(&energies).end(json!({}));
    let calibration = Calibration::of(&made.history()).unwrap();
    let after: Vec<u64> = calibration.checks.iter().map(|check| check.done).collect();
    assert_eq!(after, [1, 2, 5, 10]);
    // 20 times 130 J for 2030 − 1 J.
    assert_close(joules(calibration.energy), 130.0 + 10.0 * 99.0 + 9.0 * 101.0);
    assert_close(calibration.checks[0].error, 2_600.0 / 2_029.0 - 1.0);
    let inside: Vec<bool> = calibration.checks.iter().map(|check| check.is_inside).collect();
    assert_eq!(inside, [false, true, true, true]);
    assert_eq!(calibration.inside(), (3, 4));
    let running = made.set("state", json!("running"));
    assert!(Calibration::of(&running.history()).is_err());
}
