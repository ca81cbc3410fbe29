//! Brings what is in the log into the database, beside the writer: whoever waits for a commit does not wait for that.
//!
//! SQLite copies thousands of pages and then asks the disk for all of them at once, and every commit of that moment waits behind them. So
//! what a pass has copied goes to the disk in [stretches](STRETCH), between which a commit finds its turn, and the next pass, which copies
//! what was committed meanwhile and syncs, has little left to sync. All that keeps a commit safe is SQLite's own: a pass that is not whole
//! is not synced and lets no log begin anew.

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::c_int;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::host::start_thread;
use super::sql::OPEN;
use super::{BUSY_TIMEOUT, Error};
use crate::disk::{STRETCH, write_stretch};

/// Pages in the log before it is brought into the database: 64 MiB of 4 KiB each, sixteen times SQLite's default. A page that many commits
/// change is brought over once, so the longer the log, the less there is to do.
const PAGES: c_int = 16_384;

/// Pages in the log at which the writer helps. The log begins anew only in a moment in which all of it is in the database, and a host at
/// full load may never have one.
const TOO_MANY_PAGES: c_int = 4 * PAGES;

/// How often one after the other the rest is brought over that was committed meanwhile. Each rest is shorter than the one before.
const PASSES: usize = 8;

/// A pass that copied no more than this has little left to sync, and leaves a moment for the log to begin anew.
const FEW_PAGES: c_int = 256;

/// What the log has grown by during a pass of a host that is too busy for stretches: they would take longer than the log has room.
const BUSY_PAGES: c_int = PAGES / 8;

/// The longest that what was copied goes to the disk in stretches. A database of many gigabytes has a stretch for each page.
const WRITING_BACK: Duration = Duration::from_secs(5);

/// How long the disk is left to others after a stretch that gave it something to do.
const PAUSE: Duration = Duration::from_millis(1);

/// A stretch that took less had nothing for the disk.
const CLEAN: Duration = Duration::from_micros(50);

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
    shared: Arc<Shared>,
}

/// What the thread and the writer know of each other.
#[derive(Default)]
struct Shared {
    /// One pass over the log at a time: SQLite refuses a second one.
    pass: Mutex<()>,
    /// Pages in the log after the writer's last commit.
    log: AtomicI32,
    /// The host stops: nobody waits for a disk then.
    is_over: AtomicBool,
}

impl Shared {
    fn alone(&self) -> MutexGuard<'_, ()> {
        self.pass.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is no time left: the log must begin anew soon, or the host stops.
    fn is_late(&self) -> bool {
        self.log.load(Ordering::Relaxed) >= TOO_MANY_PAGES || self.is_over.load(Ordering::Relaxed)
    }
}

impl Checkpoints {
    /// Starts a thread with a connection of its own.
    pub(super) fn start(
        path: &Path,
        process_lock: Arc<File>,
    ) -> Result<(Self, JoinHandle<()>), Error> {
        let copier = Copier::open(path)?;
        let (ask, asked) = sync_channel(1);
        let shared = Arc::new(Shared::default());
        let its = shared.clone();
        let thread = start_thread("store-checkpoint", path, process_lock, move || {
            serve(&copier, &asked, &its);
            copier.close();
        })?;
        Ok((Self { ask, shared }, thread))
    }

    /// Asks for a checkpoint if the commits of this thread have left enough for one, and says whether it is so much that the writer must
    /// [help](Self::help). To be called after a commit, on its thread.
    pub(super) fn ask(&self) -> bool {
        let pages = LOG.take();
        self.shared.log.store(pages, Ordering::Relaxed);
        if pages >= PAGES {
            // If one is asked for already, that is enough.
            self.ask.try_send(()).unwrap_or_default();
        }
        pages >= TOO_MANY_PAGES
    }

    /// Brings over the rest while nobody commits, so that the log begins anew.
    pub(super) fn help(&self, conn: &Connection) {
        let _one = self.shared.alone();
        if let Err(error) = copy(conn) {
            tracing::warn!(%error, "store: the log can't be brought into the database, and grows until it can");
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
    }
}

/// What the thread works with.
struct Copier {
    conn: Connection,
    database: &'static File,
}

impl Copier {
    fn open(path: &Path) -> Result<Self, Error> {
        let conn = Connection::open_with_flags(path, OPEN)?;
        conn.busy_timeout(BUSY_TIMEOUT)?;
        // The log is on the disk before the database is written, and the database before the log begins anew.
        conn.pragma_update(None, "synchronous", "FULL")?;
        let database = stays_open(path).map_err(|source| {
            Error::Refused(format!(
                "can't open {}: {source}; let this user read and write it",
                path.display()
            ))
        })?;
        Ok(Self { conn, database })
    }

    /// Brings over what is in the log, until little is left of it.
    fn catch_up(&self, shared: &Shared) -> rusqlite::Result<()> {
        let mut before = 0;
        for _ in 0..PASSES {
            let Progress { is_all, copied } = {
                let _one = shared.alone();
                copy(&self.conn)?
            };
            // A log that has begun anew meanwhile has fewer.
            let new = copied.saturating_sub(before);
            let grown = shared.log.load(Ordering::Relaxed).saturating_sub(copied);
            if (is_all && new <= FEW_PAGES) || shared.is_late() {
                break;
            }
            if grown <= BUSY_PAGES {
                write_back(self.database, shared);
            }
            before = copied;
        }
        Ok(())
    }

    fn close(self) {
        if let Err((_, error)) = self.conn.close() {
            tracing::warn!(%error, "store: a connection did not close cleanly");
        }
    }
}

/// A database file, to have it written, for as long as the process lives: to close it would take away the locks of every other connection
/// of this process to that file (fcntl(2), "record locks").
fn stays_open(path: &Path) -> std::io::Result<&'static File> {
    static FILES: LazyLock<Mutex<HashMap<(u64, u64), &'static File>>> =
        LazyLock::new(Mutex::default);
    let of = std::fs::metadata(path)?;
    let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(file) = files.get(&(of.dev(), of.ino())) {
        return Ok(file);
    }
    let file: &'static File =
        Box::leak(Box::new(File::options().read(true).write(true).open(path)?));
    let of = file.metadata()?;
    files.insert((of.dev(), of.ino()), file);
    Ok(file)
}

/// Gives the disk what it has to write of a file, a little at a time, while there is time. It promises nothing: SQLite syncs.
fn write_back(file: &File, shared: &Shared) {
    let length = file
        .metadata()
        .map_or(0, |of| i64::try_from(of.len()).unwrap_or(0));
    let (mut at, begun) = (0, Instant::now());
    while at < length && !shared.is_late() && begun.elapsed() < WRITING_BACK {
        let started = Instant::now();
        write_stretch(file, at);
        at += STRETCH;
        if started.elapsed() > CLEAN {
            std::thread::sleep(PAUSE);
        }
    }
}

fn serve(copier: &Copier, asked: &Receiver<()>, shared: &Shared) {
    let mut works = true;
    while asked.recv().is_ok() {
        match copier.catch_up(shared) {
            Ok(()) => works = true,
            Err(error) if works => {
                works = false;
                tracing::warn!(%error, "store: the log can't be brought into the database, and grows until it can");
            }
            Err(_) => {}
        }
    }
}

/// How far a pass has come.
struct Progress {
    is_all: bool,
    /// Pages of the log that are in the database now.
    copied: c_int,
}

/// Copies what nobody reads any more where it was, and says how far that is. No reader and no commit waits for it.
fn copy(conn: &Connection) -> rusqlite::Result<Progress> {
    let mut statement = conn.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?;
    statement.query_row([], |row| {
        // Of a log that another process brings over now, SQLite knows nothing else.
        let (is_busy, log, copied): (bool, c_int, c_int) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(Progress {
            is_all: !is_busy && log == copied,
            copied,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::log_file;

    struct Database {
        dir: tempfile::TempDir,
        writer: Connection,
        copier: Copier,
    }

    impl Database {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("test.db");
            let writer =
                log_file::open(&path, OPEN | rusqlite::OpenFlags::SQLITE_OPEN_CREATE).unwrap();
            writer
                .execute_batch(
                    "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;
                     CREATE TABLE t (n INTEGER PRIMARY KEY, b BLOB)",
                )
                .unwrap();
            let copier = Copier::open(&path).unwrap();
            Self {
                dir,
                writer,
                copier,
            }
        }

        fn insert(&self, rows: i64) {
            let sql = "INSERT INTO t (b) VALUES (randomblob(3000))";
            for _ in 0..rows {
                self.writer.execute(sql, []).unwrap();
            }
        }

        /// What a log is told by from the one that was written over it (sqlite.org/fileformat2.html, "the write-ahead log").
        fn salt(&self) -> Vec<u8> {
            std::fs::read(self.dir.path().join("test.db-wal")).unwrap()[16..24].to_vec()
        }

        /// What is in the database without its log.
        fn rows_without_log(&self) -> i64 {
            let copy = self.dir.path().join("copy.db");
            std::fs::copy(self.dir.path().join("test.db"), &copy).unwrap();
            let copy = Connection::open(copy).unwrap();
            copy.query_row("SELECT COUNT(*) FROM t", [], |row| row.get(0))
                .unwrap()
        }
    }

    #[test]
    fn everything_is_brought_over_and_then_the_log_begins_anew() {
        let database = Database::new();
        database.insert(100);
        let salt = database.salt();
        database.copier.catch_up(&Shared::default()).unwrap();
        assert_eq!(database.rows_without_log(), 100);
        database.insert(1);
        assert_ne!(database.salt(), salt);
    }

    #[test]
    fn a_host_that_stops_waits_for_one_pass() {
        let database = Database::new();
        database.insert(1_000);
        let shared = Shared::default();
        shared.is_over.store(true, Ordering::Relaxed);
        database.copier.catch_up(&shared).unwrap();
        assert_eq!(database.rows_without_log(), 1_000);
    }
}
