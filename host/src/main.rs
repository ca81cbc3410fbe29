//! Parses the command line and runs the command.

#[cfg(feature = "failpoints")]
mod failpoints;

use std::process::ExitCode;

use clap::Parser as _;
use nodepath::cli::{self, Cli};

// A host allocates on one thread what it frees on another, which costs glibc's allocator a fifth of a message's time.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _scenario = failpoints::set_up();
    cli::run(Cli::parse())
}
