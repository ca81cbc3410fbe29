//! What a message meets, and the lock.

use super::*;

#[tokio::test]
async fn a_message_is_answered_under_its_lock_and_the_lock_is_released_after_the_reply() {
    let mut f = fixture(DeviceSettings::default()).await;
    assert!(matches!(f.say("m1", "hi").await, Fate::Claimed(_)));
    assert_eq!(
        f.host.session_locks().await.unwrap(),
        [(
            PROSPECT.to_owned(),
            "device_123".to_owned(),
            "2025-10-14 09:15:30".to_owned()
        )]
    );
    let claim = f.run();
    assert_eq!(texts(&claim), ["hi"]);
    assert_eq!(f.reply(claim, &["hello"]).await, Finished::Committed);
    let part = f.send();
    assert_eq!((part.idx, part.attempt, &part.body), (0, 1, &body("hello")));
    assert_eq!(f.locks().await, 1, "the reply is not sent yet");
    f.sent(&part).await;
    assert_eq!(f.locks().await, 0);
    assert_eq!(f.states().await, ["done"]);
    assert!(f.next().is_none());
    let detail = f.detail().await;
    assert_eq!(
        (detail.summary.state.as_str(), detail.summary.turns),
        ("idle", 1)
    );
    assert_eq!(detail.outbox[0].state, "sent");
}

#[tokio::test]
async fn i2_a_redelivery_changes_nothing_whenever_it_comes() {
    let mut f = fixture(DeviceSettings::default()).await;
    f.say("m1", "hi").await;
    assert_eq!(f.say("m1", "hi").await, Fate::Duplicate, "while it runs");
    let claim = f.run();
    assert_eq!(f.reply(claim, &["hello"]).await, Finished::Committed);
    assert_eq!(f.say("m1", "hi").await, Fate::Duplicate, "while it is sent");
    let part = f.send();
    f.sent(&part).await;
    f.clock.advance(Duration::from_secs(7 * 24 * 3_600));
    let keep = Retention {
        settled: Duration::ZERO,
        dead: Duration::ZERO,
    };
    f.host.forget(keep).await.unwrap();
    assert_eq!(f.say("m1", "hi").await, Fate::Duplicate, "seven days later");
    assert!(f.next().is_none());
    f.clock.advance(Duration::from_secs(2 * 24 * 3_600));
    assert!(f.host.forget(keep).await.unwrap() > 0);
    assert!(
        matches!(f.say("m1", "hi").await, Fate::Claimed(_)),
        "after nine days it is forgotten"
    );
}

/// Rows that are kept stand among those that go, over several batches.
#[tokio::test]
async fn old_rows_go_wherever_they_stand_and_the_young_stay() {
    let mut f = fixture(DeviceSettings::default()).await;
    let old = 1_300_u64;
    // The first ones were written while the clock was ahead.
    for n in 0..700 + old {
        let state = if n % 3 == 700 % 3 { "dead" } else { "done" };
        sqlx::query(
            "INSERT INTO inbox (id, tenant, device, message, state, received_at) VALUES ($1, 't', 'd', '{}', $2, $3)",
        )
        .bind(format!("old{n:04}"))
        .bind(state)
        .bind(if n < 700 { START.0 * 2 } else { START.0 })
        .execute(&f.host.writers)
        .await
        .unwrap();
    }
    f.clock.advance(Duration::from_secs(20 * 24 * 3_600));
    f.say("m1", "young").await;
    let day = Duration::from_secs(24 * 3_600);
    let mut keep = Retention {
        settled: 10 * day,
        dead: 30 * day,
    };
    assert_eq!(f.host.forget(keep).await.unwrap(), old - old.div_ceil(3));
    assert_eq!(f.host.forget(keep).await.unwrap(), 0);
    keep.dead = 10 * day;
    assert_eq!(f.host.forget(keep).await.unwrap(), old.div_ceil(3));
    assert_eq!(texts(&f.run()), ["young"]);
}

#[tokio::test]
async fn i2_the_same_message_twice_in_one_webhook_is_one() {
    let mut f = fixture(DeviceSettings::default()).await;
    let twice = vec![Event::Message(message("m1", PROSPECT, "hi")); 2];
    let Accepted::Stored(fates) = f.accept(twice).await else {
        panic!()
    };
    // Which of the two rows is the one does not matter; that it is one does.
    assert_eq!(
        fates.iter().filter(|f| **f == Fate::Duplicate).count(),
        1,
        "{fates:?}"
    );
    assert_eq!(texts(&f.run()), ["hi"]);
}

#[tokio::test]
async fn i6_a_newer_message_restarts_the_turn_and_one_reply_covers_both() {
    let mut f = fixture(DeviceSettings::default()).await;
    f.say("m1", "one").await;
    let stale = f.run();
    assert!(matches!(f.say("m2", "two").await, Fate::Restarted(_)));
    assert!(matches!(f.next(), Some(Work::Cancel { epoch: 1, .. })));
    assert_eq!(f.reply(stale, &["stale"]).await, Finished::Superseded);
    let claim = f.run();
    assert_eq!(texts(&claim), ["one", "two"]);
    assert_eq!(
        (claim.lock.epoch, claim.attempt),
        (2, 1),
        "a restart is no failed try"
    );
    assert_eq!(f.reply(claim, &["both"]).await, Finished::Committed);
    let part = f.send();
    assert_eq!(part.body, body("both"));
    f.sent(&part).await;
    assert_eq!(f.states().await, ["done", "done"]);
    assert_eq!(
        f.detail().await.outbox.len(),
        1,
        "the stale reply left nothing"
    );
}

#[tokio::test]
async fn a_turn_that_was_restarted_often_commits_all_the_same() {
    let settings = DeviceSettings {
        max_restarts: 1,
        ..DeviceSettings::default()
    };
    let mut f = fixture(settings).await;
    f.say("m1", "one").await;
    let first = f.run();
    f.say("m2", "two").await;
    f.next();
    f.end(first, TurnEnd::Cancelled).await;
    let second = f.run();
    assert!(matches!(f.say("m3", "three").await, Fate::Queued(_)));
    assert_eq!(f.reply(second, &["one and two"]).await, Finished::Committed);
    let part = f.send();
    f.sent(&part).await;
    assert_eq!(
        texts(&f.run()),
        ["three"],
        "what came meanwhile is the next turn's"
    );
}

#[tokio::test]
async fn under_queue_the_turn_commits_and_the_next_one_takes_the_rest() {
    let mut f = fixture(with(Overlap::Queue)).await;
    f.say("m1", "one").await;
    let claim = f.run();
    assert!(matches!(f.say("m2", "two").await, Fate::Queued(_)));
    assert!(matches!(f.say("m3", "three").await, Fate::Queued(_)));
    assert_eq!(f.reply(claim, &["1"]).await, Finished::Committed);
    let part = f.send();
    assert!(
        matches!(f.say("m4", "four").await, Fate::Queued(_)),
        "while the reply is sent"
    );
    f.sent(&part).await;
    let claim = f.run();
    assert_eq!(texts(&claim), ["two", "three", "four"]);
    assert_eq!(f.locks().await, 1, "straight on");
}

#[tokio::test]
async fn under_skip_the_newcomer_is_recorded_and_not_answered() {
    let mut f = fixture(with(Overlap::Skip)).await;
    f.say("m1", "one").await;
    let claim = f.run();
    assert!(matches!(f.say("m2", "two").await, Fate::Skipped(_, _)));
    assert_eq!(f.reply(claim, &["1"]).await, Finished::Committed);
    let part = f.send();
    f.sent(&part).await;
    assert_eq!(f.states().await, ["done", "skipped"]);
    assert!(f.next().is_none());
}

#[tokio::test]
async fn the_same_text_twice_within_the_window_is_answered_once() {
    let mut f = fixture(DeviceSettings::default()).await;
    let part = f.answers(&["hello"]).await;
    f.sent(&part).await;
    f.clock.advance(Duration::from_millis(900));
    assert!(matches!(f.say("m2", "hi").await, Fate::Skipped(_, _)));
    f.clock.advance(Duration::from_millis(1_200));
    assert!(matches!(f.say("m3", "hi").await, Fate::Claimed(_)));
}

#[tokio::test]
async fn the_same_text_is_answered_again_after_the_clock_was_set_back() {
    let mut f = fixture(DeviceSettings::default()).await;
    let part = f.answers(&["hello"]).await;
    f.sent(&part).await;
    let Clock::Manual(at) = &f.clock else {
        unreachable!("the fixture's clock is set by hand")
    };
    at.fetch_sub(3 * 3_600_000, std::sync::atomic::Ordering::SeqCst);
    assert!(matches!(f.say("m2", "hi").await, Fate::Claimed(_)));
}

#[tokio::test]
async fn i3_a_lock_that_was_taken_away_commits_nothing() {
    let mut f = fixture(DeviceSettings::default()).await;
    f.say("m1", "hi").await;
    let old = f.run();
    f.host.unlock(&f.conversation()).await.unwrap();
    assert_eq!(f.locks().await, 0);
    f.host.run_due().await.unwrap();
    let new = f.run();
    assert!(new.lock.epoch > old.lock.epoch);
    assert_eq!(f.reply(old, &["ghost"]).await, Finished::Fenced);
    assert!(f.next().is_none());
    assert_eq!(f.reply(new, &["real"]).await, Finished::Committed);
    assert_eq!(f.send().body, body("real"));
    assert_eq!(f.detail().await.outbox.len(), 1);
}

#[tokio::test]
async fn i3_the_owner_counts_and_not_only_the_epoch() {
    let mut f = fixture(DeviceSettings::default()).await;
    f.say("m1", "hi").await;
    let mut claim = f.run();
    claim.lock.owner = "somebody else".to_owned();
    assert_eq!(f.reply(claim, &["ghost"]).await, Finished::Fenced);
    assert_eq!(f.locks().await, 1);
}

#[tokio::test]
async fn i5_a_turn_decides_once_even_if_it_is_finished_again() {
    let mut f = fixture(DeviceSettings::default()).await;
    f.say("m1", "hi").await;
    let claim = f.run();
    let Lock {
        conversation,
        epoch,
        owner,
    } = &claim.lock;
    let (conversation, epoch, owner) = (conversation.clone(), *epoch, owner.clone());
    let turn = claim.turn.clone();
    let covered = finish_of(&claim).0;
    assert_eq!(f.reply(claim, &["once"]).await, Finished::Committed);
    // As after an error of the disk of which nobody can tell whether it came before or after the commit.
    let again = Finish {
        lock: Lock {
            conversation,
            epoch,
            owner,
        },
        covered,
        record: TurnRecord {
            turn,
            attempt: 1,
            plugin: None,
            cpu: Duration::ZERO,
            started_at: START,
        },
        end: TurnEnd::Commit(commit(&["twice"])),
    };
    assert_eq!(f.host.finish(again).await.unwrap(), Finished::Fenced);
    assert_eq!(f.send().body, body("once"));
    assert!(f.next().is_none());
    assert_eq!(f.detail().await.outbox.len(), 1);
}

#[tokio::test]
async fn i5_what_was_decided_once_is_not_decided_by_a_later_turn() {
    let mut f = fixture(with(Overlap::Queue)).await;
    f.say("m1", "one").await;
    let first = f.run();
    let (covered, _) = finish_of(&first);
    f.reply(first, &["1"]).await;
    let part = f.send();
    f.sent(&part).await;
    f.say("m2", "two").await;
    let second = f.run();
    let record = finish_of(&second).1;
    // A turn that claims to cover a message that another has answered changes nothing of it.
    let give_up = TurnEnd::GiveUp {
        kind: FailureKind::Failed,
        detail: "no".to_owned(),
        fallback: Commit::default(),
    };
    f.host
        .finish(Finish {
            lock: second.lock,
            covered,
            record,
            end: give_up,
        })
        .await
        .unwrap();
    assert_eq!(f.states().await, ["done", "pending"]);
    assert_eq!(texts(&f.run()), ["two"]);
}

#[tokio::test]
async fn one_process_is_the_host() {
    let f = fixture(DeviceSettings::default()).await;
    let second = Host::open(&f.dir.path().join("np.db"), f.clock.clone(), sealer()).await;
    let error = second.unwrap_err().to_string();
    assert!(error.contains(&std::process::id().to_string()), "{error}");
}

#[tokio::test]
async fn a_live_hosts_slow_turn_keeps_its_lock() {
    let mut f = fixture(with(Overlap::Skip)).await;
    f.say("m1", "slow").await;
    let claim = f.run();
    f.due_after(Duration::from_secs(31)).await;
    assert!(
        f.next().is_none(),
        "the seed's 30 seconds take no lock from a live host"
    );
    assert!(matches!(f.say("m2", "hello?").await, Fate::Skipped(_, _)));
    assert_eq!(f.reply(claim, &["done"]).await, Finished::Committed);
}

#[tokio::test]
async fn debounce_waits_for_silence_and_a_redelivery_does_not_reset_it() {
    let mut f = fixture(DeviceSettings {
        debounce_ms: 4_000,
        ..DeviceSettings::default()
    })
    .await;
    assert!(matches!(f.say("m1", "one").await, Fate::Waiting(_)));
    f.clock.advance(Duration::from_secs(3));
    assert_eq!(f.say("m1", "one").await, Fate::Duplicate);
    f.due_after(Duration::from_secs(1)).await;
    let claim = f.run();
    assert_eq!(texts(&claim), ["one"]);
    f.reply(claim, &[]).await;
    f.say("m2", "two").await;
    f.clock.advance(Duration::from_secs(3));
    f.say("m3", "three").await;
    f.due_after(Duration::from_secs(3)).await;
    assert!(f.next().is_none());
    f.due_after(Duration::from_secs(1)).await;
    assert_eq!(texts(&f.run()), ["two", "three"]);
}

#[tokio::test]
async fn a_full_inbox_takes_nothing_and_loses_nothing() {
    let f = fixture(with(Overlap::Queue)).await;
    let many = |from: usize, n: usize| -> Vec<_> {
        (from..from + n)
            .map(|i| Event::Message(message(&format!("m{i}"), &format!("p{i}"), "hi")))
            .collect()
    };
    assert!(matches!(f.accept(many(0, 9)).await, Accepted::Stored(_)));
    // There is room left, so a batch is taken as a whole: one that is larger than all the room would never fit.
    assert!(matches!(f.accept(many(9, 20)).await, Accepted::Stored(_)));
    assert_eq!(f.accept(many(29, 1)).await, Accepted::Full);
    assert_eq!(
        f.accept(many(0, 1)).await,
        Accepted::Full,
        "also what it knows"
    );
}

#[tokio::test]
async fn two_ids_of_one_prospect_lead_to_one_conversation() {
    let mut f = fixture(with(Overlap::Queue)).await;
    let mut both = message("m1", "15550001111", "hi");
    both.alias = Some(ProspectId::from_trusted("US.1349"));
    f.accept(vec![Event::Message(both)]).await;
    let first = f.run();
    let alone = message("m2", "US.1349", "me again");
    let Accepted::Stored(fates) = f.accept(vec![Event::Message(alone)]).await else {
        panic!()
    };
    assert!(matches!(fates[0], Fate::Queued(_)), "{fates:?}");
    f.reply(first, &[]).await;
    assert_eq!(f.run().prospect.as_str(), "15550001111");
}

#[tokio::test]
async fn s26_pairs_do_not_block_each_other() {
    let mut f = fixture(with(Overlap::Skip)).await;
    let other = NewDevice {
        id: DeviceId::from_trusted("device_456"),
        tenant: f.tenant.clone(),
        credentials: credentials(),
        plugin: None,
        plugin_config: "{}".to_owned(),
        settings: with(Overlap::Skip),
    };
    let other = f.host.add_device(other).await.unwrap();
    f.say("m1", "hi").await;
    let second = Event::Message(message("m2", "another", "hi"));
    f.accept(vec![second]).await;
    let third = Accept {
        device: other.id,
        events: vec![Event::Message(message("m1", PROSPECT, "hi"))],
    };
    f.host.accept(third).await.unwrap();
    assert_eq!(f.locks().await, 3);
    assert_eq!(f.run().device.id, f.device);
    assert_eq!(f.run().prospect.as_str(), "another");
    assert_eq!(f.run().device.id.as_str(), "device_456");
}

#[tokio::test]
async fn s19_the_seeds_own_query_works_and_has_its_columns() {
    let f = fixture(DeviceSettings::default()).await;
    f.say("m1", "hi").await;
    let row = sqlx::query("SELECT * FROM ai_whatsapp_session_nodepath")
        .fetch_one(&f.host.readers)
        .await
        .unwrap();
    use sqlx::{Column as _, Row as _};
    let names: Vec<_> = row.columns().iter().map(|c| c.name().to_owned()).collect();
    assert_eq!(names, ["id_prospect", "id_device", "timestamp"]);
    let running: (i64,) = sqlx::query_as("SELECT COUNT(*) FROM execution_process")
        .fetch_one(&f.host.readers)
        .await
        .unwrap();
    assert_eq!(running, (1,));
}

#[tokio::test]
async fn many_at_once_are_committed_in_groups_and_each_gets_its_own_answer() {
    let f = fixture(DeviceSettings::default()).await;
    let store = std::sync::Arc::new(f);
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..10 {
        let f = store.clone();
        tasks.spawn(async move {
            let event = Event::Message(message(&format!("m{i}"), &format!("p{i}"), "hi"));
            let unknown = Accept {
                device: DeviceId::from_trusted("nobody"),
                events: vec![],
            };
            assert!(matches!(
                f.host.accept(unknown).await,
                Err(Error::NotFound { .. })
            ));
            f.accept(vec![event]).await
        });
    }
    while let Some(accepted) = tasks.join_next().await {
        assert!(
            matches!(accepted.unwrap(), Accepted::Stored(fates) if matches!(fates[0], Fate::Claimed(_)))
        );
    }
    assert_eq!(store.locks().await, 10);
}
