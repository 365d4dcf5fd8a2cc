//! Intel's and AMD's energy counters (RAPL), through Linux's powercap files.
//!
//! Zones overlap: a package contains its cores and its uncore, `psys` contains the packages, and a package can be
//! offered by two interfaces or once for each of its dies. Read here are packages and the memory beside them, each
//! once, and `psys` beside the sum. `core` and `uncore` are never read: they are parts of the package, and on AMD
//! `core` is one core of it.

mod zone;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::sensor::{Absence, Domain, Found, Hardware, Sensor, attribute};
use crate::units::Power;

use self::zone::Zone;

/// Opens the energy counters of processor packages and their memory under a sysfs root, `/sys` as a rule.
///
/// What exists and cannot be read is absent with its cause: one entry for all that only root may read.
pub fn open(sysfs: &Path) -> Found {
    let powercap = sysfs.join("class/powercap");
    let entries = match entries(&powercap) {
        Ok(entries) if entries.is_empty() => {
            return Found::nothing(SOURCE, nothing_inside(&powercap, sysfs));
        }
        Ok(entries) => entries,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            return Found::nothing(SOURCE, no_powercap(&powercap, sysfs));
        }
        Err(cause) => return Found::nothing(SOURCE, Error::file("list", &powercap, cause)),
    };
    // Several entries may offer the same domain; they come in the order in which they are preferred.
    let mut offers: BTreeMap<Domain, Vec<PathBuf>> = BTreeMap::new();
    let mut failed = Vec::new();
    for path in &entries {
        match domain(path) {
            Ok(Some(domain)) => offers.entry(domain).or_default().push(path.clone()),
            Ok(None) => {}
            Err(error) => failed
                .push((path.file_name().unwrap_or_default().to_string_lossy().into_owned(), error)),
        }
    }
    if failed.len() == entries.len() && failed.iter().all(|(_, error)| error.is_absent()) {
        return Found::nothing(SOURCE, hidden(&powercap));
    }
    if offers.is_empty() && failed.is_empty() {
        let error = Error::absent(format!(
            "no RAPL: `{}` has no zone of a processor package",
            powercap.display()
        ));
        return Found::nothing(SOURCE, error);
    }
    let vendor = Vendor::of(sysfs);
    let mut zones = Vec::new();
    for (domain, paths) in offers {
        let mut attempts = paths.iter().map(|path| Zone::open(path, &domain, vendor));
        match attempts.find_map(Result::ok) {
            Some(zone) => zones.push(zone),
            // The preferred entry says why.
            None => failed.extend(
                Zone::open(&paths[0], &domain, vendor).err().map(|error| (domain.id, error)),
            ),
        }
    }
    let sensors =
        without_mirrors(zones).into_iter().map(|zone| Box::new(zone) as Box<dyn Sensor>).collect();
    Found { sensors, absent: absences(failed, &powercap), ..Found::default() }
}

/// The thermal design power of all packages together, where the kernel states it.
///
/// A package's first constraint has as its maximum what the processor itself gives as its thermal design power
/// (`THERMAL_SPEC_POWER` in Linux's `intel_rapl_common.c`), and unlike the counter everybody may read it.
pub(super) fn thermal_design_power(sysfs: &Path) -> Option<Power> {
    let mut packages = BTreeMap::new();
    for path in entries(&sysfs.join("class/powercap")).ok()? {
        let power = zone::power(&path.join("constraint_0_max_power_uw"));
        if let (Ok(Some(domain)), Some(power)) = (domain(&path), power)
            && domain.hardware == Hardware::Cpu
        {
            packages.entry(domain).or_insert(power);
        }
    }
    packages.into_values().reduce(|sum, power| sum + power)
}

const SOURCE: &str = "rapl";

/// `intel-rapl` is the registers' and the TPMI interface, also on AMD. `intel-rapl-mmio` shows a package once more, so
/// it only stands in where the first cannot be read.
const INTERFACES: [&str; 2] = ["intel-rapl:", "intel-rapl-mmio:"];

/// The zones' directories, those of the preferred interface first.
fn entries(powercap: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(powercap)? {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        let preference = INTERFACES.iter().position(|interface| name.starts_with(interface));
        entries.extend(preference.map(|preference| (preference, powercap.join(name))));
    }
    entries.sort();
    Ok(entries.into_iter().map(|(_, path)| path).collect())
}

/// What a zone covers, if it is one that is read here.
fn domain(path: &Path) -> Result<Option<Domain>> {
    let name = name(path)?;
    Ok(match path.to_string_lossy().rsplit_once(':') {
        Some((parent, _)) if name == "dram" => {
            let package = self::name(Path::new(parent))?;
            package.starts_with("package-").then(|| {
                Domain::new(Hardware::Dram, &package, format!("memory of {}", spoken(&package)))
            })
        }
        _ if name.starts_with("package-") => Some(Domain::new(Hardware::Cpu, &name, spoken(&name))),
        _ if name == "psys" || name.starts_with("psys-") => {
            Some(Domain::new(Hardware::Node, &name, "platform"))
        }
        _ => None,
    })
}

fn name(zone: &Path) -> Result<String> {
    attribute::text(&zone.join("name"))
}

/// `package-0-die-1` as a person says it.
fn spoken(package: &str) -> String {
    package.replacen("package-", "CPU package ", 1).replacen("-die-", ", die ", 1)
}

/// Drops the dies that show the counter of their whole package once more.
///
/// On Zen 1 and 2 some kernels offer each die, and all of them read one counter of the socket (CodeCarbon issue 1274).
/// Two zones count as one if they are dies of the same package and the second one's value lies, to a joule, between two
/// reads of the first. Dies with counters of their own agree that well once in some hundred thousand boots, so nothing
/// has to be waited for here to see that they also change alike. A counter at zero proves nothing.
fn without_mirrors(zones: Vec<Zone>) -> Vec<Zone> {
    let mut kept: Vec<Zone> = Vec::with_capacity(zones.len());
    for mut zone in zones {
        match kept.iter_mut().position(|first| first.is_mirrored_by(&mut zone)) {
            Some(first) => kept[first].stand_for(&zone),
            None => kept.push(zone),
        }
    }
    kept
}

/// Who made the processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vendor {
    Intel,
    Other,
}

impl Vendor {
    /// The kernel gives the vendor as a number in the alias by which it loads modules; 0 is Intel.
    fn of(sysfs: &Path) -> Self {
        if modalias(sysfs).contains("ven0000") { Vendor::Intel } else { Vendor::Other }
    }
}

fn modalias(sysfs: &Path) -> String {
    fs::read_to_string(sysfs.join("devices/system/cpu/modalias")).unwrap_or_default()
}

/// The maker of the virtual machine that this is, if it is one.
fn hypervisor(sysfs: &Path) -> Option<String> {
    // CPU features stand in the alias as word × 32 + bit in hexadecimal; the hypervisor's flag is word 4, bit 31.
    modalias(sysfs).trim_end().split(',').any(|feature| feature == "009F").then(|| {
        let vendor = fs::read_to_string(sysfs.join("class/dmi/id/sys_vendor")).unwrap_or_default();
        match vendor.trim() {
            "" => "virtual machine".to_owned(),
            vendor => format!("virtual machine ({vendor})"),
        }
    })
}

fn in_virtual_machine(machine: &str) -> Error {
    Error::absent(format!(
        "no RAPL: this is a {machine}, and its host passes no CPU energy counter on"
    ))
    .cure(
        "measure on the host or on a bare-metal instance; until then the CPU's energy is estimated",
    )
}

fn no_powercap(powercap: &Path, sysfs: &Path) -> Error {
    match hypervisor(sysfs) {
        _ if !cfg!(target_os = "linux") => Error::absent("no RAPL: powercap exists on Linux only"),
        Some(machine) => in_virtual_machine(&machine),
        None => Error::absent(format!("no RAPL: `{}` does not exist", powercap.display()))
            .cure("on a processor of Intel or AMD, load the kernel's driver: sudo modprobe intel_rapl_msr"),
    }
}

fn nothing_inside(powercap: &Path, sysfs: &Path) -> Error {
    match hypervisor(sysfs) {
        Some(machine) => in_virtual_machine(&machine),
        None => hidden(powercap),
    }
}

/// Container runtimes cover powercap's devices with an empty directory (GHSA-jq35-85cj-fj4p), which leaves links that
/// lead nowhere.
fn hidden(powercap: &Path) -> Error {
    let place = powercap.display();
    Error::absent(format!("no RAPL: `{place}` holds no zones; a container hides them, or no driver is loaded")).cure(
        "in a container, mount the host's /sys to another path (docker run -v /sys:/host/sys:ro) and give that path \
         to the meter as its sysfs root; otherwise: sudo modprobe intel_rapl_msr",
    )
}

/// One absence for all that permissions close, and one for each other failure.
fn absences(failed: Vec<(String, Error)>, powercap: &Path) -> Vec<Absence> {
    let (closed, broken): (Vec<_>, Vec<_>) =
        failed.into_iter().partition(|(_, error)| error.is_permission_denied());
    let mut absences: Vec<_> = broken
        .into_iter()
        .map(|(id, error)| Absence { source: format!("{SOURCE} {id}"), error })
        .collect();
    let (ids, errors): (Vec<_>, Vec<_>) = closed.into_iter().unzip();
    if let Some(cause) = errors.into_iter().next() {
        absences.push(Absence {
            source: SOURCE.to_owned(),
            error: only_root_may(&ids.join(", "), powercap, cause),
        });
    }
    absences
}

fn only_root_may(names: &str, powercap: &Path, cause: Error) -> Error {
    Error::permission_denied(format!(
        "{names} cannot be read: since CVE-2020-8694 only root may read RAPL's counters ({cause})"
    ))
    .cure(format!(
        "until the next boot: sudo chmod a+r {}/intel-rapl*:*/energy_uj (any user can then watch this power, which \
         is a known side channel)",
        powercap.display()
    ))
    .caused_by(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(id: &str) -> (String, Error) {
        let path = Path::new("/sys/class/powercap/intel-rapl:0/energy_uj");
        (id.to_owned(), Error::file("read", path, io::Error::from(io::ErrorKind::PermissionDenied)))
    }

    #[test]
    fn all_that_only_root_may_read_is_one_absence() {
        let failed = vec![closed("cpu:package-0"), closed("dram:package-0")];
        let absences = absences(failed, Path::new("/sys/class/powercap"));
        assert_eq!(absences.len(), 1);
        let error = &absences[0].error;
        assert!(error.is_permission_denied());
        assert!(error.what().contains("cpu:package-0, dram:package-0"), "{error}");
        assert!(
            error
                .remedy()
                .unwrap()
                .contains("chmod a+r /sys/class/powercap/intel-rapl*:*/energy_uj"),
            "{error}"
        );
    }

    #[test]
    fn other_failures_keep_their_own_words() {
        let failed =
            vec![("cpu:package-1".to_owned(), Error::invalid("garbage")), closed("cpu:package-0")];
        let absences = absences(failed, Path::new("/sys/class/powercap"));
        assert_eq!(absences.len(), 2);
        assert_eq!(
            (absences[0].source.as_str(), absences[0].error.what()),
            ("rapl cpu:package-1", "garbage")
        );
    }
}
