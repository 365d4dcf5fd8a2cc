//! A model of how much of the machine's energy was this process's own. No sensor knows that.

use std::collections::BTreeMap;

use crate::cpu_time::CpuTime;
use crate::record::{ProcessShare, Record};
use crate::sensor::{Hardware, Specification};
use crate::units::Energy;

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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::record::{Kind, Quality, Share, Status};
    use crate::sensor::Domain;
    use crate::units::Timestamp;

    /// An epoch of 100 J in each of these domains, each known to 1 J.
    fn epoch(sensors: &[Specification]) -> Record {
        let joule = Energy::from_joules(1.0);
        let share = Share {
            energy: Some(joule.scaled(100.0)),
            uncertainty: Some(joule),
            quality: Quality::Measured,
            total: joule.scaled(100.0),
            in_total: true,
        };
        let line = serde_json::json!({
            "kind": Kind::Epoch, "run_id": "run", "rank": 0, "host": "here", "session": 0, "lane": 0, "id": 1,
            "t_start_ns": Timestamp::default(), "t_end_ns": Timestamp::default() + Duration::from_secs(1),
            "duration_s": 1.0, "energy_j": joule, "u_j": joule, "quality": Quality::Measured,
            "domains": {}, "total_j": joule, "status": Status::Complete,
        });
        let domains = sensors.iter().map(|sensor| (sensor.domain.id.clone(), share)).collect();
        Record { domains, ..serde_json::from_str(&line.to_string()).unwrap() }
    }

    fn sensor(hardware: Hardware, key: &str) -> Specification {
        let family = hardware.prefix().to_owned();
        Specification { family, ..Specification::counter(Domain::new(hardware, key, key), "fake") }
    }

    fn share(sensors: &[Specification], shared: &[usize]) -> Result<Option<ProcessShare>, String> {
        let passed = CpuTime::of(400, 600, 100).since(CpuTime::of(0, 0, 0)).unwrap();
        of_process(&epoch(sensors), sensors, |sensor| shared.contains(&sensor), passed)
    }

    #[test]
    fn active_energy_is_split_by_cpu_time() {
        let sensors = [sensor(Hardware::Cpu, "package-0"), sensor(Hardware::Dram, "package-0")];
        let share = share(&sensors, &[]).unwrap().unwrap();
        // 40 % of the time are busy, and a quarter of that is ours: a tenth of each 100 J.
        assert_eq!((share.energy, share.fraction), (Energy::from_joules(20.0), 0.25));
        let expected = (2.0 * 0.1 * 0.1 + 4.0 * 4.0_f64).sqrt();
        assert!((share.uncertainty.as_joules() - expected).abs() < 1e-6, "{share:?}");
    }

    #[test]
    fn a_gpu_counts_whole_unless_others_were_seen_on_it() {
        let gpus = [sensor(Hardware::Gpu, "GPU-a"), sensor(Hardware::Gpu, "GPU-b")];
        let whole = share(&gpus, &[]).unwrap().unwrap();
        // Two of one family are uncertain together.
        let two = Energy::from_joules(2.0);
        assert_eq!((whole.energy, whole.uncertainty), (Energy::from_joules(200.0), two));
        assert_eq!(share(&gpus, &[1]).unwrap_err(), "others were seen on gpu:GPU-b");
    }

    #[test]
    fn what_cannot_be_told_apart_is_not_shared_out() {
        let node = sensor(Hardware::Node, "acpi");
        assert!(share(std::slice::from_ref(&node), &[]).is_err());
        let module =
            Specification { includes: vec![Hardware::Cpu], ..sensor(Hardware::Gpu, "GPU-a") };
        assert!(share(&[module], &[]).is_err());
        // Beside the sum, neither matters.
        let beside = Specification { in_total: false, ..node };
        let both = [beside, sensor(Hardware::Cpu, "package-0")];
        assert_eq!(share(&both, &[]).unwrap().unwrap().energy, Energy::from_joules(10.0));
    }

    #[test]
    fn without_a_busy_processor_there_is_nothing_to_split() {
        let passed = CpuTime::of(0, 0, 0).since(CpuTime::of(0, 0, 0)).unwrap();
        let sensors = [sensor(Hardware::Cpu, "package-0")];
        assert_eq!(of_process(&epoch(&sensors), &sensors, |_| false, passed), Ok(None));
    }
}
