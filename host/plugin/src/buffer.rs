//! What a turn asked for so far. It is bounded, and it is all that is left of a turn.

use super::bindings::handler::Outcome as Ending;
use super::limits::{EFFECT_BYTES, EFFECTS, MESSAGES};
use nodepath_model::Effect;

/// The effects of one turn, in the order of the calls.
#[derive(Default)]
pub(super) struct Buffer {
    effects: Vec<Effect>,
    bytes: usize,
    messages: usize,
}

/// A limit of the buffer was met. Its text names the limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full(pub(super) String);

impl Buffer {
    /// Adds an effect that carries so many bytes of the guest's.
    pub(super) fn push(&mut self, effect: Effect, bytes: usize) -> Result<(), Full> {
        let is_message = matches!(effect, Effect::Send { .. });
        if self.effects.len() >= EFFECTS {
            return Err(Full(format!(
                "a turn may ask for {EFFECTS} effects and state writes"
            )));
        }
        if is_message && self.messages >= MESSAGES {
            return Err(Full(format!("a turn may send {MESSAGES} messages")));
        }
        let sum = self.bytes.saturating_add(bytes);
        if sum > EFFECT_BYTES {
            return Err(Full(format!(
                "the effects and state writes of a turn may have {EFFECT_BYTES} bytes together"
            )));
        }
        self.bytes = sum;
        self.messages += usize::from(is_message);
        self.effects.push(effect);
        Ok(())
    }

    /// What it holds, and how many bytes it counts for that.
    #[cfg(any(test, fuzzing))]
    pub(super) fn held(&self) -> (&[Effect], usize) {
        (&self.effects, self.bytes)
    }

    /// What is to happen when the turn ends like this.
    ///
    /// A silent turn drops its messages only. A hand-over stays: it is no message, and a plugin that wants a human to take
    /// over without a word has no other way to say so.
    pub(super) fn end(self, ending: Ending) -> Vec<Effect> {
        match ending {
            Ending::Commit => self.effects,
            Ending::Silent => self
                .effects
                .into_iter()
                .filter(|effect| !matches!(effect, Effect::Send { .. }))
                .collect(),
            Ending::Ignore => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nodepath_model::OutboxId;
    use nodepath_model::effect::Outgoing;

    fn message() -> Effect {
        Effect::Send {
            id: OutboxId::generate(),
            message: Outgoing::Text {
                text: "hi".to_owned(),
            },
            reply_to: None,
            delay_ms: 0,
            ext: vec![],
        }
    }

    fn handover() -> Effect {
        Effect::Handover {
            reason: "asked".to_owned(),
            note: None,
        }
    }

    #[test]
    fn every_bound_is_named_when_it_is_met() {
        let mut buffer = Buffer::default();
        (0..MESSAGES).for_each(|_| buffer.push(message(), 2).unwrap());
        assert_eq!(
            buffer.push(message(), 2),
            Err(Full("a turn may send 20 messages".to_owned()))
        );
        let Err(Full(bytes)) = buffer.push(handover(), EFFECT_BYTES) else {
            panic!("the bytes are not bounded")
        };
        assert!(bytes.contains("1048576 bytes"), "{bytes}");
        (MESSAGES..EFFECTS).for_each(|_| buffer.push(handover(), 1).unwrap());
        assert!(buffer.push(handover(), 1).is_err());
    }

    #[test]
    fn a_silent_turn_keeps_all_but_its_messages() {
        let filled = || {
            let mut buffer = Buffer::default();
            buffer.push(message(), 2).unwrap();
            buffer.push(handover(), 2).unwrap();
            buffer
        };
        assert_eq!(filled().end(Ending::Commit).len(), 2);
        assert_eq!(filled().end(Ending::Silent), [handover()]);
        assert_eq!(filled().end(Ending::Ignore), []);
    }
}
