//! Links and scripts that other programs may be using while they are brought up to date.

use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// Makes `at` a link to `to`, and leaves it alone where it is one already.
pub(crate) fn link(to: &Path, at: &Path) -> Result<()> {
    if fs::read_link(at).is_ok_and(|old| old == to) {
        return Ok(());
    }
    if at.symlink_metadata().is_ok() {
        fs::remove_file(at)?;
    }
    symlink(to, at).with_context(|| format!("could not link {}", at.display()))
}

/// Writes a file that can be run, and leaves it alone where it is there already.
pub(crate) fn write_script(at: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(at).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let failed = || format!("could not write {}", at.display());
    fs::write(at, text).with_context(failed)?;
    fs::set_permissions(at, fs::Permissions::from_mode(0o755)).with_context(failed)
}
