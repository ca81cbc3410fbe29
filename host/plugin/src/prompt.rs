//! Which plugins answer so soon that to hand a turn to another thread would cost more than the turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The CPU time of a prompt turn. To wake a thread that sleeps and to be woken by it takes 0.1 to 0.2 ms where the cores
/// sleep too; a Rust guest that waits for nothing takes 0.03.
const PROMPT: Duration = Duration::from_micros(200);

/// So many prompt turns prove it. One that is not takes a tick of the caller's thread at most, so a plugin that deceives gets
/// one tick for so many turns.
const PROOF: u32 = 32;

/// The most that is kept, so that what a plugin once was does not count for ever.
const MOST: u32 = 2 * PROOF;

/// What a turn costs that computed for longer and still ended within its first step: on a busy machine one in a hundred does,
/// since pages and caches are cold.
const SLOW: u32 = PROOF / 2;

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
        // Of turns that count at the same time one may be lost, which only makes the proof take longer or hold for longer.
        let known = self.0.load(Ordering::Relaxed);
        let known = match () {
            () if steps > 1 => 0,
            () if cpu > PROMPT => known.saturating_sub(SLOW),
            () => known.saturating_add(1).min(MOST),
        };
        self.0.store(known, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn prove(&self) {
        self.0.store(MOST, Ordering::Relaxed);
    }

    /// A first step did not end the turn.
    pub(super) fn disprove(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOWER: Duration = Duration::from_micros(201);

    fn after(turns: u32) -> Promptness {
        let prompt = Promptness::default();
        (0..turns).for_each(|_| prompt.count(1, PROMPT));
        prompt
    }

    #[test]
    fn many_prompt_turns_prove_it() {
        assert!(!after(PROOF - 1).is_proved());
        assert!(after(PROOF).is_proved());
    }

    #[test]
    fn one_turn_that_waits_disproves_it() {
        let prompt = after(1_000);
        prompt.count(2, PROMPT);
        assert!(!prompt.is_proved());
        (1..PROOF).for_each(|_| prompt.count(1, PROMPT));
        assert!(!prompt.is_proved());
    }

    #[test]
    fn a_slow_turn_now_and_then_is_borne_and_many_are_not() {
        let prompt = after(1_000);
        for _ in 0..2 {
            prompt.count(1, SLOWER);
            assert!(prompt.is_proved());
        }
        prompt.count(1, SLOWER);
        assert!(!prompt.is_proved());
    }
}
