//! `presence`: the signs that leave at once.

use tokio::sync::mpsc::UnboundedSender;
use wasmtime::component::HasData;

use crate::bindings::presence::Host;
use crate::limits::PRESENCE;
use nodepath_model::delivery::Presence as Sign;

/// Where the signs of one turn go. The channel has no bound of its own; a turn sends it no more than [`PRESENCE`].
pub(crate) struct Presence {
    signs: UnboundedSender<Sign>,
    left: u32,
}

impl Presence {
    /// Signs go to `signs`.
    pub(crate) fn new(signs: UnboundedSender<Sign>) -> Self {
        Self {
            signs,
            left: PRESENCE,
        }
    }

    fn send(&mut self, sign: Sign) {
        let Some(left) = self.left.checked_sub(1) else {
            return;
        };
        self.left = left;
        if self.signs.send(sign).is_err() {
            // Nobody listens, as in a check: signs are best effort, and the rest of them would meet the same.
            self.left = 0;
        }
    }
}

impl HasData for Presence {
    type Data<'a> = &'a mut Self;
}

impl Host for Presence {
    fn typing(&mut self, on: bool) {
        self.send(Sign::Typing(on));
    }

    fn mark_read(&mut self) {
        self.send(Sign::Read);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;

    #[test]
    fn a_turn_sends_only_so_many_signs() {
        let (signs, mut sent) = unbounded_channel();
        let mut presence = Presence::new(signs);
        presence.mark_read();
        (0..1_000).for_each(|n| presence.typing(n % 2 == 0));
        assert_eq!(sent.len(), usize::try_from(PRESENCE).unwrap());
        assert_eq!(sent.try_recv(), Ok(Sign::Read));
    }
}
