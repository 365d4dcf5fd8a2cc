//! The `gpu_metrics` file: what a card's firmware keeps, as one block of bytes.
//!
//! The block begins with its size and its revision, and for each revision the places of its fields are fixed. They are
//! those of Linux's `drivers/gpu/drm/amd/include/kgd_pp_interface.h`. Revision 1.0 is not aligned, and 1.9 is a list of
//! attributes; neither is read. Revisions 2 and 3 are those of processors with graphics, without an energy.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::units::{Energy, Power};

/// The file of one card.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    path: PathBuf,
}

/// What is taken of one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// The revision, as in `v1.3`.
    pub(super) revision: String,
    /// The energy counter, in counts of [`energy`]; none where the firmware leaves it empty.
    pub(super) energy: Option<u64>,
    /// The power of the moment or a mean; none where it reads zero.
    pub(super) power: Option<Power>,
    /// True if the GPU is a part of a processor.
    pub(super) processor: bool,
}

impl Metrics {
    pub(super) fn new(path: PathBuf) -> Self {
        Metrics { path }
    }

    /// Reads the block that the driver has now, at most one millisecond old.
    ///
    /// The file is opened anew each time (about 7 µs), so that a card which was reset is found again.
    ///
    /// # Errors
    /// If the file cannot be read, or is not a whole block of a known revision.
    pub(super) fn read(&self) -> Result<Block> {
        // The driver gives less than a page.
        let mut bytes = [0; 4096];
        let length = File::open(&self.path)
            .and_then(|mut file| file.read(&mut bytes))
            .map_err(|cause| Error::file("read", &self.path, cause))?;
        parse(&bytes[..length]).map_err(|error| error.at(self.path.display()))
    }
}

/// The energy of this many counts; one is 2⁻¹⁶ J, 15.259 µJ (`kgd_pp_interface.h`).
pub(super) fn energy(counts: u64) -> Energy {
    Energy::from_nanojoules((i128::from(counts) * 1_000_000_000) >> 16)
}

/// Where the fields of revision 1.x stand: x, the size of the whole block, the energy, and the power.
const LAYOUTS: [(u8, usize, usize, usize); 8] = [
    (1, 96, 24, 22),
    (2, 104, 24, 22),
    (3, 120, 24, 22),
    (4, 288, 24, 10),
    (5, 360, 88, 10),
    (6, 1664, 16, 10),
    (7, 2208, 24, 10),
    (8, 3872, 24, 10),
];

fn parse(bytes: &[u8]) -> Result<Block> {
    let &[low, high, format, content, ..] = bytes else {
        return Err(Error::invalid(format!("{} bytes are no metrics", bytes.len())));
    };
    let revision = format!("v{format}.{content}");
    if matches!(format, 2 | 3) {
        return Ok(Block { revision, energy: None, power: None, processor: true });
    }
    let layout = LAYOUTS.iter().find(|(known, ..)| (1, *known) == (format, content));
    let Some(&(_, size, energy, power)) = layout else {
        return Err(Error::unsupported(format!("metrics {revision} are not known here")));
    };
    let stated = usize::from(u16::from_le_bytes([low, high]));
    let (Some(energy), Some(power)) = (field(bytes, energy), field(bytes, power)) else {
        return Err(broken(&revision, bytes.len(), stated, size));
    };
    if stated != size || bytes.len() < size {
        return Err(broken(&revision, bytes.len(), stated, size));
    }
    let (energy, power) = (u64::from_le_bytes(energy), u16::from_le_bytes(power));
    // The driver fills what a card does not have with ones, of 64 bits or, for firmware that once had a counter of 32
    // bits, of those (`smu_v13_0_0_ppt.c`); and a second die's fields with zeros.
    let absent = [0, u64::from(u32::MAX), u64::MAX].contains(&energy);
    Ok(Block {
        revision,
        energy: (!absent).then_some(energy),
        power: (power != 0 && power != u16::MAX).then(|| Power::from_watts(f64::from(power))),
        processor: false,
    })
}

fn field<const LENGTH: usize>(bytes: &[u8], at: usize) -> Option<[u8; LENGTH]> {
    bytes.get(at..at + LENGTH)?.try_into().ok()
}

fn broken(revision: &str, length: usize, stated: usize, size: usize) -> Error {
    Error::invalid(format!(
        "metrics {revision} have {size} bytes; these are {length}, and say that they are {stated}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(content: u8, size: u16) -> Vec<u8> {
        let mut bytes = vec![0; usize::from(size)];
        bytes[..2].copy_from_slice(&size.to_le_bytes());
        bytes[2..4].copy_from_slice(&[1, content]);
        bytes
    }

    #[test]
    fn one_count_is_a_65536th_of_a_joule() {
        assert_eq!(energy(65_536), Energy::from_joules(1.0));
        assert_eq!(energy(1 << 32), Energy::from_joules(65_536.0));
        assert_eq!(energy(1), Energy::from_nanojoules(15_258));
    }

    #[test]
    fn every_known_revision_gives_its_energy_and_power() {
        for (content, size, energy, power) in LAYOUTS {
            let mut bytes = block(content, u16::try_from(size).unwrap());
            bytes[energy..energy + 8].copy_from_slice(&0x0102_0304_0506_u64.to_le_bytes());
            bytes[power..power + 2].copy_from_slice(&250_u16.to_le_bytes());
            let block = parse(&bytes).unwrap();
            assert_eq!(block.revision, format!("v1.{content}"));
            assert_eq!(block.energy, Some(0x0102_0304_0506));
            assert_eq!(block.power, Some(Power::from_watts(250.0)));
            assert!(!block.processor);
        }
    }

    #[test]
    fn zeros_and_ones_are_no_energy() {
        for absent in [0, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = block(3, 120);
            bytes[24..32].copy_from_slice(&absent.to_le_bytes());
            bytes[22..24].copy_from_slice(&u16::MAX.to_le_bytes());
            let block = parse(&bytes).unwrap();
            assert_eq!((block.energy, block.power), (None, None), "{absent}");
        }
    }

    #[test]
    fn whatever_the_bytes_nothing_panics_and_only_whole_blocks_count() {
        for (content, size, ..) in LAYOUTS {
            let whole = block(content, u16::try_from(size).unwrap());
            for length in 0..size {
                assert!(parse(&whole[..length]).is_err(), "v1.{content}, {length} bytes");
            }
            let mut other = whole.clone();
            other[0] = other[0].wrapping_add(8);
            assert!(parse(&other).is_err(), "v1.{content} of another size");
        }
        for format in 0..=u8::MAX {
            for content in 0..=u8::MAX {
                let known = format == 1 && LAYOUTS.iter().any(|layout| layout.0 == content);
                let parsed = parse(&[8, 0, format, content, 0, 0, 0, 0]);
                assert_eq!(parsed.is_ok(), matches!(format, 2 | 3), "v{format}.{content}");
                let unsupported = parsed.is_err_and(|error| error.is_unsupported());
                assert_eq!(unsupported, !known && !matches!(format, 2 | 3));
            }
        }
    }
}
