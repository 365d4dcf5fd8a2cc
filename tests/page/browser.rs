//! The page in a real browser.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{PAGES, between, check_numbers, data, page};

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
