//! The runtime as a whole, with the components of `plugins/`.

mod bounds;
mod cache;
mod compiler;
mod contract;
mod cost;
mod misbehave;
mod refused;
mod turn;

use std::time::Duration;

use tokio::sync::mpsc::unbounded_channel;
use tokio::time::timeout;

use super::*;
use nodepath_model::content::Content;
use nodepath_model::delivery::Presence;
use nodepath_model::inbound::InboundMessage;
use nodepath_model::turn::PendingMessage;
use nodepath_model::{
    Budget, ChannelKind, ConversationId, DeviceId, Effect, MessageId, ProspectId, Trigger, TurnId,
};

/// A built component of `plugins/`.
fn component(name: &str) -> Vec<u8> {
    let built = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../plugins/target/components"
    );
    let path = format!("{built}/{name}.wasm");
    std::fs::read(&path).unwrap_or_else(|_| panic!("{path}: run `cargo xtask plugins` first"))
}

/// A runtime.
struct Bench {
    runtime: Runtime,
    settings: Settings,
}

impl Bench {
    /// A runtime with one thread. Its compiled components are kept for the next test and the next run of the tests, since an
    /// unoptimised compiler takes seconds for each.
    fn new() -> Self {
        let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/target/compiled");
        Self::with_cache(PathBuf::from(kept))
    }

    fn with_cache(dir: PathBuf) -> Self {
        let settings = Settings {
            workers: 1,
            // As in a host with two threads, though a test has one.
            callers: 2,
            max_instances: 16,
            ..Settings::new(dir, [7; 32], Compiler::InProcess)
        };
        Self {
            runtime: Runtime::new(settings.clone()).unwrap(),
            settings,
        }
    }

    /// A built component, ready to run.
    async fn plugin(&self, name: &str) -> Plugin {
        self.load(component(name)).await.unwrap()
    }

    async fn load(&self, bytes: Vec<u8>) -> Result<Plugin, Error> {
        let digest = Digest::of(&bytes);
        self.runtime
            .load(&digest, || async { Ok::<_, io::Error>(bytes) })
            .await
    }

    /// Runs a turn of `test-script` with these commands.
    async fn script(&self, script: &str) -> Run {
        let plugin = self.plugin("test-script").await;
        self.runtime.run(&plugin, turn(script)).await
    }

    /// Waits until no guest lives.
    async fn empty(&self) {
        let mut live = self.runtime.live_instances();
        soon(live.wait_for(|count| *count == 0)).await.unwrap();
    }
}

/// What happens soon, if it happens at all.
async fn soon<F: Future>(event: F) -> F::Output {
    let long = Duration::from_secs(30);
    timeout(long, event).await.expect("it did not happen")
}

/// A turn over one text message, that reads nothing.
fn turn(text: &str) -> TurnInput {
    turn_of(Trigger::Messages(vec![message(text)]))
}

fn turn_of(trigger: Trigger) -> TurnInput {
    let (device, prospect) = (
        DeviceId::from_trusted("device_1"),
        ProspectId::from_trusted("6281234567890"),
    );
    TurnInput {
        tenant: TenantId::from_trusted("ten_1"),
        turn: TurnId::from_trusted("trn_1"),
        attempt: 1,
        conversation: ConversationId::of(&device, &prospect),
        channel: ChannelKind::Whatsapp,
        device,
        prospect,
        prospect_name: Some("Sari".to_owned()),
        turn_seq: 3,
        trigger,
        config: "{}".to_owned(),
        limits: grant::tests::facts().limits,
        window_open: true,
        budget: Budget::default(),
        clock: grant::tests::facts().now,
        seed: 42,
        reads: Arc::new(NoReads),
        presence: unbounded_channel().0,
    }
}

fn message(text: &str) -> PendingMessage {
    PendingMessage {
        id: MessageId::from_trusted("msg_1"),
        seq: 1,
        message: InboundMessage {
            provider_id: "wamid.1".to_owned(),
            prospect: ProspectId::from_trusted("6281234567890"),
            alias: None,
            prospect_name: None,
            sent_at: Timestamp(1_760_433_329_000),
            content: Content::text(text),
            reply_to: None,
            ext: vec![],
        },
    }
}

impl Run {
    /// The effects, as a committed turn has them.
    fn effects(&self) -> &[Effect] {
        match &self.result {
            Ok(outcome) => &outcome.effects,
            Err(failure) => panic!("{failure}; it logged {:?}", self.logs),
        }
    }

    /// The texts that it sends.
    fn texts(&self) -> Vec<&str> {
        use nodepath_model::effect::Outgoing;
        self.effects()
            .iter()
            .filter_map(|effect| match effect {
                Effect::Send {
                    message: Outgoing::Text { text },
                    ..
                } => Some(text.as_str()),
                _ => None,
            })
            .collect()
    }

    fn failure(&self) -> &TurnFailure {
        match &self.result {
            Ok(outcome) => panic!("the turn did not fail: {outcome:?}"),
            Err(failure) => failure,
        }
    }
}
