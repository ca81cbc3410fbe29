//! How operations come to the writer. Whoever brings one while nobody else does commits it on the spot: that saves two changes of thread,
//! each of which costs a sleeping core half as much as the fsync. What comes meanwhile goes to a thread that takes all that waits as
//! one group.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::mpsc;

use super::Error;
use super::host::start_thread;
use super::writer::{MAX_GROUP, Op, Stopping, Writer};

/// How many operations may wait for the writer. Above that, whoever brings one waits too, and at the webhook's end that is
/// the provider.
const QUEUE: usize = 1_024;

/// Takes operations. The writer ends with it.
#[derive(Debug)]
pub(super) struct Desk {
    queue: mpsc::Sender<Op>,
    writer: Arc<Shared>,
    thread: JoinHandle<()>,
    /// Whether another thread of the runtime goes on while one commits.
    may_block: bool,
}

struct Shared {
    /// The writer, while nobody uses it. If it ends badly, it is gone.
    writer: Mutex<Option<Writer>>,
    #[cfg_attr(
        not(feature = "failpoints"),
        expect(dead_code, reason = "tests ask it how large the next group is to be")
    )]
    stopping: Arc<Stopping>,
}

impl Desk {
    /// Starts the thread.
    pub(super) fn open(
        writer: Writer,
        stopping: Arc<Stopping>,
        path: &Path,
        process_lock: Arc<File>,
    ) -> Result<Self, Error> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let writer = Arc::new(Shared {
            writer: Mutex::new(Some(writer)),
            stopping,
        });
        let thread = start_thread("store-writer", path, process_lock, {
            let writer = writer.clone();
            move || writer.serve(waiting)
        })?;
        Ok(Self {
            queue,
            writer,
            thread,
            may_block: tokio::runtime::Handle::current().metrics().num_workers() > 1,
        })
    }

    /// Sees to it that an operation is committed, alone or with others.
    ///
    /// # Errors
    /// If the writer is gone.
    pub(super) async fn bring(&self, op: Op) -> Result<(), Error> {
        let is_first = self.may_block && self.queue.capacity() == self.queue.max_capacity();
        let left = if is_first {
            self.writer.work_at_once(op)
        } else {
            Err(op)
        };
        match left {
            Ok(()) => Ok(()),
            Err(op) => self.queue.send(op).await.map_err(|_| closed()),
        }
    }

    /// Lets the writer finish what waits for it, and closes its connection.
    pub(super) async fn close(self) {
        drop(self.queue);
        match tokio::task::spawn_blocking(|| self.thread.join()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => tracing::error!("store: the writer ended badly"),
        }
    }
}

impl Shared {
    /// Runs until every sender is gone and the queue is empty, or the writer is gone.
    fn serve(&self, mut waiting: mpsc::Receiver<Op>) {
        let mut ops = Vec::with_capacity(MAX_GROUP);
        while waiting.blocking_recv_many(&mut ops, MAX_GROUP) > 0 {
            #[cfg(feature = "failpoints")]
            self.gather(&mut waiting, &mut ops);
            let mut place = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            // It comes back unless it panics: then nobody knows what it has done, and the next start finds out.
            let Some(mut writer) = place.take() else {
                tracing::error!(
                    "store: the writer has ended badly; start the host again, nothing is lost"
                );
                return;
            };
            writer.work(std::mem::take(&mut ops));
            *place = Some(writer);
        }
        let writer = self
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        writer.map(Writer::close).unwrap_or_default();
    }

    /// Commits an operation here and now, or hands it back.
    fn work_at_once(&self, op: Op) -> Result<(), Op> {
        #[cfg(feature = "failpoints")]
        if self.stopping.gathers() > 0 {
            return Err(op);
        }
        // Somebody uses it, or it is gone: the thread knows.
        let Ok(mut place) = self.writer.try_lock() else {
            return Err(op);
        };
        let Some(mut writer) = place.take_if(|writer| writer.is_quiet()) else {
            return Err(op);
        };
        let worked = writer.work_at_once(op);
        *place = Some(writer);
        worked
    }

    /// Waits for as many operations as a test wants in the group.
    #[cfg(feature = "failpoints")]
    fn gather(&self, waiting: &mut mpsc::Receiver<Op>, ops: &mut Vec<Op>) {
        while ops.len() < self.stopping.gathers() {
            if waiting.blocking_recv_many(ops, 1) == 0 {
                break;
            }
        }
        self.stopping.gather(0);
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

pub(super) fn closed() -> Error {
    Error::Refused("the store is closed; start the host again".to_owned())
}
