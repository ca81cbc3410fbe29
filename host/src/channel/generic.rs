//! The generic channel: Standard Webhooks in and out, so that anything can be connected.
//!
//! Both directions are `POST`s of JSON with the headers `webhook-id`, `webhook-timestamp` and `webhook-signature` of the
//! Standard Webhooks specification. Fields marked `?` may be left out; fields that are not listed are ignored.
//!
//! # In: what the host understands
//!
//! A message. `message_id` is what redeliveries are recognised by; without it `webhook-id` is. Either must be the same for each
//! redelivery of a message and different for another. `timestamp` is RFC 3339; without it `webhook-timestamp` counts.
//!
//! ```json
//! {"type": "message.received", "timestamp"?: "2025-10-14T09:15:30Z", "data": {
//!   "from": "customer-17", "message_id"?: "m-1", "name"?: "Aminah", "reply_to"?: "out_…",
//!   "is_group"?: false, "from_me"?: false, "ext"?: {"page": "/pricing"},
//!   "kind"?: "text", "text": "hello"
//! }}
//! ```
//!
//! | `kind` | more fields of `data` |
//! |---|---|
//! | `text` (default) | `text` |
//! | `image`, `audio`, `video`, `document` | `media: {id or url, mime_type?, filename?, caption?, …}` |
//! | `location` | `location: {latitude, longitude, name?, address?}` |
//! | `interactive` | `interactive: {id, title?}`: a button that was pressed |
//! | `reaction` | recorded as ignored |
//! | any other | reaches the plugin as `other`, with `data` as its JSON |
//!
//! A message that lacks what its `kind` needs, or has numbers outside of the map, reaches the plugin as `other` too. Only one
//! without `from` is recorded as ignored for that.
//!
//! A message with `is_group` or `from_me` is recorded as ignored. `id_device` may be sent, but the webhook's address decides.
//!
//! The owner wrote by hand, so a human has taken over:
//!
//! ```json
//! {"type": "message.echo", "timestamp"?: "…", "data": {"to": "customer-17", "message_id"?: "m-2", "text": "I'll see to it"}}
//! ```
//!
//! What became of a reply; `id` is the one that the reply came with:
//!
//! ```json
//! {"type": "message.status", "timestamp"?: "…", "data": {"id": "out_…", "status": "sent|delivered|read|failed", "detail"?: "…"}}
//! ```
//!
//! Any other `type` is recorded as ignored.
//!
//! # Out: what the host sends
//!
//! One `POST` for each part of a reply. `webhook-id` and `data.id` are the part's id, the same for every try, so a receiver
//! that remembers them takes each part once. Every outbound secret of the device signs.
//!
//! ```json
//! {"type": "message.reply", "timestamp": "2025-10-14T09:15:31.250Z", "data": {
//!   "id": "out_…", "id_device": "dev_…", "to": "customer-17", "conversation": "cnv_…", "turn": "trn_…", "idx": 0,
//!   "reply_to": null, "ext": {}, "message": {"type": "text", "text": "hello to you"}
//! }}
//! ```
//!
//! `message` is one of
//!
//! ```json
//! {"type": "text", "text": "…"}
//! {"type": "media", "media": "image|audio|video|document", "url": "https://…", "caption": null, "filename": null}
//! {"type": "buttons", "text": "…", "buttons": [{"id": "yes", "title": "Yes"}]}
//! {"type": "react", "target": "m-1", "emoji": "👍"}
//! ```
//!
//! and a `react` whose `emoji` is null takes the reaction back. `timestamp` is when the reply was decided.
//!
//! The receiver answers 2xx once it has the part; if the body is JSON with a text `message_id`, that is remembered as the
//! receiver's own id for it. 408, 425, 429 and 5xx are tried again (with `Retry-After` honoured); any other status puts the part
//! to the dead letters. 410 and redirects also raise an alert on the device, which `nodepath device show` tells until a part
//! arrives again: its other parts are still tried.
//!
//! # Security
//!
//! The address is set by the operator, not by a plugin or a prospect, so private addresses are allowed: receivers often run
//! beside the host. Redirects are not followed.

use super::json;
use crate::model::delivery::ChannelLimits;

pub(super) mod parse;
pub(super) mod send;
pub(super) mod signature;

/// The specification advises payloads of at most 20 kB: 4,096 characters of four bytes each are 16 kB. The others keep a
/// receiver's work bounded.
pub(super) const LIMITS: ChannelLimits = ChannelLimits {
    text_chars: 4_096,
    caption_chars: 1_024,
    buttons_text_chars: 4_096,
    buttons: 10,
    button_title_chars: 64,
    button_id_chars: 256,
    reactions: true,
    window: None,
};
