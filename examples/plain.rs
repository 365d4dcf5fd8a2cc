//! A training loop without a framework: logistic regression on handwritten digits, written out by hand.
//!
//! ```sh
//! cargo run --release -p ergometer-examples --example plain
//! ```
#![expect(clippy::print_stdout, reason = "a program that reports on its terminal")]

use ergometer::Meter;
use ergometer_examples::digits;
use ergometer_examples::images::{Batch, Images};

const EPOCHS: u64 = 10;
const BATCH: usize = 32;
const LEARNING_RATE: f32 = 0.1;
const CLASSES: usize = 10;

fn main() -> ergometer_examples::Result<()> {
    let (training, test) = digits::read()?.split(1);
    let mut model = Regression::new(training.size());

    let meter = Meter::detect()?;
    let run = meter.run("regression").parameters(model.parameters()).start()?;
    for epoch in run.epochs(1..=EPOCHS) {
        let mut loss = 0.0;
        let batches = training.batches(BATCH, epoch);
        for batch in run.steps(&batches) {
            loss += model.train(batch) / batches.len() as f32;
        }
        run.metric("loss", loss.into());
        run.metric("accuracy", model.accuracy(&test));
    }
    println!("{}", run.finish()?);
    Ok(())
}

/// Multinomial logistic regression on the pixels and on the products of any two of them.
struct Regression {
    /// For each class, a weight for each feature.
    weights: Vec<Vec<f32>>,
}

impl Regression {
    fn new(pixels: usize) -> Self {
        Regression { weights: vec![vec![0.0; features(&vec![0.0; pixels]).len()]; CLASSES] }
    }

    fn parameters(&self) -> u64 {
        self.weights.iter().map(|weights| weights.len() as u64).sum()
    }

    /// One step of gradient descent; gives the mean cross entropy before it.
    fn train(&mut self, batch: &Batch) -> f32 {
        let n = batch.len() as f32;
        let mut gradient = vec![vec![0.0; self.weights[0].len()]; CLASSES];
        let mut loss = 0.0;
        for (pixels, &label) in
            batch.pixels.chunks(batch.pixels.len() / batch.len()).zip(&batch.labels)
        {
            let features = features(pixels);
            let probabilities = self.probabilities(&features);
            loss -= probabilities[usize::from(label)].ln() / n;
            for (class, gradient) in gradient.iter_mut().enumerate() {
                let target = if class == usize::from(label) { 1.0 } else { 0.0 };
                let error = probabilities[class] - target;
                gradient
                    .iter_mut()
                    .zip(&features)
                    .for_each(|(slope, feature)| *slope += error * feature / n);
            }
        }
        for (weight, slope) in self.weights.iter_mut().flatten().zip(gradient.iter().flatten()) {
            *weight -= LEARNING_RATE * slope;
        }
        loss
    }

    /// The share of the images whose most probable class is theirs.
    fn accuracy(&self, images: &Images) -> f64 {
        let right = images.iter().filter(|(pixels, label)| {
            let probabilities = self.probabilities(&features(pixels));
            (0..CLASSES).max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]))
                == Some(usize::from(*label))
        });
        right.count() as f64 / images.len() as f64
    }

    /// Softmax of the classes' scores.
    fn probabilities(&self, features: &[f32]) -> Vec<f32> {
        let score = |weights: &Vec<f32>| {
            weights.iter().zip(features).map(|(weight, feature)| weight * feature).sum()
        };
        let scores: Vec<f32> = self.weights.iter().map(score).collect();
        let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f32> = scores.iter().map(|score| (score - highest).exp()).collect();
        let sum: f32 = powers.iter().sum();
        powers.iter().map(|power| power / sum).collect()
    }
}

/// The pixels and the products of any two.
fn features(pixels: &[f32]) -> Vec<f32> {
    let products =
        pixels.iter().enumerate().flat_map(|(i, a)| pixels[i..].iter().map(move |b| a * b));
    pixels.iter().copied().chain(products).collect()
}
