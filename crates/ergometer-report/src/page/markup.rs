//! The words and numbers of the page as HTML: what users wrote is text there, and each number says where it stands in the
//! data.

use std::fmt;

use ergometer::record::Estimate;

use super::axis::Scale;

/// Text by somebody else, harmless within HTML.
pub(super) struct Text<'a>(pub(super) &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // What would turn the text around it, or is not allowed.
                hidden if is_hidden(hidden) => f.write_str("\u{fffd}")?,
                plain => write!(f, "{plain}")?,
            }
        }
        Ok(())
    }
}

/// A path in the data as an attribute. What [`Text`] hides is written by its number, since the path has to be found.
pub(super) struct Path<'a>(pub(super) &'a str);

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| match letter {
            hidden if is_hidden(hidden) && !hidden.is_control() => {
                write!(f, "&#x{:x};", u32::from(hidden))
            }
            plain => write!(f, "{}", Text(plain.encode_utf8(&mut [0; 4]))),
        })
    }
}

/// Control characters, and those that change the direction of what follows.
fn is_hidden(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// At most so many letters of a name.
pub(super) fn short(name: &str, letters: usize) -> String {
    if name.chars().count() <= letters {
        name.to_owned()
    } else {
        name.chars().take(letters.saturating_sub(1)).chain(['…']).collect()
    }
}

/// JSON that can stand within a script element: nothing in it ends the element.
pub(super) fn embedded(json: &str) -> String {
    // These letters stand only within strings of JSON, where their codes mean the same.
    let mut safe = String::with_capacity(json.len());
    for letter in json.chars() {
        if matches!(letter, '<' | '>' | '&') || is_hidden(letter) {
            safe.push_str(&format!("\\u{:04x}", u32::from(letter)));
        } else {
            safe.push(letter);
        }
    }
    safe
}

/// A part of a JSON pointer (RFC 6901).
pub(super) fn step(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// A number of the data: the element says where it stands there, and how many times as large it is shown.
pub(super) struct Number {
    path: String,
    times: f64,
    text: String,
}

impl Number {
    /// The number at `path` of the data, shown as `text`.
    pub(super) fn new(path: impl Into<String>, text: impl Into<String>) -> Number {
        Number { path: path.into(), times: 1.0, text: text.into() }
    }

    /// A count, with commas.
    pub(super) fn count(path: impl Into<String>, count: u64) -> Number {
        Number::new(path, thousands(count))
    }

    /// A time of so many seconds.
    pub(super) fn seconds(path: impl Into<String>, time: f64) -> Number {
        Number::new(path, duration(time))
    }

    /// This number, shown so many times as large.
    pub(super) fn times(self, times: f64) -> Number {
        Number { times, ..self }
    }

    /// A share as per cent.
    pub(super) fn share(path: impl Into<String>, share: f64) -> Number {
        let digits = usize::from(share > 0.0 && share < 0.1);
        Number::new(path, format!("{:.digits$} %", 100.0 * share)).times(100.0)
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Number { path, times, text } = self;
        write!(f, "<span data-path=\"{}\"", Path(path))?;
        if (*times - 1.0).abs() > 0.0 {
            write!(f, " data-times=\"{times}\"")?;
        }
        write!(f, ">{}</span>", Text(text))
    }
}

/// An energy with its expanded uncertainty: `15.5 J ± 11.4 J`; the estimate stands at `path` of the data.
pub(super) fn energy(path: &str, estimate: &Estimate) -> String {
    let Some(energy) = estimate.energy else { return "—".to_owned() };
    let at = |name: &str| format!("{path}/{name}");
    match estimate.expanded() {
        Some(expanded) => {
            let both = energy.plus_minus(expanded).to_string();
            let (text, expanded) = both.split_once(" ± ").unwrap_or((&both, ""));
            let value = Number::new(at("energy_j"), text);
            let own = Number::new(at("u_j"), expanded).times(2.0);
            format!("{value} <span class=\"u\">± {own}</span>")
        }
        None => format!("{} ± —", Number::new(at("energy_j"), energy.to_string())),
    }
}

/// A time with its unit, in three or four digits.
pub(super) fn duration(seconds: f64) -> String {
    let scale = Scale::of_time(seconds);
    let number = seconds / scale.factor;
    let digits = [10.0, 100.0].into_iter().filter(|limit| number < *limit).count();
    format!("{number:.digits$} {}", scale.unit())
}

/// A number with commas between its thousands.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    groups.map(String::from_utf8_lossy).collect::<Vec<_>>().join(",")
}

/// A metric in four digits.
pub(super) fn figure(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        tiny if tiny < 1e-4 => format!("{value:.2e}"),
        small if small < 1.0 => format!("{value:.4}"),
        medium if medium < 1e4 => {
            let digits = [10.0, 100.0, 1_000.0].into_iter().filter(|limit| medium < *limit).count();
            format!("{value:.digits$}")
        }
        large if large < 1e7 => format!("{value:.0}"),
        _ => format!("{value:.3e}"),
    }
}

/// `1 run`, `3 runs`.
pub(super) fn plural(count: usize, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_write_is_text() {
        let hostile = "</script><img src=x onerror=alert(1)>\"'&\u{202e}\u{0}";
        let text = Text(hostile).to_string();
        assert!(!text.contains(['<', '>', '"', '\'', '\u{202e}', '\u{0}']), "{text}");
        assert!(!embedded(&format!("\"{hostile}\"")).contains(['<', '>', '&']));
        assert_eq!(short("naïve name", 6), "naïve…");
    }

    #[test]
    fn times_and_metrics_have_digits_that_fit() {
        let time = duration;
        assert_eq!(
            [time(1.8738), time(42.31), time(600.0), time(90_000.0)],
            ["1.87 s", "42.3 s", "10.0 min", "25.0 h"]
        );
        assert_eq!(
            [figure(0.98886), figure(12.3456), figure(1.234e-6), figure(123_456.0)],
            ["0.9889", "12.35", "1.23e-6", "123456"]
        );
    }
}
