//! An [`Axis`]: where numbers lie along an edge of a chart, and the round ones among them.

/// One direction of a chart.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    /// What it shows, with its unit.
    pub(super) label: String,
    /// The marked numbers and their text.
    pub(super) ticks: Vec<(f64, String)>,
    low: f64,
    high: f64,
    logarithmic: bool,
}

/// A unit with a prefix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    /// What one of the prefixed unit is in the plain unit.
    pub(super) factor: f64,
    prefix: &'static str,
    unit: &'static str,
}

/// The prefixes of the SI with a power of three, which the quantities print with too.
const PREFIXES: [(f64, &str); 7] =
    [(1e-6, "µ"), (1e-3, "m"), (1.0, ""), (1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T")];

/// Steps between ticks that a wide chart has room for.
pub(super) const STEPS: u8 = 5;

/// What parameters are counted in.
const COUNTS: [(f64, &str); 5] = [(1.0, ""), (1e3, "k"), (1e6, "M"), (1e9, "B"), (1e12, "T")];

impl Scale {
    /// The prefix with which numbers up to `most` are short.
    pub(super) fn of(most: f64, unit: &'static str) -> Scale {
        let table: &[(f64, &'static str)] = if unit.is_empty() { &COUNTS } else { &PREFIXES };
        let fits = |(factor, _): &&(f64, &str)| most.abs() >= *factor;
        let (factor, prefix) = table.iter().rev().find(fits).copied().unwrap_or((1.0, ""));
        Scale { factor, prefix, unit }
    }

    /// Seconds, with a prefix if they are short, or minutes, hours or days.
    pub(super) fn of_time(most: f64) -> Scale {
        let (factor, unit) = match most {
            tiny if tiny > 0.0 && tiny < 0.1 => return Scale::of(most, "s"),
            short if short < 300.0 => (1.0, "s"),
            medium if medium < 18_000.0 => (60.0, "min"),
            long if long < 432_000.0 => (3_600.0, "h"),
            _ => (86_400.0, "d"),
        };
        Scale { factor, prefix: "", unit }
    }

    /// Plain numbers.
    pub(super) const fn plain() -> Scale {
        Scale { factor: 1.0, prefix: "", unit: "" }
    }

    /// The unit with its prefix: `mJ`.
    pub(super) fn unit(self) -> String {
        format!("{}{}", self.prefix, self.unit)
    }

    /// A number in the prefixed unit, with so many digits that a `step` between two of them shows.
    pub(super) fn text(self, value: f64, step: f64) -> String {
        let digits = digits_of(step / self.factor);
        format!("{:.digits$}", value / self.factor)
    }
}

impl Axis {
    /// Even steps from `low` to `high`, both moved outwards to a round number; at most `steps` of them, or one more.
    pub(super) fn linear(what: &str, scale: Scale, (low, high): (f64, f64), steps: u8) -> Axis {
        let (low, high) = match (low, high) {
            (low, high) if high > low => (low, high),
            // A range without width has some room about it.
            (0.0, _) => (0.0, scale.factor),
            (only, _) => (only - 0.05 * only.abs(), only + 0.05 * only.abs()),
        };
        let step = round_step((high - low) / scale.factor / f64::from(steps)) * scale.factor;
        let first = (low / step + 1e-9).floor();
        let last = (high / step - 1e-9).ceil();
        let mut ticks = Vec::new();
        let mut number = first;
        while number <= last {
            ticks.push((number * step, scale.text(number * step, step)));
            number += 1.0;
        }
        let (low, high) = (first * step, last * step);
        Axis { label: labelled(what, scale), ticks, low, high, logarithmic: false }
    }

    /// From 0 to exactly `high`, with round numbers between.
    pub(super) fn up_to(what: &str, scale: Scale, high: f64) -> Axis {
        let mut axis = Axis::linear(what, scale, (0.0, high), STEPS);
        let low = 0.0;
        (axis.low, axis.high) = (low, if high > low { high } else { axis.high });
        axis.ticks.retain(|(number, _)| (axis.low..=axis.high).contains(number));
        axis
    }

    /// Even factors from `low` to `high`, which are above 0, with some room about them.
    pub(super) fn logarithmic(what: &str, unit: &'static str, low: f64, high: f64) -> Axis {
        let room = (high / low).powf(0.08).max(1.15);
        let (low, high) = (low / room, high * room);
        let decades = (high / low).log10();
        let multiples: &[f64] = match decades {
            narrow if narrow < 0.8 => &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0],
            medium if medium < 2.2 => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let every = (decades / 6.0).ceil().max(1.0);
        let mut ticks = Vec::new();
        let mut decade = (low.log10() / every).floor() * every;
        while decade <= high.log10() {
            for number in multiples.iter().map(|multiple| multiple * 10f64.powf(decade)) {
                if (low..=high).contains(&number) {
                    ticks.push((number, with_prefix(number, unit)));
                }
            }
            decade += every;
        }
        Axis { label: what.to_owned(), ticks, low, high, logarithmic: true }
    }

    /// Where a number lies, from 0 to 1; what is beyond an end lies at that end.
    pub(super) fn place(&self, value: f64) -> f64 {
        let of = |number: f64| {
            if self.logarithmic { number.max(f64::MIN_POSITIVE).log10() } else { number }
        };
        ((of(value) - of(self.low)) / (of(self.high) - of(self.low))).clamp(0.0, 1.0)
    }

    /// The number at a place from 0 to 1.
    pub(super) fn value(&self, place: f64) -> f64 {
        if self.logarithmic {
            self.low * (self.high / self.low).powf(place)
        } else {
            self.low + place * (self.high - self.low)
        }
    }
}

fn labelled(what: &str, scale: Scale) -> String {
    match scale.unit() {
        none if none.is_empty() => what.to_owned(),
        unit => format!("{what} ({unit})"),
    }
}

/// A round number with its own prefix: `20 mJ`, `5 k`.
fn with_prefix(number: f64, unit: &'static str) -> String {
    // Rounding may have left it a hair below its prefix.
    let scale = Scale::of(number * (1.0 + 1e-9), unit);
    let text = format!("{:.2}", number / scale.factor);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    match scale.unit() {
        none if none.is_empty() => text.to_owned(),
        unit => format!("{text} {unit}"),
    }
}

/// 1, 2 or 5 times a power of ten, the least that is not below `rough`.
fn round_step(rough: f64) -> f64 {
    let decade = 10f64.powf(rough.log10().floor());
    let multiple =
        [1.0, 2.0, 5.0].into_iter().find(|multiple| multiple * decade >= rough * (1.0 - 1e-9));
    multiple.unwrap_or(10.0) * decade
}

/// The digits behind the point that a step needs.
fn digits_of(step: f64) -> usize {
    (0..9)
        .find(|digits| step * 10f64.powi(*digits) >= 1.0 - 1e-9)
        .map_or(9, |digits| usize::try_from(digits).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn even_ticks_are_round_and_hold_the_range() {
        let axis = Axis::linear("energy", Scale::of(0.388, "J"), (0.0, 0.388), 4);
        assert_eq!(
            (axis.label.as_str(), texts(&axis)),
            ("energy (mJ)", vec!["0", "100", "200", "300", "400"])
        );
        assert!((axis.place(0.2) - 0.5).abs() < 1e-12 && (axis.value(0.5) - 0.2).abs() < 1e-12);
        let axis = Axis::linear("accuracy", Scale::plain(), (0.961, 0.989), STEPS);
        assert_eq!(texts(&axis), ["0.96", "0.97", "0.98", "0.99"]);
        let axis = Axis::linear("time", Scale::of_time(7_000.0), (0.0, 7_000.0), 4);
        assert_eq!(
            (axis.label.as_str(), texts(&axis)),
            ("time (min)", vec!["0", "50", "100", "150"])
        );
    }

    #[test]
    fn ticks_of_factors_have_their_prefix() {
        let axis = Axis::logarithmic("energy", "J", 0.5, 2_000.0);
        assert_eq!(texts(&axis), ["1 J", "10 J", "100 J", "1 kJ"]);
        let axis = Axis::logarithmic("parameters", "", 4_810.0, 28_810.0);
        assert_eq!(texts(&axis), ["5 k", "10 k", "20 k"]);
        let axis = Axis::logarithmic("parameters", "", 1e3, 1e12);
        assert!(texts(&axis).len() <= 7, "{axis:?}");
        assert!((axis.value(axis.place(1e6)) / 1e6 - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_range_without_width_has_ticks_all_the_same() {
        assert!(Axis::linear("energy", Scale::of(0.0, "J"), (0.0, 0.0), 4).ticks.len() > 1);
        assert!(!Axis::logarithmic("energy", "J", 8.0, 8.0).ticks.is_empty());
    }
}
