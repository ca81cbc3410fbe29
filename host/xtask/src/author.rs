//! The environment of a plugin's author, for the test that takes the author's way with `cargo component build`.
//!
//! One folder that goes first in PATH is all of it: `cargo` and `rustc` are the toolchain that compiles to WebAssembly,
//! `cargo-component` is there, and `rustup` refuses to download anything.

use crate::files;
use crate::layout::Layout;
use crate::wasm_toolchain::WasmToolchain;
use anyhow::Result;
use std::fs;
use std::path::{Path, PathBuf};

/// Names the folder to the tests.
pub(crate) const VARIABLE: &str = "XTASK_AUTHOR_PATH";

const RUSTUP_STUB: &str = include_str!("author/rustup-stub.sh");

/// Brings the folder up to date: what it leads to may have moved.
pub(crate) fn set_up(
    layout: &Layout,
    toolchain: &WasmToolchain,
    cargo_component: &Path,
) -> Result<PathBuf> {
    let folder = layout.executables.join("author-path");
    fs::create_dir_all(&folder)?;
    files::link(&toolchain.cargo, &folder.join("cargo"))?;
    files::link(&toolchain.rustc, &folder.join("rustc"))?;
    files::link(cargo_component, &folder.join("cargo-component"))?;
    files::write_script(&folder.join("rustup"), RUSTUP_STUB)?;
    Ok(folder)
}
