//! The NVML source, on a stub library of known physics.

mod cuda;

use std::time::{Duration, Instant};

use ergometer::sensor::nvml::{Processes, Visibility, open, open_within};
use ergometer::sensor::{
    Found, Hardware, Incident, Provenance, Quantity, Reading, Search, Selection, Sensor,
};
use ergometer::{Clock, Energy, Error, Power};

use crate::amdgpu::{Cards, NAVI_21, block, joules};
use crate::rapl::Tree;
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

/// What is found within `patience`.
fn patient(patience: Duration, stub: &Nvml, selection: &Selection) -> Found {
    open_within(patience, Some(&stub.path()), selection, &Visibility::default())
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
fn a_mean_over_a_second_is_read_as_such_and_only_where_there_is_nothing_else() {
    let sources = [(6, 0x1e04), (7, 0x20b0), (7, 0x2204), (9, 0x2331), (11, 0x3000)].map(
        |(architecture, pci_device)| {
            let gpu =
                Gpu { architecture, pci_device, energy: false, instant: false, ..Gpu::default() };
            let stub = Nvml::of([gpu]);
            let sensor = only(open(Some(&stub.path()), &Selection::All));
            let specification = sensor.specification();
            assert_eq!(specification.provenance, Provenance::IntegratedPower);
            (specification.source.clone(), specification.averaging)
        },
    );
    // Turing and GA100 give their power now; GA102, Hopper and whatever comes later only its mean.
    for (source, averaging) in &sources[..2] {
        assert_eq!((source.as_str(), *averaging), ("nvml power usage", Duration::ZERO));
    }
    for (source, averaging) in &sources[2..] {
        let mean = ("nvml mean power over a second", Duration::from_secs(1));
        assert_eq!((source.as_str(), *averaging), mean);
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
    let stub = Nvml::of([Gpu { lost: Some((0.3, 0.9)), renewed: true, ..Gpu::default() }]);
    let mut sensor = only(open(Some(&stub.path()), &Selection::All));
    let before = read(&mut sensor).unwrap();
    stub.wait_until(0.4);
    let error = read(&mut sensor).unwrap_err();
    assert!(error.is_lost() && error.what().contains("gpu:GPU-00000000"), "{error}");
    assert_eq!(sensor.cross_check(), None);
    // It is back, and is not looked for at each reading: that would be felt by all users of the driver.
    stub.wait_until(1.0);
    let error = read(&mut sensor).unwrap_err();
    assert!(error.is_lost() && error.what().contains("looked for"), "{error}");
    let after = read_again(&mut sensor);
    assert_eq!(after.incident, None);
    assert!(assert_integral(&stub, before, after) > Energy::from_joules(150.0));
    assert!(sensor.cross_check().is_some());
}

/// The first reading that is one again.
fn read_again(sensor: &mut Box<dyn Sensor>) -> Reading {
    let start = Instant::now();
    loop {
        match read(sensor) {
            Ok(reading) => return reading,
            Err(error) => assert!(start.elapsed() < Duration::from_secs(20), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_library_that_was_shut_down_is_initialised_again() {
    let stub =
        Nvml::new(Machine { shut_down: Some(0.2), gpus: pair().into(), ..Machine::default() });
    let mut found = open(Some(&stub.path()), &Selection::All);
    let before = [0, 1].map(|gpu| read(&mut found.sensors[gpu]).unwrap());
    stub.wait_until(0.3);
    for sensor in &mut found.sensors {
        assert!(read(sensor).unwrap_err().is_lost());
    }
    let after = [0, 1].map(|gpu| read_again(&mut found.sensors[gpu]));
    assert!(assert_integral(&stub, before[0], after[0]) > Energy::from_joules(100.0));
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
    // It may be another driver's, so the search says it.
    let elsewhere = select(&["0001:65:00.0", "1"]);
    assert!(elsewhere.sensors.is_empty() && elsewhere.absent.is_empty(), "{elsewhere:?}");
}

/// What is found of the GPUs at these addresses on a machine with two of NVIDIA's and one of AMD's at `0000:03:00.0`.
fn search(addresses: &[&str], nvml: bool) -> Found {
    let tree = Tree::new();
    tree.card(0, "0000:03:00.0", NAVI_21);
    tree.metrics(0, &block(3, joules(5), 90));
    let stub = Nvml::of(pair());
    for gpu in pair().iter().filter(|_| nvml) {
        tree.file(&format!("driver/nvidia/gpus/{}/information", &gpu.pci[4..]), "Model: A GPU\n");
    }
    let mut found = Search {
        sysfs: tree.root().to_owned(),
        procfs: tree.root().to_owned(),
        devices: tree.root().join("dev"),
        nvml_library: Some(if nvml { stub.path() } else { tree.root().join("none") }),
        gpus: Selection::Pci(addresses.iter().map(ToString::to_string).collect()),
        thermal_design_power: None,
    }
    .run();
    found.sensors.retain(|sensor| sensor.specification().domain.hardware == Hardware::Gpu);
    found.absent.retain(|absence| absence.source.contains("GPU"));
    found
}

#[test]
fn a_gpu_of_another_maker_chosen_by_its_address_is_not_missed_and_the_idle_ones_are_named() {
    let found = search(&["0000:03:00.0"], true);
    assert_eq!(ids(&found), ["gpu:0000:03:00.0"]);
    let [idle] = &found.absent[..] else { panic!("{found:?}") };
    assert_eq!(idle.source, "2 other GPUs");
    let found = search(&["0000:03:00.0", "0000:65:00.0"], true);
    assert_eq!(ids(&found), ["gpu:GPU-b", "gpu:0000:03:00.0"]);
    assert_eq!(found.absent[0].source, "1 other GPUs");
    assert!(search(&["0000:03:00.0"], false).absent.is_empty());
}

#[test]
fn an_address_that_no_driver_knows_is_said_once() {
    for nvml in [false, true] {
        let found = search(&["0000:99:00.0", "0000:03:00.0", "1"], nvml);
        assert_eq!(ids(&found), ["gpu:0000:03:00.0"]);
        let said: Vec<_> = found.absent.iter().filter(|it| !it.source.contains("other")).collect();
        let [typo, nonsense] = &said[..] else { panic!("{found:?}") };
        assert_eq!((typo.source.as_str(), typo.error.kind()), ("GPU 0000:99:00.0", "absent"));
        assert_eq!((nonsense.source.as_str(), nonsense.error.kind()), ("GPU 1", "invalid"));
        assert!(typo.error.remedy().is_some() && nonsense.error.remedy().is_some());
    }
}

#[test]
fn a_neighbour_that_hangs_harms_no_one() {
    let [first, second] = pair();
    let stub = Nvml::of([Gpu { hangs: Some((0.0, 10.0)), ..first }, second]);
    let selection = Selection::Pci(vec!["0000:65:00.0".to_owned()]);
    assert_eq!(ids(&patient(Duration::from_secs(5), &stub, &selection)), ["gpu:GPU-b"]);
}

#[test]
fn a_driver_that_hangs_is_given_up() {
    let stub = Nvml::new(Machine { init_takes: 5.0, gpus: pair().into(), ..Machine::default() });
    let start = Instant::now();
    let error = reason(patient(Duration::from_millis(500), &stub, &Selection::All));
    assert!(start.elapsed() < Duration::from_secs(4));
    assert!(error.is_lost() && error.what().contains("not answered within 500ms"), "{error}");
}

#[test]
fn an_energy_counter_comes_with_its_power_as_a_check() {
    let check = |gpu: Gpu| {
        let stub = Nvml::of([gpu]);
        let mut sensor = only(open(Some(&stub.path()), &Selection::All));
        (sensor.cross_check(), sensor.specification().provenance)
    };
    let power = Some(Power::from_watts(200.0));
    assert_eq!(check(Gpu::default()), (power, Provenance::Counter));
    // A mean over a second is no check, the usage of an older GPU is one.
    let without = Gpu { instant: false, ..Gpu::default() };
    assert_eq!(check(without.clone()), (None, Provenance::Counter));
    assert_eq!(check(Gpu { architecture: 5, ..without }), (power, Provenance::Counter));
    // What is integrated already is no second way.
    assert_eq!(check(Gpu { energy: false, ..Gpu::default() }), (None, Provenance::IntegratedPower));
}

#[test]
fn the_specification_says_how_much_of_the_time_is_seen() {
    let stub = Nvml::of([Gpu::default()]);
    let sensor = only(open(Some(&stub.path()), &Selection::All));
    let hopper = sensor.specification();
    assert_eq!((hopper.duty, hopper.delay), (0.25, Duration::from_millis(50)));
    assert!(
        hopper.scope.contains("25 %") && hopper.scope.contains("not known"),
        "{}",
        hopper.scope
    );
    let stub = Nvml::of([Gpu { architecture: 8, ..Gpu::default() }]);
    let sensor = only(open(Some(&stub.path()), &Selection::All));
    assert!(!sensor.specification().scope.contains('%'), "{}", sensor.specification().scope);
}

#[test]
fn without_the_counters_function_its_field_is_read() {
    let stub = Nvml::of([Gpu::default()]).without(&["nvmlDeviceGetTotalEnergyConsumption"]);
    let mut sensor = only(open(Some(&stub.path()), &Selection::All));
    assert_eq!(sensor.specification().source, "nvml energy counter");
    let first = read(&mut sensor).unwrap();
    stub.wait_until(0.3);
    let last = read(&mut sensor).unwrap();
    assert_integral(&stub, first, last);
}

#[test]
fn an_old_library_is_used_as_far_as_it_goes() {
    let lacking = [
        "nvmlDeviceGetTotalEnergyConsumption",
        "nvmlDeviceGetFieldValues",
        "nvmlDeviceGetArchitecture",
        "nvmlDeviceGetMigMode",
        "nvmlDeviceIsMigDeviceHandle",
        "nvmlDeviceGetEnforcedPowerLimit",
    ];
    let stub = Nvml::of([Gpu { architecture: 4, ..Gpu::default() }]).without(&lacking);
    let sensor = only(open(Some(&stub.path()), &Selection::All));
    // What does not say what it is may give a mean, and has the widest uncertainty.
    assert_eq!(sensor.specification().averaging, Duration::from_secs(1));
    assert_eq!((sensor.specification().gain, sensor.specification().duty), (0.06, 1.0));

    let none = Nvml::of([Gpu::default()]).without(&[
        "nvmlDeviceGetPowerUsage",
        "nvmlDeviceGetFieldValues",
        lacking[0],
    ]);
    assert!(reason(open(Some(&none.path()), &Selection::All)).is_unsupported());
}

/// A GPU on a superchip whose driver gives its module only.
pub(crate) fn on_module(uuid: &str, module: usize) -> Gpu {
    Gpu {
        uuid: uuid.to_owned(),
        name: "NVIDIA GB200".to_owned(),
        energy: false,
        instant: false,
        usage: false,
        module: Some(module),
        ..Gpu::default()
    }
}

#[test]
fn a_superchip_that_gives_only_its_module_is_measured_with_its_processor() {
    let modules = vec![Profile::Steps(vec![(-100.0, 900.0)])];
    let stub =
        Nvml::new(Machine { gpus: vec![on_module("GPU-a", 0)], modules, ..Machine::default() });
    let mut sensor = only(open(Some(&stub.path()), &Selection::All));
    let specification = sensor.specification();
    assert_eq!(specification.domain.id, "gpu:GPU-a");
    assert_eq!(specification.source, "nvml module energy counter");
    assert_eq!(specification.includes, [Hardware::Cpu, Hardware::Dram]);
    assert!(specification.scope.starts_with("module: GPU and its processor"));
    assert_eq!(specification.most, Power::from_watts(3_000.0));
    assert_eq!(sensor.cross_check(), Some(Power::from_watts(900.0)));
    let first = read(&mut sensor).unwrap();
    stub.wait_until(0.5);
    let last = read(&mut sensor).unwrap();
    let power = (counted(last) - counted(first)).over(last.before.since(first.before)).unwrap();
    assert!((power.as_watts() / 900.0 - 1.0).abs() < 0.2, "{power}");
}

#[test]
fn a_module_that_two_gpus_report_is_counted_once() {
    let modules =
        vec![Profile::Steps(vec![(-100.0, 900.0)]), Profile::Steps(vec![(-100.0, 850.0)])];
    let gpus = vec![
        on_module("GPU-a", 0),
        on_module("GPU-b", 0),
        on_module("GPU-c", 1),
        on_module("GPU-d", 1),
    ];
    let stub = Nvml::new(Machine { gpus, modules, ..Machine::default() });
    let found = open(Some(&stub.path()), &Selection::All);
    assert_eq!(ids(&found), ["gpu:GPU-a", "gpu:GPU-c"]);
    let absent: Vec<_> =
        found.absent.iter().map(|it| (it.source.as_str(), it.error.what())).collect();
    assert_eq!(absent.len(), 2);
    assert!(absent[0].0 == "gpu:GPU-b" && absent[0].1.contains("`gpu:GPU-a`"), "{absent:?}");
    assert!(absent[1].0 == "gpu:GPU-d" && absent[1].1.contains("`gpu:GPU-c`"), "{absent:?}");
}

#[test]
fn a_gpu_that_can_be_read_alone_is_not_read_as_its_module() {
    let gpu = Gpu { module: Some(0), ..Gpu::default() };
    let modules = vec![Profile::Steps(vec![(0.0, 900.0)])];
    let stub = Nvml::new(Machine { gpus: vec![gpu], modules, ..Machine::default() });
    let sensor = only(open(Some(&stub.path()), &Selection::All));
    assert_eq!(sensor.specification().source, "nvml energy counter");
    assert!(sensor.specification().includes.is_empty());
}

#[test]
fn the_memory_is_beside_the_sum() {
    let stub = Nvml::of([Gpu { memory: Some(0.25), ..Gpu::default() }]);
    let mut found = open(Some(&stub.path()), &Selection::All);
    let id = "gpu:GPU-00000000-0000-0000-0000-000000000000";
    assert_eq!(ids(&found), [id.to_owned(), format!("{id}:memory")]);
    let totals: Vec<_> = found.sensors.iter().map(|it| it.specification().in_total).collect();
    assert_eq!(totals, [true, false]);
    assert_eq!(
        read(&mut found.sensors[1]).unwrap().quantity,
        Quantity::Gauge(Power::from_watts(50.0))
    );
}

#[test]
fn an_absurd_power_is_a_failed_read() {
    for high in [3.9e6, 1_060.0, 0.0] {
        let absurd = Some((0.5, 2.0, high));
        let stub = Nvml::of([Gpu { energy: false, absurd, ..Gpu::default() }]);
        let mut sensor = only(open(Some(&stub.path()), &Selection::All));
        assert_eq!(sensor.specification().source, "nvml instantaneous power");
        read(&mut sensor).unwrap();
        stub.wait_until(0.6);
        let error = read(&mut sensor).unwrap_err();
        assert!(error.is_lost() && error.what().contains("absurd"), "{error}");
        stub.wait_until(2.05);
        assert_eq!(read(&mut sensor).unwrap().quantity, Quantity::Gauge(Power::from_watts(200.0)));
    }
}

#[test]
fn an_absurd_energy_is_no_energy() {
    let stub = Nvml::of([Gpu { absurd: Some((0.5, 2.0, 4e9)), ..Gpu::default() }]);
    let mut sensor = only(open(Some(&stub.path()), &Selection::All));
    let first = read(&mut sensor).unwrap();
    stub.wait_until(0.6);
    let error = read(&mut sensor).unwrap_err();
    assert!(error.is_lost() && error.what().contains("absurd"), "{error}");
    assert_eq!(sensor.cross_check(), None);
    stub.wait_until(2.05);
    let last = read(&mut sensor).unwrap();
    assert_eq!(last.incident, None);
    assert_integral(&stub, first, last);
}

#[test]
fn a_limit_of_nothing_is_no_limit() {
    for limit in [0.0, 4_000_000.0] {
        let stub = Nvml::of([Gpu { limit: Some(limit), ..Gpu::default() }]);
        let sensor = only(open(Some(&stub.path()), &Selection::All));
        assert_eq!(sensor.specification().most, Power::from_watts(1_500.0), "{limit}");
    }
}

#[test]
fn other_processes_on_the_gpu_are_told_from_this_one() {
    let [first, second] = pair();
    let processes = vec![(0, 60), (4_000_000, 20)];
    let stub = Nvml::of([Gpu { processes, ..first }, second]);
    let mut shared = Processes::open(Some(&stub.path()), "GPU-a").unwrap();
    assert_eq!(shared.others().unwrap(), Some(1));
    assert_eq!(shared.share().unwrap(), Some(0.75));
    // Nothing since.
    assert_eq!(shared.share().unwrap(), None);

    let mut alone = Processes::open(Some(&stub.path()), "GPU-b").unwrap();
    assert!(matches!(alone.others().unwrap(), None | Some(0)));
    assert_eq!(alone.share().unwrap(), None);
    assert!(Processes::open(Some(&stub.path()), "GPU-x").is_err());
    let old = Nvml::of(pair()).without(&["nvmlDeviceGetComputeRunningProcesses_v3"]);
    let error = Processes::open(Some(&old.path()), "GPU-a").unwrap().others().unwrap_err();
    assert!(error.is_unsupported(), "{error}");
}
