//! What is told of a guest that failed: in words for its author, with nothing of the host in them.

use std::any::Any;
use std::fmt::Write as _;
use std::time::Duration;

use wasmtime::component::ResourceTableError;
use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::bindings::handler::TurnError;
use super::guest::Guest;
use super::limits::{DETAIL_CHARS, HANDLES, HOSTCALL_BYTES, RANDOM_BYTES, WASM_STACK};
use super::words::{clean, function_name};
use nodepath_model::turn::FailureKind;
use nodepath_model::{Budget, Digest, TurnFailure};

/// A failure that asks for no delay.
pub(super) fn new(kind: FailureKind, detail: impl Into<String>) -> TurnFailure {
    TurnFailure {
        kind,
        detail: detail.into(),
        retry_after: None,
    }
}

/// The guest ended its turn with an error of its own.
pub(super) fn of_answer(error: TurnError) -> TurnFailure {
    match error {
        TurnError::Retry(after) => TurnFailure {
            kind: FailureKind::Retry,
            detail: "the plugin asked to run the turn again".to_owned(),
            retry_after: after.map(Duration::from_millis),
        },
        TurnError::Failed(text) => new(FailureKind::Failed, clean(&text, DETAIL_CHARS)),
        TurnError::Handover(text) => new(FailureKind::Handover, clean(&text, DETAIL_CHARS)),
    }
}

/// The call did not return.
pub(super) fn of_call(error: &wasmtime::Error, guest: &Guest, budget: Budget) -> TurnFailure {
    let trap = error.downcast_ref::<Trap>();
    if trap == Some(&Trap::Interrupt) {
        let used = format!("the plugin computed for longer than {} ms", budget.cpu_ms);
        return new(FailureKind::CpuBudget, used + &trace(error));
    }
    if guest.memory.refused() {
        let mib = guest.memory.limit() >> 20;
        let used = if guest.memory.limit() < budget.memory_bytes {
            format!(
                "the plugin asked for more than the {mib} MiB of memory that this host has for one tenant; \
                 its operator can raise `max_memory`"
            )
        } else {
            format!("the plugin asked for more than its {mib} MiB of memory")
        };
        return new(FailureKind::Memory, used + &trace(error));
    }
    let mut detail = fault(error);
    if let Some(words) = guest.log.last_words() {
        detail = format!("{}; its last words: {words}", detail);
    }
    detail.push_str(&trace(error));
    new(FailureKind::Trap, clean(&detail, DETAIL_CHARS))
}

/// What the guest did wrong. wasmtime says what it met; where that says nothing to a plugin's author, it is said here.
fn fault(error: &wasmtime::Error) -> String {
    if let Some(I32Exit(status)) = error.downcast_ref() {
        return format!("the plugin ended itself with exit status {status}");
    }
    let met = clean(&error.root_cause().to_string(), DETAIL_CHARS);
    match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => format!(
            "the plugin's calls nest deeper than its stack of {} KiB; call in loops instead of recursion",
            WASM_STACK >> 10
        ),
        Some(Trap::CannotLeaveComponent) => {
            "the plugin called the host from its allocator or from the clean-up after its answer, where it may not"
                .to_owned()
        }
        Some(_) => met,
        None if error.is::<ResourceTableError>() => format!(
            "the plugin asked for more than the {HANDLES} WASI handles that it may hold, or for one that it does not hold ({met}); let go of those that it is done with"
        ),
        // These have no types of their own.
        None if met.contains("fuel allocated for hostcalls") => format!(
            "the plugin passed more than {} MiB to the host in one call",
            HOSTCALL_BYTES >> 20
        ),
        None if met.starts_with("requested len") => {
            format!("the plugin asked for more than {RANDOM_BYTES} random bytes in one call")
        }
        // What is left is what a call between components is checked for.
        None => format!(
            "the plugin broke the rules of calls to and from the host ({met}); build it with current tools, against this host's `wit/`"
        ),
    }
}

/// A host function panicked. Its message is for whoever runs the host; a tenant learns only that it happened.
pub(super) fn of_panic(panic: &(dyn Any + Send), plugin: &Digest) -> TurnFailure {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    tracing::error!(
        plugin = plugin.short(),
        "A host function panicked: {message}"
    );
    new(
        FailureKind::Host,
        "the host broke while the plugin called it",
    )
}

/// Frames that are told of a trap.
const FRAMES: usize = 6;

/// The functions that the guest was in, innermost first.
fn trace(error: &wasmtime::Error) -> String {
    let Some(trace) = error.downcast_ref::<WasmBacktrace>() else {
        return String::new();
    };
    let mut names = trace
        .frames()
        .iter()
        .filter_map(|frame| frame.func_name())
        .take(FRAMES)
        .map(function_name);
    let Some(innermost) = names.next() else {
        return String::new();
    };
    names.fold(format!(" (in {innermost}"), |mut text, name| {
        // Writing to a String can't fail.
        write!(text, " < {name}").ok();
        text
    }) + ")"
}
