//! What does a larger model cost? One family of perceptrons, in several sizes and from several seeds, in candle and burn.
//!
//! Both frameworks start from the same weights and take the same batches in the same order with the same optimizer, so
//! that they differ in nothing but how they compute.
//!
//! ```sh
//! cargo run --release -p ergometer-examples --example compare_sizes
//! ERGOMETER_TENSORBOARD=tensorboard cargo run --release -p ergometer-examples --example compare_sizes
//! ```
#![expect(clippy::print_stdout, reason = "a program that reports on its terminal")]

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer};
use burn::tensor::{Int, TensorData};
use candle_core::{D, DType, Var};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use clap::{Parser, ValueEnum};
use ergometer::{Meter, Summary};
use ergometer_examples::images::{Batch, Images};
use ergometer_examples::perceptron::{Layer, Perceptron};
use ergometer_examples::{Result, digits, idx, threads};
use ergometer_report::Comparison;
use ergometer_sinks::Sinks;
use indicatif::{ProgressBar, ProgressStyle};

const BATCH: usize = 128;
const LEARNING_RATE: f64 = 3e-3;
const WEIGHT_DECAY: f32 = 0.01;
/// Added to the root of the second moment, so that nothing is divided by 0.
const EPSILON: f32 = 1e-8;

/// Trains several sizes of a perceptron in candle and in burn, and compares what they learn with what they use.
#[derive(Parser)]
struct Arguments {
    /// The frameworks to train with.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "candle,burn")]
    framework: Vec<Framework>,
    /// The widths of the hidden layer.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "64,128,192,256,384",
        value_name = "WIDTH,…"
    )]
    sizes: Vec<NonZeroUsize>,
    /// The seeds of each size: they decide the first weights and the order of the images.
    #[arg(long, value_delimiter = ',', default_value = "1,2,3", value_name = "SEED,…")]
    seeds: Vec<u64>,
    /// The passes over the images for training; with 40, a training on the digits lasts from half a second to some
    /// seconds, which is many updates of any sensor.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    epochs: u32,
    /// A directory with the four files of Fashion-MNIST or MNIST, instead of the digits that come with this program.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where the run directories go, one for each training.
    #[arg(long, default_value = "runs", value_name = "DIR")]
    out: PathBuf,
}

impl Arguments {
    /// The number of trainings.
    fn trainings(&self) -> usize {
        self.framework.len() * self.sizes.len() * self.seeds.len()
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Framework {
    Candle,
    Burn,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let study = Study::new(&arguments, threads::settle()?)?;
    println!("{}", study.plan());
    let mut summaries = Vec::new();
    for framework in &arguments.framework {
        summaries.extend(match framework {
            Framework::Candle => study.trainings::<InCandle>()?,
            Framework::Burn => study.trainings::<InBurn>()?,
        });
    }
    study.bar.finish_and_clear();

    let out = arguments.out.display();
    println!("\n{}", Comparison::of(&summaries));
    println!(
        "\nThe {} runs are in `{out}`. All runs there, side by side; and on a page to look at:",
        summaries.len()
    );
    println!("  cargo run --release -p ergometer-cli -- compare {out}");
    println!("  cargo run --release -p ergometer-cli -- report {out} -o report.html");
    Ok(())
}

/// What all trainings have in common.
struct Study<'a> {
    arguments: &'a Arguments,
    threads: usize,
    training: Images,
    test: Images,
    bar: ProgressBar,
}

impl Study<'_> {
    fn new(arguments: &Arguments, threads: usize) -> Result<Study<'_>> {
        let (training, test) = match &arguments.data {
            Some(directory) => idx::read(directory)?,
            None => {
                let (training, test) = digits::read()?.split(0);
                (training.shifted(), test)
            }
        };
        // Not seen where standard error is no terminal.
        let bar = ProgressBar::new(arguments.trainings() as u64 * u64::from(arguments.epochs))
            .with_style(ProgressStyle::with_template("{bar:40} {eta} left, {msg}")?);
        Ok(Study { arguments, threads, training, test, bar })
    }

    /// What is going to happen, in words.
    fn plan(&self) -> String {
        let Arguments { sizes, seeds, epochs, .. } = self.arguments;
        let of = |number: usize, what: &str| {
            format!("{number} {what}{}", if number == 1 { "" } else { "s" })
        };
        format!(
            "{}: {} × {} × {}, {} of {} each, on {}",
            of(self.arguments.trainings(), "training"),
            of(self.arguments.framework.len(), "framework"),
            of(sizes.len(), "size"),
            of(seeds.len(), "seed"),
            of(*epochs as usize, "epoch"),
            of(self.training.len(), "image"),
            of(self.threads, "thread"),
        )
    }

    /// Trains every size from every seed, with one meter.
    fn trainings<M: Model>(&self) -> Result<Vec<Summary>> {
        let Arguments { sizes, seeds, out, .. } = self.arguments;
        let meter = M::meter(out)?;
        let cells = sizes.iter().flat_map(|&hidden| seeds.iter().map(move |&seed| (hidden, seed)));
        cells.map(|(hidden, seed)| self.train::<M>(&meter, hidden.get(), seed)).collect()
    }

    fn train<M: Model>(&self, meter: &Meter, hidden: usize, seed: u64) -> Result<Summary> {
        let shape =
            Perceptron { inputs: self.training.size(), hidden, classes: self.training.classes() };
        let mut model = M::new(shape.layers(seed))?;
        let name = format!("{}-mlp-{hidden}", M::FRAMEWORK);
        self.bar.set_message(format!("{name} from seed {seed}"));
        let run = meter
            .run(name)
            .parameters(shape.parameters() as u64)
            .note("data", self.arguments.data.as_deref().unwrap_or(Path::new("digits")).display())
            .note("seed", seed)
            .note("epochs", self.arguments.epochs)
            .note("batch", BATCH)
            .note("threads", self.threads)
            .observe(Sinks::configured()?)
            .start()?;
        for epoch in run.epochs(1..=self.arguments.epochs) {
            let mut loss = 0.0;
            for batch in run.steps(self.training.batches(BATCH, seed << 32 | u64::from(epoch))) {
                run.samples(batch.len() as u64);
                let weight = batch.len() as f32 / self.training.len() as f32;
                let before;
                (model, before) = model.train(batch)?;
                loss += weight * before;
            }
            let evaluation = run.phase("evaluate");
            let accuracy = model.accuracy(&self.test)?;
            evaluation.end();
            run.metric("loss", loss.into());
            run.metric("accuracy", accuracy);
            self.bar.inc(1);
        }
        Ok(run.finish()?)
    }
}

/// A perceptron in one of the frameworks, with its optimizer.
trait Model: Sized {
    const FRAMEWORK: &str;

    /// A meter for the device that this framework trains on; its runs go into `log_directory`.
    fn meter(log_directory: &Path) -> ergometer::Result<Meter>;

    /// A model that begins with these weights.
    fn new(layers: [Layer; 2]) -> Result<Self>;

    /// This model after one step, and its mean cross entropy before.
    fn train(self, batch: Batch) -> Result<(Self, f32)>;

    /// The share of the images that it puts into their class.
    fn accuracy(&self, images: &Images) -> Result<f64>;
}

struct InCandle {
    hidden: [Var; 2],
    last: [Var; 2],
    optimizer: AdamW,
}

impl InCandle {
    const DEVICE: candle_core::Device = candle_core::Device::Cpu;

    /// The scores of each class, and the true classes.
    fn forward(&self, batch: Batch) -> Result<(candle_core::Tensor, candle_core::Tensor)> {
        let device = self.hidden[0].device();
        let labels: Vec<u32> = batch.labels.iter().map(|&label| label.into()).collect();
        let pixels = candle_core::Tensor::from_vec(batch.pixels, (labels.len(), ()), device)?;
        let hidden = pixels.matmul(&self.hidden[0])?.broadcast_add(&self.hidden[1])?.relu()?;
        let scores = hidden.matmul(&self.last[0])?.broadcast_add(&self.last[1])?;
        Ok((scores, candle_core::Tensor::new(labels, device)?))
    }
}

impl Model for InCandle {
    const FRAMEWORK: &str = "candle";

    fn meter(log_directory: &Path) -> ergometer::Result<Meter> {
        ergometer_candle::builder(&Self::DEVICE)?.log_directory(log_directory).build()
    }

    fn new(layers: [Layer; 2]) -> Result<Self> {
        let device = &Self::DEVICE;
        let variables = |layer: &Layer| -> candle_core::Result<[Var; 2]> {
            let weights = Var::from_slice(&layer.weights, (layer.inputs, layer.outputs), device)?;
            Ok([weights, Var::from_slice(&layer.biases, layer.outputs, device)?])
        };
        let (hidden, last) = (variables(&layers[0])?, variables(&layers[1])?);
        let (eps, weight_decay) = (EPSILON.into(), WEIGHT_DECAY.into());
        let settings =
            ParamsAdamW { lr: LEARNING_RATE, beta1: 0.9, beta2: 0.999, eps, weight_decay };
        let optimizer = AdamW::new([&hidden[..], &last].concat(), settings)?;
        Ok(InCandle { hidden, last, optimizer })
    }

    fn train(mut self, batch: Batch) -> Result<(Self, f32)> {
        let (scores, labels) = self.forward(batch)?;
        let loss = candle_nn::loss::cross_entropy(&scores, &labels)?;
        self.optimizer.backward_step(&loss)?;
        Ok((self, loss.to_scalar()?))
    }

    fn accuracy(&self, images: &Images) -> Result<f64> {
        let (scores, labels) = self.forward(images.whole())?;
        Ok(scores.argmax(D::Minus1)?.eq(&labels)?.to_dtype(DType::F64)?.mean_all()?.to_scalar()?)
    }
}

struct InBurn {
    layers: Layers,
    loss: CrossEntropyLoss,
    optimizer: ModuleOptimizer,
    device: burn::tensor::Device,
}

#[derive(Module, Debug)]
struct Layers {
    hidden: Linear,
    last: Linear,
}

impl Layers {
    /// The scores of each class, and the true classes.
    fn forward(
        &self,
        batch: Batch,
        device: &burn::tensor::Device,
    ) -> (burn::tensor::Tensor<2>, burn::tensor::Tensor<1, Int>) {
        let labels: Vec<i32> = batch.labels.iter().map(|&label| label.into()).collect();
        let size = [labels.len(), batch.pixels.len() / labels.len()];
        let pixels = burn::tensor::Tensor::from_data(TensorData::new(batch.pixels, size), device);
        let hidden = burn::tensor::activation::relu(self.hidden.forward(pixels));
        (self.last.forward(hidden), burn::tensor::Tensor::from_ints(labels.as_slice(), device))
    }
}

impl Model for InBurn {
    const FRAMEWORK: &str = "burn";

    fn meter(log_directory: &Path) -> ergometer::Result<Meter> {
        let device = burn::tensor::Device::flex();
        ergometer_burn::builder(&device)?.log_directory(log_directory).build()
    }

    fn new(layers: [Layer; 2]) -> Result<Self> {
        let device = burn::tensor::Device::flex().autodiff();
        let [hidden, last] = layers.map(|layer| Linear {
            weight: Param::from_data(
                TensorData::new(layer.weights, [layer.inputs, layer.outputs]),
                &device,
            ),
            bias: Some(Param::from_data(TensorData::new(layer.biases, [layer.outputs]), &device)),
        });
        let optimizer =
            AdamWConfig::new().with_epsilon(EPSILON).with_weight_decay(WEIGHT_DECAY).init();
        let loss = CrossEntropyLossConfig::new().init(&device);
        Ok(InBurn { layers: Layers { hidden, last }, loss, optimizer, device })
    }

    fn train(mut self, batch: Batch) -> Result<(Self, f32)> {
        let (scores, labels) = self.layers.forward(batch, &self.device);
        let loss = self.loss.forward(scores, labels);
        let gradients = GradientsParams::from_grads(loss.backward(), &self.layers);
        self.layers = self.optimizer.step(LEARNING_RATE, self.layers, gradients);
        Ok((self, loss.into_scalar()))
    }

    fn accuracy(&self, images: &Images) -> Result<f64> {
        let (scores, labels) =
            self.layers.valid().forward(images.whole(), &self.device.clone().inner());
        Ok(f64::from(
            scores.argmax(1).flatten(0, 1).equal(labels).float().mean().into_scalar::<f32>(),
        ))
    }
}
