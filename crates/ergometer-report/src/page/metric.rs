//! The [`Metric`] that energies are set against.

use std::collections::BTreeSet;

use ergometer::{Error, Result};
use serde::Serialize;

use crate::History;
use crate::metric::{Direction, is_proportion};

/// What the runs were trained for.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Metric {
    pub(super) name: String,
    /// Which way it gets better; missing where its name does not tell.
    pub(super) direction: Option<Direction>,
}

impl Metric {
    /// The metric that was asked for, or else a share of samples that were got right, or else one whose name tells which way
    /// it gets better, rather up than down.
    ///
    /// # Errors
    /// A metric that no run has.
    pub(super) fn choose(runs: &[History], asked: Option<&str>) -> Result<Option<Metric>> {
        let names: BTreeSet<&str> = runs.iter().flat_map(History::metric_names).collect();
        let metric =
            |name: &str| Metric { name: name.to_owned(), direction: Direction::of(name).ok() };
        let Some(asked) = asked else {
            let rank = |name: &&&str| match Direction::of(name) {
                Ok(Direction::Higher) if is_proportion(name) => 0,
                Ok(Direction::Higher) => 1,
                Ok(Direction::Lower) => 2,
                Err(_) => 3,
            };
            return Ok(names.iter().min_by_key(rank).map(|name| metric(name)));
        };
        if names.contains(asked) {
            return Ok(Some(metric(asked)));
        }
        let known: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        let cure = match known.len() {
            0 => "they have no metric at all: call `run.metric` in the training loop".to_owned(),
            _ => format!("give one of {}", known.join(", ")),
        };
        Err(Error::invalid(format!("no run has a metric `{asked}`")).cure(cure))
    }
}
