//! One of several runs makes a thing; the others wait for it.

use anyhow::{Context, Result};
use std::fs::{File, TryLockError};
use std::path::Path;

/// Held until it is dropped. The system lets go of it when the process ends, however it ends.
pub(crate) struct Lock(
    #[expect(dead_code, reason = "it is the open file that holds the lock")] File,
);

impl Lock {
    /// Waits until no other run works on `what`, and says so if it has to wait.
    pub(crate) fn wait_for(what: &str, path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("could not create {}", folder.display()))?;
        }
        let failed = || format!("could not lock {}", path.display());
        let file = File::create(path).with_context(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                eprintln!("xtask: another run is working on {what}; waiting for it");
                file.lock().with_context(failed)?;
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(failed),
        }
        Ok(Self(file))
    }
}
