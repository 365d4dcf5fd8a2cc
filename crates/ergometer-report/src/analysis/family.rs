//! A [`Family`]: runs that one law may be fitted through.

use std::collections::{BTreeSet, HashMap};

use ergometer::record::{Quality, State};
use ergometer::{Energy, Error, Result};

use crate::History;
use crate::conditions::{Conditions, HOST, SEED, differences, named_like};

/// Runs of one framework, through which one law may be fitted if nothing else sets them apart.
///
/// A law holds for one machine, framework, device, precision, batch size and data set. Runs that differ in any of these, as
/// far as their logs say, are refused with the difference named, unless the user says that it does not matter.
#[derive(Clone, Debug)]
pub struct Family<'a> {
    /// The framework's name, or that there is none.
    pub name: String,
    /// The runs that came to their end with their energy known.
    pub runs: Vec<&'a History>,
    /// The other runs, each with the reason why it is left out.
    pub left_out: Vec<String>,
    may_vary: BTreeSet<String>,
}

impl<'a> Family<'a> {
    /// Sorts runs into families, in the order of their first runs.
    pub fn by_framework(runs: &'a [History]) -> Vec<Family<'a>> {
        let mut families: Vec<Family<'a>> = Vec::new();
        for run in runs {
            let framework = run.summary.manifest.framework.as_ref();
            let name = framework.map_or("no framework", |framework| framework.name.as_str());
            let place =
                families.iter().position(|family| family.name == name).unwrap_or_else(|| {
                    let (name, may_vary) = (name.to_owned(), BTreeSet::new());
                    families.push(Family {
                        name,
                        runs: Vec::new(),
                        left_out: Vec::new(),
                        may_vary,
                    });
                    families.len() - 1
                });
            match unusable(run) {
                None => families[place].runs.push(run),
                Some(reason) => families[place]
                    .left_out
                    .push(format!("{}: {reason}", run.summary.manifest.run_id)),
            }
        }
        families
    }

    /// This family, with conditions in which its runs may differ: `host`, `batch`, whatever a refusal names.
    #[must_use]
    pub fn vary(mut self, names: impl IntoIterator<Item = String>) -> Family<'a> {
        self.may_vary.extend(names);
        self
    }

    /// True if a model stands for any part of the energy of any run.
    pub fn is_estimated(&self) -> bool {
        self.runs.iter().any(|run| run.is_estimated())
    }

    /// The largest expanded uncertainty (k = 2) of a run's energy, relative to it; missing if one of them is not known.
    pub(super) fn uncertainty(&self) -> Option<f64> {
        let relative = |run: &&History| {
            let energy = run.energy();
            Some(energy.expanded()?.as_joules() / energy.energy?.as_joules())
        };
        let all: Option<Vec<f64>> = self.runs.iter().map(relative).collect();
        all?.into_iter().reduce(f64::max)
    }

    /// Refuses if the runs differ in anything but seeds, what the user allows, and names that have one of `parts` in them.
    pub(super) fn alike(&self, parts: &[&str]) -> Result<()> {
        let conditions: Vec<Conditions> =
            self.runs.iter().map(|run| Conditions::of(&run.summary)).collect();
        let different = differences(&conditions, &|name| self.varies(name, parts));
        if different.is_empty() {
            return Ok(());
        }
        Err(Error::unsupported(format!(
            "the runs with {} are not comparable, they differ in {}",
            self.name,
            different.join("; ")
        ))
        .cure("give runs that are alike, or name with --vary what does not matter"))
    }

    fn varies(&self, name: &str, parts: &[&str]) -> bool {
        named_like(name, &SEED) || named_like(name, parts) || self.may_vary.contains(name)
    }
}

/// Runs in groups that differ in their seeds only, and in names that have one of `parts` in them, in the order of their first
/// runs.
pub(super) fn replicates<'a>(
    runs: impl IntoIterator<Item = &'a History>,
    parts: &[&str],
) -> Vec<Vec<&'a History>> {
    let varies = |name: &str| name == HOST || named_like(name, &SEED) || named_like(name, parts);
    let mut groups: Vec<Vec<&'a History>> = Vec::new();
    let mut places = HashMap::new();
    for run in runs {
        let conditions = Conditions::of(&run.summary);
        let key = conditions.key(&varies).into_iter();
        let key: Vec<_> = key.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let place = *places.entry((run.summary.manifest.parameters, key)).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Vec::new());
        }
        groups[place].push(run);
    }
    groups
}

/// True if a run's energy is known, and no part of it went unmeasured.
pub(crate) fn is_whole(run: &History) -> bool {
    let energy = run.energy();
    energy.energy.is_some() && !matches!(energy.quality, Quality::Partial | Quality::Unresolved)
}

/// Why a run's energy is not that of a training from its start to its end.
fn unusable(run: &History) -> Option<String> {
    let end = &run.summary.end;
    match (run.summary.manifest.state, end.quality, end.energy) {
        (State::Running, ..) => Some("it is still going, or was killed".to_owned()),
        (State::Dropped | State::Panicked | State::Stopped, ..) => {
            Some("it did not end as planned".to_owned())
        }
        (State::Complete, Quality::Partial | Quality::Unresolved, _) => {
            Some(format!("its energy is {}", end.quality))
        }
        (State::Complete, _, Some(energy)) if energy > Energy::ZERO => None,
        (State::Complete, ..) => Some("its energy is not known".to_owned()),
    }
}
