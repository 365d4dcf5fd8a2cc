//! What measuring costs, of which a run's record tells.

use std::sync::Arc;
use std::time::Duration;

use crate::calls::Calls;
use crate::channel::Channel;
use crate::clock::Clock;
use crate::record::Cost;

/// What the samplers had used at some moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Expense {
    calls: Vec<Calls>,
    processor: Duration,
}

impl Expense {
    pub(super) fn of(channels: &[Arc<Channel>]) -> Self {
        let calls = channels.iter().map(|channel| channel.told().calls.clone()).collect();
        let processor = channels.iter().map(|channel| channel.told().processor).sum();
        Expense { calls, processor }
    }

    /// What was used since, and by the calling thread, the recorder of one run.
    pub(super) fn since(&self, channels: &[Arc<Channel>], clock: &Clock) -> Cost {
        let now = Expense::of(channels);
        let pairs = now.calls.iter().zip(&self.calls);
        let calls = pairs.fold(Calls::default(), |sum, (now, before)| sum.and(&now.since(before)));
        Cost {
            processor: now.processor.saturating_sub(self.processor) + clock.processor_time(),
            reads: calls.good,
            failed: calls.failed,
            median: calls.percentile(0.5),
            slowest: calls.percentile(0.99),
        }
    }
}
