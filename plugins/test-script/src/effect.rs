//! Effects, presence and log lines.

use crate::command::{Arguments, Malformed};
use crate::{misbehave, say};
use guest_kit::effects::{self, Button, MediaKind, OutboundMedia, SendOptions};
use guest_kit::handler::{Trigger, Turn, TurnError};
use guest_kit::{clock, log, presence};

#[derive(Debug, PartialEq)]
pub enum Effect<'a> {
    /// `reply TEXT`: sends a text.
    Reply(&'a str),
    /// `answer TEXT`: sends a text as an answer to the last message.
    Answer(&'a str),
    /// `parts N`: sends the texts `part 1` to `part N`.
    Parts(u64),
    /// `delay MS TEXT`: sends a text that waits that long after the one before it.
    Delay(u64, &'a str),
    /// `media URL [CAPTION]`: the kind follows from the file's extension, and is image without one that is known.
    Media(&'a str, Option<&'a str>),
    /// `buttons A,B,C`: below `Choose:`, with the ids `button-1` and so on.
    Buttons(Vec<&'a str>),
    /// `react [EMOJI]`: to the last message, with 👍 unless told.
    React(&'a str),
    /// `unreact`: takes the reaction back.
    Unreact,
    /// `handover REASON`: the effect; `give` is the error.
    Handover(&'a str),
    /// `timer ID MS [PAYLOAD]`: due that long after the start of the turn.
    Timer(&'a str, u64, &'a str),
    /// `cancel ID`
    Cancel(&'a str),
    /// `tag KEY [VALUE]`: takes the tag away where there is no value.
    Tag(&'a str, Option<&'a str>),
    /// `manyeffects N`: sends up to N texts, stops at the first error, and logs how many were taken.
    Many(u64),
    /// `bigtext N`: sends N times `x`.
    BigText(u64),
    /// `emoji N`: sends N times a family of three, which is one grapheme of 18 bytes.
    Emoji(u64),
    /// `typing`, `typing off`
    Typing(bool),
    /// `read`: marks the messages of this turn as read.
    Read,
    /// `log LEVEL TEXT`: with the turn's id as a field.
    Log(log::Level, &'a str),
    /// `flood N`: writes N log lines of 100 bytes.
    Flood(u64),
    /// `stdout TEXT`: through WASI.
    Stdout(&'a str),
    /// `stderr TEXT`: through WASI.
    Stderr(&'a str),
}

impl<'a> Effect<'a> {
    pub fn parse(verb: &str, rest: &mut Arguments<'a>) -> Result<Option<Self>, Malformed> {
        Ok(Some(match verb {
            "reply" => Self::Reply(rest.rest()),
            "answer" => Self::Answer(rest.rest()),
            "parts" => Self::Parts(rest.number()?),
            "delay" => Self::Delay(rest.number()?, rest.rest()),
            "media" => Self::Media(rest.word("a URL")?, rest.optional_rest()),
            "buttons" => Self::Buttons(rest.rest().split(',').map(str::trim).collect()),
            "react" => Self::React(rest.optional_rest().unwrap_or("👍")),
            "unreact" => Self::Unreact,
            "handover" => Self::Handover(rest.rest()),
            "timer" => Self::Timer(rest.word("an id")?, rest.number()?, rest.rest()),
            "cancel" => Self::Cancel(rest.word("an id")?),
            "tag" => Self::Tag(rest.word("a key")?, rest.optional_rest()),
            "manyeffects" => Self::Many(rest.number()?),
            "bigtext" => Self::BigText(rest.number()?),
            "emoji" => Self::Emoji(rest.number()?),
            "typing" => Self::Typing(rest.rest() != "off"),
            "read" => Self::Read,
            "log" => Self::Log(log_level(rest)?, rest.rest()),
            "flood" => Self::Flood(rest.number()?),
            "stdout" => Self::Stdout(rest.rest()),
            "stderr" => Self::Stderr(rest.rest()),
            _ => return Ok(None),
        }))
    }

    pub fn run(self, turn: &Turn) -> Result<(), TurnError> {
        let result = match self {
            Self::Reply(text) => return say::reply(text),
            Self::Parts(count) => return parts(count),
            Self::Many(count) => return misbehave::many_effects(count),
            Self::Answer(text) => effects::send_text(text, Some(&answer(turn))).map(drop),
            Self::Delay(ms, text) => effects::send_text(text, Some(&after(ms))).map(drop),
            Self::BigText(count) => effects::send_text(&say::repeat("x", count), None).map(drop),
            Self::Emoji(count) => effects::send_text(&say::repeat("👨‍👩‍👧", count), None).map(drop),
            Self::Media(url, caption) => effects::send_media(&media(url, caption), None).map(drop),
            Self::Buttons(titles) => {
                effects::send_buttons("Choose:", &buttons(&titles), None).map(drop)
            }
            Self::React(emoji) => effects::react(&last_id(turn), Some(emoji)),
            Self::Unreact => effects::react(&last_id(turn), None),
            Self::Handover(reason) => effects::handover(reason, None),
            Self::Timer(id, ms, payload) => {
                effects::schedule(id, clock::now().saturating_add(ms), payload.as_bytes())
            }
            Self::Cancel(id) => effects::cancel_timer(id),
            Self::Tag(key, value) => effects::set_tag(key, value),
            Self::Typing(on) => {
                presence::typing(on);
                Ok(())
            }
            Self::Read => {
                presence::mark_read();
                Ok(())
            }
            Self::Log(level, text) => {
                log::write(level, text, &[("turn".to_owned(), turn.id.clone())]);
                Ok(())
            }
            Self::Flood(count) => {
                misbehave::flood(count);
                Ok(())
            }
            Self::Stdout(text) => {
                println!("{text}");
                Ok(())
            }
            Self::Stderr(text) => {
                eprintln!("{text}");
                Ok(())
            }
        };
        match result {
            Ok(()) => Ok(()),
            Err(error) => say::reply(&format!("error: {}", say::effect_error(&error))),
        }
    }
}

fn parts(count: u64) -> Result<(), TurnError> {
    (1..=count).try_for_each(|n| say::reply(&format!("part {n}")))
}

fn log_level(rest: &mut Arguments<'_>) -> Result<log::Level, Malformed> {
    match rest.word("a level")? {
        "trace" => Ok(log::Level::Trace),
        "debug" => Ok(log::Level::Debug),
        "info" => Ok(log::Level::Info),
        "warn" => Ok(log::Level::Warn),
        "error" => Ok(log::Level::Error),
        _ => Err(rest.malformed("trace, debug, info, warn or error")),
    }
}

fn answer(turn: &Turn) -> SendOptions {
    SendOptions {
        reply_to: Some(last_id(turn)),
        delay: None,
        ext: Vec::new(),
    }
}

fn after(ms: u64) -> SendOptions {
    SendOptions {
        reply_to: None,
        delay: Some(ms),
        ext: Vec::new(),
    }
}

/// Empty where no message triggered the turn; the host says that it is invalid.
fn last_id(turn: &Turn) -> String {
    match &turn.trigger {
        Trigger::Messages(messages) => {
            let last = messages.last().map(|message| message.id.clone());
            last.unwrap_or_default()
        }
        Trigger::Timer(_) | Trigger::Signal(_) => String::new(),
    }
}

fn media(url: &str, caption: Option<&str>) -> OutboundMedia {
    let kind = match url.rsplit('.').next() {
        Some("mp3" | "ogg" | "m4a") => MediaKind::Audio,
        Some("mp4") => MediaKind::Video,
        Some("pdf" | "txt") => MediaKind::Document,
        _ => MediaKind::Image,
    };
    OutboundMedia {
        kind,
        url: url.to_owned(),
        caption: caption.map(str::to_owned),
        filename: None,
    }
}

fn buttons(titles: &[&str]) -> Vec<Button> {
    let button = |(index, title): (usize, &&str)| Button {
        id: format!("button-{}", index + 1),
        title: (*title).to_owned(),
    };
    titles.iter().enumerate().map(button).collect()
}
