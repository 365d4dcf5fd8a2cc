//! Following a run's log while it is written.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use ergometer::log::Line;
use ergometer::record::{Machine, Manifest, State};
use ergometer::{Error, Kind, Result, RunLog};

use crate::{FAILURE, complain};

/// How a run is followed.
#[derive(Args, Debug)]
pub(crate) struct Patience {
    /// Give up if nothing new comes for so long: `90 s`, `2 h`. Without it, wait as long as it takes.
    #[arg(long, value_name = "TIME", value_parser = crate::schedule::time)]
    timeout: Option<Duration>,
}

/// How often a log is looked at.
const POLL: Duration = Duration::from_millis(100);

/// A run that goes on writes a line at least every 30 s, whatever it does.
const SILENCE: Duration = Duration::from_secs(60);

/// Before a process is taken for gone, what it wrote last has had time to arrive.
const ARRIVAL: Duration = Duration::from_secs(2);

/// So much of a log is read at once, if a line is not longer.
const CHUNK: u64 = 1 << 22;

/// So much of what was read is remembered, to know the file again.
const REMEMBERED: usize = 256;

/// The log of one run, of which whole lines are read as they come.
pub(crate) struct Follower {
    directory: PathBuf,
    log: Option<RunLog>,
    tail: Option<Tail>,
    /// True if the last line was the run's end.
    has_ended: bool,
}

/// A file, read to behind its last whole line.
struct Tail {
    path: PathBuf,
    offset: u64,
    number: usize,
    /// What stands before the offset.
    last: Vec<u8>,
    /// True if there is more than was read.
    has_more: bool,
}

impl Follower {
    pub(crate) fn new(directory: PathBuf) -> Follower {
        Follower { directory, log: None, tail: None, has_ended: false }
    }

    /// Shows `take` each line with the run's manifest, and whether it is the last epoch for now: lines that are there and those
    /// that come, until the run ends or `take` breaks off. Gives the exit status.
    pub(crate) fn follow(
        &mut self,
        patience: &Patience,
        err: &mut dyn Write,
        mut take: impl FnMut(&Manifest, &Line, bool) -> io::Result<ControlFlow<Error>>,
    ) -> io::Result<u8> {
        let (mut news, mut status, mut warned) = (Instant::now(), 0, SILENCE / 2);
        let mut is_waiting = false;
        loop {
            let lines = match self.poll() {
                Ok(lines) => lines,
                Err(error) => {
                    complain(err, error);
                    return Ok(FAILURE);
                }
            };
            let has_more = self.tail.as_ref().is_some_and(|tail| tail.has_more);
            let is_new = has_more || !lines.is_empty();
            let last = lines.iter().rposition(is_epoch);
            for (place, line) in lines.into_iter().enumerate() {
                match (line, &self.log) {
                    (Ok(line), Some(log)) => {
                        if let ControlFlow::Break(error) =
                            take(&log.manifest, &line, Some(place) == last)?
                        {
                            complain(err, error);
                            return Ok(FAILURE);
                        }
                    }
                    (Ok(_), None) => {}
                    (Err(error), _) => {
                        complain(err, error.cure("the other lines are read"));
                        status = FAILURE;
                    }
                }
            }
            if is_new {
                (news, warned) = (Instant::now(), SILENCE / 2);
                continue;
            }
            if self.has_ended {
                return Ok(status);
            }
            if self.log.is_none() && !is_waiting {
                complain(err, format_args!("waiting for `{}`", self.directory.display()));
                is_waiting = true;
            }
            if let Some(reason) = self.is_over(news.elapsed()) {
                complain(err, reason);
                return Ok(FAILURE);
            }
            if patience.timeout.is_some_and(|timeout| news.elapsed() >= timeout) {
                let place = self.directory.display();
                complain(err, format_args!("`{place}`: nothing new for {:.1?}", news.elapsed()));
                return Ok(FAILURE);
            }
            if let Some(age) = self.age(news.elapsed()).filter(|age| *age >= 2 * warned) {
                complain(err, silence(&self.directory, age));
                warned = age;
            }
            thread::sleep(POLL);
        }
    }

    /// The whole lines that are new; none while the run is not there.
    fn poll(&mut self) -> Result<Vec<Result<Line>>> {
        if self.log.is_none() {
            match RunLog::open(&self.directory) {
                Ok(log) => self.log = Some(log),
                Err(error) if error.is_absent() => return Ok(Vec::new()),
                Err(error) => return Err(error),
            }
        }
        if self.tail.is_none() {
            self.tail = tail(&self.directory)?;
        }
        let Some(tail) = &mut self.tail else { return Ok(Vec::new()) };
        let lines = tail.read()?;
        if let Some(last) = lines.iter().rev().flatten().next() {
            self.has_ended = matches!(last, Line::Window(window) if window.kind == Kind::End);
        }
        Ok(lines)
    }

    /// Why nothing more will come after such a silence, if that can be told.
    fn is_over(&mut self, silent: Duration) -> Option<String> {
        // Its manifest is written anew when a run ends or is resumed.
        self.log = self.log.take().map(|log| RunLog::open(log.directory()).unwrap_or(log));
        let manifest = &self.log.as_ref()?.manifest;
        let age = self.age(silent).unwrap_or(silent);
        if age < ARRIVAL {
            return None;
        }
        let place = self.directory.display();
        if manifest.state != State::Running {
            return Some(format!("`{place}` has ended, and its log lacks the last line"));
        }
        is_gone(&manifest.machine, manifest.program.pid).then(|| {
            format!(
                "`{place}`: process {} is gone, and the log has no end: the run was killed; its last line is {} old",
                manifest.program.pid,
                Age(age)
            )
        })
    }

    /// How old the last line is. The clock of the file may be ahead of ours, or ours set back: then as long as was waited.
    fn age(&self, silent: Duration) -> Option<Duration> {
        Some(age_of(&self.tail.as_ref()?.path).unwrap_or_default().max(silent))
    }
}

fn is_epoch(line: &Result<Line>) -> bool {
    matches!(line, Ok(Line::Window(window)) if window.kind == Kind::Epoch)
}

impl Tail {
    /// Whole lines behind the offset, some megabytes of them at a time. A torn last line is left for the next time.
    fn read(&mut self) -> Result<Vec<Result<Line>>> {
        let fault = |error| Error::file("read", &self.path, error);
        let mut file = File::open(&self.path).map_err(fault)?;
        let length = file.metadata().map_err(fault)?.len();
        let changed = |how: &str| {
            Error::lost(format!("`{}` {how}", self.path.display()))
                .cure("a log only grows; start again if it was replaced")
        };
        if length < self.offset {
            return Err(changed("was cut off"));
        }
        let known = self.last.len();
        file.seek(SeekFrom::Start(self.offset - known as u64)).map_err(fault)?;
        let (mut text, mut left) = (Vec::new(), length - self.offset + known as u64);
        let whole = loop {
            let part = left.min(CHUNK);
            Read::by_ref(&mut file).take(part).read_to_end(&mut text).map_err(fault)?;
            left -= part;
            if !text.starts_with(&self.last) {
                return Err(changed("is not the file that it was"));
            }
            let end = text[known..].iter().rposition(|byte| *byte == b'\n');
            if end.is_some() || left == 0 {
                break known + end.map_or(0, |place| place + 1);
            }
        };
        self.offset += (whole - known) as u64;
        self.has_more = left > 0;
        self.last = text[whole.saturating_sub(REMEMBERED)..whole].to_vec();
        let mut lines = Vec::new();
        for line in text[known..whole].split_inclusive(|byte| *byte == b'\n') {
            self.number += 1;
            let line = String::from_utf8_lossy(line);
            if line.trim().is_empty() {
                continue;
            }
            lines.push(Line::parse(line.trim_end()).map_err(|error| {
                Error::invalid(format!(
                    "`{}` line {}: {}",
                    self.path.display(),
                    self.number,
                    error.what()
                ))
            }));
        }
        Ok(lines)
    }
}

/// The run that an argument names: a run's directory, or the newest run of those in a directory.
pub(crate) fn newest(directory: &Path, err: &mut dyn Write) -> PathBuf {
    match RunLog::find(directory).ok().and_then(|mut runs| runs.pop()) {
        Some(run) if run != directory => {
            complain(err, format_args!("the newest run there is `{}`", run.display()));
            run
        }
        _ => directory.to_owned(),
    }
}

/// True if what comes after so many epochs is to be worked out anew: for each of the first thousand, and then for the last
/// that there is. Each takes as long as there are epochs.
pub(crate) fn is_worth(epochs: usize, is_last: bool) -> bool {
    is_last || epochs <= 1_000
}

/// What is to be said of a run that calls itself running, if its last line is old.
pub(crate) fn stale(log: &RunLog) -> Option<String> {
    let tail = tail(log.directory()).ok()??;
    let age = age_of(&tail.path).filter(|age| *age >= SILENCE)?;
    (log.manifest.state == State::Running).then(|| silence(log.directory(), age))
}

fn silence(directory: &Path, age: Duration) -> String {
    format!(
        "`{}` says that it is running, but its last line is {} old: it hangs, or was killed",
        directory.display(),
        Age(age)
    )
}

/// The log of the one rank of a run, once there is one.
fn tail(directory: &Path) -> Result<Option<Tail>> {
    let entries = fs::read_dir(directory).map_err(|error| Error::file("read", directory, error))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("rank-") && name.ends_with(".jsonl")
        })
        .collect();
    match (files.pop(), files.is_empty()) {
        (Some(path), true) => {
            Ok(Some(Tail { path, offset: 0, number: 0, last: Vec::new(), has_more: false }))
        }
        (None, _) => Ok(None),
        (Some(_), false) => Err(Error::unsupported(format!(
            "`{}` holds the logs of several ranks, and their energies may overlap",
            directory.display()
        ))
        .cure("follow runs of one process")),
    }
}

fn age_of(path: &Path) -> Option<Duration> {
    SystemTime::now().duration_since(fs::metadata(path).ok()?.modified().ok()?).ok()
}

/// True if the process surely is no more: on this machine, since this boot, there is none of its id.
fn is_gone(machine: &Machine, pid: u32) -> bool {
    let says = |path: &str, value: Option<&str>| {
        let text = fs::read_to_string(path).ok();
        text.is_some() && text.as_deref().map(str::trim) == value
    };
    says("/proc/sys/kernel/hostname", Some(&machine.host))
        && says("/proc/sys/kernel/random/boot_id", machine.boot_id.as_deref())
        && !Path::new("/proc").join(pid.to_string()).exists()
}

/// An age in its two largest units.
struct Age(Duration);

impl std::fmt::Display for Age {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.as_secs() {
            seconds @ 0..=119 => write!(f, "{seconds} s"),
            seconds @ 120..=7_199 => write!(f, "{} min", seconds / 60),
            seconds @ 7_200..=172_799 => {
                write!(f, "{} h {} min", seconds / 3_600, seconds % 3_600 / 60)
            }
            seconds => write!(f, "{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
        }
    }
}
