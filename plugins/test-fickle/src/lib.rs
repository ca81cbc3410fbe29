//! Answers differently in each attempt, and traps in the first: what that one asked for, kept and saw must leave no trace, and
//! all that it saw but the number of the attempt must be the same in the second.

use guest_kit::{clock, effects, guest, handler, log, state};
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::{Instant, SystemTime};

guest!("test-fickle", "Answers differently in each attempt", handle);

fn handle(turn: handler::Turn) -> Result<handler::Outcome, handler::TurnError> {
    let attempt = turn.attempt;
    let own = format!("attempt {attempt}");
    log::write(log::Level::Info, &seen()?, &[]);
    effects::send_text(&own, None).map_err(|error| failed("send-text", error))?;
    state::set(state::Scope::Conversation, "by", own.as_bytes(), None)
        .map_err(|error| failed("set", error))?;
    state::set(state::Scope::Tenant, &own, b"1", None).map_err(|error| failed("set", error))?;
    state::increment(state::Scope::Prospect, "attempts", 1)
        .map_err(|error| failed("increment", error))?;
    effects::set_tag("by", Some(&own)).map_err(|error| failed("set-tag", error))?;
    effects::schedule(&own, clock::now() + 1_000_000, &[])
        .map_err(|error| failed("schedule", error))?;
    if attempt == 1 {
        panic!("test-fickle has changed its mind");
    }
    Ok(handler::Outcome::Commit)
}

/// Whatever could tell one attempt from the other: time, chance, addresses, and what is stored.
fn seen() -> Result<String, handler::TurnError> {
    let on_the_heap = Box::new(0_u8);
    let on_the_stack = 0_u8;
    let kept =
        state::get(state::Scope::Conversation, "by").map_err(|error| failed("get", error))?;
    let (keys, _) = state::list_keys(state::Scope::Tenant, "", 100, None)
        .map_err(|error| failed("list-keys", error))?;
    Ok(format!(
        "now {}, wall clock {:?}, monotonic clock {:?}, chance {} and {}, heap {:p}, stack {:p}, kept {kept:?}, keys {keys:?}",
        clock::now(),
        SystemTime::now(),
        Instant::now(),
        clock::random_u64(),
        RandomState::new().hash_one(0),
        &raw const *on_the_heap,
        &raw const on_the_stack,
    ))
}

fn failed(call: &str, error: impl std::fmt::Debug) -> handler::TurnError {
    handler::TurnError::Failed(format!("test-fickle: {call}: {error:?}"))
}
