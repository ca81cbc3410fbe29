//! HTTP: every route is here.

mod health;
mod problem;
mod webhook;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use tokio::sync::Semaphore;

use crate::model::{DeviceId, Shares};
use crate::store::Host;

/// The most webhooks that are read at once. Each may hold a body of some megabytes.
const MAX_WEBHOOKS: usize = 256;

/// Writes the figures in the text format of Prometheus.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// The most of them for one device. A provider has a few under way; a stranger who sends bodies without an end gets no further.
const MAX_WEBHOOKS_OF_DEVICE: usize = MAX_WEBHOOKS / 4;

/// What the handlers share.
#[derive(Clone)]
pub(crate) struct AppState {
    host: Arc<Host>,
    webhooks: Arc<Semaphore>,
    shares: Shares<DeviceId>,
    metrics: Option<RenderMetrics>,
}

impl AppState {
    pub(crate) fn new(host: Arc<Host>, metrics: Option<RenderMetrics>) -> Self {
        Self {
            host,
            webhooks: Arc::new(Semaphore::new(MAX_WEBHOOKS)),
            shares: Shares::new(MAX_WEBHOOKS_OF_DEVICE),
            metrics,
        }
    }
}

/// What providers call.
pub(crate) fn public(state: AppState) -> Router {
    Router::new()
        .route(
            "/webhooks/{device}",
            get(webhook::challenge).post(webhook::receive),
        )
        .route("/healthz", get(health::live))
        .fallback(problem::no_such_path)
        .with_state(state)
}

/// What operators call; it listens on an address of its own.
pub(crate) fn admin(state: AppState) -> Router {
    Router::new()
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .fallback(problem::no_such_path)
        .with_state(state)
}
