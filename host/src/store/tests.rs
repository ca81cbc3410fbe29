//! The store's promises, each by a test that drives the three commits by hand and a clock that stands still.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use super::*;
use crate::model::delivery::{PartBody, PartKind};
use crate::model::device::{Budget, Fallback, Overlap, UnknownPolicy};
use crate::model::effect::{Observed, Scope};
use crate::model::inbound::{DeliveryStatus, OwnerEcho, StatusUpdate};
use crate::model::turn::{FailureKind, PendingMessage};
use crate::model::{
    Claim, Content, ConversationId, Credentials, DeviceId, DeviceSettings, Effect, Event,
    InboundMessage, Lock, OutboxId, Part, ProspectId, Secret, TenantId, Trigger,
};

const START: Timestamp = Timestamp(1_760_433_330_000);

struct Fixture {
    host: Host,
    work: UnboundedReceiver<Work>,
    clock: Clock,
    device: DeviceId,
    tenant: TenantId,
    dir: tempfile::TempDir,
}

fn credentials() -> Credentials {
    Credentials::Whatsapp {
        app_secret: Secret::new("app-secret"),
        access_token: Secret::new("access-token"),
        verify_token: Secret::new("verify-token"),
        phone_number_id: "1122334455667".to_owned(),
        api_base: "http://127.0.0.1:9/v25.0".to_owned(),
    }
}

/// A device on a channel that can't tell what became of a message.
fn silent_credentials() -> Credentials {
    Credentials::Generic {
        inbound: vec![Secret::new("whsec_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")],
        outbound: vec![],
        url: "http://127.0.0.1:9/".to_owned(),
    }
}

fn sealer() -> Sealer {
    Sealer::new([7; 32])
}

async fn fixture(settings: DeviceSettings) -> Fixture {
    fixture_on(credentials(), settings).await
}

async fn fixture_on(credentials: Credentials, settings: DeviceSettings) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(START);
    let (host, work) = Host::open(&dir.path().join("np.db"), clock.clone(), sealer())
        .await
        .unwrap();
    let tenant = host.add_tenant("acme", 10).await.unwrap().id;
    let device = DeviceId::from_trusted("device_123");
    let new = NewDevice {
        id: device.clone(),
        tenant: tenant.clone(),
        credentials,
        plugin: None,
        plugin_config: "{}".to_owned(),
        settings,
    };
    host.add_device(new).await.unwrap();
    Fixture {
        host,
        work,
        clock,
        device,
        tenant,
        dir,
    }
}

fn with(overlap: Overlap) -> DeviceSettings {
    DeviceSettings {
        overlap,
        ..DeviceSettings::default()
    }
}

fn message(id: &str, prospect: &str, text: &str) -> InboundMessage {
    InboundMessage {
        provider_id: id.to_owned(),
        prospect: ProspectId::from_trusted(prospect),
        alias: None,
        prospect_name: None,
        sent_at: START,
        content: Content::text(text),
        reply_to: None,
        ext: vec![],
    }
}

const PROSPECT: &str = "6281234567890";

impl Fixture {
    async fn accept(&self, events: Vec<Event>) -> Accepted {
        self.host
            .accept(Accept {
                device: self.device.clone(),
                events,
            })
            .await
            .unwrap()
    }

    async fn say(&self, id: &str, text: &str) -> Fate {
        let accepted = self
            .accept(vec![Event::Message(message(id, PROSPECT, text))])
            .await;
        let Accepted::Stored(mut fates) = accepted else {
            panic!("the inbox is full")
        };
        fates.pop().unwrap()
    }

    fn next(&mut self) -> Option<Work> {
        self.work.try_recv().ok()
    }

    fn run(&mut self) -> Claim {
        match self.next() {
            Some(Work::Run(claim)) => *claim,
            other => panic!("expected a turn, got {other:?}"),
        }
    }

    fn send(&mut self) -> Part {
        match self.next() {
            Some(Work::Send(part)) => *part,
            other => panic!("expected a part, got {other:?}"),
        }
    }

    async fn end(&self, claim: Claim, end: TurnEnd) -> Finished {
        self.host.finish(finish(claim, end)).await.unwrap()
    }

    async fn reply(&mut self, claim: Claim, texts: &[&str]) -> Finished {
        self.end(claim, TurnEnd::Commit(commit(texts))).await
    }

    async fn sent(&self, part: &Part) {
        let result = Settled::Sent {
            provider_id: Some(format!("wamid.{}", part.id)),
        };
        self.settle(part, result).await;
    }

    async fn settle(&self, part: &Part, result: Settled) {
        let settle = Settle {
            part: part.id.clone(),
            attempt: part.attempt,
            result,
        };
        self.host.settle(settle).await.unwrap();
    }

    async fn due_after(&self, by: Duration) {
        self.clock.advance(by);
        self.host.run_due().await.unwrap();
    }

    fn conversation(&self) -> ConversationId {
        ConversationId::of(&self.device, &ProspectId::from_trusted(PROSPECT))
    }

    async fn detail(&self) -> ConversationDetail {
        self.host.conversation(&self.conversation()).await.unwrap()
    }

    async fn states(&self) -> Vec<String> {
        self.detail()
            .await
            .inbox
            .into_iter()
            .rev()
            .map(|m| m.state)
            .collect()
    }

    async fn locks(&self) -> usize {
        self.host.session_locks().await.unwrap().len()
    }

    async fn restart(self) -> Self {
        let Self {
            host,
            clock,
            device,
            tenant,
            dir,
            ..
        } = self;
        host.close().await;
        let (host, work) = Host::open(&dir.path().join("np.db"), clock.clone(), sealer())
            .await
            .unwrap();
        Self {
            host,
            work,
            clock,
            device,
            tenant,
            dir,
        }
    }
}

fn commit(texts: &[&str]) -> Commit {
    let parts = texts
        .iter()
        .map(|t| (OutboxId::generate(), body(t)))
        .collect();
    Commit {
        parts,
        ..Commit::default()
    }
}

fn body(text: &str) -> PartBody {
    let kind = PartKind::Text {
        text: text.to_owned(),
    };
    PartBody {
        kind,
        reply_to: None,
        delay_ms: 0,
        ext: vec![],
    }
}

fn texts(claim: &Claim) -> Vec<&str> {
    let Trigger::Messages(messages) = &claim.trigger else {
        return vec![];
    };
    messages
        .iter()
        .map(|m: &PendingMessage| match &m.message.content {
            Content::Text { text } => text.as_str(),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn finish_of(claim: &Claim) -> (Covered, TurnRecord) {
    let covered = match &claim.trigger {
        Trigger::Messages(m) => Covered::Messages(m.iter().map(|m| m.id.clone()).collect()),
        Trigger::Timer { id, .. } => Covered::Timer(id.clone()),
        Trigger::Signal { .. } => Covered::Signal,
    };
    let record = TurnRecord {
        turn: claim.turn.clone(),
        attempt: claim.attempt,
        plugin: None,
        cpu: Duration::from_micros(12),
        started_at: claim.claimed_at,
    };
    (covered, record)
}

fn finish(claim: Claim, end: TurnEnd) -> Finish {
    let (covered, record) = finish_of(&claim);
    Finish {
        lock: claim.lock,
        covered,
        record,
        end,
    }
}

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
    f.say("m1", "hi").await;
    let claim = f.run();
    f.reply(claim, &["hello"]).await;
    let part = f.send();
    f.sent(&part).await;
    f.clock.advance(Duration::from_millis(900));
    assert!(matches!(f.say("m2", "hi").await, Fate::Skipped(_, _)));
    f.clock.advance(Duration::from_millis(1_200));
    assert!(matches!(f.say("m3", "hi").await, Fate::Claimed(_)));
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
    f.say("m1", "hi").await;
    let claim = f.run();
    f.reply(claim, &["a", "b"]).await;
    let part = f.send();
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
    f.say("m1", "hi").await;
    let claim = f.run();
    f.reply(claim, &["a"]).await;
    let part = f.send();
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
    f.say("m1", "hi").await;
    let claim = f.run();
    f.reply(claim, &["a", "b"]).await;
    let part = f.send();
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
    f.say("m1", "hi").await;
    let claim = f.run();
    f.reply(claim, &["a"]).await;
    let part = f.send();
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
    f.say("m1", "hi").await;
    let claim = f.run();
    f.reply(claim, &["a"]).await;
    let part = f.send();
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
    f.say("m1", "hi").await;
    let claim = f.run();
    f.reply(claim, &["a"]).await;
    let part = f.send();
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

mod between;
mod by_hand;
