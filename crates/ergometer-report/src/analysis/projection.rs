//! A [`Projection`]: what a training will have used when its last epoch ends, from those it has done.

mod calibration;
mod course;

use std::fmt;
use std::time::Duration;

use ergometer::record::Manifest;
use ergometer::{Energy, Error, Record, Result};
use serde::Serialize;

pub use self::calibration::{Calibration, Check};
use self::course::Course;
pub use self::course::Recurrence;
use crate::History;
use crate::analysis::seconds;
use crate::metric::Direction;
use crate::quantity::{Co2e, Money};
use crate::site::{Site, money};
use crate::statistics::Ahead;

/// What a training will have used when its last planned epoch ends: energy and time, each with an interval of 95 %.
///
/// ```text
/// Ê = E_done + (N − k)·ē ± margin,  ē the mean of epochs 2 to k
/// ```
///
/// The first epoch of each session is left out of the mean: it compiles, tunes and fills caches. What lies between two
/// epochs counts with the second. Validation that comes every m epochs is told apart and counted by its own rate. The margin
/// is that of [`Ahead`]: Student's t over the scatter of epochs, with their autocorrelation.
///
/// Covered is what was measured, from the run's start to the end of its last epoch; behind it only what recurs there, such as
/// a checkpoint. It is taken that epochs go on as they were: no early stop, growing sequences, throttling or other load.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Projection {
    /// Epochs in all.
    pub planned: u64,
    /// Epochs that are done.
    pub done: u64,
    /// Energy used until now: to the end of the last epoch.
    #[serde(rename = "spent_j")]
    pub spent: Energy,
    /// Energy at the end.
    #[serde(rename = "energy_j")]
    pub energy: Energy,
    /// Half the 95 % interval of the energy that the meter will show: by the scatter of epochs.
    #[serde(rename = "margin_j")]
    pub margin: Energy,
    /// The energy's expanded uncertainty (k = 2) from the sensors, which err alike in all epochs; missing where no epoch has
    /// one.
    #[serde(rename = "expanded_j")]
    pub sensors: Option<Energy>,
    /// Mean energy of an epoch, as it goes on.
    #[serde(rename = "epoch_j")]
    pub epoch: Energy,
    /// Time still to go.
    #[serde(rename = "remaining_s", serialize_with = "seconds")]
    pub remaining: Duration,
    /// Half its 95 % interval.
    #[serde(rename = "remaining_margin_s", serialize_with = "seconds")]
    pub remaining_margin: Duration,
    /// Time from the first epoch's start to the end, pauses between sessions left out.
    #[serde(rename = "duration_s", serialize_with = "seconds")]
    pub time: Duration,
    /// What the margins rest on.
    pub basis: Basis,
    /// Work that comes every so many epochs, if there is any.
    pub recurrence: Option<Recurrence>,
    /// True if a model stands for part of the energy.
    pub is_estimated: bool,
}

/// What a [`Projection`]'s margins rest on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Basis {
    /// The scatter of epochs.
    Scatter {
        /// How many.
        epochs: usize,
        /// How much of a deviation the next epoch inherits.
        autocorrelation: f64,
        /// As many independent epochs would tell as much.
        effective: f64,
    },
    /// A single epoch, which shows no scatter: ± 20 %, about what projections from one epoch were off where that was
    /// studied, 4.9 to 19.1 % (Anthony, Kanding and Selvan 2020, carbontracker).
    Published,
    /// Nothing: all epochs are done.
    Done,
}

/// The range of projections from a single epoch, relative: see [`Basis::Published`].
const PUBLISHED: f64 = 0.20;

/// The confidence of all intervals here.
const CONFIDENCE: f64 = 0.95;

impl Projection {
    /// Projects a run from its log; how many epochs are planned is taken from there unless it is given.
    ///
    /// # Errors
    /// As [`of_epochs`](Projection::of_epochs), and if the number of planned epochs is not known.
    pub fn of(run: &History, planned: Option<u64>) -> Result<Projection> {
        let known = || planned_epochs(&run.summary.manifest);
        let Some(planned) = planned.or_else(known) else {
            return Err(Error::invalid(format!(
                "`{}` does not say how many epochs are planned",
                run.summary.directory.display()
            ))
            .cure("give their number, or note it in the program as `epochs`"));
        };
        let mut projection = Projection::of_epochs(&run.epochs, planned)?;
        projection.is_estimated |= run.is_estimated();
        Ok(projection)
    }

    /// Projects from epochs, in their order, to the end of the planned ones. Epochs that were broken off count in what was
    /// spent, and not as done.
    ///
    /// # Errors
    /// No epoch is done, more are done than planned, none has an energy, or several lanes train at once.
    pub fn of_epochs(epochs: &[Record], planned: u64) -> Result<Projection> {
        let course = Course::of(epochs)?;
        if course.done > planned {
            return Err(Error::invalid(format!(
                "{} epochs are done, and {planned} planned",
                course.done
            ))
            .cure("give the number of epochs in all"));
        }
        let left = planned - course.done;
        let recurring = course.recurrence.map_or(0, |it| it.left(planned));
        let energies = Part::of(&course.energies, left, &course.recurring_energies, recurring)?;
        let times = Part::of(&course.times, left, &course.recurring_times, recurring)?;
        let energy = course.spent + Energy::from_joules(energies.ahead);
        // Without scatter of its own, the range is that of the whole; nothing that is spent is unspent again.
        let margin = match energies.basis {
            Basis::Published => (PUBLISHED * energy.as_joules()).min(energies.ahead),
            _ => energies.margin,
        };
        // A time that is too long to be told is the longest, and none.
        let time = |long: f64| Duration::try_from_secs_f64(long.max(0.0)).unwrap_or(Duration::MAX);
        let remaining = time(times.ahead);
        let remaining_margin = match times.basis {
            Basis::Published => PUBLISHED * times.ahead,
            _ => times.margin,
        };
        Ok(Projection {
            planned,
            done: course.done,
            spent: course.spent,
            energy,
            margin: Energy::from_joules(margin),
            sensors: course.relative.map(|relative| energy.scaled(2.0 * relative)),
            epoch: Energy::from_joules(energies.mean),
            remaining,
            remaining_margin: time(remaining_margin),
            time: course.time.saturating_add(remaining),
            basis: energies.basis,
            recurrence: course.recurrence,
            is_estimated: course.is_estimated,
        })
    }

    /// Half the 95 % interval of the energy, the sensors' uncertainty included: both are independent of each other.
    pub fn expanded(&self) -> Energy {
        let sensors = self.sensors.unwrap_or_default().as_joules();
        Energy::from_joules(self.margin.as_joules().hypot(sensors))
    }

    /// The ends of that interval.
    pub fn interval(&self) -> (Energy, Energy) {
        (self.energy - self.expanded(), self.energy + self.expanded())
    }

    /// What the projected energy emits and costs at a place, with its interval. The place's carbon intensity and price are
    /// taken as constant.
    pub fn at(&self, site: &Site) -> Outlay {
        let (low, high) = self.interval();
        let low = low.max(Energy::ZERO);
        Outlay {
            carbon: site.carbon(self.energy),
            carbon_low: site.carbon(low),
            carbon_high: site.carbon(high),
            cost: site.cost(self.energy),
            cost_low: site.cost(low),
            cost_high: site.cost(high),
        }
    }

    /// What the training uses if a metric gets no better, and stops when it has not for `patience` epochs.
    ///
    /// # Errors
    /// No epoch has the metric.
    pub fn early_stop(
        &self,
        epochs: &[Record],
        metric: &str,
        direction: Direction,
        patience: u64,
    ) -> Result<EarlyStop> {
        let done = course::completed(epochs);
        let mut best: Option<(u64, f64)> = None;
        for (place, epoch) in (1..).zip(&done) {
            if let Some(value) = epoch.metrics.get(metric).filter(|value| value.is_finite())
                && best.is_none_or(|(_, best)| direction.gain(best, *value) > 0.0)
            {
                best = Some((place, *value));
            }
        }
        let Some((place, best)) = best else {
            return Err(Error::absent(format!("no epoch has a metric `{metric}`"))
                .cure("give one that the program logs"));
        };
        let stop = place.saturating_add(patience).min(self.planned);
        let passed = usize::try_from(stop).ok().and_then(|stop| done.get(stop.saturating_sub(1)));
        let energy = match passed {
            Some(epoch) if stop < self.done => epoch.total,
            _ => self.spent + self.epoch.scaled(exact(stop.saturating_sub(self.done))),
        };
        Ok(EarlyStop { metric: metric.to_owned(), best, best_epoch: place, patience, stop, energy })
    }
}

/// What a projected energy emits and costs at a place, each with the ends of its interval.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outlay {
    /// Emissions; missing where the place's carbon intensity is not known.
    #[serde(rename = "co2e_kg")]
    pub carbon: Option<Co2e>,
    /// Their lower end.
    #[serde(rename = "co2e_low_kg")]
    pub carbon_low: Option<Co2e>,
    /// Their upper end.
    #[serde(rename = "co2e_high_kg")]
    pub carbon_high: Option<Co2e>,
    /// Money; missing where the place's price is not known.
    #[serde(serialize_with = "money")]
    pub cost: Option<Money>,
    /// Its lower end.
    #[serde(serialize_with = "money")]
    pub cost_low: Option<Money>,
    /// Its upper end.
    #[serde(serialize_with = "money")]
    pub cost_high: Option<Money>,
}

/// What a training uses if it stops for want of progress.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EarlyStop {
    /// What stops it if it gets no better.
    pub metric: String,
    /// Its best value.
    pub best: f64,
    /// The epoch of that value, counted from 1.
    pub best_epoch: u64,
    /// Epochs that are waited for a better one.
    pub patience: u64,
    /// The last epoch then.
    pub stop: u64,
    /// Energy at its end.
    #[serde(rename = "energy_j")]
    pub energy: Energy,
}

/// What is ahead of one quantity, without what is spent.
struct Part {
    ahead: f64,
    margin: f64,
    mean: f64,
    basis: Basis,
}

impl Part {
    /// `left` more like those of `row`, and `again` times more what recurs.
    fn of(row: &[f64], left: u64, recurring: &[f64], again: u64) -> Result<Part> {
        let mean = mean(row);
        let mut part = match (row, left) {
            (_, 0) => Part { ahead: 0.0, margin: 0.0, mean, basis: Basis::Done },
            ([], _) => {
                return Err(Error::absent("the epochs were too short to be measured")
                    .cure("make them longer, or give the run sensors that are read more often"));
            }
            ([_], _) => Part {
                ahead: exact(left) * mean,
                margin: PUBLISHED * exact(left) * mean,
                mean,
                basis: Basis::Published,
            },
            _ => {
                let ahead = Ahead::of(row, left, CONFIDENCE)?;
                let (autocorrelation, effective) = (ahead.autocorrelation, ahead.effective);
                let basis = Basis::Scatter { epochs: row.len(), autocorrelation, effective };
                Part { ahead: ahead.sum, margin: ahead.margin, mean, basis }
            }
        };
        if again > 0 && !recurring.is_empty() {
            let ahead = exact(again) * self::mean(recurring);
            let margin = match recurring {
                [_] => PUBLISHED * ahead.abs(),
                _ => Ahead::of(recurring, again, CONFIDENCE)?.margin,
            };
            part.ahead += ahead;
            part.margin = part.margin.hypot(margin);
        }
        Ok(part)
    }
}

fn mean(row: &[f64]) -> f64 {
    row.iter().sum::<f64>() / exact(row.len().max(1) as u64)
}

/// How many epochs a run says are planned: by its loop, or else in its note `epochs`.
pub fn planned_epochs(manifest: &Manifest) -> Option<u64> {
    manifest.planned_epochs.or_else(|| manifest.notes.get("epochs")?.trim().parse().ok())
}

/// The projection in words: energy, time, what they rest on, what is assumed.
impl fmt::Display for Projection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let model = if self.is_estimated { " (estimated by a model)" } else { "" };
        writeln!(f, "epochs     {} of {} done", self.done, self.planned)?;
        match self.sensors.filter(|_| self.energy > Energy::ZERO) {
            Some(sensors) => {
                let share = self.spent.as_joules() / self.energy.as_joules();
                let spent = self.spent.plus_minus(sensors.scaled(share));
                writeln!(f, "spent      {spent}{model}")?;
            }
            None => writeln!(f, "spent      {}{model}", self.spent)?,
        }
        if self.basis == Basis::Done {
            return write!(f, "projected  nothing is left to do");
        }
        let interval = self.energy.plus_minus(self.expanded());
        writeln!(f, "projected  {interval} at the end (95 %){model}")?;
        match self.sensors {
            Some(sensors) => writeln!(
                f,
                "           ± {} by the scatter of epochs, ± {sensors} by the sensors",
                self.margin
            )?,
            None => writeln!(f, "           ± {} by the scatter of epochs", self.margin)?,
        }
        writeln!(
            f,
            "time       {} ± {} to go, {} in all from the first epoch on",
            Span(self.remaining),
            Span(self.remaining_margin),
            Span(self.time)
        )?;
        match self.basis {
            Basis::Scatter { epochs, autocorrelation, effective } => writeln!(
                f,
                "basis      {epochs} epochs without the warm-up, worth {effective:.1} independent \
                 ones (φ = {autocorrelation:.2})"
            )?,
            Basis::Published => writeln!(
                f,
                "basis      one epoch, which shows no scatter: ± 20 % as published (Anthony et al. 2020)"
            )?,
            Basis::Done => {}
        }
        if let Some(it) = self.recurrence {
            let seen = if it.seen == 1 { "seen once" } else { "seen to recur" };
            writeln!(f, "recurring  {} more every {} epochs, {seen}", it.energy, it.every)?;
        }
        write!(
            f,
            "assumed    the other epochs are like these: no early stop, longer input, throttling or other load"
        )
    }
}

/// The other end that a training may come to, and why.
impl fmt::Display for EarlyStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "or         {} if it stops after epoch {}:\n           \
             {} epochs without a better {} than {:.4} in epoch {}",
            self.energy, self.stop, self.patience, self.metric, self.best, self.best_epoch
        )
    }
}

/// Emissions and money, a line for each that is known.
impl fmt::Display for Outlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let carbon = (self.carbon, self.carbon_low, self.carbon_high);
        if let (Some(value), Some(low), Some(high)) = carbon {
            write!(f, "emissions  {value} ({low} to {high}), if the intensity stays as it is")?;
        }
        if let (Some(value), Some(low), Some(high)) = (self.cost, self.cost_low, self.cost_high) {
            let gap = if self.carbon.is_some() { "\n" } else { "" };
            // Small runs cost less than a cent.
            let digits = [(0.01, 6), (1.0, 4)].into_iter().find(|(below, _)| value.amount < *below);
            let digits = digits.map_or(2, |(_, digits)| digits);
            write!(
                f,
                "{gap}cost       {value:.digits$} ({low:.digits$} to {high:.digits$}), if the price stays as it is"
            )?;
        }
        Ok(())
    }
}

/// A time as people say it: `4.2 s`, `12 min 5 s`, `3 h 20 min`, `2 d 4 h`.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (short, long) = (self.0.as_secs_f64(), self.0.as_secs());
        match long {
            0..=99 => write!(f, "{short:.1} s"),
            100..=5_999 => write!(f, "{} min {} s", long / 60, long % 60),
            6_000..=359_999 => write!(f, "{} h {} min", long / 3_600, long % 3_600 / 60),
            _ => write!(f, "{} d {} h", long / 86_400, long % 86_400 / 3_600),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a number of epochs is exact in f64 up to 2⁵³")]
fn exact(count: u64) -> f64 {
    count as f64
}
