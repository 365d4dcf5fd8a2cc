//! [`Table`]: windows of runs as rows.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::iter::repeat_n;

use ergometer::log::{Entry, Line};
use ergometer::record::{Kind, Manifest};
use ergometer::sensor::Provenance;
use ergometer::{Energy, Error, Record, Result, RunLog, Summary, Timestamp};
use ergometer_report::History;
use serde_json::{Value, json};

/// Windows of runs as rows, each with what the log says of it.
///
/// Columns have the log's names and units: energies and their standard uncertainties (k = 1) in joules, times in seconds,
/// moments in nanoseconds. Beside them stand the wall time of the window's start in UTC (`start_unix_ns`), whether a model
/// stands for any part of the energy (`estimated`), `notes.<name>` for what the user noted of the run, `domains.<id>.energy_j` and
/// `.u_j` for each domain, and `metrics.<name>` for what the program measured. The `status` of a run whose log has no end is the
/// state in its manifest, such as `running`. An epoch's metrics are also those of its phases and those that came behind its
/// line; a run's are its last ones, as [`History::metric`] tells them. Rows are read as they are written, so that a table may be
/// longer than the memory.
#[derive(Clone, Debug)]
pub struct Table {
    runs: Vec<(RunLog, Noted)>,
    kinds: Vec<Kind>,
    notes: BTreeSet<String>,
    domains: BTreeSet<String>,
    metrics: BTreeSet<String>,
}

type Metrics = BTreeMap<String, f64>;

/// What the program measured, as far as a window's own line does not say it.
#[derive(Clone, Debug)]
struct Noted {
    /// By session, lane and window.
    epochs: BTreeMap<(u32, u32, u64), Metrics>,
    run: Metrics,
}

impl Noted {
    fn of(history: History) -> Noted {
        let run = history.metric_names().into_iter();
        let run = run.filter_map(|name| Some((name.to_owned(), history.metric(name)?))).collect();
        let epochs = history.epochs.into_iter();
        let epochs = epochs.map(|it| ((it.session, it.lane, it.id), it.metrics)).collect();
        Noted { epochs, run }
    }

    fn metrics<'a>(&'a self, window: &'a Record) -> &'a Metrics {
        let noted = match window.kind {
            Kind::Epoch => self.epochs.get(&(window.session, window.lane, window.id)),
            Kind::End => Some(&self.run),
            Kind::Step | Kind::Phase => None,
        };
        noted.unwrap_or(&window.metrics)
    }
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
const COLUMNS: [(&str, Sort); 33] = [
    ("run_id", Sort::Text),
    ("name", Sort::Text),
    ("framework", Sort::Text),
    ("framework_version", Sort::Text),
    ("device", Sort::Text),
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

impl Table {
    /// A table for windows of these kinds, without a run; `Kind::End` is the whole run, up to its last line where it did not end.
    pub fn new(kinds: &[Kind]) -> Table {
        let (notes, domains, metrics) = Default::default();
        Table { runs: Vec::new(), kinds: kinds.to_vec(), notes, domains, metrics }
    }

    /// The windows of these kinds of several runs.
    ///
    /// # Errors
    /// As [`add`](Table::add).
    pub fn of(runs: &[RunLog], kinds: &[Kind]) -> Result<Table> {
        let mut table = Table::new(kinds);
        runs.iter().try_for_each(|run| table.add(run))?;
        Ok(table)
    }

    /// Adds the windows of a run. Its log is read here for the names of the columns, and for what is known of an epoch only
    /// behind its line; the rows are read when they are written.
    ///
    /// # Errors
    /// If the log cannot be read, or holds no window; the table is then as it was.
    pub fn add(&mut self, run: &RunLog) -> Result<()> {
        // What cannot be understood is told when the rows are.
        let noted = Noted::of(History::read(run)?.0);
        let sensors = run.manifest.sensors.iter();
        let mut domains: BTreeSet<String> =
            sensors.map(|sensor| sensor.domain.id.clone()).collect();
        let mut metrics = BTreeSet::new();
        windows(run, &self.kinds, |window, _, _| {
            domains.extend(window.domains.keys().cloned());
            metrics.extend(noted.metrics(window).keys().cloned());
            Ok(())
        })?;
        self.notes.extend(run.manifest.notes.keys().cloned());
        self.domains.extend(domains);
        self.metrics.extend(metrics);
        self.runs.push((run.clone(), noted));
        Ok(())
    }

    /// The names of the columns.
    pub fn columns(&self) -> Vec<String> {
        let mut columns: Vec<String> = COLUMNS.iter().map(|(name, _)| (*name).to_owned()).collect();
        columns.extend(self.notes.iter().map(|note| format!("notes.{note}")));
        for domain in &self.domains {
            columns.extend(["energy_j", "u_j"].map(|part| format!("domains.{domain}.{part}")));
        }
        columns.extend(self.metrics.iter().map(|metric| format!("metrics.{metric}")));
        columns
    }

    /// What each column holds.
    pub(super) fn sorts(&self) -> impl Iterator<Item = Sort> {
        let numbers = 2 * self.domains.len() + self.metrics.len();
        let more = repeat_n(Sort::Text, self.notes.len()).chain(repeat_n(Sort::Number, numbers));
        COLUMNS.iter().map(|(_, sort)| *sort).chain(more)
    }

    /// Shows every row; gives the lines of the logs that could not be understood.
    pub(super) fn visit(&self, mut take: impl FnMut(&[Cell]) -> Result<()>) -> Result<Vec<Error>> {
        let mut bad = Vec::new();
        for (run, noted) in &self.runs {
            bad.extend(windows(run, &self.kinds, |window, start, status| {
                take(&self.row(&run.manifest, window, noted.metrics(window), start, status))
            })?);
        }
        Ok(bad)
    }

    fn row(
        &self,
        manifest: &Manifest,
        window: &Record,
        metrics: &Metrics,
        wall: Option<i64>,
        status: Value,
    ) -> Vec<Cell> {
        let estimated = manifest.sensors.iter().any(|sensor| {
            sensor.provenance == Provenance::Model
                && window.domains.get(&sensor.domain.id).is_some_and(|share| share.in_total)
        });
        // The log's sum is 0 as well where no sensor has told of anything.
        let told = window.energy.is_some() || window.total != Energy::ZERO;
        let total = told.then_some(window.total);
        let framework = manifest.framework.as_ref();
        let mut row = vec![
            Cell::Text(window.run_id.clone()),
            Cell::Text(manifest.name.clone()),
            text(framework.map(|framework| &framework.name)),
            text(framework.map(|framework| &framework.version).filter(|it| !it.is_empty())),
            text(framework.and_then(|framework| framework.device.as_ref())),
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
            word(status),
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
        row.extend(self.notes.iter().map(|note| text(manifest.notes.get(note))));
        for domain in &self.domains {
            let share = window.domains.get(domain);
            row.push(energy(share.and_then(|share| share.energy)));
            row.push(energy(share.and_then(|share| share.uncertainty)));
        }
        row.extend(
            self.metrics.iter().map(|metric| {
                metrics.get(metric).map_or(Cell::Missing, |value| Cell::Number(*value))
            }),
        );
        row
    }
}

/// Shows the windows of these kinds, each with the wall time of its start, and how it ended.
fn windows(
    run: &RunLog,
    kinds: &[Kind],
    mut take: impl FnMut(&Record, Option<i64>, Value) -> Result<()>,
) -> Result<Vec<Error>> {
    let (mut done, mut bad) = (Ok(()), Vec::new());
    let (mut first, mut session, mut ended) = (None, None, false);
    let (summary, faults) = Summary::read_with(run, |entry| {
        ended = match entry {
            Entry::Line(Line::Window(window)) => window.kind == Kind::End,
            Entry::Line(Line::Start(_)) | Entry::Step(..) => false,
            _ => ended,
        };
        let window = match entry {
            Entry::Line(Line::Start(start)) => {
                first = first.or(Some(start.unix_ns));
                session = Some((start.start, start.unix_ns));
                return;
            }
            Entry::Line(Line::Window(window)) if window.kind != Kind::End => window.clone(),
            Entry::Step(_, raw) if kinds.contains(&Kind::Step) => match raw.parse() {
                Ok(Line::Window(window)) => window,
                Ok(_) => return,
                Err(error) => return bad.push(error),
            },
            _ => return,
        };
        if kinds.contains(&window.kind) && done.is_ok() {
            done = take(&window, wall(session, window.start), json!(window.status));
        }
    })?;
    done?;
    if kinds.contains(&Kind::End) {
        // A run that was resumed has an end for each session; the last one is the run's, from its first start.
        let state = run.manifest.state;
        let status = if ended { json!(summary.end.status) } else { json!(state) };
        take(&summary.end, first, status)?;
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
