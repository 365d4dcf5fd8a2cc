//! The bootstrap: how much a statistic varies from sample to sample, told by drawing from the one there is.

use ergometer::{Error, Result};
use statrs::distribution::{ContinuousCDF, Normal};

/// How often a sample is drawn anew; the ends of a 95 % interval then vary by a few hundredths of its length.
const DRAWS: usize = 2_000;

/// The draws are the same each time, so that a report does not change from one print to the next.
const SEED: u64 = 0x0065_7267_6F6D_6574;

/// Fewer observations can be drawn in too few ways.
const FEWEST: usize = 3;

/// The interval between percentiles of the statistic over samples drawn with replacement (Efron and Tibshirani 1993,
/// chapter 13). With few observations it is too narrow: of three to five, some 75 to 85 % of intervals of 95 % hold the
/// truth.
///
/// # Errors
/// Fewer than three observations, a confidence that is not between 0 and 1, or a statistic that is no number.
pub fn percentile<T>(
    sample: &[T],
    statistic: impl Fn(&[&T]) -> f64,
    confidence: f64,
) -> Result<(f64, f64)> {
    let drawn = draw(sample, &statistic, confidence)?;
    let tail = (1.0 - confidence) / 2.0;
    Ok((quantile(&drawn, tail), quantile(&drawn, 1.0 - tail)))
}

/// The interval between percentiles that are corrected for bias and skewness (Efron 1987, JASA 82:171, BCa): nearer to its
/// confidence than [`percentile`] where the statistic's scatter depends on its value.
///
/// # Errors
/// As [`percentile`].
pub fn accelerated<T>(
    sample: &[T],
    statistic: impl Fn(&[&T]) -> f64,
    confidence: f64,
) -> Result<(f64, f64)> {
    let drawn = draw(sample, &statistic, confidence)?;
    let all: Vec<&T> = sample.iter().collect();
    let found = statistic(&all);
    let normal = Normal::standard();
    // Ties count half; where all draws lie on one side, the bias is what so many draws can tell at most.
    let below: f64 = drawn.iter().map(|value| rank(*value, found)).sum();
    let edge = 1.0 / count(DRAWS + 1);
    let bias = normal.inverse_cdf((below / count(DRAWS)).clamp(edge, 1.0 - edge));
    let without: Vec<f64> = (0..sample.len())
        .map(|left_out| {
            let mut others = all.clone();
            others.remove(left_out);
            statistic(&others)
        })
        .collect();
    let mean = without.iter().sum::<f64>() / count(without.len());
    let sum_of = |power| without.iter().map(|value| (mean - value).powi(power)).sum::<f64>();
    let spread = sum_of(2).powf(1.5);
    let acceleration = if spread > 0.0 { sum_of(3) / (6.0 * spread) } else { 0.0 };
    let corrected = |tail: f64| {
        let shifted = bias + normal.inverse_cdf(tail);
        normal.cdf(bias + shifted / (1.0 - acceleration * shifted))
    };
    let tail = (1.0 - confidence) / 2.0;
    Ok((quantile(&drawn, corrected(tail)), quantile(&drawn, corrected(1.0 - tail))))
}

/// The statistic of each draw, in rising order.
fn draw<T>(sample: &[T], statistic: &impl Fn(&[&T]) -> f64, confidence: f64) -> Result<Vec<f64>> {
    if sample.len() < FEWEST {
        return Err(Error::invalid(format!(
            "{} observations are too few to draw from",
            sample.len()
        ))
        .cure("give three or more"));
    }
    if !(confidence > 0.0 && confidence < 1.0) {
        return Err(Error::invalid(format!("{confidence} is no confidence")).cure("give 0.95"));
    }
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut drawn: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let again: Vec<&T> =
                (0..sample.len()).map(|_| &sample[random.usize(..sample.len())]).collect();
            statistic(&again)
        })
        .collect();
    if drawn.iter().any(|value| !value.is_finite()) {
        return Err(Error::invalid("the statistic of a drawn sample is no number"));
    }
    drawn.sort_by(f64::total_cmp);
    Ok(drawn)
}

fn rank(value: f64, found: f64) -> f64 {
    match value.total_cmp(&found) {
        std::cmp::Ordering::Less => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Greater => 0.0,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place among the draws"
)]
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share.clamp(0.0, 1.0) * count(sorted.len() - 1);
    let (low, part) = (place.floor() as usize, place.fract());
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + part * (sorted[high] - sorted[low])
}

#[expect(clippy::cast_precision_loss, reason = "a number of draws is small")]
fn count(n: usize) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(sample: &[&f64]) -> f64 {
        sample.iter().copied().sum::<f64>() / count(sample.len())
    }

    fn exponential(random: &mut fastrand::Rng, n: usize) -> Vec<f64> {
        (0..n).map(|_| -(1.0 - random.f64()).ln()).collect()
    }

    #[test]
    fn draws_repeat_and_few_observations_are_refused() {
        let sample = [1.0, 2.0, 4.0, 8.0, 16.0];
        assert_eq!(
            percentile(&sample, mean, 0.95).unwrap(),
            percentile(&sample, mean, 0.95).unwrap()
        );
        assert!(percentile(&sample[..2], mean, 0.95).is_err());
        assert!(percentile(&sample, mean, 95.0).is_err());
        assert!(accelerated(&sample, |_| f64::NAN, 0.95).is_err());
        assert_eq!(accelerated(&[3.0; 4], mean, 0.9).unwrap(), (3.0, 3.0));
    }

    #[test]
    fn the_correction_leans_with_the_skew() {
        // Of a sample with a long upper tail, the interval of the mean reaches further up.
        let sample = exponential(&mut fastrand::Rng::with_seed(2), 30);
        let (low, high) = percentile(&sample, mean, 0.95).unwrap();
        let (leaning_low, leaning_high) = accelerated(&sample, mean, 0.95).unwrap();
        assert!(leaning_low > low && leaning_high > high);
    }

    #[test]
    fn intervals_of_forty_observations_hold_the_truth() {
        let mut random = fastrand::Rng::with_seed(11);
        let held: usize = (0..120)
            .map(|_| {
                let sample = exponential(&mut random, 40);
                let (low, high) = accelerated(&sample, mean, 0.95).unwrap();
                usize::from((low..=high).contains(&1.0))
            })
            .sum();
        // 95 % would be 114; the binomial scatter of 120 is 2.4.
        assert!((106..=119).contains(&held), "{held} of 120");
    }
}
