//! `cargo xtask guests`: plugins that misbehave, on the real executable, beside an innocent tenant whose answers are timed.

use crate::layout::Layout;
use crate::{plugins, process, progress, wasm_toolchain};
use anyhow::{Result, bail};
use std::process::{Command, ExitCode};

/// What the arguments choose: `--quick` and `--dev`, and names of misbehaviours.
struct Choice<'a> {
    is_quick: bool,
    /// The unoptimised host: it is there already wherever tests run, and its answers are slower with and without an attack.
    is_dev: bool,
    names: Vec<&'a String>,
}

pub(crate) fn run(layout: &Layout, arguments: &[String]) -> Result<ExitCode> {
    let choice = choice(arguments)?;
    let toolchain = wasm_toolchain::set_up(layout)?;
    plugins::build(layout, &toolchain)?;
    let what = if choice.is_dev {
        "building the host"
    } else {
        "building the host as it is released (about a quarter of an hour the first time)"
    };
    progress::step(what, || build(layout, "nodepath", choice.is_dev))?;
    progress::step("building the load", || {
        build(layout, "nodepath-test-guests", true)
    })?;
    let target = layout.target()?;
    let host = if choice.is_dev { "debug" } else { "release" };
    let mut load = Command::new(target.join("debug/nodepath-guests"));
    load.arg(target.join(host).join("nodepath"))
        .arg(layout.components())
        // Compiled by another build of the host, they are of no use.
        .arg(target.join(host).join("guests-compiled"))
        .args(choice.is_quick.then_some("--quick"))
        .args(choice.names);
    if process::status(&mut load)?.success() {
        return Ok(ExitCode::SUCCESS);
    }
    bail!(
        "a plugin that misbehaves is not contained; the table above says which, and what is wrong"
    )
}

fn choice(arguments: &[String]) -> Result<Choice<'_>> {
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let is_known = |argument: &&String| ["--quick", "--dev"].contains(&argument.as_str());
    let names: Vec<_> = arguments.iter().filter(|a| !is_known(a)).collect();
    if let Some(unknown) = names.iter().find(|name| name.starts_with('-')) {
        bail!("guests knows --quick and --dev, and names of misbehaviours, but not {unknown}");
    }
    Ok(Choice {
        is_quick: has("--quick"),
        is_dev: has("--quick") || has("--dev"),
        names,
    })
}

fn build(layout: &Layout, package: &str, is_dev: bool) -> Result<()> {
    process::run(
        process::cargo()
            .current_dir(&layout.root)
            .args(["build", "--locked", "--package", package])
            .args((!is_dev).then_some("--release")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quick_run_takes_the_host_that_tests_have() -> Result<()> {
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let quick = words("--quick loop");
        let quick = choice(&quick)?;
        assert!(quick.is_quick && quick.is_dev && quick.names == ["loop"]);
        assert!(!choice(&[])?.is_dev);
        assert!(choice(&words("--fast")).is_err());
        Ok(())
    }
}
