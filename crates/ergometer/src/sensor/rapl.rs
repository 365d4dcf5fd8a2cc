//! The energy counters of processors and their memory (RAPL, Intel's and AMD's; SCMI, Arm's), through Linux.
//!
//! The kernel shows them in two ways, and each domain is read by the first that this process may use:
//!
//! 1. perf events of the `power` unit: exact, counted to 64 bits, found again when a CPU was offline;
//! 2. powercap's files: the registers' or the TPMI interface, and `intel-rapl-mmio` where these cannot be read.
//!
//! Domains overlap: a package contains its cores and its uncore, `psys` contains the packages, and a package can be
//! offered by several interfaces or once for each of its dies. Read here are packages and the memory beside them, each
//! once, and `psys` beside the sum. `core` and `uncore` are never read: they are parts of the package, and on AMD
//! `core` is one core of it.

mod domain;
pub mod event;
mod perf;
pub mod plausibility;
mod powercap;
mod scmi;
mod tally;
mod zone;

use std::path::Path;
use std::sync::Arc;

use crate::error::Error;
use crate::sensor::machine::Machine;
use crate::sensor::{Absence, Found, Sensor};
use crate::units::Power;

use self::event::Opener;
use self::powercap::{Nothing, Powercap};

/// Opens the energy counters of processor packages and their memory under a sysfs root, `/sys` as a rule.
///
/// What exists and cannot be read is absent with its cause: one entry for all that permissions close.
pub fn open(sysfs: &Path) -> Found {
    open_with(sysfs, &(Arc::new(event::open) as Opener))
}

/// Opens the same, with perf events from elsewhere than the kernel.
pub fn open_with(sysfs: &Path, opener: &Opener) -> Found {
    let machine = Machine::of(sysfs);
    let mut powercap = Powercap::list(sysfs);
    let events = perf::open(sysfs, &powercap.offers, &machine, opener);
    let (place, nothing) = (powercap.place.clone(), powercap.nothing.take());
    let (zones, unread) = powercap.open(&machine);

    let mut found = Found::default();
    let counted = |id: &str| events.counters.iter().any(|counter| counter.covers(id));
    let (spare, used): (Vec<_>, Vec<_>) =
        zones.into_iter().partition(|zone| counted(&zone.specification().domain.id));
    found.spare = spare;
    found.sensors = used;
    let read = |id: &str| {
        let mut zones = found.sensors.iter().map(|zone| zone.specification().domain.id.as_str());
        counted(id) || zones.any(|covered| id == perf::UNIT || domain::overlap(covered, id))
    };
    let unopened: Vec<_> = events.failed.into_iter().filter(|(id, _)| !read(id)).collect();
    let unread: Vec<_> = unread.into_iter().filter(|(id, _)| !read(id)).collect();
    found.absent = match nothing {
        Some(nothing) if events.counters.is_empty() => {
            without_powercap(nothing, &place, &machine, unopened)
        }
        _ => absences(unread, unopened, &place),
    };
    found
        .sensors
        .extend(events.counters.into_iter().map(|counter| Box::new(counter) as Box<dyn Sensor>));
    found.sensors.sort_by_key(|sensor| sensor.specification().domain.clone());
    found
}

/// The thermal design power of all packages together, where the kernel states it.
///
/// A package's first constraint has as its maximum what the processor itself gives as its thermal design power
/// (`THERMAL_SPEC_POWER` in Linux's `intel_rapl_common.c`), and unlike the counter everybody may read it.
pub(super) fn thermal_design_power(sysfs: &Path) -> Option<Power> {
    Powercap::list(sysfs).thermal_design_power()
}

/// The id of a domain, and why it cannot be read.
type Failure = (String, Error);

const SOURCE: &str = "rapl";

/// One absence for all that permissions close, and one for each other failure; a domain fails once, by whichever way.
fn absences(unread: Vec<Failure>, unopened: Vec<Failure>, powercap: &Path) -> Vec<Absence> {
    let is_closed = |failure: &Failure| failure.1.is_permission_denied();
    let (closed, mut broken): (Vec<_>, Vec<_>) = unread.into_iter().partition(is_closed);
    let (shut, failed): (Vec<_>, Vec<_>) = unopened.into_iter().partition(is_closed);
    let mut ids: Vec<_> = closed.iter().chain(&shut).map(|(id, _)| id.clone()).collect();
    ids.sort_unstable();
    ids.dedup();
    // What is open one way and broken is no matter of permissions.
    ids.retain(|id| broken.iter().all(|(other, _)| other != id));
    for (id, error) in failed {
        if !ids.contains(&id) && broken.iter().all(|(other, _)| *other != id) {
            broken.push((id, error));
        }
    }
    let mut absences: Vec<_> = broken
        .into_iter()
        .map(|(id, error)| Absence { source: format!("{SOURCE} {id}"), error })
        .collect();
    if !ids.is_empty() {
        let mut causes = closed.into_iter().map(|(_, error)| error);
        let mut events = shut.into_iter().map(|(_, error)| error);
        let error = only_root_may(&ids.join(", "), powercap, causes.next(), events.next());
        absences.push(Absence { source: SOURCE.to_owned(), error });
    }
    absences
}

/// What is missing where powercap has nothing and perf events count nothing.
fn without_powercap(
    nothing: Nothing,
    powercap: &Path,
    machine: &Machine,
    unopened: Vec<Failure>,
) -> Vec<Absence> {
    // A virtual machine to which its host passes the events on is as good as any other.
    let guest = machine.hypervisor.as_deref().filter(|_| unopened.is_empty());
    let error = match (nothing, guest) {
        (Nothing::Unlisted(error), _) => error,
        (Nothing::Missing, _) if !cfg!(target_os = "linux") => {
            Error::absent("no RAPL: powercap exists on Linux only")
        }
        (Nothing::Missing | Nothing::Masked { links: false }, Some(guest)) => Error::absent(
            format!("no RAPL: this is a {guest}, and its host passes no CPU energy counter on"),
        )
        .cure(
            "measure on the host or on a bare-metal instance; until then the CPU's energy is estimated",
        ),
        (Nothing::Missing, None) => {
            Error::absent(format!("no RAPL: `{}` does not exist", powercap.display())).cure(
                "on a processor of Intel or AMD, load the kernel's driver: sudo modprobe intel_rapl_msr",
            )
        }
        (Nothing::Masked { .. }, _) => hidden(powercap),
        (Nothing::Other, _) => Error::absent(format!(
            "no RAPL: `{}` has no zone of a processor package",
            powercap.display()
        )),
    };
    let (shut, failed): (Vec<_>, Vec<_>) =
        unopened.into_iter().partition(|(_, error)| error.is_permission_denied());
    let error = match shut.into_iter().next() {
        None => error,
        Some((_, cause)) => {
            let what = format!("{}; perf events are closed, too ({cause})", error.what());
            let cure = error.remedy().map_or_else(String::new, |cure| format!("{cure}; or "));
            Error::permission_denied(what).cure(format!("{cure}{EVENTS}")).caused_by(cause)
        }
    };
    let failed =
        failed.into_iter().map(|(id, error)| Absence { source: format!("{SOURCE} {id}"), error });
    [Absence { source: SOURCE.to_owned(), error }].into_iter().chain(failed).collect()
}

/// Container runtimes cover powercap's devices with an empty directory (GHSA-jq35-85cj-fj4p), which leaves links that
/// lead nowhere.
fn hidden(powercap: &Path) -> Error {
    let place = powercap.display();
    Error::absent(format!("no RAPL: `{place}` holds no zones; a container hides them, or no driver is loaded")).cure(
        "in a container, mount the host's /sys to another path (docker run -v /sys:/host/sys:ro) and give that path \
         to the meter as its sysfs root, or allow it perf events (docker run --cap-add PERFMON); otherwise: sudo \
         modprobe intel_rapl_msr",
    )
}

fn only_root_may(names: &str, powercap: &Path, file: Option<Error>, event: Option<Error>) -> Error {
    let mut causes = Vec::new();
    let mut cures = Vec::new();
    if let Some(cause) = &file {
        causes.push(format!(
            "since CVE-2020-8694 only root may read RAPL's counters ({})",
            cause.what()
        ));
        cures.push(format!(
            "until the next boot: sudo chmod a+r {}/intel-rapl*:*/energy_uj (any user can then watch this power, \
             which is a known side channel)",
            powercap.display()
        ));
    }
    if let Some(cause) = &event {
        causes.push(format!("perf events are closed ({})", cause.what()));
        cures.push(EVENTS.to_owned());
    }
    let error =
        Error::permission_denied(format!("{names} cannot be read: {}", causes.join(", and ")))
            .cure(cures.join("; or "));
    match file.or(event) {
        Some(cause) => error.caused_by(cause),
        None => error,
    }
}

/// How perf events are opened to this process.
const EVENTS: &str = "for this program alone: sudo setcap cap_perfmon+ep PROGRAM (in a container: docker run --cap-add \
                      PERFMON); or for every user until the next boot, which opens the same side channel: sudo sysctl \
                      kernel.perf_event_paranoid=0";

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    const ZONES: &str = "/sys/class/powercap";

    fn closed(id: &str) -> (String, Error) {
        let path = Path::new("/sys/class/powercap/intel-rapl:0/energy_uj");
        (id.to_owned(), Error::file("read", path, io::Error::from(io::ErrorKind::PermissionDenied)))
    }

    fn shut(id: &str) -> (String, Error) {
        (id.to_owned(), Error::permission_denied("cannot open the perf event energy-pkg"))
    }

    #[test]
    fn all_that_only_root_may_read_is_one_absence() {
        let failed = vec![closed("cpu:package-0"), closed("dram:package-0")];
        let absences = absences(failed, Vec::new(), Path::new(ZONES));
        assert_eq!(absences.len(), 1);
        let error = &absences[0].error;
        assert!(error.is_permission_denied());
        assert!(error.what().contains("cpu:package-0, dram:package-0"), "{error}");
        let cure = error.remedy().unwrap();
        assert!(cure.contains("chmod a+r /sys/class/powercap/intel-rapl*:*/energy_uj"), "{cure}");
        assert!(!cure.contains("perf"), "there are no perf events to open: {cure}");
    }

    #[test]
    fn where_both_ways_are_closed_the_cure_names_all_three() {
        let (unread, unopened) = (vec![closed("cpu:package-0")], vec![shut("cpu:package-0")]);
        let absences = absences(unread, unopened, Path::new(ZONES));
        let [Absence { error, .. }] = &absences[..] else { panic!("{absences:?}") };
        let cure = error.remedy().unwrap();
        for way in ["chmod a+r", "setcap cap_perfmon+ep", "perf_event_paranoid=0", "side channel"] {
            assert!(cure.contains(way), "{way}: {cure}");
        }
        assert_eq!(error.what().matches("cpu:package-0").count(), 1, "{error}");
    }

    #[test]
    fn other_failures_keep_their_own_words() {
        let failed =
            vec![("cpu:package-1".to_owned(), Error::invalid("garbage")), closed("cpu:package-0")];
        let absences = absences(failed, Vec::new(), Path::new(ZONES));
        assert_eq!(absences.len(), 2);
        assert_eq!(
            (absences[0].source.as_str(), absences[0].error.what()),
            ("rapl cpu:package-1", "garbage")
        );
    }
}
