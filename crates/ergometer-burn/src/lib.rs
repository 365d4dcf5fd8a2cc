//! Joules per step and per epoch for trainings with [burn](burn_core): on its dashboard, in its logs, and in a log of
//! their own. The windows are [`ergometer`]'s.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use burn::data::dataloader::DataLoader;
//! # use burn::tensor::Device;
//! # use burn::train::metric::{Adaptor, LossInput, LossMetric};
//! # use burn::train::{InferenceStep, Learner, LearnerModel, LearningResult, SupervisedTraining, TrainStep};
//! use ergometer_burn::prelude::*;
//!
//! # fn train<M: LearnerModel>(
//! #     device: Device,
//! #     loader_train: Arc<dyn DataLoader<<M as TrainStep>::Input>>,
//! #     loader_valid: Arc<dyn DataLoader<<M as InferenceStep>::Input>>,
//! #     learner: Learner<M>,
//! # ) -> ergometer::Result<LearningResult<M>>
//! # where
//! #     <M as TrainStep>::Input: 'static,
//! #     <M as InferenceStep>::Input: 'static,
//! #     <M as TrainStep>::Output: Adaptor<LossInput>,
//! #     <M as InferenceStep>::Output: Adaptor<LossInput>,
//! # {
//! let run = ergometer_burn::meter(&device)?.run("cnn-32").start()?;                  // 1: runs/<run id>/
//! let training = SupervisedTraining::new("burn", run.train(loader_train), run.valid(loader_valid)) // 2: true boundaries
//!     .metrics((LossMetric::new(),))
//!     .with_energy(&run)                                                              // 3: last
//!     .num_epochs(10);
//! let result = training.launch(learner);
//! println!("{}", run.finish()?);
//! # Ok(result)
//! # }
//! ```
//!
//! # What is measured
//! * **A training pass is an epoch**, from the loader's `iter` until burn lets go of the iterator.
//! * **A step is the work on one batch**: from the batch handed out until the next one is asked for. That is the user's
//!   `TrainStep`, the learning-rate schedule, the optimizer, and whatever the loop waits for its metrics. Loading the data
//!   is in the epoch (`remainder_j`) and in no step. With gradient accumulation each batch is a step.
//! * **A validation pass is a phase** `valid`, with steps of its own, in the run's energy and in no epoch's.
//! * What lies between passes (checkpoints, early stopping) is in the run's remainder.
//!
//! Nothing is taken from burn's metrics, which run on another thread and up to two steps late. The loaders' wrappers see
//! the boundaries where they are, on the training thread, and cost a step no allocation, lock held over IO, or wait.
//!
//! # What burn shows
//! [`with_energy`](WithEnergy::with_energy) adds the metrics `Energy` (J) and `Power` (W) with their curves, with `± U`
//! (k = 2) and with the word *estimated* where a model stands in for a sensor:
//! `epoch 134 mJ ± 110 mJ estimated - step 15.6 mJ`. In burn's logs, `train/epoch-3/Energy.log` has a line for each
//! step, and a last one for the epoch that equals `energy_j` in the run's log. A step's line is provisional; a step of
//! which some sensor has told nothing yet has none.
//!
//! # Burn's metrics in the run's log
//! `.with_metric_logger(MetricLog::new(&run, "burn"))` tells the run what burn's metrics came to in each epoch (`valid/Accuracy`),
//! so that they stand in its log, in comparisons of runs, and with TensorBoard, MLflow and Prometheus. See [`MetricLog`].
//!
//! # Budgets
//! A run that was started with [`budget`](ergometer::RunBuilder::budget) hands out no more batches once the energy is used
//! up, and ends burn's loop through its `Interrupter`, with the reason. A validation that has begun is finished. The model
//! in `LearningResult` is the one trained so far. burn's terminal dashboard resets the interruption on its way out, so ask
//! [`Run::stop_reason`](ergometer::Run::stop_reason) and not `LearningResult::interrupted`.
//!
//! # GPUs
//! A GPU works behind its host. The meter waits for it (`Device::sync`, on the training thread) where passes begin and
//! end, and so epochs and phases are true. Steps are host times: burn's loop runs at most two steps ahead of a metric
//! that reads a value, such as `LossMetric`. With [`sync_every`](ergometer::RunBuilder::sync_every) every n-th step is
//! waited for too, at the price of the overlap there. CUDA devices are matched to their sensors; see [`builder`].
//!
//! # Several devices
//! Name all of them: [`meter_of`]. A step is the shards' batches of one number together: it opens with the first shard's
//! batch and closes when the first shard asks for its next. Tested here with burn's two strategies that train from one
//! thread (`OptimMainDevice`, `OptimSharded`), on CPU devices. Distributed data parallelism, with a thread for each
//! device, follows the same rule, and a budget stops all its shards at the same step; burn runs it on GPUs alone, and it
//! has not been run with this crate.
//!
//! # Loops written by hand
//! The wrapper is all: `for batch in run.train(loader).iter()` marks epochs and steps. For loops without a `DataLoader`
//! there are `run.epochs(…)` and `run.steps(…)` of [`ergometer`]; not both around one loop, or its epochs count twice.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use burn::data::dataloader::DataLoader;
//! # use burn::data::dataset::DatasetError;
//! # use ergometer::Run;
//! # fn update<B>(_: B) {}
//! use ergometer_burn::prelude::*;
//!
//! # fn train<B: 'static>(run: &Run, loader: Arc<dyn DataLoader<B>>) -> Result<(), DatasetError> {
//! let loader = run.train(loader);
//! for _epoch in 1..=10 {
//!     for batch in loader.iter() {
//!         update(batch?);
//!     }
//!     if run.is_stopped() {
//!         break; // the budget is used up
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod device;
mod loader;
mod metric;
mod metric_log;
mod pass;

pub use device::{builder, builder_of, meter, meter_of};
pub use loader::MeteredRun;
pub use metric::{EnergyMetrics, WithEnergy};
pub use metric_log::MetricLog;

/// The traits that a measured burn program needs: `use ergometer_burn::prelude::*`.
pub mod prelude {
    pub use crate::{MeteredRun, WithEnergy};
}
