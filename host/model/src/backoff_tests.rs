//! The laws of the backoff, for any delays, tries and chance.

use std::time::Duration;

use proptest::prelude::*;

use super::backoff::Backoff;

/// Any chance that `rand` gives, and any other number.
fn chance() -> impl Strategy<Value = f64> {
    use prop::num::f64::{NEGATIVE, NORMAL, POSITIVE, ZERO};
    prop_oneof![0.0..1.0, NORMAL | POSITIVE | NEGATIVE | ZERO, Just(1.0)]
}

fn attempt() -> impl Strategy<Value = u32> {
    prop_oneof![0..40_u32, any::<u32>()]
}

prop_compose! {
    /// Delays from nothing to a year.
    fn backoff()(first in 0..31_536_000_000_u64, cap in 0..31_536_000_000_u64) -> Backoff {
        Backoff { first: Duration::from_millis(first), cap: Duration::from_millis(cap) }
    }
}

/// What the delays spread around: `first`, doubled for each try after the first, and never above the cap.
fn middle(backoff: &Backoff, attempt: u32) -> Duration {
    let mut delay = backoff.first.min(backoff.cap);
    for _ in 1..attempt.min(64) {
        delay = delay.saturating_mul(2).min(backoff.cap);
    }
    delay
}

/// Floating point counts nanoseconds; a microsecond is more than its error and less than anybody waits.
const ERROR: Duration = Duration::from_micros(1);

proptest! {
    #[test]
    fn a_delay_is_three_to_five_quarters_of_its_step(b in backoff(), attempt in attempt(), chance in chance()) {
        // It doubles twenty times at most, which is a million-fold.
        prop_assume!(b.cap <= b.first.saturating_mul(1 << 20));
        let (delay, middle) = (b.delay(attempt, chance), middle(&b, attempt));
        prop_assert!(delay + ERROR >= middle * 3 / 4, "{delay:?} is too short for {middle:?}");
        prop_assert!(delay <= middle * 5 / 4 + ERROR, "{delay:?} is too long for {middle:?}");
    }

    #[test]
    fn a_later_try_never_waits_less(b in backoff(), attempt in attempt(), chance in chance()) {
        prop_assert!(b.delay(attempt.saturating_add(1), chance) >= b.delay(attempt, chance));
    }

    #[test]
    fn more_chance_never_waits_less(b in backoff(), attempt in attempt(), one in 0.0..1.0, other in 0.0..1.0) {
        let (less, more) = if one < other { (one, other) } else { (other, one) };
        prop_assert!(b.delay(attempt, less) <= b.delay(attempt, more));
    }

    #[test]
    fn no_delay_overflows(first in any::<u64>(), cap in any::<u64>(), attempt in any::<u32>(), chance in chance()) {
        let b = Backoff { first: Duration::from_millis(first), cap: Duration::from_millis(cap) };
        prop_assert!(b.delay(attempt, chance) <= b.cap + b.cap / 4 + ERROR.max(b.cap / 1_000_000));
    }

    /// "With the backoff of a turn this spans 7.5 s", says the setting `max_attempts`, and "some ten minutes" the turn loop of
    /// twenty tries.
    #[test]
    fn the_tries_of_a_turn_span_what_is_documented(chances in prop::collection::vec(0.0..1.0, 19)) {
        let span = |tries: usize| -> f64 {
            let delays = (1..).zip(chances.iter().take(tries - 1));
            delays.map(|(n, chance)| Backoff::TURN.delay(n, *chance).as_secs_f64()).sum()
        };
        prop_assert!((0.75 * 7.5..=1.25 * 7.5).contains(&span(5)), "five tries span {} s", span(5));
        prop_assert!((0.75 * 600.0..=1.25 * 800.0).contains(&span(20)), "twenty tries span {} s", span(20));
    }
}
