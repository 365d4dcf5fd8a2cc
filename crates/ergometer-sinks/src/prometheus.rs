//! Prometheus: the text that it reads, version 0.0.4, and three ways to have it read.
//!
//! | Way | For |
//! |---|---|
//! | [`Scrape`]: it asks this process | trainings of minutes and hours |
//! | [`Textfile`]: the node exporter reads a file | machines that run one |
//! | `Pushgateway`, with the feature `http`: this process tells a gateway | short jobs |
//!
//! Names are those that OpenTelemetry's `hw.*` become by its rules for Prometheus: `hw_energy_joules_total`,
//! `hw_power_watts`, with `hw_id`, `hw_type`, `hw_name`, `run_id`, `name`, `rank` and `provenance`; what a model estimated has
//! `provenance="model"`. The values are decimal and have all digits of the log.

#[cfg(feature = "http")]
mod pushgateway;
mod scrape;
mod server;
mod textfile;

use std::fmt::Write;

use crate::tally::{Metric, Tally};

#[cfg(feature = "http")]
pub use pushgateway::Pushgateway;
pub use scrape::Scrape;
pub use textfile::Textfile;

/// What a server answers with beside the [`text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text of some runs: each metric once, with the points of all.
pub fn text<'a>(tallies: impl IntoIterator<Item = &'a Tally>) -> String {
    let mut metrics: Vec<Metric> = Vec::new();
    for metric in tallies.into_iter().flat_map(Tally::metrics) {
        match metrics.iter_mut().find(|known| known.name == metric.name) {
            Some(known) => known.points.extend(metric.points),
            None => metrics.push(metric),
        }
    }
    let mut text = String::new();
    for metric in &metrics {
        // Writing to a string cannot fail.
        let _ = write_metric(&mut text, metric);
    }
    text
}

fn write_metric(text: &mut String, metric: &Metric) -> std::fmt::Result {
    let name = name_of(metric);
    let kind = if metric.monotonic { "counter" } else { "gauge" };
    writeln!(text, "# HELP {name} {}", metric.description)?;
    writeln!(text, "# TYPE {name} {kind}")?;
    for point in &metric.points {
        text.push_str(&name);
        let mut sign = '{';
        for (label, value) in &point.attributes {
            text.push(sign);
            sign = ',';
            write!(text, "{}=\"", label.replace('.', "_"))?;
            write_value(text, value);
            text.push('"');
        }
        writeln!(text, "}} {}", point.value)?;
    }
    Ok(())
}

/// The name by OpenTelemetry's rules: dots become underscores, and unit and kind go to the end.
pub(crate) fn name_of(metric: &Metric) -> String {
    let unit = match metric.unit {
        "J" => "_joules",
        "W" => "_watts",
        "s" => "_seconds",
        _ => "",
    };
    let total = if metric.monotonic { "_total" } else { "" };
    format!("{}{unit}{total}", metric.name.replace('.', "_"))
}

/// A label's value: `\`, `"` and line ends escaped. Prometheus's reader takes a NUL for the end of the text.
fn write_value(text: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str(r"\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str(r"\n"),
            '\0' => text.push(char::REPLACEMENT_CHARACTER),
            letter => text.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use ergometer::Energy;

    use super::*;
    use crate::tally::{Number, Point};

    #[test]
    fn a_hostile_value_stays_within_its_quotes() {
        let metric = Metric {
            name: "hw.energy",
            unit: "J",
            description: "Energy.",
            monotonic: true,
            points: vec![Point {
                attributes: vec![("hw.id", "a\\b\"} 1\nevil 2\0".to_owned())],
                value: Number::Energy(Energy::from_nanojoules(12_345_678_901)),
            }],
        };
        let mut text = String::new();
        write_metric(&mut text, &metric).unwrap();
        let line = text.lines().nth(2).unwrap();
        assert_eq!(
            line,
            "hw_energy_joules_total{hw_id=\"a\\\\b\\\"} 1\\nevil 2\u{fffd}\"} 12.345678901"
        );
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn a_run_that_has_told_nothing_has_no_metric() {
        assert_eq!(text([&Tally::default()]), "");
    }
}
