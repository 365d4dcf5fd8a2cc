//! Real trainings by burn, measured over sensors of constant power: what the run's log and burn's own logs say, held
//! against when the user's code really ran.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod bridge;
mod budget;
mod gym;
mod loops;
mod metrics;
mod strategies;
