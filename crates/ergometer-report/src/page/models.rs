//! The models in a table, or the parts of a single run.

use std::fmt::{self, Write};

use ergometer::sensor::Provenance;

use super::chart::Length;
use super::digest::{Digest, Run};
use super::layer::Layer;
use super::markup::{Number, Text, energy, figure, short, step};
use crate::{Group, Spread};

pub(super) fn write(f: &mut String, digest: &Digest) -> fmt::Result {
    match digest.runs.as_slice() {
        [run] => parts(f, digest, run),
        _ => models(f, digest),
    }
}

/// Where the energy of a single run went.
fn parts(f: &mut String, digest: &Digest, run: &Run) -> fmt::Result {
    f.write_str("<section id=\"models\"><h2>Where the energy went</h2>\n<div class=\"scroll\" tabindex=\"0\"><table><caption class=\"away\">Energy by part of the machine</caption><thead><tr><th scope=\"col\">part</th><th scope=\"col\">energy ± U (k = 2)</th><th scope=\"col\">share</th><th scope=\"col\" class=\"room\"><span class=\"away\">as a bar</span></th><th scope=\"col\" class=\"word\">how</th></tr></thead><tbody>")?;
    let whole = run.estimate.energy.map_or(0.0, |energy| energy.as_joules());
    for (id, share) in &run.domains {
        let sensor = digest.setups[run.setup].sensors.iter().find(|sensor| sensor.domain.id == *id);
        let name = sensor.map_or(String::new(), |sensor| sensor.domain.name.clone());
        let estimated = sensor.is_some_and(|sensor| sensor.provenance == Provenance::Model);
        let part = share
            .estimate
            .energy
            .filter(|_| share.in_total && whole > 0.0)
            .map(|energy| 100.0 * energy.as_joules() / whole);
        write!(
            f,
            "<tr><th scope=\"row\">{}<small>{}</small></th><td>{}</td><td>{}</td><td class=\"room\">{}</td><td class=\"word\">{}{}</td></tr>",
            Text(&short(id, 60)),
            Text(&short(&name, 60)),
            energy(&format!("/runs/0/domains/{}", step(id)), &share.estimate),
            part.map_or("—".to_owned(), |part| format!("{part:.0} %")),
            part.map_or(String::new(), |part| format!(
                "<svg class=\"level {}\" aria-hidden=\"true\"><rect width=\"{}%\" height=\"100%\"/></svg>",
                digest.layers.iter().find(|layer| layer.domains.contains(id)).map(Layer::class).unwrap_or_default(),
                Length(part.clamp(0.0, 100.0))
            )),
            badge(estimated),
            if share.in_total { "" } else { " beside the sum" }
        )?;
    }
    f.write_str("</tbody></table></div>\n</section>\n")
}

fn badge(estimated: bool) -> &'static str {
    if estimated {
        "<span class=\"badge model\">estimated</span>"
    } else {
        "<span class=\"badge\">measured</span>"
    }
}

fn models(f: &mut String, digest: &Digest) -> fmt::Result {
    let groups = &digest.comparison.groups;
    f.write_str("<section id=\"models\"><h2>Models</h2>\n<p>Runs of one framework and number of parameters, or of one name, are taken for one model. Means over its runs; energies with their expanded uncertainty (k = 2)")?;
    if digest.metric.is_some() {
        f.write_str(", the metric with its standard deviation over the runs")?;
    }
    let ratios = groups.iter().any(|group| group.ratio.is_some());
    if ratios {
        let baseline = digest.comparison.baseline.as_deref().unwrap_or_default();
        write!(
            f,
            "; × is energy as a multiple of that of {}, in which the error that runs on one machine have in common cancels",
            Text(&short(baseline, 60))
        )?;
    }
    f.write_str(".</p>\n<div class=\"scroll\" tabindex=\"0\"><table><caption class=\"away\">Models</caption><thead><tr><th scope=\"col\">model</th><th scope=\"col\">runs</th><th scope=\"col\">energy of a run</th>")?;
    let samples = groups.iter().any(|group| group.sample.energy.is_some());
    let metric = digest.metric.as_ref().map(|metric| metric.name.as_str());
    if ratios {
        f.write_str("<th scope=\"col\">×</th>")?;
    }
    if let Some(metric) = metric {
        write!(f, "<th scope=\"col\">{}</th>", Text(&short(metric, 24)))?;
    }
    if samples {
        f.write_str("<th scope=\"col\">per sample</th>")?;
    }
    f.write_str(
        "<th scope=\"col\">time</th><th scope=\"col\" class=\"word\">how</th></tr></thead><tbody>",
    )?;
    for (place, group) in groups.iter().enumerate() {
        let path = |name: &str| format!("/groups/{place}/{name}");
        write!(
            f,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td>",
            Text(&short(&group.label, 48)),
            group.runs.len(),
            energy(&path("run"), &group.energy)
        )?;
        if ratios {
            write!(f, "<td>{}</td>", ratio(place, group, digest))?;
        }
        if let Some(metric) = metric {
            let path = path(&format!("metrics/{}", step(metric)));
            write!(
                f,
                "<td>{}</td>",
                group.metrics.get(metric).map_or("—".to_owned(), |value| spread(&path, value))
            )?;
        }
        if samples {
            write!(f, "<td>{}</td>", energy(&path("sample"), &group.sample))?;
        }
        write!(
            f,
            "<td>{}</td><td class=\"word\">{}{}</td></tr>",
            Number::seconds(path("duration_s"), group.time.as_secs_f64()),
            badge(group.is_estimated()),
            unfinished(group)
        )?;
    }
    f.write_str("</tbody></table></div>\n")?;
    remarks(f, groups)?;
    f.write_str("</section>\n")
}

/// What stands in the way of comparing.
fn remarks(f: &mut String, groups: &[Group]) -> fmt::Result {
    let remark = |group: &Group| match (&group.incomparable, group.unlike.as_slice()) {
        (Some(reason), _) => Some(format!("{}: not comparable, {reason}", group.label)),
        (None, []) => None,
        (None, unlike) => Some(format!(
            "{}: not the models alone, the runs differ in {}",
            group.label,
            unlike.join("; ")
        )),
    };
    let remarks: Vec<String> = groups.iter().filter_map(remark).collect();
    if remarks.is_empty() {
        return Ok(());
    }
    f.write_str("<ul class=\"findings\">")?;
    for remark in remarks.iter().take(REMARKS) {
        write!(f, "<li>{}</li>", Text(&short(remark, 300)))?;
    }
    if remarks.len() > REMARKS {
        write!(f, "<li>and {} more</li>", remarks.len() - REMARKS)?;
    }
    f.write_str("</ul>\n")
}

/// Remarks that a reader can take in.
const REMARKS: usize = 6;

fn ratio(place: usize, group: &Group, digest: &Digest) -> String {
    let Some(ratio) = group.ratio else {
        let is_baseline = digest.comparison.baseline.as_ref() == Some(&group.label);
        return if is_baseline { "1".to_owned() } else { "—".to_owned() };
    };
    let digits = ratio.expanded().map_or(2, digits);
    let value =
        Number::new(format!("/groups/{place}/ratio/energy"), format!("{:.digits$}", ratio.energy));
    match (ratio.u, ratio.k) {
        (Some(own), Some(factor)) => {
            let text = format!("{:.digits$}", own * factor);
            let expanded = Number::new(format!("/groups/{place}/ratio/u"), text).times(factor);
            format!("{value} <span class=\"u\">± {expanded}</span>")
        }
        _ => value.to_string(),
    }
}

/// The digits behind the point that leave two of an uncertainty, two at most.
fn digits(uncertainty: f64) -> usize {
    match uncertainty {
        large if large >= 9.95 => 0,
        medium if medium >= 0.995 => 1,
        _ => 2,
    }
}

fn spread(path: &str, spread: &Spread) -> String {
    let value = Number::new(format!("{path}/mean"), figure(spread.mean));
    match spread.sd {
        Some(sd) => {
            let digits = figure(spread.mean).split_once('.').map_or(0, |(_, rest)| rest.len());
            let text = format!("{sd:.digits$}");
            format!(
                "{value} <span class=\"u\">± {}</span>",
                Number::new(format!("{path}/sd"), text)
            )
        }
        None => value.to_string(),
    }
}

fn unfinished(group: &Group) -> String {
    match group.unfinished {
        0 => String::new(),
        some => format!(" <span class=\"badge bad\">{some} unfinished</span>"),
    }
}
