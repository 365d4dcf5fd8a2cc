//! What runs cost: electricity, rent, and a price on their emissions.

use std::fmt;
use std::time::Duration;

use ergometer::{Energy, Error, Result};
use serde::Serialize;

use crate::history::History;
use crate::quantity::{CarbonPrice, DevicePrice, EnergyPrice, Money, Quantity};
use crate::site::{Site, Sourced, money};

/// The prices that a user gives, each with its date or whose it is. There is no price that stands in for one not given.
#[derive(Clone, Debug, Default)]
pub struct Prices {
    /// Of electricity.
    pub electricity: Option<Sourced<EnergyPrice>>,
    /// Of a device by time, as a cloud lets it; electricity is in it as a rule.
    pub device: Option<Sourced<DevicePrice>>,
    /// Of emissions: a tax, an allowance, or the social cost (Henderson et al. 2020).
    pub carbon: Option<Sourced<CarbonPrice>>,
}

/// What a project of runs cost, and each of them.
///
/// The parts are not added up: rent has electricity in it as a rule, and a social cost is paid by others.
#[derive(Clone, Debug, Serialize)]
pub struct Cost {
    /// All runs.
    pub total: Bill,
    /// An epoch on average, with everything around it.
    pub epoch: Option<Bill>,
    /// The runs, in their order.
    pub runs: Vec<RunCost>,
    /// The overhead that is in the electricity.
    pub pue: f64,
    /// Whose prices they are: of electricity, devices, carbon.
    pub sources: Vec<String>,
    /// Runs whose energy is not known, and is not in the total.
    pub unknown: usize,
}

/// What something cost, by what was paid for; missing where there is no price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Bill {
    /// Electricity of the facility: kWh·price.
    #[serde(serialize_with = "money")]
    pub electricity: Option<Money>,
    /// Rent of the devices: hours·price.
    #[serde(serialize_with = "money")]
    pub devices: Option<Money>,
    /// Emissions: t·price.
    #[serde(serialize_with = "money")]
    pub carbon: Option<Money>,
}

/// What a run cost.
#[derive(Clone, Debug, Serialize)]
pub struct RunCost {
    /// The run's id.
    pub run_id: String,
    /// Its energy, of the equipment.
    #[serde(rename = "energy_j")]
    pub energy: Option<Energy>,
    /// What it cost.
    pub bill: Bill,
}

impl Cost {
    /// The cost of runs at a site, each on this number of rented devices.
    ///
    /// The site gives overhead and carbon intensity, and the price of electricity where `prices` has none.
    ///
    /// # Errors
    /// No price at all, a price of carbon without an intensity, or no run whose energy is known.
    pub fn of(runs: &[History], site: &Site, prices: &Prices, devices: u32) -> Result<Cost> {
        let mut prices = prices.clone();
        prices.electricity = prices.electricity.or_else(|| {
            site.price.map(|value| Sourced { value, source: "given by the user".to_owned() })
        });
        let Prices { electricity, device, carbon } = &prices;
        if electricity.is_none() && device.is_none() && carbon.is_none() {
            return Err(Error::absent("there is no price to reckon with")
                .cure("give that of a kilowatt hour, of a device's hour, or of a tonne of CO2e"));
        }
        if carbon.is_some() && site.intensity.is_none() {
            return Err(Error::absent("emissions have a price, and are not known")
                .cure("give the carbon intensity of the electricity, or the country"));
        }
        let bill = |energy: Energy, time: Duration| Bill {
            electricity: electricity.as_ref().map(|price| site.facility(energy) * price.value),
            devices: device.as_ref().map(|price| time.mul_f64(f64::from(devices)) * price.value),
            carbon: carbon
                .as_ref()
                .and_then(|price| site.carbon(energy).map(|mass| mass * price.value)),
        };
        let (mut energy, mut time, mut epochs, mut unknown) = (Energy::ZERO, Duration::ZERO, 0, 0);
        let mut costs = Vec::with_capacity(runs.len());
        for run in runs {
            let (used, took) = (run.energy().energy, run.summary.end.duration);
            match used {
                Some(used) => {
                    energy += used;
                    time += took;
                    epochs += run.summary.epochs.count;
                }
                None => unknown += 1,
            }
            costs.push(RunCost {
                run_id: run.summary.manifest.run_id.clone(),
                energy: used,
                bill: used.map_or(Bill::default(), |used| bill(used, took)),
            });
        }
        if unknown == runs.len() {
            return Err(Error::invalid("there is no run whose energy is known")
                .cure("give runs that have ended, with a sensor or a model"));
        }
        let total = bill(energy, time);
        let sources = [
            electricity.as_ref().map(|price| format!("electricity: {}", price.source)),
            device.as_ref().map(|price| format!("devices: {}", price.source)),
            carbon.as_ref().map(|price| format!("carbon: {}", price.source)),
        ];
        Ok(Cost {
            total,
            epoch: total.share(epochs),
            runs: costs,
            pue: site.pue.value.ratio(),
            sources: sources.into_iter().flatten().collect(),
            unknown,
        })
    }
}

impl Bill {
    /// An equal share of it for each of `count`; `None` of none.
    fn share(self, count: u64) -> Option<Bill> {
        #[expect(clippy::cast_precision_loss, reason = "nobody trains for 2^53 epochs")]
        let count = count as f64;
        let of = |money: Option<Money>| money.and_then(|all| all.resized(all.amount / count).ok());
        (count > 0.0).then(|| Bill {
            electricity: of(self.electricity),
            devices: of(self.devices),
            carbon: of(self.carbon),
        })
    }

    pub(crate) fn parts(&self) -> impl Iterator<Item = (&'static str, Money)> {
        [("electricity", self.electricity), ("devices", self.devices), ("emissions", self.carbon)]
            .into_iter()
            .filter_map(|(name, money)| Some((name, money?)))
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, money) in self.total.parts() {
            write!(f, "{name:<12} {:>16}", money.to_string())?;
            let epoch = self.epoch.and_then(|epoch| {
                epoch.parts().find(|(part, _)| *part == name).map(|(_, money)| money)
            });
            if let Some(epoch) = epoch {
                write!(f, ", {epoch} an epoch")?;
            }
            let runs = self.runs.len() - self.unknown;
            let run =
                money.resized(money.amount / f64::from(u32::try_from(runs).unwrap_or(u32::MAX)));
            if let (true, Ok(run)) = (runs > 1, run) {
                write!(f, ", {run} a run")?;
            }
            writeln!(f)?;
        }
        if self.unknown > 0 {
            writeln!(f, "without {} runs of unknown energy", self.unknown)?;
        }
        for source in &self.sources {
            writeln!(f, "price of {source}")?;
        }
        writeln!(f, "PUE {:?} is in the electricity", self.pue)?;
        writeln!(
            f,
            "* Prices are the user's, and not added up: rent has electricity in it as a rule."
        )?;
        write!(
            f,
            "* Rent differs 3.4-fold between spot and on-demand (Strubell et al. 2019, table 3)."
        )
    }
}
