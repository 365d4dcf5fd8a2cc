//! `ergometer scaling`: what larger models cost, and what smaller errors do.

use std::io::{self, Write};

use clap::Args;
use ergometer::Error;
use ergometer_report::analysis::error_law::{ErrorLaw, Half};
use ergometer_report::analysis::family::Family;
use ergometer_report::analysis::size_law::SizeLaw;
use ergometer_report::site::Site;
use serde::Serialize;

use crate::logs::Runs;
use crate::place::Place;
use crate::{FAILURE, complain, write_json};

/// Fits energy to model size, and error to energy.
///
/// The size law says what doubling the parameters multiplies the energy by, the error law what halving the error does, each
/// with its 95 % interval. Each framework is fitted apart. Runs of one machine, precision, batch size and data go into a
/// law; where they differ, or are too few or too close, the reason is given and no number. The exit status is 1 if no law
/// could be fitted.
#[derive(Args, Debug)]
pub(crate) struct Scaling {
    #[command(flatten)]
    runs: Runs,
    /// The metric whose error the error law is of: an accuracy (its error is 1 less it), an error or a loss. If left out, an
    /// accuracy, or else an error or a loss, whichever the runs have.
    #[arg(long, value_name = "NAME")]
    metric: Option<String>,
    /// Fit although the runs differ in this, as a refusal names it: a note, `host`, `processor`. Can be repeated.
    #[arg(long, value_name = "NAME")]
    vary: Vec<String>,
    #[command(flatten)]
    place: Place,
    /// Give an object: `families`, each with `size_law` and `error_law`, or why there is none.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer {
    families: Vec<Laws>,
}

/// The laws of a framework's runs.
#[derive(Serialize)]
struct Laws {
    framework: String,
    runs: usize,
    size_law: Option<SizeLaw>,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_size_law: Option<String>,
    error_law: Option<ErrorLaw>,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_error_law: Option<String>,
    half_the_error: Option<Half>,
}

impl Scaling {
    pub(crate) fn run(&self, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<u8> {
        let site = match self.place.site() {
            Ok(site) => site,
            Err(error) => {
                complain(err, error);
                return Ok(FAILURE);
            }
        };
        let read = self.runs.histories(err);
        let families: Vec<Laws> = Family::by_framework(&read.histories)
            .into_iter()
            .map(|family| self.laws(&family.vary(self.vary.iter().cloned()), &site))
            .collect();
        let fitted =
            families.iter().any(|laws| laws.size_law.is_some() || laws.error_law.is_some());
        if self.json {
            write_json(out, &Answer { families })?;
        } else {
            for (place, laws) in families.iter().enumerate() {
                let gap = if place > 0 { "\n" } else { "" };
                write!(out, "{gap}")?;
                laws.write(out, &site)?;
            }
        }
        Ok(if read.whole && fitted { 0 } else { FAILURE })
    }

    fn laws(&self, family: &Family<'_>, site: &Site) -> Laws {
        let (size_law, no_size_law) = split(SizeLaw::of(family));
        let (error_law, no_error_law) = split(ErrorLaw::of(family, self.metric.as_deref()));
        let half = error_law.as_ref().and_then(|law| law.half().ok());
        Laws {
            framework: family.name.clone(),
            runs: family.runs.len(),
            size_law,
            no_size_law,
            error_law,
            no_error_law,
            half_the_error: half.map(|half| half.at(site)),
        }
    }
}

impl Laws {
    fn write(&self, out: &mut dyn Write, site: &Site) -> io::Result<()> {
        writeln!(out, "{} ({} runs)", self.framework, self.runs)?;
        writeln!(out, "\nWhat size costs")?;
        match (&self.size_law, &self.no_size_law) {
            (Some(law), _) => writeln!(out, "{law}")?,
            (None, reason) => writeln!(out, "{}", wrapped(reason.as_deref().unwrap_or_default()))?,
        }
        writeln!(out, "\nWhat a smaller error costs")?;
        match (&self.error_law, &self.no_error_law) {
            (Some(law), _) => writeln!(out, "{law}")?,
            (None, reason) => writeln!(out, "{}", wrapped(reason.as_deref().unwrap_or_default()))?,
        }
        let Some(half) = &self.half_the_error else { return Ok(()) };
        let facility = |energy| format!("{:.2e}", site.facility(energy).as_kilowatt_hours());
        let ends = match (half.low, half.high) {
            (Some(low), Some(high)) => format!("{} to {}", facility(low), facility(high)),
            (Some(low), None) => format!("{} or more", facility(low)),
            _ => "not bounded".to_owned(),
        };
        let mut parts = vec![format!("{} kWh ({ends})", facility(half.energy))];
        parts.extend(half.carbon.map(|carbon| carbon.to_string()));
        parts.extend(half.cost.map(|cost| format!("{:.2e} {}", cost.amount, cost.currency)));
        writeln!(out, "Half of the best error at this place: {}.", parts.join(", "))?;
        writeln!(out, "PUE {}: {}", site.pue.value.ratio(), site.pue.source)?;
        if let Some(intensity) = &site.intensity {
            writeln!(out, "{}: {}", intensity.value, intensity.source)?;
        }
        Ok(())
    }
}

fn split<T>(law: Result<T, Error>) -> (Option<T>, Option<String>) {
    match law {
        Ok(law) => (Some(law), None),
        Err(error) => (None, Some(error.to_string())),
    }
}

/// A text in lines of at most 100 letters.
fn wrapped(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= 100 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}
