//! What ends the turn, or may.

use crate::command::{Arguments, Malformed};
use crate::{misbehave, say};
use guest_kit::handler::{Outcome, Turn, TurnError};

#[derive(Debug, PartialEq)]
pub enum Ending<'a> {
    /// `fail TEXT`: ends with the error `failed`.
    Fail(&'a str),
    /// `retry [MS]`: ends with the error `retry`.
    Retry(Option<u64>),
    /// `retry-until N`: ends with `retry(none)` as long as the attempt is below N.
    RetryUntil(u32),
    /// `give TEXT`: ends with the error `handover`.
    Give(&'a str),
    /// `silent`: the script goes on, and the turn answers `ok(silent)`.
    Silent,
    /// `ignore`: the script goes on, and the turn answers `ok(ignore)`.
    Ignore,
    /// `trap`: panics.
    Trap,
    /// `trap-until N`: panics as long as the attempt is below N.
    TrapUntil(u32),
    /// `spin N`: counts to N million without a call to the host.
    Spin(u64),
    /// `loop`: counts for ever.
    Loop,
    /// `recurse`: overflows the stack.
    Recurse,
    /// `grow MB`: takes that many mebibytes, and replies `grew MB`.
    Grow(u64),
}

impl<'a> Ending<'a> {
    pub fn parse(verb: &str, rest: &mut Arguments<'a>) -> Result<Option<Self>, Malformed> {
        Ok(Some(match verb {
            "fail" => Self::Fail(rest.rest()),
            "retry" if rest.rest().is_empty() => Self::Retry(None),
            "retry" => Self::Retry(Some(rest.number()?)),
            "retry-until" => Self::RetryUntil(rest.number()?),
            "give" => Self::Give(rest.rest()),
            "silent" => Self::Silent,
            "ignore" => Self::Ignore,
            "trap" => Self::Trap,
            "trap-until" => Self::TrapUntil(rest.number()?),
            "spin" => Self::Spin(rest.number()?),
            "loop" => Self::Loop,
            "recurse" => Self::Recurse,
            "grow" => Self::Grow(rest.number()?),
            _ => return Ok(None),
        }))
    }

    /// Answers what the turn's outcome is from here on, where that changes.
    pub fn run(self, turn: &Turn) -> Result<Option<Outcome>, TurnError> {
        match self {
            Self::Fail(text) => return Err(TurnError::Failed(text.to_owned())),
            Self::Retry(after) => return Err(TurnError::Retry(after)),
            Self::RetryUntil(enough) if turn.attempt < enough => {
                return Err(TurnError::Retry(None));
            }
            Self::Give(text) => return Err(TurnError::Handover(text.to_owned())),
            Self::Silent => return Ok(Some(Outcome::Silent)),
            Self::Ignore => return Ok(Some(Outcome::Ignore)),
            Self::Trap => misbehave::trap(turn),
            Self::TrapUntil(enough) if turn.attempt < enough => misbehave::trap(turn),
            Self::RetryUntil(_) | Self::TrapUntil(_) => {}
            Self::Spin(millions) => misbehave::spin(millions),
            Self::Loop => misbehave::spin(u64::MAX),
            Self::Recurse => misbehave::recurse(),
            Self::Grow(mebibytes) => {
                misbehave::grow(mebibytes);
                say::reply(&format!("grew {mebibytes}"))?;
            }
        }
        Ok(None)
    }
}
