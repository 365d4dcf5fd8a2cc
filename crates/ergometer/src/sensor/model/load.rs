//! How busy the processors were between two reads.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cpu_time;
use crate::error::{Error, Result};

/// The share of CPU time that was spent working, from integrals of CPU time and not from samples.
pub(super) struct Load {
    source: Source,
    /// What holds until CPU time is seen to go on.
    last: f64,
}

enum Source {
    Stat { path: PathBuf, ticks: Ticks },
    System(Box<sysinfo::System>),
}

impl Load {
    /// Opens `<procfs>/stat`, or on systems that have no such file, what they offer instead.
    ///
    /// # Errors
    /// If there should be such a file, and it cannot be read or understood.
    pub(super) fn open(procfs: &Path) -> Result<Self> {
        let path = procfs.join("stat");
        if cfg!(target_os = "linux") || path.exists() {
            let ticks = Ticks::read(&path)?;
            // Until two reads differ, the mean since the system was started is the best guess.
            return Ok(Load {
                last: ticks.load().unwrap_or(1.0),
                source: Source::Stat { path, ticks },
            });
        }
        let mut system = sysinfo::System::new();
        system.refresh_cpu_usage();
        Ok(Load { last: 1.0, source: Source::System(Box::new(system)) })
    }

    /// The mean load of all processors since the read before, between 0 and 1.
    ///
    /// # Errors
    /// If CPU times cannot be read for now. The next read that succeeds covers the time since the last one that did.
    pub(super) fn since_last(&mut self) -> Result<f64> {
        match &mut self.source {
            Source::Stat { path, ticks } => {
                let now = Ticks::read(path)?;
                // Where the clock of CPU time did not tick, the processors were not idle: nothing is known yet.
                self.last = now.since(*ticks).and_then(Ticks::load).unwrap_or(self.last);
                *ticks = now;
            }
            Source::System(system) => {
                system.refresh_cpu_usage();
                self.last = f64::from(system.global_cpu_usage()) / 100.0;
            }
        }
        Ok(self.last)
    }

    /// How often a read is worth its cost.
    pub(super) fn interval(&self) -> Duration {
        match self.source {
            Source::Stat { .. } => super::INTERVAL,
            // Earlier reads repeat the one before; the sampler's intervals vary by a tenth.
            Source::System(_) => sysinfo::MINIMUM_CPU_UPDATE_INTERVAL.mul_f64(1.25),
        }
    }
}

/// CPU time of all processors together, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    idle: u64,
}

impl Ticks {
    fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).map_err(|cause| Error::file("read", path, cause))?;
        Ticks::parse(&text)
            .ok_or_else(|| Error::invalid(format!("`{}` has no usable `cpu` line", path.display())))
    }

    fn parse(stat: &str) -> Option<Self> {
        cpu_time::machine(stat).map(|(busy, idle)| Ticks { busy, idle })
    }

    /// What passed since `earlier`; `None` if a count went back, as idle time does when processors come and go.
    fn since(self, earlier: Ticks) -> Option<Ticks> {
        let busy = self.busy.checked_sub(earlier.busy)?;
        Some(Ticks { busy, idle: self.idle.checked_sub(earlier.idle)? })
    }

    /// The busy share; `None` where no time passed.
    #[expect(
        clippy::cast_precision_loss,
        reason = "ticks of a hundredth of a second stay exact for ages"
    )]
    fn load(self) -> Option<f64> {
        let all = self.busy + self.idle;
        (all > 0).then(|| self.busy as f64 / all as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EARLIER: &str = "cpu  1000 20 300 8000 100 10 20 50 600 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n";

    fn load(later: &str) -> Option<f64> {
        Ticks::parse(later).unwrap().since(Ticks::parse(EARLIER).unwrap()).and_then(Ticks::load)
    }

    #[test]
    fn load_is_busy_time_over_busy_and_idle_time() {
        // 40 + 10 + 10 + 5 + 5 ticks of work and 20 + 10 without; 99 stolen, and 30 of a guest that are in user.
        let later = "cpu  1040 30 310 8020 110 15 25 149 630 0\n";
        assert!((load(later).unwrap() - 0.7).abs() < 1e-12, "{:?}", load(later));
    }

    #[test]
    fn without_a_tick_no_load_is_made_up() {
        assert_eq!(load(EARLIER), None);
    }

    #[test]
    fn time_that_runs_backwards_is_no_load() {
        assert_eq!(load("cpu  1040 30 310 7000 110 15 25 149 630 0\n"), None);
    }

    #[test]
    fn what_is_not_a_stat_file_is_refused() {
        for text in ["", "cpu0 1 2 3 4 5 6 7\n", "cpu  1 2 3\n", "cpu  a b c d e f g\n"] {
            assert_eq!(Ticks::parse(text), None, "{text}");
        }
    }
}
