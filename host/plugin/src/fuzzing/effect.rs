//! The effect that a call asks for, and what it weighs.

use std::time::Duration;

use super::NOW;
use super::call::Call;
use nodepath_model::delivery::Button;
use nodepath_model::effect::Outgoing;
use nodepath_model::{Effect, MessageId, OutboxId, Timestamp};

/// The effect that a call asks for. A message has the id that was answered.
pub(super) fn effect(call: Call, id: Option<String>) -> Effect {
    match call {
        Call::Handover { reason, note } => Effect::Handover { reason, note },
        Call::Schedule { id, due, payload } => Effect::Schedule {
            name: id,
            due: Timestamp(i64::try_from(due).unwrap_or(i64::MAX)),
            payload,
        },
        Call::CancelTimer { id } => Effect::CancelTimer { name: id },
        Call::SetTag { key, value } => Effect::SetTag { key, value },
        Call::Set {
            scope,
            key,
            value,
            ttl,
        } => Effect::SetState {
            scope: scope.into(),
            key,
            value,
            expires_at: ttl.map(|ms| NOW.plus(Duration::from_millis(ms))),
        },
        Call::Delete { scope, key } => Effect::DeleteState {
            scope: scope.into(),
            key,
        },
        Call::Increment { scope, key, by } => Effect::IncrementState {
            scope: scope.into(),
            key,
            by,
        },
        message => sent(message, id),
    }
}

fn sent(call: Call, id: Option<String>) -> Effect {
    let (message, options) = match call {
        Call::SendText { text, options } => (Outgoing::Text { text }, options),
        Call::SendMedia { media, options } => {
            let message = Outgoing::Media {
                media: media.kind.into(),
                url: media.url,
                caption: media.caption,
                filename: media.filename,
            };
            (message, options)
        }
        Call::SendButtons {
            body: text,
            buttons,
            options,
        } => {
            let buttons = buttons.into_iter().map(|button| Button {
                id: button.id,
                title: button.title,
            });
            let buttons = buttons.collect();
            (Outgoing::Buttons { text, buttons }, options)
        }
        Call::React { target, emoji } => {
            let target = MessageId::from_trusted(target);
            (Outgoing::React { target, emoji }, None)
        }
        other => panic!("{other:?} asks for no effect"),
    };
    let (reply_to, delay, ext) =
        options.map_or((None, None, Vec::new()), |o| (o.reply_to, o.delay, o.ext));
    Effect::Send {
        id: OutboxId::from_trusted(id.unwrap_or_default()),
        message,
        reply_to: reply_to.map(MessageId::from_trusted),
        delay_ms: delay.unwrap_or(0),
        ext,
    }
}

/// Every byte in an effect that the guest chose.
pub(super) fn size(effect: &Effect) -> usize {
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    match effect {
        Effect::Send {
            message,
            reply_to,
            ext,
            ..
        } => {
            let words = match message {
                Outgoing::Text { text } => text.len(),
                Outgoing::Media {
                    url,
                    caption,
                    filename,
                    ..
                } => url.len() + length(caption) + length(filename),
                Outgoing::Buttons { text, buttons } => buttons
                    .iter()
                    .fold(text.len(), |sum, b| sum + b.id.len() + b.title.len()),
                Outgoing::React { target, emoji } => target.as_str().len() + length(emoji),
            };
            let reply_to = reply_to.as_ref().map_or(0, |id| id.as_str().len());
            ext.iter()
                .fold(words + reply_to, |sum, (k, v)| sum + k.len() + v.len())
        }
        Effect::Handover { reason, note } => reason.len() + length(note),
        Effect::Schedule { name, payload, .. } => name.len() + payload.len(),
        Effect::CancelTimer { name } => name.len(),
        Effect::SetTag { key, value } => key.len() + length(value),
        Effect::SetState { key, value, .. } => key.len() + value.len(),
        Effect::DeleteState { key, .. } => key.len(),
        Effect::IncrementState { key, .. } => key.len() + size_of::<i64>(),
    }
}
