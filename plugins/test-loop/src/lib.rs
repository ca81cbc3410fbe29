//! Never returns from a turn and calls nothing: only the host's interruption can end it.

use guest_kit::{guest, handler};
use std::hint::black_box;

guest!("test-loop", "Never returns from a turn", handle);

fn handle(_turn: handler::Turn) -> Result<handler::Outcome, handler::TurnError> {
    let mut count = 0_u64;
    loop {
        count = black_box(count.wrapping_add(1));
    }
}
