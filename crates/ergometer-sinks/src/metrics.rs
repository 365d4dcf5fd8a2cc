//! The recorder of the crate `metrics` that the program has installed.

use std::collections::BTreeSet;
use std::time::Duration;

use ergometer::record::{Event, Manifest};
use ergometer::{Earlier, Kind, Observer, Record, Summary, Timestamp, Verdict};
use metrics::{Label, counter, gauge};

use crate::prometheus::name_of;
use crate::tally::Tally;

/// Tells the program's recorder of `metrics` where the run stands, once a second and behind each epoch, under Prometheus's names.
///
/// Counters of that crate are whole numbers, so that energies are whole joules, rounded down; all else is a gauge. One that is no
/// longer known, such as a power when the run is over, becomes NaN: that crate has no way to take it back.
#[derive(Debug, Default)]
pub struct Metrics {
    tally: Tally,
    told: Option<Timestamp>,
    /// The gauges that have a value.
    gauges: BTreeSet<(String, Vec<Label>)>,
}

const EVERY: Duration = Duration::from_secs(1);

impl Metrics {
    /// On the global recorder.
    pub fn new() -> Metrics {
        Metrics::default()
    }

    fn tell(&mut self) {
        let before = std::mem::take(&mut self.gauges);
        for metric in self.tally.metrics() {
            let name = name_of(&metric);
            for point in &metric.points {
                let labels = point.attributes.iter();
                let labels: Vec<Label> = labels
                    .map(|(key, value)| Label::new(key.replace('.', "_"), value.clone()))
                    .collect();
                if metric.monotonic {
                    counter!(name.clone(), labels).absolute(whole(point.value.as_f64()));
                } else {
                    gauge!(name.clone(), labels.clone()).set(point.value.as_f64());
                    self.gauges.insert((name.clone(), labels));
                }
            }
        }
        for (name, labels) in before.difference(&self.gauges) {
            gauge!(name.clone(), labels.clone()).set(f64::NAN);
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and counters are not negative"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

impl Observer for Metrics {
    fn name(&self) -> &str {
        "metrics"
    }

    fn began(&mut self, manifest: &Manifest) {
        self.tally.began(manifest);
        self.told = None;
    }

    fn resumed(&mut self, earlier: &Earlier) {
        self.tally.resumed(earlier);
    }

    fn settled(&mut self, window: &Record) -> Verdict {
        self.tally.settled(window);
        let due = self.told.is_none_or(|told| window.end.since(told) >= EVERY);
        if due || window.kind == Kind::Epoch {
            self.told = Some(window.end);
            self.tell();
        }
        Verdict::GoOn
    }

    fn happened(&mut self, event: &Event) {
        self.tally.happened(event);
    }

    fn ended(&mut self, summary: &Summary) {
        self.tally.ended(summary);
        self.tell();
    }
}
