//! `ergometer doctor`: what can be measured here, how well, and what would make it better.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};

use clap::Args;
use ergometer::sensor::{Absence, Hardware, Provenance, Search, Selection, Sensor, Specification};
use serde::Serialize;

use crate::{FAILURE, Sources, write_json};

/// Tells what can be measured here, how well, and why not more.
///
/// Each source is opened and read once. Nothing is written. The exit status is 0 if a run here would measure or estimate
/// anything, and 1 if not.
#[derive(Args, Debug)]
#[command(after_long_help = FIELDS)]
pub(crate) struct Doctor {
    /// Give an object; `--help` lists its fields.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sources: Sources,
}

const FIELDS: &str = "Fields of the object that --json gives:
  version  1; a later version may add fields
  sensors  what is there: the fields of run.json's `sensors`, and `used`, which is false for a
           model of what a sensor covers
  absent   what is not: `source`, `kind` (absent, permission-denied, unsupported, lost, invalid,
           file), `reason`, and `cure` where there is one
  verdict  what a run here would measure and how well, in words";

/// What was found.
#[derive(Serialize)]
struct Diagnosis {
    version: u32,
    sensors: Vec<Finding>,
    absent: Vec<Lack>,
    verdict: String,
}

#[derive(Serialize)]
struct Finding {
    used: bool,
    #[serde(flatten)]
    specification: Specification,
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
        let diagnosis = self.sources.diagnose();
        if self.json {
            write_json(out, &diagnosis)?;
        } else {
            write!(out, "{diagnosis}")?;
        }
        Ok(if diagnosis.used().next().is_some() { 0 } else { FAILURE })
    }
}

impl Sources {
    fn diagnose(&self) -> Diagnosis {
        let search = Search {
            sysfs: self.sysfs.clone(),
            procfs: self.procfs.clone(),
            nvml_library: self.nvml_library.clone(),
            gpus: Selection::All,
            ..Search::default()
        };
        let found = search.run();
        let findings = |used: bool, sensors: &[Box<dyn Sensor>]| {
            let specifications = sensors.iter().map(|sensor| sensor.specification().clone());
            specifications.map(|specification| Finding { used, specification }).collect::<Vec<_>>()
        };
        let mut sensors = findings(true, &found.sensors);
        sensors.extend(findings(false, &found.spare));
        let absent = found.absent.iter().map(Lack::of).collect();
        let verdict = verdict(
            sensors.iter().filter(|finding| finding.used).map(|finding| &finding.specification),
        );
        Diagnosis { version: 1, sensors, absent, verdict }
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

impl Diagnosis {
    fn used(&self) -> impl Iterator<Item = &Finding> {
        self.sensors.iter().filter(|finding| finding.used)
    }
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { used, specification: sensor } in &self.sensors {
            let (mark, instead) =
                if *used { ("found", "") } else { ("spare", "; not used, for a sensor covers it") };
            entry(f, mark, &format!("{} · {}{instead}", sensor.domain.id, sensor.domain.name))?;
            let how = match sensor.provenance {
                Provenance::Counter => "measured by",
                Provenance::IntegratedPower => "measured by integration of",
                Provenance::Model => "estimated by",
            };
            item(f, &format!("{how} {}, {} (k = 2)", sensor.source, uncertainty(sensor)))?;
            let updated = match sensor.period {
                period if period.is_zero() => String::new(),
                period => format!("updated every {period:?}, "),
            };
            let beside = if sensor.in_total { "" } else { "; beside the sum" };
            item(f, &format!("{updated}read every {:?}{beside}", sensor.interval))?;
            item(f, &format!("covers {}", sensor.scope))?;
        }
        for lack in &self.absent {
            entry(f, "missing", &format!("{} · {}", lack.source, lack.kind))?;
            item(f, &lack.reason)?;
            if let Some(cure) = &lack.cure {
                item(f, &format!("cure: {cure}"))?;
            }
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

/// The columns of a page, and those that its margin takes.
const WIDTH: usize = 96;
const MARGIN: usize = 9;

/// A paragraph with a mark in the margin.
fn entry(f: &mut fmt::Formatter<'_>, mark: &str, text: &str) -> fmt::Result {
    let margin = format!("{mark:<MARGIN$}");
    paragraph(f, &margin, MARGIN, text)
}

/// A paragraph that belongs to the entry above.
fn item(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    paragraph(f, &" ".repeat(MARGIN), MARGIN + 2, text)
}

fn paragraph(f: &mut fmt::Formatter<'_>, margin: &str, indent: usize, text: &str) -> fmt::Result {
    // What belongs together stays on one line.
    let text =
        text.replace("k = 2", "k\u{a0}=\u{a0}2").replace("± ", "±\u{a0}").replace(" %", "\u{a0}%");
    let mut line = margin.to_owned();
    let mut fresh = true;
    for word in text.split(' ') {
        if !fresh && line.chars().count() + 1 + word.chars().count() > WIDTH {
            writeln!(f, "{line}")?;
            line = " ".repeat(indent);
            fresh = true;
        }
        if !fresh {
            line.push(' ');
        }
        line.push_str(&word.replace('\u{a0}', " "));
        fresh = false;
    }
    writeln!(f, "{line}")
}
