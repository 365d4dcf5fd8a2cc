//! ergometer's runs in other people's tools, beside their own log.
//!
//! A *sink* is an [`Observer`] of a run: it is told of every window as it settles, on a background thread, and writes or sends
//! it on. What a sink cannot write is lost to the sink alone: the training, and the run's own log, go on.
//!
//! ```no_run
//! # fn train() {}
//! use std::time::Duration;
//!
//! use ergometer::Meter;
//! use ergometer_sinks::TensorBoard;
//!
//! let meter = Meter::detect()?;
//! let board = TensorBoard::new("tensorboard");
//! let delivery = board.delivery();
//! let run = meter.run("mlp-128").observe(board).start()?;
//! for _step in run.steps(0..100) {
//!     train();
//! }
//! run.finish()?;
//! // A process that ends now may take the last of it along.
//! delivery.wait(Duration::from_secs(10))?;
//! # Ok::<(), ergometer::Error>(())
//! ```
//!
//! [`replay`] tells a sink afterwards what a log holds, so that what is written live and what is exported later are the same.
//!
//! Energies are in joules, powers in watts, with standard uncertainties (k = 1) beside them, unless a format asks for another
//! unit. What the log does not know is left out, never written as 0.

#[cfg(feature = "http")]
mod base64;
#[cfg(feature = "config")]
pub mod config;
mod courier;
pub mod export;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "http")]
pub mod mlflow;
#[cfg(feature = "otel")]
pub mod otel;
pub mod otlp;
#[cfg(feature = "http")]
mod post;
pub mod prometheus;
mod push;
#[cfg(feature = "config")]
mod sinks;
pub mod tally;
mod tensorboard;
#[cfg(feature = "tracing")]
pub mod tracing;

use ergometer::log::{Entry, Line};
use ergometer::record::{Manifest, Start};
use ergometer::{Error, Observer, Result, RunLog, Summary};

pub use courier::Delivery;
#[cfg(feature = "config")]
pub use sinks::Sinks;
pub use tensorboard::TensorBoard;

/// Tells `sink` of a run from its log as the run itself would have: [`began`](Observer::began) at the start of each session,
/// every window and event in the log's order, and [`ended`](Observer::ended).
///
/// A manifest that is told has the clock of the session that begins, so that wall times are right across boots. A run that is
/// still going, or was killed, ends with its last line, and its state says so. [`used`](Observer::used) is not told, and what
/// the sink makes of a window goes unheard. Gives the lines that could not be understood; the sink is not told of them.
///
/// # Errors
/// If the log cannot be read, holds no window, or is of several ranks; the sink has been told nothing then, unless reading
/// failed half-way.
pub fn replay(log: &RunLog, sink: &mut dyn Observer) -> Result<Vec<Error>> {
    let (summary, mut bad) = Summary::read(log)?;
    let mut begun = false;
    log.scan(|entry| match entry {
        Entry::Step(_, raw) => match raw.parse() {
            Ok(line) => tell(line, &log.manifest, sink, &mut begun),
            Err(error) => bad.push(error),
        },
        Entry::Line(line) => tell(line, &log.manifest, sink, &mut begun),
        Entry::Bad(_) => {}
    })?;
    sink.ended(&summary);
    Ok(bad)
}

fn tell(line: Line, manifest: &Manifest, sink: &mut dyn Observer, begun: &mut bool) {
    match line {
        Line::Start(start) => {
            sink.began(&at_start_of(manifest, &start));
            *begun = true;
        }
        // The line that a session begins with may be the one that is not understood.
        other if !*begun => {
            sink.began(manifest);
            *begun = true;
            tell(other, manifest, sink, begun);
        }
        Line::Window(window) => {
            sink.settled(&window);
        }
        // What a killed run is read from; a run does not tell it either.
        Line::Event(event) if event.event == "progress" => {}
        Line::Event(event) => sink.happened(&event),
    }
}

/// The manifest with the clock of a session.
fn at_start_of(manifest: &Manifest, session: &Start) -> Manifest {
    let mut manifest = manifest.clone();
    manifest.clock.anchor = session.start;
    manifest.clock.unix_ns = session.unix_ns;
    manifest.sessions = session.session + 1;
    manifest
}
