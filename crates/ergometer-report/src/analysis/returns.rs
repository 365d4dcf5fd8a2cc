//! [`Returns`]: what each further gain of a training cost, and when gains were no longer worth it.

mod curve;
mod watch;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ergometer::{Energy, Result};
use serde::Serialize;

use self::curve::Curve;
pub use self::watch::Watch;
use crate::History;
use crate::conditions::{SEED, named_like};
use crate::metric::{Direction, is_proportion};
use crate::statistics::{isotonic, percentile};

/// What is asked of a training's gains.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The metric of validation that gains are of.
    pub metric: String,
    /// Whether more of it is better.
    pub direction: Direction,
    /// Samples that it is measured on, where they are known: they tell the noise of an accuracy.
    pub validation: Option<u64>,
    /// What the user would spend on one unit of the metric, and for how many epochs gains are waited for.
    pub worth: Option<(Energy, usize)>,
}

impl Question {
    /// The plain question about a metric, whose direction its name tells; how many samples it is measured on is in the notes
    /// of the run under `n_val`.
    ///
    /// # Errors
    /// A name that does not tell its direction.
    pub fn about(metric: &str) -> Result<Question> {
        let direction = Direction::of(metric)?;
        Ok(Question { metric: metric.to_owned(), direction, validation: None, worth: None })
    }
}

/// What each gain of a training cost, epoch by epoch: of one run, or of the mean of several that differ in their seeds.
///
/// The cost of a gain is ΔE/ΔA between successive bests of the metric. A gain below 2σ√2, σ the noise of a value and √2 for
/// a difference of two, is within noise: its cost is then told as a lower bound, ΔE/(2σ√2).
///
/// Looks back: while a training goes on, its last best is not known to be one. And the best of noisy values is too good to
/// be true; what the model can do is told by a test set that is used once.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Returns {
    /// The metric.
    pub metric: String,
    /// Whether more of it is better.
    pub direction: Direction,
    /// How many runs the curve is the mean of.
    pub runs: usize,
    /// True if a model stands for part of the energy.
    pub is_estimated: bool,
    /// How much of the metric is a point: 0.01 of a fraction, or else 1.
    pub point: f64,
    /// The noise of a value of the curve; missing where nothing tells it.
    pub noise: Option<Noise>,
    /// Epoch by epoch.
    pub epochs: Vec<Row>,
    /// How much of the energy the last parts of the gain took; none where the whole gain is within noise.
    pub bought: Vec<Bought>,
    /// The epoch after which the user's value would have ended the training, and why.
    pub stop: Option<Stop>,
}

/// The noise of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Noise {
    /// Standard deviation of a value of the curve.
    pub sigma: f64,
    /// The least gain that is told from noise: 2σ√2.
    pub floor: f64,
    /// What tells it.
    pub source: NoiseSource,
}

/// What tells the noise of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum NoiseSource {
    /// The scatter of seeds over the second half of the epochs, over √n for their mean. Runs that note the same seed, or
    /// do not differ at all, tell none.
    Seeds {
        /// How many.
        runs: usize,
    },
    /// Samples that are right or wrong each: √(p(1 − p)/n), p the best value, one sample off 0 and 1 at least.
    Binomial {
        /// How many.
        samples: u64,
    },
}

/// One epoch of the curve.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Its number.
    pub epoch: u64,
    /// The metric at its end.
    pub value: f64,
    /// The best until then.
    pub best: f64,
    /// The curve smoothed so that it never gets worse.
    pub smoothed: f64,
    /// Energy of the run until then.
    #[serde(rename = "total_j")]
    pub total: Energy,
    /// Energy since the best before.
    #[serde(rename = "since_best_j")]
    pub since_best: Energy,
    /// What a point of this gain cost; missing where there is none.
    #[serde(rename = "per_point_j")]
    pub cost: Option<Energy>,
    /// True if the gain is within noise, so that the cost is a lower bound.
    pub is_noise: bool,
}

/// How much of a training's energy was used when some of its gain was there.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bought {
    /// The part of the final gain, from 0 to 1.
    pub gain: f64,
    /// The part of the energy until the smoothed curve reached it.
    pub energy: f64,
    /// Its 95 % interval, from seeds drawn anew; missing for fewer than three runs.
    pub interval: Option<(f64, f64)>,
}

/// When the user's value would have ended a training.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stop {
    /// The epoch after which it would have stopped.
    pub epoch: u64,
    /// The energy of the epochs behind it.
    #[serde(rename = "saved_j")]
    pub saved: Energy,
    /// How much better the best became behind it.
    pub missed: f64,
    /// Why.
    pub reason: String,
}

/// Parts of the final gain whose energy is told.
const PARTS: [f64; 3] = [0.90, 0.95, 0.99];

impl Returns {
    /// Looks at runs that differ in their seeds only, or at one.
    ///
    /// # Errors
    /// Runs that differ in more, or that have not four epochs in common with the metric.
    pub fn of(runs: &[History], question: &Question) -> Result<Returns> {
        let Question { metric, direction, .. } = question;
        let curves = Curve::of_each(runs, question)?;
        let all: Vec<&Curve> = curves.iter().collect();
        let curve = Curve::mean(&all);
        let is_fraction = is_proportion(metric) && curve.values.iter().all(|value| *value <= 1.0);
        let noted = || runs.first()?.summary.manifest.notes.get("n_val")?.trim().parse().ok();
        let validation = question.validation.or_else(noted);
        let is_seeds = curves.len() > 1 && are_seeds(runs);
        let noise =
            Noise::of(&curves, &curve, is_seeds, validation.filter(|_| is_proportion(metric)));
        let point = if is_fraction { 0.01 } else { 1.0 };
        let gain = curve.gain(*direction);
        let is_told = gain > noise.map_or(0.0, |noise| noise.floor);
        // Few seeds are drawn in few ways, and each is looked at once.
        let drawn_before = RefCell::new(BTreeMap::<Vec<usize>, [f64; PARTS.len()]>::new());
        let again = |drawn: &[&usize]| {
            let mut drawn: Vec<usize> = drawn.iter().map(|place| **place).collect();
            drawn.sort_unstable();
            *drawn_before.borrow_mut().entry(drawn).or_insert_with_key(|drawn| {
                let drawn: Vec<&Curve> = drawn.iter().map(|place| all[*place]).collect();
                Curve::mean(&drawn).bought_each(PARTS, *direction)
            })
        };
        let places: Vec<usize> = (0..all.len()).collect();
        let bought = |part: usize| {
            let interval = || percentile(&places, |drawn: &[&usize]| again(drawn)[part], 0.95).ok();
            Bought {
                gain: PARTS[part],
                energy: curve.bought(PARTS[part], *direction),
                interval: if is_seeds { interval() } else { None },
            }
        };
        let stop = match question.worth {
            Some((value, patience)) => {
                let watch = Watch::new(metric, *direction, value, patience)?;
                stop(&curve, watch, *direction)
            }
            None => None,
        };
        Ok(Returns {
            metric: metric.clone(),
            direction: *direction,
            runs: runs.len(),
            is_estimated: runs.iter().any(History::is_estimated),
            point,
            noise,
            epochs: rows(&curve, *direction, point, noise),
            bought: if is_told { (0..PARTS.len()).map(bought).collect() } else { Vec::new() },
            stop,
        })
    }
}

/// False if two runs note the same seed, so that their scatter is not that of seeds.
fn are_seeds(runs: &[History]) -> bool {
    let seeds = runs.iter().map(|run| {
        let notes = run.summary.manifest.notes.iter();
        notes.filter(|(name, _)| named_like(name, &SEED)).collect::<Vec<_>>()
    });
    let noted: Vec<_> = seeds.filter(|seed| !seed.is_empty()).collect();
    noted.iter().collect::<BTreeSet<_>>().len() == noted.len()
}

impl Noise {
    fn of(
        curves: &[Curve],
        mean: &Curve,
        is_seeds: bool,
        validation: Option<u64>,
    ) -> Option<Noise> {
        let noise =
            |sigma: f64, source| Noise { sigma, floor: 2.0 * sigma * 2.0_f64.sqrt(), source };
        if is_seeds && curves.iter().any(|curve| curve.values != curves[0].values) {
            return Some(noise(
                curve::scatter(curves) / count(curves.len()).sqrt(),
                NoiseSource::Seeds { runs: curves.len() },
            ));
        }
        let samples = validation.filter(|samples| *samples > 0)?;
        let within = |most: f64| mean.values.iter().all(|value| (0.0..=most).contains(value));
        let whole = [1.0, 100.0].into_iter().find(|whole| within(*whole))?;
        let best = mean.values.iter().copied().fold(f64::MIN, f64::max) / whole;
        // All right or all wrong is not without noise.
        let edge = 1.0 / exact(samples.max(2));
        let best = best.clamp(edge, 1.0 - edge);
        let sigma = whole * (best * (1.0 - best) / exact(samples)).sqrt();
        Some(noise(sigma, NoiseSource::Binomial { samples }))
    }
}

fn rows(curve: &Curve, direction: Direction, point: f64, noise: Option<Noise>) -> Vec<Row> {
    let upward: Vec<f64> = curve.values.iter().map(|value| direction.upward(*value)).collect();
    let smooth = isotonic(&upward);
    let mut best: Option<(f64, Energy)> = None;
    (0..curve.values.len())
        .map(|place| {
            let (value, total) = (curve.values[place], curve.totals[place]);
            let gain = best.map(|(before, _)| direction.gain(before, value));
            let since_best = best.map_or(total, |(_, at)| total - at);
            let is_noise = noise.zip(gain).is_some_and(|(noise, gain)| gain < noise.floor);
            let divisor = if is_noise { noise.map(|noise| noise.floor) } else { gain };
            let is_best = gain.is_none_or(|gain| gain > 0.0);
            if is_best {
                best = Some((value, total));
            }
            Row {
                epoch: curve.epochs[place],
                value,
                best: best.map_or(value, |(best, _)| best),
                smoothed: direction.upward(smooth[place]),
                total,
                since_best,
                cost: divisor
                    .filter(|gain| is_best && *gain > 0.0)
                    .map(|gain| since_best.scaled(point / gain)),
                is_noise: is_best && is_noise,
            }
        })
        .collect()
}

fn stop(curve: &Curve, mut watch: Watch, direction: Direction) -> Option<Stop> {
    let steps = std::iter::once(curve.totals[0])
        .chain(curve.totals.windows(2).map(|pair| pair[1] - pair[0]));
    let found = curve.values.iter().zip(steps).enumerate().find_map(|(place, (value, energy))| {
        watch.epoch(*value, energy).map(|reason| (place, reason))
    });
    let (place, reason) = found?;
    let best = |values: &[f64]| {
        values.iter().map(|value| direction.upward(*value)).fold(f64::NEG_INFINITY, f64::max)
    };
    Some(Stop {
        epoch: curve.epochs[place],
        saved: *curve.totals.last()? - curve.totals[place],
        missed: best(&curve.values) - best(&curve.values[..=place]),
        reason,
    })
}

/// Gains that are shown at the top and at the foot of a table.
const SHOWN: usize = 8;

/// A table of the gains, and what they say.
impl fmt::Display for Returns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = match self.runs {
            1 => "one run".to_owned(),
            runs => format!("mean of {runs} runs"),
        };
        let model = if self.is_estimated { ", energies estimated by a model" } else { "" };
        writeln!(f, "{} by epoch, {} is better; {of}{model}", self.metric, self.direction)?;
        let (digits, name) = if self.point < 1.0 { (4, "J/point of 0.01") } else { (4, "J/unit") };
        writeln!(
            f,
            "{:>6} {:>12} {:>12} {:>12}  {name}",
            "epoch", self.metric, "energy", "since best"
        )?;
        let bests: Vec<&Row> = self
            .epochs
            .iter()
            .enumerate()
            .filter(|(place, row)| *place == 0 || row.cost.is_some())
            .map(|(_, row)| row)
            .collect();
        for (place, row) in bests.iter().enumerate() {
            if place >= SHOWN && place + SHOWN < bests.len() {
                if place == SHOWN {
                    writeln!(f, "     … {} more gains", bests.len() - 2 * SHOWN)?;
                }
                continue;
            }
            let (total, since) = (row.total.to_string(), row.since_best.to_string());
            write!(f, "{:>6} {:>12.digits$} {total:>12} {since:>12}", row.epoch, row.value)?;
            match row.cost {
                Some(cost) if row.is_noise => writeln!(f, "  > {cost}, within noise")?,
                Some(cost) => writeln!(f, "  {cost}")?,
                None => writeln!(f, "  the first")?,
            }
        }
        self.findings(f)
    }
}

impl Returns {
    fn findings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.noise {
            Some(Noise { floor, source: NoiseSource::Seeds { runs }, .. }) => {
                writeln!(
                    f,
                    "noise: gains below {floor:.2} are not told, by the scatter of {runs} seeds",
                    floor = Digits(floor)
                )?;
            }
            Some(Noise { floor, source: NoiseSource::Binomial { samples }, .. }) => {
                writeln!(
                    f,
                    "noise: gains below {} are not told, of {samples} samples (binomial)",
                    Digits(floor)
                )?;
            }
            None => writeln!(
                f,
                "noise: not known, so small gains may be none; give several seeds, or note n_val"
            )?,
        }
        for bought in &self.bought {
            let interval = bought.interval.map_or(String::new(), |(low, high)| {
                format!(
                    " ({:.0} to {:.0} %, bootstrap over seeds)",
                    100.0 * (1.0 - high),
                    100.0 * (1.0 - low)
                )
            });
            writeln!(
                f,
                "the last {:.0} % of the gain took {:.0} % of the energy{interval}",
                100.0 * (1.0 - bought.gain),
                100.0 * (1.0 - bought.energy)
            )?;
        }
        if self.bought.is_empty() {
            writeln!(f, "the gain over all epochs is within noise, or there is none")?;
        }
        if let Some(stop) = &self.stop {
            writeln!(
                f,
                "at your price it would stop after epoch {}, {} less for {} less of {}:\n  {}",
                stop.epoch,
                stop.saved,
                Digits(stop.missed),
                self.metric,
                stop.reason
            )?;
        }
        write!(
            f,
            "in hindsight: the best of noisy values is optimistic; test once, on data kept apart"
        )
    }
}

/// A number to two significant digits.
struct Digits(f64);

impl fmt::Display for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0.abs();
        let digits = [(1e-4, 6), (1e-3, 5), (1e-2, 4), (1e-1, 3), (1.0, 2), (10.0, 1)];
        match digits.into_iter().find(|(below, _)| size < *below) {
            _ if size == 0.0 => write!(f, "0"),
            Some((_, digits)) => write!(f, "{:.digits$}", self.0),
            None => write!(f, "{:.0}", self.0),
        }
    }
}

fn count(n: usize) -> f64 {
    exact(n as u64)
}

#[expect(clippy::cast_precision_loss, reason = "a number of samples is exact in f64 up to 2⁵³")]
fn exact(n: u64) -> f64 {
    n as f64
}
