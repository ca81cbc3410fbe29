//! The store's promises, each by a test that drives the three commits by hand and a clock that stands still.

use std::time::Duration;

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
    work: WorkQueue,
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

    /// The steps in which SQLite would answer a query.
    async fn plan(&self, sql: &str) -> Vec<String> {
        let sql = format!("EXPLAIN QUERY PLAN {sql}");
        let steps: Vec<(i64, i64, i64, String)> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .fetch_all(&self.host.readers)
            .await
            .unwrap();
        steps.into_iter().map(|(.., step)| step).collect()
    }

    fn next(&mut self) -> Option<Work> {
        self.work.try_recv()
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

    /// One message of the prospect, and the first part of the reply to it on its way.
    async fn answers(&mut self, texts: &[&str]) -> Part {
        self.say("m1", "hi").await;
        let claim = self.run();
        self.reply(claim, texts).await;
        self.send()
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

mod arrivals;
mod between;
mod bursts;
mod by_hand;
mod lines;
mod parts;
mod plans;
mod tries;
mod turns;
