//! A comparison as a table of at most 120 columns.

use std::fmt::{self, Write};
use std::time::Duration;

use ergometer::record::{Estimate, Quality};

use super::{Comparison, Group, Spread};

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.groups.is_empty() {
            return f.write_str("no runs");
        }
        let mut text = String::new();
        self.write(&mut text)?;
        f.write_str(text.trim_end())
    }
}

impl Comparison {
    fn write(&self, f: &mut String) -> fmt::Result {
        let columns = self.columns();
        for line in 0..=self.groups.len() {
            let cells: Vec<String> = columns.iter().map(|column| column.cell(line)).collect();
            writeln!(f, "{}", cells.join("  ").trim_end())?;
        }
        self.legend(f)?;
        self.ratios(f)
    }

    fn columns(&self) -> Vec<Column> {
        let mut columns = Columns { groups: &self.groups, columns: Vec::new() };
        let any = |has: fn(&Group) -> bool| self.groups.iter().any(has);
        if any(|group| group.framework.is_some()) {
            columns.push("framework", Align::Left, |group| short(group.framework.as_deref()));
        }
        if any(|group| group.name.is_some()) {
            columns.push("name", Align::Left, |group| short(group.name.as_deref()));
        }
        if any(|group| group.parameters.is_some()) {
            columns.push("parameters", Align::Right, |group| {
                group.parameters.map_or(missing(), thousands)
            });
        }
        columns.push("runs", Align::Right, |group| group.runs.len().to_string());
        if let Some(metric) = self.metric() {
            columns.push(&short(Some(metric)), Align::Right, |group| {
                group.metrics.get(metric).map_or(missing(), spread)
            });
        }
        if any(|group| group.epoch.energy.is_some()) {
            columns.push("energy per epoch", Align::Right, |group| energy(&group.epoch));
        }
        columns.push("energy of a run", Align::Right, |group| energy(&group.energy));
        if any(|group| group.sample.energy.is_some()) {
            columns.push("J/sample", Align::Right, |group| {
                group.sample.energy.map_or(missing(), |each| format!("{each:.2}"))
            });
        }
        columns.push("time", Align::Right, |group| time(group.time));
        columns.push("quality", Align::Left, quality);
        columns.columns
    }

    /// The metric that there is room for: an accuracy, or else the first by name.
    fn metric(&self) -> Option<&str> {
        let names =
            || self.groups.iter().flat_map(|group| group.metrics.keys()).map(String::as_str);
        names().filter(|name| name.contains("accuracy")).min().or_else(|| names().min())
    }

    fn legend(&self, f: &mut String) -> fmt::Result {
        let over = "± standard deviation over the runs";
        let metric = self
            .metric()
            .map(|metric| format!("{} {over}; ", short(Some(metric))))
            .unwrap_or_default();
        writeln!(f, "Means over the runs: {metric}energy ± expanded uncertainty (k = 2),")?;
        writeln!(
            f,
            "of which the part that comes from the sensors' gain is the same in every run: more runs do not reduce it."
        )?;
        let mut sources: Vec<(String, Vec<&str>)> = Vec::new();
        for group in &self.groups {
            let source = sources_of(group);
            match sources.iter_mut().find(|(known, _)| *known == source) {
                Some((_, labels)) => labels.push(&group.label),
                None => sources.push((source, vec![&group.label])),
            }
        }
        for (source, labels) in &sources {
            let whose =
                if sources.len() > 1 { format!(" ({})", labels.join("; ")) } else { String::new() };
            wrapped(f, &format!("energy of: {source}{whose}"))?;
        }
        if !self.unmeasured.is_empty() {
            let unmeasured: Vec<_> = self.unmeasured.iter().map(String::as_str).collect();
            wrapped(f, &format!("not measured: {}", unmeasured.join(", ")))?;
        }
        for group in self.groups.iter().filter(|group| group.unfinished > 0) {
            let Group { label, runs, unfinished, .. } = group;
            writeln!(f, "{label}: {unfinished} of {} runs did not end as planned", runs.len())?;
        }
        Ok(())
    }

    fn ratios(&self, f: &mut String) -> fmt::Result {
        let Some(baseline) = self.baseline.as_deref().filter(|_| self.groups.len() > 1) else {
            return Ok(());
        };
        writeln!(
            f,
            "Against {baseline} (± of 95 % coverage; a gain that both have in common cancels):"
        )?;
        let others = || self.groups.iter().filter(|group| group.label != baseline);
        let width = others().map(|group| group.label.chars().count()).max().unwrap_or(0).min(48);
        for group in others() {
            write!(f, "  {:width$}  ", group.label)?;
            match (&group.ratio, &group.incomparable) {
                (Some(ratio), _) => {
                    write!(f, "{} × the energy", plus_minus(ratio.energy, ratio.expanded()))?;
                    if let Some(time) = ratio.time {
                        write!(f, ", {time:.2} × the time")?;
                    }
                    match ratio.is_different() {
                        Some(true) => writeln!(f)?,
                        Some(false) => writeln!(f, "; the energies may be equal")?,
                        None => writeln!(f, "; a single run tells no scatter")?,
                    }
                }
                (None, Some(reason)) => writeln!(f, "not comparable: {reason}")?,
                (None, None) => writeln!(f, "{}", missing())?,
            }
            if group.ratio.is_some() && !group.unlike.is_empty() {
                let unlike = group.unlike.join("; ");
                wrapped(
                    f,
                    &format!("{}: not the models alone, the runs differ in {unlike}", group.label),
                )?;
            }
        }
        if self.groups.iter().any(Group::is_estimated) {
            writeln!(
                f,
                "A model's energies compare times and loads: it does not see how hard a busy processor works."
            )?;
        }
        Ok(())
    }
}

/// The domains in the sum, and how their energy came about.
fn sources_of(group: &Group) -> String {
    let sources = group.domains.iter().map(|(id, domain)| format!("{id} by {}", domain.provenance));
    sources.collect::<Vec<_>>().join(", ")
}

/// How far a run's energy can be trusted; that it is estimated is said beside anything worse.
fn quality(group: &Group) -> String {
    match group.energy.quality {
        worse @ (Quality::Partial | Quality::Unresolved) if group.is_estimated() => {
            format!("estimated, {worse}")
        }
        quality => quality.to_string(),
    }
}

struct Columns<'a> {
    groups: &'a [Group],
    columns: Vec<Column>,
}

impl Columns<'_> {
    fn push(&mut self, head: &str, align: Align, cell: impl Fn(&Group) -> String) {
        let lines: Vec<String> =
            [head.to_owned()].into_iter().chain(self.groups.iter().map(cell)).collect();
        let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
        self.columns.push(Column { align, lines, width });
    }
}

struct Column {
    align: Align,
    lines: Vec<String>,
    width: usize,
}

impl Column {
    fn cell(&self, line: usize) -> String {
        let (text, width) = (&self.lines[line], self.width);
        match self.align {
            Align::Left => format!("{text:width$}"),
            Align::Right => format!("{text:>width$}"),
        }
    }
}

#[derive(Clone, Copy)]
enum Align {
    Left,
    Right,
}

fn missing() -> String {
    "—".to_owned()
}

fn energy(estimate: &Estimate) -> String {
    match (estimate.energy, estimate.expanded()) {
        (Some(energy), Some(expanded)) => energy.plus_minus(expanded).to_string(),
        (Some(energy), None) => format!("{energy} ± {}", missing()),
        (None, _) => missing(),
    }
}

fn spread(spread: &Spread) -> String {
    spread.sd.map_or_else(|| format!("{:.3}", spread.mean), |sd| plus_minus(spread.mean, Some(sd)))
}

/// A number with two digits of what it may be off by.
fn plus_minus(value: f64, spread: Option<f64>) -> String {
    match spread {
        None => format!("{value:.2}"),
        Some(spread) if spread <= 0.0 => format!("{value:.3} ± 0"),
        Some(spread) => {
            let decimals = (0..4).find(|digits| spread * 10_f64.powi(*digits) >= 9.95).unwrap_or(4);
            let decimals = usize::try_from(decimals).unwrap_or(0);
            format!("{value:.decimals$} ± {spread:.decimals$}")
        }
    }
}

/// A time in seconds, with a fitting number of digits.
fn time(time: Duration) -> String {
    match time.as_secs_f64() {
        short if short < 10.0 => format!("{short:.2} s"),
        medium if medium < 1_000.0 => format!("{medium:.1} s"),
        long => format!("{long:.0} s"),
    }
}

/// A name of at most 20 letters.
fn short(name: Option<&str>) -> String {
    match name {
        None => missing(),
        Some(name) if name.chars().count() <= 20 => name.to_owned(),
        Some(name) => name.chars().take(19).chain(['…']).collect(),
    }
}

/// A number with commas between its thousands.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    groups.map(String::from_utf8_lossy).collect::<Vec<_>>().join(",")
}

/// Writes text in lines of at most 118 letters, those behind the first indented by two.
fn wrapped(f: &mut String, text: &str) -> fmt::Result {
    let mut column = 0;
    for word in text.split(' ') {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > 118 {
            write!(f, "\n  {word}")?;
            column = 2 + width;
        } else {
            write!(f, "{}{word}", if column > 0 { " " } else { "" })?;
            column += width + usize::from(column > 0);
        }
    }
    writeln!(f)
}
