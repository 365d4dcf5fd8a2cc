//! The invariants of `docs/architecture.md` that a test can hold: each is something absent.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

const CRATES: [&str; 6] = [
    "ergometer",
    "ergometer-candle",
    "ergometer-burn",
    "ergometer-report",
    "ergometer-sinks",
    "ergometer-cli",
];

/// The Rust sources under a directory of the repository.
fn sources(directory: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().join(directory)];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "{directory}");
    found
}

/// The code of a file: without comments, strings, and its tests.
fn code(text: &str) -> String {
    let mut code = String::new();
    for line in text.lines().take_while(|line| *line != "#[cfg(test)]") {
        let mut quoted = false;
        let mut letters = line.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '\\' if quoted => _ = letters.next(),
                '"' => quoted = !quoted,
                '/' if !quoted && letters.peek() == Some(&'/') => break,
                _ if quoted => {}
                _ => code.push(letter),
            }
        }
        code.push('\n');
    }
    code
}

fn identifiers(code: &str) -> impl Iterator<Item = &str> {
    code.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .filter(|word| !word.is_empty())
}

#[test]
fn only_units_rs_knows_prefixes_and_no_identifier_has_a_unit() {
    // The doors: constructors and accessors of the quantities, of the standard library's, and of CUDA's.
    let files = ["crates/ergometer/src/units.rs", "crates/ergometer-report/src/quantity.rs"];
    let units = files.map(|file| fs::read_to_string(root().join(file)).unwrap());
    let doors: Vec<&str> = units
        .iter()
        .flat_map(|file| file.lines())
        .filter_map(|line| {
            line.trim()
                .strip_prefix("pub const fn ")
                .or_else(|| line.trim().strip_prefix("pub fn "))
        })
        .filter_map(|line| line.split('(').next())
        .chain([
            "from_millis",
            "from_micros",
            "from_secs",
            "as_secs",
            "as_micros",
            "as_millis",
            "tv_nsec",
            "elapsed_ms",
        ])
        .collect();
    // The log's field names have their units; these two are spelled as they are logged.
    let logged = ["unix_ns", "duration_s"];
    let mut faults = Vec::new();
    for crate_ in CRATES {
        for (path, text) in sources(&format!("crates/{crate_}/src")) {
            if files.iter().any(|file| path.ends_with(file)) {
                continue;
            }
            for word in identifiers(&code(&text)) {
                let lower = word.to_lowercase();
                let prefixed =
                    ["milli", "micro", "nano", "kilo"].iter().any(|prefix| lower.contains(prefix));
                let suffixed = [
                    "_ms", "_us", "_ns", "_mj", "_uj", "_mw", "_uw", "_j", "_w", "_kwh", "_joules",
                    "_watts", "_secs",
                ]
                .iter()
                .any(|suffix| lower.ends_with(suffix));
                // `microarchitecture` is no prefix of a unit.
                if (prefixed || suffixed)
                    && !doors.contains(&word)
                    && !logged.contains(&word)
                    && !lower.contains("microarch")
                {
                    faults.push(format!("{}: {word}", path.display()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn the_series_has_no_clock_no_io_and_no_thread() {
    let text = fs::read_to_string(root().join("crates/ergometer/src/series.rs")).unwrap();
    for absent in
        ["crate::clock", "std::fs", "std::io", "std::thread", "std::time::Instant", "Mutex"]
    {
        assert!(!code(&text).contains(absent), "{absent}");
    }
}

#[test]
fn the_core_knows_no_framework_and_the_report_no_sensor() {
    for (path, text) in sources("crates/ergometer/src") {
        for framework in ["candle_", "burn_", "burn::"] {
            assert!(!code(&text).contains(framework), "{}: {framework}", path.display());
        }
    }
    for (path, text) in sources("crates/ergometer-report/src") {
        for seen in [
            "ergometer::sensor::nvml",
            "ergometer::sensor::rapl",
            "Meter::",
            "std::thread",
            "Instant::now",
        ] {
            assert!(!code(&text).contains(seen), "{}: {seen}", path.display());
        }
    }
}

#[test]
fn no_library_prints_or_panics_by_hand() {
    for (path, text) in sources("crates/ergometer/src") {
        for absent in
            ["println!", "panic!(", ".unwrap()", "todo!", "unimplemented!", "process::exit"]
        {
            let code = code(&text);
            assert!(!code.contains(absent), "{}: {absent}", path.display());
        }
    }
}

#[test]
fn every_dependency_says_why_it_is_there() {
    for crate_ in CRATES {
        let manifest =
            fs::read_to_string(root().join(format!("crates/{crate_}/Cargo.toml"))).unwrap();
        let mut above = "";
        let mut dependencies = false;
        for line in manifest.lines() {
            if line.starts_with('[') {
                dependencies = line.contains("dependencies]") && !line.contains("dev-");
            } else if dependencies && line.contains('=') && !line.starts_with("ergometer") {
                assert!(line.contains("# ") || above.starts_with('#'), "{crate_}: {line}");
            }
            above = line;
        }
    }
}

#[test]
fn the_changelog_knows_this_version() {
    let changelog = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    assert!(changelog.contains(&format!("## {}", env!("CARGO_PKG_VERSION"))));
}
