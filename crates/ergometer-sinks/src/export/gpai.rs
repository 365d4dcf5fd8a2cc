//! [`Gpai`]: what the European Union asks of providers of general-purpose models on energy, as a block of text.

use std::fmt;

use ergometer::sensor::Hardware;
use ergometer::{Energy, Result};
use ergometer_report::History;
use ergometer_report::quantity::Flop;
use ergometer_report::site::Site;

use super::evidence::{Evidence, plus_minus};

/// The figures on energy that the Model Documentation Form of the Code of Practice for general-purpose models asks for
/// (European Commission, 10 July 2025, chapter on transparency; Annex XI of Regulation (EU) 2024/1689 on artificial
/// intelligence): energy in **`MWh`** with two significant digits at least, training time, operations, and how they were measured.
///
/// A help for who fills in the form, of one run. It does not say that the form is complete, or right.
#[derive(Clone, Debug)]
pub struct Gpai {
    text: String,
}

impl Gpai {
    /// The figures of the run that made the model; with its floating-point operations, where the user knows them.
    ///
    /// # Errors
    /// None or several runs, and an energy that is not known.
    pub fn of(runs: &[History], site: &Site, operations: Option<Flop>) -> Result<Gpai> {
        let run = Evidence::of_one(runs, site, "the block for the European form")?;
        let time = run.history.summary.end.duration;
        let days = time.as_secs_f64() / 86_400.0;
        let (energy, expanded) = (run.facility(), run.facility_expanded());
        let expanded_size = expanded.map(Energy::as_megawatt_hours);
        let energy = plus_minus(energy.as_megawatt_hours(), expanded_size, "MWh");
        let covered = if expanded.is_some() { " (k = 2)" } else { "" };
        let gpus: u32 = run
            .devices(Hardware::Gpu)
            .values()
            .filter_map(|count| u32::try_from(*count).ok())
            .sum();
        let devices = if gpus > 0 {
            format!("; {} GPU days on {gpus} GPUs", significant(days * f64::from(gpus)))
        } else {
            String::new()
        };
        let operations = match operations {
            Some(operations) => format!(
                "{:.1e} floating-point operations, as the provider says",
                operations.as_count()
            ),
            None => "not known to the meter, which counts energy".to_owned(),
        };
        let text = format!(
            "Amount of energy used for training: {energy}{covered}, {}\n\
             Measurement methodology: {}\n\
             Training time: {} days ({:.1} s){devices}\n\
             Amount of computation used for training: {operations}\n",
            run.how(),
            methodology(&run),
            significant(days),
            time.as_secs_f64(),
        );
        Ok(Gpai { text })
    }
}

impl fmt::Display for Gpai {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Two significant digits or a whole number.
fn significant(value: f64) -> String {
    super::evidence::rounded(value, Some(value.abs()))
}

/// The method, in some hundred words.
fn methodology(run: &Evidence<'_>) -> String {
    let manifest = &run.history.summary.manifest;
    let name = super::evidence::line(run.history.name());
    let over = match run.is_whole() {
        true => format!("the whole run `{name}`"),
        false => format!("the run `{name}` as far as it is recorded"),
    };
    let mut text = format!(
        "Determined in the training process by {} over {over}; {}. Covered is what these sensors see, whoever used it",
        run.source(),
        run.how(),
    );
    if let Some(parts) = run.unmeasured() {
        text = format!("{text}; not measured: {parts}");
    }
    let (pue, whose) = (run.site.pue.value.ratio(), super::evidence::line(&run.site.pue.source));
    text = format!(
        "{text}. The energy of the IT equipment is multiplied by a PUE of {pue:?} ({whose})."
    );
    if run.expanded.is_some() {
        text = format!(
            "{text} The uncertainty is expanded (k = 2, JCGM 100:2008) and that of the sensors or models alone."
        );
    }
    if let Some(caveat) = run.caveat() {
        text = format!("{text} Note that {caveat}.");
    }
    if manifest.sessions > 1 {
        text =
            format!("{text} The run was resumed; its {} sessions are counted.", manifest.sessions);
    }
    format!(
        "{text} Other runs, such as searches and failed ones, and the making of the hardware are not in it."
    )
}
