//! A [`Chart`]: a plot with its axes as SVG that is as wide as its column, whose text keeps its size.
//!
//! What lies along x is placed in per cent of the width, and what lies along y in pixels, so one drawing does for a
//! telephone and for paper. Paths, which know no per cent, are drawn in a stretched picture of a thousand units.

use std::fmt::{self, Write};

use super::axis::Axis;
use super::markup::Text;

/// A plot with two axes.
#[derive(Debug)]
pub(super) struct Chart {
    /// Unique on the page.
    pub(super) id: String,
    /// What it shows, in a few words.
    pub(super) title: String,
    /// What there is to see, for those who do not see it.
    pub(super) description: String,
    /// The plot's height in pixels.
    pub(super) height: f64,
    /// From left to right.
    pub(super) x: Axis,
    /// From bottom to top.
    pub(super) y: Axis,
}

/// A length in at most two decimals.
pub(super) struct Length(pub(super) f64);

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.2}", self.0);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// The width of the stretched picture.
const STRETCHED: f64 = 1_000.0;

impl Chart {
    /// Draws the axes; `paths`, whose points are written with [`Chart::point`]; and on top of them `marks`.
    pub(super) fn write(
        &self,
        f: &mut String,
        paths: impl FnOnce(&mut String) -> fmt::Result,
        marks: impl FnOnce(&mut String) -> fmt::Result,
    ) -> fmt::Result {
        let Chart { id, height, .. } = self;
        write!(
            f,
            "<svg class=\"chart\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\" height=\"{height}\">\
             <title id=\"{id}-t\">{}</title><desc id=\"{id}-d\">{}</desc>\
             <svg class=\"stretched\" viewBox=\"0 0 {STRETCHED} {height}\" preserveAspectRatio=\"none\" width=\"100%\" height=\"{height}\">\
             <path class=\"grid\" d=\"",
            Text(&self.title),
            Text(&self.description)
        )?;
        for (value, _) in &self.y.ticks {
            write!(f, "M0 {}h{STRETCHED}", tenths(self.y(*value).0))?;
        }
        f.write_str("\"/>")?;
        paths(f)?;
        f.write_str("</svg>")?;
        self.labels(f)?;
        marks(f)?;
        f.write_str("</svg>\n")
    }

    fn labels(&self, f: &mut String) -> fmt::Result {
        f.write_str("<g class=\"end\" transform=\"translate(-8 4)\">")?;
        for (value, text) in &self.y.ticks {
            write!(f, "<text y=\"{}\">{}</text>", tenths(self.y(*value).0), Text(text))?;
        }
        write!(f, "</g><g class=\"mid\" transform=\"translate(0 {})\">", self.height + 19.0)?;
        for (value, text) in &self.x.ticks {
            write!(f, "<text x=\"{}%\">{}</text>", self.x(*value), Text(text))?;
        }
        write!(
            f,
            "</g><text x=\"-50\" y=\"-13\">{}</text><text class=\"end\" x=\"100%\" y=\"{}\">{}</text>",
            Text(&self.y.label),
            self.height + 37.0,
            Text(&self.x.label)
        )
    }

    /// Where a number lies along x, in per cent.
    pub(super) fn x(&self, value: f64) -> Length {
        Length(100.0 * self.x.place(value))
    }

    /// Where a number lies along y, in pixels from the top.
    pub(super) fn y(&self, value: f64) -> Length {
        Length(self.height * (1.0 - self.y.place(value)))
    }

    /// A point of a path: `x y`, in tenths.
    pub(super) fn point(&self, x: f64, y: f64) -> String {
        format!("{} {}", tenths(STRETCHED * self.x.place(x)), tenths(self.y(y).0))
    }

    /// A bar of a path, over a part of x and from one number of y to a higher one.
    pub(super) fn bar(&self, (left, right): (f64, f64), (foot, top): (f64, f64)) -> String {
        let width = tenths(STRETCHED * (self.x.place(right) - self.x.place(left)));
        let height = tenths(self.y(foot).0 - tenths(self.y(top).0).0);
        format!("M{}h{width}v{height}h-{width}z", self.point(left, top))
    }

    /// Strips from one number to another that tell their text where the pointer rests.
    pub(super) fn hits(
        &self,
        f: &mut String,
        strips: impl IntoIterator<Item = (f64, f64, String)>,
    ) -> fmt::Result {
        f.write_str("<g class=\"hits\">")?;
        for (from, to, text) in strips {
            let (left, right) = (self.x.place(from), self.x.place(to));
            write!(
                f,
                "<rect x=\"{}%\" width=\"{}%\"><title>{}</title></rect>",
                Length(100.0 * left),
                Length(100.0 * (right - left)),
                Text(&text)
            )?;
        }
        f.write_str("</g>")
    }
}

fn tenths(length: f64) -> Length {
    Length((10.0 * length).round() / 10.0)
}
