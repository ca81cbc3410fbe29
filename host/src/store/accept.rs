//! T1: what a webhook told becomes rows of the inbox, and idle conversations are claimed.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::Error;
use super::group::{Group, Mark, Next, Notice};
use super::intake::{NewRow, Verdict};
use super::observe::LockEvent;
use super::rows::{Row, StateWord};
use super::work::Work;
use crate::model::device::Overlap;
use crate::model::inbound::{IgnoreReason, InboundMessage, OwnerEcho};
use crate::model::overlap::{Arrival, Situation, SkipReason, State, arrival};
use crate::model::turn::PendingMessage;
use crate::model::{Content, ConversationId, DeviceId, Event, MessageId, Timestamp};

/// What one webhook told.
#[derive(Debug)]
pub struct Accept {
    /// The device that it came for.
    pub device: DeviceId,
    /// What it told, in its order.
    pub events: Vec<Event>,
}

/// What T1 answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// Everything is on the disk. One fate for each event.
    Stored(Vec<Fate>),
    /// The tenant has too much waiting; nothing was written.
    Full,
}

/// What became of one event at T1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It took the lock: its turn starts now.
    Claimed(MessageId),
    /// It restarts the running turn.
    Restarted(MessageId),
    /// It waits for the lock to be released.
    Queued(MessageId),
    /// It waits for silence, or joins what waits.
    Waiting(MessageId),
    /// It is not answered.
    Skipped(MessageId, SkipReason),
    /// A human has the conversation.
    Absorbed(MessageId),
    /// Its provider delivered it before; nothing has changed.
    Duplicate,
    /// It starts no turn.
    Ignored(IgnoreReason),
    /// The owner wrote by hand; the conversation was handed over, or back.
    Human,
    /// It was news of a message of ours, or of a prospect's id.
    Noted,
}

/// The owner's words that hand a conversation over for good, and back: those of the original program.
const HAND_OVER: &str = "cmd";
const HAND_BACK: &str = "dmc";

/// The signal that a plugin gets when a human has handed its conversation back.
pub(super) const RESUMED: &str = "resumed";

/// A conversation with a human until somebody hands it back.
pub(super) const FOR_EVER: i64 = i64::MAX;

impl Group {
    /// Runs the rules over one webhook.
    pub(super) fn accept(&mut self, op: usize, accept: &Accept) -> Result<Accepted, Error> {
        let Some(intake) = self.intakes.remove(&op) else {
            return Err(Error::corrupt("a group", "an operation was not loaded"));
        };
        match intake.verdict {
            Verdict::NoDevice => return Err(Error::not_found("device", &accept.device)),
            Verdict::Full => return Ok(Accepted::Full),
            Verdict::Go => {}
        }
        let mut fates = Vec::with_capacity(accept.events.len());
        for (i, event) in accept.events.iter().enumerate() {
            let row = intake.rows.get(&i);
            fates.push(match (event, row) {
                (Event::Status(status), _) => self.note_status(&accept.device, status),
                (_, Some(row)) if !intake.fresh.contains(&row.id) => Fate::Duplicate,
                (Event::Message(message), Some(row)) => self.arrive(message, row)?,
                (Event::Echo(echo), Some(row)) => self.hear_owner(echo, row)?,
                (Event::Ignored(ignored), _) => Fate::Ignored(ignored.reason),
                _ => Fate::Noted,
            });
        }
        Ok(Accepted::Stored(fates))
    }

    fn arrive(&mut self, message: &InboundMessage, new: &NewRow) -> Result<Fate, Error> {
        let now = self.now;
        self.ensure_row(new);
        let settings = self.device(&new.device)?.settings.clone();
        let Some(entry) = new
            .conversation
            .as_ref()
            .and_then(|id| self.rows.get_mut(id))
        else {
            return Err(Error::corrupt("a group", "a message has no conversation"));
        };
        let hash = content_hash(&message.content);
        let situation = situation(&entry.row, hash.as_deref(), now);
        let arrival = match arrival(&situation, &settings) {
            // Something earlier in this very group takes the lock when the group is written.
            Arrival::Claim if entry.next != Next::Stay && settings.overlap == Overlap::Skip => {
                Arrival::Skip(SkipReason::Locked)
            }
            Arrival::Claim if entry.next != Next::Stay => Arrival::Join,
            // The turn that it would restart has ended in this very group.
            Arrival::Restart if entry.next == Next::Free => Arrival::Queue,
            other => other,
        };
        let row = &mut entry.row;
        row.last_inbound_at = Some(now.0);
        let wrote_as = message.prospect.as_str();
        row.address = (wrote_as != row.prospect).then(|| wrote_as.to_owned());
        if message.prospect_name.is_some() {
            row.prospect_name.clone_from(&message.prospect_name);
        }
        let id = MessageId::from_trusted(&new.id);
        let (fate, mark) = match arrival {
            Arrival::Skip(reason) => (
                Fate::Skipped(id, reason),
                Some(("skipped", reason.as_str())),
            ),
            Arrival::Absorb => (Fate::Absorbed(id), Some(("absorbed", "human"))),
            Arrival::Claim => (Fate::Claimed(id), None),
            Arrival::Restart => (Fate::Restarted(id), None),
            Arrival::Queue => (Fate::Queued(id), None),
            Arrival::Debounce(_) | Arrival::Join => (Fate::Waiting(id), None),
        };
        if let Some((state, reason)) = mark {
            let mark = Mark {
                id: new.id.clone(),
                state,
                reason: Some(reason.to_owned()),
                turn: None,
            };
            self.changes.marks.push(mark);
        } else {
            // Promise I6 hangs on this count: it rises for new messages only, and T3 compares it.
            row.version += 1;
            row.last_hash = hash;
            row.last_hash_at = Some(now.0);
            row.first_pending_at.get_or_insert(now.0);
            let arrived = self.arrived.entry(row.id.clone()).or_default();
            arrived.push(pending(message, new));
        }
        match arrival {
            Arrival::Claim => entry.free(),
            Arrival::Debounce(at) => {
                row.state = StateWord(State::Waiting);
                row.ready_at = Some(at.0);
            }
            _ => {}
        }
        self.tell_arrival(new, arrival);
        Ok(fate)
    }

    /// What a message that met a lock is logged with, and the running turn's order to stop.
    fn tell_arrival(&mut self, new: &NewRow, arrival: Arrival) {
        let Some(entry) = new.conversation.as_ref().and_then(|id| self.rows.get(id)) else {
            return;
        };
        let action = match arrival {
            Arrival::Restart => "restarted",
            Arrival::Queue => "queued",
            Arrival::Skip(_) if !entry.is_locked() && entry.next == Next::Stay => {
                let event = LockEvent::same_text(&entry.row);
                return self.notices.push(Notice::Lock(event));
            }
            Arrival::Skip(_) => "skipped",
            _ => return,
        };
        let busy = Notice::Lock(LockEvent::busy(&entry.row, action));
        // A lock that is taken by this very group is told first.
        let notices = if entry.next == Next::Free {
            &mut self.after_claims
        } else {
            &mut self.notices
        };
        notices.push(busy);
        if arrival == Arrival::Restart {
            let conversation = ConversationId::from_trusted(&entry.row.id);
            self.notices.push(Notice::Work(Work::Cancel {
                conversation,
                epoch: entry.row.epoch,
            }));
        }
    }

    /// The owner wrote to the prospect from another app.
    fn hear_owner(&mut self, echo: &OwnerEcho, new: &NewRow) -> Result<Fate, Error> {
        let now = self.now.0;
        self.ensure_row(new);
        let takeover = self.device(&new.device)?.settings.takeover_ms;
        let Some(entry) = new
            .conversation
            .as_ref()
            .and_then(|id| self.rows.get_mut(id))
        else {
            return Ok(Fate::Noted);
        };
        let row = &mut entry.row;
        let word = if let Content::Text { text } = &echo.content {
            text.trim()
        } else {
            ""
        };
        if word == HAND_BACK {
            if row.paused_until.take().is_some() {
                row.signal = Some(RESUMED.to_owned());
                if row.state.0 == State::Idle {
                    entry.free();
                }
            }
            return Ok(Fate::Human);
        }
        let for_ever = word == HAND_OVER || takeover == 0 || row.paused_until == Some(FOR_EVER);
        let until = i64::try_from(takeover)
            .unwrap_or(FOR_EVER)
            .saturating_add(now);
        row.paused_until = Some(if for_ever { FOR_EVER } else { until });
        match row.state.0 {
            State::Running => {
                let conversation = ConversationId::from_trusted(&row.id);
                self.notices.push(Notice::Work(Work::Cancel {
                    conversation,
                    epoch: row.epoch,
                }));
            }
            State::Waiting => entry.free(),
            State::Idle | State::Sending => {}
        }
        Ok(Fate::Human)
    }

    fn ensure_row(&mut self, new: &NewRow) {
        let (Some(conversation), Some(prospect)) = (&new.conversation, &new.prospect) else {
            return;
        };
        if !self.rows.contains_key(conversation) {
            let id = ConversationId::from_trusted(conversation);
            let device = DeviceId::from_trusted(&new.device);
            self.add_row(Row::new(&id, &new.tenant, &device, prospect, self.now.0));
        }
    }
}

fn pending(message: &InboundMessage, new: &NewRow) -> PendingMessage {
    PendingMessage {
        id: MessageId::from_trusted(&new.id),
        seq: new.seq,
        message: message.clone(),
    }
}

fn situation(row: &Row, hash: Option<&str>, now: Timestamp) -> Situation {
    let same_text = hash.is_some() && row.last_hash.as_deref() == hash;
    // A clock that was set back by hours must not make the last words seem to be of this moment.
    let gap = row
        .last_hash_at
        .map(|at| Duration::from_millis(now.0.abs_diff(at)));
    Situation {
        state: row.state.0,
        paused_until: row.paused_until.map(Timestamp),
        restarts: u32::try_from(row.restarts).unwrap_or(u32::MAX),
        first_pending_at: row.first_pending_at.map(Timestamp),
        is_retrying: row.attempts + row.crashes > 0,
        same_text_after: if same_text { gap } else { None },
        now,
    }
}

/// What two slips of the finger have in common: the words, or the button. Two pictures are two pictures.
fn content_hash(content: &Content) -> Option<String> {
    let (kind, words) = match content {
        Content::Text { text } => ("text", text),
        Content::Interactive { id, .. } => ("interactive", id),
        _ => return None,
    };
    let mut hash = Sha256::new();
    hash.update(kind);
    hash.update([0]);
    hash.update(words.trim());
    Some(hex::encode(hash.finalize()))
}
