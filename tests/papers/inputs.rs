//! The inputs of a case, found by their names and kinds; none may be left over.

use std::cell::Cell;

use serde_json::{Map, Value};

use super::measure::{Kind, Measure, Name, Unit, words};
use ergometer_report::quantity::Co2e;

/// Words that say where numbers are from, and change none of them.
const NOTES: [&str; 24] = [
    "accounting",
    "basis",
    "boundary",
    "country",
    "currency",
    "dataset",
    "device",
    "formula",
    "gpu",
    "hardware",
    "method",
    "metric",
    "model",
    "name",
    "note",
    "processor",
    "quality",
    "region",
    "row",
    "source",
    "task",
    "unit",
    "x",
    "y",
];

#[derive(Debug)]
pub(super) struct Inputs<'a> {
    entries: Vec<Entry<'a>>,
}

#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) key: &'a str,
    pub(super) name: Name,
    pub(super) value: &'a Value,
    used: Cell<bool>,
}

/// A measure and the words that it is called by.
pub(super) type Called<K> = (Vec<String>, K);

impl<'a> Entry<'a> {
    fn measure_of(&self, value: &Value) -> Option<Measure> {
        let value = value.as_f64()?;
        match self.name.unit {
            // What is written `flops` may be a number of operations or their rate; no training takes so few.
            Some(Unit::Flop(by)) if value * by < 1e17 => Unit::FlopRate(by).measure(value),
            Some(unit) => unit.measure(value),
            None if self
                .name
                .words
                .last()
                .is_some_and(|word| word == "percent" || word == "pct") =>
            {
                Some(Measure::Number(value / 100.0))
            }
            None => Some(Measure::Number(value)),
        }
    }

    fn scalar<K: Kind>(&self) -> Option<K> {
        if self.used.get() { None } else { K::of(self.measure_of(self.value)?) }
    }

    pub(super) fn take(&self) {
        self.used.set(true);
    }
}

impl<'a> Inputs<'a> {
    pub(super) fn new(inputs: &'a Map<String, Value>) -> Result<Self, String> {
        let entries: Vec<Entry<'a>> = inputs
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| Entry { key, name: Name::new(key), value, used: Cell::new(false) })
            .collect();
        for entry in entries.iter().filter(|entry| entry.key == "kg_per_lb") {
            let exact = Co2e::from_pounds(1.0).as_kilograms();
            if entry.value.as_f64().is_none_or(|value| (value / exact - 1.0).abs() > 1e-4) {
                return Err(format!("a pound is {exact} kg, not {}", entry.value));
            }
            entry.take();
        }
        Ok(Inputs { entries })
    }

    /// A measure by one of its names, each of which may be some of the words of the input's own.
    pub(super) fn named<K: Kind>(&self, names: &[&str]) -> Option<K> {
        self.entry::<K>(names).and_then(|entry| {
            let value = entry.scalar();
            entry.take();
            value
        })
    }

    /// A measure by one of its names, or the only one that is left of its kind.
    pub(super) fn maybe<K: Kind>(&self, names: &[&str]) -> Option<K> {
        self.named(names).or_else(|| {
            let left: Vec<&Entry<'a>> =
                self.entries.iter().filter(|entry| entry.scalar::<K>().is_some()).collect();
            let [only] = left[..] else { return None };
            let value = only.scalar();
            only.take();
            value
        })
    }

    pub(super) fn need<K: Kind>(&self, names: &[&str]) -> Result<K, String> {
        self.maybe(names).ok_or_else(|| format!("no input is `{}`", names.join("` or `")))
    }

    fn entry<K: Kind>(&self, names: &[&str]) -> Option<&Entry<'a>> {
        let candidates = || self.entries.iter().filter(|entry| entry.scalar::<K>().is_some());
        let names: Vec<Vec<String>> = names.iter().map(|name| words(name)).collect();
        names.iter().find_map(|name| candidates().find(|entry| entry.name.base == *name)).or_else(
            || {
                names.iter().filter(|name| !name.is_empty()).find_map(|name| {
                    let mut fitting = candidates()
                        .filter(|entry| name.iter().all(|word| entry.name.words.contains(word)));
                    fitting.next().filter(|_| fitting.next().is_none())
                })
            },
        )
    }

    /// What is left of a kind, in the order of the names.
    pub(super) fn all<K: Kind>(&self) -> Vec<Called<K>> {
        self.each(|_, measure| K::of(measure))
    }

    /// What is left of a kind and is called by one of these words.
    pub(super) fn with<K: Kind>(&self, any: &[&str]) -> Vec<Called<K>> {
        self.those(|words| words.iter().any(|word| any.contains(&word.as_str())))
    }

    /// What is left of a kind and has words of which this is true.
    pub(super) fn those<K: Kind>(&self, of: impl Fn(&[String]) -> bool) -> Vec<Called<K>> {
        self.each(|entry, measure| of(&entry.name.words).then(|| K::of(measure)).flatten())
    }

    /// The only energy that is given for one of something.
    pub(super) fn per<K: Kind>(&self) -> Option<K> {
        let per = self.entries.iter().filter(|entry| !entry.name.per.is_empty());
        let per: Vec<&Entry<'a>> = per.filter(|entry| entry.scalar::<K>().is_some()).collect();
        let [only] = per[..] else { return None };
        let value = only.scalar();
        only.take();
        value
    }

    /// A list of lists of numbers.
    pub(super) fn rows(&self) -> Option<Vec<Vec<f64>>> {
        let row = |row: &Value| row.as_array()?.iter().map(Value::as_f64).collect();
        self.entries.iter().find_map(|entry| {
            let rows: Vec<Vec<f64>> =
                entry.value.as_array()?.iter().map(row).collect::<Option<_>>()?;
            entry.take();
            Some(rows)
        })
    }

    /// Lists of numbers, in a list or under names; a text in front of one names it, and otherwise its place does.
    pub(super) fn named_rows(&self) -> Option<(Vec<Value>, Vec<Vec<f64>>)> {
        let row = |name: Value, row: &Value| -> Option<(Value, Vec<f64>)> {
            Some(match &row.as_array()?[..] {
                [Value::String(name), row @ ..] => {
                    (name.as_str().into(), row.iter().map(Value::as_f64).collect::<Option<_>>()?)
                }
                row => (name, row.iter().map(Value::as_f64).collect::<Option<_>>()?),
            })
        };
        self.entries.iter().filter(|entry| !entry.used.get()).find_map(|entry| {
            let rows: Vec<(Value, Vec<f64>)> = match entry.value {
                Value::Array(rows) => rows
                    .iter()
                    .enumerate()
                    .map(|(place, value)| row(place.into(), value))
                    .collect::<Option<_>>()?,
                Value::Object(rows) => rows
                    .iter()
                    .map(|(name, value)| row(name.as_str().into(), value))
                    .collect::<Option<_>>()?,
                _ => return None,
            };
            entry.take();
            Some(rows.into_iter().unzip())
        })
    }

    /// What is left of a kind and is called by one of these words, where there are several and none of them bare.
    pub(super) fn several<K: Kind>(&self, any: &[&str]) -> Vec<Called<K>> {
        let fits = |entry: &&Entry<'a>| {
            entry.scalar::<K>().is_some()
                && entry.name.words.iter().any(|word| any.contains(&word.as_str()))
        };
        let found: Vec<&Entry<'a>> = self.entries.iter().filter(fits).collect();
        if found.len() < 2 || found.iter().any(|entry| entry.name.words.len() == 1) {
            return Vec::new();
        }
        self.with(any)
    }

    /// The units of the inputs.
    pub(super) fn units(&self) -> Vec<Unit> {
        self.entries.iter().filter_map(|entry| entry.name.unit).collect()
    }

    fn each<T>(&self, of: impl Fn(&Entry<'a>, Measure) -> Option<T>) -> Vec<Called<T>> {
        let mut found = Vec::new();
        for entry in self.entries.iter().filter(|entry| !entry.used.get()) {
            if let Some(value) =
                entry.measure_of(entry.value).and_then(|measure| of(entry, measure))
            {
                entry.take();
                let mut base = entry.name.base.clone();
                base.extend(entry.name.per.iter().cloned());
                found.push((base, value));
            }
        }
        found
    }

    /// What is left that is an array of one kind, by name.
    pub(super) fn lists<K: Kind>(&self) -> Vec<(&Entry<'a>, Vec<K>)> {
        let list = |entry: &Entry<'a>| -> Option<Vec<K>> {
            let values = entry.value.as_array()?;
            values.iter().map(|value| entry.measure_of(value).and_then(K::of)).collect()
        };
        let mut found = Vec::new();
        for entry in self.entries.iter().filter(|entry| !entry.used.get()) {
            if let Some(values) = list(entry).filter(|values| !values.is_empty()) {
                found.push((entry, values));
            }
        }
        found
    }

    /// The array of plain numbers behind a name, whatever its unit.
    pub(super) fn numbers(&self) -> Vec<(&Entry<'a>, Vec<f64>)> {
        let list = |entry: &Entry<'a>| -> Option<Vec<f64>> {
            entry.value.as_array()?.iter().map(Value::as_f64).collect()
        };
        let unused = self.entries.iter().filter(|entry| !entry.used.get());
        unused.filter_map(|entry| Some((entry, list(entry)?))).collect()
    }

    /// What is left that is a number, whatever its unit, by name.
    pub(super) fn plain(&self) -> Vec<(&Entry<'a>, f64)> {
        let unused = self.entries.iter().filter(|entry| !entry.used.get());
        unused.filter_map(|entry| Some((entry, entry.value.as_f64()?))).collect()
    }

    /// What is left that is an array of strings.
    pub(super) fn strings(&self) -> Option<Vec<Value>> {
        let entry = self.entries.iter().find(|entry| {
            !entry.used.get()
                && entry.value.as_array().is_some_and(|values| values.iter().all(Value::is_string))
        })?;
        entry.take();
        entry.value.as_array().cloned()
    }

    /// A text by its exact name.
    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        let entry =
            self.entries.iter().find(|entry| entry.key == key && entry.value.is_string())?;
        entry.take();
        entry.value.as_str()
    }

    /// Parts that are objects themselves, each with its name: an array of objects, or an object of them or of numbers.
    pub(super) fn objects(&self) -> Option<Vec<(String, Map<String, Value>)>> {
        // Several records side by side are called by their keys.
        let records: Vec<&Entry<'a>> = self
            .entries
            .iter()
            .filter(|entry| !entry.used.get() && is_record(entry.value))
            .collect();
        if records.len() > 1 {
            records.iter().for_each(|entry| entry.take());
            let record =
                |entry: &&Entry<'a>| Some((entry.key.to_owned(), entry.value.as_object()?.clone()));
            return Some(records.iter().filter_map(record).collect());
        }
        let entry =
            self.entries.iter().find(|entry| !entry.used.get() && is_objects(entry.value))?;
        entry.take();
        Some(match entry.value {
            Value::Array(values) => values
                .iter()
                .enumerate()
                .filter_map(|(place, value)| {
                    let mut object = value.as_object()?.clone();
                    Some((name_of(&mut object).unwrap_or_else(|| place.to_string()), object))
                })
                .collect(),
            Value::Object(values) => values
                .iter()
                .map(|(name, value)| match value.as_object() {
                    Some(object) => (name.clone(), object.clone()),
                    // What a bare number is, the name of the whole says.
                    None => (name.clone(), Map::from_iter([(entry.key.to_owned(), value.clone())])),
                })
                .collect(),
            _ => Vec::new(),
        })
    }

    /// Fails with the names of inputs that nobody asked for.
    pub(super) fn finish(&self) -> Result<(), String> {
        let unknown: Vec<&str> = self
            .entries
            .iter()
            .filter(|entry| !entry.used.get())
            .filter(|entry| {
                let any = |known: &[&str]| {
                    entry.name.words.iter().any(|word| known.contains(&word.as_str()))
                };
                let note = entry.value.is_string() && any(&NOTES);
                !(note || any(&["year", "job", "trial"]) && entry.value.is_number())
            })
            .map(|entry| entry.key)
            .collect();
        if unknown.is_empty() {
            Ok(())
        } else {
            Err(format!("unknown input `{}`", unknown.join("`, `")))
        }
    }
}

fn is_record(value: &Value) -> bool {
    value.as_object().is_some_and(|object| object.values().all(Value::is_number))
}

fn is_objects(value: &Value) -> bool {
    match value {
        Value::Array(values) => !values.is_empty() && values.iter().all(Value::is_object),
        Value::Object(values) => {
            !values.is_empty()
                && values.values().all(|value| value.is_object() || value.is_number())
        }
        _ => false,
    }
}

/// Takes the text that names an object out of it.
fn name_of(object: &mut Map<String, Value>) -> Option<String> {
    let keys = ["name", "id", "label", "model", "place", "region", "country", "setting", "run"];
    let key = keys.into_iter().find(|key| object.get(*key).is_some_and(Value::is_string))?;
    object.remove(key)?.as_str().map(str::to_owned)
}
