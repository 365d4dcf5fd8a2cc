//! Intel's graphics cards, through the energy counters of Linux's `i915` and `xe` drivers.
//!
//! A card may offer several counters that contain each other: the card, its package, its tiles. One of them is read,
//! the widest, so that nothing is counted twice. The drivers show these of cards alone, and nothing of a processor's
//! graphics (`IS_DGFX` in `i915_hwmon_register` and `xe_hwmon_register`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::sensor::counter;
use crate::sensor::pci::{self, Device};
use crate::sensor::selection::canonical;
use crate::sensor::{
    Absence, Domain, Found, Hardware, Incident, Reading, Selection, Sensor, Specification,
    attribute,
};
use crate::units::{Energy, Power, Timestamp};

/// Opens the energy counter of each selected graphics card of Intel under a sysfs root, `/sys` as a rule.
///
/// Unless cards are named by their addresses, all are selected. Takes a few reads of small files for each card.
pub fn open(sysfs: &Path, selection: &Selection) -> Found {
    let cards = cards(sysfs);
    let (mut found, mut idle) = (Found::default(), Vec::new());
    for (address, card) in &cards {
        found.gpus.extend(canonical(address));
        if let Selection::Pci(addresses) = selection
            && !card.pci.is_among(addresses)
        {
            idle.push(address.as_str());
            continue;
        }
        match card.open() {
            Ok(sensors) => found
                .sensors
                .extend(sensors.into_iter().map(|sensor| Box::new(sensor) as Box<dyn Sensor>)),
            Err(error) => found.absent.push(Absence {
                source: format!("{SOURCE} {address}"),
                error: pci::curable(error),
            }),
        }
    }
    found.absent.extend(pci::left_out(SOURCE, &idle));
    found
}

const SOURCE: &str = "intel gpu";

/// A card that one of the drivers shows, by its address.
#[derive(Debug)]
struct Card {
    pci: Device,
    /// The widest first.
    offers: Vec<Offer>,
}

/// An energy counter that a driver shows.
#[derive(Debug)]
struct Offer {
    extent: Extent,
    driver: String,
    hwmon: PathBuf,
    number: u32,
}

/// What a counter covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Extent {
    Card,
    Package,
    Tile,
}

fn cards(sysfs: &Path) -> BTreeMap<String, Card> {
    let mut cards = BTreeMap::new();
    for entry in fs::read_dir(sysfs.join("class/hwmon")).into_iter().flatten().flatten() {
        let hwmon = entry.path();
        let Ok(driver) = attribute::text(&hwmon.join("name")) else { continue };
        if driver != "xe" && driver != "i915" && !driver.starts_with("i915_gt") {
            continue;
        }
        let Some(pci) = Device::at(&hwmon.join("device")) else { continue };
        let card =
            cards.entry(pci.address.clone()).or_insert_with(|| Card { pci, offers: Vec::new() });
        card.offers.extend((1..=9).filter_map(|number| Offer::at(&hwmon, &driver, number)));
    }
    for card in cards.values_mut() {
        card.offers
            .sort_by(|one, other| (one.extent, &one.driver).cmp(&(other.extent, &other.driver)));
    }
    cards
}

impl Card {
    /// The widest counter that can be read, or all tiles where there is none.
    fn open(&self) -> Result<Vec<Counter>> {
        self.pci.awake()?;
        let (tiles, whole): (Vec<_>, Vec<_>) =
            self.offers.iter().partition(|offer| offer.extent == Extent::Tile);
        let mut refused = None;
        for offer in &whole {
            match Counter::open(&self.pci, offer) {
                Ok(counter) => return Ok(vec![counter]),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        match refused {
            Some(error) if tiles.is_empty() => Err(error),
            None if tiles.is_empty() => Err(Error::unsupported(format!(
                "the driver shows no energy counter of the GPU at {}",
                self.pci.address
            ))
            .cure(
                "update the kernel: i915 has them since Linux 6.2, xe since 6.8, on graphics cards",
            )),
            _ => tiles.into_iter().map(|offer| Counter::open(&self.pci, offer)).collect(),
        }
    }
}

impl Offer {
    /// The counter of this number, if there is one and what it covers is known.
    ///
    /// `xe` tells it by a label. What has none is the package's, though the kernel's documentation says card: `i915` reads
    /// `PCU_PACKAGE_ENERGY_STATUS`, and the first version of `xe` `PCU_CR_PACKAGE_ENERGY_STATUS`, on all cards that are
    /// sold (`i915_hwmon.c`, `xe_hwmon.c`). Only Xe HP SDV and Ponte Vecchio give their platform there.
    fn at(hwmon: &Path, driver: &str, number: u32) -> Option<Offer> {
        if !hwmon.join(format!("energy{number}_input")).exists() {
            return None;
        }
        let label = attribute::text(&hwmon.join(format!("energy{number}_label")));
        let extent = match (driver, label.as_deref(), number) {
            ("xe", Ok("card"), _) => Extent::Card,
            ("xe", Ok("pkg"), _) | ("xe", Err(_), 1 | 2) | ("i915", _, 1) => Extent::Package,
            ("xe" | "i915", ..) => return None,
            (_, _, 1) => Extent::Tile,
            _ => return None,
        };
        Some(Offer { extent, driver: driver.to_owned(), hwmon: hwmon.to_owned(), number })
    }

    /// The highest power that is plausible: twice the card's limit, since bursts exceed it.
    fn most(&self) -> Power {
        ["rated_max", "max"]
            .iter()
            .filter_map(|limit| {
                attribute::number(&self.hwmon.join(format!("power{}_{limit}", self.number))).ok()
            })
            .max()
            .filter(|limit| *limit > 0)
            .map_or(Power::from_watts(1_200.0), |limit| Power::from_microwatts(limit) * 2.0)
    }
}

/// The energy counter of one card, or of one of its tiles.
#[derive(Debug)]
struct Counter {
    counter: counter::Counter,
    last: Option<Timestamp>,
}

/// The energy after which the hardware's register of 32 bits starts over: its count is 2⁻¹⁴ J on the cards so far.
const REGISTER: Energy = Energy::from_millijoules(262_144_000);

impl Counter {
    fn open(pci: &Device, offer: &Offer) -> Result<Counter> {
        let address = &pci.address;
        let (key, scope) = match offer.extent {
            Extent::Card => (address.clone(), "the whole card; not the host"),
            Extent::Package => (
                address.clone(),
                "the card's GPU package; not the memory, fans and regulators outside of it, nor the host",
            ),
            Extent::Tile => {
                let tile = offer.driver.trim_start_matches("i915_");
                (
                    format!("{address}-{tile}"),
                    "one tile of the card's GPU; not what the tiles share",
                )
            }
        };
        let specification = Specification {
            stack: SOURCE.to_owned(),
            family: SOURCE.to_owned(),
            scope: scope.to_owned(),
            quantum: Energy::from_nanojoules(61_035),
            // The register is one of RAPL, which is updated about every millisecond.
            period: Duration::from_millis(1),
            // A judgement: Intel states no accuracy.
            gain: 0.05,
            most: offer.most(),
            ..Specification::counter(
                Domain::new(Hardware::Gpu, key, "Intel GPU"),
                format!("{} energy{}_input", offer.driver, offer.number),
            )
        };
        let path = offer.hwmon.join(format!("energy{}_input", offer.number));
        Ok(Counter { counter: counter::Counter::open(specification, path)?, last: None })
    }
}

impl Sensor for Counter {
    fn specification(&self) -> &Specification {
        self.counter.specification()
    }

    fn read(&mut self, clock: &Clock) -> Result<Reading> {
        let reading = self.counter.read(clock)?;
        // The driver undoes the register's wraps only when it is read. After a longer pause than the register lasts at
        // the highest power, whole turns may be missing.
        let most = self.specification().most;
        let last = self.last.replace(reading.after);
        let missed = last.is_some_and(|last| most * reading.after.since(last) > REGISTER);
        Ok(Reading {
            incident: reading.incident.or(missed.then_some(Incident::Ambiguous)),
            ..reading
        })
    }
}
