//! From a webhook of the generic channel to an event. The shapes are documented in the parent module.

use http::HeaderMap;
use serde_json::Value;

use super::super::ParseError;
use super::json::{ignored, other, place, text};
use super::signature;
use crate::model::content::Ext;
use crate::model::inbound::{DeliveryStatus, IgnoreReason, OwnerEcho, StatusUpdate};
use crate::model::{Content, Event, InboundMessage, Media, ProspectId, Timestamp};

/// Reads a webhook that came in at `now`; it holds one event.
pub(in crate::channel) fn parse(
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<Vec<Event>, ParseError> {
    let body: Value =
        serde_json::from_slice(body).map_err(|error| ParseError::NotJson(error.to_string()))?;
    let kind = text(&body, "type").ok_or(ParseError::NotTheProviders("it has no text `type`"))?;
    let data = body.get("data").unwrap_or(&Value::Null);
    let webhook = Webhook {
        body: &body,
        data,
        id: text(data, "message_id").or_else(|| signature::id(headers)),
        at: text(&body, "timestamp")
            .and_then(|time| time.parse::<jiff::Timestamp>().ok())
            .map(|time| Timestamp(time.as_millisecond()))
            .or_else(|| signature::sent_at(headers))
            .unwrap_or(now),
    };
    Ok(vec![match kind {
        "message.received" => webhook.message(),
        "message.echo" => webhook.echo(),
        "message.status" => webhook.status(),
        _ => webhook.ignored(IgnoreReason::Notice, None),
    }])
}

struct Webhook<'a> {
    body: &'a Value,
    data: &'a Value,
    id: Option<&'a str>,
    at: Timestamp,
}

impl Webhook<'_> {
    fn message(&self) -> Event {
        let from = prospect(self.data, "from");
        let is = |key: &str| self.data.get(key).and_then(Value::as_bool) == Some(true);
        let kind = text(self.data, "kind").unwrap_or("text");
        let reason = if is("is_group") {
            Some(IgnoreReason::Group)
        } else if is("from_me") {
            Some(IgnoreReason::OwnMessage)
        } else if kind == "reaction" {
            Some(IgnoreReason::Reaction)
        } else {
            None
        };
        if let Some(reason) = reason {
            return self.ignored(reason, from.as_ref());
        }
        let read = || {
            Some(InboundMessage {
                provider_id: self.id?.to_owned(),
                prospect: from.clone()?,
                alias: None,
                prospect_name: text(self.data, "name").map(str::to_owned),
                sent_at: self.at,
                content: content(self.data, kind),
                reply_to: text(self.data, "reply_to").map(str::to_owned),
                ext: extras(self.data.get("ext").unwrap_or(&Value::Null), &[]),
            })
        };
        read().map_or_else(
            || self.ignored(IgnoreReason::Malformed, from.as_ref()),
            Event::Message,
        )
    }

    fn echo(&self) -> Event {
        let to = prospect(self.data, "to");
        let kind = text(self.data, "kind").unwrap_or("text");
        let read = || {
            Some(OwnerEcho {
                provider_id: self.id?.to_owned(),
                prospect: to.clone()?,
                sent_at: self.at,
                content: content(self.data, kind),
            })
        };
        read().map_or_else(
            || self.ignored(IgnoreReason::Malformed, to.as_ref()),
            Event::Echo,
        )
    }

    fn status(&self) -> Event {
        let read = || {
            let ours = text(self.data, "id")?;
            Some(StatusUpdate {
                provider_id: text(self.data, "message_id").unwrap_or(ours).to_owned(),
                callback: Some(ours.to_owned()),
                status: match text(self.data, "status")? {
                    "sent" => DeliveryStatus::Sent,
                    "delivered" => DeliveryStatus::Delivered,
                    "read" => DeliveryStatus::Read,
                    "failed" => DeliveryStatus::Failed,
                    _ => return None,
                },
                at: self.at,
                detail: text(self.data, "detail").map(str::to_owned),
            })
        };
        read().map_or_else(
            || self.ignored(IgnoreReason::Malformed, None),
            Event::Status,
        )
    }

    fn ignored(&self, reason: IgnoreReason, prospect: Option<&ProspectId>) -> Event {
        ignored(reason, self.id, prospect, self.body)
    }
}

/// What a message says. A kind that has no variant of `Content`, and one that lacks what its kind needs, becomes
/// `Content::Other`.
fn content(data: &Value, kind: &str) -> Content {
    known(data, kind).unwrap_or_else(|| other(kind, data))
}

fn known(data: &Value, kind: &str) -> Option<Content> {
    Some(match kind {
        "text" => Content::text(text(data, "text")?),
        "image" => Content::Image(media(data)?),
        "audio" => Content::Audio(media(data)?),
        "video" => Content::Video(media(data)?),
        "document" => Content::Document(media(data)?),
        "location" => {
            let object = data.get("location")?;
            let (latitude, longitude) = place(object)?;
            Content::Location {
                latitude,
                longitude,
                name: text(object, "name").map(str::to_owned),
                address: text(object, "address").map(str::to_owned),
            }
        }
        "interactive" => {
            let reply = data.get("interactive")?;
            Content::Interactive {
                id: text(reply, "id")?.to_owned(),
                title: text(reply, "title").unwrap_or_default().to_owned(),
            }
        }
        _ => return None,
    })
}

/// A file is known by its id, or by its address where it has none.
fn media(data: &Value) -> Option<Media> {
    let object = data.get("media")?;
    let owned = |key| text(object, key).map(str::to_owned);
    Some(Media {
        id: owned("id").or_else(|| owned("url"))?,
        mime_type: owned("mime_type").unwrap_or_default(),
        filename: owned("filename"),
        caption: owned("caption"),
        ext: extras(object, &["id", "mime_type", "filename", "caption"]),
    })
}

/// The fields of an object as extras, without those that have a place of their own.
fn extras(object: &Value, named: &[&str]) -> Ext {
    let fields = object.as_object().into_iter().flatten();
    fields
        .filter(|(key, _)| !named.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.to_string()))
        .collect()
}

fn prospect(data: &Value, key: &str) -> Option<ProspectId> {
    ProspectId::parse(text(data, key)?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp(1_760_433_400_000);

    fn headers() -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(signature::ID, "wh-1".parse().unwrap());
        headers.insert(signature::TIMESTAMP, "1760433330".parse().unwrap());
        headers
    }

    fn event(body: &Value) -> Event {
        let events = parse(&headers(), body.to_string().as_bytes(), NOW).unwrap();
        let [event] = &events[..] else {
            panic!("one event: {events:?}");
        };
        event.clone()
    }

    fn received(data: Value) -> Event {
        event(&json!({ "type": "message.received", "data": data }))
    }

    fn content(data: Value) -> Content {
        match received(data) {
            Event::Message(message) => message.content,
            other => panic!("{other:?}"),
        }
    }

    fn reason(body: &Value) -> IgnoreReason {
        match event(body) {
            Event::Ignored(ignored) => ignored.reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_message_has_all_that_was_sent() {
        let body = json!({
            "type": "message.received", "timestamp": "2025-10-14T09:15:31.25+00:00",
            "data": {
                "id_device": "dev", "from": "customer-17", "message_id": "m-1", "name": "Aminah",
                "kind": "text", "text": "hello", "reply_to": "out_1", "is_group": false, "from_me": false,
                "ext": { "page": "/pricing", "visits": 3 },
            },
        });
        let ext = [("page", "\"/pricing\""), ("visits", "3")];
        assert_eq!(
            event(&body),
            Event::Message(InboundMessage {
                provider_id: "m-1".to_owned(),
                prospect: ProspectId::from_trusted("customer-17"),
                alias: None,
                prospect_name: Some("Aminah".to_owned()),
                sent_at: Timestamp(1_760_433_331_250),
                content: Content::text("hello"),
                reply_to: Some("out_1".to_owned()),
                ext: ext
                    .map(|(key, json)| (key.to_owned(), json.to_owned()))
                    .to_vec(),
            })
        );
    }

    #[test]
    fn the_headers_stand_in_for_what_the_body_leaves_out() {
        match received(json!({ "from": "customer-17", "text": "hello" })) {
            Event::Message(message) => {
                assert_eq!(message.provider_id, "wh-1");
                assert_eq!(message.sent_at, Timestamp(1_760_433_330_000));
                assert_eq!(message.content, Content::text("hello"));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_kind_becomes_its_content() {
        let file = json!({ "url": "https://example.com/a", "mime_type": "image/png", "caption": "c", "w": 3 });
        for (kind, make) in [
            ("image", Content::Image as fn(Media) -> Content),
            ("audio", Content::Audio),
            ("video", Content::Video),
            ("document", Content::Document),
        ] {
            let expected = make(Media {
                id: "https://example.com/a".to_owned(),
                mime_type: "image/png".to_owned(),
                filename: None,
                caption: Some("c".to_owned()),
                ext: vec![
                    ("url".to_owned(), "\"https://example.com/a\"".to_owned()),
                    ("w".to_owned(), "3".to_owned()),
                ],
            });
            let data = json!({ "from": "c", "kind": kind, "media": file });
            assert_eq!(content(data), expected);
        }
        let place = json!({ "latitude": 3, "longitude": 101.5, "name": "Here" });
        assert_eq!(
            content(json!({ "from": "c", "kind": "location", "location": place })),
            Content::Location {
                latitude: 3.0,
                longitude: 101.5,
                name: Some("Here".to_owned()),
                address: None
            }
        );
        let pressed = json!({ "id": "yes", "title": "Yes" });
        assert_eq!(
            content(json!({ "from": "c", "kind": "interactive", "interactive": pressed })),
            Content::Interactive {
                id: "yes".to_owned(),
                title: "Yes".to_owned()
            }
        );
        let poll = json!({ "from": "c", "kind": "poll", "votes": [1] });
        assert_eq!(
            content(poll.clone()),
            Content::Other {
                kind: "poll".to_owned(),
                json: poll.to_string()
            }
        );
    }

    #[test]
    fn what_lacks_what_its_kind_needs_reaches_the_plugin_as_other() {
        let at = |latitude: Value| json!({ "latitude": latitude, "longitude": 101.5 });
        for (kind, data) in [
            ("text", json!({ "from": "c" })),
            ("text", json!({ "from": "c", "text": 5 })),
            (
                "image",
                json!({ "from": "c", "kind": "image", "media": {} }),
            ),
            ("interactive", json!({ "from": "c", "kind": "interactive" })),
            (
                "location",
                json!({ "from": "c", "kind": "location", "location": at(json!("3.1")) }),
            ),
            (
                "location",
                json!({ "from": "c", "kind": "location", "location": at(json!(90.5)) }),
            ),
        ] {
            let json = data.to_string();
            let kind = kind.to_owned();
            assert_eq!(content(data), Content::Other { kind, json });
        }
        let echo = json!({ "type": "message.echo", "data": { "to": "c", "kind": "video" } });
        assert!(
            matches!(event(&echo), Event::Echo(echo) if matches!(echo.content, Content::Other { .. }))
        );
    }

    #[test]
    fn without_any_time_a_message_is_as_old_as_its_webhook() {
        let mut headers = headers();
        headers.remove(signature::TIMESTAMP);
        let body = json!({ "type": "message.received", "data": { "from": "c", "text": "t" } });
        let events = parse(&headers, body.to_string().as_bytes(), NOW).unwrap();
        assert!(matches!(&events[..], [Event::Message(message)] if message.sent_at == NOW));
    }

    #[test]
    fn echoes_and_statuses_are_understood() {
        let echo = json!({ "type": "message.echo", "data": { "to": "c", "text": "by hand" } });
        match event(&echo) {
            Event::Echo(echo) => assert_eq!(echo.content, Content::text("by hand")),
            other => panic!("{other:?}"),
        }
        let status = json!({
            "type": "message.status", "data": { "id": "out_1", "status": "failed", "detail": "no such customer" },
        });
        assert_eq!(
            event(&status),
            Event::Status(StatusUpdate {
                provider_id: "out_1".to_owned(),
                callback: Some("out_1".to_owned()),
                status: DeliveryStatus::Failed,
                at: Timestamp(1_760_433_330_000),
                detail: Some("no such customer".to_owned()),
            })
        );
    }

    #[test]
    fn what_starts_no_turn_is_ignored_with_its_reason() {
        use IgnoreReason::*;
        let message = |data: Value| json!({ "type": "message.received", "data": data });
        for (body, expected) in [
            (
                message(json!({ "from": "c", "text": "t", "is_group": true })),
                Group,
            ),
            (
                message(json!({ "from": "c", "text": "t", "from_me": true })),
                OwnMessage,
            ),
            (
                message(json!({ "from": "c", "kind": "reaction" })),
                Reaction,
            ),
            (message(json!({ "text": "from nobody" })), Malformed),
            (message(json!({ "from": 17, "text": "t" })), Malformed),
            (message(json!(null)), Malformed),
            (json!({ "type": "message.received" }), Malformed),
            (json!({ "type": "message.echo", "data": [] }), Malformed),
            (
                json!({ "type": "message.status", "data": { "id": "o", "status": "lost" } }),
                Malformed,
            ),
            (json!({ "type": "ping" }), Notice),
        ] {
            assert_eq!(reason(&body), expected, "{body}");
        }
    }

    #[test]
    fn a_body_without_a_type_is_an_error() {
        for body in ["", "{", "no"] {
            let result = parse(&headers(), body.as_bytes(), NOW);
            assert!(matches!(result, Err(ParseError::NotJson(_))), "{body:?}");
        }
        for body in ["null", "[]", "{}", r#"{"type":""}"#, r#"{"type":1}"#] {
            let result = parse(&headers(), body.as_bytes(), NOW);
            assert!(
                matches!(result, Err(ParseError::NotTheProviders(_))),
                "{body:?}"
            );
        }
    }
}
