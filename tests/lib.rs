//! The tests of the workspace, in one binary: see `main.rs` beside this file.

/// The code in the guide, compiled.
#[cfg(doctest)]
#[doc = include_str!("../docs/guide/what-will-it-cost.md")]
struct Guide;
