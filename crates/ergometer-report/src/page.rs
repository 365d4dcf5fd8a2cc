//! The report as a [`Page`]: one HTML file that needs nothing else, neither a network nor a script.

mod axis;
mod carbon;
mod chart;
mod course;
mod digest;
mod epochs;
mod headline;
mod layer;
mod markup;
mod method;
mod metric;
mod models;
mod panel;
mod power;
mod quality;
mod returns;
mod scatter;
mod size;
mod table;

use std::fmt::{self, Write};

use ergometer::{Error, Result};

use self::digest::Digest;
use self::markup::{Text, embedded};
use crate::History;
use crate::site::Site;

/// What runs came to, as a page to look at, to print, and to read by ear.
///
/// Runs are grouped by model as in a [`Comparison`](crate::Comparison). Charts are SVG with their numbers in tables beneath;
/// what the page shows stands in it as JSON too, in an element with the id `data`. Courses of epochs and power are thinned
/// so that the file stays small; no total is. Printed, it is the HTML.
#[derive(Debug)]
pub struct Page {
    title: String,
    html: String,
}

impl Page {
    /// A page of these runs, with their energy set against a metric: the one that is named, or else an accuracy if they have
    /// one. Emissions are those at the `site`, if its electricity is known, and at some places beside it.
    ///
    /// ```no_run
    /// use ergometer::RunLog;
    /// use ergometer_report::{History, Page, site::Site};
    ///
    /// let mut runs = Vec::new();
    /// for run in RunLog::find("runs")? {
    ///     runs.push(History::read(&RunLog::open(run)?)?.0);
    /// }
    /// let page = Page::of(&runs, None, &Site::default().country("FR")?)?;
    /// std::fs::write("report.html", page.to_string()).map_err(|cause| {
    ///     ergometer::Error::file("write", "report.html".as_ref(), cause)
    /// })?;
    /// # Ok::<(), ergometer::Error>(())
    /// ```
    ///
    /// # Errors
    /// No run, or a metric that no run has.
    pub fn of(runs: &[History], metric: Option<&str>, site: &Site) -> Result<Page> {
        if runs.is_empty() {
            return Err(Error::absent("there is no run to make a page of").cure("give a run"));
        }
        let digest = Digest::of(runs, metric, site)?;
        let json = serde_json::to_string(&digest)
            .map_err(|cause| Error::invalid(format!("the runs do not fit JSON: {cause}")))?;
        let mut html = String::new();
        write(&mut html, &digest, &json)
            .map_err(|cause| Error::invalid("the page cannot be written").caused_by(cause))?;
        Ok(Page { title: headline::title(&digest), html })
    }

    /// What it is of, in a few words.
    pub fn title(&self) -> &str {
        &self.title
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.html)
    }
}

/// Nothing is loaded and nothing runs, whatever stands in the page.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

const STYLE: &str = include_str!("page/style.css");

fn write(f: &mut String, digest: &Digest, json: &str) -> fmt::Result {
    write!(
        f,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>{} · ergometer</title>\n<style>{}</style>\n</head>\n<body>\n",
        Text(&headline::title(digest)),
        STYLE.lines().map(str::trim).collect::<String>()
    )?;
    headline::write(f, digest)?;
    let mut body = String::new();
    let mut left_out = Vec::new();
    models::write(&mut body, digest)?;
    for section in [quality::write, size::write] {
        match section(&mut body, digest) {
            Ok(written) => written?,
            Err(reason) => left_out.push(reason),
        }
    }
    epochs::write(&mut body, digest)?;
    power::write(&mut body, digest)?;
    for section in [returns::write, carbon::write] {
        match section(&mut body, digest) {
            Ok(written) => written?,
            Err(reason) => left_out.push(reason),
        }
    }
    method::coverage(&mut body, digest)?;
    method::method(&mut body, digest, &left_out)?;
    contents(f, &body)?;
    write!(
        f,
        "<main>\n{body}</main>\n<script type=\"application/json\" id=\"data\">{}</script>\n</body>\n</html>\n",
        embedded(json)
    )
}

/// The headings of the sections, to go to.
fn contents(f: &mut String, body: &str) -> fmt::Result {
    f.write_str("<nav aria-label=\"Sections\"><ul>")?;
    for section in body.split("<section id=\"").skip(1) {
        let id = section.split('"').next().unwrap_or_default();
        let heading = section.split("<h2>").nth(1).and_then(|rest| rest.split("</h2>").next());
        write!(f, "<li><a href=\"#{id}\">{}</a></li>", heading.unwrap_or(id))?;
    }
    f.write_str("</ul></nav>\n")
}
