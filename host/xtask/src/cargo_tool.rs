//! Subcommands of cargo that the tests need, at the version that they need: found where they are, or installed once for a user.

use crate::layout::Layout;
use crate::lock::Lock;
use crate::{process, progress};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One of them.
pub(crate) struct CargoTool {
    /// What follows `cargo`.
    pub(crate) subcommand: &'static str,
    pub(crate) version: &'static str,
    /// How long it takes to install.
    pub(crate) takes: &'static str,
    /// What does not work without it, and what it needs.
    pub(crate) hint: &'static str,
}

impl CargoTool {
    /// Its file, installed if it is nowhere.
    pub(crate) fn set_up(&self, layout: &Layout) -> Result<PathBuf> {
        let (name, version) = (format!("cargo-{}", self.subcommand), self.version);
        let root = layout.cache.join(&name);
        let cached = root.join("bin").join(&name);
        let _lock = Lock::wait_for(&name, &layout.cache.join(format!("{name}.lock")))?;
        let found = process::find(&name).into_iter().chain([cached.clone()]);
        for file in found {
            if self.is_right_version(&file) {
                return Ok(file);
            }
        }
        let what = format!("installing {name} {version} (once, {})", self.takes);
        progress::step(&what, || {
            // An interrupted run goes on where it stopped, since what it compiled stays.
            let build = root.join("build");
            process::run(
                process::cargo()
                    .args([
                        "install",
                        &name,
                        "--locked",
                        "--force",
                        "--version",
                        version,
                    ])
                    .arg("--root")
                    .arg(&root)
                    .arg("--target-dir")
                    .arg(&build),
            )?;
            fs::remove_dir_all(&build).context("could not remove what it was built from")
        })
        .with_context(|| {
            format!(
                "`cargo install {name} --locked --version {version}` has to work for {}",
                self.hint
            )
        })?;
        Ok(cached)
    }

    fn is_right_version(&self, file: &Path) -> bool {
        process::output(Command::new(file).args([self.subcommand, "--version"]))
            .is_ok_and(|answer| answer.split_whitespace().any(|word| word == self.version))
    }
}
