//! Laws of size and error, and what a gain costs.

use std::time::Duration;

use ergometer::Energy;
use ergometer_report::footprint::{self, HalvingCost, LogLogFit};
use ergometer_report::quantity::{Co2e, Money, Quantity};
use serde_json::{Map, Value, json};

use super::{in_units, label, told};
use crate::papers::inputs::{Entry, Inputs};
use crate::papers::measure::{Kind, Measure, words};
use crate::papers::outputs::Outputs;

type Done = Result<(), String>;

const SIZES: [&str; 9] =
    ["parameter", "param", "size", "n", "x", "flop", "compute", "token", "sample"];

pub(super) fn loglog_fit(inputs: &Inputs<'_>, outputs: &mut Outputs) -> Done {
    let confidence = inputs.named::<f64>(&["confidence", "level"]).unwrap_or(0.95);
    let places: Vec<(&Entry<'_>, Vec<f64>)> =
        inputs.numbers().into_iter().filter(|(entry, _)| is_place(entry)).collect();
    places.iter().for_each(|(entry, _)| entry.take());
    let points = points(inputs, "x", &SIZES)?;
    let fit = told(footprint::loglog_fit(&points, confidence))?;
    put_fit(outputs, &fit)?;
    let mut single = inputs.plain();
    single.retain(|(entry, _)| {
        is_place(entry) || entry.name.words.iter().any(|word| SIZES.contains(&word.as_str()))
    });
    single.iter().for_each(|(entry, _)| entry.take());
    let single = single.into_iter().map(|(_, x)| x);
    for x in single.chain(places.into_iter().flat_map(|(_, places)| places)) {
        let there = told(fit.predict(x))?;
        let put = |outputs: &mut Outputs, end: &str, value: f64| {
            let names =
                ["prediction", "predicted", "pred", "pi", "prediction_interval", "predicted_value"];
            let names = names.map(|name| format!("{name}{end}"));
            outputs.raw(&names.each_ref().map(String::as_str), value);
        };
        put(outputs, "", there.value);
        for end in ["_low", "_lower", "_lo", "_min"] {
            put(outputs, end, there.low);
        }
        for end in ["_high", "_upper", "_hi", "_max"] {
            put(outputs, end, there.high);
        }
        let ends = [there.low, there.high].map(Measure::Number).to_vec();
        outputs.list(&["prediction_interval", "pi"], ends);
    }
    Ok(())
}

/// Whether a list holds places to predict at.
fn is_place(entry: &Entry<'_>) -> bool {
    let words = ["predict", "prediction", "new", "at", "target", "extrapolate"];
    entry.name.words.iter().any(|word| words.contains(&word.as_str()))
}

fn put_fit(outputs: &mut Outputs, fit: &LogLogFit) -> Done {
    outputs.raw(&["exponent", "slope"], fit.exponent);
    outputs.raw(
        &["standard_error", "se", "slope_se", "stderr", "exponent_se", "exponent_standard_error"],
        fit.standard_error,
    );
    let (low, high) = fit.interval;
    let low_names = ["ci_low", "low", "slope_low", "exponent_low", "ci_lower", "exponent_ci_low"];
    outputs.raw(&low_names, low);
    let high_names =
        ["ci_high", "high", "slope_high", "exponent_high", "ci_upper", "exponent_ci_high"];
    outputs.raw(&high_names, high);
    outputs.raw(&["n", "points"], number(fit.n));
    outputs.raw(&["degrees_of_freedom", "df", "dof"], number(fit.degrees_of_freedom()));
    outputs.list(&["ci", "interval"], vec![Measure::Number(low), Measure::Number(high)]);
    outputs.raw(&["r_squared", "r2"], fit.r_squared);
    outputs.raw(&["intercept", "log10_a"], fit.intercept);
    outputs.raw(&["t", "t_value", "t_quantile"], fit.t);
    outputs.flag(&["contains_1", "proportional", "slope_1_in_ci"], fit.holds(1.0));
    let doubling = told(fit.multiplier(2.0))?;
    outputs.raw(&["doubling", "doubling_factor", "factor_for_doubling"], doubling.value);
    outputs.raw(&["doubling_low", "doubling_factor_low"], doubling.low);
    outputs.raw(&["doubling_high", "doubling_factor_high"], doubling.high);
    Ok(())
}

fn number(count: usize) -> f64 {
    u32::try_from(count).map(f64::from).unwrap()
}

/// Pairs of numbers, of which the text `axis` or else one of some words names the first.
fn points(inputs: &Inputs<'_>, axis: &str, firsts: &[&str]) -> Result<Vec<(f64, f64)>, String> {
    let named = inputs.text(axis).map(str::to_owned);
    inputs.text("y");
    let is_first = |key: &str, words: &[String]| match &named {
        Some(text) if text.contains(key) => true,
        _ => words.iter().any(|word| firsts.contains(&word.as_str())),
    };
    if let Some(objects) = inputs.objects() {
        return objects
            .iter()
            .map(|(name, object)| {
                let parts = Inputs::new(object)?;
                let numbers = parts.plain();
                let [(a, first), (b, second)] = &numbers[..] else {
                    return Err(format!("{name} is no point"));
                };
                a.take();
                b.take();
                parts.finish()?;
                let swapped = is_first(b.key, &b.name.words) && !is_first(a.key, &a.name.words);
                Ok(if swapped { (*second, *first) } else { (*first, *second) })
            })
            .collect();
    }
    inputs.strings();
    if let Some(rows) = inputs.rows() {
        let pair = |row: &Vec<f64>| match row[..] {
            [x, y] => Ok((x, y)),
            _ => Err("a point is not a pair".to_owned()),
        };
        return rows.iter().map(pair).collect();
    }
    let lists = inputs.numbers();
    let mut pair: Vec<&(&Entry<'_>, Vec<f64>)> = lists.iter().collect();
    pair.sort_by_key(|(entry, _)| !is_first(entry.key, &entry.name.words));
    let [(x, xs), (y, ys)] = pair[..] else {
        return Err(format!("{} lists of numbers, not two", lists.len()));
    };
    x.take();
    y.take();
    if xs.len() != ys.len() {
        return Err(format!("`{}` and `{}` differ in length", x.key, y.key));
    }
    Ok(xs.iter().copied().zip(ys.iter().copied()).collect())
}

pub(super) fn halving_cost(inputs: &Inputs<'_>, outputs: &mut Outputs) -> Done {
    let confidence = inputs.named::<f64>(&["confidence"]).unwrap_or(0.95);
    let mut interval = None;
    let halving = if inputs.numbers().len() == 2 {
        let compute = ["compute", "flop", "energy", "kwh", "cost", "gflop", "x"];
        let fit = told(footprint::error_law(&points(inputs, "x", &compute)?, confidence))?;
        put_fit(outputs, &fit)?;
        interval = Some(fit.interval);
        HalvingCost::from_alpha(fit.exponent)
    } else {
        let low = ["low", "lower", "min", "ci"];
        let high = ["high", "upper", "max"];
        let is_range = |entry: &Entry<'_>| {
            entry.name.words.iter().any(|word| ["ci", "interval", "range"].contains(&word.as_str()))
        };
        if let Some((entry, exponents)) =
            inputs.numbers().into_iter().find(|(entry, _)| !is_range(entry))
        {
            entry.take();
            let halvings = halvings(is_alpha(&entry.name.words), &exponents)?;
            for (name, of) in LAWS {
                outputs.list(&[name], halvings.iter().map(|it| Measure::Number(of(it))).collect());
            }
            return Ok(());
        }
        let list = inputs.numbers().into_iter().next();
        let ends = match list {
            Some((entry, values)) => {
                entry.take();
                Some((is_alpha(&entry.name.words), values[0], values[1]))
            }
            None => match (&inputs.with::<f64>(&low)[..], &inputs.with::<f64>(&high)[..]) {
                ([(words, low)], [(_, high)]) => Some((is_alpha(words), *low, *high)),
                _ => None,
            },
        };
        if let Some((alpha, low, high)) = ends {
            interval = Some(if alpha {
                (low, high)
            } else {
                (
                    told(footprint::halving_cost(high))?.alpha,
                    told(footprint::halving_cost(low))?.alpha,
                )
            });
        }
        let several = inputs.several::<f64>(&["k", "alpha"]);
        for (words, exponent) in &several {
            let name = label(words, &["k", "alpha"]);
            let halving = halvings(is_alpha(words), &[*exponent])?[0];
            for (law, of) in LAWS {
                outputs.put(
                    &[&format!("{law}_{name}"), &format!("halving_{law}_{name}")],
                    of(&halving),
                );
            }
        }
        if !several.is_empty() {
            return Ok(());
        }
        if let Some(alpha) = inputs.named(&["alpha"]) {
            HalvingCost::from_alpha(alpha)
        } else if let Some(factor) = inputs.named(&["factor", "multiplier"]) {
            HalvingCost::from_factor(factor)
        } else {
            footprint::halving_cost(inputs.need(&["k", "exponent", "power", "degree"])?)
        }
    };
    let halving = told(halving)?;
    outputs.put(&["k", "exponent"], halving.k);
    outputs.put(&["alpha"], halving.alpha);
    outputs.put(
        &["factor", "factor_to_halve", "halving_factor", "compute_factor", "multiplier"],
        halving.factor,
    );
    if let Some(interval) = interval {
        let (low, high) = HalvingCost::bounds(interval);
        outputs.put(&["factor_low", "low"], low);
        outputs.put(&["factor_high", "high"], high);
    }
    let to = inputs.named::<f64>(&["target_error", "error_to", "to_error", "new_error"]);
    let from = inputs.named::<f64>(&["error_from", "from_error", "current_error", "error"]);
    if let (Some(from), Some(to)) = (from, to) {
        outputs.put(
            &["factor_to_target", "factor", "target_factor"],
            told(halving.lowering(from, to))?,
        );
    }
    if let Some(energy) = inputs.maybe::<Energy>(&["energy", ""]) {
        let more = energy.scaled(halving.factor);
        outputs.put(&["energy", "energy_to_halve"], more);
        in_units(inputs, outputs, more)?;
    }
    Ok(())
}

type Law = (&'static str, fn(&HalvingCost) -> f64);

const LAWS: [Law; 3] = [("factor", |it| it.factor), ("alpha", |it| it.alpha), ("k", |it| it.k)];

fn halvings(alpha: bool, exponents: &[f64]) -> Result<Vec<HalvingCost>, String> {
    let of = |exponent: &f64| {
        told(if alpha {
            HalvingCost::from_alpha(*exponent)
        } else {
            footprint::halving_cost(*exponent)
        })
    };
    exponents.iter().map(of).collect()
}

fn is_alpha(words: &[String]) -> bool {
    words.iter().any(|word| word == "alpha")
}

pub(super) fn marginal_cost(inputs: &Inputs<'_>, outputs: &mut Outputs) -> Done {
    if let Some(objects) = inputs.objects() {
        let rows: Vec<Map<String, Value>> = objects.into_iter().map(|(_, object)| object).collect();
        let columns = columns(&rows);
        let parts = Inputs::new(&columns)?;
        marginal_cost(&parts, outputs)?;
        return parts.finish();
    }
    let found = priced::<Money>(inputs, outputs)?
        || priced::<Energy>(inputs, outputs)?
        || priced::<Co2e>(inputs, outputs)?
        || priced::<Duration>(inputs, outputs)?
        || priced::<f64>(inputs, outputs)?;
    if found { Ok(()) } else { Err("no input is a cost".to_owned()) }
}

/// Whether parts are points of a curve, each with a cost and a quality, rather than gains that were bought apart.
pub(super) fn are_steps(given: &Map<String, Value>) -> bool {
    let apart = ["gain", "delta", "extra", "added", "increase", "improvement"];
    let is_apart = |key: &String| words(key).iter().any(|word| apart.contains(&word.as_str()));
    fn keys(value: &Value) -> Vec<&String> {
        match value {
            Value::Array(values) => values.iter().flat_map(keys).collect(),
            Value::Object(object) => {
                object.iter().flat_map(|(key, value)| [vec![key], keys(value)].concat()).collect()
            }
            _ => Vec::new(),
        }
    }
    !given.values().flat_map(keys).any(is_apart)
}

/// Rows of equal fields as lists, one for each field.
fn columns(rows: &[Map<String, Value>]) -> Map<String, Value> {
    let keys = rows.first().into_iter().flat_map(Map::keys);
    keys.map(|key| {
        let column = rows.iter().map(|row| row.get(key).cloned().unwrap_or_default()).collect();
        (key.clone(), Value::Array(column))
    })
    .collect()
}

/// The price of a point in costs of one kind, if there are any.
fn priced<Q: Quantity + Kind>(inputs: &Inputs<'_>, outputs: &mut Outputs) -> Result<bool, String> {
    // Plain numbers may be either.
    let is_cost = |words: &[String]| {
        let words = words.iter().map(String::as_str);
        Q::of(Measure::Number(0.0)).is_none()
            || words.into_iter().any(|word| ["cost", "price"].contains(&word))
    };
    let names = ["marginal_cost", "marginal", "cost_per_point", "cost_per_gain", ""];
    let lists = inputs.lists::<Q>();
    if let Some((entry, costs)) = lists.iter().find(|(entry, _)| is_cost(&entry.name.words)) {
        entry.take();
        inputs.strings();
        let qualities = inputs.numbers();
        let [(entry, qualities)] = &qualities[..] else {
            return Err("no single list is the quality".to_owned());
        };
        entry.take();
        let points: Vec<(Q, f64)> = costs.iter().copied().zip(qualities.iter().copied()).collect();
        let steps = footprint::marginal_costs(&points).into_iter();
        let steps =
            steps.map(|step| told(step).map(Into::into)).collect::<Result<Vec<Measure>, _>>()?;
        if let [only] = steps[..] {
            outputs.put(&names, only);
        }
        outputs.list(&names, steps);
        return Ok(true);
    }
    let costs = inputs.those::<Q>(is_cost);
    if costs.is_empty() {
        return Ok(false);
    }
    let mut qualities = inputs.plain();
    qualities.iter().for_each(|(entry, _)| entry.take());
    // What is paired must be ordered alike; which of the two is before does not matter.
    let before = ["before", "from", "base", "baseline", "default", "old", "start", "first"];
    let rank = |words: &[String]| !words.iter().any(|word| before.contains(&word.as_str()));
    qualities.sort_by_key(|(entry, _)| rank(&entry.name.words));
    let gains = match &qualities[..] {
        [(_, gain)] => (0.0, *gain),
        [(_, a), (_, b)] => (*a, *b),
        _ => return Err(format!("{} inputs are a quality", qualities.len())),
    };
    let bounds = ["low", "high", "min", "max", "lower", "upper"];
    let is_bound = |words: &[String]| words.iter().any(|word| bounds.contains(&word.as_str()));
    let mut steps = Vec::new();
    match &costs[..] {
        [(words, _), _] if !is_bound(words) => {
            let mut costs = costs.clone();
            costs.sort_by_key(|(words, _)| rank(words));
            steps.push((String::new(), [(costs[0].1, gains.0), (costs[1].1, gains.1)]));
        }
        costs => {
            for (words, cost) in costs {
                let nothing = told(cost.resized(0.0))?;
                let label = label(words, &["cost", "delta", "added"]);
                steps.push((label, [(nothing, gains.0), (*cost, gains.1)]));
            }
        }
    }
    for (label, step) in steps {
        for price in footprint::marginal_costs(&step) {
            let mut names = names.to_vec();
            names.push(&label);
            outputs.put(&names, told(price)?);
        }
    }
    Ok(true)
}

/// Words for what was set, as against what came of it.
const SETTINGS: [&str; 6] = ["cap", "limit", "setting", "label", "id", "point"];

pub(super) fn pareto(inputs: &Inputs<'_>, outputs: &mut Outputs) -> Done {
    let (labels, points) = match inputs.objects() {
        Some(objects) => {
            let chosen = inputs.strings();
            let is_chosen = |key: &str| {
                chosen.as_ref().is_none_or(|keys| keys.iter().any(|chosen| chosen == key))
            };
            // Where no text names the points, a setting does, such as a cap of power.
            let unnamed =
                objects.iter().enumerate().all(|(place, (name, _))| *name == place.to_string());
            let is_setting = |key: &&String| {
                unnamed
                    && words(key).iter().any(|word| SETTINGS.contains(&word.as_str()))
                    && chosen.as_ref().is_none_or(|keys| !keys.contains(&json!(key)))
            };
            let setting = objects[0].1.keys().find(is_setting);
            let name = |(name, object): &(String, Map<String, Value>)| match setting {
                Some(key) => object.get(key).cloned().unwrap_or_default(),
                None => json!(name),
            };
            let criteria = |(_, object): &(String, Map<String, Value>)| -> Vec<f64> {
                let chosen =
                    object.iter().filter(|(key, _)| is_chosen(key) && setting != Some(*key));
                chosen.filter_map(|(_, value)| value.as_f64()).collect()
            };
            (objects.iter().map(name).collect(), objects.iter().map(criteria).collect())
        }
        None => columns_of_points(inputs)?,
    };
    let front = told(footprint::pareto(&points))?;
    let named = |place: &usize| labels[*place].clone();
    let on: Vec<Value> = front.on.iter().map(named).collect();
    let off = front.dominated.iter().map(|dominated| named(&dominated.point)).collect();
    outputs.put(&["front_size", "n_front", "count"], number(on.len()));
    outputs.value(
        &["front", "pareto", "pareto_front", "non_dominated", "efficient"],
        Value::Array(on),
    );
    outputs.value(&["dominated", "off"], off);
    for (place, label) in labels.iter().enumerate() {
        let name = label.as_str().map_or_else(|| label.to_string(), str::to_owned);
        let mut group = Outputs::default();
        let by = front.dominated.iter().find(|dominated| dominated.point == place);
        group.flag(&["on_front", "front", "efficient", "non_dominated"], by.is_none());
        group.flag(&["dominated"], by.is_some());
        if let Some(dominated) = by {
            group.value(&["dominated_by"], named(&dominated.by));
            outputs.value(&[&name, &format!("{name}_dominated_by")], named(&dominated.by));
        }
        outputs.put_group(&name, group);
    }
    Ok(())
}

/// Points given as lists, one for each criterion, or as one list of lists; their names in a list of texts or of settings.
fn columns_of_points(inputs: &Inputs<'_>) -> Result<(Vec<Value>, Vec<Vec<f64>>), String> {
    let names = inputs.strings();
    if let Some((labels, rows)) = inputs.named_rows() {
        // Names of criteria are no names of points.
        let numbered = labels.iter().all(Value::is_number);
        let names = names.filter(|names| numbered && names.len() == rows.len());
        return Ok((names.unwrap_or(labels), rows));
    }
    let mut lists = inputs.numbers();
    let is_setting =
        |entry: &Entry<'_>| entry.name.words.iter().any(|word| SETTINGS.contains(&word.as_str()));
    lists.iter().for_each(|(entry, _)| entry.take());
    let setting = lists.iter().position(|(entry, _)| names.is_none() && is_setting(entry));
    let setting = setting.map(|place| lists.remove(place).0);
    let count = lists.first().map_or(0, |(_, values)| values.len());
    if count == 0 || lists.iter().any(|(_, values)| values.len() != count) {
        return Err("no lists of criteria of one length".to_owned());
    }
    let labels = names
        .or_else(|| setting?.value.as_array().cloned())
        .unwrap_or_else(|| (0..count).map(|place| json!(place)).collect());
    let points =
        (0..count).map(|place| lists.iter().map(|(_, values)| values[place]).collect()).collect();
    if labels.len() == count { Ok((labels, points)) } else { Err("names do not fit".to_owned()) }
}

pub(super) fn amortisation(inputs: &Inputs<'_>, outputs: &mut Outputs) -> Done {
    let inference: Energy = inputs
        .named(&["inference", "query", "prompt", "request", "per_inference"])
        .or_else(|| inputs.per())
        .ok_or("no input is the energy of an inference")?;
    let fine_tuning =
        inputs.named::<Energy>(&["finetuning", "fine_tuning", "tuning"]).unwrap_or(Energy::ZERO);
    let training = inputs.need(&["training", "train", "pretraining"])?;
    let inferences = told(footprint::amortisation(training, fine_tuning, inference))?;
    outputs.put(&["inferences_for_parity", "inferences", "parity", "n"], inferences);
    if let Some(daily) = inputs.named::<f64>(&["per_day", "inferences_per_day", "daily", "load"]) {
        let days = told(footprint::equivalents(inferences, daily))?;
        outputs.put(
            &["days_for_parity", "days_to_parity", "time", ""],
            Duration::from_secs(86_400).mul_f64(days),
        );
    }
    Ok(())
}
