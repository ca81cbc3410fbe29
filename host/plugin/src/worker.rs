//! The threads that guests run on. They are apart from the host's own, so that a guest that computes takes no time from a
//! webhook; and a call stays on the thread that it began on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

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
    load: Arc<AtomicUsize>,
}

/// A call that waits for its thread. The channel has no bound of its own: each job holds a slot, and those are counted.
pub(super) struct Job {
    pub(super) plugin: Plugin,
    pub(super) call: Call,
    pub(super) around: Surroundings,
    pub(super) slot: Slot,
    pub(super) live: Live,
    pub(super) reply: oneshot::Sender<Finished>,
}

impl Workers {
    /// Starts so many threads.
    pub(super) fn start(count: usize) -> Result<Self, Error> {
        (0..count.max(1))
            .map(Worker::start)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Gives a job to the thread with the fewest. If that has ended, which only a panic outside of any guest can bring about,
    /// the job is dropped and its caller sees that.
    pub(super) fn give(&self, job: Job) {
        let Some(worker) = self.0.iter().min_by_key(|worker| worker.load()) else {
            return;
        };
        worker.load.fetch_add(1, Ordering::Relaxed);
        if worker.jobs.send(job).is_err() {
            tracing::error!(
                "A plugin thread has ended; its turns are refused until the host is restarted"
            );
        }
    }
}

impl Worker {
    fn start(n: usize) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Error::Thread)?;
        let (jobs, waiting) = mpsc::unbounded_channel();
        let load = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&load);
        thread::Builder::new()
            .name(format!("plugin-{n}"))
            .spawn(move || {
                Engine::tls_eager_initialize();
                // When the last sender is gone the set is dropped, and with it every guest that still runs.
                LocalSet::new().block_on(&runtime, work(waiting, count));
            })
            .map_err(Error::Thread)?;
        Ok(Self { jobs, load })
    }

    fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }
}

async fn work(mut waiting: mpsc::UnboundedReceiver<Job>, load: Arc<AtomicUsize>) {
    let pace = Pace::new();
    while let Some(job) = waiting.recv().await {
        let (one, pace) = (One(Arc::clone(&load)), pace.clone());
        tokio::task::spawn_local(async move {
            job.run(&pace).await;
            drop(one);
        });
    }
}

/// One job of a thread's load.
struct One(Arc<AtomicUsize>);

impl Drop for One {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Job {
    /// Runs the call until it ends or nobody waits for it any more. A guest comes back to this future at each tick of the
    /// epoch, so a guest that nobody waits for is gone within a tick.
    async fn run(self, pace: &Pace) {
        let Self {
            plugin,
            call,
            around,
            slot,
            live,
            mut reply,
        } = self;
        let finished = tokio::select! {
            biased;
            () = reply.closed() => None,
            finished = run(&plugin, &call, &around, slot.memory_bytes(), pace) => Some(finished),
        };
        // Whoever learns that the call has ended finds its guest gone and its slot free.
        drop((live, slot));
        if let Some(finished) = finished {
            // Nobody waits any more: then nobody misses it.
            drop(reply.send(finished));
        }
    }
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
