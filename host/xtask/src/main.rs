//! `cargo xtask`: what a fresh checkout needs, set up and run; and the product attacked and measured, one command for each way.
//!
//! Everything that takes long is made once, outside the checkout, in [`Layout::cache`]: the compiler for the plugins
//! ([`wasm_toolchain`]), and for the tests cargo-component ([`cargo_component`]), the Python oracles ([`oracles`]) and a clock that lies ([`faketime`]).

mod apt;
mod author;
mod bench;
mod cargo_component;
mod cargo_fuzz;
mod cargo_tool;
mod crash;
mod demo;
mod faketime;
mod files;
mod fuzz;
mod guests;
mod layout;
mod lock;
mod model;
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
cargo xtask model [--quick] [--seed N] [--cases N]
                                        visit every state of the lock protocol, and try the store against its reference
cargo xtask guests [--quick] [--dev] [NAME…]
                                        plugins that misbehave beside an innocent tenant: what becomes of both
cargo xtask crash [--quick] [--seed N] [--only SCENARIO]
                                        kill and hinder the host in every way, and check the promises; --quick takes two minutes
cargo xtask fuzz [--quick] [--seconds N] [--seed N] [--keep] [TARGET…] [FILE…]
                                        run the fuzz targets, 20 minutes each or 10 s; --keep adds what they find to the
                                        corpus, and a target with files is run over those
cargo xtask bench [--quick]             what a message costs, in time, processor, fsyncs and memory, and what a turn costs
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
        "model" => model::run(&layout, rest),
        "guests" => guests::run(&layout, rest),
        "crash" => crash::run(&layout, rest),
        "fuzz" => fuzz::run(&layout, rest),
        "bench" => bench::run(&layout, rest),
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
