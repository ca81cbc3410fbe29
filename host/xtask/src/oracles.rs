//! The Python packages that tests check the host against: independent implementations of what a provider does.

use crate::layout::Layout;
use crate::lock::Lock;
use crate::{process, progress};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the interpreter to the tests.
pub(crate) const VARIABLE: &str = "XTASK_ORACLE_PYTHON";

/// The interpreter of an environment that has what `tests/oracles/requirements.txt` lists.
pub(crate) fn set_up(layout: &Layout) -> Result<PathBuf> {
    let requirements = layout.root.join("tests/oracles/requirements.txt");
    let wanted = fs::read_to_string(&requirements)
        .with_context(|| format!("could not read {}", requirements.display()))?;
    let folder = layout.cache.join("oracles");
    let _lock = Lock::wait_for("the Python oracles", &layout.cache.join("oracles.lock"))?;
    let python = folder.join("bin/python");
    if !is_complete(&folder, &python, &wanted) {
        progress::step(
            "installing the Python packages that the tests check against",
            || {
                install(&folder, &python, &requirements)?;
                fs::write(installed_list(&folder), &wanted)?;
                Ok(())
            },
        )?;
    }
    Ok(python)
}

/// The list that an environment was made from is written last, so it also says that the environment is complete.
fn installed_list(folder: &Path) -> PathBuf {
    folder.join("requirements.txt")
}

fn is_complete(folder: &Path, python: &Path, wanted: &str) -> bool {
    fs::read_to_string(installed_list(folder)).is_ok_and(|installed| installed == wanted)
        && process::output(Command::new(python).arg("--version")).is_ok()
}

fn install(folder: &Path, python: &Path, requirements: &Path) -> Result<()> {
    if process::find("python3").is_none() {
        bail!(
            "there is no python3; install it together with its module venv (Debian: apt-get install python3-venv)"
        );
    }
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    process::output(Command::new("python3").args(["-m", "venv"]).arg(folder))
        .context("python3 can't make an environment (Debian: apt-get install python3-venv)")?;
    process::output(
        Command::new(python)
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--requirement",
            ])
            .arg(requirements),
    )
    .context("pip could not install them; it needs a network that reaches the package index")?;
    Ok(())
}
