//! What the kernel tells of the processors, as far as it matters for what can be read of them.

use std::fs;
use std::path::Path;

/// Who made the processors, and what stands between them and their counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Machine {
    pub(super) vendor: Vendor,
    /// The processors' family among their maker's.
    pub(super) family: Option<u16>,
    /// True if the processor may add noise to its counters so that they give no secret away.
    pub(super) filtered: bool,
    /// The maker of the virtual machine that this is, if it is one.
    pub(super) hypervisor: Option<String>,
}

/// Who made the processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vendor {
    Intel,
    Amd,
    Other,
}

impl Machine {
    /// Reads the alias by which the kernel loads modules for its processors, `cpu:type:x86,ven0000fam0006mod006A:…`. It
    /// holds the vendor as a number, 0 for Intel and 2 for AMD (Linux, `arch/x86/include/asm/processor.h`), and the
    /// CPU's features as word × 32 + bit in hexadecimal (`asm/cpufeatures.h`).
    pub(super) fn of(sysfs: &Path) -> Self {
        let alias =
            fs::read_to_string(sysfs.join("devices/system/cpu/modalias")).unwrap_or_default();
        let has = |feature| alias.trim_end().split(',').any(|listed| listed == feature);
        let after = |key| alias.split_once(key).and_then(|(_, rest): (_, &str)| rest.get(..4));
        let vendor = match after("ven") {
            Some("0000") => Vendor::Intel,
            Some("0002") => Vendor::Amd,
            _ => Vendor::Other,
        };
        Machine {
            vendor,
            family: after("fam").and_then(|family| u16::from_str_radix(family, 16).ok()),
            filtered: vendor == Vendor::Intel && has(SGX),
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
