//! Energy and power as burn's own metrics: on its dashboard, in its logs and in its summary.
//!
//! They run on burn's metric thread, behind the training. So they measure nothing: they ask which step or pass an event
//! was about, and then for its energy. They may wait for the meter's recorder, which waits for nobody; never for a
//! training thread, which may be waiting for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use burn_core::tensor::TensorReadError;
use burn_train::metric::{
    Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes, NumericEntry,
    SerializedEntry,
};
use burn_train::{LearnerModel, MetricRegistration, SupervisedTraining};
use ergometer::{Energy, Estimate, Kind, Quality, Records, Run, Timestamp};

use crate::pass::{Pass, Passes, Split, Step};

/// Shows a run's energy where burn shows its metrics.
pub trait WithEnergy {
    /// Adds the metrics `Energy` and `Power` for training and validation, and lets the run's budget end the training.
    ///
    /// Both have a curve on the dashboard and a file in burn's logs: joules and mean watts for each step, and for each
    /// epoch, once it is over, its energy exactly as in the run's own log, and its mean power. A step's value is
    /// provisional: what the sensors had told by then. A step that they had told nothing about yet has none.
    ///
    /// To be called last: `with_interrupter` after it would replace the handle through which a budget ends the training.
    /// The loaders have to be the run's too ([`MeteredRun`](crate::MeteredRun)); for others nothing is shown.
    ///
    /// Where an epoch ends, burn's metric thread waits until the epoch is settled: about one period of the slowest
    /// sensor and at most 2.5 seconds, within which the training can run two steps ahead.
    #[must_use = "the training that is given back is the one with the metrics"]
    fn with_energy(self, run: &Run) -> Self;
}

impl<M: LearnerModel> WithEnergy for SupervisedTraining<M> {
    fn with_energy(self, run: &Run) -> Self {
        self.metrics(EnergyMetrics::of(run))
    }
}

/// The metrics that [`with_energy`](WithEnergy::with_energy) adds, for `SupervisedTraining::metrics`.
#[derive(Debug)]
pub struct EnergyMetrics(Arc<Passes>);

impl EnergyMetrics {
    /// The energy metrics of `run`.
    pub fn of(run: &Run) -> Self {
        EnergyMetrics(Passes::of(run))
    }
}

impl<M: LearnerModel> MetricRegistration<M> for EnergyMetrics {
    fn register(self, training: SupervisedTraining<M>) -> SupervisedTraining<M> {
        self.0.interrupt_through(training.interrupter());
        let answers = Arc::new(AtomicBool::new(true));
        let metric = |split, shows| PassMetric::new(&self.0, split, shows, &answers);
        training
            .metric_train_numeric(metric(Split::Train, Shows::Energy))
            .metric_valid_numeric(metric(Split::Valid, Shows::Energy))
            .metric_train_numeric(metric(Split::Train, Shows::Power))
            .metric_valid_numeric(metric(Split::Valid, Shows::Power))
    }
}

/// Which quantity a metric shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    Energy,
    Power,
}

impl Shows {
    // Burn makes a file of it, so it is one word without a slash.
    fn name(self) -> &'static str {
        match self {
            Shows::Energy => "Energy",
            Shows::Power => "Power",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Shows::Energy => "J",
            Shows::Power => "W",
        }
    }

    /// The number for plots and logs.
    fn value(self, energy: Energy, time: Duration) -> Option<f64> {
        match self {
            Shows::Energy => Some(energy.as_joules()),
            Shows::Power => energy.over(time).map(|power| power.as_watts()),
        }
    }

    /// A window's energy or power in words, with its expanded uncertainty and its quality.
    fn words(self, estimate: Estimate, time: Duration) -> String {
        let over = |energy: Option<Energy>| energy?.over(time);
        match (self, over(estimate.energy), over(estimate.expanded())) {
            (Shows::Power, Some(power), Some(expanded)) => {
                format!("{power} ± {expanded} {}", estimate.quality)
            }
            _ => estimate.to_string(),
        }
    }
}

/// `Energy` or `Power` of one split.
#[derive(Clone, Debug)]
struct PassMetric {
    name: MetricName,
    shows: Shows,
    split: Split,
    passes: Arc<Passes>,
    /// The number of the pass that burn reports on: it says where one ends, not which it is.
    nth: u64,
    pass: Option<Arc<Pass>>,
    /// Events of the pass so far.
    events: u64,
    running: Option<Running>,
    /// Of the step that the last event told.
    step: Option<f64>,
    /// Of the pass so far, and in the end of all of it.
    total: Option<f64>,
    /// False once the recorder was waited for in vain, for all metrics of the training: it is not waited for again.
    answers: Arc<AtomicBool>,
}

/// The longest that the end of a pass is waited for: two seconds until a lost sensor is given up, and the recorder's own
/// rounds.
const PATIENCE: Duration = Duration::from_millis(2_500);

impl PassMetric {
    fn new(passes: &Arc<Passes>, split: Split, shows: Shows, answers: &Arc<AtomicBool>) -> Self {
        PassMetric {
            name: Arc::new(shows.name().to_owned()),
            shows,
            split,
            passes: Arc::clone(passes),
            nth: passes.begun(split),
            pass: None,
            events: 0,
            running: None,
            step: None,
            total: None,
            answers: Arc::clone(answers),
        }
    }

    fn records(&self) -> &Records {
        &self.passes.records
    }

    fn pass(&mut self) -> Option<Arc<Pass>> {
        if self.pass.is_none() {
            self.pass = self.passes.find(self.split, self.nth);
        }
        self.pass.clone()
    }

    /// The pass up to `now`, provisional, and how long it has lasted.
    fn so_far(&mut self, pass: &Pass, now: Timestamp) -> (Estimate, Duration) {
        let from = *pass.opened().end();
        let running = self.running.get_or_insert_with(|| Running::new(from));
        (running.until(&self.passes.records, now), now.since(from))
    }

    /// The whole pass, as the run's log has it if that is known in time.
    fn whole(&mut self, pass: &Pass) -> (Estimate, Duration, bool) {
        let ended = pass.ended();
        if ended.is_some() && self.answers.load(Ordering::Relaxed) {
            let settled =
                self.records().find(self.split.kind(), PATIENCE, |record| pass.is(record));
            if let Some(record) = settled {
                return (record.estimate(), record.duration, true);
            }
            self.answers.store(false, Ordering::Relaxed);
        }
        let now = ended.unwrap_or_else(|| self.records().now());
        let (estimate, time) = self.so_far(pass, now);
        (estimate, time, false)
    }

    fn nothing(&self) -> SerializedEntry {
        SerializedEntry::not_available(Some(self.shows.unit()))
    }
}

impl Metric for PassMetric {
    type Input = ();

    fn name(&self) -> MetricName {
        Arc::clone(&self.name)
    }

    fn description(&self) -> Option<String> {
        Some(match self.shows {
            Shows::Energy => "Energy of each step; of an epoch, its total".to_owned(),
            Shows::Power => "Mean power over each step; of an epoch, over all of it".to_owned(),
        })
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes { unit: Some(self.shows.unit().to_owned()), higher_is_better: false }
            .into()
    }

    /// Never fails: an error would stop the training.
    fn update(&mut self, (): &(), _: &MetricMetadata) -> Result<SerializedEntry, TensorReadError> {
        let event = self.events;
        self.events += 1;
        self.step = None;
        let Some(pass) = self.pass() else { return Ok(self.nothing()) };
        let Some(step) = pass.step_of(event) else { return Ok(self.nothing()) };
        // The event was sent after the optimizer, so the step's work is done also where its window is still open.
        let end = step.ended.unwrap_or_else(|| self.records().now());
        let energy = energy_of(self.records(), &step, end);
        let (so_far, time) = self.so_far(&pass, end);
        self.total = so_far.energy.and_then(|energy| self.shows.value(energy, time));
        let time_of_step = end.since(*step.opened.end());
        self.step = energy.and_then(|energy| self.shows.value(energy, time_of_step));
        let (Some(value), Some(energy)) = (self.step, energy) else { return Ok(self.nothing()) };
        let step = match energy.over(time_of_step).filter(|_| self.shows == Shows::Power) {
            Some(power) => power.to_string(),
            None => energy.to_string(),
        };
        let words = format!("epoch {} - step {step}", self.shows.words(so_far, time));
        Ok(SerializedEntry::new(words, NumericEntry::Value(value).serialize()))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        self.total = None;
        let Some(pass) = self.pass() else { return Ok(self.nothing()) };
        let (estimate, time, settled) = self.whole(&pass);
        self.total = estimate.energy.and_then(|energy| self.shows.value(energy, time));
        let Some(total) = self.total else { return Ok(self.nothing()) };
        let provisional = if settled { "" } else { ", provisional" };
        let words = format!("epoch {}{provisional}", self.shows.words(estimate, time));
        Ok(SerializedEntry::new(words, NumericEntry::Final(total).serialize()))
    }

    /// Burn calls this once where a pass ends.
    fn clear(&mut self) {
        self.nth += 1;
        self.pass = None;
        self.events = 0;
        self.running = None;
        self.step = None;
        self.total = None;
    }
}

impl Numeric for PassMetric {
    fn value(&self) -> Option<NumericEntry> {
        self.step.map(NumericEntry::Value)
    }

    fn running_value(&self) -> Option<NumericEntry> {
        self.total.map(NumericEntry::Value)
    }

    fn final_value(&self) -> NumericEntry {
        // What is not known is not 0.
        NumericEntry::Final(self.total.unwrap_or(f64::NAN))
    }
}

/// A step's energy, provisional, if every sensor has told something about it.
///
/// For a step so long that the series no longer reach back to its start, it is the settled one.
fn energy_of(records: &Records, step: &Step, end: Timestamp) -> Option<Energy> {
    let start = *step.opened.end();
    let estimate = records.between(start, end);
    if estimate.quality != Quality::Partial {
        return estimate.energy;
    }
    // A twentieth of the step: no more than that is the training held up.
    let patience = (end.since(start) / 20).min(PATIENCE);
    if step.ended.is_none() || patience < SETTLING {
        return None;
    }
    records.find(Kind::Step, patience, |record| step.opened.contains(&record.start))?.energy
}

/// Most sensors settle a window within this; waiting for less is no use.
const SETTLING: Duration = Duration::from_millis(100);

/// The energy of a pass so far, put together from pieces that are short enough for the series to reach back.
#[derive(Clone, Debug)]
struct Running {
    sum: Estimate,
    from: Timestamp,
}

/// Well within the time for which the series keep what they were told.
const PIECE: Duration = Duration::from_secs(1);

impl Running {
    fn new(from: Timestamp) -> Self {
        let zero = Some(Energy::ZERO);
        Running {
            sum: Estimate { energy: zero, uncertainty: zero, quality: Quality::Measured },
            from,
        }
    }

    fn until(&mut self, records: &Records, end: Timestamp) -> Estimate {
        let piece = records.between(self.from, end);
        let plus = |one: Option<Energy>, other: Option<Energy>| Some(one? + other?);
        let sum = Estimate {
            energy: plus(self.sum.energy, piece.energy),
            // Mostly the gain's, which all pieces share: such uncertainties add up.
            uncertainty: plus(self.sum.uncertainty, piece.uncertainty),
            quality: self.sum.quality.max(piece.quality),
        };
        if end.since(self.from) >= PIECE && sum.energy.is_some() {
            *self = Running { sum, from: end };
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use burn_core::data::dataloader::Progress;
    use ergometer::sensor::fake::{Fake, Load};
    use ergometer::sensor::{Domain, Hardware};
    use ergometer::{FakeClock, Meter, Power};
    use tempfile::TempDir;

    use super::*;

    /// A run over a sensor of 100 W on a fake clock, and its first training pass.
    struct Bench {
        hands: FakeClock,
        run: Run,
        pass: Arc<Pass>,
        _home: TempDir,
    }

    impl Bench {
        fn new() -> Bench {
            let (hands, home) = (FakeClock::new(), TempDir::new().unwrap());
            let watts = Power::from_watts;
            let domain = Domain::new(Hardware::Cpu, "package-0", "fake");
            let sensor = Fake::counter(domain, Load::Constant(watts(100.0)))
                .power_between(watts(99.0), watts(101.0));
            let meter = Meter::builder().sensor(sensor).clock(hands.clock()).build().unwrap();
            let run = meter.run("net").directory(home.path()).start().unwrap();
            let pass = Passes::of(&run).begin(Split::Train, 1, 1).unwrap();
            Bench { hands, run, pass, _home: home }
        }

        fn metric(&self, shows: Shows) -> PassMetric {
            let metric = PassMetric::new(
                &Passes::of(&self.run),
                Split::Train,
                shows,
                &Arc::new(true.into()),
            );
            PassMetric { nth: 0, ..metric }
        }

        /// The steps of the pass, one after the other.
        fn step(&self, number: u64, time: Duration) {
            assert!(self.pass.ask(number));
            self.pass.hand_out(number);
            self.hands.advance(time);
            assert!(self.pass.ask(number + 1));
        }
    }

    fn update(metric: &mut PassMetric) -> (String, Option<f64>) {
        let progress = Progress::new(1, 1, None);
        let metadata = MetricMetadata { progress, iteration: None, lr: None };
        let entry = metric.update(&(), &metadata).unwrap();
        (entry.formatted, metric.value().map(|value| value.current()))
    }

    fn is_near(value: f64, expected: f64) -> bool {
        (value / expected - 1.0).abs() < 1e-3
    }

    #[test]
    fn a_step_that_no_sensor_has_told_of_has_no_value() {
        let bench = Bench::new();
        // Shorter than the time to the next reading, even while the sensor is tried out.
        bench.step(0, Duration::from_micros(100));
        assert_eq!(
            update(&mut bench.metric(Shows::Energy)),
            ("epoch N/A J - batch N/A J".to_owned(), None)
        );
    }

    #[test]
    fn a_step_has_its_own_energy_and_the_epoch_that_so_far() {
        let bench = Bench::new();
        let (mut energy, mut power) = (bench.metric(Shows::Energy), bench.metric(Shows::Power));
        for (number, expected) in [(0, 50.0), (1, 50.0), (2, 50.0)] {
            bench.step(number, Duration::from_millis(500));
            assert!(is_near(update(&mut energy).1.unwrap(), expected));
            assert!(is_near(update(&mut power).1.unwrap(), 100.0));
            assert!(is_near(
                energy.running_value().unwrap().current(),
                expected * (number + 1) as f64
            ));
        }
    }

    #[test]
    fn a_step_longer_than_the_series_reach_back_has_the_energy_of_its_record() {
        let bench = Bench::new();
        bench.step(0, Duration::from_secs(1));
        bench.step(1, Duration::from_secs(60));
        let mut metric = bench.metric(Shows::Energy);
        update(&mut metric);
        assert!(is_near(update(&mut metric).1.unwrap(), 6_000.0));
    }

    #[test]
    fn an_epoch_that_settles_is_told_exactly() {
        let bench = Bench::new();
        bench.step(0, Duration::from_secs(3));
        Passes::of(&bench.run).end(&bench.pass, true, Some(32));
        let mut metric = bench.metric(Shows::Energy);
        let text = metric.compute().unwrap().formatted;
        let record = bench.run.last_epoch().unwrap();
        assert_eq!(text, format!("epoch {}", record.estimate()));
        assert_eq!(
            metric.final_value().current().to_bits(),
            record.energy.unwrap().as_joules().to_bits()
        );
        metric.clear();
        assert!(metric.final_value().current().is_nan(), "the next epoch is not known, and not 0");
    }

    #[test]
    fn a_recorder_that_does_not_answer_is_waited_for_once() {
        let Bench { hands, run, _home, .. } = Bench::new();
        let passes = Passes::of(&run);
        run.finish().unwrap();
        let pass = passes.begin(Split::Train, 2, 2).unwrap();
        passes.end(&pass, true, None);
        let answers = Arc::new(true.into());
        for waits in [PATIENCE, Duration::ZERO] {
            let mut metric = PassMetric::new(&passes, Split::Train, Shows::Energy, &answers);
            metric.nth = 1;
            let before = hands.now();
            metric.compute().unwrap();
            assert_eq!(hands.now().since(before), waits);
        }
    }
}
