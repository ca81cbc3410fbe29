//! What a new host makes of what the last one left. The process lock proves that the last one is gone, so its session locks
//! are free at once.

use metrics::counter;
use sqlx::sqlite::SqliteConnection;

use super::{Error, Store, devices, observe};
use crate::model::Timestamp;

/// What the last host had left undone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Turns that had not committed; they run again.
    pub turns: u64,
    /// Parts of which nobody can tell whether they were sent.
    pub unknown_parts: u64,
}

impl Store {
    pub(super) async fn recover(&self) -> Result<Recovered, Error> {
        let now = self.now().0;
        let mut tx = self.writers.begin_with("BEGIN IMMEDIATE").await?;
        fail::fail_point!("recover.begun");
        // The epoch rises with the next claim, so a turn of the dead process could not commit even if it still ran (I3).
        let turns = sqlx::query(
            "UPDATE conversation SET state = 'waiting', ready_at = $1, owner = NULL, locked_at = NULL, claimed_at = NULL,
                 turn = NULL, crashes = crashes + 1
             WHERE state = 'running'",
        )
        .bind(now)
        .execute(&mut *tx)
        .await?
        .rows_affected();
        fail::fail_point!("recover.turns");
        // Promise I8: a part that was being sent may have been. Each device says how long its provider has to tell.
        let mut unknown_parts = 0;
        let sending: Vec<(String,)> =
            sqlx::query_as("SELECT DISTINCT device FROM outbox WHERE state = 'sending'")
                .fetch_all(&mut *tx)
                .await?;
        let ids = sending.into_iter().map(|(device,)| device).collect();
        for (id, device) in devices::load(&mut tx, &ids).await? {
            unknown_parts +=
                doubt(&mut tx, Some(&id), self.now().plus(device.unknown_window())).await?;
        }
        // Those of a device that this program can't read.
        unknown_parts += doubt(&mut tx, None, self.now()).await?;
        fail::fail_point!("recover.written");
        tx.commit().await?;
        fail::fail_point!("recover.committed");
        counter!(observe::RECOVERED).increment(turns);
        Ok(Recovered {
            turns,
            unknown_parts,
        })
    }
}

/// Puts what was being sent on a device, or on any, in doubt. What its provider has told of already is settled at once.
async fn doubt(
    conn: &mut SqliteConnection,
    device: Option<&str>,
    until: Timestamp,
) -> Result<u64, Error> {
    Ok(sqlx::query(
        "UPDATE outbox SET state = 'unknown', next_at = CASE WHEN status IS NULL THEN $2 ELSE 0 END,
             error = COALESCE(error, 'the host ended while it was being sent')
         WHERE state = 'sending' AND ($1 IS NULL OR device = $1)",
    )
    .bind(device)
    .bind(until.0)
    .execute(conn)
    .await?
    .rows_affected())
}
