//! An HTTP/1.1 server of one page, on one thread, that no client can hold up.
//!
//! Of a request, nothing but the method, the path and the host's name is looked at, and no path is that of a file.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::CONTENT_TYPE;

/// The server's thread, until it is stopped.
#[derive(Debug)]
pub(super) struct Server {
    until: Arc<Mutex<Option<Instant>>>,
    thread: JoinHandle<()>,
}

/// Clients at a time; beyond them, the one that has waited longest is cut off.
const CLIENTS: usize = 32;

/// The longest request that is read; Prometheus's own have some 300 bytes.
const REQUEST: usize = 8_192;

/// The longest that a client takes to ask and to read.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks at clients that are slow.
const TURN: Duration = Duration::from_millis(10);

/// Between two looks for clients where nobody is there.
const REST: Duration = Duration::from_millis(50);

impl Server {
    pub(super) fn start(
        listener: TcpListener,
        only_local_names: bool,
        page: impl Fn() -> String + Send + 'static,
    ) -> io::Result<Server> {
        // A thread that waited for a client could only be woken by one, and none may be let through.
        listener.set_nonblocking(true)?;
        let until = Arc::new(Mutex::new(None));
        let work = Work { listener, until: Arc::clone(&until), only_local_names, page };
        let thread = thread::Builder::new()
            .name("ergometer scrape".to_owned())
            .spawn(move || work.serve())?;
        Ok(Server { until, thread })
    }

    /// Stops after `time`; waits for it only where there is none.
    pub(super) fn stop(self, time: Duration) {
        let now = Instant::now();
        let until = now.checked_add(time).unwrap_or(now);
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
        self.thread.thread().unpark();
        if time.is_zero() {
            // A page that cannot be made has ended the thread already.
            let _ = self.thread.join();
        }
    }
}

/// The server at work.
struct Work<P> {
    listener: TcpListener,
    until: Arc<Mutex<Option<Instant>>>,
    only_local_names: bool,
    page: P,
}

impl<P: Fn() -> String> Work<P> {
    fn serve(self) {
        let mut clients: VecDeque<Client> = VecDeque::new();
        loop {
            let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
            if until.is_some_and(|until| Instant::now() >= until) {
                return;
            }
            match self.listener.accept() {
                Ok((stream, _)) if stream.set_nonblocking(true).is_ok() => {
                    if clients.len() == CLIENTS {
                        clients.pop_front();
                    }
                    clients.push_back(Client::new(stream));
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    thread::park_timeout(if clients.is_empty() { REST } else { TURN });
                }
                // Out of file descriptors, say: it may pass.
                Err(_) => thread::park_timeout(REST),
            }
            clients.retain_mut(|client| client.advance(|request| self.answer(request)));
        }
    }

    fn answer(&self, request: &[u8]) -> Vec<u8> {
        let request = match Request::parse(request) {
            Ok(request) => request,
            Err(status) => return reply(status, "text/plain", "", status, true),
        };
        let body = request.method != "HEAD";
        let plain = |status, header, text| reply(status, "text/plain", header, text, body);
        // A name that somebody points at this machine would let a page of theirs read the answer (DNS rebinding).
        if self.only_local_names && !request.host.is_none_or(is_local_name) {
            return plain("403 Forbidden", "", "ask by the address\n");
        }
        match (request.method, request.path) {
            ("GET" | "HEAD", "/metrics") => reply("200 OK", CONTENT_TYPE, "", &(self.page)(), body),
            ("GET" | "HEAD", "/") => {
                plain("200 OK", "", "ergometer: the metrics are at /metrics\n")
            }
            (_, "/metrics" | "/") => {
                plain("405 Method Not Allowed", "Allow: GET, HEAD\r\n", "only GET\n")
            }
            _ => plain("404 Not Found", "", "the metrics are at /metrics\n"),
        }
    }
}

impl<P> fmt::Debug for Work<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").field("listener", &self.listener).finish_non_exhaustive()
    }
}

fn reply(status: &str, kind: &str, header: &str, text: &str, body: bool) -> Vec<u8> {
    let length = text.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{header}Connection: close\r\n\
         X-Content-Type-Options: nosniff\r\n\r\n"
    );
    let text = if body { text } else { "" };
    [head.as_bytes(), text.as_bytes()].concat()
}

/// What is looked at of a request.
struct Request<'a> {
    method: &'a str,
    path: &'a str,
    host: Option<&'a str>,
}

impl Request<'_> {
    fn parse(request: &[u8]) -> Result<Request<'_>, &'static str> {
        const BAD: &str = "400 Bad Request";
        let text = std::str::from_utf8(request).map_err(|_| BAD)?;
        let mut lines = text.lines();
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(BAD);
        };
        let minor = version.strip_prefix("HTTP/1.").filter(|minor| minor.len() == 1);
        if !minor.is_some_and(|minor| minor.bytes().all(|byte| byte.is_ascii_digit()))
            || !target.starts_with('/')
        {
            return Err(BAD);
        }
        let mut host = None;
        for line in lines {
            let (name, value) = line.split_once(':').ok_or(BAD)?;
            // RFC 9112, 5: no line goes on in the next, and no space stands before the colon, where others would see
            // another field than this does. 3.2: never two hosts.
            if name.is_empty() || name.contains(|letter: char| !letter.is_ascii_graphic()) {
                return Err(BAD);
            }
            if name.eq_ignore_ascii_case("host") && host.replace(value.trim()).is_some() {
                return Err(BAD);
            }
        }
        // 3.2: one host in HTTP/1.1.
        if host.is_none() && version != "HTTP/1.0" {
            return Err(BAD);
        }
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        Ok(Request { method, path, host })
    }
}

/// True for addresses, and for the names that resolvers never ask the network for (RFC 6761, 6.3).
fn is_local_name(host: &str) -> bool {
    let (name, port) = match host.find(']').map(|end| host.split_at(end + 1)) {
        Some(parts) => parts,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let port = if port.is_empty() { Some("") } else { port.strip_prefix(':') };
    if !port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit())) {
        return false;
    }
    if let Some(address) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let lower = name.to_ascii_lowercase();
    let lower = lower.strip_suffix('.').unwrap_or(&lower);
    name.parse::<Ipv4Addr>().is_ok()
        || lower == "localhost"
        || lower.ends_with(".localhost") && lower.bytes().all(letter)
}

/// Somebody who asks.
struct Client {
    stream: TcpStream,
    request: Vec<u8>,
    /// The answer, and how much of it has been sent.
    answer: Option<(Vec<u8>, usize)>,
    deadline: Instant,
}

impl Client {
    fn new(stream: TcpStream) -> Client {
        let deadline = Instant::now() + PATIENCE;
        Client { stream, request: Vec::new(), answer: None, deadline }
    }

    /// Reads and writes what can be without waiting; false when it is done or given up.
    fn advance(&mut self, answer: impl FnOnce(&[u8]) -> Vec<u8>) -> bool {
        Instant::now() < self.deadline
            && self.read(answer).and_then(|open| Ok(open && self.write()?)).unwrap_or(false)
    }

    /// Reads the request; behind it, what is not looked at, so that the answer is not lost with it.
    fn read(&mut self, answer: impl FnOnce(&[u8]) -> Vec<u8>) -> io::Result<bool> {
        let mut buffer = [0; 1_024];
        // At most a request's length in a turn: others wait.
        for _ in 0..REQUEST / buffer.len() {
            match self.stream.read(&mut buffer) {
                // One that has said all may still read.
                Ok(0) => {
                    return Ok(self.answer.as_ref().is_some_and(|(all, sent)| *sent < all.len()));
                }
                Ok(_) if self.answer.is_some() => {}
                Ok(read) => {
                    let before = self.request.len();
                    self.request.extend_from_slice(buffer.get(..read).unwrap_or_default());
                    if let Some(end) = head_end(&self.request, before) {
                        let head = self.request.get(..end).unwrap_or_default();
                        self.answer = Some((answer(head), 0));
                        return Ok(true);
                    }
                    if self.request.len() > REQUEST {
                        let status = "431 Request Header Fields Too Large";
                        self.answer = Some((reply(status, "text/plain", "", status, true), 0));
                        return Ok(true);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn write(&mut self) -> io::Result<bool> {
        let Some((answer, sent)) = &mut self.answer else { return Ok(true) };
        while let Some(rest) = answer.get(*sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => return Ok(false),
                Ok(written) => {
                    *sent += written;
                    if *sent == answer.len() {
                        self.stream.shutdown(Shutdown::Write)?;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // Until the client closes too: closing before it has read all may cut its answer short.
        Ok(true)
    }
}

/// Where a request's head ends, that it did not within what came before: who sends single bytes is not read over and over.
fn head_end(request: &[u8], before: usize) -> Option<usize> {
    let start = before.saturating_sub(3);
    let new = request.get(start..)?;
    new.windows(4).position(|four| four == b"\r\n\r\n").map(|end| start + end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_host_and_one_form_of_target_are_understood() {
        let parse = |text: &str| Request::parse(text.as_bytes()).map(|it| it.path.to_owned());
        assert_eq!(parse("GET /metrics?a=b HTTP/1.1\r\nHost: x"), Ok("/metrics".to_owned()));
        assert_eq!(parse("GET //metrics HTTP/1.2\r\nHost:x"), Ok("//metrics".to_owned()));
        assert_eq!(parse("GET /metrics HTTP/1.0"), Ok("/metrics".to_owned()));
        for bad in [
            "GET /metrics HTTP/1.1",
            "GET /metrics HTTP/1.1\r\nHost: a\r\nhost: b",
            "GET /metrics HTTP/1.0\r\nHost: a\r\nhost: a",
            "GET /metrics HTTP/1.1\r\nHost : a",
            "GET /metrics HTTP/1.1\r\nx: y\r\n Host: a",
            "GET /metrics HTTP/1.1\r\nHost: a\r\n b",
            "GET /metrics HTTP/1.1\r\nHost: a\r\nx\0: b",
            "GET /metrics HTTP/1.1\r\nHost: a\r\n: b",
            "GET /metrics HTTP/1.1\r\nHost: a\r\nxyz",
            "GET http://elsewhere/metrics HTTP/1.1\r\nHost: a",
            "GET * HTTP/1.1\r\nHost: a",
            "CONNECT a:80 HTTP/1.1\r\nHost: a",
            "GET  /metrics HTTP/1.1\r\nHost: a",
            "\r\nGET /metrics HTTP/1.1\r\nHost: a",
            "GET /metrics HTTP/2\r\nHost: a",
            "GET /metrics HTTP/1.x\r\nHost: a",
            "GET /metrics HTTP/1.10\r\nHost: a",
            "GET /metrics http/1.1\r\nHost: a",
            "GET /metrics",
            "",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(Request::parse(b"GET /\xff HTTP/1.1\r\nHost: a").is_err());
    }

    #[test]
    fn addresses_and_localhost_are_local_and_other_names_are_not() {
        for local in [
            "127.0.0.1:9464",
            "127.0.0.1",
            "127.0.0.1:",
            "[::1]:9464",
            "[::1]",
            "localhost:1",
            "LOCALHOST.:9464",
            "A.LocalHost",
            "a.localhost.",
        ] {
            assert!(is_local_name(local), "{local}");
        }
        for other in [
            "example.org",
            "127.0.0.1.example.org:80",
            "127.0.0.1..",
            "localhost.example.org",
            "localhost..",
            "evil-localhost",
            "localhost:80:80",
            "localhost:80@example.org",
            "localhost@example.org",
            "example.org/.localhost",
            "example.org, localhost",
            "::1",
            "[::1",
            "[::1].example.org",
            "[::1]9464",
            "[127.0.0.1]",
            "[localhost]",
            "x[::1]",
            "",
            ":",
            ":9464",
            ".",
            "[]",
            "[x]",
        ] {
            assert!(!is_local_name(other), "{other}");
        }
    }

    #[test]
    fn a_head_s_end_is_found_wherever_it_is_cut() {
        let request = b"GET / HTTP/1.0\r\n\r\nrest";
        let end = request.len() - 8;
        for before in 0..end + 4 {
            assert_eq!(head_end(request, before), Some(end), "{before}");
        }
        assert_eq!(head_end(b"GET / HTTP/1.0\r\n\n\r", 0), None);
    }

    #[test]
    fn whose_time_is_over_is_given_up_whatever_it_does() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut asks = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut client = Client::new(stream);
        asks.write_all(b"GET /metr").unwrap();
        assert!(client.advance(|_| Vec::new()), "it may take its time");
        assert!(client.deadline <= Instant::now() + PATIENCE);
        client.deadline = Instant::now();
        assert!(!client.advance(|_| Vec::new()));
    }
}
