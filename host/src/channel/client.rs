//! The HTTP client that talks to providers, and what its failures mean.

use std::time::Duration;

use http::HeaderMap;

use super::json::shorten;
use crate::model::delivery::DeadScope;
use crate::model::{Delivery, Timestamp};

/// A provider that is up accepts a connection within one round trip; this leaves room for one lost packet or two.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// From the first byte sent to the last one read. Graph answers within two seconds at its worst percentile, and a media
/// message waits for Meta to look at the link. It is below the 30 s for which a device waits for the provider's word on a
/// part that nobody can tell about.
pub(super) const TOTAL_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection that has idled longer is not used again, since the provider may be closing it at that moment, and then
/// nobody can tell whether the request arrived.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// The most bytes of an answer that are read. Answers of providers are below 2 KiB.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// The most characters of a provider's words that are kept.
pub(super) const MAX_WHY_CHARS: usize = 500;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system has no certificates, or TLS can't be set up.
    #[error(
        "the HTTP client can't be set up: {0}; install the system's root certificates (package ca-certificates)"
    )]
    Setup(#[source] reqwest::Error),
}

/// The one client of a process. It takes no proxy from the environment, since a bearer token would pass through it, and
/// follows no redirects, since the credentials are for one address.
///
/// # Errors
/// If the system has no root certificates.
pub fn http_client() -> Result<reqwest::Client, Error> {
    // The first caller in the process wins; a second installation is refused, and is of the same provider.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder()
        .user_agent(concat!("nodepath/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TOTAL_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        // Whether a part is sent again is decided by its device's policy, and nowhere else (I8).
        .retry(reqwest::retry::never())
        .no_proxy()
        .build()
        .map_err(Error::Setup)
}

/// What a provider answered.
pub(super) struct Answer {
    /// The HTTP status.
    pub(super) status: u16,
    /// How long it asks to wait.
    pub(super) retry_after: Option<Duration>,
    /// The body, if all of it was read.
    pub(super) body: Option<Vec<u8>>,
}

impl Answer {
    /// The body as JSON, if it is.
    pub(super) fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(self.body.as_deref()?).ok()
    }

    /// Whether the provider says that it took the request.
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The status and the beginning of the body, for people.
    pub(super) fn why(&self) -> String {
        let body = String::from_utf8_lossy(self.body.as_deref().unwrap_or_default());
        let why = format!("HTTP {}: {}", self.status, body.trim());
        shorten(why.trim_end_matches([' ', ':']), MAX_WHY_CHARS)
    }
}

/// Sends a request and reads the answer. An `Err` is what became of the part when there was no answer.
pub(super) async fn exchange(
    request: reqwest::RequestBuilder,
    now: Timestamp,
) -> Result<Answer, Delivery> {
    let mut response = request.send().await.map_err(|error| failure(&error))?;
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers(), now);
    let mut body = Vec::new();
    let whole = loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_ANSWER_BYTES => {
                body.extend_from_slice(&chunk);
            }
            Ok(None) => break true,
            Ok(Some(_)) | Err(_) => break false,
        }
    };
    Ok(Answer {
        status,
        retry_after,
        body: whole.then_some(body),
    })
}

/// What a request means that got no answer.
fn failure(error: &reqwest::Error) -> Delivery {
    let why = describe(error);
    if error.is_builder() {
        return Delivery::Dead {
            why: format!("the request can't be made: {why}"),
            scope: DeadScope::Device,
        };
    }
    if error.is_connect() {
        // No connection, so nothing was sent.
        return Delivery::Retry { after: None, why };
    }
    Delivery::Unknown { why }
}

/// An error with its causes, but without the URL: it may carry a secret.
fn describe(error: &reqwest::Error) -> String {
    let mut words = if error.is_timeout() {
        "timed out".to_owned()
    } else if error.is_connect() {
        "no connection".to_owned()
    } else {
        "the connection broke".to_owned()
    };
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    shorten(&words, MAX_WHY_CHARS)
}

/// `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers
        .get(http::header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?;
    Some(Timestamp(date.timestamp().as_millisecond()).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let after = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(http::header::RETRY_AFTER, value.parse().unwrap());
            retry_after(&headers, Timestamp(784_111_777_000))
        };
        assert_eq!(after("120"), Some(Duration::from_secs(120)));
        assert_eq!(
            after("Sun, 06 Nov 1994 08:50:37 GMT"),
            Some(Duration::from_secs(60))
        );
        assert_eq!(after("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(after("soon"), None);
        assert_eq!(after("-1"), None);
    }
}
