//! The store as the one process that runs conversations holds it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::accept::{Accept, Accepted};
use super::checkpoint::Checkpoints;
use super::desk::{Desk, closed};
use super::finish::{Finish, Finished};
use super::recover::Recovered;
use super::settle::Settle;
use super::work::{self, WorkQueue};
use super::writer::{Op, Stopping, Writer};
use super::{Error, Store};
use crate::model::secret::Sealer;
use crate::model::{Clock, Timestamp};

/// How long a commit that failed waits before its next try, at first and at most. A full disk does not heal faster.
const COMMIT_RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// How often a host that starts looks whether the process lock is free, and how long it waits in between: a few times longer than
/// `doctor` holds it, and short enough for whoever has started a second host.
const LOCK_LOOKS: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// The store as its host holds it. It is dropped last: the lock file is free again only then.
#[derive(Debug)]
pub struct Host {
    store: Store,
    desk: Desk,
    stopping: Arc<Stopping>,
    due_changed: Arc<Notify>,
    checkpoints: JoinHandle<()>,
    recovered: Recovered,
    /// An OS lock on a file beside the database. The kernel frees it when the process ends, however it ends.
    _process_lock: Arc<File>,
}

impl Deref for Host {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl Host {
    /// Opens the database as its only host, and takes up what the last one left: its turns run again, and a part that it was
    /// sending is `unknown`.
    ///
    /// The queue brings what is to be done.
    ///
    /// # Errors
    /// If another process is its host, or it can't be opened.
    pub async fn open(
        path: &Path,
        clock: Clock,
        sealer: Sealer,
    ) -> Result<(Self, WorkQueue), Error> {
        let process_lock = lock_process(path).await?;
        fail::fail_point!("open.locked");
        let store = Store::open(path, clock, sealer).await?;
        fail::fail_point!("open.migrated");
        let process_lock = Arc::new(process_lock);
        let (asking, checkpoints) = Checkpoints::start(path, process_lock.clone())?;
        let (decisions, work) = work::queue();
        let stopping = Arc::new(Stopping::default());
        let due_changed = Arc::new(Notify::new());
        let writer = Writer::connect(
            path,
            store.clock.clone(),
            decisions,
            stopping.clone(),
            due_changed.clone(),
            asking,
        );
        let recover = move || {
            let mut writer = writer?;
            let recovered = writer.recover()?;
            Ok::<_, Error>((writer, recovered))
        };
        // It may wait for a tool that writes.
        let recovered = tokio::task::spawn_blocking(recover).await;
        let (writer, recovered) = recovered.map_err(|_| closed())??;
        let desk = Desk::open(writer, stopping.clone(), path, process_lock.clone())?;
        Ok((
            Self {
                store,
                desk,
                stopping,
                due_changed,
                checkpoints,
                recovered,
                _process_lock: process_lock,
            },
            work,
        ))
    }

    /// What the last host had left undone.
    #[must_use]
    pub fn recovered(&self) -> Recovered {
        self.recovered
    }

    /// T1: writes down what a webhook told, and claims the conversations that were idle. When it answers, everything is on
    /// the disk.
    ///
    /// # Errors
    /// If the device does not exist or the database refuses; nothing is written then.
    pub async fn accept(&self, accept: Accept) -> Result<Accepted, Error> {
        let (reply, answer) = oneshot::channel();
        self.desk.bring(Op::Accept(accept, reply)).await?;
        #[cfg(feature = "planted-bugs")]
        if super::planted::is("ack-before-commit") {
            return Ok(Accepted::Stored(Vec::new()));
        }
        answer.await.map_err(|_| closed())?
    }

    /// T3: ends a turn. It is tried until the database takes it, since a turn that ended must let go of its lock.
    ///
    /// # Errors
    /// If the store is closed.
    pub async fn finish(&self, finish: Finish) -> Result<Finished, Error> {
        let finish = Arc::new(finish);
        self.insist(|reply| Op::Finish(finish.clone(), reply)).await
    }

    /// T5: says what became of sending a part, and releases the lock after the last. It is tried like [`Self::finish`].
    ///
    /// # Errors
    /// If the store is closed.
    pub async fn settle(&self, settle: Settle) -> Result<(), Error> {
        let settle = Arc::new(settle);
        self.insist(|reply| Op::Settle(settle.clone(), reply)).await
    }

    /// Does everything that is due by now: waiting conversations, timers, parts to send again and doubts to end. Answers when
    /// the next thing is due.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn run_due(&self) -> Result<Option<Timestamp>, Error> {
        let (reply, answer) = oneshot::channel();
        self.desk.bring(Op::Due(reply)).await?;
        answer.await.map_err(|_| closed())?
    }

    /// For tests: the next group begins when so many operations have come for it.
    #[cfg(feature = "failpoints")]
    pub fn gather(&self, operations: usize) {
        self.stopping.gather(operations);
    }

    /// Answers when a commit has set something to be due later, so that whoever waits asks again. A commit that came before
    /// the call counts.
    pub async fn due_changed(&self) {
        self.due_changed.notified().await;
    }

    /// From now on nothing is claimed: what would be waits for the next start instead.
    pub fn drain(&self) {
        self.stopping.drain();
    }

    /// From now on no part goes out either: what would waits for the next start, known not to have been sent.
    pub fn halt(&self) {
        self.stopping.halt();
    }

    /// Lets the writer finish what waits for it, and closes the database.
    pub async fn close(self) {
        self.desk.close().await;
        if !matches!(
            tokio::task::spawn_blocking(|| self.checkpoints.join()).await,
            Ok(Ok(()))
        ) {
            tracing::error!("store: the thread for checkpoints ended badly");
        }
        self.store.close().await;
    }

    async fn insist<T>(
        &self,
        op: impl Fn(oneshot::Sender<Result<T, Error>>) -> Op,
    ) -> Result<T, Error> {
        let (mut pause, longest) = COMMIT_RETRY;
        loop {
            let (reply, answer) = oneshot::channel();
            self.desk.bring(op(reply)).await?;
            match answer.await.map_err(|_| closed())? {
                Err(Error::Database(error)) => {
                    tracing::error!(%error, "🔒 SESSION LOCK: Failed to release session lock");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(longest);
                }
                answer => return answer,
            }
        }
    }
}

/// Starts a thread of the store. It logs where whoever opened the store logs, and nobody else is host before it has ended.
pub(super) fn start_thread(
    name: &str,
    path: &Path,
    process_lock: Arc<File>,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Error> {
    let log = tracing::dispatcher::get_default(Clone::clone);
    let thread = std::thread::Builder::new().name(name.to_owned());
    let thread = thread.spawn(move || {
        tracing::dispatcher::with_default(&log, work);
        drop(process_lock);
    });
    thread.map_err(|source| Error::Open {
        path: path.to_owned(),
        source,
    })
}

/// The process that is the host of a database, as it wrote itself down; none if nobody is. It takes the lock for a moment, and
/// a host that starts in that moment looks again.
///
/// # Errors
/// If the lock file is there and can't be opened.
pub fn running_host(database: &Path) -> Result<Option<String>, Error> {
    let path = lock_path(database);
    let open = |source| Error::Open {
        path: path.clone(),
        source,
    };
    let mut file = match File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(open)?,
    };
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            file.read_to_string(&mut owner).map_err(open)?;
            Ok(Some(owner.trim().to_owned()))
        }
        _ => Ok(None),
    }
}

fn lock_path(database: &Path) -> PathBuf {
    let mut path = PathBuf::from(database);
    path.as_mut_os_string().push(".lock");
    path
}

/// Takes the OS lock that says which process is the host. Whoever only looks whether there is one holds it for a moment.
async fn lock_process(database: &Path) -> Result<File, Error> {
    let path = lock_path(database);
    let open = |source| Error::Open {
        path: path.clone(),
        source,
    };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(open)?;
    let mut looks = 0;
    while let Err(error) = file.try_lock() {
        match error {
            TryLockError::WouldBlock if looks < LOCK_LOOKS => {
                if looks == 0 {
                    tracing::info!("store: {} is locked; looking again", path.display());
                }
                looks += 1;
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            TryLockError::WouldBlock => {
                let mut owner = String::new();
                file.read_to_string(&mut owner).map_err(open)?;
                let owner = owner.trim().to_owned();
                return Err(Error::InUse { path, owner });
            }
            TryLockError::Error(source) => return Err(open(source)),
        }
    }
    file.set_len(0).map_err(open)?;
    file.rewind().map_err(open)?;
    writeln!(file, "{}", std::process::id()).map_err(open)?;
    Ok(file)
}
