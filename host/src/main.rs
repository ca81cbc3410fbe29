//! Parses the command line and runs the command.

use std::process::ExitCode;

use clap::Parser as _;
use nodepath::cli::{self, Cli};

fn main() -> ExitCode {
    // In the tests' build, FAILPOINTS in the environment says where the process panics or ends.
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    cli::run(Cli::parse())
}
