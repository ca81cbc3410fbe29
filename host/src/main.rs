//! Parses the command line and runs the command.

use std::process::ExitCode;

use clap::Parser as _;
use nodepath::cli::{self, Cli};

fn main() -> ExitCode {
    cli::run(Cli::parse())
}
