//! [`Table`]: windows of runs as rows.

use std::collections::BTreeSet;
use std::io;

use ergometer::log::{Entry, Line};
use ergometer::record::{Kind, Manifest};
use ergometer::sensor::Provenance;
use ergometer::{Energy, Error, Record, Result, RunLog, Summary, Timestamp};
use serde_json::{Value, json};

/// Windows of runs as rows, each with what the log says of it.
///
/// Columns have the log's names and units: energies and their standard uncertainties (k = 1) in joules, times in seconds,
/// moments in nanoseconds. Beside them stand the wall time of the window's start in UTC (`start_unix_ns`), whether a model
/// stands for any part of the energy (`estimated`), `domains.<id>.energy_j` and `.u_j` for each domain, and `metrics.<name>`
/// for what the program measured. Rows are read as they are written, so that a table may be longer than the memory.
#[derive(Clone, Debug)]
pub struct Table<'a> {
    runs: &'a [RunLog],
    kinds: Vec<Kind>,
    domains: Vec<String>,
    metrics: Vec<String>,
    columns: Vec<String>,
}

/// What a row has in a column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    /// Not known.
    Missing,
    Text(String),
    Whole(i64),
    Number(f64),
    Energy(Energy),
    Truth(bool),
}

/// What a column holds, where it holds anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Text,
    Whole,
    Number,
    Truth,
}

/// The columns that every table has.
const COLUMNS: [(&str, Sort); 31] = [
    ("run_id", Sort::Text),
    ("name", Sort::Text),
    ("framework", Sort::Text),
    ("parameters", Sort::Whole),
    ("host", Sort::Text),
    ("rank", Sort::Whole),
    ("session", Sort::Whole),
    ("lane", Sort::Whole),
    ("kind", Sort::Text),
    ("id", Sort::Whole),
    ("parent", Sort::Whole),
    ("epoch", Sort::Whole),
    ("step", Sort::Whole),
    ("phase", Sort::Text),
    ("status", Sort::Text),
    ("start_unix_ns", Sort::Whole),
    ("t_start_ns", Sort::Whole),
    ("t_end_ns", Sort::Whole),
    ("duration_s", Sort::Number),
    ("energy_j", Sort::Number),
    ("u_j", Sort::Number),
    ("quality", Sort::Text),
    ("estimated", Sort::Truth),
    ("total_j", Sort::Number),
    ("net_j", Sort::Number),
    ("u_net_j", Sort::Number),
    ("samples", Sort::Whole),
    ("tokens", Sort::Whole),
    ("steps", Sort::Whole),
    ("epochs", Sort::Whole),
    ("remainder_j", Sort::Number),
];

impl<'a> Table<'a> {
    /// The windows of these kinds; `Kind::End` is the whole run, up to its last line where it did not end.
    ///
    /// Reads the logs once, for the names of the columns.
    ///
    /// # Errors
    /// If a log cannot be read, or holds no window.
    pub fn of(runs: &'a [RunLog], kinds: &[Kind]) -> Result<Table<'a>> {
        let (mut domains, mut metrics) = (BTreeSet::new(), BTreeSet::new());
        for run in runs {
            let sensors = run.manifest.sensors.iter();
            domains.extend(sensors.map(|sensor| sensor.domain.id.clone()));
            windows(run, kinds, |window, _| {
                domains.extend(window.domains.keys().cloned());
                metrics.extend(window.metrics.keys().cloned());
                Ok(())
            })?;
        }
        let (domains, metrics) = (Vec::from_iter(domains), Vec::from_iter(metrics));
        let mut columns: Vec<String> = COLUMNS.iter().map(|(name, _)| (*name).to_owned()).collect();
        for domain in &domains {
            columns.extend(["energy_j", "u_j"].map(|part| format!("domains.{domain}.{part}")));
        }
        columns.extend(metrics.iter().map(|metric| format!("metrics.{metric}")));
        Ok(Table { runs, kinds: kinds.to_vec(), domains, metrics, columns })
    }

    /// The names of the columns.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// What each column holds.
    pub(super) fn sorts(&self) -> impl Iterator<Item = Sort> {
        let more = self.columns.len() - COLUMNS.len();
        COLUMNS.iter().map(|(_, sort)| *sort).chain(std::iter::repeat_n(Sort::Number, more))
    }

    /// Shows every row; gives the lines of the logs that could not be understood.
    pub(super) fn visit(&self, mut take: impl FnMut(&[Cell]) -> Result<()>) -> Result<Vec<Error>> {
        let mut bad = Vec::new();
        for run in self.runs {
            bad.extend(windows(run, &self.kinds, |window, start| {
                take(&self.row(&run.manifest, window, start))
            })?);
        }
        Ok(bad)
    }

    fn row(&self, manifest: &Manifest, window: &Record, wall: Option<i64>) -> Vec<Cell> {
        let estimated = manifest.sensors.iter().any(|sensor| {
            sensor.provenance == Provenance::Model
                && window.domains.get(&sensor.domain.id).is_some_and(|share| share.in_total)
        });
        // The log's sum is 0 as well where no sensor has told of anything.
        let told = window.energy.is_some() || window.total != Energy::ZERO;
        let total = told.then_some(window.total);
        let mut row = vec![
            Cell::Text(window.run_id.clone()),
            Cell::Text(manifest.name.clone()),
            text(manifest.framework.as_ref().map(|framework| &framework.name)),
            whole(manifest.parameters),
            Cell::Text(window.host.clone()),
            whole(Some(window.rank)),
            whole(Some(window.session)),
            whole(Some(window.lane)),
            word(json!(window.kind)),
            whole(Some(window.id)),
            whole(window.parent),
            whole(window.epoch),
            whole(window.step),
            text(window.phase.as_ref()),
            word(json!(window.status)),
            wall.map_or(Cell::Missing, Cell::Whole),
            whole(Some(window.start.as_nanos())),
            whole(Some(window.end.as_nanos())),
            Cell::Number(window.duration.as_secs_f64()),
            energy(window.energy),
            energy(window.uncertainty),
            word(json!(window.quality)),
            Cell::Truth(estimated),
            energy(total),
            energy(window.net),
            energy(window.net_uncertainty),
            whole(window.samples),
            whole(window.tokens),
            whole(window.steps),
            whole(window.epochs),
            energy(window.remainder),
        ];
        for domain in &self.domains {
            let share = window.domains.get(domain);
            row.push(energy(share.and_then(|share| share.energy)));
            row.push(energy(share.and_then(|share| share.uncertainty)));
        }
        row.extend(self.metrics.iter().map(|metric| {
            window.metrics.get(metric).map_or(Cell::Missing, |value| Cell::Number(*value))
        }));
        row
    }
}

/// Shows the windows of these kinds, each with the wall time of its start.
fn windows(
    run: &RunLog,
    kinds: &[Kind],
    mut take: impl FnMut(&Record, Option<i64>) -> Result<()>,
) -> Result<Vec<Error>> {
    let (mut done, mut bad) = (Ok(()), Vec::new());
    let (mut first, mut session) = (None, None);
    let (summary, faults) = Summary::read_with(run, |entry| {
        let window = match entry {
            Entry::Line(Line::Start(start)) => {
                first = first.or(Some(start.unix_ns));
                session = Some((start.start, start.unix_ns));
                return;
            }
            Entry::Line(Line::Window(window)) if window.kind != Kind::End => window.clone(),
            Entry::Step(_, text) if kinds.contains(&Kind::Step) => match Line::parse(text) {
                Ok(Line::Window(window)) => window,
                Ok(_) => return,
                Err(error) => return bad.push(error),
            },
            _ => return,
        };
        if kinds.contains(&window.kind) && done.is_ok() {
            done = take(&window, wall(session, window.start));
        }
    })?;
    done?;
    if kinds.contains(&Kind::End) {
        // A run that was resumed has an end for each session; the last one is the run's, from its first start.
        take(&summary.end, first)?;
    }
    bad.extend(faults);
    Ok(bad)
}

fn wall(session: Option<(Timestamp, i64)>, at: Timestamp) -> Option<i64> {
    let (start, began) = session?;
    i64::try_from(at.as_nanos())
        .ok()?
        .checked_sub(i64::try_from(start.as_nanos()).ok()?)?
        .checked_add(began)
}

/// That a table could not be written, and why.
pub(super) fn unwritten(cause: io::Error) -> Error {
    Error::invalid(format!("the table cannot be written: {cause}")).caused_by(cause)
}

fn text(text: Option<&String>) -> Cell {
    text.map_or(Cell::Missing, |text| Cell::Text(text.clone()))
}

fn whole(count: Option<impl TryInto<i64>>) -> Cell {
    count.and_then(|count| count.try_into().ok()).map_or(Cell::Missing, Cell::Whole)
}

fn energy(energy: Option<Energy>) -> Cell {
    energy.map_or(Cell::Missing, Cell::Energy)
}

/// A word of the log, as the log writes it.
fn word(word: Value) -> Cell {
    match word {
        Value::String(word) => Cell::Text(word),
        _ => Cell::Missing,
    }
}
