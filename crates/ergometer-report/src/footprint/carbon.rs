//! Emissions of a known energy: elsewhere, in other units, and read backwards from a published figure.

use std::ops::RangeInclusive;

use ergometer::{Energy, Error, Result};
use serde::Serialize;

use crate::quantity::{CarbonIntensity, Co2e, Pue, Quantity};

/// Somewhere to train: a facility and the electricity it runs on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Place {
    /// What it is called.
    pub name: String,
    /// The facility's overhead.
    pub pue: Pue,
    /// The carbon intensity of its electricity.
    #[serde(rename = "g_per_kwh")]
    pub intensity: CarbonIntensity,
}

/// What the same work would come to at a place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Elsewhere {
    /// Where.
    pub place: Place,
    /// Energy of the facility there.
    #[serde(rename = "facility_energy_j")]
    pub facility: Energy,
    /// What it emits there.
    #[serde(rename = "co2e_kg")]
    pub co2e: Co2e,
    /// Its emissions as a multiple of those at the first place; missing where that emits nothing.
    pub ratio: Option<f64>,
}

impl Elsewhere {
    /// The share of the first place's emissions that this one saves, negative where it emits more; missing where the first
    /// emits nothing.
    pub fn saving(&self) -> Option<f64> {
        self.ratio.map(|ratio| 1.0 - ratio)
    }
}

/// The same energy of the equipment at other places: `CO2e = IT·PUE·intensity` (Strubell et al. 2019, equations 1 and 2;
/// Touvron et al. 2023 set three models side by side in this way).
///
/// The places come back in their order; the first is the one that the others are set against. Hardware and work are taken
/// to be the same, and an annual mean says nothing of what moving one training changes at the margin.
///
/// ```
/// use ergometer::Energy;
/// use ergometer_report::footprint::{Place, location_what_if};
/// use ergometer_report::quantity::{CarbonIntensity, Pue};
///
/// let place = |name: &str, kilograms: f64| -> ergometer::Result<Place> {
///     let intensity = CarbonIntensity::from_kilograms_per_kilowatt_hour(kilograms);
///     Ok(Place { name: name.into(), pue: Pue::new(1.1)?, intensity })
/// };
/// // LLaMA-65B, 1,022,362 hours at 400 W; printed for the mean of the United States: 173 t (Touvron et al. 2023).
/// let it = Energy::from_kilowatt_hours(408_944.8);
/// let told = location_what_if(it, &[place("US", 0.385)?, place("FR", 0.0442)?]);
/// assert_eq!(format!("{:.0}", told[0].co2e.as_tonnes()), "173");
/// assert_eq!(format!("{:.0}", told[1].co2e.as_tonnes()), "20");
/// # Ok::<(), ergometer::Error>(())
/// ```
pub fn location_what_if(it: Energy, places: &[Place]) -> Vec<Elsewhere> {
    let emitted = |place: &Place| place.pue.facility(it) * place.intensity;
    let base = places.first().map(emitted);
    places
        .iter()
        .map(|place| Elsewhere {
            place: place.clone(),
            facility: place.pue.facility(it),
            co2e: emitted(place),
            ratio: base.and_then(|base| emitted(place).ratio_to(base).ok()),
        })
        .collect()
}

/// How many of something come to as much: n = amount/factor, with the factor that of one kilometre, flight, car or year.
///
/// Emissions are told in things that emit, and energy in things that use energy, which needs no carbon intensity.
///
/// ```
/// use ergometer_report::footprint::equivalents;
/// use ergometer_report::quantity::Co2e;
///
/// // carbontracker's own development, in km of a new European car of 2018; printed: 26.296 (Anthony et al. 2020).
/// let kilometres = equivalents(Co2e::from_kilograms(3.166), Co2e::from_grams(120.4))?;
/// assert_eq!(format!("{kilometres:.3}"), "26.296");
/// # Ok::<(), ergometer::Error>(())
/// ```
///
/// # Errors
/// A factor that is not above 0, an amount that is not a number, or money of two currencies.
pub fn equivalents<Q: Quantity>(amount: Q, factor: Q) -> Result<f64> {
    if factor.size() > 0.0 {
        amount.ratio_to(factor)
    } else {
        Err(Error::invalid(format!("nothing can be told in units of {}", factor.size()))
            .cure("give what one of them comes to"))
    }
}

/// Annual national means of 2024 span 20.8 to 1,306 g CO2e/kWh (Ember); nothing is generated far outside of them.
pub const PLAUSIBLE: RangeInclusive<CarbonIntensity> =
    CarbonIntensity::from_grams_per_kilowatt_hour(10.0)
        ..=CarbonIntensity::from_grams_per_kilowatt_hour(1350.0);

/// The carbon intensity behind a published pair of energy and emissions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Implied {
    /// Emissions over energy.
    #[serde(rename = "g_per_kwh")]
    pub intensity: CarbonIntensity,
    /// Whether electricity can be that clean, or that dirty.
    pub plausibility: Plausibility,
}

/// Where an intensity lies against what electricity has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Plausibility {
    /// Below the range: market-based accounting, or an error in the published figures.
    TooLow,
    /// Within the range.
    Plausible,
    /// Above the range: an error in the published figures.
    TooHigh,
}

/// The carbon intensity that published emissions and energy imply: intensity = CO2e/energy, flagged outside `plausible`, for
/// which [`PLAUSIBLE`] will do.
///
/// ```
/// use ergometer::Energy;
/// use ergometer_report::footprint::{PLAUSIBLE, Plausibility, implied_intensity};
/// use ergometer_report::quantity::Co2e;
///
/// // Llama 4 Scout: 5.0 million hours at 700 W, 1,354 t (Meta's model card).
/// let implied = implied_intensity(
///     Co2e::from_tonnes(1354.0),
///     Energy::from_kilowatt_hours(3.5e6),
///     PLAUSIBLE,
/// )?;
/// assert_eq!(implied.intensity.to_string(), "387 g CO2e/kWh");
/// assert_eq!(implied.plausibility, Plausibility::Plausible);
/// # Ok::<(), ergometer::Error>(())
/// ```
///
/// # Errors
/// An energy that is not above 0, or emissions that are not a number.
pub fn implied_intensity(
    co2e: Co2e,
    energy: Energy,
    plausible: RangeInclusive<CarbonIntensity>,
) -> Result<Implied> {
    let grams = co2e.as_grams() / energy.as_kilowatt_hours();
    if energy <= Energy::ZERO || !grams.is_finite() {
        return Err(Error::invalid(format!("{co2e} for {energy} is no carbon intensity"))
            .cure("give emissions, and an energy above 0"));
    }
    let intensity = CarbonIntensity::from_grams_per_kilowatt_hour(grams);
    let plausibility = if intensity < *plausible.start() {
        Plausibility::TooLow
    } else if intensity > *plausible.end() {
        Plausibility::TooHigh
    } else {
        Plausibility::Plausible
    };
    Ok(Implied { intensity, plausibility })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intensity_outside_the_range_is_flagged() {
        let implied = |tonnes: f64| {
            let energy = Energy::from_kilowatt_hours(1e6);
            implied_intensity(Co2e::from_tonnes(tonnes), energy, PLAUSIBLE).unwrap().plausibility
        };
        assert_eq!(implied(9.0), Plausibility::TooLow);
        assert_eq!(implied(10.0), Plausibility::Plausible);
        assert_eq!(implied(1351.0), Plausibility::TooHigh);
        assert!(implied_intensity(Co2e::from_tonnes(1.0), Energy::ZERO, PLAUSIBLE).is_err());
    }

    #[test]
    fn nothing_is_told_in_units_of_nothing() {
        assert!(equivalents(Co2e::from_kilograms(1.0), Co2e::default()).is_err());
    }

    #[test]
    fn a_place_without_emissions_is_no_base() {
        let clean = Place {
            name: "clean".into(),
            pue: Pue::NO_OVERHEAD,
            intensity: CarbonIntensity::from_grams_per_kilowatt_hour(0.0),
        };
        assert_eq!(location_what_if(Energy::from_joules(1.0), &[clean])[0].ratio, None);
    }
}
