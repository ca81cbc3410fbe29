//! Runs tenants' WebAssembly components: what is uploaded is checked, compiled and kept, and each turn runs in a fresh sandbox
//! under three budgets.
//!
//! A guest runs on threads of its own, but for the first step of one that has proved to be prompt. It reads through [`Reads`]
//! and asks for things through host functions that only buffer; the buffer comes back as data, for others to commit.
//!
//! **Invariant:** nothing here touches the store or a channel, and nothing outside knows wasmtime.

mod bindings;
mod buffer;
mod cache;
mod chance;
mod check;
mod compile;
mod engine;
mod failure;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod grant;
mod guest;
mod host;
mod limits;
mod lru;
mod meter;
mod overlay;
mod pace;
mod prescan;
mod prompt;
mod queue;
mod reads;
mod registry;
mod run;
mod turn;
mod words;
mod worker;
mod world;

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::poll_immediate;
use tokio::runtime::Handle;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::{Semaphore, watch};

use self::cache::Cache;
use self::engine::Ticker;
use self::queue::Queue;
use self::registry::{Registry, blocking};
use self::run::{Answer, Call, Finished};
use self::turn::{Surroundings, taken_apart};
use self::worker::{Live, Workers, hold_and_run};
use nodepath_model::turn::FailureKind;
use nodepath_model::{Digest, TenantId, Timestamp, TurnFailure};

pub use self::check::{Capability, Checked, Manifest};
pub use self::compile::{COMPILE_ARGUMENT, Compiler, compile_child};
pub use self::limits::COMPONENT_BYTES;
pub use self::reads::{NoReads, ReadError, Reads, StoredValue};
pub use self::registry::Plugin;
pub use self::turn::{LogLevel, LogLine, LogSource, Run, TurnInput};

/// Why a component, or the runtime itself, can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The component is at fault; the text says how, to its author.
    #[error("the plugin is refused: {0}")]
    Refused(String),
    /// The component failed when it was asked about itself or about a configuration.
    #[error("the plugin failed: {0}")]
    Guest(#[source] TurnFailure),
    /// The bytes are not those of the digest.
    #[error("the bytes that were given for plugin {0} are another plugin's")]
    WrongDigest(Digest),
    /// The bytes of the component can't be had.
    #[error("the plugin's component can't be read")]
    Bytes(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The directory of compiled plugins can't be used.
    #[error(
        "the directory of compiled plugins can't be used; check its path, its owner and the space left"
    )]
    Cache(#[source] io::Error),
    /// The compiler can't be run.
    #[error("the compiler of plugins can't be run")]
    Compiler(#[source] io::Error),
    /// A thread for plugins can't be started, or has ended.
    #[error("a thread for plugins can't be run")]
    Thread(#[source] io::Error),
    /// The engine can't be set up, most often because the process may not reserve enough address space.
    #[error("the WebAssembly engine can't be set up; check `ulimit -v` and `max_instances`")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    fn engine(error: wasmtime::Error) -> Self {
        Self::Engine(error.into_boxed_dyn_error())
    }
}

/// How the runtime is set up.
#[derive(Clone)]
pub struct Settings {
    /// Threads that guests run on.
    pub workers: usize,
    /// Threads of the runtime that calls. With more than one, a prompt plugin begins where it is called.
    pub callers: usize,
    /// The most guests at once, waiting ones among them; one tenant may have half.
    pub max_instances: u32,
    /// The most memory of all guests together, in bytes; one tenant may have half. A guest starts once its whole budget is
    /// free, so this over the devices' budgets is how many run at once.
    pub max_memory_bytes: u64,
    /// Where compiled components are kept. It becomes private to this user.
    pub cache_dir: PathBuf,
    /// Proves that this host compiled them.
    pub cache_key: [u8; 32],
    /// Who compiles.
    pub compiler: Compiler,
}

impl Settings {
    /// Settings for a machine of this kind.
    #[must_use]
    pub fn new(cache_dir: PathBuf, cache_key: [u8; 32], compiler: Compiler) -> Self {
        Self {
            // Guests compute for long on these and nowhere else; more than there are cores would only take turns.
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            callers: Handle::try_current().map_or(1, |runtime| runtime.metrics().num_workers()),
            // A turn that waits for the store or a model holds an instance but no thread; at 5 MiB for the largest that is
            // 1.3 GiB.
            max_instances: 256,
            // What a small machine can spare beside the host itself.
            max_memory_bytes: 2 << 30,
            cache_dir,
            cache_key,
            compiler,
        }
    }
}

/// Runs plugins. Clones are the same one; when the last is dropped, so is every guest.
#[derive(Clone)]
pub struct Runtime(Arc<Shared>);

struct Shared {
    registry: Registry,
    queue: Queue,
    workers: Workers,
    ticker: Ticker,
    /// The right to run a first step where it is called. One at a time has it, so that whatever guests do another of the
    /// callers' threads goes on; where there is no other, nobody has it.
    here: Semaphore,
    live: watch::Sender<usize>,
}

impl Runtime {
    /// Sets up the engine, the threads and the directory of compiled components.
    ///
    /// # Errors
    /// If one of the three can't be had.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let engine = engine::for_running(settings.max_instances)?;
        let cache = Cache::open(&settings.cache_dir, settings.cache_key, &engine)?;
        let live = watch::Sender::new(0);
        Ok(Self(Arc::new(Shared {
            ticker: Ticker::start(&engine, live.subscribe())?,
            registry: Registry::new(engine, cache, settings.compiler)?,
            queue: Queue::new(settings.max_instances, settings.max_memory_bytes),
            workers: Workers::start(settings.workers)?,
            here: Semaphore::new(usize::from(settings.callers > 1)),
            live,
        })))
    }

    /// Everything that has to hold before a component is taken: its form, its imports and exports, that it compiles, and what
    /// it says of itself in a world where nothing was ever said.
    ///
    /// # Errors
    /// [`Error::Refused`] and [`Error::Guest`] are the component's fault and written for its author.
    pub async fn check(&self, bytes: &[u8]) -> Result<Checked, Error> {
        let owned = bytes.to_vec();
        let (digest, outside, owned) = blocking(move || {
            let outside = prescan::prescan(&owned)?;
            world::fits(&outside)?;
            Ok((Digest::of(&owned), outside, owned))
        })
        .await?;
        let plugin = self
            .load(&digest, || async {
                Ok::<_, std::convert::Infallible>(owned)
            })
            .await?;
        match self.ask(&plugin, Call::Describe).await? {
            Answer::Described(info) => Ok(Checked {
                digest,
                size_bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
                manifest: check::manifest(*info)?,
                imports: outside.imports,
            }),
            _ => Err(Error::Guest(misanswered())),
        }
    }

    /// The plugin of this digest, ready to run: from memory, else from the directory of compiled components, else compiled
    /// now from what `bytes` gives.
    ///
    /// # Errors
    /// If the bytes can't be had, are those of another plugin, or are refused.
    pub async fn load<F, Fut, E>(&self, digest: &Digest, bytes: F) -> Result<Plugin, Error>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Vec<u8>, E>>,
        E: std::error::Error + Send + Sync + 'static,
    {
        self.0.registry.load(digest, bytes).await
    }

    /// Asks the plugin what is wrong with a configuration. The inner result has its answer, one sentence for each problem.
    ///
    /// # Errors
    /// If the plugin fails instead of answering.
    pub async fn validate_config(
        &self,
        plugin: &Plugin,
        json: &str,
    ) -> Result<Result<(), Vec<String>>, Error> {
        match self
            .ask(plugin, Call::ValidateConfig(json.to_owned()))
            .await?
        {
            Answer::Validated(validity) => Ok(validity.map_err(check::problems)),
            _ => Err(Error::Guest(misanswered())),
        }
    }

    /// Runs a turn. It waits for a slot and for its memory first, which is no part of its time. If the future is dropped the guest is stopped, whatever it
    /// does, within a few milliseconds.
    pub async fn run(&self, plugin: &Plugin, turn: TurnInput) -> Run {
        let (tenant, call, around) = taken_apart(turn);
        let finished = self.call(plugin, &tenant, call, around).await;
        let result = match finished.answer {
            Ok(Answer::Handled(Ok(outcome))) => Ok(outcome),
            Ok(Answer::Handled(Err(error))) => Err(failure::of_answer(error)),
            Ok(_) => Err(misanswered()),
            Err(failure) => Err(failure),
        };
        Run {
            result,
            logs: finished.logs,
            logs_dropped: finished.logs_dropped,
            cpu: finished.cpu,
            wall: finished.wall,
            memory_peak: finished.memory_peak,
        }
    }

    /// How many guests live now. It changes when one comes or goes.
    #[must_use]
    pub fn live_instances(&self) -> watch::Receiver<usize> {
        self.0.live.subscribe()
    }

    /// Calls a guest outside of any conversation.
    async fn ask(&self, plugin: &Plugin, call: Call) -> Result<Answer, Error> {
        // Nobody is there to show presence to.
        let (presence, _) = unbounded_channel();
        let around = Surroundings {
            config: String::new(),
            limits: check::NO_CHANNEL,
            window_open: true,
            budget: check::BUDGET,
            clock: Timestamp::default(),
            seed: 0,
            reads: Arc::new(NoReads),
            presence,
        };
        // Checks take turns with the tenants as one of their own.
        let asking = TenantId::from_trusted("");
        let finished = self.call(plugin, &asking, call, around).await;
        finished.answer.map_err(Error::Guest)
    }

    async fn call(
        &self,
        plugin: &Plugin,
        tenant: &TenantId,
        call: Call,
        around: Surroundings,
    ) -> Finished {
        let shared = &self.0;
        let memory = around.budget.memory_bytes.min(limits::MOST_MEMORY);
        let slot = shared.queue.slot(tenant, memory).await;
        let Some(seat) = shared.workers.seat() else {
            return stopped();
        };
        let held = (Live::new(&shared.live), slot);
        shared.ticker.wake();
        let mut call = hold_and_run(plugin.clone(), call, around, held, seat.pace()).boxed();
        if plugin.prompt.is_proved()
            && let Ok(_here) = shared.here.try_acquire()
        {
            if let Some(finished) = poll_immediate(&mut call).await {
                plugin.prompt.count(finished.steps, finished.cpu);
                return finished;
            }
            plugin.prompt.did_not_end();
        }
        let finished = seat.run(call).await.unwrap_or_else(|_| stopped());
        plugin.prompt.count(finished.steps, finished.cpu);
        finished
    }
}

fn stopped() -> Finished {
    Finished::not_run(failure::new(
        FailureKind::Host,
        "the host stopped the plugin",
    ))
}

/// A call was answered with another one's answer, which only a fault of this module can bring about.
fn misanswered() -> TurnFailure {
    failure::new(FailureKind::Host, "the plugin's answer went astray")
}
