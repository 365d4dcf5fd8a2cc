//! One thread per driver stack, feeding the series of its sensors.
//!
//! A stack that hangs stops its own sampler and nothing else: no other thread waits for it, not even at the end.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Alarm, Clock};
use crate::error::{Error, Result};
use crate::sensor::{Incident, Sensor, Specification};
use crate::series::Series;
use crate::units::Timestamp;

/// What one sensor has told so far: its series and what happened to it.
///
/// The lock is held for a push or a look-up, never over a read of the sensor or any other IO.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) specification: Specification,
    state: Mutex<Told>,
}

#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) series: Series,
    /// In the order of time; a recorder remembers how far it has read.
    happenings: VecDeque<Happening>,
    /// Happenings that were forgotten.
    forgotten: usize,
    /// How far back each recorder still looks; what lies before all of them is forgotten.
    pub(crate) horizons: BTreeMap<u64, Timestamp>,
    lost: bool,
}

/// Something that happened to a sensor.
#[derive(Clone, Debug)]
pub(crate) struct Happening {
    pub(crate) at: Timestamp,
    pub(crate) event: &'static str,
    pub(crate) detail: Option<String>,
}

/// A boundary that a training thread has stamped reaches the recorder a little later.
const MARGIN: Duration = Duration::from_secs(5);

/// A sensor that flickers must not fill the memory of a run of weeks: the oldest happenings, which every recorder has long
/// read, are forgotten.
const HAPPENINGS: usize = 4_096;

impl Channel {
    fn new(specification: Specification) -> Self {
        let series = Series::new(&specification);
        Channel {
            specification,
            state: Mutex::new(Told {
                series,
                happenings: VecDeque::new(),
                forgotten: 0,
                horizons: BTreeMap::new(),
                lost: false,
            }),
        }
    }

    pub(crate) fn told(&self) -> MutexGuard<'_, Told> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, reading: Result<crate::sensor::Reading>, now: Timestamp) {
        let mut told = self.told();
        match reading {
            Ok(reading) => {
                if std::mem::take(&mut told.lost) {
                    told.note(reading.before, "sensor-back", None);
                }
                if let Some(incident) = reading.incident {
                    told.note(reading.before, name(incident), None);
                }
                told.series.push(reading);
                let horizon = told.horizons.values().copied().min().unwrap_or(now);
                told.series.forget(horizon.before(MARGIN));
            }
            Err(error) if !told.lost => {
                told.lost = true;
                told.note(now, "sensor-lost", Some(error.to_string()));
            }
            Err(_) => {}
        }
    }
}

impl Told {
    /// How many happenings there have been.
    pub(crate) fn happened(&self) -> usize {
        self.forgotten + self.happenings.len()
    }

    /// The happenings behind the first `seen`.
    pub(crate) fn happenings(&self, seen: usize) -> Vec<Happening> {
        self.happenings.iter().skip(seen.saturating_sub(self.forgotten)).cloned().collect()
    }

    fn note(&mut self, at: Timestamp, event: &'static str, detail: Option<String>) {
        if self.happenings.len() == HAPPENINGS {
            self.happenings.pop_front();
            self.forgotten += 1;
        }
        self.happenings.push_back(Happening { at, event, detail });
    }
}

fn name(incident: Incident) -> &'static str {
    match incident {
        Incident::Wrap => "wrap",
        Incident::Reset => "reset",
        Incident::Ambiguous => "ambiguous",
        Incident::Suspend => "suspend",
    }
}

/// The sampler threads of a meter. Dropping it asks them to end; it does not wait for one that hangs in its driver.
#[derive(Debug)]
pub(crate) struct Samplers {
    stop: Arc<AtomicBool>,
    /// Runs in progress: with none, a reading each second is enough.
    runs: Arc<AtomicUsize>,
    alarms: Vec<Alarm>,
}

impl Samplers {
    /// Starts one thread for each stack among `sensors`.
    ///
    /// # Errors
    /// If the system starts no more threads.
    pub(crate) fn start(
        sensors: Vec<Box<dyn Sensor>>,
        clock: &Clock,
    ) -> Result<(Samplers, Vec<Arc<Channel>>)> {
        let mut samplers =
            Samplers { stop: Arc::default(), runs: Arc::default(), alarms: Vec::new() };
        let mut channels = Vec::new();
        let mut stacks: Vec<(String, Vec<Sampled>)> = Vec::new();
        for sensor in sensors {
            let channel = Arc::new(Channel::new(sensor.specification().clone()));
            channels.push(Arc::clone(&channel));
            let name = channel.specification.stack.clone();
            let sampled = Sampled { sensor, channel, due: Timestamp::default() };
            match stacks.iter_mut().find(|(stack, _)| *stack == name) {
                Some((_, stack)) => stack.push(sampled),
                None => stacks.push((name, vec![sampled])),
            }
        }
        for (name, sensors) in stacks {
            let alarm = clock.alarm();
            samplers.alarms.push(alarm.clone());
            let (stop, runs) = (Arc::clone(&samplers.stop), Arc::clone(&samplers.runs));
            let stack = Stack {
                sensors,
                clock: clock.clone(),
                alarm,
                stop,
                runs,
                dither: Dither(name.len() as u64),
            };
            let presence = clock.attend();
            std::thread::Builder::new()
                .name(format!("ergometer {name}"))
                .spawn(move || {
                    let _presence = presence;
                    stack.sample();
                })
                .map_err(|error| {
                    Error::lost(format!("cannot start the sampler of {name}: {error}"))
                })?;
        }
        Ok((samplers, channels))
    }

    /// Says that a run begins, so that the samplers read at their full rate, from now.
    pub(crate) fn wake(&self) {
        self.runs.fetch_add(1, Ordering::AcqRel);
        self.read_now();
    }

    /// Says that a run is over.
    pub(crate) fn rest(&self) {
        self.runs.fetch_sub(1, Ordering::AcqRel);
    }

    /// Rung, each has its stack's sensors read at once.
    pub(crate) fn alarms(&self) -> &[Alarm] {
        &self.alarms
    }

    /// Has every sensor read at once. Costs the caller a futex call for each stack; it does not wait.
    pub(crate) fn read_now(&self) {
        self.alarms.iter().for_each(Alarm::ring);
    }
}

impl Drop for Samplers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.read_now();
    }
}

struct Stack {
    sensors: Vec<Sampled>,
    clock: Clock,
    alarm: Alarm,
    stop: Arc<AtomicBool>,
    runs: Arc<AtomicUsize>,
    dither: Dither,
}

struct Sampled {
    sensor: Box<dyn Sensor>,
    channel: Arc<Channel>,
    due: Timestamp,
}

impl Stack {
    fn sample(mut self) {
        let mut deadline = Timestamp::default();
        while !self.stop.load(Ordering::Acquire) {
            let idle = self.runs.load(Ordering::Acquire) == 0;
            // Rung before the deadline: somebody wants a reading of everything now.
            let rung = self.clock.now() < deadline;
            for sampled in &mut self.sensors {
                let now = self.clock.now();
                if rung || now >= sampled.due {
                    sampled.channel.take(sampled.sensor.read(&self.clock), now);
                    let interval = sampled.channel.specification.interval;
                    let interval = if idle { interval.max(IDLE) } else { interval };
                    sampled.due = self.clock.now() + self.dither.of(interval.max(LEAST));
                }
            }
            deadline = self.sensors.iter().map(|sampled| sampled.due).min().unwrap_or_default();
            self.clock.rest(&self.alarm, deadline);
        }
    }
}

/// Between runs a reading each second keeps wraps from being missed, and costs next to nothing.
const IDLE: Duration = Duration::from_secs(1);

/// No sensor is read more often than this, whatever its specification says.
const LEAST: Duration = Duration::from_millis(1);

/// Varies intervals by ± 10 %, so that reading does not beat with the sensor's updates or the training's steps.
struct Dither(u64);

impl Dither {
    fn of(&mut self, interval: Duration) -> Duration {
        // Knuth's MMIX generator: any full-period generator does here.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        interval * 9 / 10 + interval * u32::from((self.0 >> 56) as u8) / (5 * 256)
    }
}
