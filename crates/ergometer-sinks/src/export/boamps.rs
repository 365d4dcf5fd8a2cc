//! [`BoAmps`]: a run as a report in the format of Boavizta.

use std::fmt;
use std::time::SystemTime;

use ergometer::sensor::{Hardware, Provenance};
use ergometer::{Energy, Error, Result};
use ergometer_report::History;
use ergometer_report::site::Site;
use serde_json::{Map, Value, json};

use super::Stage;
use super::evidence::{Evidence, written};

/// A run as a report in `BoAmps` 1.1, the format of Boavizta for the energy of tasks of artificial intelligence: energy in
/// **kWh** (in `powerConsumption`), lengths of time in seconds, dates in UTC.
///
/// A log does not know the task, the data and the kind of infrastructure, which the format asks for; these come from a template,
/// a report that holds just them. What the template says stands; what it leaves out is filled in from the log as far as the log
/// knows. The energy is that of the IT equipment, as the format has no place for a facility's overhead. That it is estimated is
/// said in `measurementMethod`, its uncertainty in `taskDescription`, and `quality` follows from it.
#[derive(Clone, Debug)]
pub struct BoAmps {
    report: Value,
}

/// The least that a template says.
const TEMPLATE: &str = r#"{"task": {"taskFamily": "image classification", "dataset": [{"dataUsage": "input", "dataType": "image"}]}, "infrastructure": {"infraType": "onPremise"}}"#;

/// The least that a report says, and what the schemas of 1.1.0 allow there.
const REQUIRED: [(&str, &[&str]); 2] = [
    ("/task/taskFamily", &[]),
    ("/infrastructure/infraType", &["publicCloud", "privateCloud", "onPremise", "other"]),
];

const USAGES: &[&str] = &["input", "output"];
const TYPES: &[&str] =
    &["tabular", "audio", "boolean", "image", "video", "object", "text", "token", "word", "other"];

impl BoAmps {
    /// The report of a run, with what `template` says of it; `now` is the date of the report.
    ///
    /// # Errors
    /// None or several runs, an energy that is not known, and a template that does not say what the format asks for or
    /// measures by itself.
    pub fn of(
        runs: &[History],
        site: &Site,
        template: Value,
        stage: Option<Stage>,
        now: SystemTime,
    ) -> Result<BoAmps> {
        let run = Evidence::of_one(runs, site, "a BoAmps report")?;
        let Value::Object(mut report) = template else { return Err(wrong("it is no object")) };
        if report.contains_key("measures") {
            return Err(wrong("it has `measures`, which are what the log tells"));
        }
        fill(&mut report, known(&run, stage, now)?);
        let report = Value::Object(report);
        check(&report)?;
        Ok(BoAmps { report })
    }
}

/// The report as JSON.
impl fmt::Display for BoAmps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:#}", self.report)
    }
}

fn wrong(why: impl fmt::Display) -> Error {
    Error::invalid(format!("the template of the BoAmps report: {why}"))
        .cure(format!("give what the log cannot know, at least as in {TEMPLATE}"))
}

/// Refuses a report that says less than the format asks for.
fn check(report: &Value) -> Result<()> {
    for (place, words) in REQUIRED {
        word(report, place, words)?;
    }
    let data = report.pointer("/task/dataset").and_then(Value::as_array);
    let Some(data) = data.filter(|data| !data.is_empty()) else {
        return Err(wrong("`/task/dataset` is no list of data"));
    };
    for place in 0..data.len() {
        word(report, &format!("/task/dataset/{place}/dataUsage"), USAGES)?;
        word(report, &format!("/task/dataset/{place}/dataType"), TYPES)?;
    }
    let parts = report.pointer("/infrastructure/components").and_then(Value::as_array);
    if parts.is_none_or(Vec::is_empty) {
        return Err(wrong("`/infrastructure/components` is missing, and no sensor names any"));
    }
    Ok(())
}

fn word(report: &Value, place: &str, words: &[&str]) -> Result<()> {
    match report.pointer(place) {
        None => Err(wrong(format_args!("`{place}` is missing"))),
        Some(Value::String(word)) if !words.is_empty() && !words.contains(&word.as_str()) => {
            Err(wrong(format_args!("`{place}` is `{word}`, and none of {}", words.join(", "))))
        }
        Some(Value::String(_)) => Ok(()),
        Some(_) => Err(wrong(format_args!("`{place}` is no text"))),
    }
}

/// Puts what is known where nothing is said yet. What belongs together, such as a framework and its version, comes from one
/// side.
fn fill(said: &mut Map<String, Value>, known: Map<String, Value>) {
    for (section, known) in known {
        match (section.as_str(), said.get_mut(&section), known) {
            (_, None, known) => _ = said.insert(section, known),
            ("header" | "infrastructure", Some(Value::Object(said)), Value::Object(known)) => {
                known.into_iter().for_each(|(key, value)| _ = said.entry(key).or_insert(value));
            }
            ("task", Some(Value::Object(task)), Value::Object(known)) => fill_task(task, known),
            _ => {}
        }
    }
}

fn fill_task(said: &mut Map<String, Value>, known: Map<String, Value>) {
    for (key, value) in known {
        match (key.as_str(), said.get_mut(&key), value) {
            (_, None, value) => _ = said.insert(key, value),
            ("algorithms", Some(Value::Array(said)), Value::Array(known)) => {
                let ([Value::Object(said)], [Value::Object(known)]) = (&mut said[..], &known[..])
                else {
                    continue;
                };
                let framed = said.contains_key("framework");
                for (key, value) in known {
                    if !(framed && key == "frameworkVersion") {
                        said.entry(key.clone()).or_insert_with(|| value.clone());
                    }
                }
            }
            _ => {}
        }
    }
}

const DATE: &str = "%Y-%m-%d %H:%M:%S";

/// What the log knows.
fn known(run: &Evidence<'_>, stage: Option<Stage>, now: SystemTime) -> Result<Map<String, Value>> {
    let manifest = &run.history.summary.manifest;
    let mut report = json!({
        "header": {
            "formatVersion": "1.1.0",
            "formatVersionSpecificationUri": "https://github.com/Boavizta/BoAmps/tree/main/model",
            "reportId": manifest.run_id,
            "reportDatetime": written(now, DATE)?,
            // It is final when whoever publishes it says so.
            "reportStatus": "draft",
        },
        "task": {
            "taskStage": if stage == Some(Stage::FineTuning) { "finetuning" } else { "training" },
            "taskDescription": description(run),
            "algorithms": [algorithm(run)],
        },
        "measures": [measure(run)?],
        "system": system(&manifest.machine.os),
        "infrastructure": {},
    });
    let accuracy = run.history.metric("accuracy").filter(|accuracy| (0.0..=1.0).contains(accuracy));
    put(&mut report["task"], "measuredAccuracy", accuracy);
    let components = components(run);
    put(
        &mut report["infrastructure"],
        "components",
        (!components.is_empty()).then_some(components),
    );
    if manifest.framework.is_some() {
        report["software"] = json!({ "language": "rust" });
    }
    if let Some(country) = run.grid() {
        report["environment"] = json!({ "country": country.name });
        let intensity = run.site.intensity.as_ref();
        let intensity = intensity.map(|known| known.value.as_grams_per_kilowatt_hour());
        put(&mut report["environment"], "powerSourceCarbonIntensity", intensity);
    }
    put(&mut report, "quality", quality(run));
    Ok(match report {
        Value::Object(report) => report,
        _ => Map::new(),
    })
}

/// Puts what is known, and nothing where it is not.
fn put(object: &mut Value, key: &str, value: Option<impl Into<Value>>) {
    if let (Some(object), Some(value)) = (object.as_object_mut(), value) {
        object.insert(key.to_owned(), value.into());
    }
}

fn description(run: &Evidence<'_>) -> String {
    let energy = match run.expanded {
        Some(expanded) => format!("{} (k = 2)", run.energy.plus_minus(expanded)),
        None => run.energy.to_string(),
    };
    let mut text = format!("{}: {energy}, {}", run.history.name(), run.how());
    if let Some(caveat) = run.caveat() {
        text = format!("{text}; {caveat}");
    }
    if let Some(parts) = run.unmeasured() {
        text = format!("{text}. Not measured: {parts}");
    }
    format!("{text}. Times are in UTC")
}

#[expect(clippy::cast_precision_loss, reason = "billions of parameters, to fifteen digits")]
fn algorithm(run: &Evidence<'_>) -> Value {
    let summary = &run.history.summary;
    let mut algorithm = json!({});
    if let Some(framework) = &summary.manifest.framework {
        put(&mut algorithm, "framework", Some(framework.name.clone()));
        let version = Some(framework.version.clone()).filter(|version| !version.is_empty());
        put(&mut algorithm, "frameworkVersion", version);
    }
    put(
        &mut algorithm,
        "parametersNumber",
        summary.manifest.parameters.map(|count| count as f64 / 1e9),
    );
    put(&mut algorithm, "epochsNumber", summary.end.epochs.filter(|count| *count > 0));
    algorithm
}

fn measure(run: &Evidence<'_>) -> Result<Value> {
    let summary = &run.history.summary;
    let mut measure = json!({
        "measurementMethod": format!("{}, {}", run.source(), run.how()),
        "version": summary.manifest.program.ergometer,
        "powerConsumption": run.energy.as_kilowatt_hours(),
        "measurementDuration": summary.end.duration.as_secs_f64(),
    });
    put(&mut measure, "cpuTrackingMode", tracking(run, Hardware::Cpu));
    put(&mut measure, "gpuTrackingMode", tracking(run, Hardware::Gpu));
    let began = run.wall().map(|(began, _)| written(began, DATE)).transpose()?;
    put(&mut measure, "measurementDateTime", began);
    if let Some(idle) = &summary.manifest.baseline
        && let Some(energy) = run
            .sensors()
            .map(|sensor| Some(idle.domains.get(&sensor.domain.id)?.power * idle.time))
            .sum::<Option<Energy>>()
    {
        put(&mut measure, "powerCalibrationMeasurement", Some(energy.as_kilowatt_hours()));
        put(&mut measure, "durationCalibrationMeasurement", Some(idle.time.as_secs_f64()));
    }
    Ok(measure)
}

fn tracking(run: &Evidence<'_>, hardware: Hardware) -> Option<String> {
    let sensor = run.sensors().find(|sensor| sensor.domain.hardware == hardware)?;
    Some(match sensor.provenance {
        Provenance::Model => "model".to_owned(),
        Provenance::Counter | Provenance::IntegratedPower => sensor.stack.clone(),
    })
}

fn components(run: &Evidence<'_>) -> Vec<Value> {
    let kinds = [(Hardware::Gpu, "gpu"), (Hardware::Cpu, "cpu"), (Hardware::Dram, "ram")];
    let of = |(hardware, kind): (Hardware, &'static str)| {
        run.devices(hardware).into_iter().map(move |(name, count)| {
            json!({ "componentName": name, "componentType": kind, "nbComponent": count })
        })
    };
    kinds.into_iter().flat_map(of).collect()
}

/// `Linux (Debian GNU/Linux 12)` as a system and its distribution.
fn system(os: &str) -> Value {
    let mut system = Map::new();
    match os.strip_suffix(')').and_then(|os| os.split_once(" (")) {
        Some((os, distribution)) => {
            system.insert("os".to_owned(), os.into());
            system.insert("distribution".to_owned(), distribution.into());
        }
        None => _ = system.insert("os".to_owned(), os.into()),
    }
    Value::Object(system)
}

/// The grade that the format gives to an error in percent; none beyond its last.
fn quality(run: &Evidence<'_>) -> Option<&'static str> {
    let part = run.expanded?.as_joules() / run.energy.as_joules();
    [(0.10, "high"), (0.25, "medium"), (0.50, "low")]
        .into_iter()
        .find(|(most, _)| part <= *most)
        .map(|(_, grade)| grade)
}
