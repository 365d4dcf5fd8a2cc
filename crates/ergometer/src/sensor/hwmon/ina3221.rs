//! The INA3221 power monitors of NVIDIA's Jetson modules: three rails each, in volts and amperes.
//!
//! Power is the product of two registers that are read one after the other. Where a module has a rail for all that it
//! draws, `VDD_IN`, that one is in the sum and the others beside it. Where it has none (AGX Xavier, AGX Orin, AGX
//! Thor), the rails that feed the module side by side add up to it; by NVIDIA's guide one of them is fed by another,
//! `VDDQ_VDD2_1V8AO` by `VIN_SYS_5V0`. A rail of a name that is not known stands beside the sum.

use std::time::Duration;

use crate::error::Result;
use crate::sensor::attribute::{self, Attribute};
use crate::sensor::gauge::Gauge;
use crate::sensor::{Domain, Found, Hardware, Specification};
use crate::units::Power;

use super::{Chip, offer};

pub(super) const NAME: &str = "ina3221";

/// Opens every rail that has a name. `in7` and `curr4` are sums over the others and are not read.
pub(super) fn open(chips: &[&Chip]) -> Found {
    let rails: Vec<_> = chips.iter().flat_map(|chip| rails(chip)).collect();
    let has_whole = rails.iter().any(|rail| Role::of(&rail.label) == Role::Whole);
    let mut found = Found::default();
    for rail in rails {
        let specification = rail.specification(has_whole);
        let id = specification.domain.id.clone();
        let path = rail.chip.path(&format!("curr{}_input", rail.channel));
        let gauge = rail.ask().and_then(|ask| Gauge::open(specification, ask));
        offer(&mut found, &id, &path, gauge);
    }
    found
}

/// One channel of a chip that is connected to something.
struct Rail<'a> {
    chip: &'a Chip,
    channel: u8,
    label: String,
}

fn rails<'a>(chip: &'a Chip) -> impl Iterator<Item = Rail<'a>> {
    (1..=3).filter_map(move |channel| {
        let label = attribute::text(&chip.path(&format!("in{channel}_label"))).ok()?;
        let enabled = attribute::number(&chip.path(&format!("in{channel}_enable")));
        // `NC` is what NVIDIA calls a channel that is not connected.
        let connected = !label.is_empty() && label != "NC" && !matches!(enabled, Ok(0));
        connected.then_some(Rail { chip, channel, label })
    })
}

impl Rail<'_> {
    fn ask(&self) -> Result<impl FnMut() -> Result<Power> + Send + 'static> {
        let open = |kind| Attribute::open(self.chip.path(&format!("{kind}{}_input", self.channel)));
        let (mut voltage, mut current) = (open("in")?, open("curr")?);
        // Thousandths of a volt times thousandths of an ampere.
        Ok(move || Ok(Power::from_microwatts(voltage.number()?.saturating_mul(current.number()?))))
    }

    fn specification(&self, has_whole: bool) -> Specification {
        let role = Role::of(&self.label);
        let in_total = match role {
            Role::Whole => true,
            Role::Supply => !has_whole,
            Role::Part => false,
        };
        let (hardware, includes) = hardware(&self.label, role);
        let domain = Domain::new(hardware, &self.label, format!("rail {}", self.label));
        let period = period(self.chip);
        let source = format!("{} in{} × curr{}", self.chip.source(), self.channel, self.channel);
        let specification = Gauge::specification(domain, NAME, source, period, period);
        Specification {
            scope: scope(&self.label, role, in_total),
            // Each read is two transfers of half a millisecond on the bus, so what is not in the sum is read seldom.
            interval: if in_total { specification.interval } else { SELDOM },
            averaging: if in_total || period >= SELDOM {
                specification.averaging
            } else {
                Duration::ZERO
            },
            // A judgement. Voltage and current are not read at the same moment.
            gain: 0.05,
            most: Power::from_watts(200.0),
            in_total,
            includes,
            ..specification
        }
    }
}

const SELDOM: Duration = Duration::from_millis(200);

/// How a rail stands to the module's sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// All that the module draws.
    Whole,
    /// One of the rails that feed the module side by side.
    Supply,
    /// Fed by another rail, or not known.
    Part,
}

impl Role {
    /// The names on NVIDIA's modules (Jetson Linux Developer Guide, "Platform Power and Performance").
    fn of(label: &str) -> Role {
        match label {
            // Orin NX and Nano, Xavier NX, TX1 and TX2; the first Nano.
            "VDD_IN" | "POM_5V_IN" => Role::Whole,
            // AGX Xavier; AGX Orin; AGX Thor.
            "GPU" | "CPU" | "SOC" | "CV" | "VDDRQ" | "SYS5V" | "VDD_GPU_SOC" | "VDD_CPU_CV"
            | "VIN_SYS_5V0" | "VDD_GPU" | "VDD_CPU_SOC_MSS" => Role::Supply,
            _ => Role::Part,
        }
    }
}

/// What a rail feeds, and what else is in it.
fn hardware(label: &str, role: Role) -> (Hardware, Vec<Hardware>) {
    match label {
        _ if role == Role::Whole => {
            (Hardware::Node, vec![Hardware::Gpu, Hardware::Cpu, Hardware::Dram])
        }
        // The memory is fed by the five volts of the system.
        "VIN_SYS_5V0" => (Hardware::Node, vec![Hardware::Dram]),
        _ if label.contains("GPU") && label.contains("CPU") => (Hardware::Gpu, vec![Hardware::Cpu]),
        _ if label.contains("GPU") => (Hardware::Gpu, vec![]),
        _ if label.contains("CPU") => (Hardware::Cpu, vec![]),
        _ if label.contains("DDR") || label.contains("VDDQ") => (Hardware::Dram, vec![]),
        _ => (Hardware::Node, vec![]),
    }
}

fn scope(label: &str, role: Role, in_total: bool) -> String {
    match role {
        Role::Whole => format!(
            "the whole module at its input {label}: GPU, CPU, memory and regulators; not the carrier board and its \
             devices"
        ),
        _ if in_total => format!(
            "the module's rail {label}; together the module's rails are what it draws, without the loss before them"
        ),
        _ => format!("the module's rail {label}; beside the sum"),
    }
}

/// The time for one conversion of all channels (kernel.org, Documentation/hwmon/ina3221.rst). Without an
/// `update_interval` the chip does as after its reset: three channels, each 1.1 ms for the voltage and for the current.
fn period(chip: &Chip) -> Duration {
    attribute::number(&chip.path("update_interval"))
        .ok()
        .and_then(|number| u64::try_from(number).ok())
        .map_or(Duration::from_millis(7), |number| Duration::from_millis(number.max(1)))
}
