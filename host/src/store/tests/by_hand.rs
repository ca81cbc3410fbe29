//! What people change by hand, beside a running host.

use super::*;

#[tokio::test]
async fn what_the_provider_tells_to_have_failed_is_a_dead_letter_and_sent_again_by_hand() {
    let mut f = fixture(DeviceSettings::default()).await;
    f.say("m1", "hi").await;
    let claim = f.run();
    f.reply(claim, &["a"]).await;
    let part = f.send();
    f.sent(&part).await;
    assert_eq!(f.host.dead_letters(None, 10).await.unwrap(), []);
    let failed = StatusUpdate {
        provider_id: format!("wamid.{}", part.id),
        callback: Some(part.id.to_string()),
        status: DeliveryStatus::Failed,
        at: START,
        detail: Some("131026: not deliverable".to_owned()),
    };
    f.accept(vec![Event::Status(failed)]).await;

    let dead = f
        .host
        .dead_letters(Some(&f.tenant), 10)
        .await
        .unwrap()
        .remove(0);
    assert_eq!(
        (dead.id.as_str(), dead.state.as_str()),
        (part.id.as_str(), "failed")
    );
    assert_eq!(dead.reason.as_deref(), Some("131026: not deliverable"));

    f.host.replay(&dead.id).await.unwrap();
    assert_eq!(f.host.dead_letters(None, 10).await.unwrap(), []);
    f.host.run_due().await.unwrap();
    let again = f.send();
    assert_eq!((&again.id, again.attempt), (&part.id, 2));
    assert_eq!(f.locks().await, 1);
    f.sent(&again).await;
    assert_eq!(f.locks().await, 0);
    assert_eq!(f.host.dead_letters(None, 10).await.unwrap(), []);
    let twice = f.host.replay(&dead.id).await.unwrap_err();
    assert!(matches!(twice, Error::NotFound { .. }), "I8: it was sent");
}

#[tokio::test]
async fn what_has_failed_is_kept_as_long_as_a_dead_letter() {
    const DAY: Duration = Duration::from_secs(24 * 3_600);
    let keep = Retention {
        settled: 10 * DAY,
        dead: 20 * DAY,
    };
    let mut f = fixture(DeviceSettings::default()).await;
    f.say("m1", "hi").await;
    let claim = f.run();
    f.reply(claim, &["a", "b"]).await;
    for status in [DeliveryStatus::Failed, DeliveryStatus::Delivered] {
        let part = f.send();
        f.sent(&part).await;
        f.accept(vec![Event::Status(StatusUpdate {
            provider_id: format!("wamid.{}", part.id),
            callback: None,
            status,
            at: START,
            detail: None,
        })])
        .await;
    }
    f.clock.advance(15 * DAY);
    f.host.forget(keep).await.unwrap();
    let left = f.detail().await.outbox;
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].status.as_deref(), Some("failed"));
    f.clock.advance(15 * DAY);
    f.host.forget(keep).await.unwrap();
    assert_eq!(f.detail().await.outbox, []);
}

#[tokio::test]
async fn a_damaged_file_is_told() {
    let f = fixture(DeviceSettings::default()).await;
    assert_eq!(f.host.damage().await.unwrap(), Vec::<String>::new());
    let (page, size): (i64, i64) = sqlx::query_as(
        "SELECT rootpage, page_size FROM sqlite_schema, pragma_page_size WHERE name = 'tag'",
    )
    .fetch_one(&f.host.readers)
    .await
    .unwrap();
    let path = f.dir.path().join("np.db");
    f.host.close().await;
    let mut bytes = std::fs::read(&path).unwrap();
    // The kind of this page is none that there is.
    bytes[usize::try_from((page - 1) * size).unwrap()] = 0xff;
    std::fs::write(&path, bytes).unwrap();
    let store = Store::open(&path, f.clock, sealer()).await.unwrap();
    assert_ne!(store.damage().await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn of_two_changes_of_a_device_at_once_neither_undoes_the_other() {
    let f = fixture(DeviceSettings::default()).await;
    let was = f.host.device(&f.device).await.unwrap();
    let with = |change: fn(&mut DeviceSettings)| {
        let mut device = was.clone();
        change(&mut device.settings);
        device
    };
    let (first, second) = (
        with(|s| s.max_restarts = 1),
        with(|s| s.overlap = Overlap::Skip),
    );
    assert_eq!(
        f.host.change_device(&was, &first).await.unwrap(),
        DeviceChange::Made
    );
    assert_eq!(
        f.host.change_device(&was, &second).await.unwrap(),
        DeviceChange::Outdated
    );
    let now = f.host.device(&f.device).await.unwrap();
    assert_eq!(now.settings, first.settings);
    let mut both = now.clone();
    both.settings.overlap = Overlap::Skip;
    assert_eq!(
        f.host.change_device(&now, &both).await.unwrap(),
        DeviceChange::Made
    );
    assert_eq!(
        f.host.device(&f.device).await.unwrap().settings,
        both.settings
    );
}

#[tokio::test]
async fn a_tenant_may_have_more_waiting_from_the_next_webhook_on() {
    let f = fixture(DeviceSettings {
        debounce_ms: 1_000,
        ..DeviceSettings::default()
    })
    .await;
    let changed = f.host.change_tenant(&f.tenant, 1).await.unwrap();
    assert_eq!((changed.max_pending, changed.name.as_str()), (1, "acme"));
    f.say("m1", "a").await;
    let more = || vec![Event::Message(message("m2", PROSPECT, "b"))];
    assert!(!matches!(f.accept(more()).await, Accepted::Stored(_)));
    f.host.change_tenant(&f.tenant, 2).await.unwrap();
    assert!(matches!(f.accept(more()).await, Accepted::Stored(_)));
    let nobody = TenantId::generate();
    assert!(f.host.change_tenant(&nobody, 2).await.is_err());
}

#[tokio::test]
async fn pausing_and_resuming_twice_is_as_good_as_once() {
    let mut f = fixture(DeviceSettings::default()).await;
    f.say("m1", "hi").await;
    let claim = f.run();
    f.reply(claim, &[]).await;
    let id = f.conversation();
    assert_eq!(f.host.resume(&id).await.unwrap(), ByHand::WasSo);
    assert_eq!(f.host.pause(&id, None).await.unwrap(), ByHand::Done);
    assert_eq!(f.host.pause(&id, None).await.unwrap(), ByHand::WasSo);
    let until = Some(START.plus(Duration::from_secs(60)));
    assert_eq!(f.host.pause(&id, until).await.unwrap(), ByHand::Done);
    assert_eq!(f.host.resume(&id).await.unwrap(), ByHand::Done);
    assert_eq!(f.host.resume(&id).await.unwrap(), ByHand::WasSo);
    let nobody = ConversationId::from_trusted("cnv_none");
    assert!(f.host.pause(&nobody, None).await.is_err());
    assert!(f.host.resume(&nobody).await.is_err());
}

#[tokio::test]
async fn without_a_key_everything_works_but_credentials() {
    let f = fixture(DeviceSettings::default()).await;
    let path = f.dir.path().join("np.db");
    let no_key: Option<Sealer> = None;
    let store = Store::open(&path, f.clock.clone(), no_key).await.unwrap();
    assert_eq!(store.devices(None).await.unwrap().len(), 1);
    assert_eq!(store.damage().await.unwrap(), Vec::<String>::new());
    let error = store.credentials(&f.device).await.unwrap_err();
    assert!(matches!(error, Error::Sealed(secret::Error::NoKey)));
    let changed = store.change_credentials(&f.device, &credentials()).await;
    assert!(changed.is_err());
}

#[tokio::test]
async fn programs_read_what_was_said_as_json_and_not_as_a_text_of_it() {
    let mut f = fixture(DeviceSettings::default()).await;
    f.say("m1", "hi").await;
    let claim = f.run();
    f.reply(claim, &["a"]).await;
    let json = serde_json::to_value(f.detail().await).unwrap();
    assert_eq!(json["inbox"][0]["message"]["content"]["text"], "hi");
    assert_eq!(json["outbox"][0]["body"]["text"], "a");
}
