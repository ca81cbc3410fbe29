//! What a command answers, and how errors are told.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde::Serialize;

use crate::store;

/// What a command answers: the same thing twice, of which one is printed.
#[derive(Debug)]
pub(super) struct Answer {
    text: String,
    json: serde_json::Value,
    done: Done,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Done {
    Well,
    Badly,
}

impl Answer {
    /// Something that was done. `text` is for people, `json` for programs; its names don't change.
    pub(super) fn new(text: impl Into<String>, json: impl Serialize) -> anyhow::Result<Self> {
        Ok(Self {
            text: text.into(),
            json: serde_json::to_value(json)?,
            done: Done::Well,
        })
    }

    /// Something that was looked at and is not as it should be: it is printed all the same, and the exit code tells.
    pub(super) fn bad(self) -> Self {
        Self {
            done: Done::Badly,
            ..self
        }
    }

    /// Nothing to print: everything was said on the way.
    pub(super) fn silent() -> Self {
        Self {
            text: String::new(),
            json: serde_json::Value::Null,
            done: Done::Well,
        }
    }

    pub(super) fn render(&self, as_json: bool) -> String {
        if self.text.is_empty() && self.json.is_null() {
            return String::new();
        }
        let mut text = if as_json {
            format!("{:#}", self.json)
        } else {
            self.text.trim_end().to_owned()
        };
        text.push('\n');
        text
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        match self.done {
            Done::Well => ExitCode::SUCCESS,
            Done::Badly => ExitCode::FAILURE,
        }
    }

    #[cfg(test)]
    pub(super) fn json(&self) -> &serde_json::Value {
        &self.json
    }

    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// The command line is at fault: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Usage(pub(super) String);

/// An error with its causes, one a line; a cause that the line before repeats is left out. What was named and does not exist is
/// followed by the command that lists what does.
pub(super) fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let words = cause.to_string();
        if text.is_empty() {
            text = words;
        } else if !text.contains(&words) {
            // Writing to a String can't fail.
            write!(text, "\n  because: {words}").unwrap_or_default();
        }
    }
    if let Some(command) = error.chain().find_map(list_command) {
        write!(text, "; `{command}` shows what there is").unwrap_or_default();
    }
    text
}

/// What lists the things of which one was not found.
fn list_command(cause: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let Some(store::Error::NotFound { what, .. }) = cause.downcast_ref() else {
        return None;
    };
    match *what {
        "tenant" => Some("nodepath tenant list"),
        "device" => Some("nodepath device list"),
        "conversation" => Some("nodepath conversation list"),
        "dead letter" => Some("nodepath dead list"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::super::context::testing::TestContext;
    use super::*;

    #[test]
    fn a_chain_says_nothing_twice() {
        let inner: anyhow::Result<()> = Err(std::io::Error::other("no space left").into());
        let error = inner
            .context("can't write: no space left")
            .context("plugin add");
        let error = error.unwrap_err();
        assert_eq!(
            chain(&error),
            "plugin add\n  because: can't write: no space left"
        );
    }

    #[tokio::test]
    async fn what_is_not_there_is_told_with_the_command_that_lists_what_is() {
        let t = TestContext::with_device().await;
        for (line, told) in [
            (
                "plugin list --tenant acmee",
                "there is no tenant acmee; `nodepath tenant list` shows what there is",
            ),
            (
                "device show wa",
                "there is no device wa; `nodepath device list` shows what there is",
            ),
            (
                "conversation show cnv_1",
                "there is no conversation cnv_1; `nodepath conversation list` shows what there is",
            ),
        ] {
            assert_eq!(chain(&t.run(line).await.unwrap_err()), told);
        }
        let replayed = t.run("dead replay msg_1").await.unwrap();
        assert_eq!(
            replayed.json()["failed"][0]["problem"],
            "there is no dead letter msg_1; `nodepath dead list` shows what there is"
        );
    }
}
