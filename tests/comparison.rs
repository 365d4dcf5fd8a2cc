//! Comparisons of runs of known power. The expected numbers are worked out by hand beside them.

use ergometer::record::{Framework, Quality};
use ergometer::sensor::fake::Fake;
use ergometer::sensor::{Domain, Hardware, Provenance};
use ergometer::{Meter, Power, Summary};
use ergometer_report::Comparison;

use crate::lab::{Lab, constant};

/// A continuous counter of constant power, of which `gain` is known (k = 1).
fn part(hardware: Hardware, watts: f64, gain: f64) -> Fake {
    Fake::counter(Domain::new(hardware, "0", "fake"), constant(watts))
        .power_between(Power::ZERO, Power::from_watts(1_000.0))
        .specified(|it| (it.gain, it.family) = (gain, hardware.prefix().to_owned()))
}

/// Ten seconds of training: two epochs of ten steps of 32 samples.
fn train(name: &str, parameters: Option<u64>, accuracy: f64, sensors: Vec<Fake>) -> Summary {
    let lab = Lab::new();
    let framework = Framework { name: "candle".to_owned(), ..Framework::default() };
    let builder =
        Meter::builder().clock(lab.clock()).log_directory(lab.logs.path()).framework(framework);
    let meter = sensors
        .into_iter()
        .fold(builder, |builder, sensor| builder.sensor(sensor))
        .build()
        .unwrap();
    let run = meter.run(name);
    let run = match parameters {
        Some(parameters) => run.parameters(parameters),
        None => run,
    };
    let run = run.start().unwrap();
    for _epoch in run.epochs(1..=2) {
        for _step in run.steps(0..10).samples(32) {
            lab.pass(500);
        }
        run.metric("accuracy", accuracy);
    }
    run.finish().unwrap()
}

/// Three seeds of a model on a CPU whose gain is known to 3 % (k = 1).
fn seeds(parameters: u64, watts: [f64; 3]) -> Vec<Summary> {
    let train = |(seed, watts): (usize, f64)| {
        let accuracy = 0.90 + 0.02 * seed as f64;
        train(
            &format!("seed-{seed}"),
            Some(parameters),
            accuracy,
            vec![part(Hardware::Cpu, watts, 0.03)],
        )
    };
    watts.into_iter().enumerate().map(train).collect()
}

/// Equal but for what the boundaries add to an uncertainty: some per mille.
fn assert_close(value: f64, expected: f64) {
    assert!((value / expected - 1.0).abs() < 2e-3, "{value} is not {expected}");
}

#[test]
fn a_mean_has_the_common_gain_in_full_and_the_scatter_over_the_root_of_n() {
    let comparison = Comparison::of(&seeds(1_210, [100.0, 110.0, 120.0]));
    let group = &comparison.groups[0];
    assert_eq!((group.label.as_str(), group.runs.len()), ("candle, 1,210 parameters", 3));
    // 1000, 1100 and 1200 J: s = 100 J, u² = (0.03 · 1100)² + 100²/3 = 1089 + 3333.33.
    assert_close(group.energy.energy.unwrap().as_joules(), 1_100.0);
    assert_close(group.energy.uncertainty.unwrap().as_joules(), 66.5006);
    assert_eq!(group.energy.quality, Quality::Measured);
    // Half of it in each epoch, and a 640th for each sample.
    assert_close(group.epoch.energy.unwrap().as_joules(), 550.0);
    assert_close(group.epoch.uncertainty.unwrap().as_joules(), 33.2503);
    assert_close(group.sample.energy.unwrap().as_joules(), 1.71875);
    let accuracy = group.metrics["accuracy"];
    assert_close(accuracy.mean, 0.92);
    assert_close(accuracy.sd.unwrap(), 0.02);
    assert_close(group.time.as_secs_f64(), 10.0);
}

#[test]
fn one_run_is_as_uncertain_as_its_record() {
    let runs = seeds(1_210, [100.0, 110.0, 120.0]);
    let comparison = Comparison::of(&runs[..1]);
    assert_close(comparison.groups[0].energy.uncertainty.unwrap().as_joules(), 30.0);
    assert_eq!(comparison.groups[0].energy, runs[0].estimate());
    assert_eq!(comparison.groups[0].metrics["accuracy"].sd, None);
}

#[test]
fn the_common_gain_cancels_in_a_ratio_on_one_host_and_not_between_two() {
    let mut runs = seeds(1_210, [100.0, 110.0, 120.0]);
    runs.extend(seeds(2_410, [200.0, 210.0, 220.0]));
    let ratio = Comparison::of(&runs).groups[1].ratio.unwrap();
    // (100/√3/1100)² + (100/√3/2100)² = 0.00275482 + 0.00075586 = 0.00351068, of which the root is 0.059251.
    assert_close(ratio.energy, 2_100.0 / 1_100.0);
    assert_close(ratio.u.unwrap(), 0.059251 * 2_100.0 / 1_100.0);
    // 0.00351068² / ((0.00275482² + 0.00075586²) / 2) = 3.02 degrees of freedom.
    assert_close(ratio.k.unwrap(), 3.31);
    assert_eq!(ratio.is_different(), Some(true));
    assert_close(ratio.time.unwrap(), 1.0);

    for run in &mut runs[3..] {
        run.manifest.machine.host = "another".to_owned();
    }
    let ratio = Comparison::of(&runs).groups[1].ratio.unwrap();
    // And twice 0.03² = 0.0018: in all 0.00531068, of which the root is 0.0728744; 6.91 degrees of freedom.
    assert_close(ratio.u.unwrap(), 0.0728744 * 2_100.0 / 1_100.0);
    assert_close(ratio.k.unwrap(), 2.52);
}

#[test]
fn a_gain_that_weighs_differently_in_two_models_does_not_cancel_in_full() {
    let parts = |gpu, cpu| vec![part(Hardware::Gpu, gpu, 0.035), part(Hardware::Cpu, cpu, 0.03)];
    let mut runs: Vec<Summary> =
        (0..2).map(|_| train("a", Some(1), 0.9, parts(100.0, 100.0))).collect();
    runs.extend((0..2).map(|_| train("b", Some(2), 0.9, parts(300.0, 100.0))));
    let ratio = Comparison::of(&runs).groups[1].ratio.unwrap();
    // The GPU's part goes from 1/2 to 3/4: (0.25 · 0.035)² + (−0.25 · 0.03)² = 0.000132813.
    assert_close(ratio.energy, 2.0);
    assert_close(ratio.u.unwrap(), 2.0 * 0.0115244);
    assert_close(ratio.k.unwrap(), 2.0);
}

#[test]
fn a_single_run_gives_a_ratio_without_an_interval() {
    let runs = [&seeds(1, [100.0; 3])[..1], &seeds(2, [150.0; 3])[..]].concat();
    let comparison = Comparison::of(&runs);
    let ratio = comparison.groups[1].ratio.unwrap();
    assert_close(ratio.energy, 1.5);
    assert_eq!((ratio.u, ratio.k, ratio.is_different()), (None, None, None));
    assert!(
        comparison
            .to_string()
            .contains("1.50 × the energy, 1.00 × the time; a single run tells no scatter")
    );
}

#[test]
fn what_covers_other_hardware_is_not_compared() {
    let cpu = train("a", Some(1), 0.9, vec![part(Hardware::Cpu, 100.0, 0.03)]);
    let both = train(
        "b",
        Some(2),
        0.9,
        vec![part(Hardware::Cpu, 100.0, 0.03), part(Hardware::Gpu, 300.0, 0.035)],
    );
    let comparison = Comparison::of(&[cpu, both]);
    assert_eq!(comparison.groups[1].ratio, None);
    assert!(
        comparison.to_string().contains("not comparable: energy of gpu + cpu against that of cpu"),
        "{comparison}"
    );
}

#[test]
fn an_unknown_energy_is_a_dash_and_no_zero() {
    let mut runs = seeds(1_210, [100.0, 110.0, 120.0]);
    (runs[1].end.energy, runs[1].end.uncertainty, runs[1].end.quality) =
        (None, None, Quality::Unresolved);
    let comparison = Comparison::of(&runs);
    assert_eq!(comparison.groups[0].energy.energy, None);
    let table = comparison.to_string();
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(
        row,
        ["candle", "1,210", "3", "0.920", "±", "0.020", "—", "10.0", "s", "unresolved"]
    );
}

#[test]
fn runs_without_parameters_are_grouped_by_name_and_any_group_can_be_the_baseline() {
    let cpu = |watts| vec![part(Hardware::Cpu, watts, 0.03)];
    let runs = [
        train("a", None, 0.9, cpu(100.0)),
        train("b", None, 0.9, cpu(150.0)),
        train("a", None, 0.9, cpu(100.0)),
    ];
    let comparison = Comparison::of(&runs).against("b").unwrap();
    assert_eq!(comparison.baseline.as_deref(), Some("candle, b"));
    let ratios: Vec<_> =
        comparison.groups.iter().map(|group| group.ratio.map(|ratio| ratio.energy)).collect();
    assert_eq!((comparison.groups[0].runs.len(), ratios[1]), (2, None));
    assert_close(ratios[0].unwrap(), 1.0 / 1.5);
    let error = Comparison::of(&runs).against("c").unwrap_err().to_string();
    assert!(
        error.contains("no group is called `c`") && error.contains("`candle, a`, `candle, b`"),
        "{error}"
    );
}

#[test]
fn a_table_fits_120_columns_and_says_what_is_estimated() {
    let model =
        || part(Hardware::Cpu, 800.0, 0.35).specified(|it| it.provenance = Provenance::Model);
    let mut runs = vec![train("a", Some(124_439_808), 0.9, vec![model()])];
    runs.extend(seeds(1_210, [100.0, 110.0, 120.0]));
    let table = Comparison::of(&runs).to_string();
    assert!(table.lines().all(|line| line.chars().count() <= 120), "{table}");
    let row = table.lines().nth(1).unwrap();
    assert!(row.contains("8000 J ± 5600 J") && row.ends_with("estimated"), "{table}");
    assert!(table.lines().nth(2).unwrap().ends_with("measured"), "{table}");
    assert!(
        table.contains("energy of: cpu:0 by model (candle, 124,439,808 parameters)"),
        "{table}"
    );
}

#[test]
fn nothing_compares_to_nothing() {
    assert_eq!(Comparison::of(&[]).to_string(), "no runs");
}
