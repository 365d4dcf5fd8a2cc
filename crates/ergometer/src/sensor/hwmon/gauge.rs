//! A power gauge: something that tells the power each time it is asked.

use std::time::Duration;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::sensor::{Domain, Quantity, Reading, Sensor, Specification};
use crate::units::Power;

/// A sensor that asks for the power and passes it on.
pub(in crate::sensor) struct Gauge {
    specification: Specification,
    ask: Box<dyn FnMut() -> Result<Power> + Send>,
}

impl Gauge {
    /// Opens a gauge and asks it once.
    ///
    /// # Errors
    /// If it does not answer, or with a power below zero.
    pub(in crate::sensor) fn open(
        specification: Specification,
        ask: impl FnMut() -> Result<Power> + Send + 'static,
    ) -> Result<Gauge> {
        let mut gauge = Gauge { specification, ask: Box::new(ask) };
        gauge.power()?;
        Ok(gauge)
    }

    /// A gauge of `driver` over `domain`, updated once in `period` with the mean over `averaging`.
    pub(in crate::sensor) fn specification(
        domain: Domain,
        driver: &str,
        source: String,
        period: Duration,
        averaging: Duration,
    ) -> Specification {
        // Twice for each update, and between 5 and 20 times a second.
        let interval = (period / 2).clamp(Duration::from_millis(50), Duration::from_millis(200));
        Specification {
            stack: driver.to_owned(),
            family: driver.to_owned(),
            period,
            interval,
            // A mean over less than the time between two reads leaves gaps: to the reader it is the power of a moment.
            averaging: if averaging < interval { Duration::ZERO } else { averaging },
            ..Specification::gauge(domain, source)
        }
    }

    fn power(&mut self) -> Result<Power> {
        let power = (self.ask)()?;
        if power < Power::ZERO {
            return Err(Error::invalid(format!("it shows {power}, and nothing draws less than 0")));
        }
        Ok(power)
    }
}

impl Sensor for Gauge {
    fn specification(&self) -> &Specification {
        &self.specification
    }

    fn read(&mut self, clock: &Clock) -> Result<Reading> {
        let (before, power, after) = clock.bracket(|| self.power());
        let power = power.map_err(|cause| {
            Error::lost(format!("{} was lost: {cause}", self.specification.domain.id))
                .caused_by(cause)
        })?;
        Ok(Reading::new(before, Quantity::Gauge(power), after))
    }
}

/// The power that a firmware shows for a whole package or machine, unless it is one of its ways to say that there is
/// none: all ones (ACPI 6.5, 10.4, `_PMM`), or nothing at all, as Linux passes on a meter that has not yet answered.
pub(in crate::sensor) fn of_firmware(power: Power) -> Result<Power> {
    if power == Power::ZERO || power >= Power::from_milliwatts(u32::MAX) {
        return Err(Error::lost(format!("the firmware shows {power}, which stands for no value")));
    }
    Ok(power)
}
