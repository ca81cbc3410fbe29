//! A group of operations in one transaction: what they need is loaded with one statement for each table, the rules run over
//! the rows in memory, and what they changed is written back with one statement for each table.
//!
//! The write lock is held from before the first read, so the rows in memory are the rows.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::sqlite::SqliteConnection;

use super::due::DueRows;
use super::finish::{StateWrite, TagWrite, TimerWrite, TurnWrite};
use super::host::Work;
use super::intake::Intake;
use super::observe::LockEvent;
use super::rows::{PartRow, Row, json_rows};
use super::writer::{Op, Stage};
use super::{Error, devices};
use crate::model::overlap::State;
use crate::model::{Device, Timestamp};

/// What a commit has to tell, in order.
pub(super) enum Notice {
    Lock(LockEvent),
    Work(Work),
    /// Something is due later that was not before.
    DueChanged,
}

/// What becomes of a conversation when the group's operations have run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// It stays as its row says.
    Stay,
    /// Its lock is free, or is given up here: a turn starts if something is pending.
    Free,
    /// Its turn is run again over everything that is pending, under the same lock.
    Restart,
}

/// A conversation in memory.
pub(super) struct Entry {
    pub(super) row: Row,
    pub(super) next: Next,
    /// The epoch that was loaded, which the row must still have when it is written. None for a row that is new.
    was: Option<i64>,
}

/// A message that leaves `pending`.
#[derive(serde::Serialize)]
pub(super) struct Mark {
    pub(super) id: String,
    pub(super) state: &'static str,
    pub(super) reason: Option<String>,
    pub(super) turn: Option<String>,
}

/// What a group writes besides conversations.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) marks: Vec<Mark>,
    /// Conversations whose pending messages all go to the human who has taken over.
    pub(super) absorb: BTreeSet<String>,
    /// Parts that are not in the database yet; they are among the group's parts like all others.
    pub(super) new_parts: BTreeSet<String>,
    pub(super) touched_parts: BTreeSet<String>,
    pub(super) turns: Vec<TurnWrite>,
    pub(super) state: Vec<StateWrite>,
    pub(super) timers: Vec<TimerWrite>,
    pub(super) tags: Vec<TagWrite>,
    pub(super) aliases: Vec<(String, String, String)>,
    /// Devices on which sending works again.
    pub(super) hurry: BTreeSet<String>,
    /// What a device's provider refused it for; none clears it.
    pub(super) alerts: BTreeMap<String, Option<String>>,
}

pub(super) struct Group {
    pub(super) now: Timestamp,
    pub(super) stage: Stage,
    pub(super) rows: BTreeMap<String, Entry>,
    pub(super) devices: HashMap<String, Device>,
    pub(super) parts: BTreeMap<String, PartRow>,
    /// What T1 found out about the operation of this index.
    pub(super) intakes: HashMap<usize, Intake>,
    /// (tenant, scope, owner, key) → version, for what the group's turns have read of wider scopes.
    pub(super) versions: HashMap<(String, &'static str, String, String), i64>,
    pub(super) due: DueRows,
    pub(super) changes: Changes,
    pub(super) notices: Vec<Notice>,
    /// What is told after the locks that this group takes.
    pub(super) after_claims: Vec<Notice>,
}

impl Group {
    pub(super) async fn load(
        conn: &mut SqliteConnection,
        ops: &[Op],
        now: Timestamp,
        stage: Stage,
    ) -> Result<Self, Error> {
        let mut group = Self {
            now,
            stage,
            rows: BTreeMap::new(),
            devices: HashMap::new(),
            parts: BTreeMap::new(),
            intakes: HashMap::new(),
            versions: HashMap::new(),
            due: DueRows::default(),
            changes: Changes::default(),
            notices: Vec::new(),
            after_claims: Vec::new(),
        };
        let mut wanted = BTreeSet::new();
        group.load_accepts(conn, ops, &mut wanted).await?;
        for op in ops {
            if let Op::Finish(finish, _) = op {
                wanted.insert(finish.lock.conversation.to_string());
            }
        }
        if ops.iter().any(|op| matches!(op, Op::Due(_))) {
            group.due = DueRows::load(conn, now).await?;
            wanted.extend(group.due.conversations.iter().cloned());
        }
        group.load_parts(conn, ops, &mut wanted).await?;
        group.load_rows(conn, &wanted).await?;
        group.load_versions(conn, ops).await?;
        Ok(group)
    }

    pub(super) async fn load_rows(
        &mut self,
        conn: &mut SqliteConnection,
        wanted: &BTreeSet<String>,
    ) -> Result<(), Error> {
        let ids: Vec<_> = wanted
            .iter()
            .filter(|id| !self.rows.contains_key(*id))
            .collect();
        if ids.is_empty() {
            return Ok(());
        }
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT * FROM conversation WHERE id IN (SELECT value FROM json_each($1))",
        )
        .bind(json_rows(&ids)?)
        .fetch_all(&mut *conn)
        .await?;
        let missing: BTreeSet<_> = rows
            .iter()
            .map(|r| r.device.clone())
            .filter(|d| !self.devices.contains_key(d))
            .collect();
        self.devices.extend(devices::load(conn, &missing).await?);
        for row in rows {
            let entry = Entry {
                was: Some(row.epoch),
                next: Next::Stay,
                row,
            };
            self.rows.insert(entry.row.id.clone(), entry);
        }
        Ok(())
    }

    /// Adds a conversation that does not exist yet.
    pub(super) fn add_row(&mut self, row: Row) {
        self.rows.insert(
            row.id.clone(),
            Entry {
                row,
                next: Next::Stay,
                was: None,
            },
        );
    }

    pub(super) fn device(&self, id: &str) -> Result<&Device, Error> {
        self.devices
            .get(id)
            .ok_or_else(|| Error::not_found("device", id))
    }

    /// Writes back what has changed, claims what can be claimed, and answers what is to be told once it is committed.
    pub(super) async fn flush(mut self, conn: &mut SqliteConnection) -> Result<Vec<Notice>, Error> {
        let sets_timer = self
            .changes
            .timers
            .iter()
            .any(|t| matches!(t, TimerWrite::Set { .. }));
        self.flush_turns(conn).await?;
        self.flush_kept(conn).await?;
        self.flush_marks(conn).await?;
        self.claim(conn).await?;
        self.flush_marks(conn).await?;
        self.flush_parts(conn).await?;
        self.flush_aliases(conn).await?;
        self.flush_alerts(conn).await?;
        self.flush_rows(conn).await?;
        self.notices.append(&mut self.after_claims);
        if sets_timer || self.waits() {
            self.notices.push(Notice::DueChanged);
        }
        Ok(self.notices)
    }

    /// Whether a conversation or a part waits for its time.
    fn waits(&self) -> bool {
        let part_waits = |p: &PartRow| p.next_at.is_some();
        let parts = self
            .changes
            .touched_parts
            .iter()
            .chain(&self.changes.new_parts);
        self.rows.values().any(|e| e.row.state.0 == State::Waiting)
            || !self.changes.hurry.is_empty()
            || parts.filter_map(|id| self.parts.get(id)).any(part_waits)
    }

    async fn flush_marks(&mut self, conn: &mut SqliteConnection) -> Result<(), Error> {
        let marks = std::mem::take(&mut self.changes.marks);
        if !marks.is_empty() {
            #[cfg(feature = "planted-bugs")]
            if super::planted::is("seq-marks") {
                super::planted::mark_by_seq(conn, &marks, self.now.0).await?;
            }
            // By explicit id, never by `seq <= n`; and only what is pending, so that a decision is made once (I5).
            sqlx::query(
                "UPDATE inbox SET state = t.state, reason = t.reason, turn = t.turn, settled_at = $2
                 FROM (SELECT value ->> 'id' AS id, value ->> 'state' AS state, value ->> 'reason' AS reason,
                              value ->> 'turn' AS turn FROM json_each($1)) AS t
                 WHERE inbox.id = t.id AND inbox.state = 'pending'",
            )
            .bind(json_rows(&marks)?)
            .bind(self.now.0)
            .execute(&mut *conn)
            .await?;
        }
        let absorb: Vec<_> = std::mem::take(&mut self.changes.absorb)
            .into_iter()
            .collect();
        if !absorb.is_empty() {
            sqlx::query(
                "UPDATE inbox SET state = 'absorbed', reason = 'human', settled_at = $2
                 WHERE state = 'pending' AND conversation IN (SELECT value FROM json_each($1))",
            )
            .bind(json_rows(&absorb)?)
            .bind(self.now.0)
            .execute(conn)
            .await?;
        }
        Ok(())
    }

    async fn flush_aliases(&mut self, conn: &mut SqliteConnection) -> Result<(), Error> {
        if self.changes.aliases.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO prospect_alias (device, alias, prospect)
             SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each($1) WHERE true
             ON CONFLICT (device, alias) DO UPDATE SET prospect = excluded.prospect",
        )
        .bind(json_rows(&self.changes.aliases)?)
        .execute(conn)
        .await?;
        Ok(())
    }

    async fn flush_alerts(&mut self, conn: &mut SqliteConnection) -> Result<(), Error> {
        for (device, alert) in &self.changes.alerts {
            sqlx::query("UPDATE device SET alert = $2 WHERE id = $1 AND alert IS NOT $2")
                .bind(device)
                .bind(alert)
                .execute(&mut *conn)
                .await?;
        }
        Ok(())
    }

    async fn flush_rows(&mut self, conn: &mut SqliteConnection) -> Result<(), Error> {
        #[derive(serde::Serialize)]
        struct Written<'a> {
            was: Option<i64>,
            #[serde(flatten)]
            row: &'a Row,
        }
        let rows: Vec<_> = self
            .rows
            .values()
            .map(|e| Written {
                was: e.was,
                row: &e.row,
            })
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        // Promise I3 once more, where it is written: a row that has another epoch than the one that was loaded stays.
        let written = sqlx::query(UPSERT_CONVERSATIONS)
            .bind(json_rows(&rows)?)
            .execute(conn)
            .await?;
        if written.rows_affected() != rows.len() as u64 {
            return Err(Error::corrupt(
                "conversation",
                "a row changed under the writer's own lock",
            ));
        }
        Ok(())
    }
}

impl Entry {
    /// Lets go of the lock; what is pending starts a new turn.
    pub(super) fn free(&mut self) {
        self.next = Next::Free;
    }

    pub(super) fn is_locked(&self) -> bool {
        matches!(self.row.state.0, State::Running | State::Sending)
    }
}

const UPSERT_CONVERSATIONS: &str = "
INSERT INTO conversation (id, tenant, device, prospect, address, prospect_name, state, version, claim_version, epoch, owner,
    locked_at, claimed_at, turn, signal, ready_at, first_pending_at, paused_until, attempts, crashes, suspect_seq, restarts, turns, clock,
    seed, last_inbound_at, last_hash, last_hash_at, created_at)
SELECT value ->> 'id', value ->> 'tenant', value ->> 'device', value ->> 'prospect', value ->> 'address',
    value ->> 'prospect_name', value ->> 'state', value ->> 'version', value ->> 'claim_version', value ->> 'epoch', value ->> 'owner',
    value ->> 'locked_at', value ->> 'claimed_at', value ->> 'turn',
    value ->> 'signal', value ->> 'ready_at', value ->> 'first_pending_at', value ->> 'paused_until',
    value ->> 'attempts', value ->> 'crashes', value ->> 'suspect_seq', value ->> 'restarts', value ->> 'turns', value ->> 'clock', value ->> 'seed',
    value ->> 'last_inbound_at', value ->> 'last_hash', value ->> 'last_hash_at', value ->> 'created_at'
FROM json_each($1) WHERE true
ON CONFLICT (id) DO UPDATE SET address = excluded.address, prospect_name = excluded.prospect_name, state = excluded.state,
    version = excluded.version, claim_version = excluded.claim_version, epoch = excluded.epoch, owner = excluded.owner, locked_at = excluded.locked_at,
    claimed_at = excluded.claimed_at, turn = excluded.turn,
    signal = excluded.signal, ready_at = excluded.ready_at, first_pending_at = excluded.first_pending_at,
    paused_until = excluded.paused_until, attempts = excluded.attempts, crashes = excluded.crashes,
    suspect_seq = excluded.suspect_seq, restarts = excluded.restarts,
    turns = excluded.turns, clock = excluded.clock, seed = excluded.seed, last_inbound_at = excluded.last_inbound_at,
    last_hash = excluded.last_hash, last_hash_at = excluded.last_hash_at
WHERE conversation.epoch <= excluded.epoch";
