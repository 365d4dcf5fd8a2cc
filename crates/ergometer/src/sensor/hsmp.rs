//! AMD's host system management port (HSMP): the power of an EPYC's package, which everybody may ask for.
//!
//! It stands in where RAPL's counters are closed to the user. Newer kernels show the same number in hwmon, which then
//! is read instead.

mod port;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::sensor::gauge::{Gauge, of_firmware};
use crate::sensor::machine::{Machine, Vendor};
use crate::sensor::{Absence, Domain, Found, Hardware, Specification, attribute, hwmon};
use crate::units::Power;

use self::port::Port;

/// Opens the package power of each socket through `hsmp` under the root of device files, `/dev` as a rule.
///
/// Nothing is opened if hwmon under `sysfs` shows the sockets, and nothing is said on a machine that is no server with
/// AMD's processors.
pub fn open(devices: &Path, sysfs: &Path) -> Found {
    if !hwmon::sockets(sysfs).sensors.is_empty() {
        return Found::default();
    }
    let path = devices.join("hsmp");
    match Port::open(&path) {
        Ok(port) => sockets(move |socket| port.power(socket)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound && !is_server(sysfs) => {
            Found::default()
        }
        Err(cause) => Found::nothing(SOURCE, explain(Error::file("open", &path, cause))),
    }
}

/// The package power of each socket that `ask` answers for, beginning with socket 0.
///
/// What `ask` gives is the firmware's answer to message 04h, "average package power". It says that there is no such
/// socket with the code that the driver has for it, 19 (`ENODEV`).
pub fn sockets(ask: impl Fn(u16) -> io::Result<Power> + Send + Sync + 'static) -> Found {
    let ask: Arc<dyn Fn(u16) -> io::Result<Power> + Send + Sync> = Arc::new(ask);
    let mut found = Found::default();
    for socket in 0..MOST_SOCKETS {
        if matches!(ask(socket), Err(cause) if cause.raw_os_error() == Some(NO_SUCH_SOCKET)) {
            break;
        }
        let ask = Arc::clone(&ask);
        let specification = specification(socket, "hsmp message 04h".to_owned(), None);
        let id = specification.domain.id.clone();
        let gauge =
            Gauge::open(specification, move || ask(socket).map_err(failed).and_then(of_firmware));
        match gauge {
            Ok(gauge) => found.sensors.push(Box::new(gauge)),
            Err(error) => found
                .absent
                .push(Absence { source: format!("{SOURCE} {id}"), error: explain(error) }),
        }
    }
    if found.sensors.is_empty() {
        // How many sockets there are is not known then, so what the first one says stands for all.
        found.absent.truncate(1);
    }
    if found.sensors.is_empty() && found.absent.is_empty() {
        let error = Error::absent("the driver of the management port has no socket");
        return Found::nothing(SOURCE, explain(error));
    }
    found
}

/// What is known of a socket's package power, through whichever interface. `limit` is the highest that the package can
/// be set to.
pub(super) fn specification(socket: u16, source: String, limit: Option<Power>) -> Specification {
    let domain =
        Domain::new(Hardware::Cpu, format!("package-{socket}"), format!("CPU package {socket}"));
    // The firmware answers in its own cycle of 1 ms (Linux, drivers/platform/x86/amd/hsmp/hsmp.c). Over what time it
    // averages is not documented, and taken to be short.
    let period = Duration::from_millis(1);
    Specification {
        scope: "whole package, whoever uses it: cores, caches, memory controller, and the GPU where it is in the same \
                package; memory modules, board and power supply not included"
            .to_owned(),
        // As RAPL's counters on AMD: Schöne et al., arXiv:2108.00808.
        gain: 0.06,
        most: limit.map_or(Power::from_watts(1_000.0), |limit| limit * 2.0),
        ..Gauge::specification(domain, SOURCE, source, period, Duration::ZERO)
    }
}

const SOURCE: &str = "hsmp";

/// No board has more, and the driver says itself where they end.
const MOST_SOCKETS: u16 = 8;

const NO_SUCH_SOCKET: i32 = 19;

fn failed(cause: io::Error) -> Error {
    let what = format!("the processor's firmware does not tell its power: {cause}");
    match cause.kind() {
        io::ErrorKind::PermissionDenied => Error::permission_denied(what),
        _ => Error::unsupported(what),
    }
    .caused_by(cause)
}

fn explain(error: Error) -> Error {
    let cure = if error.is_permission_denied() {
        "everybody may read it unless the machine was set up otherwise: sudo chmod a+r /dev/hsmp"
    } else if error.is_absent() {
        "load its driver, sudo modprobe amd_hsmp or hsmp_acpi; start a container with --device /dev/hsmp:/dev/hsmp:r"
    } else {
        "switch HSMP on in the machine's firmware setup"
    };
    error.cure(cure)
}

/// True on a server with AMD's processors of family 19h or later that is no virtual machine: only there is the port.
fn is_server(sysfs: &Path) -> bool {
    let machine = Machine::of(sysfs);
    let has_port = machine.vendor == Vendor::Amd && matches!(machine.family, Some(0x19 | 0x1a));
    // Main server, rack mount, multi-system and blade (SMBIOS 3.7, 7.4.1).
    let chassis = attribute::number(&sysfs.join("class/dmi/id/chassis_type"));
    has_port
        && machine.hypervisor.is_none()
        && chassis.is_ok_and(|chassis| [17, 23, 25, 28].contains(&chassis))
}
