//! What a program's own OpenTelemetry meter, recorder of `metrics` and subscriber of `tracing` get of a run.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ergometer::sensor::fake::{Fake, Load};
use ergometer::sensor::{Domain, Hardware};
use ergometer::{FakeClock, Meter, Power, RunLog};
use ergometer_sinks::metrics::Metrics;
use ergometer_sinks::otel::Otel;
use ergometer_sinks::replay;
use ergometer_sinks::tracing::Tracing;
use tempfile::TempDir;

/// A run of two epochs of three steps of a second, at 100 W.
fn run() -> (TempDir, RunLog) {
    let (logs, hands) = (tempfile::tempdir().unwrap(), FakeClock::new());
    let domain = Domain::new(Hardware::Gpu, "GPU-0", "fake GPU");
    let sensor = Fake::counter(domain, Load::Constant(Power::from_watts(100.0)));
    let meter = Meter::builder().clock(hands.clock()).log_directory(logs.path()).sensor(sensor);
    let run = meter.build().unwrap().run("mlp").start().unwrap();
    let path = run.path().to_owned();
    for _epoch in run.epochs(1..=2) {
        for _step in run.steps(0..3) {
            hands.advance(Duration::from_secs(1));
        }
        run.metric("loss", 0.5);
    }
    run.records().epoch_metrics(2, [("valid/Accuracy".to_owned(), 0.75)]);
    run.finish().unwrap();
    (logs, RunLog::open(path).unwrap())
}

fn total(log: &RunLog) -> f64 {
    let end = log.windows(ergometer::Kind::End).unwrap().pop().unwrap();
    end.domains["gpu:GPU-0"].total.as_joules()
}

mod otel {
    use opentelemetry::metrics::{
        AsyncInstrument, AsyncInstrumentBuilder, Callback, InstrumentProvider, Meter,
        ObservableCounter, ObservableGauge,
    };
    use opentelemetry::{KeyValue, Value};

    use super::*;

    /// A provider that keeps callbacks, as an SDK does, and calls them when it is asked.
    #[derive(Default)]
    struct Provider(Mutex<Vec<(String, String, Callback<f64>)>>);

    impl Provider {
        fn keep<I>(&self, builder: AsyncInstrumentBuilder<'_, I, f64>) {
            let (name, unit) = (builder.name.to_string(), builder.unit.unwrap_or_default());
            for callback in builder.callbacks {
                self.0.lock().unwrap().push((name.clone(), unit.to_string(), callback));
            }
        }

        fn collect(&self) -> Vec<(String, String, f64, Vec<KeyValue>)> {
            let mut all = Vec::new();
            for (name, unit, callback) in self.0.lock().unwrap().iter() {
                let seen = Seen::default();
                callback(&seen);
                let points = seen.0.into_inner().unwrap();
                all.extend(
                    points
                        .into_iter()
                        .map(|(value, attributes)| (name.clone(), unit.clone(), value, attributes)),
                );
            }
            all
        }
    }

    #[derive(Default)]
    struct Seen(Mutex<Vec<(f64, Vec<KeyValue>)>>);

    impl AsyncInstrument<f64> for Seen {
        fn observe(&self, value: f64, attributes: &[KeyValue]) {
            self.0.lock().unwrap().push((value, attributes.to_vec()));
        }
    }

    impl InstrumentProvider for Provider {
        fn f64_observable_counter(
            &self,
            builder: AsyncInstrumentBuilder<'_, ObservableCounter<f64>, f64>,
        ) -> ObservableCounter<f64> {
            self.keep(builder);
            ObservableCounter::new()
        }

        fn f64_observable_gauge(
            &self,
            builder: AsyncInstrumentBuilder<'_, ObservableGauge<f64>, f64>,
        ) -> ObservableGauge<f64> {
            self.keep(builder);
            ObservableGauge::new()
        }
    }

    #[test]
    fn a_meter_is_told_the_log_s_energy_under_the_conventions_names_when_it_asks() {
        let provider = Arc::new(Provider::default());
        let mut sink = Otel::new(&Meter::new(Arc::clone(&provider) as _));
        assert_eq!(provider.collect(), [], "nothing is known yet");
        let (_logs, log) = run();
        replay(&log, &mut sink).unwrap();
        drop(sink);
        let all = provider.collect();
        let energy: Vec<_> = all.iter().filter(|(name, ..)| name == "hw.energy").collect();
        let [(_, unit, value, attributes)] = energy.as_slice() else { panic!("{energy:?}") };
        assert_eq!((unit.as_str(), value.to_bits()), ("J", total(&log).to_bits()));
        let text = |key: &str| -> &Value {
            &attributes.iter().find(|attribute| attribute.key.as_str() == key).unwrap().value
        };
        assert_eq!(text("hw.id").as_str(), "gpu:GPU-0");
        assert_eq!(text("hw.type").as_str(), "gpu");
        assert_eq!(text("provenance").as_str(), "counter");
    }
}

mod facade {
    use metrics::{
        Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder,
        SharedString, Unit, with_local_recorder,
    };

    use super::*;

    /// What each was set to, in turn.
    type Values = Arc<Mutex<BTreeMap<String, Vec<f64>>>>;

    #[derive(Default)]
    struct Keeper(Values);

    struct Slot(String, Values);

    impl Slot {
        fn keep(&self, value: f64) {
            self.1.lock().unwrap().entry(self.0.clone()).or_default().push(value);
        }
    }

    impl CounterFn for Slot {
        fn increment(&self, _value: u64) {}

        #[expect(clippy::cast_precision_loss, reason = "some hundred joules")]
        fn absolute(&self, value: u64) {
            self.keep(value as f64);
        }
    }

    impl GaugeFn for Slot {
        fn increment(&self, _value: f64) {}
        fn decrement(&self, _value: f64) {}

        fn set(&self, value: f64) {
            self.keep(value);
        }
    }

    impl Recorder for Keeper {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(Arc::new(Slot(key.to_string(), Arc::clone(&self.0))))
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(Arc::new(Slot(key.to_string(), Arc::clone(&self.0))))
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[test]
    fn a_recorder_gets_whole_joules_and_gauges_and_no_power_behind_the_end() {
        let (_logs, log) = run();
        let keeper = Keeper::default();
        with_local_recorder(&keeper, || replay(&log, &mut Metrics::new()).unwrap());
        let values = keeper.0.lock().unwrap();
        let of = |name: &str| {
            let mut found = values.iter().filter(|(key, _)| key.contains(name));
            found.next().unwrap().1.as_slice()
        };
        let label = values.keys().find(|key| key.contains("hw_energy_joules_total")).unwrap();
        assert!(label.contains("hw_id") && label.contains("gpu:GPU-0"), "{label}");
        let energy = of("hw_energy_joules_total").last().unwrap();
        assert_eq!(energy.to_bits(), total(&log).floor().to_bits());
        let [.., before, last] = of("hw_power_watts") else { panic!("{values:?}") };
        assert!((before - 100.0).abs() < 0.5 && last.is_nan(), "{before} {last}");
        assert!(of("ergometer_epoch_number").iter().all(|number| number.is_finite()));
    }
}

mod subscriber {
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::subscriber::with_default;
    use tracing::{Event, Level, Metadata, Subscriber};

    use super::*;

    type Fields = BTreeMap<String, String>;

    #[derive(Clone, Default)]
    struct Keeper(Arc<Mutex<Vec<(Level, Fields)>>>);

    struct Reader(Fields);

    impl Visit for Reader {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            self.0.insert(field.name().to_owned(), format!("{value:?}"));
        }
    }

    impl Subscriber for Keeper {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == "ergometer"
        }

        fn event(&self, event: &Event<'_>) {
            let mut reader = Reader(Fields::new());
            event.record(&mut reader);
            self.0.lock().unwrap().push((*event.metadata().level(), reader.0));
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn a_subscriber_gets_epochs_their_metrics_and_the_end_and_no_field_that_is_not_known() {
        let (_logs, log) = run();
        let keeper = Keeper::default();
        with_default(keeper.clone(), || replay(&log, &mut Tracing::new()).unwrap());
        let told = keeper.0.lock().unwrap();
        let kinds: Vec<_> = told.iter().filter_map(|(_, fields)| fields.get("kind")).collect();
        assert_eq!(kinds, ["\"epoch\"", "\"epoch\"", "\"metrics\"", "\"end\""]);
        assert_eq!(told[1].1["metrics"], "{\"loss\": 0.5}");
        assert_eq!(
            (told[3].0, told[3].1["metrics"].as_str()),
            (Level::INFO, "{\"valid/Accuracy\": 0.75}")
        );
        let (level, end) = told.last().unwrap();
        assert_eq!(*level, Level::INFO);
        assert_eq!(end["total_j"].parse::<f64>().unwrap().to_bits(), total(&log).to_bits());
        assert_eq!(end["quality"], "measured");
        assert_eq!(end["provenance"], "\"counter\"");
        assert!(end.contains_key("u_j") && !end.contains_key("epoch"), "{end:?}");
    }
}
