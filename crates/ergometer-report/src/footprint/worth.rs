//! What a gain costs, and when a training has paid.

use ergometer::{Energy, Error, Result};

use crate::quantity::Quantity;

/// What one more point of quality costs: Δcost/Δquality, in energy, time, emissions or money.
///
/// `gained` is in points of whatever measures the quality. Where it is below the noise of that measure, this says nothing;
/// it is negative where a quality was lost for a cost.
///
/// ```
/// use ergometer_report::footprint::marginal_cost;
/// use ergometer_report::quantity::{Currency, Money};
///
/// // A search that cost $150,000 at least gained 0.1 BLEU (Strubell et al. 2019).
/// let cost = marginal_cost(Money::new(150e3, Currency::US_DOLLAR), 0.1)?;
/// assert_eq!(cost.to_string(), "1500000.00 USD");
/// # Ok::<(), ergometer::Error>(())
/// ```
///
/// # Errors
/// A gain of 0, or numbers that are none.
pub fn marginal_cost<Q: Quantity>(added: Q, gained: f64) -> Result<Q> {
    if gained == 0.0 || !gained.is_finite() {
        return Err(Error::invalid(format!("a gain of {gained} has no price"))
            .cure("compare two points of different quality"));
    }
    added.resized(added.size() / gained)
}

/// What one more point of quality costs from each of some points to the next; each is a cost so far and the quality that it
/// bought.
///
/// # Errors
/// As [`marginal_cost`], for the step that has no price; a list of fewer than two points has no step.
pub fn marginal_costs<Q: Quantity>(points: &[(Q, f64)]) -> Vec<Result<Q>> {
    points
        .windows(2)
        .map(|pair| {
            let [(before, low), (after, high)] = [pair[0], pair[1]];
            after.alike(before)?;
            marginal_cost(after.resized(after.size() - before.size())?, high - low)
        })
        .collect()
}

/// How many inferences use as much energy as training did: N = (training + fine-tuning)/inference (Luccioni et al. 2024).
///
/// ```
/// use ergometer::Energy;
/// use ergometer_report::footprint::amortisation;
///
/// // BLOOMz-1B; printed: 292,467,741 (Luccioni et al. 2024, table of cost parity).
/// let inferences = amortisation(
///     Energy::from_kilowatt_hours(17_052.0),
///     Energy::from_kilowatt_hours(1_081.0),
///     Energy::from_kilowatt_hours(6.2e-5),
/// )?;
/// assert_eq!(inferences.floor(), 292_467_741.0);
/// # Ok::<(), ergometer::Error>(())
/// ```
///
/// # Errors
/// An inference that uses nothing.
pub fn amortisation(training: Energy, fine_tuning: Energy, inference: Energy) -> Result<f64> {
    if inference <= Energy::ZERO {
        return Err(Error::invalid(format!(
            "an inference of {inference} never amortises a training"
        ))
        .cure("measure many inferences, and give the energy of one"));
    }
    (training + fine_tuning).ratio_to(inference)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantity::{Currency, Money};

    #[test]
    fn no_gain_has_no_price() {
        let spent = Energy::from_joules(10.0);
        assert!(marginal_cost(spent, 0.0).is_err());
        assert!(marginal_cost(spent, f64::NAN).is_err());
        let steps = marginal_costs(&[(10.0, 0.5), (30.0, 0.75), (40.0, 0.75)]);
        assert!((steps[0].as_ref().unwrap() - 80.0).abs() < 1e-9);
        assert!(steps[1].is_err());
    }

    #[test]
    fn steps_between_currencies_have_no_price() {
        let points =
            [(Money::new(1.0, Currency::EURO), 0.1), (Money::new(2.0, Currency::US_DOLLAR), 0.2)];
        assert!(marginal_costs(&points)[0].is_err());
    }

    #[test]
    fn free_inferences_amortise_nothing() {
        assert!(amortisation(Energy::from_joules(1.0), Energy::ZERO, Energy::ZERO).is_err());
    }
}
