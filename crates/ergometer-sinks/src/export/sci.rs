//! [`Sci`]: the parts of a Software Carbon Intensity.

use std::fmt;

use ergometer::{Energy, Result};
use ergometer_report::History;
use ergometer_report::analysis::embodied::Range;
use ergometer_report::quantity::Co2e;
use ergometer_report::site::Site;
use serde_json::{Value, json};

use super::evidence::Evidence;

/// The parts of the Software Carbon Intensity of runs, `SCI = ((E × I) + M) per R` (ISO/IEC 21031:2024): energy in **kWh**,
/// intensity in **g/kWh**, emissions in **grams** of CO2 equivalent.
///
/// `O` is E × I, with the facility's overhead in E. Each functional unit R that a log counts has its figures: the run, its
/// epochs, steps, samples, tokens. Without the embodied emissions M there is no score: `sci_g` is missing then, and a `note`
/// says why. The standard has no file format; this is JSON with a list of runs. Compensation lowers nothing.
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
        embodied: impl Fn(&History) -> Result<Option<Range>>,
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

fn parts(run: &Evidence<'_>, embodied: Option<Range>) -> Result<Value> {
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
    match embodied {
        Some(Range { low, high }) => parts["M_g"] = json!([low.as_grams(), high.as_grams()]),
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
    parts["R"] =
        known.map(|(unit, count)| per(unit, count, operation, run.facility(), embodied)).collect();
    Ok(parts)
}

/// The figures for one functional unit, of which a run has so many.
#[expect(clippy::cast_precision_loss, reason = "a count, to fifteen digits")]
fn per(unit: &str, count: u64, operation: Co2e, energy: Energy, embodied: Option<Range>) -> Value {
    let share = |mass: Co2e| mass.as_grams() / count as f64;
    let mut figures = json!({
        "unit": unit,
        "count": count,
        "E_kwh": energy.as_kilowatt_hours() / count as f64,
        "O_g": share(operation),
    });
    if let Some(Range { low, high }) = embodied {
        figures["sci_g"] = json!([share(operation + low), share(operation + high)]);
    }
    figures
}
