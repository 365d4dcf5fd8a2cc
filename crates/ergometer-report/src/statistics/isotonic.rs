//! Isotonic regression: the curve that never falls and is nearest to a row of numbers.

/// The numbers that never fall and are nearest to `values` by the sum of squares: pool adjacent violators (Ayer, Brunk,
/// Ewing, Reid and Silverman 1955, Annals of Mathematical Statistics 26:641). In linear time.
///
/// ```
/// use ergometer_report::statistics::isotonic;
///
/// assert_eq!(isotonic(&[1.0, 3.0, 2.0, 4.0]), [1.0, 2.5, 2.5, 4.0]);
/// ```
pub fn isotonic(values: &[f64]) -> Vec<f64> {
    // Blocks of equal height: their sum and how many values they are of.
    let mut blocks: Vec<(f64, usize)> = Vec::with_capacity(values.len());
    for value in values {
        let mut last = (*value, 1);
        while let Some(before) = blocks.pop_if(|before| height(*before) >= height(last)) {
            last = (before.0 + last.0, before.1 + last.1);
        }
        blocks.push(last);
    }
    blocks.into_iter().flat_map(|block| std::iter::repeat_n(height(block), block.1)).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a number of values is exact in f64 up to 2⁵³")]
fn height((sum, count): (f64, usize)) -> f64 {
    sum / count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_falling_row_becomes_its_mean_and_a_rising_one_stays() {
        assert_eq!(isotonic(&[3.0, 2.0, 1.0]), [2.0; 3]);
        assert_eq!(isotonic(&[1.0, 2.0, 5.0]), [1.0, 2.0, 5.0]);
        assert_eq!(isotonic(&[]), [0.0; 0]);
    }

    #[test]
    fn no_other_rising_row_is_nearer() {
        let mut random = fastrand::Rng::with_seed(5);
        let distance =
            |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum() };
        for _ in 0..200 {
            let values: Vec<f64> = (0..12).map(|_| random.f64()).collect();
            let fit = isotonic(&values);
            assert!(fit.windows(2).all(|pair| pair[0] <= pair[1]));
            // The problem is convex: the way towards any other rising row goes up.
            let mut other: Vec<f64> = (0..12).map(|_| random.f64()).collect();
            other.sort_by(f64::total_cmp);
            let near: Vec<f64> = fit.iter().zip(&other).map(|(a, b)| a + 0.01 * (b - a)).collect();
            assert!(distance(&near, &values) >= distance(&fit, &values) - 1e-12);
        }
    }
}
