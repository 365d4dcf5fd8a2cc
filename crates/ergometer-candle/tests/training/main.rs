//! Small candle models trained on the CPU, in loops of every shape, under a sensor of constant power.
//!
//! The trainings are real; their time is a fake clock's, so that every boundary is known to the nanosecond. Whatever the
//! loop does, the windows of its log have to be closed, to lie within each other, and to add up exactly.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails by a panic too")]

mod adapter;
mod exits;
mod fences;
mod gym;
mod mnist;
mod optimizers;
mod shapes;
mod threads;
