//! `cargo xtask crash`: the campaign of `tests/crash`, with what it needs from outside.
//!
//! It needs two executables: that of the tests, and one with planted bugs, which it must see. They share a target folder, since only
//! the host's own crate differs; the second is kept under another name before the first takes its place. The full disk needs a mount
//! namespace, and the clock a library: where they can't be had, those scenarios say so and are not run.

use crate::layout::Layout;
use crate::{faketime, plugins, process, progress, wasm_toolchain};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

/// What the command line asks for, as the campaign reads it from its environment.
fn environment(arguments: &[String]) -> Result<Vec<(&'static str, String)>> {
    let mut environment = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = |what| {
            let value = arguments.next();
            value
                .cloned()
                .with_context(|| format!("{argument} wants {what}"))
        };
        environment.push(match argument.as_str() {
            "--quick" => ("CRASH_QUICK", "1".to_owned()),
            "--seed" => ("CRASH_SEED", value("a number")?),
            "--only" => ("CRASH_ONLY", value("a part of a scenario's name")?),
            unknown => {
                bail!("there is no option {unknown}; write --quick, --seed N or --only SCENARIO")
            }
        });
    }
    Ok(environment)
}

pub(crate) fn run(layout: &Layout, arguments: &[String]) -> Result<ExitCode> {
    let mut environment = environment(arguments)?;
    let toolchain = wasm_toolchain::set_up(layout)?;
    plugins::build(layout, &toolchain)?;
    let planted = progress::step("building the host with planted bugs", || planted(layout))?;
    environment.push(("CRASH_PLANTED", planted.display().to_string()));
    progress::step("building the host and its tests", || {
        process::run(campaign(&mut process::cargo(), layout).arg("--no-run"))
    })?;
    match faketime::set_up(layout) {
        Ok(library) => environment.push(("CRASH_FAKETIME", library.display().to_string())),
        Err(error) => eprintln!("xtask: no clock is set: {}", progress::describe(&error)),
    }
    let mut command = process::cargo();
    if let Some(unshare) = namespace() {
        environment.push(("CRASH_MAY_MOUNT", "1".to_owned()));
        command = inside(unshare, &command);
    }
    let status = process::status(
        campaign(&mut command, layout)
            .envs(environment)
            .args(["--", "--ignored", "--exact", "--nocapture"])
            .arg("campaign::all_scenarios"),
    )?;
    if !status.success() {
        bail!("a promise is broken, or a bug was not seen; the lines above say which");
    }
    Ok(ExitCode::SUCCESS)
}

/// The executable with the bugs.
fn planted(layout: &Layout) -> Result<PathBuf> {
    let build = ["build", "--locked", "--package", "nodepath", "--bin"];
    process::run(
        process::cargo()
            .current_dir(&layout.root)
            .args(build)
            .args(["nodepath", "--features", "failpoints,planted-bugs"]),
    )?;
    let folder = layout.executables.join("planted");
    let kept = folder.join("nodepath");
    fs::create_dir_all(&folder)?;
    // Another run may be using the one that is there.
    let fresh = folder.join("nodepath.new");
    fs::copy(layout.executables.join("nodepath"), &fresh)?;
    fs::rename(fresh, &kept)?;
    Ok(kept)
}

fn campaign<'a>(command: &'a mut Command, layout: &Layout) -> &'a mut Command {
    command
        .current_dir(&layout.root)
        .args(["test", "--quiet", "--locked", "--package", "nodepath"])
        .args(["--test", "crash"])
}

/// A command that runs another, with its environment.
fn inside(mut outer: Command, inner: &Command) -> Command {
    outer.arg(inner.get_program());
    for (name, _) in inner.get_envs().filter(|(_, value)| value.is_none()) {
        outer.env_remove(name);
    }
    outer
}

/// A program that runs another in a mount namespace of its own, as root or as a user who may have one.
fn namespace() -> Option<Command> {
    let ways: [&[&str]; 2] = [&["--mount"], &["--mount", "--map-root-user"]];
    let works = |way: &&[&str]| {
        let mut attempt = Command::new("unshare");
        let mount = "mount -t tmpfs tmpfs /mnt";
        attempt
            .args(*way)
            .args(["sh", "-c", mount])
            .stderr(Stdio::null());
        attempt.status().is_ok_and(|status| status.success())
    };
    let way = ways.into_iter().find(works)?;
    let mut unshare = Command::new("unshare");
    unshare.args(way);
    Some(unshare)
}
