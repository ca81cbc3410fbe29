//! Conversations as people look at them, and what people do to them by hand.

use serde::{Serialize, Serializer};
use sqlx::FromRow;
use sqlx::sqlite::SqliteConnection;

use super::accept::{FOR_EVER, RESUMED};
use super::{Error, Store};
use crate::model::{ConversationId, TenantId, Timestamp};

/// A line of the list of conversations.
#[derive(Debug, Clone, PartialEq, Eq, FromRow, Serialize)]
pub struct ConversationSummary {
    /// `cnv_…`
    pub id: String,
    /// Whose.
    pub tenant: String,
    /// The device.
    pub device: String,
    /// Who writes.
    pub prospect: String,
    /// The name that they go by.
    pub prospect_name: Option<String>,
    /// `idle`, `waiting`, `running` or `sending`.
    pub state: String,
    /// Since when it is locked, in milliseconds since 1970.
    pub locked_at: Option<i64>,
    /// Until when a human has it; the largest number stands for: until handed back.
    pub paused_until: Option<i64>,
    /// How many turns have committed.
    pub turns: i64,
    /// How many messages wait.
    pub pending: i64,
    /// When the prospect last wrote.
    pub last_inbound_at: Option<i64>,
}

/// Everything about one conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConversationDetail {
    /// The line of the list.
    #[serde(flatten)]
    pub summary: ConversationSummary,
    /// The last messages that came in, newest first.
    pub inbox: Vec<InboxRow>,
    /// The last tries of turns, newest first.
    pub turns_run: Vec<TurnRow>,
    /// The last parts that went out, newest first.
    pub outbox: Vec<OutboxRow>,
    /// Timers that are set: (name, due).
    pub timers: Vec<(String, i64)>,
    /// Labels.
    pub tags: Vec<(String, String)>,
}

/// A message that came in.
#[derive(Debug, Clone, PartialEq, Eq, FromRow, Serialize)]
pub struct InboxRow {
    /// `msg_…`
    pub id: String,
    /// What it says, as JSON.
    #[serde(serialize_with = "as_json")]
    pub message: String,
    /// `pending`, `done`, `skipped`, `absorbed`, `dead`, `ignored` or `human`.
    pub state: String,
    /// Why it is in that state.
    pub reason: Option<String>,
    /// The turn that answered it.
    pub turn: Option<String>,
    /// When it was accepted.
    pub received_at: i64,
}

/// A try of a turn.
#[derive(Debug, Clone, PartialEq, Eq, FromRow, Serialize)]
pub struct TurnRow {
    /// `trn_…`
    pub id: String,
    /// The claim.
    pub epoch: i64,
    /// Which try.
    pub attempt: i64,
    /// The plugin version.
    pub plugin: Option<String>,
    /// `messages`, `timer` or `signal`.
    pub trigger: String,
    /// `committed`, `superseded`, … or the sort of failure.
    pub outcome: String,
    /// More of a failure.
    pub detail: Option<String>,
    /// Time in the guest's code, in microseconds.
    pub cpu_us: i64,
    /// When it was claimed.
    pub started_at: i64,
    /// When it ended.
    pub finished_at: i64,
}

/// A part that went out, or is to.
#[derive(Debug, Clone, PartialEq, Eq, FromRow, Serialize)]
pub struct OutboxRow {
    /// `out_…`
    pub id: String,
    /// The turn that decided it.
    pub turn: String,
    /// Its place in the reply.
    pub idx: i64,
    /// What it says, as JSON.
    #[serde(serialize_with = "as_json")]
    pub body: String,
    /// `queued`, `sending`, `unknown`, `sent`, `held` or `dead`.
    pub state: String,
    /// The provider's last word.
    pub status: Option<String>,
    /// How often it was tried.
    pub attempts: i64,
    /// The provider's id.
    pub provider_message_id: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
    /// When it was decided.
    pub created_at: i64,
}

/// A text that holds JSON as the value that it holds, so that programs need not read it twice.
fn as_json<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(value) => value.serialize(serializer),
        Err(_) => text.serialize(serializer),
    }
}

/// How many rows of each kind a look at one conversation shows.
const SHOWN: i64 = 20;

const SUMMARY: &str = "
SELECT id, tenant, device, prospect, prospect_name, state, locked_at, paused_until, turns, last_inbound_at,
    (SELECT COUNT(*) FROM inbox
     WHERE inbox.tenant = conversation.tenant AND inbox.conversation = conversation.id AND inbox.state = 'pending') AS pending
FROM conversation";

impl Store {
    /// Conversations, the last active first; of one tenant or of all, only the locked ones or all.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn conversations(
        &self,
        tenant: Option<&TenantId>,
        filter: Shown,
        limit: u32,
    ) -> Result<Vec<ConversationSummary>, Error> {
        let sql = format!(
            "{SUMMARY} WHERE ($1 IS NULL OR tenant = $1) AND ($2 = 0 OR state IN ('running', 'sending'))
             ORDER BY last_inbound_at DESC, id LIMIT $3"
        );
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(tenant.map(TenantId::as_str))
            .bind(i64::from(filter == Shown::Locked))
            .bind(limit)
            .fetch_all(&self.readers)
            .await?)
    }

    /// Everything about one conversation.
    ///
    /// # Errors
    /// If there is none of this id.
    pub async fn conversation(&self, id: &ConversationId) -> Result<ConversationDetail, Error> {
        let mut conn = self.readers.acquire().await?;
        let sql = format!("{SUMMARY} WHERE id = $1");
        let summary = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(id.as_str())
            .fetch_optional(&mut *conn)
            .await?;
        let summary = summary.ok_or_else(|| Error::not_found("conversation", id))?;
        let inbox = last(
            "SELECT id, message, state, reason, turn, received_at FROM inbox WHERE conversation = $1
             ORDER BY seq DESC LIMIT $2",
        );
        let turns = last(
            "SELECT id, epoch, attempt, plugin, \"trigger\", outcome, detail, cpu_us, started_at, finished_at FROM turn
             WHERE conversation = $1 ORDER BY finished_at DESC, epoch DESC LIMIT $2",
        );
        let outbox = last(
            "SELECT outbox.id, turn, idx, body, state, status, attempts, provider_message_id, error, created_at
             FROM turn CROSS JOIN outbox ON outbox.turn = turn.id
             WHERE turn.conversation = $1 ORDER BY finished_at DESC, epoch DESC, idx DESC LIMIT $2",
        );
        Ok(ConversationDetail {
            summary,
            inbox: inbox.fetch(&mut conn, id).await?,
            turns_run: turns.fetch(&mut conn, id).await?,
            outbox: outbox.fetch(&mut conn, id).await?,
            timers: last(
                "SELECT name, due FROM timer WHERE conversation = $1 ORDER BY due LIMIT $2",
            )
            .fetch(&mut conn, id)
            .await?,
            tags: last("SELECT key, value FROM tag WHERE conversation = $1 ORDER BY key LIMIT $2")
                .fetch(&mut conn, id)
                .await?,
        })
    }

    /// Takes a conversation's lock away by hand. The turn that runs can't commit any more and is run again; parts that were
    /// not sent are held, for an operator to look at.
    ///
    /// # Errors
    /// If there is none of this id, or it is not locked.
    pub async fn unlock(&self, id: &ConversationId) -> Result<(), Error> {
        let mut tx = self.writers.begin_with("BEGIN IMMEDIATE").await?;
        let unlocked = sqlx::query(
            "UPDATE conversation SET state = 'waiting', epoch = epoch + 1, owner = NULL, locked_at = NULL,
                 claimed_at = NULL, turn = NULL, ready_at = $2, attempts = 0, crashes = 0
             WHERE id = $1 AND state IN ('running', 'sending')",
        )
        .bind(id.as_str())
        .bind(self.now().0)
        .execute(&mut *tx)
        .await?;
        if unlocked.rows_affected() == 0 {
            exists(&mut tx, id).await?;
            return Err(Error::Refused(format!(
                "conversation {id} is not locked; there is nothing to do"
            )));
        }
        sqlx::query(
            "UPDATE outbox SET state = 'held', next_at = NULL, error = 'unlocked by hand', settled_at = $2
             WHERE conversation = $1 AND (state = 'queued' OR state = 'sending' OR state = 'unknown')",
        )
        .bind(id.as_str())
        .bind(self.now().0)
        .execute(&mut *tx)
        .await?;
        self.audit(&mut tx, "conversation.unlock", id.as_str())
            .await?;
        Ok(tx.commit().await?)
    }

    /// Hands a conversation over to a human: until then, or until it is handed back. What waits is theirs.
    ///
    /// # Errors
    /// If there is none of this id.
    pub async fn pause(
        &self,
        id: &ConversationId,
        until: Option<Timestamp>,
    ) -> Result<ByHand, Error> {
        let until = until.map_or(FOR_EVER, |t| t.0);
        let mut tx = self.writers.begin_with("BEGIN IMMEDIATE").await?;
        if paused_until(&mut tx, id).await? == Some(until) {
            return Ok(ByHand::WasSo);
        }
        // A waiting conversation is looked at again, and what is pending is absorbed; a running turn is refused at T3.
        sqlx::query(
            "UPDATE conversation SET paused_until = $2,
                 ready_at = CASE state WHEN 'waiting' THEN $3 ELSE ready_at END
             WHERE id = $1",
        )
        .bind(id.as_str())
        .bind(until)
        .bind(self.now().0)
        .execute(&mut *tx)
        .await?;
        self.audit(&mut tx, "conversation.pause", id.as_str())
            .await?;
        tx.commit().await?;
        Ok(ByHand::Done)
    }

    /// Hands a conversation back to its plugin, which is run with the signal `resumed`.
    ///
    /// # Errors
    /// If there is none of this id.
    pub async fn resume(&self, id: &ConversationId) -> Result<ByHand, Error> {
        let mut tx = self.writers.begin_with("BEGIN IMMEDIATE").await?;
        if paused_until(&mut tx, id).await?.is_none() {
            return Ok(ByHand::WasSo);
        }
        sqlx::query(
            "UPDATE conversation SET paused_until = NULL, signal = $3,
                 ready_at = CASE state WHEN 'idle' THEN $2 ELSE ready_at END,
                 state = CASE state WHEN 'idle' THEN 'waiting' ELSE state END
             WHERE id = $1",
        )
        .bind(id.as_str())
        .bind(self.now().0)
        .bind(RESUMED)
        .execute(&mut *tx)
        .await?;
        self.audit(&mut tx, "conversation.resume", id.as_str())
            .await?;
        tx.commit().await?;
        Ok(ByHand::Done)
    }

    /// The conversations that are locked, as the seed's view shows them: (`id_prospect`, `id_device`, `timestamp`).
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn session_locks(&self) -> Result<Vec<(String, String, String)>, Error> {
        Ok(sqlx::query_as(
            "SELECT id_prospect, id_device, timestamp FROM ai_whatsapp_session_nodepath",
        )
        .fetch_all(&self.readers)
        .await?)
    }

    pub(super) async fn audit(
        &self,
        conn: &mut SqliteConnection,
        action: &str,
        subject: &str,
    ) -> Result<(), Error> {
        sqlx::query("INSERT INTO audit (at, action, subject) VALUES ($1, $2, $3)")
            .bind(self.now().0)
            .bind(action)
            .bind(subject)
            .execute(conn)
            .await?;
        Ok(())
    }
}

/// What became of something that somebody asked for by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByHand {
    /// It is done.
    Done,
    /// It was so already, and nothing was changed.
    WasSo,
}

/// Which conversations a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// All.
    All,
    /// Those whose lock is held.
    Locked,
}

struct Last(&'static str);

fn last(sql: &'static str) -> Last {
    Last(sql)
}

impl Last {
    async fn fetch<T>(
        self,
        conn: &mut SqliteConnection,
        id: &ConversationId,
    ) -> Result<Vec<T>, Error>
    where
        T: for<'r> FromRow<'r, sqlx::sqlite::SqliteRow> + Send + Unpin,
    {
        Ok(sqlx::query_as(self.0)
            .bind(id.as_str())
            .bind(SHOWN)
            .fetch_all(conn)
            .await?)
    }
}

async fn exists(conn: &mut SqliteConnection, id: &ConversationId) -> Result<(), Error> {
    paused_until(conn, id).await.map(drop)
}

async fn paused_until(
    conn: &mut SqliteConnection,
    id: &ConversationId,
) -> Result<Option<i64>, Error> {
    let found: Option<(Option<i64>,)> =
        sqlx::query_as("SELECT paused_until FROM conversation WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(conn)
            .await?;
    found
        .map(|(until,)| until)
        .ok_or_else(|| Error::not_found("conversation", id))
}
