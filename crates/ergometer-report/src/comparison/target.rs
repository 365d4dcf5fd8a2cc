//! A quality to reach.

use std::fmt;
use std::str::FromStr;

use ergometer::{Energy, Error, Quality, Record, Result};
use serde::Serialize;

use crate::History;
use crate::metric::Direction;

/// A metric, and the value that it is to reach by the end of an epoch.
///
/// Written `accuracy=0.95`, where the name tells which way the metric should go, or `reward>=10`, `gap<=0.1`. Without a
/// value, it is the best that every run reaches.
///
/// ```
/// use ergometer_report::Target;
///
/// let target: Target = "val_loss=0.2".parse()?;
/// assert_eq!(target.to_string(), "val_loss ≤ 0.2");
/// assert!("speed=3".parse::<Target>().is_err());
/// # Ok::<(), ergometer::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Target {
    /// The metric's name.
    pub metric: String,
    /// Which way it gets better.
    pub direction: Direction,
    /// The value; missing for the best that every run reaches.
    pub value: Option<f64>,
}

/// Where a run reaches a target.
pub(crate) enum Arrival<'a> {
    /// By the end of this epoch, the first.
    At(&'a Record),
    /// Nowhere.
    Never,
    /// Somewhere, but part of what it used until then was not measured.
    Unknown,
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Target> {
        let place = text.find(['<', '>', '=']).unwrap_or(text.len());
        let (metric, rest) = (text[..place].trim(), &text[place..]);
        let (told, value) = match rest {
            "" => (None, None),
            rest => match (rest.strip_prefix(">="), rest.strip_prefix("<=")) {
                (Some(value), _) => (Some(Direction::Higher), Some(value)),
                (_, Some(value)) => (Some(Direction::Lower), Some(value)),
                (None, None) => (None, Some(rest.trim_start_matches(['=', '<', '>']))),
            },
        };
        let number =
            |value: &str| value.trim().parse().ok().filter(|value: &f64| value.is_finite());
        let value = match value.map(number) {
            Some(None) => {
                return Err(Error::invalid(format!("`{text}` is no target"))
                    .cure("give one such as accuracy=0.95"));
            }
            Some(Some(value)) => Some(value),
            None => None,
        };
        let direction = match told {
            Some(direction) => direction,
            None => Direction::of(metric).map_err(|error| {
                Error::invalid(error.what())
                    .cure(format!("give `{metric}>=VALUE` or `{metric}<=VALUE`"))
            })?,
        };
        Ok(Target { metric: metric.to_owned(), direction, value })
    }
}

impl Target {
    /// True if a value is at the target or beyond it; false without a target value.
    pub(crate) fn is_reached(&self, value: f64) -> bool {
        self.value.is_some_and(|target| self.direction.gain(target, value) >= 0.0)
    }

    /// Where a run reaches the target.
    pub(crate) fn arrival<'a>(&self, run: &'a History) -> Arrival<'a> {
        let reaches = |epoch: &Record| {
            epoch.metrics.get(&self.metric).is_some_and(|value| self.is_reached(*value))
        };
        let Some(place) = run.epochs.iter().position(reaches) else { return Arrival::Never };
        let until = &run.epochs[..=place];
        let gap = until.iter().any(|epoch| epoch.quality == Quality::Partial);
        match until.last() {
            Some(epoch) if epoch.total > Energy::ZERO && !gap => Arrival::At(epoch),
            _ => Arrival::Unknown,
        }
    }

    /// This target with its value, or else with the best that every run reaches.
    ///
    /// # Errors
    /// A metric that is not known at the end of epochs of every run, or that is no number in a run's epochs where the value
    /// is to be found.
    pub(crate) fn settled(&self, runs: &[&History]) -> Result<Target> {
        let mut worst: Option<f64> = None;
        for run in runs {
            let values = run.epochs.iter().filter_map(|epoch| epoch.metrics.get(&self.metric));
            let better = |a: f64, b: f64| if self.direction.gain(a, b) > 0.0 { b } else { a };
            let worse = |a: f64, b: f64| if self.direction.gain(a, b) > 0.0 { a } else { b };
            let mut values = values.copied().peekable();
            let is_measured = values.peek().is_some();
            let Some(best) = values.filter(|value| value.is_finite()).reduce(better) else {
                // A run that diverged reaches no value that is given.
                if is_measured && self.value.is_some() {
                    continue;
                }
                return Err(self.unknown(run));
            };
            worst = Some(worst.map_or(best, |worst| worse(worst, best)));
        }
        Ok(Target { value: self.value.or(worst), ..self.clone() })
    }

    fn unknown(&self, run: &History) -> Error {
        let (metric, id) = (&self.metric, &run.summary.manifest.run_id);
        let names: Vec<String> = run
            .epochs
            .iter()
            .flat_map(|epoch| epoch.metrics.keys())
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .map(|name| format!("`{name}`"))
            .collect();
        let what = if run.epochs.iter().any(|epoch| epoch.metrics.contains_key(metric)) {
            let what = format!("`{metric}` of {id} is no number in any epoch: it reaches no value");
            return Error::unsupported(what).cure(format!(
                "leave the run out, or give a value for the others: {metric}=VALUE"
            ));
        } else if run.metric(metric).is_some() {
            format!(
                "`{metric}` is known only at the end of {id}, so that its first crossing is not"
            )
        } else {
            format!("no epoch of {id} has a metric `{metric}`")
        };
        let cure = match names.len() {
            0 => format!("measure `{metric}` in each epoch"),
            _ => format!("measure `{metric}` in each epoch, or give one of {}", names.join(", ")),
        };
        Error::unsupported(what).cure(cure)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let relation = match self.direction {
            Direction::Higher => "≥",
            Direction::Lower => "≤",
        };
        match self.value {
            Some(value) => {
                // Four digits, of a small loss as well, and no zeros behind them.
                let rounded: f64 = format!("{value:.3e}").parse().unwrap_or(value);
                write!(f, "{} {relation} {rounded}", self.metric)
            }
            None => write!(f, "{} as good as every run's", self.metric),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_says_which_way_it_goes() {
        let target = |text: &str| text.parse::<Target>();
        let accuracy = target("accuracy=0.9").unwrap();
        assert!(accuracy.is_reached(0.9) && !accuracy.is_reached(0.89));
        let reward = target("reward <= 3").unwrap();
        assert!(reward.is_reached(2.0) && !reward.is_reached(3.1));
        assert_eq!(target("loss").unwrap().value, None);
        assert_eq!(target("loss=0.0000123456").unwrap().to_string(), "loss ≤ 0.00001235");
        for wrong in ["loss=", "loss=low", "reward", "loss=nan"] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
    }
}
