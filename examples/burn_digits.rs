//! A convolutional network trained on handwritten digits by burn's `SupervisedTraining`.
//!
//! ```sh
//! cargo run --release -p ergometer-examples --example burn_digits
//! ```
#![expect(clippy::print_stdout, reason = "a program that reports on its terminal")]

use std::sync::Arc;

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderBuilder};
use burn::data::dataset::InMemDataset;
use burn::lr_scheduler::constant::ConstantLr;
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::optim::AdamWConfig;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Int, Tensor, TensorData};
use burn::train::metric::{AccuracyMetric, LossMetric};
use burn::train::{
    ClassificationOutput, InferenceStep, Learner, SupervisedTraining, TrainOutput, TrainStep,
};
use ergometer_burn::MetricLog;
use ergometer_burn::prelude::*;
use ergometer_examples::digits;
use ergometer_examples::images::Images;
use ergometer_sinks::Sinks;

const EPOCHS: usize = 10;
const BATCH: usize = 32;
const SIDE: usize = 8;
const LEARNING_RATE: f64 = 3e-3;

fn main() -> ergometer_examples::Result<()> {
    let device = Device::flex();
    device.seed(1);
    let (training, test) = digits::read()?.split(1);
    let (training, test) = (loader(&training), loader(&test));
    let device = device.autodiff();
    let model = Model::new(&device);

    let run =
        ergometer_burn::meter(&device)?.run("burn-cnn").observe(Sinks::configured()?).start()?;
    let logs = run.path().join("burn");
    let training = SupervisedTraining::new(&logs, run.train(training), run.valid(test))
        .metrics((LossMetric::new(), AccuracyMetric::new()))
        .with_metric_logger(MetricLog::new(&run, &logs))
        .with_energy(&run)
        .num_epochs(EPOCHS)
        .summary();
    let result = training.launch(Learner::new(
        model,
        AdamWConfig::new().init(),
        ConstantLr::new(LEARNING_RATE),
    ));
    if let Some(error) = result.error {
        return Err(error.to_string().into());
    }
    println!("{}", run.finish()?);
    Ok(())
}

/// Two convolutions, the picture halved after each, and a dense layer.
#[derive(Module, Debug)]
struct Model {
    first: Conv2d,
    second: Conv2d,
    halve: MaxPool2d,
    last: Linear,
}

impl Model {
    fn new(device: &Device) -> Self {
        let convolution = |channels| {
            Conv2dConfig::new(channels, [3, 3]).with_padding(PaddingConfig2d::Same).init(device)
        };
        Model {
            first: convolution([1, 16]),
            second: convolution([16, 32]),
            halve: MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init(),
            last: LinearConfig::new(32 * SIDE * SIDE / 16, 10).init(device),
        }
    }

    fn forward(&self, batch: Batch) -> ClassificationOutput {
        let x = self.halve.forward(relu(self.first.forward(batch.pixels)));
        let x = self.halve.forward(relu(self.second.forward(x)));
        let scores = self.last.forward(x.flatten(1, 3));
        let loss = CrossEntropyLossConfig::new()
            .init(&scores.device())
            .forward(scores.clone(), batch.labels.clone());
        ClassificationOutput::new(loss, scores, batch.labels)
    }
}

impl TrainStep for Model {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> TrainOutput<ClassificationOutput> {
        let output = self.forward(batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl InferenceStep for Model {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> ClassificationOutput {
        self.forward(batch)
    }
}

/// Pictures of one channel, and their classes.
#[derive(Clone, Debug)]
struct Batch {
    pixels: Tensor<4>,
    labels: Tensor<1, Int>,
}

type Digit = (Vec<f32>, u8);

#[derive(Clone)]
struct Digits;

impl Batcher<Digit, Batch> for Digits {
    fn batch(&self, digits: Vec<Digit>, device: &Device) -> Batch {
        let labels: Vec<i32> = digits.iter().map(|(_, label)| i32::from(*label)).collect();
        let pixels = digits.into_iter().flat_map(|(pixels, _)| pixels).collect();
        let pixels = TensorData::new::<f32, _>(pixels, [labels.len(), 1, SIDE, SIDE]);
        Batch {
            pixels: Tensor::from_data(pixels, device),
            labels: Tensor::from_ints(labels.as_slice(), device),
        }
    }
}

fn loader(images: &Images) -> Arc<dyn DataLoader<Batch>> {
    let digits = images.iter().map(|(pixels, label)| (pixels.to_vec(), label)).collect();
    DataLoaderBuilder::new(Digits).batch_size(BATCH).shuffle(1).build(InMemDataset::new(digits))
}
