//! The nineteen operations: their inputs by name, the function that computes them, and its results by name.

mod carbon;
mod energy;
mod worth;

use std::time::Duration;

use ergometer::Energy;
use ergometer_report::footprint::{Consumption, equivalents};
use ergometer_report::quantity::{
    CarbonIntensity, Co2e, DevicePrice, EnergyPrice, Money, Pue, Quantity,
};
use serde_json::{Map, Value};

use super::inputs::{Called, Inputs};
use super::outputs::Outputs;

type Operation = fn(&Inputs<'_>, &mut Outputs) -> Result<(), String>;

const OPERATIONS: [(&str, Operation); 19] = [
    ("power_time", energy::power_time),
    ("chips_time", energy::chips_time),
    ("flop_to_energy", energy::flop_to_energy),
    ("gpu_hours", energy::gpu_hours),
    ("location_what_if", carbon::location_what_if),
    ("life_cycle_total", carbon::life_cycle_total),
    ("embodied_amortised", carbon::embodied_amortised),
    ("development_multiplier", energy::development_multiplier),
    ("projection", energy::projection),
    ("projection_error", energy::projection_error),
    ("equivalents", carbon::equivalents),
    ("start_time_what_if", carbon::start_time_what_if),
    ("component_shares", energy::component_shares),
    ("loglog_fit", worth::loglog_fit),
    ("halving_cost", worth::halving_cost),
    ("implied_intensity", carbon::implied_intensity),
    ("marginal_cost", worth::marginal_cost),
    ("pareto", worth::pareto),
    ("amortisation", worth::amortisation),
];

/// Operations that take several things at once; the others compute each alone.
const OF_SEVERAL: [&str; 5] =
    ["location_what_if", "component_shares", "loglog_fit", "pareto", "start_time_what_if"];

/// Computes a case. Parts that are objects themselves are cases of their own, with what stands beside them in common.
pub(super) fn compute(op: &str, given: &Map<String, Value>) -> Result<Outputs, String> {
    let (_, operation) = OPERATIONS
        .iter()
        .find(|(name, _)| *name == op)
        .ok_or_else(|| format!("unknown operation `{op}`"))?;
    let inputs = Inputs::new(given)?;
    let mut outputs = Outputs::new(inputs.units());
    let several = OF_SEVERAL.contains(&op) || op == "marginal_cost" && worth::are_steps(given);
    if !several && let Some(parts) = inputs.objects() {
        let common: Map<String, Value> = given
            .iter()
            .filter(|(_, value)| !parts_of(value))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        for (name, part) in parts {
            let mut whole = common.clone();
            whole.extend(part);
            let group = compute(op, &whole).map_err(|fault| format!("{name}: {fault}"))?;
            outputs.put_group(&name, group);
        }
        return Ok(outputs);
    }
    operation(&inputs, &mut outputs)?;
    inputs.finish()?;
    Ok(outputs)
}

fn parts_of(value: &Value) -> bool {
    value.is_object()
        || value.as_array().is_some_and(|values| values.first().is_some_and(Value::is_object))
}

fn told<T>(result: ergometer::Result<T>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

fn pue(inputs: &Inputs<'_>) -> Result<Pue, String> {
    inputs.named::<f64>(&["pue"]).map_or(Ok(Pue::NO_OVERHEAD), |ratio| told(Pue::new(ratio)))
}

/// The words without those that only say of what kind a thing is.
fn label(words: &[String], without: &[&str]) -> String {
    let kept: Vec<&str> =
        words.iter().map(String::as_str).filter(|word| !without.contains(word)).collect();
    kept.join("_")
}

/// Energies, and what follows from them with the intensities, prices and factors that are left.
fn consumption(
    inputs: &Inputs<'_>,
    outputs: &mut Outputs,
    used: Consumption,
    time: Option<Duration>,
) -> Result<(), String> {
    outputs.put(&["facility_energy", "energy", "facility", "electricity", "total"], used.facility);
    outputs.put(&["it_energy", "it", "equipment_energy"], used.it);
    for (words, price) in inputs.all::<EnergyPrice>() {
        let label = label(&words, &["price", "electricity", "energy", "cost"]);
        let cost = used.facility * price;
        outputs.put(&["electricity_cost", "cost", &format!("{label}_cost"), &label], cost);
    }
    for (words, price) in inputs.all::<DevicePrice>() {
        let label = label(&words, &["price", "cost", "cloud", "gpu"]);
        let cost: Money = time.ok_or("a price by time, and no time")? * price;
        outputs.put(&["cost", "cloud_cost", &format!("cost_{label}"), &label], cost);
    }
    let intensities = inputs.all::<CarbonIntensity>();
    let only = intensities.len() == 1;
    for (words, intensity) in intensities {
        let label = label(&words, &["intensity", "grid", "factor", "mix"]);
        let co2e = used.co2e(intensity);
        let names = [&*label, &format!("{label}_co2e"), "co2e", "emissions", ""];
        outputs.put(if label.is_empty() || only { &names } else { &names[..2] }, co2e);
        if only || label == "gross" {
            in_units(inputs, outputs, co2e)?;
        }
    }
    in_units(inputs, outputs, used.facility)
}

/// A quantity in units of every other one of its kind that is left.
fn in_units<Q>(inputs: &Inputs<'_>, outputs: &mut Outputs, amount: Q) -> Result<(), String>
where
    Q: Quantity + super::measure::Kind,
{
    for (words, factor) in inputs.all::<Q>() {
        let count = told(equivalents(amount, factor))?;
        let whole = label(&words, &[]);
        let last = words.last().map_or("", String::as_str);
        outputs.raw(&[&whole, &label(&words, &["round", "one", "per"]), last], count);
    }
    Ok(())
}

/// What some quantities of one kind come to together.
fn sum<Q: Quantity>(parts: &[Called<Q>]) -> Result<Q, String> {
    let mut parts = parts.iter().map(|(_, part)| *part);
    let first = parts.next().ok_or("there is nothing to add up")?;
    parts.try_fold(first, |sum, part| {
        told(sum.alike(part).and_then(|()| sum.resized(sum.size() + part.size())))
    })
}

/// The energy of the equipment, from whatever tells it.
fn it_energy(inputs: &Inputs<'_>, pue: Pue) -> Result<Energy, String> {
    if let Some(facility) = inputs.named::<Energy>(&["facility_energy", "facility"]) {
        return Ok(pue.equipment(facility));
    }
    if let Some(it) = inputs.maybe::<Energy>(&["it_energy", "energy", "it", ""]) {
        return Ok(it);
    }
    energy::devices(inputs).map(|used| used.it)
}

fn first_mass(inputs: &Inputs<'_>) -> Option<Co2e> {
    inputs.named(&["", "co2e", "emissions", "total", "training"])
}
