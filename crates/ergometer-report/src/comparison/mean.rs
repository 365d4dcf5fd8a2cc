//! The mean of an energy over runs, and how far it can be trusted.

use std::collections::BTreeMap;

use ergometer::record::Estimate;
use ergometer::{Energy, Quality, Record, Summary};

use super::{Ratio, Spread, completed, count};

/// An energy of one run, in joules, with its two sorts of error apart.
#[derive(Clone, Debug)]
pub(super) struct Observation {
    energy: f64,
    common: Common,
    /// Standard uncertainty of what does not err alike in all runs: the boundaries. Missing where the log does not say.
    boundaries: Option<f64>,
    quality: Quality,
}

impl Observation {
    /// The energy of the whole run.
    pub(super) fn of_run(run: &Summary) -> Option<Observation> {
        let common = Common::of(run, &[&run.end]);
        let uncertainty = run.end.uncertainty.map(Energy::as_joules);
        let rest = |whole: f64| (whole.powi(2) - common.uncertainty().powi(2)).max(0.0).sqrt();
        Some(Observation {
            energy: run.end.energy?.as_joules(),
            boundaries: uncertainty.map(rest),
            common,
            quality: run.end.quality,
        })
    }

    /// The mean energy of the run's completed epochs.
    pub(super) fn of_epoch(run: &Summary) -> Option<Observation> {
        let epochs = completed(run);
        let energies: Option<Vec<Energy>> = epochs.iter().map(|epoch| epoch.energy).collect();
        let whole = Observation {
            energy: energies?.into_iter().sum::<Energy>().as_joules(),
            common: Common::of(run, &epochs),
            // Epochs follow each other, so that their sum has two boundaries, as the run has.
            boundaries: Observation::of_run(run)?.boundaries,
            quality: epochs.iter().map(|epoch| epoch.quality).max()?,
        };
        Some(whole.scaled(1.0 / count(epochs.len())))
    }

    /// The energy of the whole run for each sample trained on.
    pub(super) fn of_sample(run: &Summary) -> Option<Observation> {
        let samples = usize::try_from(run.end.samples?).ok().filter(|samples| *samples > 0)?;
        Some(Observation::of_run(run)?.scaled(1.0 / count(samples)))
    }

    fn scaled(self, factor: f64) -> Observation {
        Observation {
            energy: self.energy * factor,
            common: self.common.scaled(factor),
            boundaries: self.boundaries.map(|part| part * factor),
            quality: self.quality,
        }
    }
}

/// A mean over runs, in joules.
#[derive(Clone, Debug)]
pub(super) struct Mean {
    energy: f64,
    common: Common,
    /// Standard uncertainty of the mean from what differs between runs.
    scatter: Option<f64>,
    runs: usize,
    quality: Quality,
}

impl Mean {
    /// The mean, if the energy is known of every run.
    pub(super) fn of(observations: impl Iterator<Item = Option<Observation>>) -> Option<Mean> {
        let observations: Vec<Observation> = observations.collect::<Option<_>>()?;
        let energies: Vec<f64> =
            observations.iter().map(|observation| observation.energy).collect();
        let spread = Spread::of(&energies)?;
        let n = count(observations.len());
        let boundaries: Option<f64> =
            observations.iter().map(|one| one.boundaries.map(|part| part.powi(2))).sum();
        let boundaries = boundaries.map(|squares| squares.sqrt() / n);
        let seen = spread.sd.map(|sd| sd / n.sqrt());
        let mut common = Common::default();
        for observation in &observations {
            common.add(&observation.common, 1.0 / n);
        }
        Some(Mean {
            energy: spread.mean,
            common,
            scatter: seen.map(|seen| seen.max(boundaries.unwrap_or(0.0))).or(boundaries),
            runs: observations.len(),
            quality: observations.iter().map(|observation| observation.quality).max()?,
        })
    }

    pub(super) fn estimate(&self) -> Estimate {
        let uncertainty = self.scatter.map(|scatter| scatter.hypot(self.common.uncertainty()));
        Estimate {
            energy: Some(Energy::from_joules(self.energy)),
            uncertainty: uncertainty.map(Energy::from_joules),
            quality: self.quality,
        }
    }

    /// This mean as a multiple of another.
    pub(super) fn ratio_to(&self, baseline: &Mean) -> Option<Ratio> {
        if self.energy <= 0.0 || baseline.energy <= 0.0 {
            return None;
        }
        let energy = self.energy / baseline.energy;
        let relative =
            self.relative_scatter().zip(baseline.relative_scatter()).map(|(here, there)| {
                let mut common = self.common.clone().scaled(1.0 / self.energy);
                common.add(&baseline.common, -1.0 / baseline.energy);
                let parts = [(here, count(self.runs - 1)), (there, count(baseline.runs - 1))];
                let whole = parts.iter().map(|(part, _)| part.powi(2)).sum::<f64>()
                    + common.uncertainty().powi(2);
                // JCGM 100:2008, G.2b; what comes from the sensors is taken as known exactly.
                let degrees = whole.powi(2)
                    / parts.iter().map(|(part, degrees)| part.powi(4) / degrees).sum::<f64>();
                (whole.sqrt(), coverage(degrees))
            });
        let (u, k) = relative.map(|(u, k)| (u * energy, k)).unzip();
        Some(Ratio { energy, u, k, time: None })
    }

    /// The scatter relative to the mean, where there are runs to see it.
    fn relative_scatter(&self) -> Option<f64> {
        self.scatter.filter(|_| self.runs > 1).map(|scatter| scatter / self.energy)
    }
}

/// The factor that gives an interval of 95.45 % coverage, as k = 2 does where the degrees of freedom are many.
///
/// JCGM 100:2008, table G.2; degrees between two rows are rounded down, as G.4.1 asks.
fn coverage(degrees: f64) -> f64 {
    const STUDENT: [(f64, f64); 25] = [
        (1.0, 13.97),
        (2.0, 4.53),
        (3.0, 3.31),
        (4.0, 2.87),
        (5.0, 2.65),
        (6.0, 2.52),
        (7.0, 2.43),
        (8.0, 2.37),
        (9.0, 2.32),
        (10.0, 2.28),
        (11.0, 2.25),
        (12.0, 2.23),
        (13.0, 2.21),
        (14.0, 2.20),
        (15.0, 2.18),
        (16.0, 2.17),
        (17.0, 2.16),
        (18.0, 2.15),
        (19.0, 2.14),
        (20.0, 2.13),
        (25.0, 2.11),
        (30.0, 2.09),
        (40.0, 2.06),
        (50.0, 2.05),
        (100.0, 2.025),
    ];
    if degrees > 1_000.0 || degrees.is_nan() {
        return 2.0;
    }
    STUDENT
        .iter()
        .rev()
        .find(|(row, _)| *row <= degrees)
        .map_or(STUDENT[0].1, |(_, factor)| *factor)
}

/// Errors that a group's runs have in common, and by how many joules each moves an energy (k = 1).
///
/// The gains of one family on one host are one error, and so are its offsets.
#[derive(Clone, Debug, Default)]
struct Common(BTreeMap<Shared, f64>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Shared {
    Gain { host: String, family: String },
    Offset { host: String, family: String },
}

impl Common {
    /// Those of windows of a run, added up.
    fn of(run: &Summary, windows: &[&Record]) -> Common {
        let mut common = Common::default();
        for sensor in run.manifest.sensors.iter().filter(|sensor| sensor.in_total) {
            let (host, family) = (run.manifest.machine.host.clone(), sensor.family.clone());
            let gain = Shared::Gain { host: host.clone(), family: family.clone() };
            let offset = Shared::Offset { host, family };
            for window in windows {
                let Some(energy) =
                    window.domains.get(&sensor.domain.id).and_then(|share| share.energy)
                else {
                    continue;
                };
                common.push(&gain, sensor.gain * energy.as_joules().abs());
                common.push(&offset, (sensor.offset * window.duration).as_joules());
            }
        }
        common
    }

    fn push(&mut self, error: &Shared, part: f64) {
        *self.0.entry(error.clone()).or_default() += part;
    }

    /// Adds another energy's, times `factor`.
    fn add(&mut self, other: &Common, factor: f64) {
        for (error, part) in &other.0 {
            self.push(error, factor * part);
        }
    }

    fn scaled(mut self, factor: f64) -> Common {
        self.0.values_mut().for_each(|part| *part *= factor);
        self
    }

    fn uncertainty(&self) -> f64 {
        self.0.values().map(|part| part.powi(2)).sum::<f64>().sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_degrees_of_freedom_widen_the_interval() {
        for (degrees, factor) in
            [(0.9, 13.97), (2.0, 4.53), (2.9, 4.53), (45.0, 2.06), (1e9, 2.0), (f64::NAN, 2.0)]
        {
            assert!((coverage(degrees) - factor).abs() < 1e-12, "{degrees}");
        }
    }
}
