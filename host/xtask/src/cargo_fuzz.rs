//! cargo-fuzz, which builds the fuzz targets and runs them.

use crate::layout::Layout;
use crate::lock::Lock;
use crate::{process, progress};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const VERSION: &str = "0.13.2";

/// The folder that has its executable, which is installed if it is nowhere.
pub(crate) fn set_up(layout: &Layout) -> Result<PathBuf> {
    let root = layout.cache.join("cargo-fuzz");
    let cached = root.join("bin/cargo-fuzz");
    let _lock = Lock::wait_for("cargo-fuzz", &layout.cache.join("cargo-fuzz.lock"))?;
    let found = process::find("cargo-fuzz")
        .into_iter()
        .chain([cached.clone()]);
    for file in found {
        if is_right_version(&file) {
            return folder(&file);
        }
    }
    let what = format!("installing cargo-fuzz {VERSION} (once, one or two minutes)");
    progress::step(&what, || {
        let build = root.join("build");
        process::run(
            process::cargo()
                .args(["install", "cargo-fuzz", "--locked", "--force", "--version", VERSION])
                .arg("--root")
                .arg(&root)
                .arg("--target-dir")
                .arg(&build),
        )?;
        fs::remove_dir_all(&build).context("could not remove what it was built from")
    })
    .with_context(|| {
        format!("`cargo install cargo-fuzz --locked --version {VERSION}` has to work for the fuzz targets; it needs a network that reaches the crates, and a C++ compiler (Debian: apt-get install g++) to build them")
    })?;
    folder(&cached)
}

fn is_right_version(file: &Path) -> bool {
    process::output(Command::new(file).args(["fuzz", "--version"]))
        .is_ok_and(|answer| answer.split_whitespace().any(|word| word == VERSION))
}

fn folder(file: &Path) -> Result<PathBuf> {
    let folder = file.parent().context("cargo-fuzz is in no folder")?;
    Ok(folder.to_owned())
}
