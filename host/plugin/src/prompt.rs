//! Which plugins answer so soon that to hand a turn to another thread would cost more than the turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::limits::TICK;

/// The CPU time of a prompt turn. To wake a thread that sleeps and to be woken by it takes 0.1 to 0.2 ms where the cores
/// sleep too; a Rust guest that waits for nothing takes 0.03.
const PROMPT: Duration = Duration::from_micros(200);

/// So many prompt turns prove it.
const PROOF: u32 = 32;

/// The most that is kept, so that what a plugin once was does not count for ever.
const MOST: u32 = 2 * PROOF;

/// What a turn costs that waited or computed for longer, and each first step that did not end its turn: of a prompt plugin on
/// a busy machine one in a hundred does, since pages and caches are cold or a tick comes in between.
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
        self.change(|known| match () {
            () if cpu >= TICK => 0,
            () if steps != 1 || cpu > PROMPT => known.saturating_sub(SLOW),
            () => known.saturating_add(1).min(MOST),
        });
    }

    /// A first step did not end its turn. Counted at once: until the turn ends others of the plugin begin.
    pub(super) fn did_not_end(&self) {
        self.change(|known| known.saturating_sub(SLOW));
    }

    fn change(&self, change: impl Fn(u32) -> u32) {
        self.0.update(Ordering::Relaxed, Ordering::Relaxed, change);
    }

    #[cfg(test)]
    pub(super) fn prove(&self) {
        self.0.store(MOST, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn one_turn_that_computes_for_long_disproves_it() {
        let prompt = after(1_000);
        prompt.count(1, TICK);
        (1..PROOF).for_each(|_| prompt.count(1, PROMPT));
        assert!(!prompt.is_proved());
    }

    #[test]
    fn what_never_ran_proves_nothing() {
        let prompt = after(PROOF - 1);
        prompt.count(0, Duration::ZERO);
        assert!(!prompt.is_proved());
    }

    #[test]
    fn a_slow_turn_now_and_then_is_borne_and_many_are_not() {
        for slow in [
            |prompt: &Promptness| prompt.count(1, PROMPT + Duration::from_micros(1)),
            |prompt: &Promptness| prompt.count(2, PROMPT),
            |prompt: &Promptness| prompt.did_not_end(),
        ] {
            let prompt = after(1_000);
            for _ in 0..2 {
                slow(&prompt);
                assert!(prompt.is_proved());
            }
            slow(&prompt);
            assert!(!prompt.is_proved());
        }
    }
}
