//! The tries of a part, and what says that the next one may be made or is not to be.

use super::between::status_of;
use super::*;

/// A device whose credentials can't be opened for ten seconds (or a database that can't be read) is our fault.
#[tokio::test]
async fn a_try_that_was_never_made_does_not_count_as_one() {
    let mut f = fixture(DeviceSettings::default()).await;
    let mut part = f.answers(&["a"]).await;
    sqlx::query("UPDATE device SET credentials = x'00'")
        .execute(&f.host.writers)
        .await
        .unwrap();
    let Fixture {
        host,
        mut work,
        clock,
        dir: _dir,
        ..
    } = f;
    let host = std::sync::Arc::new(host);
    for _ in 0..10 {
        let deliveries =
            crate::delivery::Deliveries::new(host.clone(), crate::channel::http_client().unwrap());
        deliveries.start(part);
        deliveries.idle().await;
        clock.advance(Duration::from_secs(30));
        host.run_due().await.unwrap();
        let Some(Work::Send(again)) = work.try_recv() else {
            panic!()
        };
        part = *again;
    }
    let next = crate::channel::retry(crate::model::ChannelKind::Whatsapp, part.attempt, None, 0.5);
    assert!(
        next.is_some(),
        "the first refusal by the provider makes it a dead letter `after {} tries`",
        part.attempt
    );
}

/// The generic channel's schedule spans hours; a receiver that is back is not left waiting for it.
#[tokio::test]
async fn what_waits_for_its_next_try_is_due_when_the_device_can_send_again() {
    let mut f = fixture(DeviceSettings::default()).await;
    let at = START.plus(Duration::from_secs(3_600));
    for prospect in ["p1", "p2"] {
        let id = format!("m-{prospect}");
        f.accept(vec![Event::Message(message(&id, prospect, "hi"))])
            .await;
        let claim = f.run();
        f.reply(claim, &["a"]).await;
        let part = f.send();
        let why = "503".to_owned();
        f.settle(&part, Settled::RetryAt { at, why }).await;
    }
    // Whoever corrects the credentials hurries both, and the first that arrives hurries whatever else there is.
    f.host
        .change_credentials(&f.device, &credentials())
        .await
        .unwrap();
    f.host.run_due().await.unwrap();
    let (first, second) = (f.send(), f.send());
    let why = "503".to_owned();
    f.settle(&second, Settled::RetryAt { at, why }).await;
    f.sent(&first).await;
    f.host.run_due().await.unwrap();
    assert_eq!(f.send().id, second.id);
}

/// Two prospects' parts are settled in one group: the provider refuses the device, and then takes the other part.
#[tokio::test]
async fn a_success_clears_an_alert_of_its_own_group() {
    let mut f = fixture(DeviceSettings::default()).await;
    let mut parts = vec![];
    for prospect in ["p1", "p2"] {
        let id = format!("m-{prospect}");
        f.accept(vec![Event::Message(message(&id, prospect, "hi"))])
            .await;
        let claim = f.run();
        f.reply(claim, &["a"]).await;
        parts.push(f.send());
    }
    let why = "(#190) the token has expired".to_owned();
    let refused = f.settle(&parts[0], Settled::Dead { why, alert: true });
    f.host.gather(2);
    tokio::join!(refused, f.sent(&parts[1]));
    assert_eq!(f.host.device(&f.device).await.unwrap().alert, None);
}

#[tokio::test]
async fn an_old_status_does_not_pass_for_the_try_that_an_operator_has_asked_for() {
    let mut f = fixture(DeviceSettings::default()).await;
    let old = f.first_reply().await;
    f.accept(vec![status_of(&old, DeliveryStatus::Failed)])
        .await;
    f.host.replay(old.id.as_str()).await.unwrap();
    // Delivered again, before the new try and while it is under way.
    f.accept(vec![status_of(&old, DeliveryStatus::Sent)]).await;
    f.host.run_due().await.unwrap();
    let again = f.send();
    assert_eq!(again.id, old.id);
    f.accept(vec![status_of(&old, DeliveryStatus::Failed)])
        .await;
    let until = f.clock.now().plus(Duration::from_secs(30));
    let why = "timeout".to_owned();
    f.settle(&again, Settled::Unknown { until, why }).await;
    assert_eq!(f.detail().await.outbox[0].state, "unknown");
}
