//! From ergometer's logs to findings: what runs came to, side by side.
//!
//! What a single run came to is a [`Summary`](ergometer::Summary), which the meter's crate reads back from a log. Here,
//! runs are set against each other. Everything comes from logs: there is no sensor, no clock and no thread.
//!
//! ```no_run
//! use ergometer::{RunLog, Summary};
//! use ergometer_report::Comparison;
//!
//! let mut summaries = Vec::new();
//! for run in RunLog::find("runs")? {
//!     let (summary, _bad_lines) = Summary::read(&RunLog::open(run)?)?;
//!     summaries.push(summary);
//! }
//! println!("{}", Comparison::of(&summaries));
//! # Ok::<(), ergometer::Error>(())
//! ```

pub mod analysis;
mod comparison;
mod conditions;
pub mod footprint;
pub mod grid;
pub mod guard;
pub mod history;
pub mod metric;
mod page;
pub mod quantity;
pub mod site;
pub mod statistics;

pub use comparison::{
    AtQuality, Comparison, Contrast, Covered, Crossing, Group, Ratio, Reached, Spread, Target,
    Verdict,
};
pub use history::History;
pub use page::Page;
