//! [`TensorBoard`]: a run's windows as scalars in TensorBoard's event files.

mod course;
mod event_file;

use std::path::{Path, PathBuf};

use ergometer::record::{Event, Manifest};
use ergometer::{
    Earlier, Energy, Error, Observer, Record, Result, RunLog, Summary, Timestamp, Verdict,
};

use crate::courier::{Courier, Delivery, Failure};
use crate::replay;
use course::{Course, Page};
use event_file::EventFile;

/// Writes a run's energies, powers, metrics, parameters and a summary for TensorBoard, in a directory of the run's own.
///
/// Each step, epoch and phase, and the run in total, has its energy in joules with the standard uncertainty (k = 1) beside it,
/// its mean power in watts and its time in seconds; together and for each domain. A series holds values of one quality: what
/// is not measured has it in its tag, as `energy/step_joules (estimated)`. What is not resolved has no value. TensorBoard
/// keeps 32 bits of a number, so the cumulative energy, which would swallow its steps, is written once, at the end.
///
/// Written on a thread of its own, since directories of event files are often far away: at once after an epoch, otherwise every
/// ten seconds. While a file cannot be written, the log says so in an event `tensorboard`, and up to 16 MiB wait; beyond that the
/// oldest is lost, and [`export`](TensorBoard::export) writes the whole again.
#[derive(Debug)]
pub struct TensorBoard {
    course: Course,
    courier: Courier<Page>,
}

/// Pages that wait for a disk, of 64 KiB or a little more.
const QUEUE: usize = 256;

/// What writes later what is lost.
const LATER: &str = "`ergometer export RUN --format tensorboard` writes it later";

impl TensorBoard {
    /// A sink that writes below `directory`, which is what `tensorboard --logdir` takes; it is made when the first window
    /// settles.
    pub fn new(directory: impl Into<PathBuf>) -> TensorBoard {
        let course = Course::new(directory.into());
        let what = format!("TensorBoard `{}`", course.directory.display());
        let courier = Courier::queue(what, QUEUE, LATER);
        TensorBoard { course, courier }
    }

    /// A handle to wait for the last of it with, and to see what was lost.
    pub fn delivery(&self) -> Delivery {
        self.courier.delivery()
    }

    /// Writes now what a log holds, in the place of what the run wrote itself. Gives the run's directory, and the lines of the log
    /// that could not be understood.
    ///
    /// # Errors
    /// If the log cannot be read, or a file not be written.
    pub fn export(&self, log: &RunLog) -> Result<(PathBuf, Vec<Error>)> {
        let course = Course::new(self.course.directory.clone());
        let mut export = Export { course, file: None, fault: None };
        let bad = replay(log, &mut export)?;
        match export.fault {
            Some(fault) => Err(fault),
            None => {
                let path = export.file.and_then(|file| file.path().parent().map(Path::to_owned));
                Ok((path.unwrap_or_default(), bad))
            }
        }
    }

    fn give(&self, page: Option<Page>) {
        if let Some(page) = page {
            self.courier.give(page);
        }
    }
}

impl Observer for TensorBoard {
    fn name(&self) -> &str {
        "tensorboard"
    }

    fn began(&mut self, manifest: &Manifest) {
        let mut file = None;
        self.courier
            .start(move |page| put(page, &mut file).map_err(|error| Failure::Later(error, None)));
        let page = self.course.began(manifest);
        self.give(page);
    }

    fn resumed(&mut self, earlier: &Earlier) {
        self.course.resumed(earlier);
    }

    fn settled(&mut self, window: &Record) -> Verdict {
        let verdict = self.courier.verdict(window);
        let page = self.course.settled(window, self.courier.has_some());
        self.give(page);
        verdict
    }

    fn used(&mut self, _energy: Energy, _now: Timestamp) -> Verdict {
        self.courier.news().map_or(Verdict::GoOn, Verdict::Warn)
    }

    fn happened(&mut self, event: &Event) {
        if let Some(page) = self.course.happened(event, self.courier.has_some()) {
            self.courier.give(page);
        }
    }

    fn ended(&mut self, summary: &Summary) {
        if let Some(page) = self.course.ended(summary) {
            self.courier.give(page);
        }
        self.courier.close();
    }
}

/// Writes a page into its file, which is made anew if it is not the one that is open.
fn put(page: &Page, file: &mut Option<EventFile>) -> Result<()> {
    if let Some(file) = file.as_mut().filter(|file| file.path() == page.path) {
        return file.append(&page.frames);
    }
    file.insert(EventFile::create(&page.path, page.start)?).append(&page.frames)
}

/// A log on its way into files, on the caller's thread.
struct Export {
    course: Course,
    file: Option<EventFile>,
    /// What was first in the way of writing.
    fault: Option<Error>,
}

impl Export {
    fn put(&mut self, page: Option<Page>) {
        if let (Some(page), None) = (page, &self.fault) {
            self.fault = put(&page, &mut self.file).err();
        }
    }
}

impl Observer for Export {
    fn name(&self) -> &str {
        "tensorboard"
    }

    fn began(&mut self, manifest: &Manifest) {
        let page = self.course.began(manifest);
        self.put(page);
    }

    fn settled(&mut self, window: &Record) -> Verdict {
        let page = self.course.settled(window, false);
        self.put(page);
        Verdict::GoOn
    }

    fn happened(&mut self, event: &Event) {
        let page = self.course.happened(event, false);
        self.put(page);
    }

    fn ended(&mut self, summary: &Summary) {
        let page = self.course.ended(summary);
        self.put(page);
    }
}
