//! CPU time: of the machine, and of this program in it.

use std::fs;
use std::path::Path;

/// CPU time of all processors together since the machine was started, in the kernel's ticks.
///
/// Only parts of each other mean anything: how long a tick is does not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CpuTime {
    busy: u64,
    idle: u64,
    /// Of the busy time, that of this program.
    own: u64,
}

impl CpuTime {
    /// Reads `<procfs>/stat`, and the `stat` of this process and of its living descendants; `None` where there is no such
    /// thing, as on other systems than Linux.
    ///
    /// Costs some thirty microseconds, and five for each thread, whose children are asked for one by one. Never read on a
    /// training thread.
    pub(crate) fn read(procfs: &Path) -> Option<CpuTime> {
        // The part before the whole, so that it is not seen to be more.
        let own = own(procfs)?;
        let (busy, idle) = machine(&fs::read_to_string(procfs.join("stat")).ok()?)?;
        Some(CpuTime { busy, idle, own })
    }

    #[cfg(test)]
    pub(crate) fn of(busy: u64, idle: u64, own: u64) -> CpuTime {
        CpuTime { busy, idle, own }
    }

    /// What passed since `earlier`; `None` if a count went back, as idle time does when processors come and go.
    pub(crate) fn since(self, earlier: CpuTime) -> Option<CpuTime> {
        let (busy, idle) =
            (self.busy.checked_sub(earlier.busy)?, self.idle.checked_sub(earlier.idle)?);
        // A child that nobody waited for takes its time with it. More than the whole is a matter of rounding.
        Some(CpuTime { busy, idle, own: self.own.saturating_sub(earlier.own).min(busy) })
    }

    /// The part of all processors' time that was busy; `None` where no time passed.
    pub(crate) fn load(self) -> Option<f64> {
        part(self.busy, self.busy + self.idle)
    }

    /// The part of all processors' time that other programs had.
    pub(crate) fn others(self) -> Option<f64> {
        part(self.busy.saturating_sub(self.own), self.busy + self.idle)
    }

    /// This program's part of the busy time; `None` where no processor was busy.
    pub(crate) fn own(self) -> Option<f64> {
        part(self.own, self.busy)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "ticks of a hundredth of a second stay exact for ages"
)]
fn part(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Busy and idle time from the text of `/proc/stat`: user, nice, system, irq and softirq, and idle and iowait. Guests are
/// part of user already, and stolen time is another machine's.
pub(crate) fn machine(stat: &str) -> Option<(u64, u64)> {
    let fields = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let times: Vec<u64> = fields.split_whitespace().map_while(|field| field.parse().ok()).collect();
    let [user, nice, system, idle, waiting, interrupts, deferred, ..] = times[..] else {
        return None;
    };
    Some((user + nice + system + interrupts + deferred, idle + waiting))
}

/// Processes of one program that are counted at most: beyond that, somebody spawns faster than we can look.
const FAMILY: usize = 64;

/// The time of this process, its descendants, and those of them that have ended and been waited for.
fn own(procfs: &Path) -> Option<u64> {
    let mut family = vec!["self".to_owned()];
    let mut sum = 0;
    let mut next = 0;
    while let Some(process) = family.get(next).map(|process| procfs.join(process)) {
        match fs::read_to_string(process.join("stat")).ok().and_then(|stat| process_time(&stat)) {
            Some(time) => sum += time,
            None if next == 0 => return None,
            // It ended between two looks.
            None => {}
        }
        next += 1;
        for thread in fs::read_dir(process.join("task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            let room = FAMILY.saturating_sub(family.len());
            family.extend(children.split_whitespace().take(room).map(str::to_owned));
        }
    }
    Some(sum)
}

/// User and system time from the text of `/proc/<pid>/stat`, those of children that were waited for included (fields 14
/// to 17 of proc(5), counted behind the name, which may hold anything).
fn process_time(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let times: Vec<u64> =
        fields.split_whitespace().skip(11).map_while(|field| field.parse().ok()).take(4).collect();
    (times.len() == 4).then(|| times.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_are_users_and_stolen_time_is_nobodys() {
        let stat = "cpu  1000 20 300 8000 100 10 20 50 600 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(machine(stat), Some((1_350, 8_100)));
        for text in ["", "cpu0 1 2 3 4 5 6 7\n", "cpu  1 2 3\n", "cpu  a b c d e f g\n"] {
            assert_eq!(machine(text), None, "{text}");
        }
    }

    #[test]
    fn a_process_may_be_called_anything() {
        let stat = "12 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 100 20 3 4 20 0 8 0 500 1 2\n";
        assert_eq!(process_time(stat), Some(127));
        for text in ["", "12 (a", "12 (a) R 1 2 3", "12 (a) R 1 2 3 4 5 6 7 8 9 10 x 20 3 4"] {
            assert_eq!(process_time(text), None, "{text}");
        }
    }

    #[test]
    fn parts_are_of_what_passed() {
        let at = CpuTime::of;
        let passed = at(1_500, 2_500, 400).since(at(1_100, 1_900, 300)).unwrap();
        assert_eq!(passed, at(400, 600, 100));
        assert_eq!(
            (passed.load(), passed.others(), passed.own()),
            (Some(0.4), Some(0.3), Some(0.25))
        );
        let nothing = at(1, 1, 1).since(at(1, 1, 1)).unwrap();
        assert_eq!((nothing.load(), nothing.others(), nothing.own()), (None, None, None));
        assert_eq!(at(2, 1, 0).since(at(1, 2, 0)), None);
        assert_eq!(at(20, 1, 50).since(at(10, 1, 0)).unwrap().own(), Some(1.0));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_and_its_children_have_used_some() {
        let before = CpuTime::read(Path::new("/proc")).unwrap();
        assert!(before.busy >= before.own, "{before:?}");
        let after = CpuTime::read(Path::new("/proc")).unwrap();
        assert!(after.own >= before.own, "{before:?} {after:?}");
    }
}
