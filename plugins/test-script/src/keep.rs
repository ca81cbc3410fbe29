//! State. A `SCOPE` is `conversation`, `prospect` or `tenant`.

use crate::command::{Arguments, Malformed};
use crate::say;
use guest_kit::handler::TurnError;
use guest_kit::state::{self, StateError};

pub use guest_kit::state::Scope;

#[derive(Debug, PartialEq)]
pub enum Keep<'a> {
    /// `set SCOPE KEY VALUE`
    Set(Scope, &'a str, &'a str),
    /// `expire SCOPE KEY MS VALUE`: sets a value that lasts that long.
    Expire(Scope, &'a str, u64, &'a str),
    /// `bigstate SCOPE KEY N`: sets a value of N bytes.
    Big(Scope, &'a str, u64),
    /// `get SCOPE KEY`: replies `KEY=VALUE`, or `KEY is not set`.
    Get(Scope, &'a str),
    /// `delete SCOPE KEY`
    Delete(Scope, &'a str),
    /// `incr SCOPE KEY N`
    Increment(Scope, &'a str, i64),
    /// `keys SCOPE [PREFIX]`: replies `keys: a,b,c`, and ` …` where there are more.
    Keys(Scope, &'a str),
}

impl<'a> Keep<'a> {
    pub fn parse(verb: &str, rest: &mut Arguments<'a>) -> Result<Option<Self>, Malformed> {
        Ok(Some(match verb {
            "set" => Self::Set(scope(rest)?, key(rest)?, rest.rest()),
            "expire" => Self::Expire(scope(rest)?, key(rest)?, rest.number()?, rest.rest()),
            "bigstate" => Self::Big(scope(rest)?, key(rest)?, rest.number()?),
            "get" => Self::Get(scope(rest)?, key(rest)?),
            "delete" => Self::Delete(scope(rest)?, key(rest)?),
            "incr" => Self::Increment(scope(rest)?, key(rest)?, rest.number()?),
            "keys" => Self::Keys(scope(rest)?, rest.rest()),
            _ => return Ok(None),
        }))
    }

    pub fn run(self) -> Result<(), TurnError> {
        match self.call() {
            Ok(None) => Ok(()),
            Ok(Some(answer)) => say::reply(&answer),
            Err(error) => say::reply(&format!("error: {}", say::state_error(&error))),
        }
    }

    fn call(self) -> Result<Option<String>, StateError> {
        match self {
            Self::Set(scope, key, value) => state::set(scope, key, value.as_bytes(), None)?,
            Self::Expire(scope, key, ms, value) => {
                state::set(scope, key, value.as_bytes(), Some(ms))?;
            }
            Self::Big(scope, key, bytes) => {
                state::set(scope, key, say::repeat("x", bytes).as_bytes(), None)?;
            }
            Self::Delete(scope, key) => state::delete(scope, key)?,
            Self::Increment(scope, key, by) => state::increment(scope, key, by)?,
            Self::Get(scope, key) => {
                let value = state::get(scope, key)?;
                let value = value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                return Ok(Some(say::value(key, value)));
            }
            Self::Keys(scope, prefix) => {
                let (keys, more) = state::list_keys(scope, prefix, 1_000, None)?;
                let more = if more.is_some() { " …" } else { "" };
                return Ok(Some(format!("keys: {}{more}", keys.join(","))));
            }
        }
        Ok(None)
    }
}

fn scope(rest: &mut Arguments<'_>) -> Result<Scope, Malformed> {
    match rest.word("a scope")? {
        "conversation" => Ok(Scope::Conversation),
        "prospect" => Ok(Scope::Prospect),
        "tenant" => Ok(Scope::Tenant),
        _ => Err(rest.malformed("conversation, prospect or tenant")),
    }
}

fn key<'a>(rest: &mut Arguments<'a>) -> Result<&'a str, Malformed> {
    rest.word("a key")
}
