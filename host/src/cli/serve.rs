//! `nodepath serve`: the host.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, chain};
use super::context::Context;
use crate::app::{App, RenderMetrics};
use crate::config::Config;
use crate::telemetry::{self, Metrics};

pub(super) async fn run(context: &Context) -> anyhow::Result<Answer> {
    let config = context.loaded()?.config;
    let (metrics, lines) = telemetry::start(&config.log)?;
    let served = serve(context, &config, metrics).await;
    // Standard error may go nowhere; whoever looks for what went wrong looks into the log.
    let served = served.inspect_err(|error| tracing::error!("serve: {}", chain(error)));
    drop(lines);
    served?;
    Ok(Answer::silent())
}

async fn serve(context: &Context, config: &Config, metrics: Metrics) -> anyhow::Result<()> {
    let render: RenderMetrics = Arc::new(move || metrics.render());
    let app = App::open(
        config,
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
    let signals = Signals::watch()?;
    let admin_listen = admin.as_ref().map(TcpListener::local_addr).transpose()?;
    tracing::info!(
        listen = %listener.local_addr()?,
        admin_listen = admin_listen.map(tracing::field::display),
        data_dir = %config.data_dir.display(),
        "serve: taking webhooks at /webhooks/<device id>"
    );
    // On the runtime's own threads: what this one waits for would wake it, and then another, for every step of every message.
    #[expect(clippy::disallowed_methods, reason = "it is awaited right here")]
    let running = tokio::spawn(app.run(listener, admin, stop.clone().cancelled_owned()));
    tokio::select! {
        ended = running => ended.context("the host panicked; its log says where")?,
        () = signals.stop_at_first_return_at_second(&stop) => {
            anyhow::bail!("stopped at once by a second signal; what was under way goes on at the next start");
        }
    }
}

async fn bind(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!(
            "can't listen on {address}; stop what listens there, or set {key} to another address"
        )
    })
}

/// What ends a host: SIGTERM and SIGINT.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn watch() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("can't wait for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("can't wait for SIGINT")?,
        })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// The first begins the stop; it returns at the second, for whoever won't wait.
    async fn stop_at_first_return_at_second(mut self, stop: &CancellationToken) {
        self.next().await;
        stop.cancel();
        self.next().await;
    }
}
