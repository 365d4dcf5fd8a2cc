//! A kernel whose perf events count what a test says, and the `power` unit as it shows in sysfs.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use ergometer::sensor::rapl::event::{Count, Event, Opener};

use crate::rapl::Tree;

pub(super) const PACKAGE: u64 = 2;
pub(super) const MEMORY: u64 = 3;
pub(super) const PLATFORM: u64 = 5;

/// A kernel whose counts a test sets.
#[derive(Clone, Default)]
pub(super) struct Kernel(Arc<Mutex<Counts>>);

#[derive(Default)]
pub(super) struct Counts {
    /// What each event of each CPU shows.
    shown: BTreeMap<(u64, u32), u64>,
    offline: BTreeSet<u32>,
    /// How often each CPU went offline: an event from before never counts again.
    outages: BTreeMap<u32, u32>,
    /// The error of each attempt to open one, as the system numbers it.
    refusal: Option<i32>,
    pub(super) opened: Vec<Event>,
}

pub(super) const EACCES: i32 = 13;
const ENODEV: i32 = 19;
pub(super) const EINVAL: i32 = 22;

impl Kernel {
    pub(super) fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap()
    }

    pub(super) fn refusing(error: i32) -> Self {
        let kernel = Kernel::default();
        kernel.counts().refusal = Some(error);
        kernel
    }

    pub(super) fn opener(&self) -> Opener {
        let kernel = self.clone();
        Arc::new(move |event| kernel.open(*event))
    }

    fn open(&self, event: Event) -> io::Result<Count> {
        let cpu = event.cpu.unwrap();
        let mut counts = self.counts();
        if let Some(error) = counts.refusal {
            return Err(io::Error::from_raw_os_error(error));
        }
        if counts.offline.contains(&cpu) {
            return Err(io::Error::from_raw_os_error(ENODEV));
        }
        assert_eq!(event.kind, 31);
        counts.opened.push(event);
        let born = counts.outages.get(&cpu).copied();
        let (kernel, mut last) = (self.clone(), 0);
        Ok(Box::new(move || {
            let counts = kernel.counts();
            if counts.outages.get(&cpu).copied() == born {
                last = counts.shown.get(&(event.config, cpu)).copied().unwrap_or_default();
            }
            Ok(last)
        }))
    }

    pub(super) fn set(&self, part: u64, cpu: u32, count: u64) {
        self.counts().shown.insert((part, cpu), count);
    }

    /// Adds an energy, or takes one away as the kernel does when it mistakes the sign of a difference.
    pub(super) fn add(&self, part: u64, cpu: u32, joules: f64) {
        #[expect(clippy::cast_possible_truncation, reason = "counts of test energies are small")]
        let difference = (joules * 2_f64.powi(32)).round() as i64;
        let mut counts = self.counts();
        let count = counts.shown.entry((part, cpu)).or_default();
        *count = count.wrapping_add_signed(difference);
    }

    pub(super) fn take_offline(&self, cpu: u32) {
        let mut counts = self.counts();
        counts.offline.insert(cpu);
        *counts.outages.entry(cpu).or_default() += 1;
    }

    pub(super) fn bring_back(&self, cpu: u32) {
        self.counts().offline.remove(&cpu);
    }
}

/// Writes the unit into a tree, with the CPUs of its mask as `(cpu, package, die)`.
pub(super) fn unit(tree: &Tree, events: &[(&str, u64)], cpus: &[(u32, u32, u32)]) {
    let directory = "bus/event_source/devices/power";
    tree.file(&format!("{directory}/type"), "31\n");
    let mask: Vec<String> = cpus.iter().map(|(cpu, ..)| cpu.to_string()).collect();
    tree.file(&format!("{directory}/cpumask"), &format!("{}\n", mask.join(",")));
    for (event, config) in events {
        tree.file(&format!("{directory}/events/{event}"), &format!("event=0x{config:02x}\n"));
        let scale = "2.3283064365386962890625e-10\n";
        tree.file(&format!("{directory}/events/{event}.scale"), scale);
        tree.file(&format!("{directory}/events/{event}.unit"), "Joules\n");
    }
    for (cpu, package, die) in cpus {
        let topology = format!("devices/system/cpu/cpu{cpu}/topology");
        tree.file(&format!("{topology}/physical_package_id"), &format!("{package}\n"));
        tree.file(&format!("{topology}/die_id"), &format!("{die}\n"));
    }
}
