//! Seeds for candle, whose CPU generator takes none.

use candle_core::Tensor;
use candle_nn::VarMap;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Sets every weight to a random number that `seed` decides, whatever it was before.
///
/// A matrix becomes uniform within ±1/√inputs, as burn and PyTorch begin a dense layer, and a bias 0; what else there is,
/// such as the gains of a normalisation, begins at a constant and keeps it.
///
/// # Errors
///
/// If candle cannot set a variable.
pub fn uniform(variables: &VarMap, seed: u64) -> candle_core::Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let held = variables.data().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut named: Vec<_> = held.iter().collect();
    // The map has no order of its own, and the numbers must not depend on it.
    named.sort_unstable_by_key(|(name, _)| *name);
    for (name, variable) in named {
        let values: Vec<f32> = match variable.dims() {
            [_, inputs] => {
                let bound = 1.0 / (*inputs as f32).sqrt();
                (0..variable.elem_count()).map(|_| random.random_range(-bound..bound)).collect()
            }
            _ if name.ends_with("bias") => vec![0.0; variable.elem_count()],
            _ => continue,
        };
        variable.set(&Tensor::from_vec(values, variable.shape(), variable.device())?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use candle_nn::{VarBuilder, layer_norm, linear};

    fn weights(seed: u64) -> Vec<Vec<f32>> {
        let variables = VarMap::new();
        let builder = VarBuilder::from_varmap(&variables, DType::F32, &Device::Cpu);
        linear(4, 3, builder.pp("b")).unwrap();
        linear(3, 2, builder.pp("a")).unwrap();
        layer_norm(3, 1e-5, builder.pp("norm")).unwrap();
        uniform(&variables, seed).unwrap();
        let names = ["b.weight", "b.bias", "a.weight", "norm.weight"];
        let read = |name: &str| {
            variables.data().lock().unwrap()[name].flatten_all().unwrap().to_vec1().unwrap()
        };
        names.map(read).into()
    }

    #[test]
    fn the_seed_decides_every_weight() {
        assert_eq!(weights(1), weights(1));
        assert_ne!(weights(1)[0], weights(2)[0]);
        assert!(weights(1)[0].iter().all(|weight| weight.abs() <= 0.5));
        assert_eq!((&weights(1)[1], &weights(1)[3]), (&vec![0.0; 3], &vec![1.0; 3]));
    }
}
