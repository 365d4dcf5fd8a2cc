//! [`Server`]: a tracking server, and the run on it.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use ergometer::record::State;
use ergometer::{Error, Result};
use serde_json::{Value, json};
use ureq::http::StatusCode;

use super::Uploaded;
use super::told::{End, Facts, Parcel, Point};
use crate::courier::Failure;
use crate::post::{Answer, Post};

/// A tracking server.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    post: Post,
    pub(crate) experiment: Experiment,
    pub(crate) join: Option<String>,
    /// The run, once it is found or made.
    found: Option<Found>,
}

/// Where the run is to be.
#[derive(Clone, Debug)]
pub(crate) enum Experiment {
    /// Wherever it is, and if it is nowhere, in `Default`.
    Any,
    Named(String),
    Id(String),
}

/// A run on the server.
#[derive(Clone, Debug, Default)]
struct Found {
    id: String,
    experiment: String,
    /// Somebody else has begun it, and will end it.
    joined: bool,
    /// It was made just now.
    new: bool,
    /// The params and metrics that it has.
    params: BTreeSet<String>,
    metrics: BTreeSet<String>,
}

type Tried<T> = std::result::Result<T, Failure>;

/// What a server takes at once (MLflow's REST API, "Log Batch"): metrics, params or tags, and bytes.
const METRICS: usize = 1_000;
const PAIRS: usize = 100;
const BYTES: usize = 900_000;

/// What a page of a metric's history holds.
const PAGE: usize = 10_000;

/// Marks a run that somebody else has begun.
const JOINED: &str = "ergometer.joined";

/// How often an upload tries something again, and after how long at most.
const TRIES: u32 = 3;
const WAIT: Duration = Duration::from_secs(10);

impl Server {
    pub(crate) fn new(post: Post) -> Server {
        Server { post, experiment: Experiment::Any, join: None, found: None }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Result<Server> {
        self.post = self.post.header(name, value)?;
        Ok(self)
    }

    /// Where it is, for messages.
    pub(crate) fn place(&self) -> &str {
        self.post.place()
    }

    /// Tells it of a run that goes on.
    ///
    /// What had arrived before a failure is told again: a server keeps a value of the same key, step and time once.
    pub(crate) fn deliver(&mut self, parcel: &Parcel) -> Tried<()> {
        let run = self.run(&parcel.run, true)?;
        self.log(&run.id, &parcel.points)?;
        match &parcel.end {
            Some(end) => self.end(&run, &parcel.run, end),
            None => Ok(()),
        }
    }

    /// Tells it what it does not have of a run.
    pub(crate) fn upload(&self, parcels: Vec<Parcel>) -> Result<Uploaded> {
        let mut server = Server { join: None, found: None, ..self.clone() };
        let Some(facts) = parcels.first().map(|parcel| parcel.run.clone()) else {
            return Err(Error::invalid("the log has nothing to tell"));
        };
        let run = patiently(|| server.run(&facts, false))?;
        let page = format!("{}/#/experiments/{}/runs/{}", self.place(), run.experiment, run.id);
        let mut uploaded = Uploaded { run: run.id.clone(), sent: 0, there: 0, page };
        let mut points: BTreeMap<String, Vec<Point>> = BTreeMap::new();
        let mut end = None;
        for parcel in parcels {
            for point in parcel.points {
                points.entry(point.key.clone()).or_default().push(point);
            }
            end = parcel.end.or(end);
        }
        let mut missing = Vec::new();
        for (key, mut points) in points {
            let before = points.len();
            if run.metrics.contains(&key) {
                let there = patiently(|| server.history(&run.id, &key))?;
                points.retain(|point| !there.contains(&(point.step, point.at)));
            }
            uploaded.there += before - points.len();
            missing.extend(points);
        }
        // In the order of time, so that what arrives before a failure is a beginning.
        missing.sort_by_key(|point| point.at);
        for points in missing.chunks(METRICS) {
            patiently(|| server.log(&run.id, points))?;
            uploaded.sent += points.len();
        }
        if let Some(end) = end {
            patiently(|| server.end(&run, &facts, &end))?;
        }
        Ok(uploaded)
    }

    /// The run on the server: the one to join, or one that was told of before, or a new one.
    fn run(&mut self, facts: &Facts, goes_on: bool) -> Tried<Found> {
        if let Some(found) = &self.found {
            return Ok(found.clone());
        }
        let run = match self.join.clone() {
            Some(id) => Found { joined: true, ..self.get(&id)? },
            None => match self.find(facts)? {
                Some(id) => self.get(&id)?,
                None => self.create(facts)?,
            },
        };
        // The ranks of a job that join one run have the same parameters.
        if !run.joined || facts.rank == 0 {
            self.describe(&run, facts)?;
        }
        if goes_on && !run.new && !run.joined {
            self.ask("runs/update", Some(json!({ "run_id": run.id, "status": "RUNNING" })))?;
        }
        self.found = Some(run.clone());
        Ok(run)
    }

    /// Params that are not there yet, since none can be changed, and the tags.
    fn describe(&self, run: &Found, facts: &Facts) -> Tried<()> {
        let params = facts.params.iter().filter(|(key, _)| !run.params.contains(key));
        for params in batches(params.map(pair), PAIRS) {
            self.log_batch(&run.id, "params", params)?;
        }
        if run.new {
            return Ok(());
        }
        let mut tags: Vec<(String, String)> = facts.tags.clone();
        if run.joined {
            tags.retain(|(key, _)| key.starts_with("ergometer."));
            tags.push((JOINED.to_owned(), "true".to_owned()));
        }
        for tags in batches(tags.iter().map(pair), PAIRS) {
            self.log_batch(&run.id, "tags", tags)?;
        }
        Ok(())
    }

    fn log(&self, run: &str, points: &[Point]) -> Tried<()> {
        for metrics in batches(points.iter().map(Point::json), METRICS) {
            self.log_batch(run, "metrics", metrics)?;
        }
        Ok(())
    }

    fn log_batch(&self, run: &str, kind: &str, what: Vec<Value>) -> Tried<()> {
        self.ask("runs/log-batch", Some(json!({ "run_id": run, kind: what }))).map(drop)
    }

    /// The description, and how the run ended, if it did.
    fn end(&self, run: &Found, facts: &Facts, end: &End) -> Tried<()> {
        let key = match (run.joined, facts.rank) {
            (false, _) => "mlflow.note.content".to_owned(),
            (true, 0) => "ergometer.summary".to_owned(),
            (true, rank) => format!("ergometer.summary.rank-{rank}"),
        };
        self.log_batch(&run.id, "tags", vec![pair(&(key, end.note.clone()))])?;
        let status = match end.state {
            State::Running => return Ok(()),
            State::Complete | State::Stopped => "FINISHED",
            State::Panicked => "FAILED",
            State::Dropped => "KILLED",
        };
        if run.joined {
            return Ok(());
        }
        let update = json!({ "run_id": run.id, "status": status, "end_time": end.at });
        self.ask("runs/update", Some(update)).map(drop)
    }

    fn get(&self, id: &str) -> Tried<Found> {
        let answer = self.ask(&format!("runs/get?run_id={}", escaped(id)), None)?;
        let run = &answer["run"];
        let keys = |what: &str| {
            let all = run["data"][what].as_array().into_iter().flatten();
            all.filter_map(|it| it["key"].as_str().map(str::to_owned)).collect()
        };
        let id = run["info"]["run_id"].as_str().ok_or_else(|| self.not_mlflow())?;
        let experiment = run["info"]["experiment_id"].as_str().unwrap_or_default().to_owned();
        let tags = run["data"]["tags"].as_array().into_iter().flatten();
        let joined = tags.into_iter().any(|tag| tag["key"] == JOINED);
        let (params, metrics) = (keys("params"), keys("metrics"));
        Ok(Found { id: id.to_owned(), experiment, joined, new: false, params, metrics })
    }

    /// The run that has our tag, if there is one.
    fn find(&self, facts: &Facts) -> Tried<Option<String>> {
        let experiments = match &self.experiment {
            Experiment::Id(id) => vec![id.clone()],
            Experiment::Named(name) => self.experiment_of(name)?.into_iter().collect(),
            Experiment::Any => self.experiments()?,
        };
        let filter = format!(
            "tags.`ergometer.run_id` = '{}' AND tags.`ergometer.rank` = '{}'",
            facts.id, facts.rank
        );
        // A server takes a list of some length in one question.
        for ids in experiments.chunks(PAIRS) {
            let question = json!({ "experiment_ids": ids, "filter": filter, "max_results": 1 });
            let answer = self.ask("runs/search", Some(question))?;
            if let Some(id) = answer["runs"][0]["info"]["run_id"].as_str() {
                return Ok(Some(id.to_owned()));
            }
        }
        Ok(None)
    }

    /// All experiments that are not deleted.
    fn experiments(&self) -> Tried<Vec<String>> {
        let (mut all, mut page) = (Vec::new(), String::new());
        loop {
            let question = json!({ "max_results": 1_000, "page_token": page });
            let answer = self.ask("experiments/search", Some(question))?;
            let found = answer["experiments"].as_array().into_iter().flatten();
            all.extend(found.filter_map(|it| it["experiment_id"].as_str().map(str::to_owned)));
            match answer["next_page_token"].as_str().filter(|next| !next.is_empty()) {
                Some(next) if next != page => next.clone_into(&mut page),
                _ => return Ok(all),
            }
        }
    }

    fn experiment_of(&self, name: &str) -> Tried<Option<String>> {
        let path = format!("experiments/get-by-name?experiment_name={}", escaped(name));
        let answer = self.answer(&path, None)?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let answer = self.judged(&path, answer)?;
        let experiment = &answer["experiment"];
        if experiment["lifecycle_stage"] == "deleted" {
            let what =
                format!("the experiment `{}` of {} is deleted", name.escape_debug(), self.place());
            let cure = "restore it with `mlflow experiments restore`, or name another one";
            return Err(Failure::Never(Error::unsupported(what).cure(cure)));
        }
        Ok(experiment["experiment_id"].as_str().map(str::to_owned))
    }

    fn create(&self, facts: &Facts) -> Tried<Found> {
        let experiment = match &self.experiment {
            Experiment::Id(id) => id.clone(),
            Experiment::Named(name) => self.made(name)?,
            Experiment::Any => self.made("Default")?,
        };
        let tags: Vec<Value> = facts.tags.iter().map(pair).collect();
        let run = json!({
            "experiment_id": experiment,
            "run_name": facts.name,
            "start_time": facts.start,
            "tags": tags,
        });
        let answer = self.ask("runs/create", Some(run))?;
        let id = answer["run"]["info"]["run_id"].as_str().ok_or_else(|| self.not_mlflow())?;
        Ok(Found { id: id.to_owned(), experiment, new: true, ..Found::default() })
    }

    /// The experiment of this name, made if it is not there.
    fn made(&self, name: &str) -> Tried<String> {
        if let Some(id) = self.experiment_of(name)? {
            return Ok(id);
        }
        let answer = self.answer("experiments/create", Some(&json!({ "name": name })))?;
        // Somebody else may have made it meanwhile.
        if answer.status == StatusCode::BAD_REQUEST
            && let Some(id) = self.experiment_of(name)?
        {
            return Ok(id);
        }
        let answer = self.judged("experiments/create", answer)?;
        let id = answer["experiment_id"].as_str().ok_or_else(|| self.not_mlflow())?;
        Ok(id.to_owned())
    }

    /// The steps and times of the values that a metric has.
    fn history(&self, run: &str, key: &str) -> Tried<BTreeSet<(i64, i64)>> {
        let (mut all, mut page) = (BTreeSet::new(), String::new());
        loop {
            let mut path = format!(
                "metrics/get-history?run_id={}&metric_key={}&max_results={PAGE}",
                escaped(run),
                escaped(key)
            );
            if !page.is_empty() {
                path += &format!("&page_token={}", escaped(&page));
            }
            let answer = self.ask(&path, None)?;
            let points = answer["metrics"].as_array().into_iter().flatten();
            all.extend(
                points.filter_map(|it| Some((integer(&it["step"])?, integer(&it["timestamp"])?))),
            );
            match answer["next_page_token"].as_str().filter(|next| !next.is_empty()) {
                Some(next) if next != page => next.clone_into(&mut page),
                _ => return Ok(all),
            }
        }
    }

    fn ask(&self, path: &str, body: Option<Value>) -> Tried<Value> {
        let answer = self.answer(path, body.as_ref())?;
        self.judged(path, answer)
    }

    fn answer(&self, path: &str, body: Option<&Value>) -> Tried<Answer> {
        let url = format!("{}/api/2.0/mlflow/{path}", self.post.url());
        let body = body.map(Value::to_string);
        self.post.at(url).ask(body.as_deref().map(str::as_bytes))
    }

    /// What it says, if that is no refusal. Of a refusal's text, only MLflow's code is repeated: the rest may be anything.
    fn judged(&self, path: &str, answer: Answer) -> Tried<Value> {
        let said = serde_json::from_str::<Value>(&answer.text);
        if answer.status.is_success() {
            return said.map_err(|_| self.not_mlflow());
        }
        let said = said.unwrap_or_default();
        let plain = |code: &&str| code.bytes().all(|it| it.is_ascii_uppercase() || it == b'_');
        let code = said["error_code"].as_str().filter(plain).map(|code| format!(", {code}"));
        let (place, status) = (self.place(), answer.status);
        let path = path.split('?').next().unwrap_or_default();
        let code = code.unwrap_or_default();
        let error = Error::lost(format!("`{place}` answers {path} with {status}{code}"));
        // A data base that is locked is told so.
        Err(if status == StatusCode::INTERNAL_SERVER_ERROR {
            Failure::Later(error, None)
        } else {
            answer.failure(error)
        })
    }

    fn not_mlflow(&self) -> Failure {
        let what = format!("`{}` does not answer as MLflow does", self.place());
        Failure::Never(Error::unsupported(what).cure("give the address of `mlflow server`"))
    }
}

/// Tries something a few times.
fn patiently<T>(mut what: impl FnMut() -> Tried<T>) -> Result<T> {
    let mut tries = 1;
    loop {
        match what() {
            Ok(done) => return Ok(done),
            Err(Failure::Later(_, asked)) if tries < TRIES => {
                tries += 1;
                thread::sleep(asked.unwrap_or(Duration::from_secs(1)).min(WAIT));
            }
            Err(Failure::Later(error, _) | Failure::Never(error)) => return Err(error),
        }
    }
}

/// What is sent, in requests that a server takes.
fn batches(all: impl Iterator<Item = Value>, most: usize) -> Vec<Vec<Value>> {
    let mut batches: Vec<Vec<Value>> = Vec::new();
    let mut bytes = 0;
    for one in all {
        let size = one.to_string().len() + 1;
        bytes += size;
        match batches.last_mut() {
            Some(last) if last.len() < most && bytes <= BYTES => last.push(one),
            _ => {
                batches.push(vec![one]);
                bytes = size;
            }
        }
    }
    batches
}

fn pair((key, value): &(String, String)) -> Value {
    json!({ "key": key, "value": value })
}

/// A 64-bit integer, which some servers write as a string.
fn integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// A value as it stands in an address (RFC 3986, 2.1).
pub(super) fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let letter = |byte: u8| match byte {
        byte if plain(byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_keep_to_the_limits_of_number_and_size() {
        let small = batches((0..2_500).map(|it| json!(it)), METRICS);
        assert_eq!(small.iter().map(Vec::len).collect::<Vec<_>>(), [1_000, 1_000, 500]);
        let large = batches((0..20).map(|_| json!("x".repeat(100_000))), METRICS);
        assert!(
            large.iter().all(|batch| Value::from(batch.clone()).to_string().len() <= 1_000_000)
        );
        assert_eq!(large.iter().map(Vec::len).sum::<usize>(), 20);
        assert!(batches(std::iter::empty(), METRICS).is_empty());
    }
}
