//! What the sandbox is for.

use crate::say;
use guest_kit::handler::{Turn, TurnError};
use guest_kit::{effects, log};
use std::hint::black_box;

pub fn trap(turn: &Turn) -> ! {
    panic!(
        "test-script panics in turn {}, attempt {}",
        turn.id, turn.attempt
    );
}

/// Counts to so many millions without a call to the host.
pub fn spin(millions: u64) {
    let mut count = 0_u64;
    while count < millions.saturating_mul(1_000_000) {
        count = black_box(count + 1);
    }
}

/// Overflows the stack of calls: the frames hold next to nothing, so the guest's own stack in its memory lasts longer.
pub fn recurse() {
    black_box(deeper(1));
}

fn deeper(depth: u64) -> u64 {
    if black_box(depth) == 0 {
        return 0;
    }
    // What is done with the result keeps the compiler from making a loop of it.
    black_box(deeper(depth + 1)) ^ depth
}

/// Takes memory and touches every page of it. An allocation that the host refuses aborts the guest.
pub fn grow(mebibytes: u64) {
    let taken: Vec<Vec<u8>> = (0..mebibytes).map(|_| vec![1_u8; 1 << 20]).collect();
    black_box(taken);
}

pub fn many_effects(count: u64) -> Result<(), TurnError> {
    for n in 1..=count {
        if let Err(error) = effects::send_text(&format!("effect {n}"), None) {
            let text = format!(
                "{} effects were taken, then {}",
                n - 1,
                say::effect_error(&error)
            );
            log::write(log::Level::Warn, &text, &[]);
            return Ok(());
        }
    }
    Ok(())
}

pub fn flood(lines: u64) {
    for n in 1..=lines {
        log::write(
            log::Level::Info,
            &format!("{:-<100}", format!("flood {n} ")),
            &[],
        );
    }
}
