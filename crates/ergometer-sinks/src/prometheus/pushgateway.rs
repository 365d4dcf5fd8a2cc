//! [`Pushgateway`]: this process tells a gateway, and Prometheus asks that.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ergometer::Result;

use super::{CONTENT_TYPE, text};
use crate::base64;
use crate::courier::{Courier, Delivery, Failure};
use crate::post::{Post, base};
use crate::push::{Deliver, Push, push};
use crate::tally::Tally;

/// Tells a Pushgateway what the run has used so far, every 10 s of the run and at its end.
///
/// For jobs that are over before Prometheus has asked once. A gateway never forgets: what it was told last stays there, under the
/// job, the run and the rank, until somebody deletes that group.
#[derive(Debug)]
pub struct Pushgateway {
    post: Post,
    job: String,
    push: Push,
}

const EVERY: Duration = Duration::from_secs(10);

impl Pushgateway {
    /// Tells the gateway at this address, `http://127.0.0.1:9091`, under the job `ergometer`.
    ///
    /// # Errors
    /// If the address is none of HTTP, holds a password, a `?` or a `#`, or needs TLS and is built without.
    pub fn new(url: impl Into<String>) -> Result<Pushgateway> {
        let post = Post::new(base(&url.into())?, "http://127.0.0.1:9091")?;
        let push = Push::new(Courier::newest(format!("Pushgateway `{}`", post.place())), EVERY);
        Ok(Pushgateway { post, job: "ergometer".to_owned(), push })
    }

    /// Tells it under this job.
    #[must_use]
    pub fn job(self, job: impl Into<String>) -> Pushgateway {
        Pushgateway { job: job.into(), ..self }
    }

    /// Sends a token along, in the header `Authorization`.
    ///
    /// # Errors
    /// If it holds characters that a header cannot, or would go unencrypted to another machine.
    pub fn bearer(self, token: &str) -> Result<Pushgateway> {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// Sends this header along; its value is never written anywhere.
    ///
    /// # Errors
    /// If it is no header, or a secret would go unencrypted to another machine.
    pub fn header(self, name: &str, value: &str) -> Result<Pushgateway> {
        Ok(Pushgateway { post: self.post.header(name, value)?, ..self })
    }

    /// Trusts the authorities of this file (PEM), such as a company's own, and no others. Certificates are always checked.
    ///
    /// The file is not read where the address is not one of https.
    ///
    /// # Errors
    /// If it cannot be read, or holds no certificate.
    pub fn certificate(self, file: impl AsRef<Path>) -> Result<Pushgateway> {
        Ok(Pushgateway { post: self.post.trusting(file.as_ref())?, ..self })
    }

    /// Tells it so often, by the run's clock.
    #[must_use]
    pub fn every(mut self, time: Duration) -> Pushgateway {
        self.push.every = time;
        self
    }

    /// A handle to wait for the last push with, and to see what was lost.
    pub fn delivery(&self) -> Delivery {
        self.push.delivery()
    }

    fn deliver(&self) -> Arc<Deliver> {
        let (post, job) = (self.post.clone(), self.job.clone());
        Arc::new(move |tally| {
            let Some(place) = place(post.url(), &job, tally) else { return Ok(()) };
            put(&post.at(place), tally)
        })
    }
}

push!(Pushgateway, "prometheus-pushgateway");

fn put(post: &Post, tally: &Tally) -> std::result::Result<(), Failure> {
    post.put(CONTENT_TYPE, text([tally]).as_bytes()).map(|_| ())
}

/// The address of a run's group; none before there is anything to tell.
fn place(url: &str, job: &str, tally: &Tally) -> Option<String> {
    let (run, rank) = (&tally.manifest()?.run_id, tally.rank()?);
    Some(format!("{url}/metrics{}{}/rank/{rank}", part("job", job), part("run_id", run)))
}

/// A label of the group, in Base64 where its value cannot stand in a path (Pushgateway's README, "URL").
fn part(label: &str, value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !value.is_empty()
        && value.bytes().all(|byte| plain(byte) || byte == b'.')
        && !value.starts_with('.')
    {
        return format!("/{label}/{value}");
    }
    // Nothing at all is one sign of padding, since an empty part of a path would vanish.
    let text = if value.is_empty() { "=".to_owned() } else { base64::for_url(value.as_bytes()) };
    format!("/{label}@base64/{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_stays_one_part_of_the_path() {
        assert_eq!(part("job", "train-1"), "/job/train-1");
        assert_eq!(part("job", ""), "/job@base64/=");
        assert_eq!(part("job", "../../x"), "/job@base64/Li4vLi4veA");
        assert_eq!(part("job", "a b?"), "/job@base64/YSBiPw");
        assert_eq!(part("job", "é~ÿ"), "/job@base64/w6l-w78");
    }

    #[test]
    fn a_query_in_the_gateway_s_address_is_refused() {
        assert!(Pushgateway::new("http://127.0.0.1:9091/?a=b").is_err());
        let gateway = Pushgateway::new("http://127.0.0.1:9091/").unwrap();
        assert_eq!(gateway.post.url(), "http://127.0.0.1:9091");
    }
}
