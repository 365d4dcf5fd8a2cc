//! The NVML source and the way from a CUDA ordinal to a GPU, on stub libraries of known physics.

use std::time::{Duration, Instant};

use ergometer::sensor::Selection;
use ergometer::sensor::nvml::cuda::pci_address;
use ergometer::sensor::nvml::{open, open_within};
use ergometer::sensor::{Found, Incident, Provenance, Quantity, Reading, Sensor};
use ergometer::{Clock, Energy, Error, Power};

use crate::stub::{Cuda, Driver, Gpu, Machine, Nvml, Profile};

/// `nvmlReturn_t`.
const NO_PERMISSION: u32 = 4;

/// Two GPUs of one model.
fn pair() -> [Gpu; 2] {
    [
        Gpu { uuid: "GPU-a".to_owned(), pci: "00000000:17:00.0".to_owned(), ..Gpu::default() },
        Gpu { uuid: "GPU-b".to_owned(), pci: "00000000:65:00.0".to_owned(), ..Gpu::default() },
    ]
}

fn ids(found: &Found) -> Vec<&str> {
    found.sensors.iter().map(|sensor| sensor.specification().domain.id.as_str()).collect()
}

/// The one reason for which nothing was found.
fn reason(mut found: Found) -> Error {
    assert_eq!((found.sensors.len(), found.absent.len()), (0, 1), "{found:?}");
    found.absent.remove(0).error
}

/// The one sensor that was found.
fn only(mut found: Found) -> Box<dyn Sensor> {
    assert_eq!((found.sensors.len(), found.absent.len()), (1, 0), "{found:?}");
    found.sensors.remove(0)
}

fn read(sensor: &mut Box<dyn Sensor>) -> Result<Reading, Error> {
    sensor.read(&Clock::system())
}

fn counted(reading: Reading) -> Energy {
    match reading.quantity {
        Quantity::Counter(energy) => energy,
        Quantity::Gauge(power) => panic!("a gauge of {power:?}"),
    }
}

/// Asserts that a counter gained what its GPU used between two readings, and gives that.
///
/// Each end lies between the two clock reads, and up to one update of 20 ms before.
fn assert_integral(stub: &Nvml, first: Reading, last: Reading) -> Energy {
    let (update, quantum) = (Duration::from_millis(20), Energy::from_millijoules(1));
    let gained = counted(last) - counted(first);
    let least = stub.energy_between(0, first.after, last.before.before(update)) - quantum;
    let most = stub.energy_between(0, first.before.before(update), last.after) + quantum;
    assert!(least <= gained && gained <= most, "{least:?} ≤ {gained:?} ≤ {most:?}");
    gained
}

#[test]
fn each_gpu_is_a_domain_named_by_its_uuid() {
    let stub = Nvml::of(pair());
    let found = open(Some(&stub.path()), &Selection::All);
    assert_eq!(ids(&found), ["gpu:GPU-a", "gpu:GPU-b"]);
    assert!(found.absent.is_empty());
    let specification = found.sensors[1].specification();
    assert_eq!(specification.domain.name, "NVIDIA H100 PCIe");
    assert_eq!(specification.family, "NVIDIA H100 PCIe");
    assert_eq!(specification.stack, "nvml");
    assert_eq!(specification.provenance, Provenance::Counter);
    assert_eq!(specification.quantum, Energy::from_millijoules(1));
    assert_eq!(specification.most, Power::from_watts(385.0));
    assert_eq!((specification.gain, specification.offset), (0.035, Power::ZERO));
}

#[test]
fn the_counter_agrees_with_the_integral() {
    let profile = Profile::Square { period: 0.05, duty: 0.5, high: 600.0, low: 100.0 };
    let stub = Nvml::of([Gpu { profile, ..Gpu::default() }]);
    let mut sensor = only(open(Some(&stub.path()), &Selection::All));
    let first = read(&mut sensor).unwrap();
    stub.wait_until(0.4);
    let last = read(&mut sensor).unwrap();
    assert!(assert_integral(&stub, first, last) > Energy::from_joules(100.0));
}

#[test]
fn without_a_counter_the_instantaneous_power_is_read() {
    let stub = Nvml::of([Gpu { energy: false, ..Gpu::default() }]);
    let mut sensor = only(open(Some(&stub.path()), &Selection::All));
    assert_eq!(sensor.specification().provenance, Provenance::IntegratedPower);
    assert_eq!(sensor.specification().source, "nvml instantaneous power");
    assert_eq!(read(&mut sensor).unwrap().quantity, Quantity::Gauge(Power::from_watts(200.0)));
}

#[test]
fn a_mean_over_a_second_is_never_read() {
    let sources = [(6, 0x1e04), (7, 0x20b0), (7, 0x2204), (9, 0x2331), (11, 0x3000)].map(
        |(architecture, pci_device)| {
            let gpu =
                Gpu { architecture, pci_device, energy: false, instant: false, ..Gpu::default() };
            let stub = Nvml::of([gpu]);
            let found = open(Some(&stub.path()), &Selection::All);
            match found.sensors.first() {
                Some(sensor) => sensor.specification().source.clone(),
                None => reason(found).to_string(),
            }
        },
    );
    // Turing and GA100 give their power now; GA102, Hopper and whatever comes later only its mean.
    assert_eq!(sources[..2], ["nvml power usage", "nvml power usage"]);
    for source in &sources[2..] {
        assert!(
            source.contains("mean over a second")
                && source.contains("H100")
                && source.contains("530"),
            "{source}"
        );
    }
}

#[test]
fn a_gpu_without_any_sensor_is_named() {
    let stub = Nvml::of([Gpu { energy: false, instant: false, usage: false, ..Gpu::default() }]);
    let error = reason(open(Some(&stub.path()), &Selection::All));
    assert!(error.is_unsupported());
    assert!(error.what().contains("GPU-00000000") && error.what().contains("virtual"), "{error}");
}

#[test]
fn the_uncertainty_follows_the_architecture() {
    let uncertainty = |architecture| {
        let stub = Nvml::of([Gpu { architecture, limit: None, ..Gpu::default() }]);
        let sensor = only(open(Some(&stub.path()), &Selection::All));
        assert_eq!(sensor.specification().most, Power::from_watts(1_500.0));
        (sensor.specification().gain, sensor.specification().offset.as_watts())
    };
    assert_eq!(
        [2, 4, 5, 6, 8, 11].map(uncertainty),
        [(0.06, 3.0), (0.02, 1.0), (0.02, 1.0), (0.06, 3.0), (0.035, 0.0), (0.035, 0.0)]
    );
}

#[test]
fn the_instances_of_a_split_gpu_are_read_once() {
    let [first, second] = pair();
    let stub = Nvml::of([Gpu { instances: 3, ..first }, second]);
    let found = open(Some(&stub.path()), &Selection::All);
    assert_eq!(ids(&found), ["gpu:GPU-a", "gpu:GPU-b"]);
    assert!(found.absent.is_empty(), "{found:?}");
    let scopes = [0, 1].map(|gpu| found.sensors[gpu].specification().scope.contains("MIG"));
    assert_eq!(scopes, [true, false]);
}

#[test]
fn each_failure_of_the_driver_has_its_own_cure() {
    let failure = |init| {
        reason(open(
            Some(&Nvml::new(Machine { init, ..Machine::default() }).path()),
            &Selection::All,
        ))
    };
    let refused = failure(NO_PERMISSION);
    assert!(
        refused.is_permission_denied() && refused.to_string().contains("/dev/nvidiactl"),
        "{refused}"
    );
    let unloaded = failure(9);
    assert!(unloaded.is_absent() && unloaded.to_string().contains("modprobe nvidia"), "{unloaded}");
    let mismatch = failure(18);
    assert!(
        mismatch.is_unsupported() && mismatch.to_string().contains("different versions"),
        "{mismatch}"
    );
    let unknown = failure(999);
    assert!(
        unknown.is_lost() && unknown.to_string().contains("internal driver error"),
        "{unknown}"
    );
    let empty = failure(0);
    assert!(empty.is_absent() && empty.to_string().contains("no GPU"), "{empty}");
}

#[test]
fn one_refused_gpu_leaves_the_others() {
    let [first, second] = pair();
    let stub = Nvml::of([Gpu { handle: NO_PERMISSION, ..first }, second]);
    let found = open(Some(&stub.path()), &Selection::All);
    assert_eq!(ids(&found), ["gpu:GPU-b"]);
    assert_eq!(found.absent[0].source, "nvml GPU 0");
    assert!(found.absent[0].error.is_permission_denied());
}

#[test]
fn what_is_not_nvml_is_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("libnvidia-ml.so.1");
    let error = reason(open(Some(&missing), &Selection::All));
    assert!(error.is_absent() && error.what().contains("there is no library"), "{error}");

    std::fs::write(&missing, "not a library").unwrap();
    let error = reason(open(Some(&missing), &Selection::All));
    assert!(error.kind() == "invalid" && error.what().contains("cannot be loaded"), "{error}");

    let other = Cuda::new(&Driver::default());
    let error = reason(open(Some(&other.path()), &Selection::All));
    assert!(error.is_unsupported() && error.what().contains("nvmlInit_v2"), "{error}");
}

#[test]
fn a_lost_gpu_is_said_and_comes_back_with_its_energy() {
    let stub = Nvml::of([Gpu { lost: Some((0.5, 1.0)), ..Gpu::default() }]);
    let mut sensor = only(open(Some(&stub.path()), &Selection::All));
    let before = read(&mut sensor).unwrap();
    stub.wait_until(0.6);
    let error = read(&mut sensor).unwrap_err();
    assert!(error.is_lost() && error.what().contains("gpu:GPU-00000000"), "{error}");
    stub.wait_until(1.05);
    let after = read(&mut sensor).unwrap();
    assert_eq!(after.incident, None);
    assert!(assert_integral(&stub, before, after) > Energy::from_joules(50.0));
}

#[test]
fn a_counter_that_starts_over_is_a_reset_and_never_decreases() {
    let stub = Nvml::of([Gpu { reset: Some(0.5), ..Gpu::default() }]);
    let mut sensor = only(open(Some(&stub.path()), &Selection::All));
    let first = read(&mut sensor).unwrap();
    stub.wait_until(0.6);
    let second = read(&mut sensor).unwrap();
    assert_eq!(second.incident, Some(Incident::Reset));
    assert_eq!(counted(second), counted(first));
    stub.wait_until(0.8);
    let third = read(&mut sensor).unwrap();
    assert_eq!(third.incident, None);
    assert!(assert_integral(&stub, second, third) > Energy::from_joules(20.0));
}

#[test]
fn a_gpu_is_selected_by_its_pci_address() {
    let stub = Nvml::of(pair());
    let select = |addresses: &[&str]| {
        open(
            Some(&stub.path()),
            &Selection::Pci(addresses.iter().map(ToString::to_string).collect()),
        )
    };
    assert_eq!(ids(&select(&["0000:65:00.0"])), ["gpu:GPU-b"]);
    assert_eq!(
        ids(&select(&["00000000:65:00", "0000:17:00.0", "0000:65:00.0"])),
        ["gpu:GPU-b", "gpu:GPU-a"]
    );
    assert!(
        select(&[]).sensors.is_empty() && select(&[]).absent.is_empty(),
        "nothing was asked for"
    );
    let elsewhere = reason(select(&["0001:65:00.0"]));
    assert!(elsewhere.is_absent() && elsewhere.what().contains("0001:65:00.0"), "{elsewhere}");
    assert_eq!(reason(select(&["1"])).kind(), "invalid");
}

#[test]
fn a_neighbour_that_hangs_harms_no_one() {
    let [first, second] = pair();
    let stub = Nvml::of([Gpu { hangs: Some((0.0, 10.0)), ..first }, second]);
    let selection = Selection::Pci(vec!["0000:65:00.0".to_owned()]);
    assert_eq!(
        ids(&open_within(Duration::from_secs(5), Some(&stub.path()), &selection)),
        ["gpu:GPU-b"]
    );
}

#[test]
fn a_driver_that_hangs_is_given_up() {
    let stub = Nvml::new(Machine { init_takes: 5.0, gpus: pair().into(), ..Machine::default() });
    let start = Instant::now();
    let error =
        reason(open_within(Duration::from_millis(500), Some(&stub.path()), &Selection::All));
    assert!(start.elapsed() < Duration::from_secs(4));
    assert!(error.is_lost() && error.what().contains("not answered within 500ms"), "{error}");
}

#[test]
fn a_cuda_ordinal_finds_its_gpu_whatever_the_order() {
    let stub = Nvml::of(pair());
    let devices = vec!["0000:65:00.0".to_owned(), "0000:17:00.0".to_owned()];
    let first = |visible: Option<&str>| {
        let driver = Driver {
            devices: devices.clone(),
            visible: visible.map(str::to_owned),
            ..Driver::default()
        };
        let address = pci_address(Some(&Cuda::new(&driver).path()), 0).unwrap();
        ids(&open(Some(&stub.path()), &Selection::Pci(vec![address]))).concat()
    };
    // The driver puts the fastest first, where NVML goes by address; the user's list permutes that again.
    assert_eq!(first(None), "gpu:GPU-b");
    assert_eq!(first(Some("1,0")), "gpu:GPU-a");
    assert_eq!(first(Some("1")), "gpu:GPU-a");
}

#[test]
fn each_failure_of_cuda_has_its_own_cure() {
    let devices = vec!["0000:17:00.0".to_owned()];
    let ask = |driver: Driver, ordinal| {
        pci_address(Some(&Cuda::new(&driver).path()), ordinal).unwrap_err()
    };

    let hidden = ask(Driver { devices: devices.clone(), visible: Some(String::new()), init: 0 }, 0);
    assert!(hidden.is_absent() && hidden.what().contains("CUDA_VISIBLE_DEVICES"), "{hidden}");
    let beyond = ask(Driver { devices: devices.clone(), ..Driver::default() }, 1);
    assert!(beyond.is_absent() && beyond.what().contains("no device 1: it shows 1"), "{beyond}");
    let mismatch = ask(Driver { devices, init: 803, ..Driver::default() }, 0);
    assert!(
        mismatch.is_unsupported() && mismatch.what().contains("different versions"),
        "{mismatch}"
    );

    let other = pci_address(Some(&Nvml::of(pair()).path()), 0).unwrap_err();
    assert!(other.is_unsupported() && other.what().contains("cuInit"), "{other}");
    let directory = tempfile::tempdir().unwrap();
    let missing = pci_address(Some(&directory.path().join("libcuda.so.1")), 0).unwrap_err();
    assert!(
        missing.is_absent() && missing.to_string().contains("install the NVIDIA driver"),
        "{missing}"
    );
}
