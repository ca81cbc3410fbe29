//! A group of operations in one transaction: what they need is loaded, the rules run over the rows in memory, and what they
//! changed is written back, each row once however many operations changed it.
//!
//! The write lock is held from before the first read, so the rows in memory are the rows.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rusqlite::{Connection, params};

use super::due::DueRows;
use super::finish::{StateWrite, TagWrite, TimerWrite, TurnWrite};
use super::intake::Intake;
use super::observe::LockEvent;
use super::rows::{PartRow, Row};
use super::work::Work;
use super::writer::{Op, Stage};
use super::{Error, devices, sql};
use crate::model::overlap::State;
use crate::model::turn::PendingMessage;
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
    /// As it was loaded; none for a row that is new.
    was: Option<Row>,
}

/// A message that leaves `pending`.
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
    /// What has come in this group, by conversation, and is pending.
    pub(super) arrived: HashMap<String, Vec<PendingMessage>>,
    pub(super) changes: Changes,
    pub(super) notices: Vec<Notice>,
    /// What is told after the locks that this group takes.
    pub(super) after_claims: Vec<Notice>,
}

impl Group {
    pub(super) fn load(
        conn: &Connection,
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
            arrived: HashMap::new(),
            changes: Changes::default(),
            notices: Vec::new(),
            after_claims: Vec::new(),
        };
        let mut wanted = BTreeSet::new();
        group.load_accepts(conn, ops, &mut wanted)?;
        for op in ops {
            if let Op::Finish(finish, _) = op {
                wanted.insert(finish.lock.conversation.to_string());
            }
        }
        if ops.iter().any(|op| matches!(op, Op::Due(_))) {
            group.due = DueRows::load(conn, now)?;
            wanted.extend(group.due.conversations.iter().cloned());
        }
        group.load_parts(conn, ops, &mut wanted)?;
        group.load_rows(conn, &wanted)?;
        group.load_versions(conn, ops)?;
        Ok(group)
    }

    fn load_rows(&mut self, conn: &Connection, wanted: &BTreeSet<String>) -> Result<(), Error> {
        for id in wanted {
            if self.rows.contains_key(id) {
                continue;
            }
            if let Some(row) = Row::load(conn, id)? {
                self.keep_row(row);
            }
        }
        let missing: BTreeSet<_> = self
            .rows
            .values()
            .filter(|e| !self.devices.contains_key(&e.row.device))
            .map(|e| e.row.device.clone())
            .collect();
        self.devices.extend(devices::load(conn, &missing)?);
        Ok(())
    }

    /// Keeps a conversation as the database has it.
    pub(super) fn keep_row(&mut self, row: Row) {
        let entry = Entry {
            was: Some(row.clone()),
            next: Next::Stay,
            row,
        };
        self.rows.insert(entry.row.id.clone(), entry);
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
    pub(super) fn flush(mut self, conn: &Connection) -> Result<Vec<Notice>, Error> {
        let sets_timer = self
            .changes
            .timers
            .iter()
            .any(|t| matches!(t, TimerWrite::Set { .. }));
        self.flush_turns(conn)?;
        self.flush_kept(conn)?;
        self.flush_marks(conn)?;
        self.claim(conn)?;
        self.flush_marks(conn)?;
        self.flush_parts(conn)?;
        self.flush_aliases(conn)?;
        self.flush_alerts(conn)?;
        self.flush_rows(conn)?;
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

    fn flush_marks(&mut self, conn: &Connection) -> Result<(), Error> {
        for mark in std::mem::take(&mut self.changes.marks) {
            #[cfg(feature = "planted-bugs")]
            if super::planted::is("seq-marks") {
                super::planted::mark_by_seq(conn, &mark, self.now.0)?;
            }
            // By explicit id, never by `seq <= n`; and only what is pending, so that a decision is made once (I5).
            sql::execute(
                conn,
                "UPDATE inbox SET state = ?2, reason = ?3, turn = ?4, settled_at = ?5 WHERE id = ?1 AND state = 'pending'",
                params![mark.id, mark.state, mark.reason, mark.turn, self.now.0],
            )?;
        }
        for conversation in std::mem::take(&mut self.changes.absorb) {
            let entry = self.rows.get(&conversation).ok_or_else(|| {
                Error::corrupt(
                    "conversation",
                    "one that a human has taken over is not there",
                )
            })?;
            sql::execute(
                conn,
                "UPDATE inbox SET state = 'absorbed', reason = 'human', settled_at = ?3
                 WHERE state = 'pending' AND tenant = ?1 AND conversation = ?2",
                params![entry.row.tenant, conversation, self.now.0],
            )?;
        }
        Ok(())
    }

    fn flush_aliases(&self, conn: &Connection) -> Result<(), Error> {
        for (device, alias, prospect) in &self.changes.aliases {
            sql::execute(
                conn,
                "INSERT INTO prospect_alias (device, alias, prospect) VALUES (?1, ?2, ?3)
                 ON CONFLICT (device, alias) DO UPDATE SET prospect = excluded.prospect",
                [device, alias, prospect],
            )?;
        }
        Ok(())
    }

    fn flush_alerts(&self, conn: &Connection) -> Result<(), Error> {
        for (device, alert) in &self.changes.alerts {
            sql::execute(
                conn,
                "UPDATE device SET alert = ?2 WHERE id = ?1 AND alert IS NOT ?2",
                params![device, alert],
            )?;
        }
        Ok(())
    }

    fn flush_rows(&self, conn: &Connection) -> Result<(), Error> {
        for entry in self.rows.values() {
            match &entry.was {
                None => entry.row.insert(conn)?,
                Some(was) if *was != entry.row => entry.row.update(conn)?,
                Some(_) => {}
            }
        }
        Ok(())
    }
}

impl Entry {
    /// Whether nothing was pending when the group began: an idle conversation has nothing (I7), and a new one neither.
    pub(super) fn was_idle(&self) -> bool {
        self.was
            .as_ref()
            .is_none_or(|was| was.state.0 == State::Idle)
    }

    /// Lets go of the lock; what is pending starts a new turn.
    pub(super) fn free(&mut self) {
        self.next = Next::Free;
    }

    pub(super) fn is_locked(&self) -> bool {
        matches!(self.row.state.0, State::Running | State::Sending)
    }
}
