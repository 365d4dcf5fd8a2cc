//! The kernel's running count of a register, summed without its faults.

use std::time::Duration;

use crate::sensor::Incident;
use crate::units::{Energy, Power, Timestamp};

/// Sums the counts of one perf event.
///
/// The kernel adds up differences of a 32-bit register, each taken as *signed*, and by itself it looks only as often as
/// 200 W need (Linux, `rapl_event_update` and `rapl_check_hw_unit` in `arch/x86/events/rapl.c`: every 655 s at 61 µJ a
/// count, every 164 s at 15.3 µJ). A package that draws more while nobody reads makes the count fall. After a resume from
/// suspend the register starts over, and the count may jump by as much upwards. Neither is an energy. What the count
/// lacks is always a whole number of the register's turns, so a fall can be undone where the turn is known and only one
/// number of turns fits the time.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    /// Counts in a joule.
    joule: i128,
    /// Counts in a turn of the register, where it is known.
    turn: Option<i128>,
    most: Power,
    quantum: Energy,
    last: Option<Last>,
    /// True from the end of one event to the first count of the next.
    interrupted: bool,
    sum: i128,
}

/// The last count.
#[derive(Clone, Copy, Debug)]
struct Last {
    count: u64,
    /// The first read that showed it.
    since: Timestamp,
    /// False until this event has counted anything.
    moved: bool,
}

/// The parts of a joule in which an [`Energy`] counts.
const PARTS: i128 = 1_000_000_000;

/// The smallest turn of any register: 2³² counts of 2⁻¹⁶ J.
const SMALLEST: f64 = 65_536.0;

/// Registers are updated every millisecond; what a count adds was used at most this long before the last one was read.
const UPDATE: Duration = Duration::from_millis(10);

impl Tally {
    /// A sum of counts of which `joule` make a joule, for hardware that draws at most `most`.
    ///
    /// `quantum` is the energy of one count of the register beneath, and `turn` all of its counts.
    pub(super) fn new(joule: i128, quantum: Energy, turn: Option<Energy>, most: Power) -> Self {
        let tally =
            Tally { joule, turn: None, most, quantum, last: None, interrupted: false, sum: 0 };
        let turn = turn.map(|turn| tally.counts(turn)).filter(|turn| *turn > 0);
        Tally { turn, ..tally }
    }

    /// Takes the count read between two moments; gives the energy since the first, and what happened in between.
    pub(super) fn accept(
        &mut self,
        count: u64,
        before: Timestamp,
        after: Timestamp,
    ) -> (Energy, Option<Incident>) {
        let Some(last) = self.last else {
            self.last = Some(Last { count, since: before, moved: false });
            let lost = std::mem::take(&mut self.interrupted).then_some(Incident::Reset);
            return (self.energy(self.sum), lost);
        };
        if count != last.count {
            self.last = Some(Last { count, since: before, moved: true });
        }
        // The count goes round at 64 bits, and half of that is 49 days at 500 W: the nearer way is the one it took.
        let difference = i128::from(count.wrapping_sub(last.count).cast_signed());
        // A tenth above the plausible power, and one quantum: rounding is no fault.
        let time = after.since(last.since) + UPDATE;
        let ceiling = self.counts(self.most * 1.1 * time + self.quantum);
        let (gained, incident) = match self.turn {
            // Generous: what is plausible is known roughly, and energy that was counted must not be thrown away.
            _ if difference > ceiling.saturating_mul(3) => (0, Some(Incident::Reset)),
            _ if difference >= 0 => (difference, None),
            None => (0, Some(Incident::Ambiguous)),
            Some(turn) if difference.rem_euclid(turn) <= ceiling => {
                (difference.rem_euclid(turn), Some(Incident::Wrap))
            }
            Some(_) => (0, Some(Incident::Reset)),
        };
        self.sum += gained;
        let turn = self.turn.unwrap_or_else(|| self.counts(Energy::from_joules(SMALLEST)));
        let several = incident != Some(Incident::Reset) && ceiling > gained + turn;
        (self.energy(self.sum), if several { Some(Incident::Ambiguous) } else { incident })
    }

    /// How long a count that used to rise has stood still at `now`.
    pub(super) fn stood_still(&self, now: Timestamp) -> Duration {
        self.last.filter(|last| last.moved).map_or(Duration::ZERO, |last| now.since(last.since))
    }

    /// Begins a new event: its count starts anywhere, and what was used since the last one is lost.
    pub(super) fn restart(&mut self) {
        self.interrupted = self.last.take().is_some() || self.interrupted;
    }

    fn energy(&self, counts: i128) -> Energy {
        Energy::from_nanojoules(counts * PARTS / self.joule)
    }

    fn counts(&self, energy: Energy) -> i128 {
        energy.as_nanojoules() * self.joule / PARTS
    }
}
