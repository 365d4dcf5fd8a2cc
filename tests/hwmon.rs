//! Server power gauges on trees on disk: which chips are read, what is in the sum, and gauges that misbehave.

#![expect(
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "helpers of tests may panic, and gains are copied, not computed"
)]

mod amd;
mod boards;

use std::fs;
use std::path::Path;
use std::time::Duration;

use ergometer::FakeClock;
use ergometer::sensor::{Found, Hardware, Provenance, Quantity, Sensor, hwmon};
use ergometer::units::Energy;
use tempfile::TempDir;

/// A sysfs root with chips of known content.
struct Tree(TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Tree(TempDir::new().unwrap());
        fs::create_dir_all(tree.root().join("class/hwmon")).unwrap();
        tree
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file, under the same node if it exists: a reader that has it open sees the new text.
    fn file(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A chip of the class with its files.
    fn chip(&self, number: u32, name: &str, files: &[(&str, &str)]) {
        self.chip_at(&format!("class/hwmon/hwmon{number}"), name, files);
    }

    fn chip_at(&self, directory: &str, name: &str, files: &[(&str, &str)]) {
        for (file, text) in [("name", name)].iter().chain(files) {
            self.file(&format!("{directory}/{file}"), &format!("{text}\n"));
        }
    }

    /// One meter of a Grace socket: `Grace Power Socket 0`.
    fn grace(&self, number: u32, part: &str, power: &str) {
        let files = [
            ("device/name", "power_meter"),
            ("device/power1_oem_info", part),
            ("device/power1_average", power),
            ("device/power1_average_interval", "50"),
            ("device/power1_accuracy", "100.0%"),
        ];
        for (file, text) in files {
            self.file(&format!("class/hwmon/hwmon{number}/{file}"), &format!("{text}\n"));
        }
    }

    /// Rails of an INA3221: name, volts and amperes in thousandths.
    fn rails(&self, number: u32, interval: &str, rails: &[(u8, &str, &str, &str)]) {
        let mut files = vec![
            ("update_interval".to_owned(), interval),
            ("in7_label".to_owned(), "sum of shunt voltages"),
            ("in7_input".to_owned(), "9999"),
            ("curr4_input".to_owned(), "9999"),
        ];
        for (channel, label, voltage, current) in rails {
            files.push((format!("in{channel}_label"), label));
            files.push((format!("in{channel}_input"), voltage));
            files.push((format!("in{channel}_enable"), "1"));
            files.push((format!("curr{channel}_input"), current));
        }
        let files: Vec<_> = files.iter().map(|(file, text)| (file.as_str(), *text)).collect();
        self.chip(number, "ina3221", &files);
    }
}

/// Every domain, whether it is in the sum, and its power now; sorted by id.
fn powers(found: &mut Found) -> Vec<(String, bool, f64)> {
    let clock = FakeClock::new().clock();
    let mut powers: Vec<_> = found
        .sensors
        .iter_mut()
        .map(|sensor| {
            let Quantity::Gauge(power) = sensor.read(&clock).unwrap().quantity else {
                panic!("{:?}", sensor.specification())
            };
            let it = sensor.specification();
            (it.domain.id.clone(), it.in_total, power.as_watts())
        })
        .collect();
    powers.sort_by(|one, other| one.0.cmp(&other.0));
    powers
}

fn total(powers: &[(String, bool, f64)]) -> f64 {
    powers.iter().filter(|(_, in_total, _)| *in_total).map(|(_, _, power)| power).sum()
}

fn assert_powers(found: &mut Found, expected: &[(&str, bool, f64)], sum: f64) {
    assert!(found.absent.is_empty(), "{found:?}");
    let powers = powers(found);
    let expected: Vec<_> = expected
        .iter()
        .map(|(id, in_total, power)| ((*id).to_owned(), *in_total, *power))
        .collect();
    assert_eq!(powers, expected);
    assert_eq!(total(&powers), sum);
}

fn only(found: Found) -> Box<dyn Sensor> {
    assert!(found.absent.is_empty(), "{found:?}");
    let [sensor] = <[_; 1]>::try_from(found.sensors).ok().unwrap();
    sensor
}

fn watts(sensor: &mut dyn Sensor, clock: &FakeClock) -> f64 {
    let reading = sensor.read(&clock.clock()).unwrap();
    let Quantity::Gauge(power) = reading.quantity else { panic!("{reading:?}") };
    power.as_watts()
}

#[test]
fn a_machine_without_such_chips_lacks_nothing() {
    let bare = TempDir::new().unwrap();
    let tree = Tree::new();
    tree.chip(0, "acpitz", &[("temp1_input", "27800")]);
    tree.chip(1, "nvme", &[("power1_input", "4000000")]);
    tree.chip(2, "amdgpu", &[("power1_average", "30000000")]);
    tree.file("class/hwmon/hwmon3/power1_average", "1000000\n");
    for root in [bare.path(), tree.root()] {
        let found = hwmon::open(root);
        assert!(found.sensors.is_empty() && found.absent.is_empty(), "{found:?}");
    }
}

// The firmware's power meter.

#[test]
fn a_machines_meter_stands_beside_the_sum() {
    let tree = Tree::new();
    tree.chip(
        4,
        "power_meter",
        &[
            ("power1_average", "412000000"),
            ("power1_average_interval", "1000"),
            ("power1_accuracy", "98.500%"),
            ("power1_oem_info", "Example Server"),
            ("measures/LNXSYBUS:00", ""),
        ],
    );
    let mut found = hwmon::open(tree.root());
    assert_powers(&mut found, &[("node:power_meter", false, 412.0)], 0.0);
    let meter = found.sensors[0].specification();
    assert_eq!(meter.domain.hardware, Hardware::Node);
    assert_eq!(meter.provenance, Provenance::IntegratedPower);
    assert_eq!(
        (meter.source.as_str(), meter.stack.as_str()),
        ("hwmon power_meter hwmon4", "power_meter")
    );
    assert_eq!(meter.averaging, Duration::from_secs(1));
    assert_eq!(
        (meter.period, meter.interval),
        (Duration::from_secs(1), Duration::from_millis(200))
    );
    assert!((meter.gain - 0.015 / 3_f64.sqrt()).abs() < 1e-12, "{}", meter.gain);
    assert!(meter.scope.contains("LNXSYBUS:00"), "{}", meter.scope);
}

#[test]
fn a_meter_that_states_no_accuracy_is_good_for_3_percent() {
    for stated in [None, Some("100.0%"), Some("0.0%"), Some("1"), Some("unknown")] {
        let tree = Tree::new();
        tree.chip(0, "power_meter", &[("power1_average", "250000000")]);
        if let Some(stated) = stated {
            tree.file("class/hwmon/hwmon0/power1_accuracy", stated);
        }
        let meter = only(hwmon::open(tree.root()));
        assert_eq!(meter.specification().gain, 0.03, "{stated:?}");
        assert_eq!(meter.specification().averaging, Duration::from_secs(1));
    }
}

#[test]
fn several_meters_are_told_apart_by_their_devices() {
    let tree = Tree::new();
    for (number, device, power) in
        [(2, "ACPI000D:01", "200000000"), (5, "ACPI000D:00", "300000000")]
    {
        tree.chip(number, "power_meter", &[("power1_average", power)]);
        tree.file(&format!("devices/LNXSYSTM:00/{device}/status"), "15\n");
        link(
            &tree,
            &format!("devices/LNXSYSTM:00/{device}"),
            &format!("class/hwmon/hwmon{number}/device"),
        );
    }
    let expected = [("node:power_meter-0", false, 300.0), ("node:power_meter-1", false, 200.0)];
    // Where there are no links, they stand in the order of their numbers.
    if cfg!(unix) {
        assert_powers(&mut hwmon::open(tree.root()), &expected, 0.0);
    }
}

#[test]
fn a_mean_over_minutes_is_read_each_fifth_of_a_second() {
    let tree = Tree::new();
    tree.chip(
        0,
        "power_meter",
        &[("power1_average", "250000000"), ("power1_average_interval", "300000")],
    );
    let meter = only(hwmon::open(tree.root()));
    assert_eq!(meter.specification().averaging, Duration::from_mins(5));
    assert_eq!(meter.specification().interval, Duration::from_millis(200));
}

#[test]
fn a_meter_without_a_power_names_the_boot_option() {
    let tree = Tree::new();
    tree.chip(0, "power_meter", &[("power1_model_number", "PM-1")]);
    let found = hwmon::open(tree.root());
    let [absence] = &found.absent[..] else { panic!("{found:?}") };
    assert!(found.sensors.is_empty() && absence.error.is_absent(), "{found:?}");
    assert_eq!(absence.source, "hwmon node:power_meter");
    assert!(absence.error.what().contains("hwmon0/power1_average"), "{}", absence.error);
    assert!(
        absence.error.remedy().unwrap().contains("acpi_power_meter.force_cap_on=y"),
        "{found:?}"
    );
}

#[test]
fn a_meter_of_the_firmware_without_its_driver_is_said() {
    let tree = Tree::new();
    tree.chip(0, "nvme", &[]);
    tree.file("bus/acpi/devices/ACPI000D:00/hid", "ACPI000D\n");
    let found = hwmon::open(tree.root());
    let [absence] = &found.absent[..] else { panic!("{found:?}") };
    assert!(absence.error.remedy().unwrap().contains("modprobe acpi_power_meter"), "{found:?}");
}

#[test]
fn no_value_of_the_firmware_is_no_power() {
    // All ones and nothing are how a meter says that it does not know.
    for nothing in ["0\n", "4294967295000\n"] {
        let tree = Tree::new();
        tree.chip(0, "power_meter", &[("power1_average", "250000000")]);
        let clock = FakeClock::new();
        let mut meter = only(hwmon::open(tree.root()));
        assert_eq!(watts(&mut *meter, &clock), 250.0);
        tree.file("class/hwmon/hwmon0/power1_average", nothing);
        clock.advance(Duration::from_secs(1));
        assert!(meter.read(&clock.clock()).unwrap_err().is_lost(), "{nothing}");
        tree.file("class/hwmon/hwmon0/power1_average", "260000000\n");
        clock.advance(Duration::from_secs(1));
        assert_eq!(watts(&mut *meter, &clock), 260.0);
    }
}

// NVIDIA Grace.

#[test]
fn grace_counts_each_socket_once_with_its_memory() {
    let tree = Tree::new();
    for (socket, number) in [(0, 1), (1, 5)] {
        tree.grace(number, &format!("Module Power Socket {socket}"), "700000000");
        tree.grace(number + 1, &format!("Grace Power Socket {socket}"), "180000000");
        tree.grace(number + 2, &format!("CPU Power Socket {socket}"), "110000000");
        tree.grace(number + 3, &format!("SysIO Power Socket {socket}"), "40000000");
    }
    let mut found = hwmon::open(tree.root());
    let expected = [
        ("cpu:cores-0", false, 110.0),
        ("cpu:cores-1", false, 110.0),
        ("cpu:package-0", true, 180.0),
        ("cpu:package-1", true, 180.0),
        ("cpu:sysio-0", false, 40.0),
        ("cpu:sysio-1", false, 40.0),
        ("node:module-0", false, 700.0),
        ("node:module-1", false, 700.0),
    ];
    assert_powers(&mut found, &expected, 360.0);
    for sensor in &found.sensors {
        let it = sensor.specification();
        assert_eq!((it.family.as_str(), it.gain), (hwmon::GRACE, 0.03));
        assert_eq!(
            (it.averaging, it.interval),
            (Duration::from_millis(50), Duration::from_millis(50))
        );
        assert_eq!(it.contains(Hardware::Dram), it.domain.id.starts_with("cpu:package-"));
    }
}

#[test]
fn parts_of_a_socket_stand_in_where_the_whole_cannot_be_read() {
    let tree = Tree::new();
    tree.grace(0, "Grace Power Socket 0", "180000000");
    tree.grace(1, "CPU Power Socket 0", "110000000");
    tree.grace(2, "Grace Power Socket 1", "no value");
    tree.grace(3, "CPU Power Socket 1", "120000000");
    tree.grace(4, "SysIO Power Socket 1", "30000000");
    let mut found = hwmon::open(tree.root());
    let [absence] = &found.absent[..] else { panic!("{found:?}") };
    assert_eq!(absence.source, "hwmon cpu:package-1");
    found.absent.clear();
    let expected = [
        ("cpu:cores-0", false, 110.0),
        ("cpu:cores-1", true, 120.0),
        ("cpu:package-0", true, 180.0),
        ("cpu:sysio-1", true, 30.0),
    ];
    assert_powers(&mut found, &expected, 330.0);
}

#[test]
fn an_energy_behind_a_power_meter_is_not_taken_for_power() {
    let tree = Tree::new();
    tree.grace(0, "Total Power in uW socket 0", "150000000");
    tree.grace(1, "Total CPU Energy In uJ socket 0", "77000000000");
    tree.grace(2, "DRAM Power in uW socket 0", "8000000");
    let mut found = hwmon::open(tree.root());
    let [absence] = &found.absent[..] else { panic!("{found:?}") };
    assert!(absence.error.is_unsupported() && absence.source.contains("hwmon1"), "{found:?}");
    found.absent.clear();
    let expected = [("cpu:package-0", true, 150.0), ("dram:package-0", false, 8.0)];
    assert_powers(&mut found, &expected, 150.0);
}

// Gauges that misbehave.

#[test]
fn a_power_below_zero_is_an_error_and_no_energy() {
    let tree = Tree::new();
    tree.rails(0, "10", &[(1, "VDD_IN", "5000", "-8")]);
    let found = hwmon::open(tree.root());
    let [absence] = &found.absent[..] else { panic!("{found:?}") };
    assert_eq!((found.sensors.len(), absence.error.kind()), (0, "invalid"), "{found:?}");
    assert_eq!(absence.source, "hwmon node:VDD_IN");

    tree.file("class/hwmon/hwmon0/curr1_input", "2000\n");
    let clock = FakeClock::new();
    let mut rail = only(hwmon::open(tree.root()));
    assert_eq!(watts(&mut *rail, &clock), 10.0);
    tree.file("class/hwmon/hwmon0/curr1_input", "-2000\n");
    clock.advance(Duration::from_millis(50));
    assert!(rail.read(&clock.clock()).unwrap_err().is_lost());
}

#[test]
fn a_gauge_that_fails_later_is_lost_and_found_again() {
    let (tree, clock) = (Tree::new(), FakeClock::new());
    tree.chip(0, "amd_hsmp_hwmon", &[("power1_input", "95000000")]);
    let mut socket = only(hwmon::open(tree.root()));
    for broken in ["", "N/A\n", "9.5e7\n"] {
        tree.file("class/hwmon/hwmon0/power1_input", broken);
        clock.advance(Duration::from_millis(50));
        let error = socket.read(&clock.clock()).unwrap_err();
        assert!(error.is_lost() && error.what().starts_with("cpu:package-0 was lost"), "{error}");
        tree.file("class/hwmon/hwmon0/power1_input", "96000000\n");
        clock.advance(Duration::from_millis(50));
        assert_eq!(watts(&mut *socket, &clock), 96.0);
    }
}

#[test]
fn a_gauge_follows_the_power() {
    let (tree, clock) = (Tree::new(), FakeClock::new());
    tree.chip(0, "power_meter", &[("power1_average", "100000000")]);
    let mut meter = only(hwmon::open(tree.root()));
    let mut energy = Energy::ZERO;
    for step in 1..=10 {
        tree.file("class/hwmon/hwmon0/power1_average", &format!("{}\n", step * 100_000_000));
        clock.advance(Duration::from_secs(1));
        let reading = meter.read(&clock.clock()).unwrap();
        let Quantity::Gauge(power) = reading.quantity else { panic!("{reading:?}") };
        energy += power * Duration::from_secs(1);
    }
    assert_eq!(energy, Energy::from_joules(5_500.0));
}

#[test]
fn what_cannot_be_read_is_absent_with_its_cause_and_a_cure() {
    let tree = Tree::new();
    boards::altra(&tree, 0);
    tree.file("class/hwmon/hwmon0/power1_input", "none\n");
    fs::remove_file(tree.root().join("class/hwmon/hwmon0/power3_input")).unwrap();
    let found = hwmon::open(tree.root());
    let absent: Vec<_> =
        found.absent.iter().map(|it| (it.source.as_str(), it.error.kind())).collect();
    assert_eq!(absent, [("hwmon cpu:core-vrd", "invalid"), ("hwmon dram:dimm-vrd1", "absent")]);
    assert!(found.absent.iter().all(|it| it.error.remedy().is_some()), "{found:?}");
    assert_eq!(found.sensors.len(), 3);
}

#[cfg(unix)]
#[test]
fn a_gauge_closed_to_this_user_names_the_file_to_open() {
    use std::os::unix::fs::PermissionsExt;
    let cases = [
        ("amd_hsmp_hwmon", "power1_input", "chmod a+r"),
        ("amd_energy", "energy3_input", "CVE-2020-12912"),
        ("power_meter", "power1_average", "chmod a+r"),
    ];
    for (name, file, cure) in cases {
        let tree = Tree::new();
        tree.chip(0, name, &[(file, "95000000"), ("energy3_label", "Esocket0")]);
        let path = tree.root().join("class/hwmon/hwmon0").join(file);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        let found = hwmon::open(tree.root());
        // Root reads what has no permissions.
        if fs::read(&path).is_ok() {
            assert_eq!((found.sensors.len(), found.absent.len()), (1, 0), "{found:?}");
            continue;
        }
        let [absence] = &found.absent[..] else { panic!("{found:?}") };
        assert!(absence.error.is_permission_denied(), "{found:?}");
        let remedy = absence.error.remedy().unwrap();
        assert!(remedy.contains(cure) && remedy.contains(file), "{remedy}");
    }
}

#[cfg(unix)]
#[test]
fn chips_are_found_through_the_links_of_a_real_class_directory() {
    let tree = Tree::new();
    let device = "devices/platform/amd_hsmp";
    for (number, power) in [(9, "95000000"), (10, "210000000")] {
        let chip = format!("{device}/hwmon/hwmon{number}");
        tree.chip_at(&chip, "amd_hsmp_hwmon", &[("power1_input", power)]);
        link(&tree, &chip, &format!("class/hwmon/hwmon{number}"));
        link(&tree, device, &format!("{chip}/device"));
    }
    link(&tree, "devices/gone", "class/hwmon/hwmon11");
    // Both chips are of one device, so their numbers tell the order, and 9 comes before 10.
    let expected = [("cpu:package-0", true, 95.0), ("cpu:package-1", true, 210.0)];
    assert_powers(&mut hwmon::open(tree.root()), &expected, 305.0);
}

fn link(tree: &Tree, to: &str, at: &str) {
    #[cfg(unix)]
    std::os::unix::fs::symlink(tree.root().join(to), tree.root().join(at)).unwrap();
    #[cfg(not(unix))]
    let _ = (tree, to, at);
}
