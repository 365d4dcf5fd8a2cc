//! AMD's GPUs through sysfs trees on disk: which cards get a sensor, what it covers, and counters that misbehave.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::fs;
use std::time::Duration;

use ergometer::FakeClock;
use ergometer::sensor::{
    Found, Hardware, Incident, Provenance, Quantity, Selection, Sensor, amdgpu,
};
use ergometer::units::{Energy, Power};

use crate::rapl::Tree;

pub(crate) const MI250X: u32 = 0x7408;
const MI210: u32 = 0x740f;
pub(crate) const MI300A: u32 = 0x74a0;
const MI300X: u32 = 0x74a1;
pub(crate) const NAVI_21: u32 = 0x73bf;

/// A block of metrics: its revision 1.x, and the energy's counts and the power's watts at their places.
pub(crate) fn block(content: u8, energy: u64, power: u16) -> Vec<u8> {
    let (size, energy_at, power_at) = match content {
        1 => (96, 24, 22),
        2 => (104, 24, 22),
        3 => (120, 24, 22),
        4 => (288, 24, 10),
        5 => (360, 88, 10),
        other => panic!("v1.{other}"),
    };
    // What the driver does not fill is all ones.
    let mut bytes = vec![0xff; size];
    bytes[..2].copy_from_slice(&u16::try_from(size).unwrap().to_le_bytes());
    bytes[2..4].copy_from_slice(&[1, content]);
    bytes[energy_at..energy_at + 8].copy_from_slice(&energy.to_le_bytes());
    bytes[power_at..power_at + 2].copy_from_slice(&power.to_le_bytes());
    bytes
}

/// This many joules in the counter's counts of 2⁻¹⁶ J.
pub(crate) fn joules(joules: u64) -> u64 {
    joules << 16
}

pub(crate) trait Cards {
    fn card(&self, number: u32, address: &str, model: u32);
    fn metrics(&self, number: u32, bytes: &[u8]);
    fn hwmon(&self, number: u32, file: &str, value: u64);
}

impl Cards for Tree {
    fn card(&self, number: u32, address: &str, model: u32) {
        let device = format!("class/drm/card{number}/device");
        self.file(&format!("{device}/vendor"), "0x1002\n");
        self.file(&format!("{device}/device"), &format!("{model:#06x}\n"));
        self.file(
            &format!("{device}/uevent"),
            &format!("DRIVER=amdgpu\nPCI_SLOT_NAME={address}\n"),
        );
        self.file(&format!("{device}/power/runtime_status"), "active\n");
        self.file(&format!("{device}/hwmon/hwmon{number}/name"), "amdgpu\n");
        self.file(&format!("class/drm/card{number}-DP-1/device/vendor"), "0x1002\n");
    }

    fn metrics(&self, number: u32, bytes: &[u8]) {
        fs::write(self.root().join(format!("class/drm/card{number}/device/gpu_metrics")), bytes)
            .unwrap();
    }

    fn hwmon(&self, number: u32, file: &str, value: u64) {
        let path = format!("class/drm/card{number}/device/hwmon/hwmon{number}/{file}");
        self.file(&path, &format!("{value}\n"));
    }
}

fn open(tree: &Tree) -> Found {
    amdgpu::open(tree.root(), &Selection::All)
}

fn only(found: Found) -> Box<dyn Sensor> {
    assert!(found.absent.is_empty(), "{found:?}");
    let [sensor] = <[_; 1]>::try_from(found.sensors).ok().unwrap();
    sensor
}

fn ids(found: &Found) -> Vec<&str> {
    found.sensors.iter().map(|sensor| sensor.specification().domain.id.as_str()).collect()
}

fn counter(sensor: &mut dyn Sensor, clock: &FakeClock) -> (Energy, Option<Incident>) {
    let reading = sensor.read(&clock.clock()).unwrap();
    let Quantity::Counter(energy) = reading.quantity else { panic!("{reading:?}") };
    (energy, reading.incident)
}

fn power(sensor: &mut dyn Sensor, clock: &FakeClock) -> Power {
    let reading = sensor.read(&clock.clock()).unwrap();
    let Quantity::Gauge(power) = reading.quantity else { panic!("{reading:?}") };
    power
}

/// Two MI250X, each of two dies; the second ones show zeros, as the driver makes them.
pub(crate) fn two_boards() -> Tree {
    let tree = Tree::new();
    let dies = ["0000:c1:00.0", "0000:c6:00.0", "0000:c9:00.0", "0000:ce:00.0"];
    for (number, address) in (1_u32..).zip(dies) {
        tree.card(number, address, MI250X);
        tree.file(
            &format!("class/drm/card{number}/device/unique_id"),
            &format!("{:016x}\n", 0xabcd_0000_0000_0000_u64 + u64::from(number)),
        );
        let first = number % 2 == 1;
        tree.metrics(number, &if first { block(3, joules(500), 300) } else { block(3, 0, 0) });
        tree.hwmon(number, "power1_average", if first { 300_000_000 } else { 0 });
        tree.hwmon(number, "power1_cap", if first { 560_000_000 } else { 0 });
    }
    tree
}

#[test]
fn a_board_of_two_dies_is_measured_once() {
    let (tree, clock) = (two_boards(), FakeClock::new());
    let mut found = open(&tree);
    assert!(found.absent.is_empty(), "{found:?}");
    assert_eq!(ids(&found), ["gpu:AMD-abcd000000000001", "gpu:AMD-abcd000000000003"]);
    for (sensor, second) in found.sensors.iter().zip(["0000:c6:00.0", "0000:ce:00.0"]) {
        let specification = sensor.specification();
        assert!(specification.scope.contains(second), "{}", specification.scope);
        assert!(specification.in_total);
        assert_eq!(specification.wrap, None);
        assert_eq!(specification.most, Power::from_watts(840.0));
    }
    for sensor in &mut found.sensors {
        assert_eq!(counter(&mut **sensor, &clock), (Energy::ZERO, None));
    }
    clock.advance(Duration::from_secs(1));
    tree.metrics(1, &block(3, joules(900), 400));
    tree.metrics(3, &block(3, joules(600), 100));
    let total: Energy =
        found.sensors.iter_mut().map(|sensor| counter(&mut **sensor, &clock).0).sum();
    assert_eq!(total, Energy::from_joules(500.0));
}

#[test]
fn who_trains_on_a_second_die_gets_its_board() {
    let tree = two_boards();
    let found = amdgpu::open(tree.root(), &Selection::Pci(vec!["0000:CE:00.0".to_owned()]));
    assert_eq!(ids(&found), ["gpu:AMD-abcd000000000003"]);
    let [idle] = found.absent.as_slice() else { panic!("{found:?}") };
    assert_eq!(idle.source, "amdgpu 0000:c1:00.0");
    assert!(idle.error.is_unsupported() && idle.error.remedy().unwrap().contains("All"));
}

#[test]
fn a_second_die_alone_is_absent_and_never_zero() {
    let tree = two_boards();
    for number in [1, 3, 4] {
        fs::remove_dir_all(tree.root().join(format!("class/drm/card{number}"))).unwrap();
    }
    let found = open(&tree);
    assert!(found.sensors.is_empty(), "{found:?}");
    assert_eq!(found.absent.len(), 1);
    assert!(found.absent[0].error.what().contains("second die"), "{found:?}");
}

#[test]
fn an_mi210_has_one_die_and_no_pair() {
    let tree = Tree::new();
    tree.card(0, "0000:43:00.0", MI210);
    tree.metrics(0, &block(3, joules(5), 90));
    assert_eq!(only(open(&tree)).specification().domain.id, "gpu:0000:43:00.0");
}

#[test]
fn a_card_says_what_it_is() {
    let tree = Tree::new();
    tree.card(0, "0000:03:00.0", NAVI_21);
    tree.metrics(0, &block(3, joules(12), 45));
    tree.hwmon(0, "power1_average", 45_000_000);
    tree.hwmon(0, "power1_cap", 272_000_000);
    tree.file("class/drm/card0/device/product_name", "AMD Radeon RX 6800 XT\n");
    let mut sensor = only(open(&tree));
    assert_eq!(sensor.cross_check(), Some(Power::from_watts(45.0)));
    let specification = sensor.specification();
    assert_eq!(specification.domain.id, "gpu:0000:03:00.0");
    assert_eq!(specification.domain.name, "AMD Radeon RX 6800 XT");
    assert_eq!(specification.family, "AMD Radeon RX 6800 XT");
    assert_eq!(specification.source, "amdgpu energy, metrics v1.3");
    assert_eq!((specification.stack.as_str(), specification.gain), ("amdgpu", 0.05));
    assert_eq!(specification.provenance, Provenance::Counter);
    assert_eq!(specification.most, Power::from_watts(408.0));
    assert_eq!(specification.wrap, Some(Energy::from_joules(65_536.0)));
    assert_eq!(
        (specification.period, specification.interval),
        (Duration::from_millis(1), Duration::from_millis(20))
    );
    assert!(specification.includes.is_empty() && specification.in_total);
}

#[test]
fn a_counter_of_32_bits_loses_nothing_where_it_wraps() {
    let (tree, clock) = (Tree::new(), FakeClock::new());
    tree.card(0, "0000:03:00.0", NAVI_21);
    tree.metrics(0, &block(3, joules(65_500), 200));
    let mut sensor = only(open(&tree));
    counter(&mut *sensor, &clock);
    clock.advance(Duration::from_secs(1));
    tree.metrics(0, &block(3, joules(100), 200));
    let (energy, incident) = counter(&mut *sensor, &clock);
    assert_eq!((energy, incident), (Energy::from_joules(136.0), Some(Incident::Wrap)));
}

#[test]
fn a_reset_of_the_card_is_not_a_wrap() {
    for (model, content) in [(NAVI_21, 3), (MI210, 3), (MI300X, 5)] {
        let (tree, clock) = (Tree::new(), FakeClock::new());
        tree.card(0, "0000:03:00.0", model);
        tree.hwmon(0, "power1_cap", 300_000_000);
        tree.metrics(0, &block(content, joules(9_000), 200));
        let mut sensor = only(open(&tree));
        counter(&mut *sensor, &clock);
        clock.advance(Duration::from_secs(1));
        tree.metrics(0, &block(content, joules(1), 200));
        let after_reset = (Energy::ZERO, Some(Incident::Reset));
        assert_eq!(counter(&mut *sensor, &clock), after_reset, "{model:#x}");
        clock.advance(Duration::from_secs(1));
        tree.metrics(0, &block(content, joules(201), 200));
        assert_eq!(counter(&mut *sensor, &clock), (Energy::from_joules(200.0), None));
    }
}

#[test]
fn newer_revisions_count_in_64_bits() {
    for (content, model) in [(4, MI300X), (5, MI300X)] {
        let (tree, clock) = (Tree::new(), FakeClock::new());
        tree.card(0, "0000:05:00.0", model);
        tree.metrics(0, &block(content, joules(1_000_000_000), 700));
        let mut sensor = only(open(&tree));
        let source = format!("amdgpu energy, metrics v1.{content}");
        assert_eq!((&sensor.specification().source, sensor.specification().wrap), (&source, None));
        counter(&mut *sensor, &clock);
        clock.advance(Duration::from_secs(1));
        tree.metrics(0, &block(content, joules(1_000_000_750), 700));
        assert_eq!(counter(&mut *sensor, &clock), (Energy::from_joules(750.0), None));
    }
}

#[test]
fn an_mi300a_contains_its_processor_and_memory() {
    let tree = Tree::new();
    tree.card(0, "0000:01:00.0", MI300A);
    tree.metrics(0, &block(4, joules(5_000), 400));
    let sensor = only(open(&tree));
    assert_eq!(sensor.specification().includes, [Hardware::Cpu, Hardware::Dram]);
}

#[test]
fn a_processor_with_graphics_has_a_gauge_that_includes_its_cores() {
    for format in [2, 3] {
        let (tree, clock) = (Tree::new(), FakeClock::new());
        tree.card(0, "0000:c4:00.0", 0x15bf);
        tree.metrics(0, &[[128, 0, format, 4].as_slice(), &[0xff; 124]].concat());
        tree.hwmon(0, "power1_average", 23_000_000);
        let mut sensor = only(open(&tree));
        assert_eq!(power(&mut *sensor, &clock), Power::from_watts(23.0));
        assert_eq!(sensor.cross_check(), None);
        let specification = sensor.specification();
        assert_eq!(specification.provenance, Provenance::IntegratedPower);
        assert_eq!(specification.source, "amdgpu power1_average");
        assert_eq!(specification.includes, [Hardware::Cpu]);
        assert!(specification.contains(Hardware::Gpu) && specification.contains(Hardware::Cpu));
    }
}

#[test]
fn without_a_known_counter_the_gauge_is_read() {
    let unknown = [[64, 0, 1, 9].as_slice(), &[7; 60]].concat();
    let attributes = block(3, joules(77), 50);
    let mut of_another_size = block(3, joules(77), 50);
    of_another_size[0] = 96;
    let blocks: [(&str, &[u8]); 7] = [
        ("an unknown revision", &unknown),
        ("an empty file", &[]),
        ("half a header", &attributes[..3]),
        ("a truncated block", &attributes[..119]),
        ("a size that does not fit", &of_another_size),
        ("a counter of zeros", &block(3, 0, 50)),
        // RDNA 3 with newer firmware.
        ("a counter of 32 ones", &block(3, u64::from(u32::MAX), 50)),
    ];
    for (what, bytes) in blocks {
        let (tree, clock) = (Tree::new(), FakeClock::new());
        tree.card(0, "0000:03:00.0", 0x744c);
        tree.metrics(0, bytes);
        tree.hwmon(0, "power1_input", 210_000_000);
        let mut sensor = only(open(&tree));
        assert_eq!(sensor.specification().source, "amdgpu power1_input", "{what}");
        assert!(sensor.specification().includes.is_empty());
        assert_eq!(power(&mut *sensor, &clock), Power::from_watts(210.0));
    }
}

#[test]
fn a_card_without_energy_and_power_is_absent() {
    let tree = Tree::new();
    tree.card(0, "0000:03:00.0", 0x744c);
    tree.hwmon(0, "power1_average", 0);
    let found = open(&tree);
    assert!(found.sensors.is_empty(), "{found:?}");
    let error = &found.absent[0].error;
    assert!(error.is_unsupported(), "{error}");
    assert!(error.what().contains("gpu_metrics") && error.what().contains("power1_average"));
}

#[test]
fn a_sleeping_card_is_not_woken() {
    for (model, block) in [(0x744c, block(3, joules(1), 1)), (MI250X, block(3, 0, 0))] {
        let tree = Tree::new();
        tree.card(0, "0000:03:00.0", model);
        tree.metrics(0, &block);
        tree.file("class/drm/card0/device/power/runtime_status", "suspended\n");
        let found = open(&tree);
        assert!(found.sensors.is_empty(), "{found:?}");
        assert!(found.absent[0].error.what().contains("asleep"), "{found:?}");
        assert!(found.absent[0].error.remedy().unwrap().contains("tensor"));
    }
}

#[test]
fn an_error_that_is_printed_as_a_power_is_no_power() {
    for limit in [None, Some(303_000_000)] {
        let (tree, clock) = (Tree::new(), FakeClock::new());
        tree.card(0, "0000:03:00.0", 0x744c);
        tree.hwmon(0, "power1_average", 100_000_000);
        if let Some(limit) = limit {
            tree.hwmon(0, "power1_cap", limit);
        }
        let mut sensor = only(open(&tree));
        assert_eq!(power(&mut *sensor, &clock), Power::from_watts(100.0));
        // −22 in 32 bits without a sign.
        tree.hwmon(0, "power1_average", 4_294_967_274);
        let error = sensor.read(&clock.clock()).unwrap_err();
        assert!(error.is_lost() && error.what().contains("4295"), "{error}");
    }
}

/// A card with its directory among the devices and a link to it in the class.
#[cfg(unix)]
fn linked(tree: &Tree, number: u32, address: &str) -> String {
    let device = format!("devices/{address}");
    tree.file(&format!("{device}/vendor"), "0x1002\n");
    tree.file(&format!("{device}/device"), &format!("{MI300X:#06x}\n"));
    tree.file(&format!("{device}/uevent"), &format!("PCI_SLOT_NAME={address}\n"));
    tree.link(&format!("class/drm/card{number}/device"), &device);
    device
}

#[cfg(unix)]
#[test]
fn a_card_keeps_its_counter_when_cards_change_their_numbers() {
    let (tree, clock) = (Tree::new(), FakeClock::new());
    let set = |address: &str, energy: u64| {
        let path = tree.root().join(format!("devices/{address}/gpu_metrics"));
        fs::write(path, block(4, joules(energy), 500)).unwrap();
    };
    for (number, address, energy) in [(0, "0000:03:00.0", 5), (1, "0000:04:00.0", 100)] {
        linked(&tree, number, address);
        set(address, energy);
    }
    let mut sensor = open(&tree).sensors.remove(0);
    counter(&mut *sensor, &clock);
    for (from, to) in [("card0", "other"), ("card1", "card0"), ("other", "card1")] {
        tree.rename(&format!("class/drm/{from}"), &format!("class/drm/{to}"));
    }
    set("0000:03:00.0", 12);
    clock.advance(Duration::from_secs(1));
    assert_eq!(counter(&mut *sensor, &clock), (Energy::from_joules(7.0), None));
}

#[cfg(unix)]
#[test]
fn a_gauge_that_comes_back_under_another_number_is_found() {
    let (tree, clock) = (Tree::new(), FakeClock::new());
    let device = linked(&tree, 0, "0000:03:00.0");
    let chip = |number: u32| format!("{device}/hwmon/hwmon{number}");
    tree.file(&format!("{}/name", chip(4)), "amdgpu\n");
    tree.file(&format!("{}/power1_average", chip(4)), "100000000\n");
    tree.link(&format!("{}/device", chip(4)), &device);
    let mut sensor = only(open(&tree));
    assert_eq!(power(&mut *sensor, &clock), Power::from_watts(100.0));
    tree.file(&format!("{}/power1_average", chip(4)), "");
    assert!(sensor.read(&clock.clock()).unwrap_err().is_lost());
    tree.rename(&chip(4), &chip(9));
    assert!(sensor.read(&clock.clock()).unwrap_err().is_lost());
    tree.file(&format!("{}/power1_average", chip(9)), "120000000\n");
    assert_eq!(power(&mut *sensor, &clock), Power::from_watts(120.0));
}

#[test]
fn a_counter_that_stands_still_is_lost_and_not_zero() {
    let (tree, clock) = (Tree::new(), FakeClock::new());
    tree.card(0, "0000:03:00.0", NAVI_21);
    tree.metrics(0, &block(3, joules(50), 100));
    let mut sensor = only(open(&tree));
    counter(&mut *sensor, &clock);
    clock.advance(Duration::from_millis(1_900));
    assert_eq!(counter(&mut *sensor, &clock), (Energy::ZERO, None));
    clock.advance(Duration::from_millis(200));
    let error = sensor.read(&clock.clock()).unwrap_err();
    assert!(error.is_lost() && error.what().contains("stands still"), "{error}");
    tree.metrics(0, &block(3, joules(260), 100));
    assert_eq!(counter(&mut *sensor, &clock), (Energy::from_joules(210.0), None));
}

#[test]
fn a_card_that_vanishes_is_lost_and_comes_back() {
    let (tree, clock) = (Tree::new(), FakeClock::new());
    tree.card(0, "0000:03:00.0", NAVI_21);
    tree.metrics(0, &block(3, joules(50), 100));
    let mut sensor = only(open(&tree));
    counter(&mut *sensor, &clock);
    for broken in [&[][..], &block(3, u64::MAX, 0)] {
        clock.advance(Duration::from_secs(1));
        tree.metrics(0, broken);
        assert!(sensor.read(&clock.clock()).unwrap_err().is_lost());
    }
    tree.metrics(0, &block(3, joules(250), 100));
    assert_eq!(counter(&mut *sensor, &clock), (Energy::from_joules(200.0), None));
}

#[test]
fn other_makers_and_a_machine_without_cards_say_nothing() {
    let tree = Tree::new();
    let found = open(&tree);
    assert!(found.sensors.is_empty() && found.absent.is_empty(), "{found:?}");
    tree.file("class/drm/card0/device/vendor", "0x10de\n");
    tree.file("class/drm/renderD128/device/vendor", "0x1002\n");
    let found = open(&tree);
    assert!(found.sensors.is_empty() && found.absent.is_empty(), "{found:?}");
}
