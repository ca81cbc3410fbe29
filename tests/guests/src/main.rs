//! `cargo xtask guests`: one innocent tenant and one whose plugins misbehave, on the real executable.
//!
//! The innocent tenant is written to at a steady rate all the time, and each answer is timed from the webhook to the reply at
//! the provider. Meanwhile the attacker's devices run one misbehaviour after the other; between any two the innocent tenant
//! is alone for a while, so that both are measured in the same minute of the same machine.

mod attacks;
mod campaign;
mod load;
mod measure;
mod provider;
mod report;
mod site;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use crate::campaign::Campaign;

const USAGE: &str = "nodepath-guests EXECUTABLE PLUGINS COMPILED [--quick] [NAME…]
EXECUTABLE is nodepath, PLUGINS the folder of built components, COMPILED where compiled ones may be kept;
--quick measures for seconds instead of minutes; names choose some misbehaviours.";

/// What is measured, on what.
pub(crate) struct Options {
    executable: PathBuf,
    plugins: PathBuf,
    compiled: PathBuf,
    is_quick: bool,
    only: Vec<String>,
}

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("guests: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options> {
    let mut arguments = std::env::args().skip(1);
    // The host runs in a directory of its own.
    let mut path = || std::path::absolute(arguments.next()?).ok();
    let paths = (|| Some((path()?, path()?, path()?)))();
    let (executable, plugins, compiled) = paths.context(USAGE)?;
    let (quick, only): (Vec<_>, Vec<_>) = arguments.partition(|argument| argument == "--quick");
    Ok(Options {
        executable,
        plugins,
        compiled,
        is_quick: !quick.is_empty(),
        only,
    })
}

/// One thread is enough for this load, and leaves the rest of the machine to the host.
fn run(options: &Options) -> Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        // The host goes with whatever drops it, and so it must be dropped.
        let mut terminated = signal(SignalKind::terminate())?;
        let campaign = async { Campaign::prepare(options).await?.run().await };
        tokio::select! {
            contained = campaign => contained,
            _ = terminated.recv() => bail!("stopped by a signal"),
            _ = tokio::signal::ctrl_c() => bail!("stopped by a signal"),
        }
    })
}
