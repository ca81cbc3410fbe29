//! Brings what is in the log into the database, beside the writer: whoever waits for a commit does not wait for that.

use std::cell::Cell;
use std::ffi::c_int;
use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::host::start_thread;
use super::sql::OPEN;
use super::{BUSY_TIMEOUT, Error};

/// Pages in the log before it is brought into the database: 64 MiB of 4 KiB each, sixteen times SQLite's default. A page that many commits
/// change is brought over once, so the longer the log, the less there is to do. But all of it goes through the disk at once, and a commit of
/// that moment waits for it: that is what the slowest answers wait for.
const PAGES: c_int = 16_384;

/// Pages in the log at which the writer helps. The log begins anew only in a moment in which all of it is in the database, and a host at
/// full load may never have one.
const TOO_MANY_PAGES: c_int = 4 * PAGES;

/// How often one after the other the rest is brought over that was committed meanwhile. Each rest is shorter than the one before.
const PASSES: usize = 8;

thread_local! {
    /// Pages in the log after the last commit on this thread.
    static LOG: Cell<c_int> = const { Cell::new(0) };
}

/// Counts the pages of the log at each commit of a connection; SQLite itself does nothing for it any more.
pub(super) fn watch(conn: &Connection) {
    conn.wal_hook(Some(|_, pages| {
        LOG.set(pages);
        Ok(())
    }));
}

/// Asks for checkpoints. The thread that makes them ends with the last of these.
pub(super) struct Checkpoints {
    ask: SyncSender<()>,
    pass: Pass,
}

impl Checkpoints {
    /// Starts a thread with a connection of its own.
    pub(super) fn start(
        path: &Path,
        process_lock: Arc<File>,
    ) -> Result<(Self, JoinHandle<()>), Error> {
        let conn = connect(path)?;
        let (ask, asked) = sync_channel(1);
        let pass = Pass::default();
        let its_pass = pass.clone();
        let thread = start_thread("store-checkpoint", path, process_lock, move || {
            serve(conn, &asked, &its_pass);
        })?;
        Ok((Self { ask, pass }, thread))
    }

    /// Asks for a checkpoint if the commits of this thread have left enough for one, and says whether it is so much that the writer must
    /// [help](Self::help). To be called after a commit, on its thread.
    pub(super) fn ask(&self) -> bool {
        let pages = LOG.take();
        if pages >= PAGES {
            // If one is asked for already, that is enough.
            self.ask.try_send(()).unwrap_or_default();
        }
        pages >= TOO_MANY_PAGES
    }

    /// Brings over the rest while nobody commits, so that the log begins anew.
    pub(super) fn help(&self, conn: &Connection) {
        if let Err(error) = self.pass.make(conn) {
            tracing::warn!(%error, "store: the log can't be brought into the database, and grows until it can");
        }
    }
}

fn connect(path: &Path) -> Result<Connection, Error> {
    let conn = Connection::open_with_flags(path, OPEN)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    // The log is on the disk before the database is written, and the database before the log begins anew.
    conn.pragma_update(None, "synchronous", "FULL")?;
    Ok(conn)
}

fn serve(conn: Connection, asked: &Receiver<()>, pass: &Pass) {
    let mut works = true;
    while asked.recv().is_ok() {
        match catch_up(&conn, pass) {
            Ok(()) => works = true,
            Err(error) if works => {
                works = false;
                tracing::warn!(%error, "store: the log can't be brought into the database, and grows until it can");
            }
            Err(_) => {}
        }
    }
    if let Err((_, error)) = conn.close() {
        tracing::warn!(%error, "store: a connection did not close cleanly");
    }
}

fn catch_up(conn: &Connection, pass: &Pass) -> rusqlite::Result<()> {
    for _ in 0..PASSES {
        if pass.make(conn)? {
            break;
        }
    }
    Ok(())
}

/// One pass over the log at a time: SQLite refuses a second one.
#[derive(Clone, Default)]
struct Pass(Arc<Mutex<()>>);

impl Pass {
    /// Brings over what nobody reads any more where it was, and says whether that was all. No reader and no commit waits for it.
    fn make(&self, conn: &Connection) -> rusqlite::Result<bool> {
        let _one = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut statement = conn.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?;
        statement.query_row([], |row| {
            // Of a log that another process brings over now, SQLite knows nothing else.
            let (is_busy, log, done): (bool, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok(!is_busy && log == done)
        })
    }
}
