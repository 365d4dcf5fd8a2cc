//! What the processors of this system say about themselves.

use std::collections::BTreeSet;
use std::path::Path;

use crate::error::{Error, Result};

/// The processors that this system sees, which are all alike.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Processor {
    /// The name they give themselves; a host may mask it.
    pub(super) brand: String,
    /// `GenuineIntel`, `AuthenticAMD`; on ARM the implementer's number, `0x41`.
    pub(super) vendor: String,
    /// Family and model as CPUID gives them; on ARM the architecture and the part number.
    pub(super) family: u32,
    pub(super) model: u32,
    /// Hardware threads.
    pub(super) threads: u32,
    /// Sockets in use. A virtual machine's say nothing of its host's.
    pub(super) packages: u32,
    /// True if there is a hypervisor below, so that these threads are a part of what the host has.
    pub(super) virtual_machine: bool,
    /// True if they have matrix units (AMX), whatever model a host claims.
    pub(super) amx: bool,
}

impl Processor {
    /// Reads `<procfs>/cpuinfo`, or on systems that have no such file, asks them.
    ///
    /// # Errors
    /// If there should be such a file, and it cannot be read.
    pub(super) fn identify(procfs: &Path) -> Result<Self> {
        let path = procfs.join("cpuinfo");
        if cfg!(target_os = "linux") || path.exists() {
            let text = std::fs::read_to_string(&path)
                .map_err(|cause| Error::file("read", &path, cause))?;
            return Ok(Processor::parse(&text));
        }
        let mut system = sysinfo::System::new();
        system.refresh_cpu_list(sysinfo::CpuRefreshKind::nothing());
        let first = system.cpus().first();
        Ok(Processor {
            brand: first.map_or("unnamed", |cpu| cpu.brand()).trim().to_owned(),
            vendor: first.map_or("", |cpu| cpu.vendor_id()).to_owned(),
            threads: u32::try_from(system.cpus().len()).unwrap_or(u32::MAX).max(1),
            packages: 1,
            ..Processor::default()
        })
    }

    fn parse(cpuinfo: &str) -> Self {
        let mut processor = Processor::default();
        let mut packages = BTreeSet::new();
        for (key, value) in cpuinfo.lines().filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            match key.trim_end() {
                "processor" => processor.threads += 1,
                "model name" => value.clone_into(&mut processor.brand),
                "vendor_id" | "CPU implementer" => value.clone_into(&mut processor.vendor),
                "cpu family" | "CPU architecture" => processor.family = number(value),
                "model" | "CPU part" => processor.model = number(value),
                "physical id" => _ = packages.insert(value),
                "flags" => {
                    processor.virtual_machine |= value.split(' ').any(|flag| flag == "hypervisor");
                    processor.amx |= value.split(' ').any(|flag| flag == "amx_tile");
                }
                _ => {}
            }
        }
        processor.threads = processor.threads.max(1);
        processor.packages = u32::try_from(packages.len()).unwrap_or(u32::MAX).max(1);
        if processor.brand.is_empty() {
            processor.brand = "unnamed".to_owned();
        }
        processor
    }
}

/// A decimal number, or one that begins with `0x`; 0 for what is neither, which matches nothing.
fn number(text: &str) -> u32 {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    }
    .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_sockets_are_two_packages() {
        let text = "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 1\n\
                    model name\t: AMD EPYC 7763 64-Core Processor\nphysical id\t: 0\nflags\t\t: fpu vme\n\n\
                    processor\t: 1\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 1\n\
                    model name\t: AMD EPYC 7763 64-Core Processor\nphysical id\t: 1\nflags\t\t: fpu vme\n\n";
        let expected = Processor {
            brand: "AMD EPYC 7763 64-Core Processor".to_owned(),
            vendor: "AuthenticAMD".to_owned(),
            family: 25,
            model: 1,
            threads: 2,
            packages: 2,
            virtual_machine: false,
            amx: false,
        };
        assert_eq!(Processor::parse(text), expected);
    }

    #[test]
    fn the_hypervisor_flag_makes_a_virtual_machine() {
        let processor =
            Processor::parse("processor : 0\nflags : fpu hypervisor amx_tile amx_int8\n");
        assert!(processor.virtual_machine && processor.amx);
        assert!(!Processor::parse("processor : 0\nflags : fpu hypervisors\n").virtual_machine);
    }

    #[test]
    fn an_arm_core_is_known_by_its_part_number() {
        let text = "processor : 0\nCPU implementer : 0x41\nCPU architecture: 8\nCPU variant : 0x3\nCPU part : 0xd0c\n";
        let processor = Processor::parse(text);
        assert_eq!(
            (processor.vendor.as_str(), processor.family, processor.model),
            ("0x41", 8, 0xd0c)
        );
        assert_eq!(processor.brand, "unnamed");
    }
}
