//! AMD's GPUs, through the files of Linux's `amdgpu` driver. No library is needed, and no rights.
//!
//! The best that the driver has is the energy counter of the card's firmware, in the block of bytes called
//! `gpu_metrics`. Where the firmware leaves it empty, as on most Radeon cards since RDNA 3 and on processors with
//! graphics, the driver's power gauge is integrated.
//!
//! Some cards of the MI200 series have two dies, each with a PCI address. The first die's values cover both; the second
//! reads zero, so it gets no sensor of its own.

mod gpu;
mod metrics;
mod visible;

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::sensor::pci::{self, Device};
use crate::sensor::selection::canonical;
use crate::sensor::{Absence, Found, Selection, attribute};

use self::metrics::Metrics;
use self::visible::{Nodes, Variables};

/// Opens an energy counter or else a power gauge for each selected GPU of AMD under a sysfs root, `/sys` as a rule.
///
/// Cards that are not selected are named among what is absent, since they draw power, too. Which ones the environment
/// lets a program train on is worked out as AMD's runtime does it. Takes a few reads of small files for each card.
pub fn open(sysfs: &Path, selection: &Selection) -> Found {
    let cards = cards(sysfs);
    let wanted = wanted(sysfs, &cards, selection);
    let read_from = read_from(&cards);
    let gpus = cards.iter().filter_map(|card| canonical(&card.pci.address)).collect();
    let (mut found, mut idle) = (Found { gpus, ..Found::default() }, Vec::new());
    for (index, card) in cards.iter().enumerate() {
        let Some(first) = read_from[index] else {
            if wanted[index] {
                found.absent.push(Absence { source: card.source(), error: without_first(card) });
            }
            continue;
        };
        if first != index {
            continue;
        }
        let covers = |other: usize| read_from[other] == Some(index);
        let second = (0..cards.len()).find(|other| *other != index && covers(*other));
        if !(0..cards.len()).any(|other| wanted[other] && covers(other)) {
            // What a processor's graphics draw is part of the processor's package.
            idle.extend((!card.is_processor()).then_some(card.pci.address.as_str()));
            continue;
        }
        match gpu::open(card, second.map(|second| cards[second].pci.address.as_str())) {
            Ok(gpu) => found.sensors.push(gpu),
            Err(error) => {
                found.absent.push(Absence { source: card.source(), error: pci::curable(error) });
            }
        }
    }
    found.absent.extend(pci::left_out(SOURCE, &idle));
    found
}

const SOURCE: &str = "amdgpu";

/// One GPU that the driver shows.
#[derive(Debug)]
struct Card {
    pci: Device,
    /// The number of its model among AMD's.
    model: u32,
    /// The firmware's number for this one card; none on most consumer cards.
    unique: Option<String>,
    hwmon: Option<PathBuf>,
}

impl Card {
    /// The card of a directory of `class/drm`, if AMD made it.
    fn at(entry: &Path) -> Option<Card> {
        let directory = entry.join("device");
        if hexadecimal(&directory.join("vendor")) != Some(0x1002) {
            return None;
        }
        let unique = attribute::text(&directory.join("unique_id"))
            .ok()
            .filter(|id| u64::from_str_radix(id, 16).is_ok_and(|id| id != 0));
        let hwmon = fs::read_dir(directory.join("hwmon"))
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| attribute::text(&path.join("name")).is_ok_and(|name| name == SOURCE));
        let model = hexadecimal(&directory.join("device")).unwrap_or(0);
        Some(Card { pci: Device::at(&directory)?, model, unique, hwmon })
    }

    fn source(&self) -> String {
        format!("{SOURCE} {}", self.pci.address)
    }

    /// The unique id as a number, 0 where there is none.
    fn number(&self) -> u64 {
        let parsed = self.unique.as_deref().map(|id| u64::from_str_radix(id, 16));
        parsed.and_then(Result::ok).unwrap_or(0)
    }

    fn metrics(&self) -> Metrics {
        Metrics::new(self.pci.directory.join("gpu_metrics"))
    }

    /// True if the GPU is a part of a processor: only there the driver shows the voltage of a north bridge
    /// (kernel.org, Documentation/gpu/amdgpu/thermal.rst).
    fn is_processor(&self) -> bool {
        self.is_mi300a()
            || self.hwmon.as_ref().is_some_and(|hwmon| hwmon.join("in1_input").exists())
    }

    /// True for the MI300A, whose package holds processor cores, GPU and the memory of both.
    fn is_mi300a(&self) -> bool {
        self.model == 0x74a0
    }

    /// True for the MI200 series, whose firmware counts energy in 64 bits.
    fn is_mi200(&self) -> bool {
        matches!(self.model, 0x7408 | 0x740c | 0x740f | 0x7410)
    }

    /// True for the second die of an MI250 or MI250X, for which the driver gives zeros ("Valid power data is available
    /// only from primary die", Linux's `aldebaran_ppt.c`).
    fn is_second_die(&self) -> bool {
        matches!(self.model, 0x7408 | 0x740c)
            && self.pci.awake().is_ok()
            && self
                .metrics()
                .read()
                .is_ok_and(|block| block.energy.is_none() && block.power.is_none())
    }
}

/// AMD's GPUs in the order of their addresses, which is the same at every boot.
fn cards(sysfs: &Path) -> Vec<Card> {
    let entries = fs::read_dir(sysfs.join("class/drm")).into_iter().flatten();
    let mut cards: Vec<Card> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| is_card(path))
        .filter_map(|path| Card::at(&path))
        .collect();
    cards.sort_by_key(|card| canonical(&card.pci.address));
    cards
}

/// `card0` is a card; `card0-DP-1` is one of its sockets.
fn is_card(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.strip_prefix("card").is_some_and(|number| number.parse::<u32>().is_ok())
}

fn hexadecimal(path: &Path) -> Option<u32> {
    let text = attribute::text(path).ok()?;
    u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// For each card, whether it is to be measured.
fn wanted(sysfs: &Path, cards: &[Card], selection: &Selection) -> Vec<bool> {
    match selection {
        Selection::All => vec![true; cards.len()],
        Selection::Pci(addresses) => {
            cards.iter().map(|card| card.pci.is_among(addresses)).collect()
        }
        Selection::Visible => visible(cards, Nodes::read(sysfs), &Variables::of_process()),
    }
}

/// For each card, whether the environment lets this process use it.
///
/// Where neither a variable nor a container holds anything back, cards that AMD's runtime does not know count, too:
/// other libraries may use them.
fn visible(cards: &[Card], mut nodes: Nodes, variables: &Variables) -> Vec<bool> {
    if variables.are_unset() && !nodes.some_are_hidden {
        return vec![true; cards.len()];
    }
    if nodes.gpus.is_empty() {
        nodes.gpus =
            cards.iter().map(|card| (canonical(&card.pci.address), card.number())).collect();
    }
    let numbers: Vec<u64> = nodes.gpus.iter().map(|(_, number)| *number).collect();
    let indices = variables.visible(&numbers);
    let addresses: Vec<_> = indices.into_iter().map(|index| &nodes.gpus[index].0).collect();
    cards.iter().map(|card| addresses.contains(&&canonical(&card.pci.address))).collect()
}

/// For each card, the one whose values cover it: itself, or the first die on the same board.
///
/// The dies of a board follow each other in the order of addresses, the first one first.
fn read_from(cards: &[Card]) -> Vec<Option<usize>> {
    let second: Vec<bool> = cards.iter().map(Card::is_second_die).collect();
    let is_first =
        |index: &usize| !second[*index] && matches!(cards[*index].model, 0x7408 | 0x740c);
    (0..cards.len())
        .map(|index| match second[index] {
            false => Some(index),
            true => (0..index).next_back().filter(is_first),
        })
        .collect()
}

fn without_first(card: &Card) -> Error {
    Error::unsupported(format!(
        "the GPU at {} is the second die of its board: only the first one shows the power of both, and it is not here",
        card.pci.address
    ))
    .cure("give the first die to the container or virtual machine as well")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cards at buses 3, 4 and 5 with the unique ids 0x33, 0x44 and 0x55.
    fn three_cards() -> Vec<Card> {
        let card = |bus: u64| Card {
            pci: Device { directory: PathBuf::new(), address: format!("0000:{bus:02x}:00.0") },
            model: 0x744c,
            unique: Some(format!("{:016x}", bus * 0x11)),
            hwmon: None,
        };
        (3..6).map(card).collect()
    }

    /// The nodes of these buses, in their order.
    fn nodes(buses: &[u64], some_are_hidden: bool) -> Nodes {
        let gpu = |bus: &u64| (canonical(&format!("0000:{bus:02x}:00.0")), bus * 0x11);
        Nodes { gpus: buses.iter().map(gpu).collect(), some_are_hidden }
    }

    fn rocr(list: &str) -> Variables {
        Variables { rocr: Some(list.to_owned()), ..Variables::default() }
    }

    fn hip(list: &str) -> Variables {
        Variables { hip: Some(list.to_owned()), ..Variables::default() }
    }

    #[test]
    fn indices_count_in_the_order_of_the_compute_driver() {
        let cards = three_cards();
        let seen = |buses: &[u64], variables| visible(&cards, nodes(buses, false), &variables);
        assert_eq!(seen(&[5, 3, 4], hip("0")), [false, false, true]);
        assert_eq!(seen(&[5, 3, 4], rocr("1,GPU-0000000000000044")), [true, true, false]);
        assert_eq!(seen(&[5, 3], hip("0,1,2")), [true, false, true]);
        assert_eq!(seen(&[5, 3, 4], rocr("")), [false; 3]);
        // The partitions of one GPU are several devices at one place.
        assert_eq!(seen(&[5, 5, 5, 3], hip("2")), [false, false, true]);
    }

    #[test]
    fn without_a_compute_driver_indices_count_in_the_order_of_addresses() {
        let seen = visible(&three_cards(), Nodes::default(), &rocr("GPU-0000000000000055,0"));
        assert_eq!(seen, [true, false, true]);
    }

    #[test]
    fn nothing_is_left_out_unless_a_variable_or_a_container_says_so() {
        let (cards, unset) = (three_cards(), Variables::default());
        assert_eq!(visible(&cards, Nodes::default(), &unset), [true; 3]);
        assert_eq!(visible(&cards, nodes(&[4], false), &unset), [true; 3]);
        assert_eq!(visible(&cards, nodes(&[4], false), &hip("")), [true; 3]);
        assert_eq!(visible(&cards, nodes(&[4], true), &unset), [false, true, false]);
    }
}
