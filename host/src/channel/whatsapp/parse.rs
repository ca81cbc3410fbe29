//! From a webhook of the WhatsApp Cloud API to events.
//!
//! A webhook is a batch: `entry[].changes[].value` with `messages[]` and `statuses[]`. Every item stands for itself, and a
//! message whose id and sender are known reaches its plugin whatever else is wrong with it.
//!
//! The extras of a message, beside those of its content: `referral` (the advertisement that was clicked), `forwarded`,
//! `frequently_forwarded` and `referred_product` from its context, `identity`, `origin`, and the sender's `username` and
//! `parent_user_id`.

use serde_json::Value;

use super::super::ParseError;
use super::super::json::{has_items, ignored, list, malformed, shorten, text};
use super::content;
use crate::model::content::Ext;
use crate::model::inbound::{DeliveryStatus, IgnoreReason, OwnerEcho, StatusUpdate};
use crate::model::{Event, InboundMessage, ProspectId, Timestamp};

/// The most characters of a failure's description that are kept.
const MAX_DETAIL_CHARS: usize = 500;

/// What is said of a message that does not say of which type it is.
const NO_TYPE: &str = "unknown";

/// Reads a webhook for the number `phone_number_id` that came in at `now`.
pub(in crate::channel) fn parse(
    phone_number_id: &str,
    body: &[u8],
    now: Timestamp,
) -> Result<Vec<Event>, ParseError> {
    let body: Value =
        serde_json::from_slice(body).map_err(|error| ParseError::NotJson(error.to_string()))?;
    if text(&body, "object") != Some("whatsapp_business_account") {
        return Err(ParseError::NotTheProviders(
            "`object` is not `whatsapp_business_account`",
        ));
    }
    let entries = list(&body, "entry").ok_or(ParseError::NotTheProviders("`entry` is no list"))?;
    let mut events = Vec::new();
    for entry in entries {
        match list(entry, "changes") {
            Some(changes) => {
                for change in changes {
                    read_change(phone_number_id, change, now, &mut events);
                }
            }
            None => events.push(malformed(entry)),
        }
    }
    Ok(events)
}

/// What the items of one change share.
struct Change<'a> {
    value: &'a Value,
    /// The number is told, and is not this device's.
    is_other_number: bool,
    /// The business's own number, digits only.
    own_number: String,
    contacts: &'a [Value],
    /// Stands in for a time that an item does not tell.
    now: Timestamp,
}

fn read_change(phone_number_id: &str, change: &Value, now: Timestamp, events: &mut Vec<Event>) {
    let (Some(field), Some(value)) = (text(change, "field"), change.get("value")) else {
        events.push(malformed(change));
        return;
    };
    let metadata = value.get("metadata").unwrap_or(&Value::Null);
    let number = text(metadata, "phone_number_id");
    let context = Change {
        value,
        is_other_number: number.is_some_and(|number| number != phone_number_id),
        own_number: digits(text(metadata, "display_phone_number").unwrap_or_default()),
        contacts: list(value, "contacts").unwrap_or_default(),
        now,
    };
    let before = events.len();
    match field {
        // Items that concern one number always say which; without it they can't be told from another number's.
        "messages" | "smb_message_echoes" if number.is_none() => events.push(malformed(change)),
        "messages" => {
            context.each("messages", events, Change::message);
            context.each("statuses", events, Change::status);
        }
        "smb_message_echoes" => context.each("message_echoes", events, Change::echo),
        "user_id_update" => context.each("user_id_update", events, Change::user_id_update),
        _ => {}
    }
    if events.len() == before {
        events.push(ignored(IgnoreReason::Notice, None, None, change));
    }
}

impl Change<'_> {
    /// Hands each item of a list on. An item of another number is ignored here, for all kinds.
    fn each(&self, key: &str, events: &mut Vec<Event>, read: fn(&Self, &Value, &mut Vec<Event>)) {
        match self.value.get(key) {
            None => {}
            Some(Value::Array(items)) => {
                for item in items {
                    if self.is_other_number {
                        let id = text(item, "id");
                        events.push(ignored(IgnoreReason::OtherNumber, id, None, item));
                    } else {
                        read(self, item, events);
                    }
                }
            }
            Some(other) => events.push(malformed(other)),
        }
    }

    fn message(&self, item: &Value, events: &mut Vec<Event>) {
        let sender = self.sender(item);
        let prospect = sender.prospect.as_ref();
        let ignore = |reason| ignored(reason, text(item, "id"), prospect, item);
        let kind = text(item, "type").unwrap_or(NO_TYPE);
        if let Some(reason) = self.reason_to_ignore(item, kind) {
            return events.push(ignore(reason));
        }
        let (Some(id), Some(prospect)) = (text(item, "id"), prospect) else {
            return events.push(ignore(IgnoreReason::Malformed));
        };
        let (content, content_ext) = content::read(item, kind);
        let context = item.get("context").unwrap_or(&Value::Null);
        if let Some(from) = sender.renamed_from {
            events.push(Event::Renamed {
                from,
                to: prospect.clone(),
            });
        }
        events.push(Event::Message(InboundMessage {
            provider_id: id.to_owned(),
            prospect: prospect.clone(),
            alias: sender.alias,
            prospect_name: sender.name,
            sent_at: self.sent_at(item),
            content,
            reply_to: text(context, "id").map(str::to_owned),
            ext: [content_ext, extras(item, context), sender.ext].concat(),
        }));
    }

    /// What can be told without a sender.
    fn reason_to_ignore(&self, item: &Value, kind: &str) -> Option<IgnoreReason> {
        let from = digits(text(item, "from").unwrap_or_default());
        if item.get("group_id").is_some() {
            Some(IgnoreReason::Group)
        } else if !from.is_empty() && from == self.own_number {
            Some(IgnoreReason::OwnMessage)
        } else if kind == "reaction" {
            Some(IgnoreReason::Reaction)
        } else if kind == "unsupported" || self.is_given_up(item, kind) {
            Some(IgnoreReason::Unsupported)
        } else {
            None
        }
    }

    /// Whether Meta itself could not read the message: it has nothing of its type, and an error stands beside it.
    fn is_given_up(&self, item: &Value, kind: &str) -> bool {
        let told = has_items(self.value, "errors") || has_items(item, "errors");
        told && item.get(kind).is_none_or(Value::is_null)
    }

    /// When the item was sent: by its own word, else it is as old as its webhook.
    fn sent_at(&self, item: &Value) -> Timestamp {
        seconds(item, "timestamp").unwrap_or(self.now)
    }

    fn status(&self, item: &Value, events: &mut Vec<Event>) {
        let id = text(item, "id");
        // We send to no groups, so these are about somebody else's messages, one for every member.
        if text(item, "recipient_type") == Some("group") {
            return events.push(ignored(IgnoreReason::Group, id, None, item));
        }
        let (Some(id), Some(word)) = (id, text(item, "status")) else {
            return events.push(malformed(item));
        };
        let status = match word {
            "sent" => DeliveryStatus::Sent,
            "delivered" => DeliveryStatus::Delivered,
            "read" | "played" => DeliveryStatus::Read,
            "failed" => DeliveryStatus::Failed,
            _ => return events.push(ignored(IgnoreReason::Notice, Some(id), None, item)),
        };
        events.push(Event::Status(StatusUpdate {
            provider_id: id.to_owned(),
            callback: text(item, "biz_opaque_callback_data").map(str::to_owned),
            status,
            at: self.sent_at(item),
            detail: list(item, "errors")
                .and_then(|errors| errors.first())
                .map(describe),
        }));
    }

    fn echo(&self, item: &Value, events: &mut Vec<Event>) {
        let to = prospect(item, &["to", "to_user_id"]);
        let ignore = |reason| ignored(reason, text(item, "id"), to.as_ref(), item);
        if item.get("group_id").is_some() {
            return events.push(ignore(IgnoreReason::Group));
        }
        if text(item, "type") == Some("reaction") {
            return events.push(ignore(IgnoreReason::Reaction));
        }
        let (Some(id), Some(to)) = (text(item, "id"), &to) else {
            return events.push(ignore(IgnoreReason::Malformed));
        };
        let kind = text(item, "type").unwrap_or(NO_TYPE);
        events.push(Event::Echo(OwnerEcho {
            provider_id: id.to_owned(),
            prospect: to.clone(),
            sent_at: self.sent_at(item),
            content: content::read(item, kind).0,
        }));
    }

    fn user_id_update(&self, item: &Value, events: &mut Vec<Event>) {
        let ids = item.get("user_id").unwrap_or(&Value::Null);
        events.push(
            match (prospect(ids, &["previous"]), prospect(ids, &["current"])) {
                (Some(from), Some(to)) => Event::Renamed { from, to },
                _ => malformed(item),
            },
        );
    }

    /// Who wrote: the phone number where it is told, else the business-scoped user id. `contacts` tells what the message
    /// itself leaves out.
    fn sender(&self, item: &Value) -> Sender {
        let system = item.get("system").unwrap_or(&Value::Null);
        if text(item, "type") == Some("system") && !system.is_null() {
            return Sender::of_system(item, system);
        }
        let phone = prospect(item, &["from"]);
        let user_id = prospect(item, &["from_user_id"]);
        let is_of = |contact: &&Value| {
            let same = |key, id: &Option<ProspectId>| {
                id.as_ref()
                    .is_some_and(|id| text(contact, key) == Some(id.as_str()))
            };
            same("wa_id", &phone) || same("user_id", &user_id)
        };
        let contact = match (self.contacts.iter().find(is_of), self.contacts) {
            (Some(contact), _) => contact,
            // One who is not named in the message can only be the one contact that there is.
            (None, [only]) if phone.is_none() && user_id.is_none() => only,
            _ => &Value::Null,
        };
        let phone = phone.or_else(|| prospect(contact, &["wa_id"]));
        let user_id = user_id.or_else(|| prospect(contact, &["user_id"]));
        let profile = contact.get("profile").unwrap_or(&Value::Null);
        let ext = [
            pair("username", profile.get("username")),
            pair("parent_user_id", contact.get("parent_user_id")),
        ];
        let alias = phone.as_ref().and(user_id.clone());
        Sender {
            prospect: phone.or(user_id),
            alias,
            renamed_from: None,
            name: text(profile, "name").map(str::to_owned),
            ext: ext.into_iter().flatten().collect(),
        }
    }
}

/// Who wrote a message.
struct Sender {
    prospect: Option<ProspectId>,
    alias: Option<ProspectId>,
    renamed_from: Option<ProspectId>,
    name: Option<String>,
    ext: Ext,
}

impl Sender {
    /// System messages have no contacts. One that tells of a new id is of the prospect under the new id, since a reply to the
    /// old one would not arrive.
    fn of_system(item: &Value, system: &Value) -> Self {
        let (old, new) = match text(system, "type") {
            Some("user_changed_number" | "customer_changed_number") => (
                prospect(item, &["from"]),
                prospect(system, &["wa_id", "new_wa_id"]),
            ),
            Some("user_changed_user_id") => (
                prospect(system, &["previous_user_id"])
                    .or_else(|| prospect(item, &["from_user_id"])),
                prospect(system, &["user_id"]),
            ),
            _ => (None, None),
        };
        let renamed_from = old.filter(|_| new.is_some());
        Self {
            prospect: new.or_else(|| prospect(item, &["from", "from_user_id"])),
            alias: None,
            renamed_from,
            name: None,
            ext: Ext::new(),
        }
    }
}

/// The first of these keys that holds an id.
fn prospect(value: &Value, keys: &[&str]) -> Option<ProspectId> {
    keys.iter()
        .filter_map(|key| text(value, key))
        .find_map(|id| ProspectId::parse(id).ok())
}

/// Seconds since 1970, which Meta writes as a text, and in some fields as a number.
fn seconds(value: &Value, key: &str) -> Option<Timestamp> {
    let seconds = match value.get(key)? {
        Value::String(text) => text.parse::<i64>().ok()?,
        number => number.as_i64()?,
    };
    seconds
        .checked_mul(1_000)
        .filter(|ms| *ms >= 0)
        .map(Timestamp)
}

fn extras(item: &Value, context: &Value) -> Ext {
    let of_message = ["referral", "identity", "origin"].map(|key| pair(key, item.get(key)));
    let of_context = ["forwarded", "frequently_forwarded", "referred_product"]
        .map(|key| pair(key, context.get(key)));
    of_message.into_iter().chain(of_context).flatten().collect()
}

fn pair(name: &str, value: Option<&Value>) -> Option<(String, String)> {
    Some((name.to_owned(), value?.to_string()))
}

/// Why a message failed, in Meta's words: `131047: Re-engagement message: …`.
fn describe(error: &Value) -> String {
    let code = error.get("code").map(Value::to_string);
    let title = text(error, "message").or_else(|| text(error, "title"));
    let details = error
        .get("error_data")
        .and_then(|data| text(data, "details"));
    let words: Vec<&str> = [code.as_deref(), title, details]
        .into_iter()
        .flatten()
        .collect();
    shorten(&words.join(": "), MAX_DETAIL_CHARS)
}

fn digits(number: &str) -> String {
    number.chars().filter(char::is_ascii_digit).collect()
}
