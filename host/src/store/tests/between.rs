//! What happens between operations: several in one group, rows that this program can't read, the end of the host in the middle.

use super::*;

pub(super) fn status_of(part: &Part, status: DeliveryStatus) -> Event {
    Event::Status(StatusUpdate {
        provider_id: format!("wamid.{}", part.id),
        callback: Some(part.id.to_string()),
        status,
        at: START,
        detail: None,
    })
}

fn echo(id: &str, text: &str) -> Event {
    Event::Echo(OwnerEcho {
        provider_id: id.to_owned(),
        prospect: ProspectId::from_trusted(PROSPECT),
        sent_at: START,
        content: Content::text(text),
    })
}

fn retry(at: Timestamp) -> TurnEnd {
    TurnEnd::Retry {
        kind: FailureKind::Trap,
        detail: "unreachable".to_owned(),
        at,
    }
}

/// How whoever runs turns ends one that has taken the host down too often.
fn given_up() -> TurnEnd {
    TurnEnd::GiveUp {
        kind: FailureKind::Host,
        detail: "the host ended".to_owned(),
        fallback: Commit::default(),
    }
}

fn is_signal(work: Option<&Work>) -> bool {
    matches!(work, Some(Work::Run(c)) if matches!(c.trigger, Trigger::Signal { .. }))
}

impl Fixture {
    /// A first turn whose reply was sent, so that the provider has a message of ours to tell about.
    pub(super) async fn first_reply(&mut self) -> Part {
        self.say("m0", "hello?").await;
        let claim = self.run();
        self.reply(claim, &["hello"]).await;
        let part = self.send();
        self.sent(&part).await;
        self.clock.advance(Duration::from_secs(5));
        part
    }

    async fn other_device(&self, settings: DeviceSettings) -> DeviceId {
        let other = NewDevice {
            id: DeviceId::from_trusted("device_456"),
            tenant: self.tenant.clone(),
            credentials: credentials(),
            plugin: None,
            plugin_config: "{}".to_owned(),
            settings,
        };
        self.host.add_device(other).await.unwrap().id
    }
}

/// A `read` of the last reply is committed in one group with the T3 of the next turn.
#[tokio::test]
async fn a_status_in_the_group_of_a_t3_frees_no_lock() {
    let mut f = fixture(DeviceSettings::default()).await;
    let old = f.first_reply().await;
    f.say("m1", "hi").await;
    let claim = f.run();
    let done = f
        .host
        .finish(finish(claim, TurnEnd::Commit(commit(&["a"]))));
    let told = f.accept(vec![status_of(&old, DeliveryStatus::Read)]);
    f.host.gather(2);
    let (finished, _) = tokio::join!(done, told);
    assert_eq!(finished.unwrap(), Finished::Committed);
    f.send();
    assert_eq!(f.locks().await, 1, "the reply is not sent yet");
}

#[tokio::test]
async fn a_status_in_the_group_of_a_t3_loses_no_part() {
    let mut f = fixture(DeviceSettings::default()).await;
    let old = f.first_reply().await;
    f.say("m1", "hi").await;
    let claim = f.run();
    let done = f
        .host
        .finish(finish(claim, TurnEnd::Commit(commit(&["a", "b"]))));
    let told = f.accept(vec![status_of(&old, DeliveryStatus::Read)]);
    f.host.gather(2);
    let (finished, _) = tokio::join!(done, told);
    assert_eq!(finished.unwrap(), Finished::Committed);
    let part = f.send();
    f.sent(&part).await;
    assert_eq!(f.send().body, body("b"));
}

#[tokio::test]
async fn a_timer_that_takes_the_host_down_again_and_again_is_forgotten() {
    let settings = DeviceSettings {
        max_attempts: 2,
        ..DeviceSettings::default()
    };
    let mut f = fixture(settings).await;
    f.say("m1", "hi").await;
    let claim = f.run();
    let set = Effect::Schedule {
        name: "boom".to_owned(),
        due: START,
        payload: vec![],
    };
    let commit = Commit {
        effects: vec![set],
        ..Commit::default()
    };
    f.end(claim, TurnEnd::Commit(commit)).await;
    for _ in 0..2 {
        f.run();
        f = f.restart().await;
        f.host.run_due().await.unwrap();
    }
    let claim = f.run();
    assert_eq!(claim.crashes, 2, "whoever runs turns gives it up now");
    f.end(claim, given_up()).await;
    assert!(f.detail().await.timers.is_empty());
    f.host.run_due().await.unwrap();
    assert!(f.next().is_none());
}

/// Two conversations write one value of their tenant; the loser of every race is not to blame.
#[tokio::test]
async fn losing_a_race_for_a_tenants_value_is_no_failed_try() {
    let settings = DeviceSettings {
        max_attempts: 2,
        ..DeviceSettings::default()
    };
    let mut f = fixture(settings).await;
    f.say("m1", "one ticket please").await;
    for _ in 0..2 {
        let claim = f.run();
        let outdated = Commit {
            observed: vec![Observed {
                scope: Scope::Tenant,
                key: "stock".to_owned(),
                version: 0,
            }],
            ..commit(&["sold"])
        };
        sqlx::query("INSERT OR REPLACE INTO plugin_state VALUES ($1, 'tenant', '', 'stock', x'31', 7, NULL)")
            .bind(f.tenant.as_str())
            .execute(&f.host.writers)
            .await
            .unwrap();
        assert_eq!(
            f.end(claim, TurnEnd::Commit(outdated)).await,
            Finished::Conflict
        );
        f.due_after(Duration::from_secs(60)).await;
    }
    let dead = f.host.dead_letters(None, 1).await.unwrap();
    assert_eq!(dead, [], "it runs again");
}

#[tokio::test]
async fn a_message_that_no_turn_has_tried_is_not_buried_with_the_one_that_killed_the_host() {
    let settings = DeviceSettings {
        max_attempts: 2,
        ..DeviceSettings::default()
    };
    let mut f = fixture(settings).await;
    f.say("m1", "boom").await;
    f.run();
    let mut f = f.restart().await;
    f.host.run_due().await.unwrap();
    f.run();
    let mut f = f.restart().await;
    // The provider is faster than the host's first look at what is due.
    assert!(matches!(
        f.say("m2", "are you there?").await,
        Fate::Waiting(_)
    ));
    f.host.run_due().await.unwrap();
    let claim = f.run();
    assert_eq!((texts(&claim), claim.crashes), (vec!["boom"], 2));
    f.end(claim, given_up()).await;
    assert_eq!(f.states().await, ["dead", "pending"]);
    assert_eq!(texts(&f.run()), ["are you there?"]);
}

#[tokio::test]
async fn one_crash_on_the_last_try_gives_up_like_any_failure() {
    let fallback = Fallback::Text {
        text: "sorry".to_owned(),
    };
    let settings = DeviceSettings {
        max_attempts: 2,
        fallback,
        ..DeviceSettings::default()
    };
    let mut f = fixture(settings).await;
    f.say("m1", "hi").await;
    let claim = f.run();
    f.end(claim, retry(START)).await;
    f.host.run_due().await.unwrap();
    assert_eq!(f.run().attempt, 2);
    let mut f = f.restart().await;
    f.host.run_due().await.unwrap();
    let dead = f.host.dead_letters(None, 1).await.unwrap();
    assert!(
        matches!(f.next(), Some(Work::Run(_) | Work::Send(_))),
        "neither another try nor the fallback, and the host ended once, not twice: {dead:?}"
    );
}

/// The provider has said `delivered`; then the host dies before the answer to its request has come.
#[tokio::test]
async fn a_part_that_the_provider_has_delivered_is_not_in_doubt_after_a_crash() {
    let settings = DeviceSettings {
        unknown: UnknownPolicy::Resend,
        ..DeviceSettings::default()
    };
    let mut f = fixture(settings).await;
    let part = f.answers(&["a"]).await;
    f.accept(vec![status_of(&part, DeliveryStatus::Delivered)])
        .await;
    let mut f = f.restart().await;
    f.host.run_due().await.unwrap();
    f.due_after(Duration::from_secs(31)).await;
    let next = f.next();
    assert!(next.is_none(), "it is sent twice: {next:?}");
}

/// A try failed by Graph's word (131000, say), and then its status webhook says that it was delivered.
#[tokio::test]
async fn a_part_that_waits_for_its_next_try_is_not_sent_again_when_it_was_delivered() {
    let mut f = fixture(DeviceSettings::default()).await;
    let part = f.answers(&["a"]).await;
    let at = START.plus(Duration::from_secs(5));
    let why = "(#131000) Something went wrong".to_owned();
    f.settle(&part, Settled::RetryAt { at, why }).await;
    f.accept(vec![status_of(&part, DeliveryStatus::Delivered)])
        .await;
    f.due_after(Duration::from_secs(5)).await;
    let next = f.next();
    assert!(next.is_none(), "it is sent twice: {next:?}");
    assert_eq!(f.locks().await, 0);
}

/// A status brings the next part's turn, which a newer program wrote; a message of somebody else comes in the same webhook.
#[tokio::test]
async fn a_part_that_can_not_be_read_takes_nothing_else_with_it() {
    let mut f = fixture(DeviceSettings::default()).await;
    let part = f.answers(&["a", "b"]).await;
    let until = START.plus(Duration::from_secs(30));
    let why = "timeout".to_owned();
    f.settle(&part, Settled::Unknown { until, why }).await;
    // Written by a newer program, say.
    sqlx::query("UPDATE outbox SET body = '{\"type\":\"location\"}' WHERE idx = 1")
        .execute(&f.host.writers)
        .await
        .unwrap();
    let webhook = || Accept {
        device: f.device.clone(),
        events: vec![
            status_of(&part, DeliveryStatus::Delivered),
            Event::Message(message("m2", "another", "hello")),
        ],
    };
    f.host.accept(webhook()).await.unwrap();
    let lost: Vec<(String,)> = sqlx::query_as(
        "SELECT provider_message_id FROM inbox AS i WHERE state = 'pending'
         AND NOT EXISTS (SELECT 1 FROM conversation AS c WHERE c.id = i.conversation AND c.state != 'idle')",
    )
    .fetch_all(&f.host.readers)
    .await
    .unwrap();
    assert_eq!(lost, [], "pending for ever (I7)");
    assert_eq!(
        f.host.session_locks().await.unwrap().len(),
        1,
        "the other one's"
    );
    assert_eq!(f.detail().await.outbox[0].state, "dead");
}

/// I10: a device whose row can't be read, with something due, is nobody else's trouble.
#[tokio::test]
async fn one_unreadable_device_does_not_stop_what_is_due_for_the_others() {
    let settings = DeviceSettings {
        debounce_ms: 1_000,
        ..DeviceSettings::default()
    };
    let mut f = fixture(settings.clone()).await;
    let other = f.other_device(settings).await;
    let accept = Accept {
        device: other,
        events: vec![Event::Message(message("m1", PROSPECT, "hi"))],
    };
    f.host.accept(accept).await.unwrap();
    f.say("m1", "hi").await;
    // A setting that this program does not know (`deny_unknown_fields`): the program was downgraded.
    sqlx::query("UPDATE device SET settings = '{\"new_setting\":1}' WHERE id = 'device_456'")
        .execute(&f.host.writers)
        .await
        .unwrap();
    f.clock.advance(Duration::from_secs(2));
    let due = f.host.run_due().await;
    assert!(
        matches!(f.next(), Some(Work::Run(_))),
        "nothing due runs any more: {due:?}"
    );
}

#[tokio::test]
async fn a_message_does_not_hurry_a_retry_even_with_debounce() {
    let mut f = fixture(DeviceSettings {
        debounce_ms: 1_000,
        ..DeviceSettings::default()
    })
    .await;
    f.say("m1", "one").await;
    f.due_after(Duration::from_secs(1)).await;
    let claim = f.run();
    let at = f.clock.now().plus(Duration::from_secs(60));
    f.end(claim, retry(at)).await;
    f.say("m2", "two").await;
    f.due_after(Duration::from_secs(2)).await;
    let next = f.next();
    assert!(next.is_none(), "58 s too early: {next:?}");
}

#[tokio::test]
async fn the_signal_of_a_hand_back_is_not_spent_by_a_turn_that_was_claimed_before_it() {
    let mut f = fixture(DeviceSettings::default()).await;
    f.say("m1", "hi").await;
    let claim = f.run();
    f.host.pause(&f.conversation(), None).await.unwrap();
    f.host.resume(&f.conversation()).await.unwrap();
    assert_eq!(f.reply(claim, &[]).await, Finished::Committed);
    let next = f.next();
    assert!(is_signal(next.as_ref()), "{next:?}");
}

#[tokio::test]
async fn the_owners_hand_back_is_signalled_also_while_a_reply_is_sent() {
    let mut f = fixture(DeviceSettings::default()).await;
    let part = f.answers(&["a"]).await;
    f.accept(vec![echo("e1", "cmd")]).await;
    f.accept(vec![echo("e2", "dmc")]).await;
    f.sent(&part).await;
    let next = f.next();
    assert!(is_signal(next.as_ref()), "{next:?}");
}

/// Two devices, whose receivers number their messages from 1, get a status in the same group.
#[tokio::test]
async fn a_status_finds_its_own_devices_part() {
    let mut f = fixture(DeviceSettings::default()).await;
    let other = f.other_device(DeviceSettings::default()).await;
    for device in [f.device.clone(), other.clone()] {
        let events = vec![Event::Message(message("m1", PROSPECT, "hi"))];
        f.host.accept(Accept { device, events }).await.unwrap();
        let claim = f.run();
        f.reply(claim, &["a"]).await;
        let part = f.send();
        let provider_id = Some("1".to_owned());
        f.settle(&part, Settled::Sent { provider_id }).await;
    }
    let told = |device: &DeviceId| {
        let status = StatusUpdate {
            provider_id: "1".to_owned(),
            callback: None,
            status: DeliveryStatus::Read,
            at: START,
            detail: None,
        };
        f.host.accept(Accept {
            device: device.clone(),
            events: vec![Event::Status(status)],
        })
    };
    f.host.gather(2);
    let (a, b) = tokio::join!(told(&f.device), told(&other));
    a.unwrap();
    b.unwrap();
    let read: (i64,) = sqlx::query_as("SELECT COUNT(*) FROM outbox WHERE status = 'read'")
        .fetch_one(&f.host.readers)
        .await
        .unwrap();
    assert_eq!(read, (2,));
}

/// A dead part that an operator sends again comes due in the group of a T3.
#[tokio::test]
async fn two_parts_of_one_conversation_are_never_under_way_at_once() {
    let mut f = fixture(DeviceSettings::default()).await;
    f.say("m0", "hello?").await;
    let claim = f.run();
    f.reply(claim, &["old"]).await;
    let part = f.send();
    let why = "(#131026)".to_owned();
    f.settle(&part, Settled::Dead { why, alert: false }).await;
    f.clock.advance(Duration::from_secs(5));
    f.say("m1", "hi").await;
    let claim = f.run();
    f.host.replay(part.id.as_str()).await.unwrap();
    let done = f
        .host
        .finish(finish(claim, TurnEnd::Commit(commit(&["new"]))));
    f.host.gather(2);
    let (finished, due) = tokio::join!(done, f.host.run_due());
    finished.unwrap();
    due.unwrap();
    let sending: (i64,) = sqlx::query_as("SELECT COUNT(*) FROM outbox WHERE state = 'sending'")
        .fetch_one(&f.host.readers)
        .await
        .unwrap();
    assert_eq!(sending, (1,));
}

/// Where nobody can tell there is no window (design §4); `delivery` knows that and recovery does not.
#[tokio::test]
async fn a_crash_on_a_channel_that_can_not_tell_holds_the_lock_for_no_window() {
    let mut f = fixture_on(silent_credentials(), DeviceSettings::default()).await;
    f.say("m1", "hi").await;
    let claim = f.run();
    f.reply(claim, &["a", "b"]).await;
    f.send();
    let mut f = f.restart().await;
    f.host.run_due().await.unwrap();
    assert_eq!(f.send().body, body("b"));
}

/// A prospect is known by a business-scoped id alone, and their number is told later.
#[tokio::test]
async fn a_second_id_that_is_told_later_leads_to_the_conversation_that_there_is() {
    let mut f = fixture(DeviceSettings::default()).await;
    let alone = message("m1", "US.1349", "hi");
    f.accept(vec![Event::Message(alone)]).await;
    let claim = f.run();
    let first = claim.lock.conversation.clone();
    f.reply(claim, &[]).await;
    // A human has it now.
    f.host.pause(&first, None).await.unwrap();
    let mut both = message("m2", "15550001111", "me again");
    both.alias = Some(ProspectId::from_trusted("US.1349"));
    let accepted = f.accept(vec![Event::Message(both)]).await;
    assert!(
        matches!(&accepted, Accepted::Stored(fates) if matches!(fates[0], Fate::Absorbed(_))),
        "the robot answers whom a human has: {accepted:?}"
    );
}

#[tokio::test]
async fn what_comes_while_a_turn_runs_is_not_its_past() {
    let mut f = fixture(DeviceSettings::default()).await;
    f.first_reply().await;
    f.say("m1", "hi").await;
    let claim = f.run();
    f.clock.advance(Duration::from_millis(500));
    assert!(matches!(f.say("m2", "hi").await, Fate::Skipped(_, _)));
    let past = f
        .host
        .history(&f.conversation(), claim.claimed_at, 10, None)
        .await
        .unwrap()
        .unwrap();
    let said: Vec<_> = past.entries.into_iter().map(|e| e.content).collect();
    assert_eq!(said, [Content::text("hello"), Content::text("hello?")]);
}

#[tokio::test]
async fn a_dead_letter_of_a_conversation_that_a_human_has_is_not_replayed_out_of_sight() {
    let mut f = fixture(DeviceSettings::default()).await;
    f.say("m1", "hi").await;
    let claim = f.run();
    f.end(claim, given_up()).await;
    let dead = f.host.dead_letters(None, 1).await.unwrap().remove(0);
    f.host.pause(&f.conversation(), None).await.unwrap();
    let refused = f.host.replay(&dead.id).await.unwrap_err().to_string();
    assert!(refused.contains("resume"), "{refused}");
    assert_eq!(f.states().await, ["dead"]);
    f.host.resume(&f.conversation()).await.unwrap();
    f.host.replay(&dead.id).await.unwrap();
    f.host.run_due().await.unwrap();
    assert_eq!(texts(&f.run()), ["hi"]);
}
