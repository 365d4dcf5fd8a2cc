//! What the example programs share: real data, first weights, and the number of threads.
//!
//! Nothing here knows the meter: the programs themselves show how it is put into a training.

pub mod digits;
pub mod idx;
pub mod images;
pub mod perceptron;
pub mod seed;
pub mod text;
pub mod threads;

/// A result whose error names the file and the place in it.
pub type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// The code in the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
