//! A model to train, a run to measure it, and the log to look at afterwards.

use std::path::Path;
use std::time::Duration;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Linear, Module, Optimizer, SGD, VarBuilder, VarMap, linear};
use ergometer::log::Line;
use ergometer::record::{Event, Kind, Manifest, Record, Status};
use ergometer::sensor::fake::{Fake, Load};
use ergometer::sensor::{Domain, Hardware};
use ergometer::{Energy, FakeClock, MeterBuilder, Power, Run, RunBuilder, RunLog, Timestamp};
use tempfile::TempDir;

/// What a batch takes to come, to be trained on, and what an evaluation takes.
pub(crate) const FETCH: Duration = Duration::from_millis(2);
pub(crate) const UPDATE: Duration = Duration::from_millis(10);
pub(crate) const EVALUATION: Duration = Duration::from_millis(5);

/// The power that the sensor sees, always.
pub(crate) fn power() -> Power {
    Power::from_watts(100.0)
}

/// An energy counter of constant power that resolves every window in these tests.
pub(crate) fn sensor() -> Fake {
    Fake::counter(Domain::new(Hardware::Cpu, "package-0", "fake"), Load::Constant(power()))
        .power_between(Power::from_watts(99.0), Power::from_watts(101.0))
        .specified(|specification| specification.interval = Duration::from_millis(2))
}

/// A linear model, its data, and a run on a fake clock.
pub(crate) struct Gym {
    pub(crate) hands: FakeClock,
    pub(crate) run: Run,
    pub(crate) variables: VarMap,
    model: Linear,
    home: TempDir,
}

impl Gym {
    pub(crate) fn new() -> Gym {
        Gym::with(|builder| builder, |run| run)
    }

    pub(crate) fn with(
        meter: impl FnOnce(MeterBuilder) -> MeterBuilder,
        run: impl FnOnce(RunBuilder) -> RunBuilder,
    ) -> Gym {
        Gym::on(FakeClock::new(), meter, run)
    }

    pub(crate) fn on(
        hands: FakeClock,
        meter: impl FnOnce(MeterBuilder) -> MeterBuilder,
        run: impl FnOnce(RunBuilder) -> RunBuilder,
    ) -> Gym {
        let home = TempDir::new().unwrap();
        let builder = ergometer_candle::builder(&Device::Cpu).unwrap().sensor(sensor());
        let meter = meter(builder.clock(hands.clock())).build().unwrap();
        let run = run(meter.run("linear").directory(home.path())).start().unwrap();
        let (model, variables) = model().unwrap();
        Gym { hands, run, variables, model, home }
    }

    /// Batches that take their time to come.
    pub(crate) fn batches(&self, count: usize) -> impl Iterator<Item = Tensor> {
        let hands = self.hands.clone();
        std::iter::repeat_with(move || {
            hands.advance(FETCH);
            batch(4)
        })
        .take(count)
    }

    pub(crate) fn optimizer(&self) -> SGD {
        SGD::new(self.variables.all_vars(), 0.1).unwrap()
    }

    /// An update of the model. It takes its time, also when it fails.
    pub(crate) fn train(&self, optimizer: &mut impl Optimizer, batch: &Tensor) -> Result<()> {
        self.hands.advance(UPDATE);
        optimizer.backward_step(&self.loss(batch)?)
    }

    pub(crate) fn evaluate(&self) -> Result<f64> {
        self.hands.advance(EVALUATION);
        Ok(self.loss(&batch(4))?.to_scalar::<f32>()?.into())
    }

    pub(crate) fn loss(&self, batch: &Tensor) -> Result<Tensor> {
        self.model.forward(batch)?.sqr()?.mean_all()
    }

    /// Ends the run and reads its log back. All of it has to be measured, to the sensor's last digit.
    pub(crate) fn finish(self) -> Log {
        self.finish_with_table().1
    }

    /// Ends the run likewise; gives the table too.
    pub(crate) fn finish_with_table(self) -> (String, Log) {
        let table = self.run.finish().unwrap().to_string();
        let log = Log::read(self.home.path());
        for window in log.windows() {
            let truth = power() * window.duration;
            let off = window.energy.map(|energy| (energy - truth).abs());
            assert!(
                off.is_some_and(|off| off <= Energy::from_nanojoules(2)),
                "{window:?} is not {truth}"
            );
        }
        (table, log)
    }
}

/// A model of four inputs, and its variables.
pub(crate) fn model() -> Result<(Linear, VarMap)> {
    let variables = VarMap::new();
    Ok((linear(4, 2, VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu))?, variables))
}

/// A batch of eight; the model fails on one that is not four `wide`.
pub(crate) fn batch(wide: usize) -> Tensor {
    Tensor::ones((8, wide), DType::F32, &Device::Cpu).unwrap()
}

/// A run's log, read back and found consistent.
pub(crate) struct Log {
    pub(crate) manifest: Manifest,
    pub(crate) steps: Vec<Record>,
    pub(crate) epochs: Vec<Record>,
    pub(crate) phases: Vec<Record>,
    pub(crate) events: Vec<Event>,
    pub(crate) end: Record,
}

impl Log {
    pub(crate) fn read(directory: &Path) -> Log {
        let log = RunLog::open(directory).unwrap();
        let (mut windows, mut events) = (Vec::new(), Vec::new());
        for line in log.lines().unwrap() {
            match line.unwrap() {
                Line::Start(_) => {}
                Line::Window(record) => windows.push(*record),
                Line::Event(event) => events.push(event),
            }
        }
        let mut of =
            |kind| windows.extract_if(.., |window| window.kind == kind).collect::<Vec<_>>();
        let (steps, epochs, phases) = (of(Kind::Step), of(Kind::Epoch), of(Kind::Phase));
        let [end] = of(Kind::End).try_into().unwrap();
        let log = Log { manifest: log.manifest, steps, epochs, phases, events, end };
        log.check();
        log
    }

    pub(crate) fn windows(&self) -> impl Iterator<Item = &Record> {
        self.steps.iter().chain(&self.epochs).chain(&self.phases).chain([&self.end])
    }

    /// True of every log, whatever the loop did.
    fn check(&self) {
        for window in self.windows().filter(|window| window.kind != Kind::End) {
            let around = window.parent.map_or(&self.end, |id| {
                let mut parents =
                    self.windows().filter(|parent| (parent.lane, parent.id) == (window.lane, id));
                parents.next().unwrap_or_else(|| panic!("no line for the parent of {window:?}"))
            });
            assert!(
                around.start <= window.start && window.end <= around.end,
                "{window:?} is not within {around:?}"
            );
        }
        let mut numbers: Vec<_> = self.steps.iter().map(|step| (step.lane, step.step)).collect();
        numbers.dedup();
        assert_eq!(numbers.len(), self.steps.len(), "no step has another's number");
        for epoch in &self.epochs {
            let steps = self.steps_of(epoch).count();
            assert_eq!(epoch.steps, Some(steps as u64));
            if let (Some(remainder), Some(energy)) = (epoch.remainder, epoch.energy) {
                assert_eq!(sum(self.steps_of(epoch)) + remainder, energy);
            }
        }
        assert_eq!(sum(self.epochs.iter()) + self.end.remainder.unwrap(), self.end.energy.unwrap());
    }

    pub(crate) fn steps_of(&self, around: &Record) -> impl Iterator<Item = &Record> {
        self.steps.iter().filter(|step| (step.lane, step.parent) == (around.lane, Some(around.id)))
    }

    /// When each step began and how long it took, counted from the run's start.
    pub(crate) fn step_times(&self) -> Vec<(Duration, Duration)> {
        self.steps.iter().map(|step| (self.since_start(step.start), step.duration)).collect()
    }

    pub(crate) fn since_start(&self, at: Timestamp) -> Duration {
        at.since(self.end.start)
    }
}

fn sum<'a>(windows: impl Iterator<Item = &'a Record>) -> Energy {
    windows.filter_map(|window| window.energy).sum()
}

/// How windows ended.
pub(crate) fn statuses(windows: &[Record]) -> Vec<Status> {
    windows.iter().map(|window| window.status).collect()
}

/// All but the last are complete, and the last is `last`.
#[track_caller]
pub(crate) fn assert_all_complete_but_last(windows: &[Record], count: usize, last: Status) {
    let mut expected = vec![Status::Complete; count - 1];
    expected.push(last);
    assert_eq!(statuses(windows), expected);
}
