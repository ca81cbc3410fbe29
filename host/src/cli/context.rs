//! What commands work with: the configuration, the store and the plugin runtime, each opened when it is asked for.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::config::{Config, Inputs, Loaded};
use crate::model::Clock;
use crate::model::secret::Sealer;
use crate::plugin::{Compiler, Runtime, Settings};
use crate::store::Store;

/// What a command works with.
pub(super) struct Context {
    inputs: Inputs,
    clock: Clock,
    compiler: Option<Compiler>,
}

/// A plugin runtime whose compiled plugins are gone when it is dropped.
pub(super) struct Scratch {
    pub(super) runtime: Runtime,
    _dir: tempfile::TempDir,
}

impl Context {
    pub(super) fn of_process(inputs: Inputs) -> Self {
        Self {
            inputs,
            clock: Clock::System,
            compiler: None,
        }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn loaded(&self) -> anyhow::Result<Loaded> {
        Ok(Config::load(&self.inputs)?)
    }

    /// The store, beside whatever host runs on it, for what neither seals nor opens credentials: it works without the key.
    pub(super) async fn store(&self) -> anyhow::Result<Store> {
        let path = self.present_database()?;
        self.open(&path, None).await
    }

    /// The store with its sealing key.
    pub(super) async fn sealing_store(&self) -> anyhow::Result<Store> {
        self.present_database()?;
        self.store_or_new().await
    }

    /// The database must be there: a path that is relative to another directory would otherwise show an empty one.
    fn present_database(&self) -> anyhow::Result<PathBuf> {
        let path = self.loaded()?.config.database_path();
        if !path.exists() {
            anyhow::bail!(
                "there is no database {}: run this where the host runs, or set data_dir; the first `nodepath tenant add NAME` makes a new one",
                path.display()
            );
        }
        Ok(path)
    }

    /// The store; if there is none yet, a new one with a new sealing key.
    pub(super) async fn store_or_new(&self) -> anyhow::Result<Store> {
        let config = self.loaded()?.config;
        self.open(&config.database_path(), Some(config.sealer()?))
            .await
    }

    async fn open(&self, path: &Path, sealer: Option<Sealer>) -> anyhow::Result<Store> {
        Store::open(path, self.clock.clone(), sealer)
            .await
            .with_context(|| format!("can't open the database {}", path.display()))
    }

    /// Who compiles: this executable, called as a child under limits.
    pub(super) fn compiler(&self) -> anyhow::Result<Compiler> {
        match &self.compiler {
            Some(compiler) => Ok(compiler.clone()),
            None => Ok(Compiler::Child(
                std::env::current_exe().context("can't find this executable")?,
            )),
        }
    }

    /// The plugin runtime with the host's own cache, so that what a command compiles is ready when the host runs it.
    pub(super) fn runtime(&self) -> anyhow::Result<Runtime> {
        let config = self.loaded()?.config;
        let mut settings = Settings::new(config.cache_dir(), config.cache_key()?, self.compiler()?);
        settings.workers = config.workers;
        settings.max_instances = SCRATCH_INSTANCES;
        Ok(Runtime::new(settings)?)
    }

    /// A plugin runtime that leaves nothing behind and needs no configuration.
    pub(super) fn scratch(&self) -> anyhow::Result<Scratch> {
        self.scratch_of(SCRATCH_INSTANCES)
    }

    /// The same, with a pool of this size.
    pub(super) fn scratch_of(&self, max_instances: u32) -> anyhow::Result<Scratch> {
        let dir = tempfile::Builder::new()
            .prefix("nodepath-")
            .tempdir()
            .context(
                "can't make a temporary directory; set TMPDIR to a place where this user may write",
            )?;
        let runtime = scratch_runtime(dir.path(), max_instances, self.compiler()?)?;
        Ok(Scratch { runtime, _dir: dir })
    }
}

/// Instances that a command needs: it asks one plugin at a time.
const SCRATCH_INSTANCES: u32 = 2;

fn scratch_runtime(dir: &Path, max_instances: u32, compiler: Compiler) -> anyhow::Result<Runtime> {
    let key = Sealer::from_base64(&Sealer::generate_base64())?.derive("scratch");
    let mut settings = Settings::new(dir.join("plugin-cache"), key, compiler);
    settings.max_instances = max_instances;
    Ok(Runtime::new(settings)?)
}

#[cfg(test)]
pub(super) mod testing;
