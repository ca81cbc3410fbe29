//! Channels: what providers' webhooks say, and how messages are sent through them.
//!
//! **Invariant:** nothing here touches the store or a plugin. Every function is told the credentials and the time, and answers
//! with a value of `model`: what it means for a conversation is decided elsewhere.
//!
//! One file per provider. The set of channels is closed, so each function here is one `match`. A new channel is a variant of
//! `ChannelKind` and `Credentials`, and the compiler lists the places that must learn it.

use std::time::Duration;

use http::HeaderMap;

use crate::model::delivery::{ChannelLimits, PartKind, Presence};
use crate::model::{ChannelKind, Credentials, Delivery, Event, Part, ProspectId, Timestamp};

mod client;
mod credentials;
mod generic;
mod json;
mod retry;
mod split;
mod whatsapp;

#[cfg(any(test, fuzzing))]
pub mod fuzzing;

#[cfg(test)]
mod contract_tests;

pub use client::{Error, http_client};
pub use credentials::{BadCredentials, check_credentials};
pub use generic::signature::sign as sign_standard_webhook;
pub use retry::retry;
pub use whatsapp::sign as sign_whatsapp;

/// Why a webhook is not believed. None of them says what the signature should have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A header that carries the signature is missing.
    #[error("the header {0} is missing")]
    MissingHeader(&'static str),
    /// A header that carries the signature can't be read.
    #[error("the header {0} can't be read")]
    BadHeader(&'static str),
    /// The body was signed with another secret, or was changed on its way.
    #[error("the signature does not fit the body; check the secret on both sides")]
    BadSignature,
    /// It was signed too long ago, or in the future.
    #[error(
        "it was signed more than five minutes ago or in the future; check the clocks of both sides"
    )]
    OutsideWindow,
    /// The challenge has another mode or verify token.
    #[error("the challenge does not carry this device's verify token")]
    BadChallenge,
    /// The channel has no such request.
    #[error("this channel has no verification challenge")]
    NotSupported,
    /// The device has no usable secret, so nothing can be believed.
    #[error("the device's own secret is empty or can't be read; set its credentials again")]
    Unconfigured,
}

/// Why a body as a whole is not one of the provider's. A single bad item is no error: it becomes `Event::Ignored`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// It is not JSON.
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    /// It is JSON, but of another shape.
    #[error("the body is not a webhook of this channel: {0}")]
    NotTheProviders(&'static str),
}

/// What a channel can express.
#[must_use]
pub fn limits(kind: ChannelKind) -> &'static ChannelLimits {
    match kind {
        ChannelKind::Whatsapp => &whatsapp::LIMITS,
        ChannelKind::Generic => &generic::LIMITS,
    }
}

/// The largest body that a webhook of this channel may have, in bytes.
#[must_use]
pub fn max_body_bytes(kind: ChannelKind) -> usize {
    match kind {
        // Meta puts up to 1,000 updates into one webhook, 3 MB at most ("Webhooks", Graph API documentation).
        ChannelKind::Whatsapp => 3 << 20,
        // One event per webhook, for which the specification advises at most 20 kB.
        ChannelKind::Generic => 1 << 20,
    }
}

/// Answers the request with which a provider checks a webhook's address. `query` is the raw query string. The answer is the
/// body to send back as plain text.
///
/// # Errors
/// If it does not carry the verify token, or the channel knows no such request.
pub fn challenge(credentials: &Credentials, query: &str) -> Result<String, VerifyError> {
    match credentials {
        Credentials::Whatsapp { verify_token, .. } => whatsapp::challenge(verify_token, query),
        Credentials::Generic { .. } => Err(VerifyError::NotSupported),
    }
}

/// Checks that a webhook is signed at all, before its body is read.
///
/// # Errors
/// If a header that carries the signature is missing.
pub fn is_signed(kind: ChannelKind, headers: &HeaderMap) -> Result<(), VerifyError> {
    let names: &[&'static str] = match kind {
        ChannelKind::Whatsapp => &whatsapp::SIGNED_BY,
        ChannelKind::Generic => &generic::signature::SIGNED_BY,
    };
    match names.iter().find(|name| !headers.contains_key(**name)) {
        Some(missing) => Err(VerifyError::MissingHeader(missing)),
        None => Ok(()),
    }
}

/// Checks the signature of a webhook over its raw bytes, in constant time.
///
/// # Errors
/// If it is missing, does not fit, or is too old or too new at `now`.
pub fn verify(
    credentials: &Credentials,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<(), VerifyError> {
    match credentials {
        Credentials::Whatsapp { app_secret, .. } => whatsapp::verify(app_secret, headers, body),
        Credentials::Generic { inbound, .. } => {
            generic::signature::verify(inbound, headers, body, now)
        }
    }
}

/// Reads a webhook whose signature was checked. Whatever it holds becomes an event each; an item that can't be read becomes
/// `Event::Ignored` and takes nothing else with it. A message with an id and a sender is always a message: what else can't be
/// read of it becomes `Content::Other`, and one that does not say when it was sent was sent at `now`.
///
/// # Errors
/// If the body as a whole is not JSON, or not a webhook of this channel.
pub fn parse(
    credentials: &Credentials,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<Vec<Event>, ParseError> {
    match credentials {
        Credentials::Whatsapp {
            phone_number_id, ..
        } => whatsapp::parse::parse(phone_number_id, body, now),
        Credentials::Generic { .. } => generic::parse::parse(headers, body, now),
    }
}

/// Tries once to send a part, and says what became of it. It never panics and never retries by itself.
///
/// A failure before the request can have left, and one that the provider tells, is `Retry` or `Dead`. When the request may
/// have arrived and no answer did, it is `Unknown`.
pub async fn send(
    client: &reqwest::Client,
    credentials: &Credentials,
    part: &Part,
    now: Timestamp,
) -> Delivery {
    match credentials {
        Credentials::Whatsapp {
            access_token,
            phone_number_id,
            api_base,
            ..
        } => {
            let graph = whatsapp::send::Graph {
                client,
                access_token,
                phone_number_id,
                api_base,
            };
            graph.send(part, now).await
        }
        Credentials::Generic { outbound, url, .. } => {
            generic::send::send(client, outbound, url, part, now).await
        }
    }
}

/// Shows the prospect that an answer is being written, or that the messages up to `last_inbound_provider_id` were read. Best
/// effort: a failure is logged and forgotten. The generic channel has no such signs.
pub async fn presence(
    client: &reqwest::Client,
    credentials: &Credentials,
    prospect: &ProspectId,
    last_inbound_provider_id: Option<&str>,
    signal: Presence,
) {
    match (credentials, last_inbound_provider_id) {
        (
            Credentials::Whatsapp {
                access_token,
                phone_number_id,
                api_base,
                ..
            },
            Some(message_id),
        ) => {
            let graph = whatsapp::send::Graph {
                client,
                access_token,
                phone_number_id,
                api_base,
            };
            if let Err(why) = graph.presence(message_id, signal).await {
                tracing::debug!(prospect = %prospect.masked(), ?signal, why, "a sign of presence was not sent: {why}");
            }
        }
        // WhatsApp shows a sign only on a message, and somebody who never wrote has none.
        (Credentials::Whatsapp { .. }, None) | (Credentials::Generic { .. }, _) => {}
    }
}

/// Cuts a message into parts that the channel takes: a text that is too long becomes several, anything else stays as it is.
///
/// A text is cut where a paragraph, line, sentence or word ends, and inside a word only where there is no such place; never
/// inside what a reader sees as one character, unless that alone is longer than the channel takes. The white space at a cut
/// is dropped, and nothing else. No part is blank, so a blank text has no parts.
#[must_use]
pub fn split(kind: ChannelKind, message: PartKind) -> Vec<PartKind> {
    match message {
        PartKind::Text { text } => split::split(&text, limits(kind).text_chars)
            .into_iter()
            .map(|text| PartKind::Text { text })
            .collect(),
        other @ (PartKind::Media { .. } | PartKind::Buttons { .. } | PartKind::React { .. }) => {
            vec![other]
        }
    }
}

/// How long one try to send may take: `http_client` sets it, and a caller that watches over a send may count on it.
pub const SEND_TIMEOUT: Duration = client::TOTAL_TIMEOUT;
