//! The statistics behind the analyses.

mod aicc;
mod autocorrelation;
pub mod batch_means;
mod bootstrap;
mod isotonic;
pub(crate) mod least_squares;
pub mod quantiles;
pub(crate) mod student;
mod welch;

pub use self::aicc::aicc;
pub use self::autocorrelation::Ahead;
pub use self::bootstrap::{accelerated, percentile};
pub use self::isotonic::isotonic;
pub use self::welch::{Sample, Welch, welch};
