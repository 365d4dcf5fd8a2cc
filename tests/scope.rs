//! Whose energy it is: others on the machine, energies net of an idle machine, and the model of a process's own share.

use std::fs;
use std::path::Path;
use std::time::Duration;

use ergometer::log::Line;
use ergometer::record::Event;
use ergometer::sensor::fake::{Fake, Load};
use ergometer::sensor::{Reading, Sensor, Specification};
use ergometer::{Baseline, Clock, Energy, Kind, Meter, Power, Record, Result, RunLog, Timestamp};
use tempfile::TempDir;

use crate::lab::{Lab, constant, cpu, gpu, lines, of, windows};

/// A machine of four processors whose kernel counts CPU time in hundredths of a second, as a written `/proc`.
struct Proc {
    root: TempDir,
    busy: u64,
    idle: u64,
    own: u64,
    child: u64,
}

impl Proc {
    fn new() -> Proc {
        let root = tempfile::tempdir().unwrap();
        for process in ["self/task/71", "72/task/72"] {
            fs::create_dir_all(root.path().join(process)).unwrap();
        }
        let mut proc = Proc { root, busy: 5_000, idle: 90_000, own: 100, child: 20 };
        proc.write("self/task/71/children", "72 ");
        proc.pass(0, 0.0, 0.0, 0.0);
        proc
    }

    /// Lets `seconds` pass in which this process, its child and others were busy on so many of the four processors.
    fn pass(&mut self, seconds: u64, own: f64, child: f64, others: f64) {
        let ticks = |busy: f64| Duration::from_secs(seconds).mul_f64(busy * 100.0).as_secs();
        self.own += ticks(own);
        self.child += ticks(child);
        let busy = ticks(own) + ticks(child) + ticks(others);
        self.busy += busy;
        self.idle += seconds * 400 - busy;
        let (user, waiting) = (self.busy - 300, self.idle / 10);
        let idle = self.idle - waiting;
        let steal = 1_000_000;
        self.write("stat", &format!("cpu  {user} 100 100 {idle} {waiting} 50 50 {steal} 7 0\n"));
        let (own, child) = (self.own, self.child);
        self.write(
            "self/stat",
            &format!("71 (a train (r)) R 1 71 71 0 -1 0 9 9 9 9 {own} 0 0 0 20 0"),
        );
        self.write("72/stat", &format!("72 (loader) S 71 71 71 0 -1 0 9 9 9 9 0 {child} 0 0 20 0"));
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.root.path().join(file), text).unwrap();
    }
}

fn meter(lab: &Lab, proc: &Proc, sensors: impl IntoIterator<Item = Fake>) -> Meter {
    let builder = Meter::builder().clock(lab.clock()).log_directory(lab.logs.path());
    let builder = builder.procfs(proc.root.path());
    sensors.into_iter().fold(builder, |builder, sensor| builder.sensor(sensor)).build().unwrap()
}

fn events(run: &Path, name: &str) -> Vec<Event> {
    let event = |line| match line {
        Line::Event(event) if event.event == name => Some(event),
        _ => None,
    };
    lines(run).into_iter().filter_map(event).collect()
}

/// So many watts until this many seconds on the clock, then others.
fn changing(before: f64, at: u64, after: f64) -> Load {
    let power = Power::from_watts;
    let moment = Timestamp::default() + Duration::from_secs(at);
    Load::Steps(vec![(Timestamp::default(), power(before)), (moment, power(after))])
}

fn close(value: f64, expected: f64, tolerance: f64) {
    assert!((value - expected).abs() <= tolerance, "{value} is not {expected} ± {tolerance}");
}

fn joules(energy: Option<Energy>) -> f64 {
    energy.unwrap().as_joules()
}

#[test]
fn others_on_the_machine_are_an_event() {
    let (lab, mut proc) = (Lab::new(), Proc::new());
    let run = meter(&lab, &proc, [cpu(constant(80.0))]).run("shared").start().unwrap();
    let path = run.path().to_owned();
    lab.pass(1_000);
    proc.pass(2, 1.0, 0.0, 2.0);
    lab.pass(1_500);
    let told = |count: usize| {
        let told = events(&path, "contention");
        assert_eq!(told.len(), count, "{told:?}");
    };
    // Half as much again is not much of a change; four times less is.
    proc.pass(60, 1.0, 0.0, 2.4);
    lab.pass(61_000);
    proc.pass(60, 1.0, 0.0, 0.6);
    lab.pass(60_000);
    let summary = run.finish().unwrap();
    told(2);
    let first = &events(&path, "contention")[0];
    assert_eq!(first.domain, None);
    assert_eq!(first.at.since(summary.end.start), Duration::from_secs(2));
    let detail = first.detail.as_deref().unwrap();
    assert!(detail.contains("had 50 % of all processors' time over the last 2s"), "{detail}");
    assert!(detail.contains("this one 25 %"), "{detail}");
    let second = events(&path, "contention")[1].detail.clone().unwrap();
    assert!(second.contains("had 15 %"), "{second}");
    assert!(summary.to_string().contains("happened: contention (2×)"), "{summary}");
}

#[test]
fn a_quiet_machine_is_no_event() {
    let (lab, mut proc) = (Lab::new(), Proc::new());
    let run = meter(&lab, &proc, [cpu(constant(80.0))]).run("alone").start().unwrap();
    let path = run.path().to_owned();
    // The process and its child have it all; others have a twentieth.
    for _ in 0..10 {
        proc.pass(30, 2.0, 1.5, 0.2);
        lab.pass(30_000);
    }
    run.finish().unwrap();
    assert_eq!(events(&path, "contention"), []);
}

#[test]
fn others_who_come_late_are_seen_at_the_end() {
    let (lab, mut proc) = (Lab::new(), Proc::new());
    let run = meter(&lab, &proc, [cpu(constant(80.0))]).run("late").start().unwrap();
    let path = run.path().to_owned();
    proc.pass(3, 4.0, 0.0, 0.0);
    lab.pass(3_000);
    proc.pass(20, 2.0, 0.0, 1.0);
    lab.pass(20_000);
    run.finish().unwrap();
    assert_eq!(events(&path, "contention").len(), 1);
}

#[test]
fn a_look_that_failed_is_not_the_last() {
    let (lab, mut proc) = (Lab::new(), Proc::new());
    let run = meter(&lab, &proc, [cpu(constant(80.0))]).run("handles").start().unwrap();
    let path = run.path().to_owned();
    fs::remove_file(proc.root.path().join("stat")).unwrap();
    lab.pass(70_000);
    proc.pass(120, 2.0, 0.0, 1.0);
    lab.pass(50_000);
    run.finish().unwrap();
    let told = events(&path, "contention");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].detail.as_deref().unwrap().contains("over the last 120s"), "{told:?}");
}

#[test]
fn a_machine_without_proc_is_watched_by_nobody() {
    let (lab, proc) = (Lab::new(), Proc::new());
    fs::remove_file(proc.root.path().join("stat")).unwrap();
    let meter = meter(&lab, &proc, [cpu(constant(80.0))]);
    let run = meter.run("elsewhere").process_share().start().unwrap();
    let path = run.path().to_owned();
    for _epoch in run.epochs(1..=3) {
        lab.pass(5_000);
    }
    run.finish().unwrap();
    assert_eq!(events(&path, "contention"), []);
    let told = events(&path, "process-share");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].detail.as_deref().unwrap().contains("CPU times cannot be read"), "{told:?}");
    assert!(windows(&path).iter().all(|window| window.process.is_none()));
}

/// A GPU and a CPU that idle at 60 and 20 W, and from second 30 on train at 300 and 80 W; with their gains known to 2 and 3 %.
fn training(gpu_watts: f64, cpu_watts: f64) -> [Fake; 2] {
    [
        gpu(changing(60.0, 30, gpu_watts))
            .specified(|it| (it.gain, it.family) = (0.02, "nvml".to_owned())),
        cpu(changing(20.0, 30, cpu_watts))
            .specified(|it| (it.gain, it.family) = (0.03, "rapl".to_owned())),
    ]
}

fn idle(lab: &Lab, meter: &Meter) -> Baseline {
    let before = lab.hands.now();
    let baseline = meter.idle(Duration::from_secs(20)).unwrap();
    let took = lab.hands.now().since(before);
    assert!(took >= Duration::from_secs(20) && took < Duration::from_secs(25), "{took:?}");
    lab.hands.advance((Timestamp::default() + Duration::from_secs(31)).since(lab.hands.now()));
    baseline
}

#[test]
fn net_is_gross_less_idle_and_less_certain() {
    let lab = Lab::new();
    let meter = lab.meter(training(300.0, 80.0));
    let baseline = idle(&lab, &meter);
    let (card, package) = (baseline.domains["gpu:GPU-0"], baseline.domains["cpu:package-0"]);
    close(card.power.as_watts(), 60.0, 0.2);
    close(package.power.as_watts(), 20.0, 0.01);
    close(card.uncertainty.as_watts(), 1.2, 0.1);
    close(package.uncertainty.as_watts(), 0.6, 0.01);
    assert_eq!(baseline.warning, None);

    let run = meter.run("net").baseline(baseline.clone()).start().unwrap();
    let path = run.path().to_owned();
    for _epoch in run.epochs(1..=2) {
        for _step in run.steps(0..5) {
            lab.pass(2_000);
        }
        let _phase = run.phase("evaluation");
        lab.pass(4_000);
    }
    let summary = run.finish().unwrap();

    let windows = windows(&path);
    let scoped = |record: &&Record| record.kind != Kind::Step;
    assert_eq!(windows.iter().filter(scoped).count(), 2 + 2 + 1);
    for window in windows.iter().filter(scoped) {
        let seconds = window.duration.as_secs_f64();
        close(joules(window.net), 300.0 * seconds, 0.01 * 300.0 * seconds);
        // Exactly, in the recorded numbers: the energy is that of both powers, and two families add in quadrature.
        let idle = (card.power + package.power) * window.duration;
        close(joules(window.net), joules(window.energy) - idle.as_joules(), 1e-6);
        let own = card.uncertainty.as_watts().hypot(package.uncertainty.as_watts()) * seconds;
        close(joules(window.net_uncertainty), joules(window.uncertainty).hypot(own), 1e-4);
    }
    assert!(of(&windows, Kind::Step).iter().all(|step| step.net.is_none()));
    assert_eq!(RunLog::open(&path).unwrap().manifest.baseline, Some(baseline));
    let net = summary.end.net().unwrap().to_string();
    let table = summary.to_string();
    assert!(
        table.contains(&format!("net of an idle machine (20.0 s measured): {net}\n")),
        "{table}"
    );
}

#[test]
fn sensors_of_one_family_are_uncertain_together() {
    let lab = Lab::new();
    let two = ["package-0", "package-1"].map(|name| {
        cpu(constant(50.0)).specified(|it| {
            it.domain.id = format!("cpu:{name}");
            (it.gain, it.family) = (0.04, "rapl".to_owned());
        })
    });
    let meter = lab.meter(two);
    let baseline = idle(&lab, &meter);
    let run = meter.run("pair").baseline(baseline.clone()).start().unwrap();
    lab.pass(100_000);
    let end = run.finish().unwrap().end;
    // Twice 2 W of uncertainty, for 100 s, in both the gross and the idle energy.
    close(joules(end.net_uncertainty), 400.0_f64.hypot(400.0), 5.0);
    close(joules(end.net), 0.0, 1.0);
}

#[test]
fn net_below_zero_stays_below_zero() {
    let lab = Lab::new();
    let meter = lab.meter(training(40.0, 15.0));
    let baseline = idle(&lab, &meter);
    let run = meter.run("colder").baseline(baseline).start().unwrap();
    let path = run.path().to_owned();
    for _epoch in run.epochs(1..=1) {
        lab.pass(20_000);
    }
    let summary = run.finish().unwrap();
    close(joules(summary.end.net), -500.0, 10.0);
    assert!(windows(&path).iter().all(|window| window.net < Some(Energy::ZERO)));
    let table = summary.to_string();
    assert!(table.contains("net of an idle machine (20.0 s measured): -"), "{table}");
}

#[test]
fn a_resumed_run_is_net_over_all_its_time() {
    let lab = Lab::new();
    let meter = lab.meter(training(300.0, 80.0));
    let baseline = idle(&lab, &meter);
    let run = meter.run("net").baseline(baseline).start().unwrap();
    let path = run.path().to_owned();
    lab.pass(10_000);
    run.finish().unwrap();
    lab.pass(60_000);
    let run = meter.resume(&path).unwrap().start().unwrap();
    lab.pass(10_000);
    let end = run.finish().unwrap().end;
    close(joules(end.net), 300.0 * 20.0, 60.0);
}

#[test]
fn net_is_absent_where_the_baseline_lacks_a_sensor() {
    let lab = Lab::new();
    let [card, package] = training(300.0, 80.0);
    let both = lab.meter([card, package]);
    let mut baseline = idle(&lab, &both);
    baseline.domains.remove("cpu:package-0").unwrap();
    let run = both.run("half").baseline(baseline).start().unwrap();
    lab.pass(10_000);
    let summary = run.finish().unwrap();
    assert_eq!((summary.end.net, summary.end.net_uncertainty), (None, None));
    assert!(!summary.to_string().contains("net of"), "{summary}");
}

#[test]
fn net_is_absent_where_part_of_the_window_was_not_seen() {
    let lab = Lab::new();
    let second = |n| Timestamp::default() + Duration::from_secs(n);
    let [card, package] = training(300.0, 80.0);
    let meter = lab.meter([card, package.resets_at(second(40))]);
    let baseline = idle(&lab, &meter);
    let run = meter.run("reset").baseline(baseline).start().unwrap();
    let path = run.path().to_owned();
    for _epoch in run.epochs(1..=2) {
        lab.pass(15_000);
    }
    run.finish().unwrap();
    let windows = windows(&path);
    let net: Vec<_> = of(&windows, Kind::Epoch).iter().map(|epoch| epoch.net.is_some()).collect();
    assert_eq!(net, [false, true]);
}

#[test]
fn a_baseline_needs_ten_seconds() {
    let lab = Lab::new();
    let meter = lab.meter([cpu(constant(20.0))]);
    let before = lab.hands.now();
    let error = meter.idle(Duration::from_secs(9)).unwrap_err();
    assert!(error.remedy().unwrap().contains("ten seconds"), "{error}");
    assert_eq!(lab.hands.now(), before);
}

#[test]
fn a_baseline_is_of_a_machine_without_runs() {
    let lab = Lab::new();
    let meter = lab.meter([cpu(constant(20.0))]);
    let run = meter.run("busy").start().unwrap();
    let error = meter.idle(Duration::from_secs(10)).unwrap_err();
    assert!(error.to_string().contains("a run is in progress"), "{error}");
    run.finish().unwrap();
    assert!(meter.idle(Duration::from_secs(10)).is_ok());
}

#[test]
fn a_baseline_lacks_a_sensor_that_was_lost() {
    let lab = Lab::new();
    let second = |n| Timestamp::default() + Duration::from_secs(n);
    let meter =
        lab.meter([cpu(constant(20.0)), gpu(constant(60.0)).fails_over(second(6)..second(60))]);
    let baseline = meter.idle(Duration::from_secs(20)).unwrap();
    assert_eq!(baseline.domains.keys().collect::<Vec<_>>(), ["cpu:package-0"]);
}

#[test]
fn idle_power_that_scatters_is_less_certain() {
    let lab = Lab::new();
    let step = |second, watts| {
        (Timestamp::default() + Duration::from_secs(second), Power::from_watts(watts))
    };
    let restless =
        Load::Steps((0..30).map(|n| step(n * 2 + 1, 15.0 + (n % 2) as f64 * 10.0)).collect());
    let idle = lab.meter([cpu(restless)]).idle(Duration::from_secs(20)).unwrap().domains;
    // Ten parts of 15 and 25 W in turns: 5.3 W of standard deviation, 1.7 W in the mean.
    let package = idle["cpu:package-0"];
    close(package.power.as_watts(), 20.0, 0.5);
    close(package.uncertainty.as_watts(), 5.27 / 10.0_f64.sqrt(), 0.2);
}

/// A sensor of a machine on which others begin to work once it has been read for five seconds.
struct Visited {
    sensor: Fake,
    proc: Proc,
}

impl Sensor for Visited {
    fn specification(&self) -> &Specification {
        self.sensor.specification()
    }

    fn read(&mut self, clock: &Clock) -> Result<Reading> {
        if clock.now() > Timestamp::default() + Duration::from_secs(6) {
            self.proc.pass(1, 0.0, 0.0, 2.0);
        }
        self.sensor.read(clock)
    }
}

#[test]
fn a_busy_machine_is_no_baseline_without_a_warning() {
    let (lab, proc) = (Lab::new(), Proc::new());
    let builder = Meter::builder().clock(lab.clock()).procfs(proc.root.path());
    let meter = builder.sensor(Visited { sensor: cpu(constant(20.0)), proc });
    let measured = meter.build().unwrap().idle(Duration::from_secs(10)).unwrap();
    assert!(measured.warning.unwrap().contains("50 % busy"));
}

#[test]
fn a_process_share_is_a_model_and_no_more_than_the_machine() {
    let (lab, mut proc) = (Lab::new(), Proc::new());
    let sensors = [
        cpu(constant(100.0)).specified(|it| it.gain = 0.05),
        gpu(constant(300.0)).specified(|it| (it.gain, it.family) = (0.02, "nvml".to_owned())),
    ];
    let meter = meter(&lab, &proc, sensors);
    let run = meter.run("own").process_share().start().unwrap();
    let path = run.path().to_owned();
    for epoch in run.epochs(1..=3) {
        // Two of four processors are busy, of which the process and its child have one and a half; in the third epoch
        // nobody else is there.
        let others = if epoch == 3 { 0.0 } else { 0.5 };
        for _step in run.steps(0..10) {
            lab.pass(1_000);
        }
        proc.pass(10, 1.0, 0.5, others);
    }
    {
        let _short = run.phase("short");
        lab.pass(150);
    }
    lab.pass(500);
    let summary = run.finish().unwrap();
    let windows = windows(&path);
    for epoch in of(&windows, Kind::Epoch) {
        let process = epoch.process.as_ref().unwrap();
        assert_eq!(process.model, "active-by-cpu-time");
        let alone = epoch.epoch == Some(3);
        close(process.fraction, if alone { 1.0 } else { 0.75 }, 1e-9);
        // 1.5 of 4 processors' time, and the GPU whole.
        let of = |domain: &str| joules(epoch.domains[domain].energy);
        let expected = of("cpu:package-0") * 1.5 / 4.0 + of("gpu:GPU-0");
        close(process.energy.as_joules(), expected, 1e-6);
        close(expected, 10.0 * (100.0 * 1.5 / 4.0 + 300.0), 30.0);
        let split: f64 = 375.0;
        let measured = (0.05 * split).hypot(0.02 * 3_000.0);
        close(process.uncertainty.as_joules(), measured.hypot(0.20 * split), 4.0);
        assert!(Some(process.energy) <= epoch.energy);
    }
    assert!(of(&windows, Kind::Step).iter().all(|step| step.process.is_none()));
    assert_eq!(of(&windows, Kind::Phase)[0].process, None);
    let process = summary.end.process.as_ref().unwrap();
    assert!(Some(process.energy) < summary.end.energy && process.fraction > 0.75, "{process:?}");
    let table = summary.to_string();
    assert!(table.contains("process share (model): "), "{table}");
    let method = RunLog::open(&path).unwrap().manifest.methods.process.unwrap();
    assert!(method.contains("a model"), "{method}");
}

#[test]
fn a_run_without_baseline_or_share_says_nothing_of_them() {
    let (lab, proc) = (Lab::new(), Proc::new());
    let run = meter(&lab, &proc, [cpu(constant(100.0))]).run("plain").start().unwrap();
    let path = run.path().to_owned();
    for _epoch in run.epochs(1..=2) {
        lab.pass(1_000);
    }
    run.finish().unwrap();
    let text = fs::read_to_string(path.join("rank-00000.jsonl")).unwrap();
    assert!(!text.contains("net_j") && !text.contains("process"), "{text}");
    let manifest = fs::read_to_string(path.join("run.json")).unwrap();
    assert!(!manifest.contains("baseline"), "{manifest}");
}
