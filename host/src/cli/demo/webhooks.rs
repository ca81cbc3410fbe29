//! Webhooks as Meta sends them, for the demo and for tests.

use serde_json::{Value, json};

use super::provider::FakeWhatsApp;
use crate::channel;
use crate::model::{Secret, Timestamp};

/// A webhook in the making. Each call adds one change, so several make a batch.
#[derive(Debug, Clone)]
pub struct Webhook {
    phone_number_id: String,
    changes: Vec<Value>,
}

impl Default for Webhook {
    fn default() -> Self {
        Self::new()
    }
}

impl Webhook {
    /// The number that the played business has on the telephone network.
    pub const OWN_NUMBER: &str = "60311223344";

    /// An empty one, for the number of the played provider.
    #[must_use]
    pub fn new() -> Self {
        Self::to(FakeWhatsApp::PHONE_NUMBER_ID)
    }

    /// An empty one, for another number.
    #[must_use]
    pub fn to(phone_number_id: impl Into<String>) -> Self {
        Self {
            phone_number_id: phone_number_id.into(),
            changes: Vec::new(),
        }
    }

    /// A text of the prospect `from`.
    #[must_use]
    pub fn text(self, from: &str, id: &str, text: &str, at: Timestamp) -> Self {
        self.message(from, id, at, "text", json!({ "body": text }))
    }

    /// A picture.
    #[must_use]
    pub fn image(self, from: &str, id: &str, caption: &str, at: Timestamp) -> Self {
        let image = json!({
            "mime_type": "image/jpeg", "sha256": "c2hhMjU2", "id": "700700700", "caption": caption,
        });
        self.message(from, id, at, "image", image)
    }

    /// A button of ours that was pressed.
    #[must_use]
    pub fn button(self, from: &str, id: &str, button: &str, title: &str, at: Timestamp) -> Self {
        let reply = json!({
            "type": "button_reply", "button_reply": { "id": button, "title": title },
        });
        self.message(from, id, at, "interactive", reply)
    }

    /// A message of any type.
    #[must_use]
    pub fn message(self, from: &str, id: &str, at: Timestamp, kind: &str, content: Value) -> Self {
        let mut message = json!({
            "from": from, "id": id, "timestamp": seconds(at), "type": kind,
        });
        if let Some(fields) = message.as_object_mut() {
            fields.insert(kind.to_owned(), content);
        }
        self.add(
            "messages",
            json!({
                "contacts": [{ "profile": { "name": "Aminah" }, "wa_id": from }],
                "messages": [message],
            }),
        )
    }

    /// What became of a message of ours: `sent`, `delivered`, `read` or `failed`.
    #[must_use]
    pub fn status(self, wamid: &str, status: &str, callback: Option<&str>, at: Timestamp) -> Self {
        let mut item = json!({
            "id": wamid, "status": status, "timestamp": seconds(at), "recipient_id": "60123456789",
        });
        if let (Some(fields), Some(callback)) = (item.as_object_mut(), callback) {
            fields.insert("biz_opaque_callback_data".to_owned(), json!(callback));
        }
        self.add("messages", json!({ "statuses": [item] }))
    }

    /// The owner wrote to the prospect `to` from the phone.
    #[must_use]
    pub fn echo(self, to: &str, id: &str, text: &str, at: Timestamp) -> Self {
        let echo = json!({
            "from": Self::OWN_NUMBER, "to": to, "id": id, "timestamp": seconds(at),
            "type": "text", "text": { "body": text },
        });
        self.add("smb_message_echoes", json!({ "message_echoes": [echo] }))
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let webhook = json!({
            "object": "whatsapp_business_account",
            "entry": [{ "id": "100200300400500", "changes": self.changes }],
        });
        webhook.to_string().into_bytes()
    }

    /// The body, and the value of `X-Hub-Signature-256` for it.
    #[must_use]
    pub fn signed(&self, app_secret: &Secret) -> (Vec<u8>, String) {
        let body = self.body();
        let signature = channel::sign_whatsapp(app_secret, &body);
        (body, signature)
    }

    fn add(mut self, field: &str, mut value: Value) -> Self {
        if let Some(fields) = value.as_object_mut() {
            fields.insert("messaging_product".to_owned(), json!("whatsapp"));
            fields.insert(
                "metadata".to_owned(),
                json!({
                    "display_phone_number": Self::OWN_NUMBER, "phone_number_id": self.phone_number_id,
                }),
            );
        }
        self.changes.push(json!({ "field": field, "value": value }));
        self
    }
}

fn seconds(at: Timestamp) -> String {
    at.0.div_euclid(1_000).to_string()
}
