//! `nodepath serve`: the host.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::answer::Answer;
use super::context::Context;
use crate::app::{App, RenderMetrics};
use crate::telemetry::{self, Metrics, UPKEEP};

pub(super) async fn run(context: &Context) -> anyhow::Result<Answer> {
    let config = context.loaded()?.config;
    let metrics = telemetry::start(&config.log)?;
    let render: RenderMetrics = {
        let metrics = metrics.clone();
        Arc::new(move || metrics.render())
    };
    let app = App::open(
        &config,
        context.clock().clone(),
        context.compiler()?,
        Some(render),
    )
    .await?;
    let listener = bind("listen", config.listen).await?;
    let admin = match config.admin_listen {
        Some(address) => Some(bind("admin_listen", address).await?),
        None => None,
    };
    let stop = CancellationToken::new();
    tracing::info!(
        listen = %listener.local_addr()?,
        data_dir = %config.data_dir.display(),
        "serve: taking webhooks at /webhooks/<device id>"
    );
    tokio::select! {
        ended = app.run(listener, admin, stop.clone().cancelled_owned()) => ended?,
        twice = watch_signals(&stop) => {
            twice?;
            anyhow::bail!("stopped at once by a second signal; what was under way goes on at the next start");
        }
        () = keep_up(&metrics) => {}
    }
    Ok(Answer::silent())
}

async fn bind(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!(
            "can't listen on {address}; stop what listens there, or set {key} to another address"
        )
    })
}

/// The first signal begins the stop; it returns at the second, for whoever won't wait.
async fn watch_signals(stop: &CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("can't wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("can't wait for SIGINT")?;
    for _ in 0..2 {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    }
    Ok(())
}

async fn keep_up(metrics: &Metrics) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        metrics.upkeep();
    }
}
