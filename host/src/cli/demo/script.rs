//! What the demo sends: real WhatsApp Cloud webhooks, signed, over HTTP.

use anyhow::Context as _;

use super::provider::FakeWhatsApp;
use super::transcript::Transcript;
use super::webhooks::Webhook;
use crate::model::{Clock, ConversationId, DeviceId, ProspectId, Secret};
use crate::store::Store;

/// The demo's device.
pub(super) const DEVICE: &str = "demo";

/// Who writes to it.
pub(super) const PROSPECT: &str = "6281234567890";

/// What the host answers a webhook, as far as the script tells it.
#[derive(serde::Deserialize)]
struct Answer {
    accepted: usize,
    skipped: usize,
    duplicates: usize,
    ignored: usize,
    noted: usize,
}

/// The script's way into the host, and its own record.
pub(super) struct Script {
    pub(super) client: reqwest::Client,
    /// The address of the demo device's webhook.
    pub(super) url: String,
    pub(super) store: Store,
    pub(super) transcript: Transcript,
    pub(super) clock: Clock,
}

impl Script {
    /// Runs it to the end. What the host did is in the transcript.
    pub(super) async fn run(&self) -> anyhow::Result<()> {
        self.title("1. A text");
        self.tell(self.text("wamid.demo.1", "Hello")).await?;
        self.released(1).await;

        self.title("2. The same webhook again, as Meta delivers it when it is not sure");
        let answer = self.tell(self.text("wamid.demo.1", "Hello")).await?;
        if answer.duplicates == 1 {
            self.transcript
                .line("   ✋ delivered before: it changes nothing");
        }

        self.title("3. The same text typed twice within a second");
        self.tell(self.text("wamid.demo.2", "Are you there?"))
            .await?;
        self.tell(self.text("wamid.demo.3", "Are you there?"))
            .await?;
        self.released(2).await;

        self.title("4. Three texts in a burst");
        for (id, text) in [
            ("4", "I would like"),
            ("5", "two tickets"),
            ("6", "for tonight"),
        ] {
            self.tell(self.text(&format!("wamid.demo.{id}"), text))
                .await?;
        }
        self.released(3).await;

        self.title(
            "5. One webhook with a picture, something unreadable, and a status of the first reply",
        );
        let first = self.first_reply().await?;
        let now = self.clock.now();
        let batch = Webhook::new()
            .image(PROSPECT, "wamid.demo.7", "the view", now)
            .message("", "", now, "text", serde_json::json!({ "body": 7 }))
            .status(&first, "delivered", None, now);
        self.transcript
            .line("   → a picture, something unreadable, \"delivered\"");
        let answer = self.post(batch).await?;
        self.transcript.line(format!(
            "   ✓ taken: {} message, {} ignored, {} status",
            answer.accepted, answer.ignored, answer.noted
        ));
        self.released(4).await;
        self.transcript.line(format!(
            "   ✓ the first reply is now: {}",
            self.status(&first).await?
        ));
        self.transcript.line("");
        self.summary().await
    }

    /// What the store has at the end: every message accounted for.
    async fn summary(&self) -> anyhow::Result<()> {
        let detail = self.store.conversation(&conversation()).await?;
        let count = |state: &str| detail.inbox.iter().filter(|m| m.state == state).count();
        self.transcript.line(format!(
            "{} messages: {} answered, {} skipped, {} waiting, {} dead. {} replies: {} sent.",
            detail.inbox.len(),
            count("done"),
            count("skipped"),
            count("pending"),
            count("dead"),
            detail.outbox.len(),
            detail.outbox.iter().filter(|p| p.state == "sent").count(),
        ));
        Ok(())
    }

    fn title(&self, title: &str) {
        if self.transcript.releases() > 0 {
            self.transcript.line("");
        }
        self.transcript.line(title);
    }

    fn text<'a>(&self, id: &str, text: &'a str) -> (Webhook, &'a str) {
        (
            Webhook::new().text(PROSPECT, id, text, self.clock.now()),
            text,
        )
    }

    async fn tell(&self, (webhook, text): (Webhook, &str)) -> anyhow::Result<Answer> {
        self.transcript.line(format!("   → {text:?}"));
        self.post(webhook).await
    }

    async fn post(&self, webhook: Webhook) -> anyhow::Result<Answer> {
        let (body, signature) = webhook.signed(&Secret::new(FakeWhatsApp::APP_SECRET));
        let request = self
            .client
            .post(&self.url)
            .header("x-hub-signature-256", signature)
            .body(body);
        let met = self.transcript.met();
        let response = request.send().await?.error_for_status()?;
        let answer: Answer = response.json().await?;
        let met = met + answer.accepted + answer.skipped;
        self.transcript.until_met(met).await;
        Ok(answer)
    }

    async fn released(&self, times: usize) {
        self.transcript.until_released(times).await;
    }

    async fn first_reply(&self) -> anyhow::Result<String> {
        let detail = self.store.conversation(&conversation()).await?;
        let first = detail
            .outbox
            .last()
            .and_then(|part| part.provider_message_id.clone());
        first.context("the first reply has no id of its provider")
    }

    async fn status(&self, wamid: &str) -> anyhow::Result<String> {
        let detail = self.store.conversation(&conversation()).await?;
        let part = detail
            .outbox
            .into_iter()
            .find(|p| p.provider_message_id.as_deref() == Some(wamid));
        Ok(part
            .and_then(|p| p.status)
            .unwrap_or_else(|| "unknown".to_owned()))
    }
}

fn conversation() -> ConversationId {
    ConversationId::of(
        &DeviceId::from_trusted(DEVICE),
        &ProspectId::from_trusted(PROSPECT),
    )
}
