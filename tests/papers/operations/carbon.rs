//! Emissions: elsewhere, at another time, over the life cycle, in other units.

use std::time::Duration;

use ergometer::Energy;
use ergometer_report::footprint::{self, PLAUSIBLE, Place, Plausibility, Reference};
use ergometer_report::quantity::{CarbonIntensity, Co2e, Pue};
use serde_json::{Value, json};

use super::{consumption, first_mass, in_units, it_energy, label, pue, told};
use crate::papers::inputs::Inputs;
use crate::papers::outputs::Outputs;

type Done = Result<(), String>;

const OWN: [&str; 10] = [
    "own",
    "from",
    "original",
    "reported",
    "base",
    "baseline",
    "reference",
    "actual",
    "old",
    "here",
];

pub(super) fn location_what_if(inputs: &Inputs<'_>, outputs: &mut Outputs) -> Done {
    let mut places = Vec::new();
    let common = inputs.named::<f64>(&["pue"]);
    let with = |ratio: Option<f64>| match ratio.or(common) {
        Some(ratio) => told(Pue::new(ratio)),
        None => Ok(Pue::NO_OVERHEAD),
    };
    for (name, object) in inputs.objects().unwrap_or_default() {
        let parts = Inputs::new(&object)?;
        let pue = with(parts.named(&["pue"]))?;
        let intensity = parts.need(&["intensity", ""])?;
        parts.finish()?;
        places.push(Place { name, pue, intensity });
    }
    let pues = inputs.with::<f64>(&["pue"]);
    for (words, intensity) in inputs.all::<CarbonIntensity>() {
        let name = label(&words, &["intensity", "grid"]);
        let own = pues.iter().find(|(words, _)| label(words, &["pue"]) == name);
        places.push(Place { name, pue: with(own.map(|(_, ratio)| *ratio))?, intensity });
    }
    // The place that the others are set against comes first.
    let is_own = |place: &Place| place.name.is_empty() || OWN.contains(&&*place.name);
    places.sort_by_key(|place| !is_own(place));
    let own = places.first().ok_or("no input is a carbon intensity")?;
    let it = match first_mass(inputs) {
        Some(co2e) => {
            let facility = (co2e / own.intensity).ok_or("the first place emits nothing")?;
            own.pue.equipment(facility)
        }
        // A facility's energy was told under its own PUE, which may be none of the places'.
        None => it_energy(inputs, common.map_or(Ok(own.pue), |ratio| told(Pue::new(ratio)))?)?,
    };
    outputs.put(&["it_energy"], it);
    for base in &places {
        let mut order = vec![base.clone()];
        order.extend(places.iter().filter(|place| *place != base).cloned());
        let found = footprint::location_what_if(it, &order);
        for there in &found[1..] {
            // How one place stands to another may be asked for in either direction.
            let (a, b) = (&there.place.name, &base.name);
            let Some(ratio) = there.ratio else { continue };
            let saving = there.saving().ok_or("no saving")?;
            let names = [
                format!("ratio_{a}_over_{b}"),
                format!("ratio_{a}_to_{b}"),
                format!("ratio_{a}"),
                "ratio".to_owned(),
                "factor".to_owned(),
            ];
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            outputs.put(if base == own { &names } else { &names[..2] }, ratio);
            if base == own {
                outputs.put(&["saving", &format!("saving_{a}"), "reduction"], saving);
            }
        }
        let here = &found[0];
        let name = &base.name;
        let mut group = Outputs::new(inputs.units());
        group.put(&["", "co2e", "emissions"], here.co2e);
        group.put(&["facility_energy", "energy"], here.facility);
        if let Some(ratio) = footprint::location_what_if(it, &[own.clone(), base.clone()])[1].ratio
        {
            group.put(&["ratio", "ratio_to_own"], ratio);
        }
        outputs.put_group(name, group);
        let mut names = vec![
            name.clone(),
            format!("co2e_{name}"),
            format!("{name}_co2e"),
            format!("{name}_total"),
        ];
        if base == own {
            names.push("co2e".to_owned());
        }
        outputs.put(&names.iter().map(String::as_str).collect::<Vec<_>>(), here.co2e);
        outputs
            .put(&[&format!("facility_energy_{name}"), &format!("energy_{name}")], here.facility);
    }
    Ok(())
}

pub(super) fn life_cycle_total(inputs: &Inputs<'_>, outputs: &mut Outputs) -> Done {
    let intensity = inputs.maybe::<CarbonIntensity>(&["intensity", ""]);
    let pue = pue(inputs)?;
    // A part is given by its emissions, or by its energy with the intensity.
    let part = |names: &[&str]| -> Result<Option<Co2e>, String> {
        if let Some(co2e) = inputs.named::<Co2e>(names) {
            return Ok(Some(co2e));
        }
        let Some(energy) = inputs.named::<Energy>(names) else { return Ok(None) };
        let used = footprint::Consumption::of(energy, pue);
        Ok(Some(used.co2e(intensity.ok_or("energies, and no intensity")?)))
    };
    let manufacture = ["embodied", "manufacturing", "manufacture", "hardware"];
    let embodied = super::sum(&inputs.with::<Co2e>(&manufacture))?;
    let idle = part(&["idle", "infrastructure"])?;
    let dynamic = part(&["dynamic", "operational", "operation", "use", "active", "training"])?
        .ok_or("no input is the dynamic part")?;
    let whole = told(footprint::life_cycle_total(dynamic, idle, embodied))?;
    outputs.put(&["total", "life_cycle", "life_cycle_total", ""], whole.total);
    outputs.put(&["dynamic_share", "operational_share", "dynamic"], whole.dynamic_share);
    outputs.put(&["embodied_share", "embodied", "manufacturing_share"], whole.embodied_share);
    outputs.put(&["dynamic"], dynamic);
    outputs.put(&["embodied"], embodied);
    if let (Some(idle), Some(share)) = (idle, whole.idle_share) {
        outputs.put(&["idle_share", "idle"], share);
        outputs.put(&["idle"], idle);
    }
    in_units(inputs, outputs, whole.total)
}

pub(super) fn embodied_amortised(inputs: &Inputs<'_>, outputs: &mut Outputs) -> Done {
    let lifetime: Duration =
        inputs.named(&["lifetime", "life", "lifespan"]).ok_or("no input is the lifetime")?;
    let utilisation = inputs.named::<f64>(&["utilisation", "load", "used_share"]).unwrap_or(1.0);
    let per_server = inputs.named::<f64>(&["gpus_per_server", "gpus_per_node", "per_server"]);
    let devices = inputs.named::<f64>(&["devices", "gpus", "servers", "n", "count"]);
    let masses = inputs.all::<Co2e>();
    let times = inputs.all::<Duration>();
    let mut sum = Vec::new();
    for (words, embodied) in &masses {
        let what = label(words, &["embodied", "per", "manufacturing", "each", "factor"]);
        // The time of this device; of a server, that of its GPUs together.
        let own = times.iter().find(|(known, _)| label(known, &["used"]).contains(&what));
        let shared = own.is_none() && ["server", "node", "host"].iter().any(|it| what.contains(it));
        let used = match (own.or(times.first()), per_server, devices) {
            (Some((_, time)), Some(parts), _) if shared => time.div_f64(parts),
            (Some((_, time)), None, Some(count)) => time.mul_f64(count),
            (Some((_, time)), ..) => *time,
            (None, ..) => Duration::ZERO,
        };
        let share = told(footprint::embodied_amortised(*embodied, lifetime, utilisation, used))?;
        outputs.put(&["rate", &format!("{what}_rate"), &format!("{what}_rate_per")], share.rate);
        let names = [&*what, &format!("{what}_total"), &format!("{what}_embodied"), "total", ""];
        outputs.put(if masses.len() == 1 { &names } else { &names[..3] }, share.total);
        sum.push((Vec::new(), share.total));
    }
    if masses.len() > 1 {
        outputs.put(&["total", "embodied", "embodied_total", ""], super::sum(&sum)?);
    }
    Ok(())
}

pub(super) fn equivalents(inputs: &Inputs<'_>, outputs: &mut Outputs) -> Done {
    let pue = pue(inputs)?;
    let energy = inputs.named::<Energy>(&["energy", "facility_energy", "it_energy", "total", ""]);
    let mass = first_mass(inputs);
    let co2e = match (mass, energy) {
        (Some(co2e), energy) => {
            if let Some(energy) = energy {
                let implied = told(footprint::implied_intensity(co2e, energy, PLAUSIBLE))?;
                outputs.put(&["implied", "intensity"], implied.intensity);
                in_units(inputs, outputs, energy)?;
            }
            Some(co2e)
        }
        (None, Some(energy)) => {
            let used = footprint::Consumption::of(energy, pue);
            return consumption(inputs, outputs, used, None);
        }
        (None, None) => None,
    };
    let co2e = match co2e {
        Some(co2e) => co2e,
        // What is no unit to tell it in.
        None => {
            let factors = [
                "car",
                "flight",
                "passenger",
                "home",
                "house",
                "household",
                "phone",
                "charge",
                "year",
                "life",
                "lifetime",
                "trip",
                "km",
                "mile",
                "train",
                "tgv",
                "tree",
                "person",
                "resident",
                "human",
                "american",
                "per",
                "factor",
                "round",
            ];
            let units = inputs.with::<Co2e>(&factors);
            let co2e = inputs.need::<Co2e>(&["co2e"])?;
            for (words, factor) in units {
                let count = told(footprint::equivalents(co2e, factor))?;
                let last = words.last().map_or("", String::as_str);
                outputs.raw(&[&label(&words, &[]), last], count);
            }
            co2e
        }
    };
    outputs.put(&["co2e", "emissions", ""], co2e);
    in_units(inputs, outputs, co2e)
}

pub(super) fn start_time_what_if(inputs: &Inputs<'_>, outputs: &mut Outputs) -> Done {
    let reference = inputs.text("reference").or(inputs.text("reference_start"));
    let labels: Option<Vec<Value>> = inputs.strings();
    let (labels, totals) = totals(inputs, labels)?;
    if labels.len() != totals.len() {
        return Err(format!("{} starts and {} totals", labels.len(), totals.len()));
    }
    let starts = told(footprint::start_time_what_if(&totals))?;
    outputs.value(&["best", "best_start"], labels[starts.best].clone());
    outputs.value(&["worst", "worst_start"], labels[starts.worst].clone());
    let known = |found: Option<f64>| found.ok_or("no such start");
    let of = |reference| starts.of(reference).ok_or("no such start");
    outputs.put(&["best", "min"], of(Reference::Start(starts.best))?);
    let mut put = |name: &str, reference: Reference, plain: bool| -> Result<(), String> {
        outputs.put(&[name], of(reference)?);
        let saving = known(starts.saving(reference))?;
        let names = [&*format!("saving_vs_{name}"), "saving"];
        outputs.put(if plain { &names } else { &names[..1] }, saving);
        let increase = known(starts.increase(reference))?;
        let names =
            [&*format!("increase_{name}_over_best"), &format!("increase_vs_{name}"), "increase"];
        outputs.put(if plain { &names } else { &names[..2] }, increase);
        Ok(())
    };
    let chosen = labels.iter().position(|label| {
        label.as_str().is_some_and(|label| Some(label) == reference || label == "reference")
    });
    put("worst", Reference::Worst, chosen.is_none())?;
    put("mean", Reference::Mean, false)?;
    put("average", Reference::Mean, false)?;
    if let Some(place) = chosen {
        put("reference", Reference::Start(place), true)?;
    }
    for (place, label) in labels.iter().enumerate() {
        let name = label.as_str().map_or_else(|| label.to_string(), str::to_owned);
        put(&name, Reference::Start(place), false)?;
        if ["00:00", "0:00", "0", "00", "0.0", "00h", "midnight"].contains(&&*name) {
            put("midnight", Reference::Start(place), false)?;
        }
    }
    Ok(())
}

/// The starts and what the run emits from each: given, or made of the run's energy and the intensities.
fn totals(
    inputs: &Inputs<'_>,
    labels: Option<Vec<Value>>,
) -> Result<(Vec<Value>, Vec<Co2e>), String> {
    let numbered = |count: usize| (0..count).map(|place| json!(place)).collect();
    if let Some((entry, totals)) = inputs.lists::<Co2e>().into_iter().next() {
        entry.take();
        let hours = inputs.lists::<Duration>().into_iter().next().map(|(entry, _)| {
            entry.take();
            entry.value.as_array().cloned().unwrap_or_default()
        });
        let labels = labels.or(hours).unwrap_or_else(|| numbered(totals.len()));
        return Ok((labels, totals));
    }
    if let Some((entry, intensities)) = inputs.lists::<CarbonIntensity>().into_iter().next() {
        entry.take();
        let energy = match inputs.lists::<Energy>().into_iter().next() {
            Some((entry, energy)) => {
                entry.take();
                energy
            }
            None => vec![inputs.need(&["energy", "energy_per_hour"])?],
        };
        let totals = told(footprint::start_totals(&energy, &intensities))?;
        let labels = labels.unwrap_or_else(|| numbered(totals.len()));
        return Ok((labels, totals));
    }
    // Single starts under their names, or an object of them.
    let mut found: Vec<(Value, Co2e)> = Vec::new();
    for (name, object) in inputs.objects().unwrap_or_default() {
        let parts = Inputs::new(&object)?;
        found.push((json!(name), parts.need(&["co2e", ""])?));
        parts.finish()?;
    }
    found
        .extend(inputs.all::<Co2e>().iter().map(|(words, co2e)| (json!(label(words, &[])), *co2e)));
    Ok(found.into_iter().unzip())
}

pub(super) fn implied_intensity(inputs: &Inputs<'_>, outputs: &mut Outputs) -> Done {
    let range = match inputs.lists::<CarbonIntensity>().into_iter().next() {
        Some((entry, range)) => {
            entry.take();
            let [low, high] = range[..] else { return Err("a range has two ends".to_owned()) };
            low..=high
        }
        None => match (
            inputs.named(&["plausible_min", "plausible_low", "min", "low"]),
            inputs.named(&["plausible_max", "plausible_high", "max", "high"]),
        ) {
            (Some(low), Some(high)) => low..=high,
            _ => PLAUSIBLE,
        },
    };
    let pue = pue(inputs)?;
    let energy = pue.facility(match inputs.maybe(&["energy", "facility_energy", ""]) {
        Some(energy) => energy,
        None => super::energy::devices(inputs)?.it,
    });
    let co2e = inputs.need(&["co2e", ""])?;
    let implied = told(footprint::implied_intensity(co2e, energy, range))?;
    outputs.put(&["energy"], energy);
    outputs.put(&["implied", "implied_intensity", "intensity"], implied.intensity);
    let plausible = implied.plausibility == Plausibility::Plausible;
    outputs.flag(&["plausible", "is_plausible"], plausible);
    outputs.flag(&["flag", "flagged", "implausible", "outside"], !plausible);
    outputs.wording(
        &["flag", "plausibility", "verdict", "status"],
        match implied.plausibility {
            Plausibility::Plausible => &["plausible"],
            Plausibility::TooLow => {
                &["implausible", "low", "below", "outside", "suspicious", "out"]
            }
            Plausibility::TooHigh => {
                &["implausible", "high", "above", "outside", "suspicious", "out"]
            }
        },
    );
    Ok(())
}
