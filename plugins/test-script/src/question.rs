//! What the script asks the host, and replies with.

use crate::command::{Arguments, Malformed};
use crate::{say, wasi};
use guest_kit::handler::{Turn, TurnError};
use guest_kit::history::{self, Author, Entry};
use guest_kit::{clock, config};

#[derive(Debug, PartialEq)]
pub enum Question<'a> {
    /// `history N`: replies one `AUTHOR: TEXT` in a line, newest first, or `history: none`.
    History(u32),
    /// `config KEY`: replies `KEY=VALUE`, or `KEY is not set`. `config` alone replies the whole object.
    Config(Option<&'a str>),
    /// `now`: replies `now MS`.
    Now,
    /// `random`: replies `random NUMBER`.
    Random,
    /// `remaining`: replies `remaining MS`.
    Remaining,
    /// `turn`: replies `turn SEQ attempt N CHANNEL DEVICE PROSPECT NAME`.
    Turn,
    /// `wasi`: replies what it could see through WASI, one `NAME: VALUE` in a line.
    Wasi,
}

impl<'a> Question<'a> {
    pub fn parse(verb: &str, rest: &mut Arguments<'a>) -> Result<Option<Self>, Malformed> {
        Ok(Some(match verb {
            "history" => Self::History(rest.number()?),
            "config" => Self::Config(rest.optional_rest()),
            "now" => Self::Now,
            "random" => Self::Random,
            "remaining" => Self::Remaining,
            "turn" => Self::Turn,
            "wasi" => Self::Wasi,
            _ => return Ok(None),
        }))
    }

    pub fn run(self, turn: &Turn) -> Result<(), TurnError> {
        say::reply(&match self {
            Self::History(limit) => recent(limit),
            Self::Config(None) => config::all_json(),
            Self::Config(Some(key)) => say::value(key, config::get(key)),
            Self::Now => format!("now {}", clock::now()),
            Self::Random => format!("random {}", clock::random_u64()),
            Self::Remaining => format!("remaining {}", clock::remaining()),
            Self::Turn => describe(turn),
            Self::Wasi => wasi::probe(),
        })
    }
}

fn recent(limit: u32) -> String {
    match history::recent(limit, None) {
        Err(error) => format!("error: {error}"),
        Ok(page) if page.entries.is_empty() => "history: none".to_owned(),
        Ok(page) => {
            let lines: Vec<String> = page.entries.iter().map(history_line).collect();
            lines.join("\n")
        }
    }
}

fn history_line(entry: &Entry) -> String {
    let author = match entry.author {
        Author::Prospect => "prospect",
        Author::Plugin => "plugin",
        Author::Human => "human",
    };
    format!("{author}: {}", say::describe(&entry.content))
}

fn describe(turn: &Turn) -> String {
    let at = &turn.conversation;
    format!(
        "turn {} attempt {} {} {} {} {}",
        at.turn_seq,
        turn.attempt,
        at.channel,
        at.device_id,
        at.prospect_id,
        at.prospect_name.as_deref().unwrap_or("(no name)")
    )
}
