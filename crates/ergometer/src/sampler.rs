//! One thread per driver stack, feeding the series of its sensors.
//!
//! A stack that hangs stops its own sampler and nothing else: no other thread waits for it, not even at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::agreement::Agreement;
use crate::channel::Channel;
use crate::clock::{Alarm, Clock};
use crate::error::{Error, Result};
use crate::pace::{self, Pace};
use crate::sensor::{Calibration, Incident, Sensor};
use crate::series::{Point, Reach};
use crate::units::Timestamp;

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
        calibrations: &[(String, Calibration)],
        clock: &Clock,
    ) -> Result<(Samplers, Vec<Arc<Channel>>)> {
        let mut samplers =
            Samplers { stop: Arc::default(), runs: Arc::default(), alarms: Vec::new() };
        let mut channels = Vec::new();
        let mut stacks: Vec<(String, Vec<Sampled>)> = Vec::new();
        for sensor in sensors {
            let mut specification = sensor.specification().clone();
            let own = calibrations.iter().find(|(domain, _)| *domain == specification.domain.id);
            if let Some((_, calibration)) = own {
                calibration.apply(&mut specification);
            }
            let channel = Arc::new(Channel::new(specification));
            channels.push(Arc::clone(&channel));
            let name = channel.specification.stack.clone();
            let sampled = Sampled::new(sensor, channel);
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
                asleep: clock.asleep(),
                thought: (clock.now(), Duration::ZERO),
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
    /// How long the machine has been asleep, as last seen.
    asleep: Duration,
    /// When the stack's processor time was last looked at, and what it was.
    thought: (Timestamp, Duration),
}

struct Sampled {
    sensor: Box<dyn Sensor>,
    channel: Arc<Channel>,
    due: Timestamp,
    pace: Pace,
    /// The machine was asleep since the last reading.
    slept: bool,
    agreement: Agreement,
    /// When the power beside the counter was last asked for.
    compared: Timestamp,
    /// When it was last asked who else uses the hardware, since runs are in progress, and the answer.
    asked: Option<(Timestamp, Option<String>)>,
}

/// A machine that was asleep for less went on as if it had not been.
const NAP: Duration = Duration::from_millis(50);

/// How often the power beside a counter is asked for: in a trial, and later.
const COMPARE_IN_TRIAL: Duration = Duration::from_millis(20);
const COMPARE: Duration = Duration::from_secs(5);

/// How often a driver is asked who else uses its hardware: a list of processes takes it milliseconds.
const ASK: Duration = Duration::from_secs(60);

/// A stack that takes more of a processor than this is read less often.
const SHARE: f64 = 0.005;
const THINK: Duration = Duration::from_secs(10);

impl Stack {
    fn sample(mut self) {
        let mut deadline = Timestamp::default();
        while !self.stop.load(Ordering::Acquire) {
            let idle = self.runs.load(Ordering::Acquire) == 0;
            // Rung before the deadline: somebody wants a reading of everything now.
            let rung = self.clock.now() < deadline;
            self.notice_sleep();
            for sampled in &mut self.sensors {
                if rung || self.clock.now() >= sampled.due {
                    sampled.due = sampled.read(&self.clock, idle);
                }
            }
            self.think_over();
            deadline = self.sensors.iter().map(|sampled| sampled.due).min().unwrap_or_default();
            self.clock.rest(&self.alarm, deadline);
        }
    }

    fn notice_sleep(&mut self) {
        let asleep = self.clock.asleep();
        if asleep.saturating_sub(self.asleep) > NAP {
            self.sensors.iter_mut().for_each(|sampled| sampled.slept = true);
        }
        self.asleep = asleep;
    }

    /// Looks at what the stack costs, and reads less often if that is too much.
    fn think_over(&mut self) {
        let (since, before) = self.thought;
        let (now, spent) = (self.clock.now(), self.clock.processor_time());
        if let Some(first) = self.sensors.first() {
            first.channel.told().processor = spent;
        }
        if now.since(since) < THINK {
            return;
        }
        self.thought = (now, spent);
        let share = spent.saturating_sub(before).as_secs_f64() / now.since(since).as_secs_f64();
        if before > Duration::ZERO && share > SHARE {
            self.sensors.iter_mut().for_each(|sampled| sampled.pace.slow_down());
        } else if share < SHARE / 4.0 {
            self.sensors.iter_mut().for_each(|sampled| sampled.pace.speed_up());
        }
    }
}

impl Sampled {
    fn new(sensor: Box<dyn Sensor>, channel: Arc<Channel>) -> Self {
        let pace = Pace::new(&channel.specification);
        Sampled {
            sensor,
            channel,
            due: Timestamp::default(),
            pace,
            slept: false,
            agreement: Agreement::default(),
            compared: Timestamp::default(),
            asked: None,
        }
    }

    /// Reads the sensor once; tells when to read it next.
    fn read(&mut self, clock: &Clock, idle: bool) -> Timestamp {
        let (before, mut reading, after) = clock.bracket(|| self.sensor.read(clock));
        let took = match &reading {
            // A fake's latency passes on its readings, not on the clock.
            Ok(reading) => reading.after.since(reading.before).max(after.since(before)),
            Err(_) => after.since(before),
        };
        if let Ok(reading) = &mut reading
            && std::mem::take(&mut self.slept)
        {
            // A counter that was set back meanwhile says more than that the machine slept.
            reading.incident = reading.incident.or(Some(Incident::Suspend));
        }
        let updated = self.channel.take(reading, before, took);
        let trying = self.pace.is_trying();
        let pause = if trying { COMPARE_IN_TRIAL } else { COMPARE };
        if after.since(self.compared) >= pause && (trying || !idle) {
            self.compare(after);
        }
        if idle {
            self.asked = None;
            if !trying {
                // The power beside the counter is not asked for meanwhile: nothing to compare the idle time with.
                self.agreement = Agreement::default();
            }
        } else {
            self.ask_who_shares(after);
        }
        let mut told = self.channel.told();
        let read = pace::Read { at: after, took, updated };
        let next = self.pace.next(read, &told.series, idle);
        told.tried = !self.pace.is_trying();
        let over = told.tried && trying;
        drop(told);
        if over {
            self.judge(after, true);
            // From now on the power is asked for more seldom: its mean would be of both.
            self.agreement = Agreement::default();
        }
        next
    }

    /// Asks who else uses the hardware when a run begins, and each minute; notes an answer that is news.
    fn ask_who_shares(&mut self, now: Timestamp) {
        let before = match &mut self.asked {
            Some((asked, _)) if now.since(*asked) < ASK => return,
            Some((_, answer)) => answer.take(),
            None => None,
        };
        let answer = self.sensor.sharing();
        if answer.is_some() && answer != before {
            self.channel.told().note(now, "contention", answer.clone());
        }
        self.asked = Some((now, answer));
    }

    fn compare(&mut self, now: Timestamp) {
        self.compared = now;
        // Before two updates the counter's own power is not known.
        let Some((update, point)) = self.newest() else { return };
        let Some(power) = self.sensor.cross_check() else { return };
        self.agreement.add(power, now, update, point);
        self.judge(now, false);
    }

    /// The counter at its last update.
    fn newest(&self) -> Option<(Timestamp, Point)> {
        let told = self.channel.told();
        let update = told.series.covered()?;
        Some((update, told.series.at(update)?))
    }

    fn judge(&mut self, now: Timestamp, over: bool) {
        let reach = Reach::calibrated(&self.channel.specification);
        if let Some(agreement) = self.agreement.judge(reach, over) {
            self.channel.compare(agreement, now);
        }
    }
}
