//! The zones that powercap lists, and which of them are read.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::sensor::counter::Counter;
use crate::sensor::machine::{Machine, Vendor};
use crate::sensor::{Domain, Hardware, Sensor};
use crate::units::Power;

use super::Failure;
use super::domain;
use super::scmi;
use super::zone;

/// Directories that offer a domain, in the order in which they are preferred.
pub(super) type Offers = BTreeMap<Domain, Vec<PathBuf>>;

/// What powercap lists.
#[derive(Debug)]
pub(super) struct Powercap {
    pub(super) place: PathBuf,
    pub(super) offers: Offers,
    /// Zones that do not even tell their name.
    failed: Vec<Failure>,
    /// Set if there is not a single zone to read.
    pub(super) nothing: Option<Nothing>,
}

/// Why powercap has nothing to read.
#[derive(Debug)]
pub(super) enum Nothing {
    /// The kernel has no powercap.
    Missing,
    /// The directory is empty, or holds links that lead nowhere.
    Masked { links: bool },
    /// There are zones, of something else.
    Other,
    /// The directory cannot be listed.
    Unlisted(Error),
}

impl Powercap {
    /// Lists the zones under a sysfs root without reading a counter.
    pub(super) fn list(sysfs: &Path) -> Self {
        let place = sysfs.join("class/powercap");
        let (mut offers, mut failed) = (Offers::new(), Vec::new());
        let entries = entries(&place);
        for path in entries.iter().flatten() {
            match domain(path) {
                Ok(Some(domain)) => offers.entry(domain).or_default().push(path.clone()),
                Ok(None) => {}
                Err(error) => failed.push((entry(path), error)),
            }
        }
        let nothing = match entries {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Some(Nothing::Missing),
            Err(cause) => Some(Nothing::Unlisted(Error::file("list", &place, cause))),
            Ok(entries) if entries.is_empty() => Some(Nothing::Masked { links: false }),
            Ok(entries)
                if failed.len() == entries.len()
                    && failed.iter().all(|(_, error)| error.is_absent()) =>
            {
                Some(Nothing::Masked { links: true })
            }
            Ok(_) if offers.is_empty() && failed.is_empty() => Some(Nothing::Other),
            Ok(_) => None,
        };
        if nothing.is_some() {
            failed.clear();
        }
        Powercap { place, offers, failed, nothing }
    }

    /// Opens the counters of all domains, each once, and says which cannot be read.
    pub(super) fn open(self, machine: &Machine) -> (Vec<Box<dyn Sensor>>, Vec<Failure>) {
        let (mut zones, mut sensors, mut failed) = (Vec::new(), Vec::new(), self.failed);
        for (domain, paths) in self.offers {
            if let Some(path) = paths.iter().find(|path| is_scmi(path)) {
                match scmi::open(path, &domain) {
                    Ok(sensor) => sensors.push(sensor),
                    Err(error) => failed.push((domain.id, error)),
                }
                continue;
            }
            let mut attempts = paths.iter().map(|path| zone::open(path, &domain, machine));
            match attempts.find_map(Result::ok) {
                Some(zone) => zones.push(zone),
                // The preferred entry says why.
                None => failed.extend(
                    zone::open(&paths[0], &domain, machine).err().map(|error| (domain.id, error)),
                ),
            }
        }
        let zones = match machine.vendor {
            Vendor::Intel => zones,
            Vendor::Amd | Vendor::Other => without_mirrors(zones),
        };
        sensors.extend(zones.into_iter().map(|zone| Box::new(zone) as Box<dyn Sensor>));
        (sensors, failed)
    }

    /// The sum of what the packages' first limits name as their maximum.
    pub(super) fn thermal_design_power(&self) -> Option<Power> {
        let packages = self.offers.iter().filter(|(domain, _)| domain.hardware == Hardware::Cpu);
        let powers = packages.filter_map(|(_, paths)| {
            let mut zones = paths.iter().filter(|path| !is_scmi(path));
            zones.find_map(|path| zone::power(&path.join("constraint_0_max_power_uw")))
        });
        powers.reduce(|sum, power| sum + power)
    }
}

/// `intel-rapl` is the registers' and the TPMI interface, also on AMD. `intel-rapl-mmio` shows a package once more, so
/// it only stands in where the first cannot be read. `arm-scmi` is the firmware's of some Arm systems.
const INTERFACES: [&str; 3] = ["intel-rapl:", "intel-rapl-mmio:", SCMI];

const SCMI: &str = "arm-scmi:";

fn is_scmi(path: &Path) -> bool {
    entry(path).starts_with(SCMI)
}

fn entry(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

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
    let name = zone::name(path)?;
    if let Some(number) = entry(path).strip_prefix(SCMI) {
        // A zone below another one is a part of it.
        return Ok((!number.contains(':')).then(|| scmi::domain(number, &name)));
    }
    Ok(match path.to_string_lossy().rsplit_once(':') {
        Some((parent, _)) if name == "dram" => {
            let package = zone::name(Path::new(parent))?;
            package.starts_with("package-").then(|| domain::memory(&package))
        }
        _ if name.starts_with("package-") => Some(domain::package(&name)),
        _ if name == "psys" || name.starts_with("psys-") => Some(domain::platform(&name)),
        _ => None,
    })
}

/// Drops the dies that show the counter of their whole package once more.
///
/// On AMD the register counts the package whichever die reads it, and kernels before 6.12 offer it for each die
/// (CodeCarbon issue 1274); on Intel each die has a register of its own, so this is not asked there. Two zones count as
/// one if they are dies of the same package and the second one's value lies, to a joule, between two reads of the first:
/// values that agree by chance do so once in some 30 000 boots, while differences over the few microseconds at hand
/// would tell nothing. A counter at zero proves nothing.
fn without_mirrors(zones: Vec<Counter>) -> Vec<Counter> {
    let mut kept: Vec<Counter> = Vec::with_capacity(zones.len());
    for mut zone in zones {
        match kept.iter_mut().find_map(|it| zone::are_mirrors(it, &mut zone).then_some(it)) {
            Some(first) => {
                let id = &zone.specification.domain.id;
                first.specification.scope.push_str(&format!("; {id} shows this same counter"));
            }
            None => kept.push(zone),
        }
    }
    kept
}
