//! The Carbon Intensity API of Great Britain: `GET /intensity`.

use ergometer::Result;
use serde::Deserialize;

use super::http::Http;
use super::{Basis, Reading};
use crate::quantity::CarbonIntensity;

#[derive(Deserialize)]
struct Answer {
    data: Vec<HalfHour>,
}

#[derive(Deserialize)]
struct HalfHour {
    from: String,
    intensity: Intensity,
}

#[derive(Deserialize)]
struct Intensity {
    actual: Option<f64>,
    forecast: Option<f64>,
}

/// The half hour that is passing; what it came to or, where that is not known yet, its forecast. Imports count, and what
/// power stations emit while they run, as the API's methodology says.
pub(super) fn read(http: &Http<'_>) -> Result<Reading> {
    let answer: Answer = http.get("/intensity", None)?;
    let now = answer.data.first().ok_or_else(|| http.silent())?;
    let size = now.intensity.actual.or(now.intensity.forecast).ok_or_else(|| http.silent())?;
    Ok(Reading {
        intensity: CarbonIntensity::from_grams_per_kilowatt_hour(size),
        basis: Basis::Direct,
        estimated: now.intensity.actual.is_none(),
        grid: "Great Britain".to_owned(),
        time: http.time(&now.from)?,
        service: http.service,
    })
}
