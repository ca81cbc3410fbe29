//! The turn loop: runs the plugin of a claimed conversation and ends its turn.
//!
//! **Invariant:** a claim that comes in here goes out as exactly one [`Finish`], whatever the plugin or this module does: ends
//! well, fails, traps, runs over its budget, panics or is stopped.

mod decide;
#[cfg(test)]
mod decide_tests;
mod reads;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::FusedFuture as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::channel;
use crate::delivery::Deliveries;
use crate::model::delivery::Presence;
use crate::model::turn::{Blame, FailureKind};
use crate::model::{Claim, ConversationId, Lock, Trigger, TurnFailure};
use crate::plugin::{self, LogLevel, LogLine, Run, Runtime, TurnInput};
use crate::store::{Finish, Finished, Host, TurnEnd, TurnRecord};

use self::decide::covered;
use self::reads::StoreReads;

/// Turns that were committed, failed and so on, by `outcome`.
const TURNS: &str = "nodepath_turns_total";
/// How long a turn ran, in seconds.
const TURN_SECONDS: &str = "nodepath_turn_seconds";

/// Runs turns. Clones are handles of the same loop.
#[derive(Clone)]
pub struct Turns(Arc<Inner>);

struct Inner {
    host: Arc<Host>,
    runtime: Runtime,
    audience: Audience,
    /// The turns that run, so that they can be stopped. An entry goes with its turn.
    running: Mutex<HashMap<ConversationId, Running>>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

/// Who is shown what a plugin does before its turn commits.
#[derive(Clone)]
enum Audience {
    /// The prospect sees signs of presence.
    Prospect(Deliveries),
    /// Somebody at a terminal sees everything.
    Onlooker(mpsc::UnboundedSender<Seen>),
}

/// What an onlooker sees of a turn.
#[derive(Debug)]
pub enum Seen {
    /// A sign that left at once.
    Presence(Presence),
    /// The plugin has ended, and nothing of it is committed yet.
    Ran(Box<Run>),
}

struct Running {
    epoch: i64,
    cancel: CancellationToken,
}

impl Turns {
    /// A loop without turns.
    #[must_use]
    pub fn new(host: Arc<Host>, runtime: Runtime, deliveries: Deliveries) -> Self {
        Self::before(host, runtime, Audience::Prospect(deliveries))
    }

    /// A loop whose turns are watched instead of shown to their prospects.
    #[must_use]
    pub fn watched(
        host: Arc<Host>,
        runtime: Runtime,
        onlooker: mpsc::UnboundedSender<Seen>,
    ) -> Self {
        Self::before(host, runtime, Audience::Onlooker(onlooker))
    }

    fn before(host: Arc<Host>, runtime: Runtime, audience: Audience) -> Self {
        Self(Arc::new(Inner {
            host,
            runtime,
            audience,
            running: Mutex::default(),
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
        }))
    }

    /// Begins the turn of a claim.
    pub fn start(&self, claim: Claim) {
        fail::fail_point!("turn.claimed");
        let cancel = self.0.stop.child_token();
        let running = Running {
            epoch: claim.lock.epoch,
            cancel: cancel.clone(),
        };
        self.0
            .running()
            .insert(claim.lock.conversation.clone(), running);
        let span = tracing::info_span!("turn", turn = %claim.turn, conversation = %claim.lock.conversation);
        let inner = self.0.clone();
        self.0
            .tracker
            .spawn(async move { inner.run_turn(claim, cancel).await }.instrument(span));
    }

    /// Stops the turn of a claim, if it still runs.
    pub fn cancel(&self, conversation: &ConversationId, epoch: i64) {
        if let Some(running) = self
            .0
            .running()
            .get(conversation)
            .filter(|r| r.epoch == epoch)
        {
            running.cancel.cancel();
        }
    }

    /// Waits until every turn has ended.
    pub async fn idle(&self) {
        self.0.tracker.close();
        self.0.tracker.wait().await;
    }

    /// Whether no turn runs now.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.0.tracker.is_empty()
    }

    /// Stops every turn that still runs and hands its conversation back.
    pub async fn stop(&self) {
        self.0.stop.cancel();
        self.idle().await;
    }
}

impl Inner {
    async fn run_turn(&self, claim: Claim, cancel: CancellationToken) {
        let (covered, record) = (covered(&claim.trigger), record(&claim));
        let started = std::time::Instant::now();
        // A panic of ours must not keep the lock.
        let attempt = AssertUnwindSafe(self.attempt(&claim, &cancel))
            .catch_unwind()
            .await;
        let (end, cpu) = attempt.unwrap_or_else(|_| {
            let failure = TurnFailure {
                kind: FailureKind::Host,
                detail: "the host panicked; its log says where".to_owned(),
                retry_after: None,
            };
            (
                decide::failed(&claim, &failure, self.host.clock().now()),
                std::time::Duration::ZERO,
            )
        });
        let Claim { lock, .. } = claim;
        self.forget(&lock);
        let conversation = lock.conversation.clone();
        let outcome = outcome_word(&end);
        metrics::counter!(TURNS, "outcome" => outcome).increment(1);
        metrics::histogram!(TURN_SECONDS).record(started.elapsed().as_secs_f64());
        let finish = Finish {
            lock,
            covered,
            record: TurnRecord { cpu, ..record },
            end,
        };
        fail::fail_point!("turn.ended");
        let finished = self.host.finish(finish).await;
        fail::fail_point!("turn.finished");
        match finished {
            Ok(Finished::Fenced) => {
                tracing::warn!(
                    "🔒 SESSION LOCK: Session lock was taken away from this turn, which changes nothing"
                )
            }
            Ok(finished) => tracing::debug!(?finished, outcome, "turn: ended"),
            Err(error) => {
                tracing::error!(%error, "🔒 SESSION LOCK: Failed to release session lock");
                // It is not the database's fault, so it would fail again; the conversation must not stay locked for that.
                if let Err(error) = self.host.unlock(&conversation).await {
                    tracing::error!(%error, "turn: the conversation stays locked until the next start");
                }
            }
        }
    }

    /// One try: everything between the claim and T3.
    async fn attempt(
        &self,
        claim: &Claim,
        cancel: &CancellationToken,
    ) -> (TurnEnd, std::time::Duration) {
        // Where the tests let the host panic, or end, in the middle of a turn.
        fail::fail_point!("turn.attempt");
        if let Some(end) = decide::is_poisonous(claim) {
            return (end, std::time::Duration::ZERO);
        }
        let run = tokio::select! {
            // A turn that has ended counts as ended, even if it was to be stopped in the same moment.
            biased;
            run = self.run_plugin(claim).instrument(tracing::debug_span!("plugin")) => run,
            () = cancel.cancelled() => {
                let end = if self.stop.is_cancelled() { TurnEnd::HandedBack } else { TurnEnd::Cancelled };
                return (end, std::time::Duration::ZERO);
            }
        };
        fail::fail_point!("turn.ran");
        tell_logs(claim, &run);
        self.show(&run);
        let now = self.host.clock().now();
        let end = match run.result {
            Err(failure) => {
                tell_failure(claim, &failure);
                decide::failed(claim, &failure, now)
            }
            Ok(outcome) => match decide::commit(&self.host, claim, outcome).await {
                Ok(commit) => TurnEnd::Commit(commit),
                Err(error) => {
                    tracing::error!(%error, "turn: the store can't be read");
                    decide::failed(claim, &host_failure("the store can't be read now"), now)
                }
            },
        };
        (end, run.cpu)
    }

    async fn run_plugin(&self, claim: &Claim) -> Run {
        let Some(digest) = &claim.device.plugin else {
            let why = format!(
                "device {0} has no plugin; deploy one with `nodepath device set {0} --plugin …`",
                claim.device.id
            );
            return nothing_ran(FailureKind::Plugin, why);
        };
        let component = || self.host.component(&claim.device.tenant, digest);
        let plugin = match self.runtime.load(digest, component).await {
            Ok(plugin) => plugin,
            Err(error @ (plugin::Error::Refused(_) | plugin::Error::Guest(_))) => {
                return nothing_ran(FailureKind::Plugin, error.to_string());
            }
            Err(error) => return nothing_ran(FailureKind::Host, error.to_string()),
        };
        let trigger = match decide::with_own_ids(&self.host, claim).await {
            Ok(trigger) => trigger,
            Err(error) => return nothing_ran(FailureKind::Host, error.to_string()),
        };
        let (presence, signals) = mpsc::unbounded_channel();
        let mut shown = Box::pin(self.show_presence(claim, signals).fuse());
        fail::fail_point!("turn.call");
        let input = self.input(claim, trigger, presence);
        let mut running = pin!(self.runtime.run(&plugin, input));
        let run = tokio::select! {
            biased;
            run = &mut running => run,
            // The guest is gone, and its answer is on its way.
            () = &mut shown => running.await,
        };
        // What was shown last may take longer than the turn, whose reply waits for nothing of it. A plugin that shows nothing has
        // nothing left here, and so costs no task.
        if !shown.is_terminated() && shown.as_mut().now_or_never().is_none() {
            // Nothing waits for it when the host stops.
            let stop = self.stop.clone();
            self.tracker
                .spawn(async move { stop.run_until_cancelled(shown).await });
        }
        run
    }

    fn input(
        &self,
        claim: &Claim,
        trigger: Trigger,
        presence: mpsc::UnboundedSender<Presence>,
    ) -> TurnInput {
        let limits = channel::limits(claim.device.channel);
        let now = self.host.clock().now();
        let window_open = match (limits.window, claim.last_inbound_at) {
            (None, _) => true,
            (Some(window), last) => last.is_some_and(|at| now.since(at) < window),
        };
        TurnInput {
            tenant: claim.device.tenant.clone(),
            turn: claim.turn.clone(),
            attempt: claim.attempt,
            conversation: claim.lock.conversation.clone(),
            channel: claim.device.channel,
            device: claim.device.id.clone(),
            prospect: claim.prospect.clone(),
            prospect_name: claim.prospect_name.clone(),
            turn_seq: claim.turn_seq,
            trigger,
            config: claim.device.plugin_config.clone(),
            limits: limits.clone(),
            window_open,
            budget: claim.device.settings.budget,
            clock: claim.clock,
            seed: claim.seed,
            reads: Arc::new(StoreReads::new(self.host.clone(), claim)),
            presence,
        }
    }

    /// Passes on what the plugin shows at once, until it has ended and nothing is left.
    fn show_presence(
        &self,
        claim: &Claim,
        mut signals: mpsc::UnboundedReceiver<Presence>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let audience = self.audience.clone();
        let (device, prospect) = (claim.device.id.clone(), claim.prospect.clone());
        let last = decide::last_provider_id(&claim.trigger);
        async move {
            while let Some(signal) = signals.recv().await {
                match &audience {
                    Audience::Prospect(deliveries) => {
                        deliveries
                            .show(&device, &prospect, last.as_deref(), signal)
                            .await;
                    }
                    // Whoever has stopped looking misses nothing.
                    Audience::Onlooker(onlooker) => drop(onlooker.send(Seen::Presence(signal))),
                }
            }
        }
    }

    fn show(&self, run: &Run) {
        if let Audience::Onlooker(onlooker) = &self.audience {
            drop(onlooker.send(Seen::Ran(Box::new(run.clone()))));
        }
    }

    fn forget(&self, lock: &Lock) {
        let mut running = self.running();
        // A restart has put the next claim here already.
        if running
            .get(&lock.conversation)
            .is_some_and(|r| r.epoch == lock.epoch)
        {
            running.remove(&lock.conversation);
        }
    }

    /// The map is whole even if a holder of its mutex panicked: every change of it is one call.
    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<ConversationId, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn record(claim: &Claim) -> TurnRecord {
    TurnRecord {
        turn: claim.turn.clone(),
        attempt: claim.attempt,
        plugin: claim.device.plugin.clone(),
        cpu: std::time::Duration::ZERO,
        started_at: claim.claimed_at,
    }
}

fn nothing_ran(kind: FailureKind, detail: String) -> Run {
    Run {
        result: Err(TurnFailure {
            kind,
            detail,
            retry_after: None,
        }),
        logs: vec![],
        logs_dropped: 0,
        cpu: std::time::Duration::ZERO,
        wall: std::time::Duration::ZERO,
        memory_peak: 0,
    }
}

fn host_failure(detail: &str) -> TurnFailure {
    TurnFailure {
        kind: FailureKind::Host,
        detail: detail.to_owned(),
        retry_after: None,
    }
}

fn outcome_word(end: &TurnEnd) -> &'static str {
    match end {
        TurnEnd::Commit(_) => "commit",
        TurnEnd::Retry { kind, .. } | TurnEnd::GiveUp { kind, .. } => kind.as_str(),
        TurnEnd::Cancelled => "cancelled",
        TurnEnd::HandedBack => "handed_back",
    }
}

fn tell_failure(claim: &Claim, failure: &TurnFailure) {
    let TurnFailure { kind, detail, .. } = failure;
    let (device, attempt) = (&claim.device.id, claim.attempt);
    match kind.blame() {
        _ if *kind == FailureKind::Handover => {
            tracing::info!(%device, attempt, detail, "turn: the plugin hands the conversation over to a human")
        }
        Blame::Guest => {
            tracing::warn!(%device, attempt, %kind, detail, blame = "guest", "turn: the plugin failed")
        }
        Blame::Host => {
            tracing::error!(%device, attempt, %kind, detail, blame = "host", "turn: the host failed")
        }
    }
}

/// What the guest wrote goes to the log under a target of its own, at the guest's level.
fn tell_logs(claim: &Claim, run: &Run) {
    let device = &claim.device.id;
    for LogLine {
        level,
        message,
        fields,
        ..
    } in &run.logs
    {
        let fields: String = fields
            .iter()
            .map(|(name, value)| format!(" {name}={value:?}"))
            .collect();
        match level {
            LogLevel::Trace => tracing::trace!(target: "plugin", %device, "{message}{fields}"),
            LogLevel::Debug => tracing::debug!(target: "plugin", %device, "{message}{fields}"),
            LogLevel::Info => tracing::info!(target: "plugin", %device, "{message}{fields}"),
            LogLevel::Warn => tracing::warn!(target: "plugin", %device, "{message}{fields}"),
            LogLevel::Error => tracing::error!(target: "plugin", %device, "{message}{fields}"),
        }
    }
    if run.logs_dropped > 0 {
        tracing::warn!(target: "plugin", %device, dropped = run.logs_dropped, "log lines over the turn's limit were dropped");
    }
}
