//! [`BatchMeans`]: the mean of a row whose neighbours resemble each other, and how sure it is.

use super::student;

/// The mean of a long row, with an interval that holds although neighbours are correlated.
///
/// The row is cut into batches, and the scatter of their means tells that of the whole mean, once batches are longer than
/// the correlation reaches (Schmeiser 1982, Operations Research 30:556; batches doubled as in Chen and Kelton 2003). As long
/// as they are not, they count for fewer: n·(1 − φ)/(1 + φ) of n, where each mean inherits the part φ of the one before it
/// (Bayley and Hammersley 1946, JRSS Supplement 8:184), with φ corrected for what few numbers hide of it (Kendall 1954,
/// Biometrika 41:403). In constant memory: once there are 64 batches, each two become one. A quarter of a microsecond at
/// most for each number.
///
/// In made rows, 94 to 97 % of the 95 % intervals hold the truth from 40 numbers on where each inherits 0.5 of the one
/// before it, from 100 on at 0.8, from 400 on at 0.95. Shorter rows that are correlated more get too narrow an interval, or
/// none.
#[derive(Clone, Debug)]
pub struct BatchMeans {
    count: u64,
    sum: f64,
    /// Sums of whole batches.
    batches: Vec<f64>,
    /// Numbers in a batch.
    size: u64,
    /// The batch that is not whole.
    open: f64,
    filled: u64,
}

/// Batches at most; there are at least half as many once the row is as long.
const BATCHES: usize = 64;

/// Batches that an interval takes: fewer do not tell how much they are correlated.
const FEWEST: usize = 20;

/// Independent batches that it takes them to be worth: below it Student's factor says little.
const WORTH: f64 = 4.0;

impl Default for BatchMeans {
    fn default() -> Self {
        let batches = Vec::with_capacity(BATCHES);
        BatchMeans { count: 0, sum: 0.0, batches, size: 1, open: 0.0, filled: 0 }
    }
}

impl BatchMeans {
    /// Takes the next number of the row.
    pub fn push(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        self.open += value;
        self.filled += 1;
        if self.filled == self.size {
            self.batches.push(std::mem::take(&mut self.open));
            self.filled = 0;
        }
        if self.batches.len() == BATCHES {
            self.batches = self.batches.chunks(2).map(|pair| pair.iter().sum()).collect();
            self.size *= 2;
        }
    }

    /// How many numbers there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The mean; `None` of nothing.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / exact(self.count))
    }

    /// The interval of the mean at a confidence between 0 and 1; `None` of fewer than 20 numbers, and of numbers so much
    /// correlated that they tell too little.
    pub fn interval(&self, confidence: f64) -> Option<(f64, f64)> {
        if self.batches.len() < FEWEST {
            return None;
        }
        let n = exact(self.batches.len() as u64);
        let means = || self.batches.iter().map(|sum| sum / exact(self.size));
        let centre = means().sum::<f64>() / n;
        let squares: f64 = means().map(|mean| (mean - centre).powi(2)).sum();
        let products: f64 =
            means().zip(means().skip(1)).map(|(a, b)| (a - centre) * (b - centre)).sum();
        let seen = if squares > 0.0 { products / squares } else { 0.0 };
        // What is less than 0 would make the interval narrower than that of independent numbers.
        let inherited = (seen + (1.0 + 4.0 * seen) / n).max(0.0);
        let worth = n * (1.0 - inherited) / (1.0 + inherited);
        if squares > 0.0 && worth < WORTH {
            return None;
        }
        let t = student::two_sided(confidence, worth - 1.0).ok()?;
        let margin = t * (squares / (n - 1.0) / worth).sqrt();
        let mean = self.mean()?;
        Some((mean - margin, mean + margin))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count is exact in f64 up to 2⁵³")]
fn exact(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_a_correlated_row_holds_its_mean() {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut held, mut naive) = (0, 0);
        for _ in 0..400 {
            let (mut row, mut noise) = (BatchMeans::default(), 0.0);
            let (mut sum, mut squares) = (0.0, 0.0);
            for _ in 0..20_000 {
                noise = 0.8 * noise + random.f64() - 0.5;
                row.push(10.0 + noise);
                sum += noise;
                squares += noise * noise;
            }
            let (low, high) = row.interval(0.95).unwrap();
            held += u32::from((low..=high).contains(&10.0));
            let (mean, sd) = (sum / 2e4, (squares / 2e4).sqrt());
            naive += u32::from(mean.abs() <= 1.96 * sd / 2e4_f64.sqrt());
        }
        assert!((370..=392).contains(&held), "{held} of 400");
        assert!(naive < 300, "{naive}: the row is not correlated enough to tell");
    }

    #[test]
    fn short_correlated_rows_have_an_interval_that_holds_or_none() {
        let mut random = fastrand::Rng::with_seed(8);
        for (length, inherited) in [(64, 0.5), (100, 0.8), (400, 0.95)] {
            let (mut held, mut told) = (0, 0);
            for _ in 0..2_000 {
                let (mut row, mut noise) = (BatchMeans::default(), 0.0);
                // From a state that has forgotten where it began.
                for place in 0..length + 200 {
                    noise = inherited * noise + random.f64() + random.f64() + random.f64() - 1.5;
                    if place >= 200 {
                        row.push(10.0 + noise);
                    }
                }
                if let Some((low, high)) = row.interval(0.95) {
                    told += 1;
                    held += u32::from((low..=high).contains(&10.0));
                }
            }
            assert!(told > 1_000 && held * 1_000 >= 930 * told, "{held} of {told} at {length}");
        }
    }

    #[test]
    fn memory_and_mean_do_not_depend_on_the_length() {
        let mut row = BatchMeans::default();
        (0..1_000_003_u32).for_each(|value| row.push(f64::from(value)));
        assert!(row.batches.len() < BATCHES && row.batches.capacity() <= 2 * BATCHES);
        assert_eq!(row.mean(), Some(500_001.0));
        assert!(BatchMeans::default().mean().is_none());
        let mut few = BatchMeans::default();
        (0..19).for_each(|_| few.push(1.0));
        assert_eq!(few.interval(0.95), None);
    }
}
