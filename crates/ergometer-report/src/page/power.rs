//! Power over time, with the phases.

use std::collections::BTreeSet;
use std::fmt::{self, Write};

use super::axis::{Axis, Scale};
use super::chart::Chart;
use super::course::Power;
use super::digest::{Digest, Run};
use super::markup::{Number, Text, energy, short};
use super::panel::Panels;
use super::table::Table;

/// The section; nothing if no run is long enough to have a power.
pub(super) fn write(f: &mut String, digest: &Digest) -> fmt::Result {
    let drawn = |run: &Run| run.power.as_ref().is_some_and(|power| !power.powers.is_empty());
    let panels = Panels::of(digest, drawn);
    if panels.is_empty() {
        return Ok(());
    }
    let powers = || digest.runs.iter().filter_map(|run| run.power.as_ref());
    let names: BTreeSet<&str> =
        powers().flat_map(|power| power.phases.keys().map(String::as_str)).collect();
    let names: Vec<&str> = names.into_iter().collect();
    f.write_str("<section id=\"power\"><h2>Power over time</h2>\n")?;
    f.write_str("<p>The mean power between successive points of the log, which is exact on average and hides what is shorter.")?;
    if digest.is_estimated() {
        f.write_str(" Where the line is dashed, a model stands for all or part of it.")?;
    }
    if !names.is_empty() {
        f.write_str(" The strip at the foot tells when phases ran.")?;
        let mut phases = powers().flat_map(|power| power.phases.values());
        if phases.any(|phases| phases.left_out > 0) {
            f.write_str(" Where there are many of them, some are left out.")?;
        }
    }
    writeln!(f, "{}</p>", panels.note())?;
    if !names.is_empty() {
        f.write_str("<ul class=\"legend\">")?;
        for (place, name) in names.iter().enumerate() {
            write!(
                f,
                "<li><svg class=\"swatch c{}\" aria-hidden=\"true\"><rect width=\"100%\" height=\"100%\"/></svg>{}</li>",
                colour(place),
                Text(&short(name, 40))
            )?;
        }
        f.write_str("</ul>\n")?;
    }
    panels.write(f, digest, |f, place, run| match &run.power {
        Some(power) => panel(f, place, run, power, &names),
        None => Ok(()),
    })?;
    phases(f, digest)?;
    f.write_str("</section>\n")
}

/// The height of the phases' strip in pixels.
const STRIP: f64 = 7.0;

/// Phases are told apart by the colours that come first for domains, from the other end.
fn colour(place: usize) -> usize {
    5 - place % 6
}

fn panel(f: &mut String, place: usize, run: &Run, power: &Power, names: &[&str]) -> fmt::Result {
    let watts = || power.powers.iter().map(|power| power.as_watts());
    let (least, most) = (watts().fold(f64::INFINITY, f64::min), watts().fold(0.0, f64::max));
    let end = power.ends.last().copied().unwrap_or(0.0);
    let (scale, time) = (Scale::of(most, "W"), Scale::of_time(end));
    let chart = Chart {
        id: format!("power-{place}"),
        title: format!("Power over time of {}", run.name),
        description: format!(
            "Between {:.1} and {:.1} over {}.",
            ergometer::Power::from_watts(least),
            ergometer::Power::from_watts(most),
            labelled(time, end, end)
        ),
        height: 150.0,
        x: Axis::up_to("time", time, end),
        y: Axis::linear("power", scale, (least.min(0.0), most), 3),
    };
    // Phases are a strip at the foot of the plot.
    let (floor, strip) = (chart.y.value(0.0), chart.y.value(STRIP / chart.height));
    let stretches = power.starts.iter().zip(&power.ends).zip(watts());
    let paths = |f: &mut String| {
        let (mut line, mut area, mut before) = (String::new(), String::new(), None);
        let foot = format!("V{}Z", chart.y(0.0));
        for ((start, end), watts) in stretches.clone() {
            let (from, to) = (chart.point(*start, watts), chart.point(*end, watts));
            let (x, y) = (
                to.split(' ').next().unwrap_or_default(),
                to.split(' ').nth(1).unwrap_or_default(),
            );
            if before == Some(*start) {
                write!(line, "V{y}H{x}")?;
                write!(area, "V{y}H{x}")?;
            } else {
                let foot = if area.is_empty() { "" } else { &foot };
                write!(line, "M{from}H{x}")?;
                write!(area, "{foot}M{}V{y}H{x}", chart.point(*start, 0.0))?;
            }
            before = Some(*end);
        }
        area.push_str(&foot);
        let class = if run.estimated { "power model" } else { "power" };
        write!(
            f,
            "<path class=\"{class} area\" d=\"{area}\"/><path class=\"{class} line\" d=\"{line}\"/>"
        )?;
        for (name, phases) in &power.phases {
            let colour = names.iter().position(|known| known == name).map_or(0, colour);
            write!(f, "<path class=\"phase c{colour}\" d=\"")?;
            for (start, end) in phases.starts.iter().zip(&phases.ends) {
                f.write_str(&chart.bar((*start, *end), (floor, strip)))?;
            }
            f.write_str("\"/>")?;
        }
        Ok(())
    };
    let hits = |f: &mut String| {
        chart.hits(
            f,
            stretches.clone().map(|((from, to), watts)| {
                let power = ergometer::Power::from_watts(watts);
                let text = format!(
                    "{}–{}: {power:.1}",
                    time.text(*from, end / 200.0),
                    labelled(time, *to, end)
                );
                (*from, *to, text)
            }),
        )
    };
    chart.write(f, paths, hits)?;
    let digits = end / 200.0;
    let names = power.starts.iter().zip(&power.ends);
    let names =
        names.map(|(from, to)| format!("{}–{}", time.text(*from, digits), time.text(*to, digits)));
    let head = format!("time ({})", time.unit());
    let caption = format!("Power over time, {}", run.run_id);
    let mut table = Table::new(caption, format!("/runs/{place}/power"), &head, names.collect());
    table.column("power", "power_w", (scale, 1.0), watts().map(Some));
    table.write(f)
}

/// A time with its unit, in digits that fit a run that ends at `end`.
fn labelled(time: Scale, value: f64, end: f64) -> String {
    format!("{} {}", time.text(value, end / 200.0), time.unit())
}

/// What the phases came to.
fn phases(f: &mut String, digest: &Digest) -> fmt::Result {
    let drawn = digest.drawn.iter().map(|group| digest.shown(*group));
    let drawn: Vec<(usize, &Run)> = drawn.filter(|(_, run)| !run.phases.is_empty()).collect();
    if drawn.is_empty() {
        return Ok(());
    }
    f.write_str("<div class=\"scroll\" tabindex=\"0\"><table><caption>Phases of the runs that are drawn. Their energy is part of the run's.</caption><thead><tr><th scope=\"col\">run</th><th scope=\"col\" class=\"word\">phase</th><th scope=\"col\">times</th><th scope=\"col\">energy ± U (k = 2)</th><th scope=\"col\">time</th><th scope=\"col\" class=\"word\">quality</th></tr></thead><tbody>")?;
    for (place, run) in drawn {
        for (name, phase) in &run.phases {
            let path = format!("/runs/{place}/phases/{}", super::markup::step(name));
            write!(
                f,
                "<tr><th scope=\"row\">{}</th><td class=\"word\">{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"word\">{}</td></tr>",
                Text(&short(&digest.comparison.groups[run.group].label, 48)),
                Text(&short(name, 40)),
                Number::count(format!("{path}/count"), phase.count),
                energy(&path, &phase.estimate),
                Number::seconds(format!("{path}/duration_s"), phase.time),
                phase.estimate.quality
            )?;
        }
    }
    f.write_str("</tbody></table></div>\n")
}
