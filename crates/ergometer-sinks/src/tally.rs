//! A [`Tally`]: what a run has used so far, part by part, under the names that monitoring knows.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ergometer::record::{Event, Manifest};
use ergometer::sensor::{Hardware, Provenance, Specification};
use ergometer::{Earlier, Energy, Kind, Observer, Power, Record, Summary, Timestamp, Verdict};

/// What a run has used so far, part by part: what Prometheus, OpenTelemetry and the facades are told from.
///
/// Counters stand at the end of the last window that settled, and are the log's own `total_j`, to the last digit. A part that no
/// sensor has given an energy of is not there, and nothing is before the first window has settled. Powers are means over a
/// second or more, and gone when the run is over.
///
/// Names and attributes are those of OpenTelemetry's semantic conventions for hardware, version 1.44.0: `hw.energy` for parts in
/// the run's total, `hw.host.energy` for what covers a whole machine. Parts that overlap others are `ergometer.beside.energy`,
/// so that a sum over `hw.energy` counts nothing twice.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    manifest: Option<Arc<Manifest>>,
    rank: Option<u32>,
    parts: BTreeMap<String, Part>,
    total: Option<Energy>,
    uncertainty: Option<Energy>,
    /// The number of each lane's last step, steps of sessions before included.
    steps: BTreeMap<u32, u64>,
    /// How many steps there were, once the run is over.
    all_steps: Option<u64>,
    epoch: Option<Box<Record>>,
    metrics: BTreeMap<String, f64>,
    /// The end of the last window that settled, on the session's clock.
    at: Timestamp,
    /// Where the powers were last taken.
    turn: Timestamp,
    /// The run's beginning, since 1970 UTC.
    start: Option<Duration>,
}

/// A part of the machine.
#[derive(Clone, Copy, Debug)]
struct Part {
    total: Energy,
    /// Its total at the last turn.
    before: Option<Energy>,
    power: Option<Power>,
}

/// A power is the mean over this time at least: shorter ones are those of single steps, and of a sensor's updates.
const TURN: Duration = Duration::from_secs(1);

impl Tally {
    /// The metrics as they stand, each with its points; none that have no point.
    pub fn metrics(&self) -> Vec<Metric> {
        let Some((manifest, rank)) = self.manifest.as_deref().zip(self.rank) else {
            return Vec::new();
        };
        let run = [
            ("run_id", manifest.run_id.clone()),
            ("name", manifest.name.clone()),
            ("rank", rank.to_string()),
        ];
        let mut metrics = Metric::all();
        let mut add = |name: &str, own: Vec<(&'static str, String)>, value: Number| {
            if let Some(metric) = metrics.iter_mut().find(|metric| metric.name == name) {
                let attributes = own.into_iter().chain(run.clone()).collect();
                metric.points.push(Point { attributes, value });
            }
        };
        for sensor in &manifest.sensors {
            let Some(part) = self.parts.get(&sensor.domain.id) else { continue };
            let (energy, power) = names(sensor);
            let attributes = || {
                vec![
                    ("hw.id", sensor.domain.id.clone()),
                    ("hw.type", hw_type(sensor.domain.hardware).to_owned()),
                    ("hw.name", sensor.domain.name.clone()),
                    ("provenance", word(sensor.provenance).to_owned()),
                ]
            };
            add(energy, attributes(), Number::Energy(part.total));
            if let Some(watts) = part.power {
                add(power, attributes(), Number::Power(watts));
            }
        }
        let worst = provenance(manifest);
        let provenance =
            || worst.map(|worst| ("provenance", worst.to_owned())).into_iter().collect();
        if let Some(total) = self.total {
            add("ergometer.run.energy", provenance(), Number::Energy(total));
        }
        if let Some(uncertainty) = self.uncertainty {
            add("ergometer.run.energy.uncertainty", provenance(), Number::Energy(uncertainty));
        }
        let steps = self.all_steps.unwrap_or_else(|| self.steps.values().sum());
        if steps > 0 {
            add("ergometer.run.steps", Vec::new(), Number::Count(steps));
        }
        if let Some(epoch) = &self.epoch {
            if let Some(number) = epoch.epoch {
                add("ergometer.epoch.number", Vec::new(), Number::Count(number));
            }
            if let Some(energy) = epoch.energy {
                add("ergometer.epoch.energy", provenance(), Number::Energy(energy));
            }
            if let Some(uncertainty) = epoch.energy.and(epoch.uncertainty) {
                add(
                    "ergometer.epoch.energy.uncertainty",
                    provenance(),
                    Number::Energy(uncertainty),
                );
            }
            let duration = Number::Real(epoch.duration.as_secs_f64());
            add("ergometer.epoch.duration", Vec::new(), duration);
        }
        for (name, value) in self.metrics.iter().filter(|(_, value)| value.is_finite()) {
            add("ergometer.metric", vec![("metric", name.clone())], Number::Real(*value));
        }
        metrics.retain(|metric| !metric.points.is_empty());
        metrics
    }

    /// The manifest of the run that it is told of.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_deref()
    }

    /// The rank of the process; known when the first window has settled.
    pub fn rank(&self) -> Option<u32> {
        self.rank
    }

    /// When the run began, as time since 1970 UTC: what its energies count from, also those of a resumed run.
    pub fn start(&self) -> Option<Duration> {
        self.start
    }

    /// When its last window ended, as time since 1970 UTC.
    pub fn wall_time(&self) -> Option<Duration> {
        Some(wall_time(self.manifest()?, self.at))
    }

    fn take(&mut self, window: &Record) {
        self.at = window.end;
        self.total = total(window).or(self.total);
        for (id, share) in &window.domains {
            // A sensor that has given nothing yet has a total of 0, which is no energy.
            if share.energy.is_none() && share.total == Energy::ZERO {
                continue;
            }
            match self.parts.get_mut(id) {
                Some(part) => part.total = share.total,
                None => {
                    let part = Part { total: share.total, before: None, power: None };
                    self.parts.insert(id.clone(), part);
                }
            }
        }
        let time = window.end.since(self.turn);
        if time >= TURN {
            for part in self.parts.values_mut() {
                part.power = part.before.and_then(|before| (part.total - before).over(time));
                part.before = Some(part.total);
            }
            self.turn = window.end;
        }
    }
}

impl Observer for Tally {
    fn name(&self) -> &str {
        "tally"
    }

    fn began(&mut self, manifest: &Manifest) {
        self.manifest = Some(Arc::new(manifest.clone()));
        let first = manifest.sessions <= 1;
        let created = manifest.created.parse::<jiff::Timestamp>().ok().filter(|_| !first);
        let session = wall_time(manifest, manifest.clock.anchor);
        let start = created.and_then(|created| created.as_duration().try_into().ok());
        self.start = self.start.or(Some(start.unwrap_or(session)));
        // Another session may be of another boot, whose clock is another one.
        self.at = manifest.clock.anchor;
        self.turn = manifest.clock.anchor;
        self.all_steps = None;
        for part in self.parts.values_mut() {
            (part.before, part.power) = (None, None);
        }
    }

    fn resumed(&mut self, earlier: &Earlier) {
        self.steps.clone_from(&earlier.steps);
        self.total = (earlier.energy != Energy::ZERO).then_some(earlier.energy);
        for (id, total) in &earlier.domains {
            let part = Part { total: *total, before: None, power: None };
            self.parts.insert(id.clone(), part);
        }
    }

    fn settled(&mut self, window: &Record) -> Verdict {
        self.rank = Some(window.rank);
        if window.end >= self.at {
            self.take(window);
        }
        match window.kind {
            // Counted over the whole run, so that a process that resumes it goes on.
            Kind::Step => self.steps.extend(window.step.map(|step| (window.lane, step))),
            Kind::Epoch => self.epoch = Some(Box::new(window.clone())),
            Kind::Phase | Kind::End => {}
        }
        self.metrics.extend(window.metrics.iter().map(|(name, value)| (name.clone(), *value)));
        Verdict::GoOn
    }

    fn happened(&mut self, event: &Event) {
        self.metrics.extend(event.metrics.iter().map(|(name, value)| (name.clone(), *value)));
    }

    fn ended(&mut self, summary: &Summary) {
        self.rank = Some(summary.end.rank);
        self.take(&summary.end);
        self.all_steps = summary.end.steps;
        self.uncertainty = summary.end.energy.and(summary.end.uncertainty);
        for part in self.parts.values_mut() {
            part.power = None;
        }
    }
}

/// A moment of a session's clock as time since 1970 UTC.
pub(crate) fn wall_time(manifest: &Manifest, at: Timestamp) -> Duration {
    let anchor = Duration::from_nanos(u64::try_from(manifest.clock.unix_ns).unwrap_or_default());
    if at >= manifest.clock.anchor {
        anchor + at.since(manifest.clock.anchor)
    } else {
        anchor.saturating_sub(manifest.clock.anchor.since(at))
    }
}

/// A metric by its name in OpenTelemetry's spelling, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// The name: `hw.energy`.
    pub name: &'static str,
    /// The unit in UCUM: `J`, `W`, `s`, `{step}`, `{epoch}`; empty where it is not known. Never `1`, which Prometheus takes for a
    /// ratio.
    pub unit: &'static str,
    /// What it is, in a sentence.
    pub description: &'static str,
    /// Whether it only grows.
    pub monotonic: bool,
    /// One for each part or run.
    pub points: Vec<Point>,
}

/// Where a metric stands for one set of attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Attributes by their names in OpenTelemetry's spelling: `hw.id`.
    pub attributes: Vec<(&'static str, String)>,
    /// The value.
    pub value: Number,
}

/// A value, exact until it is printed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// In joules.
    Energy(Energy),
    /// In watts.
    Power(Power),
    /// A count.
    Count(u64),
    /// A finite number: a loss, seconds.
    Real(f64),
}

impl Number {
    /// The nearest floating-point number, of joules, watts, or what it is.
    #[expect(clippy::cast_precision_loss, reason = "counts of steps stay below 2^53")]
    pub fn as_f64(self) -> f64 {
        match self {
            // Rounded once, as a reader of the log rounds it.
            Number::Energy(energy) => self.to_string().parse().unwrap_or(energy.as_joules()),
            Number::Power(power) => power.as_watts(),
            Number::Count(count) => count as f64,
            Number::Real(value) => value,
        }
    }
}

/// A decimal number with every digit, which JSON and Prometheus both read.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The log's own digits: rounding happens once, at the reader.
            Number::Energy(energy) => {
                f.write_str(&serde_json::to_string(energy).map_err(|_| fmt::Error)?)
            }
            Number::Count(count) => write!(f, "{count}"),
            Number::Power(_) | Number::Real(_) => write!(f, "{}", self.as_f64()),
        }
    }
}

impl Metric {
    /// All that there can be, without points.
    pub(crate) fn all() -> Vec<Metric> {
        let of = |name, unit, monotonic, description| Metric {
            name,
            unit,
            description,
            monotonic,
            points: Vec::new(),
        };
        vec![
            of(
                "hw.energy",
                "J",
                true,
                "Energy of a part that is in the run's total, since the run began.",
            ),
            of("hw.power", "W", false, "Mean power of a part over the last second or more."),
            of("hw.host.energy", "J", true, "Energy of a whole machine since the run began."),
            of(
                "hw.host.power",
                "W",
                false,
                "Mean power of a whole machine over the last second or more.",
            ),
            of(
                "ergometer.beside.energy",
                "J",
                true,
                "Energy of a part that overlaps others and is not in the total.",
            ),
            of("ergometer.beside.power", "W", false, "Mean power of a part that overlaps others."),
            of("ergometer.run.energy", "J", true, "Energy of the run, of all parts in the total."),
            of(
                "ergometer.run.energy.uncertainty",
                "J",
                false,
                "Standard uncertainty (k = 1) of the energy of the run, at its last record.",
            ),
            of("ergometer.run.steps", "{step}", true, "Steps that have settled."),
            of("ergometer.epoch.number", "{epoch}", false, "The last epoch that settled."),
            of("ergometer.epoch.energy", "J", false, "The energy of the last epoch that settled."),
            of(
                "ergometer.epoch.energy.uncertainty",
                "J",
                false,
                "Standard uncertainty (k = 1) of the energy of the last epoch that settled.",
            ),
            of(
                "ergometer.epoch.duration",
                "s",
                false,
                "How long the last epoch that settled took.",
            ),
            of(
                "ergometer.metric",
                "",
                false,
                "What the program measured itself, as it was last noted.",
            ),
        ]
    }
}

/// What a run had used at a window's end; `None` where no sensor has given an energy, which is no total of 0.
pub(crate) fn total(window: &Record) -> Option<Energy> {
    (window.energy.is_some() || window.total != Energy::ZERO).then_some(window.total)
}

/// Where the energies of the total come from, by the least direct of its sensors: `model` where a model stands for a part.
pub(crate) fn provenance(manifest: &Manifest) -> Option<&'static str> {
    let in_total = manifest.sensors.iter().filter(|sensor| sensor.in_total);
    in_total.map(|sensor| sensor.provenance).max().map(word)
}

/// The names of a part's energy and power.
fn names(sensor: &Specification) -> (&'static str, &'static str) {
    match (sensor.domain.hardware, sensor.in_total) {
        // What is in the total, so that a sum over it is the run's; on some boards that is one meter for all of it.
        (_, true) => ("hw.energy", "hw.power"),
        // The conventions ask for these where a whole machine is measured, so that nothing is summed twice.
        (Hardware::Node, false) => ("hw.host.energy", "hw.host.power"),
        (_, false) => ("ergometer.beside.energy", "ergometer.beside.power"),
    }
}

fn hw_type(hardware: Hardware) -> &'static str {
    match hardware {
        Hardware::Gpu => "gpu",
        Hardware::Cpu => "cpu",
        Hardware::Dram => "memory",
        Hardware::Node => "host",
    }
}

fn word(provenance: Provenance) -> &'static str {
    match provenance {
        Provenance::Counter => "counter",
        Provenance::IntegratedPower => "integrated-power",
        Provenance::Model => "model",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_metric_has_the_unit_that_becomes_a_ratio() {
        for metric in Metric::all() {
            assert_ne!(metric.unit, "1", "{}", metric.name);
        }
    }
}
