//! A small transformer trained with candle on the characters of a novel.
//!
//! ```sh
//! cargo run --release -p ergometer-examples --example candle_text
//! ```
#![expect(clippy::print_stdout, reason = "a program that reports on its terminal")]

use candle_core::{D, DType, Device, IndexOp, Result, Tensor};
use candle_nn::{
    AdamW, Embedding, Init, Linear, Module, Optimizer, VarBuilder, VarMap, embedding, linear,
    linear_no_bias, loss, ops,
};
use ergometer_examples::text::{Text, Windows};
use ergometer_examples::{seed, threads};
use rand::SeedableRng;
use rand::rngs::StdRng;

const EPOCHS: u64 = 5;
/// So many steps are called an epoch; they see some 30 % of the text.
const STEPS: u64 = 100;
const BATCH: usize = 16;
/// The characters that the model sees at once.
const LENGTH: usize = 64;
const WIDTH: usize = 32;
const HEADS: usize = 2;
const BLOCKS: usize = 2;
const LEARNING_RATE: f64 = 3e-3;

fn main() -> ergometer_examples::Result<()> {
    threads::settle()?;
    let device = Device::Cpu;
    let (training, test) = Text::eighty_days().split();
    let mut random = StdRng::seed_from_u64(1);
    let test = test.windows(8 * BATCH, LENGTH, &mut random);

    let variables = VarMap::new();
    let model = Model::new(
        training.vocabulary(),
        VarBuilder::from_varmap(&variables, DType::F32, &device),
    )?;
    seed::uniform(&variables, 1)?;
    let mut optimizer = AdamW::new_lr(variables.all_vars(), LEARNING_RATE)?;

    let parameters: usize = variables.all_vars().iter().map(|variable| variable.elem_count()).sum();
    let meter = ergometer_candle::meter(&device)?;
    let run = meter.run("candle-transformer").parameters(parameters as u64).start()?;
    for _epoch in run.epochs(1..=EPOCHS) {
        let mut total = 0.0;
        for _step in run.steps(1..=STEPS).tokens((BATCH * LENGTH) as u64) {
            let loss = model.loss(training.windows(BATCH, LENGTH, &mut random), &device)?;
            optimizer.backward_step(&loss)?;
            total += loss.to_scalar::<f32>()?;
        }
        run.metric("loss", (total / STEPS as f32).into());
        run.metric("test loss", model.loss(test.clone(), &device)?.to_scalar::<f32>()?.into());
    }
    println!("{}", run.finish()?);
    Ok(())
}

/// Characters and their places, blocks of attention, and a score for each character that may come next.
struct Model {
    characters: Embedding,
    places: Tensor,
    blocks: Vec<Block>,
    norm: Norm,
    scores: Linear,
    /// Minus infinity where a character would look at a later one.
    mask: Tensor,
}

impl Model {
    fn new(vocabulary: usize, variables: VarBuilder<'_>) -> Result<Self> {
        let mask = (0..LENGTH * LENGTH)
            .map(|i| if i % LENGTH > i / LENGTH { f32::NEG_INFINITY } else { 0.0 });
        Ok(Model {
            characters: embedding(vocabulary, WIDTH, variables.pp("characters"))?,
            places: variables.get_with_hints((LENGTH, WIDTH), "places", Init::Const(0.0))?,
            blocks: (0..BLOCKS)
                .map(|i| Block::new(variables.pp(format!("block{i}"))))
                .collect::<Result<_>>()?,
            norm: Norm::new(variables.pp("norm"))?,
            scores: linear(WIDTH, vocabulary, variables.pp("scores"))?,
            mask: Tensor::from_iter(mask, variables.device())?.reshape((LENGTH, LENGTH))?,
        })
    }

    /// The mean cross entropy in nats for each character.
    fn loss(&self, windows: Windows, device: &Device) -> Result<Tensor> {
        let n = windows.inputs.len() / LENGTH;
        let inputs = Tensor::from_vec(windows.inputs, (n, LENGTH), device)?;
        let mut x = self.characters.forward(&inputs)?.broadcast_add(&self.places)?;
        for block in &self.blocks {
            x = block.forward(&x, &self.mask)?;
        }
        let scores = self.scores.forward(&self.norm.forward(&x)?)?.flatten_to(1)?;
        loss::cross_entropy(&scores, &Tensor::new(windows.targets, device)?)
    }
}

/// Attention, then a perceptron, each normalised before and added to what came in.
struct Block {
    norms: [Norm; 2],
    queries_keys_values: Linear,
    mix: Linear,
    hidden: Linear,
    last: Linear,
}

impl Block {
    fn new(variables: VarBuilder<'_>) -> Result<Self> {
        Ok(Block {
            norms: [Norm::new(variables.pp("norm0"))?, Norm::new(variables.pp("norm1"))?],
            queries_keys_values: linear_no_bias(WIDTH, 3 * WIDTH, variables.pp("attention"))?,
            mix: linear(WIDTH, WIDTH, variables.pp("mix"))?,
            hidden: linear(WIDTH, 4 * WIDTH, variables.pp("hidden"))?,
            last: linear(4 * WIDTH, WIDTH, variables.pp("last"))?,
        })
    }

    fn forward(&self, x: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let (n, length, width) = x.dims3()?;
        let each = self.queries_keys_values.forward(&self.norms[0].forward(x)?)?;
        let each = each
            .reshape((n, length, 3, HEADS, width / HEADS))?
            .permute((2, 0, 3, 1, 4))?
            .contiguous()?;
        let (queries, keys, values) = (each.i(0)?, each.i(1)?, each.i(2)?);
        let scale = ((width / HEADS) as f64).sqrt();
        let scores = (queries.matmul(&keys.t()?)? / scale)?.broadcast_add(mask)?;
        // The shorter `softmax_last_dim` and `LayerNorm` of candle stop the gradient.
        let seen = ops::softmax(&scores, D::Minus1)?.matmul(&values)?;
        let x = (x + self.mix.forward(&seen.transpose(1, 2)?.reshape((n, length, width))?)?)?;
        let hidden = self.hidden.forward(&self.norms[1].forward(&x)?)?.gelu()?;
        &x + self.last.forward(&hidden)?
    }
}

/// Layer normalisation through which gradients flow.
struct Norm {
    gain: Tensor,
    bias: Tensor,
}

impl Norm {
    fn new(variables: VarBuilder<'_>) -> Result<Self> {
        let gain = variables.get_with_hints(WIDTH, "gain", Init::Const(1.0))?;
        Ok(Norm { gain, bias: variables.get_with_hints(WIDTH, "bias", Init::Const(0.0))? })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm_slow(x, &self.gain, &self.bias, 1e-5)
    }
}
