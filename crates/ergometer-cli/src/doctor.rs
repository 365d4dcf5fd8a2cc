//! `ergometer doctor`: what can be measured here, how well, and what would make it better.

mod environment;
mod page;
mod self_test;
mod steps;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};

use clap::Args;
use ergometer::sensor::{Absence, Hardware, Provenance, Search, Sensor, Specification};
use ergometer::{Error, Trial};
use serde::Serialize;

use self::environment::Environment;
use self::page::{entry, item, spoken};
use self::self_test::SelfTest;
use self::steps::Steps;
use crate::{FAILURE, Sources, write_json};

/// Tells what can be measured here, how well, and why not more.
///
/// Each source is opened and read once. Nothing is written, but by --self-test a scratch directory that it removes. The
/// exit status is 0 if a run here would measure or estimate anything, and 1 if not; with --self-test it is also 1 if a
/// sensor gave no reading or is not to be trusted.
#[derive(Args, Debug)]
#[command(after_long_help = FIELDS)]
pub(crate) struct Doctor {
    /// Give an object; `--help` lists its fields.
    #[arg(long)]
    json: bool,
    /// Try the sensors out, which takes one to six seconds: how often each is updated, what a read of it costs, and
    /// whether counters agree with the power beside them.
    #[arg(long)]
    self_test: bool,
    #[command(flatten)]
    sources: Sources,
}

// A string for each line, since each stands by itself.
const FIELDS: &str = concat!(
    "Fields of the object that --json gives:\n",
    "  version      1; a later version may add fields\n",
    "  environment  what this system runs in: `system`, `kernel`, `container`, `virtual_machine`, `wsl`,\n",
    "               `perf_event_paranoid`; null is unknown, or none\n",
    "  sensors      what is there: the fields of run.json's `sensors`, and\n",
    "               `used`        false for what is not read, because a sensor that is covers it\n",
    "               `covered_by`  the domain of that sensor\n",
    "               `steps`       from which length on a step is resolved (its boundaries cost at most\n",
    "                             5 % of its energy, k = 1): `steady_s` if its power is steady, `any_s`\n",
    "                             whatever it does; null for gauges and models, and what is not used\n",
    "  absent       what is not: `source`, `kind` (absent, permission-denied, unsupported, lost, invalid,\n",
    "               file), `reason`, and `cure` where there is one\n",
    "  trials       with --self-test, for each sensor in use: `domain`, `complete`, `period_s` and\n",
    "               `jitter_s` (of its updates, observed), `smallest_change_j`, `power_w`, `reads`,\n",
    "               `failed`, `call_p50_s`, `call_p99_s`, `agreement` (the counter's energy over that of\n",
    "               the power beside it, and the ratio's standard uncertainty), `doubts` in words, and\n",
    "               `suspect`; null is unknown\n",
    "  remarks      with --self-test, what to know before the sensors are relied on, in words\n",
    "  verdict      what a run here would measure and how well, in words",
);

/// What was found.
#[derive(Serialize)]
struct Diagnosis {
    version: u32,
    environment: Environment,
    sensors: Vec<Finding>,
    absent: Vec<Lack>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trials: Option<Vec<Trial>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remarks: Option<Vec<String>>,
    verdict: String,
    #[serde(skip)]
    sound: bool,
}

#[derive(Serialize)]
struct Finding {
    used: bool,
    covered_by: Option<String>,
    steps: Option<Steps>,
    #[serde(flatten)]
    specification: Specification,
    /// What the self-test observed, in sentences.
    #[serde(skip)]
    observed: Vec<String>,
}

#[derive(Serialize)]
struct Lack {
    source: String,
    kind: &'static str,
    reason: String,
    cure: Option<String>,
}

impl Doctor {
    pub(crate) fn run(&self, out: &mut dyn Write) -> io::Result<u8> {
        let mut diagnosis = Diagnosis::of(&self.sources);
        if self.self_test && diagnosis.used().next().is_some() {
            match self.sources.meter().build().map(|meter| SelfTest::of(&meter)) {
                Ok(test) => diagnosis.add(test),
                Err(error) => diagnosis.untested(&error),
            }
        }
        if self.json {
            write_json(out, &diagnosis)?;
        } else {
            write!(out, "{diagnosis}")?;
        }
        Ok(if diagnosis.sound { 0 } else { FAILURE })
    }
}

impl Diagnosis {
    /// What a meter with these sources would find.
    fn of(sources: &Sources) -> Diagnosis {
        let Sources { sysfs, procfs, devices, nvml_library, .. } = sources.clone();
        let gpus = sources.gpus();
        let search = Search { sysfs, procfs, devices, nvml_library, gpus, ..Search::default() };
        let found = search.run();
        let specifications = |sensors: &[Box<dyn Sensor>]| -> Vec<_> {
            sensors.iter().map(|sensor| sensor.specification().clone()).collect()
        };
        let (used, spare) = (specifications(&found.sensors), specifications(&found.spare));
        let spare = spare.into_iter().map(|specification| Finding::spare(specification, &used));
        let spare: Vec<_> = spare.collect();
        let sensors: Vec<_> = used.iter().cloned().map(Finding::used).chain(spare).collect();
        Diagnosis {
            version: 1,
            environment: Environment::of(&search.sysfs, &search.procfs),
            sound: !used.is_empty(),
            verdict: verdict(used.iter()),
            sensors,
            absent: found.absent.iter().map(Lack::of).collect(),
            trials: None,
            remarks: None,
        }
    }

    /// Takes in what trying the sensors out has shown.
    fn add(&mut self, test: SelfTest) {
        self.sound = test.is_passed();
        self.remarks = Some(test.remarks(self.used().map(|finding| &finding.specification)));
        for finding in self.sensors.iter_mut().filter(|finding| finding.used) {
            let sensor = &finding.specification;
            finding.observed = test.observed(sensor);
            let trial = test.trials.iter().find(|trial| trial.domain == sensor.domain.id);
            if let Some(period) = trial.and_then(|trial| trial.period) {
                finding.steps = Steps::of(sensor, period);
            }
        }
        self.trials = Some(test.trials);
    }

    fn untested(&mut self, error: &Error) {
        self.sound = false;
        self.trials = Some(Vec::new());
        self.remarks = Some(vec![format!("the sensors cannot be tried out: {error}")]);
    }

    fn used(&self) -> impl Iterator<Item = &Finding> {
        self.sensors.iter().filter(|finding| finding.used)
    }

    /// True if a sensor of the sum measures hardware of this kind.
    fn measures(&self, hardware: Hardware) -> bool {
        self.used().map(|finding| &finding.specification).any(|sensor| {
            sensor.in_total && sensor.provenance != Provenance::Model && sensor.contains(hardware)
        })
    }

    /// From which length on a step is resolved by every sensor that measures a part of the sum; `None` if one of them
    /// does not tell.
    fn steps(&self) -> Option<Steps> {
        let measured = self.used().filter(|finding| {
            let sensor = &finding.specification;
            sensor.in_total && sensor.provenance != Provenance::Model
        });
        let steps: Option<Vec<_>> = measured.map(|finding| finding.steps).collect();
        let steps = steps?;
        let steady = steps.iter().map(|steps| steps.steady).max()?;
        let any = steps.iter().map(|steps| steps.any).max()?;
        Some(Steps { steady, any })
    }
}

impl Finding {
    fn used(specification: Specification) -> Finding {
        Finding {
            used: true,
            covered_by: None,
            steps: Steps::of(&specification, specification.period),
            specification,
            observed: Vec::new(),
        }
    }

    fn spare(specification: Specification, used: &[Specification]) -> Finding {
        let hardware = specification.domain.hardware;
        let covers = |other: &&Specification| match specification.provenance {
            Provenance::Model => other.in_total && other.contains(hardware),
            _ => other.overlaps(&specification),
        };
        let covered_by = used.iter().find(covers).map(|other| other.domain.id.clone());
        Finding { used: false, covered_by, steps: None, specification, observed: Vec::new() }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sensor = &self.specification;
        let mark = if self.used { "found" } else { "spare" };
        entry(f, mark, &format!("{} · {}", sensor.domain.id, sensor.domain.name))?;
        if !self.used {
            let by = self.covered_by.as_deref().unwrap_or("another sensor");
            return item(f, &format!("{}, not read: {by} covers it", sensor.source));
        }
        let how = match sensor.provenance {
            Provenance::Counter => "measured by",
            Provenance::IntegratedPower => "measured by integration of",
            Provenance::Model => "estimated by",
        };
        item(f, &format!("{how} {}, {} (k = 2)", sensor.source, uncertainty(sensor)))?;
        let updated = match sensor.period {
            period if period.is_zero() => String::new(),
            period => format!("updated every {} as a rule, ", spoken(period)),
        };
        let mean = match sensor.averaging {
            averaging if averaging.is_zero() => String::new(),
            averaging => format!("with the mean over {}, ", spoken(averaging)),
        };
        let beside = if sensor.in_total { "" } else { "; beside the sum" };
        item(f, &format!("{updated}{mean}read every {}{beside}", spoken(sensor.interval)))?;
        item(f, &format!("covers {}", sensor.scope))?;
        for sentence in &self.observed {
            item(f, &format!("tried: {sentence}"))?;
        }
        Ok(())
    }
}

impl Lack {
    fn of(absence: &Absence) -> Lack {
        Lack {
            source: absence.source.clone(),
            kind: absence.error.kind(),
            reason: absence.error.what().to_owned(),
            cure: absence.error.remedy().map(str::to_owned),
        }
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        entry(f, "machine", &self.environment.to_string())?;
        if !self.measures(Hardware::Cpu) {
            for obstacle in self.environment.obstacles() {
                item(f, &obstacle)?;
            }
        }
        for finding in &self.sensors {
            finding.write(f)?;
        }
        for lack in &self.absent {
            entry(f, "missing", &format!("{} · {}", lack.source, lack.kind))?;
            item(f, &lack.reason)?;
            if let Some(cure) = &lack.cure {
                item(f, &format!("cure: {cure}"))?;
            }
        }
        for remark in self.remarks.iter().flatten() {
            entry(f, "note", remark)?;
        }
        if let Some(steps) = self.steps() {
            let (steady, any) = (spoken(steps.steady), spoken(steps.any));
            let text = format!(
                "resolved (to 5 %, k = 1) from about {steady} on if the power is steady within one, from {any} on \
                 whatever it does; a shorter one may be amortised: its share by time of the row it is in"
            );
            entry(f, "steps", &text)?;
        }
        entry(f, "verdict", &self.verdict)
    }
}

/// What a run with these sensors would measure, and how well.
fn verdict<'a>(used: impl Iterator<Item = &'a Specification>) -> String {
    let mut measured: BTreeMap<Hardware, Vec<f64>> = BTreeMap::new();
    let mut estimated = measured.clone();
    for sensor in used.filter(|sensor| sensor.in_total) {
        let kind =
            if sensor.provenance == Provenance::Model { &mut estimated } else { &mut measured };
        kind.entry(sensor.domain.hardware).or_default().push(sensor.gain);
    }
    let each = |parts: &BTreeMap<Hardware, Vec<f64>>| {
        let parts: Vec<_> = parts
            .iter()
            .map(|(hardware, gains)| format!("{} ({})", name(*hardware, gains.len()), range(gains)))
            .collect();
        parts.join(", ")
    };
    match (measured.is_empty(), estimated.is_empty()) {
        (true, true) => "nothing can be measured here".to_owned(),
        (true, false) => {
            let gains: Vec<f64> = estimated.into_values().flatten().collect();
            format!("every energy measured here will be an estimate, {} (k = 2)", range(&gains))
        }
        (false, true) => format!("a run here measures {}, k = 2", each(&measured)),
        (false, false) => format!(
            "a run here measures {} and estimates {}, k = 2; a sum of both is called estimated",
            each(&measured),
            each(&estimated)
        ),
    }
}

fn name(hardware: Hardware, count: usize) -> String {
    let name = match hardware {
        Hardware::Gpu => "GPU",
        Hardware::Cpu => "CPU",
        Hardware::Dram => "memory",
        Hardware::Node => "machine",
    };
    if count > 1 { format!("{count} × {name}") } else { name.to_owned() }
}

/// Expanded uncertainties of gains: `± 7 %`, or `± 70 to 80 %` where they differ.
fn range(gains: &[f64]) -> String {
    let percent = |gain: f64| format!("{:.0}", 200.0 * gain);
    let least = percent(gains.iter().copied().fold(f64::INFINITY, f64::min));
    let most = percent(gains.iter().copied().fold(0.0, f64::max));
    if least == most { format!("± {most} %") } else { format!("± {least} to {most} %") }
}

fn uncertainty(sensor: &Specification) -> String {
    let gain = range(&[sensor.gain]);
    let offset = sensor.offset + sensor.offset;
    if sensor.offset.as_watts() > 0.0 { format!("{gain} and ± {offset}") } else { gain }
}
