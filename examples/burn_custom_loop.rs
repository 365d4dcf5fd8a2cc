//! A perceptron trained on handwritten digits in a hand-written burn loop.
//!
//! ```sh
//! cargo run --release -p ergometer-examples --example burn_custom_loop
//! ```
#![expect(clippy::print_stdout, reason = "a program that reports on its terminal")]

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor, TensorData};
use ergometer_examples::digits;
use ergometer_examples::images::Batch;

const EPOCHS: u64 = 10;
const BATCH: usize = 32;
const HIDDEN: usize = 128;
const LEARNING_RATE: f64 = 1e-3;

fn main() -> ergometer_examples::Result<()> {
    let device = Device::flex();
    device.seed(1);
    let (training, test) = digits::read()?.split(1);
    let training = training.shifted();
    let (test_pixels, test_labels) = tensors(test.whole(), &device);

    let device = device.autodiff();
    let mut model = Model::new(training.size(), training.classes(), &device);
    let mut optimizer = AdamWConfig::new().init();
    let loss = CrossEntropyLossConfig::new().init(&device);

    let run = ergometer_burn::meter(&device)?.run("burn-mlp").start()?;
    for epoch in run.epochs(1..=EPOCHS) {
        let mut total = 0.0;
        for batch in run.steps(training.batches(BATCH, epoch)) {
            let n = batch.len() as f32;
            let (pixels, labels) = tensors(batch, &device);
            let loss = loss.forward(model.forward(pixels), labels);
            let gradients = GradientsParams::from_grads(loss.backward(), &model);
            model = optimizer.step(LEARNING_RATE, model, gradients);
            total += n * loss.into_scalar::<f32>();
        }
        let guesses = model.valid().forward(test_pixels.clone()).argmax(1).flatten(0, 1);
        let right: f32 = guesses.equal(test_labels.clone()).float().mean().into_scalar();
        run.metric("loss", (total / training.len() as f32).into());
        run.metric("accuracy", right.into());
    }
    println!("{}", run.finish()?);
    Ok(())
}

/// A hidden layer with rectifiers, and one output for each class.
#[derive(Module, Debug)]
struct Model {
    hidden: Linear,
    last: Linear,
}

impl Model {
    fn new(inputs: usize, classes: usize, device: &Device) -> Self {
        let hidden = LinearConfig::new(inputs, HIDDEN).init(device);
        Model { hidden, last: LinearConfig::new(HIDDEN, classes).init(device) }
    }

    fn forward(&self, pixels: Tensor<2>) -> Tensor<2> {
        self.last.forward(relu(self.hidden.forward(pixels)))
    }
}

/// A row of pixels for each image, and the classes.
fn tensors(batch: Batch, device: &Device) -> (Tensor<2>, Tensor<1, Int>) {
    let labels: Vec<i32> = batch.labels.iter().map(|&label| label.into()).collect();
    let size = batch.pixels.len() / labels.len();
    let pixels = TensorData::new(batch.pixels, [labels.len(), size]);
    (Tensor::from_data(pixels, device), Tensor::from_ints(labels.as_slice(), device))
}
