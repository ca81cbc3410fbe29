//! The way in: a provider's webhook becomes durable before it is answered 200.

use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Serialize;
use tracing::Instrument as _;

use super::AppState;
use super::problem::Problem;
use crate::channel;
use crate::model::{DeviceId, Event};
use crate::store::{Accept, Accepted, Access, Fate};

/// Webhooks by the `status` that they were answered with.
const WEBHOOKS: &str = "nodepath_webhooks_total";
/// What was in them, by `fate`.
const EVENTS: &str = "nodepath_events_total";

/// How long a body may take to arrive. Providers give up on us sooner.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// What became of a webhook's events, counted.
#[derive(Debug, Default, Serialize)]
pub(super) struct Received {
    /// As the original program answered.
    status: &'static str,
    /// Messages that a turn answers.
    accepted: usize,
    /// Messages that were delivered before.
    duplicates: usize,
    /// Messages that are recorded and not answered.
    skipped: usize,
    /// Messages for the human who has the conversation.
    absorbed: usize,
    /// Things that start no turn.
    ignored: usize,
    /// Statuses, echoes and other news.
    noted: usize,
}

/// `GET`: the provider asks whether the address is ours.
pub(super) async fn challenge(
    State(state): State<AppState>,
    Path(device): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<String, Problem> {
    let device = DeviceId::parse(&device).map_err(|_| Problem::no_such_device())?;
    let access = state.host.access(&device).await?;
    channel::challenge(&access.credentials, query.as_deref().unwrap_or_default())
        .map_err(|error| Problem::forbidden(error.to_string()))
}

/// `POST`: the provider tells something.
pub(super) async fn receive(
    State(state): State<AppState>,
    Path(device): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Received>, Problem> {
    let span = tracing::info_span!("webhook", device);
    let answer = take_in(&state, &device, &headers, body)
        .instrument(span)
        .await;
    let status = answer.as_ref().map_or_else(Problem::status, |_| 200);
    metrics::counter!(WEBHOOKS, "status" => status.to_string()).increment(1);
    answer.map(Json)
}

async fn take_in(
    state: &AppState,
    device: &str,
    headers: &HeaderMap,
    body: Body,
) -> Result<Received, Problem> {
    let id = DeviceId::parse(device).map_err(|_| Problem::no_such_device())?;
    let access = state.host.access(&id).await?;
    let Access {
        device,
        credentials,
    } = &*access;
    channel::is_signed(device.channel, headers)?;
    let body = {
        let _share = state.shares.take(id.clone()).ok_or_else(Problem::busy)?;
        // The semaphore is never closed; if it were, the webhook is read all the same.
        let _slot = state.webhooks.acquire().await.ok();
        read(body, channel::max_body_bytes(device.channel)).await?
    };
    let now = state.host.clock().now();
    channel::verify(credentials, headers, &body, now)?;
    let events = channel::parse(credentials, headers, &body, now)?;
    let intake = tracing::debug_span!("intake", events = events.len());
    store(state, id, events).instrument(intake).await
}

async fn read(body: Body, limit: usize) -> Result<Bytes, Problem> {
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, limit).collect());
    match collected.await {
        Err(_) => Err(Problem::too_slow()),
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::too_large(limit)),
        Ok(Err(_)) => Err(Problem::broken_body()),
    }
}

/// T1, and only then 200.
async fn store(
    state: &AppState,
    device: DeviceId,
    events: Vec<Event>,
) -> Result<Received, Problem> {
    fail::fail_point!("webhook.parsed");
    let id_device = device.to_string();
    let accepted = state
        .host
        .accept(Accept { device, events })
        .await
        .inspect_err(|error| {
            tracing::error!(id_device, %error, "🔒 SESSION LOCK: Failed to acquire session lock");
        })?;
    // Where the tests end the host between the commit and the answer.
    fail::fail_point!("webhook.unanswered");
    match accepted {
        Accepted::Full => Err(Problem::full()),
        Accepted::Stored(fates) => Ok(count(&fates)),
    }
}

fn count(fates: &[Fate]) -> Received {
    let mut received = Received {
        status: "success",
        ..Received::default()
    };
    for fate in fates {
        let (place, word) = match fate {
            Fate::Claimed(_) => (&mut received.accepted, "claimed"),
            Fate::Restarted(_) => (&mut received.accepted, "restarted"),
            Fate::Queued(_) => (&mut received.accepted, "queued"),
            Fate::Waiting(_) => (&mut received.accepted, "waiting"),
            Fate::Skipped(_, _) => (&mut received.skipped, "skipped"),
            Fate::Absorbed(_) => (&mut received.absorbed, "absorbed"),
            Fate::Duplicate => (&mut received.duplicates, "duplicate"),
            Fate::Ignored(_) => (&mut received.ignored, "ignored"),
            Fate::Human => (&mut received.noted, "human"),
            Fate::Noted => (&mut received.noted, "noted"),
        };
        *place += 1;
        metrics::counter!(EVENTS, "fate" => word).increment(1);
    }
    received
}
