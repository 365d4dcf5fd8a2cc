//! Joules per step and per epoch for trainings with [candle](candle_core): which GPU a [`Device`](candle_core::Device)
//! is, when it has to be waited for, and optimizers that count. The windows are [`ergometer`]'s.
//!
//! ```diff
//! +    let run = ergometer_candle::meter(&dev)?.run("cnn").start()?;
//! -    for epoch in 1..args.epochs {
//! +    for epoch in run.epochs(1..args.epochs) {
//!          …
//! -        for batch_idx in batch_idxs.iter() {
//! +        for batch_idx in run.steps(batch_idxs.iter()) {
//! ```
//!
//! That is all of it in candle's `mnist-training`. The log is in `runs/<run id>/`, also if the loop ends by an error;
//! `println!("{}", run.finish()?)` prints it as a table. In a function that returns candle's `Result`, errors go through
//! `.map_err(candle_core::Error::wrap)?`.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use candle_core::{DType, Device, Tensor};
//! use candle_nn::{Module, Optimizer, SGD, VarBuilder, VarMap};
//!
//! let device = Device::cuda_if_available(0)?;
//! let variables = VarMap::new();
//! let model = candle_nn::linear(8, 2, VarBuilder::from_varmap(&variables, DType::F32, &device))?;
//! let mut optimizer = SGD::new(variables.all_vars(), 0.1)?;
//! let batches = vec![Tensor::ones((16, 8), DType::F32, &device)?; 10];
//!
//! let meter = ergometer_candle::meter(&device)?;
//! let run = meter.run("linear").parameters(18).sync_every(5).start()?;
//! for _epoch in run.epochs(1..=3) {
//!     for batch in run.steps(&batches).samples(16) {
//!         optimizer.backward_step(&model.forward(batch)?.sqr()?.mean_all()?)?;
//!     }
//!     let _evaluation = run.phase("eval");              // known apart from the training; optional
//!     run.metric("loss", model.forward(&batches[0])?.sqr()?.mean_all()?.to_scalar::<f32>()?.into());
//! }
//! println!("{}", run.finish()?);
//! # Ok(())
//! # }
//! ```
//!
//! # What is measured
//! The GPUs that the program trains on, the processor and the memory: gross, as the sensors of the machine see them, and
//! so with what other programs use meanwhile. [`meter`] says which GPUs are left out.
//!
//! # What is waited for
//! A GPU works behind its host: when a loop's body ends, its work may only have been asked for. The meter waits for the
//! device ([`Device::synchronize`](candle_core::Device::synchronize), on the training thread) where epochs and phases
//! open and close, and at the run's end. So epochs, phases and the run are those of the work done in them. Nothing waits
//! within an epoch, and the overlap of host and GPU stays what it is. The run's manifest says what was waited for.
//!
//! Step boundaries are host times then. A loop that reads a value back each step (`to_scalar`, `to_vec0`) waits there
//! anyway, and its steps are true. In a loop that does not, a step's energy is what the GPU used *while the step was asked
//! for*, shifted by what was in the queue; sums over many steps are right. Where that is not enough:
//! * [`RunBuilder::sync_every`](ergometer::RunBuilder::sync_every)`(n)` waits at every n-th step too, at the price of the
//!   overlap there. A loop without epochs should have it, with an `n` of some seconds of work;
//! * with the feature `cuda`, `builder_with_events` takes step boundaries from the GPU itself, without waiting.
//!
//! A wait spins, which costs processor energy, and the stream of a CUDA graph must not be waited for while it is being
//! captured: keep epochs and phases out of a capture, or use the feature `cuda`, which looks first.
//!
//! On the CPU candle's operations are done when they return, and nothing is waited for.
//!
//! # Threads
//! Windows belong to a lane, not to a thread: a loop inside `Device::Cpu.with_context(|| …)` runs on another thread and is
//! measured all the same. Threads that train at once take a lane each, [`Run::lane`](ergometer::Run::lane); so do the
//! ranks of several processes a [`rank`](ergometer::RunBuilder::rank).
//!
//! # Loops of other shapes
//! `steps(…).every(k)` for accumulated gradients; guards (`run.step()`) for `while` and `loop`; [`Metered`] where the
//! update itself is the step; steps without epochs for loops that never end. `?`, `break` and panics close their windows,
//! whose status says how they ended; only a guard that is left by `?` is like one that is left at its end.
//!
//! # Features
//! None by default, and none of candle's backends: the program that trains chooses. `cuda` turns on `candle-core/cuda`,
//! and is needed for `builder_with_events` alone.

mod device;
#[cfg(feature = "cuda")]
mod events;
mod fence;
mod optimizer;

pub use device::{builder, builder_of, meter, meter_of};
#[cfg(feature = "cuda")]
pub use events::builder_with_events;
pub use optimizer::Metered;
