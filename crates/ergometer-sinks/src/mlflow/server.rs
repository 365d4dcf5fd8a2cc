//! [`Server`]: a tracking server, and the run on it.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::path::Path;
use std::thread;
use std::time::Duration;

use ergometer::record::State;
use ergometer::{Error, Result};
use serde_json::{Value, json};
use ureq::http::StatusCode;

use super::Uploaded;
use super::told::{End, Facts, Parcel, Point};
use crate::courier::{Failure, pause};
use crate::post::{Answer, Post, escaped};

/// A tracking server.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    post: Post,
    pub(crate) experiment: Experiment,
    pub(crate) join: Option<String>,
    /// The run, once it is found or made.
    found: Option<Found>,
    /// The keys of what was not taken, and why the first was not.
    refused: BTreeSet<String>,
    reason: Option<String>,
    /// Whether it has taken a metric, and how often it refused some.
    taken: bool,
    refusals: u32,
    /// How often it has said, of what is told now, that something in it is broken.
    broken: u32,
}

/// Where a new run is made.
#[derive(Clone, Debug)]
pub(crate) enum Experiment {
    /// In `Default`, and nobody has asked for that.
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
    /// It has not been ended.
    goes_on: bool,
    /// The params and metrics that it has.
    params: BTreeSet<String>,
    metrics: BTreeSet<String>,
}

/// The values of a metric, by step and time.
type History = BTreeMap<(i64, i64), Vec<f64>>;

type Tried<T> = std::result::Result<T, Failure>;

/// What a server takes at once (MLflow's REST API, "Log Batch"): metrics, params or tags, and bytes.
const METRICS: usize = 1_000;
const PAIRS: usize = 100;
const BYTES: usize = 900_000;

/// What a page of a metric's history holds.
const PAGE: usize = 10_000;

/// Marks a run that somebody else has begun.
const JOINED: &str = "ergometer.joined";

/// How often an upload tries something, and how long it waits at first, if nothing else is asked for.
const TRIES: u32 = 3;
const WAIT: Duration = Duration::from_secs(1);

/// So many refusals of metrics, and none taken: it is not this or that value.
const REFUSALS: u32 = 128;

impl Server {
    pub(crate) fn new(post: Post) -> Server {
        Server {
            post,
            experiment: Experiment::Any,
            join: None,
            found: None,
            refused: BTreeSet::new(),
            reason: None,
            taken: false,
            refusals: 0,
            broken: 0,
        }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Result<Server> {
        self.post = self.post.header(name, value)?;
        Ok(self)
    }

    pub(crate) fn trusting(mut self, certificates: &Path) -> Result<Server> {
        self.post = self.post.trusting(certificates)?;
        Ok(self)
    }

    /// Where it is, for messages.
    pub(crate) fn place(&self) -> &str {
        self.post.place()
    }

    /// Tells it of a run that goes on.
    ///
    /// What had arrived before a failure is told again: a server with a data base keeps the same value of a key, step and time
    /// once.
    pub(crate) fn deliver(&mut self, parcel: &Parcel) -> Tried<()> {
        let run = self.run(&parcel.run, true)?;
        self.log(&run.id, &parcel.points)?;
        if let Some(end) = &parcel.end {
            self.end(&run, &parcel.run, end)?;
        }
        self.broken = 0;
        self.refusal().map_or(Ok(()), |refusal| Err(Failure::Never(refusal)))
    }

    /// Tells it what it does not have of a run; says of what fails that it is tried `again`.
    pub(crate) fn upload(
        &self,
        parcels: Vec<Parcel>,
        again: &mut dyn FnMut(&Error),
    ) -> Result<Uploaded> {
        let experiment = self.experiment.clone();
        let mut server = Server { experiment, ..Server::new(self.post.clone()) };
        let Some(facts) = parcels.first().map(|parcel| parcel.run.clone()) else {
            return Err(Error::invalid("the log has nothing to tell"));
        };
        let run = patiently(again, || server.run(&facts, false))?;
        let page = format!("{}/#/experiments/{}/runs/{}", self.place(), run.experiment, run.id);
        let elsewhere = patiently(again, || server.elsewhere(&run))?;
        let mut uploaded = Uploaded { run: run.id.clone(), sent: 0, there: 0, page, elsewhere };
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
                let there = patiently(again, || server.history(&run.id, &key))?;
                let place = |point: &Point| there.get(&(point.step, point.at));
                let is_there = |point: &Point| {
                    place(point).into_iter().flatten().any(|value| is_same(*value, point.value))
                };
                points.retain(|point| !is_there(point));
            }
            uploaded.there += before - points.len();
            missing.extend(points);
        }
        // In the order of time, so that what arrives before a failure is a beginning.
        missing.sort_by_key(|point| point.at);
        for points in missing.chunks(METRICS) {
            patiently(again, || server.log(&run.id, points))?;
            uploaded.sent += points.len();
        }
        // A description and a state that somebody has changed since are theirs, where there is nothing new.
        if let Some(end) = end
            && (uploaded.sent > 0 || run.goes_on)
        {
            patiently(again, || server.end(&run, &facts, &end))?;
        }
        server.refusal().map_or(Ok(uploaded), Err)
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
    fn describe(&mut self, run: &Found, facts: &Facts) -> Tried<()> {
        let params = facts.params.iter().filter(|(key, _)| !run.params.contains(key));
        for params in batches(params.map(pair), PAIRS) {
            self.tell(&run.id, "params", params)?;
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
            self.tell(&run.id, "tags", tags)?;
        }
        Ok(())
    }

    fn log(&mut self, run: &str, points: &[Point]) -> Tried<()> {
        for metrics in batches(points.iter().map(Point::json), METRICS) {
            self.tell(run, "metrics", metrics)?;
        }
        Ok(())
    }

    /// Tells it some metrics, params or tags. Of what it refuses, the halves are tried each for itself, so that nothing is lost
    /// with what it does not take.
    fn tell(&mut self, run: &str, kind: &str, all: Vec<Value>) -> Tried<()> {
        let path = "runs/log-batch";
        let (mut left, mut looked) = (vec![all], false);
        while let Some(mut some) = left.pop() {
            let answer = self.answer(path, Some(&json!({ "run_id": run, kind: some })))?;
            let status = answer.status;
            let Err(failure) = self.judged(path, answer) else {
                self.taken |= kind == "metrics";
                continue;
            };
            self.refusals += u32::from(kind == "metrics");
            if !self.is_of_what_was_sent(status) || (!self.taken && self.refusals > REFUSALS) {
                return Err(failure);
            }
            // A run that has been deleted refuses everything, and a store that is out of order does.
            if !mem::replace(&mut looked, true) {
                self.get(run)?;
                if status == StatusCode::INTERNAL_SERVER_ERROR {
                    self.write_anything(run)?;
                }
            }
            if some.len() > 1 {
                let half = some.split_off(some.len() / 2);
                left.extend([half, some]);
                continue;
            }
            let (Failure::Later(error, _) | Failure::Never(error)) = failure;
            self.reason.get_or_insert_with(|| error.what().to_owned());
            let keys = some.iter().filter_map(|it| it["key"].as_str());
            self.refused.extend(keys.map(str::to_owned));
        }
        Ok(())
    }

    /// Fails if the server cannot write anything at all now: its disk is full, or its data base locked.
    fn write_anything(&self, run: &str) -> Tried<()> {
        let tag = pair(&("ergometer.store".to_owned(), "writable".to_owned()));
        self.ask("runs/log-batch", Some(json!({ "run_id": run, "tags": [tag] }))).map(drop)
    }

    /// Whether a refusal is about what was sent, and not about the moment.
    fn is_of_what_was_sent(&mut self, status: StatusCode) -> bool {
        match status {
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => true,
            // Old servers say so of a data base that is locked, which passes, and all of what their store cannot keep.
            StatusCode::INTERNAL_SERVER_ERROR => {
                self.broken += 1;
                self.broken >= TRIES
            }
            _ => false,
        }
    }

    /// What was not taken since this was last asked.
    fn refusal(&mut self) -> Option<Error> {
        let (reason, keys) = (self.reason.take()?, mem::take(&mut self.refused));
        let more = match keys.len() {
            0 | 1 => String::new(),
            all => format!(" and {} more", all - 1),
        };
        let first = keys.first().map(String::as_str).unwrap_or_default();
        Some(Error::lost(format!("{reason}: it does not take `{first}`{more}")))
    }

    /// The description, and how the run ended, if it did.
    fn end(&mut self, run: &Found, facts: &Facts, end: &End) -> Tried<()> {
        let key = match (run.joined, facts.rank) {
            (false, _) => "mlflow.note.content".to_owned(),
            (true, 0) => "ergometer.summary".to_owned(),
            (true, rank) => format!("ergometer.summary.rank-{rank}"),
        };
        self.tell(&run.id, "tags", vec![pair(&(key, end.note.clone()))])?;
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
        if run["info"]["lifecycle_stage"] == "deleted" {
            let what = format!("the run `{}` of {} is deleted", id.escape_debug(), self.place());
            let cure = "restore it with `mlflow runs restore`, or begin another one";
            return Err(Failure::Never(Error::unsupported(what).cure(cure)));
        }
        let experiment = run["info"]["experiment_id"].as_str().unwrap_or_default().to_owned();
        let tags = run["data"]["tags"].as_array().into_iter().flatten();
        let joined = tags.into_iter().any(|tag| tag["key"] == JOINED);
        let goes_on = run["info"]["status"] == "RUNNING";
        let (params, metrics) = (keys("params"), keys("metrics"));
        Ok(Found { id: id.to_owned(), experiment, joined, new: false, goes_on, params, metrics })
    }

    /// The run that has our tag, in whichever experiment: told to another one, its energy would count twice.
    fn find(&self, facts: &Facts) -> Tried<Option<String>> {
        let experiments = self.experiments()?;
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

    /// The experiment that a run is in, if another one was asked for.
    fn elsewhere(&self, run: &Found) -> Tried<Option<String>> {
        let is_asked_for = match &self.experiment {
            Experiment::Any => true,
            Experiment::Id(id) => *id == run.experiment,
            Experiment::Named(_) => run.new,
        };
        if is_asked_for {
            return Ok(None);
        }
        let path = format!("experiments/get?experiment_id={}", escaped(&run.experiment));
        let answer = self.ask(&path, None)?;
        let name = answer["experiment"]["name"].as_str().unwrap_or(&run.experiment).to_owned();
        let is_it = matches!(&self.experiment, Experiment::Named(asked) if *asked == name);
        Ok(Some(name).filter(|_| !is_it))
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
        Ok(Found { id: id.to_owned(), experiment, new: true, goes_on: true, ..Found::default() })
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

    /// The values that a metric has, by step and time.
    fn history(&self, run: &str, key: &str) -> Tried<History> {
        let (mut all, mut page) = (History::new(), String::new());
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
            for it in answer["metrics"].as_array().into_iter().flatten() {
                if let (Some(step), Some(at), Some(value)) =
                    (integer(&it["step"]), integer(&it["timestamp"]), number(&it["value"]))
                {
                    all.entry((step, at)).or_default().push(value);
                }
            }
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

/// Tries something a few times; says why `again`.
fn patiently<T>(again: &mut dyn FnMut(&Error), mut what: impl FnMut() -> Tried<T>) -> Result<T> {
    let (mut tries, mut wait) = (1, WAIT);
    loop {
        match what() {
            Ok(done) => return Ok(done),
            Err(Failure::Later(error, asked)) if tries < TRIES => {
                again(&error);
                thread::sleep(pause(wait, asked));
                (tries, wait) = (tries + 1, wait * 2);
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

/// A number, or one of protobuf's words for what is none.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

/// Whether two values are one: what goes through decimals and back can be off in the last place.
fn is_same(one: f64, other: f64) -> bool {
    (one.is_nan() && other.is_nan()) || (one - other).abs() <= 1e-12 * one.abs().max(other.abs())
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
