//! `cargo xtask bench`: what a message costs, on the executable as it is released, and what of a turn is ours and not wasmtime's.

use crate::layout::Layout;
use crate::{plugins, process, progress, wasm_toolchain};
use anyhow::{Result, bail};
use std::process::{Command, ExitCode};

/// The measurement of a turn, among the sandbox's own tests: it needs what nobody else may see.
const TURN: &str = "tests::cost::a_turn_beside_bare_wasmtime";

/// What tells that measurement that the run is a quick one.
const QUICK: &str = "XTASK_QUICK";

pub(crate) fn run(layout: &Layout, arguments: &[String]) -> Result<ExitCode> {
    let is_quick = match arguments {
        [] => false,
        [quick] if quick == "--quick" => true,
        _ => bail!("bench knows --quick and nothing else"),
    };
    let toolchain = wasm_toolchain::set_up(layout)?;
    plugins::build(layout, &toolchain)?;
    for package in ["nodepath", "nodepath-bench"] {
        // Each by itself: together they would share features that neither asks for.
        let what = format!("building {package} as it is released (ten minutes the first time)");
        progress::step(&what, || {
            process::run(process::cargo().current_dir(&layout.root).args([
                "build",
                "--locked",
                "--release",
                "--package",
                package,
            ]))
        })?;
    }
    let message = message(layout, is_quick)?;
    let turn = turn(layout, is_quick)?;
    if message && turn {
        return Ok(ExitCode::SUCCESS);
    }
    bail!("a goal is not reached; the tables above say which")
}

/// The whole way of a message.
fn message(layout: &Layout, is_quick: bool) -> Result<bool> {
    let released = layout.target()?.join("release");
    let mut bench = Command::new(released.join("nodepath-bench"));
    bench
        .arg("--executable")
        .arg(released.join("nodepath"))
        .arg("--plugin")
        .arg(layout.components().join("echo.wasm"))
        .arg("--dir")
        .arg(layout.target()?.join("bench"))
        .args(is_quick.then_some("--quick"));
    Ok(process::status(&mut bench)?.success())
}

/// A turn beside bare wasmtime. A quick run takes the build of the tests, which is there already.
fn turn(layout: &Layout, is_quick: bool) -> Result<bool> {
    println!();
    let mut tests = process::cargo();
    tests
        .current_dir(&layout.root)
        .args([
            "test",
            "--quiet",
            "--locked",
            "--package",
            "nodepath-plugin",
            "--lib",
        ])
        .args((!is_quick).then_some("--release"))
        .args(["--", "--ignored", "--exact", "--nocapture", TURN]);
    if is_quick {
        tests.env(QUICK, "1");
    }
    Ok(process::status(&mut tests)?.success())
}
