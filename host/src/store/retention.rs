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

/// The most rows of a table that one statement deletes: some milliseconds of the writer's lock.
const BATCH: i64 = 500;

impl Store {
    /// Deletes rows that are older than `keep` says, and answers how many. Ids are remembered for [`Retention::DEDUPE`] at
    /// least, whatever it says.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn forget(&self, keep: Retention) -> Result<u64, Error> {
        let now = self.now();
        let settled = now.minus(keep.settled.max(Retention::DEDUPE));
        let dead = now.minus(keep.dead.max(Retention::DEDUPE));
        let mut gone = 0;
        for (sql, before) in [
            (
                "DELETE FROM inbox WHERE seq IN (SELECT seq FROM inbox WHERE received_at < $1 AND state NOT IN ('pending', 'dead') LIMIT $2)",
                settled,
            ),
            (
                "DELETE FROM inbox WHERE seq IN (SELECT seq FROM inbox WHERE received_at < $1 AND state = 'dead' LIMIT $2)",
                dead,
            ),
            (
                "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE created_at < $1 AND state = 'sent' AND status IS NOT 'failed' LIMIT $2)",
                settled,
            ),
            (
                "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE created_at < $1 AND (state IN ('dead', 'held') OR (state = 'sent' AND status = 'failed')) LIMIT $2)",
                dead,
            ),
            (
                "DELETE FROM turn WHERE id IN (SELECT id FROM turn WHERE finished_at < $1 LIMIT $2)",
                settled,
            ),
            (
                "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < $1 LIMIT $2)",
                dead,
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
