//! x
use guest_kit::{guest, handler};
guest!("test-script", "Does what the message tells it to do", handle);
fn handle(_turn: handler::Turn) -> Result<handler::Outcome, handler::TurnError> { Ok(handler::Outcome::Ignore) }
