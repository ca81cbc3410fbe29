//! T1: what a webhook tells.

use nodepath::model::device::Overlap;

use super::{FOR_EVER, Letter, MAX_PENDING, Next, PartState, Reference, State};
use crate::words::{Answer, Claimed, Conv, Op, Order, OwnerWord, Piece, Told, Word};

/// What became of a webhook's events when they were written down: for each, the row that is new; none of it where the tenant has
/// no room.
pub(super) type Arrived = Option<Vec<Option<usize>>>;

/// What a new message does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    Claim,
    WaitUntil(i64),
    Join,
    Restart,
    Queue,
    SkipSameText,
    SkipLocked,
    Absorb,
}

impl Reference {
    /// Promise I2: a row for each id that is new to its device. Whatever a commit's webhooks bring is written before any of it is
    /// looked at.
    pub(super) fn write_down(&mut self, ops: &[Op]) -> Vec<Arrived> {
        let mut room: Vec<_> = (0..self.settings.len()).map(|d| self.room(d)).collect();
        let mut arrived = Vec::new();
        for op in ops {
            let Op::Accept(device, events) = op else {
                arrived.push(None);
                continue;
            };
            let is_message = |e: &&Told| matches!(e, Told::Message { .. });
            let messages = i64::try_from(events.iter().filter(is_message).count()).unwrap();
            if messages > 0 && room[*device] <= 0 {
                arrived.push(None);
                continue;
            }
            room[*device] -= messages;
            let rows = events.iter().map(|e| self.write_row(*device, e));
            arrived.push(Some(rows.collect()));
        }
        arrived
    }

    /// How many messages the tenant of a device may still leave waiting; each tenant has one device here.
    fn room(&self, device: usize) -> i64 {
        let waits = |l: &&Letter| l.device == device && l.state == "pending";
        let waiting = self.letters.iter().filter(waits).count();
        i64::try_from(MAX_PENDING).unwrap() - i64::try_from(waiting).unwrap()
    }

    fn write_row(&mut self, device: usize, event: &Told) -> Option<usize> {
        let (prospect, id, state) = match event {
            Told::Message { prospect, id, .. } => (*prospect, *id, "pending"),
            Told::Owner { prospect, id, .. } => (*prospect, *id, "human"),
            Told::Ignored { prospect, id } => (*prospect, *id, "ignored"),
            Told::Status { .. } => return None,
        };
        let is_it = |l: &Letter| l.device == device && l.id == id;
        if self.letters.iter().any(is_it) {
            return None;
        }
        self.letters.push(Letter {
            device,
            id,
            conv: Conv { device, prospect },
            state,
            received_at: self.now,
            turn: None,
        });
        Some(self.letters.len() - 1)
    }

    pub(super) fn accept(&mut self, device: usize, events: &[Told], arrived: Arrived) -> Answer {
        let Some(rows) = arrived else {
            return Answer::Full;
        };
        let mut fates = Vec::new();
        for (event, row) in events.iter().zip(rows) {
            fates.push(match (event, row) {
                (Told::Status { .. }, _) => {
                    self.hear_status(device, event);
                    "noted"
                }
                (_, None) => "duplicate",
                (Told::Ignored { .. }, Some(_)) => "ignored",
                (Told::Message { text, .. }, Some(row)) => self.arrive(row, *text),
                (Told::Owner { word, .. }, Some(row)) => {
                    self.hear_owner(self.letters[row].conv, *word);
                    "human"
                }
            });
        }
        Answer::Stored(fates)
    }

    fn arrive(&mut self, row: usize, text: u8) -> &'static str {
        let (now, conv) = (self.now, self.letters[row].conv);
        let overlap = self.settings[conv.device].overlap;
        let does = self.what_it_does(conv, text);
        let talk = self.talk(conv);
        // Somebody before it in this very commit takes the lock, or has let go of it.
        let does = match does {
            Does::Claim if talk.next != Next::Stay && overlap == Overlap::Skip => Does::SkipLocked,
            Does::Claim if talk.next != Next::Stay => Does::Join,
            Does::Restart if talk.next == Next::Free => Does::Queue,
            does => does,
        };
        let (fate, state) = match does {
            Does::SkipSameText => ("skipped: same_text", "skipped"),
            Does::SkipLocked => ("skipped: locked", "skipped"),
            Does::Absorb => ("absorbed", "absorbed"),
            Does::Claim => ("claimed", "pending"),
            Does::Restart => ("restarted", "pending"),
            Does::Queue => ("queued", "pending"),
            Does::WaitUntil(_) | Does::Join => ("waiting", "pending"),
        };
        if state == "pending" {
            talk.has_newer = true;
            talk.last_text = Some((text, now));
            talk.first_pending_at.get_or_insert(now);
        }
        match does {
            Does::Claim => talk.next = Next::Free,
            Does::WaitUntil(at) => {
                talk.state = State::Waiting;
                talk.ready_at = (at, at);
            }
            _ => {}
        }
        let epoch = talk.epoch;
        if does == Does::Restart {
            let order = Order::Cancel(Claimed { conv, epoch });
            self.said.orders.push(order);
        }
        self.letters[row].state = state;
        fate
    }

    /// The table of the overlap policies.
    fn what_it_does(&mut self, conv: Conv, text: u8) -> Does {
        let (now, settings) = (self.now, self.settings[conv.device].clone());
        if self.is_paused(conv) {
            return Does::Absorb;
        }
        let may_restart = self.may_restart(conv);
        let talk = self.talk(conv);
        let window = i64::try_from(settings.duplicate_window_ms).unwrap();
        let is_slip = |(last, at): (u8, i64)| last == text && now - at < window;
        if talk.last_text.is_some_and(is_slip) {
            return Does::SkipSameText;
        }
        let debounce = i64::try_from(settings.debounce_ms).unwrap();
        let first = talk.first_pending_at.unwrap_or(now);
        let longest = first + i64::try_from(settings.max_wait_ms).unwrap();
        let silence = Does::WaitUntil((now + debounce).min(longest).max(now));
        let is_retrying = talk.attempts + talk.crashes > 0;
        let skips = settings.overlap == Overlap::Skip;
        match talk.state {
            State::Idle if debounce == 0 => Does::Claim,
            State::Idle => silence,
            State::Waiting if debounce == 0 || is_retrying => Does::Join,
            State::Waiting => silence,
            State::Running | State::Sending if skips => Does::SkipLocked,
            State::Running if may_restart => Does::Restart,
            State::Running | State::Sending => Does::Queue,
        }
    }

    /// Under `restart` a turn yields to a newer message, but not for ever.
    pub(super) fn may_restart(&self, conv: Conv) -> bool {
        let settings = &self.settings[conv.device];
        let Some(talk) = self.talks.get(&conv) else {
            return false;
        };
        let waited = talk.first_pending_at.map_or(0, |first| self.now - first);
        settings.overlap == Overlap::Restart
            && talk.restarts < i64::from(settings.max_restarts)
            && waited < i64::try_from(settings.max_wait_ms).unwrap()
    }

    fn hear_owner(&mut self, conv: Conv, word: OwnerWord) {
        let (now, takeover) = (self.now, self.settings[conv.device].takeover_ms);
        let talk = self.talk(conv);
        if word == OwnerWord::Dmc {
            if talk.paused_until.take().is_some() {
                talk.is_signalled = true;
                if talk.state == State::Idle {
                    talk.next = Next::Free;
                }
            }
            return;
        }
        let is_for_ever = word == OwnerWord::Cmd || talk.paused_until == Some(FOR_EVER);
        let until = now + i64::try_from(takeover).unwrap();
        talk.paused_until = Some(if is_for_ever { FOR_EVER } else { until });
        match talk.state {
            State::Running => {
                let epoch = talk.epoch;
                let order = Order::Cancel(Claimed { conv, epoch });
                self.said.orders.push(order);
            }
            State::Waiting => talk.next = Next::Free,
            State::Idle | State::Sending => {}
        }
    }

    /// The provider tells of a part, which must be one of this device, named by our id or by its own.
    fn hear_status(&mut self, device: usize, told: &Told) {
        let Some((piece, attempt, word)) = self.part_of(device, told) else {
            return;
        };
        let part = self.parts.get_mut(&piece).unwrap();
        // Of the try before the one that an operator has asked for.
        let is_old_news = part.status.is_none() && part.provider_id == Some(attempt);
        if part.is_open() && is_old_news {
            return;
        }
        part.status = part.status.max(Some(word));
        part.provider_id.get_or_insert(attempt);
        let has_arrived = word != Word::Failed;
        let state = match part.state {
            PartState::Unknown | PartState::Held if !has_arrived => PartState::Dead,
            PartState::Unknown | PartState::Held | PartState::Queued | PartState::Dead
                if has_arrived && part.attempts > 0 =>
            {
                PartState::Sent
            }
            _ => return,
        };
        part.state = state;
        part.next_at = None;
        self.go_on(piece.turn.conv);
    }

    fn part_of(&self, device: usize, told: &Told) -> Option<(Piece, u32, Word)> {
        let Told::Status {
            part: piece,
            attempt,
            word,
            names_ours,
        } = told
        else {
            return None;
        };
        let part = self.parts.get(piece)?;
        let is_found = *names_ours || part.provider_id == Some(*attempt);
        let is_ours = piece.turn.conv.device == device;
        (is_ours && is_found).then_some((*piece, *attempt, *word))
    }
}
