//! A training without a framework that Prometheus, a collector of OpenTelemetry and MLflow can watch.
//!
//! ```sh
//! cargo run -p ergometer-sinks --features http --example monitored -- out 30      # the log in out/runs, half a minute
//! curl http://127.0.0.1:9464/metrics
//! ```
//! The environment says what else is told, and where: `SCRAPE` (an address of this machine), `TEXTFILE`, `PUSHGATEWAY`, and
//! OpenTelemetry's `OTEL_EXPORTER_OTLP_ENDPOINT` and MLflow's `MLFLOW_TRACKING_URI` and the like.
#![expect(clippy::print_stdout, reason = "a program that reports on its terminal")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ergometer::{Error, Meter, Result};
use ergometer_sinks::mlflow::Mlflow;
use ergometer_sinks::otlp::Otlp;
use ergometer_sinks::prometheus::{Pushgateway, Scrape, Textfile};

/// How long the last figures stay readable.
const LINGER: Duration = Duration::from_secs(3);

/// Between two times that the sinks tell: short, so that a short training can be watched.
const EVERY: Duration = Duration::from_secs(1);

fn main() -> Result<()> {
    let variable = |name| std::env::var(name).ok();
    let mut arguments = std::env::args().skip(1);
    let out = arguments.next().map(PathBuf::from).ok_or_else(|| {
        Error::absent("there is no directory to write to").cure("give one, and how many seconds")
    })?;
    let time = arguments.next().and_then(|time| time.parse().ok()).map_or(30, |time: u64| time);

    let meter = Meter::builder().log_directory(out.join("runs")).build()?;
    let address = variable("SCRAPE").unwrap_or_else(|| "127.0.0.1:9464".to_owned());
    let mut run =
        meter.run("line").parameters(WEIGHTS as u64).observe(Scrape::bind(address)?.linger(LINGER));
    let mut deliveries = Vec::new();
    if let Some(path) = variable("TEXTFILE") {
        let sink = Textfile::new(path)?.every(EVERY);
        deliveries.push(sink.delivery());
        run = run.observe(sink);
    }
    if let Some(url) = variable("PUSHGATEWAY") {
        let sink = Pushgateway::new(url)?.every(EVERY);
        deliveries.push(sink.delivery());
        run = run.observe(sink);
    }
    if variable("OTEL_EXPORTER_OTLP_ENDPOINT").is_some()
        && let Some(sink) = Otlp::from_env()?
    {
        deliveries.push(sink.delivery());
        run = run.observe(sink);
    }
    if let Some(sink) = Mlflow::from_env()? {
        deliveries.push(sink.delivery());
        run = run.observe(sink);
    }

    let run = run.start()?;
    let (start, mut model) = (Instant::now(), [0.0; WEIGHTS]);
    for number in 1.. {
        if start.elapsed() >= Duration::from_secs(time) {
            break;
        }
        let _epoch = run.epoch(number);
        for step in run.steps(0..100) {
            run.metric("loss", learn(&mut model, step));
        }
    }
    println!("{}", run.finish()?);
    for delivery in deliveries {
        delivery.wait(Duration::from_secs(10))?;
    }
    std::thread::sleep(LINGER);
    Ok(())
}

const WEIGHTS: usize = 256;

/// A step of stochastic gradient descent on a made linear law; gives the mean squared error.
fn learn(model: &mut [f64; WEIGHTS], step: u32) -> f64 {
    let mut sum = 0.0;
    for sample in 0..500 {
        let seed = f64::from(step * 500 + sample);
        let inputs: [f64; WEIGHTS] =
            std::array::from_fn(|place| (seed * (place as f64 + 1.3)).sin());
        let truth: f64 = inputs.iter().step_by(3).sum();
        let error =
            inputs.iter().zip(&*model).map(|(input, weight)| input * weight).sum::<f64>() - truth;
        for (weight, input) in model.iter_mut().zip(inputs) {
            *weight -= 1e-3 * error * input;
        }
        sum += error * error;
    }
    sum / 500.0
}
