//! The laws of the overlap rules, for any situation and any settings that a device can have.

use std::time::Duration;

use proptest::prelude::*;

use super::clock::Timestamp;
use super::device::{DeviceSettings, MAX_RESTARTS, MAX_WAIT_MS, Overlap};
use super::overlap::{Arrival, Situation, SkipReason, State, arrival, may_restart};

const NOW: i64 = 1_760_433_330_000;

prop_compose! {
    /// Times around now, and now and then any.
    fn time()(at in prop_oneof![8 => NOW - 60_000..NOW + 60_000, 1 => any::<i64>()]) -> Timestamp {
        Timestamp(at)
    }
}

/// Short times, around the usual settings, and any that a setting can have.
fn ms() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..=30_000_u64, 0..=MAX_WAIT_MS]
}

prop_compose! {
    fn settings()(
        overlap in prop::sample::select(vec![Overlap::Restart, Overlap::Queue, Overlap::Skip]),
        max_restarts in prop_oneof![0..=4_u32, 0..=MAX_RESTARTS],
        (one, other) in (ms(), ms()),
        duplicate_window_ms in prop_oneof![Just(0), Just(2_000), 0..=4_000_u64],
    ) -> DeviceSettings {
        DeviceSettings {
            overlap,
            max_restarts,
            max_wait_ms: one.max(other),
            debounce_ms: one.min(other),
            duplicate_window_ms,
            ..DeviceSettings::default()
        }
    }
}

prop_compose! {
    fn situation()(
        state in prop::sample::select(vec![State::Idle, State::Waiting, State::Running, State::Sending]),
        paused_until in prop::option::weighted(0.2, time()),
        restarts in prop_oneof![0..=5_u32, any::<u32>()],
        first_pending_at in prop::option::weighted(0.9, time()),
        is_retrying in any::<bool>(),
        gap in prop::option::weighted(0.2, 0..=4_000_u64),
        now in time(),
    ) -> Situation {
        Situation {
            state,
            paused_until,
            restarts,
            first_pending_at,
            is_retrying,
            same_text_after: gap.map(Duration::from_millis),
            now,
        }
    }
}

/// Where a message is neither a human's nor a slip of the finger.
fn plain() -> impl Strategy<Value = Situation> {
    situation().prop_map(|at| Situation {
        paused_until: at.paused_until.filter(|until| *until <= at.now),
        same_text_after: None,
        ..at
    })
}

/// The same, where a turn runs.
fn running() -> impl Strategy<Value = Situation> {
    plain().prop_map(|at| Situation {
        state: State::Running,
        ..at
    })
}

/// The message is neither a human's nor a slip of the finger.
fn is_plain(at: &Situation, settings: &DeviceSettings) -> bool {
    let window = Duration::from_millis(settings.duplicate_window_ms);
    at.paused_until.is_none_or(|until| until <= at.now)
        && at.same_text_after.is_none_or(|gap| gap >= window)
}

/// How long the first message of the turn has waited.
fn waited(at: &Situation) -> Duration {
    at.first_pending_at
        .map_or(Duration::ZERO, |first| at.now.since(first))
}

proptest! {
    #[test]
    fn a_human_gets_everything_and_only_while_they_have_the_conversation(at in situation(), s in settings()) {
        let has_it = at.paused_until.is_some_and(|until| until > at.now);
        prop_assert_eq!(arrival(&at, &s) == Arrival::Absorb, has_it);
    }

    #[test]
    fn the_same_text_is_skipped_exactly_within_its_window(at in situation(), s in settings()) {
        prop_assume!(arrival(&at, &s) != Arrival::Absorb);
        let is_same = arrival(&at, &s) == Arrival::Skip(SkipReason::SameText);
        prop_assert_eq!(is_same, !is_plain(&at, &s));
    }

    /// Two turns never hold one lock, and nothing waits in an idle conversation.
    #[test]
    fn the_lock_is_taken_exactly_where_there_is_none(at in plain(), s in settings()) {
        let arrival = arrival(&at, &s);
        let starts = matches!(arrival, Arrival::Claim | Arrival::Debounce(_));
        match at.state {
            State::Idle => prop_assert!(starts, "{arrival:?}"),
            State::Waiting => prop_assert!(matches!(arrival, Arrival::Join | Arrival::Debounce(_)), "{arrival:?}"),
            State::Running | State::Sending => prop_assert!(!starts && arrival != Arrival::Join, "{arrival:?}"),
        }
        prop_assert!(arrival != Arrival::Claim || s.debounce_ms == 0);
    }

    #[test]
    fn what_runs_into_a_lock_does_what_the_policy_says(at in plain(), s in settings(), is_sent in any::<bool>()) {
        let at = Situation { state: if is_sent { State::Sending } else { State::Running }, ..at };
        let may = s.overlap == Overlap::Restart
            && at.state == State::Running
            && at.restarts < s.max_restarts
            && waited(&at) < s.max_wait();
        let expected = match s.overlap {
            Overlap::Skip => Arrival::Skip(SkipReason::Locked),
            Overlap::Restart if may => Arrival::Restart,
            Overlap::Restart | Overlap::Queue => Arrival::Queue,
        };
        prop_assert_eq!(arrival(&at, &s), expected);
    }

    /// T1 announces a restart exactly where T3 would refuse the stale reply.
    #[test]
    fn a_restart_is_announced_exactly_where_a_stale_reply_is_refused(at in running(), s in settings()) {
        let refused = may_restart(at.restarts, at.first_pending_at, at.now, &s);
        prop_assert_eq!(arrival(&at, &s) == Arrival::Restart, refused);
    }

    #[test]
    fn a_turn_that_may_no_longer_restart_never_may_again(
        at in situation(),
        s in settings(),
        restarts in 0..5_u32,
        later in ms(),
    ) {
        let then = at.now.plus(Duration::from_millis(later));
        let now = may_restart(at.restarts, at.first_pending_at, at.now, &s);
        let later = may_restart(at.restarts.saturating_add(restarts), at.first_pending_at, then, &s);
        prop_assert!(now || !later);
    }

    /// However fast somebody types, and whatever the clock does, a turn commits after `max_restarts`.
    #[test]
    fn restarts_come_to_an_end(s in settings(), times in prop::collection::vec(time(), MAX_RESTARTS as usize + 1)) {
        let first = times.first().copied();
        let restarts = times.iter().zip(0..).take_while(|(now, n)| may_restart(*n, first, **now, &s));
        prop_assert!(restarts.count() <= s.max_restarts as usize);
    }

    #[test]
    fn silence_is_waited_for_but_not_beyond_max_wait(at in situation(), s in settings()) {
        if let Arrival::Debounce(until) = arrival(&at, &s) {
            let first = at.first_pending_at.unwrap_or(at.now);
            prop_assert!(s.debounce_ms > 0);
            prop_assert!(until >= at.now, "it ends in the past");
            prop_assert!(until <= at.now.plus(Duration::from_millis(s.debounce_ms)));
            prop_assert!(until <= first.plus(s.max_wait()).max(at.now));
        }
    }

    #[test]
    fn a_later_message_never_ends_the_silence_earlier(at in situation(), s in settings(), later in ms()) {
        let then = Situation { now: at.now.plus(Duration::from_millis(later)), ..at };
        let (now, then) = (arrival(&at, &s), arrival(&then, &s));
        if let (Arrival::Debounce(now), Arrival::Debounce(then)) = (now, then) {
            prop_assert!(then >= now);
        }
    }

    #[test]
    fn what_has_failed_is_not_hurried_by_a_message(at in plain(), s in settings()) {
        let at = Situation { state: State::Waiting, is_retrying: true, ..at };
        prop_assert_eq!(arrival(&at, &s), Arrival::Join);
    }
}
