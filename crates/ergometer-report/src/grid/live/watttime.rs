//! `WattTime`, version 3 of its API: `GET /login`, then `GET /v3/forecast` of the marginal rate.

use ergometer::Result;
use serde::Deserialize;

use super::http::Http;
use super::{Basis, Reading, Secret, grid};
use crate::quantity::CarbonIntensity;

#[derive(Deserialize)]
struct Login {
    token: String,
}

#[derive(Deserialize)]
struct Forecast {
    data: Vec<Point>,
    meta: Meta,
}

#[derive(Deserialize)]
struct Point {
    point_time: String,
    value: Option<f64>,
}

#[derive(Deserialize)]
struct Meta {
    region: String,
    units: String,
}

/// The forecast of no hours ahead, which is the five minutes that are passing. Its free index is a percentile and no
/// intensity, so a subscription is needed, but for the region `CAISO_NORTH`.
pub(super) fn read(
    http: &Http<'_>,
    region: &str,
    user: &str,
    password: &Secret,
) -> Result<Reading> {
    let region = grid(region)?;
    let account = base64(format!("{user}:{}", password.0).as_bytes());
    let login: Login = http.get("/login", Some(("Authorization", format!("Basic {account}"))))?;
    let token = Secret::new(login.token)
        .map_err(|_| http.misunderstood("its token cannot be sent back"))?;
    let path = format!("/v3/forecast?region={region}&signal_type=co2_moer&horizon_hours=0");
    let forecast: Forecast =
        http.get(&path, Some(("Authorization", format!("Bearer {}", token.0))))?;
    if !forecast.meta.region.eq_ignore_ascii_case(region) {
        let other = &forecast.meta.region;
        return Err(http.misunderstood(format_args!("it is of {other}, not of {region}")));
    }
    if forecast.meta.units != "lbs_co2_per_mwh" {
        let units = &forecast.meta.units;
        return Err(http.misunderstood(format_args!("its unit is `{units}`, not pounds per MWh")));
    }
    let now = forecast.data.first().ok_or_else(|| http.silent())?;
    let pounds = now.value.ok_or_else(|| http.silent())?;
    Ok(Reading {
        intensity: CarbonIntensity::from_pounds_per_kilowatt_hour(pounds / 1e3),
        basis: Basis::Marginal,
        estimated: true,
        grid: forecast.meta.region,
        time: http.time(&now.point_time)?,
        service: http.service,
    })
}

/// Base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = (0..3).fold(0, |group, place| {
            group << 8 | usize::from(chunk.get(place).copied().unwrap_or(0))
        });
        for place in 0..4 {
            let letter = LETTERS[group >> (18 - 6 * place) & 0x3f];
            text.push(if place <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_that_of_the_rfc() {
        // RFC 4648, section 10.
        for (text, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(text.as_bytes()), coded);
        }
    }
}
