//! Carbon by place.

use std::fmt::{self, Write};

use super::chart::Length;
use super::digest::Digest;
use super::markup::{Number, Text, short};
use crate::quantity::Co2e;

/// The section, or why there is none.
pub(super) fn write(f: &mut String, digest: &Digest) -> Result<fmt::Result, String> {
    if digest.places.is_empty() {
        return Err("Carbon by place: no energy is known, or no place’s electricity.".to_owned());
    }
    Ok(section(f, digest))
}

fn section(f: &mut String, digest: &Digest) -> fmt::Result {
    let total = &digest.total;
    let most = digest.places.iter().map(|place| place.carbon.as_kilograms()).fold(0.0, f64::max);
    f.write_str("<section id=\"carbon\"><h2>Carbon by place</h2>\n<p>What the electricity of these runs emits where it is made, by annual means of places: the same joules, set elsewhere.")?;
    if !digest.places.iter().any(|place| place.own) {
        f.write_str(" Where the runs were is not known to this page: name it with <code>--country</code> or <code>--intensity</code>.")?;
    }
    if let (Some(energy), Some(expanded)) = (total.estimate.energy, total.estimate.expanded())
        && energy.as_joules() > 0.0
    {
        let part = 100.0 * expanded.as_joules() / energy.as_joules();
        write!(
            f,
            " From the energy alone each figure may be off by {part:.0} % (k = 2); what an annual mean may be off by in a given hour comes on top."
        )?;
    }
    if let Some(place) = digest.places.first() {
        let pue = place.pue.ratio();
        let number = Number::new("/places/0/pue", format!("{pue}"));
        let none = if pue > 1.0 { "" } else { ": no cooling or other overhead counted" };
        write!(f, " Power usage effectiveness {number}{none}.")?;
    }
    f.write_str("</p>\n<div class=\"scroll\" tabindex=\"0\"><table class=\"places\"><caption class=\"away\">Emissions by place</caption><thead><tr><th scope=\"col\">place</th><th scope=\"col\">g CO<sub>2</sub>e/kWh</th><th scope=\"col\">emissions</th><th scope=\"col\" class=\"room\"><span class=\"away\">as a bar</span></th></tr></thead><tbody>")?;
    for (place, row) in digest.places.iter().enumerate() {
        let intensity = row.intensity.as_grams_per_kilowatt_hour();
        let path = |name: &str| format!("/places/{place}/{name}");
        let own = if row.own { " <span class=\"badge\">yours</span>" } else { "" };
        let part = if most > 0.0 { 100.0 * row.carbon.as_kilograms() / most } else { 0.0 };
        write!(
            f,
            "<tr{}><th scope=\"row\">{}{own}</th><td>{}</td><td>{}</td><td class=\"room\"><svg class=\"level c0{}\" aria-hidden=\"true\"><rect width=\"{}%\" height=\"100%\"/></svg></td></tr>",
            if row.own { " class=\"own\"" } else { "" },
            Text(&row.name),
            Number::new(path("intensity_g_per_kwh"), format!("{intensity:.0}")),
            Number::new(path("co2e_kg"), mass(row.carbon)),
            if digest.is_estimated() { " model" } else { "" },
            Length(part)
        )?;
    }
    f.write_str("</tbody></table></div>\n")?;
    sources(f, digest)?;
    f.write_str("</section>\n")
}

/// Whose the intensities are, each source once.
fn sources(f: &mut String, digest: &Digest) -> fmt::Result {
    let mut sources: Vec<(&str, Vec<&str>)> = Vec::new();
    for place in &digest.places {
        let source = place
            .source
            .strip_prefix(&place.name)
            .map_or(&*place.source, |rest| rest.trim_start_matches(", "));
        match sources.iter_mut().find(|(known, _)| *known == source) {
            Some((_, names)) => names.push(&place.name),
            None => sources.push((source, vec![&place.name])),
        }
    }
    for (source, names) in sources {
        write!(
            f,
            "<p class=\"finding\">{}: {}.</p>",
            Text(&names.join(", ")),
            Text(&short(source, 200))
        )?;
    }
    Ok(())
}

/// Emissions in two or three digits: the energy is not known better, nor is the intensity.
pub(super) fn mass(carbon: Co2e) -> String {
    let short = format!("{carbon:.0}");
    let whole = short.split(' ').next().unwrap_or_default();
    if whole.len() > 1 { short } else { format!("{carbon:.1}") }
}
