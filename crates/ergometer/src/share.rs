//! A model of how much of the machine's energy was this process's own. No sensor knows that.

use crate::cpu_time::CpuTime;
use crate::record::{ProcessShare, Record};
use crate::sensor::{Hardware, Specification};
use crate::units::Energy;
use std::collections::BTreeMap;

/// The model in a word, as each line names it.
const MODEL: &str = "active-by-cpu-time";

/// The model in words, for the manifest.
pub(crate) const METHOD: &str = "process.energy_j, a model: of each CPU and memory domain E · (busy / all CPU time) · (own / \
                                 busy CPU time), so no idle energy; of each GPU the whole, as long as nobody else is seen \
                                 on it; 20 % of what is split by CPU time is added to its uncertainty in quadrature";

/// The relative standard uncertainty of a split by CPU time, which sees neither frequencies nor vector units, neither
/// shared cores nor memory: a judgement, not a measurement.
const SPLIT: f64 = 0.20;

/// The part of a window's energy that was this process's own, by the CPU time that passed in it.
///
/// As in Kepler (`sustainable-computing-io/kepler`, `internal/monitor`): the energy of a domain that serves everybody is
/// active for the part of the time that processors were busy, and of that active energy a process has its part of the
/// busy time. The idle rest is nobody's and is left out.
///
/// # Errors
/// The reason, where there is no such model of a sensor of the total.
pub(crate) fn of_process(
    record: &Record,
    sensors: &[Specification],
    is_shared: impl Fn(usize) -> bool,
    passed: CpuTime,
) -> Result<Option<ProcessShare>, String> {
    let (Some(load), Some(fraction)) = (passed.load(), passed.own()) else { return Ok(None) };
    let mut split = Energy::ZERO;
    let mut whole = Energy::ZERO;
    let mut families: BTreeMap<&str, f64> = BTreeMap::new();
    for (sensor, specification) in
        sensors.iter().enumerate().filter(|(_, specification)| specification.in_total)
    {
        let id = &specification.domain.id;
        let Some(share) = record.domains.get(id) else { return Ok(None) };
        let (Some(energy), Some(uncertainty)) = (share.energy, share.uncertainty) else {
            return Ok(None);
        };
        let part = match specification.domain.hardware {
            _ if !specification.includes.is_empty() => {
                return Err(format!("{id} contains more than one kind of hardware"));
            }
            Hardware::Node => return Err(format!("{id} is a whole machine, GPUs and all")),
            Hardware::Gpu if is_shared(sensor) => {
                return Err(format!("others were seen on {id}"));
            }
            Hardware::Gpu => {
                whole += energy;
                1.0
            }
            Hardware::Cpu | Hardware::Dram => {
                split += energy.scaled(load * fraction);
                load * fraction
            }
        };
        *families.entry(&specification.family).or_default() += part * uncertainty.as_joules();
    }
    let measured: f64 = families.values().map(|part| part * part).sum();
    let uncertainty = measured.sqrt().hypot(SPLIT * split.as_joules());
    Ok(Some(ProcessShare {
        energy: split + whole,
        uncertainty: Energy::from_joules(uncertainty),
        fraction,
        model: MODEL.to_owned(),
    }))
}
