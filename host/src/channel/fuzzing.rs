//! What must hold whatever a stranger sends, as functions of the bytes. The targets of `tests/fuzz` call them with bytes that
//! a fuzzer invents; the tests here call them with those that earlier runs kept.

use crate::model::inbound::OwnerEcho;
use crate::model::{Content, Event, InboundMessage, ProspectId, Timestamp};

mod generic;
mod signatures;
mod split;
mod whatsapp;

pub use generic::generic_webhook;
pub use signatures::{generic_signature, whatsapp_signature};
pub use split::split;
pub use whatsapp::whatsapp_webhook;

/// When all webhooks come in.
const NOW: Timestamp = Timestamp(1_760_433_400_000);

/// The most characters of an ignored item that are kept, with the mark of what was cut.
const MAX_EXCERPT_CHARS: usize = 501;

/// What the rest of the host takes for granted of any event.
fn check(event: &Event) {
    match event {
        Event::Message(message) => check_message(message),
        Event::Echo(echo) => check_message(&as_stored(echo)),
        Event::Status(status) => assert!(!status.provider_id.is_empty(), "{status:?}"),
        Event::Renamed { from, to } => {
            check_prospect(from);
            check_prospect(to);
        }
        Event::Ignored(ignored) => {
            assert!(ignored.excerpt.chars().count() <= MAX_EXCERPT_CHARS);
            assert!(!ignored.excerpt.is_empty(), "{ignored:?}");
            ignored.prospect.iter().for_each(check_prospect);
        }
    }
}

fn check_message(message: &InboundMessage) {
    assert!(!message.provider_id.is_empty(), "{message:?}");
    check_prospect(&message.prospect);
    message.alias.iter().for_each(check_prospect);
    message.ext.iter().for_each(check_json);
    check_content(&message.content);
    // T1 stores it as JSON, and the turn is given what was stored.
    let stored = serde_json::to_string(message).unwrap_or_default();
    let read = serde_json::from_str::<InboundMessage>(&stored).ok();
    assert_eq!(read.as_ref(), Some(message), "stored as {stored}");
}

fn check_content(content: &Content) {
    match content {
        Content::Text { text } => assert!(!text.is_empty()),
        Content::Image(media)
        | Content::Audio(media)
        | Content::Video(media)
        | Content::Document(media) => {
            assert!(!media.id.is_empty(), "{media:?}");
            media.ext.iter().for_each(check_json);
        }
        Content::Location {
            latitude,
            longitude,
            ..
        } => {
            assert!((-90.0..=90.0).contains(latitude), "{content:?}");
            assert!((-180.0..=180.0).contains(longitude), "{content:?}");
        }
        Content::Interactive { id, .. } => assert!(!id.is_empty()),
        Content::Other { kind, json } => check_json(&(kind.clone(), json.clone())),
    }
}

/// A name with JSON, as plugins are promised them.
fn check_json((name, json): &(String, String)) {
    let read = serde_json::from_str::<serde::de::IgnoredAny>(json);
    assert!(read.is_ok(), "{name:?} is no JSON: {json:?}");
}

fn check_prospect(prospect: &ProspectId) {
    assert_eq!(ProspectId::parse(prospect.as_str()).as_ref(), Ok(prospect));
}

/// An echo goes the way of a message.
fn as_stored(echo: &OwnerEcho) -> InboundMessage {
    InboundMessage {
        provider_id: echo.provider_id.clone(),
        prospect: echo.prospect.clone(),
        alias: None,
        prospect_name: None,
        sent_at: echo.sent_at,
        content: echo.content.clone(),
        reply_to: None,
        ext: Vec::new(),
    }
}

/// The next line of an input that has several, and what follows it.
fn line(input: &[u8]) -> (&[u8], &[u8]) {
    match input.iter().position(|byte| *byte == b'\n') {
        Some(end) => {
            let (line, rest) = input.split_at(end);
            (line, rest.get(1..).unwrap_or_default())
        }
        None => (input, &[]),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Calls a target with everything in some folders of `tests`.
    fn replay(target: fn(&[u8]), folders: &[&str]) {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests");
        for folder in folders {
            let inputs: Vec<_> = std::fs::read_dir(tests.join(folder)).unwrap().collect();
            assert!(!inputs.is_empty(), "{folder} is empty");
            for input in inputs {
                target(&std::fs::read(input.unwrap().path()).unwrap());
            }
        }
    }

    #[test]
    fn kept_webhooks_of_whatsapp_hold_what_is_promised() {
        replay(
            whatsapp_webhook,
            &["fuzz/corpus/whatsapp_webhook", "fixtures/whatsapp"],
        );
    }

    #[test]
    fn kept_webhooks_of_the_generic_channel_hold_what_is_promised() {
        replay(
            generic_webhook,
            &["fuzz/corpus/generic_webhook", "fuzz/seeds/generic_webhook"],
        );
    }

    #[test]
    fn kept_signatures_of_whatsapp_hold_what_is_promised() {
        replay(
            whatsapp_signature,
            &[
                "fuzz/corpus/whatsapp_signature",
                "fuzz/seeds/whatsapp_signature",
            ],
        );
    }

    #[test]
    fn kept_signatures_of_the_generic_channel_hold_what_is_promised() {
        replay(
            generic_signature,
            &[
                "fuzz/corpus/generic_signature",
                "fuzz/seeds/generic_signature",
            ],
        );
    }

    #[test]
    fn kept_texts_hold_what_is_promised() {
        replay(split, &["fuzz/corpus/split", "fuzz/seeds/split"]);
    }
}
