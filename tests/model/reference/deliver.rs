//! The parts of replies, and T5.

use nodepath::model::device::UnknownPolicy;

use super::{Next, Part, PartState, Reference, Stage, State};
use crate::words::{Conv, Fate, Order, Piece, Word};

/// A part that can't go out since its conversation is busy is looked at again a second later.
const BUSY: i64 = 1_000;

impl Reference {
    /// What became of a try. Promise I8: only the try that is under way counts. Answers the device if what waits on it may be
    /// hurried.
    pub(super) fn settle(&mut self, piece: Piece, attempt: u32, fate: Fate) -> Option<usize> {
        let (now, device) = (self.now, piece.turn.conv.device);
        let part = self.parts.get_mut(&piece)?;
        if part.state != PartState::Sending || part.attempts != attempt {
            return None;
        }
        let has_arrived = part.status.is_some_and(|word| word != Word::Failed);
        let has_failed = part.status == Some(Word::Failed);
        (part.state, part.next_at) = match fate {
            Fate::Sent { with_id } => {
                part.provider_id = with_id.then_some(attempt);
                (PartState::Sent, None)
            }
            // The provider's word was faster than its answer.
            Fate::UnknownFor(_) if has_failed => (PartState::Dead, None),
            Fate::UnknownFor(_) | Fate::RetryIn(_) if has_arrived => (PartState::Sent, None),
            Fate::UnknownFor(ms) => (PartState::Unknown, Some(now + ms)),
            Fate::RetryIn(ms) => (PartState::Queued, Some(now + ms)),
            Fate::NotTried(ms) => {
                part.attempts -= 1;
                (PartState::Queued, Some(now + ms))
            }
            Fate::Dead { .. } => (PartState::Dead, None),
        };
        let is_open = part.is_open();
        match fate {
            Fate::Sent { .. } => self.alerts[device] = false,
            Fate::Dead { alert: true } => self.alerts[device] = true,
            _ => {}
        }
        if !is_open {
            self.go_on(piece.turn.conv);
        }
        (matches!(fate, Fate::Sent { .. }) && attempt > 1).then_some(device)
    }

    /// What waits for its next try on a device that can send again need not wait.
    pub(super) fn hurry(&mut self, device: usize) {
        let now = self.now;
        for (piece, part) in &mut self.parts {
            let waits = part.state == PartState::Queued && part.attempts > 0;
            if piece.turn.conv.device == device && waits {
                part.next_at = part.next_at.map(|at| at.min(now));
            }
        }
    }

    /// Begins the next part of a conversation, or releases its lock after the last (I4).
    pub(super) fn go_on(&mut self, conv: Conv) {
        if self.talk(conv).state != State::Sending {
            return;
        }
        let of_conv = |piece: &&Piece| piece.turn.conv == conv;
        let pieces: Vec<_> = self.parts.keys().filter(of_conv).copied().collect();
        for piece in pieces {
            let part = &self.parts[&piece];
            if part.state == PartState::Queued && part.next_at.is_none() {
                self.begin(piece);
            }
            if self.parts[&piece].is_open() {
                return;
            }
        }
        self.talk(conv).next = Next::Free;
    }

    /// A part whose turn it is goes out at once, or after its pause.
    pub(super) fn begin(&mut self, piece: Piece) {
        let (now, stage) = (self.now, self.stage);
        let part = self.parts.get_mut(&piece).unwrap();
        let is_first_try = part.next_at.is_none() && part.attempts == 0;
        if stage == Stage::Halted {
            part.state = PartState::Queued;
            part.next_at = Some(now);
        } else if is_first_try && part.pause > 0 {
            part.next_at = Some(now + part.pause);
        } else {
            part.state = PartState::Sending;
            part.next_at = None;
            part.attempts += 1;
            let order = Order::Send(piece, part.attempts);
            self.said.orders.push(order);
        }
    }

    /// The time of a part has come: of its next try, of the end of its pause, or of a doubt.
    pub(super) fn part_due(&mut self, piece: Piece) {
        let (now, conv) = (self.now, piece.turn.conv);
        let resends = self.settings[conv.device].unknown == UnknownPolicy::Resend;
        let may_begin = self.may_begin(conv);
        let part = self.parts.get_mut(&piece).unwrap();
        // Another operation of the commit may have been faster.
        if part.next_at.is_none_or(|at| at > now) {
            return;
        }
        let settled = match (part.state, part.status) {
            (PartState::Unknown, Some(Word::Failed)) => Some(PartState::Dead),
            (PartState::Unknown, Some(_)) => Some(PartState::Sent),
            (PartState::Unknown, None) if !resends => Some(PartState::Held),
            _ => None,
        };
        if let Some(state) = settled {
            part.state = state;
            part.next_at = None;
            self.go_on(conv);
        } else if may_begin {
            let talk = self.talk(conv);
            if talk.state != State::Sending {
                talk.state = State::Sending;
                talk.epoch += 1;
            }
            self.begin(piece);
        } else {
            part.next_at = Some(now + BUSY);
        }
    }

    /// A part goes out where no turn has the lock, or is about to get it, and no other part is under way.
    fn may_begin(&self, conv: Conv) -> bool {
        let under_way = |(piece, part): (&Piece, &Part)| {
            piece.turn.conv == conv && part.state == PartState::Sending
        };
        let Some(talk) = self.talks.get(&conv) else {
            return false;
        };
        let is_free = match talk.state {
            State::Idle | State::Waiting => talk.next == Next::Stay && self.stage == Stage::Running,
            State::Sending => self.stage != Stage::Halted,
            State::Running => false,
        };
        is_free && !self.parts.iter().any(under_way)
    }
}
