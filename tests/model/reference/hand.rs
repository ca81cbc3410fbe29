//! What people do by hand, and what a new host does.

use super::{FOR_EVER, PartState, Reference, Stage, State};
use crate::words::{Answer, Conv, Piece};

impl Reference {
    pub(super) fn unlock(&mut self, conv: Conv) -> Answer {
        let now = self.now;
        let Some(talk) = self.talks.get_mut(&conv) else {
            return Answer::NotFound;
        };
        if !talk.is_locked() {
            return Answer::Refused;
        }
        talk.wait_until(now);
        talk.epoch += 1;
        talk.attempts = 0;
        talk.crashes = 0;
        for (piece, part) in &mut self.parts {
            if piece.turn.conv == conv && part.is_open() {
                part.state = PartState::Held;
                part.next_at = None;
            }
        }
        Answer::Done
    }

    pub(super) fn pause(&mut self, conv: Conv, ms: Option<i64>) -> Answer {
        let now = self.now;
        let until = ms.map_or(FOR_EVER, |ms| now + ms);
        let Some(talk) = self.talks.get_mut(&conv) else {
            return Answer::NotFound;
        };
        if talk.paused_until == Some(until) {
            return Answer::WasSo;
        }
        talk.paused_until = Some(until);
        if talk.state == State::Waiting {
            talk.ready_at = (now, now);
        }
        Answer::Done
    }

    pub(super) fn resume(&mut self, conv: Conv) -> Answer {
        let now = self.now;
        let Some(talk) = self.talks.get_mut(&conv) else {
            return Answer::NotFound;
        };
        if talk.paused_until.take().is_none() {
            return Answer::WasSo;
        }
        talk.is_signalled = true;
        if talk.state == State::Idle {
            talk.wait_until(now);
        }
        Answer::Done
    }

    pub(super) fn replay_message(&mut self, device: usize, id: u8) -> Answer {
        let now = self.now;
        let dead = |l: &super::Letter| l.device == device && l.id == id && l.state == "dead";
        let Some(row) = self.letters.iter().position(dead) else {
            return Answer::NotFound;
        };
        let conv = self.letters[row].conv;
        if self.is_paused(conv) {
            return Answer::Refused;
        }
        self.letters[row].state = "pending";
        self.letters[row].turn = None;
        let talk = self.talk(conv);
        // It counts as a new message.
        talk.has_newer = true;
        talk.first_pending_at.get_or_insert(now);
        if talk.state == State::Idle {
            talk.wait_until(now);
        }
        Answer::Done
    }

    pub(super) fn replay_part(&mut self, piece: Piece) -> Answer {
        let now = self.now;
        let part = self.parts.get_mut(&piece);
        let Some(part) = part.filter(|p| p.is_dead_letter()) else {
            return Answer::NotFound;
        };
        part.state = PartState::Queued;
        part.status = None;
        part.next_at = Some(now);
        Answer::Done
    }

    /// A new host: the turns of the last one run again, and what it was sending is in doubt.
    pub(super) fn restart(&mut self) {
        let now = self.now;
        self.stage = Stage::Running;
        for talk in self.talks.values_mut() {
            if talk.state == State::Running {
                talk.wait_until(now);
                talk.crashes += 1;
            }
        }
        for (piece, part) in &mut self.parts {
            if part.state == PartState::Sending {
                let device = piece.turn.conv.device;
                let window = window(&self.settings[device], device);
                part.state = PartState::Unknown;
                // What was told of is settled at once.
                let is_told = part.status.is_some();
                part.next_at = Some(if is_told { 0 } else { now + window });
            }
        }
    }
}

/// How long the provider of a device has to tell; that of the second can't tell.
fn window(settings: &nodepath::model::DeviceSettings, device: usize) -> i64 {
    if device == 0 {
        i64::try_from(settings.unknown_window_ms).unwrap()
    } else {
        0
    }
}
