//! Dead letters: messages that no turn could answer, and parts that could not be sent, that the provider took and did not
//! deliver, or of which nobody knows.

use serde::Serialize;
use sqlx::FromRow;

use super::{Error, Store};
use crate::model::TenantId;

/// One dead letter.
#[derive(Debug, Clone, PartialEq, Eq, FromRow, Serialize)]
pub struct DeadLetter {
    /// `msg_…` for a message that came in, `out_…` for a part that was to go out.
    pub id: String,
    /// Whose.
    pub tenant: String,
    /// The device.
    pub device: String,
    /// The conversation.
    pub conversation: String,
    /// `dead`; `failed` for a part that the provider took, and told later that it did not arrive; or `held` for one of which
    /// nobody knows whether it arrived.
    pub state: String,
    /// Why.
    pub reason: Option<String>,
    /// When it came in, or was decided.
    pub at: i64,
}

// The conditions are those of the indexes inbox_dead and outbox_dead, word for word. The `+` keeps SQLite from reading all rows by
// their age instead, to save the sorting.
pub(super) const DEAD_LETTERS: &str = "
SELECT id, tenant, device, conversation, state, reason, +received_at AS at FROM inbox
WHERE state = 'dead' AND ($1 IS NULL OR tenant = $1)
UNION ALL
SELECT id, tenant, device, conversation, CASE state WHEN 'sent' THEN 'failed' ELSE state END, error, +created_at FROM outbox
WHERE (state IN ('dead', 'held') OR (state = 'sent' AND status = 'failed')) AND ($1 IS NULL OR tenant = $1)
ORDER BY at DESC, id DESC LIMIT $2";

/// Dead letters in both directions, newest first.
pub type DeadLetters = Vec<DeadLetter>;

impl Store {
    /// Dead letters of one tenant, or of all.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn dead_letters(
        &self,
        tenant: Option<&TenantId>,
        limit: u32,
    ) -> Result<DeadLetters, Error> {
        Ok(sqlx::query_as(DEAD_LETTERS)
            .bind(tenant.map(TenantId::as_str))
            .bind(limit)
            .fetch_all(&self.readers)
            .await?)
    }

    /// Takes a dead letter up again: a message waits for a turn, a part is sent once more.
    ///
    /// # Errors
    /// If there is no dead letter of this id.
    pub async fn replay(&self, id: &str) -> Result<(), Error> {
        let mut tx = self.writers.begin_with("BEGIN IMMEDIATE").await?;
        let message: Option<(String,)> = sqlx::query_as(
            "UPDATE inbox SET state = 'pending', reason = NULL, turn = NULL, settled_at = NULL
             WHERE id = $1 AND state = 'dead' RETURNING conversation",
        )
        .bind(id)
        .fetch_optional(&mut *tx)
        .await?;
        if let Some((conversation,)) = message {
            // Here it would only go to the human, and out of the operator's sight.
            let paused =
                sqlx::query("SELECT 1 FROM conversation WHERE id = $1 AND paused_until > $2")
                    .bind(&conversation)
                    .bind(self.now().0)
                    .fetch_optional(&mut *tx)
                    .await?;
            if paused.is_some() {
                return Err(Error::Refused(format!(
                    "a human has the conversation of {id}; hand it back with `nodepath conversation resume {conversation}` first"
                )));
            }
            // It counts as a new message: a running turn that may restart takes it in.
            sqlx::query(
                "UPDATE conversation SET version = version + 1, first_pending_at = COALESCE(first_pending_at, $2),
                     ready_at = CASE state WHEN 'idle' THEN $2 ELSE ready_at END,
                     state = CASE state WHEN 'idle' THEN 'waiting' ELSE state END
                 WHERE id = $1",
            )
            .bind(conversation)
            .bind(self.now().0)
            .execute(&mut *tx)
            .await?;
        } else {
            // Promise I8: of a part that has failed, the provider itself says that it did not arrive. What it says from now on
            // is about the next try.
            let part = sqlx::query(
                "UPDATE outbox SET state = 'queued', status = NULL, next_at = $2, settled_at = NULL
                 WHERE id = $1 AND (state IN ('dead', 'held') OR (state = 'sent' AND status = 'failed'))",
            )
            .bind(id)
            .bind(self.now().0)
            .execute(&mut *tx)
            .await?;
            if part.rows_affected() == 0 {
                return Err(Error::not_found("dead letter", id));
            }
        }
        self.audit(&mut tx, "dead.replay", id).await?;
        Ok(tx.commit().await?)
    }
}
