//! The environment of a plugin's author, for the test that takes the author's way with `cargo component build`.
//!
//! One folder that goes first in PATH is all of it: `cargo` and `rustc` are the toolchain that compiles to WebAssembly,
//! `cargo-component` is there, and `rustup` refuses to download anything.

use crate::layout::Layout;
use crate::wasm_toolchain::WasmToolchain;
use anyhow::{Context, Result};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Names the folder to the tests.
pub(crate) const VARIABLE: &str = "NODEPATH_AUTHOR_PATH";

const RUSTUP_STUB: &str = include_str!("author/rustup-stub.sh");

/// Makes the folder anew, since what it leads to may have moved.
pub(crate) fn set_up(
    layout: &Layout,
    toolchain: &WasmToolchain,
    cargo_component: &Path,
) -> Result<PathBuf> {
    let folder = layout.executables.join("author-path");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let links = [
        ("cargo", toolchain.cargo.as_path()),
        ("rustc", &toolchain.rustc),
        ("cargo-component", cargo_component),
    ];
    for (name, file) in links {
        symlink(file, folder.join(name)).with_context(|| format!("could not link {name}"))?;
    }
    let stub = folder.join("rustup");
    fs::write(&stub, RUSTUP_STUB)?;
    fs::set_permissions(&stub, fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}
