//! [`ModelCard`]: emissions in the metadata of a Hugging Face model card.

use std::fmt;
use std::path::Path;

use ergometer::{Error, Result};
use ergometer_report::History;
use ergometer_report::quantity::Co2e;
use ergometer_report::site::Site;

use super::Stage;
use super::evidence::{Evidence, breaks, plus_minus, rounded};
use super::front_matter::set;

/// The entry `co2_eq_emissions` of a model card on Hugging Face: emissions of a run in **grams** of CO2 equivalent.
///
/// Printed, it is the whole front matter of a new card. [`written_into`](ModelCard::written_into) puts it into a card that
/// exists, of which every other byte stays as it is.
///
/// The keys are those of Hugging Face's guide "Displaying carbon emissions for your model". The energy itself has no key
/// there, nor its uncertainty; `source` says both in words, and whether they were measured.
#[derive(Clone, Debug)]
pub struct ModelCard {
    /// Values as YAML; those that are not known have no place in the entry.
    fields: Vec<(&'static str, Option<String>)>,
}

const ENTRY: &str = "co2_eq_emissions";

impl ModelCard {
    /// The entry of the run that made the model.
    ///
    /// # Errors
    /// None or several runs, an energy that is not known, and a place whose carbon intensity is not known.
    pub fn of(runs: &[History], site: &Site) -> Result<ModelCard> {
        let run = Evidence::of_one(runs, site, "a model card")?;
        let (mass, intensity) = run.emissions("a model card")?;
        let (mass, expanded) = (mass.as_grams(), run.carbon_expanded().map(Co2e::as_grams));
        let covered = if expanded.is_some() { " (k = 2, of the energy alone)" } else { "" };
        let mut source = format!(
            "{}; {}; {}{covered}; {}",
            run.source(),
            run.how(),
            plus_minus(mass, expanded, "g"),
            run.place(intensity)
        );
        if let Some(caveat) = run.caveat() {
            source = format!("{source}; {caveat}");
        }
        Ok(ModelCard {
            fields: vec![
                ("emissions", Some(rounded(mass, expanded))),
                ("source", Some(quoted(&source))),
                ("geographical_location", run.grid().map(|country| quoted(country.name))),
                ("hardware_used", run.hardware().as_deref().map(quoted)),
            ],
        })
    }

    /// This entry with what the training was for.
    #[must_use]
    pub fn stage(mut self, stage: Stage) -> ModelCard {
        self.fields.push(("training_type", Some(quoted(&stage.to_string()))));
        self
    }

    /// The text of a card with this entry, and the fields of the entry that were there and are kept; `path` is where it is from,
    /// for errors.
    ///
    /// A card without front matter gets one. An entry that is there is brought up to date: a `geographical_location` or
    /// `hardware_used` that is not known of this run goes, and what a log does not tell, such as a `training_type`, is kept,
    /// though it may be that of another run. All other bytes, comments and line ends among them, are as before.
    ///
    /// # Errors
    /// A front matter that is not understood for certain, with its line.
    pub fn written_into(&self, card: &str, path: &Path) -> Result<(String, Vec<String>)> {
        set(card, ENTRY, &self.fields).map_err(|fault| {
            Error::invalid(format!("`{}`, line {}: {fault}", path.display(), fault.line))
                .cure("nothing was changed; write the metadata as plain `key: value` lines between two lines of `---`, or put the entry in by hand")
        })
    }
}

/// A front matter that holds this entry alone.
impl fmt::Display for ModelCard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match set("", ENTRY, &self.fields) {
            Ok((card, _)) => f.write_str(&card),
            Err(_) => Err(fmt::Error),
        }
    }
}

/// Text as a YAML scalar in double quotes (YAML 1.2, section 7.3.1), in one line.
fn quoted(text: &str) -> String {
    let mut scalar = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => scalar.extend(['\\', letter]),
            '\u{fffe}' | '\u{ffff}' => scalar.push('\u{fffd}'),
            letter if breaks(letter) => scalar.push_str(&format!("\\u{:04x}", u32::from(letter))),
            letter => scalar.push(letter),
        }
    }
    scalar.push('"');
    scalar
}
