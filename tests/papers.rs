//! Published footprints, computed through the public API of `ergometer-report`.
//!
//! A file of cases gives inputs by name, what a formula makes of them (`expected`) and what the source prints
//! (`published`). Which input means what is told from its name and from the unit at its end; the test does no arithmetic
//! beyond the conversion of units that the quantities' constructors do. `ERGOMETER_CASES` names a further file.

mod inputs;
mod measure;
mod operations;
mod outputs;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use self::outputs::Outputs;

#[derive(Deserialize)]
struct Cases {
    about: About,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct About {
    #[serde(default)]
    ops: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Case {
    id: String,
    op: String,
    inputs: Map<String, Value>,
    #[serde(default)]
    expected: Map<String, Value>,
    #[serde(default)]
    published: Map<String, Value>,
}

/// A number that comes out must differ from the given one by no more than the tolerances allow; without any, by no more than
/// its own last digits.
#[derive(Deserialize)]
struct Figure {
    value: Value,
    #[serde(default)]
    abs_tol: f64,
    #[serde(default)]
    rel_tol: f64,
}

impl Figure {
    fn allows(&self, got: f64, value: f64) -> bool {
        let tolerance = self.abs_tol.max(self.rel_tol * value.abs());
        (got - value).abs() <= tolerance.max(4.0 * f64::EPSILON * value.abs())
    }

    fn check(&self, name: &str, outputs: &Outputs) -> Result<(), String> {
        let got = outputs.like(name, &self.value)?;
        if self.agrees(&got, &self.value) {
            Ok(())
        } else {
            Err(format!("{name} is {got}, not {}", self.value))
        }
    }

    fn agrees(&self, got: &Value, value: &Value) -> bool {
        match (got, value) {
            (Value::Number(got), Value::Number(value)) => {
                self.allows(got.as_f64().unwrap(), value.as_f64().unwrap())
            }
            (Value::Array(got), Value::Array(values)) => {
                got.len() == values.len()
                    && got.iter().zip(values).all(|(got, value)| self.agrees(got, value))
            }
            (got, value) => got == value,
        }
    }
}

/// What does not come out as it should, one line each.
fn faults(case: &Case) -> Vec<String> {
    let outputs = match operations::compute(&case.op, &case.inputs) {
        Ok(outputs) => outputs,
        Err(fault) => return vec![fault],
    };
    [&case.expected, &case.published]
        .into_iter()
        .flat_map(|figures| compare(figures, &outputs))
        .collect()
}

fn compare(figures: &Map<String, Value>, outputs: &Outputs) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, figure) in figures {
        if figure.get("value").is_some() {
            match serde_json::from_value::<Figure>(figure.clone()) {
                Ok(figure) => faults.extend(figure.check(name, outputs).err()),
                Err(cause) => faults.push(format!("{name}: {cause}")),
            }
        } else if let Some(figures) = figure.as_object() {
            match outputs.group(name) {
                Ok(group) => faults.extend(
                    compare(figures, group).into_iter().map(|fault| format!("{name}: {fault}")),
                ),
                Err(fault) => faults.push(fault),
            }
        } else {
            faults.push(format!("`{name}` has no value"));
        }
    }
    faults
}

fn read(path: &Path) -> Cases {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}

fn case(op: &str, inputs: &Value, expected: &Value) -> Case {
    serde_json::from_value(json!({"id": "made", "op": op, "inputs": inputs, "expected": expected}))
        .unwrap()
}

#[test]
fn papers() {
    // A relative path is from where cargo was called as a rule, which is the root rather than this package.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let further = env::var_os("ERGOMETER_CASES").map(|path| match PathBuf::from(path) {
        here if here.exists() => here,
        path => root.join(path),
    });
    let mut report = String::new();
    for path in [data("papers.json"), data("operations.json")].into_iter().chain(further) {
        let cases = read(&path).cases;
        assert!(!cases.is_empty(), "{} has no cases", path.display());
        for case in cases {
            for fault in faults(&case) {
                writeln!(report, "{} {}: {} ({fault})", path.display(), case.id, case.op).unwrap();
            }
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn every_operation_is_known_and_has_a_case() {
    let papers = read(&data("papers.json"));
    let cases: Vec<Case> =
        [papers.cases, read(&data("operations.json")).cases].into_iter().flatten().collect();
    assert_eq!(papers.about.ops.len(), 19);
    for op in papers.about.ops.keys() {
        assert!(cases.iter().any(|case| case.op == *op), "{op}");
    }
}

#[test]
fn an_unknown_operation_or_input_fails_with_its_name() {
    let inputs = json!({"training_kwh": 3, "kwh_per_inference": 1});
    let known = json!({"inferences_for_parity": {"value": 3}});
    assert_eq!(faults(&case("amortisation", &inputs, &known)), Vec::<String>::new());

    let unknown = faults(&case("divination", &inputs, &known));
    assert!(unknown.len() == 1 && unknown[0].contains("divination"), "{unknown:?}");

    let inputs = json!({"training_kwh": 3, "kwh_per_inference": 1, "moon_phase": 0.5});
    let unknown = faults(&case("amortisation", &inputs, &known));
    assert!(unknown.len() == 1 && unknown[0].contains("moon_phase"), "{unknown:?}");
}

#[test]
fn a_figure_that_does_not_come_out_fails() {
    let inputs = json!({"training_kwh": 3, "kwh_per_inference": 1});
    for wrong in [
        json!({"inferences_for_parity": {"value": 3.001, "rel_tol": 1e-4}}),
        json!({"inferences_for_parity": {"value": 3.000_000_001}}),
        json!({"inferences_for_parity": {"value": "3"}}),
        json!({"wavelength_kg": {"value": 3}}),
        json!({"inferences_for_parity": 3}),
    ] {
        assert_eq!(faults(&case("amortisation", &inputs, &wrong)).len(), 1, "{wrong}");
    }
}
