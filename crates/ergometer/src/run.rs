//! A [`Run`]: one training, from `start` to `finish`.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crate::attribution::Boundary;
use crate::baseline::Baseline;
use crate::channel::Channel;
use crate::clock::{Alarm, Clock};
use crate::error::{Error, Result};
use crate::lane::{Course, Lane};
use crate::log::{Journal, Past, RunLog};
use crate::meter::Meter;
use crate::observer::{Budget, Observer, Observers};
use crate::record::{
    ClockAnchor, Estimate, FORMAT_VERSION, Kind, Machine, Manifest, Methods, Program, Record,
    State, Status, Unmeasured,
};
use crate::recorder::{Outbox, Published, Recorder};
use crate::share;
use crate::summary::Summary;
use crate::units::{Energy, Timestamp};

/// Describes a run before it starts. Made by [`Meter::run`] and [`Meter::resume`].
#[derive(Debug)]
#[must_use = "a run begins with `start`"]
pub struct RunBuilder {
    meter: Meter,
    name: String,
    parameters: Option<u64>,
    notes: BTreeMap<String, String>,
    directory: Option<PathBuf>,
    resumed: Option<RunLog>,
    rank: u32,
    observers: Observers,
    sync_every: Option<u64>,
    baseline: Option<Baseline>,
    process_share: bool,
}

impl RunBuilder {
    pub(crate) fn new(meter: Meter, name: String) -> Self {
        RunBuilder {
            meter,
            name,
            parameters: None,
            notes: BTreeMap::new(),
            directory: None,
            resumed: None,
            rank: 0,
            observers: Observers::default(),
            sync_every: None,
            baseline: None,
            process_share: false,
        }
    }

    pub(crate) fn resume(meter: Meter, log: RunLog) -> Self {
        RunBuilder {
            parameters: log.manifest.parameters,
            notes: log.manifest.notes.clone(),
            baseline: log.manifest.baseline.clone(),
            process_share: log.manifest.methods.process.is_some(),
            resumed: Some(log.clone()),
            ..RunBuilder::new(meter, log.manifest.name)
        }
    }

    /// The model has this many trainable parameters; comparisons of model sizes go by it.
    pub fn parameters(mut self, parameters: u64) -> Self {
        self.parameters = Some(parameters);
        self
    }

    /// Notes something in the manifest: a seed, a data set, a batch size.
    pub fn note(mut self, key: impl Into<String>, value: impl fmt::Display) -> Self {
        self.notes.insert(key.into(), value.to_string());
        self
    }

    /// The directory of this very run. Without it, a new one is made under the meter's log directory.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// This process is number `rank` among those that write into the run's directory.
    pub fn rank(mut self, rank: u32) -> Self {
        self.rank = rank;
        self
    }

    /// Asks the loop to end once the run has used `budget`, sessions before a resume included: `steps` and `epochs` stop
    /// yielding, [`Lane::is_stopped`] turns true, and the log says why. Nothing is interrupted. An [`Energy`], or a
    /// [`Budget`] that only warns or has a name of its own; several may be given.
    pub fn budget(self, budget: impl Into<Budget>) -> Self {
        self.observe(budget.into())
    }

    /// Tells `observer` of the run as it goes; its warnings are events of the log, and it may ask the loop to end.
    pub fn observe(mut self, observer: impl Observer + 'static) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// Waits for the device at every `n`-th step boundary too, so that step energies are those of the step's own work
    /// and not of what the device was still busy with. Costs the overlap of host and device there.
    pub fn sync_every(mut self, n: u64) -> Self {
        self.sync_every = (n > 0).then_some(n);
        self
    }

    /// Logs beside the gross energy of epochs, phases and the end what is left of it after the power of an idle machine,
    /// as [`Meter::idle`] measured it. Never clamped: a machine that used less than it did idle is below zero.
    pub fn baseline(mut self, baseline: Baseline) -> Self {
        self.baseline = Some(baseline);
        self
    }

    /// Logs with epochs, phases and the end how much of the machine's energy was this process's own: a **model**, by CPU
    /// time, ± 40 % (k = 2) of what is split; a GPU counts whole as long as nobody else is seen on it.
    ///
    /// CPU times are read by the recorder up to 20 ms after a boundary, so that windows under 200 ms have no share. A read
    /// costs some thirty microseconds and five for each thread, on the recorder's thread. There is none where there is no
    /// `/proc`, and on the end of a resumed run.
    pub fn process_share(mut self) -> Self {
        self.process_share = true;
        self
    }

    /// Starts the run.
    ///
    /// A directory that cannot be written does not stop it: the log is kept in memory, one warning goes through `log`, and
    /// [`Run::finish`] returns the error.
    ///
    /// # Errors
    /// If the system starts no more threads, the log of a resumed run cannot be read, or the directory holds a run already.
    pub fn start(self) -> Result<Run> {
        let meter = &self.meter.0;
        let clock = meter.clock.clone();
        let mut past = match &self.resumed {
            Some(log) => Past::read(log.directory(), self.rank)?,
            None => Past::default(),
        };
        let id = self.resumed.as_ref().map(|log| log.manifest.run_id.clone());
        let (id, directory) = match (id, self.directory) {
            (Some(id), _) => (
                id,
                self.resumed.as_ref().map(|log| log.directory().to_owned()).unwrap_or_default(),
            ),
            (None, Some(directory)) => {
                let name = directory.file_name().map(|name| name.to_string_lossy().into_owned());
                (name.unwrap_or_else(|| run_id(&self.name)), directory)
            }
            (None, None) => {
                let id = run_id(&self.name);
                let directory = meter.log_directory.join(&id);
                (id, directory)
            }
        };

        if self.resumed.is_none() && RunLog::open(&directory).is_ok_and(|_| self.rank == 0) {
            return Err(Error::invalid(format!("`{}` holds a run already", directory.display()))
                .cure("go on with it by `meter.resume(…)`, or give another directory"));
        }

        meter.begin_run();
        first_readings(&clock, &meter.channels);
        let mut course = Course::new(clock.clone());
        course.fence = meter.fence.clone();
        course.device_clock = meter.device_clock.clone();
        course.sync_every = self.sync_every;
        let course = Arc::new(course);
        let outbox = Arc::new(Outbox::default());
        let lane = Lane::new(Arc::clone(&course));

        let mut manifest = manifest(meter, id, self.name, &clock);
        manifest.parameters = self.parameters;
        manifest.notes = self.notes;
        manifest.sessions = past.sessions + 1;
        manifest.methods.boundaries = boundaries(&course);
        manifest.methods.process = self.process_share.then(|| share::METHOD.to_owned());
        manifest.baseline = self.baseline;
        if let Some(log) = &self.resumed {
            manifest.created.clone_from(&log.manifest.created);
            let (then, now) = (&log.manifest.machine.boot_id, &manifest.machine.boot_id);
            past.same_boot = then == now && now.is_some();
        }
        let start = clock.now();
        let session = Session {
            start,
            past: past.total,
            last_epoch: past
                .epochs
                .recent
                .iter()
                .filter(|epoch| epoch.status != Status::Interrupted)
                .filter_map(|epoch| epoch.epoch)
                .max(),
            directory: directory.clone(),
            id: manifest.run_id.clone(),
            resumed: self.resumed.is_some(),
        };
        let recorder = Recorder {
            serial: new_serial(),
            course: Arc::clone(&course),
            outbox: Arc::clone(&outbox),
            channels: meter.channels.clone(),
            journal: Journal::new(directory, self.rank),
            manifest,
            rank: self.rank,
            start,
            past,
            observers: self.observers,
            procfs: meter.procfs.clone(),
        };
        let record = recorder.begin();
        let presence = clock.attend();
        let spawned =
            std::thread::Builder::new().name("ergometer recorder".to_owned()).spawn(move || {
                let _presence = presence;
                record();
            });
        if let Err(error) = spawned {
            meter.end_run();
            return Err(Error::lost(format!("cannot start the recorder: {error}")).caused_by(error));
        }
        let records = Records {
            course,
            outbox,
            channels: meter.channels.clone().into(),
            samplers: meter.samplers.alarms().into(),
            session: Arc::new(session),
        };
        Ok(Run { lane, records, meter: self.meter, attachments: Mutex::default(), finished: false })
    }
}

/// Tells recorders apart where they meet: at the series of a meter that several runs share.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// A number for whoever looks back on series.
pub(crate) fn new_serial() -> u64 {
    SERIAL.fetch_add(1, Ordering::Relaxed)
}

/// One training: its windows, its energy so far, its log.
///
/// Windows are opened through the [`Lane`] that it is: `run.epochs(…)`, `run.steps(…)`, `run.phase(…)`, `run.tick()`.
/// Dropped without [`finish`](Run::finish), it closes its log all the same, as `dropped` or `panicked`.
#[derive(Debug)]
#[must_use = "a run that is dropped at once measures nothing"]
pub struct Run {
    lane: Lane,
    records: Records,
    meter: Meter,
    attachments: Mutex<Vec<Arc<dyn Any + Send + Sync>>>,
    finished: bool,
}

impl Deref for Run {
    type Target = Lane;

    fn deref(&self) -> &Lane {
        &self.lane
    }
}

impl Run {
    /// The run's id, the name of its directory.
    pub fn id(&self) -> &str {
        &self.records.session.id
    }

    /// The run's directory.
    pub fn path(&self) -> &Path {
        &self.records.session.directory
    }

    /// A lane of its own for another thread, so that its windows do not nest in this thread's.
    pub fn lane(&self) -> Lane {
        Lane::new(Arc::clone(&self.lane.course))
    }

    /// The epoch to go on with: one behind the last that was completed, or 1.
    pub fn next_epoch(&self) -> u64 {
        self.records.session.last_epoch.map_or(1, |epoch| epoch + 1)
    }

    /// The energy used so far, sessions before a resume included; provisional, and not for every step.
    ///
    /// Costs a look at each sensor's series, about a microsecond; waits for no driver.
    pub fn energy(&self) -> Estimate {
        self.records.energy()
    }

    /// The last epoch that settled: usually the one before the last that ended.
    pub fn last_epoch(&self) -> Option<Record> {
        self.records.outbox.lock().epochs.back().cloned()
    }

    /// Why the run was asked to stop, if a budget or another observer did.
    pub fn stop_reason(&self) -> Option<String> {
        self.records.stop_reason()
    }

    /// The windows as they settle, for other threads to read.
    pub fn records(&self) -> Records {
        self.records.clone()
    }

    /// What an adapter keeps with this run: one value of each type, made by `new` when it is first asked for.
    ///
    /// So the parts of an adapter that are given the same run find each other, without a table of all runs.
    pub fn attachment<T: Any + Send + Sync>(&self, new: impl FnOnce() -> T) -> Arc<T> {
        let mut attachments = self.attachments.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = attachments.iter().find_map(|kept| Arc::clone(kept).downcast().ok()) {
            return kept;
        }
        let kept = Arc::new(new());
        attachments.push(Arc::clone(&kept) as _);
        kept
    }

    /// Ends the run, and waits until its last window is settled and its log is on disk: one update period of the slowest
    /// sensor, at most one second and a half.
    ///
    /// # Errors
    /// If the log could not be written; the text still tells the run's energy.
    pub fn finish(mut self) -> Result<Summary> {
        self.close(Status::Complete)
    }

    fn close(&mut self, status: Status) -> Result<Summary> {
        self.finished = true;
        self.lane.fence();
        let course = &self.lane.course;
        let end = course.clock.now();
        course.finished.store(true, Ordering::Release);
        self.records.outbox.lock().finish = Some((end, status));
        // What is read now covers the end.
        self.meter.0.samplers.read_now();
        course.alarm.ring();
        let result = self.records.outbox.wait(course, CLOSING, |told| told.result.take());
        self.meter.0.end_run();
        result.unwrap_or_else(|| {
            let directory = self.records.session.directory.display();
            Err(Error::lost(format!(
                "the log in `{directory}` was not written in time; the disk may hang"
            ))
            .cure("look at the log later: what could be written is there"))
        })
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.finished {
            let status = if std::thread::panicking() { Status::Panicked } else { Status::Dropped };
            if let Err(error) = self.close(status) {
                log::warn!("ergometer: {error}");
            }
        }
    }
}

/// The longest that `finish` waits: a second for the last update, and half of one for the disk.
const CLOSING: Duration = Duration::from_millis(1_500);

/// How often somebody who waits for a window has the recorder look.
const LOOK: Duration = Duration::from_millis(2);

/// A run's windows as they settle, and its energy so far: a handle for other threads than the one that trains.
#[derive(Clone)]
pub struct Records {
    course: Arc<Course>,
    outbox: Arc<Outbox>,
    channels: Arc<[Arc<Channel>]>,
    /// Has the sensors read at once.
    samplers: Arc<[Alarm]>,
    session: Arc<Session>,
}

struct Session {
    start: Timestamp,
    past: Energy,
    last_epoch: Option<u64>,
    directory: PathBuf,
    id: String,
    #[expect(dead_code, reason = "shown by Debug only")]
    resumed: bool,
}

impl Records {
    /// The energy used so far, provisional; see [`Run::energy`].
    pub fn energy(&self) -> Estimate {
        let mut estimate = self.between(self.session.start, self.course.clock.now());
        let past = Some(self.session.past).filter(|past| *past > Energy::ZERO);
        estimate.energy = match (estimate.energy, past) {
            (None, None) => None,
            (now, past) => Some(now.unwrap_or_default() + past.unwrap_or_default()),
        };
        estimate
    }

    /// The energy between two moments of the run's clock not longer than seconds ago, provisional. Waits for nothing.
    pub fn between(&self, start: Timestamp, end: Timestamp) -> Estimate {
        let sensors: Vec<_> =
            self.channels.iter().map(|channel| channel.specification.clone()).collect();
        let boundary = |at| {
            Boundary::new(at, self.channels.iter().map(|channel| channel.told().series.at(at)))
        };
        let settled = self.outbox.lock().origin.clone().filter(|origin| origin.at == start);
        let start = settled.unwrap_or_else(|| boundary(start));
        let mut attribution = start.to(&boundary(end), &sensors);
        attribution.amortise(|_| true);
        attribution.estimates(&sensors, &vec![Energy::ZERO; sensors.len()]).0
    }

    /// The time now on the run's clock.
    pub fn now(&self) -> Timestamp {
        self.course.clock.now()
    }

    /// Notes what was measured of an epoch, also behind its end: an event `metrics` of the log, once the epoch's line is there.
    ///
    /// For frameworks that measure on another thread than the one that trains. [`Lane::metric`] notes on the window that is
    /// open, at no cost of a lock. What comes after the run's end is lost.
    pub fn epoch_metrics(&self, epoch: u64, metrics: impl IntoIterator<Item = (String, f64)>) {
        let metrics: BTreeMap<String, f64> = metrics.into_iter().collect();
        if !metrics.is_empty() {
            self.outbox.lock().late.push((epoch, metrics));
        }
    }

    /// The first settled window of `kind` that `is` accepts, waiting for it at most for `patience`.
    ///
    /// Looks back on the last 1,024 windows of each kind. Not for the training thread: waiting there would stop it.
    pub fn find(
        &self,
        kind: Kind,
        patience: Duration,
        mut is: impl FnMut(&Record) -> bool,
    ) -> Option<Record> {
        let mut look = |told: &mut Published| {
            let row = match kind {
                Kind::Step => &told.steps,
                Kind::Epoch => &told.epochs,
                Kind::Phase | Kind::End => &told.phases,
            };
            row.iter().rev().find(|record| is(record)).cloned()
        };
        // Somebody waits: neither the sensors' next turn nor the recorder's is to be waited for.
        self.samplers.iter().for_each(Alarm::ring);
        let deadline = self.now() + patience;
        loop {
            self.course.alarm.ring();
            let left = deadline.since(self.now());
            let found = self.outbox.wait(&self.course, left.min(LOOK), &mut look);
            if found.is_some() || left <= LOOK {
                return found;
            }
        }
    }

    /// Why the run was asked to stop, if a budget or another observer did.
    pub fn stop_reason(&self) -> Option<String> {
        self.outbox.lock().reason.clone()
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").field("run", &self.session.id).finish_non_exhaustive()
    }
}

/// Waits until each sensor has been read once, but not for one that is slow: the run starts without it.
fn first_readings(clock: &Clock, channels: &[Arc<Channel>]) {
    match clock.fake() {
        Some(hands) => hands.advance(Duration::ZERO),
        None => {
            let deadline = clock.now() + FIRST_READING;
            while clock.now() < deadline
                && channels.iter().any(|channel| channel.told().series.last_read().is_none())
            {
                std::thread::yield_now();
            }
        }
    }
}

const FIRST_READING: Duration = Duration::from_millis(20);

/// When the device is waited for, in words.
fn boundaries(course: &Course) -> String {
    let mut text = if course.fence.is_some() {
        "the device is waited for where epochs and phases open and close".to_owned()
    } else {
        "host time; no device to wait for".to_owned()
    };
    if let Some(every) = course.sync_every {
        text += &format!(", and at every {every} steps");
    }
    if course.device_clock.is_some() {
        text += "; step boundaries are on the device's own clock";
    }
    text
}

fn manifest(meter: &crate::meter::Parts, run_id: String, name: String, clock: &Clock) -> Manifest {
    let anchor = clock.now();
    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let unmeasured = meter.absent.iter().map(|absence| Unmeasured {
        source: absence.source.clone(),
        reason: absence.error.what().to_owned(),
        cure: absence.error.remedy().map(str::to_owned),
    });
    let rest = Unmeasured {
        source: "power supply and converters, fans, disks, network".to_owned(),
        reason: "no sensor in the machine covers them".to_owned(),
        cure: Some("a meter at the wall".to_owned()),
    };
    Manifest {
        format: "ergometer-run".to_owned(),
        version: FORMAT_VERSION,
        run_id,
        name,
        created: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        state: State::Running,
        parameters: None,
        planned_epochs: None,
        notes: BTreeMap::new(),
        program: Program {
            name: std::env::current_exe()
                .ok()
                .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
                .unwrap_or_default(),
            pid: std::process::id(),
            ergometer: env!("CARGO_PKG_VERSION").to_owned(),
        },
        machine: machine(),
        framework: meter.framework.clone(),
        clock: ClockAnchor {
            name: clock.name().to_owned(),
            anchor,
            unix_ns: i64::try_from(wall.as_nanos()).unwrap_or(i64::MAX),
        },
        sensors: meter.channels.iter().map(|channel| channel.specification.clone()).collect(),
        unmeasured: unmeasured.chain([rest]).collect(),
        methods: Methods {
            total: "gross, whole machine, the sensors with in_total".to_owned(),
            uncertainty: "u_j is a standard uncertainty (k = 1): boundaries, gain and offset of each sensor; gains of one \
                          family are fully correlated"
                .to_owned(),
            boundaries: String::new(),
            process: None,
        },
        baseline: None,
        sessions: 1,
    }
}

fn machine() -> Machine {
    let system = sysinfo::System::new_with_specifics(
        sysinfo::RefreshKind::nothing().with_cpu(sysinfo::CpuRefreshKind::nothing()),
    );
    Machine {
        host: sysinfo::System::host_name().unwrap_or_else(|| "unknown".to_owned()),
        os: sysinfo::System::long_os_version().unwrap_or_else(|| std::env::consts::OS.to_owned()),
        architecture: std::env::consts::ARCH.to_owned(),
        cpu: system
            .cpus()
            .first()
            .map(|cpu| cpu.brand().trim().to_owned())
            .filter(|brand| !brand.is_empty()),
        threads: std::thread::available_parallelism().ok().map(Into::into),
        boot_id: std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .ok()
            .map(|id| id.trim().to_owned()),
    }
}

/// A run's id: when, what, and four digits so that two of a moment differ. Sorted by name, runs are in order.
fn run_id(name: &str) -> String {
    let clean: String =
        name.chars()
            .take(64)
            .map(|letter| {
                if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '-' }
            })
            .collect();
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.write_u64(SERIAL.load(Ordering::Relaxed));
    let salt = hasher.finish() & 0xffff;
    format!("{}-{clean}-{salt:04x}", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%3fZ"))
}
