//! [`Sci`]: the parts of a Software Carbon Intensity.

use std::fmt;

use ergometer::Result;
use ergometer_report::History;
use ergometer_report::analysis::embodied::{Embodied, Range};
use ergometer_report::quantity::Co2e;
use ergometer_report::site::Site;
use serde_json::{Value, json};

use super::evidence::Evidence;

/// The parts of the Software Carbon Intensity of runs, `SCI = ((E × I) + M) per R` (ISO/IEC 21031:2024): energy in **kWh**,
/// intensity in **g/kWh**, emissions in **grams** of CO2 equivalent.
///
/// `O` is E × I, with the facility's overhead in E. Each functional unit R that a log counts has its figures: the run, its
/// epochs, steps, samples, tokens. `M_g` and `sci_g` go from the lowest to the highest factor of the hardware's manufacture, with
/// the devices and their sources in `M_source`, their `service_life`, and the `time_share` of it that the run had; the
/// uncertainty of O stands beside O and is not in them. Without the embodied emissions M there is no score: `sci_g` is missing
/// then. A `note` says which. The standard has no file format; this is JSON with a list of runs. Compensation lowers nothing.
#[derive(Clone, Debug)]
pub struct Sci {
    runs: Value,
}

impl Sci {
    /// The parts for runs at a place; `embodied` is M for each of them, where it is known.
    ///
    /// # Errors
    /// A run whose energy is not known, and a place whose carbon intensity is not known.
    pub fn of(
        runs: &[History],
        site: &Site,
        embodied: impl Fn(&History) -> Result<Option<Embodied>>,
    ) -> Result<Sci> {
        let runs: Result<Vec<Value>> =
            runs.iter().map(|run| parts(&Evidence::of(run, site)?, embodied(run)?)).collect();
        Ok(Sci { runs: runs?.into() })
    }
}

/// The list as JSON.
impl fmt::Display for Sci {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:#}", self.runs)
    }
}

fn parts(run: &Evidence<'_>, embodied: Option<Embodied>) -> Result<Value> {
    let (operation, intensity) = run.emissions("a Software Carbon Intensity")?;
    let end = &run.history.summary.end;
    let mut parts = json!({
        "run_id": run.history.summary.manifest.run_id,
        "name": run.history.name(),
        "E_kwh": run.facility().as_kilowatt_hours(),
        "it_energy_kwh": run.energy.as_kilowatt_hours(),
        "pue": run.site.pue.value.ratio(),
        "pue_source": run.site.pue.source,
        "I_g_per_kwh": intensity.value.as_grams_per_kilowatt_hour(),
        "I_source": intensity.source,
        "O_g": operation.as_grams(),
        "energy": run.how(),
        "quality": end.quality,
        "source": run.source(),
    });
    if let Some(expanded) = run.facility_expanded() {
        parts["E_expanded_uncertainty_kwh"] = expanded.as_kilowatt_hours().into();
        parts["coverage_factor"] = 2.into();
    }
    if let Some(expanded) = run.carbon_expanded() {
        parts["O_expanded_uncertainty_g"] = expanded.as_grams().into();
    }
    match &embodied {
        Some(Embodied { parts: devices, time, life, range, .. }) => {
            parts["M_g"] = json!({ "low": range.low.as_grams(), "high": range.high.as_grams() });
            parts["M_source"] = json!(devices);
            parts["service_life"] = json!(life);
            let used = life.lifetime.as_secs_f64() * life.utilisation;
            parts["time_share"] = (time.as_secs_f64() / used).into();
            parts["note"] = SPAN.into();
        }
        None => {
            parts["note"] =
                "M is not given, so there is no score; O is the part of operation".into();
        }
    }
    if let Some(caveat) = run.caveat() {
        parts["caveat"] = caveat.into();
    }
    let units = [
        ("run", Some(1)),
        ("epoch", end.epochs),
        ("step", end.steps),
        ("sample", end.samples),
        ("token", end.tokens),
    ];
    let known = units
        .into_iter()
        .filter_map(|(unit, count)| Some((unit, count.filter(|count| *count > 0)?)));
    let embodied = embodied.map(|embodied| embodied.range);
    parts["R"] = known.map(|(unit, count)| per(unit, count, run, operation, embodied)).collect();
    Ok(parts)
}

const SPAN: &str = "M_g and sci_g go from the lowest to the highest known factor of manufacture, with this service life; \
                    the uncertainty of the energy, O_expanded_uncertainty_g, comes on top";

/// The figures for one functional unit, of which a run has so many.
#[expect(clippy::cast_precision_loss, reason = "a count, to fifteen digits")]
fn per(
    unit: &str,
    count: u64,
    run: &Evidence<'_>,
    operation: Co2e,
    embodied: Option<Range>,
) -> Value {
    let share = |mass: Co2e| mass.as_grams() / count as f64;
    let mut figures = json!({
        "unit": unit,
        "count": count,
        "E_kwh": run.facility().as_kilowatt_hours() / count as f64,
        "O_g": share(operation),
    });
    if let Some(expanded) = run.carbon_expanded() {
        figures["O_expanded_uncertainty_g"] = share(expanded).into();
    }
    if let Some(Range { low, high }) = embodied {
        figures["sci_g"] =
            json!({ "low": share(operation + low), "high": share(operation + high) });
    }
    figures
}
