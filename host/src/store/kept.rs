//! What plugins keep: values, timers and tags, written with the turn that decided them.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use sqlx::sqlite::SqliteConnection;

use super::Error;
use super::finish::{Commit, StateChange, StateWrite, TimerWrite, TurnEnd, scope_owner};
use super::group::Group;
use super::rows::{Row, json_rows};
use super::writer::Op;

type Key = (String, &'static str, String, String);

/// What all the changes of a group come to for one value.
enum Sum {
    Set {
        value: String,
        expires_at: Option<i64>,
    },
    Delete,
    /// Added to whatever the database has.
    Add(i64),
}

#[derive(Serialize)]
struct KeptRow<'a> {
    tenant: &'a str,
    scope: &'a str,
    owner: &'a str,
    key: &'a str,
    value: Option<&'a str>,
    expires_at: Option<i64>,
    by: i64,
    version: i64,
}

impl Group {
    /// Loads the versions of what the group's turns have read of wider scopes.
    pub(super) async fn load_versions(
        &mut self,
        conn: &mut SqliteConnection,
        ops: &[Op],
    ) -> Result<(), Error> {
        let mut keys = Vec::new();
        for op in ops {
            let Op::Finish(finish, _) = op else { continue };
            let (TurnEnd::Commit(commit), Some(entry)) = (
                &finish.end,
                self.rows.get(finish.lock.conversation.as_str()),
            ) else {
                continue;
            };
            keys.extend(observed_keys(&entry.row, commit).map(|(key, _)| key));
        }
        if keys.is_empty() {
            return Ok(());
        }
        let found: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT t.key, s.version FROM json_each($1) AS t
             JOIN plugin_state AS s ON s.tenant = t.value ->> 0 AND s.scope = t.value ->> 1 AND s.owner = t.value ->> 2
                 AND s.key = t.value ->> 3
             WHERE s.expires_at IS NULL OR s.expires_at > $2",
        )
        .bind(json_rows(&keys)?)
        .bind(self.now.0)
        .fetch_all(conn)
        .await?;
        let found: HashMap<_, _> = found.into_iter().collect();
        for (i, key) in (0..).zip(keys) {
            self.versions
                .insert(key, found.get(&i).copied().unwrap_or(0));
        }
        Ok(())
    }

    /// Whether another conversation has changed what this turn has read.
    pub(super) fn is_outdated(&self, row: &Row, commit: &Commit) -> bool {
        observed_keys(row, commit).any(|(key, version)| {
            let written_in_this_group = self.changes.state.iter().any(|w| key_of(w) == key);
            written_in_this_group || self.versions.get(&key).is_some_and(|now| *now != version)
        })
    }

    pub(super) async fn flush_kept(&mut self, conn: &mut SqliteConnection) -> Result<(), Error> {
        self.flush_state(conn).await?;
        self.flush_timers(conn).await?;
        self.flush_tags(conn).await
    }

    async fn flush_state(&mut self, conn: &mut SqliteConnection) -> Result<(), Error> {
        let mut sums: BTreeMap<Key, Sum> = BTreeMap::new();
        for write in std::mem::take(&mut self.changes.state) {
            let key = key_of(&write);
            let sum = match (write.change, sums.remove(&key)) {
                (StateChange::Set { value, expires_at }, _) => Sum::Set { value, expires_at },
                (StateChange::Delete, _) => Sum::Delete,
                (StateChange::Add(by), None) => Sum::Add(by),
                (StateChange::Add(by), Some(Sum::Add(before))) => {
                    Sum::Add(before.saturating_add(by))
                }
                (StateChange::Add(by), Some(Sum::Delete)) => Sum::Set {
                    value: decimal(by),
                    expires_at: None,
                },
                (StateChange::Add(by), Some(Sum::Set { value, expires_at })) => Sum::Set {
                    value: decimal(number(&value).saturating_add(by)),
                    expires_at,
                },
            };
            sums.insert(key, sum);
        }
        let rows: Vec<_> = sums.iter().map(|(key, sum)| kept_row(key, sum)).collect();
        let of = |wanted: fn(&Sum) -> bool| -> Result<Option<String>, Error> {
            let chosen: Vec<_> = sums
                .values()
                .zip(&rows)
                .filter(|(sum, _)| wanted(sum))
                .map(|(_, row)| row)
                .collect();
            if chosen.is_empty() {
                Ok(None)
            } else {
                json_rows(&chosen).map(Some)
            }
        };
        for (rows, sql) in [
            (of(|s| matches!(s, Sum::Set { .. }))?, SET_STATE),
            (of(|s| matches!(s, Sum::Delete))?, DELETE_STATE),
            (of(|s| matches!(s, Sum::Add(_)))?, ADD_STATE),
        ] {
            if let Some(rows) = rows {
                sqlx::query(sql)
                    .bind(rows)
                    .bind(self.now.0)
                    .execute(&mut *conn)
                    .await?;
            }
        }
        Ok(())
    }

    /// In the order in which they were asked for: a timer that fired may be set again by its own turn.
    async fn flush_timers(&mut self, conn: &mut SqliteConnection) -> Result<(), Error> {
        for write in std::mem::take(&mut self.changes.timers) {
            match write {
                TimerWrite::Set { id, conversation, name, due, payload } => sqlx::query(
                    "INSERT INTO timer (id, conversation, name, due, payload) VALUES ($1, $2, $3, $4, unhex($5))
                     ON CONFLICT (conversation, name) DO UPDATE
                     SET id = excluded.id, due = excluded.due, payload = excluded.payload",
                )
                .bind(id)
                .bind(conversation)
                .bind(name)
                .bind(due)
                .bind(payload),
                TimerWrite::Cancel { conversation, name } => {
                    sqlx::query("DELETE FROM timer WHERE conversation = $1 AND name = $2").bind(conversation).bind(name)
                }
                TimerWrite::Fired { id } => sqlx::query("DELETE FROM timer WHERE id = $1").bind(id),
            }
            .execute(&mut *conn)
            .await?;
        }
        Ok(())
    }

    async fn flush_tags(&mut self, conn: &mut SqliteConnection) -> Result<(), Error> {
        for tag in std::mem::take(&mut self.changes.tags) {
            match tag.value {
                Some(value) => sqlx::query(
                    "INSERT INTO tag (conversation, key, value) VALUES ($1, $2, $3)
                     ON CONFLICT (conversation, key) DO UPDATE SET value = excluded.value",
                )
                .bind(tag.conversation)
                .bind(tag.key)
                .bind(value),
                None => sqlx::query("DELETE FROM tag WHERE conversation = $1 AND key = $2")
                    .bind(tag.conversation)
                    .bind(tag.key),
            }
            .execute(&mut *conn)
            .await?;
        }
        Ok(())
    }
}

fn observed_keys<'a>(row: &'a Row, commit: &'a Commit) -> impl Iterator<Item = (Key, i64)> + 'a {
    commit.observed.iter().map(|o| {
        let owner = scope_owner(o.scope, &row.id, &row.prospect);
        (
            (row.tenant.clone(), o.scope.as_str(), owner, o.key.clone()),
            o.version,
        )
    })
}

fn key_of(write: &StateWrite) -> Key {
    (
        write.tenant.clone(),
        write.scope,
        write.owner.clone(),
        write.key.clone(),
    )
}

fn kept_row<'a>((tenant, scope, owner, key): &'a Key, sum: &'a Sum) -> KeptRow<'a> {
    let (value, expires_at, by) = match sum {
        Sum::Set { value, expires_at } => (Some(value.as_str()), *expires_at, 0),
        Sum::Delete => (None, None, 0),
        Sum::Add(by) => (None, None, *by),
    };
    // Compared, never counted: a value that was deleted and set again has another one. 0 is for no value.
    let version = rand::random::<i64>() | 1;
    KeptRow {
        tenant,
        scope,
        owner,
        key,
        value,
        expires_at,
        by,
        version,
    }
}

/// A number as it is kept: decimal text, in hexadecimal.
fn decimal(n: i64) -> String {
    hex::encode(n.to_string())
}

/// What is no number counts as 0, as the contract says.
fn number(hexadecimal: &str) -> i64 {
    let text = hex::decode(hexadecimal)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

const SET_STATE: &str = "
INSERT INTO plugin_state (tenant, scope, owner, key, value, version, expires_at)
SELECT value ->> 'tenant', value ->> 'scope', value ->> 'owner', value ->> 'key', unhex(value ->> 'value'),
    value ->> 'version', value ->> 'expires_at'
FROM json_each($1) WHERE $2 IS NOT NULL
ON CONFLICT (tenant, scope, owner, key) DO UPDATE
SET value = excluded.value, version = excluded.version, expires_at = excluded.expires_at";

const DELETE_STATE: &str = "
DELETE FROM plugin_state WHERE (tenant, scope, owner, key) IN (
    SELECT value ->> 'tenant', value ->> 'scope', value ->> 'owner', value ->> 'key'
    FROM json_each($1) WHERE $2 IS NOT NULL)";

const ADD_STATE: &str = "
INSERT INTO plugin_state (tenant, scope, owner, key, value, version)
SELECT value ->> 'tenant', value ->> 'scope', value ->> 'owner', value ->> 'key',
    CAST(CAST(value ->> 'by' AS TEXT) AS BLOB), value ->> 'version'
FROM json_each($1) WHERE true
ON CONFLICT (tenant, scope, owner, key) DO UPDATE
SET value = CAST(CAST(
        CASE WHEN plugin_state.expires_at <= $2 THEN 0 ELSE CAST(CAST(plugin_state.value AS TEXT) AS INTEGER) END
        + CAST(CAST(excluded.value AS TEXT) AS INTEGER) AS TEXT) AS BLOB),
    version = excluded.version,
    expires_at = CASE WHEN plugin_state.expires_at <= $2 THEN NULL ELSE plugin_state.expires_at END";
