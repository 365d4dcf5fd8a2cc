//! Who else computes on a GPU: the counter knows boards, not processes.

use std::fs;
use std::path::Path;
use std::process;

use nvml_wrapper::Device;
use nvml_wrapper::error::NvmlError;

use super::failure::explain;
use super::gpu::physical;
use super::load;
use crate::error::Result;

/// The processes that compute on one GPU.
///
/// A process list takes the driver milliseconds, in which it may hold up the training's own calls: ask at the start of a
/// run and once a minute, on the thread of the `nvml` stack, never at each reading.
#[derive(Debug)]
pub struct Processes {
    device: Device<'static>,
    own: Own,
    /// The time of the last sample of utilisation, on the driver's clock.
    seen: u64,
}

impl Processes {
    /// The processes of the GPU of this UUID (or of the GPU of this MIG instance), asked through `library` or else the
    /// system's NVML.
    ///
    /// Loads the library for the rest of the process's life, so it is opened once and kept.
    ///
    /// # Errors
    /// If there is no NVML, or it shows no such GPU.
    pub fn open(library: Option<&Path>, uuid: &str) -> Result<Processes> {
        let device = load(library)?.device_by_uuid(uuid).map_err(|error| explain(uuid, error))?;
        Ok(Processes::of(physical(device)?))
    }

    /// The processes of a GPU that is open.
    pub(super) fn of(device: Device<'static>) -> Processes {
        Processes { device, own: Own::of_process(), seen: 0 }
    }

    /// How many other processes compute on the GPU; `None` where it cannot be known.
    ///
    /// In a container the driver gives the numbers of processes on the host, or hides those of other containers, so there
    /// only a process that is certainly another is counted, and none is not known to be none.
    ///
    /// # Errors
    /// If the driver gives no list.
    pub fn others(&self) -> Result<Option<usize>> {
        let listed = self
            .device
            .running_compute_processes()
            .map_err(|error| explain("the GPU's list of processes", error))?;
        Ok(self.own.others(listed.into_iter().map(|process| process.pid)))
    }

    /// This process's part of the GPU's busy time since it was last asked, from 0 to 1; `None` where nothing was busy,
    /// or this process is not known among those listed. A model of the share of the energy, no measurement.
    ///
    /// The driver samples the utilisation of each process about six times a second and keeps some seconds of them.
    ///
    /// # Errors
    /// If the driver gives no utilisation by process; it does not for a GPU that is split (MIG).
    pub fn share(&mut self) -> Result<Option<f64>> {
        let samples = match self.device.process_utilization_stats(self.seen) {
            // This is how the driver says that there are none.
            Err(NvmlError::NotFound) => Vec::new(),
            samples => samples.map_err(|error| explain("the GPU's use by process", error))?,
        };
        let new = samples.iter().filter(|sample| sample.timestamp > self.seen);
        // A percentage above 100 is a fault of the driver.
        let busy: Vec<_> = new.map(|sample| (sample.pid, sample.sm_util.min(100))).collect();
        self.seen = samples.iter().map(|sample| sample.timestamp).fold(self.seen, u64::max);
        Ok(self.own.share(&busy))
    }
}

/// By which numbers a process list may call this process.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Own {
    numbers: Vec<u32>,
    /// Whether this process's numbers are the machine's.
    whole_machine: bool,
}

impl Own {
    fn of_process() -> Own {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let space = fs::read_link("/proc/self/ns/pid").ok();
        let space = space.as_ref().and_then(|space| space.to_str());
        Own::read(&status, space, process::id(), cfg!(target_os = "linux"))
    }

    /// From the text of `/proc/self/status` and the name of the process's PID namespace.
    fn read(status: &str, space: Option<&str>, id: u32, namespaces: bool) -> Own {
        // One number for each namespace from procfs's own inwards.
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let mut numbers: Vec<u32> = numbers
            .into_iter()
            .flat_map(str::split_whitespace)
            .filter_map(|number| number.parse().ok())
            .collect();
        if !numbers.contains(&id) {
            numbers.push(id);
        }
        // The first namespace has a number of its own in the kernel (`PROC_PID_INIT_INO`).
        Own { numbers, whole_machine: !namespaces || space == Some("pid:[4026531836]") }
    }

    fn others(&self, listed: impl Iterator<Item = u32>) -> Option<usize> {
        let (own, others): (Vec<_>, Vec<_>) =
            listed.partition(|number| self.numbers.contains(number));
        match (self.whole_machine, others.len()) {
            (true, others) => Some(others),
            // The list has this process by its own number, so the others' are of this namespace too.
            (false, others) if !own.is_empty() && others > 0 => Some(others),
            (false, _) => None,
        }
    }

    fn share(&self, busy: &[(u32, u32)]) -> Option<f64> {
        let all: u32 = busy.iter().map(|(_, part)| part).sum();
        let is_own = |(number, _): &&(u32, u32)| self.numbers.contains(number);
        let own: u32 = busy.iter().filter(is_own).map(|(_, part)| part).sum();
        let known = self.whole_machine || busy.iter().any(|sample| is_own(&sample));
        (all > 0 && known).then(|| f64::from(own) / f64::from(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Option<&str> = Some("pid:[4026531836]");
    const CONTAINER: Option<&str> = Some("pid:[4026532201]");

    #[test]
    fn the_numbers_of_a_process_are_those_of_all_its_namespaces() {
        let host = Own::read("Name:\ttrain\nNSpid:\t4711\t12\nThreads:\t3\n", CONTAINER, 12, true);
        assert_eq!(host, Own { numbers: vec![4711, 12], whole_machine: false });
        let own = Own::read("", None, 7, false);
        assert_eq!(own, Own { numbers: vec![7], whole_machine: true });
        assert!(!Own::read("NSpid:\tx\n", None, 7, true).whole_machine);
    }

    #[test]
    fn others_are_counted_where_they_are_known_to_be_others() {
        let count = |space, listed: &[u32]| {
            Own::read("NSpid:\t12\n", space, 12, true).others(listed.iter().copied())
        };
        assert_eq!(count(HOST, &[]), Some(0));
        assert_eq!(count(HOST, &[12]), Some(0));
        assert_eq!(count(HOST, &[12, 99, 100]), Some(2));
        assert_eq!(count(CONTAINER, &[12, 99]), Some(1));
        // These may be this process and others, or hide others.
        assert_eq!(count(CONTAINER, &[4711, 99]), None);
        assert_eq!(count(CONTAINER, &[12]), None);
        assert_eq!(count(CONTAINER, &[]), None);
    }

    #[test]
    fn a_share_is_that_of_the_busy_time() {
        let own = Own::read("NSpid:\t12\n", HOST, 12, true);
        assert_eq!(own.share(&[(12, 60), (99, 20), (12, 30), (99, 10)]), Some(0.75));
        assert_eq!(own.share(&[(99, 20)]), Some(0.0));
        assert_eq!(own.share(&[]), None);
        assert_eq!(own.share(&[(12, 0)]), None);
        let contained = Own::read("NSpid:\t12\n", CONTAINER, 12, true);
        assert_eq!(contained.share(&[(4711, 60), (99, 20)]), None);
        assert_eq!(contained.share(&[(12, 60), (99, 20)]), Some(0.75));
    }
}
