//! What the kernel tells of the processors, as far as it matters for their counters.

use std::fs;
use std::path::Path;

/// Who made the processors, and what stands between them and their counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Machine {
    pub(super) vendor: Vendor,
    /// True if the processor may add noise to its counters so that they give no secret away.
    pub(super) filtered: bool,
    /// The maker of the virtual machine that this is, if it is one.
    pub(super) hypervisor: Option<String>,
}

/// Who made the processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vendor {
    Intel,
    Other,
}

impl Machine {
    /// Reads the alias by which the kernel loads modules for its processors. It holds the vendor as a number, 0 for
    /// Intel, and the CPU's features as word × 32 + bit in hexadecimal (Linux, `arch/x86/include/asm/cpufeatures.h`).
    pub(super) fn of(sysfs: &Path) -> Self {
        let alias =
            fs::read_to_string(sysfs.join("devices/system/cpu/modalias")).unwrap_or_default();
        let has = |feature| alias.trim_end().split(',').any(|listed| listed == feature);
        let intel = alias.contains("ven0000");
        Machine {
            vendor: if intel { Vendor::Intel } else { Vendor::Other },
            filtered: intel && has(SGX),
            hypervisor: has(HYPERVISOR).then(|| {
                match fs::read_to_string(sysfs.join("class/dmi/id/sys_vendor")) {
                    Ok(vendor) if !vendor.trim().is_empty() => {
                        format!("virtual machine ({})", vendor.trim())
                    }
                    _ => "virtual machine".to_owned(),
                }
            }),
        }
    }
}

/// Word 4, bit 31.
const HYPERVISOR: &str = "009F";

/// Word 9, bit 2. Where SGX is enabled, energy filtering is (Intel's advice on CVE-2020-8694); that it may also be
/// enabled by itself only root can see.
const SGX: &str = "0122";
