//! Takes memory until the host gives no more, and touches every page of it.

use guest_kit::{guest, handler};

guest!("test-memory", "Takes memory until it gets no more", handle);

/// One mebibyte: small enough that the limit is met closely, large enough that it is met soon.
const STEP: usize = 1 << 20;

fn handle(_turn: handler::Turn) -> Result<handler::Outcome, handler::TurnError> {
    let mut taken: Vec<Vec<u8>> = Vec::new();
    loop {
        // An allocation that fails aborts the guest, which is a trap.
        taken.push(vec![taken.len() as u8 | 1; STEP]);
        std::hint::black_box(&taken);
    }
}
