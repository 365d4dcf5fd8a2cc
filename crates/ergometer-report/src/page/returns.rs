//! What a point of the metric cost, gain by gain.

use std::fmt::{self, Write};

use ergometer::{Energy, Result};
use serde::Serialize;

use super::axis::{Axis, Scale};
use super::chart::Chart;
use super::digest::{Digest, Run};
use super::markup::{Number, Text, figure, short};
use super::metric::Metric;
use super::panel::Panels;
use super::scatter;
use super::table::Table;
use crate::History;
use crate::analysis::returns::{Bought, Question, Returns};

/// The gains of a model's training, in columns: the epochs that were better than all before them.
#[derive(Debug, Serialize)]
pub(super) struct Gains {
    group: usize,
    /// How many runs the curve is the mean of.
    runs: usize,
    /// How many gains there were, of which some may be left out.
    gains: usize,
    /// How much of the metric is a point.
    point: f64,
    /// The least gain that is told from noise; missing where nothing tells it.
    floor: Option<f64>,
    epoch: Vec<u64>,
    value: Vec<f64>,
    #[serde(rename = "total_j")]
    totals: Vec<Energy>,
    /// The energy of a point; a lower bound where the gain is within noise.
    #[serde(rename = "per_point_j")]
    costs: Vec<Energy>,
    within_noise: Vec<bool>,
    /// How much of the energy it took to all but the last of the gain.
    bought: Option<Bought>,
}

impl Gains {
    /// The gains of runs of one model, thinned to at most so many rows.
    ///
    /// # Errors
    /// As [`Returns::of`], and a metric whose name does not tell which way it gets better.
    pub(super) fn of(
        group: usize,
        runs: &[History],
        metric: &Metric,
        rows: usize,
    ) -> Result<Gains> {
        let returns = Returns::of(runs, &Question::about(&metric.name)?)?;
        let gains: Vec<_> =
            returns.epochs.iter().filter_map(|row| Some((row, row.cost?))).collect();
        let all = gains.len();
        let stride = gains.len().div_ceil(rows.max(1)).max(1);
        let gains: Vec<_> = gains.into_iter().step_by(stride).collect();
        Ok(Gains {
            group,
            runs: returns.runs,
            gains: all,
            point: returns.point,
            floor: returns.noise.map(|noise| noise.floor),
            epoch: gains.iter().map(|(row, _)| row.epoch).collect(),
            value: gains.iter().map(|(row, _)| row.value).collect(),
            totals: gains.iter().map(|(row, _)| row.total).collect(),
            costs: gains.iter().map(|(_, cost)| *cost).collect(),
            within_noise: gains.iter().map(|(row, _)| row.is_noise).collect(),
            bought: returns.bought.last().copied(),
        })
    }
}

/// The section, or why there is none.
pub(super) fn write(f: &mut String, digest: &Digest) -> Result<fmt::Result, String> {
    let Some(metric) = &digest.metric else {
        return Err("Energy of a point by epoch: no run has a metric.".to_owned());
    };
    let panels = Panels::of(digest, |run| {
        of_run(digest, run).is_some_and(|(_, gains)| !gains.costs.is_empty())
    });
    if panels.is_empty() {
        let reason =
            digest.no_returns.as_deref().unwrap_or("no epoch was better than one before it");
        return Err(format!(
            "Energy of a point of {} by epoch: {reason}.",
            short(&metric.name, 40)
        ));
    }
    Ok(section(f, digest, metric, &panels))
}

fn of_run<'a>(digest: &'a Digest, run: &Run) -> Option<(usize, &'a Gains)> {
    digest.returns.iter().enumerate().find(|(_, gains)| gains.group == run.group)
}

fn section(f: &mut String, digest: &Digest, metric: &Metric, panels: &Panels) -> fmt::Result {
    let point = digest.returns.first().map_or(1.0, |gains| gains.point);
    let name = Text(&short(&metric.name, 40)).to_string();
    write!(
        f,
        "<section id=\"returns\"><h2>Energy of a point of {name}, by epoch</h2>\n<p>Each mark is an epoch that was better than all before it, and the energy since the last of these, for {name} {} by {point}. It is of the mean of a model’s runs. A mark with an arrow is a gain within noise, and its cost a lower bound.",
        metric.direction.map_or(String::new(), |direction| direction.to_string())
    )?;
    if digest.returns.iter().any(|gains| gains.gains > gains.costs.len()) {
        f.write_str(" Where there are many gains, some are left out.")?;
    }
    if digest.returns.iter().any(|gains| gains.floor.is_none()) {
        f.write_str(
            " Where only one run tells it, the noise is not known, and small gains may be none.",
        )?;
    }
    writeln!(f, "{}</p>", panels.own_scales())?;
    panels.write(f, digest, |f, _, run| match of_run(digest, run) {
        Some((place, gains)) => panel(f, place, gains, run, metric),
        None => Ok(()),
    })?;
    f.write_str("</section>\n")
}

fn panel(f: &mut String, place: usize, gains: &Gains, run: &Run, metric: &Metric) -> fmt::Result {
    let costs = || gains.costs.iter().map(|cost| cost.as_joules());
    let positive = || costs().filter(|cost| *cost > 0.0);
    let (least, most) = (positive().fold(f64::INFINITY, f64::min), positive().fold(0.0, f64::max));
    let last = gains.epoch.iter().copied().max().unwrap_or(1);
    let chart = Chart {
        id: format!("returns-{place}"),
        title: format!("Energy of a point of {} by epoch, {}", metric.name, run.name),
        description: format!(
            "{} gains, from {:.1} to {:.1} a point.",
            gains.gains,
            Energy::from_joules(least.min(most)),
            Energy::from_joules(most)
        ),
        height: 170.0,
        x: Axis::up_to("epoch", Scale::plain(), scatter::float(last) * 1.04),
        y: if most > 0.0 {
            Axis::logarithmic("energy of a point", "J", least, most)
        } else {
            Axis::linear("energy of a point", Scale::of(0.0, "J"), (0.0, 0.0), 4)
        },
    };
    let class = if run.estimated { " model" } else { "" };
    chart.write(f, |_| Ok(()), |f| {
        write!(f, "<g class=\"gains c0{class}\">")?;
        for (row, cost) in gains.costs.iter().enumerate().filter(|(_, cost)| cost.as_joules() > 0.0) {
            let within = gains.within_noise[row];
            let (x, y) = (chart.x(scatter::float(gains.epoch[row])), chart.y(cost.as_joules()));
            if within {
                write!(f, "<svg x=\"{x}%\" y=\"{y}\"><path d=\"M0-5V-15M-3-11L0-15L3-11\"/></svg>")?;
            }
            write!(
                f,
                "<circle cx=\"{x}%\" cy=\"{y}\" r=\"4\"><title>epoch {}: {}{cost:.1} a point, {}</title></circle>",
                gains.epoch[row],
                if within { "at least " } else { "" },
                figure(gains.value[row])
            )?;
        }
        f.write_str("</g>")
    })?;
    let name = |row: usize| {
        format!(
            "{}{}",
            gains.epoch[row],
            if gains.within_noise[row] { ", within noise" } else { "" }
        )
    };
    let names = (0..gains.epoch.len()).map(name).collect();
    let caption = format!("Gains, {}", run.run_id);
    let mut table = Table::new(caption, format!("/returns/{place}"), "epoch", names);
    let joules = |energies: &[Energy]| {
        energies.iter().map(|energy| Some(energy.as_joules())).collect::<Vec<_>>()
    };
    table.column(
        &short(&metric.name, 24),
        "value",
        (Scale::plain(), 1.0),
        gains.value.iter().copied().map(Some),
    );
    let total = gains.totals.last().map_or(0.0, |total| total.as_joules());
    table.column("energy so far", "total_j", (Scale::of(total, "J"), 1.0), joules(&gains.totals));
    table.column("of a point", "per_point_j", (Scale::of(most, "J"), 1.0), joules(&gains.costs));
    table.write(f)?;
    bought(f, place, gains)
}

/// How much of the energy the last part of the gain took.
fn bought(f: &mut String, place: usize, gains: &Gains) -> fmt::Result {
    let Some(last) = gains.bought else { return Ok(()) };
    let path = format!("/returns/{place}/bought/energy");
    write!(
        f,
        "<p class=\"finding\">{:.0} % of the gain was there after {} of the energy.</p>",
        100.0 * last.gain,
        Number::share(path, last.energy)
    )
}
