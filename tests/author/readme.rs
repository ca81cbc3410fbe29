//! The commands of the README.

use crate::checkout;

/// A command, and what the README shows below it.
#[derive(Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) command: String,
    pub(crate) output: String,
}

/// The text below a heading of the second level.
pub(crate) fn section(heading: &str) -> String {
    let readme = std::fs::read_to_string(checkout().join("README.md")).unwrap();
    let (_, rest) = readme
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("the README has no section {heading:?}"));
    rest.split("\n## ").next().unwrap().to_owned()
}

/// The commands of its `console` blocks, in order. A command begins with `$ `, and goes on after a backslash.
pub(crate) fn steps(section: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for block in section.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap();
        for line in block.lines() {
            if let Some(command) = line.strip_prefix("$ ") {
                let (command, output) = (command.to_owned(), String::new());
                steps.push(Step { command, output });
                continue;
            }
            let step = steps.last_mut().expect("a block begins with a command");
            if step.command.ends_with('\\') && step.output.is_empty() {
                step.command = format!("{}\n{line}", step.command);
            } else {
                step.output = format!("{}\n{line}", step.output).trim().to_owned();
            }
        }
    }
    steps
}

#[test]
fn commands_are_told_from_what_they_print() {
    let section =
        "Text.\n```console\n$ a b\n$ c \\\n    d\nout 1\nout 2\n```\n```text\n$ not this\n```\n";
    let step = |command: &str, output: &str| Step {
        command: command.to_owned(),
        output: output.to_owned(),
    };
    assert_eq!(
        steps(section),
        [step("a b", ""), step("c \\\n    d", "out 1\nout 2")]
    );
}
