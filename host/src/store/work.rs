//! What commits decide, on its way to whoever does it, and to the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::{SendError, TryRecvError};
use tracing::dispatcher::{self, Dispatch};

use super::observe::{self, LockEvent};
use crate::model::{Claim, ConversationId, Part};

/// Something that a commit has decided and that somebody must now do. It comes in the order of the commits.
#[derive(Debug)]
pub enum Work {
    /// Run this turn.
    Run(Box<Claim>),
    /// The running turn of this claim can't commit any more; stop it and hand its lock in.
    Cancel {
        /// The conversation.
        conversation: ConversationId,
        /// The claim.
        epoch: i64,
    },
    /// Send this part; it is written down as being sent.
    Send(Box<Part>),
}

enum Decided {
    Work(Work),
    Lock(LockEvent),
}

/// The most lines that wait for whoever takes the work. A log that takes no more lines must hold up the writer, and with it
/// whoever sends webhooks, before they fill the memory; so many have a few megabytes.
const UNTOLD: usize = 16_384;

/// Where the writer puts what a commit has decided.
pub(super) struct Decisions {
    sender: mpsc::UnboundedSender<Decided>,
    untold: Arc<AtomicUsize>,
}

/// What commits have decided, in their order. What became of locks goes to the log as it comes by: so no answer waits for its
/// lines, and no thread is woken for those of a webhook.
///
/// It holds at most one entry of work for each conversation with something pending, and the tenants' inboxes are bounded.
pub struct WorkQueue {
    decided: mpsc::UnboundedReceiver<Decided>,
    untold: Arc<AtomicUsize>,
    /// Where whoever opened the store logs.
    log: Dispatch,
}

/// The two ends.
pub(super) fn queue() -> (Decisions, WorkQueue) {
    let (sender, decided) = mpsc::unbounded_channel();
    let untold = Arc::new(AtomicUsize::new(0));
    let decisions = Decisions {
        sender,
        untold: untold.clone(),
    };
    let work = WorkQueue {
        decided,
        untold,
        log: dispatcher::get_default(Clone::clone),
    };
    (decisions, work)
}

impl Decisions {
    /// Nobody takes work any more once the host stops; the next start finds it in the rows.
    pub(super) fn work(&self, work: Work) {
        drop(self.sender.send(Decided::Work(work)));
    }

    pub(super) fn lock(&self, event: LockEvent) {
        if self.untold.load(Ordering::Relaxed) >= UNTOLD {
            return observe::lock(&event);
        }
        self.untold.fetch_add(1, Ordering::Relaxed);
        // Nobody takes work any more, and the line is told all the same.
        if let Err(SendError(Decided::Lock(event))) = self.sender.send(Decided::Lock(event)) {
            observe::lock(&event);
        }
    }
}

impl WorkQueue {
    /// The next work; none once the store is closed. Nothing is lost if the future is dropped.
    pub async fn recv(&mut self) -> Option<Work> {
        loop {
            match self.decided.recv().await? {
                Decided::Work(work) => return Some(work),
                Decided::Lock(event) => self.tell(&event),
            }
        }
    }

    /// The next work, if there is some now.
    pub fn try_recv(&mut self) -> Option<Work> {
        loop {
            match self.decided.try_recv() {
                Ok(Decided::Work(work)) => return Some(work),
                Ok(Decided::Lock(event)) => self.tell(&event),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return None,
            }
        }
    }

    /// Whether nothing is left to do or to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.decided.is_empty()
    }

    fn tell(&self, event: &LockEvent) {
        self.untold.fetch_sub(1, Ordering::Relaxed);
        dispatcher::with_default(&self.log, || observe::lock(event));
    }
}

impl Drop for WorkQueue {
    /// What is left to tell is told. What is left to do is in the rows.
    fn drop(&mut self) {
        self.decided.close();
        while self.try_recv().is_some() {}
    }
}

impl std::fmt::Debug for WorkQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WorkQueue")
    }
}
