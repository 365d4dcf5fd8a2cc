//! [`Scrape`]: Prometheus asks this process.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ergometer::record::{Event, Manifest};
use ergometer::{Earlier, Energy, Error, Observer, Record, Result, Summary, Timestamp, Verdict};

use super::server::Server;
use super::text;
use crate::tally::Tally;

/// Answers `GET /metrics` with what the run has used so far, from its beginning to its end.
///
/// It listens on a loopback address, so that only programs of this machine can ask; for others,
/// [`bind_beyond_loopback`](Scrape::bind_beyond_loopback) has to be called by its name. One thread of its own serves all who
/// ask; none of them can hold it up, and the training waits for none.
///
/// What is used after the last time that Prometheus asked is not in its series: with a turn of 15 s, up to 15 s of a run. For
/// totals, read the run's log, or have the last figures stay for a while by [`linger`](Scrape::linger).
pub struct Scrape {
    tally: Arc<Mutex<Tally>>,
    address: SocketAddr,
    server: Option<Server>,
    linger: Duration,
    /// What the log is to say of a port that nobody named.
    news: Option<String>,
}

impl Scrape {
    /// Listens on a loopback address: `127.0.0.1:9464`, or port 0 for one that is free: [`address`](Scrape::address) tells it,
    /// and an event `prometheus` of the run's log.
    ///
    /// # Errors
    /// If the address is not a loopback address, or cannot be listened on; [`Error::is_lost`] if it could at another time, as
    /// with a port that another training has.
    pub fn bind(address: impl ToSocketAddrs) -> Result<Scrape> {
        Scrape::listen(&on_loopback(resolved(address)?)?, true)
    }

    /// The loopback addresses that a setting names, by number or as `localhost`: no other name is looked up.
    #[cfg(feature = "config")]
    pub(crate) fn addresses(setting: &str) -> Result<Vec<SocketAddr>> {
        let setting = setting.trim();
        if setting.parse::<SocketAddr>().is_ok() || setting.starts_with("localhost:") {
            return on_loopback(resolved(setting)?);
        }
        Err(Error::invalid("the address to listen on is not understood").cure(EXAMPLE))
    }

    /// Listens on any address, `0.0.0.0:9464` for all of this machine's.
    ///
    /// Whoever reaches the address can read names, devices, energies and metrics of the run, without a password and unencrypted.
    /// Meant for networks that are closed, or behind a proxy that asks who is there.
    ///
    /// # Errors
    /// If the address cannot be listened on, as with [`bind`](Scrape::bind).
    pub fn bind_beyond_loopback(address: impl ToSocketAddrs) -> Result<Scrape> {
        Scrape::listen(&resolved(address)?, false)
    }

    /// Keeps the last figures readable for this long behind the run's end, as long as the process lives. The port stays taken
    /// meanwhile.
    #[must_use]
    pub fn linger(mut self, time: Duration) -> Scrape {
        self.linger = time;
        self
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn listen(addresses: &[SocketAddr], only_local_names: bool) -> Result<Scrape> {
        let listener = listener(addresses)?;
        let failed = |error: io::Error| {
            Error::lost(format!("Prometheus cannot be served: {error}")).caused_by(error)
        };
        let address = listener.local_addr().map_err(failed)?;
        let chosen = addresses.iter().all(|asked| asked.port() == 0);
        let news = chosen.then(|| format!("the metrics are at http://{address}/metrics"));
        let tally = Arc::new(Mutex::new(Tally::default()));
        let page = {
            let tally = Arc::clone(&tally);
            move || {
                // A copy, so that the run does not wait while the text is made.
                let now = tally.lock().unwrap_or_else(PoisonError::into_inner).clone();
                text([&now])
            }
        };
        let server = Server::start(listener, only_local_names, page).map_err(failed)?;
        Ok(Scrape { tally, address, server: Some(server), linger: Duration::ZERO, news })
    }

    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What to do about an address that is none.
const EXAMPLE: &str = "give an address and a port: 127.0.0.1:9464";

/// These addresses, if only this machine can reach them.
fn on_loopback(addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>> {
    let Some(other) = addresses.iter().find(|address| !address.ip().is_loopback()) else {
        return Ok(addresses);
    };
    let what = format!("{other} is not a loopback address: other machines could read it");
    Err(Error::invalid(what).cure(
        "name 127.0.0.1, and let others in by a proxy or an SSH tunnel; or have the program call `Scrape::bind_beyond_loopback`",
    ))
}

fn resolved(address: impl ToSocketAddrs) -> Result<Vec<SocketAddr>> {
    let addresses = address.to_socket_addrs().map_err(|error| {
        Error::invalid(format!("the address to listen on is not understood: {error}")).cure(EXAMPLE)
    })?;
    Ok(addresses.collect())
}

/// Listens on the first of the addresses that this machine has.
fn listener(addresses: &[SocketAddr]) -> Result<TcpListener> {
    let mut refusal = Error::invalid("there is no address to listen on");
    for address in addresses {
        let error = match TcpListener::bind(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => error,
        };
        let what = format!("cannot listen on {address}: {error}");
        refusal = match error.kind() {
            // `localhost` may have two addresses: on the other one, nobody would ask.
            ErrorKind::AddrInUse => {
                return Err(Error::lost(what)
                    .cure("give another port, or 0 for one that is free")
                    .caused_by(error));
            }
            ErrorKind::PermissionDenied => {
                Error::permission_denied(what).cure("give a port above 1023")
            }
            ErrorKind::AddrNotAvailable => {
                Error::absent(what).cure("give an address of this machine, such as 127.0.0.1")
            }
            _ => Error::lost(what),
        }
        .caused_by(error);
    }
    Err(refusal)
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrape").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Observer for Scrape {
    fn name(&self) -> &str {
        "prometheus"
    }

    fn began(&mut self, manifest: &Manifest) {
        self.tally().began(manifest);
    }

    fn resumed(&mut self, earlier: &Earlier) {
        self.tally().resumed(earlier);
    }

    fn settled(&mut self, window: &Record) -> Verdict {
        self.tally().settled(window)
    }

    fn used(&mut self, _energy: Energy, _now: Timestamp) -> Verdict {
        self.news.take().map_or(Verdict::GoOn, Verdict::Warn)
    }

    fn happened(&mut self, event: &Event) {
        self.tally().happened(event);
    }

    fn ended(&mut self, summary: &Summary) {
        self.tally().ended(summary);
        if let Some(server) = self.server.take() {
            server.stop(self.linger);
        }
    }
}

impl Drop for Scrape {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop(Duration::ZERO);
        }
    }
}
