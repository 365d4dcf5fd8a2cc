//! [`Metered`]: an optimizer whose updates are the steps.

use std::ops::{Deref, DerefMut};

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor, Var};
use candle_nn::Optimizer;
use ergometer::Lane;

/// An optimizer that says after each update that a step ends here.
///
/// For loops where the update is hidden in a method, comes only now and then (reinforcement learning, accumulated
/// gradients), or is the only place that can be changed. A step begins at the update before, or where the epoch or phase
/// around it does. So an evaluation between two updates of an epoch counts to the later one, and what comes after an
/// epoch's last update to no step. An update that fails is no step: its energy goes to the next one. Use this *or*
/// `run.steps(…)`; with both, every step would be counted twice.
///
/// ```
/// # use candle_core::{DType, Device, Result, Tensor};
/// # use candle_nn::{Module, Optimizer, SGD, VarBuilder, VarMap};
/// use ergometer_candle::Metered;
/// # fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
/// # let (device, directory) = (Device::Cpu, std::env::temp_dir().join(format!("ergometer-{}", std::process::id())));
/// # let variables = VarMap::new();
/// # let model = candle_nn::linear(4, 2, VarBuilder::from_varmap(&variables, DType::F32, &device))?;
/// # let loss = || -> Result<Tensor> { model.forward(&Tensor::ones((1, 4), DType::F32, &device)?)?.sum_all() };
/// # let updates = 3;
/// let run = ergometer_candle::meter(&device)?.run("agent").directory(&directory).start()?;
/// let mut optimizer = Metered::new(SGD::new(variables.all_vars(), 0.1)?, &run);
/// for _ in 0..updates {
///     optimizer.backward_step(&loss()?)?;
/// }
/// assert_eq!(run.finish()?.end.steps, Some(updates));
/// # std::fs::remove_dir_all(directory)?;
/// # Ok(())
/// # }
/// ```
///
/// A program with several optimizers (GAN, DDPG) wraps the one that is updated last; wrapping two counts two steps.
/// What is no [`Optimizer`] (L-BFGS with a closure, say) calls [`Lane::tick`] itself.
///
/// # The optimizer's own methods
/// `Metered` dereferences to the optimizer. The borrow checker looks at `*optimizer` as a whole, so an argument that
/// reads what the call changes needs a line of its own:
/// ```
/// # use candle_nn::{AdamW, Optimizer, ParamsAdamW};
/// # use ergometer_candle::Metered;
/// # fn halve(optimizer: &mut Metered<AdamW>) {
/// let parameters = optimizer.params().clone();
/// optimizer.set_params(ParamsAdamW { lr: parameters.lr / 2.0, ..parameters });
/// # }
/// ```
/// In one line, which `AdamW` itself takes, it is the error E0502:
/// ```compile_fail,E0502
/// # use candle_nn::{AdamW, Optimizer, ParamsAdamW};
/// # use ergometer_candle::Metered;
/// # fn halve(optimizer: &mut Metered<AdamW>) {
/// optimizer.set_params(ParamsAdamW { lr: 1e-4, ..optimizer.params().clone() });
/// # }
/// ```
#[derive(Debug)]
pub struct Metered<O> {
    optimizer: O,
    lane: Option<Lane>,
}

impl<O: Optimizer> Metered<O> {
    /// Counts the updates of `optimizer` on a run, or on the lane of the thread that trains.
    pub fn new(optimizer: O, lane: &Lane) -> Self {
        Metered { optimizer, lane: Some(lane.clone()) }
    }

    /// Counts on `lane` from now on: for an optimizer that generic code has made, by [`Optimizer::new`].
    pub fn set_lane(&mut self, lane: &Lane) {
        self.lane = Some(lane.clone());
    }

    /// The optimizer, no longer counted.
    pub fn into_inner(self) -> O {
        self.optimizer
    }

    fn uncounted(optimizer: O) -> Self {
        Metered { optimizer, lane: None }
    }

    fn tick(&self) {
        if let Some(lane) = &self.lane {
            lane.tick();
        }
    }
}

/// The optimizer's methods, with a tick after each update that succeeded: one clock read and a push.
///
/// The constructors of this trait have no place for a run. They give an optimizer that works and is not counted, until
/// [`set_lane`](Metered::set_lane) says on what; a run that they would find by themselves would have to be global.
impl<O: Optimizer> Optimizer for Metered<O> {
    type Config = O::Config;

    fn new(variables: Vec<Var>, config: O::Config) -> Result<Self> {
        O::new(variables, config).map(Metered::uncounted)
    }

    fn step(&mut self, gradients: &GradStore) -> Result<()> {
        self.optimizer.step(gradients)?;
        self.tick();
        Ok(())
    }

    fn learning_rate(&self) -> f64 {
        self.optimizer.learning_rate()
    }

    fn set_learning_rate(&mut self, rate: f64) {
        self.optimizer.set_learning_rate(rate);
    }

    fn empty(config: O::Config) -> Result<Self> {
        O::empty(config).map(Metered::uncounted)
    }

    // Forwarded, not left to the default: an optimizer may have its own.
    fn backward_step(&mut self, loss: &Tensor) -> Result<()> {
        self.optimizer.backward_step(loss)?;
        self.tick();
        Ok(())
    }

    fn from_slice(variables: &[&Var], config: O::Config) -> Result<Self> {
        O::from_slice(variables, config).map(Metered::uncounted)
    }
}

impl<O> Deref for Metered<O> {
    type Target = O;

    fn deref(&self) -> &O {
        &self.optimizer
    }
}

impl<O> DerefMut for Metered<O> {
    fn deref_mut(&mut self) -> &mut O {
        &mut self.optimizer
    }
}
