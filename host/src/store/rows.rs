//! Rows as the store keeps them, and how a set of them travels to SQLite: as one JSON array for each statement, so that the
//! cost of a statement is shared by everything that waits.

use serde::{Deserialize, Serialize};
use sqlx::FromRow;

use super::Error;
use crate::model::delivery::PartBody;
use crate::model::overlap::State;
use crate::model::{ConversationId, DeviceId, Lock, OutboxId, Part, ProspectId, TurnId};

/// A conversation, lock and all.
#[derive(Debug, Clone, FromRow, Serialize)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) tenant: String,
    pub(super) device: String,
    pub(super) prospect: String,
    pub(super) address: Option<String>,
    pub(super) prospect_name: Option<String>,
    #[sqlx(try_from = "String")]
    pub(super) state: StateWord,
    pub(super) version: i64,
    pub(super) claim_version: i64,
    pub(super) epoch: i64,
    pub(super) owner: Option<String>,
    pub(super) locked_at: Option<i64>,
    pub(super) claimed_at: Option<i64>,
    pub(super) turn: Option<String>,
    pub(super) signal: Option<String>,
    pub(super) ready_at: Option<i64>,
    pub(super) first_pending_at: Option<i64>,
    pub(super) paused_until: Option<i64>,
    pub(super) attempts: i64,
    pub(super) crashes: i64,
    /// The last message that the running turn, or one that the end of the host cut off, was run for.
    pub(super) suspect_seq: Option<i64>,
    pub(super) restarts: i64,
    pub(super) turns: i64,
    pub(super) clock: i64,
    pub(super) seed: i64,
    pub(super) last_inbound_at: Option<i64>,
    pub(super) last_hash: Option<String>,
    pub(super) last_hash_at: Option<i64>,
    pub(super) created_at: i64,
}

/// [`State`] as its word in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StateWord(pub(super) State);

impl TryFrom<String> for StateWord {
    type Error = Error;

    fn try_from(word: String) -> Result<Self, Error> {
        State::from_word(&word)
            .map(Self)
            .ok_or_else(|| Error::corrupt("conversation.state", word))
    }
}

impl Serialize for StateWord {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl Row {
    /// A conversation that has just begun.
    pub(super) fn new(
        id: &ConversationId,
        tenant: &str,
        device: &DeviceId,
        prospect: &ProspectId,
        now: i64,
    ) -> Self {
        Self {
            id: id.to_string(),
            tenant: tenant.to_owned(),
            device: device.to_string(),
            prospect: prospect.to_string(),
            address: None,
            prospect_name: None,
            state: StateWord(State::Idle),
            version: 0,
            claim_version: 0,
            epoch: 0,
            owner: None,
            locked_at: None,
            claimed_at: None,
            turn: None,
            signal: None,
            ready_at: None,
            first_pending_at: None,
            paused_until: None,
            attempts: 0,
            crashes: 0,
            suspect_seq: None,
            restarts: 0,
            turns: 0,
            clock: now,
            seed: 0,
            last_inbound_at: None,
            last_hash: None,
            last_hash_at: None,
            created_at: now,
        }
    }

    /// Where replies go: to the id under which they last wrote. A number that was given up takes no messages.
    pub(super) fn addressee(&self) -> &str {
        self.address.as_deref().unwrap_or(&self.prospect)
    }

    /// Promise I3: whether this token is the one that may finish the running turn.
    pub(super) fn is_held_by(&self, lock: &Lock) -> bool {
        #[cfg(feature = "planted-bugs")]
        if super::planted::is("no-epoch-check") {
            return true;
        }
        self.state.0 == State::Running
            && self.epoch == lock.epoch
            && self.owner.as_deref() == Some(&lock.owner)
    }

    /// Whether a human has the conversation.
    pub(super) fn is_paused(&self, now: i64) -> bool {
        self.paused_until.is_some_and(|until| until > now)
    }

    /// Lets go of the lock.
    pub(super) fn unlock(&mut self, to: State) {
        self.state = StateWord(to);
        self.owner = None;
        self.locked_at = None;
        self.claimed_at = None;
        self.turn = None;
    }
}

/// A part of a reply.
#[derive(Debug, Clone, FromRow, Serialize, Deserialize)]
pub(super) struct PartRow {
    pub(super) id: String,
    pub(super) tenant: String,
    pub(super) device: String,
    pub(super) conversation: String,
    pub(super) turn: String,
    pub(super) idx: i64,
    pub(super) body: String,
    pub(super) state: String,
    pub(super) status: Option<String>,
    pub(super) attempts: i64,
    pub(super) next_at: Option<i64>,
    pub(super) provider_message_id: Option<String>,
    pub(super) error: Option<String>,
    pub(super) created_at: i64,
    pub(super) settled_at: Option<i64>,
}

/// A part in one of these keeps its conversation locked.
pub(super) const OPEN_PARTS: [&str; 3] = ["queued", "sending", "unknown"];

impl PartRow {
    pub(super) fn is_open(&self) -> bool {
        OPEN_PARTS.contains(&self.state.as_str())
    }

    pub(super) fn body(&self) -> Result<PartBody, Error> {
        serde_json::from_str(&self.body).map_err(|e| Error::corrupt("outbox.body", e))
    }

    /// The part as whoever sends it gets it.
    pub(super) fn to_part(&self, prospect: &str) -> Result<Part, Error> {
        Ok(Part {
            id: OutboxId::from_trusted(&self.id),
            conversation: ConversationId::from_trusted(&self.conversation),
            turn: TurnId::from_trusted(&self.turn),
            idx: u32::try_from(self.idx).unwrap_or(u32::MAX),
            device: DeviceId::from_trusted(&self.device),
            prospect: ProspectId::from_trusted(prospect),
            body: self.body()?,
            attempt: u32::try_from(self.attempts).unwrap_or(u32::MAX),
        })
    }
}

/// The rows of one statement, as the JSON array that `json_each` takes apart.
pub(super) fn json_rows<T: Serialize>(rows: &[T]) -> Result<String, Error> {
    serde_json::to_string(rows).map_err(|e| Error::corrupt("a row on its way to the database", e))
}
