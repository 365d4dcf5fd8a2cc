//! Points of a chart with their intervals and labels, in series of a shape and a colour each.

use std::fmt::{self, Write};

use super::chart::Chart;
use super::digest::Digest;
use super::markup::{Text, short};
use crate::Group;

/// A point of a scatter chart.
#[derive(Debug)]
pub(super) struct Point {
    /// Where.
    pub(super) at: (f64, f64),
    /// From where to where it may be along x.
    pub(super) across: Option<(f64, f64)>,
    /// From where to where it may be along y.
    pub(super) along: Option<(f64, f64)>,
    /// What stands beside it.
    pub(super) label: String,
    /// What it says where the pointer rests.
    pub(super) text: String,
    /// Which series it is of.
    pub(super) series: usize,
    /// True if a model stands for any part of its energy: it is drawn hollow.
    pub(super) estimated: bool,
}

/// The frameworks, each a series of its own; an empty name for none.
pub(super) fn series(digest: &Digest) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for group in &digest.comparison.groups {
        let name = series_of(group);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The name of a group's series.
pub(super) fn series_of(group: &Group) -> &str {
    group.framework.as_deref().unwrap_or_default()
}

/// What stands beside the point of a group.
pub(super) fn label(group: &Group) -> String {
    match (group.parameters, &group.name) {
        (Some(parameters), _) => {
            let scale = super::axis::Scale::of(float(parameters), "");
            format!("{} {}", scale.text(float(parameters), float(parameters) / 100.0), scale.unit())
                .trim_end()
                .to_owned()
        }
        (None, name) => short(name.as_deref().unwrap_or_default(), 16),
    }
}

/// What the shapes mean, where there are several or some energies are estimated.
pub(super) fn legend(f: &mut String, names: &[&str], estimated: (bool, bool)) -> fmt::Result {
    f.write_str("<ul class=\"legend\">")?;
    for (place, name) in names.iter().enumerate().filter(|_| names.len() > 1) {
        let name = if name.is_empty() { "no framework named" } else { name };
        write!(f, "<li><svg class=\"key c{}\" aria-hidden=\"true\">", place % 6)?;
        write!(
            f,
            "<svg x=\"50%\" y=\"50%\" class=\"mark{}\"><path d=\"{}\"/></svg></svg>",
            hollow(estimated.0),
            shape(place)
        )?;
        write!(f, "{}</li>", Text(&short(name, 40)))?;
    }
    let key = |class: &str| {
        let path = shape(0);
        format!(
            "<svg class=\"key\" aria-hidden=\"true\"><svg x=\"50%\" y=\"50%\" class=\"mark{class}\"><path d=\"{path}\"/></svg></svg>"
        )
    };
    match estimated {
        (true, false) => {
            write!(f, "<li>{}estimated: no sensor measured all of it</li>", key(" model"))?;
        }
        (true, true) => {
            write!(f, "<li>{}estimated</li><li>{}measured</li>", key(" model"), key(""))?;
        }
        (false, _) => {}
    }
    f.write_str("</ul>\n")
}

/// Draws points: their intervals below all marks, and labels where there is room for them.
pub(super) fn draw(f: &mut String, chart: &Chart, points: &[Point]) -> fmt::Result {
    for point in points {
        let class = format!("c{}", point.series % 6);
        let (x, y) = (chart.x(point.at.0), chart.y(point.at.1));
        if let Some((low, high)) = point.across {
            write!(
                f,
                "<line class=\"bar {class}\" x1=\"{}%\" x2=\"{}%\" y1=\"{y}\" y2=\"{y}\"/>",
                chart.x(low),
                chart.x(high)
            )?;
        }
        if let Some((low, high)) = point.along {
            write!(
                f,
                "<line class=\"bar {class}\" x1=\"{x}%\" x2=\"{x}%\" y1=\"{}\" y2=\"{}\"/>",
                chart.y(low),
                chart.y(high)
            )?;
        }
    }
    for point in points {
        write!(
            f,
            "<svg x=\"{}%\" y=\"{}\" class=\"mark c{}{}\"><path d=\"{}\"><title>{}</title></path></svg>",
            chart.x(point.at.0),
            chart.y(point.at.1),
            point.series % 6,
            hollow(point.estimated),
            shape(point.series),
            Text(&point.text)
        )?;
    }
    labels(f, chart, points)
}

fn hollow(estimated: bool) -> &'static str {
    if estimated { " model" } else { "" }
}

/// A mark of some ten pixels about its place.
fn shape(series: usize) -> &'static str {
    match series % 4 {
        0 => "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0Z",
        1 => "M-4.5-4.5h9v9h-9Z",
        2 => "M0-6.5L6.5 0L0 6.5L-6.5 0Z",
        _ => "M0-6.5L6 4.5H-6Z",
    }
}

/// A box on the plot, in pixels: left, top, right, bottom.
type Extent = [f64; 4];

/// The widths at which labels are fitted: those that fit a narrow plot are always there, others only on a wide one.
const WIDTHS: [(f64, &str); 2] = [(290.0, ""), (700.0, " wide")];

/// Puts a label beside each point where it covers no mark and no other label.
fn labels(f: &mut String, chart: &Chart, points: &[Point]) -> fmt::Result {
    let mut written = vec![false; points.len()];
    let mut taken: Vec<(usize, &str, f64, f64)> = Vec::new();
    for (width, class) in WIDTHS {
        let place = |point: &Point| (width * chart.x.place(point.at.0), chart.y(point.at.1).0);
        let marks = points.iter().map(|point| {
            let (x, y) = place(point);
            [x - 6.0, y - 6.0, x + 6.0, y + 6.0]
        });
        let mut boxes: Vec<Extent> = marks.collect();
        boxes.extend(taken.iter().map(|(number, anchor, dx, dy)| {
            let (x, y) = place(&points[*number]);
            extent(x + dx, y + dy, anchor, &points[*number].label)
        }));
        for (number, point) in points.iter().enumerate() {
            if written[number] || point.label.is_empty() {
                continue;
            }
            let (x, y) = place(point);
            let sides = [
                ("start", 9.0, 4.0),
                ("end", -9.0, 4.0),
                ("middle", 0.0, -11.0),
                ("middle", 0.0, 19.0),
            ];
            let fits = |(anchor, dx, dy): &(&str, f64, f64)| {
                let own = extent(x + dx, y + dy, anchor, &point.label);
                let inside =
                    own[0] >= 0.0 && own[2] <= width && own[1] >= 0.0 && own[3] <= chart.height;
                inside && !boxes.iter().any(|other| overlaps(&own, other))
            };
            let Some((anchor, dx, dy)) = sides.into_iter().find(|side| fits(side)) else {
                continue;
            };
            boxes.push(extent(x + dx, y + dy, anchor, &point.label));
            taken.push((number, anchor, dx, dy));
            written[number] = true;
            write!(
                f,
                "<text class=\"name{class}\" x=\"{}%\" y=\"{}\" dx=\"{dx}\" dy=\"{dy}\" text-anchor=\"{anchor}\">{}</text>",
                chart.x(point.at.0),
                chart.y(point.at.1),
                Text(&point.label)
            )?;
        }
    }
    Ok(())
}

/// The box of a label, at some six and a half pixels a letter.
fn extent(x: f64, y: f64, anchor: &str, text: &str) -> Extent {
    let width = 6.5 * float(text.chars().count() as u64);
    let left = match anchor {
        "start" => x,
        "end" => x - width,
        _ => x - width / 2.0,
    };
    [left, y - 11.0, left + width, y + 3.0]
}

fn overlaps(a: &Extent, b: &Extent) -> bool {
    a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]
}

/// Small marks for the single runs behind a mean.
pub(super) fn dots(f: &mut String, chart: &Chart, dots: &[(f64, f64, usize)]) -> fmt::Result {
    for (x, y, series) in dots {
        let (x, y) = (chart.x(*x), chart.y(*y));
        write!(f, "<circle class=\"dot c{}\" cx=\"{x}%\" cy=\"{y}\" r=\"2\"/>", series % 6)?;
    }
    Ok(())
}

/// A line through points, or a band between two.
pub(super) fn line(
    f: &mut String,
    chart: &Chart,
    class: &str,
    points: &[(f64, f64)],
    closed: bool,
) -> fmt::Result {
    let path: Vec<String> = points.iter().map(|(x, y)| chart.point(*x, *y)).collect();
    let end = if closed { "Z" } else { "" };
    write!(f, "<path class=\"{class}\" d=\"M{}{end}\"/>", path.join("L"))
}

#[expect(clippy::cast_precision_loss, reason = "drawn, to three digits")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}
