//! What a reference instrument found out about one sensor.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::sensor::Specification;
use crate::units::{Energy, Power};

/// How to put one sensor right: E′ = a·E + b·T, with the standard uncertainties of both.
///
/// A slope above 1 is what the sensor misses in proportion (its own gain, regulators, a power supply, if the reference
/// stood before them); the intercept is a load that it does not see at all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The slope a.
    pub gain: f64,
    /// Its standard uncertainty, relative to the sensor's energy (k = 1).
    #[serde(rename = "u_gain")]
    pub gain_uncertainty: f64,
    /// The intercept b.
    #[serde(rename = "offset_w")]
    pub offset: Power,
    /// Its standard uncertainty (k = 1).
    #[serde(rename = "u_offset_w")]
    pub offset_uncertainty: Power,
    /// When, as the user writes it: `2026-11-22`.
    pub date: String,
    /// Against what: the instrument, and where it stood.
    pub reference: String,
}

/// One load level of a calibration: the same time, seen by the sensor and by the reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// How long; a minute or more.
    pub time: Duration,
    /// What the sensor counted.
    pub sensor: Energy,
    /// What the reference counted.
    pub reference: Energy,
}

/// Fewer levels do not tell a slope from an intercept with an uncertainty worth the name.
const LEVELS: usize = 5;

/// A shorter level is mostly its two ends.
const TIME: Duration = Duration::from_secs(60);

impl Calibration {
    /// Fits a straight line through load levels, by ordinary least squares of the mean powers; the uncertainties are
    /// those of the fit (Type A, JCGM 100:2008, H.3), the reference's own not included.
    ///
    /// # Errors
    /// With fewer than five levels, one shorter than a minute, or levels that are all alike.
    pub fn fit(levels: &[Level], date: &str, reference: &str) -> Result<Calibration> {
        let place = levels.iter().position(|level| level.time < TIME);
        if let Some(place) = place {
            return Err(Error::invalid(format!(
                "level {place} of the calibration lasts {:?}",
                levels[place].time
            ))
            .cure("hold each load for at least a minute"));
        }
        if levels.len() < LEVELS {
            return Err(Error::invalid(format!("a calibration of {} levels", levels.len()))
                .cure("measure at least five levels of load, from idle to full"));
        }
        let power = |energy: Energy, level: &Level| energy.as_joules() / level.time.as_secs_f64();
        let points: Vec<(f64, f64)> = levels
            .iter()
            .map(|level| (power(level.sensor, level), power(level.reference, level)))
            .collect();
        let count = f64::from(u32::try_from(points.len()).unwrap_or(u32::MAX));
        let mean = |of: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (x, y) = (mean(&|point| point.0), mean(&|point| point.1));
        let spread = points.iter().map(|point| (point.0 - x).powi(2)).sum::<f64>();
        if spread <= (0.05 * x).powi(2) * count {
            return Err(Error::invalid("the levels of the calibration are all alike")
                .cure("measure levels of load that differ, from idle to full"));
        }
        let slope = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum::<f64>() / spread;
        let intercept = y - slope * x;
        let rest = points.iter().map(|point| (point.1 - slope * point.0 - intercept).powi(2));
        let variance = rest.sum::<f64>() / (count - 2.0);
        let squares = points.iter().map(|point| point.0 * point.0).sum::<f64>();
        Ok(Calibration {
            gain: slope,
            gain_uncertainty: (variance / spread).sqrt() / slope.abs(),
            offset: Power::from_watts(intercept),
            offset_uncertainty: Power::from_watts((variance * squares / (count * spread)).sqrt()),
            date: date.to_owned(),
            reference: reference.to_owned(),
        })
    }

    /// Notes on a sensor's specification that it is put right: its gain and offset are now as certain as this, and no
    /// longer those of its family.
    pub(crate) fn apply(&self, specification: &mut Specification) {
        specification.gain = self.gain_uncertainty;
        specification.offset = self.offset_uncertainty;
        specification.family = specification.domain.id.clone();
        specification.calibration = Some(self.clone());
    }

    /// The sensor's energy over `time`, put right.
    pub fn correct(&self, energy: Energy, time: Duration) -> Energy {
        energy.scaled(self.gain) + self.offset * time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(watts: f64, reference: f64) -> Level {
        let time = Duration::from_secs(100);
        Level {
            time,
            sensor: Power::from_watts(watts) * time,
            reference: Power::from_watts(reference) * time,
        }
    }

    #[test]
    fn a_line_is_found_again() {
        // The workstation of arXiv 2509.22092: 38 W + 1.18 × what the sensors saw.
        let levels: Vec<_> = [50.0, 120.0, 200.0, 300.0, 450.0]
            .into_iter()
            .map(|watts| level(watts, 38.0 + 1.18 * watts))
            .collect();
        let fit = Calibration::fit(&levels, "2026-11-22", "plug meter").unwrap();
        assert!((fit.gain - 1.18).abs() < 1e-6, "{fit:?}");
        assert!((fit.offset.as_watts() - 38.0).abs() < 1e-3 && fit.gain_uncertainty < 1e-6);
        let corrected = fit.correct(Energy::from_joules(100.0), Duration::from_secs(1));
        assert!((corrected.as_joules() - 156.0).abs() < 1e-3, "{corrected}");
    }

    #[test]
    fn too_few_too_short_or_equal_levels_are_refused() {
        let refused = |levels: &[Level]| Calibration::fit(levels, "", "").unwrap_err().to_string();
        assert!(refused(&[level(1.0, 1.0); 4]).contains("4 levels"));
        assert!(refused(&[level(100.0, 120.0); 5]).contains("all alike"));
        let mut short = [level(100.0, 120.0); 5];
        short[2].time = Duration::from_secs(59);
        assert!(refused(&short).contains("level 2"));
    }
}
