//! The components that are ready to run: in memory, else compiled in a file, else compiled now.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use super::bindings::ConversationPre;
use super::cache::Cache;
use super::compile::{Compiler, Compiling};
use super::guest::{self, Guest};
use super::limits::{LOADED_BYTES, LOADED_COMPONENTS};
use super::lru::Lru;
use super::prompt::Promptness;
use super::{Error, world};
use nodepath_model::Digest;

/// A component that is ready to run. Clones are the same one.
#[derive(Clone)]
pub struct Plugin {
    /// What it is known by.
    pub(super) digest: Digest,
    /// How soon it answers.
    pub(super) prompt: Promptness,
    pre: ConversationPre<Guest>,
    code_bytes: u64,
}

impl Plugin {
    /// What it is known by.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    pub(super) fn pre(&self) -> &ConversationPre<Guest> {
        &self.pre
    }

    pub(super) fn engine(&self) -> &Engine {
        self.pre.engine()
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Plugin").field(&self.digest.short()).finish()
    }
}

/// The components of this process.
pub(super) struct Registry {
    shelf: Arc<Shelf>,
    compiling: Compiling,
    loaded: Mutex<Lru<Digest, Plugin>>,
}

/// What loading from a file needs, on whichever thread it blocks.
struct Shelf {
    engine: Engine,
    linker: Linker<Guest>,
    cache: Cache,
}

impl Registry {
    pub(super) fn new(engine: Engine, cache: Cache, compiler: Compiler) -> Result<Self, Error> {
        let linker = guest::linker(&engine)?;
        Ok(Self {
            shelf: Arc::new(Shelf {
                engine,
                linker,
                cache,
            }),
            compiling: Compiling::new(compiler),
            loaded: Mutex::new(Lru::new(LOADED_BYTES, LOADED_COMPONENTS)),
        })
    }

    /// The component of this digest. `bytes` is asked only if it was never compiled here.
    pub(super) async fn load<F, Fut, E>(&self, digest: &Digest, bytes: F) -> Result<Plugin, Error>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Vec<u8>, E>>,
        E: std::error::Error + Send + Sync + 'static,
    {
        if let Some(plugin) = self.loaded().get(digest) {
            return Ok(plugin);
        }
        if let Some(plugin) = self.in_file(digest).await? {
            return Ok(plugin);
        }
        let _turn = self.compiling.turn().await;
        // Whoever had the turn before may have compiled the same component.
        if let Some(plugin) = self.loaded().get(digest) {
            return Ok(plugin);
        }
        let component = bytes().await.map_err(|e| Error::Bytes(Box::new(e)))?;
        let code = self.compile(digest, component).await?;
        let (shelf, of) = (Arc::clone(&self.shelf), digest.clone());
        let plugin = blocking(move || shelf.keep(&of, &code)).await?;
        self.remember(&plugin);
        Ok(plugin)
    }

    async fn compile(&self, digest: &Digest, component: Vec<u8>) -> Result<Vec<u8>, Error> {
        let of = digest.clone();
        let component = blocking(move || match Digest::of(&component) == of {
            true => Ok(component),
            false => Err(Error::WrongDigest(of)),
        })
        .await?;
        self.compiling.compile(component).await
    }

    async fn in_file(&self, digest: &Digest) -> Result<Option<Plugin>, Error> {
        let (shelf, of) = (Arc::clone(&self.shelf), digest.clone());
        let plugin = blocking(move || shelf.load(&of)).await?;
        if let Some(plugin) = &plugin {
            self.remember(plugin);
        }
        Ok(plugin)
    }

    fn remember(&self, plugin: &Plugin) {
        let (digest, bytes) = (plugin.digest.clone(), plugin.code_bytes);
        self.loaded().put(digest, plugin.clone(), bytes);
    }

    fn loaded(&self) -> MutexGuard<'_, Lru<Digest, Plugin>> {
        // A panic between two writes would leave a count that is a little wrong, which only makes the shelf larger or smaller.
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn load(&self, digest: &Digest) -> Result<Option<Plugin>, Error> {
        self.cache
            .load(&self.engine, digest)?
            .map(|component| self.plugin(digest, &component))
            .transpose()
    }

    /// Keeps code that was just compiled, and loads it from where it is kept.
    fn keep(&self, digest: &Digest, code: &[u8]) -> Result<Plugin, Error> {
        self.cache.keep(digest, code).map_err(Error::Cache)?;
        self.load(digest)?.ok_or_else(|| {
            Error::Cache(io::Error::other(
                "what was just written is not there any more",
            ))
        })
    }

    fn plugin(&self, digest: &Digest, component: &Component) -> Result<Plugin, Error> {
        let pre = self.linker.instantiate_pre(component);
        let pre = pre.and_then(ConversationPre::new).map_err(|error| {
            Error::Refused(format!(
                "it does not fit the world `{}`: {error:#}; build it against this host's `wit/`",
                world::NAME
            ))
        })?;
        let range = component.image_range();
        let size = (range.end as usize).saturating_sub(range.start as usize);
        Ok(Plugin {
            digest: digest.clone(),
            prompt: Promptness::default(),
            pre,
            code_bytes: u64::try_from(size).unwrap_or(u64::MAX),
        })
    }
}

/// Runs what blocks, or computes for long, on a thread that is there for that.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(Error::Thread(io::Error::other("it panicked"))),
    }
}
