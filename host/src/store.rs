//! What Nodepath knows, on SQLite, and the only place with SQL.
//!
//! [`Store`] is what everybody may do: read, and change what people change by hand. [`Host`] is what the one process that
//! runs conversations may do besides: the three commits of a message's way, T1 ([`Host::accept`]), T3 ([`Host::finish`]) and
//! T5 ([`Host::settle`]). They go through one writer, which commits everything that waits in one transaction.
//!
//! **Invariant:** only a [`Host`] claims a conversation. A command-line tool that wants a turn to run marks the conversation
//! as waiting, and the host finds it.
//!
//! **Invariant:** no transaction leaves this module.

mod accept;
mod access;
mod checkpoint;
mod claim;
mod conversations;
mod dead;
mod desk;
mod devices;
mod due;
mod failpoint;
mod finish;
mod group;
mod host;
mod intake;
mod kept;
mod log_file;
mod observe;
mod outbox;
#[cfg(feature = "planted-bugs")]
mod planted;
mod plugins;
mod reads;
mod recover;
mod retention;
mod rows;
mod settle;
mod sql;
mod tenants;
mod work;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use crate::model::secret::{self, Sealer};
use crate::model::{Clock, Timestamp};

pub use accept::{Accept, Accepted, Fate};
pub use access::Access;
pub use conversations::{
    ByHand, ConversationDetail, ConversationSummary, InboxRow, OutboxRow, Shown, TurnRow,
};
pub use dead::{DeadLetter, DeadLetters};
pub use devices::{DeviceChange, NewDevice};
pub use finish::{Commit, Covered, Finish, Finished, TurnEnd, TurnRecord};
pub use host::{Host, running_host};
pub use plugins::{NewPlugin, PluginVersion};
pub use reads::StoredState;
pub use recover::Recovered;
pub use retention::Retention;
pub use settle::{Settle, Settled};
pub use tenants::Tenant;
pub use work::{Work, WorkQueue};

/// Why the store can't do something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process runs conversations on this database.
    #[error("{} is in use by another nodepath process (id {owner}); stop that one, or give this one another data directory", path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
        /// The other process, as it wrote itself down.
        owner: String,
    },
    /// A file of the store can't be opened.
    #[error("can't open {}: {source}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database refused, or can't be reached.
    #[error("the database can't do this now: {0}")]
    Database(#[source] DatabaseError),
    /// The database has a layout that this program does not know.
    #[error(
        "the database can't be brought to this program's layout: {0}; use the program version that last opened it, or a newer one"
    )]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A row holds something that this program did not write.
    #[error("the database holds something unreadable in {what}: {why}")]
    Corrupt {
        /// Where.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A sealed value can't be opened.
    #[error(transparent)]
    Sealed(#[from] secret::Error),
    /// What was named does not exist, or belongs to another tenant.
    #[error("there is no {what} {id}")]
    NotFound {
        /// What sort of thing.
        what: &'static str,
        /// Its id.
        id: String,
    },
    /// It can't be done as things are.
    #[error("{0}")]
    Refused(String),
}

/// What the database said.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// To a connection of the pools.
    #[error(transparent)]
    Pool(#[from] sqlx::Error),
    /// To the writer.
    #[error(transparent)]
    Writer(#[from] rusqlite::Error),
    /// To the writer, for the whole group that an operation was in.
    #[error("{0}")]
    Shared(String),
}

impl<E: Into<DatabaseError>> From<E> for Error {
    fn from(error: E) -> Self {
        Self::Database(error.into())
    }
}

impl Error {
    fn not_found(what: &'static str, id: impl ToString) -> Self {
        Self::NotFound {
            what,
            id: id.to_string(),
        }
    }

    fn corrupt(what: &'static str, why: impl ToString) -> Self {
        Self::Corrupt {
            what,
            why: why.to_string(),
        }
    }
}

/// How long a statement waits for another process's transaction. Tools hold one for milliseconds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections for reading. Reads are short, and SQLite runs them beside the writer.
const READERS: u32 = 4;

/// As many faults of the file as are told: one is enough to act on.
const DAMAGE_SHOWN: u32 = 5;

/// `SQLITE_CORRUPT`.
const CORRUPT: &str = "11";

/// The store as any process may use it.
#[derive(Clone, Debug)]
pub struct Store {
    readers: SqlitePool,
    /// One connection: what people change by hand is rare, and SQLite has one writer at a time anyway.
    writers: SqlitePool,
    clock: Clock,
    sealer: Option<Sealer>,
    remembered: Arc<access::Remembered>,
}

impl Store {
    /// Opens the database file, makes it if it is missing, and brings it to this program's layout. Without a sealer,
    /// everything works but what seals or opens credentials.
    ///
    /// # Errors
    /// If the file can't be opened or was written by a newer program.
    pub async fn open(
        path: &Path,
        clock: Clock,
        sealer: impl Into<Option<Sealer>>,
    ) -> Result<Self, Error> {
        let options = connect_options(path);
        let writers = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options.clone())
            .await?;
        sqlx::migrate!("../migrations/sqlite").run(&writers).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.read_only(true))
            .await?;
        Ok(Self {
            readers,
            writers,
            clock,
            sealer: sealer.into(),
            remembered: Arc::default(),
        })
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// If it does not.
    pub async fn ping(&self) -> Result<(), Error> {
        sqlx::query("SELECT 1").execute(&self.readers).await?;
        Ok(())
    }

    /// What SQLite finds wrong with the database file; empty where nothing is. It reads all of the file.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn damage(&self) -> Result<Vec<String>, Error> {
        let sql = format!("PRAGMA quick_check({DAMAGE_SHOWN})");
        let found: Vec<(String,)> = match sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .fetch_all(&self.readers)
            .await
        {
            // So damaged that the check itself can't go on.
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(CORRUPT) => {
                return Ok(vec![error.message().to_owned()]);
            }
            found => found?,
        };
        Ok(found
            .into_iter()
            .map(|(line,)| line)
            .filter(|line| line != "ok")
            .collect())
    }

    /// The store's clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    fn sealer(&self) -> Result<&Sealer, Error> {
        self.sealer.as_ref().ok_or(secret::Error::NoKey.into())
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Closes the connections; what is under way is finished first.
    pub async fn close(&self) {
        self.remembered.finish().await;
        self.readers.close().await;
        self.writers.close().await;
    }
}

fn connect_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // Promise I1: a commit that was answered is on the disk.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        // A host has a thread for that; where none runs, the last connection does it when it is closed.
        .pragma("wal_autocheckpoint", "0")
}

#[cfg(test)]
mod tests;
