//! [`Panels`]: a small chart for each model, of the run in its middle by energy.

use std::fmt::{self, Write};

use super::digest::{Digest, Run};
use super::markup::{Text, short};
use crate::Comparison;

/// The groups that have a chart.
#[derive(Debug)]
pub(super) struct Panels {
    groups: Vec<usize>,
    /// Groups that have no chart for want of room.
    left: usize,
    merged: bool,
    several: bool,
}

/// Charts that a reader can take in.
const MOST: usize = 6;

/// The groups that have charts of their own: all, or those that used the most energy.
pub(super) fn drawn(comparison: &Comparison) -> Vec<usize> {
    let mut groups: Vec<usize> = (0..comparison.groups.len()).collect();
    groups.sort_by_key(|group| std::cmp::Reverse(comparison.groups[*group].energy.energy));
    groups.truncate(MOST);
    groups.sort_unstable();
    groups
}

impl Panels {
    /// The groups that have a chart and whose shown run can be drawn.
    pub(super) fn of(digest: &Digest, can: impl Fn(&Run) -> bool) -> Panels {
        let groups = digest.drawn.iter().copied();
        let groups: Vec<usize> = groups.filter(|group| can(digest.shown(*group).1)).collect();
        let left = digest.comparison.groups.len() - digest.drawn.len();
        let merged = groups.iter().any(|group| {
            digest.shown(*group).1.course.as_ref().is_some_and(|course| course.merged() > 1)
        });
        let several = groups.iter().any(|group| digest.comparison.groups[*group].runs.len() > 1);
        Panels { groups, left, merged, several }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// True if a row of a course stands for several epochs anywhere.
    pub(super) fn merged(&self) -> bool {
        self.merged
    }

    /// Which runs are drawn, and which not.
    pub(super) fn note(&self) -> String {
        let mut note = String::new();
        if self.several {
            note.push_str(" Of each model the run in the middle by energy is drawn.");
        }
        note + &self.own_scales()
    }

    /// That charts cannot be compared by eye, and which are not drawn.
    pub(super) fn own_scales(&self) -> String {
        let mut note = String::new();
        if self.groups.len() > 1 {
            note.push_str(" Each chart has its own scale.");
        }
        if self.left > 0 {
            note.push_str(&format!(
                " Drawn are the {MOST} models that used the most energy, and not the {} others.",
                self.left
            ));
        }
        note
    }

    /// A figure for each group, with what `panel` writes of its run.
    pub(super) fn write(
        &self,
        f: &mut String,
        digest: &Digest,
        panel: impl Fn(&mut String, usize, &Run) -> fmt::Result,
    ) -> fmt::Result {
        let class = if self.groups.len() > 1 { "panels" } else { "panels one" };
        writeln!(f, "<div class=\"{class}\">")?;
        for group in &self.groups {
            let (place, run) = digest.shown(*group);
            let label = &digest.comparison.groups[*group].label;
            write!(f, "<figure><h3>{}</h3>", Text(&short(label, 60)))?;
            panel(f, place, run)?;
            f.write_str("</figure>\n")?;
        }
        f.write_str("</div>\n")
    }
}
