//! What time brings: waiting conversations, timers, parts to send again, and doubts that nobody has ended.

use std::collections::BTreeSet;

use sqlx::sqlite::SqliteConnection;

use super::Error;
use super::group::{Group, Next};
use crate::model::Timestamp;
use crate::model::overlap::State;

/// The most of each kind that one look takes up; the next look follows at once.
const BATCH: i64 = 256;

/// What is due.
#[derive(Default)]
pub(super) struct DueRows {
    pub(super) conversations: BTreeSet<String>,
    pub(super) parts: Vec<String>,
}

impl DueRows {
    pub(super) async fn load(conn: &mut SqliteConnection, now: Timestamp) -> Result<Self, Error> {
        let conversations: Vec<(String,)> = sqlx::query_as(
            "SELECT id FROM (SELECT id FROM conversation WHERE state = 'waiting' AND ready_at <= $1
                             ORDER BY ready_at LIMIT $2)
             UNION
             SELECT id FROM (SELECT c.id FROM timer AS t JOIN conversation AS c ON c.id = t.conversation
                             WHERE t.due <= $1 AND c.state = 'idle' AND (c.paused_until IS NULL OR c.paused_until <= $1)
                             ORDER BY t.due LIMIT $2)",
        )
        .bind(now.0)
        .bind(BATCH)
        .fetch_all(&mut *conn)
        .await?;
        let parts: Vec<(String,)> = sqlx::query_as(
            "SELECT id FROM outbox WHERE state IN ('queued', 'unknown') AND next_at IS NOT NULL AND next_at <= $1
             ORDER BY next_at LIMIT $2",
        )
        .bind(now.0)
        .bind(BATCH)
        .fetch_all(conn)
        .await?;
        Ok(Self {
            conversations: conversations.into_iter().map(|(id,)| id).collect(),
            parts: parts.into_iter().map(|(id,)| id).collect(),
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
pub(super) async fn next_due(
    conn: &mut SqliteConnection,
    now: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    let (at,): (Option<i64>,) = sqlx::query_as(
        "SELECT MIN(at) FROM (
             SELECT MIN(ready_at) AS at FROM conversation WHERE state = 'waiting'
             UNION ALL
             SELECT * FROM (SELECT t.due FROM timer AS t JOIN conversation AS c ON c.id = t.conversation
                            WHERE c.state = 'idle' AND (c.paused_until IS NULL OR c.paused_until <= $1) ORDER BY t.due LIMIT 1)
             UNION ALL
             SELECT MIN(next_at) FROM outbox WHERE state IN ('queued', 'unknown') AND next_at IS NOT NULL)",
    )
    .bind(now.0)
    .fetch_one(conn)
    .await?;
    Ok(at.map(Timestamp))
}
