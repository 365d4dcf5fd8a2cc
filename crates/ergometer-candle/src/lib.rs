//! front page later
mod device;
#[cfg(feature = "cuda")]
mod events;
mod fence;
mod optimizer;

pub use device::{builder, builder_of, meter, meter_of};
#[cfg(feature = "cuda")]
pub use events::builder_with_events;
pub use optimizer::Metered;
