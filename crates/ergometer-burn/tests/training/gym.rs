//! A model that notes when it really computes, its data, and a run over sensors of constant power to measure it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::InMemDataset;
use burn::lr_scheduler::constant::ConstantLr;
use burn::lr_scheduler::module_lr_scheduler::ModuleLearningRate;
use burn::module::Module;
use burn::nn::{Linear, LinearConfig, Relu};
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer, MultiGradientsParams};
use burn::tensor::{Device, Tensor};
use burn::train::metric::LossMetric;
use burn::train::{
    InferenceStep, Learner, LearningResult, RegressionOutput, SupervisedTraining, TrainOutput,
    TrainStep,
};
use ergometer::log::Line;
use ergometer::record::Event;
use ergometer::sensor::fake::{Fake, Load};
use ergometer::sensor::{Domain, Hardware};
use ergometer::{
    Clock, Energy, Kind, MeterBuilder, Power, Quality, Record, Run, RunBuilder, RunLog, Timestamp,
};
use ergometer_burn::prelude::*;
use tempfile::TempDir;

pub(crate) const BATCH: usize = 32;
/// What the sensors see together, always.
pub(crate) const WATTS: f64 = 100.0;

pub(crate) fn power() -> Power {
    Power::from_watts(WATTS)
}

/// Sensors of 60 W and 40 W, the one read every 20 ms and the other every 30 ms, that resolve every window in these tests.
pub(crate) fn builder() -> MeterBuilder {
    let sensor = |domain: Domain, watts, interval| {
        Fake::counter(domain, Load::Constant(Power::from_watts(watts)))
            .power_between(Power::from_watts(watts - 1.0), Power::from_watts(watts + 1.0))
            .specified(|specification| {
                specification.stack = specification.domain.id.clone();
                specification.interval = Duration::from_millis(interval);
            })
    };
    let cpu = sensor(Domain::new(Hardware::Cpu, "package-0", "fake"), 60.0, 20);
    let gpu = sensor(Domain::new(Hardware::Gpu, "GPU-0", "fake"), 40.0, 30);
    ergometer_burn::builder(&Device::flex()).unwrap().sensor(cpu).sensor(gpu)
}

/// What a training leaves behind: burn's files and the run's log.
pub(crate) struct Gym {
    pub(crate) home: TempDir,
    pub(crate) notes: Notes,
    pub(crate) run: Run,
}

impl Gym {
    pub(crate) fn new() -> Gym {
        Gym::with(|meter| meter, |run| run)
    }

    pub(crate) fn with(
        meter: impl FnOnce(MeterBuilder) -> MeterBuilder,
        run: impl FnOnce(RunBuilder) -> RunBuilder,
    ) -> Gym {
        let home = TempDir::new().unwrap();
        let meter = meter(builder()).build().unwrap();
        let run = run(meter.run("net").directory(home.path().join("run"))).start().unwrap();
        // The first steps have no value in burn's logs; here they are to have one.
        while run.energy().quality == Quality::Partial {
            std::thread::yield_now();
        }
        Gym { home, notes: Notes::default(), run }
    }

    pub(crate) fn model(&self) -> Net {
        Net::new(&self.notes)
    }

    /// Where burn writes.
    pub(crate) fn burn(&self) -> PathBuf {
        self.home.path().join("burn")
    }

    /// Trains by burn's own loop with `items` samples, and validates with a quarter of them.
    pub(crate) fn train(
        &self,
        items: usize,
        change: impl FnOnce(SupervisedTraining<Net>) -> SupervisedTraining<Net>,
    ) -> LearningResult<Net> {
        let training = self.training(loader(items, 0), loader(items / 4, 0));
        change(training).launch(self.learner())
    }

    pub(crate) fn training(
        &self,
        loader_train: Arc<dyn DataLoader<Batch>>,
        loader_valid: Arc<dyn DataLoader<Batch>>,
    ) -> SupervisedTraining<Net> {
        let run = &self.run;
        SupervisedTraining::new(self.burn(), run.train(loader_train), run.valid(loader_valid))
            .metrics((LossMetric::new(),))
            .with_energy(run)
            .num_epochs(2)
            .with_application_logger(None)
    }

    pub(crate) fn learner(&self) -> Learner<Net> {
        Learner::new(self.model(), AdamConfig::new().init(), ConstantLr::new(1e-3))
    }

    /// Ends the run, and reads what it logged.
    pub(crate) fn finish(self) -> Findings {
        let Gym { home, notes, run } = self;
        run.finish().unwrap();
        Findings::read(home, notes)
    }
}

/// The windows in a run's log, the truth about them, and burn's own files.
pub(crate) struct Findings {
    pub(crate) home: TempDir,
    pub(crate) windows: Vec<Record>,
    pub(crate) events: Vec<Event>,
    pub(crate) truth: Vec<Work>,
}

impl Findings {
    fn read(home: TempDir, notes: Notes) -> Findings {
        let (mut windows, mut events) = (Vec::new(), Vec::new());
        for line in RunLog::open(home.path().join("run")).unwrap().lines().unwrap() {
            match line.unwrap() {
                Line::Window(record) => windows.push(*record),
                Line::Event(event) => events.push(event),
                Line::Start(_) => {}
            }
        }
        check_sums(&windows);
        for window in &windows {
            let expected = (power() * window.duration).as_joules();
            let (Some(energy), Some(uncertainty)) = (window.energy, window.uncertainty) else {
                continue;
            };
            let (energy, uncertainty) = (energy.as_joules(), uncertainty.as_joules());
            assert!(
                (energy - expected).abs() <= 0.02 * expected + 2.0 * uncertainty + 1e-6,
                "{energy} J, not {expected} J"
            );
        }
        Findings { home, windows, events, truth: notes.take() }
    }

    pub(crate) fn of(&self, kind: Kind) -> Vec<&Record> {
        self.windows.iter().filter(|record| record.kind == kind).collect()
    }

    pub(crate) fn end(&self) -> &Record {
        self.of(Kind::End)[0]
    }

    /// The steps of an epoch or a phase.
    pub(crate) fn steps(&self, of: &Record) -> Vec<&Record> {
        let within = |step: &&Record| step.parent == Some(of.id) && step.lane == of.lane;
        self.of(Kind::Step).into_iter().filter(within).collect()
    }

    /// What was computed within a window: `S` a step, `O` an optimizer's, `V` a validation's.
    pub(crate) fn within(&self, window: &Record) -> String {
        let within =
            self.truth.iter().filter(|work| window.start <= work.start && work.end <= window.end);
        within.map(|work| work.what).collect()
    }

    /// Each computation lies in exactly one step, and each step lies close around its computations.
    pub(crate) fn check_boundaries(&self) {
        let steps = self.of(Kind::Step);
        for work in &self.truth {
            let meets = |step: &&&Record| step.start < work.end && work.start < step.end;
            let met: Vec<_> = steps.iter().filter(meets).collect();
            assert_eq!(met.len(), 1, "{work:?} lies in {} steps", met.len());
            assert!(
                met[0].start <= work.start && work.end <= met[0].end,
                "{work:?} in {:?}",
                met[0]
            );
        }
        let mut gaps: Vec<Duration> = steps.iter().map(|step| self.gap_before(step)).collect();
        gaps.sort();
        let median = gaps[gaps.len() / 2];
        // Where a step's thread is another than the loader's, a busy machine wakes it some slices later.
        assert!(median < Duration::from_millis(10), "between loader and step: {median:?}");
    }

    /// The time from a step's opening to the first computation in it.
    fn gap_before(&self, step: &Record) -> Duration {
        let within =
            self.truth.iter().filter(|work| step.start <= work.start && work.end <= step.end);
        within.map(|work| work.start.since(step.start)).min().expect("each step computes something")
    }

    /// The lines of one of burn's metric logs.
    pub(crate) fn burn_log(&self, split: &str, epoch: u64, metric: &str) -> Vec<String> {
        let path = format!("burn/{split}/epoch-{epoch}/{metric}.log");
        let text = std::fs::read_to_string(self.home.path().join(path)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The value of burn's log for the whole pass.
    pub(crate) fn burn_total(&self, split: &str, epoch: u64, metric: &str) -> f64 {
        let lines = self.burn_log(split, epoch, metric);
        let last =
            lines.last().unwrap_or_else(|| panic!("burn has no {split} {metric} of epoch {epoch}"));
        last.strip_suffix(",final")
            .unwrap_or_else(|| panic!("`{last}` is not final"))
            .parse()
            .unwrap()
    }

    /// Burn's logs say of each epoch and each validation what the run's log says, and tell no step twice.
    pub(crate) fn check_burn_logs(&self) {
        for (split, kind) in [("train", Kind::Epoch), ("valid", Kind::Phase)] {
            for (place, window) in self.of(kind).into_iter().enumerate() {
                let epoch = window.epoch.unwrap_or(place as u64 + 1);
                let energy = window.energy.unwrap().as_joules();
                let total = self.burn_total(split, epoch, "Energy");
                assert!(
                    (total / energy - 1.0).abs() < 1e-9,
                    "{split} {epoch}: {total} J, not {energy} J"
                );
                let power = self.burn_total(split, epoch, "Power");
                assert!((power / WATTS - 1.0).abs() < 0.02, "{split} {epoch}: {power} W");
                for metric in ["Energy", "Power"] {
                    let lines = self.burn_log(split, epoch, metric);
                    let steps = lines.iter().filter_map(|line| line.parse::<f64>().ok());
                    let steps: Vec<_> = steps.filter(|value| *value > 0.0).collect();
                    assert_eq!(steps.len() + 1, lines.len(), "{split} {epoch}: {lines:?}");
                    assert!(steps.len() <= self.steps(window).len(), "{split} {epoch}");
                }
            }
        }
    }
}

/// Σ steps + remainder = epoch and Σ epochs + remainder = run, to the log's last digit.
fn check_sums(windows: &[Record]) {
    let sum = |is: &dyn Fn(&Record) -> bool| -> Energy {
        windows.iter().filter(|record| is(record)).filter_map(|record| record.energy).sum()
    };
    for epoch in windows.iter().filter(|record| record.kind == Kind::Epoch) {
        let steps = sum(&|step| {
            step.kind == Kind::Step
                && (step.parent, step.lane) == (Some(epoch.id), epoch.lane)
                && step.session == epoch.session
        });
        if let (Some(remainder), Some(energy)) = (epoch.remainder, epoch.energy) {
            assert_eq!(steps + remainder, energy);
        }
    }
    let end = windows.last().filter(|record| record.kind == Kind::End).expect("the run has ended");
    let epochs = sum(&|record| record.kind == Kind::Epoch);
    assert_eq!(epochs + end.remainder.unwrap(), end.energy.unwrap());
}

/// When the user's own code really ran.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) what: char,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Notes(Arc<Mutex<Vec<Work>>>);

impl Notes {
    pub(crate) fn note<T>(&self, what: char, work: impl FnOnce() -> T) -> T {
        let (start, result, end) = Clock::system().bracket(work);
        self.0.lock().unwrap().push(Work { what, start, end });
        result
    }

    fn take(&self) -> Vec<Work> {
        let mut truth = std::mem::take(&mut *self.0.lock().unwrap());
        truth.sort_by_key(|work| work.start);
        truth
    }
}

#[derive(Module, Debug)]
pub(crate) struct Net {
    hidden: Linear,
    last: Linear,
    rectifier: Relu,
    #[module(skip)]
    notes: Notes,
}

impl Net {
    fn new(notes: &Notes) -> Net {
        let device = Device::flex().autodiff();
        Net {
            hidden: LinearConfig::new(16, 64).init(&device),
            last: LinearConfig::new(64, 1).init(&device),
            rectifier: Relu::new(),
            notes: notes.clone(),
        }
    }

    pub(crate) fn forward(&self, batch: Batch) -> RegressionOutput {
        let output = self.last.forward(self.rectifier.forward(self.hidden.forward(batch.inputs)));
        let loss = (output.clone() - batch.targets.clone()).powi_scalar(2).mean();
        RegressionOutput::new(loss, output, batch.targets)
    }
}

impl TrainStep for Net {
    type Input = Batch;
    type Output = RegressionOutput;

    fn step(&self, batch: Batch) -> TrainOutput<RegressionOutput> {
        self.notes.note('S', || {
            let output = self.forward(batch);
            TrainOutput::new(self, output.loss.backward(), output)
        })
    }

    fn optimize(
        self,
        optimizer: &mut ModuleOptimizer,
        rate: ModuleLearningRate,
        gradients: GradientsParams,
    ) -> Self {
        let notes = self.notes.clone();
        notes.note('O', || optimizer.step(rate, self, gradients))
    }

    fn optimize_multi(
        self,
        optimizer: &mut ModuleOptimizer,
        rate: ModuleLearningRate,
        gradients: MultiGradientsParams,
    ) -> Self {
        let notes = self.notes.clone();
        notes.note('O', || optimizer.step_multi(rate, self, gradients))
    }
}

impl InferenceStep for Net {
    type Input = Batch;
    type Output = RegressionOutput;

    fn step(&self, batch: Batch) -> RegressionOutput {
        self.notes.note('V', || self.forward(batch))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) inputs: Tensor<2>,
    targets: Tensor<2>,
}

pub(crate) type Item = [f32; 16];

/// The batcher; each batch takes its time.
#[derive(Clone, Default)]
pub(crate) struct Sums {
    pub(crate) time: Duration,
}

impl Batcher<Item, Batch> for Sums {
    fn batch(&self, items: Vec<Item>, device: &Device) -> Batch {
        std::thread::sleep(self.time);
        let sums: Vec<f32> = items.iter().map(|item| item.iter().sum()).collect();
        let inputs = Tensor::<1>::from_floats(items.as_flattened(), device);
        Batch {
            inputs: inputs.reshape([items.len(), 16]),
            targets: Tensor::<1>::from_floats(sums.as_slice(), device).reshape([items.len(), 1]),
        }
    }
}

/// A loader of `count` samples, with worker threads or without.
pub(crate) fn loader(count: usize, workers: usize) -> Arc<dyn DataLoader<Batch>> {
    loader_of(Sums::default(), count, workers)
}

/// A loader whose batches `sums` makes.
pub(crate) fn loader_of(sums: Sums, count: usize, workers: usize) -> Arc<dyn DataLoader<Batch>> {
    let items =
        (0..count).map(|item| std::array::from_fn(|place| ((item * 7 + place) % 13) as f32 / 13.0));
    let items = InMemDataset::new(items.collect());
    DataLoaderBuilder::new(sums).batch_size(BATCH).shuffle(1).num_workers(workers).build(items)
}

/// The only run's directory under `home`, opened again.
pub(crate) fn run_log(home: &Path) -> RunLog {
    RunLog::open(home.join("run")).unwrap()
}
