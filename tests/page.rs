//! The page, read back as text and in a browser: its numbers are its data's, and nothing in it reaches out.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use ergometer::record::Framework;
use ergometer::sensor::fake::Fake;
use ergometer::sensor::{Domain, Hardware, Provenance};
use ergometer::{Meter, Power, RunLog};
use ergometer_report::quantity::{Currency, EnergyPrice, Money};
use ergometer_report::site::Site;
use ergometer_report::{History, Page};
use serde_json::Value;
use tempfile::TempDir;

use crate::lab::{Lab, constant};

/// A training on fake sensors.
#[derive(Clone, Copy)]
struct Training<'a> {
    name: &'a str,
    framework: &'a str,
    parameters: Option<u64>,
    watts: f64,
    epochs: u64,
    gpus: u64,
    provenance: Provenance,
    accuracy: Option<f64>,
}

const TRAINING: Training<'_> = Training {
    name: "small",
    framework: "candle",
    parameters: Some(4_810),
    watts: 150.0,
    epochs: 4,
    gpus: 0,
    provenance: Provenance::Counter,
    accuracy: Some(0.96),
};

impl Training<'_> {
    fn sensors(&self) -> Vec<Fake> {
        let sensor = |hardware: Hardware, key: &str, name: &str, watts: f64| {
            Fake::counter(Domain::new(hardware, key, name), constant(watts))
                .power_between(Power::ZERO, Power::from_watts(1e5))
                .specified(|it| {
                    (it.provenance, it.gain) = (self.provenance, 0.03);
                    (it.family, it.scope) = (hardware.prefix().to_owned(), "all of it".to_owned());
                })
        };
        let gpu = |number: u64| {
            sensor(Hardware::Gpu, &format!("GPU-{number}"), "NVIDIA H100", 2.0 * self.watts)
        };
        let cpu = sensor(Hardware::Cpu, "package-0", "AMD EPYC", self.watts);
        (0..self.gpus).map(gpu).chain([cpu]).collect()
    }

    fn log(&self, lab: &Lab) -> PathBuf {
        let framework = Framework {
            name: self.framework.to_owned(),
            version: "1.0".to_owned(),
            ..Framework::default()
        };
        let meter =
            Meter::builder().clock(lab.clock()).log_directory(lab.logs.path()).framework(framework);
        let meter = self.sensors().into_iter().fold(meter, |meter, sensor| meter.sensor(sensor));
        let run = meter.build().unwrap().run(self.name).note("seed", 1);
        let run = match self.parameters {
            Some(parameters) => run.parameters(parameters),
            None => run,
        };
        let run = run.start().unwrap();
        for epoch in run.epochs(1..=self.epochs) {
            for _step in run.steps(0..3).samples(32) {
                lab.pass(400 + 30 * (epoch % 5));
            }
            let _phase = run.phase("evaluate");
            lab.pass(150);
            if let Some(accuracy) = self.accuracy {
                run.metric("accuracy", accuracy - 0.3 / (epoch as f64).powi(2));
                run.metric("loss", 0.9 / epoch as f64);
            }
        }
        let path = run.path().to_owned();
        run.finish().unwrap();
        path
    }

    fn history(&self) -> History {
        let lab = Lab::new();
        read(&self.log(&lab))
    }
}

fn read(run: &Path) -> History {
    History::read(&RunLog::open(run).unwrap()).unwrap().0
}

/// As many models as there are, each trained by two frameworks with so many seeds.
fn family(sizes: u64, seeds: u64, training: Training<'_>) -> Vec<History> {
    let mut runs = Vec::new();
    for framework in ["candle", "burn"] {
        for size in 1..=sizes {
            for seed in 0..seeds {
                let (parameters, watts) = (Some(5_000 << size), 40.0 * (size + seed) as f64);
                let accuracy = Some(0.9 + 0.01 * size as f64);
                let training = Training { framework, parameters, watts, accuracy, ..training };
                runs.push(training.history());
            }
        }
    }
    runs
}

/// Runs, each set for one page.
static RUNS: LazyLock<Vec<(&str, Vec<History>)>> = LazyLock::new(|| {
    let model = Provenance::Model;
    vec![
        ("one", vec![TRAINING.history()]),
        ("one estimated", vec![Training { provenance: model, ..TRAINING }.history()]),
        ("two GPUs", vec![Training { gpus: 2, epochs: 12, ..TRAINING }.history()]),
        ("nine GPUs", vec![Training { gpus: 9, epochs: 12, ..TRAINING }.history()]),
        ("long", vec![Training { epochs: 200, ..TRAINING }.history()]),
        (
            "without anything",
            vec![Training { accuracy: None, parameters: None, ..TRAINING }.history()],
        ),
        ("crashed", vec![crashed(), TRAINING.history()]),
        ("ten", family(5, 1, Training { gpus: 2, epochs: 40, ..TRAINING })),
        ("thirty estimated", family(5, 3, Training { provenance: model, epochs: 8, ..TRAINING })),
        ("hostile", hostile()),
    ]
});

/// Killed within its third epoch.
fn crashed() -> History {
    let lab = Lab::new();
    let run = Training { name: "killed", ..TRAINING }.log(&lab);
    let log = run.join("rank-00000.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    fs::write(&log, lines[..lines.len() / 2].concat()).unwrap();
    let manifest = run.join("run.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("\"complete\"", "\"running\"")).unwrap();
    read(&run)
}

const HOSTILE: &str =
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&<!--\u{202e}";

const HOSTILE_METRIC: &str = "accuracy/~0<img src=x onerror=alert(3)>\"'&\u{202e}";

/// Names that are HTML wherever a user can put one, and metrics that are no numbers.
fn hostile() -> Vec<History> {
    let plain = Training { gpus: 1, parameters: None, ..TRAINING };
    let runs =
        [Training { name: HOSTILE, framework: HOSTILE, ..plain }, Training { name: "b", ..plain }];
    let mut runs = runs.map(|training| training.history());
    for run in &mut runs {
        let summary = &mut run.summary;
        summary.manifest.machine.host = HOSTILE.to_owned();
        summary.manifest.notes.insert(HOSTILE.to_owned(), HOSTILE.to_owned());
        for sensor in &mut summary.manifest.sensors {
            (sensor.source, sensor.domain.name) = (HOSTILE.to_owned(), HOSTILE.to_owned());
        }
        for part in &mut summary.manifest.unmeasured {
            part.reason = HOSTILE.to_owned();
        }
        summary.end.reason = Some(HOSTILE.to_owned());
        summary.manifest.state = ergometer::record::State::Stopped;
        let sum = summary.phases["evaluate"].clone();
        summary.phases.insert(HOSTILE.to_owned(), sum);
        summary.events.insert((HOSTILE.to_owned(), Some(HOSTILE.to_owned())), 3);
        for phase in &mut run.phases {
            phase.name = HOSTILE.to_owned();
        }
        for epoch in run.epochs.iter_mut().chain(&mut summary.epochs.recent) {
            let value = 0.1 * epoch.epoch.unwrap() as f64;
            epoch.metrics =
                [(HOSTILE_METRIC.to_owned(), value), ("loss/~1".to_owned(), f64::NAN)].into();
        }
    }
    runs.into()
}

fn page_of(runs: &[History]) -> String {
    let price = EnergyPrice::per_kilowatt_hour(Money::new(0.25, Currency::EURO));
    let site = Site::default().country("FR").unwrap().price(price);
    Page::of(runs, None, &site).unwrap().to_string()
}

/// Every set of runs with its page.
static PAGES: LazyLock<Vec<(&str, String)>> =
    LazyLock::new(|| RUNS.iter().map(|(name, runs)| (*name, page_of(runs))).collect());

fn page(name: &str) -> &'static str {
    &PAGES.iter().find(|(known, _)| *known == name).unwrap().1
}

/// The data within a page.
fn data(html: &str) -> Value {
    let (_, rest) = html.split_once("<script type=\"application/json\" id=\"data\">").unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

/// The text between two others, wherever they stand.
fn between<'a>(text: &'a str, before: &'a str, after: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(before).skip(1).filter_map(move |rest| Some(rest.split_once(after)?.0))
}

/// The value of an attribute of a tag.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let value = between(tag, &format!("{name}=\""), "\"").next()?.to_owned();
    let plain = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&#x202e;", "\u{202e}"),
        ("&amp;", "&"),
    ];
    Some(plain.iter().fold(value, |value, (code, letter)| value.replace(code, letter)))
}

/// What a text says in the unit of the data, and how far off rounding may have put it.
fn shown(text: &str) -> (f64, f64) {
    let text = text.replace(',', "");
    let (digits, unit) = text.split_once(' ').unwrap_or((&text, ""));
    let number: f64 = digits.parse().unwrap_or_else(|_| panic!("`{text}` is no number"));
    let decimals = digits.split_once(['e', 'E']).map_or(digits, |(mantissa, _)| mantissa);
    let decimals = decimals.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let exponent: i32 = digits.split_once('e').map_or(0, |(_, exponent)| exponent.parse().unwrap());
    let factor = match unit {
        "" | "J" | "W" | "s" | "%" | "kg CO2e" | "EUR" => 1.0,
        "min" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        "g CO2e" => 1e-3,
        "mg CO2e" => 1e-6,
        "µg CO2e" => 1e-9,
        "t CO2e" => 1e3,
        prefixed => match prefixed.chars().next().unwrap() {
            'µ' => 1e-6,
            'm' => 1e-3,
            'k' => 1e3,
            'M' => 1e6,
            'G' => 1e9,
            _ => panic!("`{text}` has an unknown unit"),
        },
    };
    let half = 0.501 * 10f64.powi(exponent - i32::try_from(decimals).unwrap());
    (number * factor, half * factor)
}

fn assert_shows(text: &str, value: f64, place: &str) {
    let (said, half) = shown(text);
    assert!((said - value).abs() <= half + 1e-12 * value.abs(), "{place}: `{text}` is not {value}");
}

/// Holds every number of a page that says where it stands in the data against the data; gives how many there were.
fn check_numbers(html: &str) -> usize {
    let data = data(html);
    let at =
        |path: &str| data.pointer(path).unwrap_or_else(|| panic!("there is nothing at {path}"));
    let times =
        |tag: &str| attribute(tag, "data-times").map_or(1.0, |times| times.parse().unwrap());
    let mut count = 0;
    for rest in html.split("<span data-path=").skip(1) {
        let (tag, rest) = rest.split_once('>').unwrap();
        let path = attribute(&format!("p={tag}"), "p").unwrap();
        let value = at(&path).as_f64().unwrap_or_else(|| panic!("no number at {path}"));
        assert_shows(rest.split_once('<').unwrap().0, value * times(tag), &path);
        count += 1;
    }
    for table in between(html, "<table data-path=", "</table>") {
        let path = attribute(&format!("p={table}"), "p").unwrap();
        let columns: Vec<(String, f64)> = between(table, "<th data-column=", ">")
            .map(|tag| (attribute(&format!("c={tag}"), "c").unwrap(), times(tag)))
            .collect();
        let rows: Vec<&str> =
            table.split_once("<tbody>").unwrap().1.split("<tr>").skip(1).collect();
        for (row, text) in rows.iter().enumerate() {
            let cells: Vec<&str> =
                text.split("<td>").skip(1).map(|cell| cell.split('<').next().unwrap()).collect();
            assert_eq!(cells.len(), columns.len(), "{path}");
            for (cell, (column, times)) in cells.iter().zip(&columns) {
                let place = format!("{path}/{column}");
                let all = at(&place).as_array().unwrap();
                assert_eq!(all.len(), rows.len(), "{place}");
                match all[row].as_f64() {
                    Some(value) => assert_shows(cell, value * times, &place),
                    None => assert_eq!(*cell, "—", "{place}"),
                }
                count += 1;
            }
        }
    }
    count
}

/// The part of a page that draws a chart.
fn chart<'a>(html: &'a str, id: &str) -> &'a str {
    let start = html.find(&format!("aria-labelledby=\"{id}-t ")).unwrap();
    &html[start..start + html[start..].find("</figure>").unwrap()]
}

/// The numbers of a column of the data.
fn column(data: &Value, path: &str) -> Vec<f64> {
    let values = data.pointer(path).unwrap().as_array().unwrap();
    values.iter().map(|value| value.as_f64().unwrap()).collect()
}

#[test]
fn every_number_of_a_page_is_that_of_its_data() {
    for (name, html) in PAGES.iter() {
        let count = check_numbers(html);
        assert!(
            count >= if name.contains("estimated") || *name == "ten" { 60 } else { 40 },
            "{name}: {count}"
        );
    }
}

#[test]
fn a_number_that_is_not_that_of_the_data_is_found() {
    let html = page("one");
    let shown = between(html, "data-path=\"/runs/0/epochs\">", "<").next().unwrap();
    let wrong = html.replace(
        &format!("data-path=\"/runs/0/epochs\">{shown}<"),
        "data-path=\"/runs/0/epochs\">5<",
    );
    assert!(std::panic::catch_unwind(|| check_numbers(&wrong)).is_err());
}

#[test]
fn tooltips_and_bars_are_those_of_the_data() {
    let html = page("two GPUs");
    let data = data(html);
    let (energies, uncertainties) =
        (column(&data, "/runs/0/course/energy_j"), column(&data, "/runs/0/course/u_j"));
    let epochs = chart(html, "epochs-0");
    let told: Vec<&str> = between(epochs, "%\"><title>", "</title>").collect();
    assert_eq!(told.len(), energies.len());
    for (row, text) in told.iter().enumerate() {
        let (value, expanded) = text.split_once(": ").unwrap().1.split_once(" ± ").unwrap();
        assert_shows(value, energies[row], text);
        assert_shows(expanded, 2.0 * uncertainties[row], text);
    }
    // A bar is M<left> <top>h<width>v<height>h-<width>z: its height is in proportion to its energy.
    let parts = data.pointer("/runs/0/course/parts_j").unwrap().as_object().unwrap();
    let paths: Vec<&str> = between(epochs, "<path class=\"bars c", "/>").collect();
    assert_eq!((parts.len(), paths.len()), (3, 3));
    for (name, path) in ["gpu:GPU-0", "gpu:GPU-1", "cpu:package-0"].iter().zip(paths) {
        let values = column(&data, &format!("/runs/0/course/parts_j/{name}"));
        let heights: Vec<f64> =
            between(path, "v", "h").map(|height| height.parse().unwrap()).collect();
        assert_eq!(heights.len(), values.len(), "{name}");
        let scale = heights[0] / values[0];
        for (height, value) in heights.iter().zip(values) {
            assert!((height - scale * value).abs() <= 0.25, "{name}: {height} px for {value} J");
        }
    }
    let powers = column(&data, "/runs/0/power/power_w");
    let told: Vec<&str> = between(chart(html, "power-0"), "%\"><title>", "</title>").collect();
    assert_eq!(told.len(), powers.len());
    for (text, power) in told.iter().zip(powers) {
        assert_shows(text.split_once(": ").unwrap().1, power, text);
    }
}

#[test]
fn a_page_says_what_its_runs_came_to() {
    let html = page("one");
    let run = &RUNS.iter().find(|(name, _)| *name == "one").unwrap().1[0];
    let energy = run.energy().energy.unwrap();
    let data = data(html);
    assert_eq!(data.pointer("/total/energy_j").unwrap().as_f64(), Some(energy.as_joules()));
    assert_eq!(data.pointer("/runs/0/epochs").unwrap().as_u64(), Some(4));
    assert_eq!(data.pointer("/total/measured").unwrap().as_f64(), Some(1.0));
    for part in ["<h1>small</h1>", "evaluate", "AMD EPYC", "candle 1.0"] {
        assert!(html.contains(part), "{part}");
    }
    assert!(
        !html.contains("did not end as planned")
            && !html.contains("is not known, and not in the sum")
    );
}

#[test]
fn no_page_holds_an_address_or_a_script() {
    for (name, html) in PAGES.iter() {
        let lower = html.to_lowercase();
        // What users wrote is text or the value of an attribute, and neither is understood as anything else.
        let tags: Vec<&str> = between(&lower, "<", ">").collect();
        let names: String = tags.iter().flat_map(|tag| tag.split('"').step_by(2)).collect();
        for address in [
            "src=", "srcset=", "action=", "xlink", "style=", "onerror", "onload", "iframe",
            "object",
        ] {
            assert!(!names.contains(address), "{name}: {address}");
        }
        let style = between(&lower, "<style>", "</style>").next().unwrap();
        assert!(!style.contains("url(") && !style.contains("@import"), "{name}");
        for target in tags.iter().flat_map(|tag| between(tag, "href=\"", "\"")) {
            assert!(target.starts_with('#') || target == "data:,", "{name}: {target}");
        }
        assert_eq!(lower.matches("<script").count(), 1, "{name}");
        if *name != "hostile" {
            assert!(!lower.contains("http://") && !lower.contains("https://"), "{name}");
        }
        assert!(html.contains("default-src 'none'"), "{name}");
    }
}

#[test]
fn what_a_user_wrote_is_text_on_the_page_and_itself_in_the_data() {
    let html = page("hostile");
    assert_eq!(html.matches("</script>").count(), 1);
    assert!(!html.contains("<img") && !html.contains("<!--") && !html.contains('\u{202e}'));
    let data = data(html);
    assert_eq!(data.pointer("/runs/0/name").unwrap(), HOSTILE);
    assert_eq!(data.pointer("/setups/0/machine/host").unwrap(), HOSTILE);
    assert_eq!(data.pointer("/metric/name").unwrap(), HOSTILE_METRIC);
    assert_eq!(data.pointer("/runs/0/metrics").unwrap().as_object().unwrap()[HOSTILE_METRIC], 0.4);
}

#[test]
fn pages_stay_small() {
    let size = |name: &str| page(name).len();
    assert!(size("ten") < 150_000, "{} bytes", size("ten"));
    assert!(size("thirty estimated") < 200_000, "{} bytes", size("thirty estimated"));
    assert!(size("long") < 75_000, "{} bytes", size("long"));
}

#[test]
fn a_long_run_is_thinned_without_losing_energy() {
    let data = data(page("long"));
    let (first, last) =
        (column(&data, "/runs/0/course/first"), column(&data, "/runs/0/course/last"));
    assert_eq!((first[0], last[0], last[last.len() - 1]), (1.0, 1.0, 200.0));
    let energies = column(&data, "/runs/0/course/energy_j");
    let sum: f64 = (0..first.len()).map(|row| energies[row] * (last[row] - first[row] + 1.0)).sum();
    let run = &RUNS.iter().find(|(name, _)| *name == "long").unwrap().1[0];
    let whole: f64 = run.epochs.iter().map(|epoch| epoch.energy.unwrap().as_joules()).sum();
    assert!((sum / whole - 1.0).abs() < 1e-9, "{sum} is not {whole}");
    assert!(first.len() <= 100);
}

#[test]
fn what_is_estimated_is_not_drawn_as_measured() {
    for name in ["one", "two GPUs", "long", "ten"] {
        assert!(!page(name).contains(" model\""), "{name}");
    }
    for (name, drawn) in [
        ("one estimated", ["bars c0 model", "power model line", "badge model", "level c0 model"]),
        ("thirty estimated", ["bars c0 model", "mark c0 model", "mark c1 model", "gains c0 model"]),
    ] {
        for class in drawn {
            assert!(page(name).contains(class), "{name}: {class}");
        }
    }
    assert!(!page("one estimated").contains("class=\"bars c0\""));
}

#[test]
fn a_run_that_was_killed_is_said_to_be_so() {
    let html = page("crashed");
    assert!(html.contains("1 of 2 runs did not end as planned"));
    assert!(html.contains("killed: no end in its log; it is still going, or was killed"));
}

#[test]
fn what_cannot_be_shown_is_left_out_with_the_reason() {
    let html = page("without anything");
    assert!(!html.contains("id=\"quality\"") && !html.contains("id=\"size\""));
    for reason in [
        "A metric against energy: no run has a metric",
        "Energy against parameters: it takes models of two sizes",
    ] {
        assert!(html.contains(reason), "{reason}");
    }
    let ten = page("ten");
    for section in [
        "models",
        "quality",
        "size",
        "epochs",
        "power",
        "returns",
        "carbon",
        "unmeasured",
        "method",
    ] {
        assert!(ten.contains(&format!("<section id=\"{section}\">")), "{section}");
        assert!(ten.contains(&format!("<a href=\"#{section}\">")), "{section}");
    }
}

#[test]
fn each_chart_has_a_name_a_description_and_headings_in_order() {
    for (name, html) in PAGES.iter() {
        let charts = html.matches("<svg class=\"chart\" role=\"img\" aria-labelledby=").count();
        assert_eq!(charts, html.matches("<svg class=\"chart\"").count(), "{name}");
        assert_eq!(charts, html.matches("<desc id=").count(), "{name}");
        let ids: Vec<&str> = between(html, " id=\"", "\"").collect();
        let different: BTreeSet<&&str> = ids.iter().collect();
        assert_eq!(ids.len(), different.len(), "{name}: an id stands twice");
        assert_eq!(html.matches("<h1").count(), 1, "{name}");
        for table in between(html, "<table", "</table>") {
            assert!(table.contains("<caption"), "{name}");
        }
        // What scrolls can be reached and scrolled by keys alone.
        let scrolls = html.matches("class=\"scroll\"").count();
        assert_eq!(scrolls, html.matches("class=\"scroll\" tabindex=\"0\"").count(), "{name}");
    }
}

#[test]
fn no_run_and_a_metric_that_no_run_has_are_refused() {
    let site = Site::default();
    assert!(Page::of(&[], None, &site).unwrap_err().to_string().contains("no run"));
    let runs = &RUNS.iter().find(|(name, _)| *name == "one").unwrap().1;
    let refusal = Page::of(runs, Some("acuracy"), &site).unwrap_err().to_string();
    assert_eq!(refusal, "no run has a metric `acuracy`; give one of `accuracy`, `loss`");
    let html = Page::of(runs, Some("loss"), &site).unwrap().to_string();
    assert_eq!(data(&html).pointer("/metric/direction").unwrap(), "lower");
    assert!(!html.contains("<th scope=\"row\">France <"), "no place is the user's own");
}

struct Answer {
    status: u8,
    out: String,
    err: String,
}

fn report(arguments: &[&str]) -> Answer {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let all = ["ergometer", "report"].iter().chain(arguments).map(Into::into);
    let status = ergometer_cli::run(all, &mut out, &mut err);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Answer { status, out: text(out), err: text(err) }
}

#[test]
fn report_writes_the_page_and_says_where_and_how_large() {
    let (lab, pages) = (Lab::new(), TempDir::new().unwrap());
    TRAINING.log(&lab);
    let runs = lab.logs.path().to_str().unwrap();
    let file = pages.path().join("report.html");
    let path = file.to_str().unwrap();
    fs::write(&file, "before").unwrap();
    let answer = report(&[runs, "-o", path, "--country", "FR", "--metric", "loss"]);
    assert_eq!((answer.status, answer.out.as_str()), (0, ""), "{}", answer.err);
    let html = fs::read_to_string(&file).unwrap();
    assert_eq!(answer.err, format!("small: `{path}`, {} kB\n", html.len().div_ceil(1_000)));
    assert!(check_numbers(&html) > 25 && html.contains("France"));
    assert_eq!(fs::read_dir(pages.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn report_says_why_it_cannot_write_a_page() {
    let (lab, pages) = (Lab::new(), TempDir::new().unwrap());
    TRAINING.log(&lab);
    let runs = lab.logs.path().to_str().unwrap();
    let nowhere = pages.path().join("missing/report.html");
    let here = pages.path().to_str().unwrap();
    let missing = pages.path().join("missing");
    let cases = [
        (
            vec!["-o", nowhere.to_str().unwrap()],
            format!("there is no directory `{}`", missing.display()),
        ),
        (vec!["-o", here], "is no name of a file".to_owned()),
        (vec!["-o", here, "--country", "Frence"], "no country `Frence`".to_owned()),
        (
            vec!["--country", "FR"],
            "the table says nothing of places; write a page with -o".to_owned(),
        ),
    ];
    for (arguments, reason) in cases {
        let answer = report(&[&[runs], &arguments[..]].concat());
        assert_eq!(answer.status, 1, "{reason}");
        assert!(answer.err.contains(&reason), "{}", answer.err);
    }
    assert_eq!(report(&[runs, "--metric", "loss"]).status, 2, "--metric is for a page");
    assert_eq!(fs::read_dir(pages.path()).unwrap().count(), 0);
}

/// Where Chromium is; nothing, said aloud, where it is not and need not be.
fn chromium() -> Option<PathBuf> {
    let named = std::env::var_os("ERGOMETER_CHROMIUM").map(PathBuf::from);
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let search = || {
        let paths = std::env::var_os("PATH")?;
        let places = std::env::split_paths(&paths).collect::<Vec<_>>();
        let all = places.iter().flat_map(|place| names.map(|name| place.join(name)));
        all.into_iter().find(|path| path.is_file())
    };
    let found = named.or_else(search);
    let required = std::env::var_os("ERGOMETER_REQUIRE_CHROMIUM").is_some_and(|value| value == "1");
    if let Some(named) = &found {
        assert!(named.is_file(), "there is no `{}`", named.display());
    }
    assert!(
        found.is_some() || !required,
        "ERGOMETER_REQUIRE_CHROMIUM is set, and there is no Chromium"
    );
    if found.is_none() {
        // Past the test's capture, which would swallow it.
        let _ = writeln!(
            io::stderr(),
            "skipped: no Chromium to look at the page with; install it or name it in ERGOMETER_CHROMIUM"
        );
    }
    found
}

/// A page as a browser understood it, and what the browser's console said.
struct Seen {
    document: String,
    console: Vec<String>,
}

fn look(chromium: &Path, html: &str) -> Seen {
    let place = TempDir::new().unwrap();
    let (file, out, err) =
        (place.path().join("page.html"), place.path().join("out"), place.path().join("err"));
    fs::write(&file, html).unwrap();
    let mut browser = Command::new(chromium)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        .args(["--no-first-run", "--disable-background-networking", "--disable-component-update"])
        .args(["--enable-logging=stderr", "--v=0", "--virtual-time-budget=2000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", place.path().join("profile").display()))
        .arg(format!("file://{}", file.display()))
        .stdin(Stdio::null())
        .stdout(fs::File::create(&out).unwrap())
        .stderr(fs::File::create(&err).unwrap())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(120);
    while browser.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            browser.kill().unwrap();
            panic!("Chromium does not end: {}", fs::read_to_string(&err).unwrap());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let said = fs::read_to_string(&err).unwrap_or_default();
    Seen {
        document: fs::read_to_string(&out).unwrap(),
        console: said.lines().filter(|line| line.contains("CONSOLE")).map(str::to_owned).collect(),
    }
}

#[test]
fn a_browser_shows_every_number_and_its_console_is_silent() {
    let Some(chromium) = chromium() else { return };
    for (name, html) in PAGES.iter() {
        let seen = look(&chromium, html);
        assert_eq!(seen.console, Vec::<String>::new(), "{name}");
        assert!(seen.document.contains("</html>"), "{name}: {}", seen.document);
        assert_eq!(check_numbers(&seen.document), check_numbers(html), "{name}");
        assert_eq!(data(&seen.document), data(html), "{name}");
        for element in ["<section", "<figure", "<table", "<svg class=\"chart\"", "<td"] {
            let count = |text: &str| text.matches(element).count();
            assert_eq!(count(&seen.document), count(html), "{name}: {element}");
        }
    }
}

#[test]
fn a_page_that_reached_out_or_ran_a_script_would_be_noticed() {
    let Some(chromium) = chromium() else { return };
    let html = page("one");
    for broken in [
        html.replace("</main>", "<img src=\"https://example.org/a.png\"></main>"),
        html.replace("</main>", "<script>document.title = 'run'</script></main>"),
        html.replace(
            "</main>",
            "<div style=\"background:url(https://example.org/a.png)\">a</div></main>",
        ),
    ] {
        let seen = look(&chromium, &broken);
        assert!(!seen.console.is_empty());
        assert!(!seen.document.contains("<title>run"));
    }
}

#[test]
fn nothing_is_wider_than_a_telephone() {
    let Some(chromium) = chromium() else { return };
    for name in ["one", "ten", "thirty estimated", "hostile", "nine GPUs"] {
        // The policy would not let the page measure itself, so the one around it does.
        let inner = page(name).replace('&', "&amp;").replace('"', "&quot;");
        let outer = format!(
            "<!DOCTYPE html><iframe style=\"width:400px;height:900px;border:0\" srcdoc=\"{inner}\"></iframe>\
             <script>onload = () => {{ const page = document.querySelector('iframe').contentDocument.documentElement;\
             document.body.innerHTML = `<p id=\"width\">${{page.clientWidth}} ${{page.scrollWidth}}</p>`; }}</script>"
        );
        let seen = look(&chromium, &outer);
        let widths = between(&seen.document, "<p id=\"width\">", "</p>").next().unwrap();
        let (width, content) = widths.split_once(' ').unwrap();
        assert!((370..=400).contains(&width.parse::<u32>().unwrap()), "{name}: {width}");
        assert_eq!(width, content, "{name}: its content is wider than it");
    }
}
