//! What monitoring is told: Prometheus by asking, a file or a gateway, and OpenTelemetry's collectors.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use ergometer::sensor::fake::Fake;
use ergometer::sensor::{Domain, Hardware, Provenance};
use ergometer::{Meter, Run, RunBuilder, RunLog};
use ergometer_sinks::otlp::{self, Otlp, Resource};
use ergometer_sinks::prometheus::{self, Pushgateway, Scrape, Textfile};
use ergometer_sinks::replay;
use ergometer_sinks::tally::Tally;
use serde_json::Value;

use crate::lab::{Lab, constant, cpu, gpu, windows};

/// Says something to a server, and gives all that it answers.
fn say(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

fn get(address: SocketAddr, path: &str) -> String {
    say(address, format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())
}

/// The page of metrics.
fn page(address: SocketAddr) -> String {
    let answer = get(address, "/metrics");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    body.to_owned()
}

/// The samples of a metric: each one's labels, as they stand, and its value.
fn samples<'a>(page: &'a str, metric: &str) -> BTreeMap<&'a str, &'a str> {
    let start = format!("{metric}{{");
    let lines = page.lines().filter_map(|line| line.strip_prefix(&start));
    lines.map(|line| line.rsplit_once("} ").unwrap()).collect()
}

fn of<'a>(samples: &BTreeMap<&str, &'a str>, part: &str) -> &'a str {
    let label = format!("hw_id=\"{part}\"");
    samples.iter().find(|(labels, _)| labels.contains(&label)).map(|(_, value)| *value).unwrap()
}

fn joules(energy: ergometer::Energy) -> String {
    serde_json::to_string(&energy).unwrap()
}

/// Two epochs of three steps of a second.
fn train(lab: &Lab, run: &Run) {
    for _epoch in run.epochs(1..=2) {
        for step in run.steps(0..3) {
            lab.pass(1_000);
            run.metric("loss", 1.0 / f64::from(step + 1));
        }
    }
}

/// A GPU and a CPU that are measured.
fn measured(lab: &Lab) -> Meter {
    lab.meter([gpu(constant(300.0)), cpu(constant(80.0))])
}

/// Trains with these sinks, and gives the log.
fn trained(lab: &Lab, name: &str, sinks: impl FnOnce(RunBuilder) -> RunBuilder) -> RunLog {
    let run = sinks(measured(lab).run(name)).start().unwrap();
    let path = run.path().to_owned();
    train(lab, &run);
    run.finish().unwrap();
    RunLog::open(path).unwrap()
}

/// Waits for something that threads of real time do.
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_scrape_gives_the_log_s_totals_to_the_last_digit_during_the_run_and_behind_it() {
    let lab = Lab::new();
    let scrape = Scrape::bind("127.0.0.1:0").unwrap().linger(Duration::from_secs(60));
    let address = scrape.address();
    let run = measured(&lab).run("mlp").observe(scrape).start().unwrap();
    let path = run.path().to_owned();
    assert_eq!(page(address), "", "nothing has been measured yet");
    let mut seen: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for _step in run.steps(0..5) {
        lab.pass(1_000);
        let page = page(address);
        let energies = samples(&page, "hw_energy_joules_total");
        for part in energies.keys().map(|labels| part_of(labels)) {
            seen.entry(part).or_default().push(of(&energies, part).to_owned());
        }
    }
    assert!(seen.values().all(|values| values.len() >= 3), "{seen:?}");
    run.finish().unwrap();
    let windows = windows(&path);
    for (part, values) in seen {
        let logged: BTreeSet<String> =
            windows.iter().map(|window| joules(window.domains[part].total)).collect();
        assert!(values.iter().all(|value| logged.contains(value)), "{values:?} {logged:?}");
        assert!(values.is_sorted_by_key(|value| value.parse::<f64>().unwrap().to_bits()));
    }
    let end = windows.last().unwrap();
    let page = page(address);
    let energies = samples(&page, "hw_energy_joules_total");
    assert_eq!(energies.len(), 2);
    for (id, share) in &end.domains {
        assert_eq!(of(&energies, id), joules(share.total));
    }
    let total: Vec<_> = samples(&page, "ergometer_run_energy_joules_total").into_values().collect();
    assert_eq!(total, [joules(end.total)]);
    assert_eq!(samples(&page, "hw_power_watts").len(), 0, "a run that is over has no power");
}

/// The part that labels tell of, as a name that lives as long as the test.
fn part_of(labels: &str) -> &'static str {
    if labels.contains("hw_id=\"gpu:GPU-0\"") { "gpu:GPU-0" } else { "cpu:package-0" }
}

#[test]
fn a_power_is_there_while_the_run_goes_on_and_is_that_of_the_load() {
    let lab = Lab::new();
    let scrape = Scrape::bind("127.0.0.1:0").unwrap();
    let address = scrape.address();
    let run = measured(&lab).run("mlp").observe(scrape).start().unwrap();
    for _step in run.steps(0..6) {
        lab.pass(1_000);
    }
    let page = page(address);
    let powers = samples(&page, "hw_power_watts");
    let watts = |part: &str| of(&powers, part).parse::<f64>().unwrap();
    assert!((watts("gpu:GPU-0") - 300.0).abs() < 3.0, "{powers:?}");
    assert!((watts("cpu:package-0") - 80.0).abs() < 0.8, "{powers:?}");
    run.finish().unwrap();
}

#[test]
fn a_process_that_resumes_a_run_goes_on_with_its_count_of_steps() {
    let lab = Lab::new();
    let log = trained(&lab, "mlp", |run| run);
    let scrape = Scrape::bind("127.0.0.1:0").unwrap().linger(Duration::from_secs(60));
    let address = scrape.address();
    let run = measured(&lab).resume(log.directory()).unwrap().observe(scrape).start().unwrap();
    let steps = || {
        let page = page(address);
        let steps = samples(&page, "ergometer_run_steps_total").into_values().next();
        steps.map(|steps| steps.parse::<u64>().unwrap())
    };
    let mut seen = Vec::new();
    for _step in run.steps(0..4) {
        lab.pass(1_000);
        seen.extend(steps());
    }
    assert!(!seen.is_empty() && seen.iter().all(|steps| (7..=10).contains(steps)), "{seen:?}");
    let summary = run.finish().unwrap();
    assert_eq!((steps(), summary.end.steps), (Some(10), Some(10)));
}

#[test]
fn the_server_ends_with_the_run_and_its_port_is_free_again() {
    let lab = Lab::new();
    let scrape = Scrape::bind("127.0.0.1:0").unwrap();
    let address = scrape.address();
    trained(&lab, "mlp", |run| run.observe(scrape));
    assert!(TcpStream::connect(address).is_err());
    drop(TcpListener::bind(address).unwrap());
    // One that was never given to a run ends when it is dropped.
    let scrape = Scrape::bind("127.0.0.1:0").unwrap();
    let address = scrape.address();
    drop(scrape);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_lingering_server_ends_after_its_time() {
    let lab = Lab::new();
    let scrape = Scrape::bind("127.0.0.1:0").unwrap().linger(Duration::from_millis(300));
    let address = scrape.address();
    trained(&lab, "mlp", |run| run.observe(scrape));
    until("it ends", || TcpStream::connect(address).is_err());
}

#[test]
fn clients_that_never_finish_hold_nothing_up() {
    let lab = Lab::new();
    let scrape = Scrape::bind("127.0.0.1:0").unwrap();
    let address = scrape.address();
    let run = measured(&lab).run("mlp").observe(scrape).start().unwrap();
    // More than it serves at a time; each has begun a request, and some never read an answer.
    let mut slow: Vec<TcpStream> = Vec::new();
    for number in 0..100 {
        let mut stream = TcpStream::connect(address).unwrap();
        let part: &[u8] = if number % 2 == 0 {
            b"GET /metr"
        } else {
            b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        };
        stream.write_all(part).unwrap();
        slow.push(stream);
    }
    train(&lab, &run);
    let start = Instant::now();
    assert!(page(address).contains("hw_energy_joules_total"));
    run.finish().unwrap();
    // Each of the hundred may take the server five seconds.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    drop(slow);
}

#[test]
fn many_may_ask_at_once() {
    let lab = Lab::new();
    let scrape = Scrape::bind("127.0.0.1:0").unwrap();
    let address = scrape.address();
    let run = measured(&lab).run("mlp").observe(scrape).start().unwrap();
    for _step in run.steps(0..3) {
        lab.pass(1_000);
    }
    let pages: BTreeSet<String> = thread::scope(|scope| {
        let askers: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| (0..20).map(|_| page(address)).collect::<BTreeSet<_>>()))
            .collect();
        askers.into_iter().flat_map(|asker| asker.join().unwrap()).collect()
    });
    assert_eq!(pages.len(), 1, "nothing has settled meanwhile");
    run.finish().unwrap();
}

#[test]
fn only_the_one_page_is_served_and_no_file() {
    let scrape = Scrape::bind("127.0.0.1:0").unwrap();
    let address = scrape.address();
    let status = |request: &str| {
        let request = request.replace("HOST", &format!("Host: {address}"));
        say(address, request.as_bytes()).lines().next().unwrap().to_owned()
    };
    for path in
        ["/etc/passwd", "/../../etc/passwd", "/metrics/../../etc/passwd", "/%2e%2e/x", "/metrics/"]
    {
        let answer = status(&format!("GET {path} HTTP/1.1\r\nHOST\r\n\r\n"));
        assert_eq!(answer, "HTTP/1.1 404 Not Found", "{path}");
    }
    assert_eq!(status("GET ../../etc/passwd HTTP/1.1\r\nHOST\r\n\r\n"), "HTTP/1.1 400 Bad Request");
    assert_eq!(
        status("POST /metrics HTTP/1.1\r\nHOST\r\nContent-Length: 3\r\n\r\nabc"),
        "HTTP/1.1 405 Method Not Allowed"
    );
    let long = format!("GET /metrics HTTP/1.1\r\nHOST\r\nx: {}\r\n\r\n", "y".repeat(20_000));
    assert_eq!(status(&long), "HTTP/1.1 431 Request Header Fields Too Large");
    assert_eq!(
        status("GET /metrics HTTP/1.1\r\nHost: example.org\r\n\r\n"),
        "HTTP/1.1 403 Forbidden"
    );
    let head =
        say(address, format!("HEAD /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes());
    assert!(head.starts_with("HTTP/1.1 200 OK") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(get(address, "/").contains("/metrics"));
}

#[test]
fn other_machines_are_let_in_only_by_the_method_that_says_so() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:127.0.0.1]:0"] {
        let refusal = Scrape::bind(address).unwrap_err();
        assert!(refusal.to_string().contains("bind_beyond_loopback"), "{refusal}");
    }
    assert!(Scrape::bind("127.0.0.1").unwrap_err().remedy().unwrap().contains("port"));
    let scrape = Scrape::bind_beyond_loopback("0.0.0.0:0").unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], scrape.address().port()));
    // Behind a name of the network, too.
    let answer = say(address, b"GET /metrics HTTP/1.1\r\nHost: node-7.cluster\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    drop(scrape);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_port_that_is_taken_is_an_error_with_a_cure() {
    let first = Scrape::bind("127.0.0.1:0").unwrap();
    let refusal = Scrape::bind(first.address()).unwrap_err();
    assert!(refusal.remedy().unwrap().contains("port"), "{refusal}");
}

#[test]
fn hostile_names_stay_within_their_quotes() {
    let lab = Lab::new();
    let name = "a\"} 1\nevil_total 2\\\0";
    let hostile = Fake::counter(Domain::new(Hardware::Gpu, name, name), constant(100.0));
    let scrape = Scrape::bind("127.0.0.1:0").unwrap();
    let address = scrape.address();
    let run = lab.meter([hostile]).run(name).directory(lab.logs.path().join("r")).observe(scrape);
    let run = run.start().unwrap();
    for _step in run.steps(0..3) {
        lab.pass(1_000);
        run.metric(name, 1.0);
    }
    let page = page(address);
    run.finish().unwrap();
    let escaped = "a\\\"} 1\\nevil_total 2\\\\\u{fffd}";
    assert!(page.contains(&format!("hw_id=\"gpu:{escaped}\"")), "{page}");
    assert!(page.contains(&format!(",name=\"{escaped}\"")), "{page}");
    for line in page.lines() {
        assert!(["# ", "hw_", "ergometer_"].iter().any(|start| line.starts_with(start)), "{line}");
    }
}

#[test]
fn what_is_estimated_overlaps_or_covers_all_is_told_apart() {
    let lab = Lab::new();
    let part = |hardware, key: &str| Fake::counter(Domain::new(hardware, key, key), constant(50.0));
    let meter = lab.meter([
        cpu(constant(80.0)).specified(|it| it.provenance = Provenance::Model),
        part(Hardware::Dram, "dram-0"),
        part(Hardware::Node, "psys").specified(|it| it.in_total = false),
        part(Hardware::Gpu, "twice").specified(|it| it.in_total = false),
    ]);
    let run = meter.run("mlp").start().unwrap();
    let path = run.path().to_owned();
    train(&lab, &run);
    run.finish().unwrap();
    let log = RunLog::open(&path).unwrap();
    let mut tally = Tally::default();
    replay(&log, &mut tally).unwrap();
    let page = prometheus::text([&tally]);
    let energies = samples(&page, "hw_energy_joules_total");
    assert_eq!(energies.len(), 2, "{page}");
    let labels_of = |part: &str| *energies.keys().find(|labels| labels.contains(part)).unwrap();
    assert!(labels_of("cpu:package-0").contains("provenance=\"model\""));
    assert!(labels_of("dram:dram-0").contains("hw_type=\"memory\""));
    assert!(labels_of("dram:dram-0").contains("provenance=\"counter\""));
    // A sum over the parts is the run's total.
    let sum: f64 = energies.values().map(|value| value.parse::<f64>().unwrap()).sum();
    let run = samples(&page, "ergometer_run_energy_joules_total");
    let (labels, total) = run.first_key_value().unwrap();
    assert!((sum - total.parse::<f64>().unwrap()).abs() < 1e-6 * sum, "{sum} {total}");
    assert!(labels.contains("provenance=\"model\""), "a part of it is estimated");
    assert_eq!(samples(&page, "hw_host_energy_joules_total").len(), 1);
    assert_eq!(samples(&page, "ergometer_beside_energy_joules_total").len(), 1);
}

#[test]
fn a_textfile_is_whole_and_ends_with_the_log_s_totals() {
    let lab = Lab::new();
    let path = lab.logs.path().join("run.prom");
    let sink = Textfile::new(&path).unwrap().every(Duration::from_secs(1));
    let delivery = sink.delivery();
    let log = trained(&lab, "mlp", |run| run.observe(sink));
    delivery.wait(Duration::from_secs(20)).unwrap();
    let mut tally = Tally::default();
    replay(&log, &mut tally).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), prometheus::text([&tally]));
    let beside = fs::read_dir(lab.logs.path()).unwrap();
    let left = beside.filter(|entry| {
        entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("run.prom.")
    });
    assert_eq!(left.count(), 0);
    assert!(Textfile::new("run.txt").unwrap_err().to_string().contains(".prom"));
}

#[test]
fn a_place_that_cannot_be_written_is_said_in_the_log_and_the_training_goes_on() {
    let lab = Lab::new();
    let sink = Textfile::new(lab.logs.path().join("missing/run.prom")).unwrap();
    let run = measured(&lab).run("mlp").observe(sink).start().unwrap();
    let path = run.path().to_owned();
    train(&lab, &run);
    // The courier works in real time; once it has failed, the next look of the recorder says so.
    until("it is said", || {
        lab.pass(100);
        events(&path, "prometheus-textfile").len() == 1
    });
    let summary = run.finish().unwrap();
    assert!(summary.end.energy.is_some());
    assert!(events(&path, "prometheus-textfile")[0].contains("missing"));
}

/// The details of the events of this name.
fn events(path: &Path, name: &str) -> Vec<String> {
    let lines = RunLog::open(path).unwrap().lines().unwrap().filter_map(Result::ok);
    let events = lines.filter_map(|line| match line {
        ergometer::log::Line::Event(event) if event.event == name => event.detail,
        _ => None,
    });
    events.collect()
}

/// A request that a collector got.
struct Got {
    head: String,
    body: String,
}

/// A server that answers each request with the next of `answers`, or that it is well when there are no more.
fn collector(answers: Vec<&'static str>) -> (SocketAddr, std::sync::mpsc::Receiver<Got>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let serve = move || {
        let mut answers = answers.into_iter();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let mut text = Vec::new();
            let got = loop {
                let mut buffer = [0; 4_096];
                let read = stream.read(&mut buffer).unwrap_or(0);
                text.extend_from_slice(&buffer[..read]);
                let all = String::from_utf8_lossy(&text).into_owned();
                if let Some((head, body)) = all.split_once("\r\n\r\n") {
                    let length = head.lines().find_map(|line| {
                        let (name, value) = line.split_once(':')?;
                        name.eq_ignore_ascii_case("content-length")
                            .then(|| value.trim().parse().ok())?
                    });
                    if length.is_none_or(|length: usize| body.len() >= length) {
                        break Got { head: head.to_owned(), body: body.to_owned() };
                    }
                }
                assert!(read > 0, "{all}");
            };
            let answer = answers.next().unwrap_or("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
            let answer = answer.replacen("\r\n", "\r\nConnection: close\r\n", 1);
            // Before the answer: whoever has that knows that it was heard.
            if sender.send(got).is_err() {
                return;
            }
            stream.write_all(answer.as_bytes()).unwrap();
        }
    };
    thread::Builder::new().name("collector".to_owned()).spawn(serve).unwrap();
    (address, receiver)
}

#[test]
fn a_gateway_gets_the_last_figures_under_the_run_s_own_group_and_the_token_in_a_header() {
    let lab = Lab::new();
    let (address, got) = collector(Vec::new());
    let sink = Pushgateway::new(format!("http://{address}")).unwrap().bearer("s3cret").unwrap();
    assert!(!format!("{sink:?}").contains("s3cret"));
    let delivery = sink.delivery();
    let log = trained(&lab, "mlp", |run| run.observe(sink));
    delivery.wait(Duration::from_secs(20)).unwrap();
    let last = got.try_iter().last().unwrap();
    let run = &log.manifest.run_id;
    let first = last.head.lines().next().unwrap();
    assert_eq!(first, format!("PUT /metrics/job/ergometer/run_id/{run}/rank/0 HTTP/1.1"));
    let head = last.head.to_lowercase();
    assert!(head.contains("authorization: bearer s3cret"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    let mut tally = Tally::default();
    replay(&log, &mut tally).unwrap();
    assert_eq!(last.body, prometheus::text([&tally]));
}

#[test]
fn a_collector_gets_cumulative_sums_that_are_the_log_s() {
    let lab = Lab::new();
    let (address, got) = collector(Vec::new());
    let resource = Resource::default().service("trainer").attribute("k8s.pod.name", "p\"1");
    let sink = Otlp::new(format!("http://{address}/")).unwrap().resource(resource);
    let delivery = sink.delivery();
    let log = trained(&lab, "mlp", |run| run.observe(sink.every(Duration::from_secs(2))));
    delivery.wait(Duration::from_secs(20)).unwrap();
    let all: Vec<Got> = got.try_iter().collect();
    assert!(all.len() >= 3, "{}", all.len());
    let last = all.last().unwrap();
    assert!(last.head.starts_with("POST /v1/metrics HTTP/1.1"), "{}", last.head);
    let kind =
        last.head.to_lowercase().lines().any(|line| line == "content-type: application/json");
    assert!(kind, "{}", last.head);
    let json: Value = serde_json::from_str(&last.body).unwrap();
    let resource = json["resourceMetrics"][0]["resource"]["attributes"].as_array().unwrap();
    let text = |key: &str| {
        let found = resource.iter().find(|attribute| attribute["key"] == key).unwrap();
        found["value"]["stringValue"].as_str().unwrap()
    };
    assert_eq!((text("service.name"), text("k8s.pod.name")), ("trainer", "p\"1"));
    let end = windows(log.directory()).pop().unwrap();
    let points = points(&json, "hw.energy");
    assert_eq!(points.len(), 2);
    for point in points {
        let id = point["attributes"].as_array().unwrap().iter().find(|it| it["key"] == "hw.id");
        let id = id.unwrap()["value"]["stringValue"].as_str().unwrap();
        let logged: f64 = joules(end.domains[id].total).parse().unwrap();
        assert_eq!(point["asDouble"].as_f64().unwrap().to_bits(), logged.to_bits());
        let time = |key: &str| point[key].as_str().unwrap().parse::<u64>().unwrap();
        let (start, end) = (time("startTimeUnixNano"), time("timeUnixNano"));
        let duration = Duration::from_nanos(end - start).as_secs_f64();
        assert!((5.9..7.0).contains(&duration), "{duration}");
    }
}

/// The points of a metric that is a cumulative sum.
fn points<'a>(json: &'a Value, name: &str) -> Vec<&'a Value> {
    let metrics = &json["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
    let metric = metrics.as_array().unwrap().iter().find(|metric| metric["name"] == name).unwrap();
    assert_eq!(metric["unit"], "J");
    assert_eq!(metric["sum"]["aggregationTemporality"], 2);
    assert_eq!(metric["sum"]["isMonotonic"], true);
    metric["sum"]["dataPoints"].as_array().unwrap().iter().collect()
}

#[test]
fn a_busy_collector_is_asked_again_and_what_it_refuses_is_counted_and_said() {
    let busy = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n";
    let (lab, (address, got)) = (Lab::new(), collector(vec![busy]));
    let sink = Otlp::new(format!("http://{address}")).unwrap();
    let delivery = sink.delivery();
    trained(&lab, "mlp", |run| run.observe(sink));
    delivery.wait(Duration::from_secs(20)).unwrap();
    let all: Vec<Got> = got.try_iter().collect();
    assert_eq!(all[0].body, all[1].body, "what did not arrive is sent again");

    let partial = "HTTP/1.1 200 OK\r\nContent-Length: 70\r\n\r\n\
        {\"partialSuccess\":{\"rejectedDataPoints\":\"2\",\"errorMessage\":\"too old\"}}";
    let (lab, (address, _got)) = (Lab::new(), collector(vec![partial; 50]));
    let sink = Otlp::new(format!("http://{address}")).unwrap();
    let delivery = sink.delivery();
    trained(&lab, "mlp", |run| run.observe(sink));
    let lost = delivery.wait(Duration::from_secs(20)).unwrap_err().to_string();
    assert!(lost.contains("refused 2 points") && delivery.lost() > 0, "{lost}");
}

#[test]
fn what_a_collector_repeats_of_a_token_is_not_repeated() {
    let partial = "HTTP/1.1 200 OK\r\nContent-Length: 97\r\n\r\n\
        {\"partialSuccess\":{\"rejectedDataPoints\":\"2\",\"errorMessage\":\"not for Bearer s3cret, s3cret-team\"}}";
    let (lab, (address, _got)) = (Lab::new(), collector(vec![partial; 50]));
    let sink = Otlp::new(format!("http://{address}")).unwrap().bearer("s3cret").unwrap();
    let delivery = sink.delivery();
    let log = trained(&lab, "mlp", |run| run.observe(sink));
    let lost = delivery.wait(Duration::from_secs(20)).unwrap_err().to_string();
    assert!(lost.contains("refused 2 points: not for …, …-team"), "{lost}");
    assert!(
        !fs::read_to_string(log.directory().join("rank-00000.jsonl")).unwrap().contains("s3cret")
    );
}

#[test]
fn an_answer_that_breaks_off_is_asked_for_again() {
    let broken = "HTTP/1.1 200 OK\r\nContent-Length: 70\r\n\r\n{\"partial";
    let (lab, (address, got)) = (Lab::new(), collector(vec![broken]));
    let sink = Otlp::new(format!("http://{address}")).unwrap();
    let delivery = sink.delivery();
    trained(&lab, "mlp", |run| run.observe(sink));
    delivery.wait(Duration::from_secs(20)).unwrap();
    let all: Vec<Got> = got.try_iter().collect();
    assert_eq!(all[0].body, all[1].body);
    assert_eq!(delivery.lost(), 0);
}

#[test]
fn a_collector_that_is_not_there_costs_the_run_nothing_and_the_loss_is_known() {
    let lab = Lab::new();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let sink = Otlp::new(format!("http://{nobody}")).unwrap().bearer("s3cret").unwrap();
    let delivery = sink.delivery();
    let start = Instant::now();
    let log = trained(&lab, "mlp", |run| run.observe(sink));
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    assert!(windows(log.directory()).last().unwrap().energy.is_some());
    let late = || delivery.wait(Duration::from_millis(10)).unwrap_err().to_string();
    until("it has been tried", || late().contains("cannot be reached"));
    assert!(!late().contains("s3cret"), "{}", late());
}

#[test]
fn an_exported_course_has_a_point_for_each_epoch_and_the_end() {
    let lab = Lab::new();
    let log = trained(&lab, "mlp", |run| run);
    let mut course = otlp::Course::default();
    replay(&log, &mut course).unwrap();
    let json = otlp::request(course.tallies(), &Resource::default());
    let windows = windows(log.directory());
    let logged: Vec<f64> = windows
        .iter()
        .filter(|window| window.epoch.is_none() || window.step.is_none())
        .map(|window| joules(window.total).parse().unwrap())
        .collect();
    let told: Vec<f64> = points(&json, "ergometer.run.energy")
        .iter()
        .map(|point| point["asDouble"].as_f64().unwrap())
        .collect();
    assert_eq!(told.len(), 3);
    assert_eq!(format!("{told:?}"), format!("{logged:?}"));
}
