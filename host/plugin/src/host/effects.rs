//! `effects`: what the plugin wants to happen, checked and buffered.

use wasmtime::component::HasData;

use crate::bindings::effects::{self, EffectError, Host, OutboundMedia, SendOptions};
use crate::buffer::{Buffer, Full};
use crate::grant::{self, Facts};
use crate::limits::{NAME_CHARS, NOTE_CHARS, PAYLOAD_BYTES, REASON_CHARS, TAG_CHARS};
use nodepath_model::content::Ext;
use nodepath_model::delivery::Button;
use nodepath_model::effect::Outgoing;
use nodepath_model::{Effect, MessageId, OutboxId};

type Answer<T> = Result<T, EffectError>;

/// The buffer of a turn, as `effects` may use it.
pub(crate) struct Effects<'a> {
    /// What the effects are checked against.
    pub(crate) facts: &'a Facts,
    /// Where they go.
    pub(crate) buffer: &'a mut Buffer,
}

/// The type that stands for [`Effects`] when it is linked.
pub(crate) struct HasEffects;

impl HasData for HasEffects {
    type Data<'a> = Effects<'a>;
}

impl Effects<'_> {
    fn send(&mut self, message: Outgoing, bytes: usize, options: Checked) -> Answer<String> {
        let id = OutboxId::generate();
        let answer = id.to_string();
        let bytes = bytes
            .saturating_add(grant::ext_bytes(&options.ext))
            .saturating_add(options.reply_to.as_ref().map_or(0, |id| id.as_str().len()));
        let effect = Effect::Send {
            id,
            message,
            reply_to: options.reply_to,
            delay_ms: options.delay_ms,
            ext: options.ext,
        };
        self.buffer.push(effect, bytes)?;
        Ok(answer)
    }

    fn push(&mut self, effect: Effect, bytes: usize) -> Answer<()> {
        Ok(self.buffer.push(effect, bytes)?)
    }
}

impl Host for Effects<'_> {
    fn send_text(&mut self, text: String, options: Option<SendOptions>) -> Answer<String> {
        grant::window(self.facts)?;
        grant::text(&text)?;
        let options = checked(options)?;
        let bytes = text.len();
        self.send(Outgoing::Text { text }, bytes, options)
    }

    fn send_media(&mut self, media: OutboundMedia, options: Option<SendOptions>) -> Answer<String> {
        grant::window(self.facts)?;
        grant::media(&media, &self.facts.limits)?;
        let options = checked(options)?;
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let bytes = media.url.len() + length(&media.caption) + length(&media.filename);
        let message = Outgoing::Media {
            media: media.kind.into(),
            url: media.url,
            caption: media.caption,
            filename: media.filename,
        };
        self.send(message, bytes, options)
    }

    fn send_buttons(
        &mut self,
        body: String,
        buttons: Vec<effects::Button>,
        options: Option<SendOptions>,
    ) -> Answer<String> {
        grant::window(self.facts)?;
        grant::buttons(&body, &buttons, &self.facts.limits)?;
        let options = checked(options)?;
        let bytes = buttons
            .iter()
            .fold(body.len(), |sum, b| sum + b.id.len() + b.title.len());
        let buttons = buttons
            .into_iter()
            .map(|button| Button {
                id: button.id,
                title: button.title,
            })
            .collect();
        let message = Outgoing::Buttons {
            text: body,
            buttons,
        };
        self.send(message, bytes, options)
    }

    fn react(&mut self, target: String, emoji: Option<String>) -> Answer<()> {
        grant::window(self.facts)?;
        grant::reaction(emoji.as_deref(), &self.facts.limits)?;
        let target = inbound(target, "target")?;
        let bytes = target.as_str().len() + emoji.as_ref().map_or(0, String::len);
        let message = Outgoing::React { target, emoji };
        self.send(message, bytes, Checked::default()).map(drop)
    }

    fn handover(&mut self, reason: String, note: Option<String>) -> Answer<()> {
        grant::words("reason", &reason, REASON_CHARS)?;
        if let Some(note) = &note {
            grant::words("note", note, NOTE_CHARS)?;
        }
        let bytes = reason.len() + note.as_ref().map_or(0, String::len);
        self.push(Effect::Handover { reason, note }, bytes)
    }

    fn schedule(&mut self, id: String, due: u64, payload: Vec<u8>) -> Answer<()> {
        grant::words("id", &id, NAME_CHARS)?;
        let due = grant::due(due, self.facts.now)?;
        if payload.len() > PAYLOAD_BYTES {
            return Err(EffectError::LimitExceeded(format!(
                "the payload of a timer may have {PAYLOAD_BYTES} bytes; keep more in `state`"
            )));
        }
        let bytes = id.len() + payload.len();
        let name = id;
        self.push(Effect::Schedule { name, due, payload }, bytes)
    }

    fn cancel_timer(&mut self, id: String) -> Answer<()> {
        grant::words("id", &id, NAME_CHARS)?;
        let bytes = id.len();
        self.push(Effect::CancelTimer { name: id }, bytes)
    }

    fn set_tag(&mut self, key: String, value: Option<String>) -> Answer<()> {
        grant::words("key", &key, NAME_CHARS)?;
        if let Some(value) = &value {
            grant::words("value", value, TAG_CHARS)?;
        }
        let bytes = key.len() + value.as_ref().map_or(0, String::len);
        self.push(Effect::SetTag { key, value }, bytes)
    }
}

/// Options that hold.
#[derive(Default)]
struct Checked {
    reply_to: Option<MessageId>,
    delay_ms: u64,
    ext: Ext,
}

fn checked(options: Option<SendOptions>) -> Answer<Checked> {
    let Some(options) = options else {
        return Ok(Checked::default());
    };
    grant::ext(&options.ext)?;
    Ok(Checked {
        reply_to: options
            .reply_to
            .map(|id| inbound(id, "reply-to"))
            .transpose()?,
        delay_ms: grant::delay(options.delay.unwrap_or(0))?,
        ext: options.ext,
    })
}

fn inbound(id: String, argument: &str) -> Answer<MessageId> {
    grant::inbound_id(argument, &id)?;
    Ok(MessageId::from_trusted(id))
}

impl From<Full> for EffectError {
    fn from(full: Full) -> Self {
        Self::LimitExceeded(full.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::tests::facts;

    fn with<T>(facts: &Facts, call: impl FnOnce(&mut Effects<'_>) -> T) -> T {
        let mut buffer = Buffer::default();
        call(&mut Effects {
            facts,
            buffer: &mut buffer,
        })
    }

    #[test]
    fn a_message_gets_the_id_that_it_is_sent_with() {
        let facts = facts();
        let mut buffer = Buffer::default();
        let mut effects = Effects {
            facts: &facts,
            buffer: &mut buffer,
        };
        let answered = effects.send_text("hi".to_owned(), None).unwrap();
        let sent = buffer.end(crate::bindings::handler::Outcome::Commit);
        let [Effect::Send { id, .. }] = sent.as_slice() else {
            panic!("{sent:?}")
        };
        assert_eq!(answered, id.as_str());
        assert!(answered.starts_with("out_"));
    }

    #[test]
    fn outside_the_window_nothing_is_sent_but_the_rest_goes_on() {
        let closed = Facts {
            window_open: false,
            ..facts()
        };
        with(&closed, |effects| {
            let Err(EffectError::Policy(why)) = effects.send_text("hi".to_owned(), None) else {
                panic!("sent outside the window")
            };
            assert!(why.contains("24 hours"), "{why}");
            assert!(effects.react("msg_1".to_owned(), None).is_err());
            effects.set_tag("vip".to_owned(), None).unwrap();
            effects.handover("closed".to_owned(), None).unwrap();
        });
    }

    #[test]
    fn every_byte_that_the_guest_chose_counts() {
        let facts = facts();
        let mut buffer = Buffer::default();
        let mut effects = Effects {
            facts: &facts,
            buffer: &mut buffer,
        };
        let options = SendOptions {
            reply_to: Some("msg_1".to_owned()),
            delay: None,
            ext: vec![("a".to_owned(), "10".to_owned())],
        };
        effects.send_text("hi".to_owned(), Some(options)).unwrap();
        effects
            .react("msg_22".to_owned(), Some("👍".to_owned()))
            .unwrap();
        assert_eq!(buffer.held().1, 2 + 5 + 3 + 6 + 4);
    }

    #[test]
    fn a_timer_has_bounds() {
        let facts = facts();
        let now = u64::try_from(facts.now.0).unwrap();
        with(&facts, |effects| {
            let mut schedule = |due, bytes| effects.schedule("t".to_owned(), due, vec![0; bytes]);
            assert!(schedule(0, 0).is_ok(), "a timer of the past runs at once");
            assert!(schedule(now + 1, PAYLOAD_BYTES).is_ok());
            assert!(schedule(now, PAYLOAD_BYTES + 1).is_err());
            assert!(schedule(u64::MAX, 0).is_err());
        });
    }
}
