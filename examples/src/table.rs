//! The table that `compare_sizes` prints: a row for each framework and size, over its seeds.

use std::fmt;
use std::time::Duration;

use ergometer::record::Estimate;
use ergometer::units::Energy;

/// What one training learned and used.
#[derive(Clone, Debug)]
pub struct Training {
    /// What it ran on.
    pub framework: &'static str,
    /// The weights and biases of its model.
    pub parameters: usize,
    /// The share of the images for test that it puts into their class.
    pub accuracy: f64,
    /// Passes over the images for training.
    pub epochs: u32,
    /// Images trained on, over all epochs.
    pub samples: u64,
    /// How long it took.
    pub duration: Duration,
    /// The energy of it all.
    pub energy: Estimate,
    /// The domains that the energy is the sum of.
    pub domains: String,
}

/// Trainings, side by side.
#[derive(Debug)]
pub struct Table<'a>(pub &'a [Training]);

const HEAD: [&str; 8] = [
    "framework",
    "parameters",
    "accuracy",
    "energy per epoch",
    "energy in all",
    "per sample",
    "time",
    "energy of",
];

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let same =
            |a: &Training, b: &Training| (a.framework, a.parameters) == (b.framework, b.parameters);
        let rows: Vec<[String; 8]> = self.0.chunk_by(same).map(row).collect();
        let width = |column: usize| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .chain([HEAD[column].len()])
                .max()
                .unwrap_or(0)
        };
        let widths: [usize; 8] = std::array::from_fn(width);
        for row in [HEAD.map(str::to_owned)].iter().chain(&rows) {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
                // Names to the left, numbers to the right.
                line += &if column % 7 == 0 {
                    format!("{cell:width$}  ")
                } else {
                    format!("{cell:>width$}  ")
                };
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        writeln!(
            f,
            "Means over the seeds. Accuracy ± its standard deviation; energy ± its expanded uncertainty (k = 2),"
        )?;
        write!(
            f,
            "which more seeds do not reduce: an error of the sensor is the same in all of them."
        )
    }
}

/// The row of the seeds of one size.
fn row(seeds: &[Training]) -> [String; 8] {
    let Training { framework, parameters, domains, energy, .. } = &seeds[0];
    let worst =
        seeds.iter().map(|training| training.energy.quality).max().unwrap_or(energy.quality);
    let time = mean(seeds.iter().map(|training| training.duration.as_secs_f64()));
    [
        (*framework).to_owned(),
        parameters.to_string(),
        accuracy(seeds),
        energy_over(seeds, |training| training.epochs.into()),
        energy_over(seeds, |_| 1.0),
        energy_over(seeds, |training| training.samples as f64),
        format!("{time:.2} s"),
        format!("{domains} ({worst})"),
    ]
}

fn accuracy(seeds: &[Training]) -> String {
    let mean = mean(seeds.iter().map(|training| training.accuracy));
    if seeds.len() < 2 {
        return format!("{mean:.3}");
    }
    let squares: f64 = seeds.iter().map(|training| (training.accuracy - mean).powi(2)).sum();
    format!("{mean:.3} ± {:.3}", (squares / (seeds.len() - 1) as f64).sqrt())
}

/// The mean energy of one `part` of a training; a dash if the energy of any of them is not known.
fn energy_over(seeds: &[Training], parts: impl Fn(&Training) -> f64) -> String {
    let over = |energy: fn(&Estimate) -> Option<Energy>| {
        let each = seeds
            .iter()
            .map(|training| Some(energy(&training.energy)?.as_joules() / parts(training)));
        Some(Energy::from_joules(mean(each.collect::<Option<Vec<f64>>>()?.into_iter())))
    };
    match (over(|estimate| estimate.energy), over(Estimate::expanded)) {
        (Some(energy), Some(expanded)) => energy.plus_minus(expanded).to_string(),
        _ => "—".to_owned(),
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

#[cfg(test)]
mod tests {
    use super::*;
    use ergometer::record::Quality;

    fn training(accuracy: f64, joules: f64) -> Training {
        let energy = Some(Energy::from_joules(joules));
        Training {
            framework: "candle",
            parameters: 1_210,
            accuracy,
            epochs: 10,
            samples: 1_000,
            duration: Duration::from_millis(1_500),
            energy: Estimate {
                energy,
                uncertainty: Some(Energy::from_joules(0.5)),
                quality: Quality::Measured,
            },
            domains: "cpu:package-0".into(),
        }
    }

    fn line(trainings: &[Training], number: usize) -> String {
        let table = Table(trainings).to_string();
        table.lines().nth(number).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_row_is_the_mean_over_its_seeds() {
        let trainings = [
            training(0.9, 10.0),
            training(0.8, 20.0),
            Training { framework: "burn", ..training(1.0, 40.0) },
        ];
        assert_eq!(
            line(&trainings, 1),
            "candle 1210 0.850 ± 0.071 1.50 J ± 0.10 J 15.0 J ± 1.0 J 15.0 mJ ± 1.0 mJ 1.50 s cpu:package-0 (measured)"
        );
        assert!(
            line(&trainings, 2)
                .starts_with("burn 1210 1.000 4.00 J ± 0.10 J 40.0 J ± 1.0 J 40.0 mJ")
        );
    }

    #[test]
    fn an_unknown_energy_is_a_dash_and_no_zero() {
        let unknown = Training { energy: Estimate::unresolved(), ..training(0.9, 1.0) };
        assert_eq!(
            line(&[training(0.9, 1.0), unknown], 1),
            "candle 1210 0.900 ± 0.000 — — — 1.50 s cpu:package-0 (unresolved)"
        );
    }
}
