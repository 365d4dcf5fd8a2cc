//! Where runs trained or might train, as arguments say it.

use clap::Args;
use ergometer::{Error, Result};
use ergometer_report::quantity::{CarbonIntensity, EnergyPrice, Pue};
use ergometer_report::site::{Site, Sourced};
use ergometer_sinks::config::Config;

/// Where runs trained or might train.
#[derive(Args, Debug)]
pub(crate) struct Place {
    /// Country whose electricity is used, by ISO 3166 code or name: `FR`, `FRA`, `France`.
    #[arg(long, value_name = "COUNTRY", help_heading = "Place")]
    country: Vec<String>,
    /// Carbon intensity of the electricity in g CO2e/kWh, if it is known better than the country's annual mean.
    #[arg(long, value_name = "G_PER_KWH", allow_negative_numbers = true, help_heading = "Place")]
    intensity: Option<f64>,
    /// Power usage effectiveness of the building: its energy over that of its computers. Without it 1.0: no overhead.
    #[arg(long, value_name = "RATIO", allow_negative_numbers = true, help_heading = "Place")]
    pue: Vec<f64>,
    /// Price of a kilowatt hour, with the currency: `"0.25 EUR"`.
    #[arg(long, value_name = "PRICE", help_heading = "Place")]
    price: Vec<EnergyPrice>,
    #[cfg(feature = "live")]
    #[command(flatten)]
    live: crate::live::Live,
}

impl Place {
    /// Whether an argument says anything.
    pub(crate) fn is_given(&self) -> bool {
        let known = self.intensity.is_some() || !self.country.is_empty();
        #[cfg(feature = "live")]
        let known = known || self.live.is_given();
        known || !self.pue.is_empty() || !self.price.is_empty()
    }

    /// Whether an argument names a price.
    pub(crate) fn is_priced(&self) -> bool {
        !self.price.is_empty()
    }

    /// The place that the arguments name.
    ///
    /// # Errors
    /// Several places, an unknown country, and numbers that cannot be.
    pub(crate) fn site(&self) -> Result<Site> {
        let mut sites = self.sites()?;
        match (sites.pop(), sites.is_empty()) {
            (Some(site), true) => Ok(site),
            _ => {
                Err(Error::invalid("several countries are given")
                    .cure("give the one that is meant"))
            }
        }
    }

    /// The places that the arguments name, the own one first. If they name none, the one that the environment or
    /// `ergometer.toml` says, or else one of which nothing is known.
    ///
    /// An intensity that is given, or live, is that of the first. One PUE or price holds at all places; several are those of
    /// the places in their order.
    ///
    /// # Errors
    /// An unknown country, numbers that cannot be, and more or fewer numbers than places.
    pub(crate) fn sites(&self) -> Result<Vec<Site>> {
        let given = self.intensity.map(CarbonIntensity::from_grams_per_kilowatt_hour);
        let live = if given.is_some() { None } else { self.live()? };
        let named = given.is_some() || live.is_some() || !self.country.is_empty();
        // Another place's overhead and price would be wrong here, so the own one counts as a whole or not at all.
        let own = if named {
            Site::choose(given, live, self.country.first().map(String::as_str))?
        } else {
            Config::read()?.from_env().site()?
        };
        let mut sites = vec![own];
        for country in self.country.iter().skip(1) {
            sites.push(Site::default().country(country)?);
        }
        let count = sites.len();
        let pues = for_each(&self.pue, count, "--pue")?;
        let prices = for_each(&self.price, count, "--price")?;
        sites
            .into_iter()
            .enumerate()
            .map(|(place, site)| {
                let site = match pues.get(place) {
                    Some(pue) => site.pue(Pue::new(*pue)?, "given by the user"),
                    None => site,
                };
                Ok(prices.get(place).copied().into_iter().fold(site, Site::price))
            })
            .collect()
    }

    #[cfg(feature = "live")]
    fn live(&self) -> Result<Option<Sourced<CarbonIntensity>>> {
        self.live.read()
    }

    #[cfg(not(feature = "live"))]
    #[expect(
        clippy::unnecessary_wraps,
        clippy::unused_self,
        reason = "the same as with the feature `live`"
    )]
    fn live(&self) -> Result<Option<Sourced<CarbonIntensity>>> {
        Ok(None)
    }
}

/// The values of an option that is given for each place, for all of them at once, or not at all.
fn for_each<T: Copy>(values: &[T], places: usize, option: &str) -> Result<Vec<T>> {
    match values {
        [one] => Ok(vec![*one; places]),
        _ if values.is_empty() || values.len() == places => Ok(values.to_vec()),
        _ => Err(Error::invalid(format!(
            "{option} is given {} times for {places} places",
            values.len()
        ))
        .cure("give it once, or once for each place in their order")),
    }
}
