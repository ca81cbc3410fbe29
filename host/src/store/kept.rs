//! What plugins keep: values, timers and tags, written with the turn that decided them.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::Error;
use super::finish::{Commit, StateChange, StateWrite, TimerWrite, TurnEnd, scope_owner};
use super::group::Group;
use super::rows::Row;
use super::sql;
use super::writer::Op;
use crate::model::effect::incremented;

type Key = (String, &'static str, String, String);

/// A value, and when it expires.
type Value = (Vec<u8>, Option<i64>);

/// What all the changes of a group come to for one value.
enum Sum {
    Set {
        value: Vec<u8>,
        expires_at: Option<i64>,
    },
    Delete,
}

impl Group {
    /// Loads the versions of what the group's turns have read of wider scopes.
    pub(super) fn load_versions(&mut self, conn: &Connection, ops: &[Op]) -> Result<(), Error> {
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
        for key in keys {
            let (tenant, scope, owner, name) = &key;
            let version = sql::query_one(
                conn,
                "SELECT version FROM plugin_state WHERE tenant = ?1 AND scope = ?2 AND owner = ?3 AND key = ?4
                     AND (expires_at IS NULL OR expires_at > ?5)",
                params![tenant, scope, owner, name, self.now.0],
                |row| row.get(0),
            )?;
            self.versions.insert(key, version.unwrap_or(0));
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

    pub(super) fn flush_kept(&mut self, conn: &Connection) -> Result<(), Error> {
        self.flush_state(conn)?;
        self.flush_timers(conn)?;
        self.flush_tags(conn)
    }

    fn flush_state(&mut self, conn: &Connection) -> Result<(), Error> {
        let mut sums: BTreeMap<Key, Sum> = BTreeMap::new();
        for write in std::mem::take(&mut self.changes.state) {
            let key = key_of(&write);
            let sum = match write.change {
                StateChange::Set { value, expires_at } => Sum::Set { value, expires_at },
                StateChange::Delete => Sum::Delete,
                StateChange::Add(by) => {
                    let (value, expires_at) = match sums.remove(&key) {
                        Some(Sum::Set { value, expires_at }) => (Some(value), expires_at),
                        Some(Sum::Delete) => (None, None),
                        None => load_value(conn, &key, self.now.0)?
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
        for (key, sum) in &sums {
            write_value(conn, key, sum)?;
        }
        Ok(())
    }

    /// In the order in which they were asked for: a timer that fired may be set again by its own turn.
    fn flush_timers(&mut self, conn: &Connection) -> Result<(), Error> {
        for write in std::mem::take(&mut self.changes.timers) {
            match write {
                TimerWrite::Set { id, conversation, name, due, payload } => sql::execute(
                    conn,
                    "INSERT INTO timer (id, conversation, name, due, payload) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (conversation, name) DO UPDATE
                     SET id = excluded.id, due = excluded.due, payload = excluded.payload",
                    params![id, conversation, name, due, payload],
                ),
                TimerWrite::Cancel { conversation, name } => sql::execute(
                    conn,
                    "DELETE FROM timer WHERE conversation = ?1 AND name = ?2",
                    params![conversation, name],
                ),
                TimerWrite::Fired { id } => sql::execute(conn, "DELETE FROM timer WHERE id = ?1", [id]),
            }?;
        }
        Ok(())
    }

    fn flush_tags(&mut self, conn: &Connection) -> Result<(), Error> {
        for tag in std::mem::take(&mut self.changes.tags) {
            match tag.value {
                Some(value) => sql::execute(
                    conn,
                    "INSERT INTO tag (conversation, key, value) VALUES (?1, ?2, ?3)
                     ON CONFLICT (conversation, key) DO UPDATE SET value = excluded.value",
                    params![tag.conversation, tag.key, value],
                ),
                None => sql::execute(
                    conn,
                    "DELETE FROM tag WHERE conversation = ?1 AND key = ?2",
                    params![tag.conversation, tag.key],
                ),
            }?;
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

/// A value that is added to.
fn load_value(
    conn: &Connection,
    (tenant, scope, owner, key): &Key,
    now: i64,
) -> Result<Option<Value>, Error> {
    sql::query_one(
        conn,
        "SELECT value, expires_at FROM plugin_state WHERE tenant = ?1 AND scope = ?2 AND owner = ?3 AND key = ?4
             AND (expires_at IS NULL OR expires_at > ?5)",
        params![tenant, scope, owner, key, now],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )
}

fn write_value(
    conn: &Connection,
    (tenant, scope, owner, key): &Key,
    sum: &Sum,
) -> Result<usize, Error> {
    match sum {
        Sum::Set { value, expires_at } => {
            // Compared, never counted: a value that was deleted and set again has another one. 0 is for no value.
            let version = rand::random::<i64>() | 1;
            sql::execute(
                conn,
                "INSERT INTO plugin_state (tenant, scope, owner, key, value, version, expires_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (tenant, scope, owner, key) DO UPDATE
                 SET value = excluded.value, version = excluded.version, expires_at = excluded.expires_at",
                params![tenant, scope, owner, key, value, version, expires_at],
            )
        }
        Sum::Delete => sql::execute(
            conn,
            "DELETE FROM plugin_state WHERE tenant = ?1 AND scope = ?2 AND owner = ?3 AND key = ?4",
            params![tenant, scope, owner, key],
        ),
    }
}
