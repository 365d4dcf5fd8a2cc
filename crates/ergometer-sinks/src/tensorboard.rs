//! [`TensorBoard`]: a run's windows as scalars in TensorBoard's event files.

mod event_file;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ergometer::record::{Event, Manifest, State};
use ergometer::sensor::{Provenance, Specification};
use ergometer::{
    Error, Estimate, Kind, Observer, Quality, Record, Result, Status, Summary, Timestamp, Verdict,
};

use event_file::{EventFile, Values};

/// Writes a run's energies, powers, metrics, parameters and a summary for TensorBoard, in a directory of the run's own.
///
/// Each step, epoch and phase, and the run in total, has its energy in joules with the standard uncertainty (k = 1) beside it,
/// its mean power in watts and its time in seconds; together and for each domain. A series holds values of one quality: what
/// is not measured has it in its tag, as `energy/step_joules (estimated)`. What is not resolved has no value. TensorBoard
/// keeps 32 bits of a number, so the cumulative energy, which would swallow its steps, is written once, at the end.
///
/// Written from the recorder's thread, at once after an epoch, otherwise every ten seconds. When the file cannot be written, the
/// log says so in an event `tensorboard`, and nothing more is written of that session.
#[derive(Debug)]
pub struct TensorBoard {
    directory: PathBuf,
    run: Option<Run>,
    fault: Option<Error>,
    /// The log knows of the fault.
    told: bool,
}

impl TensorBoard {
    /// A sink that writes below `directory`, which is what `tensorboard --logdir` takes; it is made when the first window
    /// settles.
    pub fn new(directory: impl Into<PathBuf>) -> TensorBoard {
        TensorBoard { directory: directory.into(), run: None, fault: None, told: false }
    }

    /// What was first in the way of writing.
    pub fn fault(&self) -> Option<&Error> {
        self.fault.as_ref()
    }

    /// The same, once nothing more is to be written.
    pub fn into_fault(self) -> Option<Error> {
        self.fault
    }

    /// The directory of the run's own, once it is there.
    pub fn directory(&self) -> Option<&Path> {
        self.run.as_ref()?.directory.as_deref()
    }

    /// Writes something of the run to its file, which is opened if it is not yet. A file is lost with its first error.
    fn write(&mut self, rank: u32, write: impl FnOnce(&mut Run, &mut EventFile) -> Result<()>) {
        let Some(run) = &mut self.run else { return };
        let file = match std::mem::replace(&mut run.output, Output::Lost) {
            Output::None => run.open(&self.directory, rank),
            Output::File(file) => Ok(file),
            Output::Lost => return,
        };
        let written = file.and_then(|mut file| {
            write(run, &mut file)?;
            run.output = Output::File(file);
            Ok(())
        });
        if let Err(error) = written {
            self.fault.get_or_insert(error);
        }
    }
}

impl Observer for TensorBoard {
    fn name(&self) -> &str {
        "tensorboard"
    }

    fn began(&mut self, manifest: &Manifest) {
        // Each session has a file of its own.
        if let Some(Run { output: Output::File(file), .. }) = &mut self.run
            && let Err(error) = file.flush()
        {
            self.fault.get_or_insert(error);
        }
        self.run = Some(Run::new(manifest));
    }

    fn settled(&mut self, window: &Record) -> Verdict {
        self.write(window.rank, |run, file| run.add(window, file));
        match &self.fault {
            Some(fault) if !self.told => {
                self.told = true;
                Verdict::Warn(format!("nothing more is written for TensorBoard: {fault}"))
            }
            _ => Verdict::GoOn,
        }
    }

    fn happened(&mut self, event: &Event) {
        let Some(run) = &mut self.run else { return };
        if let Some(epoch) = event.epoch {
            self.write(event.rank, |run, file| {
                let mut values = Values::default();
                for (metric, value) in &event.metrics {
                    values.scalar(&format!("epoch/{metric}"), *value);
                }
                file.add(run.wall_time(event.at), epoch, &values);
                file.flush()
            });
        } else if event.event != "progress" && !run.ended {
            let thing = (event.event.clone(), event.domain.clone());
            *run.events.entry(thing).or_default() += 1;
        }
    }

    fn ended(&mut self, summary: &Summary) {
        if self.run.as_ref().is_some_and(|run| !run.ended) {
            let end = &summary.end;
            self.write(end.rank, |run, file| run.close(end, summary.manifest.state, file));
        }
    }
}

/// A session of a run as far as it has been told.
#[derive(Debug)]
struct Run {
    manifest: Manifest,
    directory: Option<PathBuf>,
    output: Output,
    /// How many phases of each name there were in each lane.
    phases: BTreeMap<(u32, String), u64>,
    /// What was measured in phases of a window whose end has not come yet, by lane and window.
    within: BTreeMap<(u32, u64), BTreeMap<String, f64>>,
    events: BTreeMap<(String, Option<String>), u64>,
    ended: bool,
}

/// Where a session's events go.
#[derive(Debug, Default)]
enum Output {
    #[default]
    None,
    File(EventFile),
    Lost,
}

impl Run {
    fn new(manifest: &Manifest) -> Run {
        Run {
            manifest: manifest.clone(),
            directory: None,
            output: Output::None,
            phases: BTreeMap::new(),
            within: BTreeMap::new(),
            events: BTreeMap::new(),
            ended: false,
        }
    }

    /// The session's file, with its first events.
    ///
    /// Its name is the same whenever it is written, so that an export takes the place of what the run wrote itself. No
    /// `Experiment` is written: TensorBoard takes the first that it finds for all runs, and finds the columns itself without.
    fn open(&mut self, directory: &Path, rank: u32) -> Result<EventFile> {
        let manifest = &self.manifest;
        let mut directory = directory.join(file_name(&manifest.run_id));
        if rank > 0 {
            directory.push(format!("rank-{rank:05}"));
        }
        fs::create_dir_all(&directory).map_err(|cause| Error::file("make", &directory, cause))?;
        let created: String = manifest.created.chars().filter(char::is_ascii_digit).collect();
        let host = file_name(&manifest.machine.host);
        let name = format!("events.out.tfevents.{created}.{host}.{}", manifest.sessions);
        let start = self.wall_time(manifest.clock.anchor);
        let mut file = EventFile::create(directory.join(name), start)?;
        let mut values = Values::default();
        values.session_start(&manifest.run_id, start, &self.hyperparameters());
        file.add(start, 0, &values);
        self.directory = Some(directory);
        Ok(file)
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

    fn add(&mut self, window: &Record, file: &mut EventFile) -> Result<()> {
        let step = match window.kind {
            Kind::Step => window.step.unwrap_or(window.id),
            Kind::Epoch => window.epoch.unwrap_or(window.id),
            Kind::Phase => {
                let name = window.phase.clone().unwrap_or_default();
                let count = self.phases.entry((window.lane, name)).or_default();
                *count += 1;
                if let (Some(parent), false) = (window.parent, window.metrics.is_empty()) {
                    let metrics = self.within.entry((window.lane, parent)).or_default();
                    metrics.extend(window.metrics.clone());
                }
                window.epoch.unwrap_or(*count)
            }
            Kind::End => {
                let state = match window.status {
                    Status::Complete => State::Complete,
                    Status::Stopped => State::Stopped,
                    Status::Panicked => State::Panicked,
                    Status::Dropped | Status::Orphaned | Status::Interrupted => State::Dropped,
                };
                return self.close(window, state, file);
            }
        };
        file.add(self.wall_time(window.end), step, &self.values(window));
        if window.kind == Kind::Epoch {
            self.within.retain(|(lane, _), _| *lane != window.lane);
            file.flush()
        } else {
            // What was measured within it is no epoch's.
            self.within.remove(&(window.lane, window.id));
            file.keep_up(window.end)
        }
    }

    /// The run's total, its summary, and how the session ended.
    fn close(&mut self, end: &Record, state: State, file: &mut EventFile) -> Result<()> {
        self.ended = true;
        let step = end.steps.filter(|steps| *steps > 0).or(end.epochs).unwrap_or(0);
        let at = self.wall_time(end.end);
        let mut values = self.values(end);
        values.markdown("summary", &self.summary(end, state));
        // Whether a run without an end is still going, its log does not know.
        if state != State::Running {
            values.session_end(at, matches!(state, State::Complete | State::Stopped));
        }
        file.add(at, step, &values);
        file.flush()
    }

    /// The scalars of a window.
    fn values(&self, window: &Record) -> Values {
        let name = match window.kind {
            Kind::Step => "step".to_owned(),
            Kind::Epoch => "epoch".to_owned(),
            Kind::Phase => format!("phase_{}", window.phase.as_deref().unwrap_or_default()),
            Kind::End => "total".to_owned(),
        };
        // Each lane counts its own steps.
        let name = if window.lane > 0 { format!("lane{}_{name}", window.lane) } else { name };
        let mut values = Values::default();
        let model = |sensor: &Specification| sensor.provenance == Provenance::Model;
        let sensors = &self.manifest.sensors;
        let mark = mark(window.quality, sensors.iter().any(|it| it.in_total && model(it)));
        let time = window.duration;
        add_energy(&mut values, &name, "", &mark, window.estimate(), time);
        values.scalar(&format!("time/{name}_seconds"), time.as_secs_f64());
        let shares = [("sample", window.energy_per_sample()), ("token", window.energy_per_token())];
        for (unit, energy) in shares {
            if let Some(energy) = energy {
                let tag = format!("energy/{name}_joules_per_{unit}{mark}");
                values.scalar(&tag, energy.as_joules());
            }
        }
        if let Some(net) = window.net() {
            add_energy(&mut values, &format!("{name}_net"), "", &mark, net, time);
        }
        for (domain, share) in &window.domains {
            let modelled = sensors.iter().any(|it| it.domain.id == *domain && model(it));
            let mark = self::mark(share.quality, modelled);
            add_energy(&mut values, &name, &format!("/{domain}"), &mark, share.estimate(), time);
        }
        for (metric, value) in &window.metrics {
            values.scalar(&format!("{name}/{metric}"), *value);
        }
        // What was measured in an evaluation within an epoch is the epoch's, where it says nothing itself.
        let within = self.within.get(&(window.lane, window.id));
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
        values.scalar(&tag, uncertainty.as_joules());
    }
    if let Some(power) = energy.over(time) {
        values.scalar(&format!("power/{name}_watts{part}{mark}"), power.as_watts());
    }
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

/// A name of a file that stays where it is put: no separators, not hidden, no `..`.
fn file_name(text: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || "-_.+ ".contains(letter);
    let name: String =
        text.chars().map(|letter| if plain(letter) { letter } else { '_' }).collect();
    if name.is_empty() || name.starts_with('.') { format!("_{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use ergometer::log::Line;
    use ergometer::sensor::fake::{Fake, Load};
    use ergometer::sensor::{Domain, Hardware};
    use ergometer::{FakeClock, Meter, Power, RunLog};

    use super::*;

    #[test]
    fn names_of_files_stay_where_they_are_put() {
        assert_eq!(file_name("../../etc/passwd"), "_.._.._etc_passwd");
        assert_eq!(file_name(".."), "_..");
        assert_eq!(file_name("mlp 128\n"), "mlp 128_");
        assert_eq!(file_name(""), "_");
    }

    #[test]
    fn what_was_measured_within_a_window_is_forgotten_with_it() {
        let logs = tempfile::tempdir().unwrap();
        let hands = FakeClock::new();
        let sensor = Fake::counter(
            Domain::new(Hardware::Cpu, "0", "fake"),
            Load::Constant(Power::from_watts(100.0)),
        );
        let meter = Meter::builder().clock(hands.clock()).log_directory(logs.path()).sensor(sensor);
        let run = meter.build().unwrap().run("nested").start().unwrap();
        for _step in run.steps(0..3) {
            let _phase = run.phase("forward");
            run.metric("norm", 1.0);
            hands.advance(Duration::from_millis(500));
        }
        let directory = run.finish().unwrap().directory;
        let log = RunLog::open(directory).unwrap();
        let mut sink = TensorBoard::new(logs.path().join("board"));
        sink.began(&log.manifest);
        let mut most = 0;
        for line in log.lines().unwrap() {
            if let Line::Window(window) = line.unwrap() {
                let _ = sink.settled(&window);
                most = most.max(sink.run.as_ref().unwrap().within.len());
            }
        }
        assert_eq!(most, 1);
    }
}
