//! What time brings: waiting conversations, timers, parts to send again, and doubts that nobody has ended.

use std::collections::BTreeSet;

use rusqlite::Connection;

use super::Error;
use super::group::{Group, Next};
use super::sql;
use crate::model::Timestamp;
use crate::model::overlap::State;

/// What is due.
#[derive(Default)]
pub(super) struct DueRows {
    pub(super) conversations: BTreeSet<String>,
    pub(super) parts: Vec<String>,
}

impl DueRows {
    /// One look takes up 256 of each kind, and the next follows at once. The number stands in the statements, since SQLite plans a
    /// statement anew whenever its limit is bound.
    pub(super) fn load(conn: &Connection, now: Timestamp) -> Result<Self, Error> {
        let conversations = sql::query(
            conn,
            "SELECT id FROM (SELECT id FROM conversation WHERE state = 'waiting' AND ready_at <= ?1
                             ORDER BY ready_at LIMIT 256)
             UNION
             SELECT id FROM (SELECT c.id FROM timer AS t JOIN conversation AS c ON c.id = t.conversation
                             WHERE t.due <= ?1 AND c.state = 'idle' AND (c.paused_until IS NULL OR c.paused_until <= ?1)
                             ORDER BY t.due LIMIT 256)",
            [now.0],
            |row| row.get(0),
        )?;
        let parts = sql::query(
            conn,
            "SELECT id FROM outbox WHERE state IN ('queued', 'unknown') AND next_at IS NOT NULL AND next_at <= ?1
             ORDER BY next_at LIMIT 256",
            [now.0],
            |row| row.get(0),
        )?;
        Ok(Self {
            conversations: conversations.into_iter().collect(),
            parts,
        })
    }
}

impl Group {
    pub(super) fn due(&mut self) {
        for part in std::mem::take(&mut self.due.parts) {
            self.part_due(&part);
        }
        for id in std::mem::take(&mut self.due.conversations) {
            if let Some(entry) = self.rows.get_mut(&id) {
                let is_free = matches!(entry.row.state.0, State::Idle | State::Waiting);
                // Another operation of the group may have been faster, or may have put it off again.
                let still_due = entry.row.ready_at.is_none_or(|at| at <= self.now.0);
                if is_free && still_due && entry.next == Next::Stay {
                    entry.free();
                }
            }
        }
    }
}

/// When the next thing is due.
pub(super) fn next_due(conn: &Connection, now: Timestamp) -> Result<Option<Timestamp>, Error> {
    let at: Option<Option<i64>> = sql::query_one(
        conn,
        "SELECT MIN(at) FROM (
             SELECT MIN(ready_at) AS at FROM conversation WHERE state = 'waiting'
             UNION ALL
             SELECT * FROM (SELECT t.due FROM timer AS t JOIN conversation AS c ON c.id = t.conversation
                            WHERE c.state = 'idle' AND (c.paused_until IS NULL OR c.paused_until <= ?1) ORDER BY t.due LIMIT 1)
             UNION ALL
             SELECT MIN(next_at) FROM outbox WHERE state IN ('queued', 'unknown') AND next_at IS NOT NULL)",
        [now.0],
        |row| row.get(0),
    )?;
    Ok(at.flatten().map(Timestamp))
}
