//! Replies, and the texts for what came in and what went wrong.

use guest_kit::effects::{self, EffectError};
use guest_kit::handler::{Outcome, Trigger, Turn, TurnError};
use guest_kit::state::StateError;
use guest_kit::types::{Content, Media};

/// Answers a text that is not a script, with the burst that it ends.
pub fn echo(turn: &Turn, text: &str) -> Result<Outcome, TurnError> {
    let said = match &turn.trigger {
        Trigger::Messages(messages) => {
            let all: Vec<String> = messages
                .iter()
                .map(|message| describe(&message.content))
                .collect();
            all.join("\n")
        }
        Trigger::Timer(_) | Trigger::Signal(_) => text.to_owned(),
    };
    reply(&format!("You said: {said}"))?;
    Ok(Outcome::Commit)
}

/// Sends a text. Where even that is refused, the turn fails with the reason.
pub fn reply(text: &str) -> Result<(), TurnError> {
    effects::send_text(text, None)
        .map(drop)
        .map_err(|error| TurnError::Failed(format!("test-script: reply: {}", effect_error(&error))))
}

pub fn effect_error(error: &EffectError) -> String {
    match error {
        EffectError::Unsupported(text) => format!("unsupported: {text}"),
        EffectError::LimitExceeded(text) => format!("limit-exceeded: {text}"),
        EffectError::Invalid(text) => format!("invalid: {text}"),
        EffectError::Policy(text) => format!("policy: {text}"),
    }
}

pub fn state_error(error: &StateError) -> String {
    match error {
        StateError::TooLarge(bytes) => format!("too-large: {bytes}"),
        StateError::LimitExceeded(text) => format!("limit-exceeded: {text}"),
        StateError::Invalid(text) => format!("invalid: {text}"),
        StateError::Unavailable(text) => format!("unavailable: {text}"),
    }
}

pub fn value(key: &str, value: Option<String>) -> String {
    match value {
        Some(value) => format!("{key}={value}"),
        None => format!("{key} is not set"),
    }
}

/// A text `count` times over; a count that no memory holds is a trap.
pub fn repeat(text: &str, count: u64) -> String {
    text.repeat(usize::try_from(count).unwrap_or(usize::MAX))
}

/// A text as it is, anything else in one line.
pub fn describe(content: &Content) -> String {
    match content {
        Content::Text(text) => text.clone(),
        Content::Image(media) => describe_media("image", media),
        Content::Audio(media) => describe_media("audio", media),
        Content::Video(media) => describe_media("video", media),
        Content::Document(media) => describe_media("document", media),
        Content::Location(place) => {
            let name = place.name.as_deref().unwrap_or_default();
            format!("location {} {} {name}", place.latitude, place.longitude)
        }
        Content::Interactive(choice) => format!("chose {} {}", choice.id, choice.title),
        Content::Other(other) => format!("other {} {}", other.kind, other.json),
    }
}

fn describe_media(kind: &str, media: &Media) -> String {
    let caption = media
        .caption
        .as_deref()
        .or(media.filename.as_deref())
        .unwrap_or_default();
    format!("{kind} {} {} {caption}", media.id, media.mime_type)
}
