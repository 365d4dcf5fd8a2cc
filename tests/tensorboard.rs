//! TensorBoard's event files, read here byte by byte; that TensorBoard reads them too is shown by `tests/readers.sh`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use ergometer::log::Line;
use ergometer::sensor::Provenance;
use ergometer::{Energy, Kind, Observer, RunLog, Verdict};
use ergometer_sinks::{Delivery, TensorBoard};
use tempfile::TempDir;

use crate::lab::{Lab, constant, cpu, gpu, lines, of, steps_of_30_ms, windows};
use crate::made::{TRAINING, Training, rewrite};

/// CRC-32C, bit by bit.
fn checksum(bytes: &[u8]) -> u32 {
    let bit = |sum: u32, _| if sum & 1 == 1 { (sum >> 1) ^ 0x82f6_3b78 } else { sum >> 1 };
    !bytes.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), bit))
}

/// The payloads of an event file, whose checksums hold.
fn frames(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut payloads) = (bytes, Vec::new());
    let holds = |data: &[u8], stored: &[u8]| {
        let stored = u32::from_le_bytes(stored.try_into().unwrap());
        assert_eq!(checksum(data), stored.wrapping_sub(0xa282_ead8).rotate_left(15));
    };
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap());
        let length = usize::try_from(length).unwrap();
        holds(&rest[..8], &rest[8..12]);
        holds(&rest[12..12 + length], &rest[12 + length..16 + length]);
        payloads.push(&rest[12..12 + length]);
        rest = &rest[16 + length..];
    }
    payloads
}

/// A field of a protocol buffer.
#[derive(Clone, Copy, Debug)]
enum Field<'a> {
    Number(u64),
    Double(f64),
    Float(f32),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn bytes(self) -> &'a [u8] {
        let Field::Bytes(bytes) = self else { panic!("{self:?}") };
        bytes
    }

    fn text(self) -> String {
        String::from_utf8(self.bytes().to_vec()).unwrap()
    }
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let (byte, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            number |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return number;
            }
        }
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = match key & 7 {
            1 => 8,
            5 => 4,
            2 => usize::try_from(varint(&mut bytes)).unwrap(),
            0 => {
                fields.push((key >> 3, Field::Number(varint(&mut bytes))));
                continue;
            }
            other => panic!("wire type {other}"),
        };
        let (content, rest) = bytes.split_at(length);
        bytes = rest;
        let field = match key & 7 {
            1 => Field::Double(f64::from_le_bytes(content.try_into().unwrap())),
            5 => Field::Float(f32::from_le_bytes(content.try_into().unwrap())),
            _ => Field::Bytes(content),
        };
        fields.push((key >> 3, field));
    }
    fields
}

fn field<'a>(bytes: &'a [u8], number: u64) -> Option<Field<'a>> {
    fields(bytes).into_iter().find(|(found, _)| *found == number).map(|(_, field)| field)
}

#[expect(clippy::cast_possible_truncation, reason = "the format's precision")]
fn narrow(number: f64) -> f32 {
    number as f32
}

/// What is read of an event file.
#[derive(Debug, Default)]
struct Board {
    scalars: BTreeMap<String, Vec<(u64, f32)>>,
    /// What series say of themselves, in turn.
    descriptions: BTreeMap<String, Vec<String>>,
    summary: Option<String>,
    /// The content of the hyper-parameters plugin, by tag.
    sessions: BTreeMap<String, Vec<u8>>,
}

impl Board {
    fn read(file: &Path) -> Board {
        let bytes = fs::read(file).unwrap();
        let mut board = Board::default();
        let payloads = frames(&bytes);
        assert_eq!(field(payloads[0], 3).unwrap().text(), "brain.Event:2");
        for payload in &payloads[1..] {
            assert!(matches!(field(payload, 1), Some(Field::Double(at)) if at > 0.0));
            let Some(Field::Number(step)) = field(payload, 2) else { panic!("no step") };
            for (_, value) in fields(field(payload, 5).unwrap().bytes()) {
                board.take(step, value.bytes());
            }
        }
        board
    }

    fn take(&mut self, step: u64, value: &[u8]) {
        let tag = field(value, 1).unwrap().text();
        if let Some(Field::Float(number)) = field(value, 2) {
            if let Some(metadata) = field(value, 9).map(Field::bytes) {
                assert!(matches!(field(metadata, 4), Some(Field::Number(1))), "{tag}");
                let plugin = field(field(metadata, 1).unwrap().bytes(), 1).unwrap().text();
                assert_eq!(plugin, "scalars");
                let text = field(metadata, 3).unwrap().text();
                self.descriptions.entry(tag.clone()).or_default().push(text);
            }
            self.scalars.entry(tag).or_default().push((step, number));
            return;
        }
        let metadata = field(value, 9).unwrap().bytes();
        assert!(matches!(field(metadata, 4), Some(Field::Number(2))), "{tag}");
        let plugin = field(metadata, 1).unwrap().bytes();
        match &*field(plugin, 1).unwrap().text() {
            "text" => {
                let text = field(field(value, 8).unwrap().bytes(), 8).unwrap().text();
                assert_eq!(self.summary.replace(text), None);
            }
            "hparams" => {
                let content = field(plugin, 2).unwrap().bytes().to_vec();
                assert!(self.sessions.insert(tag, content).is_none());
            }
            other => panic!("{other}"),
        }
    }

    /// The run's parameters in the table.
    fn parameters(&self) -> BTreeMap<String, String> {
        let start = &self.sessions["_hparams_/session_start_info"];
        let start = field(start, 3).unwrap().bytes();
        let entries = fields(start).into_iter().filter(|(number, _)| *number == 1);
        let value = |value: &[u8]| match fields(value)[0] {
            (2, Field::Double(number)) => number.to_string(),
            (3, text) => format!("`{}`", text.text()),
            other => panic!("{other:?}"),
        };
        entries
            .map(|(_, entry)| entry.bytes())
            .map(|it| (field(it, 1).unwrap().text(), value(field(it, 2).unwrap().bytes())))
            .collect()
    }

    /// 1 for a session that ended as planned, 2 for one that did not.
    fn status(&self) -> Option<u64> {
        let end = self.sessions.get("_hparams_/session_end_info")?;
        match field(field(end, 4).unwrap().bytes(), 1) {
            Some(Field::Number(status)) => Some(status),
            other => panic!("{other:?}"),
        }
    }
}

/// All files below a directory, with their contents.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// The files of a run that was exported, by their paths in the directory.
fn exported(run: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let out = TempDir::new().unwrap();
    export(run, out.path());
    below(out.path())
}

fn below(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let found = files(directory).into_iter();
    found.map(|(path, bytes)| (path.strip_prefix(directory).unwrap().to_owned(), bytes)).collect()
}

/// A sink below `out`, and what the files of its runs are waited for with.
fn sink(out: &TempDir) -> (TensorBoard, Delivery) {
    let sink = TensorBoard::new(out.path());
    let delivery = sink.delivery();
    (sink, delivery)
}

fn arrived(delivery: &Delivery) {
    delivery.wait(Duration::from_secs(20)).unwrap();
}

fn export(run: &Path, out: &Path) -> Board {
    let (directory, bad) = TensorBoard::new(out).export(&RunLog::open(run).unwrap()).unwrap();
    assert!(bad.is_empty(), "{bad:?}");
    assert!(directory.starts_with(out));
    let (file, _) = files(&directory).into_iter().next_back().unwrap();
    assert!(file.file_name().unwrap().to_str().unwrap().starts_with("events.out.tfevents."));
    Board::read(&file)
}

#[test]
fn a_live_run_writes_what_its_replay_writes() {
    let (lab, out) = (Lab::new(), TempDir::new().unwrap());
    let meter = lab.meter([gpu(steps_of_30_ms()), cpu(constant(50.0))]);
    let run = meter.run("live").parameters(101_770).note("rate", 0.01).note("optimizer", "adam");
    let (sink, delivery) = sink(&out);
    let run = run.observe(sink).start().unwrap();
    for _epoch in run.epochs(1..=3) {
        for _batch in run.steps(0..20).samples(32) {
            lab.pass(31);
            run.metric("loss", 0.5);
        }
        let evaluation = run.phase("evaluate");
        lab.pass(2_000);
        run.metric("accuracy", 0.9);
        drop(evaluation);
        run.metric("infinite", f64::INFINITY);
    }
    let path = run.path().to_owned();
    run.finish().unwrap();
    arrived(&delivery);
    let live = below(out.path());
    assert_eq!(live.len(), 1);
    assert_eq!(live, exported(&path));

    let board = Board::read(&files(out.path()).into_keys().next().unwrap());
    let parameters = board.parameters();
    assert_eq!(parameters["parameters"], "101770");
    assert_eq!((&*parameters["rate"], &*parameters["optimizer"]), ("0.01", "`adam`"));
    assert_eq!(board.status(), Some(1));
    // What an evaluation within an epoch found is the epoch's.
    assert_eq!(board.scalars["epoch/accuracy"], [(1, 0.9), (2, 0.9), (3, 0.9)]);
    assert_eq!(board.scalars["phase_evaluate/accuracy"].len(), 3);
    assert!(board.scalars["epoch/infinite"].iter().all(|(_, value)| value.is_nan()));
    let windows = windows(&path);
    let epochs = of(&windows, Kind::Epoch);
    let joules = |energy: Option<Energy>| narrow(energy.unwrap().as_joules());
    for (epoch, (number, energy)) in epochs.iter().zip(&board.scalars["energy/epoch_joules"]) {
        assert_eq!((epoch.epoch, joules(epoch.energy)), (Some(*number), *energy));
    }
    let end = of(&windows, Kind::End)[0];
    assert_eq!(board.scalars["energy/total_joules"], [(60, joules(end.energy))]);
    assert_eq!(board.scalars["uncertainty/total_joules"], [(60, joules(end.uncertainty))]);
    let uncertain: Vec<&String> =
        board.scalars.keys().filter(|tag| tag.starts_with("uncertainty/")).collect();
    assert_eq!(uncertain, board.descriptions.keys().collect::<Vec<_>>());
    for said in board.descriptions.values() {
        assert_eq!(said, &["Standard uncertainty (k = 1), in joules."], "once");
    }
    assert_eq!(board.scalars["power/total_watts"], [(60, narrow(end.power().unwrap().as_watts()))]);
    let domain = joules(end.domains["cpu:package-0"].energy);
    assert_eq!(board.scalars["energy/total_joules/cpu:package-0"], [(60, domain)]);
}

#[test]
fn a_series_holds_values_of_one_quality_and_what_is_not_resolved_has_none() {
    let (lab, out) = (Lab::new(), TempDir::new().unwrap());
    let meter = lab.meter([gpu(steps_of_30_ms())]);
    let (sink, delivery) = sink(&out);
    let run = meter.run("short").observe(sink).start().unwrap();
    for length in [3, 31, 2_000] {
        for _batch in run.steps(0..10) {
            lab.pass(length);
        }
    }
    let path = run.path().to_owned();
    run.finish().unwrap();
    arrived(&delivery);
    let board = Board::read(&files(out.path()).into_keys().next().unwrap());
    let windows = windows(&path);
    let steps = of(&windows, Kind::Step);
    let mut qualities = BTreeMap::<String, Vec<u64>>::new();
    for step in steps.iter().filter(|step| step.energy.is_some()) {
        let series = qualities.entry(step.quality.to_string()).or_default();
        series.push(step.step.unwrap());
    }
    assert!(qualities.contains_key("measured") && qualities.contains_key("amortised"));
    for (tag, values) in &board.scalars {
        let Some(mark) = tag.strip_prefix("energy/step_joules") else { continue };
        if mark.starts_with('/') {
            continue;
        }
        let quality = if mark.is_empty() { "measured" } else { mark.trim_matches([' ', '(', ')']) };
        let numbers: Vec<u64> = values.iter().map(|(step, _)| *step).collect();
        assert_eq!(qualities.remove(quality), Some(numbers), "{tag}");
        assert!(values.iter().all(|(_, energy)| *energy != 0.0));
    }
    assert!(qualities.is_empty(), "{qualities:?}");
}

#[test]
fn an_unresolved_step_has_a_time_and_no_energy() {
    let (lab, out) = (Lab::new(), TempDir::new().unwrap());
    let path = TRAINING.run(lab.logs.path());
    let log = path.join("rank-00000.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    let unresolved = |line: &str| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        if line["kind"] == "step" {
            line["quality"] = "unresolved".into();
            (line["energy_j"], line["u_j"]) = (serde_json::Value::Null, serde_json::Value::Null);
            line["domains"] = serde_json::json!({});
        }
        format!("{line}\n")
    };
    fs::write(&log, text.lines().map(unresolved).collect::<String>()).unwrap();
    let board = export(&path, out.path());
    assert_eq!(board.scalars["time/step_seconds"].len(), 30);
    let energies: Vec<_> = board
        .scalars
        .keys()
        .filter(|tag| tag.contains("step_joules") || tag.contains("step_watts"))
        .collect();
    assert!(energies.is_empty(), "{energies:?}");
    assert_eq!(board.scalars["energy/epoch_joules"].len(), 3);
}

#[test]
fn an_estimate_says_so_in_every_tag_and_in_the_text() {
    let (lab, out) = (Lab::new(), TempDir::new().unwrap());
    let model = cpu(constant(50.0)).specified(|it| it.provenance = Provenance::Model);
    let meter = lab.meter([model]);
    let (sink, delivery) = sink(&out);
    let run = meter.run("estimated").observe(sink).start().unwrap();
    for _epoch in run.epochs(1..=2) {
        for _batch in run.steps(0..5).samples(8) {
            lab.pass(100);
        }
    }
    run.finish().unwrap();
    arrived(&delivery);
    let board = Board::read(&files(out.path()).into_keys().next().unwrap());
    for tag in board.scalars.keys() {
        assert_eq!(!tag.starts_with("time/"), tag.ends_with(" (estimated)"), "{tag}");
    }
    let summary = board.summary.unwrap();
    assert!(summary.contains("J estimated**"), "{summary}");
}

#[test]
fn hostile_names_stay_in_their_place() {
    let (lab, out) = (Lab::new(), TempDir::new().unwrap());
    let meter = lab.meter([cpu(constant(50.0))]);
    let run =
        meter.run("| <script>alert(1)</script> **x**\n# y").note("a\nb", "_c_").start().unwrap();
    {
        let _phase = run.phase("../../p\u{7}");
        lab.pass(500);
        run.metric("l/o\0s\ns", 1.0);
    }
    let path = run.path().to_owned();
    run.finish().unwrap();
    rewrite(&path, |manifest| {
        manifest["run_id"] = "../../../tmp/evil".into();
        manifest["machine"]["host"] = "ho/st\n".into();
    });
    let text = fs::read_to_string(path.join("rank-00000.jsonl")).unwrap();
    assert!(text.contains("\\u0000"));
    let board = export(&path, out.path());
    assert!(board.scalars.contains_key("phase_../../p_/l/o_s_s"), "{:?}", board.scalars.keys());
    assert_eq!(board.parameters()["a_b"], "`_c_`");
    let summary = board.summary.unwrap();
    assert!(summary.starts_with("**\\|") || summary.starts_with("**&#124;"), "{summary}");
    assert!(!summary.contains("<script") && summary.contains("\\*\\*x\\*\\*"), "{summary}");
    assert!(!summary.contains("\n# y"), "{summary}");
    let name = below(out.path()).into_keys().next().unwrap();
    let name = name.to_str().unwrap();
    assert!(name.starts_with("_.._.._.._tmp_evil-") && name.contains(".ho_st_-"), "{name}");
}

#[test]
fn a_directory_that_cannot_be_written_costs_the_training_nothing_and_is_told_once() {
    let (lab, out) = (Lab::new(), TempDir::new().unwrap());
    let file = out.path().join("file");
    fs::write(&file, "in the way").unwrap();
    let meter = lab.meter([cpu(constant(50.0))]);
    let sink = TensorBoard::new(&file);
    let delivery = sink.delivery();
    let run = meter.run("blocked").observe(sink).start().unwrap();
    let path = run.path().to_owned();
    let told = || -> Vec<String> {
        let told = lines(&path).into_iter().filter_map(|line| match line {
            Line::Event(event) if event.event == "tensorboard" => event.detail,
            _ => None,
        });
        told.collect()
    };
    let (begun, mut epochs) = (Instant::now(), 0);
    for _epoch in run.epochs(1..=10_000) {
        epochs += 1;
        for _batch in run.steps(0..5) {
            lab.pass(100);
        }
        // The sink's thread lives in real time.
        if !told().is_empty() || begun.elapsed() > Duration::from_secs(20) {
            break;
        }
    }
    let summary = run.finish().unwrap();
    assert_eq!((summary.end.steps, summary.end.epochs), (Some(5 * epochs), Some(epochs)));
    assert_eq!(summary.events[&("tensorboard".to_owned(), None)], 2);
    let told = told();
    let [first, last] = &told[..] else { panic!("{told:?}") };
    assert!(first.contains("cannot make") && first.contains("file"), "{first}");
    assert!(last.contains("the run is over") && last.contains("cannot make"), "{last}");
    for text in [first, last] {
        assert!(
            text.ends_with("`ergometer export RUN --format tensorboard` writes it later"),
            "{text}"
        );
    }
    assert!(delivery.wait(Duration::ZERO).is_err());
    let refusal = TensorBoard::new(&file).export(&RunLog::open(&path).unwrap()).unwrap_err();
    assert!(refusal.what().contains("cannot make"), "{refusal}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "in the way");
}

#[test]
fn what_waited_for_a_disk_is_written_once_it_can_be() {
    let (lab, out) = (Lab::new(), TempDir::new().unwrap());
    let path = TRAINING.run(lab.logs.path());
    let board = out.path().join("board");
    fs::write(&board, "in the way").unwrap();
    let mut sink = TensorBoard::new(&board);
    let delivery = sink.delivery();
    let log = RunLog::open(&path).unwrap();
    sink.began(&log.manifest);
    let windows = windows(&path);
    let epoch = of(&windows, Kind::Epoch)[0];
    let begun = Instant::now();
    // The sink's thread may have tried before the answer is given.
    let mut warned = sink.settled(epoch);
    while warned == Verdict::GoOn {
        assert!(begun.elapsed() < Duration::from_secs(20));
        thread::sleep(Duration::from_millis(2));
        warned = sink.used(Energy::ZERO, epoch.end);
    }
    assert!(matches!(&warned, Verdict::Warn(it) if it.contains("cannot make")), "{warned:?}");
    fs::remove_file(&board).unwrap();
    drop(sink);
    arrived(&delivery);
    let (written, _) = files(&board).into_iter().next_back().unwrap();
    assert_eq!(Board::read(&written).scalars["time/epoch_seconds"].len(), 1);
}

#[test]
fn each_session_of_a_resumed_run_has_a_file_that_its_export_replaces() {
    let (lab, out) = (Lab::new(), TempDir::new().unwrap());
    let meter = lab.meter([cpu(constant(100.0))]);
    let (first, delivery) = sink(&out);
    let run = meter.run("resumed").observe(first).start().unwrap();
    let train = |run: &ergometer::Run| {
        for _epoch in run.epochs(run.next_epoch()..run.next_epoch() + 2) {
            for _batch in run.steps(0..5) {
                lab.pass(100);
            }
        }
    };
    train(&run);
    let path = run.path().to_owned();
    run.finish().unwrap();
    arrived(&delivery);
    lab.pass(5_000);
    let (second, delivery) = sink(&out);
    let run = meter.resume(&path).unwrap().observe(second).start().unwrap();
    train(&run);
    run.finish().unwrap();
    arrived(&delivery);
    let live = below(out.path());
    assert_eq!(live.len(), 2);
    assert_eq!(live, exported(&path));
    export(&path, out.path());
    assert_eq!(below(out.path()), live);
    let boards: Vec<Board> = files(out.path()).keys().map(|file| Board::read(file)).collect();
    let epochs: Vec<u64> = boards
        .iter()
        .flat_map(|board| board.scalars["time/epoch_seconds"].iter().map(|(epoch, _)| *epoch))
        .collect();
    assert_eq!(epochs, [1, 2, 3, 4]);
}

#[test]
fn a_run_without_an_end_has_a_partial_total_and_no_end_of_session() {
    let (lab, out) = (Lab::new(), TempDir::new().unwrap());
    let path = TRAINING.run(lab.logs.path());
    let log = path.join("rank-00000.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains(r#""kind":"end""#)).collect();
    fs::write(&log, lines.join("\n") + "\n").unwrap();
    rewrite(&path, |manifest| manifest["state"] = "running".into());
    let board = export(&path, out.path());
    assert_eq!(board.status(), None);
    assert_eq!(board.scalars["energy/total_joules (partial)"].len(), 1);
    assert!(!board.scalars.contains_key("energy/total_joules"));
    assert!(board.summary.unwrap().contains("The log has no end"));
}

#[test]
fn the_command_exports_every_run_and_says_where() {
    let (lab, out) = (Lab::new(), TempDir::new().unwrap());
    let runs: Vec<PathBuf> =
        [1, 2].map(|seed| Training { seed, ..TRAINING }.run(lab.logs.path())).into();
    let ergometer = |rest: &[&str]| {
        let (mut answer, mut err) = (Vec::new(), Vec::new());
        let logs = lab.logs.path().to_str().unwrap();
        let arguments = ["ergometer", "export", "--format", "tensorboard", logs];
        let arguments = arguments.iter().chain(rest).map(Into::into);
        let status = ergometer_cli::run(arguments, &mut answer, &mut err);
        (status, String::from_utf8(answer).unwrap(), String::from_utf8(err).unwrap())
    };
    let (status, answer, err) = ergometer(&["-o", out.path().to_str().unwrap(), "--json"]);
    assert_eq!((status, &*err), (0, ""));
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    for run in &runs {
        let name = run.file_name().unwrap().to_str().unwrap();
        let told = answer.as_array().unwrap().iter().find(|it| it["run_id"] == name).unwrap();
        let path = Path::new(told["path"].as_str().unwrap());
        assert_eq!(path, out.path().join(name));
        assert_eq!(files(path).len(), 1);
    }
    assert_eq!(below(out.path()), runs.iter().flat_map(|run| exported(run)).collect());

    let (status, answer, err) = ergometer(&[]);
    assert_eq!((status, &*answer), (1, ""));
    assert!(err.contains("by -o"), "{err}");
    let blocked = out.path().join("file");
    fs::write(&blocked, "").unwrap();
    let (status, _, err) = ergometer(&["-o", blocked.to_str().unwrap()]);
    assert_eq!(status, 1);
    assert!(err.contains("cannot make"), "{err}");
}
