//! Quantities: [`Energy`], [`Power`] and [`Timestamp`].
//!
//! This is the only file that knows *milli*, *micro*, *nano*, *kilowatt hour* and *megawatt hour*. Inside the quantities are
//! integers, so that sums are exact: the steps of an epoch add up to the epoch to the last digit, however long the run.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul, Neg, Sub, SubAssign};
use std::time::Duration;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

const NANO: i128 = 1_000_000_000;

/// An amount of energy: an exact, signed number of nanojoules, written and read in **joules**.
///
/// Differences may be negative (energy net of an idle baseline); a counter's value never is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Energy(i128);

impl Energy {
    /// No energy.
    pub const ZERO: Energy = Energy(0);

    /// An energy from whole nanojoules.
    pub const fn from_nanojoules(nanojoules: i128) -> Self {
        Energy(nanojoules)
    }

    /// An energy from whole microjoules, the unit of the powercap interface.
    pub const fn from_microjoules(microjoules: u64) -> Self {
        Energy(microjoules as i128 * 1_000)
    }

    /// An energy from whole millijoules, the unit of NVML's counter.
    pub const fn from_millijoules(millijoules: u64) -> Self {
        Energy(millijoules as i128 * 1_000_000)
    }

    /// An energy from joules, rounded to the nanojoule; 0 for what is not a number.
    pub fn from_joules(joules: f64) -> Self {
        Energy(round(joules * 1e9))
    }

    /// An energy from kilowatt hours.
    pub fn from_kilowatt_hours(kilowatt_hours: f64) -> Self {
        Energy::from_joules(kilowatt_hours * 3.6e6)
    }

    /// The energy in joules.
    #[expect(
        clippy::cast_precision_loss,
        reason = "the door to floating point: 15 digits are enough outside sums"
    )]
    pub fn as_joules(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// The energy in kilowatt hours.
    pub fn as_kilowatt_hours(self) -> f64 {
        self.as_joules() / 3.6e6
    }

    /// The energy in megawatt hours.
    ///
    /// ```
    /// let energy = ergometer::Energy::from_kilowatt_hours(85_700.0);
    /// assert_eq!(energy.as_megawatt_hours(), 85.7);
    /// ```
    pub fn as_megawatt_hours(self) -> f64 {
        self.as_joules() / 3.6e9
    }

    /// The energy in whole nanojoules.
    pub const fn as_nanojoules(self) -> i128 {
        self.0
    }

    /// The size of the energy, without its sign.
    pub const fn abs(self) -> Self {
        Energy(self.0.abs())
    }

    /// `factor` times this energy, rounded to the nearest nanojoule; exact to some 15 digits.
    pub fn scaled(self, factor: f64) -> Self {
        Energy::from_joules(self.as_joules() * factor)
    }

    /// The mean power at which this energy is used over `time`; `None` where no time passes.
    pub fn over(self, time: Duration) -> Option<Power> {
        let nanoseconds = i128::try_from(time.as_nanos()).ok()?;
        (nanoseconds > 0).then(|| Power(clamp(self.0 * 1_000_000 / nanoseconds)))
    }

    /// The part `numerator / denominator` of this energy, rounded towards zero; none of it where the denominator is 0.
    pub fn fraction(self, numerator: Duration, denominator: Duration) -> Self {
        match (i128::try_from(numerator.as_nanos()), i128::try_from(denominator.as_nanos())) {
            (Ok(part), Ok(whole)) if whole > 0 => match self.0.checked_mul(part) {
                Some(product) => Energy(product / whole),
                None => Energy::from_joules(
                    self.as_joules() * numerator.as_secs_f64() / denominator.as_secs_f64(),
                ),
            },
            _ => Energy::ZERO,
        }
    }

    /// What is left of this energy after division by `modulus`, never negative.
    pub(crate) fn modulo(self, modulus: Energy) -> Energy {
        if modulus.0 == 0 { self } else { Energy(self.0.rem_euclid(modulus.0)) }
    }

    /// This energy with its expanded uncertainty, for print: `812.4 J ± 5.7 J`.
    ///
    /// The uncertainty keeps two significant digits and the value is rounded to match (GUM, JCGM 100:2008, 7.2.6).
    pub const fn plus_minus(self, expanded: Energy) -> PlusMinus {
        PlusMinus { value: self, expanded }
    }
}

/// A power: an exact, signed number of microwatts, written and read in **watts**.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Power(i64);

impl Power {
    /// No power.
    pub const ZERO: Power = Power(0);

    /// A power from whole microwatts, the unit of hwmon.
    pub const fn from_microwatts(microwatts: i64) -> Self {
        Power(microwatts)
    }

    /// A power from whole milliwatts, the unit of NVML's gauges.
    pub const fn from_milliwatts(milliwatts: u32) -> Self {
        Power(milliwatts as i64 * 1_000)
    }

    /// A power from watts, rounded to the microwatt; 0 for what is not a number.
    pub fn from_watts(watts: f64) -> Self {
        Power(clamp(round(watts * 1e6)))
    }

    /// The power in watts.
    #[expect(clippy::cast_precision_loss, reason = "the door to floating point")]
    pub fn as_watts(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// The power in whole microwatts.
    pub const fn as_microwatts(self) -> i64 {
        self.0
    }

    /// The mean of two powers: the height of a trapezoid.
    pub const fn mean(self, other: Power) -> Power {
        Power((self.0 + other.0) / 2)
    }
}

/// A point on a run's clock: nanoseconds of the monotonic clock (`CLOCK_MONOTONIC` on Linux).
///
/// Only differences mean anything; the run's manifest anchors the clock to wall time.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// A timestamp from the clock's nanoseconds.
    pub const fn from_nanos(nanoseconds: u64) -> Self {
        Timestamp(nanoseconds)
    }

    /// The clock's nanoseconds.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to here; zero if `earlier` is later.
    pub const fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The point midway between this one and `other`.
    pub const fn midpoint(self, other: Timestamp) -> Timestamp {
        Timestamp(u64::midpoint(self.0, other.0))
    }

    /// The point `time` before this one, or the clock's origin.
    pub const fn before(self, time: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(saturated(time)))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;
    fn add(self, time: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(saturated(time)))
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "guarded: a duration of over 584 years saturates"
)]
const fn saturated(time: Duration) -> u64 {
    let nanoseconds = time.as_nanos();
    if nanoseconds > u64::MAX as u128 { u64::MAX } else { nanoseconds as u64 }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "`as` saturates, and takes what is not a number as 0"
)]
fn round(value: f64) -> i128 {
    value.round() as i128
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

impl Add for Energy {
    type Output = Energy;
    fn add(self, other: Energy) -> Energy {
        Energy(self.0 + other.0)
    }
}

impl Sub for Energy {
    type Output = Energy;
    fn sub(self, other: Energy) -> Energy {
        Energy(self.0 - other.0)
    }
}

impl Neg for Energy {
    type Output = Energy;
    fn neg(self) -> Energy {
        Energy(-self.0)
    }
}

impl AddAssign for Energy {
    fn add_assign(&mut self, other: Energy) {
        self.0 += other.0;
    }
}

impl SubAssign for Energy {
    fn sub_assign(&mut self, other: Energy) {
        self.0 -= other.0;
    }
}

impl Sum for Energy {
    fn sum<I: Iterator<Item = Energy>>(energies: I) -> Energy {
        energies.fold(Energy::ZERO, Add::add)
    }
}

impl Mul<Duration> for Power {
    type Output = Energy;
    fn mul(self, time: Duration) -> Energy {
        Energy(i128::from(self.0) * i128::from(saturated(time)) / 1_000_000)
    }
}

impl Mul<f64> for Power {
    type Output = Power;
    fn mul(self, factor: f64) -> Power {
        Power::from_watts(self.as_watts() * factor)
    }
}

impl Add for Power {
    type Output = Power;
    fn add(self, other: Power) -> Power {
        Power(self.0.saturating_add(other.0))
    }
}

impl Sub for Power {
    type Output = Power;
    fn sub(self, other: Power) -> Power {
        Power(self.0.saturating_sub(other.0))
    }
}

/// Joules with a prefix that leaves one to three digits before the point; the precision is the digits after it (1).
impl fmt::Display for Energy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = Prefix::of(self.as_joules());
        pad(
            f,
            &format!(
                "{:.*} {}J",
                f.precision().unwrap_or(1),
                self.as_joules() / prefix.factor(),
                prefix.symbol()
            ),
        )
    }
}

/// Watts with a prefix that leaves one to three digits before the point; the precision is the digits after it (1).
impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = Prefix::of(self.as_watts());
        pad(
            f,
            &format!(
                "{:.*} {}W",
                f.precision().unwrap_or(1),
                self.as_watts() / prefix.factor(),
                prefix.symbol()
            ),
        )
    }
}

/// An energy beside its expanded uncertainty, printed in one unit: `812.4 J ± 5.7 J`.
#[derive(Clone, Copy, Debug)]
pub struct PlusMinus {
    value: Energy,
    expanded: Energy,
}

impl fmt::Display for PlusMinus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The larger of the two sets the unit, so that an uncertainty above its value is still readable.
        let prefix = Prefix::of(self.value.as_joules().abs().max(self.expanded.as_joules().abs()));
        let value = self.value.as_joules() / prefix.factor();
        let expanded = self.expanded.as_joules().abs() / prefix.factor();
        let decimals = decimals(expanded);
        let symbol = prefix.symbol();
        pad(f, &format!("{value:.decimals$} {symbol}J ± {expanded:.decimals$} {symbol}J"))
    }
}

/// Writes a number to the formatter's width, at the right unless it says otherwise; its precision is used up already.
fn pad(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let width = f.width().unwrap_or(0);
    match f.align() {
        Some(fmt::Alignment::Left) => write!(f, "{text:<width$}"),
        Some(fmt::Alignment::Center) => write!(f, "{text:^width$}"),
        _ => write!(f, "{text:>width$}"),
    }
}

/// The decimals that leave two significant digits of `uncertainty`, at most three.
fn decimals(uncertainty: f64) -> usize {
    // Rounding may carry into the next decade (9.96 → 10), so the decade is that of the value rounded to two digits.
    [(0.0995, 3), (0.995, 2), (9.95, 1)]
        .into_iter()
        .find(|(below, _)| uncertainty < *below)
        .map_or(0, |(_, digits)| digits)
}

#[derive(Clone, Copy)]
enum Prefix {
    Micro,
    Milli,
    One,
    Kilo,
    Mega,
    Giga,
}

impl Prefix {
    fn of(value: f64) -> Prefix {
        match value.abs() {
            0.0 => Prefix::One,
            size if size < 1e-3 => Prefix::Micro,
            size if size < 1.0 => Prefix::Milli,
            size if size < 1e4 => Prefix::One,
            size if size < 1e6 => Prefix::Kilo,
            size if size < 1e9 => Prefix::Mega,
            _ => Prefix::Giga,
        }
    }

    fn factor(self) -> f64 {
        match self {
            Prefix::Micro => 1e-6,
            Prefix::Milli => 1e-3,
            Prefix::One => 1.0,
            Prefix::Kilo => 1e3,
            Prefix::Mega => 1e6,
            Prefix::Giga => 1e9,
        }
    }

    fn symbol(self) -> &'static str {
        match self {
            Prefix::Micro => "µ",
            Prefix::Milli => "m",
            Prefix::One => "",
            Prefix::Kilo => "k",
            Prefix::Mega => "M",
            Prefix::Giga => "G",
        }
    }
}

/// A JSON number of joules with every digit: `12.345678901`.
impl Serialize for Energy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (whole, rest) = ((self.0 / NANO).abs(), (self.0 % NANO).abs());
        let sign = if self.0 < 0 { "-" } else { "" };
        let text = format!("{sign}{whole}.{rest:09}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        RawValue::from_string(text.to_owned()).map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Energy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = Box::<RawValue>::deserialize(deserializer)?;
        Energy::parse(number.get()).map_err(D::Error::custom)
    }
}

impl Energy {
    /// An energy from a JSON number of joules, exactly if it is a plain decimal with at most nine places.
    pub(crate) fn parse(text: &str) -> Result<Energy, String> {
        decimal(text)
            .or_else(|| text.parse().ok().map(Energy::from_joules))
            .ok_or_else(|| format!("`{text}` is not a number of joules"))
    }
}

/// A plain decimal with at most nine places, exactly; anything else is left to floating point.
fn decimal(text: &str) -> Option<Energy> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, rest) = digits.split_once('.').unwrap_or((digits, ""));
    if rest.len() > 9 || !whole.bytes().chain(rest.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole: i128 = whole.parse().ok()?;
    let places = rest.bytes().chain(std::iter::repeat(b'0')).take(9);
    let rest = places.fold(0, |sum, digit| sum * 10 + i128::from(digit.wrapping_sub(b'0')));
    Some(Energy(sign * whole.checked_mul(NANO)?.checked_add(rest)?))
}

/// A JSON number of watts.
impl Serialize for Power {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.as_watts())
    }
}

impl<'de> Deserialize<'de> for Power {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        f64::deserialize(deserializer).map(Power::from_watts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joules_survive_json_to_the_nanojoule() {
        for nanojoules in [
            0,
            1,
            -1,
            999_999_999,
            1_000_000_000,
            -12_345_678_901,
            9_007_199_254_740_993_000_000_007,
        ] {
            let energy = Energy::from_nanojoules(nanojoules);
            let text = serde_json::to_string(&energy).unwrap();
            assert_eq!(serde_json::from_str::<Energy>(&text).unwrap(), energy, "{text}");
        }
        assert_eq!(serde_json::from_str::<Energy>("1.5e-3").unwrap(), Energy::from_joules(0.0015));
        assert!(serde_json::from_str::<Energy>("\"3\"").is_err());
    }

    #[test]
    fn power_times_time_is_energy() {
        assert_eq!(
            Power::from_watts(300.0) * Duration::from_millis(1500),
            Energy::from_joules(450.0)
        );
        assert_eq!(
            Energy::from_joules(450.0).over(Duration::from_millis(1500)),
            Some(Power::from_watts(300.0))
        );
        assert_eq!(Energy::from_joules(1.0).over(Duration::ZERO), None);
    }

    #[test]
    fn print_keeps_two_digits_of_the_uncertainty() {
        let print = |value: f64, expanded: f64| {
            Energy::from_joules(value).plus_minus(Energy::from_joules(expanded)).to_string()
        };
        assert_eq!(print(812.43, 5.71), "812.4 J ± 5.7 J");
        assert_eq!(print(812.43, 57.1), "812 J ± 57 J");
        assert_eq!(print(812.43, 9.96), "812 J ± 10 J");
        assert_eq!(print(0.008, 0.003), "8.0 mJ ± 3.0 mJ");
        assert_eq!(print(81_243.0, 5_712.0), "81.2 kJ ± 5.7 kJ");
    }
}
