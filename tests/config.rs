//! What is set, where, and what comes of it.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use ergometer::log::Line;
use ergometer_report::site::Site;
use ergometer_sinks::config::{Config, Origin};
use ergometer_sinks::{Delivery, Sinks};
use serde_json::Value;
use tempfile::TempDir;

use crate::lab::{Lab, constant, cpu, lines};

/// A file of settings.
fn file(text: &str) -> (TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("ergometer.toml");
    fs::write(&path, text).unwrap();
    (home, path)
}

fn refusal(text: &str) -> String {
    let (_home, path) = file(text);
    let error = Config::open(&path).unwrap_err();
    let all = format!("{error} {}", error.remedy().unwrap_or_default());
    all.replace(path.to_str().unwrap(), "ergometer.toml")
}

/// What a key is set to, and where.
fn setting(config: &Config, key: &str) -> (Option<String>, Option<Origin>) {
    let found = config.settings().find(|it| it.key == key).unwrap();
    (found.value, found.origin)
}

/// What the command says.
fn shown(arguments: &[&str]) -> (u8, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let words = ["ergometer", "config", "show"].iter().chain(arguments);
    let status = ergometer_cli::run(words.map(Into::into), &mut out, &mut err);
    (status, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

const WHOLE: &str = "\
# A training on a machine at home.
[tensorboard]
directory = \"board\"

[mlflow]
url = \"http://127.0.0.1:5000\"
experiment = \"digits\"

[prometheus]
address = \"127.0.0.1:0\"

[otlp]
endpoint = \"http://127.0.0.1:4318\"

[place]
country = \"FR\"
pue = 1.2
price = \"0.25 EUR\"
";

#[test]
fn a_program_counts_before_its_environment_and_that_before_the_file() {
    let (_home, path) = file(WHOLE);
    let environment = |name: &str| match name {
        "MLFLOW_TRACKING_URI" => Some("http://127.0.0.1:5001".to_owned()),
        "MLFLOW_EXPERIMENT_NAME" => Some(" ".to_owned()),
        "ERGOMETER_TENSORBOARD" => Some("other".to_owned()),
        _ => None,
    };
    let file = Config::open(&path).unwrap();
    let key = "mlflow.url";
    assert_eq!(
        setting(&file, key),
        (Some("http://127.0.0.1:5000".to_owned()), Some(Origin::File(path.clone(), 6)))
    );
    let asked = file.clone().from_variables(environment);
    let from = Some(Origin::Environment("MLFLOW_TRACKING_URI"));
    assert_eq!(setting(&asked, key), (Some("http://127.0.0.1:5001".to_owned()), from));
    let (experiment, from) = setting(&asked, "mlflow.experiment");
    assert_eq!((experiment.as_deref(), from), (Some("digits"), Some(Origin::File(path, 7))));
    let program = asked.set(key, "http://127.0.0.1:5002").unwrap();
    let own = (Some("http://127.0.0.1:5002".to_owned()), Some(Origin::Program));
    assert_eq!(setting(&program, key), own);
    // In whatever order they are asked.
    let first = file.set(key, "http://127.0.0.1:5002").unwrap().from_variables(environment);
    assert_eq!(setting(&first, key), own);
    let nothing = Config::default();
    assert_eq!(setting(&nothing, key), (None, None));
    assert_eq!(
        setting(&nothing, "mlflow.experiment"),
        (Some("Default".to_owned()), Some(Origin::Default))
    );
    assert_eq!(nothing.site().unwrap(), Site::default());
}

#[test]
fn what_would_keep_a_training_from_its_start_is_shown_too() {
    let (_home, path) = file("[mlflow]\nurl = \"ftp://host\"\n[place]\ncountry = \"Freedonia\"\n");
    let (status, out, err) = shown(&["--file", path.to_str().unwrap()]);
    assert_eq!(status, 1);
    assert!(out.contains("Freedonia"), "{out}");
    assert!(err.contains("`mlflow.url`") && err.contains("`place.country`"), "{err}");
    // A file may be somebody else's, and does not say where a token goes.
    let (_home, path) = file(WHOLE);
    let token = |name: &str| (name == "MLFLOW_TRACKING_TOKEN").then(|| "s3cret".to_owned());
    let faults = Config::open(&path).unwrap().from_variables(token).faults();
    assert!(
        matches!(&faults[..], [it] if it.to_string().contains("does not say where secrets go"))
    );
    assert!(Config::open(&path).unwrap().faults().is_empty());
}

#[test]
fn what_is_not_understood_is_told_with_its_line_and_the_nearest_key() {
    let table = refusal("[tensorboard]\ndirectory = \"a\"\n[promethues]\naddress = \"x\"\n");
    assert!(table.contains("`ergometer.toml`:3: there is no table `[promethues]`"), "{table}");
    assert!(table.contains("write `prometheus`"), "{table}");
    let key = refusal("[mlflow]\nurl = \"http://127.0.0.1:1\"\nexperimnet = \"x\"\n");
    assert!(key.contains("`ergometer.toml`:3: there is no `experimnet` in `[mlflow]`"), "{key}");
    assert!(key.contains("write `experiment`"), "{key}");
    let far = refusal("[place]\nwhere_it_runs = \"FR\"\n");
    assert!(far.contains("one of `country`, `pue`, `price`"), "{far}");
    let kind = refusal("[place]\n\npue = \"1.2\"\n");
    assert!(kind.contains(":3: `place.pue` is of type string, and should be a number"), "{kind}");
    assert!(kind.contains("write `pue = 1.2`"), "{kind}");
    let text = refusal("[mlflow]\nurl = 5000\n");
    assert!(text.contains(":2: `mlflow.url` is of type integer"), "{text}");
    let value = refusal("mlflow = \"http://127.0.0.1:1\"\n");
    assert!(value.contains(":1: `mlflow` is a value, and should be a table"), "{value}");
    let set = Config::default().set("mlflow.ulr", "x").unwrap_err();
    assert!(set.remedy().unwrap().contains("`mlflow.url`"), "{set}");
    assert!(Config::open("nowhere/ergometer.toml").unwrap_err().is_absent());
}

#[test]
fn no_message_and_no_list_has_a_secret() {
    let refusals = [
        "[mlflow]\ntoken = \"s3cret\"\n",
        "[mlflow]\ntoken = s3cret\n",
        "[mlflow]\npassword = [\"s3cret\"\n",
        "[otlp]\nheaders = \"authorization=s3cret\"\n",
    ];
    for text in refusals {
        let refusal = refusal(text);
        assert!(refusal.contains(":2:") && !refusal.contains("s3cret"), "{refusal}");
    }
    assert!(refusal(refusals[0]).contains("set MLFLOW_TRACKING_TOKEN in the environment"));
    let config = Config::default().from_variables(|name| match name {
        "MLFLOW_TRACKING_URI" => Some("http://me:s3cret@127.0.0.1:5000".to_owned()),
        "MLFLOW_TRACKING_TOKEN" | "OTEL_EXPORTER_OTLP_METRICS_HEADERS" => Some("s3cret".to_owned()),
        "OTEL_EXPORTER_OTLP_HEADERS" => Some("authorization: s3cret".to_owned()),
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some("http://127.0.0.1:4318/?key=s3cret".to_owned()),
        _ => None,
    });
    let settings: Vec<_> = config.settings().collect();
    let refused = Sinks::from_config(&config).unwrap_err();
    let all = format!("{config:?} {settings:?} {refused} {refused:?}");
    assert!(!all.contains("s3cret"), "{all}");
    assert_eq!(setting(&config, "mlflow.token").0.as_deref(), Some("set"));
    assert_eq!(setting(&config, "mlflow.password"), (None, None));
    assert!(refused.what().contains("MLFLOW_TRACKING_URI in the environment"), "{refused}");
}

#[test]
fn no_spelling_of_an_address_shows_its_secret() {
    let keys = ["mlflow.url", "otlp.endpoint", "otlp.metrics-endpoint", "prometheus.address"];
    for (address, left) in [
        ("user:s3cret@host:5000", "…@host:5000"),
        ("//user:s3cret@host", "…@host"),
        ("HTTP://user:s3cret@host", "HTTP://…@host"),
        ("http://user:s3/cret?s3cret@host", "http://…"),
        ("host?token=s3cret", "host?…"),
        ("https://host/api?token=s3cret#s3cret", "https://host/api?…"),
        ("databricks://profile", "databricks://profile"),
    ] {
        for key in keys {
            let (table, word) = key.split_once('.').unwrap();
            let (_home, path) = file(&format!("[{table}]\n{word} = \"{address}\"\n"));
            let config = Config::open(&path).unwrap();
            assert_eq!(setting(&config, key).0.as_deref(), Some(left));
            let path = path.to_str().unwrap();
            let [text, json] = [vec!["--file", path], vec!["--file", path, "--json"]]
                .map(|arguments| shown(&arguments).1);
            assert!(text.contains(left) && json.contains(left), "{text} {json}");
            let mut all = format!("{config:?} {text} {json}");
            let refused = Sinks::from_config(&config).unwrap_err();
            all += &format!("{refused} {refused:?}");
            assert!(!all.contains("s3cret"), "{address}: {all}");
        }
    }
}

#[test]
fn a_run_is_told_to_all_that_are_on() {
    let (home, path) = file(WHOLE);
    let config = Config::open(&path).unwrap();
    let site = config.site().unwrap();
    assert_eq!(site.name.as_deref(), Some("France"));
    assert_eq!(site.pue.source, "given in ergometer.toml", "as `--pue` says it, and no line");
    assert!(site.price.is_some());
    let sinks = Sinks::from_config(&config).unwrap();
    assert_eq!(sinks.names().collect::<Vec<_>>(), ["tensorboard", "mlflow", "prometheus", "otlp"]);
    assert_eq!(sinks.deliveries().len(), 3);
    let (lab, board) = (Lab::new(), sinks.deliveries());
    let run = lab.meter([cpu(constant(50.0))]).run("net").observe(sinks).start().unwrap();
    let log = run.path().to_owned();
    for _epoch in run.epochs(1..=2) {
        lab.pass(1_000);
    }
    run.finish().unwrap();
    wait_for(&board);
    // Beside the file, not in the directory that the program happens to be in.
    assert_eq!(fs::read_dir(home.path().join("board")).unwrap().count(), 1);
    lines(&log);
    assert_eq!(Sinks::from_config(&Config::default()).unwrap().names().count(), 0);
}

#[test]
fn a_pue_of_no_file_is_the_user_s() {
    let environment = |name: &str| (name == "ERGOMETER_PUE").then(|| "1.3".to_owned());
    let environment = Config::default().from_variables(environment);
    let program = Config::default().set("place.pue", "1.3").unwrap();
    for config in [environment, program] {
        assert_eq!(config.site().unwrap().pue.source, "given by the user");
    }
}

/// Until all is delivered, or lost: not all of it has somebody to take it here.
fn wait_for(deliveries: &[Delivery]) {
    for delivery in deliveries {
        drop(delivery.wait(Duration::from_secs(20)));
    }
}

/// What the log says in events `sinks`, once it does.
fn told(lab: &Lab, sinks: Sinks) -> Vec<String> {
    let deliveries = sinks.deliveries();
    let run = lab.meter([cpu(constant(50.0))]).run("net").observe(sinks).start().unwrap();
    let log = run.path().to_owned();
    for _epoch in run.epochs(1..=2) {
        lab.pass(1_000);
    }
    run.finish().unwrap();
    wait_for(&deliveries);
    let events = lines(&log).into_iter().filter_map(|line| match line {
        Line::Event(event) if event.event == "sinks" => event.detail,
        _ => None,
    });
    events.collect()
}

#[test]
fn a_second_training_on_a_machine_starts_without_the_port_and_its_log_says_so() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (home, path) = file(&format!(
        "[prometheus]\naddress = \"{address}\"\n[tensorboard]\ndirectory = \"board\"\n"
    ));
    let sinks = Sinks::from_config(&Config::open(path).unwrap()).unwrap();
    assert_eq!(
        (sinks.names().collect::<Vec<_>>(), sinks.prometheus()),
        (vec!["tensorboard"], None)
    );
    let told = told(&Lab::new(), sinks);
    let [left_out] = told.as_slice() else { panic!("{told:?}") };
    assert!(left_out.starts_with("prometheus is left out: `prometheus.address`"), "{left_out}");
    for part in ["ergometer.toml:2", &address.to_string(), "give another port, or 0"] {
        assert!(left_out.contains(part), "{part}: {left_out}");
    }
    assert_eq!(fs::read_dir(home.path().join("board")).unwrap().count(), 1, "the others go on");
}

/// The error and what to do about it.
fn whole(error: &ergometer::Error) -> String {
    format!("{} {}", error.what(), error.remedy().unwrap_or_default())
}

#[test]
fn a_store_that_only_mlflow_opens_is_left_out_where_the_environment_names_it() {
    for store in [
        "sqlite:///mlflow.db",
        "mysql+pymysql://me:s3cret@host/db",
        "file:///tmp/mlruns",
        "./mlruns",
        "mlruns",
        "databricks",
        "databricks://profile",
    ] {
        let uri = |name: &str| (name == "MLFLOW_TRACKING_URI").then(|| store.to_owned());
        let config = Config::default().from_variables(uri);
        assert!(config.faults().is_empty(), "{store}");
        let [_, (_, why), ..] = config.sinks();
        assert!(why.unwrap().contains("MLFLOW_TRACKING_URI in the environment"), "{store}");
        let sinks = Sinks::from_config(&config).unwrap();
        assert_eq!(sinks.names().count(), 0, "{store}");
        let told = told(&Lab::new(), sinks);
        let [left_out] = told.as_slice() else { panic!("{store}: {told:?}") };
        let cure = if store.starts_with("data") { "workspace" } else { "`mlflow server --backend" };
        assert!(
            left_out.starts_with("mlflow is left out: ") && left_out.contains(cure),
            "{told:?}"
        );
        // An export is asked for, and so is what a program says.
        let program = Config::default().set("mlflow.url", store).unwrap();
        for refusal in [config.mlflow().unwrap_err(), Sinks::from_config(&program).unwrap_err()] {
            let text = whole(&refusal);
            assert!(text.contains(cure) && !text.contains("s3cret"), "{text}");
        }
    }
    let slip = Config::default().set("mlflow.url", "http://127.0.0.1:x").unwrap();
    let text = whole(&slip.mlflow().unwrap_err());
    assert!(text.ends_with("give one such as http://127.0.0.1:5000"), "{text}");
}

#[test]
fn an_address_that_others_could_read_is_a_fault_before_anything_listens() {
    for (address, cure) in [
        ("0.0.0.0:9464", "an SSH tunnel"),
        ("8.8.8.8:9464", "an SSH tunnel"),
        ("[::]:9464", "an SSH tunnel"),
        ("9464", "127.0.0.1:9464"),
        ("host.example:9464", "127.0.0.1:9464"),
    ] {
        let config = Config::default().set("prometheus.address", address).unwrap();
        let faults = config.faults();
        let [fault] = faults.as_slice() else { panic!("{address}: {faults:?}") };
        assert!(whole(fault).contains(cure), "{fault}");
        assert_eq!(fault.what(), Sinks::from_config(&config).unwrap_err().what());
        let [.., (_, why), _] = config.sinks();
        assert_eq!(why.as_deref(), Some("not understood"));
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    for address in [taken.local_addr().unwrap().to_string(), "localhost:9464".to_owned()] {
        let config = Config::default().set("prometheus.address", address).unwrap();
        assert!(config.faults().is_empty());
    }
}

#[test]
fn what_is_switched_off_says_by_what() {
    let off = |name: &str, value: &str| {
        let config = Config::default().from_variables(|asked| match asked {
            "OTEL_EXPORTER_OTLP_ENDPOINT" => Some("http://127.0.0.1:4318".to_owned()),
            asked => (asked == name).then(|| value.to_owned()),
        });
        let [.., (_, why)] = config.sinks();
        why
    };
    assert_eq!(off("", ""), None);
    assert_eq!(off("OTEL_SDK_DISABLED", "true").unwrap(), "OTEL_SDK_DISABLED is true");
    let exporter = off("OTEL_METRICS_EXPORTER", "none").unwrap();
    assert_eq!(exporter, "OTEL_METRICS_EXPORTER names others");
    for (_, why) in Config::default().sinks() {
        assert_eq!(why.as_deref(), Some("not set"));
    }
}

#[test]
fn a_variable_that_is_a_slip_is_named_with_the_nearest() {
    let known = ["ERGOMETER_TENSORBOARD", "ERGOMETER_COUNTRY", "PATH", "ERGOMETER_OF_ANOTHER_SORT"];
    assert!(Config::slips(known).is_empty());
    let slips = Config::slips(["ERGOMETER_TENSORBORD"]);
    let [slip] = slips.as_slice() else { panic!("{slips:?}") };
    assert!(slip.what().contains("ERGOMETER_TENSORBORD in the environment"), "{slip}");
    assert_eq!(slip.remedy(), Some("write `ERGOMETER_TENSORBOARD`"));
}

#[test]
fn a_port_that_nobody_named_is_told_to_the_program_and_in_the_log() {
    let config = |address: &str| Config::default().set("prometheus.address", address).unwrap();
    let sinks = Sinks::from_config(&config("127.0.0.1:0")).unwrap();
    let address = sinks.prometheus().unwrap();
    assert_ne!(address.port(), 0);
    let text = format!("the metrics are at http://{address}/metrics");
    assert_eq!(told(&Lab::new(), sinks), [text]);
    // Its run is over, so that the port is free, and now it is named.
    let sinks = Sinks::from_config(&config(&address.to_string())).unwrap();
    assert_eq!(sinks.prometheus(), Some(address));
    assert_eq!(told(&Lab::new(), sinks), Vec::<String>::new());
}

#[test]
fn what_is_set_wrongly_is_told_with_where_it_is_set() {
    let wrong = [
        ("[prometheus]\naddress = \"192.0.2.1:9464\"\n", "prometheus.address"),
        ("[mlflow]\nurl = \"sqlite:///mlflow.db\"\n", "mlflow.url"),
        ("[otlp]\nendpoint = \"localhost:4318\"\n", "otlp.endpoint"),
    ];
    for (text, key) in wrong {
        let (_home, path) = file(text);
        let error = Sinks::from_config(&Config::open(path).unwrap()).unwrap_err();
        assert!(error.what().contains(key) && error.what().contains("ergometer.toml:2"), "{error}");
    }
    for text in [
        "[place]\ncountry = \"Atlantis\"\n",
        "[place]\npue = 0.5\n",
        "[place]\nprice = \"cheap\"\n",
    ] {
        let (_home, path) = file(text);
        let error = Config::open(path).unwrap().site().unwrap_err();
        assert!(error.what().contains("ergometer.toml:2"), "{error}");
    }
}

#[test]
fn the_command_shows_each_setting_and_where_it_is_from() {
    let (_home, path) = file(WHOLE);
    let path = path.to_str().unwrap();
    let (status, out, err) = shown(&["--file", path]);
    assert_eq!((status, err.as_str()), (0, ""));
    let line = |key: &str| out.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    assert!(line("tensorboard.directory").contains("board "), "{out}");
    assert!(line("tensorboard.directory").ends_with("ergometer.toml:3"), "{out}");
    assert!(line("place.pue").contains("1.2"), "{out}");
    assert!(line("mlflow.run ").ends_with("not set: MLFLOW_RUN_ID"), "{out}");
    assert!(out.ends_with("on: tensorboard, mlflow, prometheus, otlp\noff: none\n"), "{out}");
    let (_, out, _) = shown(&["--file", path, "--json"]);
    let all: Vec<Value> = serde_json::from_str(&out).unwrap();
    let experiment = all.iter().find(|it| it["key"] == "mlflow.experiment").unwrap();
    assert_eq!(
        (&experiment["value"], &experiment["variable"]),
        (&"digits".into(), &"MLFLOW_EXPERIMENT_NAME".into())
    );
    assert!(experiment["from"].as_str().unwrap().ends_with(":7"));
    let (status, out, err) = shown(&["--file", "nowhere.toml"]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains("nowhere.toml"), "{err}");
}

#[test]
fn a_file_does_not_say_where_the_secrets_of_the_environment_go() {
    for (text, variable) in [
        ("[mlflow]\nurl = \"https://elsewhere.example\"\n", "MLFLOW_TRACKING_TOKEN"),
        ("[otlp]\nendpoint = \"https://elsewhere.example\"\n", "OTEL_EXPORTER_OTLP_HEADERS"),
        (
            "[otlp]\nmetrics-endpoint = \"https://elsewhere.example\"\n",
            "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
        ),
    ] {
        let (_home, path) = file(text);
        let secret = |name: &str| (name == variable).then(|| "key=s3cret".to_owned());
        let config = Config::open(&path).unwrap().from_variables(secret);
        let refusal = Sinks::from_config(&config).map(|_| ()).unwrap_err().to_string();
        assert!(refusal.contains(variable) && refusal.contains("ergometer.toml"), "{refusal}");
        assert!(!refusal.contains("s3cret"), "{refusal}");
    }
}

#[test]
fn the_environments_collector_counts_before_the_files_even_if_that_is_for_metrics() {
    let (_home, path) = file("[otlp]\nmetrics-endpoint = \"http://127.0.0.1:1/file\"\n");
    let variables = |name: &str| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some("http://127.0.0.1:2".to_owned()),
        "OTEL_EXPORTER_OTLP_HEADERS" => Some("x-key=s3cret".to_owned()),
        _ => None,
    };
    let config = Config::open(&path).unwrap().from_variables(variables);
    let sinks = Sinks::from_config(&config).unwrap();
    assert_eq!(sinks.names().count(), 1);
}
