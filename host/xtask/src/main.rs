//! `cargo xtask demo` and `cargo xtask test`: what a fresh checkout needs, set up and run.
//!
//! Everything that takes long is made once, outside the checkout, in [`Layout::cache`]: the compiler for the plugins
//! ([`wasm_toolchain`]), and for the tests cargo-component ([`cargo_component`]) and the Python oracles ([`oracles`]).

mod author;
mod cargo_component;
mod cargo_fuzz;
mod demo;
mod files;
mod fuzz;
mod layout;
mod lock;
mod oracles;
mod plugins;
mod process;
mod progress;
mod test;
mod wasm_toolchain;

use anyhow::Result;
use layout::Layout;
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask demo [--exit] [ARGUMENT…]   build everything, then show a conversation on a running host
cargo xtask test [ARGUMENT…]            set up and run all tests; arguments go to `cargo nextest run` or `cargo test`
cargo xtask fuzz [--quick] [--seconds N] [--seed N] [--keep] [TARGET…] [FILE…]
                                        run the fuzz targets, 20 minutes each or 10 s; --keep adds what they find to the
                                        corpus, and a target with files is run over those
cargo xtask plugins                     build the plugins into plugins/target/components
cargo xtask setup                       only install what the other commands would install

XTASK_WASM_TOOLCHAIN=active|debian|rustup says where the compiler for plugins comes from: it is the active toolchain
with its wasm32-wasip1 target, a private one made of Debian's packages, or the active one after `rustup target add`.
Without it, the first that works here is taken, and rustup on anything but Debian.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("\nxtask: {}", progress::describe(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<ExitCode> {
    let layout = Layout::find()?;
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", arguments),
    };
    match command {
        "demo" => demo::run(&layout, rest),
        "test" => test::run(&layout, rest),
        "fuzz" => fuzz::run(&layout, rest),
        "plugins" => {
            let toolchain = wasm_toolchain::set_up(&layout)?;
            plugins::build(&layout, &toolchain)?;
            Ok(ExitCode::SUCCESS)
        }
        "setup" => {
            let environment = test::set_up(&layout)?;
            for (variable, path) in environment {
                if variable == author::VARIABLE {
                    println!("A terminal for writing plugins:");
                    println!("    export PATH=\"{}:$PATH\"", path.display());
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        unknown => anyhow::bail!("there is no command `{unknown}`\n\n{USAGE}"),
    }
}
