//! What a new host makes of what the last one left. The process lock proves that the last one is gone, so its session locks
//! are free at once.

use metrics::counter;

use super::{Error, Store, devices, observe};

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
        // The epoch rises with the next claim, so a turn of the dead process could not commit even if it still ran (I3).
        let turns = sqlx::query(
            "UPDATE conversation SET state = 'waiting', ready_at = $1, owner = NULL, locked_at = NULL, claimed_at = NULL,
                 turn = NULL, timer = NULL
             WHERE state = 'running'",
        )
        .bind(now)
        .execute(&mut *tx)
        .await?
        .rows_affected();
        // Promise I8: a part that was being sent may have been. Each device says how long its provider has to tell.
        let mut unknown_parts = 0;
        let sending: Vec<(String,)> =
            sqlx::query_as("SELECT DISTINCT device FROM outbox WHERE state = 'sending'")
                .fetch_all(&mut *tx)
                .await?;
        let ids = sending.into_iter().map(|(device,)| device).collect();
        for (id, device) in devices::load(&mut tx, &ids).await? {
            let window = i64::try_from(device.settings.unknown_window_ms).unwrap_or(i64::MAX);
            unknown_parts += sqlx::query(
                "UPDATE outbox SET state = 'unknown', next_at = $2,
                     error = 'the host ended while it was being sent'
                 WHERE state = 'sending' AND device = $1",
            )
            .bind(id)
            .bind(now.saturating_add(window))
            .execute(&mut *tx)
            .await?
            .rows_affected();
        }
        tx.commit().await?;
        counter!(observe::RECOVERED).increment(turns);
        Ok(Recovered {
            turns,
            unknown_parts,
        })
    }
}
