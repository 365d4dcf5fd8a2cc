//! The power of an idle machine, measured on request, and energies net of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::attribution::Boundary;
use crate::channel::Channel;
use crate::clock::Clock;
use crate::cpu_time::CpuTime;
use crate::error::{Error, Result};
use crate::meter::Parts;
use crate::record::{Quality, Record};
use crate::run;
use crate::sensor::Specification;
use crate::units::{Energy, Power, Timestamp};

/// The power of each domain while nothing was trained, measured by [`Meter::idle`](crate::Meter::idle).
///
/// A run that is given one ([`RunBuilder::baseline`](crate::RunBuilder::baseline)) logs beside the gross energy of its
/// epochs, phases and end what is left of it after the idle power, `net_j` = gross − P·T, with
/// u² = u²(gross) + (T·u(P))². The two are taken as independent, though a gain error that both share would cancel in
/// part: the net energy is rather better known than it says.
///
/// A net energy is only as good as its baseline is the same machine: a GPU on which a context has been created idles at
/// other clocks, often at twice the power or more, than one that nobody has opened; processors idle by their governor;
/// and all of them draw more when they are hot. So measure it in the state that training starts from: after the
/// device has been opened and has done some work. It holds for the machine it was measured on and nothing else, and it
/// is never part of a gross energy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// When it was measured, RFC 3339 in UTC.
    pub measured: String,
    /// Over how long.
    #[serde(rename = "duration_s", with = "crate::sensor::seconds")]
    pub time: Duration,
    /// The idle power of each domain that was measured all the time.
    pub domains: BTreeMap<String, Idle>,
    /// What makes it doubtful: somebody computed meanwhile.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub warning: Option<String>,
}

/// The idle power of one domain.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Idle {
    /// The mean power.
    #[serde(rename = "power_w")]
    pub power: Power,
    /// Its standard uncertainty (k = 1): that of the sensor, and the scatter of ten parts of the time (JCGM 100:2008,
    /// 4.2.3).
    #[serde(rename = "u_w")]
    pub uncertainty: Power,
}

/// What idles for less has not come to rest.
const LEAST: Duration = Duration::from_secs(10);

/// Parts of the time, whose scatter tells how steady the idle power is.
const PARTS: u32 = 10;

/// A machine whose processors are busier than this is not idle.
const BUSY: f64 = 0.10;

/// The longest that the first and the last update are waited for.
const PATIENCE: Duration = Duration::from_secs(2);

impl Baseline {
    /// Measures for `time`, on the meter's clock.
    pub(crate) fn measure(meter: &Parts, time: Duration) -> Result<Baseline> {
        if time < LEAST {
            return Err(Error::invalid(format!("an idle power of {time:.1?} says little"))
                .cure("measure for ten seconds or more: `meter.idle(Duration::from_secs(30))`"));
        }
        let in_the_way = |when| {
            Error::invalid(format!("a run {when}, so the machine is not idle"))
                .cure("measure the baseline before the run starts, or after it has finished")
        };
        let runs = meter.runs.started();
        if meter.runs.in_progress() {
            return Err(in_the_way("is in progress"));
        }
        let serial = run::new_serial();
        meter.samplers.wake();
        let measured = measure(meter, time, serial);
        meter.samplers.rest();
        for channel in &meter.channels {
            channel.told().horizons.remove(&serial);
        }
        if meter.runs.started() != runs {
            return Err(in_the_way("was started meanwhile"));
        }
        if measured.domains.is_empty() {
            return Err(Error::lost("no sensor gave its power all the time").cure(
                "look at `meter.trials(…)` or `ergometer doctor --self-test` for what they do",
            ));
        }
        Ok(measured)
    }

    /// A window's energy net of the idle power, and its standard uncertainty. It may be below zero.
    ///
    /// `None` where the baseline lacks a sensor of the total, or part of the window was not covered by readings: then the
    /// idle energy of what was seen is not known.
    pub(crate) fn net(
        &self,
        record: &Record,
        sensors: &[Specification],
    ) -> Option<(Energy, Energy)> {
        let (mut net, gross) = (record.energy?, record.uncertainty?.as_joules());
        // Gain errors are common to a family, as in the gross energy.
        let mut families: BTreeMap<&str, f64> = BTreeMap::new();
        for sensor in sensors.iter().filter(|sensor| sensor.in_total) {
            let idle = self.domains.get(&sensor.domain.id)?;
            let share = record.domains.get(&sensor.domain.id)?;
            if share.quality >= Quality::Partial {
                return None;
            }
            net -= idle.power * record.duration;
            *families.entry(&sensor.family).or_default() +=
                (idle.uncertainty * record.duration).as_joules();
        }
        let idle = families.values().map(|part| part * part).sum::<f64>().sqrt();
        Some((net, Energy::from_joules(gross.hypot(idle))))
    }
}

fn measure(meter: &Parts, time: Duration, serial: u64) -> Baseline {
    let (clock, channels) = (&meter.clock, &meter.channels);
    let covered = |channel: &Channel| channel.told().series.covered();
    wait(clock, clock.now() + PATIENCE, || channels.iter().all(|it| covered(it).is_some()));
    let start = clock.now();
    for channel in channels {
        channel.told().horizons.insert(serial, start);
    }
    let load = || meter.procfs.as_deref().and_then(CpuTime::read);
    let before = load();
    let end = start + time;
    // Without a look in between: whoever measures idleness should not disturb it.
    rest(clock, end);
    let after = load();
    meter.samplers.read_now();
    wait(clock, end + PATIENCE, || channels.iter().all(|it| covered(it) >= Some(end)));

    let busy = before.zip(after).and_then(|(before, after)| after.since(before)?.load());
    let warning = busy.filter(|busy| *busy > BUSY).map(|busy| {
        format!("the processors were {:.0} % busy: that is no idle machine", 100.0 * busy)
    });
    Baseline {
        measured: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        time,
        domains: powers(channels, start, end),
        warning,
    }
}

/// The mean power of each domain that was covered from `start` to `end`.
fn powers(channels: &[Arc<Channel>], start: Timestamp, end: Timestamp) -> BTreeMap<String, Idle> {
    let sensors: Vec<_> = channels.iter().map(|channel| channel.specification.clone()).collect();
    let boundary =
        |at| Boundary::new(at, channels.iter().map(|channel| channel.told().series.at(at)));
    let time = end.since(start);
    let boundaries: Vec<_> =
        (0..=PARTS).map(|part| boundary(start + time * part / PARTS)).collect();
    let mut whole = boundaries[0].to(&boundaries[boundaries.len() - 1], &sensors);
    // A slow sensor of little power has said what it can.
    whole.amortise(|_| true);
    let (_, shares) = whole.estimates(&sensors, &vec![Energy::ZERO; sensors.len()]);
    let of = |(sensor, specification): (usize, &Specification)| {
        let id = &specification.domain.id;
        let share = shares.get(id).filter(|share| share.quality < Quality::Partial)?;
        let (power, own) = (share.energy?.over(time)?, share.uncertainty?.over(time)?);
        let scatter = scatter(boundaries.windows(2).map(|pair| {
            let part = pair[1].energy_of(sensor) - pair[0].energy_of(sensor);
            part.over(time / PARTS).unwrap_or_default().as_watts()
        }));
        let uncertainty = Power::from_watts(own.as_watts().hypot(scatter));
        Some((id.clone(), Idle { power, uncertainty }))
    };
    sensors.iter().enumerate().filter_map(of).collect()
}

/// The standard deviation of the mean of values that scatter.
fn scatter(values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    let count = f64::from(PARTS);
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (count * (count - 1.0))).sqrt()
}

/// Waits until it is `over`, at most until `deadline`.
fn wait(clock: &Clock, deadline: Timestamp, over: impl Fn() -> bool) {
    while clock.now() < deadline && !over() {
        rest(clock, deadline.min(clock.now() + LOOK));
    }
}

/// How often whoever waits looks whether it is over.
const LOOK: Duration = Duration::from_millis(10);

/// Rests until `deadline` of a clock that may be fake; nobody knows the alarm.
fn rest(clock: &Clock, deadline: Timestamp) {
    match clock.fake() {
        Some(hands) => hands.advance(deadline.since(clock.now())),
        None => clock.rest(&clock.alarm(), deadline),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_scatters_is_less_certain() {
        let steady = scatter([65.0; PARTS as usize].into_iter());
        let unsteady = scatter((0..PARTS).map(|part| 60.0 + f64::from(part % 2) * 10.0));
        assert!(steady.abs() < 1e-9 && (unsteady - 5.0 / 3.0).abs() < 1e-9, "{unsteady}");
    }
}
