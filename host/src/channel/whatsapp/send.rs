//! Sending through the Graph API: `POST {api_base}/{phone_number_id}/messages`.
//!
//! Extras of a part that this channel knows: `preview_url` (`true` shows a preview of the first link of a text).

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::super::client::{Answer, exchange};
use super::super::json::{list, text};
use super::errors;
use crate::model::delivery::{Button, MediaKind, PartBody, PartKind, Presence};
use crate::model::{Delivery, Part, ProspectId, Secret, Timestamp};

/// A sign that comes later than this says nothing any more.
const PRESENCE_TIMEOUT: Duration = Duration::from_secs(5);

/// Access to the Graph API for one number.
pub(in crate::channel) struct Graph<'a> {
    pub(in crate::channel) client: &'a reqwest::Client,
    pub(in crate::channel) access_token: &'a Secret,
    pub(in crate::channel) phone_number_id: &'a str,
    pub(in crate::channel) api_base: &'a str,
}

impl Graph<'_> {
    /// Tries once to send a part.
    pub(in crate::channel) async fn send(&self, part: &Part, now: Timestamp) -> Delivery {
        let request = self.post(&message(part));
        let delivery = match exchange(request, now).await {
            Ok(answer) => outcome(&answer),
            Err(delivery) => delivery,
        };
        self.without_token(delivery)
    }

    /// Marks the message as read, and shows that an answer is being written: until it comes, or for 25 s. There is no way to
    /// take that back.
    pub(in crate::channel) async fn presence(
        &self,
        message_id: &str,
        signal: Presence,
    ) -> Result<(), String> {
        let mut body = json!({
            "messaging_product": "whatsapp", "status": "read", "message_id": message_id,
        });
        match (signal, body.as_object_mut()) {
            (Presence::Typing(true), Some(body)) => {
                body.insert("typing_indicator".to_owned(), json!({ "type": "text" }));
            }
            (Presence::Typing(false), _) => return Ok(()),
            (Presence::Read, _) | (_, None) => {}
        }
        let request = self.post(&body).timeout(PRESENCE_TIMEOUT);
        match exchange(request, Timestamp::default()).await {
            Ok(answer) if answer.is_success() => Ok(()),
            Ok(answer) => Err(self.scrub(&answer.why())),
            Err(Delivery::Retry { why, .. } | Delivery::Unknown { why }) => Err(why),
            Err(Delivery::Dead { why, .. }) => Err(why),
            Err(Delivery::Sent { .. }) => Ok(()),
        }
    }

    fn post(&self, body: &Value) -> reqwest::RequestBuilder {
        let base = self.api_base.trim_end_matches('/');
        self.client
            .post(format!("{base}/{}/messages", self.phone_number_id))
            .bearer_auth(self.access_token.expose())
            .json(body)
    }

    /// A provider that repeats the token in its words must not bring it into the log.
    fn without_token(&self, delivery: Delivery) -> Delivery {
        match delivery {
            sent @ Delivery::Sent { .. } => sent,
            Delivery::Retry { after, why } => Delivery::Retry {
                after,
                why: self.scrub(&why),
            },
            Delivery::Unknown { why } => Delivery::Unknown {
                why: self.scrub(&why),
            },
            Delivery::Dead { why, scope } => Delivery::Dead {
                why: self.scrub(&why),
                scope,
            },
        }
    }

    fn scrub(&self, why: &str) -> String {
        match self.access_token.expose() {
            "" => why.to_owned(),
            token => why.replace(token, "[secret]"),
        }
    }
}

/// What an answer means. A success whose JSON has no id is `Sent` all the same, since Graph answers 2xx only for what it took;
/// one that is no JSON may come from something in between, and nobody can tell: the status webhook will.
fn outcome(answer: &Answer) -> Delivery {
    if !answer.is_success() {
        return errors::classify(answer);
    }
    match answer.json() {
        Some(json) if json.is_object() => match json.get("error") {
            Some(error) => errors::of_error(error, answer),
            None => Delivery::Sent {
                provider_id: list(&json, "messages")
                    .and_then(|messages| messages.first())
                    .and_then(|message| text(message, "id"))
                    .map(str::to_owned),
            },
        },
        _ => Delivery::Unknown { why: answer.why() },
    }
}

/// The request for a part. Our id travels as `biz_opaque_callback_data` and comes back in every status webhook.
fn message(part: &Part) -> Value {
    let (kind, content) = content(&part.body);
    let mut message = Map::new();
    let mut put = |key: &str, value: Value| message.insert(key.to_owned(), value);
    put("messaging_product", json!("whatsapp"));
    put("recipient_type", json!("individual"));
    put(recipient_key(&part.prospect), json!(part.prospect));
    put("type", json!(kind));
    put(kind, content);
    put("biz_opaque_callback_data", json!(part.id));
    if let Some(reply_to) = &part.body.reply_to {
        put("context", json!({ "message_id": reply_to }));
    }
    Value::Object(message)
}

/// A phone number goes to `to`, a business-scoped user id to `recipient`: two capital letters, a dot, letters and digits, and
/// `ENT.` between them for a parent id.
fn recipient_key(prospect: &ProspectId) -> &'static str {
    let is_user_id = prospect
        .as_str()
        .split_once('.')
        .is_some_and(|(country, rest)| {
            let id = rest.strip_prefix("ENT.").unwrap_or(rest);
            country.len() == 2
                && country.bytes().all(|b| b.is_ascii_uppercase())
                && !id.is_empty()
                && id.bytes().all(|b| b.is_ascii_alphanumeric())
        });
    if is_user_id { "recipient" } else { "to" }
}

fn content(body: &PartBody) -> (&'static str, Value) {
    match &body.kind {
        PartKind::Text { text } => {
            let preview = body
                .ext
                .iter()
                .any(|(key, json)| key == "preview_url" && json == "true");
            ("text", json!({ "preview_url": preview, "body": text }))
        }
        PartKind::Media {
            media,
            url,
            caption,
            filename,
        } => (
            media.as_str(),
            file(*media, url, caption.as_deref(), filename.as_deref()),
        ),
        PartKind::Buttons { text, buttons } => ("interactive", interactive(text, buttons)),
        PartKind::React { target, emoji } => {
            let emoji = emoji.as_deref().unwrap_or_default();
            ("reaction", json!({ "message_id": target, "emoji": emoji }))
        }
    }
}

/// Audio has no caption, and only a document has a name.
fn file(kind: MediaKind, url: &str, caption: Option<&str>, filename: Option<&str>) -> Value {
    let caption = caption.filter(|_| kind != MediaKind::Audio);
    let filename = filename.filter(|_| kind == MediaKind::Document);
    let optional = [("caption", caption), ("filename", filename)];
    let mut file = Map::new();
    file.insert("link".to_owned(), json!(url));
    for (key, value) in optional {
        if let Some(value) = value {
            file.insert(key.to_owned(), json!(value));
        }
    }
    Value::Object(file)
}

fn interactive(text: &str, buttons: &[Button]) -> Value {
    let buttons: Vec<Value> = buttons
        .iter()
        .map(|button| json!({ "type": "reply", "reply": { "id": button.id, "title": button.title } }))
        .collect();
    json!({ "type": "button", "body": { "text": text }, "action": { "buttons": buttons } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::delivery::DeadScope;

    #[test]
    fn a_provider_that_repeats_the_token_does_not_bring_it_into_the_log() {
        let client = super::super::super::http_client().unwrap();
        let token = Secret::new("EAAsecret");
        let graph = Graph {
            client: &client,
            access_token: &token,
            phone_number_id: "1",
            api_base: "http://127.0.0.1",
        };
        let why = "Malformed access token EAAsecret".to_owned();
        let scope = DeadScope::Device;
        for delivery in [
            Delivery::Unknown { why: why.clone() },
            Delivery::Retry {
                after: None,
                why: why.clone(),
            },
            Delivery::Dead { why, scope },
        ] {
            let told = format!("{:?}", graph.without_token(delivery));
            assert!(told.contains("Malformed access token [secret]"), "{told}");
            assert!(!told.contains("EAAsecret"), "{told}");
        }
    }

    #[test]
    fn a_success_without_an_id_is_sent_and_one_that_is_no_json_is_unknown() {
        let success = |body: &str| {
            outcome(&Answer {
                status: 200,
                retry_after: None,
                body: Some(body.as_bytes().to_vec()),
            })
        };
        let sent = |id: Option<&str>| Delivery::Sent {
            provider_id: id.map(str::to_owned),
        };
        assert_eq!(
            success(r#"{"messages":[{"id":"wamid.1"}]}"#),
            sent(Some("wamid.1"))
        );
        for without in ["{}", r#"{"messages":[]}"#, r#"{"messages":[{"id":1}]}"#] {
            assert_eq!(success(without), sent(None));
        }
        for unreadable in ["", "<html>", "[]", "null"] {
            assert!(matches!(success(unreadable), Delivery::Unknown { .. }));
        }
        let error = success(r#"{"error":{"code":131047,"message":"late"}}"#);
        assert!(matches!(error, Delivery::Dead { .. }));
        let cut_off = outcome(&Answer {
            status: 200,
            retry_after: None,
            body: None,
        });
        assert!(matches!(cut_off, Delivery::Unknown { .. }));
    }
}
