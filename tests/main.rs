//! One test binary for everything that needs more than one module: linking once is faster than linking ten times.

mod lab;
mod stub;

// Sources, on written trees and stub libraries.
mod model;
mod nvml;
mod rapl;

// Runs, on fake sensors and a fake clock.
mod log;
mod run;
