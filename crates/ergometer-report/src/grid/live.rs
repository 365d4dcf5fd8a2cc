//! Carbon intensities that a service tells now: [`Live`].
//!
//! Nothing is asked of the network unless [`Live::read`] is called. A service that does not answer is an error, and no
//! other figure stands in for its.

mod eco2mix;
mod electricity_maps;
mod great_britain;
mod http;
mod watttime;

use std::fmt;
use std::time::Duration;

use ergometer::{Error, Result};
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use self::http::Http;
use crate::quantity::CarbonIntensity;
use crate::site::{Sourced, possible};

/// A service that tells the carbon intensity of electricity, and how it is asked.
///
/// ```no_run
/// use ergometer_report::grid::live::{Live, Service};
/// use ergometer_report::site::Site;
///
/// let reading = Live::new(Service::GreatBritain).read()?;
/// println!("{reading}");
/// let site = Site::choose(None, Some(reading.sourced()), Some("GB"))?;
/// # Ok::<(), ergometer::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Live {
    service: Service,
    base: String,
    timeout: Duration,
}

/// Who is asked, of which grid, and with which credentials.
#[derive(Clone, Debug)]
pub enum Service {
    /// Electricity Maps: the mean of what is consumed in a zone over the last hour, with imports, over the life cycle. A
    /// token is needed.
    ElectricityMaps {
        /// The zone, as `FR` or `US-CAL-CISO`.
        zone: String,
        /// The token.
        token: Secret,
    },
    /// The Carbon Intensity API of the National Energy System Operator: Great Britain, by half hours.
    GreatBritain,
    /// `éCO2mix` of RTE on the portal ODRÉ: France, by quarter hours, what the power stations emit and no more.
    Eco2mix,
    /// `WattTime`: what one more kilowatt hour would emit in a region. An account is needed.
    WattTime {
        /// The region, as `CAISO_NORTH`.
        region: String,
        /// The account's name.
        user: String,
        /// Its password.
        password: Secret,
    },
}

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

impl Live {
    /// The service at its public address, waited for ten seconds.
    pub fn new(service: Service) -> Live {
        let base = match service {
            Service::ElectricityMaps { .. } => "https://api.electricitymaps.com",
            Service::GreatBritain => "https://api.carbonintensity.org.uk",
            Service::Eco2mix => "https://odre.opendatasoft.com",
            Service::WattTime { .. } => "https://api.watttime.org",
        };
        Live { service, base: base.to_owned(), timeout: PATIENCE }
    }

    /// Asks at another address, without the path: `https://proxy.example.org`. Credentials go over HTTPS only, unless the
    /// address is this machine's own.
    #[must_use]
    pub fn base(self, url: impl Into<String>) -> Live {
        Live { base: url.into(), ..self }
    }

    /// Waits this long for the whole answer to each request.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Live {
        Live { timeout, ..self }
    }

    /// Asks the service, once.
    ///
    /// # Errors
    /// A service that cannot be reached, does not answer in time, refuses the credentials or asks for patience; an answer
    /// that is not understood, holds no intensity or is of another grid. No message holds a credential.
    pub fn read(&self) -> Result<Reading> {
        let http = Http::new(self.service.name(), &self.base, self.timeout);
        let reading = match &self.service {
            Service::ElectricityMaps { zone, token } => electricity_maps::read(&http, zone, token),
            Service::GreatBritain => great_britain::read(&http),
            Service::Eco2mix => eco2mix::read(&http),
            Service::WattTime { region, user, password } => {
                watttime::read(&http, region, user, password)
            }
        }?;
        possible(reading.intensity)?;
        Ok(reading)
    }
}

impl Service {
    fn name(&self) -> &'static str {
        match self {
            Service::ElectricityMaps { .. } => "Electricity Maps",
            Service::GreatBritain => "the Carbon Intensity API of Great Britain",
            Service::Eco2mix => "éCO2mix",
            Service::WattTime { .. } => "WattTime",
        }
    }
}

/// What a service told.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reading {
    /// The intensity.
    #[serde(rename = "g_per_kwh")]
    pub intensity: CarbonIntensity,
    /// What it is the intensity of.
    pub basis: Basis,
    /// True if the service says that it, or part of what it is made of, is estimated or forecast.
    pub estimated: bool,
    /// The grid.
    pub grid: String,
    /// When it holds.
    #[serde(serialize_with = "printed")]
    pub time: Timestamp,
    /// Who told it.
    pub service: &'static str,
}

/// What an intensity is of. The three differ too much to stand in one sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// The mean of all electricity, over the life cycle of power stations and fuels.
    LifeCycle,
    /// The mean of all electricity, of what power stations emit while they run; lower.
    Direct,
    /// What one more kilowatt hour emits.
    Marginal,
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Basis::LifeCycle => "mean over the life cycle",
            Basis::Direct => "mean of direct emissions",
            Basis::Marginal => "marginal, no mean",
        })
    }
}

impl Reading {
    /// The intensity and where it is from, in words.
    pub fn sourced(self) -> Sourced<CarbonIntensity> {
        Sourced { value: self.intensity, source: self.source() }
    }

    fn source(&self) -> String {
        let Reading { grid, service, basis, time, .. } = self;
        let estimated = if self.estimated { ", estimated" } else { "" };
        let time = time.strftime("%Y-%m-%d %H:%M UTC");
        format!("{grid}, {service}, {time}, {basis}{estimated}")
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.intensity, self.source())
    }
}

fn printed<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

/// A token or password. It prints as `…`.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// A secret from its text.
    ///
    /// # Errors
    /// A text that is empty, or that cannot be sent.
    pub fn new(text: impl Into<String>) -> Result<Secret> {
        let text = text.into();
        if !text.is_empty() && text.bytes().all(|letter| (b' '..=b'~').contains(&letter)) {
            Ok(Secret(text))
        } else {
            Err(Error::invalid("a token or password is empty or has a letter that is not ASCII")
                .cure("give it as the service gave it, without a line's end"))
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// The name of a grid, if it can stand in an address.
fn grid(name: &str) -> Result<&str> {
    let fits = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'-' || letter == b'_';
    if !name.is_empty() && name.bytes().all(fits) {
        Ok(name)
    } else {
        Err(Error::invalid(format!("`{name}` is not the name of a grid"))
            .cure("give the service's own name for it, such as FR or CAISO_NORTH"))
    }
}
