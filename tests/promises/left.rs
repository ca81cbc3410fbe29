//! The database that a host has left, as the rules look at it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use nodepath::model::device::{DeviceSettings, UnknownPolicy};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _, FromRow};

/// A conversation.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) device: String,
    pub(crate) prospect: String,
    pub(crate) state: String,
    pub(crate) owner: Option<String>,
    pub(crate) ready_at: Option<i64>,
}

/// A message that came in.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) seq: i64,
    pub(crate) device: String,
    pub(crate) conversation: Option<String>,
    pub(crate) provider_message_id: Option<String>,
    pub(crate) state: String,
    pub(crate) reason: Option<String>,
    pub(crate) turn: Option<String>,
    pub(crate) received_at: i64,
    pub(crate) settled_at: Option<i64>,
}

/// A try of a turn; `place` is its place among those that were written.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct Turn {
    pub(crate) id: String,
    pub(crate) place: i64,
    pub(crate) conversation: String,
    pub(crate) epoch: i64,
    pub(crate) outcome: String,
    pub(crate) started_at: i64,
    pub(crate) finished_at: i64,
}

/// A part of a reply.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct Part {
    pub(crate) id: String,
    pub(crate) conversation: String,
    pub(crate) device: String,
    pub(crate) turn: String,
    pub(crate) idx: i64,
    pub(crate) body: String,
    pub(crate) state: String,
    pub(crate) attempts: i64,
    pub(crate) error: Option<String>,
}

impl Part {
    /// Its words, if it has any.
    pub(crate) fn text(&self) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        let words = body.get("text").or_else(|| body.get("caption"));
        words
            .and_then(|w| w.as_str())
            .unwrap_or_default()
            .to_owned()
    }

    /// Whether it is still to go out.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state.as_str(), "queued" | "sending" | "unknown")
    }
}

/// How a device wants its conversations to be run.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    pub(crate) settings: DeviceSettings,
}

impl Policy {
    pub(crate) fn resends(&self) -> bool {
        self.settings.unknown == UnknownPolicy::Resend
    }
}

/// All of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Left {
    pub(crate) conversations: Vec<Row>,
    pub(crate) inbox: Vec<Message>,
    pub(crate) turns: Vec<Turn>,
    pub(crate) outbox: Vec<Part>,
    pub(crate) devices: BTreeMap<String, Policy>,
    /// What people sent again by hand.
    pub(crate) replayed: BTreeSet<String>,
    /// Conversations whose locks people have taken away.
    pub(crate) unlocked: BTreeSet<String>,
    /// What SQLite finds wrong with the file.
    pub(crate) damage: Vec<String>,
}

impl Left {
    /// Reads a database, which a host may have open.
    pub(crate) async fn read(database: &Path) -> Result<Self, sqlx::Error> {
        let options = SqliteConnectOptions::new().filename(database);
        let mut conn = options.connect().await?;
        let mut tx = conn.begin().await?;
        let left = Self::read_all(&mut tx).await;
        tx.rollback().await?;
        conn.close().await?;
        left
    }

    /// Whether nothing is under way in a database, which a host may have open.
    pub(crate) async fn is_calm(database: &Path) -> Result<bool, sqlx::Error> {
        let options = SqliteConnectOptions::new().filename(database);
        let mut conn = options.connect().await?;
        let busy: i64 = sqlx::query_scalar(
            "SELECT (SELECT COUNT(*) FROM conversation WHERE state <> 'idle')
                  + (SELECT COUNT(*) FROM outbox WHERE state IN ('queued', 'sending', 'unknown'))
                  + (SELECT COUNT(*) FROM inbox WHERE state = 'pending')",
        )
        .fetch_one(&mut conn)
        .await?;
        conn.close().await?;
        Ok(busy == 0)
    }

    async fn read_all(conn: &mut SqliteConnection) -> Result<Self, sqlx::Error> {
        let mut left = Self {
            conversations: sqlx::query_as(
                "SELECT id, device, prospect, state, owner, ready_at FROM conversation ORDER BY id",
            )
            .fetch_all(&mut *conn)
            .await?,
            inbox: sqlx::query_as("SELECT * FROM inbox ORDER BY seq")
                .fetch_all(&mut *conn)
                .await?,
            turns: sqlx::query_as("SELECT *, rowid AS place FROM turn ORDER BY rowid")
                .fetch_all(&mut *conn)
                .await?,
            outbox: sqlx::query_as("SELECT * FROM outbox ORDER BY turn, idx")
                .fetch_all(&mut *conn)
                .await?,
            ..Self::default()
        };
        let devices: Vec<(String, String)> = sqlx::query_as("SELECT id, settings FROM device")
            .fetch_all(&mut *conn)
            .await?;
        for (id, settings) in devices {
            let settings = serde_json::from_str(&settings)
                .map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
            left.devices.insert(id, Policy { settings });
        }
        let by_hand: Vec<(String, String)> = sqlx::query_as("SELECT action, subject FROM audit")
            .fetch_all(&mut *conn)
            .await?;
        for (action, subject) in by_hand {
            match action.as_str() {
                "dead.replay" => left.replayed.insert(subject),
                "conversation.unlock" => left.unlocked.insert(subject),
                _ => continue,
            };
        }
        let damage: Vec<(String,)> = sqlx::query_as("PRAGMA integrity_check(5)")
            .fetch_all(conn)
            .await?;
        let words = damage.into_iter().map(|(line,)| line);
        left.damage = words.filter(|line| line != "ok").collect();
        Ok(left)
    }
}
