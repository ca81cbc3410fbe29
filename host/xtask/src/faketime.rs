//! libfaketime, through which the crash campaign sets the clock of the real executable. It is unpacked and not installed.

use crate::layout::Layout;
use crate::lock::Lock;
use crate::{apt, process, progress};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The Debian package.
const PACKAGE: &str = "libfaketime";

/// Its build for programs with threads.
const LIBRARY: &str = "libfaketimeMT.so.1";

/// The library, downloaded if it is nowhere.
pub(crate) fn set_up(layout: &Layout) -> Result<PathBuf> {
    let folder = layout.cache.join(PACKAGE);
    let library = folder.join(LIBRARY);
    let _lock = Lock::wait_for(PACKAGE, &layout.cache.join("libfaketime.lock"))?;
    if !library.is_file() {
        progress::step("downloading libfaketime", || download(&folder, &library))
            .context("only Debian's package is known here; without it the clock is not set")?;
    }
    Ok(library)
}

fn download(folder: &Path, library: &Path) -> Result<()> {
    let work = folder.join("unfinished");
    if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    let (packages, root) = (work.join("packages"), work.join("root"));
    fs::create_dir_all(&packages)?;
    let choose = |_: &apt::Lists<'_>| Ok(vec![PACKAGE.to_owned()]);
    apt::download(&packages, &work.join("apt"), choose)?;
    for package in fs::read_dir(&packages)? {
        let mut unpack = Command::new("dpkg-deb");
        process::output(unpack.arg("-x").args([&package?.path(), &root]))?;
    }
    // It is below a folder named after the machine, such as x86_64-linux-gnu.
    for folder in fs::read_dir(root.join("usr/lib"))? {
        let unpacked = folder?.path().join("faketime").join(LIBRARY);
        if unpacked.is_file() {
            fs::copy(unpacked, library)?;
            fs::remove_dir_all(&work)?;
            return Ok(());
        }
    }
    bail!("the package {PACKAGE} has no {LIBRARY} in it")
}
