//! What an operation gave, by all the names that it may be asked for.

use serde_json::{Value, json};

use super::measure::{Measure, Name, Unit, words};

#[derive(Debug, Default)]
pub(super) struct Outputs {
    found: Vec<(Vec<Vec<String>>, Found)>,
    groups: Vec<(String, Outputs)>,
    /// The units of the inputs, for figures whose names have none.
    units: Vec<Unit>,
}

#[derive(Debug)]
enum Found {
    Measure(Measure),
    Flag(bool),
    /// A number in the units of the inputs, whatever its name ends in.
    Raw(f64),
    /// A value that is given as it stands.
    Value(Value),
    Wording(Vec<String>),
    List(Vec<Measure>),
}

impl Outputs {
    pub(super) fn new(units: Vec<Unit>) -> Self {
        Outputs { units, ..Outputs::default() }
    }

    pub(super) fn put(&mut self, names: &[&str], measure: impl Into<Measure>) {
        self.push(names, Found::Measure(measure.into()));
    }

    pub(super) fn raw(&mut self, names: &[&str], number: f64) {
        self.push(names, Found::Raw(number));
    }

    pub(super) fn flag(&mut self, names: &[&str], flag: bool) {
        self.push(names, Found::Flag(flag));
    }

    pub(super) fn value(&mut self, names: &[&str], value: Value) {
        self.push(names, Found::Value(value));
    }

    /// A text that may be worded in several ways: one of these words must be in it.
    pub(super) fn wording(&mut self, names: &[&str], any: &[&str]) {
        self.push(names, Found::Wording(any.iter().map(|word| (*word).to_owned()).collect()));
    }

    pub(super) fn list(&mut self, names: &[&str], measures: Vec<Measure>) {
        self.push(names, Found::List(measures));
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.found.iter().any(|(names, _)| names.contains(&words(name)))
    }

    pub(super) fn put_group(&mut self, name: &str, group: Outputs) {
        self.groups.push((name.to_owned(), group));
    }

    fn push(&mut self, names: &[&str], found: Found) {
        self.found.push((names.iter().map(|name| words(name)).collect(), found));
    }

    pub(super) fn group(&self, name: &str) -> Result<&Outputs, String> {
        let found =
            self.groups.iter().find(|(known, _)| known == name || words(known) == words(name));
        match (found, &self.groups[..]) {
            (Some((_, group)), _) => Ok(group),
            // An object in which the only group, or everything, is told under a heading.
            (None, []) => Ok(self),
            (None, _) => Err(format!("nothing is called `{name}`")),
        }
    }

    /// The output of this name, in the form and unit that the expected value has.
    pub(super) fn like(&self, name: &str, expected: &Value) -> Result<Value, String> {
        let parsed = Name::new(name);
        let mut fitting: Vec<(usize, Value)> = Vec::new();
        for (names, found) in &self.found {
            let Some(value) = self.shape(found, &parsed, expected) else { continue };
            let closeness = names.iter().map(|alias| closeness(alias, &parsed)).max().unwrap_or(0);
            fitting.push((closeness, value));
        }
        let best = fitting.iter().map(|(closeness, _)| *closeness).max().unwrap_or(0);
        match &fitting[..] {
            // The only one of its kind needs no name.
            [(_, only)] => Ok(only.clone()),
            _ if best == 0 => Err(format!("nothing is called `{name}`")),
            _ => Ok(fitting.into_iter().find(|(closeness, _)| *closeness == best).unwrap().1),
        }
    }

    fn shape(&self, found: &Found, name: &Name, expected: &Value) -> Option<Value> {
        match (found, expected) {
            (Found::Measure(measure), Value::Number(_)) => self.number(*measure, name),
            (Found::Raw(number), Value::Number(_)) => Some(json!(number)),
            (Found::Flag(flag), Value::Bool(_)) => Some(json!(flag)),
            (Found::List(measures), Value::Array(_)) => {
                measures.iter().map(|measure| self.number(*measure, name)).collect()
            }
            (Found::Value(value), expected) if alike(value, expected) => {
                Some(if same(value, expected) { expected.clone() } else { value.clone() })
            }
            (Found::Wording(any), Value::String(text)) => {
                let fits = words(text).iter().any(|word| any.contains(word));
                Some(if fits { expected.clone() } else { json!(any.join(" or ")) })
            }
            _ => None,
        }
    }

    fn number(&self, measure: Measure, name: &Name) -> Option<Value> {
        let value = match (measure, name.unit) {
            (Measure::Number(number), None)
                if name.words.last().is_some_and(|word| word == "percent" || word == "pct") =>
            {
                Some(number * 100.0)
            }
            (Measure::Number(number), _) => (!name.ends_in_unit()).then_some(number),
            (measure, Some(unit)) => unit.number(measure),
            (measure, None) => self.units.iter().find_map(|unit| unit.number(measure)),
        };
        value.map(|value| json!(value))
    }
}

/// Whether two values are of one form, so that the one could be the other.
fn alike(a: &Value, b: &Value) -> bool {
    matches!(
        (a, b),
        (Value::String(_), Value::String(_))
            | (Value::Array(_), Value::Array(_))
            | (Value::Number(_), Value::Number(_))
    )
}

/// Whether two values say the same: texts in whatever case, lists in whatever order.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::String(a), Value::String(b)) => words(a) == words(b),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().all(|member| b.contains(member))
        }
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        _ => false,
    }
}

/// How much of two names is the same; 0 for nothing.
fn closeness(alias: &[String], name: &Name) -> usize {
    [&name.base, &name.words]
        .into_iter()
        .map(|words| {
            let shared = alias.iter().filter(|word| words.contains(word)).count();
            let apart = alias.len() + words.len() - 2 * shared.min(alias.len()).min(words.len());
            if *alias == name.words {
                2_000
            } else if *alias == **words {
                1_000
            } else if shared == 0 {
                0
            } else {
                (100 * shared).saturating_sub(apart).max(1)
            }
        })
        .max()
        .unwrap_or(0)
}
