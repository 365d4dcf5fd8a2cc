//! Whole machines as written trees: of all that their sources offer, what is in the sum, what stands beside it, what is
//! spare, what is missing, and what the sum is after known energies.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ergometer::FakeClock;
use ergometer::sensor::{Found, Hardware, Provenance, Quantity, Search, Selection, Sensor};
use ergometer::units::{Energy, Power};
use tempfile::TempDir;

use crate::amdgpu::{Cards, MI300A, NAVI_21, block, joules, two_boards};
use crate::battery::laptop;
use crate::intel_gpu::hwmon;
use crate::nvml::on_module;
use crate::rapl::{Tree, trees, two_packages};
use crate::stub::{Gpu, Machine, Nvml, Profile};

/// The rest of a machine whose sysfs is a written tree: processors and memory for the models, and no NVIDIA driver.
struct Computer {
    tree: Tree,
    procfs: TempDir,
    nvml: Option<Nvml>,
}

impl Computer {
    fn new(tree: Tree) -> Computer {
        let procfs = TempDir::new().unwrap();
        let write = |name: &str, text: &str| fs::write(procfs.path().join(name), text).unwrap();
        write("cpuinfo", "processor\t: 0\nmodel name\t: A processor\nphysical id\t: 0\n\n");
        write("meminfo", "MemTotal:       67108864 kB\n");
        write("stat", "cpu  0 0 0 1000 0 0 0 0 0 0\n");
        Computer { tree, procfs, nvml: None }
    }

    fn with(self, nvml: Nvml) -> Computer {
        Computer { nvml: Some(nvml), ..self }
    }

    fn search(&self) -> Machinery {
        let nothing = || self.tree.root().join("libnvidia-ml.so.1");
        let library: PathBuf = self.nvml.as_ref().map_or_else(nothing, Nvml::path);
        let search = Search {
            sysfs: self.tree.root().to_owned(),
            procfs: self.procfs.path().to_owned(),
            devices: self.tree.root().join("dev"),
            nvml_library: Some(library),
            gpus: Selection::All,
            thermal_design_power: None,
        };
        let mut found = search.run();
        if self.nvml.is_none() {
            found.absent.retain(|absence| absence.source != "nvml");
        }
        Machinery { found, clock: FakeClock::new() }
    }
}

/// What was found in a machine.
struct Machinery {
    found: Found,
    clock: FakeClock,
}

impl Machinery {
    /// The domains in the sum, sorted.
    fn in_total(&self) -> Vec<&str> {
        self.ids(true)
    }

    /// Those that are reported beside it.
    fn beside(&self) -> Vec<&str> {
        self.ids(false)
    }

    fn ids(&self, in_total: bool) -> Vec<&str> {
        let all = self.found.sensors.iter().map(|sensor| sensor.specification());
        let ids = all.filter(|it| it.in_total == in_total).map(|it| it.domain.id.as_str());
        sorted(ids.collect())
    }

    fn spare(&self) -> Vec<&str> {
        let spare = self.found.spare.iter().map(|sensor| sensor.specification().domain.id.as_str());
        sorted(spare.collect())
    }

    fn absent(&self) -> Vec<&str> {
        self.found.absent.iter().map(|absence| absence.source.as_str()).collect()
    }

    /// The sources of the sum, each domain's.
    fn sources(&self) -> BTreeMap<&str, &str> {
        let all = self.found.sensors.iter().map(|sensor| sensor.specification());
        let total = all.filter(|it| it.in_total);
        total.map(|it| (it.domain.id.as_str(), it.source.as_str())).collect()
    }

    /// What is measured of the sum over ten seconds, if `change` happens to the machine right after the start.
    fn total(&mut self, change: impl FnOnce()) -> Energy {
        let time = Duration::from_secs(10);
        let mut read = || -> Vec<Quantity> {
            let measured = self.found.sensors.iter_mut().filter(|sensor| {
                let it = sensor.specification();
                it.in_total && it.provenance != Provenance::Model
            });
            measured.map(|sensor| sensor.read(&self.clock.clock()).unwrap().quantity).collect()
        };
        let before = read();
        change();
        self.clock.advance(time);
        let energies = before.into_iter().zip(read()).map(|pair| match pair {
            (Quantity::Counter(before), Quantity::Counter(after)) => after - before,
            (Quantity::Gauge(_), Quantity::Gauge(after)) => after * time,
            other => panic!("{other:?}"),
        });
        energies.sum()
    }
}

fn sorted(mut ids: Vec<&str>) -> Vec<&str> {
    ids.sort_unstable();
    ids
}

/// A chip of hardware monitoring, with its files.
fn chip(tree: &Tree, number: u32, name: &str, files: &[(&str, &str)]) {
    for (file, text) in [("name", name)].iter().chain(files) {
        tree.file(&format!("class/hwmon/hwmon{number}/{file}"), &format!("{text}\n"));
    }
}

/// The management port's chips of two sockets at 95 and 210 W.
fn hsmp(tree: &Tree) {
    chip(tree, 20, "amd_hsmp_hwmon", &[("power1_input", "95000000")]);
    chip(tree, 21, "amd_hsmp_hwmon", &[("power1_input", "210000000")]);
}

/// A meter of a Grace socket, with its watts.
fn grace(tree: &Tree, number: u32, part: &str, watts: u32) {
    let files = [
        ("device/name", "power_meter"),
        ("device/power1_oem_info", part),
        ("device/power1_average", &format!("{watts}000000")),
        ("device/power1_average_interval", "50"),
    ];
    chip(tree, number, "power_meter", &files);
}

/// Two sockets of Grace at 180 W each.
fn two_graces() -> Tree {
    let tree = Tree::new();
    fs::remove_dir_all(tree.powercap()).unwrap();
    for (socket, number) in [(0, 1), (1, 5)] {
        grace(&tree, number, &format!("Module Power Socket {socket}"), 700);
        grace(&tree, number + 1, &format!("Grace Power Socket {socket}"), 180);
        grace(&tree, number + 2, &format!("CPU Power Socket {socket}"), 110);
        grace(&tree, number + 3, &format!("SysIO Power Socket {socket}"), 40);
    }
    tree
}

/// The input of a Jetson module at 12 W, and two rails behind it.
fn jetson() -> Tree {
    let tree = Tree::new();
    fs::remove_dir_all(tree.powercap()).unwrap();
    let rail = |channel: u8, label: &str, current: &str| {
        tree.file(&format!("class/hwmon/hwmon1/in{channel}_label"), &format!("{label}\n"));
        tree.file(&format!("class/hwmon/hwmon1/in{channel}_input"), "5000\n");
        tree.file(&format!("class/hwmon/hwmon1/curr{channel}_input"), &format!("{current}\n"));
    };
    chip(&tree, 1, "ina3221", &[("update_interval", "8")]);
    rail(1, "VDD_IN", "2400");
    rail(2, "VDD_CPU_GPU_CV", "1100");
    rail(3, "VDD_SOC", "500");
    tree
}

/// A Ryzen with graphics, whose driver shows the power of the whole package.
fn with_graphics(tree: &Tree) {
    tree.card(0, "0000:c4:00.0", 0x15bf);
    tree.metrics(0, &[[128, 0, 2, 4].as_slice(), &[0xff; 124]].concat());
    tree.hwmon(0, "power1_average", 23_000_000);
}

#[test]
fn two_intel_sockets_with_every_interface_count_each_joule_once() {
    let tree = two_packages();
    tree.vendor("0000");
    let files = [("power1_average", "700000000"), ("power1_average_interval", "1000")];
    chip(&tree, 3, "power_meter", &files);
    let computer = Computer::new(tree);
    let mut machine = computer.search();
    let expected = ["cpu:package-0", "cpu:package-1", "dram:package-0", "dram:package-1"];
    assert_eq!(machine.in_total(), expected);
    assert_eq!(machine.beside(), ["node:power_meter", "node:psys"]);
    assert_eq!(machine.spare(), ["cpu:model", "dram:model"]);
    assert!(machine.absent().is_empty(), "{:?}", machine.found);
    let total = machine.total(|| {
        computer.tree.set("intel-rapl:0", 1_005_000_000);
        computer.tree.set("intel-rapl:0:0", 701_000_000);
        computer.tree.set("intel-rapl:0:1", 91_000_000);
        computer.tree.set("intel-rapl:1", 609_000_000);
        computer.tree.set("intel-rapl:1:1", 41_800_000);
        computer.tree.set("intel-rapl:2", 2_540_000_000);
        computer.tree.set("intel-rapl-mmio:0", 1_005_000_000);
    });
    assert_eq!(total, Energy::from_joules(1_000.0 + 90.0 + 600.0 + 40.0));
}

#[test]
fn the_dies_of_cascade_lake_count_each() {
    let computer = Computer::new(trees::four_dies());
    let mut machine = computer.search();
    assert_eq!(machine.in_total().len(), 8);
    assert_eq!(machine.spare(), ["cpu:model", "dram:model"]);
    let total = machine.total(|| {
        for (die, joules) in [(0, 100), (1, 200), (2, 300), (3, 400)] {
            computer.tree.set(&format!("intel-rapl:{die}"), 7_000_000 + joules * 1_000_000);
            computer.tree.set(&format!("intel-rapl:{die}:1"), 2_000_000);
        }
    });
    assert_eq!(total, Energy::from_joules(1_004.0));
}

#[test]
fn mirrored_dies_and_the_management_port_are_one_socket_each() {
    let tree = trees::mirrored_dies();
    hsmp(&tree);
    let computer = Computer::new(tree);
    let mut machine = computer.search();
    let expected = ["cpu:package-0-die-0", "cpu:package-1-die-0", "dram:model"];
    assert_eq!(machine.in_total(), expected);
    assert_eq!(machine.spare(), ["cpu:model", "cpu:package-0", "cpu:package-1"]);
    let total = machine.total(|| {
        for (zone, value) in [(0, 40_500_000_000), (1, 40_500_300_000)] {
            computer.tree.set(&format!("intel-rapl:{zone}"), value);
        }
        for (zone, value) in [(2, 40_800_100_000), (3, 40_800_200_000)] {
            computer.tree.set(&format!("intel-rapl:{zone}"), value);
        }
    });
    assert_eq!(total, Energy::from_joules(500.0 + 800.0));
}

#[cfg(target_os = "linux")]
#[test]
fn the_management_port_stands_in_where_rapl_is_closed() {
    let tree = Tree::new();
    tree.vendor("0002");
    for package in 0..2 {
        let entry = format!("intel-rapl:{package}");
        tree.zone(&entry, &format!("package-{package}"), 1_000_000);
        tree.close(&entry);
    }
    hsmp(&tree);
    let mut machine = Computer::new(tree).search();
    assert_eq!(machine.in_total(), ["cpu:package-0", "cpu:package-1", "dram:model"]);
    assert_eq!(machine.sources()["cpu:package-0"], "hwmon amd_hsmp_hwmon hwmon20");
    assert_eq!(machine.spare(), ["cpu:model"]);
    assert_eq!(machine.absent(), ["rapl"]);
    assert!(machine.found.absent[0].error.is_permission_denied());
    assert_eq!(machine.total(|| {}), Energy::from_joules(950.0 + 2_100.0));
}

#[test]
fn two_drivers_of_one_class_show_a_socket_once() {
    let tree = Tree::new();
    fs::remove_dir_all(tree.powercap()).unwrap();
    hsmp(&tree);
    let sockets = [
        ("energy1_label", "Esocket0"),
        ("energy1_input", "5000000"),
        ("energy2_label", "Esocket1"),
        ("energy2_input", "7000000"),
    ];
    chip(&tree, 22, "amd_energy", &sockets);
    let machine = Computer::new(tree).search();
    assert_eq!(machine.in_total(), ["cpu:package-0", "cpu:package-1", "dram:model"]);
    assert_eq!(machine.spare(), ["cpu:model", "cpu:package-0", "cpu:package-1"]);
}

#[test]
fn grace_counts_each_socket_with_its_memory_and_no_model_beside_it() {
    let mut machine = Computer::new(two_graces()).search();
    assert_eq!(machine.in_total(), ["cpu:package-0", "cpu:package-1"]);
    let beside = [
        "cpu:cores-0",
        "cpu:cores-1",
        "cpu:sysio-0",
        "cpu:sysio-1",
        "node:module-0",
        "node:module-1",
    ];
    assert_eq!(machine.beside(), beside);
    assert_eq!(machine.spare(), ["cpu:model", "dram:model"]);
    assert_eq!(machine.total(|| {}), Energy::from_joules(3_600.0));
}

#[test]
fn a_module_that_nvml_reads_contains_its_grace() {
    let modules = vec![Profile::Steps(vec![(-100.0, 700.0)])];
    let gpus = vec![on_module("GPU-a", 0)];
    let stub = Nvml::new(Machine { gpus, modules, ..Machine::default() });
    let machine = Computer::new(two_graces()).with(stub).search();
    assert_eq!(machine.in_total(), ["gpu:GPU-a"]);
    assert_eq!(machine.spare(), ["cpu:model", "cpu:package-0", "cpu:package-1", "dram:model"]);
    assert!(machine.beside().contains(&"node:module-0"));
}

#[test]
fn a_superchips_gpu_alone_leaves_its_grace_in_the_sum() {
    let stub = Nvml::of([Gpu { name: "NVIDIA GH200 480GB".to_owned(), ..Gpu::default() }]);
    let machine = Computer::new(two_graces()).with(stub).search();
    let gpu = "gpu:GPU-00000000-0000-0000-0000-000000000000";
    assert_eq!(machine.in_total(), ["cpu:package-0", "cpu:package-1", gpu]);
}

#[test]
fn the_second_die_of_an_mi250_is_in_the_first() {
    let tree = two_boards();
    tree.vendor("0002");
    tree.zone("intel-rapl:0", "package-0", 1_000_000);
    let computer = Computer::new(tree);
    let mut machine = computer.search();
    let boards = ["gpu:AMD-abcd000000000001", "gpu:AMD-abcd000000000003"];
    assert_eq!(machine.in_total(), ["cpu:package-0", "dram:model", boards[0], boards[1]]);
    assert!(machine.absent().is_empty(), "{:?}", machine.found);
    let total = machine.total(|| {
        computer.tree.metrics(1, &block(3, joules(4_500), 400));
        computer.tree.metrics(3, &block(3, joules(1_500), 100));
        computer.tree.set("intel-rapl:0", 2_001_000_000);
    });
    assert_eq!(total, Energy::from_joules(4_000.0 + 1_000.0 + 2_000.0));
}

#[test]
fn a_radeon_and_an_intel_processor_add_up() {
    let tree = Tree::new();
    tree.vendor("0000");
    tree.zone("intel-rapl:0", "package-0", 1_000_000);
    tree.zone("intel-rapl:0:0", "core", 1_000_000);
    tree.zone("intel-rapl:0:1", "uncore", 1_000_000);
    tree.card(0, "0000:03:00.0", NAVI_21);
    tree.metrics(0, &block(3, joules(12), 45));
    let computer = Computer::new(tree);
    let mut machine = computer.search();
    assert_eq!(machine.in_total(), ["cpu:package-0", "dram:model", "gpu:0000:03:00.0"]);
    assert_eq!(machine.sources()["gpu:0000:03:00.0"], "amdgpu energy, metrics v1.3");
    let total = machine.total(|| {
        computer.tree.set("intel-rapl:0", 301_000_000);
        computer.tree.set("intel-rapl:0:1", 101_000_000);
        computer.tree.metrics(0, &block(3, joules(2_012), 200));
    });
    assert_eq!(total, Energy::from_joules(300.0 + 2_000.0));
}

#[test]
fn graphics_in_a_processor_are_not_added_to_its_package() {
    let tree = Tree::new();
    tree.vendor("0002");
    tree.zone("intel-rapl:0", "package-0", 1_000_000);
    with_graphics(&tree);
    let computer = Computer::new(tree);
    let mut machine = computer.search();
    assert_eq!(machine.in_total(), ["cpu:package-0", "dram:model"]);
    assert_eq!(machine.spare(), ["cpu:model", "gpu:0000:c4:00.0"]);
    let total = machine.total(|| computer.tree.set("intel-rapl:0", 231_000_000));
    assert_eq!(total, Energy::from_joules(230.0));
}

#[cfg(target_os = "linux")]
#[test]
fn graphics_in_a_processor_stand_in_for_its_closed_package_beside_a_card() {
    let tree = Tree::new();
    tree.zone("intel-rapl:0", "package-0", 1_000_000);
    tree.close("intel-rapl:0");
    with_graphics(&tree);
    let machine = Computer::new(tree).with(Nvml::of([Gpu::default()])).search();
    let card = "gpu:GPU-00000000-0000-0000-0000-000000000000";
    assert_eq!(machine.in_total(), ["dram:model", "gpu:0000:c4:00.0", card]);
    assert_eq!(machine.spare(), ["cpu:model"]);
}

#[test]
fn a_package_of_processor_gpu_and_memory_takes_the_place_of_its_processor() {
    let tree = Tree::new();
    tree.vendor("0002");
    for socket in 0..2 {
        tree.zone(&format!("intel-rapl:{socket}"), &format!("package-{socket}"), 1_000_000);
        tree.card(socket, &format!("000{socket}:01:00.0"), MI300A);
        tree.metrics(socket, &block(4, joules(5_000), 400));
    }
    let computer = Computer::new(tree);
    let mut machine = computer.search();
    assert_eq!(machine.in_total(), ["gpu:0000:01:00.0", "gpu:0001:01:00.0"]);
    let spare = ["cpu:model", "cpu:package-0", "cpu:package-1", "dram:model"];
    assert_eq!(machine.spare(), spare);
    let total = machine.total(|| {
        for socket in 0..2 {
            computer.tree.metrics(socket, &block(4, joules(9_000), 400));
            computer.tree.set(&format!("intel-rapl:{socket}"), 3_001_000_000);
        }
    });
    assert_eq!(total, Energy::from_joules(8_000.0));
}

#[test]
fn intels_cards_are_counted_by_their_widest_counter() {
    let tree = Tree::new();
    tree.vendor("0000");
    tree.zone("intel-rapl:0", "package-0", 1_000_000);
    hwmon(&tree, 3, "xe", "0000:03:00.0", &[(1, "card", 5_000_000), (2, "pkg", 3_000_000)]);
    hwmon(&tree, 4, "i915_gt0", "0000:4d:00.0", &[(1, "", 400)]);
    hwmon(&tree, 5, "i915", "0000:4d:00.0", &[(1, "", 1_000)]);
    let computer = Computer::new(tree);
    let mut machine = computer.search();
    let expected = ["cpu:package-0", "dram:model", "gpu:0000:03:00.0", "gpu:0000:4d:00.0"];
    assert_eq!(machine.in_total(), expected);
    let total = machine.total(|| {
        for (path, value) in [
            ("hwmon3/energy1_input", 1_505_000_000_u64),
            ("hwmon3/energy2_input", 1_103_000_000),
            ("hwmon4/energy1_input", 900_000_400),
            ("hwmon5/energy1_input", 2_000_001_000),
        ] {
            computer.tree.file(&format!("class/hwmon/{path}"), &format!("{value}\n"));
        }
        computer.tree.set("intel-rapl:0", 101_000_000);
    });
    assert_eq!(total, Energy::from_joules(1_500.0 + 2_000.0 + 100.0));
}

#[test]
fn a_jetson_is_its_input_and_nothing_modelled_beside_it() {
    let mut machine = Computer::new(jetson()).search();
    assert_eq!(machine.in_total(), ["node:VDD_IN"]);
    assert_eq!(machine.beside(), ["gpu:VDD_CPU_GPU_CV", "node:VDD_SOC"]);
    assert_eq!(machine.spare(), ["cpu:model", "dram:model"]);
    assert_eq!(machine.absent(), ["rapl"]);
    assert_eq!(machine.total(|| {}), Energy::from_joules(120.0));
}

#[test]
fn a_card_in_a_jetsons_slot_counts_beside_its_input() {
    let card = Gpu { name: "NVIDIA RTX 6000 Ada Generation".to_owned(), ..Gpu::default() };
    let machine = Computer::new(jetson()).with(Nvml::of([card])).search();
    let id = "gpu:GPU-00000000-0000-0000-0000-000000000000";
    assert_eq!(machine.in_total(), [id, "node:VDD_IN"]);
    assert_eq!(machine.spare(), ["cpu:model", "dram:model"]);
}

#[test]
fn firmware_that_counts_a_socket_is_not_added_to_its_rails() {
    let tree = Tree::new();
    tree.zone("arm-scmi:0", "soc", 3_000_000);
    let rails = [
        ("power1_input", "60000000"),
        ("power2_input", "25000000"),
        ("power3_input", "9000000"),
        ("power4_input", "8000000"),
        ("power5_input", "4000000"),
    ];
    chip(&tree, 1, "smpro_hwmon", &rails);
    let machine = Computer::new(tree).search();
    assert_eq!(machine.in_total(), ["cpu:scmi-0", "dram:dimm-vrd1", "dram:dimm-vrd2"]);
    let spare = ["cpu:core-vrd", "cpu:model", "cpu:rca-vrd", "cpu:soc-vrd", "dram:model"];
    assert_eq!(machine.spare(), spare);
}

#[test]
fn a_laptops_battery_stands_beside_its_parts() {
    let tree = laptop("Discharging");
    tree.vendor("0000");
    tree.zone("intel-rapl:0", "package-0", 1_000_000);
    tree.zone("intel-rapl:0:0", "core", 1_000_000);
    tree.zone("intel-rapl:1", "psys", 1_000_000);
    let computer = Computer::new(tree);
    let mut machine = computer.search();
    assert_eq!(machine.in_total(), ["cpu:package-0", "dram:model"]);
    assert_eq!(machine.beside(), ["node:BAT0", "node:psys"]);
    let total = machine.total(|| computer.tree.set("intel-rapl:0", 81_000_000));
    assert_eq!(total, Energy::from_joules(80.0));
}

#[test]
fn a_masked_container_is_estimated_and_told_what_to_do() {
    let machine = Computer::new(Tree::new()).search();
    assert_eq!(machine.in_total(), ["cpu:model", "dram:model"]);
    assert_eq!(machine.absent(), ["rapl"]);
    let error = &machine.found.absent[0].error;
    assert!(error.is_absent() && error.what().contains("container"), "{error}");
    assert!(error.remedy().unwrap().contains("/host/sys"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn closed_counters_are_estimated_and_never_zero() {
    let tree = two_packages();
    tree.close_two_packages();
    let machine = Computer::new(tree).search();
    assert_eq!(machine.in_total(), ["cpu:model", "dram:model"]);
    let models = machine.found.sensors.iter().map(|sensor| sensor.specification().provenance);
    assert!(models.into_iter().all(|provenance| provenance == Provenance::Model));
    assert_eq!(machine.absent(), ["rapl"]);
    assert!(machine.found.absent[0].error.remedy().unwrap().contains("chmod a+r"));
}

#[test]
fn sapphire_rapids_platform_counts_whole_joules_beside_the_sum() {
    let tree = Tree::new();
    tree.vendor("0000");
    tree.zone("intel-rapl:0", "package-0", 1_000_000);
    tree.zone("intel-rapl:0:0", "dram", 1_000_000);
    tree.zone("intel-rapl:1", "psys", 5_000_000);
    // The largest value of a 32-bit register that counts joules.
    tree.file("class/powercap/intel-rapl:1/max_energy_range_uj", "4294967295000000\n");
    let computer = Computer::new(tree);
    let mut machine = computer.search();
    assert_eq!(machine.in_total(), ["cpu:package-0", "dram:package-0"]);
    assert_eq!(machine.beside(), ["node:psys"]);
    let of = |id: &str| -> &dyn Sensor {
        let mut all = machine.found.sensors.iter();
        &**all.find(|sensor| sensor.specification().domain.id == id).unwrap()
    };
    assert_eq!(of("node:psys").specification().quantum, Energy::from_joules(1.0));
    assert_eq!(of("node:psys").specification().domain.hardware, Hardware::Node);
    assert!(of("cpu:package-0").specification().quantum < Energy::from_millijoules(1));
    assert_eq!(of("cpu:package-0").specification().most, Power::from_watts(1_000.0));
    let total = machine.total(|| {
        computer.tree.set("intel-rapl:0", 2_501_000_000);
        computer.tree.set("intel-rapl:0:0", 301_000_000);
        computer.tree.set("intel-rapl:1", 4_005_000_000);
    });
    assert_eq!(total, Energy::from_joules(2_500.0 + 300.0));
}
