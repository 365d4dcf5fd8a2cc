//! The GPU's own time at step boundaries, by CUDA events.
//!
//! A training enqueues its work and runs ahead of the GPU, so host times at step boundaries say when work was asked for.
//! An event is enqueued behind the work of each step instead, and the GPU stamps it in passing. Nothing waits: the events
//! that have been passed are looked up at later boundaries.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use candle_core::cuda_backend::cudarc::driver::{CudaEvent, CudaStream, DriverError, sys};
use candle_core::{Device, DeviceLocation};
use ergometer::{Clock, DeviceClock, Error, Fence, MeterBuilder, Result, Timestamp};

use crate::fence::fault;

/// What [`builder`](crate::builder) gives, with step boundaries on the GPU's own clock.
///
/// Each step boundary enqueues an event and looks for those that the GPU has passed: some driver calls, and no wait but
/// at the first boundary of a thread, and where epochs and phases open and close as ever. Right behind such a wait the
/// times are good to microseconds; then the clocks of host and GPU drift apart, by a few milliseconds a minute at most,
/// which [`sync_every`](ergometer::RunBuilder::sync_every) bounds in a loop without epochs. No boundary is earlier than
/// it was enqueued, or later than it was seen to be passed. All this pays where a step is longer than the interval at
/// which the GPU's energy counter is updated (20 ms to 100 ms); below that, a step's energy is interpolated anyway.
///
/// Work that is being captured into a CUDA graph gets host times, since an event would become part of the graph. So do
/// boundaries that another thread sets than the one that trains: candle gives each thread a stream of its own. Give every
/// training thread a lane of its own ([`ergometer::Run::lane`]) and use that lane there alone. The builder's clock has to
/// stay the system's.
///
/// # Errors
/// If `device` is no CUDA device, or its driver fails.
pub fn builder_with_events(device: &Device) -> Result<MeterBuilder> {
    let clock = EventClock::new(device)?;
    Ok(crate::builder(device)?.fence(clock.clone()).device_clock(clock))
}

/// Waits for the calling thread's work on `stream`, unless the stream is being captured, which a wait would break.
pub(crate) fn synchronize(stream: &CudaStream) -> Result<()> {
    apart(stream, || if is_captured(stream)? { Ok(()) } else { stream.synchronize() })
        .map_err(|error| fault(place(stream), error))
}

/// Does `work` without taking an error that is meant for the training.
///
/// cudarc keeps the error of a tensor's drop until the next call on the context and returns it there, once. If that call
/// were one of the meter's, the training would never hear of it, so it is put back.
fn apart<T>(
    stream: &CudaStream,
    work: impl FnOnce() -> Result<T, DriverError>,
) -> Result<T, DriverError> {
    let context = stream.context();
    let held = context.check_err();
    let done = work();
    context.record_err(held);
    done
}

fn is_captured(stream: &CudaStream) -> Result<bool, DriverError> {
    let status = stream.capture_status()?;
    Ok(status != sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE)
}

fn place(stream: &CudaStream) -> DeviceLocation {
    DeviceLocation::Cuda { gpu_id: stream.context().ordinal() }
}

/// The clock of one device, as the threads that train on it see it.
#[derive(Clone)]
struct EventClock(Arc<Shared>);

struct Shared {
    clock: Clock,
    stream: Arc<CudaStream>,
    /// candle works on the calling thread's own stream, so marks of one thread say nothing of another's.
    threads: Mutex<HashMap<ThreadId, Arc<Mutex<Timeline>>>>,
    /// What failed since the last fence, for the run's log.
    fault: Mutex<Option<Error>>,
}

/// The marks that one thread has set, in their order.
#[derive(Default)]
struct Timeline {
    anchor: Option<Anchor>,
    pending: VecDeque<Pending>,
    /// Passed, and not told yet.
    passed: VecDeque<(u64, Timestamp)>,
    /// Events to be used again; making one costs more than using one.
    free: Vec<CudaEvent>,
}

/// An event whose host time is known; the others are placed by their distance from it.
struct Anchor {
    event: CudaEvent,
    at: Timestamp,
}

struct Pending {
    boundary: u64,
    event: CudaEvent,
    marked: Timestamp,
}

/// CUDA tells the distance of two events as an `f32` of milliseconds, which is good to 4 µs up to here. An event that
/// lies further off becomes the anchor of the next.
const REACH: Duration = Duration::from_secs(60);

/// Marks that the GPU has not reached yet; CUDA itself holds about as many launches. Beyond it, host times do.
const PENDING: usize = 1_024;

/// An event that takes the time, which cudarc's default does not.
const TIMED: Option<sys::CUevent_flags> = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);

impl EventClock {
    fn new(device: &Device) -> Result<EventClock> {
        let Device::Cuda(device) = device else {
            return Err(Error::unsupported(format!(
                "{} has no CUDA events",
                crate::device::name(device.location())
            ))
            .cure("use `ergometer_candle::builder`"));
        };
        let clock = EventClock(Arc::new(Shared {
            clock: Clock::system(),
            stream: device.cuda_stream(),
            threads: Mutex::default(),
            fault: Mutex::default(),
        }));
        clock.wait()?;
        Ok(clock)
    }

    fn timeline(&self) -> Arc<Mutex<Timeline>> {
        Arc::clone(lock(&self.0.threads).entry(thread::current().id()).or_default())
    }

    /// Does `work` on the calling thread's timeline, unless its stream is being captured.
    fn with(&self, work: impl FnOnce(&mut Timeline) -> Result<(), DriverError>) -> Result<()> {
        let stream = &*self.0.stream;
        let timeline = self.timeline();
        apart(stream, || if is_captured(stream)? { Ok(()) } else { work(&mut lock(&timeline)) })
            .map_err(|error| fault(place(stream), error))
    }

    fn note(&self, done: Result<()>) {
        if let Err(error) = done {
            *lock(&self.0.fault) = Some(error);
        }
    }
}

impl Fence for EventClock {
    fn wait(&self) -> Result<()> {
        let Shared { clock, stream, .. } = &*self.0;
        self.with(|timeline| {
            stream.synchronize()?;
            timeline.collect(clock)?;
            timeline.set_anchor(clock, stream)
        })?;
        lock(&self.0.fault).take().map_or(Ok(()), Err)
    }
}

impl DeviceClock for EventClock {
    fn mark(&self, boundary: u64) {
        let Shared { clock, stream, .. } = &*self.0;
        self.note(self.with(|timeline| timeline.mark(boundary, clock, stream)));
    }

    fn passed(&self, tell: &mut dyn FnMut(u64, Timestamp)) {
        self.note(self.with(|timeline| timeline.collect(&self.0.clock)));
        let timeline = self.timeline();
        for (boundary, at) in lock(&timeline).passed.drain(..) {
            tell(boundary, at);
        }
    }
}

impl Timeline {
    fn mark(
        &mut self,
        boundary: u64,
        clock: &Clock,
        stream: &Arc<CudaStream>,
    ) -> Result<(), DriverError> {
        if self.anchor.is_none() {
            stream.synchronize()?;
            self.set_anchor(clock, stream)?;
        }
        if self.pending.len() < PENDING {
            let event = self.event(stream)?;
            let marked = clock.now();
            event.record(stream)?;
            self.pending.push_back(Pending { boundary, event, marked });
        }
        Ok(())
    }

    /// Places the marks that the GPU has passed.
    fn collect(&mut self, clock: &Clock) -> Result<(), DriverError> {
        while let (Some(anchor), Some(first)) = (&self.anchor, self.pending.front()) {
            if !first.event.try_is_complete()? {
                break;
            }
            let elapsed = Duration::try_from_secs_f64(
                f64::from(anchor.event.elapsed_ms(&first.event)?) / 1e3,
            );
            let placed = anchor.at + elapsed.unwrap_or_default();
            let Some(Pending { boundary, event, marked }) = self.pending.pop_front() else { break };
            // Whatever the clocks' drift, the GPU passed it after it was enqueued and before it was seen to be passed.
            let at = placed.clamp(marked, clock.now());
            self.passed.push_back((boundary, at));
            let spent = if at.since(anchor.at) > REACH {
                self.anchor.replace(Anchor { event, at }).map(|anchor| anchor.event)
            } else {
                Some(event)
            };
            self.free.extend(spent);
        }
        Ok(())
    }

    /// Ties the GPU's clock to the host's. The stream has come to rest, so the event is passed at once.
    fn set_anchor(&mut self, clock: &Clock, stream: &Arc<CudaStream>) -> Result<(), DriverError> {
        let event = self.event(stream)?;
        let (before, passed, after) =
            clock.bracket(|| event.record(stream).and_then(|()| event.synchronize()));
        passed?;
        let anchor = Anchor { event, at: before.midpoint(after) };
        self.free.extend(self.anchor.replace(anchor).map(|anchor| anchor.event));
        Ok(())
    }

    fn event(&mut self, stream: &Arc<CudaStream>) -> Result<CudaEvent, DriverError> {
        self.free.pop().map_or_else(|| stream.context().new_event(TIMED), Ok)
    }
}

impl fmt::Debug for EventClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventClock").field("device", &place(&self.0.stream)).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
