//! Panics in every turn, after it has asked for effects: none of them may ever happen.

use guest_kit::{effects, guest, handler, state};

guest!("test-trap", "Panics in every turn", handle);

fn handle(turn: handler::Turn) -> Result<handler::Outcome, handler::TurnError> {
    effects::send_text("sent by a turn that trapped", None)
        .map_err(|error| handler::TurnError::Failed(error.to_string()))?;
    state::set(state::Scope::Conversation, "written-by-a-trap", b"1", None)
        .map_err(|error| handler::TurnError::Failed(error.to_string()))?;
    panic!("test-trap panics in turn {}", turn.id);
}
