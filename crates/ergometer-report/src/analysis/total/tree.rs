//! The runs of a directory tree, each with what it used.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ergometer::log::{Entry, Line};
use ergometer::record::Manifest;
use ergometer::sensor::Provenance;
use ergometer::{Energy, Error, Result, RunLog, Summary, Timestamp};

use super::{Counted, LeftOut};

/// The directories in and below `directory` that hold a manifest, in order of their paths; and those below it that cannot be
/// read.
pub(super) fn runs_below(directory: &Path) -> Result<(Vec<PathBuf>, Vec<LeftOut>)> {
    let (mut open, mut found) = (vec![directory.to_owned()], Vec::new());
    let mut left_out = Vec::new();
    while let Some(place) = open.pop() {
        if place.join("run.json").exists() {
            found.push(place);
            continue;
        }
        let entries = match fs::read_dir(&place) {
            Ok(entries) => entries,
            Err(error) if place == directory => return Err(Error::file("read", &place, error)),
            Err(error) => {
                let reason = Error::file("read", &place, error).to_string();
                left_out.push(LeftOut { directory: place, reason });
                continue;
            }
        };
        // A link may lead back to where it is.
        let below = entries
            .filter_map(|entry| entry.ok())
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        open.extend(below.map(|entry| entry.path()));
    }
    found.sort();
    Ok((found, left_out))
}

/// What a run used, by its windows or else by its lines of progress; and the lines that could not be understood.
///
/// # Errors
/// If the log cannot be read, is of a newer version, or is of several ranks, whose energies may overlap.
pub(super) fn count(directory: &Path) -> Result<(Counted, Vec<Error>)> {
    let log = RunLog::open(directory)?;
    let (mut start, mut last, mut progress) = (None, None, None);
    let mut ranks = std::collections::BTreeSet::new();
    let mut has_window = false;
    let read = Summary::read_with(&log, |entry| match entry {
        Entry::Line(Line::Start(line)) => {
            ranks.insert(line.rank);
            start.get_or_insert(line.start);
        }
        Entry::Line(Line::Event(event)) => {
            last = Some(event.at);
            if let Some(total) = event.total {
                progress = Some((total, event.domains.clone()));
            }
        }
        Entry::Step(..) | Entry::Line(Line::Window(_)) => has_window = true,
        Entry::Bad(_) => {}
    });
    let manifest = &log.manifest;
    let run = |energy, uncertainty, estimated, time| Counted {
        run_id: manifest.run_id.clone(),
        name: manifest.name.clone(),
        directory: directory.to_owned(),
        purpose: manifest.notes.get("purpose").map(|purpose| purpose.trim().to_lowercase()),
        state: manifest.state,
        created: manifest.created.clone(),
        energy,
        uncertainty,
        estimated,
        time,
    };
    match read {
        Ok((summary, bad)) => {
            let domains = summary.end.domains.iter().map(|(id, share)| (id, share.energy));
            let end = &summary.end;
            // What is not known is not estimated either.
            let estimated = end.energy.map_or(Energy::ZERO, |_| of_models(manifest, domains));
            Ok((run(end.energy, end.uncertainty, estimated, end.duration), bad))
        }
        // Other than that, the log has been read, and holds no window.
        Err(error) if has_window || ranks.len() > 1 || error.kind() != "invalid" => Err(error),
        Err(_) => {
            let time = time_between(start, last);
            let Some((total, domains)) = progress else {
                return Ok((run(None, None, Energy::ZERO, time), Vec::new()));
            };
            let estimated =
                of_models(manifest, domains.iter().map(|(id, energy)| (id, Some(*energy))));
            let of = |id: &String| domains.get(id).copied().unwrap_or_default();
            let sensors = manifest.sensors.iter().filter(|sensor| sensor.in_total);
            let uncertainty = sensors
                .map(|sensor| of(&sensor.domain.id).scaled(sensor.gain) + sensor.offset * time)
                .sum();
            Ok((run(Some(total), Some(uncertainty), estimated, time), Vec::new()))
        }
    }
}

/// The energy of domains in the total that models estimated.
fn of_models<'a>(
    manifest: &Manifest,
    domains: impl Iterator<Item = (&'a String, Option<Energy>)>,
) -> Energy {
    let is_modelled = |id: &str| {
        manifest.sensors.iter().any(|sensor| {
            sensor.in_total && sensor.domain.id == id && sensor.provenance == Provenance::Model
        })
    };
    domains.filter(|(id, _)| is_modelled(id)).filter_map(|(_, energy)| energy).sum()
}

fn time_between(start: Option<Timestamp>, last: Option<Timestamp>) -> Duration {
    start.zip(last).map_or(Duration::ZERO, |(start, last)| last.since(start))
}
