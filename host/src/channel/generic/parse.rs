//! From a webhook of the generic channel to an event. The shapes are documented in the parent module.

use http::HeaderMap;
use serde_json::Value;

use super::super::ParseError;
use super::json::{ignored, text};
use super::signature;
use crate::model::content::Ext;
use crate::model::inbound::{DeliveryStatus, IgnoreReason, OwnerEcho, StatusUpdate};
use crate::model::{Content, Event, InboundMessage, Media, ProspectId, Timestamp};

/// Reads a webhook; it holds one event.
pub(in crate::channel) fn parse(
    headers: &HeaderMap,
    body: &[u8],
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
            .or_else(|| signature::sent_at(headers)),
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
    at: Option<Timestamp>,
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
                sent_at: self.at?,
                content: content(self.data, kind)?,
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
                sent_at: self.at?,
                content: content(self.data, kind)?,
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
                at: self.at?,
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

fn content(data: &Value, kind: &str) -> Option<Content> {
    Some(match kind {
        "text" => Content::text(text(data, "text")?),
        "image" => Content::Image(media(data)?),
        "audio" => Content::Audio(media(data)?),
        "video" => Content::Video(media(data)?),
        "document" => Content::Document(media(data)?),
        "location" => {
            let place = data.get("location")?;
            Content::Location {
                latitude: place.get("latitude")?.as_f64()?,
                longitude: place.get("longitude")?.as_f64()?,
                name: text(place, "name").map(str::to_owned),
                address: text(place, "address").map(str::to_owned),
            }
        }
        "interactive" => {
            let reply = data.get("interactive")?;
            Content::Interactive {
                id: text(reply, "id")?.to_owned(),
                title: text(reply, "title").unwrap_or_default().to_owned(),
            }
        }
        other => Content::Other {
            kind: other.to_owned(),
            json: data.to_string(),
        },
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
