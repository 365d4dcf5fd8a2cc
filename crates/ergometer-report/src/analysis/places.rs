//! What the same runs would emit and cost at other places.

use std::collections::BTreeSet;
use std::fmt;

use ergometer::record::{Estimate, Quality};
use ergometer::{Energy, Error, Result};
use serde::Serialize;

use crate::history::History;
use crate::quantity::{Co2e, Money, Quantity};
use crate::site::{Plain, Site, money};

/// What runs would emit and cost at several places: `CO2e = IT·PUE·intensity` at each (Strubell et al. 2019, equations 1
/// and 2; Touvron et al. 2023 set models side by side in this way).
///
/// Hardware, work and time are taken to be the same everywhere. Manufacture, the transfer of data, and certificates of
/// origin are not counted, and a mean intensity says nothing of what moving one training changes at the margin.
#[derive(Clone, Debug, Serialize)]
pub struct Places {
    /// Runs that are added up.
    pub runs: usize,
    /// Energy of the IT equipment in all of them.
    #[serde(rename = "it")]
    pub energy: Estimate,
    /// True if a model stands for any part of it.
    pub estimated: bool,
    /// Runs that did not end as planned; what they used until then counts.
    pub unfinished: usize,
    /// Runs whose energy is not known, and is not in the sum.
    pub unknown: usize,
    /// What could have been measured in these runs and was not, by source.
    pub unmeasured: BTreeSet<String>,
    /// The places, what emits least first; those whose intensity is not known at the end.
    pub places: Vec<Stay>,
}

/// What runs come to at a place.
#[derive(Clone, Debug, Serialize)]
pub struct Stay {
    /// The place.
    pub site: Site,
    /// True of the place that the others are set against.
    pub own: bool,
    /// Energy of the facility.
    pub facility: Estimate,
    /// What it emits; missing where the intensity is not known.
    #[serde(rename = "co2e_kg")]
    pub co2e: Option<Co2e>,
    /// Its standard uncertainty (k = 1) as far as it comes from the energy; that of the intensity is larger, and not told.
    #[serde(rename = "u_energy_co2e_kg")]
    pub uncertainty: Option<Co2e>,
    /// Its emissions as a multiple of those at the own place; the energy, and what is uncertain of it, cancels.
    pub ratio: Option<f64>,
    /// What the electricity costs; missing where the price is not known.
    #[serde(serialize_with = "money")]
    pub cost: Option<Money>,
}

impl Places {
    /// What the runs come to at each of the sites; the first is the own place.
    ///
    /// The runs' uncertainties are added up as if they erred alike, which no sum exceeds (JCGM 100:2008, 5.2.2).
    ///
    /// # Errors
    /// No run whose energy is known; no site, or none of which anything is known.
    pub fn of(runs: &[History], sites: &[Site]) -> Result<Places> {
        if !sites.iter().any(is_known) {
            return Err(Error::invalid("nothing is known of any place")
                .cure("give a country, a carbon intensity, a price, or a PUE"));
        }
        let energy = sum(runs).ok_or_else(|| {
            Error::invalid("there is no run whose energy is known")
                .cure("give runs that have ended, with a sensor or a model")
        })?;
        let unmeasured = runs.iter().flat_map(|run| &run.summary.manifest.unmeasured);
        Ok(Places {
            runs: runs.len(),
            energy,
            estimated: runs.iter().any(History::is_estimated),
            unfinished: runs.iter().filter(|run| !run.is_complete()).count(),
            unknown: runs.iter().filter(|run| run.energy().energy.is_none()).count(),
            unmeasured: unmeasured.map(|part| part.source.clone()).collect(),
            places: stays(&energy, sites),
        })
    }

    /// The place that the others are set against.
    pub fn own(&self) -> Option<&Stay> {
        self.places.iter().find(|stay| stay.own)
    }
}

/// True if the user said anything of the place.
fn is_known(site: &Site) -> bool {
    site.intensity.is_some() || site.price.is_some() || site.pue != Site::default().pue
}

/// The runs' energy together, of those where it is known.
fn sum(runs: &[History]) -> Option<Estimate> {
    let known: Vec<Estimate> =
        runs.iter().map(History::energy).filter(|run| run.energy.is_some()).collect();
    let quality: Quality = known.iter().map(|run| run.quality).max()?;
    let uncertainty: Option<Energy> = known.iter().map(|run| run.uncertainty).sum();
    Some(Estimate { energy: known.iter().map(|run| run.energy).sum(), uncertainty, quality })
}

fn stays(it: &Estimate, sites: &[Site]) -> Vec<Stay> {
    let carbon = |site: &Site| it.energy.and_then(|energy| site.carbon(energy));
    let own = sites.first().and_then(carbon);
    let mut stays: Vec<Stay> = sites
        .iter()
        .enumerate()
        .map(|(place, site)| Stay {
            own: place == 0,
            facility: Estimate {
                energy: it.energy.map(|energy| site.facility(energy)),
                uncertainty: it.uncertainty.map(|energy| site.facility(energy)),
                quality: it.quality,
            },
            co2e: carbon(site),
            uncertainty: it.uncertainty.and_then(|energy| site.carbon(energy)),
            ratio: carbon(site).zip(own).and_then(|(here, own)| here.ratio_to(own).ok()),
            cost: it.energy.and_then(|energy| site.cost(energy)),
            site: site.clone(),
        })
        .collect();
    let size = |stay: &Stay| stay.co2e.map_or(f64::INFINITY, Co2e::as_kilograms);
    stays.sort_by(|left, right| size(left).total_cmp(&size(right)));
    stays
}

/// A table with a line for each place, and what it rests on, in at most 100 columns.
impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = if self.runs == 1 { "1 run".to_owned() } else { format!("{} runs", self.runs) };
        writeln!(f, "{runs}: {} of IT equipment, the same at each place", self.energy)?;
        self.table(f)?;
        writeln!(
            f,
            "Energy ± expanded uncertainty (k = 2), and CO2e as much; CO2e = energy · PUE · intensity."
        )?;
        self.sources(f)?;
        f.write_str(CAVEATS)?;
        if self.estimated {
            f.write_str("\nA model stands for part of the energy: it is estimated, not measured.")?;
        }
        if self.unfinished > 0 {
            write!(f, "\n{} of {runs} did not end as planned.", self.unfinished)?;
        }
        if self.unknown > 0 {
            write!(
                f,
                "\nOf {} of {runs} no energy is known, and none is in the sum.",
                self.unknown
            )?;
        }
        self.unmeasured.iter().try_for_each(|source| write!(f, "\nnot measured: {source}"))
    }
}

/// National means of one year from two methods differ by −23 % to +56 %: Ember against Electricity Maps, both for 2024.
const CAVEATS: &str = "\
A mean intensity is not what moving one training changes. Methods differ by up to a half for one
country and year. Manufacture, data transfer and certificates of origin are not counted.";

impl Places {
    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |stay: &Stay| {
            let name = stay.site.name.as_deref().unwrap_or("not named");
            let cut: String = name.chars().take(24).collect();
            if stay.own { format!("{cut} (own)") } else { cut }
        };
        let facility = |stay: &Stay| match (stay.facility.energy, stay.facility.expanded()) {
            (Some(energy), Some(expanded)) => energy.plus_minus(expanded).to_string(),
            (Some(energy), None) => format!("{energy} ± {MISSING}"),
            (None, _) => MISSING.to_owned(),
        };
        let line = |stay: &Stay| {
            [
                name(stay),
                told(stay.site.intensity.as_ref(), |it| {
                    Plain(it.value).to_string().trim_end_matches(" g CO2e/kWh").to_owned()
                }),
                format!("{:?}", stay.site.pue.value.ratio()),
                facility(stay),
                told(stay.co2e, |mass| brief(mass).trim_end_matches(" CO2e").to_owned()),
                told(stay.ratio, |ratio| format!("{ratio:.2}")),
                told(stay.cost, |money| money.to_string()),
            ]
        };
        let titles = ["place", "g/kWh", "PUE", "facility", "CO2e", "vs own", "cost"];
        let mut lines = vec![titles.map(str::to_owned)];
        lines.extend(self.places.iter().map(line));
        let width = |column: usize| {
            lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..titles.len()).map(width).collect();
        let costs = self.places.iter().any(|stay| stay.cost.is_some());
        for cells in &lines {
            write!(f, "  {:1$}", cells[0], widths[0])?;
            for (cell, width) in
                cells.iter().zip(&widths).skip(1).take(titles.len() - 2 + usize::from(costs))
            {
                write!(f, "  {cell:>width$}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }

    /// Whose the intensities and overheads are, each source once.
    fn sources(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for stay in &self.places {
            match &stay.site.intensity {
                Some(intensity) => {
                    writeln!(f, "  {}: {}", Plain(intensity.value), intensity.source)?;
                }
                None => writeln!(
                    f,
                    "  {}: intensity not known, so no emissions are told",
                    stay.site.name.as_deref().unwrap_or("not named")
                )?,
            }
        }
        for doubt in self.places.iter().filter_map(|stay| stay.site.doubt()) {
            writeln!(f, "  {doubt}")?;
        }
        let overheads: BTreeSet<String> = self
            .places
            .iter()
            .map(|stay| {
                format!("  PUE {:?}: {}", stay.site.pue.value.ratio(), stay.site.pue.source)
            })
            .collect();
        overheads.iter().try_for_each(|overhead| writeln!(f, "{overhead}"))
    }
}

const MISSING: &str = "—";

fn told<T>(value: Option<T>, tell: impl FnOnce(T) -> String) -> String {
    value.map_or(MISSING.to_owned(), tell)
}

/// A mass with two or three digits: more would promise what no intensity holds.
fn brief(mass: Co2e) -> String {
    let tenths = format!("{mass:.1}");
    if tenths.find('.') == Some(1) { tenths } else { format!("{mass:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mass_keeps_two_or_three_digits() {
        assert_eq!(
            [0.052, 0.57, 5.7, 57.0, 570.0].map(|grams| brief(Co2e::from_grams(grams))),
            ["52 mg CO2e", "570 mg CO2e", "5.7 g CO2e", "57 g CO2e", "570 g CO2e",]
        );
    }
}
