//! Quantities beside energy, power and time: [`Co2e`], [`CarbonIntensity`], [`Pue`], [`Money`], [`Flop`] and their rates.
//!
//! This is the only file of the crate that knows grams, pounds, kilowatt hours and teraflops. What a quantity is for does
//! not matter here; a plain number without a type is a count, a share or a ratio.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Div, Mul};
use std::str::FromStr;
use std::time::Duration;

use ergometer::{Energy, Error, Power, Result};
use serde::{Serialize, Serializer};

/// A year of operation: 8,760 hours, as embodied emissions and utilisation are reckoned.
pub const YEAR: Duration = Duration::from_secs(8_760 * 3_600);

const KILOGRAMS_PER_POUND: f64 = 0.453_592_37; // exact: the international pound of 1959

/// A mass of greenhouse gases in CO2 equivalent, written in **kilograms**.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Co2e(f64);

impl Co2e {
    /// A mass from grams.
    pub const fn from_grams(grams: f64) -> Self {
        Co2e(grams / 1e3)
    }

    /// A mass from kilograms.
    pub const fn from_kilograms(kilograms: f64) -> Self {
        Co2e(kilograms)
    }

    /// A mass from metric tonnes.
    pub const fn from_tonnes(tonnes: f64) -> Self {
        Co2e(tonnes * 1e3)
    }

    /// A mass from avoirdupois pounds of exactly 0.45359237 kg.
    pub const fn from_pounds(pounds: f64) -> Self {
        Co2e(pounds * KILOGRAMS_PER_POUND)
    }

    /// The mass in grams.
    pub const fn as_grams(self) -> f64 {
        self.0 * 1e3
    }

    /// The mass in kilograms.
    pub const fn as_kilograms(self) -> f64 {
        self.0
    }

    /// The mass in metric tonnes.
    pub const fn as_tonnes(self) -> f64 {
        self.0 / 1e3
    }

    /// The mass in avoirdupois pounds of exactly 0.45359237 kg.
    pub const fn as_pounds(self) -> f64 {
        self.0 / KILOGRAMS_PER_POUND
    }
}

impl Add for Co2e {
    type Output = Co2e;
    fn add(self, other: Co2e) -> Co2e {
        Co2e(self.0 + other.0)
    }
}

impl Sum for Co2e {
    fn sum<I: Iterator<Item = Co2e>>(masses: I) -> Co2e {
        masses.fold(Co2e::default(), Add::add)
    }
}

/// Micrograms to tonnes, with one to three digits before the point; the precision is the digits after it (1).
impl fmt::Display for Co2e {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(1);
        let (size, unit) = match self.0.abs() {
            0.0 => (0.0, "g"),
            size if size < 1e-6 => (self.0 * 1e9, "µg"),
            size if size < 1e-3 => (self.0 * 1e6, "mg"),
            size if size < 1.0 => (self.as_grams(), "g"),
            size if size < 1e3 => (self.as_kilograms(), "kg"),
            _ => (self.as_tonnes(), "t"),
        };
        write!(f, "{size:.digits$} {unit} CO2e")
    }
}

impl Serialize for Co2e {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0)
    }
}

/// The carbon intensity of electricity: emissions for its energy, written in **grams per kilowatt hour**.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct CarbonIntensity(f64);

impl CarbonIntensity {
    /// An intensity from grams of CO2 equivalent per kilowatt hour.
    pub const fn from_grams_per_kilowatt_hour(grams: f64) -> Self {
        CarbonIntensity(grams)
    }

    /// An intensity from kilograms of CO2 equivalent per kilowatt hour, which are also tonnes per megawatt hour.
    pub const fn from_kilograms_per_kilowatt_hour(kilograms: f64) -> Self {
        CarbonIntensity(kilograms * 1e3)
    }

    /// An intensity from pounds of CO2 equivalent per kilowatt hour, as the EPA of the United States gives it.
    pub const fn from_pounds_per_kilowatt_hour(pounds: f64) -> Self {
        CarbonIntensity(pounds * KILOGRAMS_PER_POUND * 1e3)
    }

    /// The intensity in grams of CO2 equivalent per kilowatt hour.
    pub const fn as_grams_per_kilowatt_hour(self) -> f64 {
        self.0
    }
}

impl Mul<CarbonIntensity> for Energy {
    type Output = Co2e;
    fn mul(self, intensity: CarbonIntensity) -> Co2e {
        Co2e::from_grams(self.as_kilowatt_hours() * intensity.0)
    }
}

/// The energy behind emissions of this intensity; `None` where the intensity is not above 0.
impl Div<CarbonIntensity> for Co2e {
    type Output = Option<Energy>;
    fn div(self, intensity: CarbonIntensity) -> Option<Energy> {
        let size = self.as_grams() / intensity.0;
        (intensity.0 > 0.0 && size.is_finite()).then(|| Energy::from_kilowatt_hours(size))
    }
}

impl fmt::Display for CarbonIntensity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.*} g CO2e/kWh", f.precision().unwrap_or(0), self.0)
    }
}

impl Serialize for CarbonIntensity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0)
    }
}

/// Emissions for the time that something is used, as a device's manufacture spread over its life.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct EmissionRate(f64);

impl EmissionRate {
    /// The rate in kilograms of CO2 equivalent per hour.
    pub const fn as_kilograms_per_hour(self) -> f64 {
        self.0
    }

    /// The rate in grams of CO2 equivalent per hour.
    pub const fn as_grams_per_hour(self) -> f64 {
        self.0 * 1e3
    }
}

impl Div<Duration> for Co2e {
    type Output = EmissionRate;
    fn div(self, time: Duration) -> EmissionRate {
        EmissionRate(self.0 / (time.as_secs_f64() / 3_600.0))
    }
}

impl Mul<Duration> for EmissionRate {
    type Output = Co2e;
    fn mul(self, time: Duration) -> Co2e {
        Co2e(self.0 * time.as_secs_f64() / 3_600.0)
    }
}

/// Power usage effectiveness: the energy of a facility as a multiple of that of its IT equipment, at least 1 (ISO/IEC
/// 30134-2).
///
/// It is applied once, to energy of IT equipment, never to a reading of the whole facility.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
pub struct Pue(f64);

impl Pue {
    /// 1: no cooling or other overhead is counted.
    pub const NO_OVERHEAD: Pue = Pue(1.0);

    /// A power usage effectiveness from the ratio.
    ///
    /// # Errors
    /// A number below 1, or none: a facility uses at least what its equipment uses.
    pub fn new(ratio: f64) -> Result<Self> {
        if ratio.is_finite() && ratio >= 1.0 {
            Ok(Pue(ratio))
        } else {
            Err(Error::invalid(format!("a PUE of {ratio} is not possible"))
                .cure("give a facility's energy over its equipment's: 1.0 or more"))
        }
    }

    /// The ratio.
    pub const fn ratio(self) -> f64 {
        self.0
    }

    /// The energy of a facility whose equipment uses `it`.
    pub fn facility(self, it: Energy) -> Energy {
        it.scaled(self.0)
    }

    /// The energy of the equipment in a facility that uses `facility`.
    pub fn equipment(self, facility: Energy) -> Energy {
        facility.scaled(1.0 / self.0)
    }
}

/// The code of a currency by ISO 4217: `EUR`, `USD`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Currency([u8; 3]);

impl Currency {
    /// The euro.
    pub const EURO: Currency = Currency(*b"EUR");
    /// The dollar of the United States.
    pub const US_DOLLAR: Currency = Currency(*b"USD");
}

impl FromStr for Currency {
    type Err = Error;
    fn from_str(code: &str) -> Result<Self> {
        match <[u8; 3]>::try_from(code.as_bytes()) {
            Ok(letters) if letters.iter().all(u8::is_ascii_alphabetic) => {
                Ok(Currency(letters.map(|letter| letter.to_ascii_uppercase())))
            }
            _ => Err(Error::invalid(format!("`{code}` is not the code of a currency"))
                .cure("give three letters as in ISO 4217, such as EUR")),
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|letter| write!(f, "{}", char::from(*letter)))
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An amount of money in one currency; there is no exchange.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Money {
    /// How much, in units of the currency.
    pub amount: f64,
    /// Of which currency.
    pub currency: Currency,
}

impl Money {
    /// An amount of a currency.
    pub const fn new(amount: f64, currency: Currency) -> Self {
        Money { amount, currency }
    }
}

/// The amount before the currency; the precision is the digits after the point: without it 2, and of what is below 1 as many
/// as leave two significant ones.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or_else(|| match self.amount.abs() {
            size if size >= 1.0 || size == 0.0 || !size.is_finite() => 2,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "at least 1 here, and at most some 300"
            )]
            size => (1.0 - size.log10().floor()) as usize,
        });
        write!(f, "{:.digits$} {}", self.amount, self.currency)
    }
}

/// The price of electricity: money for energy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EnergyPrice(Money);

impl EnergyPrice {
    /// A price from money per kilowatt hour.
    pub const fn per_kilowatt_hour(money: Money) -> Self {
        EnergyPrice(money)
    }
}

/// As people write it: `0.25 EUR`.
impl FromStr for EnergyPrice {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let cure = "write money for a kilowatt hour, as in `0.25 EUR`";
        let wrong = || Error::invalid(format!("`{text}` is not a price")).cure(cure);
        let (amount, currency) = text.trim().split_once(char::is_whitespace).ok_or_else(wrong)?;
        let amount: f64 = amount.parse().map_err(|_| wrong())?;
        let currency: Currency = currency.trim().parse()?;
        if amount.is_finite() && amount > 0.0 {
            Ok(EnergyPrice::per_kilowatt_hour(Money::new(amount, currency)))
        } else {
            Err(wrong())
        }
    }
}

impl Mul<EnergyPrice> for Energy {
    type Output = Money;
    fn mul(self, price: EnergyPrice) -> Money {
        Money::new(self.as_kilowatt_hours() * price.0.amount, price.0.currency)
    }
}

/// The price of a device by time, as clouds let them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DevicePrice(Money);

impl DevicePrice {
    /// A price from money per hour of one device.
    pub const fn per_hour(money: Money) -> Self {
        DevicePrice(money)
    }
}

impl Mul<DevicePrice> for Duration {
    type Output = Money;
    fn mul(self, price: DevicePrice) -> Money {
        Money::new(self.as_secs_f64() / 3_600.0 * price.0.amount, price.0.currency)
    }
}

/// The price of emissions: money for CO2 equivalent, of a tax, of allowances, or of the damage done (the social cost).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CarbonPrice(Money);

impl CarbonPrice {
    /// A price from money per metric tonne of CO2 equivalent.
    pub const fn per_tonne(money: Money) -> Self {
        CarbonPrice(money)
    }
}

impl Mul<CarbonPrice> for Co2e {
    type Output = Money;
    fn mul(self, price: CarbonPrice) -> Money {
        Money::new(self.as_tonnes() * price.0.amount, price.0.currency)
    }
}

/// A number of floating-point operations.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Flop(f64);

impl Flop {
    /// A number of operations from their count.
    pub const fn from_count(operations: f64) -> Self {
        Flop(operations)
    }

    /// A number of operations from days of 10¹⁵ operations per second.
    pub const fn from_petaflop_days(days: f64) -> Self {
        Flop(days * 86_400e15)
    }

    /// The operations that train a dense transformer: 6·N·D for N parameters and D tokens (Kaplan et al. 2020, section 2.1).
    pub const fn of_transformer(parameters: f64, tokens: f64) -> Self {
        Flop(6.0 * parameters * tokens)
    }

    /// The count.
    pub const fn as_count(self) -> f64 {
        self.0
    }
}

/// The rate at which a device does floating-point operations in practice.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct FlopRate(f64);

impl FlopRate {
    /// A rate from operations per second.
    pub const fn per_second(operations: f64) -> Self {
        FlopRate(operations)
    }

    /// A rate from 10¹² operations per second.
    pub const fn from_teraflops(teraflops: f64) -> Self {
        FlopRate(teraflops * 1e12)
    }
}

/// The rate at which a device works that reaches this share of its peak.
impl Mul<f64> for FlopRate {
    type Output = FlopRate;
    fn mul(self, share: f64) -> FlopRate {
        FlopRate(self.0 * share)
    }
}

/// The time that the operations take; `None` where the rate is not positive, or the time is beyond all measure.
impl Div<FlopRate> for Flop {
    type Output = Option<Duration>;
    fn div(self, rate: FlopRate) -> Option<Duration> {
        (rate.0 > 0.0).then(|| Duration::try_from_secs_f64(self.0 / rate.0).ok()).flatten()
    }
}

/// A quantity that adds up and can be divided: energy, power, time, emissions, money, or a plain count.
pub trait Quantity: Copy {
    /// How much it is, in whatever unit the type has inside.
    fn size(self) -> f64;

    /// As much as `size`, of the same kind.
    ///
    /// # Errors
    /// A size that the kind does not have: what is not a number, or a negative time.
    fn resized(self, size: f64) -> Result<Self>;

    /// Whether it can be set against `other`.
    ///
    /// # Errors
    /// Money of another currency.
    fn alike(self, _other: Self) -> Result<()> {
        Ok(())
    }

    /// It as a multiple of `other`.
    ///
    /// # Errors
    /// Nothing to divide by, or what is not [`alike`](Quantity::alike).
    fn ratio_to(self, other: Self) -> Result<f64> {
        self.alike(other)?;
        let ratio = self.size() / other.size();
        if ratio.is_finite() {
            Ok(ratio)
        } else {
            Err(Error::invalid(format!("there is no ratio of {} to {}", self.size(), other.size()))
                .cure("give numbers, of which the second is not 0"))
        }
    }
}

fn finite(size: f64) -> Result<f64> {
    if size.is_finite() { Ok(size) } else { Err(Error::invalid("a quantity is not a number")) }
}

impl Quantity for Energy {
    fn size(self) -> f64 {
        self.as_joules()
    }
    fn resized(self, size: f64) -> Result<Self> {
        finite(size).map(Energy::from_joules)
    }
}

impl Quantity for Power {
    fn size(self) -> f64 {
        self.as_watts()
    }
    fn resized(self, size: f64) -> Result<Self> {
        finite(size).map(Power::from_watts)
    }
}

impl Quantity for Duration {
    fn size(self) -> f64 {
        self.as_secs_f64()
    }
    fn resized(self, size: f64) -> Result<Self> {
        Duration::try_from_secs_f64(size)
            .map_err(|cause| Error::invalid(format!("{size} s is not a time")).caused_by(cause))
    }
}

impl Quantity for Co2e {
    fn size(self) -> f64 {
        self.0
    }
    fn resized(self, size: f64) -> Result<Self> {
        finite(size).map(Co2e)
    }
}

impl Quantity for Money {
    fn size(self) -> f64 {
        self.amount
    }
    fn resized(self, size: f64) -> Result<Self> {
        finite(size).map(|amount| Money { amount, ..self })
    }
    fn alike(self, other: Self) -> Result<()> {
        if self.currency == other.currency {
            Ok(())
        } else {
            Err(Error::invalid(format!(
                "{} cannot be set against {}",
                self.currency, other.currency
            ))
            .cure("give both in one currency"))
        }
    }
}

impl Quantity for f64 {
    fn size(self) -> f64 {
        self
    }
    fn resized(self, size: f64) -> Result<Self> {
        finite(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_facility_uses_no_less_than_its_equipment() {
        assert!(Pue::new(0.99).is_err());
        assert!(Pue::new(f64::NAN).is_err());
        let pue = Pue::new(1.25).unwrap();
        let it = Energy::from_kilowatt_hours(8.0);
        assert_eq!(pue.equipment(pue.facility(it)), it);
    }

    #[test]
    fn cents_and_less_keep_two_digits() {
        let print = |amount| Money::new(amount, Currency::EURO).to_string();
        assert_eq!([12.3, 1.0, 0.25].map(print), ["12.30 EUR", "1.00 EUR", "0.25 EUR"]);
        assert_eq!([0.0123, 0.000_012, 0.0].map(print), ["0.012 EUR", "0.000012 EUR", "0.00 EUR"]);
        assert_eq!(format!("{:.1}", Money::new(0.25, Currency::EURO)), "0.2 EUR");
    }

    #[test]
    fn currencies_do_not_mix() {
        let euros = Money::new(3.0, Currency::EURO);
        assert!(euros.ratio_to(Money::new(2.0, Currency::US_DOLLAR)).is_err());
        assert_eq!(
            euros.ratio_to(Money::new(2.0, "eur".parse().unwrap())).unwrap().to_bits(),
            1.5_f64.to_bits()
        );
        assert!("€".parse::<Currency>().is_err());
    }

    #[test]
    fn what_is_not_a_number_is_no_quantity() {
        assert!(Energy::ZERO.resized(f64::NAN).is_err());
        assert!(Energy::ZERO.ratio_to(Energy::ZERO).is_err());
        assert!(Duration::ZERO.resized(-1.0).is_err());
    }

    #[test]
    fn masses_print_in_a_unit_that_fits() {
        assert_eq!(Co2e::from_grams(8.22e-4).to_string(), "822.0 µg CO2e");
        assert_eq!(Co2e::from_grams(8.22e-3).to_string(), "8.2 mg CO2e");
        assert_eq!(Co2e::from_grams(8.22).to_string(), "8.2 g CO2e");
        assert_eq!(Co2e::from_pounds(26.0).to_string(), "11.8 kg CO2e");
        assert_eq!(Co2e::from_kilograms(552_100.0).to_string(), "552.1 t CO2e");
    }
}
