//! RAPL through powercap trees on disk: which zones are read, what is said of the others, and counters that misbehave.

#![expect(
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "helpers of tests may panic, and gains are copied, not computed"
)]

pub(crate) mod trees;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ergometer::FakeClock;
use ergometer::sensor::{Found, Hardware, Incident, Provenance, Quantity, Sensor, rapl};
use ergometer::units::{Energy, Power};
use tempfile::TempDir;

/// The largest value of a 32-bit register that counts 2⁻¹⁴ J, as the kernel gives it for Intel's packages.
const RANGE: u64 = 262_143_328_850;

/// A sysfs root with powercap zones of known content.
pub(crate) struct Tree(TempDir);

impl Tree {
    pub(crate) fn new() -> Self {
        let tree = Tree(TempDir::new().unwrap());
        fs::create_dir_all(tree.powercap()).unwrap();
        tree
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn powercap(&self) -> PathBuf {
        self.root().join("class/powercap")
    }

    pub(crate) fn file(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A zone, `intel-rapl:0`, with its kernel name, `package-0`, and its counter's value in microjoules.
    pub(crate) fn zone(&self, entry: &str, name: &str, counter: u64) {
        self.file(&format!("class/powercap/{entry}/name"), &format!("{name}\n"));
        self.file(&format!("class/powercap/{entry}/max_energy_range_uj"), &format!("{RANGE}\n"));
        self.file(&format!("class/powercap/{entry}/energy_uj"), "");
        self.set(entry, counter);
    }

    /// Takes a zone's counter away from everybody, root too.
    #[cfg(unix)]
    pub(crate) fn close(&self, entry: &str) {
        // Root reads any file, except a setting of the kernel that is only ever written.
        let shut = Path::new("/proc/sys/vm/compact_memory");
        let path = self.powercap().join(entry).join("energy_uj");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(shut, path).unwrap();
    }

    /// Takes every counter of [`two_packages`] that the meter reads away from everybody.
    #[cfg(target_os = "linux")]
    pub(crate) fn close_two_packages(&self) {
        let zones = ["rapl:0", "rapl:0:1", "rapl:1", "rapl:1:1", "rapl:2", "rapl-mmio:0"];
        zones.iter().for_each(|zone| self.close(&format!("intel-{zone}")));
    }

    /// A link as sysfs has them, both paths from the root.
    #[cfg(unix)]
    pub(crate) fn link(&self, from: &str, to: &str) {
        let from = self.root().join(from);
        fs::create_dir_all(from.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(self.root().join(to), from).unwrap();
    }

    /// Renames a file or directory, both paths from the root.
    #[cfg(unix)]
    pub(crate) fn rename(&self, from: &str, to: &str) {
        fs::rename(self.root().join(from), self.root().join(to)).unwrap();
    }

    /// Sets a counter in one write and without truncation: a reader never sees half of it.
    pub(crate) fn set(&self, entry: &str, counter: u64) {
        let path = self.powercap().join(entry).join("energy_uj");
        OpenOptions::new()
            .write(true)
            .open(path)
            .unwrap()
            .write_all(format!("{counter:>20}\n").as_bytes())
            .unwrap();
    }

    pub(crate) fn unplug(&self, entry: &str) {
        let zone = self.powercap().join(entry);
        // A sensor may hold the file open; sysfs would refuse to read it from now on, so this empties it first.
        fs::write(zone.join("energy_uj"), "").unwrap();
        fs::remove_dir_all(zone).unwrap();
    }

    pub(crate) fn vendor(&self, number: &str) {
        self.file(
            "devices/system/cpu/modalias",
            &format!("cpu:type:x86,ven{number}fam0006mod006A:feature:,0000,0001\n"),
        );
    }
}

pub(crate) fn two_packages() -> Tree {
    let tree = Tree::new();
    tree.file("class/powercap/intel-rapl/enabled", "1\n");
    for (package, start) in [(0, 5_000_000), (1, 9_000_000)] {
        tree.zone(&format!("intel-rapl:{package}"), &format!("package-{package}"), start);
        tree.zone(&format!("intel-rapl:{package}:0"), "core", 1_000_000);
        tree.zone(&format!("intel-rapl:{package}:1"), "dram", start / 5);
    }
    tree.zone("intel-rapl:0:2", "uncore", 2_000_000);
    tree.zone("intel-rapl:2", "psys", 40_000_000);
    tree.zone("intel-rapl-mmio:0", "package-0", 5_000_000);
    tree
}

pub(crate) fn domains(found: &Found) -> Vec<(&str, bool)> {
    found
        .sensors
        .iter()
        .map(|sensor| sensor.specification())
        .map(|it| (it.domain.id.as_str(), it.in_total))
        .collect()
}

pub(crate) fn only(found: Found) -> Box<dyn Sensor> {
    assert!(found.absent.is_empty(), "{found:?}");
    let [sensor] = <[_; 1]>::try_from(found.sensors).ok().unwrap();
    sensor
}

pub(crate) fn counter(sensor: &mut dyn Sensor, clock: &FakeClock) -> (Energy, Option<Incident>) {
    let reading = sensor.read(&clock.clock()).unwrap();
    let Quantity::Counter(energy) = reading.quantity else { panic!("{reading:?}") };
    (energy, reading.incident)
}

#[test]
fn packages_and_memory_are_taken_once_and_psys_stays_out_of_the_sum() {
    let tree = two_packages();
    let found = rapl::open(tree.root());
    let expected = [
        ("cpu:package-0", true),
        ("cpu:package-1", true),
        ("dram:package-0", true),
        ("dram:package-1", true),
        ("node:psys", false),
    ];
    assert_eq!(domains(&found), expected);
    assert!(found.absent.is_empty(), "{found:?}");
}

#[test]
fn a_zone_says_what_it_is() {
    let tree = two_packages();
    tree.vendor("0000");
    tree.file("class/powercap/intel-rapl:0/constraint_0_max_power_uw", "270000000\n");
    tree.file("class/powercap/intel-rapl:0/constraint_1_power_limit_uw", "324000000\n");
    let found = rapl::open(tree.root());
    let package = found.sensors[0].specification();
    assert_eq!(
        (package.domain.hardware, package.domain.name.as_str()),
        (Hardware::Cpu, "CPU package 0")
    );
    assert_eq!(
        (package.source.as_str(), package.stack.as_str(), package.family.as_str()),
        ("powercap intel-rapl:0", "rapl", "rapl")
    );
    assert_eq!(package.provenance, Provenance::Counter);
    assert_eq!(
        (package.period, package.interval),
        (Duration::from_millis(1), Duration::from_millis(20))
    );
    assert_eq!(package.quantum, Energy::from_nanojoules(61_035));
    assert_eq!(package.wrap, Some(Energy::from_microjoules(RANGE) + package.quantum));
    assert_eq!(package.most, Power::from_watts(648.0));
    assert_eq!(found.sensors[1].specification().most, Power::from_watts(1_000.0));
    let gains: Vec<f64> = found.sensors.iter().map(|sensor| sensor.specification().gain).collect();
    // Package 0 has an uncore zone, which makes its memory a desktop's.
    assert_eq!(gains, [0.03, 0.03, 0.15, 0.06, 0.10]);
    assert_eq!(found.sensors[2].specification().offset, Power::from_watts(1.0));
}

#[test]
fn packages_of_another_vendor_are_less_certain() {
    let tree = Tree::new();
    tree.zone("intel-rapl:0", "package-0", 1_000_000);
    tree.vendor("0002");
    assert_eq!(only(rapl::open(tree.root())).specification().gain, 0.06);
}

#[test]
fn the_counter_runs_from_zero_at_the_first_read() {
    let (tree, clock) = (Tree::new(), FakeClock::new());
    tree.zone("intel-rapl:0", "package-0", 123_456_789);
    let mut sensor = only(rapl::open(tree.root()));
    assert_eq!(counter(&mut *sensor, &clock), (Energy::ZERO, None));
    clock.advance(Duration::from_secs(1));
    tree.set("intel-rapl:0", 123_456_789 + 87_654_321);
    assert_eq!(counter(&mut *sensor, &clock), (Energy::from_microjoules(87_654_321), None));
}

#[test]
fn a_wrap_between_two_reads_loses_nothing() {
    let (tree, clock) = (Tree::new(), FakeClock::new());
    tree.zone("intel-rapl:0", "package-0", RANGE - 99_999_999);
    let mut sensor = only(rapl::open(tree.root()));
    counter(&mut *sensor, &clock);
    clock.advance(Duration::from_secs(1));
    tree.set("intel-rapl:0", 50_000_000);
    // From the last value to the end 99.999999 J, one count to zero, and 50 J.
    let (energy, incident) = counter(&mut *sensor, &clock);
    assert_eq!(energy, Energy::from_microjoules(149_999_999) + Energy::from_nanojoules(61_035));
    assert_eq!(incident, Some(Incident::Wrap));
}

#[test]
fn a_reset_is_no_wrap_of_a_quarter_megajoule() {
    let (tree, clock) = (Tree::new(), FakeClock::new());
    tree.zone("intel-rapl:0", "package-0", 60_000_000_000);
    let mut sensor = only(rapl::open(tree.root()));
    counter(&mut *sensor, &clock);
    clock.advance(Duration::from_secs(1));
    tree.set("intel-rapl:0", 10_000_000);
    assert_eq!(counter(&mut *sensor, &clock), (Energy::ZERO, Some(Incident::Reset)));
    clock.advance(Duration::from_secs(1));
    tree.set("intel-rapl:0", 90_000_000);
    assert_eq!(counter(&mut *sensor, &clock), (Energy::from_joules(80.0), None));
}

#[test]
fn a_zone_that_vanishes_is_lost_and_found_again() {
    let (tree, clock) = (Tree::new(), FakeClock::new());
    tree.zone("intel-rapl:0", "package-0", 7_000_000);
    let mut sensor = only(rapl::open(tree.root()));
    counter(&mut *sensor, &clock);
    tree.unplug("intel-rapl:0");
    for _ in 0..3 {
        clock.advance(Duration::from_secs(1));
        let error = sensor.read(&clock.clock()).unwrap_err();
        assert!(error.is_lost() && error.what().starts_with("cpu:package-0 was lost"), "{error}");
    }
    clock.advance(Duration::from_secs(1));
    tree.zone("intel-rapl:0", "package-0", 107_000_000);
    assert_eq!(counter(&mut *sensor, &clock), (Energy::from_joules(100.0), None));
}

#[test]
fn garbage_in_a_running_counter_is_no_energy() {
    let (tree, clock) = (Tree::new(), FakeClock::new());
    tree.zone("intel-rapl:0", "package-0", 7_000_000);
    let mut sensor = only(rapl::open(tree.root()));
    counter(&mut *sensor, &clock);
    tree.file("class/powercap/intel-rapl:0/energy_uj", "N/A\n");
    clock.advance(Duration::from_secs(1));
    assert!(sensor.read(&clock.clock()).unwrap_err().is_lost());
    tree.file("class/powercap/intel-rapl:0/energy_uj", "8000000\n");
    assert_eq!(counter(&mut *sensor, &clock), (Energy::from_joules(1.0), None));
}

#[test]
fn dies_that_mirror_one_counter_count_once() {
    let tree = Tree::new();
    tree.zone("intel-rapl:0", "package-0-die-0", 77_000_000_000);
    tree.zone("intel-rapl:1", "package-0-die-1", 77_000_400_000);
    tree.zone("intel-rapl:2", "package-1-die-0", 77_000_000_000);
    tree.zone("intel-rapl:3", "package-1-die-1", 77_000_000_000);
    let found = rapl::open(tree.root());
    assert_eq!(domains(&found), [("cpu:package-0-die-0", true), ("cpu:package-1-die-0", true)]);
    assert!(
        found.sensors[0]
            .specification()
            .scope
            .contains("cpu:package-0-die-1 shows this same counter")
    );
}

#[test]
fn dies_with_counters_of_their_own_count_each() {
    let tree = Tree::new();
    tree.zone("intel-rapl:0", "package-0-die-0", 77_000_000_000);
    tree.zone("intel-rapl:1", "package-0-die-1", 77_002_000_000);
    tree.zone("intel-rapl:1:0", "dram", 1_000_000);
    let found = rapl::open(tree.root());
    let expected = [
        ("cpu:package-0-die-0", true),
        ("cpu:package-0-die-1", true),
        ("dram:package-0-die-1", true),
    ];
    assert_eq!(domains(&found), expected);
}

#[test]
fn packages_that_happen_to_agree_are_no_mirrors() {
    let tree = Tree::new();
    tree.zone("intel-rapl:0", "package-0", 77_000_000_000);
    tree.zone("intel-rapl:1", "package-1", 77_000_000_000);
    assert_eq!(domains(&rapl::open(tree.root())).len(), 2);
}

#[test]
fn the_mmio_twin_stands_in_where_the_registers_cannot_be_read() {
    let tree = Tree::new();
    tree.zone("intel-rapl:0", "package-0", 0);
    tree.file("class/powercap/intel-rapl:0/max_energy_range_uj", "none\n");
    tree.zone("intel-rapl-mmio:0", "package-0", 5_000_000);
    let sensor = only(rapl::open(tree.root()));
    assert_eq!(sensor.specification().source, "powercap intel-rapl-mmio:0");
    assert_eq!(sensor.specification().domain.id, "cpu:package-0");
}

#[test]
fn one_unreadable_zone_does_not_take_the_others_with_it() {
    let tree = two_packages();
    let path = tree.powercap().join("intel-rapl:1/energy_uj");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let found = rapl::open(tree.root());
    assert_eq!(found.sensors.len(), 4);
    assert_eq!(found.absent.len(), 1);
    assert_eq!(found.absent[0].source, "rapl cpu:package-1");
    let text = found.absent[0].error.to_string();
    assert!(text.contains("intel-rapl:1/energy_uj"), "{text}");
    assert!(!found.absent[0].error.is_absent(), "unreadable is not absent: {text}");
}

#[cfg(target_os = "linux")]
#[test]
fn counters_closed_to_this_user_are_one_absence_with_its_cure() {
    let tree = two_packages();
    tree.close_two_packages();
    let found = rapl::open(tree.root());
    assert!(found.sensors.is_empty(), "closed is never 0 W");
    let [absence] = &found.absent[..] else { panic!("{found:?}") };
    assert!(absence.error.is_permission_denied());
    let text = absence.error.what();
    assert!(text.contains("cpu:package-0, cpu:package-1, dram:package-0"), "{text}");
    assert!(absence.error.remedy().unwrap().contains("sudo chmod a+r"), "{}", absence.error);
}

#[test]
fn garbage_is_named_by_its_path() {
    for file in ["energy_uj", "max_energy_range_uj"] {
        let tree = Tree::new();
        tree.zone("intel-rapl:0", "package-0", 1_000_000);
        tree.file(&format!("class/powercap/intel-rapl:0/{file}"), "-12 joules\n");
        let found = rapl::open(tree.root());
        assert!(found.sensors.is_empty());
        let [absence] = &found.absent[..] else { panic!("{found:?}") };
        assert_eq!(absence.error.kind(), "invalid");
        let text = absence.error.to_string();
        assert!(
            text.contains(&format!("intel-rapl:0/{file}")) && text.contains("-12 joules"),
            "{text}"
        );
    }
}

#[test]
fn a_kernel_without_powercap_has_no_rapl() {
    let root = TempDir::new().unwrap();
    let found = rapl::open(root.path());
    let [absence] = &found.absent[..] else { panic!("{found:?}") };
    assert!(found.sensors.is_empty() && absence.error.is_absent());
    assert!(absence.error.what().contains("powercap"), "{}", absence.error);
}

#[test]
fn a_virtual_machine_is_told_from_a_missing_driver() {
    let root = Tree::new();
    fs::remove_dir_all(root.powercap()).unwrap();
    root.file(
        "devices/system/cpu/modalias",
        "cpu:type:x86,ven0002fam0019mod0011:feature:,0000,008D,009F\n",
    );
    root.file("class/dmi/id/sys_vendor", "Amazon EC2\n");
    let found = rapl::open(root.root());
    assert!(found.absent[0].error.what().contains("virtual machine (Amazon EC2)"), "{found:?}");
}

#[test]
fn zones_without_a_package_are_no_rapl() {
    let tree = Tree::new();
    tree.zone("intel-rapl:0", "core", 1_000_000);
    let found = rapl::open(tree.root());
    assert!(found.sensors.is_empty());
    assert!(found.absent[0].error.what().contains("no zone of a processor package"), "{found:?}");
}
