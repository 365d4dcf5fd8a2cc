//! Laws over runs: that their intervals hold the truth, and what they refuse.

use std::path::PathBuf;

use ergometer::Energy;
use ergometer_report::analysis::error_law::{ErrorLaw, Measure, Shape, Trained};
use ergometer_report::analysis::family::Family;
use ergometer_report::analysis::size_law::{Proportion, SizeLaw};
use ergometer_report::footprint::loglog_fit;
use ergometer_report::statistics::{Sample, welch};
use fastrand::Rng;
use serde_json::Value;
use tempfile::TempDir;

use crate::made::{TRAINING, Training, ergometer, read, rewrite, sizes, two_models};

/// A draw from a normal distribution about 0 (Box and Muller 1958).
fn normal(random: &mut Rng, sd: f64) -> f64 {
    let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
    sd * radius * (std::f64::consts::TAU * random.f64()).cos()
}

/// Energies of `seeds` runs of each size, E = N^0.9 / 1000, each size off the law by 5 % and each run by 3 %.
fn family_of_sizes(random: &mut Rng, sizes: &[u64], seeds: usize) -> Vec<(u64, Energy)> {
    let mut points = Vec::new();
    for size in sizes {
        let model = normal(random, 0.05);
        for _ in 0..seeds {
            let noise = model + normal(random, 0.03);
            points.push((*size, Energy::from_joules((*size as f64).powf(0.9) * noise.exp() / 1e3)));
        }
    }
    points
}

const DRAWS: usize = 1_000;

const SIZES: [u64; 5] = [5_000, 10_000, 20_000, 40_000, 80_000];

#[test]
fn the_interval_of_a_size_law_holds_the_truth_in_93_to_97_percent_of_draws() {
    for (seed, seeds) in [(1, 3), (2, 1)] {
        let mut random = Rng::with_seed(seed);
        let held = (0..DRAWS)
            .filter(|_| {
                let law = SizeLaw::through(&family_of_sizes(&mut random, &SIZES, seeds)).unwrap();
                law.fit.holds(0.9)
            })
            .count();
        assert!((930..=970).contains(&held), "{held} with {seeds} seeds");
    }
}

#[test]
fn different_numbers_of_seeds_leave_the_interval_close_to_its_level() {
    let mut random = Rng::with_seed(3);
    let held = (0..DRAWS)
        .filter(|_| {
            let mut points = family_of_sizes(&mut random, &SIZES[..2], 1);
            points.extend(family_of_sizes(&mut random, &SIZES[2..], 5));
            SizeLaw::through(&points).unwrap().fit.holds(0.9)
        })
        .count();
    assert!((930..=970).contains(&held), "{held}");
}

#[test]
fn all_runs_as_points_would_hold_the_truth_too_rarely() {
    let mut random = Rng::with_seed(4);
    let held = (0..DRAWS)
        .filter(|_| {
            let points: Vec<(f64, f64)> = family_of_sizes(&mut random, &SIZES, 5)
                .into_iter()
                .map(|(size, energy)| (size as f64, energy.as_joules()))
                .collect();
            loglog_fit(&points, 0.95).unwrap().holds(0.9)
        })
        .count();
    assert!(held < 800, "{held}");
}

#[test]
fn three_sizes_use_students_t_of_one_degree() {
    // log10: (3, 1), (4, 2.1), (5, 2.9). b = 0.95, residuals 0.05, −0.1, 0.05 about the mean: s² = 0.015/1, Sxx = 2.
    let points = [(1_000, 1.0), (10_000, 2.1), (100_000, 2.9)]
        .map(|(size, log)| (size, Energy::from_joules(10f64.powf(log))));
    let law = SizeLaw::through(&points).unwrap();
    let margin = 12.706_204_736 * (0.015_f64 / 2.0).sqrt();
    assert!((law.fit.exponent - 0.95).abs() < 1e-6);
    assert!((law.fit.interval.0 - (0.95 - margin)).abs() < 1e-5, "{:?}", law.fit);
    assert!((law.fit.interval.1 - (0.95 + margin)).abs() < 1e-5, "{:?}", law.fit);
    assert_eq!(law.proportion, Proportion::Undecided);
    let text = law.to_string();
    assert!(text.contains("the interval cannot decide"), "{text}");
    assert!(text.contains("Student's t of 1 degree of freedom"), "{text}");
}

#[test]
fn doubling_the_size_multiplies_by_two_to_the_slope() {
    let points: Vec<(u64, Energy)> =
        SIZES.iter().map(|size| (*size, Energy::from_joules((*size as f64).powf(0.5)))).collect();
    let law = SizeLaw::through(&points).unwrap();
    assert!((law.doubling.value - 2f64.sqrt()).abs() < 1e-6);
    assert_eq!(law.proportion, Proportion::Less);
    let there = law.predict(160_000).unwrap();
    assert!((there.value - 400.0).abs() < 1e-3);
    assert!(law.predict(900_000).is_err());
}

#[test]
fn too_few_sizes_and_too_narrow_a_range_are_refused_with_the_numbers() {
    let energy = Energy::from_joules(10.0);
    let two = SizeLaw::through(&[(1_000, energy), (9_000, energy), (9_000, energy)]).unwrap_err();
    assert!(two.to_string().contains("2 sizes do not carry a size law; train three"), "{two}");
    let near = [(1_000, energy), (1_500, energy), (3_000, energy)];
    let near = SizeLaw::through(&near).unwrap_err();
    assert!(near.to_string().contains("3.0 times the smallest"), "{near}");
    assert!(SizeLaw::through(&[(1, Energy::ZERO), (5, energy), (9, energy)]).is_err());
}

/// Models of known error a·E^−α + c over three decades; each is off by `noise`.
fn models(random: &mut Rng, number: u32, alpha: f64, floor: f64, noise: f64) -> Vec<Trained> {
    (0..number)
        .map(|place| {
            let energy = 10f64.powf(1.0 + 3.0 * f64::from(place) / f64::from(number - 1));
            let error = (0.5 * (energy / 10.0).powf(-alpha) + floor) * normal(random, noise).exp();
            Trained {
                label: format!("model {place}"),
                energy: Energy::from_joules(energy * normal(random, 0.02).exp()),
                error,
                runs: 1,
                on_front: false,
            }
        })
        .collect()
}

fn law(models: Vec<Trained>) -> ErrorLaw {
    ErrorLaw::through(models, Measure::itself("error")).unwrap()
}

#[test]
fn the_interval_of_alpha_holds_the_truth_in_93_to_97_percent_of_draws() {
    for (seed, number) in [(5, 5), (6, 12)] {
        let mut random = Rng::with_seed(seed);
        let held = (0..DRAWS)
            .filter(|_| law(models(&mut random, number, 0.3, 0.0, 0.05)).all.fit.holds(0.3))
            .count();
        assert!((930..=970).contains(&held), "{held} with {number} models");
    }
}

#[test]
fn the_interval_of_the_factor_is_that_of_alpha_turned_around() {
    let law = law(models(&mut Rng::with_seed(7), 8, 0.5, 0.0, 0.02));
    let (low, high) = law.all.fit.interval;
    let close = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-9;
    assert!(close(law.all.factor_low.unwrap(), (1.0 / high).exp2()));
    assert!(close(law.all.factor_high.unwrap(), (1.0 / low).exp2()));
    let half = law.half().unwrap();
    assert!(close(half.error, law.best().unwrap().error / 2.0));
    assert!((law.predict(half.energy).unwrap().value / half.error - 1.0).abs() < 1e-6);
}

#[test]
fn one_more_model_halves_the_error_within_the_interval_in_95_percent_of_draws() {
    let mut random = Rng::with_seed(11);
    let (mut held, mut told, mut by_factor) = (0, 0, 0);
    for _ in 0..DRAWS {
        let law = law(models(&mut random, 8, 0.8, 0.0, 0.1));
        let Ok(half) = law.half() else { continue };
        let (Some(low), Some(high)) = (half.low, half.high) else { continue };
        told += 1;
        // error = 0.5·(E/10)^−0.8, times the noise of one more model.
        let noise = normal(&mut random, 0.1).exp();
        let there = 10.0 * (0.5 * noise / half.error).powf(1.0 / 0.8);
        held += usize::from((low.as_joules()..=high.as_joules()).contains(&there));
        let best = law.best().unwrap().energy.as_joules();
        let ends = [law.all.factor_low.unwrap(), law.all.factor_high.unwrap()];
        by_factor += usize::from((best * ends[0]..=best * ends[1]).contains(&there));
    }
    assert!(told > 900 && held * 100 >= 92 * told && held * 100 <= 98 * told, "{held} of {told}");
    // The factor's interval alone knows nothing of how much a model is off the law.
    assert!(by_factor * 2 < told, "{by_factor} of {told}");
}

#[test]
fn a_slope_that_reaches_0_gives_a_factor_that_is_not_bounded() {
    let errors = [0.2, 0.1, 0.25, 0.12, 0.15];
    let models = errors.iter().enumerate().map(|(place, error)| Trained {
        label: place.to_string(),
        energy: Energy::from_joules(10f64.powi(i32::try_from(place).unwrap())),
        error: *error,
        runs: 1,
        on_front: false,
    });
    let law = law(models.collect());
    assert!(law.all.fit.interval.0 < 0.0);
    assert_eq!(law.all.factor_high, None);
    assert!(law.to_string().contains("to not bounded"), "{law}");
    // The front of these is two models, 0 and 1: no law goes through it.
    assert!(
        law.front.is_none()
            && law.no_front.as_ref().unwrap().contains("2 models over 1.00 decades")
    );
}

#[test]
fn a_law_is_not_followed_beyond_a_decade() {
    let law = law(models(&mut Rng::with_seed(8), 8, 0.2, 0.0, 0.01));
    let most = law.models.last().unwrap().energy;
    let there = law.predict(most.scaled(9.0)).unwrap();
    assert!(there.low < there.value && there.value < there.high);
    assert!((there.value / (0.5 * 9000f64.powf(-0.2)) - 1.0).abs() < 0.05, "{there:?}");
    assert!(law.predict(most.scaled(11.0)).is_err());
    // Halving takes 2^5 times the energy: no number.
    let refusal = law.half().unwrap_err().to_string();
    assert!(refusal.contains("more than a decade of energy beyond the data"), "{refusal}");
}

#[test]
fn too_few_models_or_too_close_ones_are_refused_with_the_numbers() {
    let mut random = Rng::with_seed(9);
    let few = models(&mut random, 4, 0.3, 0.0, 0.01);
    let refusal =
        |models| ErrorLaw::through(models, Measure::itself("error")).unwrap_err().to_string();
    let text = refusal(few);
    assert!(
        text.contains("4 models over 3.0") && text.contains("which takes 5 over 1.5"),
        "{text}"
    );
    let mut close = models(&mut random, 9, 0.3, 0.0, 0.01);
    close.truncate(5);
    assert!(refusal(close).contains("5 models over 1."));
    let mut perfect = models(&mut random, 6, 0.3, 0.0, 0.01);
    perfect[5].error = 0.0;
    assert!(refusal(perfect).contains("an error of 0 has no logarithm"));
}

#[test]
fn a_floor_is_found_where_there_is_one_and_enough_data() {
    let mut random = Rng::with_seed(10);
    let declared = |random: &mut Rng, number, floor| {
        (0..200)
            .filter(|_| {
                let law = law(models(random, number, 0.5, floor, 0.03));
                law.forms.best == Some(Shape::Floor)
            })
            .count()
    };
    assert!(declared(&mut random, 12, 0.05) >= 190);
    assert!(declared(&mut random, 12, 0.0) <= 20);
    // Five models carry the power law, and no floor.
    assert_eq!(declared(&mut random, 5, 0.05), 0);
    let few = law(models(&mut random, 5, 0.5, 0.003, 0.0)).to_string();
    assert!(few.contains("5 models do not tell of a power law with a floor"), "{few}");

    let mut held = 0;
    for _ in 0..200 {
        let law = law(models(&mut random, 12, 0.5, 0.05, 0.03));
        let (low, high) = law.forms.floor.unwrap().interval.unwrap();
        held += usize::from((low..=high).contains(&0.05));
        assert!(law.half().is_err());
    }
    assert!((180..=199).contains(&held), "{held}");
}

#[test]
fn welchs_test_gives_the_textbook_numbers() {
    // Arsenic in drinking water of metropolitan Phoenix and of rural Arizona: t = −2.77 with 13.2 degrees of freedom
    // (Montgomery and Runger, Applied Statistics and Probability for Engineers, chapter 10).
    let metro = [3.0, 7.0, 25.0, 10.0, 15.0, 6.0, 12.0, 25.0, 15.0, 7.0];
    let rural = [48.0, 44.0, 40.0, 38.0, 33.0, 21.0, 20.0, 12.0, 1.0, 18.0];
    let test = welch(Sample::of(&metro).unwrap(), Sample::of(&rural).unwrap(), 0.95).unwrap();
    assert!((test.statistic() - -2.77).abs() < 0.005, "{test:?}");
    assert!((test.degrees - 13.2).abs() < 0.05, "{test:?}");
}

#[test]
fn laws_are_read_from_logs_and_frameworks_are_never_mixed() {
    let logs = TempDir::new().unwrap();
    let mut directories = sizes(logs.path(), "candle");
    directories.extend(sizes(logs.path(), "burn"));
    let runs = read(&directories);
    let families = Family::by_framework(&runs);
    assert_eq!(families.iter().map(|family| family.runs.len()).collect::<Vec<_>>(), [12, 12]);
    let law = SizeLaw::of(&families[0]).unwrap();
    assert!((law.fit.exponent - 0.8).abs() < 0.01, "{law}");
    assert_eq!((law.sizes.len(), law.runs(), law.estimated), (6, 12, false));
    assert_eq!(law.proportion, Proportion::Less);
    let law = ErrorLaw::of(&families[1], None).unwrap();
    assert_eq!((law.models.len(), law.runs()), (6, 12));
    assert!((law.all.fit.exponent - 0.4).abs() < 0.001, "{law}");
    assert!((law.all.halving.unwrap().factor - 2f64.powf(2.5)).abs() < 0.02, "{law}");
    assert!(law.to_string().lines().all(|line| line.chars().count() <= 100), "{law}");
}

#[test]
fn runs_that_differ_in_more_than_size_and_seed_are_refused_with_the_difference() {
    let logs = TempDir::new().unwrap();
    let mut directories = sizes(logs.path(), "candle");
    let other = Training { parameters: 50_000, seed: 3, batch: 64, ..TRAINING };
    directories.push(other.run(logs.path()));
    rewrite(&directories[0], |manifest| {
        manifest["machine"]["host"] = "another".into();
        manifest["machine"]["boot_id"] = "elsewhere".into();
        manifest["machine"]["cpu"] = "Other Processor".into();
    });
    let runs = read(&directories);
    let family = &Family::by_framework(&runs)[0];
    for refusal in [SizeLaw::of(family).unwrap_err(), ErrorLaw::of(family, None).unwrap_err()] {
        let text = refusal.to_string();
        assert!(text.contains("batch: 32, 64"), "{text}");
        assert!(text.contains("host: another, "), "{text}");
        assert!(text.contains("processor: ") && text.contains("Other Processor"), "{text}");
    }
    let names = ["batch", "host", "processor", "samples trained on"].map(str::to_owned);
    assert!(SizeLaw::of(&family.clone().vary(names)).is_ok());
}

#[test]
fn a_container_that_changes_its_name_is_no_other_machine() {
    let logs = TempDir::new().unwrap();
    let directories = sizes(logs.path(), "candle");
    for (place, run) in directories.iter().enumerate() {
        rewrite(run, |manifest| {
            manifest["machine"]["host"] = format!("container-{place}").into();
            manifest["machine"]["boot_id"] = "one boot".into();
        });
    }
    let runs = read(&directories);
    let family = &Family::by_framework(&runs)[0];
    assert_eq!(SizeLaw::of(family).unwrap().runs(), 12);
    // They are replicates of each other too: six models, not twelve.
    assert_eq!(ErrorLaw::of(family, None).unwrap().models.len(), 6);
}

#[test]
fn a_run_that_did_not_end_is_left_out_and_said() {
    let logs = TempDir::new().unwrap();
    let directories = sizes(logs.path(), "candle");
    rewrite(&directories[3], |manifest| manifest["state"] = "panicked".into());
    let runs = read(&directories);
    let law = SizeLaw::of(&Family::by_framework(&runs)[0]).unwrap();
    assert_eq!(law.runs(), 11);
    assert!(law.to_string().contains("it did not end as planned"), "{law}");
}

#[test]
fn a_run_whose_metric_is_no_number_is_left_out_with_that_reason() {
    let logs = TempDir::new().unwrap();
    let mut directories = sizes(logs.path(), "candle");
    let diverged = Training { seed: 9, accuracies: &[f64::NAN], ..TRAINING };
    directories.push(diverged.run(logs.path()));
    let runs = read(&directories);
    let law = ErrorLaw::of(&Family::by_framework(&runs)[0], None).unwrap();
    assert_eq!(law.runs(), 12);
    assert!(law.to_string().contains("its `accuracy` is no number at its end"), "{law}");
    let runs = read(&directories[10..]);
    let refusal = ErrorLaw::of(&Family::by_framework(&runs)[0], None).unwrap_err().to_string();
    assert!(refusal.contains("1 model over 0.00 decades of energy does not carry"), "{refusal}");
    assert!(refusal.contains("1 run is left out, "), "{refusal}");
}

#[test]
fn energies_of_which_it_is_not_known_how_well_they_are_known_are_said_to_be_so() {
    let points = [(1_000, 1.0), (10_000, 8.0), (100_000, 70.0)]
        .map(|(size, energy)| (size, Energy::from_joules(energy)));
    let text = SizeLaw::through(&points).unwrap().to_string();
    assert!(text.contains("do not say of every energy how well it is known"), "{text}");
}

#[test]
fn scaling_prints_both_laws_and_gives_them_as_json() {
    let logs = TempDir::new().unwrap();
    sizes(logs.path(), "candle");
    let directory = logs.path().to_str().unwrap();
    let (status, out, err) = ergometer(&["scaling", directory]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(out.contains("Doubling the size multiplies the energy by 1.74 ("), "{out}");
    assert!(out.contains("Halving the error multiplies the energy by 5.6"), "{out}");
    assert!(out.lines().all(|line| line.chars().count() <= 100), "{out}");
    let (status, out, _) =
        ergometer(&["scaling", directory, "--json", "--intensity", "100", "--price", "0.25 EUR"]);
    let laws: Value = serde_json::from_str(&out).unwrap();
    let family = &laws["families"][0];
    assert_eq!((status, family["framework"].as_str()), (0, Some("candle")));
    assert!((family["size_law"]["fit"]["exponent"].as_f64().unwrap() - 0.8).abs() < 0.01, "{out}");
    let half = &family["half_the_error"];
    let energy = half["energy_j"].as_f64().unwrap();
    // 100 g for 3.6 MJ.
    assert!((half["co2e_kg"].as_f64().unwrap() / (energy / 3.6e6 * 0.1) - 1.0).abs() < 1e-9);
    assert_eq!(half["cost"]["currency"], "EUR");
}

#[test]
fn scaling_that_is_refused_says_why_and_fails() {
    let logs = TempDir::new().unwrap();
    two_models(logs.path(), 1);
    let (status, out, _) = ergometer(&["scaling", logs.path().to_str().unwrap()]);
    assert_eq!(status, 1);
    assert!(out.contains("2 sizes do not carry a size law"), "{out}");
    assert!(out.contains("2 models over 0."), "{out}");
    let (_, out, _) = ergometer(&["scaling", logs.path().to_str().unwrap(), "--metric", "f1"]);
    assert!(
        out.contains("no run has a metric `f1`; give one of `accuracy` with --metric"),
        "{out}"
    );
}

#[test]
fn an_accuracy_in_percent_gives_the_same_law_as_a_fraction() {
    let [fractions, percents] = [1.0, 100.0].map(|scale| {
        let logs = TempDir::new().unwrap();
        let directories: Vec<PathBuf> = [1_000, 4_000, 16_000, 64_000, 256_000]
            .into_iter()
            .map(|parameters| {
                let watts = parameters as f64 / 100.0;
                let accuracies = [scale * (1.0 - 0.9 * watts.powf(-0.3))];
                Training { parameters, watts, accuracies: &accuracies, ..TRAINING }.run(logs.path())
            })
            .collect();
        let runs = read(&directories);
        ErrorLaw::of(&Family::by_framework(&runs)[0], Some("accuracy")).unwrap()
    });
    assert!((fractions.all.fit.exponent - 0.3).abs() < 1e-3);
    assert!((percents.all.fit.exponent - fractions.all.fit.exponent).abs() < 1e-9);
    assert!(percents.to_string().contains("error = 1 − accuracy/100"), "{percents}");
}

#[test]
fn an_error_of_0_is_refused_with_the_run() {
    let logs = TempDir::new().unwrap();
    let directories = sizes(logs.path(), "candle");
    let perfect = Training { parameters: 500_000, watts: 1_500.0, accuracies: &[1.0], ..TRAINING };
    let runs = read(&[directories, vec![perfect.run(logs.path())]].concat());
    let refusal = ErrorLaw::of(&Family::by_framework(&runs)[0], None).unwrap_err().to_string();
    assert!(refusal.contains("its error is 0") && refusal.contains("candle-500000"), "{refusal}");
}
