//! How turns end, and what they keep.

use super::*;

#[tokio::test]
async fn a_failed_turn_lets_go_of_its_lock_and_runs_again_with_the_same_time_and_chance() {
    let mut f = fixture(DeviceSettings::default()).await;
    f.say("m1", "hi").await;
    let first = f.run();
    let (clock, seed) = (first.clock, first.seed);
    let at = START.plus(Duration::from_millis(500));
    let retry = TurnEnd::Retry {
        kind: FailureKind::Trap,
        detail: "unreachable".to_owned(),
        at,
    };
    assert_eq!(f.end(first, retry).await, Finished::Retrying);
    assert_eq!(f.locks().await, 0);
    f.due_after(Duration::from_millis(500)).await;
    let second = f.run();
    assert_eq!(
        (second.clock, second.seed, second.attempt),
        (clock, seed, 2)
    );
    assert_eq!(f.detail().await.turns_run[0].outcome, "trap");
}

#[tokio::test]
async fn i9_a_poisonous_message_is_dead_and_the_conversation_goes_on() {
    let fallback = Fallback::Text {
        text: "sorry".to_owned(),
    };
    let mut f = fixture(DeviceSettings {
        fallback,
        ..DeviceSettings::default()
    })
    .await;
    f.say("m1", "poison").await;
    let claim = f.run();
    let give_up = TurnEnd::GiveUp {
        kind: FailureKind::Trap,
        detail: "unreachable".to_owned(),
        fallback: commit(&["sorry"]),
    };
    assert_eq!(f.end(claim, give_up).await, Finished::Committed);
    let part = f.send();
    assert_eq!(part.body, body("sorry"));
    f.sent(&part).await;
    assert_eq!(f.locks().await, 0);
    assert_eq!(f.states().await, ["dead"]);
    assert!(matches!(f.say("m2", "hi").await, Fate::Claimed(_)));
    let claim = f.run();
    assert_eq!(texts(&claim), ["hi"], "the dead message is not run again");
    f.reply(claim, &[]).await;
    let dead = f.host.dead_letters(Some(&f.tenant), 10).await.unwrap();
    f.host.replay(&dead[0].id).await.unwrap();
    f.host.run_due().await.unwrap();
    assert_eq!(texts(&f.run()), ["poison"]);
}

#[tokio::test]
async fn i9_what_takes_the_host_down_is_counted_and_its_lock_is_free_at_once() {
    let mut f = fixture(DeviceSettings::default()).await;
    f.say("m1", "boom").await;
    assert_eq!(f.run().crashes, 0);
    let mut f = f.restart().await;
    assert_eq!(
        f.host.recovered(),
        Recovered {
            turns: 1,
            unknown_parts: 0
        }
    );
    assert_eq!(
        f.locks().await,
        0,
        "the dead process's lock is free at once"
    );
    f.host.run_due().await.unwrap();
    let claim = f.run();
    assert_eq!((claim.attempt, claim.crashes), (2, 1));
    assert_eq!(f.reply(claim, &[]).await, Finished::Committed);
    f.say("m2", "hi").await;
    assert_eq!(f.run().crashes, 0, "a turn that ends well clears the count");
}

#[tokio::test]
async fn a_human_takes_over_while_a_turn_runs_and_hands_back() {
    let mut f = fixture(DeviceSettings::default()).await;
    f.say("m1", "hi").await;
    let claim = f.run();
    let echo = |id: &str, text: &str| {
        Event::Echo(OwnerEcho {
            provider_id: id.to_owned(),
            prospect: ProspectId::from_trusted(PROSPECT),
            sent_at: START,
            content: Content::text(text),
        })
    };
    f.accept(vec![echo("e1", "cmd")]).await;
    assert!(matches!(f.next(), Some(Work::Cancel { .. })));
    assert_eq!(f.reply(claim, &["robot"]).await, Finished::TakenOver);
    assert_eq!(f.locks().await, 0);
    assert!(matches!(f.say("m2", "a human?").await, Fate::Absorbed(_)));
    assert_eq!(f.states().await, ["absorbed", "human", "absorbed"]);
    f.clock.advance(Duration::from_secs(1_000_000));
    assert!(matches!(f.say("m3", "still you?").await, Fate::Absorbed(_)));
    f.accept(vec![echo("e2", "dmc")]).await;
    let claim = f.run();
    assert!(matches!(&claim.trigger, Trigger::Signal { kind, .. } if kind == "resumed"));
    f.reply(claim, &[]).await;
    assert!(matches!(f.say("m4", "hi robot").await, Fate::Claimed(_)));
}

#[tokio::test]
async fn b8_a_customer_can_not_take_over_with_the_owners_word() {
    let mut f = fixture(DeviceSettings::default()).await;
    assert!(matches!(f.say("m1", "cmd").await, Fate::Claimed(_)));
    let claim = f.run();
    f.reply(claim, &["ok"]).await;
    let part = f.send();
    f.sent(&part).await;
    assert!(matches!(f.say("m2", "hello").await, Fate::Claimed(_)));
}

#[tokio::test]
async fn timers_run_under_the_lock_and_messages_come_first() {
    let mut f = fixture(DeviceSettings::default()).await;
    f.say("m1", "hi").await;
    let claim = f.run();
    let due = START.plus(Duration::from_secs(60));
    let set = Effect::Schedule {
        name: "nudge".to_owned(),
        due,
        payload: vec![1, 2],
    };
    let commit = Commit {
        effects: vec![set.clone()],
        ..Commit::default()
    };
    f.end(claim, TurnEnd::Commit(commit)).await;
    f.due_after(Duration::from_secs(59)).await;
    assert!(f.next().is_none());
    f.say("m2", "again").await;
    let claim = f.run();
    f.due_after(Duration::from_secs(2)).await;
    assert!(f.next().is_none(), "the lock is held");
    f.reply(claim, &[]).await;
    let claim = f.run();
    let Trigger::Timer { name, payload, .. } = &claim.trigger else {
        panic!("{claim:?}")
    };
    assert_eq!((name.as_str(), payload.as_slice()), ("nudge", &[1, 2][..]));
    // A newer message restarts a timer's turn too; the timer is not lost.
    f.say("m3", "wait").await;
    f.next();
    assert_eq!(f.end(claim, TurnEnd::Cancelled).await, Finished::Superseded);
    let claim = f.run();
    assert_eq!(texts(&claim), ["wait"]);
    f.reply(claim, &[]).await;
    let claim = f.run();
    assert!(matches!(claim.trigger, Trigger::Timer { .. }));
    f.reply(claim, &[]).await;
    f.due_after(Duration::from_secs(3_600)).await;
    assert!(f.next().is_none(), "a timer fires once");
}

#[tokio::test]
async fn what_a_turn_kept_is_there_for_the_next_and_only_for_its_scope() {
    let mut f = fixture(DeviceSettings::default()).await;
    f.say("m1", "hi").await;
    let claim = f.run();
    let prospect = claim.prospect.clone();
    let set = |scope, key: &str, value: &str| Effect::SetState {
        scope,
        key: key.to_owned(),
        value: value.as_bytes().to_vec(),
        expires_at: None,
    };
    let add = |by| Effect::IncrementState {
        scope: Scope::Tenant,
        key: "n".to_owned(),
        by,
    };
    let effects = vec![
        set(Scope::Conversation, "name", "Ada"),
        set(Scope::Prospect, "vip", "yes"),
        add(2),
        add(3),
        Effect::SetTag {
            key: "stage".to_owned(),
            value: Some("new".to_owned()),
        },
    ];
    f.end(
        claim,
        TurnEnd::Commit(Commit {
            effects,
            ..Commit::default()
        }),
    )
    .await;
    let conversation = f.conversation();
    let kept = async |tenant: &TenantId, scope, key: &str| {
        let value = f
            .host
            .kept(tenant, &conversation, &prospect, scope, key)
            .await
            .unwrap();
        value.map(|v| String::from_utf8(v.value).unwrap())
    };
    assert_eq!(
        kept(&f.tenant, Scope::Conversation, "name")
            .await
            .as_deref(),
        Some("Ada")
    );
    assert_eq!(kept(&f.tenant, Scope::Prospect, "name").await, None);
    assert_eq!(
        kept(&f.tenant, Scope::Tenant, "n").await.as_deref(),
        Some("5")
    );
    let other = TenantId::from_trusted("ten_other");
    assert_eq!(kept(&other, Scope::Conversation, "name").await, None, "I10");
    let keys = f
        .host
        .kept_keys(
            &f.tenant,
            &conversation,
            &prospect,
            Scope::Conversation,
            "na",
            None,
            10,
        )
        .await;
    assert_eq!(keys.unwrap(), ["name"]);
    assert_eq!(
        f.detail().await.tags,
        [("stage".to_owned(), "new".to_owned())]
    );
}

#[tokio::test]
async fn a_turn_that_read_what_another_changed_runs_again() {
    let mut f = fixture(DeviceSettings {
        max_attempts: 1,
        ..DeviceSettings::default()
    })
    .await;
    f.say("m1", "hi").await;
    let claim = f.run();
    let observed = vec![Observed {
        scope: Scope::Tenant,
        key: "stock".to_owned(),
        version: 0,
    }];
    let set = Effect::SetState {
        scope: Scope::Tenant,
        key: "stock".to_owned(),
        value: b"1".to_vec(),
        expires_at: None,
    };
    let commit = || Commit {
        parts: vec![],
        effects: vec![set.clone()],
        observed: observed.clone(),
    };
    assert_eq!(
        f.end(claim, TurnEnd::Commit(commit())).await,
        Finished::Committed
    );
    f.say("m2", "more").await;
    let claim = f.run();
    assert_eq!(
        f.end(claim, TurnEnd::Commit(commit())).await,
        Finished::Conflict
    );
    f.due_after(Duration::from_secs(2)).await;
    let claim = f.run();
    assert_eq!(texts(&claim), ["more"]);
    assert_eq!(
        claim.attempt, 1,
        "the other's commit is no failure of its own"
    );
}

#[tokio::test]
async fn history_is_read_backwards_page_by_page() {
    let mut f = fixture(DeviceSettings::default()).await;
    for i in 0..3 {
        f.clock.advance(Duration::from_secs(10));
        f.say(&format!("m{i}"), &format!("question {i}")).await;
        let claim = f.run();
        f.clock.advance(Duration::from_secs(1));
        f.reply(claim, &[&format!("answer {i}")]).await;
        let part = f.send();
        f.sent(&part).await;
    }
    let conversation = f.conversation();
    let mut cursor = None;
    let mut seen = vec![];
    loop {
        let page = f
            .host
            .history(
                &conversation,
                f.clock.now().plus(Duration::from_secs(1)),
                4,
                cursor.as_deref(),
            )
            .await
            .unwrap()
            .unwrap();
        seen.extend(page.entries.into_iter().map(|e| match e.content {
            Content::Text { text } => text,
            other => panic!("{other:?}"),
        }));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let expected = [
        "answer 2",
        "question 2",
        "answer 1",
        "question 1",
        "answer 0",
        "question 0",
    ];
    assert_eq!(seen, expected);
    assert_eq!(
        f.host
            .history(&conversation, f.clock.now(), 4, Some("nonsense"))
            .await
            .unwrap(),
        None
    );
}

#[tokio::test]
async fn credentials_are_sealed_in_the_file_and_open_only_with_the_key() {
    let f = fixture(DeviceSettings {
        budget: Budget::default(),
        ..DeviceSettings::default()
    })
    .await;
    assert_eq!(f.host.credentials(&f.device).await.unwrap(), credentials());
    let path = f.dir.path().join("np.db");
    f.host.close().await;
    let bytes = std::fs::read(&path).unwrap();
    assert!(!bytes.windows(12).any(|w| w == b"access-token"));
    let store = Store::open(&path, f.clock, Sealer::new([8; 32]))
        .await
        .unwrap();
    assert!(matches!(
        store.credentials(&f.device).await,
        Err(Error::Sealed(_))
    ));
}

#[tokio::test]
async fn a_host_that_drains_claims_nothing_and_the_next_start_goes_on() {
    let mut f = fixture(DeviceSettings::default()).await;
    f.say("m1", "hi").await;
    let claim = f.run();
    f.host.drain();
    assert_eq!(f.end(claim, TurnEnd::HandedBack).await, Finished::Retrying);
    f.accept(vec![Event::Message(message("m2", "another", "hi"))])
        .await;
    assert!(f.next().is_none());
    assert_eq!(f.locks().await, 0);
    let mut f = f.restart().await;
    assert_eq!(f.host.recovered(), Recovered::default());
    f.host.run_due().await.unwrap();
    let (a, b) = (f.run(), f.run());
    assert_eq!(
        (a.attempt, b.attempt),
        (1, 1),
        "handing back is no failed try"
    );
}
