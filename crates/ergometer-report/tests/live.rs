//! Services that tell carbon intensities, played by servers on this machine.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use ergometer_report::grid::live::{Basis, Live, Secret, Service};
use ergometer_report::site::Site;

/// A server that gives one answer to each request, in turn, and tells what it was asked.
struct Server {
    url: String,
    requests: Receiver<Vec<String>>,
}

impl Server {
    /// The answers are whole: status line, headers, body. An empty one is none at all, and the connection stays open.
    fn answering(answers: &[&str]) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers: Vec<String> = answers.iter().map(|&answer| answer.to_owned()).collect();
        let (tell, requests) = mpsc::channel();
        let serve = move || {
            let mut open = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let request: Vec<String> =
                    lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
                // The test may have ended; then nobody wants to know.
                let _ = tell.send(request);
                let _ = stream.write_all(answer.as_bytes());
                if answer.is_empty() {
                    open.push(stream);
                }
            }
            // What has no answer stays open until the client gives up.
            for mut stream in open {
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            }
        };
        thread::Builder::new().name("service".to_owned()).spawn(serve).unwrap();
        Server { url, requests }
    }

    /// The lines of the next request.
    fn asked(&self) -> Vec<String> {
        self.requests.recv().unwrap()
    }
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn status(line: &str, header: &str) -> String {
    format!("HTTP/1.1 {line}\r\n{header}Content-Length: 0\r\nConnection: close\r\n\r\n")
}

const TOKEN: &str = "t0k3n-of-mine";

fn electricity_maps(server: &Server) -> Live {
    let token = Secret::new(TOKEN).unwrap();
    Live::new(Service::ElectricityMaps { zone: "FR".into(), token }).base(&server.url)
}

fn watttime(server: &Server) -> Live {
    let service = Service::WattTime {
        region: "CAISO_NORTH".into(),
        user: "freddo".into(),
        password: Secret::new("the_frog").unwrap(),
    };
    Live::new(service).base(&server.url)
}

/// The message, having seen to it that no credential is in it nor in what is beneath.
fn refusal(live: &Live) -> String {
    let error = live.read().unwrap_err();
    let mut told = format!("{error} {error:?} {live:?}");
    let mut beneath = std::error::Error::source(&error);
    while let Some(cause) = beneath {
        told += &format!(" {cause} {cause:?}");
        beneath = cause.source();
    }
    for secret in [TOKEN, "the_frog", "ZnJlZGRvOnRoZV9mcm9n", "bearer-of-mine"] {
        assert!(!told.contains(secret), "{told}");
    }
    assert!(error.remedy().is_some(), "{error}");
    error.to_string()
}

const FRANCE: &str = r#"{"zone":"FR","carbonIntensity":38,"datetime":"2026-07-20T15:00:00.000Z",
    "updatedAt":"2026-07-20T15:32:00.000Z","createdAt":"2026-07-19T06:00:00.000Z",
    "emissionFactorType":"lifecycle","isEstimated":false,"estimationMethod":null}"#;

#[test]
fn electricity_maps_tells_a_mean_over_the_life_cycle() {
    let server = Server::answering(&[&ok(FRANCE)]);
    let reading = electricity_maps(&server).read().unwrap();
    assert_eq!(
        reading.to_string(),
        "38 g CO2e/kWh: FR, Electricity Maps, 2026-07-20 15:00 UTC, mean over the life cycle"
    );
    assert!(!reading.estimated);
    let asked = server.asked();
    assert_eq!(
        asked[0],
        "GET /v3/carbon-intensity/latest?zone=FR&emissionFactorType=lifecycle&disableCallerLookup=true HTTP/1.1"
    );
    assert!(asked.contains(&format!("auth-token: {TOKEN}")), "{asked:?}");
}

#[test]
fn an_estimate_stays_one() {
    let estimated = FRANCE.replace("\"isEstimated\":false", "\"isEstimated\":true");
    let server = Server::answering(&[&ok(&estimated)]);
    let reading = electricity_maps(&server).read().unwrap();
    assert!(reading.estimated);
    let site = Site::choose(None, Some(reading.sourced()), Some("FR")).unwrap();
    assert!(site.to_string().contains("mean over the life cycle, estimated"), "{site}");
    assert_eq!(site.name.as_deref(), Some("France"));
}

#[test]
fn null_is_no_intensity() {
    let null = FRANCE.replace("38,", "null,");
    let server = Server::answering(&[&ok(&null)]);
    assert_eq!(
        refusal(&electricity_maps(&server)),
        "Electricity Maps has no carbon intensity at the moment; ask again later, or give the country or g/kWh"
    );
    let halves = r#"{"data":[{"from":"2026-07-20T15:00Z","to":"2026-07-20T15:30Z",
        "intensity":{"forecast":null,"actual":null,"index":"low"}}]}"#;
    let server = Server::answering(&[&ok(halves), &ok(r#"{"data":[]}"#)]);
    let britain = Live::new(Service::GreatBritain).base(&server.url);
    assert!(refusal(&britain).contains("has no carbon intensity"));
    assert!(refusal(&britain).contains("has no carbon intensity"));
}

#[test]
fn a_zero_is_not_taken_for_an_intensity() {
    let server = Server::answering(&[&ok(&FRANCE.replace("38,", "0,"))]);
    assert!(refusal(&electricity_maps(&server)).contains("is not possible"));
}

#[test]
fn great_britain_tells_the_actual_value_or_says_that_it_is_a_forecast() {
    let halves = |actual: &str| {
        ok(&format!(
            r#"{{"data":[{{"from":"2026-07-20T15:00Z","to":"2026-07-20T15:30Z",
            "intensity":{{"forecast":186,"actual":{actual},"index":"moderate"}}}}]}}"#
        ))
    };
    let server = Server::answering(&[&halves("190"), &halves("null")]);
    let britain = Live::new(Service::GreatBritain).base(format!("{}/", server.url));
    let actual = britain.read().unwrap();
    assert_eq!(
        (actual.intensity.as_grams_per_kilowatt_hour().round(), actual.estimated),
        (190.0, false)
    );
    let forecast = britain.read().unwrap();
    assert_eq!(
        forecast.to_string(),
        "186 g CO2e/kWh: Great Britain, the Carbon Intensity API of Great Britain, 2026-07-20 15:00 UTC, \
         mean of direct emissions, estimated"
    );
    assert_eq!(server.asked()[0], "GET /intensity HTTP/1.1");
}

#[test]
fn eco2mix_tells_direct_emissions() {
    let records = r#"{"total_count":96,"results":[{"date_heure":"2026-07-20T15:15:00+02:00","taux_co2":19}]}"#;
    let server = Server::answering(&[&ok(records)]);
    let reading = Live::new(Service::Eco2mix).base(&server.url).read().unwrap();
    assert_eq!(reading.basis, Basis::Direct);
    assert_eq!(
        reading.to_string(),
        "19 g CO2e/kWh: France, éCO2mix, 2026-07-20 13:15 UTC, mean of direct emissions, estimated"
    );
    assert!(server.asked()[0].contains("/eco2mix-national-tr/records?select=date_heure,taux_co2&"));
}

const MARGINAL: &str = r#"{"data":[{"point_time":"2026-07-20T15:00:00+00:00","value":870.0}],
    "meta":{"data_point_period_seconds":300,"region":"CAISO_NORTH","signal_type":"co2_moer",
    "model":{"date":"2026-03-01"},"units":"lbs_co2_per_mwh","generated_at":"2026-07-20T15:00:00+00:00"}}"#;

#[test]
fn watttime_is_marginal_and_in_pounds() {
    let login = ok(r#"{"token":"bearer-of-mine"}"#);
    let server = Server::answering(&[&login, &ok(MARGINAL)]);
    let reading = watttime(&server).read().unwrap();
    // 870 lb/MWh at 453.59237 g/lb.
    assert!((reading.intensity.as_grams_per_kilowatt_hour() - 394.625).abs() < 0.001);
    assert_eq!(reading.basis, Basis::Marginal);
    assert!(reading.to_string().ends_with("marginal, no mean, estimated"), "{reading}");
    let login = server.asked();
    assert_eq!(login[0], "GET /login HTTP/1.1");
    assert!(
        login
            .iter()
            .any(|line| line.eq_ignore_ascii_case("authorization: Basic ZnJlZGRvOnRoZV9mcm9n"))
    );
    let forecast = server.asked();
    assert_eq!(
        forecast[0],
        "GET /v3/forecast?region=CAISO_NORTH&signal_type=co2_moer&horizon_hours=0 HTTP/1.1"
    );
    assert!(
        forecast
            .iter()
            .any(|line| line.eq_ignore_ascii_case("authorization: Bearer bearer-of-mine"))
    );
}

#[test]
fn another_unit_is_not_read_as_pounds() {
    let login = ok(r#"{"token":"bearer-of-mine"}"#);
    let kilograms = ok(&MARGINAL.replace("lbs_co2", "kg_co2"));
    let server = Server::answering(&[&login, &kilograms]);
    assert!(refusal(&watttime(&server)).contains("its unit is `kg_co2_per_mwh`"));
}

#[test]
fn a_login_of_another_form_does_not_show_its_token() {
    let server = Server::answering(&[&ok(r#"{"token":["bearer-of-mine"]}"#)]);
    assert!(refusal(&watttime(&server)).contains("it is of another form at line 1"));
}

#[test]
fn refused_credentials_are_named_and_not_shown() {
    let unauthorised = status("401 Unauthorized", "");
    let server = Server::answering(&[&unauthorised]);
    assert_eq!(
        refusal(&electricity_maps(&server)),
        "Electricity Maps does not accept the credentials, or not for this grid (401 Unauthorized); \
         check the token or account, and what it may read"
    );
    let server = Server::answering(&[&unauthorised]);
    assert!(watttime(&server).read().unwrap_err().is_permission_denied());
}

#[test]
fn a_service_that_asks_for_patience_is_quoted() {
    for (header, cure) in [
        ("Retry-After: 30\r\n", "ask again in 30 s"),
        (
            "Retry-After: Mon, 20 Jul 2026 16:00:00 GMT\r\n",
            "ask again after Mon, 20 Jul 2026 16:00:00 GMT",
        ),
        ("", "ask again later"),
    ] {
        let server = Server::answering(&[&status("429 Too Many Requests", header)]);
        assert_eq!(
            refusal(&electricity_maps(&server)),
            format!("Electricity Maps was asked too often (429 Too Many Requests); {cure}")
        );
    }
}

#[test]
fn a_silent_service_is_given_up() {
    let server = Server::answering(&[""]);
    let live = electricity_maps(&server).timeout(Duration::from_millis(200));
    let told = refusal(&live);
    assert!(told.contains("Electricity Maps did not answer within 200ms"), "{told}");
}

#[test]
fn nobody_there_is_an_error() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let live = Live::new(Service::Eco2mix).base(format!("http://{unused}"));
    assert!(refusal(&live).contains("cannot be reached"));
}

#[test]
fn another_zone_than_asked_for_is_no_answer() {
    let server = Server::answering(&[&ok(&FRANCE.replace("\"FR\"", "\"DE\""))]);
    assert!(refusal(&electricity_maps(&server)).contains("it is of DE, not of FR"));
}

#[test]
fn a_redirection_takes_no_token_elsewhere() {
    let thief = Server::answering(&[&ok(FRANCE)]);
    let moved = status("302 Found", &format!("Location: {}/\r\n", thief.url));
    let server = Server::answering(&[&moved]);
    assert!(refusal(&electricity_maps(&server)).contains("answers with 302"));
    assert!(thief.requests.try_recv().is_err());
}

#[test]
fn a_token_does_not_leave_the_machine_unencrypted() {
    let token = Secret::new(TOKEN).unwrap();
    let service = Service::ElectricityMaps { zone: "FR".into(), token };
    let told = refusal(&Live::new(service).base("http://maps.example.org"));
    assert!(told.ends_with("give an address that begins with https://"), "{told}");
}

#[test]
fn what_cannot_be_sent_is_refused() {
    assert!(Secret::new("").is_err());
    let told = Secret::new("line\nend").unwrap_err().to_string();
    assert!(!told.contains("line\nend"), "{told}");
    let token = Secret::new(TOKEN).unwrap();
    let service = Service::ElectricityMaps { zone: "FR&x=1".into(), token };
    assert!(refusal(&Live::new(service)).contains("`FR&x=1` is not the name of a grid"));
}
