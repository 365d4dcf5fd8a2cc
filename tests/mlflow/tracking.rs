//! A tracking server: what of MLflow's REST API 2.0 is asked for, with its limits, in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ergometer_sinks::mlflow::Mlflow;
use serde_json::{Value, json};

/// The server.
#[derive(Clone)]
pub(super) struct Tracking {
    pub(super) url: String,
    pub(super) state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub(super) struct State {
    mood: Mood,
    pub(super) experiments: Vec<String>,
    pub(super) runs: Vec<Stored>,
    /// What was asked, in order: path, `Authorization`, how many metrics.
    pub(super) asked: Vec<(String, Option<String>, usize)>,
    /// Why something was refused by the rules.
    refused: Vec<String>,
}

/// How it answers.
#[derive(Clone, Default)]
pub(super) enum Mood {
    #[default]
    Well,
    /// Not at all: the connection is closed.
    Gone,
    Slow(Duration),
    /// With this status and text, to all.
    Says(u16, String),
    /// Until then with 503, and asks for no wait at all.
    Busy(Instant),
    /// With this status to what has this text in a metric, a param or a tag.
    Refuses(u16, &'static str),
}

#[derive(Clone, Default)]
pub(super) struct Stored {
    pub(super) experiment: usize,
    pub(super) name: String,
    pub(super) status: String,
    pub(super) deleted: bool,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) params: BTreeMap<String, String>,
    /// Each value once: key, step, time, and the value as it was sent.
    pub(super) metrics: BTreeSet<(String, i64, i64, String)>,
}

impl Stored {
    /// The steps and values of a metric.
    pub(super) fn metric(&self, key: &str) -> Vec<(i64, f64)> {
        let all = self.metrics.iter().filter(|metric| metric.0 == key);
        all.map(|(_, step, _, value)| (*step, value.parse().unwrap())).collect()
    }

    pub(super) fn keys(&self) -> BTreeSet<&str> {
        self.metrics.iter().map(|metric| metric.0.as_str()).collect()
    }
}

impl Tracking {
    pub(super) fn start() -> Tracking {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = State { experiments: vec!["Default".to_owned()], ..State::default() };
        let server = Tracking { url, state: Arc::new(Mutex::new(state)) };
        let state = Arc::clone(&server.state);
        in_background(move || {
            for stream in listener.incoming() {
                let (Ok(stream), state) = (stream, Arc::clone(&state)) else { return };
                in_background(move || _ = serve(stream, &state));
            }
        });
        server
    }

    pub(super) fn is(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    pub(super) fn runs(&self) -> Vec<Stored> {
        self.state.lock().unwrap().runs.clone()
    }

    /// The only run there is.
    pub(super) fn run(&self) -> Stored {
        let runs = self.runs();
        assert_eq!(runs.len(), 1);
        runs[0].clone()
    }

    /// Waits until the server has been told how the only run ended.
    pub(super) fn ended(&self) -> Stored {
        let start = Instant::now();
        while !self.runs().iter().any(|run| run.status != "RUNNING") {
            assert!(start.elapsed() < Duration::from_secs(20), "the end did not arrive");
            thread::sleep(Duration::from_millis(5));
        }
        self.run()
    }

    pub(super) fn refused(&self) -> Vec<String> {
        self.state.lock().unwrap().refused.clone()
    }

    pub(super) fn sink(&self) -> Mlflow {
        Mlflow::new(&self.url).unwrap()
    }
}

fn in_background(work: impl FnOnce() + Send + 'static) {
    thread::Builder::new().name("tracking".to_owned()).spawn(work).unwrap();
}

fn serve(stream: TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let mut words = line.split_whitespace();
        let (_, target) = (words.next()?, words.next()?.to_owned());
        let (mut length, mut authorization) = (0, None);
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let Some((name, value)) = header.trim_end().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap(),
                "authorization" => authorization = Some(value.to_owned()),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let path = path.strip_prefix("/api/2.0/mlflow/").unwrap_or("elsewhere").to_owned();
        let json: Value = serde_json::from_slice(&body).unwrap_or_default();
        let count = json["metrics"].as_array().map_or(0, Vec::len);
        let mood = {
            let mut state = state.lock().unwrap();
            state.asked.push((path.clone(), authorization, count));
            state.mood.clone()
        };
        let (status, text) = match mood {
            Mood::Gone => return None,
            Mood::Says(status, text) => (status, text),
            Mood::Busy(until) if Instant::now() < until => (503, String::new()),
            Mood::Refuses(status, text) if has(&json, text) => (status, String::new()),
            Mood::Well | Mood::Slow(_) | Mood::Busy(_) | Mood::Refuses(..) => {
                if let Mood::Slow(time) = mood {
                    thread::sleep(time);
                }
                let mut state = state.lock().unwrap();
                match if length > 1_000_000 {
                    Err((400, "INVALID_PARAMETER_VALUE", "the request is too large".to_owned()))
                } else {
                    state.answer(&path, &arguments(query), &json)
                } {
                    Ok(answer) => (200, answer.to_string()),
                    Err((status, code, why)) => {
                        if code != "RESOURCE_DOES_NOT_EXIST" {
                            state.refused.push(format!("{path}: {why}"));
                        }
                        (status, json!({ "error_code": code, "message": why }).to_string())
                    }
                }
            }
        };
        let mut stream = &stream;
        let wait = if status == 503 { "Retry-After: 0\r\n" } else { "" };
        let length = text.len();
        // At once: a second packet would wait for the first one's acknowledgement.
        let answer =
            format!("HTTP/1.1 {status} So\r\n{wait}Content-Length: {length}\r\n\r\n{text}");
        stream.write_all(answer.as_bytes()).ok()?;
    }
}

/// Whether a batch has this text in it.
fn has(batch: &Value, text: &str) -> bool {
    let all = ["metrics", "params", "tags"].into_iter().filter_map(|kind| batch[kind].as_array());
    all.flatten().any(|one| one.to_string().contains(text))
}

/// The arguments of a query.
fn arguments(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), unescaped(value))).collect()
}

fn unescaped(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).unwrap()
}

type Answer = Result<Value, (u16, &'static str, String)>;

fn invalid(why: impl Into<String>) -> (u16, &'static str, String) {
    (400, "INVALID_PARAMETER_VALUE", why.into())
}

impl State {
    fn answer(&mut self, path: &str, arguments: &BTreeMap<String, String>, body: &Value) -> Answer {
        let argument = |name: &str| arguments.get(name).cloned().unwrap_or_default();
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        match path {
            "experiments/get-by-name" => {
                let name = argument("experiment_name");
                let found = self.experiments.iter().position(|known| *known == name);
                let Some(id) = found else {
                    return Err((404, "RESOURCE_DOES_NOT_EXIST", "no such experiment".to_owned()));
                };
                Ok(
                    json!({ "experiment": { "experiment_id": id.to_string(), "lifecycle_stage": "active" } }),
                )
            }
            "experiments/get" => {
                let id: usize = argument("experiment_id").parse().map_err(|_| invalid("id"))?;
                let name = self.experiments.get(id).ok_or_else(|| invalid("no such experiment"))?;
                Ok(json!({ "experiment": { "experiment_id": id.to_string(), "name": name } }))
            }
            "experiments/create" => {
                self.experiments.push(text("name"));
                Ok(json!({ "experiment_id": (self.experiments.len() - 1).to_string() }))
            }
            "experiments/search" => {
                let ids = 0..self.experiments.len();
                let all = ids.map(|id| json!({ "experiment_id": id.to_string() }));
                Ok(json!({ "experiments": all.collect::<Vec<_>>() }))
            }
            "runs/create" => {
                let mut run = Stored {
                    experiment: text("experiment_id").parse().map_err(|_| invalid("experiment"))?,
                    name: text("run_name"),
                    status: "RUNNING".to_owned(),
                    ..Stored::default()
                };
                pairs(&body["tags"], &mut run.tags, true)?;
                self.runs.push(run);
                Ok(json!({ "run": self.shown(self.runs.len() - 1) }))
            }
            "runs/get" => {
                let id = self.place(&argument("run_id"))?;
                Ok(json!({ "run": self.shown(id) }))
            }
            "runs/search" => {
                // Two tags, in the quotes that they are asked for in.
                let filter = text("filter");
                let asked: Vec<&str> = filter.split('\'').collect();
                let [one, id, two, rank, ""] = asked[..] else { return Err(invalid(filter)) };
                assert_eq!(
                    (one, two),
                    ("tags.`ergometer.run_id` = ", " AND tags.`ergometer.rank` = ")
                );
                let ids = body["experiment_ids"].as_array().unwrap();
                let found = self.runs.iter().position(|run| {
                    !run.deleted
                        && ids.contains(&json!(run.experiment.to_string()))
                        && run.tags.get("ergometer.run_id").is_some_and(|tag| tag == id)
                        && run.tags.get("ergometer.rank").is_some_and(|tag| tag == rank)
                });
                Ok(found.map_or(json!({}), |run| json!({ "runs": [self.shown(run)] })))
            }
            "runs/update" => {
                let id = self.place(&text("run_id"))?;
                self.runs[id].status = text("status");
                Ok(json!({}))
            }
            "runs/log-batch" => {
                let run = self.place(&text("run_id"))?;
                if self.runs[run].deleted {
                    return Err(invalid("the run must be in the 'active' state"));
                }
                self.log_batch(run, body)
            }
            "metrics/get-history" => {
                self.history(&argument("run_id"), &argument("metric_key"), &argument("page_token"))
            }
            _ => Err((404, "ENDPOINT_NOT_FOUND", path.to_owned())),
        }
    }

    fn log_batch(&mut self, run: usize, body: &Value) -> Answer {
        let empty = Vec::new();
        let all = |name: &str| body[name].as_array().unwrap_or(&empty);
        let (metrics, params, tags) = (all("metrics"), all("params"), all("tags"));
        if metrics.len() > 1_000
            || params.len() > 100
            || tags.len() > 100
            || metrics.len() + params.len() + tags.len() > 1_000
        {
            return Err(invalid("too many at once"));
        }
        let run = &mut self.runs[run];
        pairs(&body["params"], &mut run.params, false)?;
        pairs(&body["tags"], &mut run.tags, true)?;
        for metric in metrics {
            let key = named(metric)?;
            let value = match &metric["value"] {
                Value::Number(number) => number.to_string(),
                Value::String(word) if word == "NaN" => word.clone(),
                other => return Err(invalid(format!("the value of {key} is {other}"))),
            };
            let time = metric["timestamp"].as_i64().ok_or_else(|| invalid("timestamp"))?;
            let step = metric["step"].as_i64().ok_or_else(|| invalid("step"))?;
            run.metrics.insert((key, step, time, value));
        }
        Ok(json!({}))
    }

    /// Five values of a metric a page.
    fn history(&self, run: &str, key: &str, page: &str) -> Answer {
        let run = &self.runs[self.place(run)?];
        let start = page.parse().unwrap_or(0);
        let all: Vec<_> = run.metrics.iter().filter(|metric| metric.0 == key).collect();
        let shown = all.iter().skip(start).take(5);
        let points = shown.map(|(key, step, time, value)| {
            let value = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
            json!({ "key": key, "step": step, "timestamp": time, "value": value })
        });
        let mut answer = json!({ "metrics": points.collect::<Vec<_>>() });
        if start + 5 < all.len() {
            answer["next_page_token"] = json!((start + 5).to_string());
        }
        Ok(answer)
    }

    fn place(&self, id: &str) -> Result<usize, (u16, &'static str, String)> {
        let place = id.strip_prefix("run-").and_then(|id| id.parse().ok());
        let known = place.filter(|place| *place < self.runs.len());
        known.ok_or((404, "RESOURCE_DOES_NOT_EXIST", format!("no run {id}")))
    }

    fn shown(&self, place: usize) -> Value {
        let run = &self.runs[place];
        let keyed = |all: &BTreeMap<String, String>| -> Value {
            all.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect()
        };
        let stage = if run.deleted { "deleted" } else { "active" };
        let metrics: Value = run.keys().iter().map(|key| json!({ "key": key })).collect();
        json!({
            "info": {
                "run_id": format!("run-{place}"),
                "experiment_id": run.experiment.to_string(),
                "status": run.status,
                "lifecycle_stage": stage,
            },
            "data": { "params": keyed(&run.params), "tags": keyed(&run.tags), "metrics": metrics },
        })
    }
}

/// Takes keys and values; those of params cannot be changed.
fn pairs(
    all: &Value,
    known: &mut BTreeMap<String, String>,
    change: bool,
) -> Result<(), (u16, &'static str, String)> {
    for pair in all.as_array().into_iter().flatten() {
        let (key, value) = (named(pair)?, pair["value"].as_str().unwrap().to_owned());
        if value.chars().count() > if change { 5_000 } else { 500 } {
            return Err(invalid(format!("the value of {key} is too long")));
        }
        if !change && known.get(&key).is_some_and(|before| *before != value) {
            return Err(invalid(format!("{key} is another one already")));
        }
        known.insert(key, value);
    }
    Ok(())
}

/// A key, if MLflow would take it.
fn named(pair: &Value) -> Result<String, (u16, &'static str, String)> {
    let key = pair["key"].as_str().unwrap_or_default();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_-. /".contains(letter);
    let path = key.split('/').all(|part| !["", ".", ".."].contains(&part));
    if path && key.chars().all(plain) && key.len() <= 250 {
        return Ok(key.to_owned());
    }
    Err(invalid(format!("the key {key:?}")))
}
