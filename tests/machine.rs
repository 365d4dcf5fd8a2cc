//! Whole machines: powercap trees whose counters move, stub NVML libraries, and machines with neither.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ergometer::log::Line;
use ergometer::sensor::Selection;
use ergometer::{Clock, Energy, Kind, Meter, Power, Quality, Record, Timestamp};

use crate::lab::{lines, of, unless_busy, windows};
use crate::rapl::Tree;
use crate::stub::{Gpu, Nvml, Profile};

/// Moves the counters of a powercap tree in real time: each zone at a constant power, about every millisecond.
struct Pump {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// When the counters stood still for longer, because this thread was kept from running.
    pauses: Arc<Mutex<Vec<(Timestamp, Timestamp)>>>,
}

/// What a counter may stand still for.
const STILL: Duration = Duration::from_millis(2);

impl Pump {
    fn new(tree: &Arc<Tree>, zones: &'static [(&'static str, u64, u64)]) -> Pump {
        let (stop, tree) = (Arc::new(AtomicBool::new(false)), Arc::clone(tree));
        let stopped = Arc::clone(&stop);
        let pauses = Arc::new(Mutex::new(Vec::new()));
        let (clock, paused) = (Clock::system(), Arc::clone(&pauses));
        let begun = clock.now();
        let thread = std::thread::Builder::new().name("pump".to_owned()).spawn(move || {
            let mut last = begun;
            while !stopped.load(Ordering::Relaxed) {
                let now = clock.now();
                let micros = u64::try_from(now.since(begun).as_micros()).unwrap();
                for (entry, first, watts) in zones {
                    tree.set(entry, (first + micros * watts) % (RANGE + 61));
                }
                let done = clock.now();
                if done.since(last) > STILL {
                    paused.lock().unwrap().push((last, done));
                }
                last = now;
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Pump { stop, thread: Some(thread.unwrap()), pauses }
    }

    /// For how long the counters stood still in readings that a window's ends are made of.
    fn paused(&self, window: &Record) -> Duration {
        let about = Duration::from_millis(100);
        let pauses = self.pauses.lock().unwrap();
        let at = |end: Timestamp| -> Duration {
            let near = pauses.iter().filter(|(from, to)| *from < end + about && end < *to + about);
            near.map(|(from, to)| to.since(*from)).max().unwrap_or_default()
        };
        at(window.start) + at(window.end)
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

/// As `rapl::Tree` writes it into `max_energy_range_uj`.
const RANGE: u64 = 262_143_328_850;

/// Two packages with memory; the second package wraps half a second in. The others overlap them.
const ZONES: &[(&str, u64, u64)] = &[
    ("intel-rapl:0", 1_000_000_000, 60),
    ("intel-rapl:0:0", 500_000_000, 30),
    ("intel-rapl:0:1", 200_000_000, 8),
    ("intel-rapl:1", RANGE - 20_000_000, 40),
    ("intel-rapl:1:0", 700_000_000, 6),
    ("intel-rapl:2", 5_000_000_000, 150),
    ("intel-rapl-mmio:0", 1_000_000_000, 60),
];

fn two_packages() -> Arc<Tree> {
    let tree = Tree::new();
    let names = ["package-0", "core", "dram", "package-1", "dram", "psys", "package-0"];
    for ((entry, first, _), name) in ZONES.iter().zip(names) {
        tree.zone(entry, name, *first);
    }
    Arc::new(tree)
}

fn two_gpus() -> Nvml {
    let square = Profile::Square { period: 0.05, duty: 0.5, high: 300.0, low: 100.0 };
    let gpu = |n: u32, profile, period| Gpu {
        uuid: format!("GPU-0000000{n}-0000-0000-0000-000000000000"),
        pci: format!("00000000:{n}7:00.0"),
        profile,
        period,
        ..Gpu::default()
    };
    Nvml::of([gpu(1, square, 0.02), gpu(2, Profile::Steps(vec![(0.0, 150.0), (1.0, 250.0)]), 0.1)])
}

#[test]
fn a_run_on_two_packages_and_two_gpus_agrees_with_the_integrals() {
    let (tree, nvml, logs) = (two_packages(), two_gpus(), tempfile::tempdir().unwrap());
    let pump = Pump::new(&tree, ZONES);
    let meter = Meter::builder()
        .sysfs(tree.root())
        .nvml_library(nvml.path())
        .log_directory(logs.path())
        .build()
        .unwrap();
    let domains: Vec<_> =
        meter.sensors().filter(|it| it.in_total).map(|it| it.domain.id.clone()).collect();
    let expected = ["cpu:package-0", "cpu:package-1", "dram:package-0", "dram:package-1"];
    assert_eq!(domains.len(), 6, "{domains:?}");
    assert!(
        expected.iter().all(|domain| domains.iter().any(|found| found == domain)),
        "{domains:?}"
    );
    let beside: Vec<_> =
        meter.sensors().filter(|it| !it.in_total).map(|it| it.domain.id.clone()).collect();
    assert_eq!(beside, ["node:psys"]);

    let run = meter.run("machine").start().unwrap();
    for _epoch in run.epochs(1..=3) {
        for _batch in run.steps(0..14) {
            std::thread::sleep(Duration::from_millis(60));
        }
    }
    let path = run.path().to_owned();
    run.finish().unwrap();

    let windows = windows(&path);
    // The energy, and by how much the counters of this very test are off it.
    let truth = |record: &Record, domain: &str| -> (Energy, Energy) {
        let watts = |watts: f64| {
            let power = Power::from_watts(watts);
            (power * record.duration, power * pump.paused(record))
        };
        match domain {
            "cpu:package-0" => watts(60.0),
            "cpu:package-1" => watts(40.0),
            "dram:package-0" => watts(8.0),
            "dram:package-1" => watts(6.0),
            "node:psys" => watts(150.0),
            gpu => {
                let second = usize::from(gpu.starts_with("gpu:GPU-00000002"));
                (nvml.energy_between(second, record.start, record.end), Energy::ZERO)
            }
        }
    };
    let pull = |energy: Energy, (truth, blur): (Energy, Energy), uncertainty: Energy| {
        ((energy - truth).as_joules().abs() - blur.as_joules()).max(0.0) / uncertainty.as_joules()
    };
    // Errors in units of the standard uncertainty, of every energy of every window.
    let (mut pulls, mut resolved) = (Vec::new(), 0);
    for record in &windows {
        let mut total = (Energy::ZERO, Energy::ZERO);
        for (domain, share) in &record.domains {
            let truth = truth(record, domain);
            if share.in_total {
                total = (total.0 + truth.0, total.1 + truth.1);
            }
            let (Some(energy), Some(uncertainty)) = (share.energy, share.uncertainty) else {
                continue;
            };
            assert!(uncertainty > Energy::ZERO, "{domain}: {record:?}");
            resolved += 1;
            // Where the counters stood still there is no truth to hold it against.
            pulls.extend((truth.1 == Energy::ZERO).then(|| pull(energy, truth, uncertainty)));
        }
        if let (Some(energy), Some(uncertainty)) = (record.energy, record.uncertainty) {
            let pull = pull(energy, total, uncertainty);
            resolved += 1;
            pulls.extend((total.1 == Energy::ZERO).then_some(pull));
            assert!(pull <= 2.0 || record.kind == Kind::Step, "{total:?}: {record:?}");
        }
    }
    assert!(resolved > 300, "{resolved} energies were resolved");
    // Within ± 2u lie 95 % of the steps' energies, and the others not far off.
    let outside = pulls.iter().filter(|pull| **pull > 2.0).count();
    assert!(outside * 20 <= pulls.len(), "{outside} of {} are more than 2 u off", pulls.len());
    assert!(pulls.iter().all(|pull| *pull < 4.0), "{pulls:?}");
    for epoch in of(&windows, Kind::Epoch).into_iter().chain(of(&windows, Kind::End)) {
        assert!(matches!(epoch.quality, Quality::Measured | Quality::Amortised), "{epoch:?}");
    }
    let wraps = lines(&path).into_iter().filter(
        |line| matches!(line, Line::Event(event) if event.event == "wrap" && event.domain.as_deref() == Some("cpu:package-1")),
    );
    assert_eq!(wraps.count(), 1);
}

#[test]
fn a_machine_without_gpu_and_rapl_gives_estimates_that_say_so() {
    unless_busy(|| {
        let (empty, logs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let begun = Instant::now();
        let meter = Meter::builder()
            .sysfs(empty.path())
            .nvml_library(empty.path().join("libnvidia-ml.so.1"))
            .log_directory(logs.path())
            .build()
            .unwrap();
        // Nothing is waited for: the first second of a sensor is one of trial.
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        let ids: Vec<_> = meter.sensors().map(|it| it.domain.id.clone()).collect();
        assert_eq!(ids, ["cpu:model", "dram:model"]);
        let missing: Vec<_> = meter.unmeasured().iter().map(|it| it.source.clone()).collect();
        for source in ["nvml", "rapl"] {
            let absence = meter.unmeasured().iter().find(|it| it.source.contains(source));
            assert!(
                absence.is_some_and(|it| it.error.remedy().is_some()),
                "{source} is missing in {missing:?}"
            );
        }
        let run = meter.run("estimated").start().unwrap();
        for _epoch in run.epochs(1..=2) {
            for _batch in run.steps(0..5) {
                std::thread::sleep(Duration::from_millis(20));
            }
            let _evaluate = run.phase("evaluate");
            std::thread::sleep(Duration::from_millis(20));
        }
        let path = run.path().to_owned();
        let summary = run.finish().unwrap();
        assert!(summary.end.energy > Some(Energy::ZERO), "{summary}");
        for record in windows(&path) {
            assert_eq!(record.quality, Quality::Estimated, "{record:?}");
            assert!(
                record.uncertainty.unwrap().as_joules() > 0.2 * record.energy.unwrap().as_joules()
            );
        }
        for line in summary
            .to_string()
            .lines()
            .filter(|line| line.contains('±') && !line.contains("U (k=2)"))
        {
            assert!(line.contains("estimated"), "{line}");
        }
    });
}

#[test]
fn a_gpu_that_is_lost_and_returns_is_in_the_log_and_harms_no_other() {
    let logs = tempfile::tempdir().unwrap();
    let lost = Gpu { lost: Some((0.4, 0.8)), uuid: "GPU-lost".to_owned(), ..Gpu::default() };
    let other =
        Gpu { uuid: "GPU-other".to_owned(), pci: "00000000:27:00.0".to_owned(), ..Gpu::default() };
    let nvml = Nvml::of([lost, other]);
    let empty = tempfile::tempdir().unwrap();
    let meter =
        Meter::builder().sysfs(empty.path()).nvml_library(nvml.path()).log_directory(logs.path());
    let meter = meter.build().unwrap();
    let run = meter.run("lost").start().unwrap();
    for _epoch in run.epochs(1..=6) {
        std::thread::sleep(Duration::from_millis(300));
    }
    let path = run.path().to_owned();
    run.finish().unwrap();
    let events: Vec<_> = lines(&path)
        .into_iter()
        .filter_map(|line| match line {
            Line::Event(event) => Some((event.event, event.domain.unwrap_or_default())),
            _ => None,
        })
        .collect();
    for event in ["sensor-lost", "sensor-back"] {
        assert!(events.contains(&(event.to_owned(), "gpu:GPU-lost".to_owned())), "{events:?}");
    }
    assert!(events.iter().all(|(_, domain)| domain != "gpu:GPU-other"), "{events:?}");
    for epoch in of(&windows(&path), Kind::Epoch) {
        assert!(epoch.domains["gpu:GPU-other"].quality <= Quality::Amortised, "{epoch:?}");
    }
}

#[test]
fn a_driver_that_hangs_while_training_holds_up_nobody() {
    unless_busy(|| {
        let (logs, empty) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let hanging = Nvml::of([Gpu { hangs: Some((0.3, 30.0)), ..Gpu::default() }]);
        let meter = Meter::builder()
            .sysfs(empty.path())
            .nvml_library(hanging.path())
            .log_directory(logs.path());
        let meter = meter.build().unwrap();
        let run = meter.run("hangs").start().unwrap();
        let clock = Clock::system();
        let mut longest = Duration::ZERO;
        let mut before = clock.now();
        for _batch in run.steps(0..60) {
            longest = longest.max(clock.now().since(before));
            std::thread::sleep(Duration::from_millis(10));
            before = clock.now();
        }
        // The driver hangs for half a minute.
        assert!(longest < Duration::from_secs(5), "a boundary took {longest:?}");
        let ended: Timestamp = clock.now();
        let summary = run.finish().unwrap();
        assert!(clock.now().since(ended) < Duration::from_secs(10));
        let gpu =
            summary.end.domains.iter().find(|(domain, _)| domain.starts_with("gpu:")).unwrap().1;
        assert_eq!(gpu.quality, Quality::Partial);
        assert_eq!(summary.end.domains["cpu:model"].quality, Quality::Estimated);
    });
}

#[test]
fn a_meter_of_this_machine_is_there_at_once() {
    // The shortest of three, because other tests keep this machine busy. A trial that was waited for would take a second.
    let detect = || {
        let begun = Instant::now();
        Meter::detect().map(|_| begun.elapsed())
    };
    let shortest = (0..3).filter_map(|_| detect().ok()).min();
    // With an NVIDIA driver, its initialisation is in the time.
    let driver = Meter::detect()
        .is_ok_and(|meter| meter.sensors().any(|it| it.domain.id.starts_with("gpu:")));
    assert!(driver || shortest.unwrap() < Duration::from_millis(500), "{shortest:?}");
}

#[test]
fn cards_that_do_not_train_are_named_and_not_measured() {
    let (empty, procfs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for card in ["0000:17:00.0", "0000:27:00.0"] {
        std::fs::create_dir_all(procfs.path().join("driver/nvidia/gpus").join(card)).unwrap();
    }
    for file in ["stat", "cpuinfo", "meminfo"] {
        std::fs::copy(format!("/proc/{file}"), procfs.path().join(file)).unwrap();
    }
    let nvml = Nvml::of([Gpu::default()]);
    let meter = |gpus| {
        Meter::builder()
            .sysfs(empty.path())
            .procfs(procfs.path())
            .nvml_library(nvml.path())
            .gpus(gpus)
            .build()
            .unwrap()
    };
    let named =
        |meter: &Meter, name: &str| meter.unmeasured().iter().any(|absence| absence.source == name);
    assert!(named(&meter(Selection::Pci(vec![Gpu::default().pci])), "1 other GPUs"));
    assert!(named(&meter(Selection::Pci(vec![])), "2 other GPUs"));
    assert!(!named(&meter(Selection::All), "0 other GPUs"));
}
