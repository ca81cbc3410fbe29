//! The laws of trying a turn again, for any failure, try and time.

use std::time::Duration;

use proptest::prelude::*;

use super::decide::{HOST_ATTEMPTS, MAX_RETRY_AFTER, failed, is_poisonous};
use crate::model::turn::{Blame, FailureKind};
use crate::model::{
    Backoff, ChannelKind, Claim, ConversationId, Device, DeviceId, DeviceSettings, Lock,
    ProspectId, TenantId, Timestamp, Trigger, TurnFailure, TurnId,
};
use crate::store::TurnEnd;

const NOW: Timestamp = Timestamp(1_760_433_330_000);

const KINDS: [FailureKind; 9] = [
    FailureKind::Retry,
    FailureKind::Failed,
    FailureKind::Handover,
    FailureKind::Trap,
    FailureKind::CpuBudget,
    FailureKind::WallBudget,
    FailureKind::Memory,
    FailureKind::Plugin,
    FailureKind::Host,
];

fn claim(attempt: u32, crashes: u32, max_attempts: u32) -> Claim {
    let device = Device {
        id: DeviceId::from_trusted("device_123"),
        tenant: TenantId::from_trusted("ten_1"),
        channel: ChannelKind::Whatsapp,
        plugin: None,
        plugin_config: "{}".to_owned(),
        settings: DeviceSettings {
            max_attempts,
            ..DeviceSettings::default()
        },
        alert: None,
        created_at: NOW,
    };
    Claim {
        lock: Lock {
            conversation: ConversationId::from_trusted("cnv_1"),
            epoch: 1,
            owner: "owner".to_owned(),
        },
        turn: TurnId::from_trusted("trn_1"),
        device,
        prospect: ProspectId::from_trusted("6281234567890"),
        prospect_name: None,
        trigger: Trigger::Messages(Vec::new()),
        attempt,
        crashes,
        turn_seq: 0,
        claimed_at: NOW,
        clock: NOW,
        seed: 0,
        last_inbound_at: None,
    }
}

prop_compose! {
    fn failure()(
        kind in prop::sample::select(&KINDS[..]),
        after in prop::option::of(prop_oneof![0..7_200_000_u64, any::<u64>()]),
    ) -> TurnFailure {
        TurnFailure { kind, detail: "why".to_owned(), retry_after: after.map(Duration::from_millis) }
    }
}

proptest! {
    #[test]
    fn a_turn_is_tried_as_often_as_is_said_and_then_given_up(
        failure in failure(),
        attempt in prop_oneof![1..30_u32, any::<u32>()],
        max_attempts in 1..=100_u32,
    ) {
        let most = match failure.kind.blame() {
            Blame::Guest => max_attempts,
            Blame::Host => max_attempts.max(HOST_ATTEMPTS),
        };
        let again = !failure.kind.is_final() && attempt < most;
        match failed(&claim(attempt, 0, max_attempts), &failure, NOW) {
            TurnEnd::Retry { kind, .. } => prop_assert!(again && kind == failure.kind),
            TurnEnd::GiveUp { kind, .. } => prop_assert!(!again && kind == failure.kind),
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn the_next_try_is_when_the_guest_asks_or_the_backoff_says(failure in failure(), attempt in 1..100_u32) {
        let end = failed(&claim(attempt, 0, 100), &failure, NOW);
        if let TurnEnd::Retry { at, .. } = end {
            let (least, most) = match failure.retry_after {
                Some(after) => (after.min(MAX_RETRY_AFTER), after.min(MAX_RETRY_AFTER)),
                None => (Backoff::TURN.delay(attempt, 0.0), Backoff::TURN.delay(attempt, 1.0)),
            };
            prop_assert!((NOW.plus(least)..=NOW.plus(most)).contains(&at), "{at} is not within {least:?} and {most:?}");
        }
    }

    #[test]
    fn what_takes_the_host_down_is_given_up_after_as_many_tries(crashes in 0..200_u32, max_attempts in 1..=100_u32) {
        let end = is_poisonous(&claim(1, crashes, max_attempts));
        prop_assert_eq!(end.is_some(), crashes >= max_attempts);
    }
}
