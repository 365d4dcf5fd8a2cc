//! When a sensor is read next. Pure: no clock, no IO.
//!
//! A counter that is updated each 100 ms shows nothing between two updates, so reading it each 10 ms wastes nine reads of
//! ten. Once its period is known, it is read just before and just after each expected update: two reads for each, and the
//! update is dated better. In its first second a sensor is read as fast as it allows, which is how its period gets known.

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
    /// How many times slower than it should it is read, because its driver is slow or busy.
    back_off: u32,
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
        self.back_off = (self.back_off * 2).min(MOST_BACK_OFF);
    }

    /// When to read next, after `read`; `idle` while no run is in progress.
    pub(crate) fn next(&mut self, read: Read, series: &Series, idle: bool) -> Timestamp {
        self.think_over(read);
        if !self.tried {
            let since = *self.trial.get_or_insert(read.at);
            self.tried = series.is_period_known() || read.at.since(since) >= TRIAL_TIME;
            // Not more than a quarter of the time inside the driver.
            return read.at + self.dither.of(LEAST.max(read.took * 4));
        }
        if idle {
            return read.at + self.dither.of(IDLE.max(self.interval));
        }
        let period = series.update_period();
        match (series.updated(), series.jitter()) {
            (Some(updated), Some(jitter)) if period >= TRACKED && self.back_off == 1 => {
                let track = self.track.get_or_insert_with(|| Track::new(updated, period));
                if track.period.abs_diff(period) > period / 4 {
                    *track = Track::new(updated, period);
                }
                let narrow = (jitter * 4).clamp((period / 50).max(LEAST), period / 10);
                track.follow(read, narrow, &mut self.dither)
            }
            _ => {
                self.track = None;
                let interval = (self.interval * self.back_off).min(IDLE.max(self.interval));
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
                _ => self.slow_down(),
            }
            (self.reads, self.slow) = (0, 0);
        }
    }
}

/// Follows a counter from update to update.
///
/// An update between the two reads around where it was expected tells no more than that it was. So the time between
/// updates is corrected where one slips out of them, by as much as it slipped over all the updates since it last did.
#[derive(Clone, Copy, Debug)]
struct Track {
    expected: Timestamp,
    period: Duration,
    /// Half of the time between the two reads around an expected update.
    bracket: Duration,
    /// Updates since one last slipped out.
    held: u32,
    /// The old value was seen just before the expected update.
    armed: bool,
}

impl Track {
    fn new(updated: Timestamp, period: Duration) -> Self {
        Track { expected: updated + period, period, bracket: period / 10, held: 0, armed: false }
    }

    /// When to read next.
    fn follow(&mut self, read: Read, narrow: Duration, dither: &mut Dither) -> Timestamp {
        let opens = self.expected.before(self.bracket * 3 / 2);
        let closes = self.expected + self.bracket * 3 / 2;
        if !read.updated {
            self.armed |= read.at >= opens;
        } else if self.armed && read.at <= closes {
            self.held += 1;
            self.bracket -= self.bracket / 16;
            self.expected = self.expected + self.period;
            self.armed = false;
        } else {
            let early = !self.armed;
            // An early one came before the bracket, a late one since the read before this.
            let at = read.at.before(self.bracket / 2);
            let slip = self.bracket / self.held.max(4);
            self.period = if early { self.period.saturating_sub(slip) } else { self.period + slip };
            self.bracket *= 2;
            self.expected = at + self.period;
            (self.held, self.armed) = (0, false);
        }
        self.bracket = self.bracket.max(narrow).min(self.period / 10);
        if read.at > self.expected + self.period / 2 {
            // It has failed to come, or comes seldom: wait for the next.
            self.expected = self.expected + self.period;
            self.armed = false;
        }
        let bracket = dither.of(self.bracket);
        if read.at < self.expected.before(bracket * 5 / 4) {
            self.expected.before(bracket)
        } else if read.at < self.expected + bracket {
            (self.expected + bracket).max(read.at + LEAST)
        } else {
            read.at + bracket
        }
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
