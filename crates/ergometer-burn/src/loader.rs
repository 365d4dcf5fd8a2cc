//! Burn's data loaders, wrapped: where the true boundaries of steps are.
//!
//! Burn's loop asks its loader for a batch, trains on it, and comes back for the next, all on the training thread. So a
//! step is what happens between a batch handed out and the next one asked for: the user's `TrainStep`, the learning-rate
//! schedule, the optimizer, and what the loop waits for its metrics. A metric could not know this: it runs on another
//! thread, up to two steps later.

use std::fmt;
use std::sync::Arc;

use burn_core::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn_core::data::dataset::DatasetError;
use burn_core::tensor::Device;
use ergometer::Run;

use crate::pass::{Pass, Passes, Split};

/// Wraps the data loaders of a training, so that a run measures its epochs, its steps and its validation.
///
/// A wrapped loader yields what the inner one does, in the same order; nothing about the training changes. Each batch
/// costs it a few clock reads and a push into the run's ring: no allocation, no wait.
pub trait MeteredRun {
    /// Measures a training: a pass over the loader is an epoch, and the work on each of its batches a step.
    ///
    /// Loading the data is in the epoch and in none of its steps. The epoch's samples are counted where the loader counts
    /// in items, as burn's own do. With gradient accumulation each batch is a step, and the optimizer lies in the
    /// last of its group. Split over several devices, a step is the shards' batches of the same number together, and an
    /// epoch their passes together. Once the run's budget is used up there are no more batches.
    #[must_use = "the loader that is given back is the one to train with"]
    fn train<O: 'static>(&self, loader: Arc<dyn DataLoader<O>>) -> Arc<dyn DataLoader<O>>;

    /// Measures a validation apart from the training: a pass over the loader is a phase `valid` with steps of its own.
    ///
    /// It lies between two epochs, so it is in the run's energy and in no epoch's.
    #[must_use = "the loader that is given back is the one to validate with"]
    fn valid<O: 'static>(&self, loader: Arc<dyn DataLoader<O>>) -> Arc<dyn DataLoader<O>>;

    /// Measures a test: a pass over the loader is a phase `test` with steps of its own.
    #[must_use = "the loader that is given back is the one to test with"]
    fn test<O: 'static>(&self, loader: Arc<dyn DataLoader<O>>) -> Arc<dyn DataLoader<O>>;

    /// The next pass over a training loader is epoch number `epoch`, and those after it count on from there.
    ///
    /// Burn does not tell its loaders where it goes on: a training with `.checkpoint(n)` wants
    /// `run.starting_epoch(n + 1)`. Otherwise a run counts from 1, or from behind its last epoch if it was resumed.
    fn starting_epoch(&self, epoch: usize);
}

impl MeteredRun for Run {
    fn train<O: 'static>(&self, loader: Arc<dyn DataLoader<O>>) -> Arc<dyn DataLoader<O>> {
        metered(self, Split::Train, loader)
    }

    fn valid<O: 'static>(&self, loader: Arc<dyn DataLoader<O>>) -> Arc<dyn DataLoader<O>> {
        metered(self, Split::Valid, loader)
    }

    fn test<O: 'static>(&self, loader: Arc<dyn DataLoader<O>>) -> Arc<dyn DataLoader<O>> {
        metered(self, Split::Test, loader)
    }

    fn starting_epoch(&self, epoch: usize) {
        Passes::of(self).starting_epoch(epoch as u64);
    }
}

fn metered<O: 'static>(
    run: &Run,
    split: Split,
    inner: Arc<dyn DataLoader<O>>,
) -> Arc<dyn DataLoader<O>> {
    let passes = Passes::of(run);
    let (loader, shard) = (passes.number(), passes.number());
    Arc::new(MeteredLoader { inner, passes, split, loader, shard })
}

struct MeteredLoader<O> {
    inner: Arc<dyn DataLoader<O>>,
    passes: Arc<Passes>,
    split: Split,
    /// The same for all loaders that were made from one.
    loader: u64,
    /// Another for each of them.
    shard: u64,
}

impl<O: 'static> MeteredLoader<O> {
    fn derive(&self, inner: Arc<dyn DataLoader<O>>) -> Arc<dyn DataLoader<O>> {
        let passes = Arc::clone(&self.passes);
        let shard = passes.number();
        Arc::new(MeteredLoader { inner, passes, split: self.split, loader: self.loader, shard })
    }
}

impl<O: 'static> DataLoader<O> for MeteredLoader<O> {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<O> + 'a> {
        // The pass begins before the inner loader does: shuffling and prefetching are part of it.
        let pass = self.passes.begin(self.split, self.loader, self.shard);
        let inner = self.inner.iter();
        Box::new(MeteredBatches { inner, passes: &self.passes, pass, batches: 0, whole: false })
    }

    fn num_items(&self) -> usize {
        self.inner.num_items()
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<O>> {
        self.derive(self.inner.to_device(device))
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<O>> {
        self.derive(self.inner.slice(start, end))
    }
}

/// One shard's pass. The window closes when burn lets go of it, by whatever way it leaves its loop.
struct MeteredBatches<'a, O> {
    inner: Box<dyn DataLoaderIterator<O> + 'a>,
    passes: &'a Passes,
    /// None where the budget was used up before the pass.
    pass: Option<Arc<Pass>>,
    batches: u64,
    whole: bool,
}

impl<O> Iterator for MeteredBatches<'_, O> {
    type Item = Result<O, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let pass = self.pass.as_ref()?;
        if !pass.ask(self.batches) {
            return None;
        }
        let item = self.inner.next();
        match &item {
            Some(Ok(_)) => {
                pass.hand_out(self.batches);
                self.batches += 1;
            }
            Some(Err(_)) => {}
            None => self.whole = true,
        }
        item
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // A budget may end it early.
        (0, self.inner.size_hint().1)
    }
}

impl<O> DataLoaderIterator<O> for MeteredBatches<'_, O> {
    fn progress(&self) -> Progress {
        self.inner.progress()
    }
}

impl<O> Drop for MeteredBatches<'_, O> {
    fn drop(&mut self) {
        let Some(pass) = self.pass.take() else { return };
        // Someone else's loader is not asked anything while a panic passes: a second one would abort the process.
        let items = if std::thread::panicking() { None } else { items(&self.inner.progress()) };
        self.passes.end(&pass, self.whole, items);
    }
}

/// The samples that were handed out, where the loader counts them and not something else.
fn items(progress: &Progress) -> Option<u64> {
    (progress.unit.as_deref() == Some("items")).then_some(progress.items_processed as u64)
}

impl<O> fmt::Debug for MeteredLoader<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeteredLoader").field("split", &self.split).finish_non_exhaustive()
    }
}
