//! Packages, memory and platform by perf events: the kernel's `power` unit.
//!
//! One event counts a whole package or die, on the CPU that the kernel names for it.

mod place;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::sensor::attribute::{number, text};
use crate::sensor::machine::{Machine, Vendor};
use crate::sensor::{Domain, Quantity, Reading, Sensor, Specification};
use crate::units::Energy;

use self::place::Place;
use super::Failure;
use super::domain;
use super::event::{Count, Event, Opener};
use super::powercap::Offers;
use super::tally::Tally;
use super::zone;

/// What the `power` unit gives: counters, and the domains that it has and does not give.
#[derive(Default)]
pub(super) struct Events {
    pub(super) counters: Vec<Counter>,
    pub(super) failed: Vec<Failure>,
}

/// Opens every domain that the unit counts; nothing where the kernel has no such unit.
///
/// The powercap zones of the same domains, `twins`, tell names, registers and limits, which perf does not.
pub(super) fn open(sysfs: &Path, twins: &Offers, machine: &Machine, opener: &Opener) -> Events {
    let unit = Unit { sysfs: sysfs.to_owned(), machine: machine.clone(), opener: opener.clone() };
    let mut events = Events::default();
    if !unit.directory().join("type").exists() {
        return events;
    }
    let places = match Place::all(sysfs, machine) {
        Ok(places) => places,
        Err(error) => {
            events.failed.push((UNIT.to_owned(), error));
            return events;
        }
    };
    for part in [Part::Package, Part::Memory, Part::Platform] {
        if !unit.directory().join("events").join(part.file()).exists() {
            continue;
        }
        for place in &places {
            let Some(domain) = part.domain(*place, &places, twins) else { continue };
            let twin = twins.get(&domain).and_then(|paths| paths.first());
            match Counter::open(&unit, part, *place, domain.clone(), twin.map(PathBuf::as_path)) {
                Ok(counter) => events.counters.push(counter),
                Err(error) => events.failed.push((domain.id, error)),
            }
        }
    }
    events
}

/// What stands for all domains where not even these can be told.
pub(super) const UNIT: &str = "perf events";

/// The kernel's unit of energy counters.
#[derive(Clone)]
struct Unit {
    sysfs: PathBuf,
    machine: Machine,
    opener: Opener,
}

impl Unit {
    fn directory(&self) -> PathBuf {
        self.sysfs.join("bus/event_source/devices/power")
    }

    fn count(&self, part: Part, cpu: u32) -> Result<Count> {
        let kind = self.directory().join("type");
        let kind =
            u32::try_from(number(&kind)?).map_err(|_| unexpected(&kind, "a small number"))?;
        let file = self.directory().join("events").join(part.file());
        let config = text(&file)?;
        let config = config.strip_prefix("event=0x").unwrap_or_default();
        let config =
            u64::from_str_radix(config, 16).map_err(|_| unexpected(&file, "`event=0x…`"))?;
        let event = Event { kind, config, cpu: Some(cpu) };
        (self.opener)(&event).map_err(|cause| refused("open", part, cpu, cause))
    }

    /// How many counts make a joule: 2³² on every kernel so far.
    fn joule(&self, part: Part) -> Result<i128> {
        let unit = self.directory().join("events").join(format!("{}.unit", part.file()));
        if text(&unit)? != "Joules" {
            return Err(unexpected(&unit, "`Joules`"));
        }
        let scale = self.directory().join("events").join(format!("{}.scale", part.file()));
        let joules: f64 = text(&scale)?.parse().unwrap_or_default();
        #[expect(clippy::cast_possible_truncation, reason = "bounded on the line before")]
        let joule = (joules > 1e-18 && joules <= 1.0).then(|| (1.0 / joules).round() as i128);
        joule.ok_or_else(|| unexpected(&scale, "a small part of a joule"))
    }
}

fn unexpected(path: &Path, expected: &str) -> Error {
    Error::invalid(format!("`{}` does not hold {expected}", path.display()))
}

fn refused(doing: &str, part: Part, cpu: u32, cause: io::Error) -> Error {
    let what = format!("cannot {doing} the perf event {} on CPU {cpu}: {cause}", part.file());
    match cause.kind() {
        io::ErrorKind::PermissionDenied => Error::permission_denied(what),
        _ => Error::unsupported(what),
    }
    .caused_by(cause)
}

/// What the unit counts, as far as it is read here: cores and graphics are parts of the package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Package,
    Memory,
    Platform,
}

impl Part {
    fn file(self) -> &'static str {
        match self {
            Part::Package => "energy-pkg",
            Part::Memory => "energy-ram",
            Part::Platform => "energy-psys",
        }
    }

    /// The domain as powercap calls it; `None` where the place only repeats another one's.
    fn domain(self, place: Place, places: &[Place], twins: &Offers) -> Option<Domain> {
        let die = domain::package(&place.die_name());
        let dies = places.iter().filter(|other| other.package == place.package).count();
        let name = if dies > 1 || twins.contains_key(&die) {
            place.die_name()
        } else {
            place.package_name()
        };
        match self {
            Part::Package => Some(domain::package(&name)),
            Part::Memory => Some(domain::memory(&name)),
            // There is one platform, and the first package counts it.
            Part::Platform if places.first() == Some(&place) => Some(domain::platform("psys")),
            Part::Platform => None,
        }
    }

    /// The energy of one count of the register where powercap does not tell it: the coarsest that there is.
    fn quantum(self) -> Energy {
        Energy::from_joules(match self {
            Part::Package | Part::Memory => 2_f64.powi(-14),
            // On Sapphire and Emerald Rapids.
            Part::Platform => 1.0,
        })
    }
}

/// The energy counter of one domain. A read is one system call, and an interrupt on the CPU that counts.
pub(super) struct Counter {
    specification: Specification,
    unit: Unit,
    part: Part,
    place: Place,
    /// `None` from a failure to the next read, which opens the event afresh.
    count: Option<Count>,
    tally: Tally,
}

impl Counter {
    fn open(
        unit: &Unit,
        part: Part,
        place: Place,
        domain: Domain,
        twin: Option<&Path>,
    ) -> Result<Self> {
        let graphics = unit.directory().join("events/energy-gpu").exists();
        let source = format!("perf power/{}/", part.file());
        let common = domain::specification(domain, source, &unit.machine, graphics);
        let most = twin.and_then(|twin| zone::most(twin, common.domain.hardware));
        let most = most.unwrap_or(common.most);
        let register = twin.and_then(|twin| zone::register(twin).ok().flatten());
        let register = register.and_then(|register| power_of_two(register.quantum));
        let quantum = register.map_or(part.quantum(), Energy::from_joules);
        // The event itself has 64 bits; it is the register beneath that starts over.
        let wrap = register.map(|quantum| Energy::from_joules(quantum * 2_f64.powi(32)));
        let tally = Tally::new(unit.joule(part)?, quantum, wrap, most);
        let specification = Specification { quantum, wrap, most, ..common };
        let mut count = unit.count(part, place.cpu)?;
        count().map_err(|cause| refused("open", part, place.cpu, cause))?;
        Ok(Counter { specification, unit: unit.clone(), part, place, count: Some(count), tally })
    }

    /// True if the domain is part of what this counter counts, or the other way round.
    pub(super) fn covers(&self, id: &str) -> bool {
        let own = self.specification.domain.id.as_str();
        let mirrored = self.unit.machine.vendor != Vendor::Intel;
        domain::overlap(own, id) || mirrored && domain::split(own).0 == domain::split(id).0
    }

    /// Opens the event afresh, on the CPU that stands for the same package now.
    fn reopen(&mut self) -> Result<Count> {
        let places = Place::all(&self.unit.sysfs, &self.unit.machine)?;
        let mirrored = self.unit.machine.vendor != Vendor::Intel;
        let same = |place: &&Place| {
            place.package == self.place.package && (mirrored || place.die == self.place.die)
        };
        self.place =
            *places.iter().find(same).ok_or_else(|| Error::lost("its CPUs are offline"))?;
        let count = self.unit.count(self.part, self.place.cpu)?;
        self.tally.restart();
        Ok(count)
    }

    fn lost(&self, cause: Error) -> Error {
        cause.loses(&self.specification.domain.id)
    }
}

impl Sensor for Counter {
    fn specification(&self) -> &Specification {
        &self.specification
    }

    fn read(&mut self, clock: &Clock) -> Result<Reading> {
        let mut count = match self.count.take() {
            Some(count) => count,
            None => self.reopen().map_err(|cause| self.lost(cause))?,
        };
        let (before, value, after) = clock.bracket(&mut count);
        let value =
            value.map_err(|cause| self.lost(refused("read", self.part, self.place.cpu, cause)))?;
        let (energy, incident) = self.tally.accept(value, before, after);
        if self.tally.stood_still(before) > STILL {
            let still = Error::lost("its count stands still; its CPU may have been offline");
            return Err(self.lost(still));
        }
        self.count = Some(count);
        Ok(Reading { incident, ..Reading::new(before, Quantity::Counter(energy), after) })
    }
}

/// The event of a CPU that was taken offline keeps its last count for ever. No part of a machine that is on draws so
/// little that its count stands still for so long, also where a count is a joule, on servers of hundreds of watts.
const STILL: Duration = Duration::from_secs(2);

/// The power of two next to a quantum in joules, which powercap gives in whole nanojoules; `None` for another number.
fn power_of_two(quantum: Energy) -> Option<f64> {
    let exact = quantum.as_joules().log2().round().exp2();
    ((quantum.as_joules() / exact - 1.0).abs() < 0.01).then_some(exact)
}
