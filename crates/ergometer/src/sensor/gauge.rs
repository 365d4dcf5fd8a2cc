//! A power gauge: something that tells the power each time it is asked.

use std::time::Duration;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::sensor::{Domain, Quantity, Reading, Sensor, Specification};
use crate::units::Power;

/// A sensor that asks for the power and passes it on.
pub(super) struct Gauge {
    specification: Specification,
    ask: Box<dyn FnMut() -> Result<Power> + Send>,
}

impl Gauge {
    /// Opens a gauge and asks it once.
    ///
    /// # Errors
    /// If it does not answer, or with a power that is not plausible.
    pub(super) fn open(
        specification: Specification,
        ask: impl FnMut() -> Result<Power> + Send + 'static,
    ) -> Result<Gauge> {
        let mut gauge = Gauge { specification, ask: Box::new(ask) };
        gauge.power()?;
        Ok(gauge)
    }

    /// A gauge of `driver` over `domain`, updated once in `period` with the mean over `averaging`.
    pub(super) fn specification(
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

    /// The power now.
    ///
    /// # Errors
    /// If it does not answer, or with a power that is not plausible.
    pub(super) fn power(&mut self) -> Result<Power> {
        let power = (self.ask)()?;
        // Generous, since what is plausible is known roughly; an error that a driver prints as a power is far beyond.
        if power < Power::ZERO || power > self.specification.most * 3.0 {
            return Err(Error::invalid(format!(
                "it shows {power}, which nothing of its kind draws"
            )));
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
        let power = power.map_err(|cause| cause.loses(&self.specification.domain.id))?;
        Ok(Reading::new(before, Quantity::Gauge(power), after))
    }
}

/// The power that a firmware shows for a whole package or machine, unless it is one of its ways to say that there is
/// none: all ones (ACPI 6.5, 10.4, `_PMM`), or nothing at all, as Linux passes on a meter that has not yet answered.
pub(super) fn of_firmware(power: Power) -> Result<Power> {
    if power == Power::ZERO || power >= Power::from_milliwatts(u32::MAX) {
        return Err(Error::lost(format!("the firmware shows {power}, which stands for no value")));
    }
    Ok(power)
}
