//! A training without a framework, in three widths, told to TensorBoard as it goes.
//!
//! ```sh
//! cargo run -p ergometer-sinks --example widths -- out      # logs in out/runs, event files in out/tensorboard
//! tensorboard --logdir out/tensorboard
//! ```
#![expect(clippy::print_stdout, reason = "a program that reports on its terminal")]

use std::path::PathBuf;

use ergometer::{Error, Meter, Result};
use ergometer_sinks::TensorBoard;

/// Points of the plane, and whether they lie within a ring.
const POINTS: u32 = 2_000;
const BATCH: usize = 100;
const EPOCHS: u64 = 8;
const RATE: f64 = 0.05;

fn main() -> Result<()> {
    let Some(out) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return Err(Error::absent("there is no directory to write to").cure("give one"));
    };
    let meter = Meter::builder().log_directory(out.join("runs")).build()?;
    for width in [64, 256, 1_024] {
        let run = meter
            .run(format!("ring-{width}"))
            .parameters(u64::from(width) + 1)
            .note("width", width)
            .note("rate", RATE)
            .observe(TensorBoard::new(out.join("tensorboard")))
            .start()?;
        let mut model = Model::new(width);
        let points: Vec<Point> = (0..POINTS).map(Point::new).collect();
        for _epoch in run.epochs(1..=EPOCHS) {
            for batch in run.steps(points.chunks(BATCH)) {
                let loss = batch.iter().map(|point| model.learn(point)).sum::<f64>();
                run.samples(batch.len() as u64);
                run.metric("loss", loss / batch.len() as f64);
            }
            let _evaluation = run.phase("evaluate");
            let right = points.iter().filter(|point| (model.ask(point) > 0.5) == point.within);
            run.metric("accuracy", right.count() as f64 / f64::from(POINTS));
        }
        println!("{}", run.finish()?);
    }
    Ok(())
}

struct Point {
    place: [f64; 2],
    within: bool,
}

impl Point {
    /// The points of a low-discrepancy sequence: Roberts, "The unreasonable effectiveness of quasirandom sequences", 2018.
    fn new(number: u32) -> Point {
        let place = [0.754_877_666, 0.569_840_291]
            .map(|step| 4.0 * (f64::from(number) * step).fract() - 2.0);
        let radius = place[0].hypot(place[1]);
        Point { place, within: (0.7..1.5).contains(&radius) }
    }
}

/// Logistic regression on fixed random features: Rahimi and Recht, "Random features for large-scale kernel machines", NIPS 2007.
struct Model {
    features: Vec<[f64; 3]>,
    weights: Vec<f64>,
    bias: f64,
}

impl Model {
    fn new(width: u32) -> Model {
        let features = (0..width)
            .map(|number| {
                let turn = |step: f64| (f64::from(number + 1) * step).fract();
                [
                    6.0 * turn(0.819_172_513) - 3.0,
                    6.0 * turn(0.671_043_606) - 3.0,
                    6.3 * turn(0.549_700_477),
                ]
            })
            .collect();
        Model { features, weights: vec![0.0; width as usize], bias: 0.0 }
    }

    fn activations(&self, point: &Point) -> impl Iterator<Item = f64> {
        let [x, y] = point.place;
        self.features
            .iter()
            .map(move |[along, across, phase]| (along * x + across * y + phase).cos())
    }

    fn ask(&self, point: &Point) -> f64 {
        let sum: f64 =
            self.activations(point).zip(&self.weights).map(|(a, weight)| a * weight).sum();
        1.0 / (1.0 + (-sum - self.bias).exp())
    }

    fn learn(&mut self, point: &Point) -> f64 {
        let truth = f64::from(u8::from(point.within));
        let belief = self.ask(point);
        let correction = RATE * (truth - belief);
        let activations: Vec<f64> = self.activations(point).collect();
        for (weight, activation) in self.weights.iter_mut().zip(activations) {
            *weight += correction * activation;
        }
        self.bias += correction;
        -(if point.within { belief } else { 1.0 - belief }).max(1e-12).ln()
    }
}
