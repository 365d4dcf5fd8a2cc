//! The command in a directory that says in `ergometer.toml` where its trainings run.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use ergometer::sensor::fake::{Fake, Load};
use ergometer::sensor::{Domain, Hardware};
use ergometer::{FakeClock, Meter, Power};

/// A directory with a run of 1 kWh, and the place of those who train there.
fn home() -> tempfile::TempDir {
    let (home, hands) = (tempfile::tempdir().unwrap(), FakeClock::new());
    let domain = Domain::new(Hardware::Cpu, "0", "fake");
    let sensor = Fake::counter(domain, Load::Constant(Power::from_watts(100_000.0)))
        .power_between(Power::ZERO, Power::from_watts(1e6));
    let meter = Meter::builder().clock(hands.clock()).log_directory(home.path().join("runs"));
    let run = meter.sensor(sensor).build().unwrap().run("mlp").start().unwrap();
    hands.advance(Duration::from_secs(36));
    run.finish().unwrap();
    let place = "[place]\ncountry = \"FR\"\npue = 1.5\nprice = \"0.25 EUR\"\n";
    fs::write(home.path().join("ergometer.toml"), place).unwrap();
    home
}

fn ergometer(home: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ergometer"));
    for variable in ["ERGOMETER_COUNTRY", "ERGOMETER_PUE", "ERGOMETER_PRICE"] {
        command.env_remove(variable);
    }
    command.args(arguments).current_dir(home).output().unwrap()
}

#[test]
fn a_place_that_is_configured_stands_in_the_way_of_no_table() {
    let home = home();
    for arguments in [&["report", "runs"][..], &["compare", "runs"], &["total", "runs"]] {
        let output = ergometer(home.path(), arguments);
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && !output.stdout.is_empty(), "{arguments:?}: {err}");
    }
    // One that is asked for is, where the table has no room for it.
    let output = ergometer(home.path(), &["report", "runs", "--country", "DE"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("says nothing of places"));
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn it_is_taken_where_a_place_is_wanted() {
    let home = home();
    let output = ergometer(home.path(), &["export", "--format", "model-card", "runs"]);
    let card = String::from_utf8(output.stdout).unwrap();
    assert!(card.contains("France") && card.contains("ergometer.toml"), "{card}");
    let output = ergometer(home.path(), &["whatif", "runs"]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("France") && told.contains("1.5"), "{told}");
}
