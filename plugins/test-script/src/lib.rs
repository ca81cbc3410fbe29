//! Does what it is told, so that a host test can drive everything that a plugin can do, and much that it should not.
//!
//! The script of a turn is the value of the configuration key `script` or, without that, the text of the last message. Its
//! commands are separated by `;` or line breaks, and run in order. A text that does not begin with a command is echoed,
//! together with the rest of its burst, as `You said: …`. A timer answers `timer ID PAYLOAD`, or runs the configuration key
//! `on-timer` as a script. Content that is not text answers with a description, for example `image ID MIME-TYPE CAPTION`.
//!
//! What goes wrong in a call to the host is answered as `error: KIND: TEXT`, and the script goes on. A command that is
//! unknown or malformed fails the turn with `failed("test-script: …")`, so that a typing error in a test shows.
//!
//! The commands are listed at [`effect::Effect`], [`keep::Keep`] (state), [`question::Question`] and [`ending::Ending`].

mod command;
mod effect;
mod ending;
mod keep;
mod misbehave;
mod question;
mod say;
mod wasi;

use command::{Command, Malformed};
use guest_kit::handler::{Outcome, Trigger, Turn, TurnError};
use guest_kit::{config, guest};

guest!(
    "test-script",
    "Does what the message tells it to do",
    handle
);

fn handle(turn: Turn) -> Result<Outcome, TurnError> {
    let script = match &turn.trigger {
        Trigger::Messages(messages) => config::get("script")
            .or_else(|| messages.last().map(|last| say::describe(&last.content))),
        Trigger::Timer(timer) => config::get("on-timer").or_else(|| {
            let payload = String::from_utf8_lossy(&timer.payload);
            Some(format!("reply timer {} {payload}", timer.id))
        }),
        Trigger::Signal(_) => None,
    };
    match script {
        None => Ok(Outcome::Ignore),
        Some(script) if command::is_script(&script) => run(&turn, &script),
        Some(text) => say::echo(&turn, &text),
    }
}

fn run(turn: &Turn, script: &str) -> Result<Outcome, TurnError> {
    let mut outcome = Outcome::Commit;
    for line in command::lines(script) {
        match command::parse(line).map_err(malformed)? {
            Command::Effect(effect) => effect.run(turn)?,
            Command::Keep(keep) => keep.run()?,
            Command::Question(question) => question.run(turn)?,
            Command::Ending(ending) => outcome = ending.run(turn)?.unwrap_or(outcome),
        }
    }
    Ok(outcome)
}

fn malformed(error: Malformed) -> TurnError {
    TurnError::Failed(match error {
        Malformed::UnknownVerb(verb) => format!("test-script: there is no command `{verb}`"),
        Malformed::Argument { line, wanted } => format!("test-script: `{line}` wants {wanted}"),
    })
}
