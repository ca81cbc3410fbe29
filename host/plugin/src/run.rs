//! One call into a guest: a fresh store, three budgets, and every way in which it can go wrong.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::time::{sleep, timeout};
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, UpdateDeadline};

use super::bindings::{Conversation, handler, manifest};
use super::failure;
use super::guest::Guest;
use super::limits::{HOST_CALLS_PER_LOOK, HOSTCALL_BYTES, LONG, NO_ROOM_WAIT};
use super::meter::CpuMeter;
use super::pace::{Pace, Stride};
use super::registry::Plugin;
use super::turn::{LogLine, Surroundings};
use nodepath_model::turn::{FailureKind, Outcome};
use nodepath_model::{Budget, TurnFailure};

/// What is called.
pub(super) enum Call {
    /// `handler.handle`.
    Handle(Box<handler::Turn>),
    /// `manifest.describe`.
    Describe,
    /// `manifest.validate-config`.
    ValidateConfig(String),
}

/// What the guest answered.
pub(super) enum Answer {
    Handled(Result<Outcome, handler::TurnError>),
    Described(Box<manifest::Info>),
    Validated(Result<(), Vec<String>>),
}

/// A call that has come to its end.
pub(super) struct Finished {
    pub(super) answer: Result<Answer, TurnFailure>,
    pub(super) logs: Vec<LogLine>,
    pub(super) logs_dropped: u64,
    pub(super) steps: u32,
    pub(super) cpu: Duration,
    pub(super) wall: Duration,
    pub(super) memory_peak: u64,
}

impl Finished {
    /// A call that never came to run.
    pub(super) fn not_run(failure: TurnFailure) -> Self {
        Self {
            answer: Err(failure),
            logs: Vec::new(),
            logs_dropped: 0,
            steps: 0,
            cpu: Duration::ZERO,
            wall: Duration::ZERO,
            memory_peak: 0,
        }
    }
}

/// Runs one call to its end. When the future is dropped the guest is gone, wherever it was.
///
/// The pool has more of everything than all slots of the queue can take. Should it ever have too little all the same, then
/// the call waits: a full host is no failure of anybody's turn.
pub(super) async fn run(
    plugin: &Plugin,
    call: &Call,
    around: &Surroundings,
    memory_bytes: u64,
    pace: &Pace,
) -> Finished {
    let mut told = false;
    loop {
        let guest = Guest::new(around.clone(), memory_bytes);
        match attempt(plugin, call, guest, around.budget, pace).await {
            Ok(finished) => return finished,
            Err(NoRoom(why)) if !told => {
                told = true;
                tracing::warn!("The pool of plugin instances is full, so a turn waits: {why}");
            }
            Err(NoRoom(_)) => {}
        }
        sleep(NO_ROOM_WAIT).await;
    }
}

/// The pool of instances had no room, so nothing of the call has happened.
struct NoRoom(String);

async fn attempt(
    plugin: &Plugin,
    call: &Call,
    guest: Guest,
    budget: Budget,
    pace: &Pace,
) -> Result<Finished, NoRoom> {
    let started = Instant::now();
    let (cpu, stride) = (CpuMeter::default(), pace.stride());
    let mut store = Store::new(plugin.engine(), guest);
    bound(&mut store, cpu.clone(), budget.cpu(), stride.clone());
    // The boundary: a guest that traps is an error of the call, and a host function that panics ends here too.
    let called = step_by_step(&cpu, &stride, perform(plugin, &mut store, call));
    let called = AssertUnwindSafe(called).catch_unwind();
    let ended = timeout(budget.wall(), called).await;
    let guest = store.data();
    let log = guest.log.clone();
    let memory_peak = guest.memory.peak();
    let answer = match ended {
        Ok(Ok(Ok(Returned::Turn(Ok(ending))))) => {
            Ok(Answer::Handled(Ok(store.into_data().into_outcome(ending))))
        }
        Ok(Ok(Ok(Returned::Turn(Err(error))))) => Ok(Answer::Handled(Err(error))),
        Ok(Ok(Ok(Returned::Info(info)))) => Ok(Answer::Described(info)),
        Ok(Ok(Ok(Returned::Validity(validity)))) => Ok(Answer::Validated(validity)),
        Ok(Ok(Err(error))) if error.is::<PoolConcurrencyLimitError>() => {
            return Err(NoRoom(error.to_string()));
        }
        Ok(Ok(Err(error))) => Err(failure::of_call(&error, guest, budget)),
        Ok(Err(panic)) => Err(failure::of_panic(&*panic, &plugin.digest)),
        Err(_) => Err(failure::new(
            FailureKind::WallBudget,
            format!("the turn took longer than {} ms", budget.wall_ms),
        )),
    };
    let (logs, logs_dropped) = log.take();
    Ok(Finished {
        answer,
        logs,
        logs_dropped,
        steps: cpu.steps(),
        cpu: cpu.spent(),
        wall: started.elapsed(),
        memory_peak,
    })
}

/// Sets the bounds of memory, of what one call of the host may carry, and of CPU time.
pub(super) fn bound(store: &mut Store<Guest>, cpu: CpuMeter, budget: Duration, stride: Stride) {
    store.limiter(|guest| &mut guest.memory);
    store.set_hostcall_fuel(HOSTCALL_BYTES);
    let spent = cpu.clone();
    // Called at each tick: the thread is handed back, for the turns beside this one and for whoever wants to cancel it.
    store.epoch_deadline_callback(move |_| {
        let spent = cpu.spent_until_now();
        if spent >= budget {
            return Ok(UpdateDeadline::Interrupt);
        }
        let pause = if spent < LONG {
            stride.rest()
        } else {
            stride.queue()
        };
        Ok(UpdateDeadline::YieldCustom(1, pause))
    });
    // The epoch is looked at where a guest loops or calls a function of its own, so calls of the host in a row pass it by.
    let mut calls = 0_u32;
    store.call_hook(move |_, hook| {
        if hook.exiting_host() {
            calls = calls.wrapping_add(1);
            if calls.is_multiple_of(HOST_CALLS_PER_LOOK) && spent.spent_until_now() >= budget {
                return Err(Trap::Interrupt.into());
            }
        }
        Ok(())
    });
}

/// What came back, still without the effects.
enum Returned {
    Turn(Result<handler::Outcome, handler::TurnError>),
    Info(Box<manifest::Info>),
    Validity(Result<(), Vec<String>>),
}

async fn perform(
    plugin: &Plugin,
    store: &mut Store<Guest>,
    call: &Call,
) -> wasmtime::Result<Returned> {
    // A deadline belongs to the store and not to the call, and begins at 0; so each call arms it anew.
    store.set_epoch_deadline(1);
    let guest: Conversation = plugin.pre().instantiate_async(&mut *store).await?;
    store.set_epoch_deadline(1);
    Ok(match call {
        Call::Handle(turn) => {
            let handler = guest.nodepath_plugin_handler();
            Returned::Turn(handler.call_handle(store, turn).await?)
        }
        Call::Describe => {
            let manifest = guest.nodepath_plugin_manifest();
            Returned::Info(Box::new(manifest.call_describe(store).await?))
        }
        Call::ValidateConfig(json) => {
            let manifest = guest.nodepath_plugin_manifest();
            Returned::Validity(manifest.call_validate_config(store, json).await?)
        }
    })
}

/// Counts the CPU time of each step, and makes way after it.
pub(super) async fn step_by_step<F: Future>(
    cpu: &CpuMeter,
    stride: &Stride,
    future: F,
) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| {
        let polled = cpu.measure(|| future.as_mut().poll(context));
        stride.pause();
        polled
    })
    .await
}
