//! Rows as the writer reads and writes them.

use rusqlite::{Connection, params};

use super::Error;
use super::sql::{self, Columns};
use crate::model::delivery::PartBody;
use crate::model::overlap::State;
use crate::model::{ConversationId, DeviceId, Lock, OutboxId, Part, ProspectId, TurnId};

/// A conversation, lock and all.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) tenant: String,
    pub(super) device: String,
    pub(super) prospect: String,
    pub(super) address: Option<String>,
    pub(super) prospect_name: Option<String>,
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

impl Row {
    /// The conversation of this id, if there is one.
    pub(super) fn load(conn: &Connection, id: &str) -> Result<Option<Self>, Error> {
        sql::query_one(conn, LOAD_CONVERSATION, [id], Self::read)
    }

    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let mut column = Columns::of(row);
        Ok(Self {
            id: column.take()?,
            tenant: column.take()?,
            device: column.take()?,
            prospect: column.take()?,
            address: column.take()?,
            prospect_name: column.take()?,
            state: column.take()?,
            version: column.take()?,
            claim_version: column.take()?,
            epoch: column.take()?,
            owner: column.take()?,
            locked_at: column.take()?,
            claimed_at: column.take()?,
            turn: column.take()?,
            signal: column.take()?,
            ready_at: column.take()?,
            first_pending_at: column.take()?,
            paused_until: column.take()?,
            attempts: column.take()?,
            crashes: column.take()?,
            suspect_seq: column.take()?,
            restarts: column.take()?,
            turns: column.take()?,
            clock: column.take()?,
            seed: column.take()?,
            last_inbound_at: column.take()?,
            last_hash: column.take()?,
            last_hash_at: column.take()?,
            created_at: column.take()?,
        })
    }

    /// Writes down one that is new.
    pub(super) fn insert(&self, conn: &Connection) -> Result<(), Error> {
        let fixed = params![
            self.id,
            self.tenant,
            self.device,
            self.prospect,
            self.created_at
        ];
        sql::execute(conn, INSERT_CONVERSATION, fixed)?;
        self.update(conn)
    }

    /// Writes down what a turn or a message has changed. Promise I3 once more, where it is written: a row that has a later epoch stays,
    /// and nothing of the group is committed.
    pub(super) fn update(&self, conn: &Connection) -> Result<(), Error> {
        let updated = sql::execute(
            conn,
            UPDATE_CONVERSATION,
            params![
                self.id,
                self.state,
                self.version,
                self.claim_version,
                self.epoch,
                self.owner,
                self.locked_at,
                self.claimed_at,
                self.turn,
                self.signal,
                self.ready_at,
                self.first_pending_at,
                self.paused_until,
                self.attempts,
                self.crashes,
                self.suspect_seq,
                self.restarts,
                self.turns,
                self.clock,
                self.seed,
                self.address,
                self.prospect_name,
                self.last_inbound_at,
                self.last_hash,
                self.last_hash_at,
            ],
        )?;
        match updated {
            1 => Ok(()),
            _ => Err(Error::corrupt(
                "conversation",
                "a row changed under the writer's own lock",
            )),
        }
    }

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
#[derive(Debug, Clone)]
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
    pub(super) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let mut column = Columns::of(row);
        Ok(Self {
            id: column.take()?,
            tenant: column.take()?,
            device: column.take()?,
            conversation: column.take()?,
            turn: column.take()?,
            idx: column.take()?,
            body: column.take()?,
            state: column.take()?,
            status: column.take()?,
            attempts: column.take()?,
            next_at: column.take()?,
            provider_message_id: column.take()?,
            error: column.take()?,
            created_at: column.take()?,
            settled_at: column.take()?,
        })
    }

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

const LOAD_CONVERSATION: &str = "
SELECT id, tenant, device, prospect, address, prospect_name, state, version, claim_version, epoch, owner, locked_at,
    claimed_at, turn, signal, ready_at, first_pending_at, paused_until, attempts, crashes, suspect_seq, restarts,
    turns, clock, seed, last_inbound_at, last_hash, last_hash_at, created_at
FROM conversation WHERE id = ?1";

// The rest of its columns follows at once, by the statement that every change takes.
const INSERT_CONVERSATION: &str = "
INSERT INTO conversation (id, tenant, device, prospect, created_at, state, version, claim_version, epoch, attempts, crashes, restarts,
    turns, clock, seed)
VALUES (?1, ?2, ?3, ?4, ?5, 'idle', 0, 0, 0, 0, 0, 0, 0, 0, 0)";

const UPDATE_CONVERSATION: &str = "
UPDATE conversation SET state = ?2, version = ?3, claim_version = ?4, epoch = ?5, owner = ?6, locked_at = ?7, claimed_at = ?8, turn = ?9,
    signal = ?10, ready_at = ?11, first_pending_at = ?12, paused_until = ?13, attempts = ?14, crashes = ?15, suspect_seq = ?16,
    restarts = ?17, turns = ?18, clock = ?19, seed = ?20, address = ?21, prospect_name = ?22, last_inbound_at = ?23, last_hash = ?24,
    last_hash_at = ?25
WHERE id = ?1 AND epoch <= ?5";
