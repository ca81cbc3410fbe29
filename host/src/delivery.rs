//! The outbox loop: sends a part, and says what became of it.
//!
//! A part that comes in here is written down as being sent, and goes out as exactly one [`Settle`].

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::channel;
use crate::model::delivery::Presence;
use crate::model::{
    Credentials, DeadScope, Delivery, Device, DeviceId, Part, ProspectId, Shares, TenantId,
};
use crate::store::{Access, Error, Host, Settle, Settled};

/// Parts that were sent, retried and so on, by `result`.
const PARTS: &str = "nodepath_parts_total";
/// How long a provider took to answer, in seconds.
const SEND_SECONDS: &str = "nodepath_send_seconds";

/// The most requests to providers at once. Each holds a socket and some kilobytes.
const MAX_SENDS: usize = 512;

/// The most of them for one tenant, so that one whose receivers hang leaves room for the others.
const MAX_SENDS_OF_TENANT: usize = MAX_SENDS / 2;

/// How soon a part is looked at again whose tenant has its share of requests under way. A request takes some 100 ms.
const SHARE_PAUSE: Duration = Duration::from_millis(500);

/// How soon a part is looked at again that could not be tried for a fault of ours, such as credentials that can't be opened.
/// Somebody has to mend that.
const HOST_PAUSE: Duration = Duration::from_secs(30);

/// Sends parts. Clones are handles of the same loop.
#[derive(Clone)]
pub struct Deliveries(Arc<Inner>);

struct Inner {
    host: Arc<Host>,
    client: reqwest::Client,
    slots: Semaphore,
    shares: Shares<TenantId>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Deliveries {
    /// A loop without parts.
    #[must_use]
    pub fn new(host: Arc<Host>, client: reqwest::Client) -> Self {
        let (slots, shares) = (Semaphore::new(MAX_SENDS), Shares::new(MAX_SENDS_OF_TENANT));
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        Self(Arc::new(Inner {
            host,
            client,
            slots,
            shares,
            tracker,
            stop,
        }))
    }

    /// Begins to send a part.
    pub fn start(&self, part: Part) {
        let span = tracing::info_span!("delivery", part = %part.id, turn = %part.turn, conversation = %part.conversation);
        let inner = self.0.clone();
        self.0
            .tracker
            .spawn(async move { inner.deliver(part).await }.instrument(span));
    }

    /// Shows the prospect something at once; whether that works matters to nobody.
    pub async fn show(
        &self,
        device: &DeviceId,
        prospect: &ProspectId,
        last: Option<&str>,
        signal: Presence,
    ) {
        let Ok(_slot) = self.0.slots.try_acquire() else {
            return;
        };
        match self.0.host.access(device).await {
            Ok(access) => {
                channel::presence(&self.0.client, &access.credentials, prospect, last, signal).await
            }
            Err(error) => tracing::debug!(%error, "delivery: presence was not shown"),
        }
    }

    /// Sends nothing new: what has not begun is put off, known not to have been sent. Answers when what has begun has ended.
    pub async fn stop(&self) {
        self.0.stop.cancel();
        self.idle().await;
    }

    /// Whether nothing is being sent now.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.0.tracker.is_empty()
    }

    /// Waits until nothing is being sent.
    pub async fn idle(&self) {
        self.0.tracker.close();
        self.0.tracker.wait().await;
    }
}

impl Inner {
    async fn deliver(&self, part: Part) {
        // A panic of ours must not keep the lock.
        let attempt = AssertUnwindSafe(self.attempt(&part)).catch_unwind().await;
        let result = match attempt {
            Ok(Ok(result)) => result,
            Ok(Err(error)) => {
                tracing::error!(%error, "delivery: the part could not be tried");
                self.not_tried(HOST_PAUSE, error.to_string())
            }
            Err(_) => self.panicked(&part.device).await,
        };
        tell(&part, &result);
        metrics::counter!(PARTS, "result" => word(&result)).increment(1);
        let settle = Settle {
            part: part.id,
            attempt: part.attempt,
            result,
        };
        let release = tracing::debug_span!("release");
        if let Err(error) = self.host.settle(settle).instrument(release).await {
            // The next start takes the part for one in doubt.
            tracing::error!(%error, "🔒 SESSION LOCK: Failed to release session lock");
        }
        fail::fail_point!("delivery.settled");
    }

    async fn attempt(&self, part: &Part) -> Result<Settled, Error> {
        let access = self.host.access(&part.device).await?;
        let Access {
            device,
            credentials,
        } = &*access;
        let Some(_share) = self.shares.take(device.tenant.clone()) else {
            let why = "the tenant's share of requests is under way";
            return Ok(self.not_tried(SHARE_PAUSE, why.to_owned()));
        };
        let slot = tokio::select! {
            biased;
            () = self.stop.cancelled() => {
                return Ok(self.not_tried(Duration::ZERO, "the host stops".to_owned()));
            }
            slot = self.slots.acquire() => slot,
        };
        let now = self.host.clock().now();
        let started = std::time::Instant::now();
        // Where the tests let the host panic, or end, before the request and after its answer.
        fail::fail_point!("delivery.attempt");
        let delivery = channel::send(&self.client, credentials, part, now).await;
        fail::fail_point!("delivery.answered");
        metrics::histogram!(SEND_SECONDS).record(started.elapsed().as_secs_f64());
        drop(slot);
        if self
            .was_changed_meanwhile(&delivery, part, credentials)
            .await?
        {
            let why = "the device's credentials have just been changed";
            return Ok(self.not_tried(Duration::ZERO, why.to_owned()));
        }
        Ok(self.decide(part, device, delivery))
    }

    /// Whether a refusal was for credentials that somebody has replaced: the provider took nothing, and the new ones are not tried.
    async fn was_changed_meanwhile(
        &self,
        delivery: &Delivery,
        part: &Part,
        tried: &Credentials,
    ) -> Result<bool, Error> {
        let of_device = DeadScope::Device;
        if !matches!(delivery, Delivery::Dead { scope, .. } if *scope == of_device) {
            return Ok(false);
        }
        self.host.forget_access(&part.device);
        Ok(self.host.access(&part.device).await?.credentials != *tried)
    }

    /// What follows from a try, by the device's settings and the channel's schedule.
    fn decide(&self, part: &Part, device: &Device, delivery: Delivery) -> Settled {
        let now = self.host.clock().now();
        match delivery {
            Delivery::Sent { provider_id } => Settled::Sent { provider_id },
            Delivery::Retry { after, why } => {
                match channel::retry(device.channel, part.attempt, after, rand::random()) {
                    Some(delay) => Settled::RetryAt {
                        at: now.plus(delay),
                        why,
                    },
                    None => Settled::Dead {
                        why: format!("after {} tries: {why}", part.attempt),
                        alert: false,
                    },
                }
            }
            Delivery::Unknown { why } => Settled::Unknown {
                until: now.plus(device.unknown_window()),
                why,
            },
            Delivery::Dead { why, scope } => Settled::Dead {
                why,
                alert: scope == DeadScope::Device,
            },
        }
    }

    /// The part may have left before the panic, so nobody can tell.
    async fn panicked(&self, device: &DeviceId) -> Settled {
        let window = match self.host.access(device).await {
            Ok(access) => access.device.unknown_window(),
            Err(_) => Duration::ZERO,
        };
        Settled::Unknown {
            until: self.host.clock().now().plus(window),
            why: "the host panicked; its log says where".to_owned(),
        }
    }

    fn not_tried(&self, pause: Duration, why: String) -> Settled {
        let at = self.host.clock().now().plus(pause);
        Settled::NotTried { at, why }
    }
}

fn word(result: &Settled) -> &'static str {
    match result {
        Settled::Sent { .. } => "sent",
        Settled::RetryAt { .. } => "retry",
        Settled::NotTried { .. } => "not_tried",
        Settled::Unknown { .. } => "unknown",
        Settled::Dead { .. } => "dead",
    }
}

fn tell(part: &Part, result: &Settled) {
    let (device, attempt) = (&part.device, part.attempt);
    match result {
        Settled::Sent { .. } => {
            tracing::info!(%device, attempt, "delivery: part {} was sent", part.id)
        }
        Settled::RetryAt { at, why } => {
            tracing::warn!(%device, attempt, why, "delivery: part {} is tried again at {at}", part.id);
        }
        Settled::NotTried { at, why } => {
            tracing::warn!(%device, attempt, why, "delivery: part {} was not tried; it is looked at again at {at}", part.id);
        }
        Settled::Unknown { until, why } => {
            tracing::warn!(%device, attempt, why, "delivery: nobody knows whether part {} was sent; the provider has until {until} to tell", part.id);
        }
        Settled::Dead { why, alert } => {
            tracing::error!(%device, attempt, why, alert, "delivery: part {} can't be sent and is a dead letter", part.id);
        }
    }
}
