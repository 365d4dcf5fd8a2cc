//! AMD's sockets: through hwmon, through the management port, and by the driver `amd_energy`.

use std::io;
use std::time::Duration;

use ergometer::FakeClock;
use ergometer::sensor::{Incident, Provenance, Quantity, hsmp, hwmon};
use ergometer::units::{Energy, Power};

use super::{Tree, assert_powers};

#[test]
fn an_epyc_is_read_by_socket() {
    let tree = Tree::new();
    tree.chip(
        2,
        "amd_hsmp_hwmon",
        &[("power1_input", "95000000"), ("power1_cap_max", "400000000")],
    );
    tree.chip(10, "amd_hsmp_hwmon", &[("power1_input", "210500000")]);
    let mut found = hwmon::open(tree.root());
    let expected = [("cpu:package-0", true, 95.0), ("cpu:package-1", true, 210.5)];
    assert_powers(&mut found, &expected, 305.5);
    let [first, second] = [found.sensors[0].specification(), found.sensors[1].specification()];
    assert_eq!((first.gain, first.stack.as_str(), first.averaging), (0.06, "hsmp", Duration::ZERO));
    assert_eq!(first.interval, Duration::from_millis(50));
    assert_eq!((first.most, second.most), (Power::from_watts(800.0), Power::from_watts(1_000.0)));
    assert_eq!(first.domain.name, "CPU package 0");
}

#[cfg(unix)]
#[test]
fn sockets_of_one_device_keep_their_order_under_other_numbers() {
    let (tree, clock) = (Tree::new(), FakeClock::new());
    let chip = |number: u32| format!("devices/amd_hsmp/hwmon/hwmon{number}");
    let link = |path: &str, to: &str| {
        std::os::unix::fs::symlink(tree.root().join(to), tree.root().join(path)).unwrap();
    };
    for (number, power) in [(5, "95000000"), (6, "210000000")] {
        tree.chip_at(&chip(number), "amd_hsmp_hwmon", &[("power1_input", power)]);
        link(&format!("{}/device", chip(number)), "devices/amd_hsmp");
        link(&format!("class/hwmon/hwmon{number}"), &chip(number));
    }
    let mut found = hwmon::open(tree.root());
    for number in [5, 6] {
        tree.file(&format!("{}/power1_input", chip(number)), "");
    }
    for socket in &mut found.sensors {
        assert!(socket.read(&clock.clock()).unwrap_err().is_lost());
    }
    // What was the first one's number is now the second one's.
    for (from, to, power) in [(5, 3, "96000000"), (6, 5, "211000000")] {
        std::fs::rename(tree.root().join(chip(from)), tree.root().join(chip(to))).unwrap();
        tree.file(&format!("{}/power1_input", chip(to)), power);
    }
    let expected = [("cpu:package-0", true, 96.0), ("cpu:package-1", true, 211.0)];
    assert_powers(&mut found, &expected, 307.0);
}

#[test]
fn sockets_have_the_numbers_that_the_firmware_gives_them() {
    let tree = Tree::new();
    for (number, id, power) in [(0, "ID01", "210000000"), (1, "ID00", "95000000")] {
        let files = [("power1_input", power), ("device/firmware_node/uid", id)];
        tree.chip(number, "amd_hsmp_hwmon", &files);
    }
    let expected = [("cpu:package-0", true, 95.0), ("cpu:package-1", true, 210.0)];
    assert_powers(&mut hwmon::open(tree.root()), &expected, 305.0);
}

/// A management port of two sockets at 95.25 and 210 W.
fn two_sockets(socket: u16) -> io::Result<Power> {
    match socket {
        0 => Ok(Power::from_milliwatts(95_250)),
        1 => Ok(Power::from_milliwatts(210_000)),
        _ => Err(io::Error::from_raw_os_error(19)),
    }
}

#[test]
fn the_port_answers_for_each_socket() {
    let mut found = hsmp::sockets(two_sockets);
    let expected = [("cpu:package-0", true, 95.25), ("cpu:package-1", true, 210.0)];
    assert_powers(&mut found, &expected, 305.25);
    let it = found.sensors[0].specification();
    assert_eq!((it.stack.as_str(), it.family.as_str(), it.gain), ("hsmp", "hsmp", 0.06));
    assert_eq!(it.provenance, Provenance::IntegratedPower);
}

#[test]
fn a_socket_that_does_not_answer_does_not_take_the_other_with_it() {
    let timed_out = 110;
    let mut found = hsmp::sockets(move |socket| match socket {
        0 => Err(io::Error::from_raw_os_error(timed_out)),
        other => two_sockets(other),
    });
    let [absence] = &found.absent[..] else { panic!("{found:?}") };
    assert_eq!(absence.source, "hsmp cpu:package-0");
    assert!(absence.error.is_unsupported() && absence.error.remedy().is_some(), "{absence:?}");
    found.absent.clear();
    assert_powers(&mut found, &[("cpu:package-1", true, 210.0)], 210.0);
}

#[test]
fn a_port_that_shows_nothing_or_all_ones_is_no_sensor() {
    for word in [0, u32::MAX] {
        let found = hsmp::sockets(move |socket| match socket {
            0 => Ok(Power::from_milliwatts(word)),
            _ => Err(io::Error::from_raw_os_error(19)),
        });
        assert_eq!((found.sensors.len(), found.absent.len()), (0, 1), "{found:?}");
    }
}

#[test]
fn a_port_without_sockets_is_absent() {
    let found = hsmp::sockets(|_| Err(io::Error::from_raw_os_error(19)));
    let [absence] = &found.absent[..] else { panic!("{found:?}") };
    assert!(absence.error.is_absent(), "{found:?}");
}

#[test]
fn hwmon_is_read_instead_of_the_port() {
    let tree = Tree::new();
    tree.chip(0, "amd_hsmp_hwmon", &[("power1_input", "95000000")]);
    tree.file("dev/hsmp", "");
    let found = hsmp::open(&tree.root().join("dev"), tree.root());
    assert!(found.sensors.is_empty() && found.absent.is_empty(), "{found:?}");
}

#[test]
fn a_file_that_is_no_port_is_said() {
    let tree = Tree::new();
    tree.file("dev/hsmp", "");
    let found = hsmp::open(&tree.root().join("dev"), tree.root());
    assert!(found.sensors.is_empty(), "{found:?}");
    let [absence] = &found.absent[..] else { panic!("{found:?}") };
    assert!(!absence.error.is_absent() && absence.error.remedy().is_some(), "{found:?}");
}

#[test]
fn the_port_is_missed_on_amds_servers_only() {
    let alias =
        |family, features| format!("cpu:type:x86,ven0002fam{family}mod0011:feature:{features}\n");
    let cases = [
        (alias("0019", ",0000,008D"), "23", true),
        (alias("001A", ",0000"), "17", true),
        (alias("0019", ",0000,009F"), "23", false),
        (alias("0019", ",0000"), "3", false),
        (alias("0017", ",0000"), "23", false),
        ("cpu:type:x86,ven0000fam0006mod008F:feature:,0000\n".to_owned(), "23", false),
    ];
    for (alias, chassis, missed) in cases {
        let tree = Tree::new();
        tree.file("devices/system/cpu/modalias", &alias);
        tree.file("class/dmi/id/chassis_type", chassis);
        let found = hsmp::open(&tree.root().join("dev"), tree.root());
        assert_eq!(!found.absent.is_empty(), missed, "{alias} {chassis}");
        for absence in found.absent {
            assert!(
                absence.error.remedy().unwrap().contains("modprobe amd_hsmp"),
                "{}",
                absence.error
            );
        }
    }
}

#[test]
fn counters_of_amd_energy_are_read_by_socket_and_never_by_core() {
    let (tree, clock) = (Tree::new(), FakeClock::new());
    tree.chip(
        1,
        "amd_energy",
        &[
            ("energy1_label", "Ecore000"),
            ("energy1_input", "111"),
            ("energy2_label", "Ecore001"),
            ("energy2_input", "222"),
            ("energy9_label", "Esocket0"),
            ("energy9_input", "5000000"),
            ("energy10_label", "Esocket1"),
            ("energy10_input", "7000000"),
            ("energy11_label", "Esocket0"),
            ("energy11_input", "5000000"),
        ],
    );
    let mut found = hwmon::open(tree.root());
    assert!(found.absent.is_empty(), "{found:?}");
    let ids: Vec<_> =
        found.sensors.iter().map(|sensor| sensor.specification().domain.id.clone()).collect();
    assert_eq!(ids, ["cpu:package-0", "cpu:package-1"]);
    let first = &mut found.sensors[0];
    let it = first.specification();
    assert_eq!((it.provenance, it.gain, it.in_total), (Provenance::Counter, 0.06, true));
    assert_eq!(it.family, "rapl");
    let mut energy = || {
        let reading = first.read(&clock.clock()).unwrap();
        let Quantity::Counter(energy) = reading.quantity else { panic!("{reading:?}") };
        (energy, reading.incident)
    };
    assert_eq!(energy(), (Energy::ZERO, None));
    clock.advance(Duration::from_secs(1));
    tree.file("class/hwmon/hwmon1/energy9_input", "105000000\n");
    assert_eq!(energy(), (Energy::from_joules(100.0), None));
    clock.advance(Duration::from_secs(1));
    tree.file("class/hwmon/hwmon1/energy9_input", "1000000\n");
    assert_eq!(energy(), (Energy::from_joules(100.0), Some(Incident::Reset)));
}
