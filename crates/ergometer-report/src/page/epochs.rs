//! Energy by epoch, stacked by domain.

use std::fmt::{self, Write};

use ergometer::Energy;

use super::axis::{Axis, Scale};
use super::chart::Chart;
use super::course::Course;
use super::digest::{Digest, Run};
use super::layer::{Layer, legend};
use super::markup::{step, thousands};
use super::panel::Panels;
use super::table::Table;

/// The section; nothing if no run has epochs.
pub(super) fn write(f: &mut String, digest: &Digest) -> fmt::Result {
    let panels = Panels::of(digest, |run| {
        run.course.as_ref().is_some_and(|course| !course.first.is_empty())
    });
    if panels.is_empty() {
        return Ok(());
    }
    f.write_str("<section id=\"epochs\"><h2>Energy by epoch</h2>\n")?;
    f.write_str("<p>Energy of each epoch, its parts on top of each other. The line on a bar is the expanded uncertainty (k = 2) of the sum; in one run it is mostly common to all epochs.")?;
    if panels.merged() {
        f.write_str(" Where a run has more epochs than there is room for, a bar is the mean of several; the first epoch, which pays for the warm-up, stands alone.")?;
    }
    writeln!(f, "{}</p>", panels.note())?;
    legend(f, &digest.layers)?;
    panels.write(f, digest, |f, place, run| match &run.course {
        Some(course) => panel(f, place, run, course, &digest.layers),
        None => Ok(()),
    })?;
    f.write_str("</section>\n")
}

fn panel(
    f: &mut String,
    place: usize,
    run: &Run,
    course: &Course,
    layers: &[Layer],
) -> fmt::Result {
    let known = course.energies.iter().zip(&course.uncertainties);
    let top = |(energy, uncertainty): (&Option<Energy>, &Option<Energy>)| {
        let uncertainty = uncertainty.unwrap_or_default();
        energy.unwrap_or_default() + uncertainty + uncertainty
    };
    let most = known.map(top).max().unwrap_or_default().as_joules();
    let scale =
        Scale::of(course.energies.iter().flatten().max().map_or(0.0, |most| most.as_joules()), "J");
    let rows = course.first.len();
    let chart = Chart {
        id: format!("epochs-{place}"),
        title: format!("Energy by epoch of {}", run.name),
        description: described(run, course),
        height: 170.0,
        x: axis_of_rows(&course.first),
        y: Axis::linear("energy", scale, (0.0, most), 4),
    };
    let bars = |f: &mut String| {
        let mut floor = vec![0.0; rows];
        for layer in layers {
            let Some(energies) = course.parts.get(&layer.key) else { continue };
            write!(f, "<path class=\"bars {}\" d=\"", layer.class())?;
            for (row, floor) in floor.iter_mut().enumerate() {
                let Some(Some(energy)) = energies.get(row) else { continue };
                let (foot, top) = (*floor, *floor + energy.as_joules());
                *floor = top;
                let across = (position(row) + GAP, position(row + 1) - GAP);
                f.write_str(&chart.bar(across, (foot, top)))?;
            }
            f.write_str("\"/>")?;
        }
        f.write_str("<path class=\"error\" d=\"")?;
        for (row, (energy, uncertainty)) in
            course.energies.iter().zip(&course.uncertainties).enumerate()
        {
            let (Some(energy), Some(uncertainty)) = (energy, uncertainty) else { continue };
            let (energy, expanded) = (energy.as_joules(), 2.0 * uncertainty.as_joules());
            let middle = position(row) + 0.5;
            let [low, high] =
                [energy - expanded, energy + expanded].map(|end| chart.point(middle, end.max(0.0)));
            write!(f, "M{low}L{high}")?;
        }
        f.write_str("\"/>")
    };
    let told = |row: usize| {
        let label = row_name(course, row);
        let text = match (course.energies[row], course.uncertainties[row]) {
            (Some(energy), Some(uncertainty)) => {
                format!("{label}: {}", energy.plus_minus(uncertainty + uncertainty))
            }
            (Some(energy), None) => format!("{label}: {energy}"),
            _ => format!("{label}: not resolved"),
        };
        (position(row), position(row) + 1.0, text)
    };
    chart.write(f, bars, |f| chart.hits(f, (0..rows).map(told)))?;
    let names = (0..rows).map(|row| row_name(course, row)).collect();
    let caption = format!("Energy by epoch, {}", run.run_id);
    let mut table = Table::new(caption, format!("/runs/{place}/course"), "epoch", names);
    let joules = |energy: &Option<Energy>| energy.map(|energy| energy.as_joules());
    table.column("energy", "energy_j", (scale, 1.0), course.energies.iter().map(joules));
    table.column("±, k = 2", "u_j", (scale, 2.0), course.uncertainties.iter().map(joules));
    for (name, energies) in course.parts.iter().filter(|_| course.parts.len() > 1) {
        table.column(
            name,
            &format!("parts_j/{}", step(name)),
            (scale, 1.0),
            energies.iter().map(joules),
        );
    }
    let time = Scale::of_time(course.times.iter().copied().fold(0.0, f64::max));
    table.column("time", "duration_s", (time, 1.0), course.times.iter().copied().map(Some));
    for (name, values) in &course.metrics {
        table.column(
            name,
            &format!("metrics/{}", step(name)),
            (Scale::plain(), 1.0),
            values.iter().copied(),
        );
    }
    table.write(f)
}

/// What the bars show, in a sentence.
fn described(run: &Run, course: &Course) -> String {
    let known = || course.energies.iter().flatten();
    let (Some(least), Some(most)) = (known().min(), known().max()) else {
        return "No epoch was long enough to be resolved.".to_owned();
    };
    let epochs = thousands(run.epochs.unwrap_or(course.first.len() as u64));
    let first = known().next().unwrap_or(least);
    format!("{epochs} epochs of {least:.1} to {most:.1}, the first of {first:.1}.")
}

/// The numbers of a row's epochs.
fn row_name(course: &Course, row: usize) -> String {
    match (course.first[row], course.last[row]) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}–{last}"),
    }
}

/// An axis with a place for each row, and the numbers of some.
fn axis_of_rows(first: &[u64]) -> Axis {
    let rows = first.len();
    let every = rows.div_ceil(6).max(1);
    let mut axis = Axis::up_to("epoch", Scale::plain(), position(rows));
    let marked = (0..rows).filter(|row| row % every == 0);
    axis.ticks = marked.map(|row| (position(row) + 0.5, first[row].to_string())).collect();
    axis
}

/// What a bar leaves free at each side, as a part of its place.
const GAP: f64 = 0.1;

#[expect(clippy::cast_precision_loss, reason = "a page has few rows")]
fn position(row: usize) -> f64 {
    row as f64
}
