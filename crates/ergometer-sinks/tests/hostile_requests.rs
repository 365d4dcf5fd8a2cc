//! What the page of metrics answers to requests that mean no good, or are written badly.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use ergometer_sinks::prometheus::Scrape;

fn scrape() -> (Scrape, SocketAddr) {
    let scrape = Scrape::bind("127.0.0.1:0").unwrap();
    let address = scrape.address();
    (scrape, address)
}

fn connected(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// An answer, whole and framed as it says it is; nothing comes behind it.
struct Answer {
    status: String,
    head: String,
    body: String,
}

impl Answer {
    fn to(address: SocketAddr, request: &[u8]) -> Answer {
        let mut stream = connected(address);
        stream.write_all(request).unwrap();
        Answer::from(stream, request.starts_with(b"HEAD "))
    }

    fn from(mut stream: TcpStream, to_head: bool) -> Answer {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.lines().next().unwrap().strip_prefix("HTTP/1.1 ").unwrap().to_owned();
        let named = |name: &str| {
            let mut values = head.lines().filter_map(|line| line.strip_prefix(name));
            (values.next().map(str::to_owned), values.next())
        };
        let (length, second) = named("Content-Length: ");
        assert_eq!(second, None, "{head}");
        let length: usize = length.unwrap().parse().unwrap();
        assert_eq!(body.len(), if to_head { 0 } else { length }, "{text}");
        assert_eq!(named("Connection: ").0.as_deref(), Some("close"), "{head}");
        assert_eq!(named("X-Content-Type-Options: ").0.as_deref(), Some("nosniff"), "{head}");
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }
}

/// The status that a request has, `HOST` being the header that belongs in it.
fn status(address: SocketAddr, request: &str) -> String {
    let request = request.replace("HOST", &format!("Host: {address}"));
    Answer::to(address, request.as_bytes()).status
}

const BAD: &str = "400 Bad Request";
const TOO_LARGE: &str = "431 Request Header Fields Too Large";

#[test]
fn floods_are_cut_off_and_leave_the_page_readable() {
    let (_scrape, address) = scrape();
    let long = "y".repeat(20_000);
    for flood in [
        format!("GET /{long} HTTP/1.1\r\nHOST\r\n\r\n"),
        format!("GET /metrics?{long} HTTP/1.1\r\nHOST\r\n\r\n"),
        format!("{long} /metrics HTTP/1.1\r\nHOST\r\n\r\n"),
        format!("GET /metrics HTTP/1.1\r\nHOST\r\nx: {long}\r\n\r\n"),
        format!("GET /metrics HTTP/1.1\r\nHOST\r\n{}\r\n", "a: b\r\n".repeat(5_000)),
        format!("GET /metrics HTTP/1.1\r\n{}\r\n", "Host: a\r\n".repeat(5_000)),
        "\n".repeat(20_000),
        long.clone(),
    ] {
        let start: String = flood.chars().take(40).collect();
        assert_eq!(status(address, &flood), TOO_LARGE, "{start}");
    }
    let many = format!("GET /metrics HTTP/1.1\r\nHOST\r\n{}\r\n", "a: b\r\n".repeat(100));
    assert_eq!(status(address, &many), "200 OK", "a browser may send so many");
}

#[test]
fn what_follows_a_request_is_never_another_one() {
    let (_scrape, address) = scrape();
    let own = format!("Host: {address}");
    let get = format!("GET /metrics HTTP/1.1\r\n{own}\r\n\r\n");
    for (request, status) in [
        (get.repeat(3), "200 OK"),
        (
            format!("GET / HTTP/1.1\r\n{own}\r\nContent-Length: {}\r\n\r\n{get}", get.len()),
            "200 OK",
        ),
        (
            format!("POST / HTTP/1.1\r\n{own}\r\nContent-Length: 0\r\n\r\n{get}"),
            "405 Method Not Allowed",
        ),
        (
            format!(
                "POST / HTTP/1.1\r\n{own}\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{get}"
            ),
            "405 Method Not Allowed",
        ),
        (
            format!(
                "GET / HTTP/1.1\r\n{own}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: h2c\r\n\r\n"
            ),
            "200 OK",
        ),
        (format!("{get}{}", "z".repeat(100_000)), "200 OK"),
    ] {
        // The answer ends where the connection does, so that a second one would be counted to its body.
        assert_eq!(Answer::to(address, request.as_bytes()).status, status, "{request:.80}");
    }
}

#[test]
fn only_two_methods_are_answered_and_nothing_is_repeated() {
    let (_scrape, address) = scrape();
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get", "X<script>"] {
        let request =
            format!("{method} /metrics HTTP/1.1\r\nHost: {address}\r\nx: repeated\r\n\r\n");
        let answer = Answer::to(address, request.as_bytes());
        assert_eq!(answer.status, "405 Method Not Allowed", "{method}");
        assert!(answer.head.contains("\r\nAllow: GET, HEAD"), "{}", answer.head);
        assert!(!answer.body.contains("repeated") && !answer.body.contains("script"));
        assert!(!answer.head.contains("Access-Control"), "{}", answer.head);
        assert_eq!(
            status(address, &format!("{method} /x HTTP/1.1\r\nHOST\r\n\r\n")),
            "404 Not Found"
        );
    }
    let path = "/x%0d%0aSet-Cookie:repeated<script>";
    let answer =
        Answer::to(address, format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes());
    assert!(!format!("{}{}", answer.head, answer.body).contains("repeated"));
    for (request, expected) in [
        ("HEAD /metrics HTTP/1.1\r\nHOST\r\n\r\n", "200 OK"),
        ("HEAD / HTTP/1.0\r\n\r\n", "200 OK"),
        ("HEAD /x HTTP/1.1\r\nHOST\r\n\r\n", "404 Not Found"),
        ("HEAD /metrics HTTP/1.1\r\nHost: example.org\r\n\r\n", "403 Forbidden"),
    ] {
        assert_eq!(status(address, request), expected, "{request}");
    }
    let get = Answer::to(address, b"GET / HTTP/1.0\r\n\r\n");
    let head = Answer::to(address, b"HEAD / HTTP/1.0\r\n\r\n");
    assert_eq!(get.head, head.head);
}

#[test]
fn one_path_is_served_in_one_spelling() {
    let (_scrape, address) = scrape();
    for path in [
        "//metrics",
        "///metrics",
        "/metrics/",
        "/./metrics",
        "/x/../metrics",
        "/%6detrics",
        "/metrics%00",
        "/METRICS",
        "/metrics;x=y",
        "/metrics#x",
        "//127.0.0.1/metrics",
        "/\\..\\metrics",
    ] {
        let answer = status(address, &format!("GET {path} HTTP/1.1\r\nHOST\r\n\r\n"));
        assert_eq!(answer, "404 Not Found", "{path}");
    }
    for path in ["/metrics", "/metrics?name[]=x", "/metrics?/../x"] {
        let answer = status(address, &format!("GET {path} HTTP/1.1\r\nHOST\r\n\r\n"));
        assert_eq!(answer, "200 OK", "{path}");
    }
    // In whole, it is what one asks a proxy, and this is none.
    for target in
        ["http://example.org/metrics", &format!("http://{address}/metrics"), "*", "metrics"]
    {
        let answer = status(address, &format!("GET {target} HTTP/1.1\r\nHOST\r\n\r\n"));
        assert_eq!(answer, BAD, "{target}");
    }
    assert_eq!(status(address, "CONNECT example.org:443 HTTP/1.1\r\nHOST\r\n\r\n"), BAD);
}

#[test]
fn only_addresses_and_localhost_are_answered_under() {
    let (_scrape, address) = scrape();
    let under =
        |host: &str| status(address, &format!("GET /metrics HTTP/1.1\r\nHost:{host}\r\n\r\n"));
    for host in [
        "127.0.0.1",
        " 127.0.0.1:9464 ",
        "\t[::1]:9464",
        " localhost",
        " LocalHost:1",
        " localhost.:9464",
        " trainer.localhost:9464",
    ] {
        assert_eq!(under(host), "200 OK", "{host}");
    }
    for host in [
        "",
        " example.org",
        " 127.0.0.1.example.org",
        " localhost.example.org:9464",
        " localhost@example.org",
        " localhost:9464@example.org",
        " localhost, example.org",
        " [::1",
        " [::1].example.org",
        " ::1",
        " http://localhost",
        " localhost\r\t.example.org",
    ] {
        let answer = under(host);
        assert!(answer == "403 Forbidden" || answer == BAD, "{host}: {answer}");
    }
    for request in [
        "GET /metrics HTTP/1.1\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nHost: localhost\nHost: example.org\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nHost : localhost\r\n\r\n",
        "GET /metrics HTTP/1.1\r\n Host: localhost\r\n\r\n",
        "GET /metrics\r\n\r\n",
        "GET /metrics HTTP/2.0\r\nHost: localhost\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        assert_eq!(status(address, request), BAD, "{request}");
    }
    assert_eq!(Answer::to(address, b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n").status, BAD);
    // HTTP/1.0 has no host, and a browser always names one.
    assert_eq!(status(address, "GET /metrics HTTP/1.0\r\n\r\n"), "200 OK");
    assert_eq!(
        status(address, "GET /metrics HTTP/1.0\r\nHost: example.org\r\n\r\n"),
        "403 Forbidden"
    );
}

#[test]
fn an_address_of_ip_version_6_is_served_where_there_is_one() {
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("skipped: no IPv6 here");
        return;
    }
    let scrape = Scrape::bind("[::1]:0").unwrap();
    let address = scrape.address();
    assert_eq!(status(address, "GET /metrics HTTP/1.1\r\nHOST\r\n\r\n"), "200 OK");
    assert_eq!(
        status(address, "GET /metrics HTTP/1.1\r\nHost: example.org\r\n\r\n"),
        "403 Forbidden"
    );
}

#[test]
fn who_asks_letter_by_letter_is_answered_and_who_hangs_up_is_forgotten() {
    let (_scrape, address) = scrape();
    // Each has begun to ask, and drips.
    let mut dripping: Vec<TcpStream> = (0..16).map(|_| connected(address)).collect();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut asks = connected(address);
    for letter in request.as_bytes() {
        asks.write_all(&[*letter]).unwrap();
        for stream in &mut dripping {
            stream.write_all(b"x").unwrap();
        }
    }
    assert_eq!(Answer::from(asks, false).status, "200 OK");
    for number in 0..200 {
        let mut stream = connected(address);
        let part = request.as_bytes().get(..number % request.len()).unwrap();
        stream.write_all(part).unwrap();
    }
    assert_eq!(Answer::to(address, request.as_bytes()).status, "200 OK");
}

#[test]
fn a_port_that_is_taken_and_an_address_that_is_not_here_are_told_apart() {
    let (_scrape, taken) = scrape();
    let refused = Scrape::bind(taken).unwrap_err();
    assert!(refused.is_lost(), "{refused:?}");
    assert!(refused.to_string().contains(&taken.to_string()), "{refused}");
    assert!(refused.remedy().unwrap().contains("port"), "{refused}");
    // As `localhost` may have a second address, where nobody would ask.
    let free = SocketAddr::from(([127, 0, 0, 2], taken.port()));
    assert!(Scrape::bind([taken, free].as_slice()).unwrap_err().is_lost());
    let elsewhere = Scrape::bind_beyond_loopback("192.0.2.1:0").unwrap_err();
    assert!(elsewhere.is_absent(), "{elsewhere:?}");
    assert!(Scrape::bind(Vec::new().as_slice()).is_err());
}
