//! [`BatchMeans`]: the mean of a row whose neighbours resemble each other, and how sure it is.

use super::student;

/// The mean of a long row, with an interval that holds although neighbours are correlated.
///
/// The row is cut into batches, and the scatter of their means tells that of the whole mean, once batches are longer than
/// the correlation reaches (Schmeiser 1982, Operations Research 30:556; batches doubled as in Chen and Kelton 2003). In
/// constant memory: once there are 64 batches, each two become one. A quarter of a microsecond at most for each number.
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

/// Batches that an interval takes: below it Student's factor says little.
const FEWEST: usize = 10;

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

    /// The interval of the mean at a confidence between 0 and 1; `None` of fewer than 20 numbers.
    pub fn interval(&self, confidence: f64) -> Option<(f64, f64)> {
        // Batches of one would take neighbours for independent.
        let pairs: Vec<f64> = if self.size == 1 {
            self.batches.chunks_exact(2).map(|pair| (pair[0] + pair[1]) / 2.0).collect()
        } else {
            self.batches.iter().map(|sum| sum / exact(self.size)).collect()
        };
        if pairs.len() < FEWEST {
            return None;
        }
        let n = exact(pairs.len() as u64);
        let centre = pairs.iter().sum::<f64>() / n;
        let variance = pairs.iter().map(|mean| (mean - centre).powi(2)).sum::<f64>() / (n - 1.0);
        let t = student::two_sided(confidence, n - 1.0).ok()?;
        let margin = t * (variance / n).sqrt();
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
