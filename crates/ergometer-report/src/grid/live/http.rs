//! A request over HTTP, and what its failures mean.

use std::time::Duration;

use ergometer::{Error, Result};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use ureq::Agent;
use ureq::http::{StatusCode, Uri, header};

/// Answers are a few hundred bytes; what is much longer is none.
const LONGEST: u64 = 1 << 20;

/// Requests to one service.
pub(super) struct Http<'a> {
    pub(super) service: &'static str,
    base: &'a str,
    timeout: Duration,
    /// On this machine, where tests are served: no proxy is asked, and nobody listens in.
    local: bool,
    agent: Agent,
}

/// A header that holds a credential.
pub(super) type Credential<'a> = (&'a str, String);

impl<'a> Http<'a> {
    pub(super) fn new(service: &'static str, base: &'a str, timeout: Duration) -> Http<'a> {
        let local = is_local(base);
        // A redirection could take a credential to somebody else, so none is followed.
        let mut config = Agent::config_builder()
            .timeout_global(Some(timeout))
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent(concat!("ergometer/", env!("CARGO_PKG_VERSION")));
        if local {
            config = config.proxy(None);
        }
        Http { service, base, timeout, local, agent: config.build().into() }
    }

    /// What is at the path, as JSON.
    pub(super) fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        credential: Option<Credential<'_>>,
    ) -> Result<T> {
        if credential.is_some() && !self.local && !self.base.starts_with("https://") {
            return Err(Error::invalid(format!(
                "a token or password would go to `{}` for anyone to read",
                self.base
            ))
            .cure("give an address that begins with https://"));
        }
        let mut request = self.agent.get(format!("{}{path}", self.base.trim_end_matches('/')));
        if let Some((name, value)) = credential {
            request = request.header(name, value);
        }
        let mut answer = request.call().map_err(|error| self.unreached(&error))?;
        let status = answer.status();
        if status != StatusCode::OK {
            let wait = answer.headers().get(header::RETRY_AFTER);
            return Err(self.refused(status, wait.and_then(|wait| wait.to_str().ok())));
        }
        let body = answer.body_mut().with_config().limit(LONGEST).read_to_string();
        let body = body.map_err(|error| self.unreached(&error))?;
        // What the parser says may quote the answer, and a login's answer is a token: its place is told, and no more.
        serde_json::from_str(&body).map_err(|error| {
            self.misunderstood(format_args!(
                "it is of another form at line {}, column {}",
                error.line(),
                error.column()
            ))
        })
    }

    /// That an answer is there and does not say what it should.
    pub(super) fn misunderstood(&self, why: impl std::fmt::Display) -> Error {
        Error::invalid(format!("{}'s answer is not understood: {why}", self.service))
            .cure("ask without it, by the country or by g/kWh; the service may have changed")
    }

    /// That an answer holds no intensity.
    pub(super) fn silent(&self) -> Error {
        Error::absent(format!("{} has no carbon intensity at the moment", self.service))
            .cure("ask again later, or give the country or g/kWh")
    }

    /// When something holds, as the answer says it.
    pub(super) fn time(&self, text: &str) -> Result<Timestamp> {
        text.parse().map_err(|_: jiff::Error| self.misunderstood("it holds a time of another form"))
    }

    fn unreached(&self, error: &ureq::Error) -> Error {
        match error {
            ureq::Error::Timeout(_) => {
                Error::lost(format!("{} did not answer within {:?}", self.service, self.timeout))
                    .cure("ask again later, or give the country or g/kWh")
            }
            other => Error::lost(format!(
                "{} at `{}` cannot be reached: {other}",
                self.service, self.base
            ))
            .cure("look at the network and the address, or give the country or g/kWh"),
        }
    }

    fn refused(&self, status: StatusCode, wait: Option<&str>) -> Error {
        let service = self.service;
        match status.as_u16() {
            401 | 403 => Error::permission_denied(format!(
                "{service} does not accept the credentials, or not for this grid ({status})"
            ))
            .cure("check the token or account, and what it may read"),
            429 => {
                let patience = match wait {
                    Some(wait) if wait.bytes().all(|letter| letter.is_ascii_digit()) => {
                        format!("ask again in {wait} s")
                    }
                    Some(date) => format!("ask again after {date}"),
                    None => "ask again later".to_owned(),
                };
                Error::lost(format!("{service} was asked too often ({status})")).cure(patience)
            }
            404 => Error::absent(format!("{service} knows no such grid ({status})"))
                .cure("give the service's own name for it, such as FR or CAISO_NORTH"),
            _ => Error::lost(format!("{service} answers with {status}"))
                .cure("ask again later, or give the country or g/kWh"),
        }
    }
}

/// True of an address on this machine.
fn is_local(base: &str) -> bool {
    let host = base.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
    host.is_some_and(|host| ["127.0.0.1", "[::1]", "localhost"].contains(&host.as_str()))
}
