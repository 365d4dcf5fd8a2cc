//! The headline: what it came to, how sure that is, and how it was told.

use std::collections::BTreeSet;
use std::fmt::{self, Write};

use ergometer::record::{Quality, State};

use super::digest::{Digest, Run};
use super::markup::{Number, Text, energy, plural, short, thousands};

pub(super) fn write(f: &mut String, digest: &Digest) -> fmt::Result {
    f.write_str("<header><p class=\"kind\">ergometer · energy of training</p>\n")?;
    writeln!(f, "<h1>{}</h1>", Text(&title(digest)))?;
    let total = &digest.total;
    match total.estimate.energy {
        Some(_) => write!(f, "<p class=\"sum\">{}</p>", energy("/total", &total.estimate))?,
        None => f.write_str("<p class=\"sum\">not known</p>")?,
    }
    writeln!(f, "<p class=\"provenance\">{}</p>", provenance(digest))?;
    facts(f, digest)?;
    warnings(f, digest)?;
    f.write_str("</header>\n")
}

/// What the page is of, in a few words; plain text.
pub(super) fn title(digest: &Digest) -> String {
    let groups = &digest.comparison.groups;
    match (digest.runs.as_slice(), groups.as_slice()) {
        ([run], _) => short(&run.name, 80),
        (runs, [group]) => format!("{} of {}", plural(runs.len(), "run"), short(&group.label, 60)),
        (runs, groups) => {
            format!("{} of {}", plural(runs.len(), "run"), plural(groups.len(), "model"))
        }
    }
}

/// How the energy came about.
fn provenance(digest: &Digest) -> String {
    let of_all = if digest.runs.len() > 1 {
        "All runs together; the expanded uncertainty (k = 2) takes their errors as common."
    } else {
        "The uncertainty is expanded (k = 2)."
    };
    let share = |share: f64| Number::share("/total/measured", share);
    let how = match digest.total.measured {
        None => "<span class=\"badge\">not known</span>".to_owned(),
        Some(0.0) => format!(
            "<span class=\"badge model\">estimated</span> Models stand for all of it; sensors measured {}.",
            share(0.0)
        ),
        Some(whole) if whole >= 1.0 => {
            format!("<span class=\"badge\">measured</span> Sensors told {} of it.", share(whole))
        }
        Some(part) => format!(
            "<span class=\"badge model\">partly estimated</span> Sensors measured {} of it; models stand for the rest.",
            share(part)
        ),
    };
    let partial = match digest.total.estimate.quality {
        Quality::Partial => " Readings do not cover all of the time; what they saw is counted.",
        _ => "",
    };
    format!("{how}{partial} {of_all}")
}

fn facts(f: &mut String, digest: &Digest) -> fmt::Result {
    f.write_str("<dl class=\"facts\">")?;
    let mut fact = |name: &str, value: String| match value.is_empty() {
        true => Ok(()),
        false => write!(f, "<div><dt>{name}</dt><dd>{value}</dd></div>"),
    };
    fact("time", Number::seconds("/total/duration_s", digest.total.time).to_string())?;
    if let [run] = digest.runs.as_slice() {
        if let Some(parameters) = run.parameters {
            fact("parameters", Number::count("/runs/0/parameters", parameters).to_string())?;
        }
        if let Some(epochs) = run.epochs {
            fact("epochs", Number::count("/runs/0/epochs", epochs).to_string())?;
        }
        if let Some(samples) = run.samples {
            fact("samples", Number::count("/runs/0/samples", samples).to_string())?;
        }
        if let Some((metric, value)) = digest
            .metric
            .as_ref()
            .and_then(|metric| Some((metric, *run.metrics.get(&metric.name)?)))
        {
            let path = format!("/runs/0/metrics/{}", super::markup::step(&metric.name));
            let name = Text(&short(&metric.name, 24)).to_string();
            fact(&name, Number::new(path, super::markup::figure(value)).to_string())?;
        }
    }
    if let Some(place) = digest.places.iter().position(|place| place.own) {
        let carbon = digest.places[place].carbon;
        let number = Number::new(format!("/places/{place}/co2e_kg"), super::carbon::mass(carbon));
        fact("emissions", number.to_string())?;
    }
    if let Some(cost) = &digest.cost {
        let digits = if cost.amount.abs() < 0.1 { 6 } else { 2 };
        fact("cost", Number::new("/cost/amount", format!("{cost:.digits$}")).to_string())?;
    }
    let machines = digest.setups.iter().map(|setup| {
        let machine = &setup.machine;
        machine.cpu.as_ref().map_or(machine.host.clone(), |cpu| format!("{} · {cpu}", machine.host))
    });
    fact("machine", listed(machines))?;
    let frameworks = digest.setups.iter().filter_map(|setup| {
        let framework = setup.framework.as_ref()?;
        let device =
            framework.device.as_ref().map_or(String::new(), |device| format!(" on {device}"));
        Some(format!("{} {}{device}", framework.name, framework.version))
    });
    fact("framework", listed(frameworks))?;
    let days: BTreeSet<&str> =
        digest.runs.iter().map(|run| run.created.get(..10).unwrap_or(&run.created)).collect();
    let dates = match (days.first(), days.last()) {
        (Some(first), Some(last)) if first != last => format!("{} to {}", Text(first), Text(last)),
        (Some(day), _) => Text(day).to_string(),
        _ => String::new(),
    };
    fact("started", dates)?;
    f.write_str("</dl>\n")
}

/// Different values, at most three.
fn listed(values: impl Iterator<Item = String>) -> String {
    let values: BTreeSet<String> = values.collect();
    let more = values.len().saturating_sub(3);
    let mut shown: Vec<String> =
        values.iter().take(3).map(|value| Text(&short(value, 70)).to_string()).collect();
    if more > 0 {
        shown.push(format!("{more} more"));
    }
    shown.join("<br>")
}

/// Runs that did not end as planned, and energies that are missing.
fn warnings(f: &mut String, digest: &Digest) -> fmt::Result {
    let unfinished: Vec<&Run> =
        digest.runs.iter().filter(|run| run.state != State::Complete).collect();
    if unfinished.is_empty() && digest.total.unknown == 0 {
        return Ok(());
    }
    f.write_str("<div class=\"warning\" role=\"note\">")?;
    if !unfinished.is_empty() {
        write!(
            f,
            "<p><strong>{} of {} did not end as planned</strong>; what they used until then counts.</p><ul>",
            thousands(unfinished.len() as u64),
            plural(digest.runs.len(), "run")
        )?;
        for run in unfinished.iter().take(SHOWN) {
            write!(f, "<li>{}: {}</li>", Text(&short(&run.name, 60)), Text(&ending(run)))?;
        }
        if unfinished.len() > SHOWN {
            write!(f, "<li>and {} more</li>", unfinished.len() - SHOWN)?;
        }
        f.write_str("</ul>")?;
    }
    if digest.total.unknown > 0 {
        write!(
            f,
            "<p>The energy of {} is not known, and not in the sum.</p>",
            plural(digest.total.unknown, "run")
        )?;
    }
    f.write_str("</div>\n")
}

/// Unfinished runs that are named.
const SHOWN: usize = 8;

fn ending(run: &Run) -> String {
    let state = match run.state {
        State::Running => "no end in its log; it is still going, or was killed",
        State::Dropped => "left before its end",
        State::Panicked => "ended by a panic",
        State::Stopped => "stopped",
        State::Complete => "complete",
    };
    run.reason
        .as_ref()
        .map_or(state.to_owned(), |reason| format!("{state}: {}", short(reason, 200)))
}
