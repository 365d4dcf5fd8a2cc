//! A run as a part of something larger: its end, its project, its components.

use ergometer::{Error, Result};

use crate::quantity::Quantity;

/// How many times the final run a whole project takes: multiplier = whole/final, for energy, time, emissions or money.
///
/// ```
/// use std::time::Duration;
/// use ergometer_report::footprint::development_multiplier;
///
/// // LISA: 239,942 GPU hours of research and development for a model of 120; 1,999.5 (Strubell et al. 2019, table 4).
/// let hours = |hours: u64| Duration::from_secs(hours * 3600);
/// let multiplier = development_multiplier(hours(239_942), hours(120))?;
/// assert_eq!(format!("{multiplier:.1}"), "1999.5");
/// # Ok::<(), ergometer::Error>(())
/// ```
///
/// # Errors
/// A final run of nothing, or money of two currencies.
pub fn development_multiplier<Q: Quantity>(whole: Q, final_run: Q) -> Result<f64> {
    whole.ratio_to(final_run)
}

/// What a run will come to in the end, linear in the share that is done: so far·total/done.
///
/// `done` and `total` are epochs, steps or times. There is no interval here: one part of a run does not tell how much the
/// others differ from it.
///
/// ```
/// use ergometer::Energy;
/// use ergometer_report::footprint::projection;
///
/// // A transformer of 6.1 billion parameters after 8 of some 60 days; printed: 103,593 kWh (Dodge et al. 2022).
/// let projected = projection(Energy::from_kilowatt_hours(13_812.4), 8.0, 60.0)?;
/// assert_eq!(format!("{:.0}", projected.as_kilowatt_hours()), "103593");
/// # Ok::<(), ergometer::Error>(())
/// ```
///
/// # Errors
/// Nothing is done yet, or more than the total.
pub fn projection<Q: Quantity, D: Quantity>(so_far: Q, done: D, total: D) -> Result<Q> {
    let parts = total.ratio_to(done)?;
    if done.size() > 0.0 && parts >= 1.0 {
        so_far.resized(so_far.size() * parts)
    } else {
        Err(Error::invalid(format!("{} of {} is no part", done.size(), total.size()))
            .cure("give what is done, and the total of which it is a part"))
    }
}

/// How far a prediction was off, as a fraction of what was measured: predicted/measured − 1.
///
/// ```
/// use ergometer_report::footprint::projection_error;
/// use ergometer_report::quantity::Co2e;
///
/// // A neural architecture search: 284 t estimated from outside, 3.2 t reported; 88 times (Patterson et al. 2021).
/// let error = projection_error(Co2e::from_tonnes(284.0), Co2e::from_tonnes(3.2))?;
/// assert_eq!((error + 1.0).floor(), 88.0);
/// # Ok::<(), ergometer::Error>(())
/// ```
///
/// # Errors
/// Nothing was measured, or money of two currencies.
pub fn projection_error<Q: Quantity>(predicted: Q, measured: Q) -> Result<f64> {
    Ok(predicted.ratio_to(measured)? - 1.0)
}

/// The share of each part in the sum of all, in the order of the parts.
///
/// ```
/// use ergometer::Energy;
/// use ergometer_report::footprint::component_shares;
///
/// // BLOOM: 433,196 of 1,163,088 kWh went into the final run; printed: 37.24 % (Luccioni et al. 2023).
/// let parts = [433_196.0, 1_163_088.0 - 433_196.0].map(Energy::from_kilowatt_hours);
/// let shares = component_shares(&parts)?;
/// assert!((shares[0] - 0.3724).abs() < 0.0001);
/// # Ok::<(), ergometer::Error>(())
/// ```
///
/// # Errors
/// No parts, a part that is negative or not a number, a sum of 0, or money of two currencies.
pub fn component_shares<Q: Quantity>(parts: &[Q]) -> Result<Vec<f64>> {
    if let [first, rest @ ..] = parts {
        rest.iter().try_for_each(|part| first.alike(*part))?;
    }
    let sum: f64 = parts.iter().map(|part| part.size()).sum();
    if !(sum.is_finite() && sum > 0.0) || parts.iter().any(|part| part.size() < 0.0) {
        return Err(Error::invalid("the parts have no shares in their sum")
            .cure("give parts of 0 or more, not all of them 0"));
    }
    Ok(parts.iter().map(|part| part.size() / sum).collect())
}

#[cfg(test)]
mod tests {
    use ergometer::Energy;

    use super::*;
    use crate::quantity::{Currency, Money};

    #[test]
    fn nothing_done_projects_nothing() {
        let spent = Energy::from_joules(5.0);
        assert!(projection(spent, 0.0, 10.0).is_err());
        assert!(projection(spent, 11.0, 10.0).is_err());
        assert!(projection(spent, f64::NAN, 10.0).is_err());
        assert_eq!(projection(spent, 10.0, 10.0).unwrap(), spent);
    }

    #[test]
    fn shares_need_a_sum() {
        assert!(component_shares::<Energy>(&[]).is_err());
        assert!(component_shares(&[Energy::ZERO]).is_err());
        assert!(component_shares(&[2.0, -1.0]).is_err());
        assert!(component_shares(&[1.0, f64::NAN]).is_err());
        let mixed = [Money::new(1.0, Currency::EURO), Money::new(1.0, Currency::US_DOLLAR)];
        assert!(component_shares(&mixed).is_err());
    }
}
