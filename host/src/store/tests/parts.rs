//! What becomes of the parts of a reply.

use super::*;

#[tokio::test]
async fn parts_leave_one_after_the_other_and_the_lock_holds_until_the_last() {
    let mut f = fixture(DeviceSettings::default()).await;
    f.say("m1", "hi").await;
    let claim = f.run();
    f.reply(claim, &["a", "b", "c"]).await;
    for expected in ["a", "b", "c"] {
        let part = f.send();
        assert_eq!(part.body, body(expected));
        assert!(f.next().is_none(), "one at a time");
        assert_eq!(f.locks().await, 1);
        f.sent(&part).await;
    }
    assert_eq!(f.locks().await, 0);
}

#[tokio::test]
async fn a_dead_part_does_not_keep_the_others() {
    let mut f = fixture(DeviceSettings::default()).await;
    let part = f.answers(&["a", "b"]).await;
    f.settle(
        &part,
        Settled::Dead {
            why: "(#131026)".to_owned(),
            alert: false,
        },
    )
    .await;
    let part = f.send();
    assert_eq!(part.body, body("b"));
    f.sent(&part).await;
    assert_eq!(f.locks().await, 0);
    let dead = f.host.dead_letters(None, 10).await.unwrap();
    assert_eq!(dead[0].reason.as_deref(), Some("(#131026)"));
    f.host.replay(&dead[0].id).await.unwrap();
    f.host.run_due().await.unwrap();
    let part = f.send();
    assert_eq!((part.body.clone(), part.attempt), (body("a"), 2));
    assert_eq!(f.locks().await, 1, "sending again takes the lock");
    f.sent(&part).await;
    assert_eq!(f.locks().await, 0);
}

#[tokio::test]
async fn a_definite_failure_is_tried_again_when_its_time_has_come() {
    let mut f = fixture(DeviceSettings::default()).await;
    let part = f.answers(&["a"]).await;
    let at = START.plus(Duration::from_secs(5));
    f.settle(
        &part,
        Settled::RetryAt {
            at,
            why: "busy".to_owned(),
        },
    )
    .await;
    f.due_after(Duration::from_millis(4_999)).await;
    assert!(f.next().is_none());
    f.due_after(Duration::from_millis(1)).await;
    let again = f.send();
    assert_eq!((again.id.clone(), again.attempt), (part.id.clone(), 2));
    // What the first try says now counts for nothing.
    f.settle(
        &part,
        Settled::Dead {
            why: "late".to_owned(),
            alert: false,
        },
    )
    .await;
    assert_eq!(f.detail().await.outbox[0].state, "sending");
    f.sent(&again).await;
    assert_eq!(f.locks().await, 0);
}

#[tokio::test]
async fn i8_a_part_in_doubt_is_held_after_its_window_and_never_sent_again() {
    let mut f = fixture(DeviceSettings::default()).await;
    let part = f.answers(&["a", "b"]).await;
    let until = START.plus(Duration::from_secs(30));
    f.settle(
        &part,
        Settled::Unknown {
            until,
            why: "timeout".to_owned(),
        },
    )
    .await;
    assert_eq!(
        f.locks().await,
        1,
        "the conversation waits for the provider's word"
    );
    f.due_after(Duration::from_secs(30)).await;
    let part = f.send();
    assert_eq!(part.body, body("b"), "the held part is not sent again");
    f.sent(&part).await;
    assert_eq!(f.locks().await, 0);
    assert_eq!(
        f.host.dead_letters(None, 10).await.unwrap()[0].state,
        "held"
    );
}

#[tokio::test]
async fn i8_a_device_may_ask_for_a_part_in_doubt_to_be_sent_again() {
    let settings = DeviceSettings {
        unknown: UnknownPolicy::Resend,
        ..DeviceSettings::default()
    };
    let mut f = fixture(settings).await;
    let part = f.answers(&["a"]).await;
    f.settle(
        &part,
        Settled::Unknown {
            until: START,
            why: "timeout".to_owned(),
        },
    )
    .await;
    f.host.run_due().await.unwrap();
    assert_eq!(f.send().attempt, 2);
}

#[tokio::test]
async fn a_status_ends_a_doubt_by_our_own_id() {
    let mut f = fixture(DeviceSettings::default()).await;
    let part = f.answers(&["a"]).await;
    let until = START.plus(Duration::from_secs(30));
    f.settle(
        &part,
        Settled::Unknown {
            until,
            why: "timeout".to_owned(),
        },
    )
    .await;
    let status = |status, id: &str| {
        Event::Status(StatusUpdate {
            provider_id: id.to_owned(),
            callback: Some(part.id.to_string()),
            status,
            at: START,
            detail: None,
        })
    };
    f.accept(vec![status(DeliveryStatus::Delivered, "wamid.1")])
        .await;
    assert_eq!(f.locks().await, 0);
    f.accept(vec![status(DeliveryStatus::Sent, "wamid.1")])
        .await;
    let row = f.detail().await.outbox.remove(0);
    assert_eq!(
        (row.state.as_str(), row.status.as_deref()),
        ("sent", Some("delivered"))
    );
    assert_eq!(row.provider_message_id.as_deref(), Some("wamid.1"));
}

#[tokio::test]
async fn a_status_that_overtakes_the_answer_is_not_lost() {
    let mut f = fixture(DeviceSettings::default()).await;
    let part = f.answers(&["a"]).await;
    let status = StatusUpdate {
        provider_id: "wamid.1".to_owned(),
        callback: Some(part.id.to_string()),
        status: DeliveryStatus::Sent,
        at: START,
        detail: None,
    };
    f.accept(vec![Event::Status(status)]).await;
    assert_eq!(f.detail().await.outbox[0].state, "sending");
    let until = START.plus(Duration::from_secs(30));
    f.settle(
        &part,
        Settled::Unknown {
            until,
            why: "timeout".to_owned(),
        },
    )
    .await;
    assert_eq!(f.detail().await.outbox[0].state, "sent");
    assert_eq!(f.locks().await, 0);
}

#[tokio::test]
async fn i8_a_part_that_was_being_sent_when_the_host_died_is_in_doubt() {
    let mut f = fixture(DeviceSettings::default()).await;
    f.say("m1", "hi").await;
    let claim = f.run();
    f.reply(claim, &["a", "b"]).await;
    f.send();
    let mut f = f.restart().await;
    assert_eq!(
        f.host.recovered(),
        Recovered {
            turns: 0,
            unknown_parts: 1
        }
    );
    f.host.run_due().await.unwrap();
    assert!(f.next().is_none());
    assert_eq!(f.locks().await, 1);
    f.due_after(Duration::from_secs(30)).await;
    assert_eq!(
        f.send().body,
        body("b"),
        "a crash after part 1 goes on at part 2"
    );
}
