//! The character device of AMD's management port.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::units::Power;

/// The device, open for reading: that allows questions and no settings.
pub(super) struct Port(File);

impl Port {
    /// Opens the device.
    ///
    /// # Errors
    /// If it does not exist, this process may not read it, or this is no system that has the port.
    pub(super) fn open(path: &Path) -> io::Result<Port> {
        File::open(path).map(Port)
    }

    /// The average power of a socket's package. Waits for the firmware, 1 ms as a rule.
    ///
    /// # Errors
    /// As the driver tells: no such socket, the firmware does not know the message, or does not answer.
    pub(super) fn power(&self, socket: u16) -> io::Result<Power> {
        ask(&self.0, socket).map(Power::from_milliwatts)
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[expect(unsafe_code, reason = "the device is asked by `ioctl`, which is a C function")]
fn ask(device: &File, socket: u16) -> io::Result<u32> {
    use std::os::fd::AsRawFd;

    /// `struct hsmp_message` of Linux's `asm/amd_hsmp.h`.
    #[repr(C)]
    struct Message {
        id: u32,
        arguments: u16,
        answers: u16,
        words: [u32; 8],
        socket: u16,
    }
    /// `HSMP_IOCTL_CMD`.
    const REQUEST: libc::Ioctl = libc::_IOWR::<Message>(0xF8, 0);
    /// `HSMP_GET_SOCKET_POWER`: no argument, one word in answer.
    const SOCKET_POWER: u32 = 4;

    let mut message = Message { id: SOCKET_POWER, arguments: 0, answers: 1, words: [0; 8], socket };
    // SAFETY: the descriptor is open as long as `device` is borrowed. The request names the message's type, and with it
    // how much the driver reads and writes: exactly `message`, which outlives the call and is not used meanwhile. A
    // file that is another device does not know the request and refuses it.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), REQUEST, &raw mut message) };
    if result == 0 { Ok(message.words[0]) } else { Err(io::Error::last_os_error()) }
}

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn ask(_device: &File, _socket: u16) -> io::Result<u32> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}
