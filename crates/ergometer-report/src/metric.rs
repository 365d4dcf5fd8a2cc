//! Which way a metric gets better.

use std::fmt;
use std::str::FromStr;

use ergometer::{Error, Result};
use serde::Serialize;

/// Whether more or less of a metric is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// More is better: accuracy, F1, BLEU.
    Higher,
    /// Less is better: loss, error, perplexity.
    Lower,
}

/// Words in the names of metrics of which more is better.
const HIGHER: [&str; 21] = [
    "accuracy",
    "acc",
    "top1",
    "top5",
    "f1",
    "auc",
    "auroc",
    "precision",
    "recall",
    "bleu",
    "rouge",
    "meteor",
    "iou",
    "dice",
    "map",
    "ndcg",
    "mrr",
    "r2",
    "score",
    "psnr",
    "ssim",
];

/// Words in the names of metrics of which less is better.
const LOWER: [&str; 15] = [
    "loss",
    "error",
    "err",
    "mae",
    "mse",
    "rmse",
    "perplexity",
    "ppl",
    "nll",
    "entropy",
    "wer",
    "cer",
    "fid",
    "bpc",
    "divergence",
];

/// Words in the names of shares of a number of samples, right or not each.
const PROPORTIONS: [&str; 4] = ["accuracy", "acc", "top1", "top5"];

impl Direction {
    /// The direction that a name tells: `val_accuracy` is better higher, `loss` lower.
    ///
    /// # Errors
    /// A name that tells neither, or both.
    pub fn of(metric: &str) -> Result<Direction> {
        match (has(metric, &HIGHER), has(metric, &LOWER)) {
            (true, false) => Ok(Direction::Higher),
            (false, true) => Ok(Direction::Lower),
            _ => Err(Error::invalid(format!(
                "`{metric}` does not tell whether more of it is better"
            ))
            .cure("say so: higher or lower")),
        }
    }

    /// How much better `to` is than `from`; negative where it is worse.
    pub fn gain(self, from: f64, to: f64) -> f64 {
        self.upward(to) - self.upward(from)
    }

    /// The value with a sign such that more is better.
    pub(crate) fn upward(self, value: f64) -> f64 {
        match self {
            Direction::Higher => value,
            Direction::Lower => -value,
        }
    }
}

impl FromStr for Direction {
    type Err = Error;
    fn from_str(word: &str) -> Result<Direction> {
        match word {
            "higher" => Ok(Direction::Higher),
            "lower" => Ok(Direction::Lower),
            _ => {
                Err(Error::invalid(format!("`{word}` is no direction"))
                    .cure("give higher or lower"))
            }
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Direction::Higher => "higher",
            Direction::Lower => "lower",
        })
    }
}

/// True of a metric that is the share of samples that were got right, by its name.
pub(crate) fn is_proportion(metric: &str) -> bool {
    has(metric, &PROPORTIONS)
}

fn has(metric: &str, words: &[&str]) -> bool {
    let metric = metric.to_lowercase();
    metric.split(|letter: char| !letter.is_alphanumeric()).any(|word| words.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_direction_or_are_asked_about() {
        for name in ["accuracy", "val_accuracy", "Top1", "valid/F1"] {
            assert_eq!(Direction::of(name).unwrap(), Direction::Higher, "{name}");
        }
        for name in ["loss", "val-loss", "error_rate", "cross_entropy"] {
            assert_eq!(Direction::of(name).unwrap(), Direction::Lower, "{name}");
        }
        for name in ["temperature", "accuracy_loss", "glossary"] {
            let refusal = Direction::of(name).unwrap_err();
            assert_eq!(refusal.remedy(), Some("say so: higher or lower"), "{name}");
        }
    }
}
