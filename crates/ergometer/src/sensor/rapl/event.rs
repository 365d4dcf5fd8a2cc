//! Perf events: counters of the kernel that a system call opens.

#![cfg_attr(
    target_os = "linux",
    expect(unsafe_code, reason = "perf_event_open is a system call without a safe wrapper")
)]

use std::io;
use std::sync::Arc;

/// What to count, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Event {
    /// The unit that counts: the number in its `type` file in sysfs.
    pub kind: u32,
    /// Which of its events: the number in the event's file.
    pub config: u64,
    /// The CPU to count on, whatever runs there; without one, the calling thread wherever it runs.
    pub cpu: Option<u32>,
}

/// An open event: each call gives its count so far, which goes round at 64 bits. Dropping it closes the event.
pub type Count = Box<dyn FnMut() -> io::Result<u64> + Send>;

/// What opens events: [`open`], or a test's script.
pub type Opener = Arc<dyn Fn(&Event) -> io::Result<Count> + Send + Sync>;

/// Asks the kernel for an event. A read of it is one system call, and an interrupt on the event's CPU.
///
/// # Errors
/// If this process may not count there (the text says what `kernel.perf_event_paranoid` is), the CPU is offline, there
/// is no such event, or the system has no perf events.
#[cfg(target_os = "linux")]
pub fn open(event: &Event) -> io::Result<Count> {
    use std::fs::File;
    use std::io::Read;

    let mut file = File::from(descriptor(event).map_err(explain)?);
    Ok(Box::new(move || {
        let mut count = [0; size_of::<u64>()];
        // An event whose CPU is gone may read as the end of a file.
        file.read_exact(&mut count).map(|()| u64::from_ne_bytes(count))
    }))
}

/// Perf events are the Linux kernel's.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn open(_: &Event) -> io::Result<Count> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "perf events exist on Linux only"))
}

/// The first version of the kernel's `struct perf_event_attr` (64 bytes), which every later kernel takes too.
#[cfg(target_os = "linux")]
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    breakpoint_address: u64,
}

#[cfg(target_os = "linux")]
fn descriptor(event: &Event) -> io::Result<std::os::fd::OwnedFd> {
    use std::os::fd::{FromRawFd, OwnedFd};

    const NO_GROUP: libc::c_long = -1;
    const CLOSE_ON_EXEC: libc::c_ulong = 1 << 3;
    let attributes = Attributes {
        kind: event.kind,
        size: u32::try_from(size_of::<Attributes>()).map_err(io::Error::other)?,
        config: event.config,
        ..Attributes::default()
    };
    let (process, cpu): (libc::c_long, libc::c_long) = match event.cpu {
        Some(cpu) => (-1, libc::c_long::from(i32::try_from(cpu).map_err(io::Error::other)?)),
        None => (0, -1),
    };
    // SAFETY: the structure has the layout and the size that it states, and lives until the call returns; the kernel
    // only reads from it. The other arguments are numbers.
    let descriptor = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            process,
            cpu,
            NO_GROUP,
            CLOSE_ON_EXEC,
        )
    };
    match i32::try_from(descriptor) {
        // SAFETY: the kernel has just made this descriptor, and nothing else knows of it.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Says which setting refused the event. It is this kernel's, whatever procfs the meter was given.
#[cfg(target_os = "linux")]
fn explain(cause: io::Error) -> io::Error {
    let setting = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid");
    match (cause.kind(), setting) {
        (kind @ io::ErrorKind::PermissionDenied, Ok(setting)) => io::Error::new(
            kind,
            format!("{cause}, with kernel.perf_event_paranoid = {}", setting.trim()),
        ),
        _ => cause,
    }
}
