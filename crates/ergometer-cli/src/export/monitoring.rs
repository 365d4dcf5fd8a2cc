//! Formats of monitoring: where runs stand, or stood, as a server would tell it.

use std::io::{self, Write};
use std::path::Path;

use ergometer::{Error, Result};
use ergometer_sinks::otlp::{self, Course, Resource};
use ergometer_sinks::replay;
use ergometer_sinks::tally::Tally;

use super::{Exported, Format};
use crate::file::replace;
use crate::logs::Runs;

/// Writes the runs to a file, or else to `out`; tells what was written to a file, and whether all of the logs could be read.
pub(super) fn write(
    format: Format,
    runs: &Runs,
    path: Option<&Path>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Result<(Vec<Exported>, bool)>> {
    let (read, whole) = runs.read_ranks(
        |log| {
            let mut course = Course::default();
            let bad = replay(log, &mut course)?;
            Ok(((log.manifest.run_id.clone(), course), bad))
        },
        err,
    );
    if read.is_empty() {
        return Ok(Err(Error::absent("there is no run to write").cure("name directories of runs")));
    }
    let courses = || read.iter().map(|(_, course)| course.tallies());
    let text = match format {
        Format::Otlp => otlp::request(courses().flatten(), &Resource::default()).to_string() + "\n",
        // It has no past: the last of each.
        _ => ergometer_sinks::prometheus::text(courses().filter_map(<[Tally]>::last)),
    };
    let Some(path) = path else {
        out.write_all(text.as_bytes())?;
        return Ok(Ok((Vec::new(), whole)));
    };
    let written = replace(path, |file| {
        file.write_all(text.as_bytes()).map_err(|cause| Error::file("write", path, cause))
    });
    Ok(written.map(|()| {
        let runs = read.into_iter();
        (runs.map(|(run_id, _)| Exported { run_id, path: path.to_owned() }).collect(), whole)
    }))
}
