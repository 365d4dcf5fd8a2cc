//! A [`Digest`]: every number that the page shows, as the JSON that is embedded in it.

use std::collections::BTreeMap;

use ergometer::record::{Estimate, Framework, Machine, Methods, Quality, Share, State, Unmeasured};
use ergometer::sensor::{Provenance, Specification};
use ergometer::{Baseline, Energy, Result, Summary};
use serde::{Serialize, Serializer};

use super::course::{Course, Power};
use super::layer::Layer;
use super::metric::Metric;
use super::panel;
use super::returns::Gains;
use crate::analysis::family::Family;
use crate::analysis::size_law::SizeLaw;
use crate::footprint::pareto;
use crate::quantity::{CarbonIntensity, Co2e, Money, Pue};
use crate::site::{Site, money};
use crate::{Comparison, Group, History, Ratio, Spread};

/// What the page knows.
#[derive(Debug, Serialize)]
pub(super) struct Digest {
    format: &'static str,
    version: u32,
    ergometer: &'static str,
    pub(super) total: Total,
    pub(super) metric: Option<Metric>,
    /// What the groups' ratios are to.
    baseline: Option<String>,
    #[serde(rename = "groups", serialize_with = "models")]
    pub(super) comparison: Comparison,
    /// The groups on the Pareto front of energy and metric.
    pub(super) front: Vec<usize>,
    pub(super) laws: Vec<Law>,
    pub(super) returns: Vec<Gains>,
    pub(super) places: Vec<Place>,
    /// What the electricity of all runs costs at the user's place.
    #[serde(serialize_with = "money", skip_serializing_if = "Option::is_none")]
    pub(super) cost: Option<Money>,
    pub(super) runs: Vec<Run>,
    pub(super) setups: Vec<Setup>,
    /// The run that is shown for each group: its middle one by energy.
    /// Why the first group of which nothing is told about its gains has none.
    #[serde(skip)]
    pub(super) no_returns: Option<String>,
    #[serde(skip)]
    pub(super) shown: Vec<usize>,
    /// The groups that have charts of their own.
    #[serde(skip)]
    pub(super) drawn: Vec<usize>,
    #[serde(skip)]
    pub(super) layers: Vec<Layer>,
}

/// All runs together.
#[derive(Debug, Serialize)]
pub(super) struct Total {
    #[serde(flatten)]
    pub(super) estimate: Estimate,
    /// The part of the energy that sensors measured, from 0 to 1.
    pub(super) measured: Option<f64>,
    #[serde(rename = "duration_s")]
    pub(super) time: f64,
    /// Runs whose energy is not known, and not in the sum.
    pub(super) unknown: usize,
}

/// One run.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    pub(super) run_id: String,
    pub(super) name: String,
    pub(super) created: String,
    pub(super) state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    pub(super) group: usize,
    pub(super) setup: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parameters: Option<u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) notes: BTreeMap<String, String>,
    #[serde(flatten)]
    pub(super) estimate: Estimate,
    /// True if a model stands for any part of the energy.
    pub(super) estimated: bool,
    #[serde(rename = "duration_s")]
    pub(super) time: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) samples: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) epochs: Option<u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) metrics: BTreeMap<String, f64>,
    pub(super) domains: BTreeMap<String, Part>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) phases: BTreeMap<String, Phase>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) events: Vec<Happened>,
    /// Of the runs that are shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) course: Option<Course>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) power: Option<Power>,
}

/// The energy of a domain in a run.
#[derive(Debug, Serialize)]
pub(super) struct Part {
    #[serde(flatten)]
    pub(super) estimate: Estimate,
    pub(super) in_total: bool,
}

/// All phases of one name in a run.
#[derive(Debug, Serialize)]
pub(super) struct Phase {
    pub(super) count: u64,
    /// Their energy; missing where none was long enough to be resolved.
    #[serde(flatten)]
    pub(super) estimate: Estimate,
    #[serde(rename = "duration_s")]
    pub(super) time: f64,
}

/// Something that happened in a run, and how often.
#[derive(Debug, Serialize)]
pub(super) struct Happened {
    pub(super) event: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) domain: Option<String>,
    pub(super) count: u64,
}

/// What several runs have in common: their machine, and how it was measured.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Setup {
    pub(super) machine: Machine,
    pub(super) framework: Option<Framework>,
    pub(super) sensors: Vec<Specification>,
    pub(super) unmeasured: Vec<Unmeasured>,
    pub(super) methods: Methods,
    pub(super) baseline: Option<Baseline>,
}

/// The size law of a framework's runs, or why there is none.
#[derive(Debug, Serialize)]
pub(super) struct Law {
    pub(super) family: String,
    pub(super) law: Option<SizeLaw>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<String>,
}

/// What the total would have emitted at a place.
#[derive(Debug, Serialize)]
pub(super) struct Place {
    pub(super) name: String,
    /// True for the place that the user named.
    pub(super) own: bool,
    #[serde(rename = "intensity_g_per_kwh")]
    pub(super) intensity: CarbonIntensity,
    pub(super) source: String,
    pub(super) pue: Pue,
    #[serde(rename = "co2e_kg")]
    pub(super) carbon: Co2e,
}

/// Rows that all courses may have together, and all powers, so that the page stays small.
const ROWS: usize = 84;

/// Where the total is set to for comparison, beside the user's own place.
const PLACES: [&str; 5] = ["FR", "DE", "US", "PL", "IN"];

impl Digest {
    pub(super) fn of(runs: &[History], metric: Option<&str>, site: &Site) -> Result<Digest> {
        let metric = Metric::choose(runs, metric)?;
        let summaries: Vec<Summary> = runs.iter().map(|run| run.summary.clone()).collect();
        let comparison = Comparison::of(&summaries);
        let shown: Vec<usize> = comparison.groups.iter().map(|group| middle(group, runs)).collect();
        let drawn = panel::drawn(&comparison);
        let rows = ROWS / drawn.len().max(1);
        let mut setups: Vec<Setup> = Vec::new();
        let mut numbers = Vec::new();
        for run in runs {
            let setup = Setup::of(&run.summary);
            numbers.push(setups.iter().position(|known| *known == setup).unwrap_or_else(|| {
                setups.push(setup);
                setups.len() - 1
            }));
        }
        let layers = Layer::all(&setups);
        let mut digest = Vec::new();
        for (place, run) in runs.iter().enumerate() {
            let is_member = |group: &Group| group.runs.contains(&run.summary.manifest.run_id);
            let group = comparison.groups.iter().position(is_member).unwrap_or(0);
            let is_drawn = drawn.contains(&group) && shown.get(group) == Some(&place);
            let metrics = if drawn.len() > 1 { 1 } else { 3 };
            let course =
                is_drawn.then(|| Course::of(run, &layers, metric.as_ref(), (rows, metrics)));
            let power = is_drawn.then(|| Power::of(run, rows));
            digest.push(Run { group, setup: numbers[place], course, power, ..Run::of(run) });
        }
        let total = Total::of(runs);
        let (returns, no_returns) =
            gains((&comparison, &drawn), runs, metric.as_ref(), rows.div_ceil(2));
        Ok(Digest {
            format: "ergometer-report",
            version: 1,
            ergometer: env!("CARGO_PKG_VERSION"),
            front: front(&comparison, metric.as_ref())?,
            returns,
            no_returns,
            laws: Family::by_framework(runs).iter().map(Law::of).collect(),
            places: places(&total, site),
            cost: total.estimate.energy.and_then(|energy| site.cost(energy)),
            metric,
            baseline: comparison.baseline.clone(),
            comparison,
            total,
            runs: digest,
            setups,
            shown,
            drawn,
            layers,
        })
    }

    /// The run that is shown for a group.
    pub(super) fn shown(&self, group: usize) -> (usize, &Run) {
        let place = self.shown[group];
        (place, &self.runs[place])
    }

    /// True if a model stands for any part of any energy.
    pub(super) fn is_estimated(&self) -> bool {
        self.runs.iter().any(|run| run.estimated)
    }
}

impl Total {
    fn of(runs: &[History]) -> Total {
        let known: Vec<Estimate> =
            runs.iter().map(History::energy).filter(|energy| energy.energy.is_some()).collect();
        // The runs' errors are mostly that of the gain, and add up.
        let sum = |part: fn(&Estimate) -> Option<Energy>| -> Option<Energy> {
            (!known.is_empty()).then(|| known.iter().map(part).sum::<Option<Energy>>()).flatten()
        };
        let estimate = Estimate {
            energy: sum(|estimate| estimate.energy),
            uncertainty: sum(|estimate| estimate.uncertainty),
            quality: known.iter().map(|known| known.quality).max().unwrap_or(Quality::Unresolved),
        };
        let (mut by_sensors, mut whole) = (Energy::ZERO, Energy::ZERO);
        for run in runs {
            for sensor in run.summary.manifest.sensors.iter().filter(|sensor| sensor.in_total) {
                let share = run.summary.end.domains.get(&sensor.domain.id);
                let energy = share.and_then(|share| share.energy).unwrap_or_default();
                whole += energy;
                if sensor.provenance != Provenance::Model {
                    by_sensors += energy;
                }
            }
        }
        let measured = (whole > Energy::ZERO).then(|| by_sensors.as_joules() / whole.as_joules());
        let time = runs.iter().map(|run| run.summary.end.duration.as_secs_f64()).sum();
        Total { estimate, measured, time, unknown: runs.len() - known.len() }
    }
}

impl Run {
    fn of(run: &History) -> Run {
        let (manifest, end) = (&run.summary.manifest, &run.summary.end);
        let phase = |(name, sum): (&String, &ergometer::PhaseSum)| {
            let known = sum.unresolved < sum.count;
            let quality = sum.quality.unwrap_or(Quality::Unresolved);
            let estimate = Estimate {
                energy: known.then_some(sum.energy),
                uncertainty: known.then_some(sum.uncertainty),
                quality,
            };
            (name.clone(), Phase { count: sum.count, estimate, time: sum.time.as_secs_f64() })
        };
        let metrics = run.metric_names().into_iter().filter_map(|name| {
            let value = run.metric(name).filter(|value| value.is_finite())?;
            Some((name.to_owned(), value))
        });
        let events = run.summary.events.iter().map(|((event, domain), count)| Happened {
            event: event.clone(),
            domain: domain.clone(),
            count: *count,
        });
        Run {
            run_id: manifest.run_id.clone(),
            name: manifest.name.clone(),
            created: manifest.created.clone(),
            state: manifest.state,
            reason: end.reason.clone(),
            group: 0,
            setup: 0,
            parameters: manifest.parameters,
            notes: manifest.notes.clone(),
            estimate: run.energy(),
            estimated: run.is_estimated(),
            time: end.duration.as_secs_f64(),
            samples: end.samples,
            tokens: end.tokens,
            steps: end.steps,
            epochs: end.epochs,
            metrics: metrics.collect(),
            domains: end.domains.iter().map(|(id, share)| (id.clone(), Part::of(share))).collect(),
            phases: run.summary.phases.iter().map(phase).collect(),
            events: events.collect(),
            course: None,
            power: None,
        }
    }
}

impl Part {
    fn of(share: &Share) -> Part {
        Part { estimate: share.estimate(), in_total: share.in_total }
    }
}

impl Setup {
    fn of(run: &Summary) -> Setup {
        let manifest = &run.manifest;
        Setup {
            machine: manifest.machine.clone(),
            framework: manifest.framework.clone(),
            sensors: manifest.sensors.clone(),
            unmeasured: manifest.unmeasured.clone(),
            methods: manifest.methods.clone(),
            baseline: manifest.baseline.clone(),
        }
    }
}

impl Law {
    fn of(family: &Family<'_>) -> Law {
        let (law, refused) = match SizeLaw::of(family) {
            Ok(law) => (Some(law), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Law { family: family.name.clone(), law, refused }
    }
}

/// The groups without what stands in their runs and setups.
fn models<S: Serializer>(comparison: &Comparison, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Model<'a> {
        label: &'a str,
        framework: Option<&'a str>,
        parameters: Option<u64>,
        runs: usize,
        unfinished: usize,
        metrics: &'a BTreeMap<String, Spread>,
        run: Estimate,
        epoch: Estimate,
        sample: Estimate,
        duration_s: f64,
        ratio: Option<Ratio>,
    }
    serializer.collect_seq(comparison.groups.iter().map(|group| Model {
        label: &group.label,
        framework: group.framework.as_deref(),
        parameters: group.parameters,
        runs: group.runs.len(),
        unfinished: group.unfinished,
        metrics: &group.metrics,
        run: group.energy,
        epoch: group.epoch,
        sample: group.sample,
        duration_s: group.time.as_secs_f64(),
        ratio: group.ratio,
    }))
}

/// The run of a group that is in its middle by energy, or its first if the energies are not known.
fn middle(group: &Group, runs: &[History]) -> usize {
    let is_member = |place: &usize| group.runs.contains(&runs[*place].summary.manifest.run_id);
    let members: Vec<usize> = (0..runs.len()).filter(is_member).collect();
    let mut known: Vec<usize> =
        members.iter().copied().filter(|place| runs[*place].energy().energy.is_some()).collect();
    known.sort_by_key(|place| runs[*place].energy().energy);
    let middle = known.len().saturating_sub(1) / 2;
    known.get(middle).or(members.first()).copied().unwrap_or(0)
}

/// The groups that no other beats in both energy and metric.
fn front(comparison: &Comparison, metric: Option<&Metric>) -> Result<Vec<usize>> {
    let Some((metric, direction)) = metric.and_then(|metric| Some((metric, metric.direction?)))
    else {
        return Ok(Vec::new());
    };
    let (places, points): (Vec<usize>, Vec<[f64; 2]>) = comparison
        .groups
        .iter()
        .enumerate()
        .filter_map(|(place, group)| {
            let energy = group.energy.energy?.as_joules();
            let value = group.metrics.get(&metric.name)?.mean;
            // More of a gain is better, and all criteria are to be low.
            Some((place, [energy, -direction.gain(0.0, value)]))
        })
        .unzip();
    Ok(pareto(&points)?.on.into_iter().map(|point| places[point]).collect())
}

/// What a point cost each group that is drawn, and why the first without an answer has none.
fn gains(
    (comparison, drawn): (&Comparison, &[usize]),
    runs: &[History],
    metric: Option<&Metric>,
    rows: usize,
) -> (Vec<Gains>, Option<String>) {
    let Some(metric) = metric else { return (Vec::new(), None) };
    let (mut found, mut refused) = (Vec::new(), None);
    for &place in drawn {
        let group = &comparison.groups[place];
        let is_member = |run: &&History| group.runs.contains(&run.summary.manifest.run_id);
        let members: Vec<History> = runs.iter().filter(is_member).cloned().collect();
        match Gains::of(place, &members, metric, rows) {
            Ok(gains) => found.push(gains),
            Err(reason) => _ = refused.get_or_insert(reason.to_string()),
        }
    }
    (found, refused)
}

/// The user's own place, if its intensity is known, and some to compare with, from the cleanest.
fn places(total: &Total, own: &Site) -> Vec<Place> {
    let Some(energy) = total.estimate.energy else { return Vec::new() };
    let place = |site: &Site, own: bool| {
        let intensity = site.intensity.as_ref()?;
        Some(Place {
            name: site.name.clone().unwrap_or_else(|| "here".to_owned()),
            own,
            intensity: intensity.value,
            source: intensity.source.clone(),
            pue: site.pue.value,
            carbon: site.carbon(energy)?,
        })
    };
    let mut places: Vec<Place> = place(own, true).into_iter().collect();
    for country in PLACES {
        let elsewhere = own.clone().country(country).ok();
        if let Some(elsewhere) = elsewhere.and_then(|site| place(&site, false))
            && !places.iter().any(|known| known.source == elsewhere.source)
        {
            places.push(elsewhere);
        }
    }
    places.sort_by(|a, b| a.carbon.as_kilograms().total_cmp(&b.carbon.as_kilograms()));
    places
}
