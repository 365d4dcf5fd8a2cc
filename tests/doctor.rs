//! `ergometer doctor`: what it says of a machine, and whether that holds.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ergometer::sensor::fake::{Fake, Load};
use ergometer::sensor::{Search, Selection, Specification};
use ergometer::{Kind, Meter, Power, Quality};
use serde_json::Value;
use tempfile::TempDir;

use crate::lab::{Lab, of, unless_busy, windows};
use crate::rapl::{Tree, two_packages};
use crate::stub::{Gpu, Nvml};

/// What the command answered.
struct Answer {
    status: u8,
    out: String,
}

impl Answer {
    /// The text without its line breaks.
    fn text(&self) -> String {
        self.out.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap()
    }
}

/// A machine on disk: one processor and its memory for the models, and whatever else a test writes.
struct Machine {
    tree: Tree,
    procfs: TempDir,
    nvml: Option<Nvml>,
}

impl Machine {
    fn new(tree: Tree) -> Machine {
        let machine = Machine { tree, procfs: TempDir::new().unwrap(), nvml: None };
        machine.processor("fpu vme");
        machine.proc("meminfo", "MemTotal:       67108864 kB\n");
        machine.proc("stat", "cpu  0 0 0 1000 0 0 0 0 0 0\n");
        machine
    }

    fn of(gpu: Gpu) -> Machine {
        Machine { nvml: Some(Nvml::of([gpu])), ..Machine::new(Tree::new()) }
    }

    fn proc(&self, path: &str, text: &str) {
        let path = self.procfs.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A file of the process's own root directory.
    fn own_root(&self, path: &str) {
        self.proc(Path::new("self/root").join(path).to_str().unwrap(), "");
    }

    fn processor(&self, flags: &str) {
        let text = format!(
            "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n\
             physical id\t: 0\nflags\t\t: {flags}\n\n"
        );
        self.proc("cpuinfo", &text);
    }

    fn nvml(&self) -> PathBuf {
        let nothing = || self.tree.root().join("libnvidia-ml.so.1");
        self.nvml.as_ref().map_or_else(nothing, Nvml::path)
    }

    fn doctor(&self, options: &[&str]) -> Answer {
        let (library, devices) = (self.nvml(), self.tree.root().join("dev"));
        let places = [
            ["--sysfs", self.tree.root().to_str().unwrap()],
            ["--procfs", self.procfs.path().to_str().unwrap()],
            ["--devices", devices.to_str().unwrap()],
            ["--nvml-library", library.to_str().unwrap()],
        ];
        let arguments = [&["ergometer", "doctor"], places.as_flattened(), options].concat();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let status = ergometer_cli::run(arguments.iter().map(Into::into), &mut out, &mut err);
        assert!(err.is_empty(), "{}", String::from_utf8_lossy(&err));
        Answer { status, out: String::from_utf8(out).unwrap() }
    }
}

fn sensors<'a>(answer: &'a Value, used: bool, field: &str) -> Vec<&'a str> {
    let sensors = answer["sensors"].as_array().unwrap().iter();
    let chosen = sensors.filter(|sensor| sensor["used"] == used);
    chosen.map(|sensor| sensor.pointer(field).and_then(Value::as_str).unwrap_or("null")).collect()
}

// What is missing, and why.

#[test]
fn what_is_missing_is_named_with_cause_and_cure() {
    let answer = Machine::new(Tree::new()).doctor(&[]);
    assert_eq!(answer.status, 0);
    let text = answer.text();
    for part in [
        "found cpu:model · AMD EPYC",
        "found dram:model · 64 GB of memory",
        "missing nvml · absent NVML: there is no library",
        "cure: correct the path",
        "missing rapl · absent no RAPL:",
        "cure: in a container, mount the host's /sys",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let fits = |line: &str| line.chars().count() <= 96 || !line.trim().contains(' ');
    assert!(answer.out.lines().all(fits), "{}", answer.out);
    let last = answer.out.lines().last().unwrap();
    assert_eq!(
        last,
        "verdict  every energy measured here will be an estimate, ± 70 to 80 % (k = 2)"
    );
}

#[test]
fn the_same_is_given_as_json() {
    let answer = Machine::new(Tree::new()).doctor(&["--json"]).json();
    assert_eq!(answer["version"], 1);
    assert_eq!(sensors(&answer, true, "/domain/id"), ["cpu:model", "dram:model"]);
    for (lack, source) in answer["absent"].as_array().unwrap().iter().zip(["nvml", "rapl"]) {
        assert_eq!((&lack["source"], &lack["kind"]), (&source.into(), &"absent".into()));
        assert!(lack["reason"].is_string() && lack["cure"].is_string(), "{lack}");
    }
    assert!(answer.get("trials").is_none() && answer.get("remarks").is_none(), "{answer}");
    assert!(answer["sensors"][0]["steps"].is_null(), "a model resolves nothing: {answer}");
}

#[test]
fn it_fails_where_nothing_can_be_measured() {
    let machine = Machine::new(Tree::new());
    for file in ["cpuinfo", "meminfo", "stat"] {
        fs::remove_file(machine.procfs.path().join(file)).unwrap();
    }
    for options in [&[][..], &["--self-test"]] {
        let answer = machine.doctor(options);
        assert_eq!(answer.status, 1);
        let cure = "cure: say where procfs is: `.procfs(…)`, `doctor --procfs DIR`";
        assert!(answer.text().contains(cure), "{}", answer.out);
        assert!(answer.out.ends_with("verdict  nothing can be measured here\n"), "{}", answer.out);
    }
}

// What is there.

#[test]
fn what_a_meter_would_use_is_used() {
    let tree = two_packages();
    tree.vendor("0000");
    let machine = Machine::new(tree);
    let answer = machine.doctor(&["--json"]).json();
    let used = sensors(&answer, true, "/domain/id");
    let builder = Meter::builder().sysfs(machine.tree.root()).procfs(machine.procfs.path());
    let builder = builder.devices(machine.tree.root()).nvml_library(machine.nvml());
    let meter = builder.build().unwrap();
    assert_eq!(used, meter.sensors().map(|it| it.domain.id.as_str()).collect::<Vec<_>>());
    let expected =
        ["cpu:package-0", "cpu:package-1", "dram:package-0", "dram:package-1", "node:psys"];
    assert_eq!(used, expected);
    assert_eq!(
        answer["verdict"],
        "a run here measures 2 × CPU (± 6 %), 2 × memory (± 12 to 30 %), k = 2"
    );
}

#[test]
fn a_part_that_is_estimated_is_told_from_those_that_are_measured() {
    let tree = Tree::new();
    tree.zone("intel-rapl:0", "package-0", 5_000_000);
    let answer = Machine::new(tree).doctor(&[]);
    let verdict = "a run here measures CPU (± 12 %) and estimates memory (± 80 %), k = 2; a sum of both is called \
                   estimated";
    assert!(answer.text().contains(verdict), "{}", answer.out);
}

#[test]
fn a_spare_sensor_says_which_one_covers_it() {
    let tree = Tree::new();
    tree.zone("intel-rapl:0", "package-0-die-0", 5_000_000);
    for (file, text) in [("name", "amd_hsmp_hwmon"), ("power1_input", "95000000")] {
        tree.file(&format!("class/hwmon/hwmon0/{file}"), text);
    }
    let machine = Machine::new(tree);
    let answer = machine.doctor(&["--json"]).json();
    assert_eq!(sensors(&answer, false, "/domain/id"), ["cpu:package-0", "cpu:model"]);
    assert_eq!(sensors(&answer, false, "/covered_by"), ["cpu:package-0-die-0"; 2]);
    let text = machine.doctor(&[]).text();
    let spare = "spare cpu:package-0 · CPU package 0 hwmon amd_hsmp_hwmon hwmon0, not read: cpu:package-0-die-0 \
                 covers it";
    assert!(text.contains(spare), "{text}");
}

#[test]
fn a_sensor_says_what_it_covers_how_well_and_how_often() {
    let machine = Machine::new(two_packages());
    let text = machine.doctor(&[]).text();
    for part in [
        "found cpu:package-0 · CPU package 0 measured by powercap intel-rapl:0, ± 12 % (k = 2) updated every 1 ms as \
         a rule, read every 20 ms covers whole package",
        "found node:psys · platform measured by powercap intel-rapl:2, ± 20 % (k = 2) updated every 1 ms as a rule, \
         read every 20 ms; beside the sum",
        "found dram:package-1 · memory of CPU package 1 measured by powercap intel-rapl:1:1, ± 12 % and ± 2.0 W",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn an_idle_card_is_left_out_and_said() {
    let cards = ["GPU-a", "GPU-b"].map(|uuid| Gpu { uuid: uuid.to_owned(), ..Gpu::default() });
    let stub = Nvml::of(cards);
    let all = Machine { nvml: Some(stub), ..Machine::new(Tree::new()) };
    let answer = all.doctor(&["--json", "--all-gpus"]).json();
    assert_eq!(sensors(&answer, true, "/domain/id")[..2], ["gpu:GPU-a", "gpu:GPU-b"]);
    // The selection by the environment is that of the search, whose own tests set it.
    let gpus = Selection::Pci(Vec::new());
    let search = Search {
        sysfs: all.tree.root().to_owned(),
        procfs: all.procfs.path().to_owned(),
        nvml_library: Some(all.nvml()),
        gpus,
        ..Search::default()
    };
    all.proc("driver/nvidia/gpus/0000:17:00.0/information", "Model: A GPU\n");
    let absent = search.run().absent;
    assert!(absent.iter().any(|it| it.source == "1 other GPUs"), "{absent:?}");
}

// Where it runs.

#[test]
fn a_container_a_virtual_machine_and_a_closed_kernel_are_said_where_they_matter() {
    let machine = Machine::new(Tree::new());
    machine.processor("fpu vme hypervisor");
    machine.tree.file("class/dmi/id/sys_vendor", "Amazon EC2\n");
    machine.tree.file("bus/event_source/devices/power/type", "9\n");
    machine.tree.file("bus/event_source/devices/power/cpumask", "\n");
    machine.proc("sys/kernel/osrelease", "6.12.117\n");
    machine.proc("sys/kernel/perf_event_paranoid", "4\n");
    machine.own_root(".dockerenv");
    let answer = machine.doctor(&["--json"]).json();
    let expected = serde_json::json!({
        "system": std::env::consts::OS, "kernel": "6.12.117", "container": "Docker",
        "virtual_machine": "Amazon EC2", "wsl": false, "perf_event_paranoid": 4
    });
    assert_eq!(answer["environment"], expected);
    let text = machine.doctor(&[]).text();
    for part in [
        "6.12.117, in a container (Docker), in a virtual machine (Amazon EC2)",
        "no CPU energy counter unless its host passes one on",
        "a container hides some of the host's sensors",
        "kernel.perf_event_paranoid is 4",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Where the counter is read, none of it stands in the way.
    machine.tree.zone("intel-rapl:0", "package-0", 5_000_000);
    let text = machine.doctor(&[]).text();
    assert!(text.contains("(Amazon EC2)") && !text.contains("unless its host"), "{text}");
    assert!(!text.contains("perf_event_paranoid is"), "{text}");
}

#[test]
fn each_runtime_leaves_its_mark() {
    let runtime = |machine: &Machine| {
        let answer = machine.doctor(&["--json"]).json();
        answer["environment"]["container"].as_str().unwrap_or("null").to_owned()
    };
    for (path, expected) in
        [("run/.containerenv", "Podman"), (".singularity.d/runscript", "Apptainer")]
    {
        let machine = Machine::new(Tree::new());
        machine.own_root(path);
        assert_eq!(runtime(&machine), expected, "{path}");
    }
    for (groups, expected) in [
        ("0::/kubepods.slice/kubepods-burstable.slice/cri-1.scope\n", "Kubernetes"),
        ("12:cpuset:/docker/0123abcd\n", "Docker"),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", "null"),
    ] {
        let machine = Machine::new(Tree::new());
        machine.proc("self/cgroup", groups);
        assert_eq!(runtime(&machine), expected, "{groups}");
    }
}

#[test]
fn windows_below_linux_is_told_from_other_hypervisors() {
    let machine = Machine::new(Tree::new());
    machine.processor("fpu hypervisor");
    machine.proc("sys/kernel/osrelease", "5.15.167.4-microsoft-standard-WSL2\n");
    let answer = machine.doctor(&[]);
    assert!(
        answer.text().contains("in the Windows Subsystem for Linux Windows keeps"),
        "{}",
        answer.out
    );
}

// How short a step is resolved.

/// The part of the steps of this length that a run measures, on a counter like this one.
fn measured(sensor: &Specification, step: Duration, load: Load) -> f64 {
    let lab = Lab::new();
    let fake = Fake::counter(sensor.domain.clone(), load)
        .period(sensor.period)
        .jitter(0.01)
        .duty(sensor.duty)
        .specified(|it| *it = sensor.clone());
    let meter = lab.meter([fake]);
    let run = meter.run("steps").start().unwrap();
    // What the power does between two updates has to be learned first.
    lab.hands.advance(sensor.period.max(sensor.interval) * 150);
    for _epoch in run.epochs(1..=1) {
        for _step in run.steps(0..200) {
            lab.hands.advance(step);
        }
    }
    let path = run.path().to_owned();
    run.finish().unwrap();
    let windows = windows(&path);
    let steps = of(&windows, Kind::Step);
    // The first ones are judged before the rhythm of the steps is known.
    let judged = &steps[70..];
    let measured = judged.iter().filter(|step| step.quality == Quality::Measured).count();
    measured as f64 / judged.len() as f64
}

#[test]
fn the_lengths_of_steps_that_are_said_to_be_resolved_are() {
    let tree = Tree::new();
    tree.vendor("0000");
    tree.zone("intel-rapl:0", "package-0", 5_000_000);
    tree.file("class/powercap/intel-rapl:0/constraint_0_max_power_uw", "350000000\n");
    let (package, gpu) =
        (Machine::new(tree), Machine::of(Gpu { architecture: 8, ..Gpu::default() }));
    for machine in [package, gpu] {
        let answer = machine.doctor(&["--json"]).json();
        let sensor = &answer["sensors"][0];
        let length =
            |which: &str| Duration::from_secs_f64(sensor["steps"][which].as_f64().unwrap());
        let (steady, any) = (length("steady_s"), length("any_s"));
        let sensor: Specification = serde_json::from_value(sensor.clone()).unwrap();
        let watts = Power::from_watts;
        let constant = Load::Constant(watts(308.0));
        let turns =
            |period| Load::Square { high: watts(350.0), low: watts(140.0), period, duty: 0.8 };
        // A little longer, as a rule of thumb is.
        let (a_little, longer) = (steady * 11 / 10, any * 11 / 10);
        let part = [
            measured(&sensor, a_little, constant),
            measured(&sensor, longer, turns(longer)),
            // And what is much shorter is not.
            1.0 - measured(&sensor, steady / 4, turns(steady / 4)),
        ];
        assert!(part.iter().all(|part| *part >= 0.95), "{part:?} {sensor:?}");
    }
}

#[test]
fn no_step_is_promised_where_a_gauge_is_in_the_sum() {
    let gauge = Machine::of(Gpu { energy: false, architecture: 8, ..Gpu::default() });
    assert!(!gauge.doctor(&[]).text().contains(" steps resolved"));
    let counter = Machine::of(Gpu { architecture: 8, ..Gpu::default() }).doctor(&[]).text();
    let steps = "steps resolved (to 5 %, k = 1) from about 250 ms on if the power is steady within one, from 500 ms on";
    assert!(counter.contains(steps), "{counter}");
}

// Whether it holds.

#[test]
fn a_counter_that_is_slower_than_its_kind_is_found_out() {
    unless_busy(|| {
        let machine = Machine::of(Gpu { period: 0.512, ..Gpu::default() });
        let id = "gpu:GPU-00000000-0000-0000-0000-000000000000";
        let answer = machine.doctor(&["--self-test", "--json"]);
        let json = answer.json();
        assert_eq!(answer.status, 0, "slow is no fault: {}", answer.out);
        let trial = &json["trials"][0];
        assert_eq!(trial["domain"], id);
        let period = trial["period_s"].as_f64().unwrap();
        assert!((0.45..0.57).contains(&period), "{trial}");
        let remark = json["remarks"][0].as_str().unwrap();
        assert!(remark.starts_with(&format!("{id} is updated every 5")), "{remark}");
        assert!(remark.ends_with(", not every 100\u{a0}ms"), "{remark}");
        // What is resolved follows from what was observed.
        let any = json["sensors"][0]["steps"]["steady_s"].as_f64().unwrap();
        assert!((any / period - 2.5).abs() < 1e-6, "{any}");
    });
}

#[test]
fn memory_that_draws_nearly_as_much_as_its_package_is_suspect_and_fails_the_test() {
    let tree = Tree::new();
    tree.zone("intel-rapl:0", "package-0", 1_000_000);
    tree.zone("intel-rapl:0:0", "dram", 1_000_000);
    let machine = Machine::new(tree);
    let (begun, over) = (Instant::now(), AtomicBool::new(false));
    let answer = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let passed = u64::try_from(begun.elapsed().as_micros()).unwrap();
                machine.tree.set("intel-rapl:0", 1_000_000 + 100 * passed);
                machine.tree.set("intel-rapl:0:0", 1_000_000 + 90 * passed);
                thread::sleep(Duration::from_millis(2));
            }
        });
        let answer = machine.doctor(&["--self-test"]);
        over.store(true, Ordering::Relaxed);
        answer
    });
    assert_eq!(answer.status, 1, "{}", answer.out);
    let text = answer.text();
    assert!(text.contains("tried: suspect: "), "{text}");
    assert!(text.contains("note dram:package-0 is suspect: "), "{text}");
}

#[test]
fn models_are_tried_too_and_have_no_updates() {
    let answer = Machine::new(Tree::new()).doctor(&["--self-test", "--json"]);
    let json = answer.json();
    assert_eq!(answer.status, 0, "{}", answer.out);
    for trial in json["trials"].as_array().unwrap() {
        assert!(trial["reads"].as_u64().unwrap() > 0 && trial["call_p50_s"].is_f64(), "{trial}");
    }
    assert_eq!(json["remarks"].as_array().unwrap().len(), 0);
}
