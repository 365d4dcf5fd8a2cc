//! Two means against each other, where their scatters differ.

use ergometer::{Error, Result};
use serde::Serialize;

use super::student;

/// The mean of a sample, its variance (with n − 1), and how many it is of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The mean.
    pub mean: f64,
    /// The sample variance.
    pub variance: f64,
    /// The number of observations.
    pub n: usize,
}

impl Sample {
    /// Of observations; `None` of fewer than two, which show no scatter.
    pub fn of(values: &[f64]) -> Option<Sample> {
        let n = count(values.len());
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        (values.len() > 1).then(|| Sample { mean, variance: squares / (n - 1.0), n: values.len() })
    }
}

/// The difference of two means with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Welch {
    /// The first mean less the second.
    pub difference: f64,
    /// The standard error of the difference.
    pub standard_error: f64,
    /// Satterthwaite's degrees of freedom, no whole number as a rule.
    pub degrees: f64,
    /// Student's t by which the standard error is expanded.
    pub t: f64,
    /// The interval of the difference at the confidence asked for.
    pub interval: (f64, f64),
}

impl Welch {
    /// The difference as a multiple of its standard error: the statistic of Welch's test.
    pub fn statistic(&self) -> f64 {
        self.difference / self.standard_error
    }
}

/// Sets two means against each other: Welch's t, with the degrees of freedom of Satterthwaite (Welch 1947, Biometrika 34;
/// Satterthwaite 1946, Biometrics Bulletin 2).
///
/// ```text
/// u² = s₁²/n₁ + s₂²/n₂        ν = u⁴ / (s₁⁴/(n₁²(n₁ − 1)) + s₂⁴/(n₂²(n₂ − 1)))
/// ```
///
/// ```
/// use ergometer_report::statistics::{Sample, welch};
///
/// // Miles per gallon of cars of the United States and of Japan (NIST/SEMATECH e-Handbook, 1.3.5.3).
/// let cars = [(20.14458, 6.414700, 249), (30.48101, 6.107710, 79)];
/// let [american, japanese] = cars.map(|(mean, sd, n)| Sample { mean, variance: sd * sd, n });
/// assert_eq!(format!("{:.3}", welch(american, japanese, 0.95)?.statistic()), "-12.946");
/// # Ok::<(), ergometer::Error>(())
/// ```
///
/// # Errors
/// A sample of fewer than two, a variance or mean that is no number, or a confidence that is not between 0 and 1.
pub fn welch(first: Sample, second: Sample, confidence: f64) -> Result<Welch> {
    if first.n < 2 || second.n < 2 {
        return Err(Error::invalid("a single observation shows no scatter")
            .cure("give two of each at least; three or more say something"));
    }
    let parts = [first, second].map(|of| (of.variance / count(of.n), count(of.n - 1)));
    let square: f64 = parts.iter().map(|(part, _)| part).sum();
    let difference = first.mean - second.mean;
    if !(square.is_finite() && square >= 0.0 && difference.is_finite()) {
        return Err(Error::invalid("means or variances are no numbers").cure("give numbers"));
    }
    let degrees = if square > 0.0 {
        square.powi(2) / parts.iter().map(|(part, degrees)| part.powi(2) / degrees).sum::<f64>()
    } else {
        // Without scatter there is nothing to weigh; the interval is a point, whatever t is.
        parts.iter().map(|(_, degrees)| degrees).sum()
    };
    let (t, standard_error) = (student::two_sided(confidence, degrees)?, square.sqrt());
    let margin = t * standard_error;
    let interval = (difference - margin, difference + margin);
    Ok(Welch { difference, standard_error, degrees, t, interval })
}

#[expect(clippy::cast_precision_loss, reason = "a number of observations is small")]
fn count(n: usize) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scatter_and_number_give_the_pooled_degrees() {
        let sample = |mean| Sample { mean, variance: 2.0, n: 6 };
        let welch = welch(sample(3.0), sample(1.0), 0.95).unwrap();
        assert!((welch.degrees - 10.0).abs() < 1e-9);
        assert!((welch.t - 2.228_138_852).abs() < 1e-6);
        assert!((welch.standard_error - (2.0_f64 / 3.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn observations_without_scatter_have_no_margin() {
        let [a, b] = [[2.0, 2.0], [1.0, 1.0]].map(|values| Sample::of(&values).unwrap());
        let welch = welch(a, b, 0.95).unwrap();
        assert!((welch.interval.1 - welch.interval.0).abs() < 1e-12);
        assert!(Sample::of(&[2.0]).is_none());
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let good = Sample { mean: 1.0, variance: 1.0, n: 3 };
        assert!(welch(good, Sample { mean: f64::NAN, ..good }, 0.95).is_err());
        assert!(welch(good, Sample { n: 1, ..good }, 0.95).is_err());
        assert!(welch(good, good, 95.0).is_err());
    }
}
