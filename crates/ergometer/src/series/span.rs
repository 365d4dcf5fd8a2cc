//! What a series says of a moment, and of the window between two.

use std::time::Duration;

use crate::sensor::Specification;
use crate::units::{Energy, Power};

/// Ê at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// The cumulative energy.
    pub energy: Energy,
    /// Its standard uncertainty from update times, quantum and the power's course between two updates, in joules.
    pub uncertainty: f64,
    /// No error of these kinds can be larger than this, given the sensor's range of power, in joules.
    pub bound: f64,
    /// Where the moment lies.
    pub place: Place,
    /// The mean power between the updates around the moment.
    pub(super) power: Power,
    /// What sampling has added up to here: variance in J², and the bound in joules, at least and at most.
    pub(super) variance: f64,
    pub(super) slack: (f64, f64),
    /// Broken intervals that ended before this moment, and those that ended or were under way.
    pub(super) broken: (u64, u64),
}

impl Point {
    pub(crate) fn is_covered(&self) -> bool {
        matches!(self.place, Place::Between | Place::After)
    }
}

/// Where a moment lies in a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Between two updates: settled, it will never change.
    Between,
    /// Before the first update: what happened before is not known.
    Before,
    /// Less than a period after the last update: extrapolated, and provisional until the next one.
    After,
    /// Longer after the last update, or after a single one: the sensor is lost, or late, and nothing is added for it.
    Beyond,
}

/// What a sensor's readings can stand for: its range of power, and how late they may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reach {
    pub(super) least: Power,
    pub(super) most: Power,
    delay: Duration,
}

impl Reach {
    pub(crate) fn of(specification: &Specification) -> Self {
        // The length of an averaging window is known to some 10 %, which matters where the power changes.
        let delay = specification.delay + specification.averaging / 10;
        Reach { least: specification.least, most: specification.most, delay }
    }

    /// The reach of what a calibration makes of the sensor's readings.
    pub(crate) fn calibrated(specification: &Specification) -> Self {
        let reach = Reach::of(specification);
        let Some(calibration) = &specification.calibration else { return reach };
        let correct = |power: Power| power * calibration.gain + calibration.offset;
        Reach { least: correct(reach.least), most: correct(reach.most), ..reach }
    }

    /// How far the true energy can lie off the straight line, `ahead` into an interval of `length` at mean `power`:
    /// its slope stays within the range of power, and both ends are known.
    pub(super) fn bend(&self, power: Power, ahead: f64, length: f64) -> f64 {
        let rest = (length - ahead).max(0.0);
        let above = (self.most - power).as_watts().max(0.0);
        let below = (power - self.least).as_watts().max(0.0);
        (above * ahead).min(below * rest).max((below * ahead).min(above * rest))
    }

    /// How far the true power can lie off `power`.
    pub(super) fn spread(&self, power: Power) -> f64 {
        (self.most - power).as_watts().max((power - self.least).as_watts()).max(0.0)
    }
}

/// What a series knows of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// The energy, by interpolation between updates.
    pub energy: Energy,
    /// Its standard uncertainty from the two boundaries and from sampling, in joules; the sensor's gain comes on top.
    pub uncertainty: f64,
    /// No error of these kinds can be larger than this, in joules.
    pub bound: f64,
    /// False if part of the window is not covered by readings.
    pub whole: bool,
    /// True if nothing of it is: then the energy is not known, and no 0.
    pub blank: bool,
    /// True if a boundary is extrapolated and may still change.
    pub provisional: bool,
}

impl Span {
    /// The window of `time` from `start` to `end`, of a sensor that `reach`es so far.
    pub(crate) fn new(start: Point, end: Point, time: Duration, reach: Reach) -> Self {
        let energy = end.energy - start.energy;
        // The true energy is a possible one too: often the tighter limit, for a very short window.
        let below = (energy - reach.least * time).as_joules();
        let above = (reach.most * time - energy).as_joules();
        let farthest = below.abs().max(above.abs());
        // If every reading is late by the same time, that shows where the power at both ends is not the same.
        let delay = reach.delay.as_secs_f64();
        let late = delay * (end.power - start.power).as_watts();
        let sampling = (end.variance - start.variance).max(0.0);
        let uncertainty =
            (start.uncertainty.powi(2) + end.uncertainty.powi(2) + late * late / 3.0 + sampling)
                .sqrt();
        let bound = start.bound
            + end.bound
            + delay * (reach.most - reach.least).as_watts()
            + (end.slack.1 - start.slack.0).max(0.0);
        Span {
            energy,
            uncertainty: uncertainty.min(farthest / 3_f64.sqrt()),
            bound: bound.min(farthest),
            blank: start.place == end.place && !start.is_covered() && energy == Energy::ZERO,
            whole: start.is_covered() && end.is_covered() && start.broken.0 == end.broken.1,
            provisional: end.place == Place::After,
        }
    }
}
