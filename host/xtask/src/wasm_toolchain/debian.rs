//! A private toolchain made of Debian's packages, for machines on which rustup must not download.
//!
//! Debian builds `rustc-web` and `rust-web-src` from one source, so that compiler and library always match: the packages are
//! unpacked, nothing is installed, and the standard library is compiled for the target. `wasi-libc` brings the C side of it.
//! Only the linkers and cargo are the active toolchain's.
//!
//! All of it happens in a folder that gets its real name when it is complete, so a run that was interrupted leaves nothing
//! that a later one could take for a toolchain.

use super::{Active, TARGET, WasmToolchain};
use crate::apt::{self, Lists};
use crate::layout::Layout;
use crate::lock::Lock;
use crate::{files, process, progress};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The name under which rustup knows it, for people: `cargo +nodepath-wasm component build`.
const NAME: &str = "nodepath-wasm";

/// The package with the source of the standard library.
const SOURCE: &str = "rust-web-src";

const COMPILER: &str = "rustc-web";
const C_LIBRARY: &str = "wasi-libc";

/// The last thing that is written.
const COMPLETE: &str = ".complete";

/// What to do when any of it fails.
const ADVICE: &str = "could not make the compiler for plugins from Debian's packages\n\
    Run this again to start over. It needs apt-get, dpkg, tar, a C compiler, 1 GB of disk, the Debian mirror that apt uses \
    and the crates registry.\n\
    To take the target from rustup instead, set XTASK_WASM_TOOLCHAIN=rustup.";

/// Finds its libraries beside it wherever it is, and itself as the sysroot.
const RUSTC_WRAPPER: &str = r#"#!/bin/sh
root=$(dirname "$(dirname "$(readlink -f "$0")")")
LD_LIBRARY_PATH="$root/lib:$root/lib/MULTIARCH${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export LD_LIBRARY_PATH
exec "$root/bin/rustc.real" --sysroot "$root" "$@"
"#;

/// Its derivatives have apt-get too, but not these packages.
pub(super) fn is_here() -> bool {
    let is_debian = fs::read_to_string("/etc/os-release")
        .is_ok_and(|release| release.lines().any(|line| line == "ID=debian"));
    is_debian && process::find("apt-get").is_some() && process::find("dpkg-deb").is_some()
}

pub(super) fn set_up(layout: &Layout, active: &Active) -> Result<WasmToolchain> {
    let folder = layout.cache.join("wasm-toolchain");
    let toolchain = folder.join("toolchain");
    let _lock = Lock::wait_for("the compiler for plugins", &folder.join("lock"))?;
    if !is_complete(&toolchain) {
        eprintln!(
            "xtask: this Rust toolchain has no target {TARGET}; making a private compiler for it from Debian's packages \
             (once, about two minutes, 140 MB of packages), in {}",
            toolchain.display()
        );
        make(&folder, &toolchain, active).context(ADVICE)?;
        tell_rustup(&toolchain);
    }
    // The active toolchain may have changed since.
    link_to_active(&toolchain, active)?;
    Ok(WasmToolchain {
        rustc: toolchain.join("bin/rustc"),
        cargo: active.cargo(),
    })
}

fn is_complete(toolchain: &Path) -> bool {
    toolchain.join(COMPLETE).is_file()
        && process::output(Command::new(toolchain.join("bin/rustc")).arg("--version")).is_ok()
}

fn make(folder: &Path, toolchain: &Path, active: &Active) -> Result<()> {
    let work = Work::begin(folder)?;
    progress::step("downloading the packages", || {
        apt::download(&work.packages, &work.apt, packages)
    })?;
    progress::step("unpacking them", || work.unpack())?;
    work.assemble(active)?;
    progress::step(
        &format!("compiling the standard library for {TARGET}"),
        || work.compile_library(active),
    )?;
    fs::write(work.toolchain.join(COMPLETE), "")?;
    if toolchain.exists() {
        fs::remove_dir_all(toolchain)?;
    }
    fs::rename(&work.toolchain, toolchain)?;
    fs::remove_dir_all(&work.folder)?;
    Ok(())
}

/// The packages that a compiler is made of.
fn packages(lists: &Lists<'_>) -> Result<Vec<String>> {
    let development = lists.dependency(COMPILER, "libstd-rust-web-dev")?;
    let library = lists.dependency(&development, "libstd-rust-web-1")?;
    let llvm = lists
        .dependency(&library, "libllvm")
        .or_else(|_| lists.dependency(COMPILER, "libllvm"))?;
    let ours = [COMPILER, SOURCE, C_LIBRARY].map(str::to_owned);
    Ok([development, library, llvm]
        .into_iter()
        .chain(ours)
        .collect())
}

/// The folders of one attempt.
struct Work {
    folder: PathBuf,
    /// The `.deb` files.
    packages: PathBuf,
    /// Package lists of our own, where the system's are missing.
    apt: PathBuf,
    /// The packages' contents.
    root: PathBuf,
    toolchain: PathBuf,
}

impl Work {
    fn begin(folder: &Path) -> Result<Self> {
        let folder = folder.join("unfinished");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let work = Self {
            packages: folder.join("packages"),
            apt: folder.join("apt"),
            root: folder.join("root"),
            toolchain: folder.join("toolchain"),
            folder,
        };
        for folder in [&work.packages, &work.root, &work.toolchain.join("bin")] {
            fs::create_dir_all(folder)?;
        }
        Ok(work)
    }

    fn unpack(&self) -> Result<()> {
        for entry in fs::read_dir(&self.packages)? {
            let package = entry?.path();
            if package
                .extension()
                .is_none_or(|extension| extension != "deb")
            {
                continue;
            }
            let name = package.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(SOURCE) {
                self.unpack_library(&package)?;
            } else {
                process::output(
                    Command::new("dpkg-deb")
                        .arg("-x")
                        .args([&package, &self.root]),
                )?;
            }
        }
        fs::remove_dir_all(&self.packages)?;
        Ok(())
    }

    /// Only the standard library: the rest of the compiler's source is ten times as large.
    fn unpack_library(&self, package: &Path) -> Result<()> {
        let mut archive = Command::new("dpkg-deb")
            .arg("--fsys-tarfile")
            .arg(package)
            .stdout(Stdio::piped())
            .spawn()
            .context("could not run dpkg-deb")?;
        let contents = archive.stdout.take().context("dpkg-deb has no output")?;
        process::run(
            Command::new("tar")
                .arg("-x")
                .arg("-C")
                .arg(&self.root)
                .args(["--wildcards", "./usr/src/rustc-*/library"])
                .stdin(contents),
        )?;
        archive.wait()?;
        Ok(())
    }

    fn assemble(&self, active: &Active) -> Result<()> {
        let bin = self.toolchain.join("bin");
        fs::rename(self.root.join("usr/lib"), self.toolchain.join("lib"))?;
        fs::rename(self.root.join("usr/bin/rustc"), bin.join("rustc.real"))?;
        let multiarch = active.host.replace("-unknown-", "-");
        let wrapper = bin.join("rustc");
        files::write_script(&wrapper, &RUSTC_WRAPPER.replace("MULTIARCH", &multiarch))?;
        link_to_active(&self.toolchain, active)
    }

    fn compile_library(&self, active: &Active) -> Result<()> {
        let library = self.library_source()?;
        // Debian points it at a folder of vendored crates that the package does not have. The lock file stays.
        if library.join(".cargo").exists() {
            fs::remove_dir_all(library.join(".cargo"))?;
        }
        let build = self.folder.join("build");
        let rustc = self.toolchain.join("bin/rustc");
        let toolchain = WasmToolchain {
            rustc,
            cargo: active.cargo(),
        };
        // The step has a heartbeat, and cargo would only warn that the library is not for this machine.
        process::output(
            toolchain
                .cargo()
                .current_dir(&library)
                .args([
                    "build",
                    "--release",
                    "--locked",
                    "--package",
                    "sysroot",
                    "--target",
                    TARGET,
                ])
                .args(["--features", "panic-unwind", "--target-dir"])
                .arg(&build)
                .env("RUSTC_BOOTSTRAP", "1")
                .env(
                    "RUSTFLAGS",
                    "-Zforce-unstable-if-unmarked -Cembed-bitcode=yes",
                ),
        )?;
        self.install_library(&build.join(TARGET).join("release/deps"))
    }

    fn library_source(&self) -> Result<PathBuf> {
        let sources = self.root.join("usr/src");
        for entry in fs::read_dir(&sources)? {
            let library = entry?.path().join("library");
            if library.is_dir() {
                return Ok(library);
            }
        }
        anyhow::bail!("the package {} has no library in it", SOURCE)
    }

    fn install_library(&self, compiled: &Path) -> Result<()> {
        let target = self.toolchain.join("lib/rustlib").join(TARGET).join("lib");
        let self_contained = target.join("self-contained");
        fs::create_dir_all(&self_contained)?;
        for entry in fs::read_dir(compiled)? {
            let file = entry?.path();
            if file
                .extension()
                .is_some_and(|extension| extension == "rlib")
            {
                fs::copy(&file, target.join(file.file_name().unwrap_or_default()))?;
            }
        }
        let libc = self.toolchain.join("lib/wasm32-wasi");
        for file in ["crt1-command.o", "crt1-reactor.o", "libc.a"] {
            fs::copy(libc.join(file), self_contained.join(file))
                .with_context(|| format!("the package wasi-libc has no {file}"))?;
        }
        Ok(())
    }
}

/// Links the linkers and cargo of the active toolchain. Links and not copies, since they find their libraries beside them.
fn link_to_active(toolchain: &Path, active: &Active) -> Result<()> {
    let rustlib = toolchain.join("lib/rustlib").join(&active.host);
    fs::create_dir_all(&rustlib)?;
    files::link(&active.linkers(), &rustlib.join("bin"))?;
    files::link(&active.cargo(), &toolchain.join("bin/cargo"))
}

/// A convenience for people at the prompt; nothing here depends on it.
fn tell_rustup(toolchain: &Path) {
    let linked = process::output(
        Command::new("rustup")
            .args(["toolchain", "link", NAME])
            .arg(toolchain),
    );
    match linked {
        Ok(_) => {
            eprintln!("xtask: rustup knows it as {NAME}: `cargo +{NAME} component build` uses it")
        }
        Err(_) => eprintln!("xtask: rustup was not told of it, which only matters at the prompt"),
    }
}
