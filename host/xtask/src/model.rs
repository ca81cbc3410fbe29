//! `cargo xtask model`: the lock protocol as a model of which every state is visited, and the store against its reference.

use crate::layout::Layout;
use crate::process;
use anyhow::{Context, Result, bail};
use std::process::{Command, ExitCode};

/// How many cases are tried, and for how long at most: a busy machine tries fewer.
const QUICK: (u64, u64) = (400, 60);
const FULL: (u64, u64) = (5_000, 1_200);

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    is_quick: bool,
    /// None draws one, which is printed.
    seed: Option<u64>,
    cases: u64,
    /// In seconds.
    longest: u64,
}

pub(crate) fn run(layout: &Layout, arguments: &[String]) -> Result<ExitCode> {
    let asked = parse(arguments)?;
    // Both are run whatever the first says: they look at different things.
    let protocol = process::status(&mut protocol(layout, &asked))?;
    let store = process::status(&mut store(layout, &asked))?;
    if !protocol.success() {
        bail!("the lock protocol breaks a promise, or a guard is not missed; the story is above");
    }
    if !store.success() {
        bail!(
            "the store does not do what the reference says; the story is above, and `cargo xtask model --seed …` repeats it"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Visits the worlds, takes each guard away, and prints the table of both.
fn protocol(layout: &Layout, asked: &Asked) -> Command {
    let mut command = test(layout, "nodepath-model", "protocol", "table");
    if asked.is_quick {
        command.env("NODEPATH_MODEL_QUICK", "1");
    }
    command
}

/// Tries the cases, and prints how often each kind of step was taken.
fn store(layout: &Layout, asked: &Asked) -> Command {
    let mut command = test(layout, "nodepath", "model", "campaign");
    command.env("NODEPATH_MODEL_CASES", asked.cases.to_string());
    command.env("NODEPATH_MODEL_SECONDS", asked.longest.to_string());
    if let Some(seed) = asked.seed {
        command.env("NODEPATH_MODEL_SEED", seed.to_string());
    }
    command
}

/// One of the tests that are left out otherwise, with all that it prints.
fn test(layout: &Layout, package: &str, target: &str, name: &str) -> Command {
    let mut command = process::cargo();
    command.current_dir(&layout.root).args([
        "test",
        "--quiet",
        "--locked",
        "--package",
        package,
        "--test",
        target,
        name,
        "--",
        "--ignored",
        "--nocapture",
    ]);
    command
}

fn parse(arguments: &[String]) -> Result<Asked> {
    let is_quick = arguments.iter().any(|a| a == "--quick");
    let (cases, longest) = if is_quick { QUICK } else { FULL };
    let mut asked = Asked {
        is_quick,
        seed: None,
        cases,
        longest,
    };
    let mut words = arguments.iter().filter(|a| *a != "--quick");
    while let Some(name) = words.next() {
        let mut number = || -> Result<u64> {
            let value = words.next().map_or("", String::as_str);
            value.parse().with_context(|| {
                format!("{name} needs a number, for example `cargo xtask model {name} 7`")
            })
        };
        match name.as_str() {
            "--seed" => asked.seed = Some(number()?),
            "--cases" => asked.cases = number()?,
            unknown => bail!("{unknown} is unknown; there are --quick, --seed N and --cases N"),
        }
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Asked> {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words)
    }

    #[test]
    fn a_run_can_be_named_and_repeated() {
        let asked = Asked {
            is_quick: true,
            seed: Some(7),
            cases: 9,
            longest: QUICK.1,
        };
        assert_eq!(parse_line("--seed 7 --quick --cases 9").unwrap(), asked);
        assert_eq!(parse_line("").unwrap().cases, FULL.0);
        assert_eq!(parse_line("--quick").unwrap().cases, QUICK.0);
    }

    #[test]
    fn what_is_not_understood_is_told() {
        for (line, told) in [("--seed", "--seed 7"), ("--fast", "--quick")] {
            let error = parse_line(line).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }
}
