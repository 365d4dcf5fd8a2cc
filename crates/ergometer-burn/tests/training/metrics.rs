//! What burn's dashboard is told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use burn::train::SupervisedTraining;
use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::{MetricAttributes, MetricDefinition, NumericEntry};
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
    MetricsRendererTraining,
};
use ergometer::sensor::fake::{Fake, Load};
use ergometer::sensor::{Domain, Hardware, Provenance};
use ergometer::{Kind, Power};
use ergometer_burn::WithEnergy;

use crate::gym::{BATCH, Gym, Net, WATTS, loader};

/// A dashboard that remembers what it was told.
#[derive(Clone, Default)]
struct Dashboard(Arc<Mutex<Shown>>);

#[derive(Default)]
struct Shown {
    metrics: Vec<MetricDefinition>,
    train: Vec<MetricState>,
    valid: Vec<MetricState>,
}

/// A text, and a number for the curve.
type Told = (String, Option<NumericEntry>);

impl Shown {
    /// The texts and numbers of one metric of the training.
    fn of(&self, name: &str) -> Vec<Told> {
        let metric = self.metrics.iter().find(|metric| *metric.name == name).unwrap();
        let states = self.train.iter().filter_map(|state| match state {
            MetricState::Numeric(entry, number) if entry.metric_id == metric.metric_id => {
                Some((entry.serialized_entry.formatted.clone(), number.clone()))
            }
            _ => None,
        });
        states.collect()
    }
}

impl MetricsRendererTraining for Dashboard {
    fn update_train(&mut self, state: MetricState) {
        self.0.lock().unwrap().train.push(state);
    }

    fn update_valid(&mut self, state: MetricState) {
        self.0.lock().unwrap().valid.push(state);
    }
}

impl MetricsRenderer for Dashboard {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, definition: MetricDefinition) {
        self.0.lock().unwrap().metrics.push(definition);
    }
}

impl MetricsRendererEvaluation for Dashboard {
    fn update_test(&mut self, _: EvaluationName, _: MetricState) {}
}

impl TrainingProgressLogger for Dashboard {
    fn start(&mut self, _: usize, _: usize, _: Option<usize>, _: Option<&str>) {}
    fn update_epoch(&mut self, _: usize) {}
    fn start_split(&mut self, _: &str, _: usize) {}
    fn update_split(&mut self, _: usize) {}
    fn end_split(&mut self) {}
    fn end(&mut self) {}
    fn log_event_training(&mut self, _: String) {}
}

impl EvaluationProgressLogger for Dashboard {
    fn start_global_progress(&mut self, _: usize) {}
    fn start_test(&mut self, _: &str, _: usize) {}
    fn update_test_progress(&mut self, _: usize) {}
    fn end_test(&mut self) {}
    fn end_global_progress(&mut self) {}
    fn log_event_evaluation(&mut self, _: String) {}
}

fn value(entry: &NumericEntry) -> f64 {
    match entry {
        NumericEntry::Value(value) => *value,
        other => panic!("{other:?} is no step's value"),
    }
}

/// Those that have a value: where a sensor is late, a step has none.
fn told(shown: &[Told]) -> Vec<&Told> {
    let told: Vec<_> = shown.iter().filter(|(_, number)| number.is_some()).collect();
    assert!(!told.is_empty());
    told
}

#[test]
fn the_dashboard_shows_joules_and_watts_of_steps_and_of_the_epoch() {
    let gym = Gym::new();
    let dashboard = Dashboard::default();
    gym.train(10 * BATCH, |training| training.num_epochs(1).renderer(Box::new(dashboard.clone())));
    let findings = gym.finish();
    let shown = dashboard.0.lock().unwrap();
    for (name, unit) in [("Energy", "J"), ("Power", "W")] {
        let metric = shown.metrics.iter().find(|metric| *metric.name == name).unwrap();
        let MetricAttributes::Numeric(attributes) = &metric.attributes else {
            panic!("{name} has no curve")
        };
        assert_eq!((attributes.unit.as_deref(), attributes.higher_is_better), (Some(unit), false));
        let all = shown.of(name);
        let (last, steps) = all.split_last().unwrap();
        assert_eq!(steps.len(), 10);
        for (text, _) in told(steps) {
            assert!(text.starts_with("epoch ") && text.contains(" ± "), "{text}");
            // The first milliseconds of an epoch are shorter than the sensor's interval.
            let known = text.contains(" measured - step ") || text.contains(" amortised - step ");
            assert!(known && text.ends_with(unit), "{text}");
        }
        assert!(last.0.starts_with("epoch ") && last.0.ends_with(" measured"), "{}", last.0);
        assert!(matches!(last.1, Some(NumericEntry::Final(_))), "{:?}", last.1);
    }
    // A step's values are provisional, and extrapolated on a busy machine, but they are that step's.
    let steps = findings.steps(findings.of(Kind::Epoch)[0]);
    for (step, (_, energy)) in steps.iter().zip(shown.of("Energy")) {
        let Some(energy) = energy else { continue };
        let (shown, settled) = (value(&energy), step.energy.unwrap().as_joules());
        assert!(shown > 0.0 && shown < 1.5 * settled + 0.02, "{shown} J, {settled} J");
    }
    for (_, power) in told(&shown.of("Power")[..10]) {
        let power = power.as_ref().map(value).unwrap();
        assert!((power / WATTS - 1.0).abs() < 0.5, "{power} W");
    }
    // Loss, energy and power of three steps of the validation, and of all of it.
    assert_eq!(shown.valid.len(), 3 * 3 + 3);
}

#[test]
fn an_estimate_is_called_one() {
    let model = Fake::counter(
        Domain::new(Hardware::Dram, "model", "a model"),
        Load::Constant(Power::from_watts(5.0)),
    )
    .specified(|specification| {
        specification.provenance = Provenance::Model;
        specification.interval = Duration::from_millis(5);
        specification.gain = 0.2;
    });
    let gym = Gym::with(|meter| meter.sensor(model), |run| run);
    let dashboard = Dashboard::default();
    gym.train(3 * BATCH, |training| training.renderer(Box::new(dashboard.clone())));
    let shown = dashboard.0.lock().unwrap();
    for name in ["Energy", "Power"] {
        let texts = shown.of(name);
        assert_eq!(texts.len(), 2 * (3 + 1));
        for (text, _) in told(&texts) {
            assert!(text.contains(" estimated") && !text.contains("measured"), "{text}");
        }
    }
}

#[test]
fn loaders_that_are_not_the_runs_have_no_energy() {
    let gym = Gym::new();
    let bare = SupervisedTraining::<Net>::new(gym.burn(), loader(3 * BATCH, 0), loader(BATCH, 0));
    let result = bare.with_energy(&gym.run).with_application_logger(None).launch(gym.learner());
    assert!(result.error.is_none() && result.interrupted.is_none());
    let findings = gym.finish();
    assert!(findings.burn_log("train", 1, "Energy").is_empty());
    assert!(findings.of(Kind::Step).is_empty());
}

#[test]
fn a_second_training_of_a_run_has_its_own_epochs() {
    let gym = Gym::new();
    gym.train(3 * BATCH, |training| training.num_epochs(1));
    gym.train(4 * BATCH, |training| training.num_epochs(1));
    let findings = gym.finish();
    let epochs = findings.of(Kind::Epoch);
    assert_eq!(epochs.iter().map(|epoch| epoch.epoch).collect::<Vec<_>>(), [Some(1), Some(2)]);
    // Burn begins anew with its first epoch, in the same files.
    let energy = epochs[1].energy.unwrap().as_joules();
    assert!((findings.burn_total("train", 1, "Energy") / energy - 1.0).abs() < 1e-9);
}
