//! Which GPUs are measured.

/// Which GPUs are measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// Those that a CUDA program of this process uses: what `CUDA_VISIBLE_DEVICES` leaves over, all where it is not set.
    /// The others are named as not measured.
    #[default]
    Visible,
    /// All that the driver shows to this process.
    All,
    /// Those at these PCI addresses: `0000:17:00.0`, in any case, with a domain of four or eight digits, and with or
    /// without the function.
    Pci(Vec<String>),
}

/// The address as NVML itself writes it: `00000000:17:00.0`.
pub(super) fn canonical(address: &str) -> Option<String> {
    let (domain, rest) = address.trim().split_once(':')?;
    let (bus, rest) = rest.split_once(':')?;
    let (device, function) = rest.split_once('.').unwrap_or((rest, "0"));
    let domain = u32::from_str_radix(domain, 16).ok()?;
    let bus = u8::from_str_radix(bus, 16).ok()?;
    let device = u8::from_str_radix(device, 16).ok().filter(|device| *device < 32)?;
    // The GPU is function 0; the others are its audio and USB.
    function.parse::<u8>().ok().filter(|function| *function < 8)?;
    Some(format!("{domain:08X}:{bus:02X}:{device:02X}.0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_many_spellings() {
        for text in ["0000:1a:00.0", "00000000:1A:00.0", "0000:1A:00", " 0000:1a:00.1"] {
            assert_eq!(canonical(text).as_deref(), Some("00000000:1A:00.0"), "{text}");
        }
        assert_eq!(canonical("00010000:65:1f.0").as_deref(), Some("00010000:65:1F.0"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "0",
            "1a:00.0",
            "GPU-0c1d",
            "0000:1g:00.0",
            "0000:1a:20.0",
            "0000:1a:00.9",
            "0000:1a:00:0",
        ] {
            assert_eq!(canonical(text), None, "{text}");
        }
    }
}
