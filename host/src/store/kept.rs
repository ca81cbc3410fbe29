//! What plugins keep: values, timers and tags, written with the turn that decided them.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use sqlx::sqlite::SqliteConnection;

use super::Error;
use super::finish::{Commit, StateChange, StateWrite, TimerWrite, TurnEnd, scope_owner};
use super::group::Group;
use super::rows::{Row, json_rows};
use super::writer::Op;
use crate::model::effect::incremented;

type Key = (String, &'static str, String, String);

/// What all the changes of a group come to for one value.
enum Sum {
    Set {
        value: Vec<u8>,
        expires_at: Option<i64>,
    },
    Delete,
}

#[derive(Serialize)]
struct KeptRow<'a> {
    tenant: &'a str,
    scope: &'a str,
    owner: &'a str,
    key: &'a str,
    /// In hexadecimal on its way through JSON.
    value: Option<String>,
    expires_at: Option<i64>,
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
        let writes = std::mem::take(&mut self.changes.state);
        let added: Vec<_> = writes
            .iter()
            .filter(|w| matches!(w.change, StateChange::Add(_)))
            .map(key_of)
            .collect();
        let mut current = load_values(conn, &added, self.now.0).await?;
        let mut sums: BTreeMap<Key, Sum> = BTreeMap::new();
        for write in writes {
            let key = key_of(&write);
            let sum = match write.change {
                StateChange::Set { value, expires_at } => Sum::Set { value, expires_at },
                StateChange::Delete => Sum::Delete,
                StateChange::Add(by) => {
                    let (value, expires_at) = match sums.remove(&key) {
                        Some(Sum::Set { value, expires_at }) => (Some(value), expires_at),
                        Some(Sum::Delete) => (None, None),
                        None => current
                            .remove(&key)
                            .map_or((None, None), |(value, at)| (Some(value), at)),
                    };
                    Sum::Set {
                        value: incremented(value.as_deref(), by),
                        expires_at,
                    }
                }
            };
            sums.insert(key, sum);
        }
        for (is_set, sql) in [(true, SET_STATE), (false, DELETE_STATE)] {
            let chosen = sums
                .iter()
                .filter(|(_, sum)| matches!(sum, Sum::Set { .. }) == is_set);
            let rows: Vec<_> = chosen.map(|(key, sum)| kept_row(key, sum)).collect();
            if !rows.is_empty() {
                sqlx::query(sql)
                    .bind(json_rows(&rows)?)
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

/// The values that are added to.
async fn load_values(
    conn: &mut SqliteConnection,
    keys: &[Key],
    now: i64,
) -> Result<HashMap<Key, (Vec<u8>, Option<i64>)>, Error> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(i64, Vec<u8>, Option<i64>)> = sqlx::query_as(
        "SELECT t.key, s.value, s.expires_at FROM json_each($1) AS t
         JOIN plugin_state AS s ON s.tenant = t.value ->> 0 AND s.scope = t.value ->> 1 AND s.owner = t.value ->> 2
             AND s.key = t.value ->> 3
         WHERE s.expires_at IS NULL OR s.expires_at > $2",
    )
    .bind(json_rows(keys)?)
    .bind(now)
    .fetch_all(conn)
    .await?;
    let named = |(i, value, at): (i64, Vec<u8>, Option<i64>)| {
        let key = usize::try_from(i).ok().and_then(|i| keys.get(i))?;
        Some((key.clone(), (value, at)))
    };
    Ok(rows.into_iter().filter_map(named).collect())
}

fn kept_row<'a>((tenant, scope, owner, key): &'a Key, sum: &Sum) -> KeptRow<'a> {
    let (value, expires_at) = match sum {
        Sum::Set { value, expires_at } => (Some(hex::encode(value)), *expires_at),
        Sum::Delete => (None, None),
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
        version,
    }
}

const SET_STATE: &str = "
INSERT INTO plugin_state (tenant, scope, owner, key, value, version, expires_at)
SELECT value ->> 'tenant', value ->> 'scope', value ->> 'owner', value ->> 'key', unhex(value ->> 'value'),
    value ->> 'version', value ->> 'expires_at'
FROM json_each($1) WHERE true
ON CONFLICT (tenant, scope, owner, key) DO UPDATE
SET value = excluded.value, version = excluded.version, expires_at = excluded.expires_at";

const DELETE_STATE: &str = "
DELETE FROM plugin_state WHERE (tenant, scope, owner, key) IN (
    SELECT value ->> 'tenant', value ->> 'scope', value ->> 'owner', value ->> 'key' FROM json_each($1))";
