//! Faults inside the host, at the places that it names for tests (`fail::fail_point!`).

use std::sync::{Arc, LazyLock};

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// Faults are the process's. A test that makes them runs alone in it, even where all tests share one process.
static PROCESS: LazyLock<Arc<RwLock<()>>> = LazyLock::new(Arc::default);

/// The right to run a host in this process.
#[derive(Clone)]
pub(super) enum Guard {
    Beside(#[expect(dead_code, reason = "it is held")] Arc<OwnedRwLockReadGuard<()>>),
    Alone(#[expect(dead_code, reason = "it is held")] Arc<OwnedRwLockWriteGuard<()>>),
}

impl Guard {
    pub(super) async fn take(alone: bool) -> Self {
        if alone {
            return Self::Alone(Arc::new(PROCESS.clone().write_owned().await));
        }
        Self::Beside(Arc::new(PROCESS.clone().read_owned().await))
    }
}

/// A fault that lasts until this is dropped.
pub(crate) struct Trouble(&'static str);

impl Trouble {
    /// Reading a plugin's state fails.
    pub(crate) fn reads_fail() -> Self {
        Self::at("turn.read_state", "return")
    }

    /// Reading a plugin's state panics.
    pub(crate) fn reads_panic() -> Self {
        Self::at("turn.read_state", "panic")
    }

    /// Reading a plugin's state waits. This is how a test holds up a plugin in the middle of its turn.
    pub(crate) fn reads_hang() -> Self {
        Self::at("turn.read_state", "return(hang)")
    }

    /// The host panics in each turn.
    pub(crate) fn turns_panic() -> Self {
        Self::at("turn.attempt", "panic")
    }

    /// The host panics in each delivery.
    pub(crate) fn deliveries_panic() -> Self {
        Self::at("delivery.attempt", "panic")
    }

    fn at(place: &'static str, action: &str) -> Self {
        fail::cfg(place, action).unwrap();
        Self(place)
    }
}

impl Drop for Trouble {
    fn drop(&mut self) {
        fail::remove(self.0);
    }
}
