//! Where things are.

use anyhow::{Context, Result};
use std::env;
use std::path::{Path, PathBuf};

/// The folders that every step works in.
pub(crate) struct Layout {
    /// The checkout.
    pub(crate) root: PathBuf,
    /// What is made once for a user, whatever the checkout.
    pub(crate) cache: PathBuf,
    /// Where cargo put this executable, and will put `nodepath`.
    pub(crate) executables: PathBuf,
}

impl Layout {
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .nth(2)
            .context("the xtask crate is not in host/xtask of a checkout")?;
        let executable = env::current_exe().context("could not find out where xtask itself is")?;
        let executables = executable
            .parent()
            .context("xtask itself is not in a folder")?;
        Ok(Self {
            root: root.to_owned(),
            cache: user_cache()?.join("nodepath"),
            executables: executables.to_owned(),
        })
    }

    /// Cargo's folder for this workspace, with one for each profile.
    pub(crate) fn target(&self) -> Result<&Path> {
        let target = self.executables.parent();
        target.context("xtask itself is not in a target folder of cargo's")
    }

    pub(crate) fn plugins(&self) -> PathBuf {
        self.root.join("plugins")
    }

    /// The plugins' own target folder, wherever `CARGO_TARGET_DIR` points: the host's tests look for components here.
    pub(crate) fn plugins_target(&self) -> PathBuf {
        self.plugins().join("target")
    }

    pub(crate) fn components(&self) -> PathBuf {
        self.plugins_target().join("components")
    }
}

fn user_cache() -> Result<PathBuf> {
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .context("set HOME or XDG_CACHE_HOME, so that there is a place for what is built once")
}
