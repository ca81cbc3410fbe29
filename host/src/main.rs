//! Parses the command line and runs the command.

#[cfg(feature = "failpoints")]
mod failpoints;

use std::process::ExitCode;

use clap::Parser as _;
use nodepath::cli::{self, Cli};

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _scenario = failpoints::set_up();
    cli::run(Cli::parse())
}
