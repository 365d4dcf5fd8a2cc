//! Which GPUs of superchips report the same module.
//!
//! A GB200 carries two GPUs on one module, and both report the module's power. Nothing in NVML says which belong together,
//! so their readings are compared: what is equal to the last digit at every look while it moves is one reading.

use std::thread;
use std::time::Duration;

use super::gpu::Gpu;
use crate::sensor::Quantity;

/// Looks until every value has moved this often, or there have been this many.
const MOVES: usize = 2;
const LOOKS: usize = 12;
/// Less than an update apart.
const PAUSE: Duration = Duration::from_millis(70);

/// For each of the GPUs, the place of the first that reports the same module: its own, if there is none before it.
///
/// Takes up to a second where there are two or more, since it waits for their values to move. Values that do not are not
/// taken to be the same.
pub(super) fn firsts(gpus: &[&Gpu]) -> Vec<usize> {
    if gpus.len() < 2 {
        return (0..gpus.len()).collect();
    }
    let mut looks = Vec::new();
    while looks.len() < LOOKS && (0..gpus.len()).any(|gpu| moves(&looks, gpu) < MOVES) {
        if !looks.is_empty() {
            thread::sleep(PAUSE);
        }
        looks.push(Look::at(gpus));
    }
    (0..gpus.len())
        .map(|gpu| (0..gpu).find(|other| same(&looks, *other, gpu)).unwrap_or(gpu))
        .collect()
}

/// All values, read in order and then in the order turned round: every GPU's two readings enclose those of the GPUs
/// behind it.
struct Look {
    first: Vec<Option<Quantity>>,
    again: Vec<Option<Quantity>>,
}

impl Look {
    fn at(gpus: &[&Gpu]) -> Look {
        let first = gpus.iter().map(|gpu| gpu.raw()).collect();
        let mut again: Vec<_> = gpus.iter().rev().map(|gpu| gpu.raw()).collect();
        again.reverse();
        Look { first, again }
    }
}

/// The looks within which a GPU's value did not move.
fn still(looks: &[Look], gpu: usize) -> impl Iterator<Item = &Look> {
    looks.iter().filter(move |look| look.first[gpu].is_some() && look.first[gpu] == look.again[gpu])
}

/// How often a GPU's value has moved from one of these to the next.
fn moves(looks: &[Look], gpu: usize) -> usize {
    let values: Vec<_> = still(looks, gpu).map(|look| look.first[gpu]).collect();
    values.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

/// Whether two GPUs, the first of which encloses the other, gave the same value at every look within which the first did
/// not move.
fn same(looks: &[Look], outer: usize, inner: usize) -> bool {
    let equal = |look: &Look| {
        look.first[inner] == look.first[outer] && look.again[inner] == look.first[outer]
    };
    moves(looks, outer) >= MOVES && still(looks, outer).all(equal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Energy;

    /// Looks at counters of these values, none of which moves within a look.
    fn looks(values: &[[u64; 3]]) -> Vec<Look> {
        let read = |values: &[u64; 3]| -> Vec<_> {
            let counter = |value| Some(Quantity::Counter(Energy::from_millijoules(value)));
            values.iter().map(|value| counter(*value)).collect()
        };
        values.iter().map(|values| Look { first: read(values), again: read(values) }).collect()
    }

    #[test]
    fn what_moves_alike_to_the_last_digit_is_one_module() {
        let looks = looks(&[[100, 100, 90], [150, 150, 140], [210, 210, 200]]);
        assert_eq!(moves(&looks, 0), 2);
        assert!(same(&looks, 0, 1));
        // The third gained as much at every look, from another beginning.
        assert!(!same(&looks, 0, 2) && !same(&looks, 1, 2));
    }

    #[test]
    fn what_does_not_move_is_not_known_to_be_one() {
        assert!(!same(&looks(&[[100, 100, 100]; 12]), 0, 1));
    }

    #[test]
    fn a_look_within_which_a_value_moved_decides_nothing() {
        let mut looks = looks(&[[100, 100, 0], [150, 150, 0], [210, 210, 0], [260, 260, 0]]);
        // An update between the readings of the first and of the second GPU.
        looks[1].first[0] = looks[0].first[0];
        assert!(same(&looks, 0, 1));
        looks[2].again[1] = looks[3].first[1];
        assert!(!same(&looks, 0, 1));
    }
}
