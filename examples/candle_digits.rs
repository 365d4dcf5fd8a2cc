//! A perceptron trained with candle and `AdamW` on handwritten digits.
//!
//! ```sh
//! cargo run --release -p ergometer-examples --example candle_digits
//! ```
#![expect(clippy::print_stdout, reason = "a program that reports on its terminal")]

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::{AdamW, Linear, Module, Optimizer, VarBuilder, VarMap, linear, loss};
use ergometer_examples::digits;
use ergometer_examples::images::Batch;
use ergometer_examples::seed;

const EPOCHS: u64 = 10;
const BATCH: usize = 32;
const HIDDEN: usize = 128;
const LEARNING_RATE: f64 = 1e-3;

fn main() -> ergometer_examples::Result<()> {
    let device = Device::Cpu;
    let (training, test) = digits::read()?.split(1);
    let training = training.shifted();
    let (test_pixels, test_labels) = tensors(test.whole(), test.size(), &device)?;

    let variables = VarMap::new();
    let model = Model::new(
        training.size(),
        training.classes(),
        VarBuilder::from_varmap(&variables, DType::F32, &device),
    )?;
    seed::uniform(&variables, 1)?;
    let mut optimizer = AdamW::new_lr(variables.all_vars(), LEARNING_RATE)?;

    let run = ergometer_candle::meter(&device)?.run("candle-mlp").start()?;
    for epoch in run.epochs(1..=EPOCHS) {
        let mut total = 0.0;
        for batch in run.steps(training.batches(BATCH, epoch)) {
            let n = batch.len() as f32;
            let (pixels, labels) = tensors(batch, training.size(), &device)?;
            let loss = loss::cross_entropy(&model.forward(&pixels)?, &labels)?;
            optimizer.backward_step(&loss)?;
            total += n * loss.to_scalar::<f32>()?;
        }
        let right = model
            .forward(&test_pixels)?
            .argmax(D::Minus1)?
            .eq(&test_labels)?
            .to_dtype(DType::F32)?;
        run.metric("loss", (total / training.len() as f32).into());
        run.metric("accuracy", right.mean_all()?.to_scalar::<f32>()?.into());
    }
    println!("{}", run.finish()?);
    Ok(())
}

/// A hidden layer with rectifiers, and one output for each class.
struct Model {
    hidden: Linear,
    last: Linear,
}

impl Model {
    fn new(inputs: usize, classes: usize, variables: VarBuilder<'_>) -> Result<Self> {
        let hidden = linear(inputs, HIDDEN, variables.pp("hidden"))?;
        let last = linear(HIDDEN, classes, variables.pp("last"))?;
        Ok(Model { hidden, last })
    }

    fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        self.last.forward(&self.hidden.forward(pixels)?.relu()?)
    }
}

/// A row of pixels for each image, and the classes.
fn tensors(batch: Batch, size: usize, device: &Device) -> Result<(Tensor, Tensor)> {
    let labels: Vec<u32> = batch.labels.iter().map(|&label| label.into()).collect();
    Ok((
        Tensor::from_vec(batch.pixels, (labels.len(), size), device)?,
        Tensor::new(labels, device)?,
    ))
}
