//! [`Post`]: sends bytes to an address over HTTP, and says what its failures mean.

#[cfg(feature = "tls")]
mod trust;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use ergometer::{Error, Result};
use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use ureq::typestate::AgentScope;

use crate::courier::Failure;

/// Where bytes are sent, and with which headers. Header values may be secrets: they are in no message and in no `Debug`.
#[derive(Clone)]
pub(crate) struct Post {
    url: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    agent: Agent,
}

/// The longest that a place may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is read of an answer, and of one that was asked for.
const ANSWER: u64 = 1 << 16;
const PAGE: u64 = 1 << 24;

/// What helps where nobody knows who signed a certificate, and where that was the server itself, as an authority.
const UNKNOWN: (&str, &str) = (
    "UnknownIssuer",
    "if the authority that signed it is your own, name its file: `.certificate(…)`, or in the environment \
     MLFLOW_TRACKING_SERVER_CERT_PATH or OTEL_EXPORTER_OTLP_CERTIFICATE",
);
const SELF: (&str, &str) = (
    "CaUsedAsEndEntity",
    "an authority's certificate is no server's: sign one for the server, or make its own with \
     `openssl req -x509 -addext basicConstraints=critical,CA:FALSE …`",
);

/// What a place said.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
    /// How long it asks to be left alone.
    wait: Option<Duration>,
}

impl Answer {
    /// What it means that this is no success.
    pub(crate) fn failure(&self, error: Error) -> Failure {
        // The codes after which OTLP/HTTP asks for another try (OTLP 1.x, "Retryable Response Codes"), and 408.
        match self.status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Failure::Later(error, self.wait),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::Never(
                Error::permission_denied(error.what()).cure("check the token that is sent along"),
            ),
            _ => Failure::Never(error),
        }
    }
}

impl Post {
    /// To an address that begins with `http://`, or `https://` with the feature `tls`; messages give an example.
    pub(crate) fn new(url: impl Into<String>, example: &str) -> Result<Post> {
        let url = url.into();
        let uri: Option<Uri> = url.parse().ok();
        let authority = uri.as_ref().and_then(Uri::authority);
        // The address is not repeated: what stands before an @ is a password.
        let Some((uri, authority)) = uri.as_ref().zip(authority) else {
            return Err(Error::invalid("the address to send to is not understood")
                .cure(format!("give one such as {example}")));
        };
        if authority.as_str().contains('@') {
            return Err(Error::invalid("the address to send to holds a user or a password")
                .cure("give it as a header, which is never written anywhere"));
        }
        if authority.as_str() != authority.host() && authority.port_u16().is_none() {
            return Err(Error::invalid("the address to send to has a port that is no number")
                .cure(format!("give one such as {example}")));
        }
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") if cfg!(feature = "tls") => {}
            Some("https") => {
                return Err(Error::unsupported("an address of https needs TLS")
                    .cure("build it with the feature `tls` of ergometer-sinks, or the command by `cargo install ergometer-cli --features tls`"));
            }
            _ => {
                return Err(Error::invalid("the address to send to is none of HTTP")
                    .cure("begin it with http:// or https://"));
            }
        }
        if uri.query().is_some() && !is_encrypted(&url) && !is_local(&url) {
            return Err(Error::invalid("what stands behind a `?` of the address would go to another machine for anyone to read")
                .cure("give an address that begins with https://"));
        }
        let agent = config(&url).build().into();
        Ok(Post { url, headers: Vec::new(), agent })
    }

    /// Trusts the authorities of this file, and no others; it is not read where nothing is encrypted.
    #[cfg_attr(
        not(feature = "tls"),
        expect(unused_mut, unused_variables, reason = "no https without")
    )]
    pub(crate) fn trusting(mut self, certificates: &Path) -> Result<Post> {
        #[cfg(feature = "tls")]
        if is_encrypted(&self.url) {
            let tls = ureq::tls::TlsConfig::builder().root_certs(trust::authorities(certificates)?);
            self.agent = config(&self.url).tls_config(tls.build()).build().into();
        }
        Ok(self)
    }

    /// Sends this header along: a token, a password.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Result<Post> {
        let invalid = |what: &str| {
            Error::invalid(format!("{what} of the header `{}` is not allowed", name.escape_debug()))
        };
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid("the name"))?;
        let mut value = HeaderValue::from_str(value).map_err(|_| invalid("the value"))?;
        value.set_sensitive(true);
        let secret = [
            "auth", "cookie", "key", "token", "secret", "pass", "cred", "session", "sign", "team",
            "dsn", "licen", "access", "private",
        ];
        let is_secret = secret.iter().any(|word| key.as_str().contains(word));
        if is_secret && !is_encrypted(&self.url) && !is_local(&self.url) {
            return Err(Error::invalid(format!(
                "a secret would go to `{}` for anyone to read",
                self.place()
            ))
            .cure("give an address that begins with https://"));
        }
        self.headers.push((key, value));
        Ok(self)
    }

    /// What a place said, without the headers that it was told.
    pub(crate) fn masked(&self, text: &str) -> String {
        let values = self.headers.iter().filter_map(|(_, value)| value.to_str().ok());
        // `Bearer` says nothing; what follows it does.
        let secrets = values.flat_map(|value| [Some(value), value.split_whitespace().last()]);
        secrets
            .flatten()
            .filter(|secret| !secret.is_empty())
            .fold(text.to_owned(), |text, secret| text.replace(secret, "…"))
    }

    /// Where it sends to.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The same for messages, without what may be a key.
    pub(crate) fn place(&self) -> &str {
        self.url.split(['?', '#']).next().unwrap_or_default()
    }

    /// This, with another path.
    pub(crate) fn at(&self, url: String) -> Post {
        Post { url, ..self.clone() }
    }

    pub(crate) fn put(&self, kind: &'static str, body: &[u8]) -> Result<String, Failure> {
        self.send(self.agent.put(&self.url), kind, body)
    }

    pub(crate) fn post(&self, kind: &'static str, body: &[u8]) -> Result<String, Failure> {
        self.send(self.agent.post(&self.url), kind, body)
    }

    /// Asks for JSON: with a body it is told something, without one it is asked. Gives the answer, whatever it says.
    pub(crate) fn ask(&self, body: Option<&[u8]>) -> Result<Answer, Failure> {
        let answer = match body {
            Some(body) => {
                let request = self.with_headers(self.agent.post(&self.url));
                request.header(header::CONTENT_TYPE, "application/json").send(body)
            }
            None => self.with_headers(self.agent.get(&self.url)).call(),
        };
        self.read(answer, PAGE)
    }

    fn send(
        &self,
        request: ureq::RequestBuilder<ureq::typestate::WithBody>,
        kind: &'static str,
        body: &[u8],
    ) -> Result<String, Failure> {
        let sent = self.with_headers(request).header(header::CONTENT_TYPE, kind).send(body);
        let answer = self.read(sent, ANSWER)?;
        if answer.status.is_success() {
            return Ok(answer.text);
        }
        let error = Error::lost(format!("`{}` answers with {}", self.place(), answer.status));
        Err(answer.failure(error))
    }

    fn with_headers<Any>(&self, request: ureq::RequestBuilder<Any>) -> ureq::RequestBuilder<Any> {
        self.headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    }

    fn read(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
        limit: u64,
    ) -> Result<Answer, Failure> {
        let mut answer = answer.map_err(|error| Failure::Later(self.unreached(&error), None))?;
        let wait = answer.headers().get(header::RETRY_AFTER).and_then(|wait| wait.to_str().ok());
        let wait = wait.and_then(|wait| wait.parse().ok()).map(Duration::from_secs);
        let status = answer.status();
        match answer.body_mut().with_config().limit(limit).read_to_vec() {
            // Some answer in protobuf.
            Ok(body) => Ok(Answer { status, text: String::from_utf8_lossy(&body).into(), wait }),
            Err(ureq::Error::BodyExceedsLimit(_)) => Err(Failure::Never(Error::lost(format!(
                "`{}` answers with more than {limit} bytes",
                self.place()
            )))),
            // It went away while it was answering.
            Err(error) => Err(Failure::Later(self.unreached(&error), None)),
        }
    }

    fn unreached(&self, error: &ureq::Error) -> Error {
        match error {
            ureq::Error::Timeout(_) => {
                Error::lost(format!("`{}` did not answer within {PATIENCE:?}", self.place()))
            }
            other => {
                let error = Error::lost(format!("`{}` cannot be reached: {other}", self.place()));
                let why = other.to_string();
                match [UNKNOWN, SELF].iter().find(|(word, _)| why.contains(word)) {
                    Some((_, cure)) => error.cure(*cure),
                    None => error,
                }
            }
        }
    }
}

/// How all is asked. A redirection could take a secret to somebody else, so none is followed.
fn config(url: &str) -> ConfigBuilder<AgentScope> {
    let config = Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .max_redirects(0)
        .http_status_as_error(false)
        .user_agent(concat!("ergometer/", env!("CARGO_PKG_VERSION")));
    if is_local(url) { config.proxy(None) } else { config }
}

/// An address that paths are added to, without the `/` at its end.
pub(crate) fn base(url: &str) -> Result<&str> {
    // The path would become part of the query; the address is not repeated, since that may hold a key.
    if url.contains(['?', '#']) {
        return Err(Error::invalid(
            "the address to send to has a `?` or a `#`, and a path follows it",
        )
        .cure("give the address without, and a key as a header"));
    }
    Ok(url.trim_end_matches('/'))
}

/// True of an address on this machine: no proxy is asked, and nobody listens in.
fn is_local(url: &str) -> bool {
    let uri: Option<Uri> = url.parse().ok();
    let host = uri.as_ref().and_then(Uri::host);
    host.is_some_and(|host| ["127.0.0.1", "[::1]", "localhost"].contains(&host))
}

/// True of an address of https, in whatever letters.
fn is_encrypted(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|uri| uri.scheme_str() == Some("https"))
}

/// A value as it stands in an address (RFC 3986, 2.1).
pub(crate) fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    let letter = |byte: u8| match byte {
        byte if plain(byte) => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(letter).collect()
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Post").field("place", &self.place()).field("headers", &headers).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "http://127.0.0.1:4318";

    #[test]
    fn a_secret_is_in_no_debug_and_in_no_refusal() {
        let post = Post::new("http://127.0.0.1:1/x", EXAMPLE).unwrap();
        let post = post.header("Authorization", "Bearer s3cret").unwrap();
        assert!(!format!("{post:?}").contains("s3cret"));
        let refusals = [
            Post::new("http://me:s3cret@127.0.0.1/", EXAMPLE).unwrap_err(),
            Post::new("http://example.org/?key=s3cret", EXAMPLE).unwrap_err(),
            Post::new("http://127.0.0.1/", EXAMPLE).unwrap().header("x", "s3cret\n").unwrap_err(),
            Post::new("http://example.org/", EXAMPLE)
                .unwrap()
                .header("Authorization", "s3cret")
                .unwrap_err(),
        ];
        for refusal in refusals {
            assert!(!format!("{refusal} {refusal:?}").contains("s3cret"), "{refusal}");
        }
    }

    #[test]
    fn headers_that_look_like_secrets_do_not_go_unencrypted_to_other_machines() {
        let refused =
            |url: &str, name: &str| Post::new(url, EXAMPLE).unwrap().header(name, "value").is_err();
        for url in ["http://example.org/", "HTTP://example.org/", "hTtP://EXAMPLE.org:80/"] {
            for name in ["X-Password", "x-credential", "X-Session-Id", "x-signature", "x-api-key"] {
                assert!(refused(url, name), "{url} {name}");
            }
            assert!(!refused(url, "x-scope-orgid"), "{url}");
        }
        for local in ["http://127.0.0.1:1/", "HTTP://[::1]:1/", "http://localhost/"] {
            assert!(!refused(local, "x-api-key"), "{local}");
        }
        for other in ["http://127.0.0.1.example.org/", "http://localhost.example.org/"] {
            assert!(refused(other, "x-api-key"), "{other}");
        }
    }

    #[test]
    fn a_base_with_a_query_is_refused_and_not_repeated() {
        assert_eq!(base("http://127.0.0.1:1/a/").unwrap(), "http://127.0.0.1:1/a");
        for bad in ["http://127.0.0.1:1/?key=s3cret", "http://127.0.0.1:1/#s3cret"] {
            let refusal = base(bad).unwrap_err();
            assert!(!format!("{refusal} {refusal:?}").contains("s3cret"), "{refusal}");
        }
    }

    #[test]
    fn what_is_escaped_ends_no_quotes_and_no_address() {
        assert_eq!(escaped("mlp-128_2026.a"), "mlp-128_2026.a");
        assert_eq!(escaped("x' OR 'a%"), "x%27%20OR%20%27a%25");
    }

    #[test]
    fn what_is_no_address_of_http_is_refused() {
        for bad in [
            "",
            "http://example.org/?key=s3cret",
            "127.0.0.1:4318",
            "ftp://127.0.0.1/",
            "file:///etc/passwd",
            "http://",
            "http://me:s3/cret@127.0.0.1/",
            "http://127.0.0.1:65536/",
            "http://[::1]x/",
            "//127.0.0.1/",
            "databricks://profile",
        ] {
            let refusal = Post::new(bad, EXAMPLE).unwrap_err();
            assert!(!refusal.to_string().contains("s3"), "{bad}: {refusal}");
        }
        for good in
            ["http://127.0.0.1", "HTTP://127.0.0.1:4318/a", "http://[::1]:1", "http://[::1]/"]
        {
            assert!(Post::new(good, EXAMPLE).is_ok(), "{good}");
        }
    }
}
