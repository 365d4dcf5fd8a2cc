//! [`CycloneDx`]: the energy of models in a bill of materials.

use std::fmt;
use std::time::SystemTime;

use ergometer::{Energy, Result};
use ergometer_report::History;
use ergometer_report::quantity::Co2e;
use ergometer_report::site::Site;
use serde_json::{Value, json};

use super::Stage;
use super::evidence::{Evidence, written};

/// Models in a bill of materials of `CycloneDX` (ECMA-424): energies in **kWh**, emissions in **tonnes** of CO2 equivalent.
///
/// Each run is a component of type `machine-learning-model`, with the energy under `environmentalConsiderations`. The energy has
/// the facility's overhead in it, as it is what a provider delivers; which provider and from what source is not known. Beside
/// it stand properties named `ergometer:…`: the energy of the IT equipment and its uncertainty, how they came about, and
/// whether it is estimated.
#[derive(Clone, Debug)]
pub struct CycloneDx {
    bill: Value,
}

/// A version of the format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// 1.6, of 2024.
    V1_6,
    /// 1.7, of 2025.
    #[default]
    V1_7,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Version::V1_6 => "1.6",
            Version::V1_7 => "1.7",
        })
    }
}

impl CycloneDx {
    /// A bill of the models that runs made; `now` is its date.
    ///
    /// # Errors
    /// A run whose energy is not known.
    pub fn of(
        runs: &[History],
        site: &Site,
        version: Version,
        stage: Option<Stage>,
        now: SystemTime,
    ) -> Result<CycloneDx> {
        let components: Result<Vec<Value>> =
            runs.iter().map(|run| Ok(component(&Evidence::of(run, site)?, stage))).collect();
        let tool = json!({
            "type": "application",
            "name": "ergometer",
            "version": env!("CARGO_PKG_VERSION"),
        });
        Ok(CycloneDx {
            bill: json!({
                "$schema": format!("http://cyclonedx.org/schema/bom-{version}.schema.json"),
                "bomFormat": "CycloneDX",
                "specVersion": version.to_string(),
                "version": 1,
                "metadata": {
                    "timestamp": written(now, "%Y-%m-%dT%H:%M:%SZ")?,
                    "tools": { "components": [tool] },
                },
                "components": components?,
            }),
        })
    }
}

/// The bill as JSON.
impl fmt::Display for CycloneDx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:#}", self.bill)
    }
}

fn component(run: &Evidence<'_>, stage: Option<Stage>) -> Value {
    let manifest = &run.history.summary.manifest;
    let metrics = run.history.metric_names().into_iter().filter_map(|name| {
        let value = run.history.metric(name).filter(|value| value.is_finite())?;
        Some(json!({ "type": name, "value": value.to_string() }))
    });
    json!({
        "type": "machine-learning-model",
        "bom-ref": manifest.run_id,
        "name": manifest.name,
        "modelCard": {
            "quantitativeAnalysis": { "performanceMetrics": Vec::from_iter(metrics) },
            "considerations": {
                "environmentalConsiderations": { "energyConsumptions": [consumption(run, stage)] },
            },
        },
    })
}

fn consumption(run: &Evidence<'_>, stage: Option<Stage>) -> Value {
    let energy = json!({ "value": run.facility().as_kilowatt_hours(), "unit": "kWh" });
    let electricity = match &run.site.intensity {
        Some(intensity) => run.place(intensity),
        None => "electricity of unknown carbon intensity".to_owned(),
    };
    let mut consumption = json!({
        "activity": if stage == Some(Stage::FineTuning) { "fine-tuning" } else { "training" },
        "energyProviders": [{
            "description": electricity,
            "organization": {},
            "energySource": "unknown",
            "energyProvided": energy,
        }],
        "activityEnergyCost": energy,
        "properties": properties(run),
    });
    if let Some(mass) = run.carbon() {
        consumption["co2CostEquivalent"] = json!({ "value": mass.as_tonnes(), "unit": "tCO2eq" });
    }
    consumption
}

fn properties(run: &Evidence<'_>) -> Vec<Value> {
    let summary = &run.history.summary;
    let text = |value: Option<f64>| value.map(|value| value.to_string());
    let equipment = Some(run.energy.as_kilowatt_hours());
    let carbon = run.carbon_expanded().map(Co2e::as_tonnes);
    let known = [
        ("energy", Some(run.how().to_owned())),
        ("quality", Some(summary.end.quality.to_string())),
        ("source", Some(run.source())),
        ("it_energy_kwh", text(equipment)),
        ("it_expanded_uncertainty_kwh", text(run.expanded.map(Energy::as_kilowatt_hours))),
        ("expanded_uncertainty_tco2eq", text(carbon)),
        ("coverage_factor", run.expanded.map(|_| "2".to_owned())),
        ("pue", text(Some(run.site.pue.value.ratio()))),
        ("pue_source", Some(run.site.pue.source.clone())),
        ("duration_s", text(Some(summary.end.duration.as_secs_f64()))),
        ("parameters", summary.manifest.parameters.map(|count| count.to_string())),
        ("not_measured", run.unmeasured()),
        ("caveat", run.caveat()),
    ];
    let property = |(name, value): (&str, Option<String>)| {
        Some(json!({ "name": format!("ergometer:{name}"), "value": value? }))
    };
    known.into_iter().filter_map(property).collect()
}
