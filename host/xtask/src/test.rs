//! `cargo xtask test`: the plugins' own tests on this machine, then everything in the host's workspace.

use crate::layout::Layout;
use crate::{author, cargo_component, oracles, plugins, process, progress, wasm_toolchain};
use anyhow::{Result, bail};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

pub(crate) fn run(layout: &Layout, arguments: &[String]) -> Result<ExitCode> {
    let environment = set_up(layout)?;
    progress::step("testing the plugins' own logic", || test_plugins(layout))?;
    let mut tests = host_tests();
    tests
        .current_dir(&layout.root)
        .args(arguments)
        .envs(environment);
    eprintln!("xtask: testing the host (it takes about five minutes to compile the first time)");
    if !process::status(&mut tests)?.success() {
        bail!("tests failed");
    }
    Ok(ExitCode::SUCCESS)
}

/// Installs and builds what the tests need, and answers what to tell them in their environment.
///
/// Only a few tests need the oracles and cargo-component. Where those can't be had, the variable stays unset and those tests
/// fail, each saying what it misses, while all the others still run.
pub(crate) fn set_up(layout: &Layout) -> Result<Vec<(&'static str, PathBuf)>> {
    let toolchain = wasm_toolchain::set_up(layout)?;
    plugins::build(layout, &toolchain)?;
    let author = cargo_component::set_up(layout)
        .and_then(|cargo_component| author::set_up(layout, &toolchain, &cargo_component));
    let oracles = oracles::set_up(layout);
    let found = [(author::VARIABLE, author), (oracles::VARIABLE, oracles)];
    let mut environment = Vec::new();
    for (variable, path) in found {
        match path {
            Ok(path) => environment.push((variable, path)),
            Err(error) => eprintln!(
                "xtask: without {variable}, the tests that need it will fail: {}",
                progress::describe(&error)
            ),
        }
    }
    Ok(environment)
}

fn test_plugins(layout: &Layout) -> Result<()> {
    process::run(
        process::cargo()
            .current_dir(layout.plugins())
            .args([
                "test",
                "--quiet",
                "--locked",
                "--workspace",
                "--lib",
                "--target-dir",
            ])
            .arg(layout.plugins_target()),
    )
}

fn host_tests() -> Command {
    let mut command = process::cargo();
    if process::output(process::cargo().args(["nextest", "--version"])).is_ok() {
        command.args(["nextest", "run", "--locked", "--workspace"]);
    } else {
        eprintln!("xtask: cargo-nextest is not installed; `cargo test` does it too, only slower");
        command.args(["test", "--locked", "--workspace"]);
    }
    command
}
