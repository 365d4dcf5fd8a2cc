//! A real NVIDIA GPU against itself: what the card and its driver give must agree with one another.
//!
//! `cargo test -p ergometer-tests gpu:: -- --ignored --nocapture` prints what was found, for `docs/accuracy.md`. Without
//! a GPU these tests fail, with the reason. They hold for an idle card as for a busy one.

#![expect(
    clippy::print_stdout,
    reason = "what is found on a real card is what the tests are run for"
)]

use std::process::Command;
use std::time::{Duration, Instant};

use ergometer::sensor::nvml::{Processes, cuda, open};
use ergometer::sensor::{Quantity, Selection, Sensor};
use ergometer::{Clock, Energy, Meter, Timestamp};

/// The GPUs that NVML gives an energy or a power of.
fn gpus() -> Vec<Box<dyn Sensor>> {
    let found = open(None, &Selection::All);
    assert!(!found.sensors.is_empty(), "no NVIDIA GPU can be read here: {:?}", found.absent);
    for absence in &found.absent {
        println!("{}: {}", absence.source, absence.error);
    }
    found.sensors
}

fn uuid(gpu: &dyn Sensor) -> &str {
    gpu.specification().domain.id.trim_start_matches("gpu:")
}

/// What reading a counter and its power as fast as the test allows has shown.
struct Watched {
    /// The first moment at which each new value of the counter was seen.
    edges: Vec<(Timestamp, Energy)>,
    /// The mean of the power by another way.
    watts: Option<f64>,
    /// How long each read of the counter took, in order of length.
    latencies: Vec<Duration>,
}

fn watch(gpu: &mut dyn Sensor, time: Duration) -> Watched {
    let clock = Clock::system();
    let (mut edges, mut latencies) = (Vec::new(), Vec::new());
    let (mut watts, mut powers) = (0.0, 0_u32);
    let begun = Instant::now();
    while begun.elapsed() < time {
        let reading = gpu.read(&clock).unwrap();
        latencies.push(reading.after.since(reading.before));
        if let Quantity::Counter(energy) = reading.quantity
            && edges.last().is_none_or(|(_, last)| *last != energy)
        {
            edges.push((reading.before, energy));
        }
        if let Some(power) = gpu.cross_check() {
            watts += power.as_watts();
            powers += 1;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    latencies.sort();
    let watts = (powers > 0).then(|| watts / f64::from(powers));
    Watched { edges, watts, latencies }
}

#[test]
#[ignore = "needs an NVIDIA GPU: cargo test -p ergometer-tests gpu:: -- --ignored"]
fn the_counter_agrees_with_the_power_over_three_seconds() {
    for mut gpu in gpus() {
        let specification = gpu.specification().clone();
        let watched = watch(&mut *gpu, Duration::from_secs(3));
        let percentile =
            |part: usize| watched.latencies[(watched.latencies.len() - 1) * part / 100];
        println!(
            "{} ({}): {}, a read takes {:?} (median), {:?} (99 %)",
            specification.domain.name,
            specification.domain.id,
            specification.source,
            percentile(50),
            percentile(99)
        );
        assert!(percentile(50) < Duration::from_millis(100));
        let [_, first, .., last] = &watched.edges[..] else {
            println!("  no energy counter");
            continue;
        };
        let counted = (last.1 - first.1).as_joules() / last.0.since(first.0).as_secs_f64();
        assert!(counted > 1.0 && counted < specification.most.as_watts(), "{counted} W");
        let Some(watts) = watched.watts else {
            println!("  counter {counted:.2} W, nothing to hold it against");
            continue;
        };
        println!("  counter {counted:.2} W, power {watts:.2} W, ratio {:.4}", counted / watts);
        // A wrong unit or scope; a disagreement below that is the driver's, and the meter says so of the sensor.
        assert!((0.5..2.0).contains(&(counted / watts)), "{counted} W against {watts} W");
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU: cargo test -p ergometer-tests gpu:: -- --ignored"]
fn the_period_of_the_counter_is_between_a_hundredth_of_a_second_and_one() {
    for mut gpu in gpus() {
        let name = gpu.specification().domain.name.clone();
        let edges = watch(&mut *gpu, Duration::from_secs(3)).edges;
        if edges.len() < 3 {
            println!("{name}: no energy counter");
            continue;
        }
        assert!(edges.is_sorted_by(|one, next| one.1 < next.1), "a counter that decreases");
        let mut periods: Vec<_> = edges.windows(2).map(|pair| pair[1].0.since(pair[0].0)).collect();
        periods.sort();
        let quantum = edges.windows(2).map(|pair| pair[1].1 - pair[0].1).min();
        let median = periods[periods.len() / 2];
        println!(
            "{name}: period {median:?} ({:?} to {:?}), least gain {quantum:?}",
            periods[0],
            periods[periods.len() - 1]
        );
        assert!((Duration::from_millis(5)..Duration::from_millis(1_100)).contains(&median));
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU: cargo test -p ergometer-tests gpu:: -- --ignored"]
fn nvidia_smi_agrees() {
    let gpus = gpus();
    let asked = Command::new("nvidia-smi")
        .args([
            "--query-gpu=uuid,power.draw.instant,driver_version",
            "--format=csv,noheader,nounits",
        ])
        .output();
    let Ok(answer) = asked else {
        println!("nvidia-smi is not there, so nothing was compared");
        return;
    };
    let text = String::from_utf8_lossy(&answer.stdout);
    for mut gpu in gpus {
        if !gpu.specification().in_total {
            continue;
        }
        let line = text.lines().find(|line| line.starts_with(uuid(&*gpu)));
        let line = line.unwrap_or_else(|| panic!("{} is not in {text:?}", uuid(&*gpu)));
        println!("nvidia-smi: {line}");
        let watts = line.split(',').nth(1).and_then(|watts| watts.trim().parse::<f64>().ok());
        if let (Some(theirs), Some(ours)) = (watts, gpu.cross_check()) {
            println!("  ours: {ours:.2}");
            // The two are read some milliseconds apart, and the load may change.
            assert!(
                (ours.as_watts() - theirs).abs() < 0.5 * theirs + 20.0,
                "{ours} and {theirs} W"
            );
        }
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU: cargo test -p ergometer-tests gpu:: -- --ignored"]
fn a_run_counts_what_the_counter_counts() {
    let clock = Clock::system();
    let directory = tempfile::tempdir().unwrap();
    let mut gpus = gpus();
    let meter =
        Meter::builder().gpus(Selection::All).log_directory(directory.path()).build().unwrap();
    let read = |gpus: &mut Vec<Box<dyn Sensor>>| -> Vec<Option<Energy>> {
        let energy = |gpu: &mut Box<dyn Sensor>| match gpu.read(&clock).unwrap().quantity {
            Quantity::Counter(energy) => Some(energy),
            Quantity::Gauge(_) => None,
        };
        gpus.iter_mut().map(energy).collect()
    };
    std::thread::sleep(Duration::from_secs(2));
    let run = meter.run("gpu").start().unwrap();
    let first = read(&mut gpus);
    std::thread::sleep(Duration::from_secs(5));
    let last = read(&mut gpus);
    let summary = run.finish().unwrap();
    println!("{summary}");
    for (gpu, (first, last)) in gpus.iter().zip(first.into_iter().zip(last)) {
        let (Some(first), Some(last)) = (first, last) else { continue };
        let id = &gpu.specification().domain.id;
        let ours = summary.end.domains[id].energy.unwrap().as_joules();
        let plain = (last - first).as_joules();
        println!("{id}: {ours:.1} J, by two plain reads {plain:.1} J");
        // Two plain reads are off by up to an update at each end.
        assert!((ours / plain - 1.0).abs() < 0.25, "{id}: {ours} J and {plain} J");
    }
}

#[test]
#[ignore = "needs an NVIDIA GPU: cargo test -p ergometer-tests gpu:: -- --ignored"]
fn the_gpu_is_found_by_its_address_and_its_processes_can_be_asked_for() {
    let gpus = gpus();
    match cuda::pci_address(None, 0) {
        Ok(address) => {
            let found = open(None, &Selection::Pci(vec![address.clone()]));
            assert!(!found.sensors.is_empty(), "{address}: {found:?}");
            println!("CUDA's first device is {}", found.sensors[0].specification().domain.id);
            let visible = cuda::initialised(None).unwrap();
            assert_eq!(visible.first(), Some(&address));
        }
        Err(error) => println!("CUDA cannot be asked: {error}"),
    }
    for gpu in gpus.iter().filter(|gpu| gpu.specification().in_total) {
        let mut processes = Processes::open(None, uuid(&**gpu)).unwrap();
        let begun = Instant::now();
        let others = processes.others();
        println!("{}: other processes {others:?} in {:?}", uuid(&**gpu), begun.elapsed());
        println!("  this process's share {:?}", processes.share());
    }
}
