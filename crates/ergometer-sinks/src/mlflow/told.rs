//! [`Told`]: what MLflow is told of a run, made of its windows alone, so that a log tells the same afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ergometer::record::{Event, Manifest, State};
use ergometer::sensor::{Hardware, Provenance, Specification};
use ergometer::{Energy, Estimate, Kind, Quality, Record, Summary, Timestamp};
use serde_json::{Value, json};

use crate::post::escaped;
use crate::tally::{Number, wall_time};

/// A run as far as it has been told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    manifest: Option<Arc<Manifest>>,
    run: Option<Arc<Facts>>,
    points: Vec<Point>,
    /// When points were last handed on.
    handed: Timestamp,
    /// When metrics of steps were last told, by lane.
    steps: BTreeMap<u32, Timestamp>,
    /// How many phases of each name there were in each lane.
    phases: BTreeMap<(u32, String), u64>,
    /// What was measured in phases of a window whose end has not come yet, by lane and window.
    within: BTreeMap<(u32, u64), BTreeMap<String, f64>>,
    /// The domains' totals where powers were last taken, and when that was.
    totals: BTreeMap<String, Energy>,
    turn: Timestamp,
    /// The session's end has been told.
    ended: bool,
}

/// What is told at once.
#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    pub(crate) run: Arc<Facts>,
    pub(crate) points: Vec<Point>,
    pub(crate) end: Option<End>,
}

/// What is known of a run from its beginning. Goes with each parcel, since the first one may be lost.
#[derive(Debug)]
pub(crate) struct Facts {
    /// Its id, in letters that a search can ask for.
    pub(crate) id: String,
    pub(crate) rank: u32,
    pub(crate) name: String,
    /// In milliseconds since 1970, as all times here.
    pub(crate) start: i64,
    pub(crate) params: Vec<(String, String)>,
    pub(crate) tags: Vec<(String, String)>,
}

/// A value of a metric.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) key: String,
    pub(crate) value: f64,
    pub(crate) at: i64,
    pub(crate) step: i64,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub(crate) struct End {
    /// What it came to, in Markdown.
    pub(crate) note: String,
    pub(crate) state: State,
    pub(crate) at: i64,
}

/// Points wait so long, by the run's clock, or until there are so many, or an epoch ends.
const WAITING: (Duration, usize) = (Duration::from_secs(10), 1_000);

/// A power is the mean over this time at least, as MLflow's own system metrics are taken every ten seconds.
const TURN: Duration = Duration::from_secs(10);

/// Metrics of steps are told so far apart: a million steps would be a million rows of a data base.
const STEPS_APART: Duration = Duration::from_secs(1);

/// The longest key, parameter, and tag that servers of all versions take: 250, 500 and 5,000 letters.
const KEY: usize = 250;
const PARAM: usize = 500;
const TAG: usize = 5_000;

impl Told {
    pub(crate) fn began(&mut self, manifest: &Manifest) {
        // Another session has a clock of its own, and knows nothing of the windows before it, in a log no more than live.
        *self = Told {
            manifest: Some(Arc::new(manifest.clone())),
            handed: manifest.clock.anchor,
            ..Told::default()
        };
    }

    /// Takes a window in; gives what is to be told now.
    pub(crate) fn settled(&mut self, window: &Record) -> Option<Parcel> {
        let manifest = self.manifest.clone()?;
        self.run.get_or_insert_with(|| Arc::new(Facts::of(&manifest, window.rank)));
        self.add(&manifest, window);
        if window.kind == Kind::End {
            self.ended = true;
            return None;
        }
        self.add_powers(&manifest, window);
        let waited = window.end.since(self.handed) >= WAITING.0;
        if window.kind == Kind::Epoch || waited || self.points.len() >= WAITING.1 {
            self.handed = window.end.max(self.handed);
            return self.rest();
        }
        None
    }

    /// Takes in what was measured of an epoch that is over; it is told with the next window.
    pub(crate) fn happened(&mut self, event: &Event) {
        let (Some(manifest), Some(epoch)) = (self.manifest.clone(), event.epoch) else { return };
        self.run.get_or_insert_with(|| Arc::new(Facts::of(&manifest, event.rank)));
        let at = moment(&manifest, event.at);
        let mut points =
            Points { rank: event.rank, at, step: whole(epoch), points: &mut self.points };
        for (metric, value) in &event.metrics {
            points.add(&format!("epoch/{metric}"), *value);
        }
    }

    /// Gives what has not been told.
    pub(crate) fn rest(&mut self) -> Option<Parcel> {
        let points = std::mem::take(&mut self.points);
        if points.is_empty() {
            return None;
        }
        Some(Parcel { run: Arc::clone(self.run.as_ref()?), points, end: None })
    }

    pub(crate) fn ended(&mut self, summary: &Summary) -> Option<Parcel> {
        let (manifest, end) = (self.manifest.clone()?, &summary.end);
        let facts = || Arc::new(Facts::of(&manifest, end.rank));
        let run = Arc::clone(self.run.get_or_insert_with(facts));
        // A log without an end has told of none.
        if !self.ended {
            self.add(&manifest, end);
        }
        let points = std::mem::take(&mut self.points);
        let at = moment(&manifest, end.end);
        let end = End { note: note(summary), state: summary.manifest.state, at };
        Some(Parcel { run, points, end: Some(end) })
    }

    /// The values of a window.
    fn add(&mut self, manifest: &Manifest, window: &Record) {
        let (lane, mut metrics) = (window.lane, window.metrics.clone());
        let within = self.within.remove(&(lane, window.id)).unwrap_or_default();
        let (name, step) = match window.kind {
            Kind::Step => {
                if metrics.is_empty() || !self.is_due(lane, window.end) {
                    return;
                }
                ("step".to_owned(), window.step.unwrap_or(window.id))
            }
            Kind::Epoch => {
                // What was measured in an evaluation within the epoch is the epoch's, where it says nothing itself.
                for (metric, value) in within {
                    metrics.entry(metric).or_insert(value);
                }
                self.within.retain(|(of, _), _| *of != lane);
                ("epoch".to_owned(), window.epoch.unwrap_or(window.id))
            }
            Kind::Phase => {
                let phase = window.phase.clone().unwrap_or_default();
                let count = self.phases.entry((lane, phase.clone())).or_default();
                *count += 1;
                if let (Some(parent), Some(_), false) =
                    (window.parent, window.epoch, metrics.is_empty())
                {
                    self.within.entry((lane, parent)).or_default().extend(metrics.clone());
                }
                (format!("phase_{phase}"), window.epoch.unwrap_or(*count))
            }
            Kind::End => {
                let steps = window.steps.filter(|steps| *steps > 0);
                ("total".to_owned(), steps.or(window.epochs).unwrap_or(0))
            }
        };
        // Each lane counts its own steps.
        let name = if lane > 0 { format!("lane{lane}_{name}") } else { name };
        let mut points = Points {
            rank: window.rank,
            at: moment(manifest, window.end),
            step: whole(step),
            points: &mut self.points,
        };
        for (metric, value) in metrics {
            points.add(&format!("{name}/{metric}"), value);
        }
        if window.kind == Kind::Step {
            return;
        }
        let modelled = |sensor: &Specification| sensor.provenance == Provenance::Model;
        let sensors = &manifest.sensors;
        let mark = mark(window.quality, sensors.iter().any(|it| it.in_total && modelled(it)));
        let time = window.duration;
        points.add(&format!("time/{name}_seconds"), time.as_secs_f64());
        points.add_energy("", &name, &mark, window.estimate(), time);
        let shares = [("sample", window.energy_per_sample()), ("token", window.energy_per_token())];
        for (unit, energy) in shares {
            if let Some(energy) = energy {
                points.add(&format!("energy/{name}_joules_per_{unit}{mark}"), joules(energy));
            }
        }
        if let Some(net) = window.net() {
            points.add_energy("", &format!("{name}_net"), &mark, net, time);
        }
        for (domain, share) in &window.domains {
            let modelled = sensors.iter().any(|it| it.domain.id == *domain && modelled(it));
            let mark = self::mark(share.quality, modelled);
            // Servers before 2.10, and those on Windows, take no colon. Those that keep files, as all did by themselves before
            // 3, take no key that begins with another one and a `/`.
            let part = format!("/{}", domain.replace(':', "-"));
            points.add_energy(&part, &name, &mark, share.estimate(), time);
        }
    }

    /// The parts' mean powers since they were last told, if that is long ago.
    fn add_powers(&mut self, manifest: &Manifest, window: &Record) {
        let first = self.totals.is_empty();
        let time = window.end.since(self.turn);
        if !first && time < TURN {
            return;
        }
        let at = moment(manifest, window.end);
        let step = (at - beginning(manifest)).div_euclid(1_000);
        let mut points = Points { rank: window.rank, at, step, points: &mut self.points };
        for (sensor, key) in system_keys(manifest) {
            let Some(share) = window.domains.get(&sensor.domain.id) else { continue };
            let before = self.totals.insert(sensor.domain.id.clone(), share.total);
            let power = before.and_then(|before| (share.total - before).over(time));
            if let Some(power) = power {
                points.add(&key, power.as_watts());
            }
        }
        self.turn = window.end;
    }

    fn is_due(&mut self, lane: u32, at: Timestamp) -> bool {
        let due = self.steps.get(&lane).is_none_or(|told| at.since(*told) >= STEPS_APART);
        if due {
            self.steps.insert(lane, at);
        }
        due
    }
}

/// Points of one moment.
struct Points<'a> {
    rank: u32,
    at: i64,
    step: i64,
    points: &'a mut Vec<Point>,
}

impl Points<'_> {
    fn add(&mut self, name: &str, value: f64) {
        let key = match (self.rank, name.strip_prefix("system/")) {
            (0, _) => key(name),
            // The tab is that of keys that begin so.
            (rank, Some(name)) => key(&format!("system/rank-{rank}/{name}")),
            (rank, None) => key(&format!("rank-{rank}/{name}")),
        };
        // What is no finite number is none in the log either, whichever it was.
        let value = if value.is_finite() { value } else { f64::NAN };
        self.points.push(Point { key, value, at: self.at, step: self.step });
    }

    /// An energy, its uncertainty and the mean power, as far as there are any.
    fn add_energy(&mut self, part: &str, name: &str, mark: &str, it: Estimate, time: Duration) {
        let Some(energy) = it.energy else { return };
        self.add(&format!("energy{part}/{name}_joules{mark}"), joules(energy));
        if let Some(uncertainty) = it.uncertainty {
            self.add(&format!("uncertainty{part}/{name}_joules{mark}"), joules(uncertainty));
        }
        if let Some(power) = energy.over(time) {
            self.add(&format!("power{part}/{name}_watts{mark}"), power.as_watts());
        }
    }
}

impl Point {
    pub(crate) fn json(&self) -> Value {
        // JSON has no number for it; MLflow takes protobuf's word.
        let value = if self.value.is_nan() { json!("NaN") } else { json!(self.value) };
        json!({ "key": self.key, "value": value, "timestamp": self.at, "step": self.step })
    }
}

impl Facts {
    fn of(manifest: &Manifest, rank: u32) -> Facts {
        let mut params = manifest.notes.clone();
        if let Some(parameters) = manifest.parameters {
            params.insert("parameters".to_owned(), parameters.to_string());
        }
        if let Some(framework) = &manifest.framework {
            let name = format!("{} {}", framework.name, framework.version);
            params.insert("framework".to_owned(), name);
            if let Some(device) = &framework.device {
                params.insert("device".to_owned(), device.clone());
            }
        }
        let id = escaped(&manifest.run_id);
        let sensors = manifest.sensors.iter().filter(|sensor| sensor.in_total);
        let sensors: Vec<String> =
            sensors.map(|it| format!("{} by {}", it.domain.id, it.source)).collect();
        let tags = [
            ("ergometer.run_id", id.clone()),
            ("ergometer.rank", rank.to_string()),
            ("ergometer.version", manifest.program.ergometer.clone()),
            ("ergometer.host", manifest.machine.host.clone()),
            ("ergometer.sensors", sensors.join(", ")),
            ("mlflow.source.name", manifest.program.name.clone()),
        ];
        Facts {
            id,
            rank,
            name: manifest.name.clone(),
            start: beginning(manifest),
            params: params
                .into_iter()
                .map(|(name, value)| (key(&name), cut(value, PARAM)))
                .collect(),
            tags: tags
                .into_iter()
                .map(|(name, value)| (name.to_owned(), cut(value, TAG)))
                .collect(),
        }
    }
}

/// The keys of the parts in the total, as MLflow's own system metrics are called where it has some of the kind.
fn system_keys(manifest: &Manifest) -> impl Iterator<Item = (&Specification, String)> {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    manifest.sensors.iter().filter(|sensor| sensor.in_total).map(move |sensor| {
        let kind = match sensor.domain.hardware {
            Hardware::Gpu => "gpu",
            Hardware::Cpu => "cpu_package",
            Hardware::Dram => "memory",
            Hardware::Node => "host",
        };
        let count = counts.entry(kind).or_default();
        let estimated = if sensor.provenance == Provenance::Model { "_estimated" } else { "" };
        let key = format!("system/{kind}_{count}_power_usage_watts{estimated}");
        *count += 1;
        (sensor, key)
    })
}

/// What a key says of its values, if they are not simply measured.
fn mark(quality: Quality, model: bool) -> String {
    match quality {
        Quality::Measured => String::new(),
        Quality::Estimated => "_estimated".to_owned(),
        other if model => format!("_estimated_{other}"),
        other => format!("_{other}"),
    }
}

/// A name that MLflow takes as a key: no letters but these, no path that leads elsewhere, not too long.
fn key(name: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_-. ".contains(letter);
    let parts = name.split('/').map(|part| match part {
        "" | "." | ".." => "_".to_owned(),
        part => part.chars().map(|letter| if plain(letter) { letter } else { '_' }).collect(),
    });
    let text = parts.collect::<Vec<String>>().join("/");
    if text == name && text.len() <= KEY {
        return text;
    }
    // FNV-1a (Fowler, Noll, Vo), 32 bits: two names that are cut or changed to the same stay two.
    let sum = name
        .bytes()
        .fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let end = format!("-{sum:08x}");
    let start: String = text.chars().take(KEY - end.len()).collect();
    start + &end
}

/// The first letters of a text, if it is longer.
fn cut(text: String, most: usize) -> String {
    if text.chars().count() <= most {
        return text;
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// What a run came to, in Markdown: its table, as it is printed.
fn note(summary: &Summary) -> String {
    // Nothing in it ends the block.
    let table = summary.to_string().replace('`', "'");
    let reason = summary.end.reason.as_deref().map_or(String::new(), |reason| {
        format!("Stopped: {}\n\n", reason.replace(['`', '<', '['], "'"))
    });
    let open = if summary.manifest.state == State::Running {
        "The log has no end: the run is still going, or was killed.\n\n"
    } else {
        ""
    };
    let table = cut(table, TAG - 1_000);
    format!(
        "{reason}{open}```text\n{table}\n```\n\nBehind ± stand expanded uncertainties (k = 2), under `uncertainty/` standard ones (k = 1).\n"
    )
}

fn joules(energy: Energy) -> f64 {
    Number::Energy(energy).as_f64()
}

/// When the run began.
fn beginning(manifest: &Manifest) -> i64 {
    let created = manifest.created.parse::<jiff::Timestamp>().ok();
    let created: Option<Duration> = created.and_then(|it| it.as_duration().try_into().ok());
    created.map_or_else(
        || moment(manifest, manifest.clock.anchor),
        |it| i64::try_from(it.as_millis()).unwrap_or(i64::MAX),
    )
}

fn moment(manifest: &Manifest, at: Timestamp) -> i64 {
    i64::try_from(wall_time(manifest, at).as_millis()).unwrap_or(i64::MAX)
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use ergometer::{FakeClock, Meter, Observer, Verdict};

    use super::*;

    #[test]
    fn a_hostile_name_becomes_a_key_that_is_no_path_and_no_other_s() {
        assert_eq!(key("epoch/top-5 accuracy"), "epoch/top-5 accuracy");
        let hostile =
            ["a[0]", "a(0)", "/a", "a//b", "../../x", "a/./b", "é", "a\n", "", &"x".repeat(300)];
        let mut keys: Vec<String> = hostile.iter().map(|name| key(name)).collect();
        for key in &keys {
            assert!(key.len() <= KEY && key.is_ascii() && !key.starts_with('/'), "{key}");
            assert!(key.split('/').all(|part| !["", ".", ".."].contains(&part)), "{key}");
            assert!(!key.contains(['[', '(', '\n', ':', '\'', '"']), "{key}");
        }
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), hostile.len());
    }

    #[test]
    fn what_is_no_finite_number_is_told_as_the_log_has_it() {
        let mut all = Vec::new();
        let mut points = Points { rank: 0, at: 1, step: 2, points: &mut all };
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.1] {
            points.add("a", value);
        }
        let told: Vec<Value> = all.iter().map(|point| point.json()["value"].clone()).collect();
        assert_eq!(told, [json!("NaN"), json!("NaN"), json!("NaN"), json!(0.1)]);
    }

    /// Keeps the manifest and the windows of a run.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<(Option<Manifest>, Vec<Record>)>>);

    impl Observer for Kept {
        fn name(&self) -> &str {
            "kept"
        }

        fn began(&mut self, manifest: &Manifest) {
            self.0.lock().unwrap().0 = Some(manifest.clone());
        }

        fn settled(&mut self, window: &Record) -> Verdict {
            self.0.lock().unwrap().1.push(window.clone());
            Verdict::GoOn
        }
    }

    #[test]
    fn what_was_measured_in_a_phase_within_a_step_is_forgotten_with_the_step() {
        let (kept, logs) = (Kept::default(), tempfile::tempdir().unwrap());
        let clock = FakeClock::new();
        let meter = Meter::builder().clock(clock.clock()).log_directory(logs.path());
        let run = meter.build().unwrap().run("a").observe(kept.clone()).start().unwrap();
        let step = run.step();
        let phase = run.phase("valid");
        run.metric("loss", 1.0);
        clock.advance(Duration::from_secs(1));
        phase.end();
        step.end();
        run.finish().unwrap();
        let (manifest, windows) = kept.0.lock().unwrap().clone();
        let [phase, step, _] = &windows[..] else { panic!("{windows:?}") };
        assert_eq!((phase.kind, phase.parent), (Kind::Phase, Some(step.id)));

        let (mut told, mut points) = (Told::default(), 0);
        told.began(manifest.as_ref().unwrap());
        for turn in 0..20_000_u64 {
            let (id, epoch) = (turn * 3, turn.is_multiple_of(2).then_some(1));
            let within = Record { id: id + 2, parent: Some(id + 1), epoch, ..phase.clone() };
            let around = Record { id: id + 1, parent: Some(0), epoch, ..step.clone() };
            // One that overlaps with a phase was opened within it, and is over later.
            let beside = Record { id: id + 3, parent: Some(id + 2), ..within.clone() };
            let beside = epoch.is_none().then_some(&beside);
            for window in [&within, &around].into_iter().chain(beside) {
                points += told.settled(window).map_or(0, |parcel| parcel.points.len());
            }
            assert!(told.within.is_empty(), "{turn}: {:?}", told.within);
        }
        assert!(points > 20_000, "{points}");
    }
}
