//! What was measured, what was not, what happened, and how the numbers came about.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write};

use ergometer::sensor::{Provenance, Specification};

use super::digest::Digest;
use super::markup::{Number, Text, plural, short};

/// What covered the machine, and what did not.
pub(super) fn coverage(f: &mut String, digest: &Digest) -> fmt::Result {
    f.write_str("<section id=\"unmeasured\"><h2>What was measured, and what was not</h2>\n")?;
    let mut sensors: BTreeMap<&str, &Specification> = BTreeMap::new();
    for sensor in digest.setups.iter().flat_map(|setup| &setup.sensors) {
        sensors.entry(&sensor.domain.id).or_insert(sensor);
    }
    f.write_str("<h3>In the numbers</h3>\n<dl class=\"parts\">")?;
    for (id, sensor) in &sensors {
        let (class, how) = match sensor.provenance {
            Provenance::Model => (" model", "model"),
            Provenance::Counter => ("", "energy counter"),
            Provenance::IntegratedPower => ("", "integrated power"),
        };
        write!(
            f,
            "<div><dt>{}<small>{}</small></dt><dd><span class=\"badge{class}\">{how}</span>{} {}</dd><dd>{}</dd></div>",
            Text(&short(id, 60)),
            Text(&short(&sensor.domain.name, 60)),
            if sensor.in_total { "" } else { " beside the sum" },
            Text(&short(sensor.source.strip_prefix("model, ").unwrap_or(&sensor.source), 300)),
            Text(&short(&sensor.scope, 300))
        )?;
    }
    f.write_str("</dl>\n<h3>Not in the numbers</h3>\n<dl class=\"parts\">")?;
    let unmeasured = digest.setups.iter().flat_map(|setup| &setup.unmeasured);
    let unmeasured: BTreeSet<(&str, &str, Option<&str>)> = unmeasured
        .map(|part| (part.source.as_str(), part.reason.as_str(), part.cure.as_deref()))
        .collect();
    for (source, reason, cure) in unmeasured {
        write!(
            f,
            "<div><dt>{}</dt><dd>{}</dd><dd>{}</dd></div>",
            Text(&short(source, 120)),
            Text(&short(reason, 300)),
            Text(&cure.map_or(String::new(), |cure| format!("cure: {}", short(cure, 300))))
        )?;
    }
    f.write_str("</dl>\n")?;
    happened(f, digest)?;
    f.write_str("</section>\n")
}

/// What happened to the sensors and the runs.
fn happened(f: &mut String, digest: &Digest) -> fmt::Result {
    let mut events: BTreeMap<(&str, &str), (u64, usize)> = BTreeMap::new();
    for event in digest.runs.iter().flat_map(|run| &run.events) {
        let key = (event.event.as_str(), event.domain.as_deref().unwrap_or("the run"));
        let (count, runs) = events.entry(key).or_default();
        *count += event.count;
        *runs += 1;
    }
    if events.is_empty() {
        return Ok(());
    }
    f.write_str("<p>While they ran:</p>\n<ul class=\"findings\">")?;
    for ((event, domain), (count, runs)) in events {
        write!(
            f,
            "<li>{} of {}, {count}× in {}</li>",
            Text(event),
            Text(domain),
            plural(runs, "run")
        )?;
    }
    f.write_str("</ul>\n")
}

/// How the numbers came about, in words, and what the page leaves out.
pub(super) fn method(f: &mut String, digest: &Digest, left_out: &[String]) -> fmt::Result {
    f.write_str("<section id=\"method\"><h2>Method</h2>\n<p>Energies are those of the machine’s parts, read while the program trained, and cover whatever ran on them. An uncertainty after ± is expanded (k = 2, some 95 % coverage); the data holds standard ones (k = 1). An energy is <em>measured</em> where sensors told it, and <em>estimated</em> where a model stands for any part: drawn hollow, light or dashed. What is not known is a dash, never 0.</p>\n<dl class=\"method\">")?;
    let mut say = |name: &str, texts: BTreeSet<&str>| {
        if texts.is_empty() {
            return Ok(());
        }
        write!(f, "<dt>{name}</dt>")?;
        texts.into_iter().try_for_each(|text| write!(f, "<dd>{}</dd>", Text(text)))
    };
    let methods = || digest.setups.iter().map(|setup| &setup.methods);
    say("total", methods().map(|methods| methods.total.as_str()).collect())?;
    say("uncertainty", methods().map(|methods| methods.uncertainty.as_str()).collect())?;
    say("boundaries", methods().map(|methods| methods.boundaries.as_str()).collect())?;
    say("process", methods().filter_map(|methods| methods.process.as_deref()).collect())?;
    f.write_str("</dl>\n")?;
    if !left_out.is_empty() {
        f.write_str("<p>Not on this page:</p>\n<ul class=\"findings\">")?;
        left_out
            .iter()
            .try_for_each(|reason| write!(f, "<li>{}</li>", Text(&short(reason, 400))))?;
        f.write_str("</ul>\n")?;
    }
    runs(f, digest)?;
    f.write_str("<p>Every number here stands in the data that this file carries as JSON: its element <code>data</code>, energies in joules, times in seconds, standard uncertainties.</p>\n</section>\n")
}

/// Every run in a line.
fn runs(f: &mut String, digest: &Digest) -> fmt::Result {
    if digest.runs.len() < 2 {
        return Ok(());
    }
    f.write_str("<details><summary>Every run</summary><div class=\"scroll\" tabindex=\"0\"><table><caption>Every run</caption><thead><tr><th scope=\"col\">run</th><th scope=\"col\">energy ± U (k = 2)</th><th scope=\"col\">time</th><th scope=\"col\" class=\"word\">quality</th></tr></thead><tbody>")?;
    for (place, run) in digest.runs.iter().enumerate() {
        write!(
            f,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td class=\"word\">{}</td></tr>",
            Text(&short(&run.run_id, 60)),
            super::markup::energy(&format!("/runs/{place}"), &run.estimate),
            Number::seconds(format!("/runs/{place}/duration_s"), run.time),
            run.estimate.quality
        )?;
    }
    f.write_str("</tbody></table></div></details>\n")
}
