//! A [`Watch`]: says during a training when its gains are no longer worth their energy.

use std::collections::VecDeque;

use ergometer::{Energy, Error, Result};

use super::Digits;
use crate::metric::Direction;
use crate::statistics::student;

/// Says, epoch by epoch, when what a training can still gain is no longer worth its energy.
///
/// After each epoch a line is laid through the metric over the last epochs, as many as the patience and one. Gains diminish,
/// so the next so many epochs gain no more than that line goes on to: its slope at the upper end of a one-sided interval of
/// 95 % (Student's t), times the patience. Once this much of the metric is worth less than the energy of so many epochs, it
/// is time to stop.
///
/// A training that stands still at first and learns later is stopped too early if its patience is shorter than that.
///
/// ```
/// use ergometer::Energy;
/// use ergometer_report::analysis::returns::Watch;
/// use ergometer_report::metric::Direction;
///
/// // A hundredth of accuracy is worth 1 kJ.
/// let mut watch = Watch::new("accuracy", Direction::Higher, Energy::from_joules(100e3), 3)?;
/// let epochs = [0.50, 0.70, 0.80, 0.85, 0.86, 0.861, 0.861, 0.861, 0.861];
/// let stop = epochs.iter().position(|it| watch.epoch(*it, Energy::from_joules(100.0)).is_some());
/// assert_eq!(stop, Some(7));
/// # Ok::<(), ergometer::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Watch {
    metric: String,
    direction: Direction,
    value: Energy,
    patience: usize,
    /// Student's t of the slope.
    t: f64,
    /// The last epochs, as many as the patience and one: the metric, and the energy since the one before.
    recent: VecDeque<(f64, Energy)>,
    /// Epochs without the metric, and their energy.
    unknown: usize,
    unaccounted: Energy,
}

/// A line through fewer points than one more than this does not tell how far it is off; all of one through more are kept.
const PATIENCE: std::ops::RangeInclusive<usize> = 3..=10_000;

impl Watch {
    /// Watches a metric of which one unit is worth `value`, over a patience of 3 to 10,000 epochs.
    ///
    /// # Errors
    /// Another patience, or a value that is not above 0.
    pub fn new(
        metric: &str,
        direction: Direction,
        value: Energy,
        patience: usize,
    ) -> Result<Watch> {
        if !PATIENCE.contains(&patience) {
            return Err(Error::invalid(format!("a patience of {patience} epochs tells no trend"))
                .cure("wait for 3 to 10,000 epochs"));
        }
        if value <= Energy::ZERO {
            return Err(Error::invalid(format!(
                "`{metric}` is worth nothing, so nothing is worth it"
            ))
            .cure("give an energy above 0 for one unit of it"));
        }
        let t = student::two_sided(0.90, super::count(patience - 1))?;
        Ok(Watch {
            metric: metric.to_owned(),
            direction,
            value,
            patience,
            t,
            recent: VecDeque::with_capacity(patience + 1),
            unknown: 0,
            unaccounted: Energy::ZERO,
        })
    }

    /// The metric that is watched.
    pub fn metric(&self) -> &str {
        &self.metric
    }

    /// Takes the end of an epoch: its metric, and the energy since the end of the one before. Gives the reason to stop, if
    /// there is one.
    ///
    /// An epoch whose metric is no number, which a loss that diverged is, tells nothing; so many of them as the patience
    /// are a reason of their own.
    pub fn epoch(&mut self, metric: f64, energy: Energy) -> Option<String> {
        if !metric.is_finite() {
            self.unknown += 1;
            self.unaccounted += energy;
            return (self.unknown >= self.patience).then(|| {
                format!("{} has been no number for {} epochs", self.metric, self.unknown)
            });
        }
        if self.recent.len() > self.patience {
            self.recent.pop_front();
        }
        self.unknown = 0;
        let energy = energy + std::mem::take(&mut self.unaccounted);
        self.recent.push_back((self.direction.upward(metric), energy));
        if self.recent.len() <= self.patience {
            return None;
        }
        let gain = self.most_gain();
        let cost: Energy = self.recent.iter().skip(1).map(|(_, energy)| *energy).sum();
        let worth = self.value.scaled(gain);
        (worth < cost).then(|| {
            format!(
                "{} epochs more gain at most {} of {}, worth {worth}, for {cost}",
                self.patience,
                Digits(gain),
                self.metric
            )
        })
    }

    /// What as many epochs as the patience gain at most, if gains do not grow.
    fn most_gain(&self) -> f64 {
        let n = super::count(self.recent.len());
        let places = || (0..self.recent.len()).map(super::count);
        let centre = (n - 1.0) / 2.0;
        let mean = self.recent.iter().map(|(value, _)| value).sum::<f64>() / n;
        let rows = || places().zip(self.recent.iter().map(|(value, _)| value - mean));
        let square: f64 = places().map(|place| (place - centre).powi(2)).sum();
        let slope = rows().map(|(place, off)| (place - centre) * off).sum::<f64>() / square;
        let residual: f64 =
            rows().map(|(place, off)| (off - slope * (place - centre)).powi(2)).sum();
        let error = (residual / (n - 2.0) / square).sqrt();
        (super::count(self.patience) * (slope + self.t * error)).max(0.0)
    }
}
