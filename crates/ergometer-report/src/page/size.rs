//! Energy against the number of parameters, with the size law.

use std::fmt::{self, Write};

use ergometer::Energy;

use super::axis::Axis;
use super::chart::Chart;
use super::digest::{Digest, Law};
use super::markup::{Number, Text, short};
use super::scatter::{self, Point, float};
use crate::Group;
use crate::analysis::size_law::{Proportion, SizeLaw};

/// The section, or why there is none.
pub(super) fn write(f: &mut String, digest: &Digest) -> Result<fmt::Result, String> {
    let points = points(digest);
    let mut sizes: Vec<u64> =
        digest.comparison.groups.iter().filter_map(|group| group.parameters).collect();
    sizes.sort_unstable();
    sizes.dedup();
    if points.len() < 2 || sizes.len() < 2 {
        return Err(
            "Energy against parameters: it takes models of two sizes, and three for a law."
                .to_owned(),
        );
    }
    Ok(section(f, digest, &points))
}

fn points(digest: &Digest) -> Vec<Point> {
    let series = scatter::series(digest);
    let point = |group: &Group| {
        let energy = group.energy.energy.filter(|energy| *energy > Energy::ZERO)?;
        let expanded = group.energy.expanded();
        let ends = expanded.map(|expanded| {
            let (energy, expanded) = (energy.as_joules(), expanded.as_joules());
            ((energy - expanded).max(0.0), energy + expanded)
        });
        let energies =
            expanded.map_or(energy.to_string(), |expanded| energy.plus_minus(expanded).to_string());
        Some(Point {
            at: (float(group.parameters?), energy.as_joules()),
            across: None,
            along: ends,
            label: String::new(),
            text: format!("{}: {energies}", group.label),
            series: series.iter().position(|name| *name == scatter::series_of(group)).unwrap_or(0),
            estimated: group.is_estimated(),
        })
    };
    digest.comparison.groups.iter().filter_map(point).collect()
}

fn section(f: &mut String, digest: &Digest, points: &[Point]) -> fmt::Result {
    f.write_str("<section id=\"size\"><h2>Energy against parameters</h2>\n")?;
    let names = scatter::series(digest);
    let estimated =
        (points.iter().any(|point| point.estimated), points.iter().any(|point| !point.estimated));
    f.write_str("<p>Means of each model’s runs with their expanded uncertainty (k = 2). Lines are power laws through the means of each size, bands where one more size is expected at 95 %.</p>\n")?;
    scatter::legend(f, &names, estimated)?;
    let chart = chart(points);
    f.write_str("<figure>")?;
    let laws = |f: &mut String| {
        for law in &digest.laws {
            let Some(fitted) = &law.law else { continue };
            let place = names.iter().position(|name| *name == law.family).unwrap_or(0);
            drawn(f, &chart, fitted, place % 6)?;
        }
        Ok(())
    };
    chart.write(f, laws, |f| scatter::draw(f, &chart, points))?;
    f.write_str("</figure>\n<ul class=\"findings\">")?;
    for (place, law) in digest.laws.iter().enumerate() {
        found(f, place, law)?;
    }
    f.write_str("</ul>\n</section>\n")
}

fn chart(points: &[Point]) -> Chart {
    let sizes = || points.iter().map(|point| point.at.0);
    let energies = || points.iter().map(|point| point.at.1);
    let (least, most) = (energies().fold(f64::INFINITY, f64::min), energies().fold(0.0, f64::max));
    let ends = || points.iter().filter_map(|point| point.along);
    let top = ends().map(|(_, high)| high).fold(most, f64::max);
    let foot = ends().map(|(low, _)| low).filter(|low| *low > least / 4.0).fold(least, f64::min);
    let (small, large) = (sizes().fold(f64::INFINITY, f64::min), sizes().fold(0.0, f64::max));
    Chart {
        id: "size-chart".to_owned(),
        title: "Energy of a run against parameters, both as factors".to_owned(),
        description: format!(
            "Models of {small} to {large} parameters; energy of a run from {:.1} to {:.1}.",
            Energy::from_joules(least),
            Energy::from_joules(most)
        ),
        height: 330.0,
        x: Axis::logarithmic("parameters", "", small, large),
        y: Axis::logarithmic("energy of a run", "J", foot, top),
    }
}

/// Parts of a band's edge.
const EDGE: u32 = 24;

/// The line and the band, over the sizes that there are.
fn drawn(f: &mut String, chart: &Chart, law: &SizeLaw, colour: usize) -> fmt::Result {
    let [Some(first), Some(last)] = [law.sizes.first(), law.sizes.last()] else { return Ok(()) };
    let (first, last) = (float(first.parameters), float(last.parameters));
    let at = |part: u32| first * (last / first).powf(f64::from(part) / f64::from(EDGE));
    let there: Vec<_> = (0..=EDGE)
        .filter_map(|part| law.fit.predict(at(part)).ok().map(|expected| (at(part), expected)))
        .collect();
    let upper = there.iter().map(|(x, expected)| (*x, expected.high));
    let lower = there.iter().rev().map(|(x, expected)| (*x, expected.low));
    let band: Vec<(f64, f64)> = upper.chain(lower).collect();
    let line: Vec<(f64, f64)> = there.iter().map(|(x, expected)| (*x, expected.value)).collect();
    scatter::line(f, chart, &format!("band c{colour}"), &band, true)?;
    scatter::line(f, chart, &format!("law c{colour}"), &line, false)
}

fn found(f: &mut String, place: usize, law: &Law) -> fmt::Result {
    write!(f, "<li><strong>{}</strong>: ", Text(&short(&law.family, 40)))?;
    let Some(fitted) = &law.law else {
        return write!(f, "no law; {}.</li>", Text(law.refused.as_deref().unwrap_or_default()));
    };
    let at = |name: &str, value: f64| {
        Number::new(format!("/laws/{place}/law/{name}"), format!("{value:.2}"))
    };
    let (fit, doubling) = (&fitted.fit, &fitted.doubling);
    write!(
        f,
        "energy grows as parameters to the power of {} (95 %: {} to {}); twice the parameters take {} times the energy ({} to {}). {}</li>",
        at("fit/exponent", fit.exponent),
        at("fit/interval/0", fit.interval.0),
        at("fit/interval/1", fit.interval.1),
        at("doubling/value", doubling.value),
        at("doubling/low", doubling.low),
        at("doubling/high", doubling.high),
        match fitted.proportion {
            Proportion::Less => "A parameter of a larger model costs less.",
            Proportion::More => "A parameter of a larger model costs more.",
            Proportion::Undecided =>
                "Whether energy is in proportion to size, the interval cannot decide.",
        }
    )
}
