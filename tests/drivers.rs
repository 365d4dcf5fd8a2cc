//! Drivers that fail, beside a sensor that does not: real trainings of a second, on a stub NVML library.
//!
//! Whatever the driver does, the training loop does not wait for it, the end of the run does not either, the record says
//! what happened, and the other sensor's energy is whole.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ergometer::log::Line;
use ergometer::sensor::fake::{Fake, Load};
use ergometer::sensor::{Domain, Hardware, Selection, Specification};
use ergometer::{Clock, Kind, Meter, Power, Quality, Record, Status};

use crate::lab::{check_sums, lines, unless_busy};
use crate::stub::{Gpu, Machine, Nvml, Profile};

/// `nvmlReturn_t`.
const NO_PERMISSION: u32 = 4;
const DRIVER_MISMATCH: u32 = 18;

/// The energy counter and the powers that NVML gives.
const READINGS: [&str; 3] =
    ["nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetPowerUsage", "nvmlDeviceGetFieldValues"];

const OTHER: &str = "cpu:beside";
const GPU: &str = "gpu:GPU-00000000-0000-0000-0000-000000000000";

/// What a training beside a driver came to.
struct Training {
    end: Record,
    steps: Vec<Record>,
    /// The events of each domain, in order.
    events: Vec<(String, Option<String>)>,
    sensors: Vec<Specification>,
    /// What is not measured, and why.
    unmeasured: BTreeMap<String, String>,
}

impl Training {
    /// What befell a domain's sensor. That steps of one length may beat with its updates is no fault of the driver.
    fn events_of(&self, domain: &str) -> Vec<&str> {
        let of = |(event, it): &&(String, Option<String>)| {
            it.as_deref() == Some(domain) && event != "aliasing"
        };
        self.events.iter().filter(of).map(|(event, _)| event.as_str()).collect()
    }

    /// The domain's energy over the whole run.
    fn joules(&self, domain: &str) -> f64 {
        self.end.domains[domain].energy.unwrap().as_joules()
    }

    /// What was seen of the domain's energy, where that is not all.
    fn joules_seen(&self, domain: &str) -> f64 {
        self.end.domains[domain].total.as_joules()
    }

    fn quality(&self, domain: &str) -> Quality {
        self.end.domains[domain].quality
    }

    /// The reason for the one thing of NVML that is not measured.
    fn reason(&self) -> &str {
        let nvml: Vec<_> =
            self.unmeasured.iter().filter(|(source, _)| source.starts_with("nvml")).collect();
        let [(_, reason)] = nvml[..] else { panic!("{:?}", self.unmeasured) };
        reason
    }
}

/// Trains until the stub's machine is `seconds` old, for half a second at least, with steps of about 2 ms; checks what
/// always holds.
fn train(stub: &Nvml, seconds: f64) -> Training {
    let directory = tempfile::tempdir().unwrap();
    let nothing = directory.path().join("nothing");
    let watts = Power::from_watts(50.0);
    let other = Fake::counter(Domain::new(Hardware::Cpu, "beside", "a CPU"), Load::Constant(watts))
        .period(Duration::from_millis(1))
        .power_between(Power::ZERO, Power::from_watts(200.0))
        .specified(|it| it.stack = "beside".to_owned());
    let meter = Meter::builder()
        .nvml_library(stub.path())
        .gpus(Selection::All)
        .sysfs(&nothing)
        .procfs(&nothing)
        .devices(&nothing)
        .sensor(other)
        .detected()
        .clock(Clock::system())
        .log_directory(directory.path())
        .build()
        .unwrap();
    let unmeasured = meter
        .unmeasured()
        .iter()
        .map(|absence| (absence.source.clone(), absence.error.to_string()))
        .collect();
    let sensors = meter.sensors().cloned().collect();

    // Each sensor has been read before anything is counted.
    std::thread::sleep(Duration::from_millis(100));
    let run = meter.run("driver").start().unwrap();
    let mut boundaries = Vec::new();
    let epoch = run.open_epoch(1);
    let seconds = seconds.max(stub.time() + 0.5);
    while stub.time() < seconds {
        let begun = Instant::now();
        let step = run.open_step();
        boundaries.push(begun.elapsed());
        std::thread::sleep(Duration::from_millis(2));
        let ended = Instant::now();
        run.close_step(step, Status::Complete);
        boundaries.push(ended.elapsed());
    }
    run.close(epoch, Status::Complete);
    let path = run.path().to_owned();
    let finished = Instant::now();
    let summary = run.finish().unwrap();
    let finish = finished.elapsed();

    // One boundary costs about a microsecond. A busy machine may take the processor away for longer now and then, but a
    // call that waits for a driver would be felt at each boundary, or once for as long as the driver hangs.
    boundaries.sort();
    let (usual, last) = (boundaries[boundaries.len() * 95 / 100], boundaries[boundaries.len() - 1]);
    assert!(usual < Duration::from_millis(5), "19 of 20 boundaries took up to {usual:?}");
    assert!(last < Duration::from_secs(5), "one boundary took {last:?}");
    assert!(finish < Duration::from_secs(10), "the end took {finish:?}");

    let lines = lines(&path);
    let windows: Vec<Record> = lines
        .iter()
        .filter_map(|line| match line {
            Line::Window(record) => Some((**record).clone()),
            _ => None,
        })
        .collect();
    check_sums(&windows);
    let events = lines
        .iter()
        .filter_map(|line| match line {
            Line::Event(event) => Some((event.event.clone(), event.domain.clone())),
            _ => None,
        })
        .collect();
    let steps = windows.into_iter().filter(|window| window.kind == Kind::Step).collect();
    let training = Training { end: summary.end, steps, events, sensors, unmeasured };

    let expected = 50.0 * training.end.duration.as_secs_f64();
    let other = training.joules(OTHER);
    assert!((other / expected - 1.0).abs() < 0.05, "{other} J of {expected} J beside");
    assert!(training.quality(OTHER) <= Quality::Amortised, "{:?}", training.end);
    assert!(training.events_of(OTHER).is_empty(), "{:?}", training.events);
    training
}

/// A training beside a driver that gives nothing: the only energy is the other sensor's, and it is said why.
fn train_without(stub: &Nvml) -> Training {
    let training = train(stub, 0.0);
    assert_eq!(training.sensors.len(), 1);
    assert_eq!(training.end.domains.len(), 1);
    assert!(training.end.quality <= Quality::Amortised, "{:?}", training.end);
    training
}

#[test]
fn nothing_fails() {
    unless_busy(|| {
        let stub = Nvml::of([Gpu::default()]);
        let training = train(&stub, 1.0);
        let (joules, seconds) = (training.joules(GPU), training.end.duration.as_secs_f64());
        assert!((joules / seconds / 200.0 - 1.0).abs() < 0.05, "{joules} J in {seconds} s");
        assert!(training.quality(GPU) <= Quality::Amortised, "{:?}", training.end);
        assert!(training.events_of(GPU).is_empty(), "{:?}", training.events);
    });
}

#[test]
fn symbols_are_missing() {
    unless_busy(|| {
        let stub = Nvml::of([Gpu::default()]).without(&READINGS);
        let training = train_without(&stub);
        assert!(
            training.reason().contains("neither its energy nor its power"),
            "{}",
            training.reason()
        );
    });
}

#[test]
fn nothing_is_supported() {
    unless_busy(|| {
        let gpu = Gpu { energy: false, instant: false, usage: false, ..Gpu::default() };
        let training = train_without(&Nvml::of([gpu]));
        assert!(training.reason().contains("virtual GPU"), "{}", training.reason());
    });
}

#[test]
fn the_user_has_no_permission() {
    unless_busy(|| {
        let stub = Nvml::new(Machine { init: NO_PERMISSION, ..Machine::default() });
        assert!(train_without(&stub).reason().contains("/dev/nvidiactl"));
        let stub = Nvml::of([Gpu { refuses: NO_PERMISSION, ..Gpu::default() }]);
        assert!(train_without(&stub).reason().contains("refuses this user"));
    });
}

#[test]
fn the_driver_and_the_library_do_not_match() {
    unless_busy(|| {
        let stub = Nvml::new(Machine { init: DRIVER_MISMATCH, ..Machine::default() });
        assert!(train_without(&stub).reason().contains("different versions"));
    });
}

#[test]
fn the_driver_hangs_while_it_is_opened() {
    unless_busy(|| {
        let gpus = vec![Gpu::default()];
        let stub = Nvml::new(Machine { init_takes: 30.0, gpus, ..Machine::default() });
        let training = train_without(&stub);
        assert!(training.reason().contains("has not answered within"), "{}", training.reason());
        assert!(stub.time() < 10.0, "{} s for a training of half a second", stub.time());
    });
}

#[test]
fn the_driver_hangs_while_it_is_read() {
    unless_busy(|| {
        let stub = Nvml::of([Gpu { hangs: Some((0.7, 30.7)), ..Gpu::default() }]);
        let training = train(&stub, 3.3);
        assert_eq!(training.events_of(GPU), ["stalled"]);
        // What was seen is there, and said not to be all.
        let joules = training.joules_seen(GPU);
        assert!(joules < 2.0 * 200.0, "{joules}");
        assert_eq!(training.quality(GPU), Quality::Partial);
        assert_eq!(training.end.quality, Quality::Partial);
        assert!(stub.time() < 10.0);
    });
}

#[test]
fn a_gpu_is_lost_and_comes_back_with_its_counter_set_back() {
    unless_busy(|| {
        let lost = Some((0.7, 1.2));
        let stub = Nvml::of([Gpu { lost, reset: Some(1.1), renewed: true, ..Gpu::default() }]);
        let training = train(&stub, 2.6);
        assert_eq!(training.events_of(GPU), ["sensor-lost", "sensor-back", "reset"]);
        assert_eq!(training.quality(GPU), Quality::Partial);
        // Before it was lost and since it was found again, about a second later, and nothing of what it had counted before.
        let joules = training.joules_seen(GPU);
        assert!((60.0..400.0).contains(&joules), "{joules}");
    });
}

#[test]
fn a_gpu_is_lost_and_comes_back_as_if_nothing_had_been() {
    unless_busy(|| {
        let stub = Nvml::of([Gpu { lost: Some((0.7, 1.2)), ..Gpu::default() }]);
        let training = train(&stub, 2.4);
        assert_eq!(training.events_of(GPU), ["sensor-lost", "sensor-back"]);
        // The counter went on meanwhile, so nothing is missing but how it was spread.
        let (joules, seconds) = (training.joules(GPU), training.end.duration.as_secs_f64());
        assert!((joules / seconds / 200.0 - 1.0).abs() < 0.05, "{joules} J in {seconds} s");
    });
}

#[test]
fn a_counter_is_set_back() {
    unless_busy(|| {
        let stub = Nvml::of([Gpu { reset: Some(0.8), ..Gpu::default() }]);
        let training = train(&stub, 1.5);
        assert_eq!(training.events_of(GPU), ["reset"]);
        assert_eq!(training.quality(GPU), Quality::Partial);
        let (joules, seconds) = (training.joules_seen(GPU), training.end.duration.as_secs_f64());
        // At most what is used between two readings is lost.
        assert!((0.85..1.05).contains(&(joules / seconds / 200.0)), "{joules} J in {seconds} s");
    });
}

#[test]
fn powers_and_energies_are_absurd_for_a_while() {
    unless_busy(|| {
        for energy in [true, false] {
            let absurd = Some((0.8, 1.2, 3.9e6));
            let stub = Nvml::of([Gpu { energy, absurd, ..Gpu::default() }]);
            let training = train(&stub, 2.4);
            let events = training.events_of(GPU);
            assert_eq!(events.get(..2), Some(&["sensor-lost", "sensor-back"][..]), "{events:?}");
            let (joules, seconds) =
                (training.joules_seen(GPU), training.end.duration.as_secs_f64());
            assert!((0.7..1.1).contains(&(joules / seconds / 200.0)), "{joules} J in {seconds} s");
            for step in &training.steps {
                let watts = step.power().map_or(0.0, Power::as_watts);
                assert!(watts < 2_000.0, "{watts} W in {step:?}");
            }
        }
    });
}

#[test]
fn a_superchip_gives_its_module_only() {
    unless_busy(|| {
        let gpu =
            Gpu { energy: false, instant: false, usage: false, module: Some(0), ..Gpu::default() };
        let modules = vec![Profile::Steps(vec![(0.0, 900.0)])];
        let stub = Nvml::new(Machine { gpus: vec![gpu], modules, ..Machine::default() });
        let training = train(&stub, 1.2);
        let (joules, seconds) = (training.joules(GPU), training.end.duration.as_secs_f64());
        assert!((joules / seconds / 900.0 - 1.0).abs() < 0.05, "{joules} J in {seconds} s");
        let gpu = training.sensors.iter().find(|it| it.domain.id == GPU).unwrap();
        assert!(gpu.contains(Hardware::Cpu) && gpu.scope.starts_with("module"), "{gpu:?}");
    });
}

#[test]
fn sixteen_gpus_are_sixteen_domains_on_one_thread() {
    unless_busy(|| {
        let gpu = |number: u32| Gpu {
            uuid: format!("GPU-{number}"),
            pci: format!("00000000:{number:02X}:00.0"),
            profile: Profile::Steps(vec![(0.0, 100.0 + 10.0 * f64::from(number))]),
            ..Gpu::default()
        };
        let gpus: Vec<_> = (0..16).map(gpu).collect();
        let stub = Nvml::new(Machine { gpus, call_takes: 50e-6, ..Machine::default() });
        let training = train(&stub, 1.5);
        let stacks: Vec<_> = training.sensors.iter().map(|it| it.stack.as_str()).collect();
        assert_eq!(stacks.iter().filter(|stack| **stack == "nvml").count(), 16);
        let seconds = training.end.duration.as_secs_f64();
        for number in 0..16 {
            let joules = training.joules(&format!("gpu:GPU-{number}"));
            let watts = 100.0 + 10.0 * f64::from(number);
            assert!(
                (joules / seconds / watts - 1.0).abs() < 0.05,
                "{number}: {joules} J in {seconds} s"
            );
        }
        let total = training.end.energy.unwrap().as_joules() - training.joules(OTHER);
        assert!((total / seconds / 2_800.0 - 1.0).abs() < 0.05, "{total} J in {seconds} s");
    });
}
