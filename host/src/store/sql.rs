//! How the writer runs its statements: one after the other, on the thread that commits, each prepared once.
//!
//! A message costs about twenty statements. Through a pool each of them is handed to a thread and awaited, which costs more than the
//! statement; here it is a call. What is asked for in a group is asked row by row, since a prepared statement with plain parameters is
//! several times cheaper than one that takes a set apart with `json_each`.

use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, Params, Row};

use super::Error;
use super::rows::StateWord;
use crate::model::overlap::State;

/// How a connection to a database that is there is opened. One thread at a time uses it, so SQLite need not lock it for each call.
pub(super) const OPEN: OpenFlags =
    OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// All rows of a query.
pub(super) fn query<T>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, Error> {
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map(params, read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The first row of a query.
pub(super) fn query_one<T>(
    conn: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, Error> {
    Ok(query(conn, sql, params, read)?.into_iter().next())
}

/// Runs a statement, and answers how many rows it changed.
pub(super) fn execute(conn: &Connection, sql: &str, params: impl Params) -> Result<usize, Error> {
    Ok(conn.prepare_cached(sql)?.execute(params)?)
}

/// Takes the columns of a row one after the other, so that they are in one place only: where they are listed.
pub(super) struct Columns<'a, 'stmt> {
    row: &'a Row<'stmt>,
    next: usize,
}

impl<'a, 'stmt> Columns<'a, 'stmt> {
    pub(super) fn of(row: &'a Row<'stmt>) -> Self {
        Self { row, next: 0 }
    }

    pub(super) fn take<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        let at = self.next;
        self.next += 1;
        self.row.get(at)
    }
}

impl FromSql for StateWord {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let word = value.as_str()?;
        State::from_word(word)
            .map(Self)
            .ok_or_else(|| rusqlite::types::FromSqlError::Other(format!("the state {word}").into()))
    }
}

impl ToSql for StateWord {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.as_str().into())
    }
}
