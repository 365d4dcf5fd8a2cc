//! [`Quantiles`]: what share of many numbers is below what, in constant memory.

/// What share of many numbers is below what, to 1 % of the number.
///
/// Numbers are counted in bins whose ends are 2 % apart, so that the middle of a bin is within 1 % of all in it (as
/// `DDSketch` does: Masson, Rim and Lee 2019, PVLDB 12:2195). Numbers that are not above 10⁻¹² are taken as 0.
#[derive(Clone, Debug, Default)]
pub struct Quantiles {
    /// Counts from bin `first` on.
    bins: std::collections::VecDeque<u64>,
    first: i32,
    zeros: u64,
    count: u64,
}

/// How much wider a bin's upper end is than its lower: numbers are within 1 % of the middle.
const RATIO: f64 = 1.01 / 0.99;

/// Below this a number is 0.
const SMALLEST: f64 = 1e-12;

/// Above this a number is not told from it.
const LARGEST: f64 = 1e15;

impl Quantiles {
    /// Counts a number; what is none is left out.
    pub fn push(&mut self, value: f64) {
        if value.is_nan() {
            return;
        }
        self.count += 1;
        if value <= SMALLEST {
            self.zeros += 1;
            return;
        }
        let bin = bin(value.min(LARGEST));
        if self.bins.is_empty() {
            self.first = bin;
        }
        while bin < self.first {
            self.bins.push_front(0);
            self.first -= 1;
        }
        let place = usize::try_from(bin - self.first).unwrap_or(0);
        while self.bins.len() <= place {
            self.bins.push_back(0);
        }
        self.bins[place] += 1;
    }

    /// What `share` of the numbers, from 0 to 1, is not above; `None` of nothing.
    pub fn at(&self, share: f64) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a rank among the numbers; counts are exact up to 2⁵³"
        )]
        let rank = (share.clamp(0.0, 1.0) * (self.count - 1) as f64).round() as u64;
        let mut below = self.zeros;
        if rank < below {
            return Some(0.0);
        }
        for (bin, count) in (self.first..).zip(&self.bins) {
            below += count;
            if rank < below {
                // The middle by ratio of the bin's ends, from which both are as far.
                return Some(RATIO.powi(bin) * 2.0 * RATIO / (1.0 + RATIO));
            }
        }
        None
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the logarithm of what is clamped is small")]
fn bin(value: f64) -> i32 {
    (value.ln() / RATIO.ln()).floor() as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_right_to_one_percent() {
        let mut quantiles = Quantiles::default();
        let mut random = fastrand::Rng::with_seed(3);
        let mut numbers: Vec<f64> =
            (0..20_001).map(|_| (12.0 * random.f64() - 6.0).exp()).collect();
        numbers.iter().for_each(|number| quantiles.push(*number));
        numbers.sort_by(f64::total_cmp);
        for (share, place) in
            [(0.0, 0), (0.05, 1_000), (0.5, 10_000), (0.95, 19_000), (1.0, 20_000)]
        {
            let (found, truth) = (quantiles.at(share).unwrap(), numbers[place]);
            assert!((found / truth - 1.0).abs() <= 0.01 + 1e-9, "{share}: {found} for {truth}");
        }
        assert!(quantiles.bins.len() < 700);
    }

    #[test]
    fn nothing_and_zeros_have_their_quantiles() {
        let mut quantiles = Quantiles::default();
        assert_eq!(quantiles.at(0.5), None);
        [0.0, 0.0, 5.0].into_iter().for_each(|number| quantiles.push(number));
        assert_eq!(quantiles.at(0.5), Some(0.0));
        assert!((quantiles.at(1.0).unwrap() / 5.0 - 1.0).abs() < 0.01);
    }
}
