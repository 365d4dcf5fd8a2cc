//! What a training thread writes into its lane's ring: marks, packed into words.
//!
//! The recorder usually runs on another core, so every cache line that it has read has to be fetched back before the
//! training thread can write there again. That is most of what a mark costs; so the frequent ones are two or three words.

use std::num::NonZeroU32;

use rtrb::{Consumer, Producer};

use crate::record::Status;
use crate::units::Timestamp;

/// Something that happened on a lane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Mark {
    /// When; the clock's origin for what only has its place among the others.
    pub(crate) at: Timestamp,
    pub(crate) what: What,
    /// The boundary's number where the device tells its true time later.
    pub(crate) deferred: Option<NonZeroU32>,
}

/// What happened at a mark.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum What {
    Open {
        id: u64,
        opens: Opens,
    },
    Close {
        id: u64,
        status: Status,
        waited: u64,
    },
    /// One step closes and the next opens, in the same moment.
    NextStep {
        closes: u64,
        waited: u64,
        id: u64,
    },
    /// One epoch closes and the next opens, in the same moment.
    NextEpoch {
        closes: u64,
        id: u64,
        number: u64,
    },
    /// A window that was opened and then turned out to have nothing in it.
    Cancel {
        id: u64,
    },
    /// A step ends here that began at the last tick, or where the window around it did.
    Tick {
        id: u64,
    },
    Metric {
        name: u32,
        value: f64,
    },
    Amount {
        samples: u64,
        tokens: u64,
    },
    /// The device passed an earlier, deferred mark.
    Passed {
        boundary: u64,
    },
}

/// What a window is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opens {
    Step,
    Epoch(u64),
    Phase(u32),
}

/// In a head, below the time: the kind of mark, and whether the number of a deferred boundary follows it.
const KIND: u64 = 0x0f;
const DEFERRED: u64 = 0x10;
const TIME: u32 = 8;

/// A step and the one before it fit in one word if so few windows were opened in between, and so few before.
const NEAR: u64 = 1 << 16;
const FAR: u64 = 1 << 48;

const STATUSES: [Status; 6] = [
    Status::Complete,
    Status::Dropped,
    Status::Panicked,
    Status::Orphaned,
    Status::Interrupted,
    Status::Stopped,
];

impl Mark {
    /// Writes the mark into a ring, whole or not at all; false if there is no room. Times count from `origin` and are
    /// good for two years.
    #[inline]
    pub(crate) fn write(self, ring: &mut Producer<u64>, origin: Timestamp) -> bool {
        // Plain subtraction: a `Duration` would be divided into seconds, on the hot path.
        let head = self.at.as_nanos().saturating_sub(origin.as_nanos()) << TIME;
        let deferred = self.deferred;
        match self.what {
            What::Tick { id } => put(ring, deferred, [head | 9, id]),
            What::NextStep { closes, waited: 0, id } if id - closes < NEAR && id < FAR => {
                put(ring, deferred, [head | 13, id << 16 | (id - closes)])
            }
            What::Open { id, opens: Opens::Step } => put(ring, deferred, [head, id]),
            What::Close { id, status, waited: 0 } => {
                put(ring, deferred, [head | 3, id << 8 | status as u64])
            }
            What::Open { id, opens: Opens::Epoch(number) } => {
                put(ring, deferred, [head | 1, id, number])
            }
            What::Open { id, opens: Opens::Phase(name) } => {
                put(ring, deferred, [head | 2, id, name.into()])
            }
            What::Close { id, status, waited } => {
                put(ring, deferred, [head | 4, id << 8 | status as u64, waited])
            }
            What::NextStep { closes, waited, id } => {
                put(ring, deferred, [head | 6, closes, id, waited])
            }
            What::NextEpoch { closes, id, number } => {
                put(ring, deferred, [head | 7, closes, id, number])
            }
            What::Cancel { id } => put(ring, deferred, [head | 8, id]),
            What::Metric { name, value } => {
                put(ring, deferred, [head | 10, name.into(), value.to_bits()])
            }
            What::Amount { samples, tokens } => put(ring, deferred, [head | 11, samples, tokens]),
            What::Passed { boundary } => put(ring, deferred, [head | 12, boundary]),
        }
    }

    /// Takes the next mark out of a ring.
    pub(crate) fn read(ring: &mut Consumer<u64>, origin: Timestamp) -> Option<Mark> {
        let head = ring.pop().ok()?;
        // A mark is written whole, so behind a head there is the rest of it.
        let mut word = || ring.pop().unwrap_or(0);
        let small = |word: u64| u32::try_from(word).unwrap_or(u32::MAX);
        let status =
            |word: u64| STATUSES.get((word & 0xff) as usize).copied().unwrap_or(Status::Dropped);
        let what = match head & KIND {
            0 => What::Open { id: word(), opens: Opens::Step },
            1 => What::Open { id: word(), opens: Opens::Epoch(word()) },
            2 => What::Open { id: word(), opens: Opens::Phase(small(word())) },
            kind @ (3 | 4) => {
                let closes = word();
                let waited = if kind == 4 { word() } else { 0 };
                What::Close { id: closes >> 8, status: status(closes), waited }
            }
            6 => What::NextStep { closes: word(), id: word(), waited: word() },
            7 => What::NextEpoch { closes: word(), id: word(), number: word() },
            8 => What::Cancel { id: word() },
            9 => What::Tick { id: word() },
            10 => What::Metric { name: small(word()), value: f64::from_bits(word()) },
            11 => What::Amount { samples: word(), tokens: word() },
            12 => What::Passed { boundary: word() },
            _ => {
                let (id, ago) = {
                    let both = word();
                    (both >> 16, both % NEAR)
                };
                What::NextStep { closes: id - ago.min(id), id, waited: 0 }
            }
        };
        let deferred = if head & DEFERRED > 0 { NonZeroU32::new(small(word())) } else { None };
        let at = match head >> TIME {
            0 => Timestamp::default(),
            time => origin + std::time::Duration::from_nanos(time),
        };
        Some(Mark { at, what, deferred })
    }
}

/// Writes a mark's words, and the number of a deferred boundary behind them.
#[inline]
fn put<const N: usize>(
    ring: &mut Producer<u64>,
    deferred: Option<NonZeroU32>,
    words: [u64; N],
) -> bool {
    match deferred {
        None => ring.write_chunk_uninit(N).is_ok_and(|chunk| chunk.fill_from_iter(words) == N),
        Some(boundary) => {
            let head = [words[0] | DEFERRED].into_iter();
            let words = head.chain(words.into_iter().skip(1)).chain([boundary.get().into()]);
            ring.write_chunk_uninit(N + 1).is_ok_and(|chunk| chunk.fill_from_iter(words) == N + 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_comes_out_of_the_ring_as_it_went_in() {
        let origin = Timestamp::from_nanos(5_000_000_000_000_000);
        let at = Timestamp::from_nanos(5_000_001_234_567_891);
        let (mut producer, mut consumer) = rtrb::RingBuffer::new(64);
        let whats = [
            What::Open { id: 1, opens: Opens::Step },
            What::Open { id: 2, opens: Opens::Epoch(u64::MAX) },
            What::Open { id: 3, opens: Opens::Phase(7) },
            What::Close { id: u64::MAX >> 8, status: Status::Stopped, waited: 0 },
            What::Close { id: 5, status: Status::Dropped, waited: 9 },
            What::NextStep { closes: 5, waited: 0, id: 6 },
            What::NextStep { closes: 5, waited: 8, id: 6 },
            What::NextStep { closes: 5, waited: 0, id: 65_540 },
            What::NextStep { closes: 5, waited: 0, id: 65_541 },
            What::NextStep { closes: u64::MAX - 1, waited: 0, id: u64::MAX },
            What::NextEpoch { closes: 5, id: 6, number: 7 },
            What::Cancel { id: 8 },
            What::Tick { id: 9 },
            What::Metric { name: 1, value: -2.5e300 },
            What::Amount { samples: 32, tokens: u64::MAX },
            What::Passed { boundary: 77 },
        ];
        for what in whats {
            for deferred in [None, NonZeroU32::new(41)] {
                let mark = Mark { at, what, deferred };
                assert!(mark.write(&mut producer, origin));
                assert_eq!(Mark::read(&mut consumer, origin), Some(mark));
                assert_eq!(Mark::read(&mut consumer, origin), None);
            }
        }
    }

    #[test]
    fn a_mark_that_does_not_fit_leaves_nothing_behind() {
        let (mut producer, mut consumer) = rtrb::RingBuffer::new(3);
        let mark = |id| Mark { at: Timestamp::default(), what: What::Tick { id }, deferred: None };
        assert!(mark(1).write(&mut producer, Timestamp::default()));
        assert!(!mark(2).write(&mut producer, Timestamp::default()));
        assert_eq!(Mark::read(&mut consumer, Timestamp::default()), Some(mark(1)));
        assert_eq!(Mark::read(&mut consumer, Timestamp::default()), None);
    }
}
