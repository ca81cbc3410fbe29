//! What writes on the way of a message, one transaction after the other. Everything that waits goes into one, so that one fsync
//! serves it all.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use metrics::{counter, histogram};
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{Notify, oneshot};

use super::accept::{Accept, Accepted};
use super::checkpoint::{self, Checkpoints};
use super::failpoint;
use super::finish::{Finish, Finished};
use super::group::{Group, Notice};
use super::log_file;
use super::recover::{Recovered, recover};
use super::settle::Settle;
use super::sql;
use super::work::Decisions;
use super::{BUSY_TIMEOUT, DatabaseError, Error};
use crate::model::{Clock, Timestamp};

pub(super) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// Something to write.
pub(super) enum Op {
    Accept(Accept, Reply<Accepted>),
    Finish(Arc<Finish>, Reply<Finished>),
    Settle(Arc<Settle>, Reply<()>),
    Due(Reply<Option<Timestamp>>),
}

/// How far the host has come on its way down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Running,
    /// Nothing is claimed; what was decided still goes out.
    Draining,
    /// Nothing goes out.
    Halted,
}

/// The stage, as the host's handle sets it and the writer reads it.
#[derive(Debug, Default)]
pub(super) struct Stopping {
    draining: AtomicBool,
    halted: AtomicBool,
    #[cfg(feature = "failpoints")]
    gathering: std::sync::atomic::AtomicUsize,
}

impl Stopping {
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    pub(super) fn halt(&self) {
        self.halted.store(true, Ordering::SeqCst);
    }

    #[cfg(feature = "failpoints")]
    pub(super) fn gather(&self, operations: usize) {
        self.gathering.store(operations, Ordering::SeqCst);
    }

    /// How many operations the next group waits for; 0: for no more than one.
    #[cfg(feature = "failpoints")]
    pub(super) fn gathers(&self) -> usize {
        self.gathering.load(Ordering::SeqCst)
    }

    fn stage(&self) -> Stage {
        match (
            self.halted.load(Ordering::SeqCst),
            self.draining.load(Ordering::SeqCst),
        ) {
            (true, _) => Stage::Halted,
            (false, true) => Stage::Draining,
            (false, false) => Stage::Running,
        }
    }
}

/// The most operations in one transaction. Past this a group costs no less for each, and readers wait longer for it.
pub(super) const MAX_GROUP: usize = 256;

/// Whoever brings one operation may commit it itself while a commit takes no longer than this: it holds up its thread meanwhile, on which
/// others wait. A disk that takes longer is left to the thread that is there for it.
const QUICK: Duration = Duration::from_millis(2);

/// Commits of the writer.
const COMMITS: &str = "nodepath_store_commits_total";
/// Operations that went into one commit.
const GROUP: &str = "nodepath_store_group_operations";

/// Statements that stay prepared: all of the way of a message, with room for as many again.
const PREPARED: usize = 128;

/// Pages that the writer keeps in memory, in KiB: twice SQLite's own default. After a split of a page SQLite looks through all of them
/// (`pcache1TruncateUnsafe`), so a larger one costs more than it saves.
const CACHE_KIB: i64 = 4 << 10;

/// What the log keeps of the disk when it begins anew: as much as it takes at full load, since a file that grows makes each fsync slower.
const LOG_BYTES: i64 = 256 << 20;

pub(super) struct Writer {
    conn: Connection,
    path: PathBuf,
    clock: Clock,
    decisions: Decisions,
    stopping: Arc<Stopping>,
    due_changed: Arc<Notify>,
    checkpoints: Checkpoints,
    /// Whether the last commit was of one operation, and quick.
    is_quiet: bool,
}

impl Writer {
    /// Opens a connection of its own to a database that has its layout.
    pub(super) fn connect(
        path: &Path,
        clock: Clock,
        decisions: Decisions,
        stopping: Arc<Stopping>,
        due_changed: Arc<Notify>,
        checkpoints: Checkpoints,
    ) -> Result<Self, Error> {
        Ok(Self {
            conn: connect(path)?,
            path: path.to_owned(),
            clock,
            decisions,
            stopping,
            due_changed,
            checkpoints,
            // How long the disk takes is found out first.
            is_quiet: false,
        })
    }

    /// Takes up what the last host left.
    pub(super) fn recover(&mut self) -> Result<Recovered, Error> {
        recover(&mut self.conn, self.clock.now())
    }

    /// Closes the connection.
    pub(super) fn close(self) {
        if let Err((_, error)) = self.conn.close() {
            tracing::warn!(%error, "store: the writer's connection did not close cleanly");
        }
    }

    /// Whether so little is to be done that whoever brings an operation had better commit it itself.
    pub(super) fn is_quiet(&self) -> bool {
        self.is_quiet
    }

    /// Commits one operation, unless another process writes now or the connection is broken: nobody waits for that here. Then it is handed
    /// back.
    pub(super) fn work_at_once(&mut self, op: Op) -> Result<(), Op> {
        if !self.conn.is_autocommit() || self.conn.busy_timeout(Duration::ZERO).is_err() {
            self.is_quiet = false;
            return Err(op);
        }
        let done = self.commit(std::slice::from_ref(&op));
        if self.checkpoints.ask() {
            self.is_quiet = false;
        }
        if let Err(error) = self.conn.busy_timeout(BUSY_TIMEOUT) {
            tracing::error!(%error, "store: the writer would not wait for other processes any more");
        }
        match done {
            Ok(answers) => {
                reply_all(vec![op], answers);
                Ok(())
            }
            // Another process writes, or the rollback failed: that is for the thread, which may wait.
            Err(error) if is_busy(&error) || !self.conn.is_autocommit() => Err(op),
            Err(error) => {
                fail(op, error);
                Ok(())
            }
        }
    }

    /// Commits a group; if it fails, each operation by itself, so that a bad one fails alone. When the database itself is out of
    /// reach they all fail at once: each would only wait as long again, and whoever delivered it would not get an answer in time.
    /// Whoever waits has been answered when this returns.
    pub(super) fn work(&mut self, ops: Vec<Op>) {
        self.reconnect_if_broken();
        match self.commit(&ops) {
            Ok(answers) => reply_all(ops, answers),
            Err(error) if ops.len() == 1 || is_everybodys(&error) => fail_all(ops, error),
            Err(error) => {
                tracing::warn!(%error, operations = ops.len(), "store: a group failed and is tried one by one");
                for op in ops {
                    self.reconnect_if_broken();
                    match self.commit(std::slice::from_ref(&op)) {
                        Ok(answers) => reply_all(vec![op], answers),
                        Err(error) => fail(op, error),
                    }
                }
            }
        }
        if self.checkpoints.ask() {
            self.checkpoints.help(&self.conn);
        }
    }

    /// Commits, and hands on what was decided.
    fn commit(&mut self, ops: &[Op]) -> Result<Vec<Answer>, Error> {
        let (now, started) = (self.clock.now(), Instant::now());
        let stage = self.stopping.stage();
        let result = transaction(&mut self.conn, ops, now, stage);
        self.is_quiet = ops.len() == 1 && started.elapsed() <= QUICK;
        let (answers, notices) = match result {
            Ok(done) => done,
            Err(error) => {
                log_file::discard(&self.conn);
                self.is_quiet = false;
                return Err(error);
            }
        };
        counter!(COMMITS).increment(1);
        histogram!(GROUP).record(ops.len() as f64);
        let mut locks = Vec::new();
        for notice in notices {
            match notice {
                Notice::Lock(event) => locks.push(event),
                Notice::DueChanged => self.due_changed.notify_one(),
                Notice::Work(work) => self.decisions.work(work),
            }
        }
        // Work comes first: it waits for no line of the log.
        locks
            .into_iter()
            .for_each(|event| self.decisions.lock(event));
        failpoint::told(ops);
        Ok(answers)
    }

    /// A connection whose rollback failed would refuse every later transaction.
    fn reconnect_if_broken(&mut self) {
        if self.conn.is_autocommit() {
            return;
        }
        match connect(&self.path) {
            Ok(conn) => self.conn = conn,
            Err(error) => {
                tracing::error!(%error, "store: the writer can't reconnect to the database")
            }
        }
    }
}

fn connect(path: &Path) -> Result<Connection, Error> {
    ready(log_file::open(path, sql::OPEN)?)
}

/// Sets a connection up, and refuses one that can't write. Where a file can't be written, SQLite opens it for reading only and says
/// nothing; such a connection would go on refusing when the file can be written again.
fn ready(conn: Connection) -> Result<Connection, Error> {
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_prepared_statement_cache_capacity(PREPARED);
    conn.pragma_update(None, "foreign_keys", "ON")?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    // After a burst the log is cut back, once all of it is in the database.
    conn.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
    checkpoint::watch(&conn);
    conn.execute("DELETE FROM conversation WHERE false", [])?;
    Ok(conn)
}

/// What an operation is told.
pub(super) enum Answer {
    Accepted(Result<Accepted, Error>),
    Finished(Finished),
    Settled,
    Due(Option<Timestamp>),
}

fn transaction(
    conn: &mut Connection,
    ops: &[Op],
    now: Timestamp,
    stage: Stage,
) -> Result<(Vec<Answer>, Vec<Notice>), Error> {
    // IMMEDIATE: the write lock is taken before anything is read, so what a group has read stays true.
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut group = Group::load(&tx, ops, now, stage)?;
    failpoint::begun(ops);
    let mut answers = Vec::with_capacity(ops.len());
    for (i, op) in ops.iter().enumerate() {
        answers.push(match op {
            Op::Accept(accept, _) => Answer::Accepted(match group.accept(i, accept) {
                // It has written nothing. After any other error nothing of the group may stay.
                Err(error @ Error::NotFound { what: "device", .. }) => Err(error),
                accepted => Ok(accepted?),
            }),
            Op::Finish(finish, _) => Answer::Finished(group.finish(finish)?),
            Op::Settle(settle, _) => {
                group.settle(settle)?;
                Answer::Settled
            }
            Op::Due(_) => Answer::Due(None),
        });
    }
    let due = ops.iter().any(|op| matches!(op, Op::Due(_)));
    if due {
        group.due();
    }
    let notices = group.flush(&tx)?;
    if due {
        let next = super::due::next_due(&tx, now)?;
        for answer in &mut answers {
            if let Answer::Due(at) = answer {
                *at = next;
            }
        }
    }
    failpoint::written(ops);
    tx.commit()?;
    failpoint::committed(ops);
    Ok((answers, notices))
}

/// A caller that has gone away needs no answer; what it brought is committed all the same.
fn reply_all(ops: Vec<Op>, answers: Vec<Answer>) {
    for (op, answer) in ops.into_iter().zip(answers) {
        match (op, answer) {
            (Op::Accept(_, reply), Answer::Accepted(answer)) => drop(reply.send(answer)),
            (Op::Finish(_, reply), Answer::Finished(answer)) => drop(reply.send(Ok(answer))),
            (Op::Settle(_, reply), Answer::Settled) => drop(reply.send(Ok(()))),
            (Op::Due(reply), Answer::Due(at)) => drop(reply.send(Ok(at))),
            _ => tracing::error!("store: an answer does not fit its operation"),
        }
    }
}

/// Whether an error is the database's and not an operation's: it is locked by another program, full, broken or gone.
fn is_everybodys(error: &Error) -> bool {
    /// BUSY, LOCKED, READONLY, IOERR, CORRUPT, FULL, CANTOPEN and NOTADB (sqlite.org/rescode.html); the extended codes have
    /// them in their lowest byte.
    const CODES: [i32; 8] = [5, 6, 8, 10, 11, 13, 14, 26];
    sqlite_error(error).is_some_and(|error| CODES.contains(&(error.extended_code & 0xff)))
}

/// Whether another process writes now.
fn is_busy(error: &Error) -> bool {
    sqlite_error(error).is_some_and(|error| error.code == rusqlite::ErrorCode::DatabaseBusy)
}

/// What SQLite said to the writer.
fn sqlite_error(error: &Error) -> Option<&rusqlite::ffi::Error> {
    match error {
        Error::Database(DatabaseError::Writer(error)) => error.sqlite_error(),
        _ => None,
    }
}

fn fail_all(ops: Vec<Op>, error: Error) {
    let words = match &error {
        Error::Database(error) => error.to_string(),
        error => error.to_string(),
    };
    let mut ops = ops.into_iter();
    if let Some(first) = ops.next() {
        fail(first, error);
    }
    for op in ops {
        fail(op, DatabaseError::Shared(words.clone()).into());
    }
}

fn fail(op: Op, error: Error) {
    match op {
        Op::Accept(_, reply) => drop(reply.send(Err(error))),
        Op::Finish(_, reply) => drop(reply.send(Err(error))),
        Op::Settle(_, reply) => drop(reply.send(Err(error))),
        Op::Due(reply) => drop(reply.send(Err(error))),
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::OpenFlags;

    use super::*;
    use crate::store::Store;

    #[tokio::test]
    async fn a_connection_that_can_only_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nodepath.db");
        let store = Store::open(&path, Clock::System, None).await.unwrap();
        assert!(connect(&path).is_ok());
        let reading = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY);
        assert!(is_everybodys(&ready(reading.unwrap()).unwrap_err()));
        store.close().await;
    }
}
