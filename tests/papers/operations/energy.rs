//! Energy from power and time, and runs as parts of something larger.

use std::time::Duration;

use ergometer::{Energy, Power};
use ergometer_report::footprint::{self, Consumption};
use ergometer_report::quantity::{
    CarbonIntensity, Co2e, DevicePrice, Flop, FlopRate, Money, Pue, Quantity,
};

use super::{consumption, label, pue, told};
use crate::papers::inputs::{Called, Inputs};
use crate::papers::measure::{Kind, Measure};
use crate::papers::outputs::Outputs;

const COUNTS: [&str; 9] =
    ["processors", "chips", "gpus", "tpus", "devices", "accelerators", "number", "count", "n"];

const POWERS: [&str; 6] = ["it_power", "power", "gpu_power", "device_power", "tdp", ""];

type Done = Result<(), String>;

pub(super) fn power_time(inputs: &Inputs<'_>, outputs: &mut Outputs) -> Done {
    let pue = pue(inputs)?;
    let time: Duration = inputs.need(&["", "time", "duration", "training"])?;
    let power = match inputs.named(&["it_power", "power", "total"]) {
        Some(power) => power,
        // The powers of the components, each as often as it is there.
        None => {
            let mut total = Power::ZERO;
            for (words, power) in inputs.all::<Power>() {
                let what = label(&words, &["power", "per", "each", "mean", "average"]);
                let count = inputs.named::<f64>(&[&format!("{what}s"), &format!("n_{what}")]);
                total = total + power * count.unwrap_or(1.0);
            }
            total
        }
    };
    if power == Power::ZERO {
        return Err("no input is a power".to_owned());
    }
    consumption(inputs, outputs, footprint::power_time(power, time, pue), Some(time))
}

fn count(inputs: &Inputs<'_>) -> Result<Option<u64>, String> {
    let Some(count) = inputs.named::<f64>(&COUNTS) else { return Ok(None) };
    match format!("{count}").parse() {
        Ok(count) => Ok(Some(count)),
        Err(_) => Err(format!("{count} is no number of devices")),
    }
}

pub(super) fn chips_time(inputs: &Inputs<'_>, outputs: &mut Outputs) -> Done {
    let pue = pue(inputs)?;
    let chips = count(inputs)?.ok_or("no input is the number of processors")?;
    let time: Duration = inputs.need(&["", "time", "duration", "training"])?;
    let power = inputs.need(&["power_per_processor", "power", ""])?;
    consumption(inputs, outputs, footprint::chips_time(power, chips, time, pue), Some(time))
}

pub(super) fn gpu_hours(inputs: &Inputs<'_>, outputs: &mut Outputs) -> Done {
    let pue = pue(inputs)?;
    let time: Duration = inputs.need(&["gpu", "device", "chip", ""])?;
    let power = inputs.need(&POWERS)?;
    consumption(inputs, outputs, footprint::gpu_hours(time, power, pue), Some(time))
}

/// What devices use without overhead, given as devices and time or as time over all devices.
pub(super) fn devices(inputs: &Inputs<'_>) -> Result<Consumption, String> {
    let power = inputs.need(&POWERS)?;
    let time = inputs.need(&["gpu", "time", ""])?;
    Ok(match count(inputs)? {
        Some(chips) => footprint::chips_time(power, chips, time, Pue::NO_OVERHEAD),
        None => footprint::gpu_hours(time, power, Pue::NO_OVERHEAD),
    })
}

pub(super) fn flop_to_energy(inputs: &Inputs<'_>, outputs: &mut Outputs) -> Done {
    let pue = pue(inputs)?;
    let peak: FlopRate = match inputs.named::<f64>(&["rate", "rate_per_s"]) {
        Some(count) => FlopRate::per_second(count),
        None => inputs.need(&["rate", "per_s", "peak", ""])?,
    };
    let share = inputs.named::<f64>(&["utilisation", "mfu", "efficiency"]);
    let rate = share.map_or(peak, |share| peak * share);
    let operations = match inputs.maybe::<Flop>(&["", "total", "training"]) {
        Some(operations) => operations,
        None => match (inputs.named(&["parameters", "n"]), inputs.named(&["tokens", "d"])) {
            (Some(parameters), Some(tokens)) => Flop::of_transformer(parameters, tokens),
            _ => match inputs.named(&["flop", "flops", "operations", "compute"]) {
                Some(count) => Flop::from_count(count),
                None => return Err("no input is a number of operations".to_owned()),
            },
        },
    };
    let devices = count(inputs)?;
    let power = inputs.need(&POWERS)?;
    let computation = told(footprint::flop_to_energy(operations, rate, power, pue))?;
    outputs.put(&["hours", "time", "device", "gpu", "processor", "total"], computation.time);
    if let Some(devices) = devices.and_then(|devices| u32::try_from(devices).ok()) {
        let elapsed = computation.elapsed(devices).ok_or("no devices")?;
        outputs.put(&["days", "elapsed", "wall_clock", "calendar", "duration"], elapsed);
    }
    outputs.put(&["flop", "operations"], operations);
    if let Some(price) = inputs.named::<DevicePrice>(&["price", "cost", "gpu", ""]) {
        outputs.put(&["cost", "cloud_cost"], computation.time * price);
    }
    consumption(inputs, outputs, computation.used, None)
}

pub(super) fn development_multiplier(inputs: &Inputs<'_>, outputs: &mut Outputs) -> Done {
    multiplier::<Energy>(inputs, outputs)?;
    multiplier::<Co2e>(inputs, outputs)?;
    multiplier::<Money>(inputs, outputs)?;
    multiplier::<Duration>(inputs, outputs)?;
    // Plain numbers are runs where nothing else is compared.
    if outputs.has("multiplier") { Ok(()) } else { multiplier::<f64>(inputs, outputs) }
}

fn multiplier<Q: Quantity + Kind>(inputs: &Inputs<'_>, outputs: &mut Outputs) -> Done {
    let last = ["final", "single", "one", "last", "published"];
    let whole = ["project", "whole", "total", "all", "research", "development", "r", "rd"];
    let mut wholes = inputs.with::<Q>(&whole);
    let mut finals = inputs.with::<Q>(&last);
    // A list is of all the runs.
    for (entry, runs) in inputs.lists::<Q>() {
        entry.take();
        let runs: Vec<Called<Q>> = runs.into_iter().map(|run| (Vec::new(), run)).collect();
        wholes.push((entry.name.base.clone(), super::sum(&runs)?));
    }
    let mut rest = inputs.all::<Q>();
    if finals.is_empty() && !wholes.is_empty() && rest.len() == 1 {
        finals.append(&mut rest);
    }
    if finals.is_empty() && wholes.is_empty() && rest.len() == 2 {
        // A project is no smaller than its final run.
        rest.sort_by(|(_, a), (_, b)| a.size().total_cmp(&b.size()));
        wholes.extend(rest.pop());
        finals.append(&mut rest);
    }
    let [(_, final_run)] = finals[..] else {
        return if finals.is_empty() && wholes.is_empty() && rest.is_empty() {
            Ok(())
        } else {
            Err("no input is the final run".to_owned())
        };
    };
    let parts = wholes.extract_if(.., |(_, whole)| whole.size() < final_run.size());
    rest.extend(parts.collect::<Vec<_>>());
    if wholes.is_empty() {
        // What is left are the other runs of the project; each may also be asked for alone.
        let mut parts = rest.clone();
        parts.push((Vec::new(), final_run));
        let multiplier = told(footprint::development_multiplier(super::sum(&parts)?, final_run))?;
        outputs.put(&["multiplier", "development_multiplier", "factor", "ratio"], multiplier);
        outputs.put(&["total", "project", "whole"], super::sum(&parts)?);
    } else {
        outputs.put(&["total", "project", "whole"], wholes[0].1);
    }
    for (words, part) in wholes.iter().chain(&rest) {
        let multiplier = told(footprint::development_multiplier(*part, final_run))?;
        let label = label(words, &["gpu"]);
        let names = [&*format!("{label}_multiplier"), &label, "multiplier", "factor", "ratio"];
        outputs.put(if wholes.is_empty() { &names[..2] } else { &names }, multiplier);
    }
    Ok(())
}

pub(super) fn projection(inputs: &Inputs<'_>, outputs: &mut Outputs) -> Done {
    let share = ["share", "fraction", "elapsed", "progress", "percent", "pct", "done"];
    let intensities = inputs.all::<CarbonIntensity>();
    let pue = pue(inputs)?;
    // On how many devices it ran is as true of the part as of the whole.
    inputs.with::<f64>(&["gpu", "processor", "chip", "device"]);
    if let [(_, share)] = inputs.with::<f64>(&share)[..] {
        let total = match &inputs.all::<f64>()[..] {
            [] => 1.0,
            [(_, total)] => *total,
            _ => return Err("no single input is the total".to_owned()),
        };
        return project(inputs, outputs, (share, total), &intensities, pue);
    }
    // Of two numbers, or two times, what is done is the smaller.
    match &inputs.all::<f64>()[..] {
        [(_, a), (_, b)] => project(inputs, outputs, (a.min(*b), a.max(*b)), &intensities, pue),
        [] => match &inputs.all::<Duration>()[..] {
            [(_, a), (_, b)] => project(inputs, outputs, (*a.min(b), *a.max(b)), &intensities, pue),
            _ => Err("no inputs are what is done and the total".to_owned()),
        },
        _ => Err("no inputs are what is done and the total".to_owned()),
    }
}

fn project<D: Quantity>(
    inputs: &Inputs<'_>,
    outputs: &mut Outputs,
    (done, total): (D, D),
    intensities: &[Called<CarbonIntensity>],
    pue: Pue,
) -> Done {
    fn each<Q: Quantity + Kind, D: Quantity>(
        inputs: &Inputs<'_>,
        outputs: &mut Outputs,
        (done, total): (D, D),
    ) -> Result<Vec<Q>, String> {
        let mut projected = Vec::new();
        for (words, so_far) in inputs.all::<Q>() {
            let whole = told(footprint::projection(so_far, done, total))?;
            let label = label(&words, &["measured", "partial", "so", "far", "elapsed", "done"]);
            outputs.put(&["projected", "projected_total", "full", "predicted", &label], whole);
            projected.push(whole);
        }
        Ok(projected)
    }
    let energies: Vec<Energy> = each(inputs, outputs, (done, total))?;
    each::<Co2e, D>(inputs, outputs, (done, total))?;
    each::<Money, D>(inputs, outputs, (done, total))?;
    each::<Duration, D>(inputs, outputs, (done, total))?;
    for (words, intensity) in intensities {
        let energy = *energies.first().ok_or("an intensity, and no energy")?;
        let co2e = Consumption::of(energy, pue).co2e(*intensity);
        let label = label(words, &["intensity", "grid"]);
        outputs.put(&[&format!("projected_{label}"), &label, "projected"], co2e);
    }
    Ok(())
}

pub(super) fn projection_error(inputs: &Inputs<'_>, outputs: &mut Outputs) -> Done {
    errors::<Energy>(inputs, outputs, &["energy"])?;
    errors::<Co2e>(inputs, outputs, &["co2e", "carbon", "emissions"])?;
    errors::<Duration>(inputs, outputs, &["duration", "time"])?;
    errors::<Money>(inputs, outputs, &["cost"])?;
    errors::<Power>(inputs, outputs, &["power"])?;
    errors::<f64>(inputs, outputs, &["value"])
}

const MEASURED: [&str; 8] =
    ["measured", "actual", "real", "reported", "true", "observed", "final", "reference"];

fn errors<Q: Quantity + Kind>(inputs: &Inputs<'_>, outputs: &mut Outputs, kind: &[&str]) -> Done {
    let is_measured = |words: &[String]| words.iter().any(|word| MEASURED.contains(&word.as_str()));
    let lists = inputs.lists::<Q>();
    if let [(a, first), (b, second)] = &lists[..] {
        let (predicted, measured) =
            if is_measured(&a.name.words) { (second, first) } else { (first, second) };
        a.take();
        b.take();
        if predicted.len() != measured.len() {
            return Err(format!("`{}` and `{}` differ in length", a.key, b.key));
        }
        let pairs = predicted.iter().zip(measured);
        let errors = pairs.map(|(predicted, measured)| {
            told(footprint::projection_error(*predicted, *measured)).map(Measure::Number)
        });
        outputs.list(&["error", "projection_error"], errors.collect::<Result<_, _>>()?);
    }
    let measured = inputs.with::<Q>(&MEASURED);
    let predicted = inputs.all::<Q>();
    if predicted.is_empty() && measured.is_empty() {
        return Ok(());
    }
    for (words, predicted) in predicted {
        let what = label(&words, &["predicted", "projected", "estimated", "total"]);
        let of_this = measured.iter().find(|(known, _)| label(known, &MEASURED) == what);
        let (_, measured) = of_this.or(measured.first()).ok_or("nothing of a kind was measured")?;
        let error = told(footprint::projection_error(predicted, *measured))?;
        let ratio = told(predicted.ratio_to(*measured))?;
        let mut names =
            vec!["error".to_owned(), "projection_error".to_owned(), format!("{what}_error")];
        names.extend(kind.iter().map(|kind| format!("{kind}_error")));
        outputs.put(&names.iter().map(String::as_str).collect::<Vec<_>>(), error);
        outputs.put(&["ratio", "factor", "overestimate", "predicted_over_measured"], ratio);
    }
    Ok(())
}

pub(super) fn component_shares(inputs: &Inputs<'_>, outputs: &mut Outputs) -> Done {
    shares::<Energy>(inputs, outputs)?;
    shares::<Power>(inputs, outputs)?;
    shares::<Co2e>(inputs, outputs)?;
    shares::<Duration>(inputs, outputs)?;
    shares::<Money>(inputs, outputs)?;
    shares::<f64>(inputs, outputs)?;
    let Some(objects) = inputs.objects() else { return Ok(()) };
    // An object of components, or several such objects.
    if objects.iter().all(|(_, object)| object.len() == 1) {
        let flat = objects.into_iter().filter_map(|(name, object)| {
            let (key, value) = object.into_iter().next()?;
            // `{"gpu": 3}` under `components_w` is `gpu_w`; `{"name": "gpu", "w": 3}` too.
            Some((if name == key { key } else { format!("{name}_{key}") }, value))
        });
        let flat = flat.collect();
        let parts = Inputs::new(&flat)?;
        component_shares(&parts, outputs)?;
        return parts.finish();
    }
    for (name, object) in objects {
        let parts = Inputs::new(&object)?;
        let mut group = Outputs::default();
        component_shares(&parts, &mut group)?;
        parts.finish()?;
        outputs.put_group(&name, group);
    }
    Ok(())
}

fn shares<Q: Quantity + Kind>(inputs: &Inputs<'_>, outputs: &mut Outputs) -> Done {
    let names = if inputs.lists::<Q>().is_empty() { None } else { inputs.strings() };
    for (entry, values) in inputs.lists::<Q>() {
        entry.take();
        let shares = told(footprint::component_shares(&values))?;
        for (place, share) in shares.iter().enumerate() {
            if let Some(name) = names.as_ref().and_then(|names| names.get(place)?.as_str()) {
                outputs.put(&[name, &format!("{name}_share")], *share);
            }
        }
        let shares = shares.into_iter().map(Measure::Number).collect();
        outputs.list(&["share"], shares);
    }
    let totals = inputs.with::<Q>(&["total", "sum"]);
    let parts = inputs.all::<Q>();
    if parts.is_empty() {
        return if totals.is_empty() { Ok(()) } else { Err("a sum without parts".to_owned()) };
    }
    let values: Vec<Q> = parts.iter().map(|(_, part)| *part).collect();
    for ((words, _), share) in parts.iter().zip(told(footprint::component_shares(&values))?) {
        let name = label(words, &["power", "energy"]);
        outputs.put(&[&name, &format!("{name}_share")], share);
    }
    outputs.put(&["total", "sum"], super::sum(&parts)?);
    Ok(())
}
