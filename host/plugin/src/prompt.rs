//! Which plugins answer so soon that to hand a turn to another thread would cost more than the turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The CPU time of a prompt turn. To wake a thread that sleeps and to be woken by it takes 0.1 to 0.2 ms where the cores
/// sleep too; a Rust guest that waits for nothing takes 0.03.
const PROMPT: Duration = Duration::from_micros(200);

/// So many prompt turns in a row prove it. One that is not takes a tick of the caller's thread at most, so a plugin that
/// deceives gets one tick for so many turns.
const PROOF: u32 = 32;

/// What is known of a plugin. Clones are the same one.
#[derive(Clone, Default)]
pub(super) struct Promptness(Arc<AtomicU32>);

impl Promptness {
    /// Whether its next turn may begin on the thread of whoever calls it.
    pub(super) fn is_proved(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= PROOF
    }

    /// Counts a turn that took so many steps and so much CPU time.
    pub(super) fn count(&self, steps: u32, cpu: Duration) {
        if steps <= 1 && cpu <= PROMPT {
            // Turns at the same time may count past it, by one each; nothing overflows, since past it they count no more.
            if !self.is_proved() {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        } else {
            self.0.store(0, Ordering::Relaxed);
        }
    }

    /// Takes the proof back.
    pub(super) fn disprove(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proved() -> Promptness {
        let prompt = Promptness::default();
        for _ in 0..PROOF {
            assert!(!prompt.is_proved());
            prompt.count(1, PROMPT);
        }
        prompt
    }

    #[test]
    fn many_prompt_turns_in_a_row_prove_it() {
        assert!(proved().is_proved());
    }

    #[test]
    fn one_turn_that_waits_or_computes_disproves_it() {
        for (steps, cpu) in [(2, PROMPT), (1, PROMPT + Duration::from_micros(1))] {
            let prompt = proved();
            prompt.count(steps, cpu);
            assert!(!prompt.is_proved());
            prompt.count(1, PROMPT);
            assert!(!prompt.is_proved());
        }
    }
}
