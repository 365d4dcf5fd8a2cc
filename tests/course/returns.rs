//! What a metric's gains cost, and when to stop.

use ergometer::Energy;
use ergometer_report::History;
use ergometer_report::analysis::returns::{NoiseSource, Question, Returns, Watch};
use ergometer_report::metric::Direction;
use serde_json::{Value, json};

use super::{Made, assert_close, joules, learning};

#[test]
fn a_gain_costs_the_energy_since_the_best_before() {
    let run = learning("run", &[0.50, 0.70, 0.68, 0.80, 0.801]).note("n_val", "3600").history();
    let returns = Returns::of(&[run], &Question::about("accuracy").unwrap()).unwrap();
    let cost = |epoch: usize| returns.epochs[epoch - 1].cost.map(joules);
    // 100 J for 20 points, and 200 J for 10 from the second epoch to the fourth.
    assert_eq!((cost(1), cost(3)), (None, None));
    assert_close(cost(2).unwrap(), 5.0);
    assert_close(cost(4).unwrap(), 20.0);
    // σ = √(0.801·0.199/3600) = 0.00665: a gain of 0.001 is within noise, at more than 100 J for 2√2·0.665 points.
    let noise = returns.noise.unwrap();
    assert_eq!(noise.source, NoiseSource::Binomial { samples: 3_600 });
    assert!((noise.sigma - 0.006_654).abs() < 1e-6, "{}", noise.sigma);
    assert!(returns.epochs[4].is_noise && !returns.epochs[3].is_noise);
    assert!((cost(5).unwrap() - 100.0 / 1.8820).abs() < 0.01, "{:?}", cost(5));
    assert!(returns.to_string().contains("within noise"), "{returns}");
    // Smoothed, the second and third are 0.69; 99 % of the gain needs all five epochs.
    assert_close(returns.epochs[2].smoothed, 0.69);
    let bought: Vec<f64> = returns.bought.iter().map(|it| it.energy).collect();
    assert_eq!(bought, [0.8, 0.8, 0.8]);
    assert_eq!(returns.bought[0].interval, None);
}

#[test]
fn of_a_loss_less_is_better_and_an_unknown_metric_is_asked_about() {
    let made = [2.0, 1.0, 0.5, 0.6]
        .iter()
        .fold(Made::new("run"), |made, loss| made.epoch(100.0, json!({"loss": loss})));
    let returns = Returns::of(&[made.history()], &Question::about("loss").unwrap()).unwrap();
    assert_eq!(returns.noise, None);
    assert_close(joules(returns.epochs[2].cost.unwrap()), 200.0);
    assert_eq!(returns.epochs[3].cost, None);
    assert_close(returns.epochs[3].best, 0.5);
    assert!(Question::about("temperature").is_err());
    let refusal =
        Returns::of(&[made.history()], &Question::about("accuracy").unwrap()).unwrap_err();
    assert!(refusal.to_string().contains("there are: loss"), "{refusal}");
}

#[test]
fn seeds_tell_the_noise_and_the_interval_of_what_was_bought() {
    let seed = |seed: usize, off: f64| {
        let accuracies: Vec<f64> =
            (0..12).map(|epoch| 0.9 - 0.4 * 0.6_f64.powi(epoch) + off).collect();
        learning(&format!("run-{seed}"), &accuracies).note("seed", &seed.to_string()).history()
    };
    let runs: Vec<History> =
        [0.01, 0.0, -0.01, 0.0].into_iter().enumerate().map(|(n, off)| seed(n, off)).collect();
    let question = Question::about("accuracy").unwrap();
    let returns = Returns::of(&runs, &question).unwrap();
    // The scatter of four seeds is 0.01·√(2/3), that of their mean half of it.
    let noise = returns.noise.unwrap();
    assert_eq!(noise.source, NoiseSource::Seeds { runs: 4 });
    assert_close(noise.sigma, 0.01 * (2.0_f64 / 3.0).sqrt() / 2.0);
    // 1 − 0.6^k ≥ 0.9·(1 − 0.6^11) from k = 5 on, so in the sixth epoch.
    assert_close(returns.bought[0].energy, 0.5);
    assert_eq!(returns.bought[0].interval, Some((0.5, 0.5)));
    let other = learning("other", &[0.5; 12]).note("batch", "64").history();
    let refusal = Returns::of(&[runs[0].clone(), other], &question).unwrap_err();
    assert!(refusal.what().contains("batch"), "{refusal}");
}

#[test]
fn runs_of_one_seed_tell_no_noise() {
    let run = |name: &str, seed: &str, off: f64| {
        let accuracies: Vec<f64> =
            (0..8).map(|epoch| 0.9 - 0.4 * 0.6_f64.powi(epoch) + off).collect();
        learning(name, &accuracies).note("seed", seed).history()
    };
    let question = Question::about("accuracy").unwrap();
    let of = |runs: &[History]| Returns::of(runs, &question).unwrap();
    let repeated = of(&[run("a", "1", 0.0), run("b", "1", 0.001), run("c", "2", 0.0)]);
    assert_eq!((repeated.noise, repeated.bought[0].interval), (None, None));
    // Seeds that change nothing are none.
    let alike = of(&[run("a", "1", 0.0), run("b", "2", 0.0), run("c", "3", 0.0)]);
    assert_eq!(alike.noise, None);
}

#[test]
fn gains_for_an_unknown_energy_are_refused() {
    let made = [0.5, 0.7, 0.8, 0.9].iter().fold(Made::new("run"), |made, accuracy| {
        made.epoch(0.0, json!({"accuracy": accuracy})).with("energy_j", Value::Null)
    });
    let refusal =
        Returns::of(&[made.history()], &Question::about("accuracy").unwrap()).unwrap_err();
    assert!(refusal.what().contains("what the epochs used is not known"), "{refusal}");
}

#[test]
fn all_right_is_not_without_noise() {
    let run = learning("run", &[0.5, 0.9, 0.99, 1.0]).note("n_val", "100").history();
    let noise = Returns::of(&[run], &Question::about("accuracy").unwrap()).unwrap().noise.unwrap();
    assert_close(noise.sigma, (0.99_f64 * 0.01 / 100.0).sqrt());
}

#[test]
fn a_gain_within_noise_buys_nothing() {
    let run = learning("run", &[0.800, 0.801, 0.799, 0.802]).note("n_val", "1000").history();
    let returns = Returns::of(&[run], &Question::about("accuracy").unwrap()).unwrap();
    assert!(returns.bought.is_empty());
    assert!(returns.to_string().contains("the gain over all epochs is within noise"), "{returns}");
}

#[test]
fn a_watch_stops_once_gains_are_not_worth_their_energy() {
    let accuracies = [0.50, 0.70, 0.80, 0.85, 0.86, 0.861, 0.861, 0.861, 0.861, 0.861];
    let stop_at = |value: f64| {
        let mut watch =
            Watch::new("accuracy", Direction::Higher, Energy::from_joules(value), 3).unwrap();
        let mut epochs = accuracies.iter();
        epochs.position(|it| watch.epoch(*it, Energy::from_joules(100.0)).is_some())
    };
    // At 1 J for a point no three epochs are worth 300 J; at 1 kJ they are at first; where there is no gain, none are.
    assert_eq!(stop_at(100.0), Some(3));
    assert_eq!(stop_at(100e3), Some(7));
    assert_eq!(stop_at(1e12), Some(8));
    assert!(Watch::new("accuracy", Direction::Higher, Energy::from_joules(1.0), 2).is_err());
    assert!(Watch::new("accuracy", Direction::Higher, Energy::ZERO, 3).is_err());
    assert!(
        Watch::new("accuracy", Direction::Higher, Energy::from_joules(1.0), usize::MAX).is_err()
    );
    // In hindsight, the same.
    let question = Question {
        worth: Some((Energy::from_joules(100e3), 3)),
        ..Question::about("accuracy").unwrap()
    };
    let stop =
        Returns::of(&[learning("run", &accuracies).history()], &question).unwrap().stop.unwrap();
    assert_eq!(stop.epoch, 8);
    assert_close(joules(stop.saved), 200.0);
    assert_close(stop.missed, 0.0);
    assert!(stop.reason.contains("worth"), "{}", stop.reason);
}

#[test]
fn a_loss_that_diverges_is_a_reason_to_stop() {
    let mut watch = Watch::new("loss", Direction::Lower, Energy::from_joules(1e9), 3).unwrap();
    let energy = Energy::from_joules(1.0);
    assert_eq!(watch.epoch(1.0, energy), None);
    assert_eq!(watch.epoch(f64::NAN, energy), None);
    assert_eq!(watch.epoch(f64::INFINITY, energy), None);
    assert_eq!(watch.epoch(f64::NAN, energy).unwrap(), "loss has been no number for 3 epochs");
    // One that comes back goes on.
    assert_eq!(watch.epoch(0.9, energy), None);
}
