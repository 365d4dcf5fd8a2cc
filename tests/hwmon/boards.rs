//! The rails of Ampere's Altra and of NVIDIA's Jetson modules.

use std::time::Duration;

use ergometer::sensor::{Hardware, hwmon};

use super::{Tree, assert_powers, powers, total};

pub(super) fn altra(tree: &Tree, number: u32) {
    tree.chip(
        number,
        "smpro_hwmon",
        &[
            ("power1_input", "60250000"),
            ("power1_label", "power1 CORE VRD"),
            ("power2_input", "25500000"),
            ("power2_label", "power2 SoC"),
            ("power3_input", "9000000"),
            ("power3_label", "power3 DIMM VRD1"),
            ("power4_input", "8000000"),
            ("power5_input", "4500000"),
            ("power5_label", "power5 RCA VRD"),
        ],
    );
}

#[test]
fn the_rails_of_an_altra_add_up() {
    let tree = Tree::new();
    altra(&tree, 0);
    let mut found = hwmon::open(tree.root());
    let expected = [
        ("cpu:core-vrd", true, 60.25),
        ("cpu:rca-vrd", true, 4.5),
        ("cpu:soc-vrd", true, 25.5),
        ("dram:dimm-vrd1", true, 9.0),
        ("dram:dimm-vrd2", true, 8.0),
    ];
    assert_powers(&mut found, &expected, 107.25);
    let names: Vec<_> =
        found.sensors.iter().map(|sensor| sensor.specification().domain.name.as_str()).collect();
    // The fourth label is missing on this one.
    assert_eq!(names, ["CORE VRD", "SoC", "DIMM VRD1", "DIMM VRD2", "RCA VRD"]);
}

#[test]
fn the_rails_of_two_altras_are_told_apart() {
    let tree = Tree::new();
    altra(&tree, 0);
    altra(&tree, 1);
    let powers = powers(&mut hwmon::open(tree.root()));
    assert_eq!(powers.len(), 10);
    assert_eq!(total(&powers), 214.5);
    assert_eq!((powers[0].0.as_str(), powers[1].0.as_str()), ("cpu:core-vrd-0", "cpu:core-vrd-1"));
}

#[test]
fn a_jetson_counts_its_input_and_no_rail_behind_it() {
    let tree = Tree::new();
    tree.rails(
        1,
        "8",
        &[
            (1, "VDD_IN", "5000", "2400"),
            (2, "VDD_CPU_GPU_CV", "5000", "1100"),
            (3, "VDD_SOC", "5000", "500"),
        ],
    );
    let mut found = hwmon::open(tree.root());
    let expected = [
        ("gpu:VDD_CPU_GPU_CV", false, 5.5),
        ("node:VDD_IN", true, 12.0),
        ("node:VDD_SOC", false, 2.5),
    ];
    assert_powers(&mut found, &expected, 12.0);
    let it = found.sensors[0].specification();
    assert_eq!(it.domain.id, "node:VDD_IN");
    for hardware in [Hardware::Gpu, Hardware::Cpu, Hardware::Dram] {
        assert!(it.contains(hardware), "{it:?}");
    }
    assert_eq!((it.stack.as_str(), it.gain), ("ina3221", 0.05));
    assert_eq!((it.period, it.interval), (Duration::from_millis(8), Duration::from_millis(50)));
    // Shorter than the time between two reads, so it is the power of a moment.
    assert_eq!(it.averaging, Duration::ZERO);
    assert_eq!(found.sensors[1].specification().interval, Duration::from_millis(200));
}

#[test]
fn an_agx_orin_is_the_sum_of_the_rails_that_feed_it() {
    let tree = Tree::new();
    tree.rails(
        3,
        "100",
        &[
            (1, "VDD_GPU_SOC", "19800", "400"),
            (2, "VDD_CPU_CV", "19800", "100"),
            (3, "VIN_SYS_5V0", "5000", "1000"),
        ],
    );
    // Two channels are not connected, and the memory is fed by the five volts.
    tree.rails(4, "100", &[(1, "NC", "0", "0"), (2, "VDDQ_VDD2_1V8AO", "5000", "250")]);
    tree.file("class/hwmon/hwmon4/in3_label", "SPARE\n");
    tree.file("class/hwmon/hwmon4/in3_enable", "0\n");
    let mut found = hwmon::open(tree.root());
    let expected = [
        ("cpu:VDD_CPU_CV", true, 1.98),
        ("dram:VDDQ_VDD2_1V8AO", false, 1.25),
        ("gpu:VDD_GPU_SOC", true, 7.92),
        ("node:VIN_SYS_5V0", true, 5.0),
    ];
    assert_powers(&mut found, &expected, 1.98 + 7.92 + 5.0);
    let has_memory = |id: &str| {
        let mut all = found.sensors.iter().map(|sensor| sensor.specification());
        all.any(|it| it.domain.id == id && it.in_total && it.contains(Hardware::Dram))
    };
    assert!(has_memory("node:VIN_SYS_5V0"));
    assert_eq!(found.sensors[0].specification().averaging, Duration::from_millis(100));
}

#[test]
fn an_agx_xavier_is_the_sum_of_all_its_rails() {
    let tree = Tree::new();
    let first = [(1, "GPU", "19000", "100"), (2, "CPU", "19000", "50"), (3, "SOC", "19000", "60")];
    let second =
        [(1, "CV", "19000", "0"), (2, "VDDRQ", "19000", "20"), (3, "SYS5V", "19000", "80")];
    tree.rails(5, "0", &first);
    tree.rails(6, "0", &second);
    let mut found = hwmon::open(tree.root());
    let expected = [
        ("cpu:CPU", true, 0.95),
        ("dram:VDDRQ", true, 0.38),
        ("gpu:GPU", true, 1.9),
        ("node:CV", true, 0.0),
        ("node:SOC", true, 1.14),
        ("node:SYS5V", true, 1.52),
    ];
    assert_powers(&mut found, &expected, 0.95 + 0.38 + 1.9 + 0.0 + 1.14 + 1.52);
}

#[test]
fn a_monitor_of_unknown_rails_is_beside_the_sum() {
    let tree = Tree::new();
    tree.rails(0, "10", &[(1, "MOTOR", "12000", "3000")]);
    assert_powers(&mut hwmon::open(tree.root()), &[("node:MOTOR", false, 36.0)], 0.0);
}
