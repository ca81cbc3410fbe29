//! Webhooks of the generic channel.

use http::{HeaderMap, HeaderValue};
use serde_json::Value;

use super::super::ParseError;
use super::super::generic::{parse::parse, signature};
use super::super::json::text;
use super::{NOW, check};
use crate::model::inbound::{IgnoreReason, Ignored};
use crate::model::{Event, ProspectId};

/// Reads a webhook, with and without the headers of its signature: always the same, and always one event.
pub fn generic_webhook(body: &[u8]) {
    let signed = headers();
    let parsed = parse(&signed, body, NOW);
    assert_eq!(parsed, parse(&signed, body, NOW));
    let bare = parse(&HeaderMap::new(), body, NOW);
    let webhook: Option<Value> = serde_json::from_slice(body).ok();
    match (&parsed, &bare, &webhook) {
        (Ok(events), Ok(bare), Some(webhook)) => {
            let ([event], [bare]) = (&events[..], &bare[..]) else {
                panic!("not one event: {events:?}");
            };
            check(event);
            check(bare);
            check_fate(webhook, event, bare);
        }
        (Err(ParseError::NotJson(_)), Err(ParseError::NotJson(_)), None) => {}
        (
            Err(ParseError::NotTheProviders(_)),
            Err(ParseError::NotTheProviders(_)),
            Some(webhook),
        ) => assert!(text(webhook, "type").is_none(), "{webhook}"),
        other => panic!("{other:?}"),
    }
}

/// A message with a sender and an id is a message, or ignored for what it says itself; and its own id outweighs the header's,
/// or redeliveries under another `webhook-id` would count as new.
fn check_fate(webhook: &Value, signed: &Event, bare: &Event) {
    let data = webhook.get("data").unwrap_or(&Value::Null);
    let has_id = text(data, "message_id").is_some();
    if has_id && text(webhook, "timestamp").is_some_and(is_time) {
        assert_eq!(signed, bare);
    }
    if text(webhook, "type") != Some("message.received") {
        return;
    }
    let has_sender = text(data, "from").is_some_and(|from| ProspectId::parse(from).is_ok());
    for (event, has_id) in [(signed, true), (bare, has_id)] {
        let is_malformed = match event {
            Event::Message(_) => false,
            Event::Ignored(Ignored { reason, .. }) => *reason == IgnoreReason::Malformed,
            other => panic!("{webhook} became {other:?}"),
        };
        assert!(
            !is_malformed || !has_sender || !has_id,
            "a message is lost: {webhook}"
        );
    }
}

fn is_time(text: &str) -> bool {
    text.parse::<jiff::Timestamp>().is_ok()
}

fn headers() -> HeaderMap {
    HeaderMap::from_iter(
        [
            (signature::ID, "wh-1"),
            (signature::TIMESTAMP, "1760433330"),
        ]
        .map(|(name, value)| {
            (
                http::HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        }),
    )
}
