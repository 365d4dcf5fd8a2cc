//! The subscriber of the crate `tracing` that the program has installed.

use std::collections::BTreeMap;

use ergometer::record::{Event, Manifest};
use ergometer::{Kind, Observer, Record, Verdict};
use tracing::field::{DebugValue, debug};
use tracing::{info, warn};

use crate::tally::{provenance, total};

/// Tells the program's subscriber of `tracing` of epochs, phases and the end as events, with the field names of the log.
///
/// The target is `ergometer`, the level `INFO`; what happens to sensors is a `WARN`. Fields that are not known are left out. Steps
/// are not told: there may be thousands in a second. With energies goes `provenance`: `counter`, `integrated-power`, or `model` where a
/// model stands for a part of the total; what the program measured is one field `metrics`.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Tracing {
    provenance: Option<&'static str>,
}

impl Tracing {
    /// On the global subscriber.
    pub fn new() -> Tracing {
        Tracing::default()
    }
}

impl Observer for Tracing {
    fn name(&self) -> &str {
        "tracing"
    }

    fn began(&mut self, manifest: &Manifest) {
        self.provenance = provenance(manifest);
        let (run, name) = (manifest.run_id.as_str(), manifest.name.as_str());
        info!(target: "ergometer", run_id = run, name = name, "a run began");
    }

    fn settled(&mut self, window: &Record) -> Verdict {
        let what = match window.kind {
            Kind::Step => return Verdict::GoOn,
            Kind::Epoch => "epoch",
            Kind::Phase => "phase",
            Kind::End => "end",
        };
        let total = total(window);
        info!(
            target: "ergometer",
            run_id = window.run_id.as_str(),
            kind = what,
            epoch = window.epoch,
            phase = window.phase.as_deref(),
            "energy_j" = window.energy.map(|energy| energy.as_joules()),
            "u_j" = window.uncertainty.map(|uncertainty| uncertainty.as_joules()),
            quality = %window.quality,
            duration_s = window.duration.as_secs_f64(),
            "total_j" = total.map(|total| total.as_joules()),
            provenance = total.and(self.provenance),
            metrics = known(&window.metrics),
            "{what} settled"
        );
        Verdict::GoOn
    }

    fn happened(&mut self, event: &Event) {
        if let Some(metrics) = known(&event.metrics) {
            info!(
                target: "ergometer",
                run_id = event.run_id.as_str(),
                kind = "metrics",
                epoch = event.epoch,
                metrics = metrics,
                "metrics of an epoch became known"
            );
            return;
        }
        warn!(
            target: "ergometer",
            run_id = event.run_id.as_str(),
            event = event.event.as_str(),
            domain = event.domain.as_deref(),
            detail = event.detail.as_deref(),
            "something happened"
        );
    }
}

/// What the program measured, as one field: the names of fields are fixed.
fn known(metrics: &BTreeMap<String, f64>) -> Option<DebugValue<&BTreeMap<String, f64>>> {
    (!metrics.is_empty()).then(|| debug(metrics))
}
