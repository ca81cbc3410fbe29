//! The threads that guests run on. They are apart from the host's own, so that a guest that computes takes no time from a
//! webhook; and a call that came to one of them stays there.
//!
//! Only the first step of a plugin that is [proved to be prompt](super::prompt) is run by whoever calls it: to wake a thread
//! and to be woken by it takes longer than such a turn. What does not end in that step goes on here, with its timers still those
//! of the caller's runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;
use wasmtime::Engine;

use super::Error;
use super::pace::Pace;
use super::queue::Slot;
use super::registry::Plugin;
use super::run::{Call, Finished, run};
use super::turn::Surroundings;

/// The guest threads.
pub(super) struct Workers(Vec<Worker>);

struct Worker {
    jobs: mpsc::UnboundedSender<Job>,
    pace: Pace,
    load: Arc<AtomicUsize>,
}

/// A place on a thread.
pub(super) struct Seat {
    jobs: mpsc::UnboundedSender<Job>,
    pace: Pace,
    one: One,
}

/// A call that goes on on a thread. The channel has no bound of its own: each call holds a slot, and those are counted.
struct Job {
    call: BoxFuture<'static, Finished>,
    reply: oneshot::Sender<Finished>,
    one: One,
}

impl Workers {
    /// Starts so many threads, at least one.
    pub(super) fn start(count: usize) -> Result<Self, Error> {
        (0..count.max(1))
            .map(Worker::start)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// A place on the thread with the fewest calls.
    pub(super) fn seat(&self) -> Option<Seat> {
        let worker = self.0.iter().min_by_key(|worker| worker.load())?;
        Some(Seat {
            jobs: worker.jobs.clone(),
            pace: worker.pace.clone(),
            one: One::more(&worker.load),
        })
    }
}

impl Seat {
    /// How guests share this thread.
    pub(super) fn pace(&self) -> Pace {
        self.pace.clone()
    }

    /// Has the thread run the call to its end. If the thread has ended, which only a panic outside of any guest can bring
    /// about, the call is dropped and whoever waits sees that.
    pub(super) fn run(self, call: BoxFuture<'static, Finished>) -> oneshot::Receiver<Finished> {
        let (reply, finished) = oneshot::channel();
        let Self { jobs, one, .. } = self;
        if jobs.send(Job { call, reply, one }).is_err() {
            tracing::error!(
                "A plugin thread has ended; its turns are refused until the host is restarted"
            );
        }
        finished
    }
}

impl Worker {
    fn start(n: usize) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::Thread)?;
        let (jobs, waiting) = mpsc::unbounded_channel();
        thread::Builder::new()
            .name(format!("plugin-{n}"))
            .spawn(move || {
                Engine::tls_eager_initialize();
                // When the last sender is gone the set is dropped, and with it every guest that still runs.
                LocalSet::new().block_on(&runtime, work(waiting));
            })
            .map_err(Error::Thread)?;
        Ok(Self {
            jobs,
            pace: Pace::new(),
            load: Arc::default(),
        })
    }

    fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }
}

async fn work(mut waiting: mpsc::UnboundedReceiver<Job>) {
    while let Some(job) = waiting.recv().await {
        tokio::task::spawn_local(job.run());
    }
}

/// One call of a thread's load.
struct One(Arc<AtomicUsize>);

impl One {
    fn more(load: &Arc<AtomicUsize>) -> Self {
        load.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(load))
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Job {
    /// Runs the call until it ends or nobody waits for it any more. A guest comes back to this future at each tick of the
    /// epoch, so a guest that nobody waits for is gone within a tick.
    async fn run(self) {
        let Self {
            call,
            mut reply,
            one,
        } = self;
        let finished = tokio::select! {
            biased;
            () = reply.closed() => None,
            finished = call => Some(finished),
        };
        drop(one);
        if let Some(finished) = finished {
            // Nobody waits any more: then nobody misses it.
            drop(reply.send(finished));
        }
    }
}

/// Runs one call with what it holds. Whoever learns that it has ended finds its guest gone and its slot free.
pub(super) async fn hold_and_run(
    plugin: Plugin,
    call: Call,
    around: Surroundings,
    held: (Live, Slot),
    pace: Pace,
) -> Finished {
    let (live, slot) = held;
    let finished = run(&plugin, &call, &around, slot.memory_bytes(), &pace).await;
    drop((live, slot));
    finished
}

/// Counts a guest for as long as it lives.
pub(super) struct Live(watch::Sender<usize>);

impl Live {
    /// Counts one more.
    pub(super) fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}
