//! Power laws: a straight line through logarithms, and what it says about halving an error.

use ergometer::{Error, Result};
use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// A power law y = a·x^b, fitted as a straight line log10 y = log10 a + b·log10 x.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LogLogFit {
    /// b, the slope: doubling x multiplies y by 2^b.
    pub exponent: f64,
    /// log10 a, the intercept, in the units of the points.
    pub intercept: f64,
    /// The standard error of the slope.
    pub standard_error: f64,
    /// The interval of the slope at the confidence asked for.
    pub interval: (f64, f64),
    /// The share of the variance of log10 y that the line explains.
    pub r_squared: f64,
    /// The number of points.
    pub n: usize,
    /// Student's t by which the standard errors are expanded.
    pub t: f64,
    #[serde(skip)]
    residual: f64,
    #[serde(skip)]
    centre: f64,
    #[serde(skip)]
    spread: f64,
}

/// Where a new point is expected, in the unit of y.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// On the line.
    pub value: f64,
    /// The lower end of the prediction interval.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// Where a law reaches a y, in the unit of x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Solution {
    /// On the line.
    pub(crate) value: f64,
    /// Where the ends of the prediction interval do; missing where they are not bounded.
    pub(crate) ends: Option<(f64, f64)>,
}

impl LogLogFit {
    /// Where a new point at `x` is expected, with the prediction interval for one observation: s·√(1 + 1/n + (x − x̄)²/Sxx)
    /// times Student's t, about the line, in logarithms.
    ///
    /// # Errors
    /// An `x` that is not above 0.
    pub fn predict(&self, x: f64) -> Result<Prediction> {
        let x = logarithm(x)?;
        let line = self.intercept + self.exponent * x;
        #[expect(clippy::cast_precision_loss, reason = "a fit has few points")]
        let n = self.n as f64;
        let from_centre = (x - self.centre).powi(2) / self.spread;
        let margin = self.t * self.residual * (1.0 + 1.0 / n + from_centre).sqrt();
        Ok(Prediction {
            value: 10f64.powf(line),
            low: 10f64.powf(line - margin),
            high: 10f64.powf(line + margin),
        })
    }

    /// The x at which y is expected, with the ends between which a new point of this y lies: where the ends of the prediction
    /// interval reach it (Draper and Smith 1998, Applied Regression Analysis, section 3.2).
    ///
    /// With d = (log10 y − ȳ)/b and g = (t·SE)²/b², the ends are x̄ + (d ± √g·√(d² + (1 − g)(1 + 1/n)·Sxx))/(1 − g), in
    /// logarithms; where g is 1 or more, as the slope's interval holds 0, there are none.
    pub(crate) fn solve(&self, y: f64) -> Result<Solution> {
        let distance = (logarithm(y)? - self.intercept) / self.exponent - self.centre;
        let g = (self.t * self.standard_error / self.exponent).powi(2);
        #[expect(clippy::cast_precision_loss, reason = "a fit has few points")]
        let n = self.n as f64;
        let margin = (g * (distance.powi(2) + (1.0 - g) * (1.0 + 1.0 / n) * self.spread)).sqrt();
        let end = |margin: f64| 10f64.powf(self.centre + (distance + margin) / (1.0 - g));
        let value = 10f64.powf(self.centre + distance);
        Ok(Solution { value, ends: (g < 1.0).then(|| (end(-margin), end(margin))) })
    }

    /// The degrees of freedom of Student's t: two fewer than there are points.
    pub fn degrees_of_freedom(&self) -> usize {
        self.n - 2
    }

    /// Whether the slope's interval holds an exponent: of 1, the two would be in proportion.
    pub fn holds(&self, exponent: f64) -> bool {
        (self.interval.0..=self.interval.1).contains(&exponent)
    }

    /// What multiplying x by `factor` multiplies y by, with the ends of its interval.
    ///
    /// # Errors
    /// A factor that is not above 0.
    pub fn multiplier(&self, factor: f64) -> Result<Prediction> {
        logarithm(factor)?;
        let ends = [self.interval.0, self.interval.1].map(|slope| factor.powf(slope));
        let value = factor.powf(self.exponent);
        Ok(Prediction { value, low: ends[0].min(ends[1]), high: ends[0].max(ends[1]) })
    }
}

/// Fits a power law to points (x, y): ordinary least squares of log10 y on log10 x, with the slope's interval by Student's t
/// with n − 2 degrees of freedom (Draper and Smith 1998, Applied Regression Analysis, chapter 1).
///
/// The points may be in any unit; `confidence` is that of the intervals, 0.95 as a rule. With three points t is 12.7, so the
/// interval is wide, and it is meant to be.
///
/// ```
/// use ergometer_report::footprint::loglog_fit;
///
/// // Llama 2: parameters and GPU hours at 7, 13 and 70 billion (Meta's model card).
/// let fit = loglog_fit(&[(7e9, 184_320.0), (13e9, 368_640.0), (70e9, 1_720_320.0)], 0.95)?;
/// assert_eq!(format!("{:.2}", fit.exponent), "0.96");
/// assert_eq!(format!("{:.2} to {:.2}", fit.interval.0, fit.interval.1), "0.41 to 1.51");
/// # Ok::<(), ergometer::Error>(())
/// ```
///
/// # Errors
/// Fewer than three points, points that are not above 0 or have all the same x, or a confidence that is not between 0 and
/// 1.
pub fn loglog_fit(points: &[(f64, f64)], confidence: f64) -> Result<LogLogFit> {
    if points.len() < 3 {
        return Err(Error::invalid(format!(
            "{} points do not carry a slope with its interval",
            points.len()
        ))
        .cure("give three at least; five or more say something"));
    }
    if !(confidence > 0.0 && confidence < 1.0) {
        return Err(Error::invalid(format!("{confidence} is no confidence")).cure("give 0.95"));
    }
    let points: Vec<(f64, f64)> =
        points.iter().map(|(x, y)| Ok((logarithm(*x)?, logarithm(*y)?))).collect::<Result<_>>()?;
    #[expect(clippy::cast_precision_loss, reason = "a fit has few points")]
    let n = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x_mean, y_mean) = (mean(|point| point.0), mean(|point| point.1));
    let sum = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
        points.iter().map(|(x, y)| of(x - x_mean, y - y_mean)).sum()
    };
    let (sxx, sxy, syy) = (sum(&|x, _| x * x), sum(&|x, y| x * y), sum(&|_, y| y * y));
    // The logarithms are good to some 15 digits, so a spread as small as their rounding is none.
    if sxx <= n * (x_mean.abs().max(1.0) * 1e-14).powi(2) {
        return Err(Error::invalid("all points have the same x, so there is no slope")
            .cure("give points of different sizes"));
    }
    let exponent = sxy / sxx;
    let residuals = sum(&|x, y| (y - exponent * x).powi(2));
    let residual = (residuals / (n - 2.0)).sqrt();
    let standard_error = residual / sxx.sqrt();
    let t = StudentsT::new(0.0, 1.0, n - 2.0)
        .map_err(|cause| {
            Error::invalid("there is no Student's t for these points").caused_by(cause)
        })?
        .inverse_cdf(0.5 + confidence / 2.0);
    Ok(LogLogFit {
        exponent,
        intercept: y_mean - exponent * x_mean,
        standard_error,
        interval: (exponent - t * standard_error, exponent + t * standard_error),
        r_squared: if syy > 0.0 { 1.0 - residuals / syy } else { 1.0 },
        n: points.len(),
        t,
        residual,
        centre: x_mean,
        spread: sxx,
    })
}

/// Fits error ~ cost^−α to points (cost, error): [`loglog_fit`] of 1/error on the cost, whose exponent is α (Thompson et al.
/// 2020).
///
/// The points are runs that were trained apart, not epochs of one run, which follow another law.
///
/// # Errors
/// As [`loglog_fit`].
pub fn error_law(points: &[(f64, f64)], confidence: f64) -> Result<LogLogFit> {
    let inverse: Vec<(f64, f64)> =
        points.iter().map(|(cost, error)| (*cost, 1.0 / error)).collect();
    loglog_fit(&inverse, confidence)
}

/// The price of a smaller error under a power law: compute or energy ~ (1/error)^k.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct HalvingCost {
    /// The exponent of the cost.
    pub k: f64,
    /// The exponent of the error: error ~ cost^−α with α = 1/k.
    pub alpha: f64,
    /// What halving the error multiplies the cost by: 2^k.
    pub factor: f64,
}

impl HalvingCost {
    /// The price from the exponent of the error, α = 1/k, as a fit of log10(1/error) on log10(energy) gives it.
    ///
    /// # Errors
    /// An exponent that is not above 0: more energy does not lower the error.
    pub fn from_alpha(alpha: f64) -> Result<HalvingCost> {
        if alpha > 0.0 { halving_cost(1.0 / alpha) } else { Err(no_price(alpha)) }
    }

    /// The price from the factor of halving itself: k = log2 of it.
    ///
    /// # Errors
    /// A factor that is not above 1.
    pub fn from_factor(factor: f64) -> Result<HalvingCost> {
        halving_cost(factor.log2())
    }

    /// The factors at the ends of an interval of α, the lower one first; without bound (infinite) where the interval reaches
    /// 0.
    pub fn bounds(alpha: (f64, f64)) -> (f64, f64) {
        let factor = |alpha: f64| if alpha > 0.0 { (1.0 / alpha).exp2() } else { f64::INFINITY };
        (factor(alpha.0.max(alpha.1)), factor(alpha.0.min(alpha.1)))
    }

    /// What lowering the error from one value to another multiplies the cost by: (from/to)^k.
    ///
    /// # Errors
    /// Errors that are not above 0.
    pub fn lowering(&self, from: f64, to: f64) -> Result<f64> {
        if from > 0.0 && to > 0.0 {
            Ok((from / to).powf(self.k))
        } else {
            Err(Error::invalid(format!("an error of {from} does not lower to {to} at a price"))
                .cure("give errors above 0"))
        }
    }
}

/// What halving the error costs where cost ~ (1/error)^k: 2^k times as much, with α = 1/k (Thompson et al. 2020).
///
/// ```
/// use ergometer_report::footprint::halving_cost;
///
/// // At k = 9, halving an error takes more than 500 times the computation (Thompson et al. 2021, IEEE Spectrum).
/// let halving = halving_cost(9.0)?;
/// assert_eq!(halving.factor, 512.0);
/// # Ok::<(), ergometer::Error>(())
/// ```
///
/// # Errors
/// An exponent that is not above 0: more computation does not lower the error.
pub fn halving_cost(k: f64) -> Result<HalvingCost> {
    if k.is_finite() && k > 0.0 {
        Ok(HalvingCost { k, alpha: 1.0 / k, factor: k.exp2() })
    } else {
        Err(no_price(k))
    }
}

fn no_price(exponent: f64) -> Error {
    Error::invalid(format!("with an exponent of {exponent}, no cost halves the error"))
        .cure("give an exponent above 0")
}

fn logarithm(value: f64) -> Result<f64> {
    if value > 0.0 && value.is_finite() {
        Ok(value.log10())
    } else {
        Err(Error::invalid(format!("{value} has no logarithm")).cure("give numbers above 0"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(value: f64, expected: f64) -> bool {
        (value - expected).abs() <= 1e-9 * expected.abs()
    }

    #[test]
    fn quantiles_of_student_are_those_of_the_tables() {
        // NIST/SEMATECH e-Handbook, 1.3.6.7.2, with more digits.
        for (freedom, tabled) in [(1.0, 12.706_204_736_174_7), (10.0, 2.228_138_851_986_3)] {
            let t = StudentsT::new(0.0, 1.0, freedom).unwrap().inverse_cdf(0.975);
            assert!(close(t, tabled), "{t}");
        }
    }

    #[test]
    fn a_law_without_noise_is_found_exactly() {
        let law = |x: f64| (x, 3.0 * x.powf(1.25));
        let fit = loglog_fit(&[law(1.0), law(8.0), law(64.0), law(500.0)], 0.95).unwrap();
        assert!(close(fit.exponent, 1.25) && close(fit.intercept, 3f64.log10()));
        assert!(fit.standard_error < 1e-12 && close(fit.r_squared, 1.0));
        let there = fit.predict(1000.0).unwrap();
        assert!((there.value / law(1000.0).1 - 1.0).abs() < 1e-9);
        assert!((fit.multiplier(2.0).unwrap().value - 2f64.powf(1.25)).abs() < 1e-9);
    }

    #[test]
    fn a_new_point_is_less_certain_far_from_the_others() {
        let fit =
            loglog_fit(&[(1.0, 1.1), (10.0, 9.0), (100.0, 105.0), (1e3, 980.0)], 0.95).unwrap();
        let width = |x: f64| {
            let there = fit.predict(x).unwrap();
            there.high / there.low
        };
        assert!(width(30.0) < width(1e4));
    }

    #[test]
    fn a_law_that_is_solved_gives_where_the_ends_of_its_prediction_lie() {
        let fit =
            loglog_fit(&[(1.0, 1.1), (10.0, 9.0), (100.0, 105.0), (1e3, 980.0)], 0.95).unwrap();
        let there = fit.solve(5e3).unwrap();
        assert!((fit.predict(there.value).unwrap().value / 5e3 - 1.0).abs() < 1e-9);
        let (low, high) = there.ends.unwrap();
        assert!((fit.predict(low).unwrap().high / 5e3 - 1.0).abs() < 1e-9, "{there:?}");
        assert!((fit.predict(high).unwrap().low / 5e3 - 1.0).abs() < 1e-9, "{there:?}");
        let flat = loglog_fit(&[(1.0, 1.0), (10.0, 3.0), (100.0, 2.0)], 0.95).unwrap();
        assert_eq!(flat.solve(4.0).unwrap().ends, None);
    }

    #[test]
    fn points_that_carry_no_slope_are_refused() {
        assert!(loglog_fit(&[(1.0, 1.0), (2.0, 2.0)], 0.95).is_err());
        assert!(loglog_fit(&[(7.0, 1.0), (7.0, 2.0), (7.0, 3.0)], 0.95).is_err());
        assert!(loglog_fit(&[(1.0, 1.0), (2.0, 0.0), (3.0, 3.0)], 0.95).is_err());
        assert!(loglog_fit(&[(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)], 1.0).is_err());
    }

    #[test]
    fn an_error_law_gives_its_alpha() {
        let law = |cost: f64| (cost, 0.3 * cost.powf(-0.25));
        let fit = error_law(&[law(1.0), law(10.0), law(1e3)], 0.95).unwrap();
        assert!(close(fit.exponent, 0.25) && fit.holds(0.25) && !fit.holds(1.0));
        assert!(close(HalvingCost::from_alpha(fit.exponent).unwrap().factor, 16.0));
        assert!(close(HalvingCost::from_factor(16.0).unwrap().k, 4.0));
    }

    #[test]
    fn a_slope_that_may_be_0_has_no_upper_bound() {
        let (low, high) = HalvingCost::bounds((-0.1, 0.5));
        assert!(close(low, 4.0) && high.is_infinite());
        assert!(HalvingCost::from_alpha(0.0).is_err());
        assert!(halving_cost(f64::NAN).is_err());
        assert!(close(halving_cost(2.0).unwrap().lowering(0.4, 0.1).unwrap(), 16.0));
    }
}
