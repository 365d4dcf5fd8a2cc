//! Burn's own metrics in the run's log, and so with all who read it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use burn_train::logger::{FileMetricLogger, MetricLogger};
use burn_train::metric::store::{EpochSummary, MetricsUpdate, Split as BurnSplit};
use burn_train::metric::{MetricDefinition, MetricId, NumericEntry};
use ergometer::Run;

use crate::pass::{Passes, Split};

/// Tells the run what burn's metrics came to in each epoch, and keeps burn's own files.
///
/// ```no_run
/// # use burn::train::{LearnerModel, SupervisedTraining};
/// # use ergometer_burn::MetricLog;
/// # fn with_metrics<M: LearnerModel>(run: &ergometer::Run, training: SupervisedTraining<M>) -> SupervisedTraining<M> {
/// training.with_metric_logger(MetricLog::new(run, "burn"))        // the directory of `SupervisedTraining::new`
/// # }
/// ```
///
/// The run's epochs get the metrics `train/Loss`, `valid/Accuracy` and so on, by burn's names and in burn's units: what burn
/// writes as final into its own files. Burn computes them on its metric thread, after the epoch's window has closed and mostly after
/// its line has been written. So they are events `metrics` of the run's log, with the epoch's number; reports, comparisons and
/// sinks take them as the epoch's. Values of single batches stay in burn's files, for the same reason: they come when their steps
/// are over. `Energy` and `Power` are left out, since the run has them.
///
/// Burn writes its files only as long as no logger is registered, and early stopping reads them; so this one writes them too.
pub struct MetricLog {
    file: FileMetricLogger,
    passes: Arc<Passes>,
    names: HashMap<MetricId, String>,
    /// The training passes that burn has reported the end of, or that came before.
    trained: u64,
    /// The run's number of the last of them.
    epoch: Option<u64>,
    /// What came to its end, by split.
    last: BTreeMap<String, f64>,
}

impl MetricLog {
    /// For one training that is measured by `run`, and whose directory this is. The loaders have to be the run's
    /// ([`MeteredRun`](crate::MeteredRun)).
    pub fn new(run: &Run, directory: impl AsRef<Path>) -> MetricLog {
        let passes = Passes::of(run);
        MetricLog {
            file: FileMetricLogger::new(directory),
            trained: passes.begun(Split::Train),
            passes,
            names: HashMap::new(),
            epoch: None,
            last: BTreeMap::new(),
        }
    }
}

impl MetricLogger for MetricLog {
    fn log(&mut self, update: MetricsUpdate, epoch: usize, split: &BurnSplit) {
        for numeric in &update.entries_numeric {
            let entry = &numeric.entry;
            let Some(NumericEntry::Final(value)) = numeric.numeric_entry else { continue };
            if let Some(name) = self.names.get(&entry.metric_id)
                && !entry.serialized_entry.is_not_available()
            {
                self.last.insert(format!("{split}/{name}"), value);
            }
        }
        self.file.log(update, epoch, split);
    }

    fn read_numeric(
        &mut self,
        name: &str,
        epoch: usize,
        split: &BurnSplit,
    ) -> Result<Vec<NumericEntry>, String> {
        self.file.read_numeric(name, epoch, split)
    }

    fn log_metric_definition(&mut self, definition: MetricDefinition) {
        if !["Energy", "Power"].contains(&definition.name.as_str()) {
            self.names.insert(definition.metric_id.clone(), definition.name.to_string());
        }
        self.file.log_metric_definition(definition);
    }

    /// Burn calls this once where a pass ends, behind its last values.
    fn log_epoch_summary(&mut self, summary: EpochSummary) {
        if summary.split == BurnSplit::Train {
            // Burn counts from 1 also where a resumed run does not.
            self.epoch = self.passes.find(Split::Train, self.trained).and_then(|pass| pass.epoch());
            self.trained += 1;
        }
        let metrics = std::mem::take(&mut self.last);
        if let Some(epoch) = self.epoch {
            self.passes.records.epoch_metrics(epoch, metrics);
        }
        self.file.log_epoch_summary(summary);
    }
}

impl fmt::Debug for MetricLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricLog").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}
