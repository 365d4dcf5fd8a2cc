//! Names that end in their unit, and the quantities that they and a number make.

use std::time::Duration;

use ergometer::{Energy, Power};
use ergometer_report::quantity::{
    CarbonIntensity, Co2e, Currency, DevicePrice, EmissionRate, EnergyPrice, Flop, FlopRate, Money,
    YEAR,
};

const HOUR: Duration = Duration::from_secs(3_600);

/// A value with its kind.
#[derive(Clone, Copy, Debug)]
pub(super) enum Measure {
    Energy(Energy),
    Power(Power),
    Time(Duration),
    Co2e(Co2e),
    Intensity(CarbonIntensity),
    EmissionRate(EmissionRate),
    Money(Money),
    EnergyPrice(EnergyPrice),
    DevicePrice(DevicePrice),
    Flop(Flop),
    FlopRate(FlopRate),
    Number(f64),
}

/// A kind of quantity, out of a measure.
pub(super) trait Kind: Copy + Into<Measure> {
    fn of(measure: Measure) -> Option<Self>;
}

macro_rules! kinds {
    ($($variant:ident($kind:ty)),*) => {$(
        impl Kind for $kind {
            fn of(measure: Measure) -> Option<Self> {
                if let Measure::$variant(value) = measure { Some(value) } else { None }
            }
        }

        impl From<$kind> for Measure {
            fn from(value: $kind) -> Measure {
                Measure::$variant(value)
            }
        }
    )*};
}

kinds!(
    Energy(Energy),
    Power(Power),
    Time(Duration),
    Co2e(Co2e),
    Intensity(CarbonIntensity),
    EmissionRate(EmissionRate),
    Money(Money),
    EnergyPrice(EnergyPrice),
    DevicePrice(DevicePrice),
    Flop(Flop),
    FlopRate(FlopRate),
    Number(f64)
);

/// A unit, as a multiple of the one that the quantity's constructor takes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    /// Of a kilowatt hour.
    Energy(f64),
    /// Of a watt.
    Power(f64),
    /// Of a second.
    Time(f64),
    /// Of a kilogram.
    Mass(f64),
    /// Of a kilogram per kilowatt hour.
    Intensity(f64),
    /// Of a kilogram per hour.
    EmissionRate(f64),
    Money(f64, Currency),
    /// Of money per kilowatt hour.
    EnergyPrice(f64, Currency),
    /// Of money per hour.
    DevicePrice(f64, Currency),
    Flop(f64),
    /// Of operations per second.
    FlopRate(f64),
}

impl Unit {
    fn named(word: &str) -> Option<Unit> {
        Some(match word {
            "j" | "joule" => Unit::Energy(1.0 / 3.6e6),
            "kj" => Unit::Energy(1e3 / 3.6e6),
            "mj" => Unit::Energy(1e6 / 3.6e6),
            "gj" => Unit::Energy(1e9 / 3.6e6),
            "wh" => Unit::Energy(1e-3),
            "kwh" => Unit::Energy(1.0),
            "mwh" => Unit::Energy(1e3),
            "gwh" => Unit::Energy(1e6),
            "w" | "watt" => Unit::Power(1.0),
            "kw" => Unit::Power(1e3),
            "mw" => Unit::Power(1e6),
            "s" | "sec" | "second" => Unit::Time(1.0),
            "minute" => Unit::Time(60.0),
            "h" | "hr" | "hour" => Unit::Time(HOUR.as_secs_f64()),
            "d" | "day" => Unit::Time(24.0 * HOUR.as_secs_f64()),
            "week" => Unit::Time(7.0 * 24.0 * HOUR.as_secs_f64()),
            "yr" | "year" => Unit::Time(YEAR.as_secs_f64()),
            "g" | "gram" | "gco2" | "gco2e" | "gco2eq" => Unit::Mass(1e-3),
            "kg" | "kgco2" | "kgco2e" | "kgco2eq" => Unit::Mass(1.0),
            "t" | "ton" | "tonne" | "tco2" | "tco2e" | "tco2eq" => Unit::Mass(1e3),
            "lb" | "lbs" | "pound" => Unit::Mass(Co2e::from_pounds(1.0).as_kilograms()),
            "usd" | "dollar" => Unit::Money(1.0, Currency::US_DOLLAR),
            "eur" | "euro" => Unit::Money(1.0, Currency::EURO),
            "flop" | "flops" => Unit::Flop(1.0),
            "gflop" => Unit::Flop(1e9),
            "tflop" => Unit::Flop(1e12),
            "pflop" | "petaflop" => Unit::Flop(1e15),
            "eflop" | "exaflop" => Unit::Flop(1e18),
            "zflop" | "zettaflop" => Unit::Flop(1e21),
            "gflops" | "gigaflops" => Unit::FlopRate(1e9),
            "tflops" | "teraflops" => Unit::FlopRate(1e12),
            "pflops" | "petaflops" => Unit::FlopRate(1e15),
            _ => return None,
        })
    }

    /// The unit that one over another is, where that is a kind of its own.
    fn over(self, under: &str) -> Option<Unit> {
        Some(match (self, Unit::named(under)?) {
            (Unit::Mass(mass), Unit::Energy(energy)) => Unit::Intensity(mass / energy),
            (Unit::Mass(mass), Unit::Time(time)) => {
                Unit::EmissionRate(mass * HOUR.as_secs_f64() / time)
            }
            (Unit::Money(money, of), Unit::Energy(energy)) => Unit::EnergyPrice(money / energy, of),
            (Unit::Money(money, of), Unit::Time(time)) => {
                Unit::DevicePrice(money * HOUR.as_secs_f64() / time, of)
            }
            (Unit::Flop(flop), Unit::Time(time)) => Unit::FlopRate(flop / time),
            _ => return None,
        })
    }

    /// What a number in this unit is; `None` for what the quantity cannot be.
    pub(super) fn measure(self, value: f64) -> Option<Measure> {
        Some(match self {
            Unit::Energy(by) => Energy::from_kilowatt_hours(value * by).into(),
            Unit::Power(by) => Power::from_watts(value * by).into(),
            Unit::Time(by) => Duration::try_from_secs_f64(value * by).ok()?.into(),
            Unit::Mass(by) => Co2e::from_kilograms(value * by).into(),
            Unit::Intensity(by) => {
                CarbonIntensity::from_kilograms_per_kilowatt_hour(value * by).into()
            }
            Unit::EmissionRate(by) => (Co2e::from_kilograms(value * by) / HOUR).into(),
            Unit::Money(by, of) => Money::new(value * by, of).into(),
            Unit::EnergyPrice(by, of) => {
                EnergyPrice::per_kilowatt_hour(Money::new(value * by, of)).into()
            }
            Unit::DevicePrice(by, of) => DevicePrice::per_hour(Money::new(value * by, of)).into(),
            Unit::Flop(by) => Flop::from_count(value * by).into(),
            Unit::FlopRate(by) => FlopRate::per_second(value * by).into(),
        })
    }

    /// How much a measure is in this unit; `None` for another kind.
    pub(super) fn number(self, measure: Measure) -> Option<f64> {
        Some(match (self, measure) {
            (Unit::Energy(by), Measure::Energy(energy)) => energy.as_kilowatt_hours() / by,
            (Unit::Power(by), Measure::Power(power)) => power.as_watts() / by,
            (Unit::Time(by), Measure::Time(time)) => time.as_secs_f64() / by,
            (Unit::Mass(by), Measure::Co2e(mass)) => mass.as_kilograms() / by,
            (Unit::Intensity(by), Measure::Intensity(intensity)) => {
                intensity.as_grams_per_kilowatt_hour() / 1e3 / by
            }
            (Unit::EmissionRate(by), Measure::EmissionRate(rate)) => {
                rate.as_kilograms_per_hour() / by
            }
            (Unit::Money(by, of), Measure::Money(money)) if money.currency == of => {
                money.amount / by
            }
            (Unit::Flop(by), Measure::Flop(flop)) => flop.as_count() / by,
            _ => return None,
        })
    }

    fn times(self, factor: f64) -> Unit {
        match self {
            Unit::Energy(by) => Unit::Energy(by * factor),
            Unit::Mass(by) => Unit::Mass(by * factor),
            Unit::Money(by, of) => Unit::Money(by * factor, of),
            unit => unit,
        }
    }
}

/// A name in its parts: `power_per_processor_w` is a power called `power per processor`, `car_g_per_km` a mass of a `car`
/// per `km`.
#[derive(Clone, Debug)]
pub(super) struct Name {
    /// The words without the unit.
    pub(super) base: Vec<String>,
    /// All words.
    pub(super) words: Vec<String>,
    pub(super) unit: Option<Unit>,
    /// What it is given for one of, where that is no unit.
    pub(super) per: Vec<String>,
}

impl Name {
    pub(super) fn new(text: &str) -> Name {
        let words = words(text);
        let (base, unit, per) = parts(&words);
        // The gas that all masses here are of says nothing.
        Name { base: base.into_iter().filter(|word| !is_gas(word)).collect(), words, unit, per }
    }

    /// Whether it says its unit where a unit belongs.
    pub(super) fn ends_in_unit(&self) -> bool {
        self.unit.is_some() && self.words.last().is_some_and(|word| Unit::named(word).is_some())
    }
}

/// The words of a name, in the singular and in one spelling.
pub(super) fn words(text: &str) -> Vec<String> {
    text.to_lowercase()
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| match word {
            "utilization" | "usage" => "utilisation",
            "hours" => "hour",
            word if word.len() > 3 && !word.ends_with("ss") && !word.ends_with("flops") => {
                word.strip_suffix('s').unwrap_or(word)
            }
            word => word,
        })
        .map(str::to_owned)
        .collect()
}

fn is_gas(word: &str) -> bool {
    ["co2", "co2e", "co2eq", "carbon", "emission", "ghg"].contains(&word)
}

/// What a name is called, its unit, and what it is for one of.
fn parts(words: &[String]) -> (Vec<String>, Option<Unit>, Vec<String>) {
    let without = |from: usize, to: usize| [&words[..from], &words[to..]].concat();
    for at in (1..words.len().saturating_sub(1)).rev().filter(|at| words[*at] == "per") {
        let Some((start, over)) = unit_before(words, at) else { continue };
        let under = &words[at + 1..];
        // `g_per_kwh_low` has its unit in front, `usd_per_gpu_hour` at the end.
        if let Some(unit) = over.over(&under[0]) {
            return (without(start, at + 2), Some(unit), Vec::new());
        }
        if let Some(unit) = over.over(&under[under.len() - 1]) {
            return (words[..start].to_vec(), Some(unit), Vec::new());
        }
        let (number, under) = match under[0].parse::<f64>() {
            Ok(number) => (number, &under[1..]),
            Err(_) => (1.0, under),
        };
        return (words[..start].to_vec(), Some(over.times(1.0 / number)), under.to_vec());
    }
    if let Some((start, unit)) = unit_before(words, words.len()) {
        // `inferences_per_day` is a number.
        let of_a_number = start > 0 && words[start - 1] == "per";
        return if of_a_number {
            (words.to_vec(), None, Vec::new())
        } else {
            (words[..start].to_vec(), Some(unit), Vec::new())
        };
    }
    // `tco2e_france`: of the units that are no single letters, the last.
    for end in (1..words.len()).rev().filter(|end| words[end - 1].len() > 1) {
        if let Some((start, unit)) = unit_before(words, end) {
            return (without(start, end), Some(unit), Vec::new());
        }
    }
    (words.to_vec(), None, Vec::new())
}

/// The unit that ends before `end`, and where it starts.
fn unit_before(words: &[String], mut end: usize) -> Option<(usize, Unit)> {
    // `kg_co2_per_kwh`, `kg_co2e`
    if end > 1 && is_gas(&words[end - 1]) && Unit::named(&words[end - 2]).is_some() {
        end -= 1;
    }
    // `pflop_days`, `petaflop_s_days`
    if let Some(days) = words[..end].strip_suffix(&["day".to_owned()]) {
        let days = days.strip_suffix(&["s".to_owned()]).unwrap_or(days);
        if days
            .last()
            .is_some_and(|last| ["pf", "pflop", "petaflop", "petaflops"].contains(&&**last))
        {
            let unit = Unit::Flop(Flop::from_petaflop_days(1.0).as_count());
            return Some((days.len() - 1, unit));
        }
    }
    // `rate_tflop_s`
    if let [.., flop, second] = &words[..end]
        && second == "s"
        && let Some(Unit::Flop(by) | Unit::FlopRate(by)) = Unit::named(flop)
    {
        return Some((end - 2, Unit::FlopRate(by)));
    }
    Some((end - 1, Unit::named(words.get(end.checked_sub(1)?)?)?))
}
