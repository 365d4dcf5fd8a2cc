//! `éCO2mix` of RTE, as the portal ODRÉ serves it: the dataset `eco2mix-national-tr`.

use ergometer::Result;
use serde::Deserialize;

use super::http::Http;
use super::{Basis, Reading};
use crate::quantity::CarbonIntensity;

#[derive(Deserialize)]
struct Answer {
    results: Vec<Record>,
}

#[derive(Deserialize)]
struct Record {
    date_heure: String,
    taux_co2: Option<f64>,
}

/// The last quarter hour that has a value; the others of the day are there already, and empty.
const PATH: &str = "/api/explore/v2.1/catalog/datasets/eco2mix-national-tr/records\
    ?select=date_heure,taux_co2&where=taux_co2%20is%20not%20null&order_by=date_heure%20desc&limit=1";

/// Figures in real time are telemetry completed by estimates, and consolidated later: they count as estimated.
pub(super) fn read(http: &Http<'_>) -> Result<Reading> {
    let answer: Answer = http.get(PATH, None)?;
    let last = answer.results.first().ok_or_else(|| http.silent())?;
    let size = last.taux_co2.ok_or_else(|| http.silent())?;
    Ok(Reading {
        intensity: CarbonIntensity::from_grams_per_kilowatt_hour(size),
        basis: Basis::Direct,
        estimated: true,
        grid: "France".to_owned(),
        time: http.time(&last.date_heure)?,
        service: http.service,
    })
}
