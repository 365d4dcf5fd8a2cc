//! A [`Layer`] of a stacked chart: a domain, or all of one kind of hardware.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};

use ergometer::sensor::{Hardware, Provenance};
use ergometer::{Energy, Record};

use super::digest::Setup;
use super::markup::{Text, plural};

/// What is drawn in one colour.
#[derive(Debug)]
pub(super) struct Layer {
    /// In words.
    pub(super) label: String,
    /// Its name in the data: a domain's id, or a kind of hardware.
    pub(super) key: String,
    /// The ids of its domains.
    pub(super) domains: Vec<String>,
    /// True if a model stands for any part of it.
    pub(super) estimated: bool,
    colour: usize,
}

/// Colours that can be told apart.
const COLOURS: usize = 6;

impl Layer {
    /// The domains in the sums of any run, from the bottom; if there are too many, those of one kind together.
    pub(super) fn all(setups: &[Setup]) -> Vec<Layer> {
        let mut domains: BTreeMap<(Hardware, &str), (&str, bool)> = BTreeMap::new();
        let sensors = setups.iter().flat_map(|setup| &setup.sensors);
        for sensor in sensors.filter(|sensor| sensor.in_total) {
            let key = (sensor.domain.hardware, sensor.domain.id.as_str());
            let (_, estimated) = domains.entry(key).or_insert((&sensor.domain.name, false));
            *estimated |= sensor.provenance == Provenance::Model;
        }
        let mut layers: Vec<Layer> = Vec::new();
        if domains.len() <= COLOURS {
            for ((_, id), (name, estimated)) in domains {
                let label = format!("{id} · {name}");
                let key = id.to_owned();
                layers.push(Layer {
                    label,
                    domains: vec![key.clone()],
                    key,
                    estimated,
                    colour: layers.len(),
                });
            }
            return layers;
        }
        let kinds: BTreeSet<Hardware> = domains.keys().map(|(hardware, _)| *hardware).collect();
        for kind in kinds {
            let members = || domains.iter().filter(|((hardware, _), _)| *hardware == kind);
            let ids: Vec<String> = members().map(|((_, id), _)| (*id).to_owned()).collect();
            let estimated = members().any(|(_, (_, estimated))| *estimated);
            let label = format!("{} · {}", kind.prefix(), plural(ids.len(), "domain"));
            let key = kind.prefix().to_owned();
            layers.push(Layer { label, key, domains: ids, estimated, colour: layers.len() });
        }
        layers
    }

    /// The classes of its style.
    pub(super) fn class(&self) -> String {
        format!("c{}{}", self.colour, if self.estimated { " model" } else { "" })
    }

    /// Its energy in a window, of the domains that the window has.
    pub(super) fn energy(&self, window: &Record) -> Option<Energy> {
        let shares = self.domains.iter().filter_map(|id| window.domains.get(id));
        let known: Vec<Energy> = shares.map(|share| share.energy).collect::<Option<_>>()?;
        (!known.is_empty()).then(|| known.into_iter().sum())
    }
}

/// What the colours mean.
pub(super) fn legend(f: &mut String, layers: &[Layer]) -> fmt::Result {
    f.write_str("<ul class=\"legend\">")?;
    for layer in layers {
        let how =
            if layer.estimated { " <span class=\"badge model\">estimated</span>" } else { "" };
        write!(
            f,
            "<li><svg class=\"swatch {}\" aria-hidden=\"true\"><rect width=\"100%\" height=\"100%\"/></svg>{}{how}</li>",
            layer.class(),
            Text(&layer.label)
        )?;
    }
    f.write_str("</ul>\n")
}
