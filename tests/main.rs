//! One test binary for everything that needs more than one module: linking once is faster than linking ten times.

#![expect(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a test that fails may panic, and its sizes are small"
)]

mod lab;
mod made;
mod stub;

// The rules of the house.
mod tidy;

// What is made of logs, and the command.
mod cli;
mod comparison;
mod course;
mod doctor;
mod equal_quality;
mod grid;
mod laws;
mod page;
mod papers;
mod worth;

// Whole machines.
mod drivers;
mod machine;
mod machines;

// Sources, on written trees and stub libraries.
mod agreement;
mod amdgpu;
mod battery;
mod gpu;
mod hwmon;
mod intel_gpu;
mod model;
mod nvml;
mod perf;
mod ranks;
mod rapl;

// What others read.
mod config;
mod exports;
mod late;
mod mlflow;
mod scrape;
mod tally;
mod tensorboard;

// The mathematics.
mod conformance;
mod sampling;
mod series;

// What other meters expect, and where they go wrong.
mod peers;

// Devices that run behind the host.
mod device;

// What could go wrong in long runs.
mod budget;
mod faults;
mod guard;
mod history;
mod troubles;

// Runs, on fake sensors and a fake clock.
mod log;
mod run;
mod scope;
