//! From boundaries to estimates: the energy of a window over all sensors, with its uncertainty and quality.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::record::{Estimate, Quality, Share};
use crate::sensor::{Provenance, Specification};
use crate::series::{Point, Reach, Span};
use crate::units::{Energy, Timestamp};

/// A moment at which a window opens or closes, with Ê of every sensor there. Shared by the windows that meet in it.
#[derive(Clone, Debug)]
pub(crate) struct Boundary {
    pub(crate) at: Timestamp,
    /// One for each sensor of the meter, in its order; `None` where the sensor had given nothing yet.
    points: Arc<[Option<Point>]>,
}

/// The energy of a window, before it is known whether a domain's short window is amortised or unresolved.
#[derive(Clone, Debug)]
pub(crate) struct Attribution {
    parts: Vec<Part>,
    time: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    sensor: usize,
    span: Option<Span>,
    quality: Quality,
}

impl Part {
    /// What its sensor knows of the window.
    fn known(&self) -> Option<Span> {
        self.span.filter(|span| self.quality != Quality::Unresolved && !span.blank)
    }
}

impl Boundary {
    pub(crate) fn new(at: Timestamp, points: impl IntoIterator<Item = Option<Point>>) -> Self {
        Boundary { at, points: points.into_iter().collect() }
    }

    /// The sum of Ê over the sensors of the total: the run's cumulative energy, up to a constant.
    pub(crate) fn energy(&self, sensors: &[Specification]) -> Energy {
        let total = sensors.iter().zip(self.points.iter()).filter(|(sensor, _)| sensor.in_total);
        total.filter_map(|(_, point)| point.map(|point| point.energy)).sum()
    }

    /// The points of `other` where a sensor had given nothing yet; `None` if none are missing that it has.
    pub(crate) fn completed(&self, other: &Boundary) -> Option<Boundary> {
        let pairs = || self.points.iter().zip(other.points.iter());
        pairs()
            .any(|(own, other)| own.is_none() && other.is_some())
            .then(|| Boundary::new(self.at, pairs().map(|(own, other)| own.or(*other))))
    }

    /// Ê of one sensor.
    pub(crate) fn energy_of(&self, sensor: usize) -> Energy {
        self.points[sensor].map_or(Energy::ZERO, |point| point.energy)
    }

    /// The energy from `self` to `end`.
    pub(crate) fn to(&self, end: &Boundary, sensors: &[Specification]) -> Attribution {
        let time = end.at.since(self.at);
        let parts = sensors.iter().enumerate().map(|(sensor, specification)| {
            let span = match (self.points[sensor], end.points[sensor]) {
                (Some(start), Some(end)) => {
                    Some(Span::new(start, end, time, Reach::calibrated(specification)))
                }
                _ => None,
            };
            Part { sensor, span, quality: quality(specification, span) }
        });
        Attribution { parts: parts.collect(), time }
    }
}

/// A window is resolved where its boundaries cost at most this share of its energy (k = 1).
const RESOLVED: f64 = 0.05;

fn quality(specification: &Specification, span: Option<Span>) -> Quality {
    match span {
        Some(span) if !span.whole => Quality::Partial,
        None => Quality::Partial,
        Some(_) if specification.provenance == Provenance::Model => Quality::Estimated,
        Some(span) if span.uncertainty <= RESOLVED * span.energy.as_joules() => Quality::Measured,
        Some(_) => Quality::Unresolved,
    }
}

impl Attribution {
    /// The sensors that do not resolve this window by themselves.
    pub(crate) fn unresolved(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().filter(|part| part.quality == Quality::Unresolved).map(|part| part.sensor)
    }

    /// Takes the interpolated shares of sensors that do not resolve the window as they are, where `they` resolve the row
    /// of windows that it lies in.
    pub(crate) fn amortise(&mut self, they: impl Fn(usize) -> bool) {
        for part in &mut self.parts {
            if part.quality == Quality::Unresolved && they(part.sensor) {
                part.quality = Quality::Amortised;
            }
        }
    }

    /// How many updates of the slowest sensor the window spans.
    pub(crate) fn intervals(&self, periods: &[Duration]) -> f64 {
        let slowest = self.parts.iter().filter_map(|part| periods.get(part.sensor)).max();
        let intervals =
            slowest.map_or(0.0, |period| self.time.as_secs_f64() / period.as_secs_f64().max(1e-9));
        (intervals * 1e3).round() / 1e3
    }

    /// The energy by interpolation, resolved or not: what the sums are made of.
    pub(crate) fn energy(&self, sensors: &[Specification]) -> Energy {
        let total = self.parts.iter().filter(|part| sensors[part.sensor].in_total);
        total.filter_map(|part| part.span.map(|span| span.energy)).sum()
    }

    /// The total and each domain's share; `totals` are the sensors' cumulative energies at the window's end.
    pub(crate) fn estimates(
        &self,
        sensors: &[Specification],
        totals: &[Energy],
    ) -> (Estimate, BTreeMap<String, Share>) {
        let mut budget = Budget::default();
        let mut total =
            Estimate { energy: Some(Energy::ZERO), uncertainty: None, quality: Quality::Measured };
        let mut shares = BTreeMap::new();
        let mut seen = false;
        for part in &self.parts {
            let specification = &sensors[part.sensor];
            let share = self.share(*part, specification, totals[part.sensor]);
            if specification.in_total {
                total.quality = total.quality.max(share.quality);
                seen |= share.energy.is_some();
                if part.quality == Quality::Unresolved {
                    total.energy = None;
                } else if let (Some(sum), Some(span)) = (total.energy, part.known()) {
                    total.energy = Some(sum + span.energy);
                    budget.add(specification, span, self.time);
                }
            }
            shares.insert(specification.domain.id.clone(), share);
        }
        total.energy = total.energy.filter(|_| seen);
        total.uncertainty = total.energy.map(|_| Energy::from_joules(budget.uncertainty()));
        (total, shares)
    }

    fn share(&self, part: Part, specification: &Specification, total: Energy) -> Share {
        let known = part.known();
        let uncertainty = known.map(|span| {
            let mut budget = Budget::default();
            budget.add(specification, span, self.time);
            Energy::from_joules(budget.uncertainty())
        });
        Share {
            energy: known.map(|span| span.energy),
            uncertainty,
            quality: part.quality,
            total,
            in_total: specification.in_total,
        }
    }
}

/// The uncertainty budget of a sum: u² = Σ b² + Σ (Σ g)² + Σ (Σ o)², with b for the boundaries of each sensor, and the
/// inner sums over the gains g and offsets o of each family.
///
/// Boundaries are independent. Gain and offset are taken as common to a family of sensors (correlation 1, JCGM 100:2008,
/// 5.2.2), so that eight identical GPUs are as uncertain as one, and as independent between families.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    boundaries: f64,
    gains: BTreeMap<String, f64>,
    offsets: BTreeMap<String, f64>,
}

impl Budget {
    /// Adds a window's energy of one sensor.
    pub(crate) fn add(&mut self, specification: &Specification, span: Span, time: Duration) {
        self.boundaries += span.uncertainty * span.uncertainty;
        self.add_gain(specification, span.energy, time);
    }

    /// Adds an energy whose boundaries do not count.
    pub(crate) fn add_gain(
        &mut self,
        specification: &Specification,
        energy: Energy,
        time: Duration,
    ) {
        *self.gains.entry(specification.family.clone()).or_default() +=
            specification.gain * energy.as_joules().abs();
        *self.offsets.entry(specification.family.clone()).or_default() +=
            (specification.offset * time).as_joules();
    }

    pub(crate) fn uncertainty(&self) -> f64 {
        let families =
            self.gains.values().chain(self.offsets.values()).map(|part| part * part).sum::<f64>();
        (self.boundaries + families).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensor::{Domain, Hardware};
    use crate::units::Power;

    #[test]
    fn gains_and_offsets_of_a_family_err_together_and_families_apart() {
        let sensor = |family: &str| Specification {
            gain: 0.03,
            offset: Power::from_watts(1.0),
            family: family.to_owned(),
            ..Specification::counter(Domain::new(Hardware::Cpu, family, "a part"), "a source")
        };
        let uncertainty = |families: &[&str]| {
            let mut budget = Budget::default();
            for family in families {
                let time = Duration::from_secs(10);
                budget.add_gain(&sensor(family), Energy::from_joules(1_000.0), time);
            }
            budget.uncertainty()
        };
        // 30 J of gain and 10 J of offset.
        let one = 30_f64.hypot(10.0);
        assert!((uncertainty(&["rapl"]) - one).abs() < 1e-9);
        assert!((uncertainty(&["rapl", "rapl"]) - 2.0 * one).abs() < 1e-9);
        assert!((uncertainty(&["rapl", "nvml"]) - 2_f64.sqrt() * one).abs() < 1e-9);
    }
}
