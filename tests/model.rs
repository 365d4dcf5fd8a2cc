//! The estimates for processors and memory, on procfs trees on disk.

#![expect(
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "helpers of tests may panic, and gains are copied, not computed"
)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use ergometer::FakeClock;
use ergometer::sensor::{Hardware, Provenance, Quantity, Sensor, model};
use ergometer::units::{Energy, Power};
use tempfile::TempDir;

/// A procfs of `threads` hardware threads of one processor.
fn procfs(brand: &str, threads: usize, flags: &str) -> TempDir {
    let root = TempDir::new().unwrap();
    let cpuinfo: String = (0..threads)
        .map(|thread| {
            format!(
                "processor\t: {thread}\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\n\
                 model name\t: {brand}\nphysical id\t: 0\nflags\t\t: fpu vme {flags}\n\n"
            )
        })
        .collect();
    fs::write(root.path().join("cpuinfo"), cpuinfo).unwrap();
    fs::write(root.path().join("meminfo"), "MemTotal:       67108864 kB\nMemFree:        1 kB\n")
        .unwrap();
    tick(root.path(), 0, 1_000);
    root
}

/// Sets the CPU time spent working and idle since the start, in ticks.
fn tick(procfs: &Path, busy: u64, idle: u64) {
    fs::write(
        procfs.join("stat"),
        format!("cpu  {busy} 0 0 {idle} 0 0 0 77 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n"),
    )
    .unwrap();
}

fn cpu(procfs: &TempDir, thermal_design_power: Option<Power>) -> Box<dyn Sensor> {
    model::cpu(procfs.path(), Path::new("/nowhere"), thermal_design_power).unwrap()
}

fn energy(sensor: &mut dyn Sensor, clock: &FakeClock) -> Energy {
    let reading = sensor.read(&clock.clock()).unwrap();
    let Quantity::Counter(energy) = reading.quantity else { panic!("{reading:?}") };
    energy
}

#[test]
fn energy_follows_the_integral_of_cpu_time() {
    let (procfs, clock) = (procfs("AMD EPYC 7763 64-Core Processor", 2, ""), FakeClock::new());
    let mut sensor = cpu(&procfs, Some(Power::from_watts(100.0)));
    assert_eq!(energy(&mut *sensor, &clock), Energy::ZERO);
    clock.advance(Duration::from_secs(10));
    tick(procfs.path(), 1_000, 2_000);
    // Half busy: 0.75 of 100 W for ten seconds.
    assert_eq!(energy(&mut *sensor, &clock), Energy::from_joules(750.0));
    clock.advance(Duration::from_secs(10));
    tick(procfs.path(), 3_000, 2_000);
    assert_eq!(energy(&mut *sensor, &clock), Energy::from_joules(750.0 + 1_020.0));
}

#[test]
fn a_read_between_two_ticks_is_not_idle() {
    let (procfs, clock) = (procfs("AMD EPYC", 2, ""), FakeClock::new());
    let mut sensor = cpu(&procfs, Some(Power::from_watts(100.0)));
    energy(&mut *sensor, &clock);
    clock.advance(Duration::from_secs(1));
    tick(procfs.path(), 100, 1_000);
    let busy = energy(&mut *sensor, &clock);
    clock.advance(Duration::from_secs(1));
    assert_eq!(energy(&mut *sensor, &clock) - busy, Energy::from_joules(102.0));
}

#[test]
fn a_failed_read_leaves_no_hole() {
    let (procfs, clock) = (procfs("AMD EPYC", 2, ""), FakeClock::new());
    let mut sensor = cpu(&procfs, Some(Power::from_watts(100.0)));
    energy(&mut *sensor, &clock);
    clock.advance(Duration::from_secs(1));
    fs::write(procfs.path().join("stat"), "").unwrap();
    assert_eq!(sensor.read(&clock.clock()).unwrap_err().kind(), "invalid");
    clock.advance(Duration::from_secs(1));
    tick(procfs.path(), 200, 1_000);
    assert_eq!(energy(&mut *sensor, &clock), Energy::from_joules(204.0));
}

#[test]
fn an_estimate_says_that_it_is_one_and_by_which_rule() {
    let procfs = procfs("AMD EPYC 7763 64-Core Processor", 8, "hypervisor");
    let sensor = cpu(&procfs, None);
    let specification = sensor.specification();
    assert_eq!(
        (specification.domain.id.as_str(), specification.domain.hardware),
        ("cpu:model", Hardware::Cpu)
    );
    assert_eq!(specification.provenance, Provenance::Model);
    assert_eq!((specification.family.as_str(), specification.stack.as_str()), ("model", "model"));
    assert_eq!(
        specification.source,
        "model, CPU time × thermal design power 280 W of `AMD EPYC 7763 64-Core Processor`, 8 of 128 threads"
    );
    assert_eq!(specification.gain, 0.25);
    assert_eq!(
        (specification.period, specification.interval),
        (Duration::ZERO, Duration::from_millis(50))
    );
    assert_eq!(specification.least, Power::from_watts(0.12 * 17.5));
    assert_eq!(specification.most, Power::from_watts(1.02 * 17.5));
    assert!(specification.in_total);
}

#[test]
fn the_less_is_known_the_wider_the_uncertainty() {
    let gain = |brand: &str| cpu(&procfs(brand, 2, "hypervisor"), None).specification().gain;
    assert_eq!(gain("AMD EPYC 7763 64-Core Processor"), 0.25);
    assert_eq!(gain("AMD EPYC"), 0.35);
    let unknown = TempDir::new().unwrap();
    fs::write(unknown.path().join("cpuinfo"), "processor : 0\n").unwrap();
    tick(unknown.path(), 0, 1);
    assert_eq!(cpu(&unknown, None).specification().gain, 0.50);
}

#[test]
fn the_kernels_own_thermal_design_power_beats_the_table() {
    let (procfs, tree) =
        (procfs("AMD EPYC 7763 64-Core Processor", 2, ""), crate::rapl::Tree::new());
    for package in 0..2 {
        tree.zone(&format!("intel-rapl:{package}"), &format!("package-{package}"), 1);
        tree.file(
            &format!("class/powercap/intel-rapl:{package}/constraint_0_max_power_uw"),
            "165000000\n",
        );
    }
    let sensor = model::cpu(procfs.path(), tree.root(), None).unwrap();
    assert!(
        sensor.specification().source.contains("330 W as the kernel states it"),
        "{:?}",
        sensor.specification()
    );
}

#[test]
fn without_cpu_times_there_is_no_estimate() {
    let empty = TempDir::new().unwrap();
    if cfg!(target_os = "linux") {
        let error = model::cpu(empty.path(), Path::new("/nowhere"), None).err().unwrap();
        assert!(error.is_absent() && error.what().contains("cpuinfo"), "{error}");
        assert!(model::memory(empty.path()).err().unwrap().what().contains("meminfo"));
    }
    let broken = procfs("AMD EPYC", 2, "");
    fs::write(broken.path().join("stat"), "cpu one two\n").unwrap();
    fs::write(broken.path().join("meminfo"), "MemTotal: many kB\n").unwrap();
    assert_eq!(
        model::cpu(broken.path(), Path::new("/nowhere"), None).err().unwrap().kind(),
        "invalid"
    );
    assert_eq!(model::memory(broken.path()).err().unwrap().kind(), "invalid");
}

#[test]
fn memory_draws_power_by_its_modules() {
    let clock = FakeClock::new();
    let mut sensor = model::memory(procfs("AMD EPYC", 2, "").path()).unwrap();
    // Two modules of 32 GB: 2 · (3 + 0.055 · 32) · 0.85 W.
    let power = Power::from_watts(8.092);
    assert_eq!(sensor.read(&clock.clock()).unwrap().quantity, Quantity::Gauge(power));
    let specification = sensor.specification();
    assert_eq!(
        (specification.domain.id.as_str(), specification.domain.hardware),
        ("dram:model", Hardware::Dram)
    );
    assert_eq!((specification.provenance, specification.gain), (Provenance::Model, 0.40));
    assert!(specification.least < power && power < specification.most);
}

#[test]
fn a_virtual_machine_pays_for_its_part_of_a_module() {
    let (bare, virtual_machine) = (procfs("AMD EPYC", 2, ""), procfs("AMD EPYC", 2, "hypervisor"));
    let power = |root: &TempDir| {
        fs::write(root.path().join("meminfo"), "MemTotal:        8388608 kB\n").unwrap();
        model::memory(root.path()).unwrap().read(&FakeClock::new().clock()).unwrap().quantity
    };
    assert_eq!(power(&bare), Quantity::Gauge(Power::from_watts((3.0 + 0.055 * 8.0) * 0.85)));
    assert_eq!(
        power(&virtual_machine),
        Quantity::Gauge(Power::from_watts((0.75 + 0.055 * 8.0) * 0.85))
    );
}
