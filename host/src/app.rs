//! The composition root: puts the parts together, runs the loops, and stops them in order.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::channel;
use crate::config::Config;
use crate::delivery::Deliveries;
pub use crate::http::RenderMetrics;
use crate::http::{self, AppState};
use crate::model::Clock;
use crate::plugin::{Compiler, Runtime, Settings};
use crate::store::{Host, Retention, Work, WorkQueue};
use crate::turn::Turns;

/// How often old rows are looked for. They are counted in days.
const RETENTION_EVERY: Duration = Duration::from_secs(3_600);

/// How long a stop waits for connections to end. A webhook takes milliseconds; a connection on which nobody has asked anything,
/// such as a proxy keeps ready, would otherwise stay for the whole deadline. Who is cut off was not answered, and delivers again.
const LAST_WEBHOOKS: Duration = Duration::from_secs(1);

/// How long requests to providers that are under way may still take once the deadline of a stop has passed. What is cut off
/// then is in doubt at the next start.
const LAST_SENDS: Duration = Duration::from_secs(5);

/// A host, ready to run.
pub struct App {
    host: Arc<Host>,
    work: WorkQueue,
    turns: Turns,
    deliveries: Deliveries,
    metrics: Option<RenderMetrics>,
    due_poll: Duration,
    stop_deadline: Duration,
    retention: Retention,
}

impl App {
    /// Opens everything that a host needs. `compiler` is how plugins are compiled: by this executable, called with
    /// `compile-plugin`, or by this very process.
    ///
    /// # Errors
    /// If the data directory, the database, the key or the plugin runtime can't be opened; the text says what to do.
    pub async fn open(
        config: &Config,
        clock: Clock,
        compiler: Compiler,
        metrics: Option<RenderMetrics>,
    ) -> anyhow::Result<Self> {
        let sealer = config.sealer()?;
        let cache_key = config.cache_key()?;
        let (host, work) = Host::open(&config.database_path(), clock, sealer).await?;
        let recovered = host.recovered();
        if recovered.turns > 0 || recovered.unknown_parts > 0 {
            tracing::warn!(
                turns = recovered.turns,
                unknown_parts = recovered.unknown_parts,
                "🔒 SESSION LOCK: Session locks of the last host, which ended in the middle, are free; its turns run again, and parts that it was sending are in doubt"
            );
        }
        let mut settings = Settings::new(config.cache_dir(), cache_key, compiler);
        settings.workers = config.workers;
        settings.max_instances = config.max_instances;
        settings.max_memory_bytes = config.max_memory_bytes;
        let runtime = Runtime::new(settings).context("the plugin runtime can't start")?;
        let host = Arc::new(host);
        let deliveries = Deliveries::new(host.clone(), channel::http_client()?);
        let turns = Turns::new(host.clone(), runtime, deliveries.clone());
        Ok(Self {
            host,
            work,
            turns,
            deliveries,
            metrics,
            due_poll: config.due_poll,
            stop_deadline: config.stop_deadline,
            retention: config.retention,
        })
    }

    /// The store, for whoever sets the host up before it runs.
    #[must_use]
    pub fn host(&self) -> Arc<Host> {
        self.host.clone()
    }

    /// Runs until `shutdown` comes, then stops: takes no more webhooks, lets turns and deliveries end within the deadline,
    /// and hands back what has not ended. Nothing is lost by a stop, nor by being killed instead.
    ///
    /// # Errors
    /// If the store's writer ends, which only a fault of this program makes it do.
    pub async fn run(
        mut self,
        listener: TcpListener,
        admin: Option<TcpListener>,
        shutdown: impl Future<Output = ()> + Send,
    ) -> anyhow::Result<()> {
        let (stop, loops, servers) = (
            CancellationToken::new(),
            TaskTracker::new(),
            TaskTracker::new(),
        );
        let state = AppState::new(self.host.clone(), self.metrics.take());
        if let Some(admin) = admin {
            spawn_server(&servers, admin, http::admin(state.clone()), &stop);
        }
        spawn_server(&servers, listener, http::public(state), &stop);
        loops.spawn(due_loop(self.host.clone(), self.due_poll, stop.clone()));
        loops.spawn(retention_loop(
            self.host.clone(),
            self.retention,
            stop.clone(),
        ));
        loops.close();
        servers.close();

        self.dispatch_until(shutdown).await?;
        tracing::info!("app: stopping; nothing more is taken");
        self.host.drain();
        fail::fail_point!("stop.draining");
        stop.cancel();
        let (turns, deliveries) = (self.turns.clone(), self.deliveries.clone());
        let idle = async {
            if tokio::time::timeout(LAST_WEBHOOKS, servers.wait())
                .await
                .is_err()
            {
                tracing::info!("app: connections that are still open are cut off");
            }
            loops.wait().await;
        };
        let deadline = tokio::time::Instant::now() + self.stop_deadline;
        let ended = tokio::time::timeout_at(deadline, async {
            self.dispatch_until(idle).await?;
            self.finish_work(&turns, &deliveries).await
        });
        match ended.await {
            Ok(ended) => ended?,
            Err(_) => self.hand_back(&turns, &deliveries).await?,
        }
        drop((turns, deliveries));
        fail::fail_point!("stop.closing");
        self.close().await;
        tracing::info!("app: stopped");
        Ok(())
    }

    /// Hands on what the commits decide, until `end` comes.
    ///
    /// # Errors
    /// If the writer is gone: nothing can be taken or finished any more, and another start takes up what there is.
    async fn dispatch_until(&mut self, end: impl Future<Output = ()>) -> anyhow::Result<()> {
        tokio::pin!(end);
        loop {
            tokio::select! {
                work = self.work.recv() => match work {
                    Some(work) => dispatch(&self.turns, &self.deliveries, work),
                    None => anyhow::bail!("the store's writer has ended, see the log; start the host again, nothing is lost"),
                },
                () = &mut end => return Ok(()),
            }
        }
    }

    /// Goes on until nothing runs, nothing is sent, and nothing is left to hand on. Whoever commits puts its work here before
    /// it ends, and nobody else takes it out, so the three together mean the end.
    async fn finish_work(&mut self, turns: &Turns, deliveries: &Deliveries) -> anyhow::Result<()> {
        loop {
            self.dispatch_until(async {
                turns.idle().await;
                deliveries.idle().await;
            })
            .await?;
            if self.work.is_empty() && turns.is_idle() && deliveries.is_idle() {
                return Ok(());
            }
        }
    }

    /// The deadline has passed: turns go back to wait for the next start, and no further part goes out.
    async fn hand_back(&mut self, turns: &Turns, deliveries: &Deliveries) -> anyhow::Result<()> {
        tracing::warn!("app: the deadline of the stop has passed; what still runs is handed back");
        self.host.halt();
        let stopped = tokio::time::timeout(LAST_SENDS, async {
            self.dispatch_until(async {
                tokio::join!(turns.stop(), deliveries.stop());
            })
            .await?;
            // What was decided just before is put off, and not left to be in doubt.
            self.finish_work(turns, deliveries).await
        });
        match stopped.await {
            Ok(stopped) => stopped,
            Err(_) => {
                tracing::warn!(
                    "app: a provider has not answered; that part is in doubt at the next start"
                );
                Ok(())
            }
        }
    }

    async fn close(self) {
        let Self {
            host,
            turns,
            deliveries,
            ..
        } = self;
        drop((turns, deliveries));
        match Arc::try_unwrap(host) {
            Ok(host) => host.close().await,
            // A connection or a request to a provider was cut off and still holds it; the end of the process frees everything.
            Err(_) => tracing::info!(
                "app: the store is still in use and is closed by the end of the process"
            ),
        }
    }
}

fn dispatch(turns: &Turns, deliveries: &Deliveries, work: Work) {
    match work {
        Work::Run(claim) => turns.start(*claim),
        Work::Cancel {
            conversation,
            epoch,
        } => turns.cancel(&conversation, epoch),
        Work::Send(part) => deliveries.start(*part),
    }
}

fn spawn_server(
    servers: &TaskTracker,
    listener: TcpListener,
    router: axum::Router,
    stop: &CancellationToken,
) {
    let server =
        axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    servers.spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "app: a listener failed");
        }
    });
}

/// Does what is due, when it is due. The poll finds what other processes have changed.
async fn due_loop(host: Arc<Host>, poll: Duration, stop: CancellationToken) {
    loop {
        let now = host.clock().now();
        let pause = match host.run_due().await {
            Ok(next) => next.map_or(poll, |at| at.since(now).min(poll)),
            Err(error) => {
                tracing::error!(%error, "app: what is due can't be looked up");
                poll
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = host.due_changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn retention_loop(host: Arc<Host>, keep: Retention, stop: CancellationToken) {
    loop {
        match host.forget(keep).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "app: old rows were deleted"),
            Err(error) => tracing::error!(%error, "app: old rows can't be deleted"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RETENTION_EVERY) => {}
        }
    }
}
