//! What runs were made under: a difference there may be what their energies differ by.

use std::collections::{BTreeMap, BTreeSet};

use ergometer::Summary;
use ergometer::sensor::Hardware;

/// What a run was made under, in words by name: its machine, what measured it, its framework, and what the user noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conditions {
    named: BTreeMap<String, String>,
    /// The machine's boot: two runs within one are on one machine, whatever their containers call it.
    boot: Option<String>,
}

/// Notes that tell runs apart which are otherwise the same; parts of their names.
pub(crate) const SEED: [&str; 3] = ["seed", "repeat", "replicate"];

/// Notes that tell how large a model is; parts of their names.
pub(crate) const SHAPE: [&str; 10] = [
    "width",
    "depth",
    "layer",
    "hidden",
    "heads",
    "dim",
    "d_model",
    "channels",
    "blocks",
    "parameters",
];

/// What tells how long a model trained, and on how much of its data; parts of their names.
pub(crate) const EXTENT: [&str; 7] =
    ["samples", "tokens", "epochs", "steps", "share", "fraction", "subset"];

/// The name of a machine.
pub(crate) const HOST: &str = "host";

impl Conditions {
    pub(crate) fn of(run: &Summary) -> Conditions {
        let manifest = &run.manifest;
        let mut named: BTreeMap<String, String> = manifest.notes.clone();
        let mut say = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                named.insert(name.to_owned(), value);
            }
        };
        let machine = &manifest.machine;
        say(HOST, Some(machine.host.clone()));
        say("processor", machine.cpu.clone());
        say("hardware threads", machine.threads.map(|threads| threads.to_string()));
        let sensors = || manifest.sensors.iter().filter(|sensor| sensor.in_total);
        let covered: BTreeSet<String> = sensors()
            .map(|sensor| format!("{} by {}", sensor.domain.hardware.prefix(), sensor.provenance))
            .collect();
        say("energy of", Some(joined(covered.iter().map(String::as_str), " + ")));
        let mut gpus: Vec<&str> = sensors()
            .filter(|sensor| sensor.domain.hardware == Hardware::Gpu)
            .map(|sensor| sensor.domain.name.as_str())
            .collect();
        gpus.sort_unstable();
        say("GPUs", (!gpus.is_empty()).then(|| joined(gpus, ", ")));
        if let Some(framework) = &manifest.framework {
            say("framework", Some(format!("{} {}", framework.name, framework.version)));
            say("device", framework.device.clone());
            say("framework threads", framework.threads.map(|threads| threads.to_string()));
        }
        say("samples trained on", run.end.samples.map(|samples| samples.to_string()));
        say("tokens trained on", run.end.tokens.map(|tokens| tokens.to_string()));
        Conditions { named, boot: machine.boot_id.clone() }
    }

    /// What does not vary with `varies`, to tell groups of like runs apart.
    pub(crate) fn key(&self, varies: &dyn Fn(&str) -> bool) -> Vec<(&str, &str)> {
        let named = self.named.iter().filter(|(name, _)| !varies(name));
        named.map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }
}

/// True of names that have one of `parts` in them.
pub(crate) fn named_like(name: &str, parts: &[&str]) -> bool {
    let name = name.to_lowercase();
    parts.iter().any(|part| name.contains(part))
}

/// In what runs differ beside what may vary: the names with their values, such as `batch: 64, 128`.
pub(crate) fn differences<'a>(
    runs: impl IntoIterator<Item = &'a Conditions>,
    varies: &dyn Fn(&str) -> bool,
) -> Vec<String> {
    let runs: Vec<&Conditions> = runs.into_iter().collect();
    let boots: BTreeSet<_> = runs.iter().map(|run| &run.boot).collect();
    let one_boot = boots.len() == 1 && !boots.contains(&None);
    let names: BTreeSet<&str> =
        runs.iter().flat_map(|run| run.named.keys()).map(String::as_str).collect();
    names
        .into_iter()
        .filter(|name| !(varies(name) || one_boot && *name == HOST))
        .filter_map(|name| {
            let values: BTreeSet<&str> = runs
                .iter()
                .map(|run| run.named.get(name).map_or("not said", String::as_str))
                .collect();
            let more = if values.len() > SHOWN { ", …" } else { "" };
            let shown = joined(values.iter().copied().take(SHOWN), ", ");
            (values.len() > 1).then(|| format!("{name}: {shown}{more}"))
        })
        .collect()
}

/// Values of a difference that are shown.
const SHOWN: usize = 4;

fn joined<'a>(parts: impl IntoIterator<Item = &'a str>, between: &str) -> String {
    parts.into_iter().collect::<Vec<_>>().join(between)
}
