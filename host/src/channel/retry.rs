//! When a part is tried again.

use std::time::Duration;

use crate::model::{Backoff, ChannelKind};

/// WhatsApp: Meta asks for exponential backoff on its limits ("Error codes": 4^x seconds for the pair rate). The lock of the
/// conversation is held meanwhile, so the delays stay short enough for somebody who waits.
const WHATSAPP: Backoff = Backoff {
    first: Duration::from_secs(2),
    cap: Duration::from_secs(60),
};

/// With these delays ten tries span about five minutes: longer than an incident of a provider's front end, shorter than a
/// person's patience.
const WHATSAPP_ATTEMPTS: u32 = 10;

/// The schedule of the Standard Webhooks specification ("Deliverability and reliability"), after the first try at once.
const GENERIC: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(5 * 3600),
    Duration::from_secs(10 * 3600),
    Duration::from_secs(14 * 3600),
    Duration::from_secs(20 * 3600),
    Duration::from_secs(24 * 3600),
];

/// A provider that asks for a longer wait is asked again after this: WhatsApp's window for free replies is closed by then.
const MAX_AFTER: Duration = Duration::from_secs(24 * 3600);

/// The delay before the next try, after try number `attempt` (1 is the first) has failed; none when there is to be no other.
/// `after` is what the provider asked for, and the delay is never shorter (but at most a day). `chance` is uniform in 0..1
/// and spreads the delays, so that what failed together does not return together.
#[must_use]
pub fn retry(
    kind: ChannelKind,
    attempt: u32,
    after: Option<Duration>,
    chance: f64,
) -> Option<Duration> {
    let delay = match kind {
        ChannelKind::Whatsapp if attempt >= WHATSAPP_ATTEMPTS => return None,
        ChannelKind::Whatsapp => WHATSAPP.delay(attempt, chance),
        ChannelKind::Generic => {
            let step = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
            // Up to a tenth later, never earlier than the receiver expects.
            GENERIC
                .get(step)?
                .mul_f64(1.0 + 0.1 * chance.clamp(0.0, 1.0))
        }
    };
    Some(delay.max(after.unwrap_or_default().min(MAX_AFTER)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KINDS: [ChannelKind; 2] = [ChannelKind::Whatsapp, ChannelKind::Generic];

    /// What a provider may ask for: nothing, some time, or any.
    fn after() -> impl Strategy<Value = Option<Duration>> {
        let ms = prop_oneof![0..200_000_u64, any::<u64>()];
        prop::option::of(ms.prop_map(Duration::from_millis))
    }

    fn attempt() -> impl Strategy<Value = u32> {
        prop_oneof![1..12_u32, any::<u32>()]
    }

    proptest! {
        #[test]
        fn a_provider_is_never_asked_again_too_early(
            kind in prop::sample::select(&KINDS[..]),
            attempt in attempt(),
            after in after(),
            chance in 0.0..1.0,
        ) {
            let plain = retry(kind, attempt, None, chance);
            let delay = retry(kind, attempt, after, chance);
            prop_assert_eq!(delay.is_some(), plain.is_some(), "what it asks for gives no try and takes none");
            if let (Some(delay), Some(plain)) = (delay, plain) {
                let asked = after.unwrap_or_default().min(MAX_AFTER);
                prop_assert_eq!(delay, plain.max(asked));
                prop_assert!(delay <= MAX_AFTER.mul_f64(1.1), "{delay:?} is for ever");
            }
        }

        #[test]
        fn there_are_ten_tries_whatever_the_chance(
            kind in prop::sample::select(&KINDS[..]),
            attempt in attempt(),
            chance in 0.0..1.0,
        ) {
            prop_assert_eq!(retry(kind, attempt, None, chance).is_some(), attempt < 10);
        }

        #[test]
        fn a_later_try_never_waits_less(
            kind in prop::sample::select(&KINDS[..]),
            attempt in 1..9_u32,
            chance in 0.0..1.0,
        ) {
            prop_assert!(retry(kind, attempt, None, chance) <= retry(kind, attempt + 1, None, chance));
        }

        /// About five minutes on WhatsApp. On the generic channel what the specification says, and up to a tenth more.
        #[test]
        fn all_tries_together_span_what_is_documented(chances in prop::collection::vec(0.0..1.0, 9)) {
            let span = |kind| -> f64 {
                let delays = (1..).zip(&chances).filter_map(|(n, chance)| retry(kind, n, None, *chance));
                delays.map(|delay| delay.as_secs_f64()).sum()
            };
            let whatsapp = span(ChannelKind::Whatsapp);
            prop_assert!((0.75 * 302.0..=1.25 * 302.0).contains(&whatsapp), "{whatsapp} s");
            let plain: f64 = GENERIC.iter().map(Duration::as_secs_f64).sum();
            let generic = span(ChannelKind::Generic);
            prop_assert!((plain..=1.1 * plain).contains(&generic), "{generic} s");
        }
    }

    #[test]
    fn whatsapp_backs_off_and_gives_up() {
        let seconds: Vec<_> = (1..)
            .map_while(|n| retry(ChannelKind::Whatsapp, n, None, 0.5))
            .map(|delay| delay.as_secs())
            .collect();
        assert_eq!(seconds, [2, 4, 8, 16, 32, 60, 60, 60, 60]);
    }

    #[test]
    fn generic_follows_the_schedule_of_the_specification() {
        let seconds: Vec<_> = (1..)
            .map_while(|n| retry(ChannelKind::Generic, n, None, 0.0))
            .map(|delay| delay.as_secs())
            .collect();
        assert_eq!(
            seconds,
            [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400]
        );
        assert_eq!(retry(ChannelKind::Generic, u32::MAX, None, 0.0), None);
    }

    #[test]
    fn the_provider_may_ask_for_longer_but_not_for_ever() {
        let minute = Some(Duration::from_secs(60));
        for kind in [ChannelKind::Whatsapp, ChannelKind::Generic] {
            assert_eq!(retry(kind, 1, minute, 0.5), minute);
            assert_eq!(retry(kind, 1, Some(Duration::MAX), 0.5), Some(MAX_AFTER));
            assert!(retry(kind, 2, Some(Duration::ZERO), 0.5) > Some(Duration::from_secs(1)));
        }
    }
}
