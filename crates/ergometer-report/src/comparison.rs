//! A [`Comparison`]: what several models cost and learned, each over its runs.

mod at_quality;
mod mean;
mod table;
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ergometer::record::{Estimate, State, Status};
use ergometer::sensor::{Hardware, Provenance};
use ergometer::{Energy, Error, Record, Result, Summary};
use serde::{Serialize, Serializer};

use crate::conditions::Conditions;

pub use self::at_quality::{AtQuality, Contrast, Crossing, Reached, Verdict};
use self::mean::{Mean, Observation};
pub(crate) use self::table::thousands;
pub(crate) use self::target::Arrival;
pub use self::target::Target;

/// Runs, grouped by what was trained, and the groups set against the first of them.
///
/// Runs of one framework and one number of parameters are a group: they are taken to differ in their seeds only. Runs
/// that do not say how many parameters they train are grouped by their names. Printed, it is a table.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The label of the group that the others are set against; missing if there is none.
    pub baseline: Option<String>,
    /// The groups, in the order of their first runs.
    pub groups: Vec<Group>,
    /// What could have been measured in these runs and was not, by source.
    pub unmeasured: BTreeSet<String>,
}

/// Runs of one model, and what they came to on average.
///
/// # Uncertainty of a mean
/// The mean Ē of n runs has the standard uncertainty
///
/// ```text
/// u² = Σ (mean of Σ gain·E)² + Σ (mean of Σ offset·t)² + s²/n
/// ```
///
/// where the outer sums go over families of sensors, the inner ones over the sensors of a family on one host, and s is the standard deviation of the runs. A
/// sensor's gain and offset err alike in all runs, so what comes from them does not shrink with n (JCGM 100:2008, 5.2.2,
/// with correlation 1). The rest, that of boundaries included, scatters from run to run, and that part of the mean does
/// shrink (4.2.3). It is not taken for less than what is known of the boundaries, which few runs may miss by chance; of
/// a single run nothing else is known.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    /// What it is called: `candle, 1,210 parameters`, or the runs' name.
    pub label: String,
    /// The framework that trained.
    pub framework: Option<String>,
    /// Trainable parameters of the model.
    pub parameters: Option<u64>,
    /// The runs' name, where they do not say how many parameters they train.
    pub name: Option<String>,
    /// The runs' ids.
    pub runs: Vec<String>,
    /// How many of the runs did not end as planned: still going, killed, left, stopped.
    pub unfinished: usize,
    /// What the programs measured themselves, at the run's end or else in its last epochs.
    pub metrics: BTreeMap<String, Spread>,
    /// Mean energy of a run.
    #[serde(rename = "run")]
    pub energy: Estimate,
    /// Mean energy of a completed epoch: of all, or of the last 1,024 in runs of more.
    pub epoch: Estimate,
    /// Mean energy of a run for each sample trained on.
    pub sample: Estimate,
    /// Mean time of a run.
    #[serde(rename = "duration_s", serialize_with = "seconds")]
    pub time: Duration,
    /// What the energy is the sum of, by domain.
    pub domains: BTreeMap<String, Covered>,
    /// Against the baseline; missing for the baseline itself, and where the energies cannot be compared.
    pub ratio: Option<Ratio>,
    /// Why there is no ratio, where one could be expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incomparable: Option<String>,
    /// In what the runs differ from the baseline's beside model and framework: machine, device, batch size, data. A ratio is
    /// then not the models' alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unlike: Vec<String>,
    #[serde(skip)]
    conditions: Vec<Conditions>,
    #[serde(skip)]
    mean: Option<Mean>,
    #[serde(skip)]
    names: BTreeSet<String>,
}

/// A metric over the runs of a group.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The sample standard deviation, with n − 1; missing for a single run.
    pub sd: Option<f64>,
    /// The runs that have the metric.
    pub n: usize,
}

/// A domain in the sum, and how its energy came about.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Covered {
    /// What kind of hardware it is.
    pub hardware: Hardware,
    /// How its energy came about; the worst way, if the runs differ.
    pub provenance: Provenance,
    /// The source in words.
    pub source: String,
    /// Its mean energy in a run; missing where it is not known for each of them.
    #[serde(rename = "energy_j")]
    pub energy: Option<Energy>,
}

/// A group's energy and time as multiples of the baseline's.
///
/// # Uncertainty
/// On one host, what a family of sensors has in common errs alike in both groups, and most of it cancels: with w as the
/// part of the energy that a family's sensors tell, each times its gain, the relative variance is
///
/// ```text
/// u²/R² = Σ (w − w₀)² + s²/(n·Ē²) + s₀²/(n₀·Ē₀²)
/// ```
///
/// and likewise for offsets (JCGM 100:2008, 5.2.2, for a quotient). Between hosts nothing cancels. The expanded
/// uncertainty has the coverage of k = 2, 95.45 %, for the few runs there are: k is Student's factor for the effective
/// degrees of freedom of Welch and Satterthwaite (G.4.1 and table G.2).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// Energy of a run, as a multiple of the baseline's.
    pub energy: f64,
    /// Its standard uncertainty; missing if either group is a single run, whose scatter is not known.
    pub u: Option<f64>,
    /// The factor that expands it.
    pub k: Option<f64>,
    /// Time of a run, as a multiple of the baseline's.
    pub time: Option<f64>,
}

impl Comparison {
    /// Groups runs, and sets the groups against that of the first run.
    pub fn of(summaries: &[Summary]) -> Comparison {
        let mut groups: Vec<(Key, Vec<&Summary>)> = Vec::new();
        for summary in summaries {
            let key = Key::of(summary);
            match groups.iter_mut().find(|(known, _)| *known == key) {
                Some((_, members)) => members.push(summary),
                None => groups.push((key, vec![summary])),
            }
        }
        let unmeasured = summaries.iter().flat_map(|summary| &summary.manifest.unmeasured);
        let mut comparison = Comparison {
            baseline: None,
            unmeasured: unmeasured.map(|part| part.source.clone()).collect(),
            groups: groups.into_iter().map(|(key, members)| Group::of(key, &members)).collect(),
        };
        comparison.set_against(0);
        comparison
    }

    /// Sets the groups against the one that is called `name`, or that has a run of this name or id.
    ///
    /// # Errors
    /// If no group is called so, or several are.
    pub fn against(mut self, name: &str) -> Result<Comparison> {
        let is = |group: &Group| group.label == name || group.names.contains(name);
        let mut fitting = (0..self.groups.len()).filter(|&group| is(&self.groups[group]));
        match (fitting.next(), fitting.next()) {
            (Some(group), None) => {
                self.set_against(group);
                Ok(self)
            }
            (found, _) => {
                let labels: Vec<_> =
                    self.groups.iter().map(|group| format!("`{}`", group.label)).collect();
                let number = if found.is_none() { "no group is" } else { "several groups are" };
                Err(Error::invalid(format!("{number} called `{name}`"))
                    .cure(format!("give one of {}, or the id of a run", labels.join(", "))))
            }
        }
    }

    fn set_against(&mut self, baseline: usize) {
        let Some(first) = self.groups.get(baseline).cloned() else { return };
        for (place, group) in self.groups.iter_mut().enumerate() {
            (group.ratio, group.incomparable, group.unlike) = (None, None, Vec::new());
            if place != baseline {
                let both = first.conditions.iter().chain(&group.conditions);
                group.unlike = at_quality::unlike(both.cloned(), &[]);
                match first.incomparable_with(group) {
                    Some(reason) => group.incomparable = Some(reason),
                    None => group.ratio = group.ratio_to(&first),
                }
            }
        }
        self.baseline = Some(first.label);
    }
}

/// What runs of one group have in common.
#[derive(Debug, PartialEq)]
struct Key {
    framework: Option<String>,
    parameters: Option<u64>,
    name: Option<String>,
}

impl Key {
    fn of(summary: &Summary) -> Key {
        let manifest = &summary.manifest;
        let name = manifest.parameters.is_none().then(|| manifest.name.clone());
        let framework = manifest.framework.as_ref().map(|framework| framework.name.clone());
        Key { framework, parameters: manifest.parameters, name }
    }

    fn label(&self) -> String {
        let model = match self.parameters {
            Some(parameters) => format!("{} parameters", thousands(parameters)),
            None => self.name.clone().unwrap_or_default(),
        };
        self.framework.iter().map(|framework| format!("{framework}, ")).chain([model]).collect()
    }
}

impl Group {
    fn of(key: Key, runs: &[&Summary]) -> Group {
        let ids = runs.iter().map(|run| run.manifest.run_id.clone());
        let mean = Mean::of(runs.iter().map(|run| Observation::of_run(run)));
        let estimate =
            |mean: &Option<Mean>| mean.as_ref().map_or(Estimate::unresolved(), Mean::estimate);
        let time: f64 = runs.iter().map(|run| run.end.duration.as_secs_f64()).sum();
        Group {
            label: key.label(),
            names: ids.clone().chain(runs.iter().map(|run| run.manifest.name.clone())).collect(),
            runs: ids.collect(),
            unfinished: runs.iter().filter(|run| run.manifest.state != State::Complete).count(),
            metrics: metrics(runs),
            energy: estimate(&mean),
            epoch: estimate(&Mean::of(runs.iter().map(|run| Observation::of_epoch(run)))),
            sample: estimate(&Mean::of(runs.iter().map(|run| Observation::of_sample(run)))),
            time: Duration::try_from_secs_f64(time / count(runs.len())).unwrap_or_default(),
            domains: domains(runs),
            ratio: None,
            incomparable: None,
            unlike: Vec::new(),
            conditions: runs.iter().map(|run| Conditions::of(run)).collect(),
            mean,
            framework: key.framework,
            parameters: key.parameters,
            name: key.name,
        }
    }

    /// True if a model stands for any part of the energy.
    pub fn is_estimated(&self) -> bool {
        self.domains.values().any(|domain| domain.provenance == Provenance::Model)
    }

    fn hardware(&self) -> BTreeSet<Hardware> {
        self.domains.values().map(|domain| domain.hardware).collect()
    }

    fn incomparable_with(&self, other: &Group) -> Option<String> {
        let (here, there) = (self.hardware(), other.hardware());
        let name = |parts: BTreeSet<Hardware>| {
            parts.into_iter().map(Hardware::prefix).collect::<Vec<_>>().join(" + ")
        };
        (here != there).then(|| format!("energy of {} against that of {}", name(there), name(here)))
    }

    fn ratio_to(&self, baseline: &Group) -> Option<Ratio> {
        let mut ratio = self.mean.as_ref()?.ratio_to(baseline.mean.as_ref()?)?;
        let (time, before) = (self.time.as_secs_f64(), baseline.time.as_secs_f64());
        ratio.time = (before > 0.0).then(|| time / before);
        Some(ratio)
    }
}

impl Ratio {
    /// The expanded uncertainty, of 95.45 % coverage.
    pub fn expanded(&self) -> Option<f64> {
        Some(self.k? * self.u?)
    }

    /// False if the expanded uncertainty reaches 1, so that a difference is not shown; missing where there is none.
    pub fn is_different(&self) -> Option<bool> {
        // On a logarithmic scale neither of the two is the baseline.
        self.expanded().map(|expanded| self.energy.ln().abs() > expanded / self.energy)
    }
}

impl Spread {
    /// The mean and standard deviation of `values`; nothing of nothing.
    pub fn of(values: &[f64]) -> Option<Spread> {
        if values.is_empty() {
            return None;
        }
        let mean = values.iter().sum::<f64>() / count(values.len());
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let sd = (values.len() > 1).then(|| (squares / count(values.len() - 1)).sqrt());
        Some(Spread { mean, sd, n: values.len() })
    }
}

/// Each metric over the runs that have it.
fn metrics(runs: &[&Summary]) -> BTreeMap<String, Spread> {
    let mut values: BTreeMap<&String, Vec<f64>> = BTreeMap::new();
    for run in runs {
        let phases = run.phases.values().map(|phase| &phase.metrics);
        let windows = run.epochs.recent.iter().chain([&run.end]).map(|window| &window.metrics);
        let mut last: BTreeMap<&String, f64> = BTreeMap::new();
        for metrics in phases.chain(windows) {
            last.extend(metrics.iter().map(|(name, value)| (name, *value)));
        }
        // One that diverged has no value, which no mean can hold.
        last.retain(|_, value| value.is_finite());
        for (name, value) in last {
            values.entry(name).or_default().push(value);
        }
    }
    values
        .into_iter()
        .filter_map(|(name, values)| Some((name.clone(), Spread::of(&values)?)))
        .collect()
}

/// The domains in the sum of any run.
fn domains(runs: &[&Summary]) -> BTreeMap<String, Covered> {
    let mut domains: BTreeMap<String, Covered> = BTreeMap::new();
    for sensor in runs.iter().flat_map(|run| &run.manifest.sensors).filter(|sensor| sensor.in_total)
    {
        let known = domains.entry(sensor.domain.id.clone()).or_insert_with(|| Covered {
            hardware: sensor.domain.hardware,
            provenance: sensor.provenance,
            source: sensor.source.clone(),
            energy: None,
        });
        known.provenance = known.provenance.max(sensor.provenance);
    }
    for (id, domain) in &mut domains {
        let energies = runs.iter().map(|run| run.end.domains.get(id)?.energy);
        let sum: Option<Energy> =
            energies.collect::<Option<Vec<_>>>().map(|all| all.into_iter().sum());
        domain.energy = sum.map(|sum| Energy::from_joules(sum.as_joules() / count(runs.len())));
    }
    domains
}

/// The epochs of a run that went to their end, as far as they are kept one by one.
fn completed(run: &Summary) -> Vec<&Record> {
    run.epochs.recent.iter().filter(|epoch| epoch.status == Status::Complete).collect()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a number of runs or samples is exact in f64 up to 2⁵³"
)]
fn count(number: usize) -> f64 {
    number as f64
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}
