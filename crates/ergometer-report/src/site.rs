//! A [`Site`]: where a training ran or might run, and what its electricity emits and costs there.

use std::fmt;

use ergometer::{Energy, Error, Result};
use serde::{Serialize, Serializer};

use crate::footprint::PLAUSIBLE;
use crate::grid;
use crate::quantity::{CarbonIntensity, Co2e, EnergyPrice, Money, Pue};

/// Where a training ran or might run: its building's overhead, its electricity's carbon intensity and price.
///
/// Energies given to it are those of the IT equipment, as a log has them; the overhead is applied here, once. What is not
/// known of a place stays missing: there is no mean of the world that stands in.
///
/// ```
/// use ergometer::Energy;
/// use ergometer_report::quantity::Pue;
/// use ergometer_report::site::Site;
///
/// let site = Site::default().country("FR")?.pue(Pue::new(1.2)?, "the provider's mean of 2025");
/// let emitted = site.carbon(Energy::from_kilowatt_hours(10.0));
/// assert!(emitted.is_some_and(|mass| mass.as_kilograms() < 1.0));
/// assert_eq!(Site::default().carbon(Energy::from_kilowatt_hours(10.0)), None);
/// # Ok::<(), ergometer::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Site {
    /// What it is called.
    pub name: Option<String>,
    /// The facility's overhead.
    pub pue: Sourced<Pue>,
    /// The carbon intensity of its electricity.
    #[serde(rename = "intensity_g_per_kwh")]
    pub intensity: Option<Sourced<CarbonIntensity>>,
    /// The price of its electricity.
    #[serde(rename = "price_per_kwh", serialize_with = "price")]
    pub price: Option<EnergyPrice>,
}

/// A number and where it is from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sourced<T> {
    /// The number.
    pub value: T,
    /// Where it is from, in words: whose figure, of which year, of what.
    pub source: String,
}

/// A place without a name, of PUE 1.0, of which neither carbon intensity nor price are known.
impl Default for Site {
    fn default() -> Self {
        let source = "no cooling or other overhead counted".to_owned();
        let pue = Sourced { value: Pue::NO_OVERHEAD, source };
        Site { name: None, pue, intensity: None, price: None }
    }
}

/// Above any electricity: the dirtiest annual mean of a country is some 1,300 g CO2e/kWh.
const CEILING: CarbonIntensity = CarbonIntensity::from_grams_per_kilowatt_hour(2000.0);

impl Site {
    /// The place that is best known: with the intensity that was `given`, or else the `live` one, or else the annual mean of
    /// the `country`, or else none.
    ///
    /// The country gives the place its name in any case. Where its mean is not needed, it may be one without a mean.
    ///
    /// # Errors
    /// A country whose mean is needed and not known, and an intensity that electricity cannot have.
    pub fn choose(
        given: Option<CarbonIntensity>,
        live: Option<Sourced<CarbonIntensity>>,
        country: Option<&str>,
    ) -> Result<Site> {
        let given = given.map(|value| Sourced { value, source: "given by the user".to_owned() });
        match (given.or(live), country) {
            (Some(known), country) => {
                let name = country.map(|country| match grid::country(country) {
                    Ok(country) => country.name.to_owned(),
                    Err(_) => country.to_owned(),
                });
                Site { name, ..Site::default() }.intensity(known.value, known.source)
            }
            (None, Some(country)) => Site::default().country(country),
            (None, None) => Ok(Site::default()),
        }
    }

    /// This place in a country, of the annual mean of its electricity; by ISO 3166 code or name.
    ///
    /// # Errors
    /// A country whose mean is not known, with the names that are nearest.
    pub fn country(self, country: &str) -> Result<Site> {
        let country = grid::country(country)?;
        let intensity = Some(Sourced { value: country.intensity, source: country.source() });
        Ok(Site { name: Some(country.name.to_owned()), intensity, ..self })
    }

    /// This place with a carbon intensity that is known otherwise, and whose figure it is.
    ///
    /// # Errors
    /// An intensity that electricity cannot have: 0, below 0, above 2,000 g/kWh, or no number. Certificates of origin do not
    /// make it 0.
    pub fn intensity(self, value: CarbonIntensity, source: impl Into<String>) -> Result<Site> {
        let intensity = Some(Sourced { value: possible(value)?, source: source.into() });
        Ok(Site { intensity, ..self })
    }

    /// This place with the overhead of its building, and whose figure it is.
    #[must_use]
    pub fn pue(self, value: Pue, source: impl Into<String>) -> Site {
        Site { pue: Sourced { value, source: source.into() }, ..self }
    }

    /// This place with the price that is paid for its electricity, overhead included.
    #[must_use]
    pub fn price(self, price: EnergyPrice) -> Site {
        Site { price: Some(price), ..self }
    }

    /// This place with a name.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Site {
        Site { name: Some(name.into()), ..self }
    }

    /// Energy of the facility when its IT equipment uses `it`.
    pub fn facility(&self, it: Energy) -> Energy {
        self.pue.value.facility(it)
    }

    /// What `it`, energy of the IT equipment, emits here: `CO2e = IT·PUE·intensity` (Strubell et al. 2019, equations 1 and 2);
    /// `None` where the intensity is not known.
    pub fn carbon(&self, it: Energy) -> Option<Co2e> {
        self.intensity.as_ref().map(|intensity| self.facility(it) * intensity.value)
    }

    /// What makes one wonder about the intensity: that it is outside of what annual means span, as it is in another unit.
    pub(crate) fn doubt(&self) -> Option<String> {
        let intensity = self.intensity.as_ref()?;
        (!PLAUSIBLE.contains(&intensity.value)).then(|| {
            format!(
                "{} is outside of {:.0} to {}, which annual means span: is the unit right?",
                Plain(intensity.value),
                PLAUSIBLE.start().as_grams_per_kilowatt_hour(),
                PLAUSIBLE.end()
            )
        })
    }

    /// What `it`, energy of the IT equipment, costs here, with the facility's overhead; `None` where the price is not known.
    pub fn cost(&self, it: Energy) -> Option<Money> {
        self.price.map(|price| self.facility(it) * price)
    }
}

/// What is known of the place, a line for each; in words, with sources.
impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "place      {}", self.name.as_deref().unwrap_or("not named"))?;
        match &self.intensity {
            Some(Sourced { value, source }) => {
                writeln!(f, "intensity  {}: {source}", Plain(*value))?;
                if let Some(doubt) = self.doubt() {
                    writeln!(f, "           {doubt}")?;
                }
            }
            None => writeln!(f, "intensity  not known, so no emissions are told")?,
        }
        write!(f, "PUE        {:?}: {}", self.pue.value.ratio(), self.pue.source)?;
        match self.price {
            Some(price) => write!(f, "\nprice      {:.4}/kWh", unit_price(price)),
            None => Ok(()),
        }
    }
}

/// An intensity with digits enough to be told from 0.
pub(crate) struct Plain(pub(crate) CarbonIntensity);

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = match self.0.as_grams_per_kilowatt_hour().abs() {
            size if size < 1.0 => 3,
            size if size < 10.0 => 1,
            _ => 0,
        };
        write!(f, "{:.digits$}", self.0)
    }
}

/// The intensity, if electricity can have it.
pub(crate) fn possible(intensity: CarbonIntensity) -> Result<CarbonIntensity> {
    let size = intensity.as_grams_per_kilowatt_hour();
    if size > 0.0 && intensity <= CEILING {
        return Ok(intensity);
    }
    let cure = if size > 0.0 {
        "give grams of CO2 equivalent per kilowatt hour"
    } else {
        "give what the grid emits; what is not known is left out, and what was bought as green is no emission saved"
    };
    Err(Error::invalid(format!("a carbon intensity of {size} g CO2e/kWh is not possible"))
        .cure(cure))
}

/// What a kilowatt hour costs.
fn unit_price(price: EnergyPrice) -> Money {
    Energy::from_kilowatt_hours(1.0) * price
}

fn price<S: Serializer>(price: &Option<EnergyPrice>, serializer: S) -> Result<S::Ok, S::Error> {
    money(&price.map(unit_price), serializer)
}

/// Money as an object: `{"amount": 0.25, "currency": "EUR"}`.
pub(crate) fn money<S: Serializer>(
    money: &Option<Money>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Object {
        amount: f64,
        currency: String,
    }
    let object =
        |money: Money| Object { amount: money.amount, currency: money.currency.to_string() };
    money.map(object).serialize(serializer)
}
