//! Whether the host is well, and its figures.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use super::AppState;
use super::problem::Problem;

/// The process runs.
pub(super) async fn live() -> &'static str {
    "ok"
}

/// It can take webhooks.
pub(super) async fn ready(State(state): State<AppState>) -> Result<&'static str, Problem> {
    state.host.ping().await.map_err(Problem::from)?;
    Ok("ok")
}

/// The figures, in the text format of Prometheus.
pub(super) async fn metrics(State(state): State<AppState>) -> Response {
    if let Err(error) = state.host.observe_locks().await {
        tracing::warn!(%error, "http: the held locks can't be counted");
    }
    match &state.metrics {
        Some(metrics) => metrics().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
