//! The same run begun at another hour.

use ergometer::{Energy, Error, Result};
use serde::Serialize;

use crate::quantity::{CarbonIntensity, Co2e};

/// What a run would emit by when it starts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StartTimes {
    /// The start that emits least, by its place in the list; the first of equals.
    pub best: usize,
    /// The start that emits most; the first of equals.
    pub worst: usize,
    #[serde(rename = "co2e_kg")]
    totals: Vec<Co2e>,
}

/// What the best start is set against; the three differ much, so a saving without its reference says little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// The worst start.
    Worst,
    /// The mean of all starts: what starting at random comes to.
    Mean,
    /// The start at this place in the list, such as midnight.
    Start(usize),
}

impl StartTimes {
    /// The share that the best start saves of a reference: 1 − best/reference; `None` for a start that is not in the list.
    pub fn saving(&self, reference: Reference) -> Option<f64> {
        Some(1.0 - self.totals[self.best].as_kilograms() / self.of(reference)?.as_kilograms())
    }

    /// How much more a reference emits than the best start, as a fraction: reference/best − 1; `None` for a start that is
    /// not in the list.
    pub fn increase(&self, reference: Reference) -> Option<f64> {
        Some(self.of(reference)?.as_kilograms() / self.totals[self.best].as_kilograms() - 1.0)
    }

    /// What the run emits from this start, or from all of them on average.
    pub fn of(&self, reference: Reference) -> Option<Co2e> {
        match reference {
            Reference::Worst => self.totals.get(self.worst).copied(),
            Reference::Mean => {
                #[expect(clippy::cast_precision_loss, reason = "a list of starts is short")]
                let starts = self.totals.len() as f64;
                let sum: Co2e = self.totals.iter().copied().sum();
                Some(Co2e::from_kilograms(sum.as_kilograms() / starts))
            }
            Reference::Start(place) => self.totals.get(place).copied(),
        }
    }
}

/// The best and the worst of several starts of one run, from what it emits at each (Dodge et al. 2022).
///
/// Intensities of the past tell what could have been saved, not what will be; a run of days has little to gain.
///
/// ```
/// use ergometer_report::footprint::{Reference, start_time_what_if};
/// use ergometer_report::quantity::Co2e;
///
/// // Fine-tuning BERT in the central United States, every three hours (Dodge et al. 2022, table 3).
/// let grams = [2330.0, 2249.0, 2204.0, 2299.0, 2320.0, 2317.0, 2339.0, 2344.0];
/// let starts = start_time_what_if(&grams.map(Co2e::from_grams))?;
/// assert_eq!((starts.best * 3, starts.worst * 3), (6, 21));
/// assert_eq!(format!("{:.3?}", starts.saving(Reference::Worst)), "Some(0.060)");
/// # Ok::<(), ergometer::Error>(())
/// ```
///
/// # Errors
/// No start, or emissions that are not above 0.
pub fn start_time_what_if(totals: &[Co2e]) -> Result<StartTimes> {
    if let Some(place) = totals.iter().position(|total| !is_positive(*total)) {
        return Err(Error::invalid(format!("start {place} has no emissions"))
            .cure("give what the run emits from each start"));
    }
    let mut places = 0..totals.len();
    let first = places.next().ok_or_else(|| {
        Error::invalid("there is no start to choose from").cure("give one at least")
    })?;
    let (mut best, mut worst) = (first, first);
    for place in places {
        if totals[place] < totals[best] {
            best = place;
        }
        if totals[place] > totals[worst] {
            worst = place;
        }
    }
    Ok(StartTimes { best, worst, totals: totals.to_vec() })
}

/// What a run emits from each start at which the intensities last until its end: Σ E(h)·I(start + h).
///
/// `energy` is the run's by interval, from its log rather than spread evenly; `intensity` is by interval too, of the same
/// length, an hour as a rule. The first total is that of a start in the first interval.
///
/// # Errors
/// A run of no interval, or intensities that end before the run does.
pub fn start_totals(energy: &[Energy], intensity: &[CarbonIntensity]) -> Result<Vec<Co2e>> {
    if energy.is_empty() || intensity.len() < energy.len() {
        return Err(Error::invalid(format!(
            "{} intensities do not cover a run of {} intervals",
            intensity.len(),
            energy.len()
        ))
        .cure("give the intensities from the first start to the end of the last run"));
    }
    let total = |window: &[CarbonIntensity]| {
        energy.iter().zip(window).map(|(energy, intensity)| *energy * *intensity).sum()
    };
    Ok(intensity.windows(energy.len()).map(total).collect())
}

fn is_positive(mass: Co2e) -> bool {
    mass.as_kilograms() > 0.0 && mass.as_kilograms().is_finite()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_later_than_the_intensities_allow_is_not_offered() {
        let energy = [1.0, 3.0].map(Energy::from_kilowatt_hours);
        let intensity = [100.0, 50.0, 200.0].map(CarbonIntensity::from_grams_per_kilowatt_hour);
        let totals = start_totals(&energy, &intensity).unwrap();
        assert_eq!(totals, [250.0, 650.0].map(Co2e::from_grams));
        assert_eq!(start_time_what_if(&totals).unwrap().best, 0);
        assert!(start_totals(&energy, &intensity[..1]).is_err());
    }

    #[test]
    fn a_missing_total_is_not_the_best_one() {
        assert!(start_time_what_if(&[]).is_err());
        assert!(start_time_what_if(&[Co2e::from_grams(5.0), Co2e::from_grams(f64::NAN)]).is_err());
        assert!(start_time_what_if(&[Co2e::from_grams(5.0), Co2e::default()]).is_err());
    }
}
