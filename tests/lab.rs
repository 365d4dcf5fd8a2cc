//! The bench that tests work at: fake sensors over known loads, a meter on a fake clock, and a log read back.

use std::path::Path;
use std::time::Duration;

use ergometer::log::Line;
use ergometer::sensor::fake::{Fake, Load};
use ergometer::sensor::{Domain, Hardware};
use ergometer::{Clock, Energy, FakeClock, Kind, Meter, Power, Record, RunLog};
use tempfile::TempDir;

/// A fake clock, a directory for logs, and whatever sensors a test gives it.
pub(crate) struct Lab {
    pub(crate) hands: FakeClock,
    pub(crate) logs: TempDir,
}

impl Lab {
    pub(crate) fn new() -> Lab {
        Lab { hands: FakeClock::new(), logs: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn clock(&self) -> Clock {
        self.hands.clock()
    }

    pub(crate) fn meter(&self, sensors: impl IntoIterator<Item = Fake>) -> Meter {
        let builder = Meter::builder().clock(self.clock()).log_directory(self.logs.path());
        sensors.into_iter().fold(builder, |builder, sensor| builder.sensor(sensor)).build().unwrap()
    }

    pub(crate) fn pass(&self, millis: u64) {
        self.hands.advance(Duration::from_millis(millis));
    }
}

/// A GPU of 60 to 700 W whose counter is updated every 100 ms.
pub(crate) fn gpu(load: Load) -> Fake {
    Fake::counter(Domain::new(Hardware::Gpu, "GPU-0", "fake GPU"), load)
        .period(Duration::from_millis(100))
        .jitter(0.01)
        .quantum(Energy::from_millijoules(1))
        .power_between(Power::from_watts(60.0), Power::from_watts(700.0))
        .specified(|it| it.stack = "nvml".to_owned())
}

/// A CPU package of 10 to 200 W whose counter is always up to date.
pub(crate) fn cpu(load: Load) -> Fake {
    Fake::counter(Domain::new(Hardware::Cpu, "package-0", "fake CPU"), load)
        .quantum(Energy::from_nanojoules(61_035))
        .power_between(Power::from_watts(10.0), Power::from_watts(200.0))
        .specified(|it| it.stack = "rapl".to_owned())
}

pub(crate) fn constant(watts: f64) -> Load {
    Load::Constant(Power::from_watts(watts))
}

/// 500 W and 200 W in turns, 30 ms each pair: what training steps look like.
pub(crate) fn steps_of_30_ms() -> Load {
    Load::Square {
        high: Power::from_watts(500.0),
        low: Power::from_watts(200.0),
        period: Duration::from_millis(30),
        duty: 0.8,
    }
}

/// A test in real time: a machine that is too busy to read its sensors in time may fail it, but not three times in a row.
pub(crate) fn unless_busy(test: impl Fn()) {
    let passes = || std::panic::catch_unwind(std::panic::AssertUnwindSafe(&test)).is_ok();
    if !passes() && !passes() {
        test();
    }
}

/// Every line of a run's log, having checked each against the schema.
pub(crate) fn lines(run: &Path) -> Vec<Line> {
    check_schema(run);
    RunLog::open(run).unwrap().lines().unwrap().map(Result::unwrap).collect()
}

/// The windows in a run's log, having checked lines and sums.
pub(crate) fn windows(run: &Path) -> Vec<Record> {
    let windows: Vec<Record> = lines(run)
        .into_iter()
        .filter_map(|line| match line {
            Line::Window(record) => Some(*record),
            _ => None,
        })
        .collect();
    check_sums(&windows);
    windows
}

pub(crate) fn of(windows: &[Record], kind: Kind) -> Vec<&Record> {
    windows.iter().filter(|record| record.kind == kind).collect()
}

/// Validates every line of every rank against `docs/log.schema.json`.
pub(crate) fn check_schema(run: &Path) {
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../docs/log.schema.json")).unwrap();
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    compiler.add_resource("log.schema.json", schema).unwrap();
    let line_of_a_log = compiler.compile("log.schema.json", &mut schemas).unwrap();
    for entry in std::fs::read_dir(run).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            for line in std::fs::read_to_string(&path).unwrap().lines() {
                let value: serde_json::Value = serde_json::from_str(line).unwrap();
                let fault =
                    schemas.validate(&value, line_of_a_log).err().map(|fault| fault.to_string());
                assert_eq!(fault, None, "{line}");
            }
        }
    }
}

/// Σ steps + remainder = epoch and Σ epochs + remainder = run, to the last digit; in the total and in each domain's total.
pub(crate) fn check_sums(windows: &[Record]) {
    let sum = |is: &dyn Fn(&Record) -> bool| -> Energy {
        windows.iter().filter(|record| is(record)).filter_map(|record| record.energy).sum()
    };
    for epoch in of(windows, Kind::Epoch) {
        let steps = sum(&|step| {
            step.kind == Kind::Step
                && (step.epoch, step.session, step.lane) == (epoch.epoch, epoch.session, epoch.lane)
                && step.start >= epoch.start
                && step.end <= epoch.end
        });
        if let (Some(energy), Some(remainder)) = (epoch.energy, epoch.remainder) {
            assert_eq!(steps + remainder, energy, "epoch {:?}", epoch.epoch);
        }
    }
    if let Some(end) = windows.iter().rev().find(|record| record.kind == Kind::End) {
        let epochs = sum(&|record| record.kind == Kind::Epoch);
        assert_eq!(epochs + end.remainder.unwrap(), end.energy.unwrap(), "the run");
        let domains: Energy = end
            .domains
            .values()
            .filter(|share| share.in_total)
            .filter_map(|share| share.energy)
            .sum();
        assert_eq!(domains, end.energy.unwrap(), "the domains of the run");
    }
}
