//! The one task that writes on the way of a message. Everything that waits for it goes into one transaction, so that one
//! fsync, and one run of each statement, serves them all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::{Notify, mpsc, oneshot};

use super::Error;
use super::accept::{Accept, Accepted};
use super::failpoint;
use super::finish::{Finish, Finished};
use super::group::{Group, Notice};
use super::host::Work;
use super::observe;
use super::settle::Settle;
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
}

impl Stopping {
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    pub(super) fn halt(&self) {
        self.halted.store(true, Ordering::SeqCst);
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
const MAX_GROUP: usize = 256;

pub(super) struct Writer {
    conn: SqliteConnection,
    options: SqliteConnectOptions,
    clock: Clock,
    work: mpsc::UnboundedSender<Work>,
    stopping: Arc<Stopping>,
    due_changed: Arc<Notify>,
}

impl Writer {
    pub(super) async fn connect(
        options: &SqliteConnectOptions,
        clock: Clock,
        work: mpsc::UnboundedSender<Work>,
        stopping: Arc<Stopping>,
        due_changed: Arc<Notify>,
    ) -> Result<Self, Error> {
        Ok(Self {
            conn: connect(options).await?,
            options: options.clone(),
            clock,
            work,
            stopping,
            due_changed,
        })
    }

    /// Runs until every sender is gone and the queue is empty.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Op>) {
        let mut ops = Vec::with_capacity(MAX_GROUP);
        while queue.recv_many(&mut ops, MAX_GROUP).await > 0 {
            self.work_once(std::mem::take(&mut ops)).await;
        }
        if let Err(error) = self.conn.close().await {
            tracing::warn!(%error, "store: the writer's connection did not close cleanly");
        }
    }

    /// Commits a group; if it fails, each operation by itself, so that a bad one fails alone. When the database itself is out of
    /// reach they all fail at once: each would only wait as long again, and whoever delivered it would not get an answer in time.
    async fn work_once(&mut self, ops: Vec<Op>) {
        match self.commit(&ops).await {
            Ok(answers) => reply_all(ops, answers),
            Err(error) if ops.len() == 1 || is_everybodys(&error) => fail_all(ops, error),
            Err(error) => {
                tracing::warn!(%error, operations = ops.len(), "store: a group failed and is tried one by one");
                for op in ops {
                    match self.commit(std::slice::from_ref(&op)).await {
                        Ok(answers) => reply_all(vec![op], answers),
                        Err(error) => fail(op, error),
                    }
                }
            }
        }
    }

    async fn commit(&mut self, ops: &[Op]) -> Result<Vec<Answer>, Error> {
        let now = self.clock.now();
        let stage = self.stopping.stage();
        let result = transaction(&mut self.conn, ops, now, stage).await;
        let (answers, notices) = match result {
            Ok(done) => done,
            Err(error) => {
                self.reconnect_if_broken().await;
                return Err(error);
            }
        };
        for notice in notices {
            match notice {
                Notice::Lock(event) => observe::lock(&event),
                Notice::DueChanged => self.due_changed.notify_one(),
                // Nobody takes work any more once the host stops; the next start finds it in the rows.
                Notice::Work(work) => drop(self.work.send(work)),
            }
        }
        failpoint::told(ops);
        Ok(answers)
    }

    /// A connection whose rollback failed would refuse every later transaction.
    async fn reconnect_if_broken(&mut self) {
        if self.conn.ping().await.is_ok() && !self.conn.is_in_transaction() {
            return;
        }
        match connect(&self.options).await {
            Ok(conn) => self.conn = conn,
            Err(error) => {
                tracing::error!(%error, "store: the writer can't reconnect to the database")
            }
        }
    }
}

/// A connection that can write. Where a file can't be written, SQLite opens it for reading only and says nothing; such a connection
/// would go on refusing when the file can be written again.
async fn connect(options: &SqliteConnectOptions) -> Result<SqliteConnection, sqlx::Error> {
    let mut conn = options.connect().await?;
    sqlx::query("DELETE FROM conversation WHERE false")
        .execute(&mut conn)
        .await?;
    Ok(conn)
}

/// What an operation is told.
pub(super) enum Answer {
    Accepted(Result<Accepted, Error>),
    Finished(Finished),
    Settled,
    Due(Option<Timestamp>),
}

async fn transaction(
    conn: &mut SqliteConnection,
    ops: &[Op],
    now: Timestamp,
    stage: Stage,
) -> Result<(Vec<Answer>, Vec<Notice>), Error> {
    // IMMEDIATE: the write lock is taken before anything is read, so what a group has read stays true.
    let mut tx = conn.begin_with("BEGIN IMMEDIATE").await?;
    let mut group = Group::load(&mut tx, ops, now, stage).await?;
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
    let notices = group.flush(&mut tx).await?;
    if due {
        let next = super::due::next_due(&mut tx, now).await?;
        for answer in &mut answers {
            if let Answer::Due(at) = answer {
                *at = next;
            }
        }
    }
    failpoint::written(ops);
    tx.commit().await?;
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
    match error {
        Error::Database(sqlx::Error::Database(error)) => error
            .code()
            .and_then(|code| code.parse::<i32>().ok())
            .is_some_and(|code| CODES.contains(&(code & 0xff))),
        Error::Database(sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed) => true,
        _ => false,
    }
}

fn fail_all(ops: Vec<Op>, error: Error) {
    let words = error.to_string();
    let mut ops = ops.into_iter();
    if let Some(first) = ops.next() {
        fail(first, error);
    }
    for op in ops {
        let same = sqlx::Error::Io(std::io::Error::other(words.clone()));
        fail(op, Error::Database(same));
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
    use super::*;
    use crate::store::{Store, connect_options};

    #[tokio::test]
    async fn a_connection_that_can_only_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nodepath.db");
        let store = Store::open(&path, Clock::System, None).await.unwrap();
        let options = connect_options(&path);
        assert!(connect(&options).await.is_ok());
        let error = connect(&options.read_only(true)).await.unwrap_err();
        assert!(is_everybodys(&Error::Database(error)));
        store.close().await;
    }
}
