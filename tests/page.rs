//! The page, read back as text and in a browser: its numbers are its data's, and nothing in it reaches out.

mod browser;
mod runs;

use std::collections::BTreeSet;
use std::fs;
use std::sync::LazyLock;

use ergometer_report::quantity::{Currency, EnergyPrice, Money};
use ergometer_report::site::Site;
use ergometer_report::{History, Page};
use serde_json::Value;
use tempfile::TempDir;

use runs::{HOSTILE, HOSTILE_METRIC, RUNS, TRAINING};

use crate::lab::Lab;

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
