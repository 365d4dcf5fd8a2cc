//! A [`Course`]: a run, session by session, as scalars, parameters and a text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ergometer::record::{Event, Manifest, State};
use ergometer::sensor::{Provenance, Specification};
use ergometer::{Earlier, Estimate, Kind, Quality, Record, Status, Summary, Timestamp};

use super::event_file::{Frames, Values, checksum};

/// A run, session by session, as pages.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) directory: PathBuf,
    session: Option<Session>,
    /// The number of the last step in each lane, in whichever session.
    steps: BTreeMap<u32, u64>,
}

impl Course {
    pub(super) fn new(directory: PathBuf) -> Course {
        Course { directory, session: None, steps: BTreeMap::new() }
    }

    /// Each session has a file of its own; gives what is left of the one before.
    pub(super) fn began(&mut self, manifest: &Manifest) -> Option<Page> {
        self.session.replace(Session::new(manifest)).and_then(|mut before| before.page())
    }

    pub(super) fn resumed(&mut self, earlier: &Earlier) {
        self.steps.clone_from(&earlier.steps);
    }

    /// Adds a window; gives a page if it is time to write. While what was given before waits for its disk, only full ones are.
    pub(super) fn settled(&mut self, window: &Record, waits: bool) -> Option<Page> {
        let session = self.session.as_mut()?;
        session.open(&self.directory, window.rank);
        let done = self.steps.entry(window.lane).or_default();
        if let (Kind::Step, Some(step)) = (window.kind, window.step) {
            *done = step;
        }
        let is_due = session.add(window, *done);
        if is_due && !waits || session.frames.are_many() { session.page() } else { None }
    }

    pub(super) fn happened(&mut self, event: &Event, waits: bool) -> Option<Page> {
        let session = self.session.as_mut()?;
        if let Some(epoch) = event.epoch {
            session.open(&self.directory, event.rank);
            let mut values = Values::default();
            for (metric, value) in &event.metrics {
                values.scalar(&format!("epoch/{metric}"), *value);
            }
            session.frames.add(session.wall_time(event.at), epoch, &values);
            return if waits { None } else { session.page() };
        }
        if !session.ended {
            let thing = (event.event.clone(), event.domain.clone());
            *session.events.entry(thing).or_default() += 1;
        }
        None
    }

    pub(super) fn ended(&mut self, summary: &Summary) -> Option<Page> {
        let session = self.session.as_mut()?;
        if !session.ended {
            session.open(&self.directory, summary.end.rank);
            session.close(&summary.end, summary.manifest.state);
        }
        session.page()
    }
}

/// Frames for a session's file.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) path: PathBuf,
    /// When the session began, in seconds since 1970.
    pub(super) start: f64,
    pub(super) frames: Vec<u8>,
}

/// A session of a run as far as it has been told.
#[derive(Debug)]
struct Session {
    manifest: Manifest,
    /// Its file, once its rank is known.
    path: Option<PathBuf>,
    frames: Frames,
    /// Where the last phase of each name stands in each lane.
    phases: BTreeMap<(u32, String), u64>,
    /// What was measured in phases of a window whose end has not come yet, by lane and window.
    within: BTreeMap<(u32, u64), BTreeMap<String, f64>>,
    events: BTreeMap<(String, Option<String>), u64>,
    /// The series whose first value has said what they are.
    described: BTreeSet<String>,
    ended: bool,
}

impl Session {
    fn new(manifest: &Manifest) -> Session {
        Session {
            manifest: manifest.clone(),
            path: None,
            frames: Frames::default(),
            phases: BTreeMap::new(),
            within: BTreeMap::new(),
            events: BTreeMap::new(),
            described: BTreeSet::new(),
            ended: false,
        }
    }

    /// Names the session's file, and begins it.
    ///
    /// Its name is the same whenever it is written, so that an export takes the place of what the run wrote itself. No
    /// `Experiment` is written: TensorBoard takes the first that it finds for all runs, and finds the columns itself without.
    fn open(&mut self, directory: &Path, rank: u32) {
        if self.path.is_some() {
            return;
        }
        let manifest = &self.manifest;
        let mut path = directory.join(file_name(&manifest.run_id));
        if rank > 0 {
            path.push(format!("rank-{rank:05}"));
        }
        let created: String = manifest.created.chars().filter(char::is_ascii_digit).collect();
        let host = file_name(&manifest.machine.host);
        // Readers take files in the order of their names.
        path.push(format!("events.out.tfevents.{created}.{host}.{:05}", manifest.sessions));
        // A group is a row of the table, and a mean over its members: each rank is a row.
        let mut group = manifest.run_id.clone();
        if rank > 0 {
            let _ = write!(group, "/rank-{rank:05}");
        }
        let start = self.start();
        let mut values = Values::default();
        values.session_start(&group, start, &self.hyperparameters());
        self.frames.add(start, 0, &values);
        self.path = Some(path);
    }

    /// When the session began, in seconds since 1970.
    fn start(&self) -> f64 {
        self.wall_time(self.manifest.clock.anchor)
    }

    /// What has gathered.
    fn page(&mut self) -> Option<Page> {
        let (path, start) = (self.path.clone()?, self.start());
        self.frames.take().map(|frames| Page { path, start, frames })
    }

    /// What the runs of a table differ in: the user's notes, and what the manifest says.
    fn hyperparameters(&self) -> BTreeMap<String, String> {
        let mut values = self.manifest.notes.clone();
        values.insert("name".to_owned(), self.manifest.name.clone());
        if let Some(parameters) = self.manifest.parameters {
            values.insert("parameters".to_owned(), parameters.to_string());
        }
        if let Some(framework) = &self.manifest.framework {
            let name = format!("{} {}", framework.name, framework.version);
            values.insert("framework".to_owned(), name);
            if let Some(device) = &framework.device {
                values.insert("device".to_owned(), device.clone());
            }
        }
        values
    }

    /// A moment in seconds since 1970.
    fn wall_time(&self, at: Timestamp) -> f64 {
        let anchor = &self.manifest.clock;
        let since = i128::from(at.as_nanos()) - i128::from(anchor.anchor.as_nanos());
        (i128::from(anchor.unix_ns) + since) as f64 / 1e9
    }

    /// Adds a window, behind so many steps of its lane; true if it is time to write.
    fn add(&mut self, window: &Record, steps: u64) -> bool {
        let step = match window.kind {
            Kind::Step => window.step.unwrap_or(window.id),
            Kind::Epoch => window.epoch.unwrap_or(window.id),
            Kind::Phase => {
                let name = window.phase.clone().unwrap_or_default();
                // There may be several in an epoch, and a reader keeps one value of each number.
                let last = self.phases.get(&(window.lane, name.clone()));
                let step = last.map_or(steps, |last| steps.max(last + 1));
                self.phases.insert((window.lane, name), step);
                if let (Some(parent), false) = (window.parent, window.metrics.is_empty()) {
                    let metrics = self.within.entry((window.lane, parent)).or_default();
                    metrics.extend(window.metrics.clone());
                }
                step
            }
            Kind::End => {
                let state = match window.status {
                    Status::Complete => State::Complete,
                    Status::Stopped => State::Stopped,
                    Status::Panicked => State::Panicked,
                    Status::Dropped | Status::Orphaned | Status::Interrupted => State::Dropped,
                };
                self.close(window, state);
                return true;
            }
        };
        let values = self.values(window);
        self.frames.add(self.wall_time(window.end), step, &values);
        if window.kind == Kind::Epoch {
            self.within.retain(|(lane, _), _| *lane != window.lane);
            return true;
        }
        // What was measured within it is no epoch's.
        self.within.remove(&(window.lane, window.id));
        self.frames.are_due(window.end)
    }

    /// The run's total, its summary, and how the session ended.
    fn close(&mut self, end: &Record, state: State) {
        self.ended = true;
        let step = end.steps.filter(|steps| *steps > 0).or(end.epochs).unwrap_or(0);
        let at = self.wall_time(end.end);
        let mut values = self.values(end);
        if self.manifest.sessions > 1 && end.quality >= Quality::Partial {
            // What an earlier session may have told as the whole run's is not that any more.
            let mark = if self.is_estimated() { " (estimated)" } else { "" };
            for tag in ["energy/total_joules", "uncertainty/total_joules", "power/total_watts"] {
                values.scalar(&format!("{tag}{mark}"), f64::NAN);
            }
        }
        values.markdown("summary", &self.summary(end, state));
        // Whether a run without an end is still going, its log does not know.
        if state != State::Running {
            values.session_end(at, matches!(state, State::Complete | State::Stopped));
        }
        self.frames.add(at, step, &values);
    }

    /// Whether a model stands for a part of the total.
    fn is_estimated(&self) -> bool {
        self.manifest.sensors.iter().any(|it| it.in_total && model(it))
    }

    /// The scalars of a window.
    fn values(&mut self, window: &Record) -> Values {
        let name = match window.kind {
            Kind::Step => "step".to_owned(),
            Kind::Epoch => "epoch".to_owned(),
            Kind::Phase => format!("phase_{}", window.phase.as_deref().unwrap_or_default()),
            Kind::End => "total".to_owned(),
        };
        // Each lane counts its own steps.
        let name = if window.lane > 0 { format!("lane{}_{name}", window.lane) } else { name };
        let mut values = Values::default();
        let mark = mark(window.quality, self.is_estimated());
        let Session { manifest, within, described, .. } = self;
        let sensors = &manifest.sensors;
        let time = window.duration;
        add_energy(&mut values, described, &name, "", &mark, window.estimate(), time);
        values.scalar(&format!("time/{name}_seconds"), time.as_secs_f64());
        let shares = [("sample", window.energy_per_sample()), ("token", window.energy_per_token())];
        for (unit, energy) in shares {
            if let Some(energy) = energy {
                let tag = format!("energy/{name}_joules_per_{unit}{mark}");
                values.scalar(&tag, energy.as_joules());
            }
        }
        if let Some(net) = window.net() {
            add_energy(&mut values, described, &format!("{name}_net"), "", &mark, net, time);
        }
        for (domain, share) in &window.domains {
            let modelled = sensors.iter().any(|it| it.domain.id == *domain && model(it));
            let mark = self::mark(share.quality, modelled);
            let part = format!("/{domain}");
            add_energy(&mut values, described, &name, &part, &mark, share.estimate(), time);
        }
        for (metric, value) in &window.metrics {
            values.scalar(&format!("{name}/{metric}"), *value);
        }
        // What was measured in an evaluation within an epoch is the epoch's, where it says nothing itself.
        let within = within.get(&(window.lane, window.id));
        for (metric, value) in within.into_iter().flatten().filter(|_| window.kind == Kind::Epoch) {
            if !window.metrics.contains_key(metric) {
                values.scalar(&format!("{name}/{metric}"), *value);
            }
        }
        values
    }

    /// What the run came to, in Markdown.
    fn summary(&self, end: &Record, state: State) -> String {
        let manifest = &self.manifest;
        let mut text = format!("**{}**", escaped(&manifest.name));
        for (key, value) in self.hyperparameters() {
            if key != "name" {
                let _ = write!(text, " · {}: {}", escaped(&key), escaped(&value));
            }
        }
        let _ = write!(text, "\n\nEnergy ± U (k = 2): **{}**", end.estimate());
        if let Some(reason) = &end.reason {
            let _ = write!(text, "\n\nStopped: {}", escaped(reason));
        } else if state == State::Running {
            text += "\n\nThe log has no end: the run is still going, or was killed.";
        }
        text += "\n\n| domain | energy ± U (k = 2) | source |\n|---|---|---|";
        for sensor in &manifest.sensors {
            let Some(share) = end.domains.get(&sensor.domain.id) else { continue };
            let beside = if share.in_total { "" } else { ", beside the sum" };
            let (domain, source) = (escaped(&sensor.domain.id), escaped(&sensor.source));
            let _ = write!(text, "\n| {domain} | {}{beside} | {source} |", share.estimate());
        }
        for ((event, domain), count) in &self.events {
            let of = domain.as_ref().map_or(String::new(), |domain| format!(" of {domain}"));
            let _ = write!(text, "\n\nHappened: {} ({count}×)", escaped(&format!("{event}{of}")));
        }
        for part in &manifest.unmeasured {
            let (source, reason) = (escaped(&part.source), escaped(&part.reason));
            let _ = write!(text, "\n\nNot measured: {source}: {reason}");
        }
        text + "\n\nMeasured by ergometer. Series marked *estimated* come from a model, *amortised* ones are a window's share, by \
               time, of what was measured around it; under *uncertainty* stand standard uncertainties (k = 1)."
    }
}

/// An energy, its uncertainty and the mean power, as far as there are any.
fn add_energy(
    values: &mut Values,
    described: &mut BTreeSet<String>,
    name: &str,
    part: &str,
    mark: &str,
    it: Estimate,
    time: Duration,
) {
    let Some(energy) = it.energy else { return };
    values.scalar(&format!("energy/{name}_joules{part}{mark}"), energy.as_joules());
    if let Some(uncertainty) = it.uncertainty {
        let tag = format!("uncertainty/{name}_joules{part}{mark}");
        let first = described.insert(tag.clone());
        let description = if first { "Standard uncertainty (k = 1), in joules." } else { "" };
        values.described_scalar(&tag, uncertainty.as_joules(), description);
    }
    if let Some(power) = energy.over(time) {
        values.scalar(&format!("power/{name}_watts{part}{mark}"), power.as_watts());
    }
}

fn model(sensor: &Specification) -> bool {
    sensor.provenance == Provenance::Model
}

/// What a series' tag says of its values, if they are not simply measured.
fn mark(quality: Quality, model: bool) -> String {
    match quality {
        Quality::Measured => String::new(),
        Quality::Estimated => " (estimated)".to_owned(),
        other if model => format!(" (estimated, {other})"),
        other => format!(" ({other})"),
    }
}

/// A text that Markdown shows as it is.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '&' => escaped += "&amp;",
            '|' => escaped += "&#124;",
            _ if letter.is_control() => escaped.push(' '),
            _ if "\\`*_{}[]()#!~".contains(letter) => escaped.extend(['\\', letter]),
            _ => escaped.push(letter),
        }
    }
    escaped
}

/// A name of a file that stays where it is put: no separators, not hidden, no `..`. Texts that differ have names that differ.
fn file_name(text: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || "-_.+ ".contains(letter);
    let mut name: String =
        text.chars().map(|letter| if plain(letter) { letter } else { '_' }).collect();
    if name.is_empty() || name.starts_with('.') {
        name.insert(0, '_');
    }
    if name == text { name } else { format!("{name}-{:08x}", checksum(text.as_bytes())) }
}

#[cfg(test)]
mod tests {
    use ergometer::log::Line;
    use ergometer::sensor::fake::{Fake, Load};
    use ergometer::sensor::{Domain, Hardware};
    use ergometer::{FakeClock, Meter, Power, Run, RunLog};

    use super::*;

    #[test]
    fn names_of_files_stay_where_they_are_put() {
        assert!(file_name("../../etc/passwd").starts_with("_.._.._etc_passwd-"));
        assert!(file_name("..").starts_with("_..-") && file_name("").starts_with("_-"));
        assert_eq!(file_name("mlp 128"), "mlp 128");
        assert_ne!(file_name("a/b"), file_name("a\\b"));
    }

    /// The windows of a run at 100 W.
    fn windows(train: impl FnOnce(&Run, &FakeClock)) -> (Manifest, Vec<Record>) {
        let (logs, hands) = (tempfile::tempdir().unwrap(), FakeClock::new());
        let sensor = Fake::counter(
            Domain::new(Hardware::Cpu, "0", "fake"),
            Load::Constant(Power::from_watts(100.0)),
        );
        let meter = Meter::builder().clock(hands.clock()).log_directory(logs.path()).sensor(sensor);
        let run = meter.build().unwrap().run("made").start().unwrap();
        train(&run, &hands);
        let log = RunLog::open(run.finish().unwrap().directory).unwrap();
        let windows = log.lines().unwrap().filter_map(|line| match line.unwrap() {
            Line::Window(window) => Some(*window),
            _ => None,
        });
        let windows = windows.collect();
        (log.manifest, windows)
    }

    fn begun(manifest: &Manifest) -> Course {
        let mut course = Course::new("board".into());
        assert!(course.began(manifest).is_none());
        course
    }

    #[test]
    fn what_was_measured_within_a_window_is_forgotten_with_it() {
        let (manifest, windows) = windows(|run, hands| {
            for _step in run.steps(0..3) {
                let _phase = run.phase("forward");
                run.metric("norm", 1.0);
                hands.advance(Duration::from_millis(500));
            }
        });
        let (mut course, mut most) = (begun(&manifest), 0);
        for window in &windows {
            course.settled(window, false);
            most = most.max(course.session.as_ref().unwrap().within.len());
        }
        assert_eq!(most, 1);
    }

    #[test]
    fn there_is_a_page_behind_each_epoch_and_otherwise_every_ten_seconds() {
        let (manifest, windows) = windows(|run, hands| {
            for _epoch in run.epochs(1..=4) {
                run.steps(0..10).for_each(|_| hands.advance(Duration::from_millis(500)));
            }
        });
        let mut course = begun(&manifest);
        for window in &windows {
            let page = course.settled(window, false);
            assert_eq!(page.is_some(), window.kind != Kind::Step, "{:?}", window.step);
        }
        let mut course = begun(&manifest);
        let steps = windows.iter().filter(|window| window.kind == Kind::Step);
        let pages: Vec<u64> =
            steps.filter_map(|step| course.settled(step, false).and(step.step)).collect();
        assert_eq!(pages, [21]);
    }
}
