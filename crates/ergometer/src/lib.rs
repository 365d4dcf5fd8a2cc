//! An ergometer measures the work done in training. This one measures the **energy** that a Rust program spends training
//! a model: inside the process, per step and per epoch, on GPU and CPU, with an error bar on every number.
//!
//! ```no_run
//! # fn train(_: &u32) {}
//! # fn evaluate() -> f64 { 0.9 }
//! # let batches = vec![1, 2, 3];
//! use ergometer::Meter;
//!
//! let meter = Meter::detect()?;                                   // what can be read here, and why the rest cannot
//! let run = meter.run("mlp-128").parameters(101_770).start()?;    // runs/<run id>/
//! for _epoch in run.epochs(1..=10) {
//!     for batch in run.steps(&batches) {
//!         train(batch);
//!     }
//!     run.metric("accuracy", evaluate());                         // belongs to the innermost open window
//! }
//! println!("{}", run.finish()?);                                  // a table; the log is already on disk
//! # Ok::<(), ergometer::Error>(())
//! ```
//!
//! # The nouns, in the order in which the data flows
//! * a [`Sensor`](sensor::Sensor) gives an energy counter or a power gauge of one [`Domain`](sensor::Domain): a GPU, a
//!   CPU package, memory;
//! * a [`Series`](series::Series) is the energy of one sensor as a function of time;
//! * a *window* is a step, an epoch, a phase or the run: what lies between two boundaries on a training thread's [`Lane`];
//! * a [`Record`] is what a window became: an energy with its uncertainty, provenance and quality;
//! * the [`log`] is a directory for each run, of one JSON object a line.
//!
//! # What is measured
//! NVIDIA GPUs by their energy counters, CPU packages and memory by RAPL; where a counter is missing, CPU and memory by a
//! model, which is always said: an estimate is never printed like a measurement. The energy is gross, that of the whole
//! machine as far as its sensors see it. Every number has a standard uncertainty beside it.
//!
//! # What is not
//! Power supplies, fans, disks and network have no sensor in the machine; each run's log lists what it did not see.
//!
//! # Cost
//! A step boundary is one or two clock reads and a push into a ring: no allocation, no lock that IO could hold, no wait
//! for a driver. Reading, settling and writing happen on background threads.

pub mod clock;
pub mod error;
pub mod log;
pub mod record;
pub mod sensor;
pub mod series;
pub mod units;

mod activity;
mod agreement;
mod attribution;
mod baseline;
mod calls;
mod channel;
mod contention;
mod cpu_time;
mod lane;
mod mark;
mod meter;
mod observer;
mod pace;
mod recorder;
mod run;
mod sampler;
mod share;
mod summary;
mod trial;
mod windows;

pub use baseline::{Baseline, Idle};
pub use clock::{Clock, FakeClock};
pub use error::{Error, Result};
pub use lane::{DeviceClock, Fence, Lane, Opened};
pub use log::RunLog;
pub use meter::{Meter, MeterBuilder};
pub use observer::{Budget, Earlier, Observer, Verdict};
pub use record::{Estimate, Kind, Quality, Record, Status};
pub use run::{Records, Run, RunBuilder};
pub use summary::{EpochSum, PhaseSum, Summary};
pub use trial::Trial;
pub use units::{Energy, Power, Timestamp};
pub use windows::{Epochs, Steps, Window};
