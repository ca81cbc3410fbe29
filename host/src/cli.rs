//! The command line: one file a command.
//!
//! A command that does one thing works on the store, beside a running host, and has an answer in two forms: what people read and
//! what programs read, of which one is printed. `serve`, `demo` and `chat` run a host of their own.
//!
//! Exit codes, which scripts may rely on: 0 it was done, 1 it failed, 2 the command line itself is wrong.

mod answer;
mod chat;
mod config;
mod context;
mod conversation;
mod dead;
pub mod demo;
mod device;
mod doctor;
mod files;
mod plugin;
mod serve;
mod table;
mod tenant;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Inputs;
use crate::plugin::compile_child;
use crate::telemetry;

use answer::{Answer, Usage};
use context::Context;

/// A webhook host for AI conversations: one message at a time goes to the tenant's sandboxed plugin, and one reply comes back.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// The configuration file [default: $NODEPATH_CONFIG, else ./nodepath.toml if there is one]
    #[arg(long, global = true, display_order = 900, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Answer with JSON on standard output; errors stay text on standard error
    #[arg(long, global = true, display_order = 901)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the host
    Serve,
    Demo(demo::Args),
    /// Print the effective configuration, and where each value comes from
    Config,
    /// Check whether a host would run well here, and say what to do about what is wrong
    Doctor,
    /// Tenants: the customers of this host
    #[command(subcommand)]
    Tenant(tenant::Command),
    /// Devices: the numbers and bots of a tenant
    #[command(subcommand)]
    Device(device::Command),
    /// Plugins: WebAssembly components that answer
    #[command(subcommand)]
    Plugin(plugin::Command),
    /// Talk to a plugin in the terminal, without a server or an account
    ///
    /// Lines come from standard input, so `echo hi | nodepath chat FILE` works too. The exit code is 1 if a turn failed. With
    /// --json each line of the output is an object with a `type`: plugin, reply, presence, log, effect, turn, failure, state or
    /// note.
    Chat(chat::Args),
    /// Conversations: look at them, and take them over
    #[command(subcommand)]
    Conversation(conversation::Command),
    /// Dead letters: what could not be answered or sent
    #[command(subcommand)]
    Dead(dead::Command),
    /// Compile a component from standard input; the host calls itself so, to compile under limits
    #[command(hide = true)]
    CompilePlugin,
}

/// Runs the command, prints its answer or what went wrong, and says how it ended.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    if matches!(cli.command, Command::CompilePlugin) {
        return compile_child();
    }
    match answer(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("nodepath: {}", answer::chain(&error));
            let usage = error.downcast_ref::<Usage>().is_some();
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}

fn answer(cli: Cli) -> anyhow::Result<ExitCode> {
    // `serve` speaks at length, by its configuration, and `demo` in its own way.
    if !matches!(cli.command, Command::Serve | Command::Demo(_)) {
        telemetry::start_quiet(quiet_filter(&cli.command))?;
    }
    let context = Context::of_process(Inputs::of_process(cli.config));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let answer = runtime.block_on(dispatch(cli.command, &context, cli.json));
    // A thread may still wait for a line of standard input, which nobody needs any more.
    runtime.shutdown_background();
    let answer = answer?;
    print(&answer.render(cli.json))?;
    Ok(answer.exit_code())
}

/// What a command's console shows of the log: `chat` shows a plugin's failures itself.
fn quiet_filter(command: &Command) -> &'static str {
    match command {
        Command::Chat(_) => "error",
        _ => "warn",
    }
}

async fn dispatch(command: Command, context: &Context, json: bool) -> anyhow::Result<Answer> {
    match command {
        Command::Serve => serve::run(context).await,
        Command::Demo(args) => args.run(context).await,
        Command::Config => config::run(context),
        Command::Doctor => doctor::run(context).await,
        Command::Tenant(command) => command.run(context).await,
        Command::Device(command) => command.run(context).await,
        Command::Plugin(command) => command.run(context).await,
        Command::Chat(args) => args.run(context, json).await,
        Command::Conversation(command) => command.run(context).await,
        Command::Dead(command) => command.run(context).await,
        // It never comes here: it runs before anything is set up.
        Command::CompilePlugin => Ok(Answer::silent()),
    }
}

/// Prints; whoever reads only the first lines, as `head` does, is no failure.
fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_of_the_readme_is_there() {
        for line in [
            "serve",
            "config --json",
            "doctor --json",
            "tenant add acme --max-pending 5",
            "tenant set acme --max-pending 5000 --json",
            "tenant list --json",
            "device add --tenant acme --channel generic --url https://x.test/in",
            "device show dev_1",
            "device set dev_1 --overlap queue --debounce 4s --set max_restarts=1",
            "device credentials dev_1 --access-token env:TOKEN",
            "plugin new echo",
            "plugin check echo.wasm",
            "plugin add echo.wasm --tenant acme --device dev_1",
            "plugin list --tenant acme",
            "chat echo.wasm",
            "conversation list --locked",
            "conversation show cnv_1",
            "conversation pause cnv_1 --for 2h",
            "dead replay msg_1 out_1",
            "dead replay --all",
            "--config x.toml dead list",
            "compile-plugin",
        ] {
            let args = std::iter::once("nodepath").chain(line.split(' '));
            assert!(Cli::try_parse_from(args).is_ok(), "{line}");
        }
    }
}
