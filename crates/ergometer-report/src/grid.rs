//! The carbon intensity of electricity: annual means of countries, hourly files, and services that tell it live.

pub mod hourly;
#[cfg(feature = "live")]
pub mod live;

use ergometer::{Error, Result};

use crate::quantity::CarbonIntensity;

/// The annual mean of a country's electricity: emissions of the whole life cycle for what is produced there, in grams of
/// CO2 equivalent per kilowatt hour. Imports, and the hour of the day, are not in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Country {
    /// Its code by ISO 3166-1 alpha-2.
    pub alpha2: &'static str,
    /// Its code by ISO 3166-1 alpha-3.
    pub alpha3: &'static str,
    /// Its name.
    pub name: &'static str,
    /// The mean over the year.
    pub intensity: CarbonIntensity,
    /// The year, the latest that is known.
    pub year: u16,
}

impl Country {
    /// Whose figure it is, in words.
    pub fn source(&self) -> String {
        format!(
            "{}, Ember via Our World in Data, {}, annual mean of production",
            self.name, self.year
        )
    }
}

/// The annual mean of a country by its ISO 3166 code or its name, in any case.
///
/// ```
/// let france = ergometer_report::grid::country("fra")?;
/// assert_eq!((france.name, france.year), ("France", 2025));
/// assert_eq!(france.intensity.to_string(), "41 g CO2e/kWh");
/// assert!(ergometer_report::grid::country("Atlantis").is_err());
/// # Ok::<(), ergometer::Error>(())
/// ```
///
/// # Errors
/// A country that is not listed, with the names that are nearest; a listed one whose mean is not known; and what is no
/// country. There is no mean of the world to fall back on.
pub fn country(asked: &str) -> Result<Country> {
    let key = key(asked);
    if NO_COUNTRIES.contains(&key.as_str()) {
        return Err(Error::invalid(format!(
            "`{asked}` is not a country, and has no grid of its own"
        ))
        .cure("give the country, or the carbon intensity of the electricity"));
    }
    let key =
        ALIASES.iter().find(|(alias, _)| *alias == key).map_or(key.as_str(), |(_, code)| code);
    let row = rows()
        .find(|row| row.keys().contains(&key.to_owned()))
        .ok_or_else(|| unknown(asked, key))?;
    row.known().ok_or_else(|| {
        Error::absent(format!(
            "the carbon intensity of {}'s electricity is not known: the last figure is of {}",
            row.name, row.year
        ))
        .cure("give the carbon intensity of the electricity")
    })
}

/// All countries whose annual mean is known, by their alpha-2 codes.
pub fn countries() -> impl Iterator<Item = Country> {
    rows().filter_map(|row| row.known())
}

const TABLE: &str = include_str!("grid/countries.csv");

/// What is in use beside the table's codes and names: two reserved codes, the first in ISO 3166 and the second used by the
/// European Union, and names of ISO 3166 and older ones that no edit leads to.
const ALIASES: [(&str, &str); 16] = [
    ("uk", "gb"),
    ("el", "gr"),
    ("greatbritain", "gb"),
    ("türkiye", "tr"),
    ("turkiye", "tr"),
    ("czechrepublic", "cz"),
    ("caboverde", "cv"),
    ("timorleste", "tl"),
    ("russianfederation", "ru"),
    ("côtedivoire", "ci"),
    ("ivorycoast", "ci"),
    ("réunion", "re"),
    ("macau", "mo"),
    ("drcongo", "cd"),
    ("burma", "mm"),
    ("unitedstatesofamerica", "us"),
];

const NO_COUNTRIES: [&str; 8] =
    ["world", "wor", "global", "earth", "eu", "eu27", "europe", "europeanunion"];

/// A line of the table.
struct Row {
    alpha2: &'static str,
    alpha3: &'static str,
    name: &'static str,
    /// Empty where the mean is not known.
    intensity: &'static str,
    year: u16,
}

fn rows() -> impl Iterator<Item = Row> {
    TABLE.lines().filter(|line| !line.starts_with('#')).skip(1).filter_map(|line| {
        let fields: [&str; 5] = line.split(',').collect::<Vec<_>>().try_into().ok()?;
        let [alpha2, alpha3, name, intensity, year] = fields;
        Some(Row { alpha2, alpha3, name, intensity, year: year.parse().ok()? })
    })
}

impl Row {
    fn known(&self) -> Option<Country> {
        let &Row { alpha2, alpha3, name, intensity, year } = self;
        let intensity = CarbonIntensity::from_grams_per_kilowatt_hour(intensity.parse().ok()?);
        Some(Country { alpha2, alpha3, name, intensity, year })
    }

    fn keys(&self) -> [String; 3] {
        [self.alpha2, self.alpha3, self.name].map(key)
    }

    /// How far it is from what was asked: edits from the name or, for what may be meant as a code, from a code; names that
    /// hold what was asked, or are held by it, come first.
    fn distance(&self, asked: &str) -> (bool, usize) {
        let [alpha2, alpha3, name] = self.keys();
        let held = asked.len() > 3 && (name.contains(asked) || asked.contains(&name));
        let mut edits = edits(asked, &name);
        if asked.len() <= 3 {
            edits = edits.min(self::edits(asked, &alpha2)).min(self::edits(asked, &alpha3));
        }
        (!held, edits)
    }
}

/// What is compared: letters and digits, in lower case.
fn key(text: &str) -> String {
    text.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The names that come nearest to what was asked.
const SUGGESTIONS: usize = 3;

fn unknown(asked: &str, key: &str) -> Error {
    let mut near: Vec<Row> = rows().collect();
    near.sort_by_key(|row| row.distance(key));
    let near: Vec<String> =
        near.iter().take(SUGGESTIONS).map(|row| format!("{} ({})", row.name, row.alpha2)).collect();
    Error::invalid(format!("no country `{asked}` is listed"))
        .cure(format!("nearest are {}; or give the carbon intensity itself", near.join(", ")))
}

/// The edits that make one text of the other: letters put in, left out or replaced (Levenshtein 1966).
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, letter) in left.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], line + 1);
        for (column, other) in right.iter().enumerate() {
            let replaced = corner + usize::from(letter != *other);
            corner = row[column + 1];
            row[column + 1] = replaced.min(corner + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        assert_eq!(edits("kitten", "sitting"), 3);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("grmany", "germany"), 1);
    }

    #[test]
    fn every_line_of_the_table_is_read() {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(rows().count(), lines - 1);
        for country in countries() {
            assert!(crate::site::possible(country.intensity).is_ok(), "{}", country.name);
            assert_eq!(super::country(country.alpha2).unwrap(), country);
            assert_eq!(super::country(country.alpha3).unwrap(), country);
            assert_eq!(super::country(country.name).unwrap(), country);
        }
    }
}
