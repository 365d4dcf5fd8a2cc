//! A [`Calibration`]: how well a finished run would have been projected from its first epochs.

use std::fmt;

use ergometer::{Energy, Error, Result};
use serde::Serialize;

use super::{Basis, Projection, course};
use crate::History;
use crate::footprint::projection_error;

/// How well a finished run would have been projected after its first epochs.
///
/// A sensor's gain errs alike in the projection and in what was measured then, so the intervals here are without it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// What the run used in the end.
    #[serde(rename = "energy_j")]
    pub energy: Energy,
    /// After 1, 2, 5 and half the epochs.
    pub checks: Vec<Check>,
}

/// What had been projected after some epochs, against what came.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// Epochs that were done.
    pub done: u64,
    /// Energy that was projected.
    #[serde(rename = "energy_j")]
    pub energy: Energy,
    /// Half its 95 % interval, without the sensors' uncertainty.
    #[serde(rename = "margin_j")]
    pub margin: Energy,
    /// Projected over measured, less 1.
    pub error: f64,
    /// True if the interval holds what was measured.
    pub is_inside: bool,
    /// What the interval rests on.
    pub basis: Basis,
}

impl Calibration {
    /// Projects a finished run anew from its first 1, 2 and 5 epochs and from half of them.
    ///
    /// # Errors
    /// A run that is not complete, or has fewer than two epochs.
    pub fn of(run: &History) -> Result<Calibration> {
        let place = run.summary.directory.display();
        let all = course::completed(&run.epochs).len();
        let (true, true, Some(energy)) = (run.is_complete(), all >= 2, run.energy().energy) else {
            return Err(Error::unsupported(format!(
                "`{place}` has not ended as planned after two epochs or more"
            ))
            .cure("project runs that have"));
        };
        let planned = Calibration::epochs(run);
        let mut after: Vec<usize> =
            [1, 2, 5, all / 2].into_iter().filter(|done| (1..all).contains(done)).collect();
        after.sort_unstable();
        after.dedup();
        let checks = after.into_iter().map(|done| {
            let behind = run
                .epochs
                .iter()
                .scan(0, |seen, epoch| {
                    *seen += usize::from(epoch.status == ergometer::Status::Complete);
                    Some(*seen)
                })
                .position(|seen| seen == done)
                .map_or(run.epochs.len(), |place| place + 1);
            let projection = Projection::of_epochs(&run.epochs[..behind], planned)?;
            let off = (projection.energy - energy).abs();
            Ok(Check {
                done: projection.done,
                energy: projection.energy,
                margin: projection.margin,
                error: projection_error(projection.energy, energy)?,
                is_inside: off <= projection.margin,
                basis: projection.basis,
            })
        });
        Ok(Calibration { energy, checks: checks.collect::<Result<_>>()? })
    }

    /// Epochs that a run has done, each once.
    pub fn epochs(run: &History) -> u64 {
        course::distinct(&course::completed(&run.epochs))
    }

    /// How many of the checks have what was measured inside their interval, and how many there are.
    pub fn inside(&self) -> (usize, usize) {
        (self.checks.iter().filter(|check| check.is_inside).count(), self.checks.len())
    }
}

/// A line for each check.
impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Looking back: it used {}; had been projected", self.energy)?;
        for check in &self.checks {
            let energy = check.energy.plus_minus(check.margin).to_string();
            let basis = if check.basis == Basis::Published { ", ± 20 % as published" } else { "" };
            let place = if check.is_inside { "inside" } else { "outside" };
            writeln!(
                f,
                "  after {:>4}  {energy:>24}  {:>+6.1} %  {place}{basis}",
                check.done,
                100.0 * check.error
            )?;
        }
        let (inside, all) = self.inside();
        write!(
            f,
            "  {inside} of {all} intervals hold it; of a sound 95 % interval, 19 in 20 do over many runs"
        )
    }
}
