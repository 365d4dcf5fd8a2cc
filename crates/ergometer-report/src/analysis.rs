//! What a user wants to know of logged runs: one analysis in each file.
//!
//! An analysis is computed from what logs hold, says how sure it is, and refuses with the reason where the runs cannot
//! carry the answer.

pub mod amortisation;
pub mod cost;
pub mod embodied;
pub mod equivalents;
pub mod error_law;
pub mod family;
pub mod frugality;
pub mod per_unit;
pub mod places;
pub mod projection;
pub mod published;
pub mod returns;
pub mod schedule;
pub mod size_law;
pub mod time_energy;
pub mod total;
pub mod tuning;

use std::time::Duration;

use serde::Serializer;

/// A time in seconds, for JSON.
pub(crate) fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

/// A time in seconds where there is one, for JSON.
pub(crate) fn maybe_seconds<S: Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => seconds(time, serializer),
        None => serializer.serialize_none(),
    }
}
