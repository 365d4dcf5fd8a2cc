//! The whole life cycle: electricity in use and idle, and the manufacture of the hardware.

use std::time::Duration;

use ergometer::{Error, Result};
use serde::Serialize;

use crate::footprint::component_shares;
use crate::quantity::{Co2e, EmissionRate};

/// Emissions over the life cycle, and the share of each part.
///
/// Not in it: building, network, end of life, water, metals.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LifeCycle {
    /// The sum of the parts.
    #[serde(rename = "total_co2e_kg")]
    pub total: Co2e,
    /// The share of electricity that the computation itself used.
    pub dynamic_share: f64,
    /// The share of electricity that the machines would have used idle; missing where it was not measured.
    pub idle_share: Option<f64>,
    /// The share of the hardware's manufacture.
    pub embodied_share: f64,
}

/// Emissions over the life cycle: total = dynamic + idle + embodied, with shares (Luccioni et al. 2023, BLOOM).
///
/// An idle part that nobody measured is no part of the sum, and has no share.
///
/// ```
/// use ergometer_report::footprint::life_cycle_total;
/// use ergometer_report::quantity::Co2e;
///
/// // BLOOM; printed: 50.5 t, of which 48.9, 28.9 and 22.2 % (Luccioni et al. 2023).
/// let bloom = life_cycle_total(
///     Co2e::from_tonnes(24.69),
///     Some(Co2e::from_tonnes(14.6)),
///     Co2e::from_tonnes(11.2),
/// )?;
/// assert_eq!(bloom.total.to_string(), "50.5 t CO2e");
/// assert_eq!(format!("{:.3}", bloom.dynamic_share), "0.489");
/// assert_eq!(format!("{:.3}", bloom.embodied_share), "0.222");
/// # Ok::<(), ergometer::Error>(())
/// ```
///
/// # Errors
/// Parts that are negative or not numbers, or that come to nothing.
pub fn life_cycle_total(dynamic: Co2e, idle: Option<Co2e>, embodied: Co2e) -> Result<LifeCycle> {
    let shares = component_shares(&[dynamic, idle.unwrap_or_default(), embodied])?;
    Ok(LifeCycle {
        total: dynamic + idle.unwrap_or_default() + embodied,
        dynamic_share: shares[0],
        idle_share: idle.map(|_| shares[1]),
        embodied_share: shares[2],
    })
}

/// The part of a device's manufacture that a computation carries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Amortised {
    /// What an hour of use carries.
    pub rate: EmissionRate,
    /// What the computation carries.
    pub total: Co2e,
}

/// Manufacture spread over the hours in which a device will be used: rate = embodied/(lifetime·utilisation),
/// total = rate·time used (Luccioni et al. 2023, BLOOM, with years of [8,760 hours](crate::quantity::YEAR)).
///
/// `utilisation` is the share of its life in which the device is in use. `used` is summed over devices of this kind. Factors
/// for one card differ 3.5-fold between sources, so no more than a digit of the outcome is known.
///
/// ```
/// use std::time::Duration;
/// use ergometer_report::footprint::embodied_amortised;
/// use ergometer_report::quantity::{Co2e, YEAR};
///
/// // The GPUs of BLOOM: 150 kg, 6 years at 85 %, 1,082,990 hours; printed: 3.64 t (Luccioni et al. 2023).
/// let used = Duration::from_secs(1_082_990 * 3600);
/// let share = embodied_amortised(Co2e::from_kilograms(150.0), 6 * YEAR, 0.85, used)?;
/// assert_eq!(format!("{:.4}", share.rate.as_kilograms_per_hour()), "0.0034");
/// assert_eq!(format!("{:.2}", share.total.as_tonnes()), "3.64");
/// # Ok::<(), ergometer::Error>(())
/// ```
///
/// # Errors
/// A lifetime of 0, a utilisation that is not above 0 and at most 1, or a mass that is not a number.
pub fn embodied_amortised(
    embodied: Co2e,
    lifetime: Duration,
    utilisation: f64,
    used: Duration,
) -> Result<Amortised> {
    if lifetime.is_zero() || !(utilisation > 0.0 && utilisation <= 1.0) {
        return Err(Error::invalid(format!(
            "a device with a life of {lifetime:?}, used {utilisation} of it, is never in use"
        ))
        .cure("give a lifetime, and a utilisation above 0 and at most 1"));
    }
    if !embodied.as_kilograms().is_finite() {
        return Err(Error::invalid("the embodied emissions are not a number"));
    }
    let rate = embodied / lifetime.mul_f64(utilisation);
    Ok(Amortised { rate, total: rate * used })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantity::YEAR;

    #[test]
    fn an_idle_part_that_was_not_measured_is_not_0() {
        let (dynamic, embodied) = (Co2e::from_tonnes(3.0), Co2e::from_tonnes(1.0));
        let total = life_cycle_total(dynamic, None, embodied).unwrap();
        assert_eq!((total.idle_share, total.total), (None, Co2e::from_tonnes(4.0)));
        assert!((total.dynamic_share - 0.75).abs() < 1e-12);
    }

    #[test]
    fn a_device_that_is_never_used_carries_nothing() {
        for (lifetime, utilisation) in [(Duration::ZERO, 0.5), (YEAR, 0.0), (YEAR, 1.1)] {
            let mass = Co2e::from_kilograms(150.0);
            assert!(embodied_amortised(mass, lifetime, utilisation, YEAR).is_err());
        }
    }
}
