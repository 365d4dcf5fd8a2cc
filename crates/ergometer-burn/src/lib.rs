//! front page later

mod device;
mod loader;
mod metric;
mod pass;

pub use device::{builder, builder_of, meter, meter_of};
pub use loader::MeteredRun;
pub use metric::{EnergyMetrics, WithEnergy};

/// What a burn program that is measured needs: `use ergometer_burn::prelude::*`.
pub mod prelude {
    pub use crate::{MeteredRun, WithEnergy};
}
