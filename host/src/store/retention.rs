//! Old rows go, a few at a time, so that the writer never waits long.

use std::time::Duration;

use super::{Error, Store};
use crate::model::Timestamp;

/// How long rows are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Messages, parts and turns that are settled.
    pub settled: Duration,
    /// Dead letters.
    pub dead: Duration,
}

impl Retention {
    /// The shortest time for which a provider's message id is remembered. Meta delivers again for 7 days (I2).
    pub const DEDUPE: Duration = Duration::from_secs(8 * 24 * 3_600);
}

/// The most rows of a table that one statement looks at and deletes: some milliseconds of the writer's lock.
const BATCH: i64 = 500;

/// A table whose rows stand in the order in which they came, so that the old ones are in front and no index is needed to find them.
struct Aged {
    /// Where the next batch after row $1 ends, the time of its oldest row, and how many of its rows go. $2 is the size of a batch.
    next: &'static str,
    /// Deletes those of the rows after $1 up to $2 that go: they are older than $3 (settled) or $4 (dead letters).
    delete: &'static str,
    /// The age up to which rows may go.
    until: fn(Before) -> Timestamp,
}

macro_rules! aged {
    ($table:literal, $time:literal, $until:expr, $old:literal) => {
        Aged {
            next: concat!(
                "SELECT MAX(row), MIN(at), SUM(goes) FROM (SELECT rowid AS row, ",
                $time,
                " AS at, (",
                $old,
                ") AS goes FROM ",
                $table,
                " WHERE rowid > $1 ORDER BY rowid LIMIT $2)"
            ),
            delete: concat!(
                "DELETE FROM ",
                $table,
                " WHERE rowid > $1 AND rowid <= $2 AND (",
                $old,
                ")"
            ),
            until: $until,
        }
    };
}

const AGED: [Aged; 3] = [
    aged!(
        "inbox",
        "received_at",
        |before| before.settled.max(before.dead),
        "(received_at < $3 AND state NOT IN ('pending', 'dead')) OR (received_at < $4 AND state = 'dead')"
    ),
    aged!(
        "outbox",
        "created_at",
        |before| before.settled.max(before.dead),
        "(created_at < $3 AND state = 'sent' AND status IS NOT 'failed')
             OR (created_at < $4 AND (state IN ('dead', 'held') OR (state = 'sent' AND status = 'failed')))"
    ),
    // A conversation's parts are found by its turns. Each statement takes $4, and dead letters are no matter here.
    aged!(
        "turn",
        "finished_at",
        |before| before.settled,
        "finished_at < $3 AND $4 IS NOT NULL AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.turn = turn.id)"
    ),
];

/// Until when rows are forgotten.
#[derive(Clone, Copy)]
struct Before {
    settled: Timestamp,
    dead: Timestamp,
}

impl Store {
    /// Deletes rows that are older than `keep` says, and answers how many. Ids are remembered for [`Retention::DEDUPE`] at
    /// least, whatever it says.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn forget(&self, keep: Retention) -> Result<u64, Error> {
        let now = self.now();
        let before = Before {
            settled: now.minus(keep.settled.max(Retention::DEDUPE)),
            dead: now.minus(keep.dead.max(Retention::DEDUPE)),
        };
        let mut gone = 0;
        for table in AGED {
            gone += self.forget_aged(&table, before).await?;
        }
        for (sql, before) in [
            (
                "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < $1 LIMIT $2)",
                before.dead,
            ),
            (
                "DELETE FROM plugin_state WHERE (tenant, scope, owner, key) IN (SELECT tenant, scope, owner, key FROM plugin_state WHERE expires_at < $1 LIMIT $2)",
                now,
            ),
        ] {
            gone += self.forget_batches(sql, before).await?;
        }
        Ok(gone)
    }

    /// Goes through a table from its oldest row to the first batch that is all too young.
    async fn forget_aged(&self, table: &Aged, before: Before) -> Result<u64, Error> {
        let (until, now) = ((table.until)(before), self.now());
        let mut gone = 0;
        let mut after = i64::MIN;
        loop {
            let next: (Option<i64>, Option<i64>, Option<i64>) = sqlx::query_as(table.next)
                .bind(after)
                .bind(BATCH)
                .bind(before.settled.0)
                .bind(before.dead.0)
                .fetch_one(&self.readers)
                .await?;
            let (Some(last), Some(oldest), Some(goes)) = next else {
                return Ok(gone);
            };
            // What seems to come from the future was written while the clock was ahead, and says nothing of what is behind it.
            if (until.0..=now.0).contains(&oldest) {
                return Ok(gone);
            }
            if goes > 0 {
                gone += sqlx::query(table.delete)
                    .bind(after)
                    .bind(last)
                    .bind(before.settled.0)
                    .bind(before.dead.0)
                    .execute(&self.writers)
                    .await?
                    .rows_affected();
            }
            after = last;
        }
    }

    async fn forget_batches(&self, sql: &'static str, before: Timestamp) -> Result<u64, Error> {
        let mut gone = 0;
        loop {
            let deleted = sqlx::query(sql)
                .bind(before.0)
                .bind(BATCH)
                .execute(&self.writers)
                .await?
                .rows_affected();
            gone += deleted;
            if deleted < BATCH.unsigned_abs() {
                return Ok(gone);
            }
        }
    }
}
