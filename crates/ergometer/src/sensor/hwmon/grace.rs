//! The sockets of NVIDIA Grace, which its firmware shows as power meters with a text for what each measures.
//!
//! A module contains its Grace and its GPUs; a Grace contains its cores, its system on a chip and its memory, which is
//! what the first two leave over (NVIDIA Grace Performance Tuning Guide, "Power and Thermals"). In the sum is one
//! sensor for each socket, Grace, with the memory in it. Its parts stand beside the sum, and are in it only where Grace
//! itself cannot be read. The module always stands beside it: NVML reads the GPUs.

use std::time::Duration;

use crate::error::Error;
use crate::sensor::{Absence, Domain, Found, Hardware, Specification};
use crate::units::Power;

use super::Chip;
use super::acpi::{meter, specification};

/// The family of all sensors of NVIDIA Grace, by which to find them where NVML's own number contains Grace already.
pub const FAMILY: &str = "grace";

/// What one power meter measures, and of which socket; nothing where the firmware's words are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label {
    part: Option<Part>,
    socket: u16,
}

impl Label {
    /// What `power1_oem_info` says, if it is of a socket: `Grace Power Socket 0`.
    pub(super) fn of(text: &str) -> Option<Label> {
        let text = text.trim().to_lowercase();
        let (part, socket) = text.rsplit_once(" socket ")?;
        let socket = socket.trim().parse().ok()?;
        // Later firmware says it in other words: `Total Power in uW socket 0`, `SoC Rail Input Power in uW socket 0`.
        // It shows energies and the outputs of regulators in the same way, which are none of these.
        let part = match part.replace(" input", "").trim_end_matches(" in uw") {
            "module power" => Some(Part::Module),
            "grace power" | "total power" => Some(Part::Grace),
            "cpu power" | "cpu rail power" => Some(Part::Cores),
            "sysio power" | "soc rail power" => Some(Part::SysIo),
            "dram power" => Some(Part::Memory),
            _ => None,
        };
        Some(Label { part, socket })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Grace and the GPUs beside it.
    Module,
    /// All of Grace.
    Grace,
    Cores,
    /// Fabric, caches and IO.
    SysIo,
    Memory,
}

impl Part {
    fn domain(self, socket: u16) -> Domain {
        let (hardware, key, name) = match self {
            Part::Module => (Hardware::Node, "module", "module"),
            Part::Grace => (Hardware::Cpu, "package", "CPU package"),
            Part::Cores => (Hardware::Cpu, "cores", "cores of CPU package"),
            Part::SysIo => (Hardware::Cpu, "sysio", "fabric and IO of CPU package"),
            Part::Memory => (Hardware::Dram, "package", "memory of CPU package"),
        };
        Domain::new(hardware, format!("{key}-{socket}"), format!("{name} {socket}"))
    }

    fn scope(self) -> &'static str {
        match self {
            Part::Module => {
                "the module with its CPU, memory and GPUs, and the loss in its regulators; beside the sum, since the \
                 GPUs are measured on their own"
            }
            Part::Grace => {
                "the whole socket, whoever uses it: cores, caches, fabric, IO and memory; not the GPUs beside it"
            }
            Part::Cores => "the rail of the cores; a part of the package",
            Part::SysIo => "the rail of fabric, caches and IO; a part of the package",
            Part::Memory => "the memory; a part of the package",
        }
    }
}

/// Opens the meters of all sockets.
pub(super) fn open(found: &mut Found, sockets: &[(&Chip, Label)]) {
    let mut covered = Vec::new();
    for (chip, label) in sockets.iter().filter(|(_, label)| label.part == Some(Part::Grace)) {
        let specification = Specification {
            includes: vec![Hardware::Dram],
            ..of_socket(chip, Part::Grace, label.socket, true)
        };
        if meter(found, chip, specification) {
            covered.push(label.socket);
        }
    }
    for (chip, label) in sockets {
        match label.part {
            Some(Part::Grace) => {}
            Some(part) => {
                let in_total = part != Part::Module && !covered.contains(&label.socket);
                meter(found, chip, of_socket(chip, part, label.socket, in_total));
            }
            None => found.absent.push(unknown(chip, label.socket)),
        }
    }
}

fn of_socket(chip: &Chip, part: Part, socket: u16, in_total: bool) -> Specification {
    Specification {
        family: FAMILY.to_owned(),
        scope: part.scope().to_owned(),
        // Twice what a module of two GPUs may draw, and twice what a socket may.
        most: Power::from_watts(if part == Part::Module { 6_000.0 } else { 1_000.0 }),
        in_total,
        // Grace's firmware averages over 50 ms, or 1 s on request.
        ..specification(chip, part.domain(socket), Duration::from_millis(50))
    }
}

fn unknown(chip: &Chip, socket: u16) -> Absence {
    let path = chip.path("power1_oem_info");
    let error = Error::unsupported(format!(
        "`{}` names something of socket {socket} that may be no power, so it is not read",
        path.display()
    ))
    .cure("report its text to ergometer's developers, if it is a power");
    Absence { source: chip.source(), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_known_in_either_firmwares_words() {
        let cases = [
            ("Module Power Socket 2", Some(Part::Module), 2),
            ("Grace Power Socket 0\n", Some(Part::Grace), 0),
            ("CPU Power Socket 1", Some(Part::Cores), 1),
            ("SysIO Power Socket 3", Some(Part::SysIo), 3),
            ("Total Power in uW socket 0", Some(Part::Grace), 0),
            ("Total Input Power in uW socket 1", Some(Part::Grace), 1),
            ("CPU Rail Power in uW socket 0", Some(Part::Cores), 0),
            ("SoC Rail Input Power in uW socket 0", Some(Part::SysIo), 0),
            ("DRAM Power in uW socket 1", Some(Part::Memory), 1),
            ("CPU Rail Output Power in uW socket 0", None, 0),
            ("Total CPU Energy In uJ socket 0", None, 0),
        ];
        for (text, part, socket) in cases {
            assert_eq!(Label::of(text), Some(Label { part, socket }), "{text}");
        }
        for text in ["", "Grace Power Socket", "Grace Power Socket x", "PSU 1", " socket 70000"] {
            assert_eq!(Label::of(text), None, "{text}");
        }
    }
}
