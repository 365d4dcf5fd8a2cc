//! Energy and emissions told in things that people know.

use std::cmp::Ordering;
use std::fmt;

use ergometer::{Energy, Error, Result};
use serde::Serialize;

use crate::footprint::equivalents;
use crate::quantity::{Co2e, Quantity};

/// At most three things that come to as much, each with its source and year.
///
/// The error of these factors is larger than that of any measurement: a car emits 107 to 254 g/km, by source. Those of
/// energy need no carbon intensity.
#[derive(Clone, Debug, Serialize)]
pub struct Equivalents {
    /// The things, energy first.
    pub items: Vec<Equivalent>,
}

/// How many of a thing come to as much.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Equivalent {
    /// How many.
    pub count: f64,
    /// Of what.
    pub what: &'static str,
    /// What one of it comes to, whose figure it is, and of which year.
    pub source: &'static str,
    /// True if it compares energy, false if emissions.
    pub energy: bool,
}

/// What one of a thing uses or emits.
struct Thing<Q> {
    what: &'static str,
    /// Things of one subject are not told together.
    subject: &'static str,
    one: Q,
    source: &'static str,
}

/// The electricity of things. The kettle is thermodynamics: the enthalpy of water is 83.9 kJ/kg at 20 °C and 419.1 kJ/kg at
/// 100 °C (IAPWS-95), and the kettle's own losses come on top.
fn uses() -> [Thing<Energy>; 5] {
    [
        Thing {
            what: "times lifting a kilogram by a metre",
            subject: "lift",
            one: Energy::from_joules(9.806_65),
            source: "9.8 J: standard gravity",
        },
        Thing {
            what: "hours of a lamp of 10 W",
            subject: "lamp",
            one: Energy::from_joules(36e3),
            source: "36 kJ",
        },
        Thing {
            what: "litres of water brought from 20 °C to the boil",
            subject: "kettle",
            one: Energy::from_joules(335.2e3),
            source: "335 kJ: enthalpy of water, IAPWS-95; losses of the kettle not counted",
        },
        Thing {
            what: "days of electricity of a home in the United States",
            subject: "home",
            one: Energy::from_kilowatt_hours(10_715.0 / 366.0),
            source: "29.3 kWh: residential customers, EIA, 2020",
        },
        Thing {
            what: "years of electricity of a home in the United States",
            subject: "home",
            one: Energy::from_kilowatt_hours(10_715.0),
            source: "10,715 kWh: residential customers, EIA, 2020",
        },
    ]
}

/// What things emit.
const EMITS: &[Thing<Co2e>] = &[
    Thing {
        what: "charges of a telephone",
        subject: "telephone",
        one: Co2e::from_grams(8.22),
        source: "8.22 g: EPA, in Dodge et al. 2022",
    },
    Thing {
        what: "km by a new car of the European Union",
        subject: "car",
        one: Co2e::from_grams(106.8),
        source: "107 g: type approval at the tailpipe, EEA, 2024",
    },
    Thing {
        what: "km by a car in France with its driver alone",
        subject: "car",
        one: Co2e::from_grams(142.0),
        source: "142 g with the car's making: ADEME Impact CO2, model of 2025",
    },
    Thing {
        what: "miles by a passenger car of the United States",
        subject: "car",
        one: Co2e::from_grams(398.0),
        source: "398 g: EPA, 2021, in Dodge et al. 2022",
    },
    Thing {
        what: "km by TGV",
        subject: "train",
        one: Co2e::from_grams(2.9),
        source: "2.9 g: ADEME Impact CO2, 2026",
    },
    Thing {
        what: "passengers flown between New York and San Francisco",
        subject: "flight",
        one: Co2e::from_pounds(1984.0),
        source: "900 kg: Strubell et al. 2019, table 1, “NY↔SF”; Patterson et al. 2021 have 1.2 t for a return",
    },
    Thing {
        what: "passengers flown from Paris to New York and back",
        subject: "flight",
        one: Co2e::from_kilograms(2060.0),
        source: "2,060 kg, contrails included: ADEME Impact CO2, 2026",
    },
    Thing {
        what: "years of a person in France",
        subject: "year",
        one: Co2e::from_kilograms(9100.0),
        source: "9.1 t: Nos Gestes Climat, in ADEME Impact CO2, 2026",
    },
    Thing {
        what: "years of energy of a home in the United States",
        subject: "year",
        one: Co2e::from_tonnes(8.30),
        source: "8.3 t: EPA, 2021, in Dodge et al. 2022",
    },
];

/// Things are told in numbers that one can picture.
const PLAUSIBLE: std::ops::RangeInclusive<f64> = 0.1..=10_000.0;

/// Numbers about this size are the easiest to picture.
const EASY: f64 = 10.0;

impl Equivalents {
    /// What an energy of the facility, and its emissions where they are known, come to: one thing that uses energy and two
    /// that emit, or else two that use energy.
    ///
    /// # Errors
    /// An energy so small or large that nothing comes to 0.1 to 10,000 of it.
    pub fn of(energy: Energy, co2e: Option<Co2e>) -> Result<Equivalents> {
        let emitting = co2e.map(|co2e| pick(co2e, EMITS, 2, false)).unwrap_or_default();
        let most = if emitting.is_empty() { 2 } else { 1 };
        let mut items = pick(energy, &uses(), most, true);
        items.extend(emitting);
        if items.is_empty() {
            return Err(Error::unsupported(format!("nothing that people know comes to {energy}"))
                .cure("leave it in joules"));
        }
        Ok(Equivalents { items })
    }
}

/// The things that come to numbers easiest to picture, of different subjects.
fn pick<Q: Quantity>(amount: Q, things: &[Thing<Q>], most: usize, energy: bool) -> Vec<Equivalent> {
    let mut counted: Vec<(f64, &Thing<Q>)> = things
        .iter()
        .filter_map(|thing| Some((equivalents(amount, thing.one).ok()?, thing)))
        .filter(|(count, _)| PLAUSIBLE.contains(count))
        .collect();
    let far = |count: f64| (count / EASY).ln().abs();
    counted.sort_by(|(a, _), (b, _)| far(*a).partial_cmp(&far(*b)).unwrap_or(Ordering::Equal));
    let mut picked: Vec<(f64, &Thing<Q>)> = Vec::new();
    for (count, thing) in counted {
        if picked.len() < most && picked.iter().all(|(_, other)| other.subject != thing.subject) {
            picked.push((count, thing));
        }
    }
    picked
        .into_iter()
        .map(|(count, thing)| Equivalent { count, what: thing.what, source: thing.source, energy })
        .collect()
}

impl fmt::Display for Equivalent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", two_digits(self.count), self.what, self.source)
    }
}

/// A number that is known to two digits.
pub(crate) fn two_digits(count: f64) -> String {
    match count.abs() {
        size if size < 0.095 => format!("{count:.1e}"),
        size if size < 0.995 => format!("{count:.2}"),
        size if size < 9.95 => format!("{count:.1}"),
        size if size < 99.5 => format!("{count:.0}"),
        size => {
            let decade = 10f64.powf(size.log10().floor() - 1.0);
            format!("{:.0}", (count / decade).round() * decade)
        }
    }
}

impl fmt::Display for Equivalents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for item in &self.items {
            writeln!(f, "as much as {item}")?;
        }
        write!(
            f,
            "* The factors err more than the measurement: a car emits 107 to 254 g/km, by source."
        )
    }
}
