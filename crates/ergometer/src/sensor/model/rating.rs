//! How much power the processors of this system may draw, and how well that is known.

use std::path::Path;

use crate::sensor::rapl;
use crate::units::Power;

use super::processor::Processor;

/// The thermal design power of what this system sees of its processors.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rating {
    pub(super) power: Power,
    /// Standard uncertainty of the model's gain with a power known this well, relative (k = 1).
    ///
    /// A judgement on the published comparisons with meters: 25 % for a known processor, 35 % if only its kind is
    /// known, 50 % if nothing is.
    pub(super) gain: f64,
    /// The rule that gave the power, in words.
    pub(super) rule: String,
}

impl Rating {
    /// Rates a processor by the first rule that holds: the user, the kernel, the table, the microarchitecture, a guess.
    pub(super) fn of(processor: &Processor, sysfs: &Path, given: Option<Power>) -> Self {
        if let Some(power) = given {
            return Rating {
                power,
                gain: 0.25,
                rule: format!("thermal design power {} W as given", power.as_watts()),
            };
        }
        if let Some(power) = rapl::thermal_design_power(sysfs) {
            return Rating {
                power,
                gain: 0.25,
                rule: format!(
                    "thermal design power {} W as the kernel states it",
                    power.as_watts()
                ),
            };
        }
        let Processor { brand, threads, packages, .. } = processor;
        let known = look_up(brand);
        let microarchitecture = Microarchitecture::of(processor);
        match (known, microarchitecture) {
            (Some((power, _)), _) if !processor.virtual_machine => Rating {
                power: power * f64::from(*packages),
                gain: 0.25,
                rule: format!(
                    "thermal design power {} W of `{brand}`, in {packages} {}",
                    power.as_watts(),
                    if *packages == 1 { "socket" } else { "sockets" }
                ),
            },
            (Some((power, Some(all))), _) => Rating {
                power: power * (f64::from(*threads) / f64::from(all)),
                gain: 0.25,
                rule: format!(
                    "thermal design power {} W of `{brand}`, {threads} of {all} threads",
                    power.as_watts()
                ),
            },
            (_, Some(Microarchitecture { name, per_thread, .. })) => Rating {
                power: Power::from_watts(per_thread * f64::from(*threads)),
                gain: 0.35,
                rule: format!(
                    "{per_thread} W for each of {threads} threads, the median of {name}, for `{brand}`"
                ),
            },
            // On a desktop the virtual machine (WSL, say) is usually given all threads.
            (Some((power, None)), None) => Rating {
                power,
                gain: 0.35,
                rule: format!(
                    "thermal design power {} W of `{brand}`, whole, for want of its number of threads",
                    power.as_watts()
                ),
            },
            (None, None) => Rating {
                power: Power::from_watts(GUESS * f64::from(*threads)),
                gain: 0.50,
                rule: format!(
                    "{GUESS} W for each of {threads} threads of an unknown processor, `{brand}`"
                ),
            },
        }
    }
}

/// Watts per thread of a processor of which nothing is known (the fallback of CodeCarbon 3.3.2, core/cpu.py).
const GUESS: f64 = 4.0;

/// Thermal design powers by normalised name. Its header names source and licence.
const PROCESSORS: &str = include_str!("cpus.tsv");

/// The thermal design power and the hardware threads of the processor that calls itself `brand`.
fn look_up(brand: &str) -> Option<(Power, Option<u32>)> {
    let name = normalise(brand);
    let row = PROCESSORS.lines().find_map(|line| line.strip_prefix(&*name)?.strip_prefix('\t'))?;
    let (power, threads) = row.split_once('\t')?;
    Some((Power::from_watts(power.parse().ok()?), threads.parse().ok()))
}

/// Brings a processor's name into the table's form: `AMD EPYC 7763 64-Core Processor` is `epyc 7763`.
fn normalise(brand: &str) -> String {
    let mut name = brand.to_lowercase();
    while let Some((start, end)) =
        name.find('(').zip(name.find(')')).filter(|(start, end)| start < end)
    {
        name.replace_range(start..=end, "");
    }
    name.retain(|letter| (' '..='~').contains(&letter));
    // What follows these is clock frequency, graphics, or a hypervisor's remarks.
    let end = [" @", " w/", " with ", ","]
        .iter()
        .filter_map(|mark| name.find(mark))
        .min()
        .unwrap_or(name.len());
    let words: Vec<&str> = name[..end].split_whitespace().filter(|word| !is_filler(word)).collect();
    words.join(" ")
}

/// True for words that do not tell one processor from another: `12th`, `Gen`, `64-Core`, `2.40GHz`.
fn is_filler(word: &str) -> bool {
    matches!(word, "intel" | "amd" | "cpu" | "processor" | "apu" | "coprocessor" | "gen" | "0")
        || word.strip_suffix("th").is_some_and(|number| number.parse::<u32>().is_ok())
        || word.strip_suffix("ghz").is_some_and(|number| number.parse::<f64>().is_ok())
        || word.ends_with("-core")
        || word.ends_with("-cores")
}

/// Server processors of one kind, for hosts that mask the name of theirs.
#[derive(Clone, Copy, Debug)]
struct Microarchitecture {
    vendor: &'static str,
    family: u32,
    models: (u32, u32),
    name: &'static str,
    /// The thermal design power that half of all threads of this kind stay below, in watts, counted over the
    /// processors in the table: a virtual processor is a thread of some host, more likely of a large one.
    per_thread: f64,
}

/// The medians are printed by `data/make_cpus.py`.
const MICROARCHITECTURES: [Microarchitecture; 19] = {
    const fn intel(model: u32, name: &'static str, per_thread: f64) -> Microarchitecture {
        Microarchitecture {
            vendor: "GenuineIntel",
            family: 6,
            models: (model, model),
            name,
            per_thread,
        }
    }
    const fn amd(
        family: u32,
        models: (u32, u32),
        name: &'static str,
        per_thread: f64,
    ) -> Microarchitecture {
        Microarchitecture { vendor: "AuthenticAMD", family, models, name, per_thread }
    }
    [
        // Models: Linux, arch/x86/kernel/cpu/amd.c, and AMD's Processor Programming References, each of which is named
        // after its family and model (17h 01h, 17h 31h, 19h 01h, 19h 11h, 19h A0h, 1Ah 02h, 1Ah 11h).
        amd(0x17, (0x00, 0x0f), "Zen servers (EPYC 7001)", 3.54),
        amd(0x17, (0x30, 0x3f), "Zen 2 servers (EPYC 7002)", 2.34),
        amd(0x19, (0x00, 0x0f), "Zen 3 servers (EPYC 7003)", 2.34),
        amd(0x19, (0x10, 0x1f), "Zen 4 servers (EPYC 9004)", 2.81),
        amd(0x19, (0xa0, 0xaf), "Zen 4c servers (EPYC 97x4 and 8004)", 1.56),
        amd(0x1a, (0x00, 0x0f), "Zen 5 servers (EPYC 9005)", 2.81),
        amd(0x1a, (0x10, 0x1f), "Zen 5c servers (EPYC 9005)", 1.35),
        // Models: Linux, arch/x86/include/asm/intel-family.h.
        intel(0x2d, "Sandy Bridge servers", 7.19),
        intel(0x3e, "Ivy Bridge servers", 5.42),
        intel(0x3f, "Haswell servers", 4.38),
        intel(0x4f, "Broadwell servers", 3.75),
        intel(0x55, "Skylake and Cascade Lake servers", 3.66),
        intel(0x6a, "Ice Lake servers", 3.66),
        intel(0x8f, "Sapphire Rapids servers", 3.52),
        intel(0xcf, "Emerald Rapids servers", 3.44),
        intel(0xad, "Granite Rapids servers", 2.73),
        intel(0xae, "Granite Rapids servers", 2.73),
        intel(0xaf, "Sierra Forest servers", 2.29),
        // Ampere Altra's list of June 2020, from Q32-17 (58 W) to Q80-33 (250 W), one thread a core: the median core.
        Microarchitecture {
            vendor: "0x41",
            family: 8,
            models: (0xd0c, 0xd0c),
            name: "Neoverse N1 servers (Ampere Altra)",
            per_thread: 2.19,
        },
    ]
};

/// Only Sapphire Rapids and its successors have matrix units: a host that reports another model with them has made that
/// model up.
const WITH_MATRIX_UNITS: Microarchitecture = Microarchitecture {
    vendor: "GenuineIntel",
    family: 6,
    models: (0, u32::MAX),
    name: "Sapphire Rapids servers, told by their matrix units",
    per_thread: 3.52,
};

impl Microarchitecture {
    fn of(processor: &Processor) -> Option<&'static Self> {
        let Processor { vendor, family, model, .. } = processor;
        let named = MICROARCHITECTURES.iter().find(|kind| {
            kind.vendor == vendor
                && kind.family == *family
                && (kind.models.0..=kind.models.1).contains(model)
        });
        named.or_else(|| {
            (processor.amx && vendor == WITH_MATRIX_UNITS.vendor).then_some(&WITH_MATRIX_UNITS)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(processor: &Processor) -> (f64, f64) {
        let rating = Rating::of(processor, Path::new("/nowhere"), None);
        (rating.power.as_watts(), rating.gain)
    }

    fn processor(brand: &str, threads: u32, virtual_machine: bool) -> Processor {
        Processor {
            brand: brand.to_owned(),
            threads,
            packages: 1,
            virtual_machine,
            ..Processor::default()
        }
    }

    #[test]
    fn names_are_found_in_the_form_the_processor_gives_them() {
        for (brand, name) in [
            ("AMD EPYC 7763 64-Core Processor", "epyc 7763"),
            ("AMD Ryzen Threadripper PRO 3995WX 64-Cores", "ryzen threadripper pro 3995wx"),
            ("AMD Ryzen 9 7940HS w/ Radeon 780M Graphics", "ryzen 9 7940hs"),
            ("Intel(R) Xeon(R) Platinum 8259CL CPU @ 2.50GHz", "xeon platinum 8259cl"),
            ("Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", "xeon e5-2680 v4"),
            ("Intel(R) Xeon(R) CPU E5-2670 0 @ 2.60GHz", "xeon e5-2670"),
            ("Intel(R) Xeon(R) CPU           X5650  @ 2.67GHz", "xeon x5650"),
            ("INTEL(R) XEON(R) GOLD 6548Y+", "xeon gold 6548y+"),
            ("Intel(R) Xeon(R) CPU Max 9480", "xeon max 9480"),
            ("12th Gen Intel(R) Core(TM) i7-12700K", "core i7-12700k"),
            ("Intel(R) Core(TM) Ultra 9 285K", "core ultra 9 285k"),
            ("AMD FX(tm)-8350 Eight-Core Processor", "fx-8350"),
            ("Apple M2 Pro", "apple m2 pro"),
        ] {
            assert_eq!(normalise(brand), name);
            assert!(look_up(brand).is_some(), "{brand}");
        }
    }

    #[test]
    fn masked_names_are_in_no_table() {
        for brand in [
            "AMD EPYC",
            "Intel(R) Xeon(R) Processor",
            "Intel(R) Xeon(R) CPU @ 2.20GHz",
            "",
            "#",
            ")(",
        ] {
            assert_eq!(look_up(brand), None, "{brand}");
        }
    }

    #[test]
    fn the_table_is_sorted_and_every_row_is_whole() {
        let rows: Vec<&str> = PROCESSORS.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(rows.len() > 2_000);
        for row in &rows {
            let fields: Vec<&str> = row.split('\t').collect();
            assert_eq!(fields.len(), 3, "{row}");
            assert!(
                fields[1].parse::<f64>().is_ok_and(|watts| (1.0..=600.0).contains(&watts)),
                "{row}"
            );
            assert!(
                fields[2].is_empty() || fields[2].parse::<u32>().is_ok_and(|threads| threads > 0),
                "{row}"
            );
            assert_eq!(normalise(fields[0]), fields[0], "the script and the crate disagree");
        }
        assert!(rows.is_sorted_by_key(|row| row.split('\t').next()));
    }

    #[test]
    fn a_bare_machine_has_its_processors_whole() {
        assert_eq!(rate(&processor("AMD EPYC 7763 64-Core Processor", 128, false)), (280.0, 0.25));
        let two =
            Processor { packages: 2, ..processor("AMD EPYC 7763 64-Core Processor", 256, false) };
        assert_eq!(rate(&two), (560.0, 0.25));
    }

    #[test]
    fn a_virtual_machine_has_its_share_of_the_threads() {
        let machine = processor("AMD EPYC 7763 64-Core Processor", 8, true);
        assert_eq!(rate(&machine), (17.5, 0.25));
        assert!(
            Rating::of(&machine, Path::new("/nowhere"), None).rule.contains("8 of 128 threads")
        );
    }

    #[test]
    fn a_masked_name_is_rated_by_its_microarchitecture() {
        let zen = Processor {
            vendor: "AuthenticAMD".to_owned(),
            family: 25,
            model: 17,
            ..processor("AMD EPYC", 4, true)
        };
        assert_eq!(rate(&zen), (4.0 * 2.81, 0.35));
    }

    #[test]
    fn matrix_units_tell_more_than_a_made_up_model() {
        let intel = Processor {
            vendor: "GenuineIntel".to_owned(),
            family: 6,
            model: 167,
            amx: true,
            ..processor("Intel(R) Xeon(R) Processor", 2, true)
        };
        assert_eq!(rate(&intel), (7.04, 0.35));
        assert_eq!(rate(&Processor { amx: false, ..intel }), (8.0, 0.50));
    }

    #[test]
    fn an_unknown_processor_is_a_guess_of_low_quality() {
        assert_eq!(rate(&processor("Mystery 9000", 16, false)), (64.0, 0.50));
    }

    #[test]
    fn a_given_power_beats_the_table_and_is_not_scaled() {
        let machine = processor("AMD EPYC 7763 64-Core Processor", 8, true);
        let rating = Rating::of(&machine, Path::new("/nowhere"), Some(Power::from_watts(90.0)));
        assert_eq!(
            (rating.power, rating.rule.as_str()),
            (Power::from_watts(90.0), "thermal design power 90 W as given")
        );
    }
}
