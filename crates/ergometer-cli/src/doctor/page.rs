//! How an answer is laid out for a person: paragraphs with a mark in the margin.

use std::fmt;
use std::time::Duration;

/// The columns of a page, and those that its margin takes.
const WIDTH: usize = 96;
const MARGIN: usize = 9;

/// A paragraph with a mark in the margin.
pub(super) fn entry(f: &mut fmt::Formatter<'_>, mark: &str, text: &str) -> fmt::Result {
    let margin = format!("{mark:<MARGIN$}");
    paragraph(f, &margin, MARGIN, text)
}

/// A paragraph that belongs to the entry above.
pub(super) fn item(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    paragraph(f, &" ".repeat(MARGIN), MARGIN + 2, text)
}

fn paragraph(f: &mut fmt::Formatter<'_>, margin: &str, indent: usize, text: &str) -> fmt::Result {
    // What belongs together stays on one line.
    let text =
        text.replace("k = 2", "k\u{a0}=\u{a0}2").replace("± ", "±\u{a0}").replace(" %", "\u{a0}%");
    let mut line = margin.to_owned();
    let mut fresh = true;
    for word in text.split(' ') {
        if !fresh && line.chars().count() + 1 + word.chars().count() > WIDTH {
            writeln!(f, "{line}")?;
            line = " ".repeat(indent);
            fresh = true;
        }
        if !fresh {
            line.push(' ');
        }
        line.push_str(&word.replace('\u{a0}', " "));
        fresh = false;
    }
    writeln!(f, "{line}")
}

/// A time to two digits, in the unit that leaves one to three before the point; its unit stays on its line.
pub(super) fn spoken(time: Duration) -> String {
    let units = [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")];
    let seconds = time.as_secs_f64();
    // What rounds up to a thousand of a unit is one of the next.
    let unit = units.into_iter().find(|(unit, _)| seconds >= 0.9995 * unit);
    let (unit, symbol) = unit.unwrap_or((1e-9, "ns"));
    let number = seconds / unit;
    let digits = usize::from(number < 9.95 && (number - number.round()).abs() >= 0.05);
    format!("{number:.digits$}\u{a0}{symbol}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_the_unit_that_suits_them() {
        let cases = [
            (Duration::from_millis(512), "512 ms"),
            (Duration::from_micros(99_960), "100 ms"),
            (Duration::from_micros(999_600), "1 s"),
            (Duration::from_millis(1_234), "1.2 s"),
            (Duration::from_millis(20), "20 ms"),
            (Duration::from_nanos(1_099), "1.1 µs"),
            (Duration::from_nanos(83), "83 ns"),
            (Duration::ZERO, "0 ns"),
            (Duration::from_mins(5), "300 s"),
        ];
        for (time, text) in cases {
            assert_eq!(spoken(time), text.replace(' ', "\u{a0}"));
        }
    }
}
