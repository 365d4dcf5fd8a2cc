//! When a sensor is read next. Pure: no clock, no IO.
//!
//! A counter that is updated each 100 ms shows nothing between two updates, so reading it each 10 ms wastes nine reads of
//! ten. Once its period is known, it is read just around each expected update: two or three reads for each, and the update
//! is dated better. In its first second a sensor is read as fast as it allows, which is how its period gets known.

use std::time::Duration;

use crate::sensor::{Provenance, Specification};
use crate::series::Series;
use crate::units::Timestamp;

/// When one sensor is read next.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    interval: Duration,
    /// While the sensor is tried out: since when.
    trial: Option<Timestamp>,
    tried: bool,
    /// Where the next update is expected; `None` until the period is known.
    track: Option<Track>,
    /// How many times slower than it should it is read because its driver is slow, and because its stack takes too much
    /// of a processor.
    back_off: u32,
    thrift: u32,
    /// Reads, and those that took long, since this was last thought over.
    reads: u32,
    slow: u32,
    dither: Dither,
}

/// What a read was like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read {
    /// When it was over.
    pub(crate) at: Timestamp,
    /// How long it took.
    pub(crate) took: Duration,
    /// Whether it showed an update.
    pub(crate) updated: bool,
}

/// Between runs a reading each second keeps wraps from being missed, and costs next to nothing.
pub(crate) const IDLE: Duration = Duration::from_secs(1);

/// No sensor is read more often than this.
const LEAST: Duration = Duration::from_millis(1);

/// A trial is over when the period is known, or after so long.
const TRIAL_TIME: Duration = Duration::from_millis(1_200);

/// Updates that follow each other faster are not worth expecting one by one.
const TRACKED: Duration = Duration::from_millis(10);

/// Above this a call is slow, as one that waits for the driver's global lock is; with two slow calls in a round (the
/// 97th percentile) the sensor is read half as often.
const SLOW: Duration = Duration::from_millis(2);
const ROUND: u32 = 64;
const MOST_BACK_OFF: u32 = 16;

impl Pace {
    pub(crate) fn new(specification: &Specification) -> Self {
        Pace {
            interval: specification.interval.max(LEAST),
            trial: None,
            // A model has no updates of its own to find out about.
            tried: specification.provenance == Provenance::Model,
            track: None,
            back_off: 1,
            thrift: 1,
            reads: 0,
            slow: 0,
            dither: Dither(specification.domain.id.len() as u64),
        }
    }

    /// True while the sensor is tried out.
    pub(crate) fn is_trying(&self) -> bool {
        !self.tried
    }

    /// Reads less often: the whole stack takes too much of a processor.
    pub(crate) fn slow_down(&mut self) {
        self.thrift = (self.thrift * 2).min(MOST_BACK_OFF);
    }

    /// Reads more often again: the stack takes little of a processor.
    pub(crate) fn speed_up(&mut self) {
        self.thrift = (self.thrift / 2).max(1);
    }

    /// When to read next, after `read`; `idle` while no run is in progress.
    pub(crate) fn next(&mut self, read: Read, series: &Series, idle: bool) -> Timestamp {
        self.think_over(read);
        // A slow sensor must not keep its stack's thread from the others: at most a tenth of the time is its own.
        let polite = if self.tried { read.at + read.took * 9 } else { read.at };
        self.wanted(read, series, idle).max(polite)
    }

    fn wanted(&mut self, read: Read, series: &Series, idle: bool) -> Timestamp {
        if !self.tried {
            let since = *self.trial.get_or_insert(read.at);
            self.tried = series.is_period_known() || read.at.since(since) >= TRIAL_TIME;
            // Not more than a quarter of the time inside the driver.
            return read.at + self.dither.of(LEAST.max(read.took * 4));
        }
        if idle {
            return read.at + self.dither.of(IDLE.max(self.interval));
        }
        let (period, slower) = (series.update_period(), self.back_off.max(self.thrift));
        match (series.updated(), series.jitter()) {
            (Some(updated), Some(jitter)) if period >= TRACKED && slower == 1 => {
                let new = || Track::new(updated, period, jitter);
                let track = self.track.get_or_insert_with(new);
                if track.period.abs_diff(period) > period / 4 {
                    *track = new();
                }
                track.follow(read, &mut self.dither)
            }
            _ => {
                self.track = None;
                let interval = (self.interval * slower).min(IDLE.max(self.interval));
                read.at + self.dither.of(interval)
            }
        }
    }

    fn think_over(&mut self, read: Read) {
        self.reads += 1;
        self.slow += u32::from(read.took > SLOW);
        if self.reads == ROUND {
            match self.slow {
                0 => self.back_off = (self.back_off / 2).max(1),
                1 => {}
                _ => self.back_off = (self.back_off * 2).min(MOST_BACK_OFF),
            }
            (self.reads, self.slow) = (0, 0);
        }
    }
}

/// Follows a counter from update to update: reads just before one is expected, when it is expected, and if it has not come
/// by then, just after. Which of the two halves it came in corrects what is expected of the next.
#[derive(Clone, Copy, Debug)]
struct Track {
    expected: Timestamp,
    period: Duration,
    /// The time from the first read to the expected update, and the least that it is worth to be.
    bracket: Duration,
    narrow: Duration,
    /// The last read that showed the old value, if it was just before the expected update.
    before: Option<Timestamp>,
    /// Reads in a row for which an update has been overdue.
    overdue: u32,
}

impl Track {
    /// Expects updates each `period`, give or take `jitter`, of which the last came at `updated`.
    ///
    /// The jitter is that of the trial: later, updates are dated no better than the brackets are wide.
    fn new(updated: Timestamp, period: Duration, jitter: Duration) -> Self {
        let narrow = (jitter * 4).max(period / 50).max(LEAST).min(period / 10);
        let bracket = (narrow * 2).min(period / 10);
        Track { expected: updated + period, period, narrow, bracket, before: None, overdue: 0 }
    }

    /// When to read next.
    fn follow(&mut self, read: Read, dither: &mut Dither) -> Timestamp {
        let (opens, closes) =
            (self.expected.before(self.bracket * 3 / 2), self.expected + self.bracket * 3 / 2);
        if !read.updated {
            self.before = Some(read.at).filter(|at| *at >= opens);
        } else {
            self.overdue = 0;
            match self.before.take() {
                Some(before) if read.at <= closes => {
                    self.bracket -= self.bracket / 16;
                    self.correct(before.midpoint(read.at), 4);
                }
                // Later than its bracket: it came since the read before.
                Some(_) => self.slipped(read.at.before(self.bracket / 2)),
                // Earlier: somewhere since the update before, but hardly long ago.
                None => self.slipped(read.at.before(self.bracket / 2).min(self.expected)),
            }
        }
        self.bracket = self.bracket.min(self.period / 10).max(self.narrow);
        if read.at > self.expected + self.period / 2 {
            // It has failed to come, or comes seldom: wait for the next.
            self.expected = self.expected + self.period;
            self.before = None;
        }
        let bracket = dither.of(self.bracket);
        if read.at < self.expected.before(bracket * 5 / 4) {
            self.expected.before(bracket)
        } else if read.at < self.expected.before(bracket / 4) {
            self.expected
        } else if read.at < self.expected + bracket * 3 / 4 {
            (self.expected + bracket).max(read.at + LEAST)
        } else {
            // It is late, or the counter stands still: look for it less and less often.
            self.overdue += 1;
            read.at + (bracket * self.overdue.min(64)).min(self.period * 2)
        }
    }

    /// The update was seen at about `seen`: a `part`th of what that is off is put right, and a little of it in the period.
    fn correct(&mut self, seen: Timestamp, part: u32) {
        if seen >= self.expected {
            let late = seen.since(self.expected);
            self.expected = self.expected + late / part;
            self.period += late / (16 * part);
        } else {
            let early = self.expected.since(seen);
            self.expected = self.expected.before(early / part);
            self.period -= (early / (16 * part)).min(self.period / 16);
        }
        self.expected = self.expected + self.period;
    }

    fn slipped(&mut self, seen: Timestamp) {
        self.bracket *= 2;
        self.correct(seen, 1);
    }
}

/// Varies times by ± 10 %, so that reading does not beat with the sensor's updates or the training's steps.
#[derive(Clone, Debug)]
struct Dither(u64);

impl Dither {
    fn of(&mut self, time: Duration) -> Duration {
        // Knuth's MMIX generator: any full-period generator does here.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        time * 9 / 10 + time * u32::from((self.0 >> 56) as u8) / (5 * 256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Follows a counter over 500 updates, of which the first is known and the period to a factor; gives the reads for
    /// each of the last 400, and how many of these were missed by more than two brackets.
    fn follow(period: Duration, jitter: Duration, off: f64) -> (f64, u32) {
        let update = |n: u32| {
            let late = jitter.mul_f64(f64::from(n * 7_919 % 1_009) / 1_009.0);
            Timestamp::default() + period * (n + 1) + late
        };
        let mut track = Track::new(update(0), period.mul_f64(off), jitter / 4);
        let mut dither = Dither(1);
        let (mut shown, mut reads, mut missed) = (0, 0, 0);
        let mut at = update(0) + LEAST;
        let mut before = at;
        while shown < 500 {
            let mut now = shown;
            while update(now + 1) <= at {
                now += 1;
            }
            let updated = now > shown;
            if shown >= 100 {
                reads += 1;
                missed += u32::from(updated && at.since(before) > track.bracket * 2);
            }
            shown = now;
            let read = Read { at, took: Duration::ZERO, updated };
            (before, at) = (at, track.follow(read, &mut dither));
        }
        (f64::from(reads) / 400.0, missed)
    }

    #[test]
    fn a_counter_is_followed_with_few_reads_and_not_lost() {
        let cases =
            [(20, 0, 1.0), (20, 1, 1.01), (100, 1, 0.98), (500, 5, 1.002), (1_000, 9, 0.99)];
        for (period, jitter, off) in cases {
            let (period, jitter) = (Duration::from_millis(period), Duration::from_millis(jitter));
            let (reads, missed) = follow(period, jitter, off);
            assert!(reads < 3.0 && missed == 0, "{reads} reads, {missed} missed at {period:?}");
        }
    }
}
