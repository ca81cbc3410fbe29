//! `cargo xtask demo`: builds what is needed, and becomes `nodepath demo`.

use crate::layout::Layout;
use crate::{plugins, process, progress, wasm_toolchain};
use anyhow::{Context, Result};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

pub(crate) fn run(layout: &Layout, arguments: &[String]) -> Result<ExitCode> {
    let toolchain = wasm_toolchain::set_up(layout)?;
    plugins::build(layout, &toolchain)?;
    progress::step(
        "building the host (about five minutes the first time)",
        || {
            process::run(process::cargo().current_dir(&layout.root).args([
                "build",
                "--locked",
                "--package",
                "nodepath",
            ]))
        },
    )?;
    // It takes the place of this process, so that signals reach it and its exit status is ours.
    let error = Command::new(layout.executables.join("nodepath"))
        .current_dir(&layout.root)
        .args(["demo", "--plugins"])
        .arg(layout.components())
        .args(arguments)
        .exec();
    Err(error).context("could not start the host that was just built")
}
