//! What a plugin may read: the past of its conversation, and what it keeps. Every query names the tenant or the conversation.

use sqlx::FromRow;

use super::finish::scope_owner;
use super::{Error, Store};
use crate::model::delivery::{MediaKind, PartBody, PartKind};
use crate::model::effect::Scope;
use crate::model::inbound::InboundMessage;
use crate::model::turn::{Author, HistoryEntry, HistoryPage};
use crate::model::{Content, ConversationId, Media, MessageId, ProspectId, TenantId, Timestamp};

/// A value that a plugin keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredState {
    /// The value.
    pub value: Vec<u8>,
    /// Another number after every write; never 0.
    pub version: i64,
}

#[derive(FromRow)]
struct PastRow {
    id: String,
    at: i64,
    author: String,
    body: String,
}

// Each half reads from the page's end on, as many as the page has and what it leaves out on the way. Parts are found by their turns, which
// an index has by time.
pub(super) const HISTORY: &str = "
SELECT * FROM (
    SELECT id, received_at AS at, CASE state WHEN 'human' THEN 'human' ELSE 'prospect' END AS author, message AS body
    FROM inbox
    WHERE conversation = $1 AND state IN ('done', 'skipped', 'absorbed', 'dead', 'human') AND (received_at, id) < ($2, $3)
    ORDER BY received_at DESC, id DESC LIMIT $4)
UNION ALL
SELECT * FROM (
    SELECT outbox.id, turn.finished_at, 'plugin', body
    FROM turn CROSS JOIN outbox ON outbox.turn = turn.id
    WHERE turn.conversation = $1 AND (turn.finished_at, outbox.id) < ($2, $3) AND turn.finished_at <= $2
        AND outbox.state IN ('sent', 'sending', 'unknown', 'held') AND outbox.status IS NOT 'failed'
    ORDER BY turn.finished_at DESC, outbox.id DESC LIMIT $4)
ORDER BY at DESC, id DESC LIMIT $4";

impl Store {
    /// A page of a conversation's past before `before`, newest first. `cursor` is the `next` of the page after it in time; none stands for
    /// the newest. Answers nothing for a cursor that is none.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn history(
        &self,
        conversation: &ConversationId,
        before: Timestamp,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<Option<HistoryPage>, Error> {
        let (at, id) = match cursor.map(parse_cursor) {
            None => (before.0, String::new()),
            Some(Some(place)) => place,
            Some(None) => return Ok(None),
        };
        // One row more than asked for tells whether there is another page.
        let mut rows: Vec<PastRow> = sqlx::query_as(HISTORY)
            .bind(conversation.as_str())
            .bind(at)
            .bind(id)
            .bind(i64::from(limit) + 1)
            .fetch_all(&self.readers)
            .await?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let next = rows
            .last()
            .filter(|_| more)
            .map(|row| format!("{}:{}", row.at, row.id));
        let entries = rows.into_iter().map(entry).collect::<Result<_, _>>()?;
        Ok(Some(HistoryPage { entries, next }))
    }

    /// A value that a plugin keeps.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn kept(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
        prospect: &ProspectId,
        scope: Scope,
        key: &str,
    ) -> Result<Option<StoredState>, Error> {
        let row: Option<(Vec<u8>, i64)> = sqlx::query_as(
            "SELECT value, version FROM plugin_state
             WHERE tenant = $1 AND scope = $2 AND owner = $3 AND key = $4 AND (expires_at IS NULL OR expires_at > $5)",
        )
        .bind(tenant.as_str())
        .bind(scope.as_str())
        .bind(scope_owner(scope, conversation.as_str(), prospect.as_str()))
        .bind(key)
        .bind(self.now().0)
        .fetch_optional(&self.readers)
        .await?;
        Ok(row.map(|(value, version)| StoredState { value, version }))
    }

    /// The keys that a plugin keeps in a scope, in order, that begin with `prefix` and come after `after`.
    ///
    /// # Errors
    /// If the database refuses.
    #[expect(
        clippy::too_many_arguments,
        reason = "a place (tenant, conversation, prospect, scope) and a range (prefix, after, limit)"
    )]
    pub async fn kept_keys(
        &self,
        tenant: &TenantId,
        conversation: &ConversationId,
        prospect: &ProspectId,
        scope: Scope,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, Error> {
        let rows: Vec<(String,)> = sqlx::query_as(
            "SELECT key FROM plugin_state
             WHERE tenant = $1 AND scope = $2 AND owner = $3 AND (expires_at IS NULL OR expires_at > $4)
                 AND substr(key, 1, length($5)) = $5 AND key > $6
             ORDER BY key LIMIT $7",
        )
        .bind(tenant.as_str())
        .bind(scope.as_str())
        .bind(scope_owner(scope, conversation.as_str(), prospect.as_str()))
        .bind(self.now().0)
        .bind(prefix)
        .bind(after.unwrap_or(""))
        .bind(limit)
        .fetch_all(&self.readers)
        .await?;
        Ok(rows.into_iter().map(|(key,)| key).collect())
    }

    /// Our own id, `out_…` or `msg_…`, of a message of this conversation that its provider names; none if there is none.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn own_id(
        &self,
        conversation: &ConversationId,
        provider_id: &str,
    ) -> Result<Option<String>, Error> {
        let row: Option<(String,)> = sqlx::query_as(
            "SELECT id FROM outbox
             WHERE conversation = $1 AND (id = $2 OR (provider_message_id = $2 AND device =
                 (SELECT device FROM conversation WHERE id = $1)))
             UNION ALL
             SELECT id FROM inbox
             WHERE conversation = $1 AND provider_message_id = $2
                 AND device = (SELECT device FROM conversation WHERE id = $1)
             LIMIT 1",
        )
        .bind(conversation.as_str())
        .bind(provider_id)
        .fetch_optional(&self.readers)
        .await?;
        Ok(row.map(|(id,)| id))
    }

    /// The provider's id of a message of this conversation, for showing an answer to it.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn provider_id(
        &self,
        conversation: &ConversationId,
        message: &MessageId,
    ) -> Result<Option<String>, Error> {
        let row: Option<(Option<String>,)> = sqlx::query_as(
            "SELECT provider_message_id FROM inbox WHERE id = $1 AND conversation = $2",
        )
        .bind(message.as_str())
        .bind(conversation.as_str())
        .fetch_optional(&self.readers)
        .await?;
        Ok(row.and_then(|(id,)| id))
    }
}

fn parse_cursor(cursor: &str) -> Option<(i64, String)> {
    let (at, id) = cursor.split_once(':')?;
    Some((at.parse().ok()?, id.to_owned()))
}

fn entry(row: PastRow) -> Result<HistoryEntry, Error> {
    let (author, content) = match row.author.as_str() {
        "plugin" => {
            let body: PartBody =
                serde_json::from_str(&row.body).map_err(|e| Error::corrupt("outbox.body", e))?;
            (Author::Plugin, sent_content(body.kind))
        }
        author => {
            let message: InboundMessage =
                serde_json::from_str(&row.body).map_err(|e| Error::corrupt("inbox.message", e))?;
            (
                if author == "human" {
                    Author::Human
                } else {
                    Author::Prospect
                },
                message.content,
            )
        }
    };
    Ok(HistoryEntry {
        id: row.id,
        at: Timestamp(row.at),
        author,
        content,
    })
}

/// What was sent, in the words of what comes in.
fn sent_content(kind: PartKind) -> Content {
    match kind {
        PartKind::Text { text } => Content::Text { text },
        PartKind::Media {
            media,
            url,
            caption,
            filename,
        } => {
            let file = Media {
                id: url,
                mime_type: String::new(),
                filename,
                caption,
                ext: vec![],
            };
            match media {
                MediaKind::Image => Content::Image(file),
                MediaKind::Audio => Content::Audio(file),
                MediaKind::Video => Content::Video(file),
                MediaKind::Document => Content::Document(file),
            }
        }
        other => {
            let kind = if matches!(other, PartKind::Buttons { .. }) {
                "buttons"
            } else {
                "reaction"
            };
            Content::Other {
                kind: kind.to_owned(),
                json: serde_json::to_string(&other).unwrap_or_default(),
            }
        }
    }
}
