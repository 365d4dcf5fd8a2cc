//! The OpenTelemetry meter that the program has set up: `hw.energy` and the others as its instruments.
//!
//! Only the API is used; who exports, and where to, is the program's choice. Two versions of the crate `opentelemetry` in one
//! program do not know each other, so this one takes whatever version from 0.30 to 0.33 the program has.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ergometer::record::{Event, Manifest};
use ergometer::{Earlier, Observer, Record, Summary, Verdict};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};

use crate::tally::{Metric, Tally};

/// Has a program's own OpenTelemetry meter tell of the run: energies as observable counters, all else as observable gauges.
///
/// One is meant for each program: the meter keeps the instruments for as long as it lives, also those of a sink that is gone, and a
/// second one would tell the same names twice. Runs that follow each other need one each and leave the last figures of those before
/// them behind; what tells them apart is `run_id`.
///
/// The instruments are asked when the program's reader collects, and have the last figures to tell behind the run's end too.
pub struct Otel(Arc<Mutex<Tally>>);

impl Otel {
    /// On this meter: `opentelemetry::global::meter("ergometer")`, or another.
    pub fn new(meter: &Meter) -> Otel {
        let tally = Arc::new(Mutex::new(Tally::default()));
        for metric in Metric::all() {
            let tally = Arc::clone(&tally);
            let (name, unit, description) = (metric.name, metric.unit, metric.description);
            let observe = move |instrument: &dyn AsyncInstrument<f64>| {
                // A copy, so that the run does not wait.
                let now = lock(&tally).clone();
                let metrics = now.metrics();
                let points = metrics.iter().filter(|metric| metric.name == name);
                for point in points.flat_map(|metric| &metric.points) {
                    let attributes: Vec<KeyValue> = point
                        .attributes
                        .iter()
                        .map(|(key, value)| KeyValue::new(*key, value.clone()))
                        .collect();
                    instrument.observe(point.value.as_f64(), &attributes);
                }
            };
            // The provider keeps the instrument; what `build` gives is a token.
            if metric.monotonic {
                let counter = meter.f64_observable_counter(name).with_unit(unit);
                let _ = counter.with_description(description).with_callback(observe).build();
            } else {
                let gauge = meter.f64_observable_gauge(name).with_unit(unit);
                let _ = gauge.with_description(description).with_callback(observe).build();
            }
        }
        Otel(tally)
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Otel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Otel").finish()
    }
}

impl Observer for Otel {
    fn name(&self) -> &str {
        "otel"
    }

    fn began(&mut self, manifest: &Manifest) {
        lock(&self.0).began(manifest);
    }

    fn resumed(&mut self, earlier: &Earlier) {
        lock(&self.0).resumed(earlier);
    }

    fn settled(&mut self, window: &Record) -> Verdict {
        lock(&self.0).settled(window)
    }

    fn happened(&mut self, event: &Event) {
        lock(&self.0).happened(event);
    }

    fn ended(&mut self, summary: &Summary) {
        lock(&self.0).ended(summary);
    }
}
