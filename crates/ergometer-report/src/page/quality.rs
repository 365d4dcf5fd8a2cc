//! The metric against energy, with the Pareto front.

use std::fmt::{self, Write};

use super::axis::{Axis, STEPS, Scale};
use super::chart::Chart;
use super::digest::Digest;
use super::markup::{Text, figure, short};
use super::metric::Metric;
use super::scatter::{self, Point};
use crate::metric::Direction;

/// The section, or why there is none.
pub(super) fn write(f: &mut String, digest: &Digest) -> Result<fmt::Result, String> {
    let Some(metric) = &digest.metric else {
        return Err(
            "A metric against energy: no run has a metric; call `run.metric` in the training loop."
                .to_owned(),
        );
    };
    let points = points(digest, metric);
    match points.len() {
        0 => Err(format!("{} against energy: no model has both.", capital(&metric.name))),
        1 => Err(format!(
            "{} against energy: it takes two models that have both.",
            capital(&metric.name)
        )),
        _ => Ok(section(f, digest, metric, &points)),
    }
}

fn points(digest: &Digest, metric: &Metric) -> Vec<Point> {
    let series = scatter::series(digest);
    let point = |group: &crate::Group| {
        let energy = group.energy.energy?;
        let value = group.metrics.get(&metric.name)?;
        let expanded = group.energy.expanded();
        let ends = expanded.map(|expanded| {
            let (energy, expanded) = (energy.as_joules(), expanded.as_joules());
            ((energy - expanded).max(0.0), energy + expanded)
        });
        let spread = value.sd.map(|sd| (value.mean - sd, value.mean + sd));
        let energies =
            expanded.map_or(energy.to_string(), |expanded| energy.plus_minus(expanded).to_string());
        Some(Point {
            at: (energy.as_joules(), value.mean),
            across: ends,
            along: spread,
            label: scatter::label(group),
            text: format!("{}: {energies}, {} {}", group.label, metric.name, figure(value.mean)),
            series: series.iter().position(|name| *name == scatter::series_of(group)).unwrap_or(0),
            estimated: group.is_estimated(),
        })
    };
    digest.comparison.groups.iter().filter_map(point).collect()
}

fn section(f: &mut String, digest: &Digest, metric: &Metric, points: &[Point]) -> fmt::Result {
    let name = short(&metric.name, 40);
    write!(f, "<section id=\"quality\"><h2>{} against energy</h2>\n<p>", Text(&capital(&name)))?;
    write!(
        f,
        "Means of each model’s runs; bars are the expanded uncertainty of the energy (k = 2) and the standard deviation of {}. ",
        Text(&name)
    )?;
    match metric.direction {
        Some(direction) => writeln!(
            f,
            "The line is the Pareto front, with {direction} taken as better: what is on it no other model beats in both. It takes the means as exact; runs on one machine share most of their error in energy, so that their order is surer than the bars look.</p>"
        )?,
        None => f.write_str("There is no Pareto front, since the metric’s name does not tell whether more of it is better.</p>\n")?,
    }
    let estimated =
        (points.iter().any(|point| point.estimated), points.iter().any(|point| !point.estimated));
    scatter::legend(f, &scatter::series(digest), estimated)?;
    let chart = chart(digest, metric, points);
    f.write_str("<figure>")?;
    let line = |f: &mut String| match metric.direction {
        Some(direction) => {
            let front = front(digest, metric, direction, points, &chart);
            scatter::line(f, &chart, "front", &front, false)
        }
        None => Ok(()),
    };
    chart.write(f, line, |f| {
        scatter::dots(f, &chart, &dots(digest, metric))?;
        scatter::draw(f, &chart, points)
    })?;
    f.write_str("<figcaption>")?;
    if metric.direction.is_some() {
        write!(f, "On the front: {}. ", on_front(digest))?;
    }
    f.write_str("The numbers are in the <a href=\"#models\">table of models</a>.</figcaption></figure>\n</section>\n")
}

fn chart(digest: &Digest, metric: &Metric, points: &[Point]) -> Chart {
    let energies = || points.iter().map(|point| point.at.0);
    let (least, most) = (energies().fold(f64::INFINITY, f64::min), energies().fold(0.0, f64::max));
    let (low, high) =
        points.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), point| {
            let (from, to) = point.along.unwrap_or((point.at.1, point.at.1));
            (low.min(from), high.max(to))
        });
    let x = if least > 0.0 && most / least > 4.0 {
        let top = points
            .iter()
            .filter_map(|point| point.across)
            .map(|(_, high)| high)
            .fold(most, f64::max);
        let foot = points
            .iter()
            .filter_map(|point| point.across)
            .map(|(low, _)| low)
            .filter(|low| *low > 0.0);
        Axis::logarithmic("energy of a run", "J", foot.fold(least, f64::min).max(least / 4.0), top)
    } else {
        let top = points
            .iter()
            .filter_map(|point| point.across)
            .map(|(_, high)| high)
            .fold(most, f64::max);
        Axis::linear("energy of a run", Scale::of(most, "J"), (0.0, top), STEPS)
    };
    Chart {
        id: "quality-chart".to_owned(),
        title: format!("{} against energy of {} models", capital(&metric.name), points.len()),
        description: format!(
            "Energy of a run from {:.1} to {:.1}, {} from {} to {}.{}",
            ergometer::Energy::from_joules(least),
            ergometer::Energy::from_joules(most),
            metric.name,
            figure(points.iter().map(|point| point.at.1).fold(f64::INFINITY, f64::min)),
            figure(points.iter().map(|point| point.at.1).fold(f64::NEG_INFINITY, f64::max)),
            plain_front(digest)
        ),
        height: 330.0,
        x,
        y: Axis::linear(&short(&metric.name, 40), Scale::plain(), (low, high), STEPS),
    }
}

/// The front as a staircase: what energy buys, up to the next model on it.
fn front(
    digest: &Digest,
    metric: &Metric,
    direction: Direction,
    points: &[Point],
    chart: &Chart,
) -> Vec<(f64, f64)> {
    let mut corners: Vec<(f64, f64)> = digest
        .front
        .iter()
        .filter_map(|group| {
            let group = &digest.comparison.groups[*group];
            Some((group.energy.energy?.as_joules(), group.metrics.get(&metric.name)?.mean))
        })
        .collect();
    corners.sort_by(|a, b| a.0.total_cmp(&b.0));
    let values = points.iter().map(|point| point.at.1);
    let worst = match direction {
        Direction::Higher => values.fold(f64::INFINITY, f64::min),
        Direction::Lower => values.fold(f64::NEG_INFINITY, f64::max),
    };
    let mut stairs = Vec::new();
    let mut height = worst;
    for (energy, value) in corners {
        stairs.extend([(energy, height), (energy, value)]);
        height = value;
    }
    stairs.push((chart.x.value(1.0), height));
    stairs
}

/// The single runs, where a mean hides them.
fn dots(digest: &Digest, metric: &Metric) -> Vec<(f64, f64, usize)> {
    let series = scatter::series(digest);
    let several = |group: &crate::Group| group.runs.len() > 1;
    digest
        .runs
        .iter()
        .filter_map(|run| {
            let group = &digest.comparison.groups[run.group];
            let place = series.iter().position(|name| *name == scatter::series_of(group))?;
            let value = *run.metrics.get(&metric.name)?;
            several(group).then_some((run.estimate.energy?.as_joules(), value, place))
        })
        .collect()
}

fn plain_front(digest: &Digest) -> String {
    if digest.front.is_empty() {
        return String::new();
    }
    let labels: Vec<&str> =
        digest.front.iter().map(|group| digest.comparison.groups[*group].label.as_str()).collect();
    format!(" On the Pareto front: {}.", labels.join("; "))
}

fn on_front(digest: &Digest) -> String {
    let groups = digest.front.iter().map(|group| &digest.comparison.groups[*group]);
    let labels: Vec<String> =
        groups.map(|group| Text(&short(&group.label, 48)).to_string()).collect();
    labels.join("; ")
}

/// With a capital first.
fn capital(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
