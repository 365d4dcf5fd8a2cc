//! Electricity Maps, version 3 of its API: `GET /v3/carbon-intensity/latest`.

use ergometer::Result;
use serde::Deserialize;

use super::http::Http;
use super::{Basis, Reading, Secret, grid};
use crate::quantity::CarbonIntensity;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Latest {
    zone: String,
    carbon_intensity: Option<f64>,
    datetime: String,
    emission_factor_type: Option<String>,
    is_estimated: Option<bool>,
}

pub(super) fn read(http: &Http<'_>, zone: &str, token: &Secret) -> Result<Reading> {
    // Without the last parameter, a zone that is not known is silently taken for the caller's own.
    let path = format!(
        "/v3/carbon-intensity/latest?zone={}&emissionFactorType=lifecycle&disableCallerLookup=true",
        grid(zone)?
    );
    let latest: Latest = http.get(&path, Some(("auth-token", token.0.clone())))?;
    if !latest.zone.eq_ignore_ascii_case(zone) {
        return Err(http.misunderstood(format_args!("it is of {}, not of {zone}", latest.zone)));
    }
    let basis = match latest.emission_factor_type.as_deref() {
        None | Some("lifecycle") => Basis::LifeCycle,
        Some("direct") => Basis::Direct,
        Some(other) => return Err(http.misunderstood(format_args!("its factors are `{other}`"))),
    };
    let size = latest.carbon_intensity.ok_or_else(|| http.silent())?;
    Ok(Reading {
        intensity: CarbonIntensity::from_grams_per_kilowatt_hour(size),
        basis,
        estimated: latest.is_estimated.unwrap_or(false),
        grid: latest.zone,
        time: http.time(&latest.datetime)?,
        service: http.service,
    })
}
