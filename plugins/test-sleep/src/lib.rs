//! Sleeps through WASI in every turn: it uses no CPU, so only the limit on wall-clock time can end it.

use guest_kit::{effects, guest, handler};
use std::time::Duration;

guest!("test-sleep", "Sleeps through WASI in every turn", handle);

const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn handle(_turn: handler::Turn) -> Result<handler::Outcome, handler::TurnError> {
    effects::send_text("sent by a turn that slept", None)
        .map_err(|error| handler::TurnError::Failed(error.to_string()))?;
    std::thread::sleep(A_DAY);
    Ok(handler::Outcome::Commit)
}
