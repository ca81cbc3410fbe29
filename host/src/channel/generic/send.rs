//! Sending to a receiver of Standard Webhooks. The shape is documented in the parent module.

use serde_json::{Map, Value, json};

use super::super::client::{Answer, exchange};
use super::json::text;
use super::signature;
use crate::model::delivery::DeadScope;
use crate::model::{Delivery, Part, Secret, Timestamp};

/// Tries once to post a part to `url`, signed with every secret.
pub(in crate::channel) async fn send(
    client: &reqwest::Client,
    secrets: &[Secret],
    url: &str,
    part: &Part,
    now: Timestamp,
) -> Delivery {
    let misconfigured = |why: &str| Delivery::Dead {
        why: why.to_owned(),
        scope: DeadScope::Device,
    };
    let Some(url) = http_url(url) else {
        return misconfigured("the device's address is not an http or https URL; set it again");
    };
    let id = part.id.as_str();
    let body = body(part, now).to_string();
    let Some((timestamp, signature)) = signature::sign(secrets, id, body.as_bytes(), now) else {
        return misconfigured("the device has no outbound secret that can be used; set it again");
    };
    let request = client
        .post(url)
        .header(http::header::CONTENT_TYPE, "application/json")
        .header(signature::ID, id)
        .header(signature::TIMESTAMP, timestamp)
        .header(signature::SIGNATURE, signature)
        .body(body);
    match exchange(request, now).await {
        Ok(answer) => outcome(&answer),
        Err(delivery) => delivery,
    }
}

fn http_url(url: &str) -> Option<reqwest::Url> {
    let url = reqwest::Url::parse(url).ok()?;
    matches!(url.scheme(), "http" | "https").then_some(url)
}

fn body(part: &Part, now: Timestamp) -> Value {
    let ext: Map<String, Value> = part
        .body
        .ext
        .iter()
        .map(|(key, json)| {
            let value = serde_json::from_str(json).unwrap_or_else(|_| json!(json));
            (key.clone(), value)
        })
        .collect();
    json!({
        "type": "message.reply",
        "timestamp": decided_at(part).unwrap_or(now).to_string(),
        "data": {
            "id": part.id,
            "id_device": part.device,
            "to": part.prospect,
            "conversation": part.conversation,
            "turn": part.turn,
            "idx": part.idx,
            "reply_to": part.body.reply_to,
            "ext": ext,
            "message": part.body.kind,
        },
    })
}

/// When the part's id was made: the same for every try, so the body is too.
fn decided_at(part: &Part) -> Option<Timestamp> {
    let hex = part.id.as_str().strip_prefix("out_")?;
    let (seconds, nanos) = uuid::Uuid::parse_str(hex).ok()?.get_timestamp()?.to_unix();
    let seconds = i64::try_from(seconds).ok()?;
    Some(Timestamp(
        seconds
            .checked_mul(1_000)?
            .checked_add(i64::from(nanos / 1_000_000))?,
    ))
}

/// What a receiver's answer means ("Deliverability and reliability" of the specification).
fn outcome(answer: &Answer) -> Delivery {
    let why = answer.why();
    match answer.status {
        200..=299 => Delivery::Sent {
            provider_id: answer
                .json()
                .and_then(|json| text(&json, "message_id").map(str::to_owned)),
        },
        408 | 425 | 429 | 500.. => Delivery::Retry {
            after: answer.retry_after,
            why,
        },
        // Gone: the receiver wants no more. A redirect is not followed, so the address is wrong for good. Either is for the
        // operator to see to, so it alerts.
        300..=399 | 410 => Delivery::Dead {
            why,
            scope: DeadScope::Device,
        },
        _ => Delivery::Dead {
            why,
            scope: DeadScope::Message,
        },
    }
}
