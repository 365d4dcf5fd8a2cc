//! How an error follows from what a program measured.

use std::collections::BTreeSet;

use ergometer::{Error, Result};
use serde::Serialize;

use crate::History;
use crate::metric::{Direction, is_proportion};

/// How an error follows from a metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Measure {
    /// The metric.
    pub metric: String,
    /// How the error is computed from it.
    pub error: Scale,
}

/// From where the error is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// The metric is the error.
    Itself,
    /// 1 less the metric, which is a fraction.
    OneLess,
    /// 1 less a hundredth of the metric, which is in percent.
    HundredLess,
}

impl Measure {
    /// A metric that is itself an error, counted from 0.
    pub fn itself(metric: impl Into<String>) -> Measure {
        Measure { metric: metric.into(), error: Scale::Itself }
    }

    /// The measure by the metric that is asked for, or else by an accuracy, an error or a loss of the runs, in this order; of
    /// several, one of validation or test.
    pub(super) fn of(runs: &[&History], metric: Option<&str>) -> Result<Measure> {
        let names: BTreeSet<&str> = runs.iter().flat_map(|run| run.metric_names()).collect();
        let known = || names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let there_are = || match names.len() {
            0 => "log one with `run.metric`".to_owned(),
            _ => format!("give one of {} with --metric", known()),
        };
        let metric = match metric {
            Some(metric) if names.contains(metric) => metric,
            Some(metric) => {
                return Err(
                    Error::invalid(format!("no run has a metric `{metric}`")).cure(there_are())
                );
            }
            None => preferred(&names).ok_or_else(|| {
                Error::invalid("the runs have no accuracy, error or loss").cure(there_are())
            })?,
        };
        if is_error(metric) {
            return Ok(Measure::itself(metric));
        }
        if !is_proportion(metric) {
            return Err(Error::invalid(format!("`{metric}` is neither an accuracy nor an error"))
                .cure("log an error under a name with `error` or `loss` in it"));
        }
        let values: Vec<f64> = runs
            .iter()
            .filter_map(|run| run.metric(metric))
            .filter(|value| value.is_finite())
            .collect();
        let within = |most: f64| values.iter().all(|value| (0.0..=most).contains(value));
        let error = match (within(1.0), within(100.0)) {
            (true, _) => Scale::OneLess,
            // No fraction is above 1, so this is in percent.
            (false, true) => Scale::HundredLess,
            (false, false) => {
                return Err(Error::invalid(format!(
                    "`{metric}` is neither a fraction nor a percentage in every run"
                ))
                .cure("give runs whose accuracies are from 0 to 1, or from 0 to 100"));
            }
        };
        Ok(Measure { metric: metric.to_owned(), error })
    }

    /// The error of a run at its end, or why there is none.
    pub(super) fn error(&self, run: &History) -> std::result::Result<f64, String> {
        let metric = &self.metric;
        let value = run.metric(metric).ok_or_else(|| format!("it has no `{metric}`"))?;
        if !value.is_finite() {
            return Err(format!("its `{metric}` is no number at its end"));
        }
        Ok(match self.error {
            Scale::Itself => value,
            Scale::OneLess => 1.0 - value,
            Scale::HundredLess => 1.0 - value / 100.0,
        })
    }

    /// The error in words.
    pub(super) fn words(&self) -> String {
        let metric = &self.metric;
        match self.error {
            Scale::Itself => format!("error = {metric}, counted from 0"),
            Scale::OneLess => format!("error = 1 − {metric}"),
            Scale::HundredLess => format!("error = 1 − {metric}/100"),
        }
    }
}

fn preferred<'a>(names: &BTreeSet<&'a str>) -> Option<&'a str> {
    let held_out = |name: &str| ["val", "test", "eval"].iter().any(|part| name.contains(part));
    [is_proportion as fn(&str) -> bool, is_error].into_iter().find_map(|kind| {
        let fitting = || names.iter().copied().filter(|name| kind(name));
        fitting().find(|name| held_out(name)).or_else(|| fitting().next())
    })
}

fn is_error(metric: &str) -> bool {
    Direction::of(metric).is_ok_and(|direction| direction == Direction::Lower)
}
