//! A perceptron with one hidden layer, as numbers: its shape and its first weights, the same for every framework.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The widths of `inputs` → `hidden` → `classes`, each layer with biases, a rectifier between them.
#[derive(Clone, Copy, Debug)]
pub struct Perceptron {
    /// Pixels of an image.
    pub inputs: usize,
    /// Units of the hidden layer.
    pub hidden: usize,
    /// Classes to tell apart.
    pub classes: usize,
}

/// The weights of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// What goes in.
    pub inputs: usize,
    /// What comes out.
    pub outputs: usize,
    /// `inputs` rows of `outputs` weights.
    pub weights: Vec<f32>,
    /// A bias for each output.
    pub biases: Vec<f32>,
}

impl Perceptron {
    /// The number of weights and biases.
    pub fn parameters(&self) -> usize {
        (self.inputs + 1) * self.hidden + (self.hidden + 1) * self.classes
    }

    /// The hidden and the last layer before training, decided by `seed`.
    pub fn layers(&self, seed: u64) -> [Layer; 2] {
        let mut random = StdRng::seed_from_u64(seed);
        [
            Layer::random(self.inputs, self.hidden, &mut random),
            Layer::random(self.hidden, self.classes, &mut random),
        ]
    }
}

impl Layer {
    /// Uniform within ±1/√inputs, as burn and PyTorch begin a dense layer.
    fn random(inputs: usize, outputs: usize, random: &mut impl Rng) -> Layer {
        let bound = 1.0 / (inputs as f32).sqrt();
        let mut uniform = |n: usize| (0..n).map(|_| random.random_range(-bound..bound)).collect();
        Layer { inputs, outputs, weights: uniform(inputs * outputs), biases: uniform(outputs) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_counted_with_biases() {
        let perceptron = Perceptron { inputs: 784, hidden: 128, classes: 10 };
        assert_eq!(perceptron.parameters(), 101_770);
        let layers = perceptron.layers(1);
        let held: usize = layers.iter().map(|layer| layer.weights.len() + layer.biases.len()).sum();
        assert_eq!(held, 101_770);
    }

    #[test]
    fn the_seed_decides_the_weights() {
        let perceptron = Perceptron { inputs: 64, hidden: 16, classes: 10 };
        assert_eq!(perceptron.layers(1), perceptron.layers(1));
        assert_ne!(perceptron.layers(1), perceptron.layers(2));
        assert!(perceptron.layers(1)[0].weights.iter().all(|weight| weight.abs() <= 0.125));
    }
}
