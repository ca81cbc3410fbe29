//! cargo-component, which one test needs: the one that writes a plugin the way its author would.

use crate::layout::Layout;
use crate::lock::Lock;
use crate::{process, progress};
use anyhow::{Context, Result};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The last release, whose bindings the plugins use.
const VERSION: &str = "0.21.1";

/// Its file, installed if it is nowhere.
pub(crate) fn set_up(layout: &Layout) -> Result<PathBuf> {
    let root = layout.cache.join("cargo-component");
    let cached = root.join("bin/cargo-component");
    let _lock = Lock::wait_for(
        "cargo-component",
        &layout.cache.join("cargo-component.lock"),
    )?;
    let found = process::find("cargo-component")
        .into_iter()
        .chain([cached.clone()]);
    for file in found {
        if is_right_version(&file) {
            return Ok(file);
        }
    }
    let what =
        format!("installing cargo-component {VERSION} for the tests (once, 6 to 15 minutes)");
    progress::step(&what, || {
        // An interrupted run goes on where it stopped, since what it compiled stays.
        let build = root.join("build");
        process::run(
            process::cargo()
                .args(["install", "cargo-component", "--locked", "--force", "--version", VERSION])
                .arg("--root")
                .arg(&root)
                .arg("--target-dir")
                .arg(&build),
        )?;
        fs::remove_dir_all(&build).context("could not remove what it was built from")
    })
    .with_context(|| {
        format!("`cargo install cargo-component --locked --version {VERSION}` has to work for the test that needs it")
    })?;
    Ok(cached)
}

fn is_right_version(file: &PathBuf) -> bool {
    process::output(Command::new(file).args(["component", "--version"]))
        .is_ok_and(|answer| answer.split_whitespace().any(|word| word == VERSION))
}
