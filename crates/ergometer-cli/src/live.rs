//! Services that tell carbon intensities now, as arguments name them.

use std::env;

use clap::Args;
use ergometer::{Error, Result};
use ergometer_report::grid::live::{Live as Client, Secret, Service};
use ergometer_report::quantity::CarbonIntensity;
use ergometer_report::site::Sourced;

/// Which service is asked, if any.
#[derive(Args, Debug)]
pub(crate) struct Live {
    /// Ask this service for the carbon intensity of this moment: `electricity-maps:ZONE` (token in `ELECTRICITY_MAPS_TOKEN`),
    /// `great-britain`, `eco2mix`, or `watttime:REGION` (account in `WATTTIME_USER` and `WATTTIME_PASSWORD`).
    #[arg(long = "live", value_name = "SERVICE", help_heading = "Place")]
    service: Option<String>,
    /// Where the service is, if not at its public address.
    #[arg(long = "live-url", value_name = "URL", requires = "service", help_heading = "Place")]
    url: Option<String>,
}

impl Live {
    /// Whether a service is named.
    pub(crate) fn is_given(&self) -> bool {
        self.service.is_some()
    }

    /// What the service tells; nothing if none is named.
    ///
    /// # Errors
    /// An unknown service, missing credentials, and whatever is wrong with the answer.
    pub(crate) fn read(&self) -> Result<Option<Sourced<CarbonIntensity>>> {
        let Some(name) = &self.service else { return Ok(None) };
        let mut client = Client::new(service(name)?);
        if let Some(url) = &self.url {
            client = client.base(url);
        }
        Ok(Some(client.read()?.sourced()))
    }
}

fn service(name: &str) -> Result<Service> {
    let (service, grid) = name.split_once(':').unwrap_or((name, ""));
    match (service, grid) {
        ("great-britain", "") => Ok(Service::GreatBritain),
        ("eco2mix", "") => Ok(Service::Eco2mix),
        ("electricity-maps", zone) if !zone.is_empty() => Ok(Service::ElectricityMaps {
            zone: zone.to_owned(),
            token: Secret::new(variable("ELECTRICITY_MAPS_TOKEN")?)?,
        }),
        ("watttime", region) if !region.is_empty() => Ok(Service::WattTime {
            region: region.to_owned(),
            user: variable("WATTTIME_USER")?,
            password: Secret::new(variable("WATTTIME_PASSWORD")?)?,
        }),
        _ => Err(Error::invalid(format!("`{name}` is no service that tells carbon intensities"))
            .cure("name electricity-maps:ZONE, great-britain, eco2mix or watttime:REGION")),
    }
}

fn variable(name: &str) -> Result<String> {
    env::var(name).map_err(|_| {
        Error::absent(format!("the environment has no `{name}`"))
            .cure("set it to what the service gave you")
    })
}
