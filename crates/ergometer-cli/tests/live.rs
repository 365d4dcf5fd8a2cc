//! `--live`, with a service that a server on this machine plays.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use ergometer::sensor::fake::{Fake, Load};
use ergometer::sensor::{Domain, Hardware};
use ergometer::{FakeClock, Meter, Power};

/// An address that answers once.
fn served(status: &str, body: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let length = body.len();
    let answer =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    let serve = move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
        stream.write_all(answer.as_bytes()).unwrap();
    };
    thread::Builder::new().name("service".to_owned()).spawn(serve).unwrap();
    url
}

/// `ergometer whatif` for one run of 1 Wh.
fn whatif(options: &[&str]) -> (u8, String, String) {
    let (hands, logs) = (FakeClock::new(), tempfile::tempdir().unwrap());
    let load = Load::Constant(Power::from_watts(100.0));
    let sensor = Fake::counter(Domain::new(Hardware::Cpu, "0", "fake"), load);
    let builder = Meter::builder().clock(hands.clock()).log_directory(logs.path());
    let meter = builder.sensor(sensor).build().unwrap();
    let run = meter.run("one").start().unwrap();
    hands.advance(Duration::from_secs(36));
    run.finish().unwrap();
    let arguments = ["ergometer", "whatif", logs.path().to_str().unwrap()];
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let status =
        ergometer_cli::run(arguments.iter().chain(options).map(Into::into), &mut out, &mut err);
    (status, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

const NOW: &str = r#"{"data":[{"from":"2026-07-20T15:00Z","to":"2026-07-20T15:30Z",
    "intensity":{"forecast":186,"actual":null,"index":"moderate"}}]}"#;

#[test]
fn a_live_intensity_goes_before_the_country_and_says_that_it_is_estimated() {
    let url = served("200 OK", NOW);
    let (status, table, err) =
        whatif(&["--country", "GB", "--live", "great-britain", "--live-url", &url]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(table.contains("United Kingdom (own)    186"), "{table}");
    assert!(table.contains("mean of direct emissions, estimated"), "{table}");
}

#[test]
fn a_given_intensity_asks_nobody() {
    let nowhere = "http://127.0.0.1:9";
    let options = ["--intensity", "50", "--live", "great-britain", "--live-url", nowhere];
    let (status, table, err) = whatif(&options);
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(table.contains("50 g CO2e/kWh: given by the user"), "{table}");
}

#[test]
fn a_service_that_fails_is_not_replaced_by_the_country() {
    let url = served("503 Service Unavailable", "");
    let (status, out, err) =
        whatif(&["--country", "GB", "--live", "great-britain", "--live-url", &url]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains("answers with 503 Service Unavailable; ask again later"), "{err}");
}

#[test]
fn a_service_that_is_not_known_is_named_with_those_that_are() {
    let (status, _, err) = whatif(&["--live", "tea-leaves"]);
    assert_eq!(status, 1);
    assert!(err.contains("`tea-leaves` is no service") && err.contains("eco2mix"), "{err}");
}
