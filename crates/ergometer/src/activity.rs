//! The mean power of what a program does in turns, where the turns are shorter than a sensor's updates.
//!
//! Training steps and evaluations that alternate each 30 ms cannot be told apart in any one interval between two updates of
//! a 100 ms counter. But each interval holds a known time of each, and over many intervals the energies decide what the
//! powers must be, by least squares: ΔC = Σ P·t in each interval. What the lines do not explain is the uncertainty (Type A).

use std::time::Duration;

use crate::units::{Energy, Power};

/// The energies of intervals, as a sum over kinds of time: the normal equations of a least-squares fit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fit {
    /// Aᵀ·A of the times in seconds, row by row.
    gram: Vec<Vec<f64>>,
    /// Aᵀ·b.
    moments: Vec<f64>,
    /// bᵀ·b.
    squares: f64,
    intervals: f64,
}

/// A mean power and its standard uncertainty from the fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Fitted {
    pub(crate) power: Power,
    pub(crate) uncertainty: Power,
}

/// Fewer intervals do not carry a fit.
const INTERVALS: f64 = 30.0;

/// Kinds of time that hardly ever change their shares cannot be told apart: above this condition number nothing is said.
const CONDITION: f64 = 30.0;

impl Fit {
    /// Takes in an interval that used `energy`, and the time of each kind within it.
    pub(crate) fn add(&mut self, times: &[Duration], energy: Energy) {
        while self.moments.len() < times.len() {
            self.gram.iter_mut().for_each(|row| row.push(0.0));
            self.moments.push(0.0);
            self.gram.push(vec![0.0; self.moments.len()]);
        }
        let energy = energy.as_joules();
        for (row, own) in times.iter().enumerate() {
            let own = own.as_secs_f64();
            for (column, other) in times.iter().enumerate() {
                self.gram[row][column] += own * other.as_secs_f64();
            }
            self.moments[row] += own * energy;
        }
        self.squares += energy * energy;
        self.intervals += 1.0;
    }

    /// The power of each kind; `None` if the intervals do not tell the kinds apart.
    pub(crate) fn solve(&self) -> Option<Vec<Fitted>> {
        let kinds = self.moments.len();
        let count = f64::from(u32::try_from(kinds).ok()?);
        if kinds < 2 || self.intervals < INTERVALS.max(2.0 * count) {
            return None;
        }
        let scale: Vec<f64> = (0..kinds).map(|kind| self.gram[kind][kind].sqrt()).collect();
        if scale.contains(&0.0) {
            return None;
        }
        // With columns of length one, the condition number does not depend on how long each kind lasts.
        let scaled: Vec<Vec<f64>> = (0..kinds)
            .map(|row| {
                (0..kinds)
                    .map(|column| self.gram[row][column] / scale[row] / scale[column])
                    .collect()
            })
            .collect();
        let inverse = inverse(&scaled)?;
        // The Frobenius norms bound the spectral ones; a matrix's condition is the root of that of its Gram matrix.
        let condition = (norm(&scaled) * norm(&inverse)).sqrt();
        if condition > CONDITION {
            return None;
        }
        let power = |row: usize| -> f64 {
            let sum = (0..kinds)
                .map(|column| inverse[row][column] * self.moments[column] / scale[column]);
            sum.sum::<f64>() / scale[row]
        };
        let powers: Vec<f64> = (0..kinds).map(power).collect();
        let explained: f64 =
            powers.iter().zip(&self.moments).map(|(power, moment)| power * moment).sum();
        let variance = (self.squares - explained).max(0.0) / (self.intervals - count);
        let fitted = powers.iter().enumerate().map(|(kind, power)| Fitted {
            power: Power::from_watts(*power),
            uncertainty: Power::from_watts((variance * inverse[kind][kind]).sqrt() / scale[kind]),
        });
        Some(fitted.collect())
    }
}

fn norm(matrix: &[Vec<f64>]) -> f64 {
    matrix.iter().flatten().map(|value| value * value).sum::<f64>().sqrt()
}

/// The inverse by Gauss and Jordan, with pivots; `None` of a singular matrix.
fn inverse(matrix: &[Vec<f64>]) -> Option<Vec<Vec<f64>>> {
    let size = matrix.len();
    let mut rows: Vec<Vec<f64>> = matrix
        .iter()
        .enumerate()
        .map(|(place, row)| {
            let unit = (0..size).map(|column| if column == place { 1.0 } else { 0.0 });
            row.iter().copied().chain(unit).collect()
        })
        .collect();
    for column in 0..size {
        let pivot = (column..size)
            .max_by(|one, other| rows[*one][column].abs().total_cmp(&rows[*other][column].abs()))?;
        rows.swap(column, pivot);
        let lead = rows[column][column];
        if lead.abs() < 1e-9 {
            return None;
        }
        rows[column].iter_mut().for_each(|value| *value /= lead);
        let source = rows[column].clone();
        for (place, row) in rows.iter_mut().enumerate() {
            let factor = row[column];
            if place != column {
                row.iter_mut().zip(&source).for_each(|(value, lead)| *value -= factor * lead);
            }
        }
    }
    Some(rows.into_iter().map(|row| row[size..].to_vec()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(parts: [u64; 2]) -> [Duration; 2] {
        parts.map(Duration::from_millis)
    }

    fn energy(parts: [u64; 2], off: f64) -> Energy {
        Energy::from_joules(0.4 * parts[0] as f64 + 0.15 * parts[1] as f64 + off)
    }

    #[test]
    fn powers_are_found_that_no_interval_shows_alone() {
        let mut fit = Fit::default();
        for n in 0..200 {
            let training = 30 + 10 * (n * 7 % 5);
            let parts = [training, 100 - training];
            fit.add(&times(parts), energy(parts, if n % 2 == 0 { 0.5 } else { -0.5 }));
        }
        let [training, evaluation] = fit.solve().unwrap()[..] else { panic!("{fit:?}") };
        for (fitted, truth) in [(training, 400.0), (evaluation, 150.0)] {
            let (error, u) = (fitted.power.as_watts() - truth, fitted.uncertainty.as_watts());
            assert!(error.abs() < 3.0 * u && u < 5.0, "{fitted:?}");
        }
    }

    #[test]
    fn kinds_of_constant_shares_and_few_intervals_say_nothing() {
        let mut constant = Fit::default();
        let mut few = Fit::default();
        for n in 0..100 {
            constant.add(&times([40, 60]), energy([40, 60], 0.0));
            if n < 29 {
                few.add(&times([40 + n, 60 - n]), energy([40 + n, 60 - n], 0.0));
            }
        }
        assert_eq!(constant.solve(), None);
        assert_eq!(few.solve(), None);
    }
}
