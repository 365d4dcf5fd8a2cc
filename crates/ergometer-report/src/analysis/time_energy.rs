//! Which trainings no other beats in time and energy at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use ergometer::{Energy, Error, Power, Result};
use serde::Serialize;

use super::family::{is_whole, replicates};
use crate::comparison::{Arrival, thousands};
use crate::conditions::{Conditions, EXTENT, HOST, SEED, differences, named_like};
use crate::footprint::pareto;
use crate::metric::Direction;
use crate::statistics::{Sample, student};
use crate::{History, Spread, Target};

/// Trainings by time, energy and quality: those that no other beats, and what the slower ones save.
///
/// One training dominates another if it is no worse in anything, and their 95 % intervals part them wherever they differ;
/// where the means would say so but intervals overlap, the two are tied. A single run has no interval and parts from
/// nothing. Intervals are by Student's t over the seeds, on logarithms for time and energy.
///
/// What may differ is for the user to set: model, power cap, batch size. Where runs trained for different qualities, time
/// and energy up to one target are what compares.
#[derive(Clone, Debug, Serialize)]
pub struct TimeEnergy {
    /// The quality up to which time and energy count; whole runs without one.
    pub target: Option<Target>,
    /// The metric that counts beside time and energy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<Target>,
    /// The trainings, from the fastest.
    pub settings: Vec<Setting>,
    /// The knee of the front, by its place in `settings`: the point below the line from its fastest to its most frugal one
    /// that is farthest from it, with time and energy each scaled to the front (Das 1999, Structural Optimization 18).
    /// Missing where no point is below the line, or quality counts too.
    pub knee: Option<usize>,
    /// What each slower training on the front saves against the next faster one, where intervals part them in time and in
    /// energy; nothing where quality counts too.
    pub savings: Vec<Saving>,
    /// True if a model stands for any part of the energies.
    pub estimated: bool,
    /// Runs that are left out, with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// Runs that differ in their seeds only.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// What it is called.
    pub label: String,
    /// The number of runs.
    pub runs: usize,
    /// The time, in seconds.
    #[serde(rename = "duration_s")]
    pub time: Reading,
    /// The energy, in joules.
    #[serde(rename = "energy_j")]
    pub energy: Reading,
    /// The metric at the end, where one counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality: Option<Reading>,
    /// How it stands to the others.
    pub standing: Standing,
}

/// A mean with its 95 % interval, in seconds, joules, or whatever a metric is in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Reading {
    /// The mean.
    pub mean: f64,
    /// The interval; missing for a single run.
    pub interval: Option<(f64, f64)>,
}

/// How a training stands to the others; they are named by their places in `settings`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// No other beats it.
    Front,
    /// By the means another does, but intervals do not part them.
    Tied(usize),
    /// Another does.
    Dominated(usize),
}

/// What a slower training saves.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Saving {
    /// The faster one, by its place in `settings`.
    pub from: usize,
    /// The slower one.
    pub to: usize,
    /// The energy saved for each extra hour.
    #[serde(rename = "energy_per_hour_j")]
    pub per_hour: Energy,
}

impl TimeEnergy {
    /// Compares runs: whole ones by time, energy and a metric, if there is one that all have, or up to a target by time and
    /// energy.
    ///
    /// # Errors
    /// Energies that do not cover the same hardware in the same way, runs of several machines, a target that is not known at
    /// the end of epochs of every run, and no run that reaches it.
    pub fn of(
        runs: &[History],
        target: Option<&Target>,
        metric: Option<&Target>,
    ) -> Result<TimeEnergy> {
        let covered: BTreeSet<String> = runs.iter().map(covered).collect();
        if covered.len() > 1 {
            let covered: Vec<String> = covered.into_iter().collect();
            return Err(Error::unsupported(format!(
                "the energies cover different things: {}",
                covered.join("; ")
            ))
            .cure("give runs that were measured alike"));
        }
        let conditions: Vec<Conditions> =
            runs.iter().map(|run| Conditions::of(&run.summary)).collect();
        let machines = differences(&conditions, &|name| !MACHINE.contains(&name));
        if !machines.is_empty() {
            return Err(Error::unsupported(format!(
                "the runs are of several machines: {}",
                machines.join("; ")
            ))
            .cure("give runs of one machine"));
        }
        let all: Vec<&History> = runs.iter().collect();
        let target = target.map(|target| target.settled(&all)).transpose()?;
        let mut left_out = Vec::new();
        let mut settings = Vec::new();
        let groups = replicates(runs, &["samples trained on", "tokens trained on"]);
        for (group, label) in groups.iter().zip(labels(&groups)) {
            let (mut times, mut energies, mut qualities) = (Vec::new(), Vec::new(), Vec::new());
            for run in group {
                match outcome(run, target.as_ref(), metric) {
                    Ok((time, energy, quality)) => {
                        times.push(time);
                        energies.push(energy);
                        qualities.extend(quality);
                    }
                    Err(reason) => {
                        left_out.push(format!("{}: {reason}", run.summary.manifest.run_id));
                    }
                }
            }
            if let Some((time, energy)) = Reading::of_logs(&times).zip(Reading::of_logs(&energies))
            {
                let quality = Reading::of(&qualities);
                let (runs, standing) = (times.len(), Standing::Front);
                settings.push(Setting { label, runs, time, energy, quality, standing });
            }
        }
        let metric = metric.filter(|_| target.is_none()).cloned();
        let found = TimeEnergy::among(settings, target, metric, left_out)?;
        Ok(TimeEnergy { estimated: runs.iter().any(History::is_estimated), ..found })
    }

    /// Compares settings whose readings are known otherwise; what they stand at is found here.
    ///
    /// # Errors
    /// No setting, or one that lacks a quality that others have.
    pub fn among(
        mut settings: Vec<Setting>,
        target: Option<Target>,
        metric: Option<Target>,
        left_out: Vec<String>,
    ) -> Result<TimeEnergy> {
        if settings.is_empty() {
            let reason = left_out.first().map(|run| format!(": {run}")).unwrap_or_default();
            return Err(Error::unsupported(format!("no run can be compared{reason}"))
                .cure("give runs that ended, or a target that they reach"));
        }
        settings.sort_by(|a, b| a.time.mean.total_cmp(&b.time.mean));
        let criteria: Vec<Vec<Reading>> =
            settings.iter().map(|setting| setting.criteria(metric.as_ref())).collect();
        let means: Vec<Vec<f64>> =
            criteria.iter().map(|of| of.iter().map(|reading| reading.mean).collect()).collect();
        let front = pareto(&means)?;
        for off in &front.dominated {
            let by = (0..settings.len()).find(|by| dominates(&criteria[*by], &criteria[off.point]));
            settings[off.point].standing = by.map_or(Standing::Tied(off.by), Standing::Dominated);
        }
        let (knee, savings, estimated) = (None, Vec::new(), false);
        let mut found = TimeEnergy { target, metric, settings, knee, savings, estimated, left_out };
        if means.iter().all(|means| means.len() == 2) {
            found.knee = found.find_knee(&front.on);
            found.savings =
                front.on.windows(2).filter_map(|pair| found.saving(pair[0], pair[1])).collect();
        }
        Ok(found)
    }

    /// The settings that none dominates by its mean, from the fastest.
    pub fn front(&self) -> impl Iterator<Item = &Setting> {
        self.settings.iter().filter(|setting| setting.standing == Standing::Front)
    }

    /// The cost η·E + (1 − η)·P·T of each setting, P the highest power of the machine: from time alone at η = 0 to energy alone
    /// at 1 (You et al. 2023, NSDI).
    ///
    /// # Errors
    /// An η that is not from 0 to 1.
    pub fn costs(&self, eta: f64, highest: Power) -> Result<Vec<Energy>> {
        if !(0.0..=1.0).contains(&eta) {
            return Err(Error::invalid(format!("{eta} is no weight")).cure("give one from 0 to 1"));
        }
        let cost = |setting: &Setting| {
            let time = (highest * setting.duration()).as_joules();
            Energy::from_joules(eta * setting.energy.mean + (1.0 - eta) * time)
        };
        Ok(self.settings.iter().map(cost).collect())
    }

    fn find_knee(&self, front: &[usize]) -> Option<usize> {
        let (first, last) = (&self.settings[*front.first()?], &self.settings[*front.last()?]);
        let (time, energy) =
            (last.time.mean - first.time.mean, first.energy.mean - last.energy.mean);
        if !(time > 0.0 && energy > 0.0) {
            return None;
        }
        // With both scaled to 1 the line is t + e = 1, and what is missing to 1 is the distance times √2.
        let below = |place: usize| {
            let setting = &self.settings[place];
            1.0 - (setting.time.mean - first.time.mean) / time
                - (setting.energy.mean - last.energy.mean) / energy
        };
        front
            .iter()
            .copied()
            .filter(|place| below(*place) > 1e-9)
            .max_by(|a, b| below(*a).total_cmp(&below(*b)))
    }

    fn saving(&self, from: usize, to: usize) -> Option<Saving> {
        let (fast, slow) = (&self.settings[from], &self.settings[to]);
        // What intervals do not part is noise, and noise over a short time is a large rate.
        let parted = slow.energy.is_below(&fast.energy).zip(fast.time.is_below(&slow.time));
        parted.filter(|(frugal, fast)| *frugal && *fast)?;
        let hours = (slow.time.mean - fast.time.mean) / 3600.0;
        let saved = fast.energy.mean - slow.energy.mean;
        (hours > 0.0).then(|| Saving { from, to, per_hour: Energy::from_joules(saved / hours) })
    }
}

impl Setting {
    /// The time.
    pub fn duration(&self) -> Duration {
        Duration::try_from_secs_f64(self.time.mean).unwrap_or_default()
    }

    /// Energy times time, in **joule seconds**.
    pub fn energy_delay(&self) -> f64 {
        self.energy.mean * self.time.mean
    }

    /// Time, energy and quality, each so that less is better.
    fn criteria(&self, metric: Option<&Target>) -> Vec<Reading> {
        let higher = metric.is_some_and(|metric| metric.direction == Direction::Higher);
        let quality = self.quality.map(|quality| if higher { quality.negative() } else { quality });
        [self.time, self.energy].into_iter().chain(quality).collect()
    }
}

impl Reading {
    /// The mean of values, with its interval.
    pub fn of(values: &[f64]) -> Option<Reading> {
        let mean = Spread::of(values)?.mean;
        let margin = Sample::of(values).and_then(|sample| {
            #[expect(clippy::cast_precision_loss, reason = "a number of runs is small")]
            let n = sample.n as f64;
            Some(student::two_sided(0.95, n - 1.0).ok()? * (sample.variance / n).sqrt())
        });
        Some(Reading { mean, interval: margin.map(|margin| (mean - margin, mean + margin)) })
    }

    /// The geometric mean of values above 0, with its interval.
    pub fn of_logs(values: &[f64]) -> Option<Reading> {
        let logs: Vec<f64> = values.iter().map(|value| value.ln()).collect();
        let Reading { mean, interval } = Reading::of(&logs)?;
        Some(Reading {
            mean: mean.exp(),
            interval: interval.map(|(low, high)| (low.exp(), high.exp())),
        })
    }

    fn negative(self) -> Reading {
        Reading { mean: -self.mean, interval: self.interval.map(|(low, high)| (-high, -low)) }
    }

    /// No worse: equal, or less with an interval that is below the other's.
    fn is_below(&self, other: &Reading) -> Option<bool> {
        if (self.mean - other.mean).abs() <= f64::EPSILON * other.mean.abs() {
            return Some(false);
        }
        let (own, there) = self.interval.zip(other.interval)?;
        (own.1 < there.0).then_some(true)
    }
}

/// True if nothing is worse, and intervals part the two wherever they differ.
fn dominates(a: &[Reading], b: &[Reading]) -> bool {
    let parts: Option<Vec<bool>> = a.iter().zip(b).map(|(a, b)| a.is_below(b)).collect();
    parts.is_some_and(|parts| parts.contains(&true))
}

/// What tells machines apart.
const MACHINE: [&str; 4] = [HOST, "processor", "hardware threads", "GPUs"];

/// What a run's energy covers, and how it came about.
fn covered(run: &History) -> String {
    let conditions = Conditions::of(&run.summary);
    let named = conditions.key(&|name| name != "energy of");
    named.first().map_or_else(String::new, |(_, covered)| (*covered).to_owned())
}

/// A run's time and energy, and its quality where it counts.
fn outcome(
    run: &History,
    target: Option<&Target>,
    metric: Option<&Target>,
) -> Result<(f64, f64, Option<f64>), String> {
    let (time, energy) = match target {
        Some(target) => {
            let epoch = match target.arrival(run) {
                Arrival::At(epoch) => epoch,
                Arrival::Never => return Err(format!("it never reached {target}")),
                Arrival::Unknown => {
                    return Err("part of its energy until then was not measured".to_owned());
                }
            };
            // An epoch's end as the run's own clock counts it, pauses between sessions included.
            (run.span(epoch).1, epoch.total)
        }
        None if run.is_complete() && !is_whole(run) => {
            return Err(format!("its energy is {}", run.energy().quality));
        }
        None if run.is_complete() => {
            let energy = run.energy().energy.ok_or("its energy is not known")?;
            (run.summary.end.duration, energy)
        }
        None => return Err("it did not end as planned".to_owned()),
    };
    let quality = match metric.filter(|_| target.is_none()) {
        Some(metric) => {
            let name = &metric.metric;
            let value = run.metric(name).ok_or_else(|| format!("it has no `{name}`"))?;
            Some(
                Some(value)
                    .filter(|value| value.is_finite())
                    .ok_or_else(|| format!("its `{name}` is no number"))?,
            )
        }
        None => None,
    };
    if !time.is_zero() && energy > Energy::ZERO {
        Ok((time.as_secs_f64(), energy.as_joules(), quality))
    } else {
        Err(format!("{energy} in {time:?} has no logarithm"))
    }
}

/// What groups are called: framework and parameters, and whatever else sets groups apart.
fn labels(groups: &[Vec<&History>]) -> Vec<String> {
    let conditions: Vec<Conditions> =
        groups.iter().map(|group| Conditions::of(&group[0].summary)).collect();
    let aside = |name: &str| {
        named_like(name, &SEED)
            || name == HOST
            || ["samples trained on", "tokens trained on", "framework", "device"].contains(&name)
            || name == "framework threads"
    };
    let keys: Vec<BTreeMap<&str, &str>> =
        conditions.iter().map(|own| own.key(&aside).into_iter().collect()).collect();
    let differs =
        |name: &str| keys.iter().map(|key| key.get(name)).collect::<BTreeSet<_>>().len() > 1;
    let label = |(group, key): (&Vec<&History>, &BTreeMap<&str, &str>)| {
        let manifest = &group[0].summary.manifest;
        let framework = manifest.framework.as_ref().map(|framework| framework.name.clone());
        let model = match manifest.parameters {
            Some(parameters) => format!("{} parameters", thousands(parameters)),
            None => manifest.name.clone(),
        };
        let other = key
            .iter()
            .filter(|(name, _)| differs(name) && !named_like(name, &EXTENT))
            .map(|(name, value)| format!("{name} {value}"));
        framework.into_iter().chain([model]).chain(other).collect::<Vec<_>>().join(", ")
    };
    groups.iter().zip(&keys).map(label).collect()
}

impl fmt::Display for TimeEnergy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            Some(target) => writeln!(f, "Time and energy up to {target}, from the fastest:")?,
            None => {
                let beside = self.metric.iter().map(|metric| format!(", and {}", metric.metric));
                let beside: String = beside.collect();
                writeln!(f, "Time and energy of whole runs{beside}, from the fastest:")?;
            }
        }
        for (place, setting) in self.settings.iter().enumerate() {
            let label: String = setting.label.chars().take(36).collect();
            let energy = Energy::from_joules(setting.energy.mean).to_string();
            write!(
                f,
                "{:>3}  {label:<36}  {:>9.2} s{}  {energy:>9}{}  ",
                place + 1,
                setting.time.mean,
                relative(&setting.time),
                relative(&setting.energy)
            )?;
            if let Some(quality) = &setting.quality {
                write!(f, "{:>8.4}  ", quality.mean)?;
            }
            match setting.standing {
                Standing::Front if self.knee == Some(place) => writeln!(f, "front, knee")?,
                Standing::Front => writeln!(f, "front")?,
                Standing::Tied(with) => writeln!(f, "tied with {}", with + 1)?,
                Standing::Dominated(by) => writeln!(f, "beaten by {}", by + 1)?,
            }
        }
        for saving in &self.savings {
            writeln!(
                f,
                "From {} to {}: {} saved for each extra hour.",
                saving.from + 1,
                saving.to + 1,
                saving.per_hour
            )?;
        }
        for run in &self.left_out {
            writeln!(f, "left out: {run}")?;
        }
        if self.settings.iter().any(|setting| setting.quality.is_some()) {
            writeln!(
                f,
                "Quality counts too: a model that is slower and uses more may be on the front for it."
            )?;
        }
        if self.estimated {
            writeln!(f, "The energies are estimated by a model, which sees times and loads.")?;
        }
        write!(
            f,
            "Means ± 95 % over the seeds; tied where intervals overlap, or a single run has none."
        )
    }
}

fn relative(reading: &Reading) -> String {
    let width = reading.interval.map(|(low, high)| (high - low) / 2.0 / reading.mean * 100.0);
    width.map_or_else(|| format!("{:8}", ""), |width| format!(" ± {width:>3.0} %"))
}
