//! What the commands' tests share: a data directory of their own, and a time that stands still.

use std::time::Duration;

use clap::Parser as _;

use super::super::answer::Answer;
use super::{Compiler, Context, Inputs};
use crate::cli::Cli;
use crate::model::delivery::{PartBody, PartKind};
use crate::model::inbound::{DeliveryStatus, StatusUpdate};
use crate::model::{
    Clock, Content, ConversationId, DeviceId, Event, InboundMessage, OutboxId, ProspectId,
    Timestamp, Trigger,
};
use crate::store::{Accept, Commit, Covered, Finish, Host, TurnEnd, TurnRecord, Work, WorkQueue};

/// 2025-10-14 09:15:30Z
pub(in crate::cli) const NOW: Timestamp = Timestamp(1_760_433_330_000);

/// Who writes.
pub(in crate::cli) const PROSPECT: &str = "6281234567890";

/// A context over a data directory of its own.
pub(in crate::cli) struct TestContext {
    pub(in crate::cli) context: Context,
    pub(in crate::cli) dir: tempfile::TempDir,
}

impl TestContext {
    pub(in crate::cli) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data").display().to_string();
        let log = dir.path().join("logs/app.log").display().to_string();
        let env = [
            ("NODEPATH_DATA_DIR", data),
            ("NODEPATH_LOG__FILE", log),
            ("NODEPATH_LISTEN", "127.0.0.1:0".to_owned()),
            ("NODEPATH_ADMIN_LISTEN", String::new()),
        ];
        let context = Context {
            inputs: Inputs {
                file: None,
                env: env.map(|(n, v)| (n.to_owned(), v)).to_vec(),
            },
            clock: Clock::manual(NOW),
            compiler: Some(Compiler::InProcess),
        };
        Self { context, dir }
    }

    /// One with the tenant `acme` and its device `gen`, which has no plugin.
    pub(in crate::cli) async fn with_device() -> Self {
        let t = Self::new();
        t.run("tenant add acme").await.unwrap();
        let line =
            "device add --tenant acme --channel generic --id gen --url http://127.0.0.1:9/in";
        t.run(line).await.unwrap();
        t
    }

    /// Runs a command line; its words are parted by single spaces.
    pub(in crate::cli) async fn run(&self, line: &str) -> anyhow::Result<Answer> {
        let args = std::iter::once("nodepath").chain(line.split(' '));
        let cli = Cli::try_parse_from(args)?;
        crate::cli::dispatch(cli.command, &self.context, cli.json).await
    }

    /// A host on this database, which nobody runs.
    async fn host(&self) -> (Host, WorkQueue) {
        let config = self.context.loaded().unwrap().config;
        let (path, sealer) = (config.database_path(), config.sealer().unwrap());
        Host::open(&path, self.context.clock.clone(), sealer)
            .await
            .unwrap()
    }

    /// A message comes in for the device `gen` and is answered; the provider takes the answer, and tells then that it could
    /// not be delivered.
    pub(in crate::cli) async fn has_failed(&self, text: &str) {
        let part = OutboxId::generate();
        let kind = PartKind::Text {
            text: text.to_owned(),
        };
        let body = PartBody {
            kind,
            reply_to: None,
            delay_ms: 0,
            ext: vec![],
        };
        let reply = Commit {
            parts: vec![(part.clone(), body)],
            ..Commit::default()
        };
        self.receives(text, || TurnEnd::Commit(reply)).await;
        let (host, _work) = self.host().await;
        let status = StatusUpdate {
            provider_id: "wamid.1".to_owned(),
            callback: Some(part.to_string()),
            status: DeliveryStatus::Sent,
            at: NOW,
            detail: None,
        };
        let failed = StatusUpdate {
            status: DeliveryStatus::Failed,
            detail: Some("131026: not deliverable".to_owned()),
            ..status.clone()
        };
        for update in [status, failed] {
            let device = DeviceId::parse("gen").unwrap();
            let events = vec![Event::Status(update)];
            host.accept(Accept { device, events }).await.unwrap();
        }
        host.close().await;
    }

    /// A message comes in for the device `gen`, and its turn ends so, if it gets one.
    pub(in crate::cli) async fn receives(
        &self,
        text: &str,
        end: impl FnOnce() -> TurnEnd,
    ) -> ConversationId {
        let (host, mut work) = self.host().await;
        let prospect = ProspectId::parse(PROSPECT).unwrap();
        let device = DeviceId::parse("gen").unwrap();
        let conversation = ConversationId::of(&device, &prospect);
        let message = InboundMessage {
            provider_id: format!("id-{text}"),
            prospect,
            alias: None,
            prospect_name: Some("Sari\x1b[2J".to_owned()),
            sent_at: NOW,
            content: Content::text(text),
            reply_to: None,
            ext: vec![],
        };
        let events = vec![Event::Message(message)];
        host.accept(Accept { device, events }).await.unwrap();
        if let Some(Work::Run(claim)) = work.try_recv() {
            let finish = Finish {
                covered: covered(&claim.trigger),
                record: TurnRecord {
                    turn: claim.turn,
                    attempt: claim.attempt,
                    plugin: None,
                    cpu: Duration::from_micros(250),
                    started_at: NOW,
                },
                lock: claim.lock,
                end: end(),
            };
            host.finish(finish).await.unwrap();
        }
        host.close().await;
        conversation
    }

    /// A built component of `plugins/`.
    pub(in crate::cli) fn component(name: &str) -> String {
        let built = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/target/components");
        let path = format!("{built}/{name}.wasm");
        assert!(
            std::path::Path::new(&path).exists(),
            "{path}: run `cargo xtask plugins` first"
        );
        path
    }

    /// A file beside the data directory.
    pub(in crate::cli) fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// A text without what differs from run to run: the directory, and ids that were made.
    pub(in crate::cli) fn steady(&self, text: &str) -> String {
        let text = text.replace(&self.dir.path().display().to_string(), "DIR");
        let mut steady = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find("_0") {
            let id = rest.get(at + 1..at + 33).unwrap_or_default();
            let made = id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
            steady.push_str(&rest[..=at]);
            steady.push_str(if made { "…" } else { "" });
            rest = &rest[at + if made { 33 } else { 1 }..];
        }
        steady + rest
    }
}

fn covered(trigger: &Trigger) -> Covered {
    match trigger {
        Trigger::Messages(all) => Covered::Messages(all.iter().map(|m| m.id.clone()).collect()),
        other => panic!("no message: {other:?}"),
    }
}
