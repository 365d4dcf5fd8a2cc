//! Formats that are made of finished runs: what each says, from a run's history and the place where it trained.
//!
//! Units are those of the format, and each says which. Emissions are told only where a carbon intensity is known: there is no
//! mean of the world that stands in. An estimated energy is said to be estimated wherever a format has a place for words; the
//! formats without one are CodeCarbon's, and there the columns of what is not known stay empty.

mod boamps;
mod codecarbon;
pub mod csv;
mod cyclonedx;
mod evidence;
mod front_matter;
mod gpai;
mod model_card;
pub mod parquet;
mod sci;
mod sentence;
mod table;

use std::fmt;

pub use boamps::BoAmps;
pub use codecarbon::CodeCarbon;
pub use cyclonedx::{CycloneDx, Version};
pub use gpai::Gpai;
pub use model_card::ModelCard;
pub use sci::Sci;
pub use sentence::Sentence;
pub use table::Table;

/// What a training was for, as formats tell it apart. A log does not know; the user says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A model from nothing.
    PreTraining,
    /// A model that had been trained before.
    FineTuning,
}

/// As Hugging Face writes it: `pre-training`, `fine-tuning`.
impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Stage::PreTraining => "pre-training",
            Stage::FineTuning => "fine-tuning",
        })
    }
}
