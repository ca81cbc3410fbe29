//! `clock`: time that stands still, and chance that repeats.

use std::time::{Duration, Instant};

use wasmtime::component::HasData;

use crate::bindings::clock::Host;
use crate::bindings::instant;
use crate::chance::Chance;
use nodepath_model::Timestamp;

/// The clock of one turn.
pub(crate) struct Clock {
    now: Timestamp,
    started: Instant,
    wall: Duration,
    chance: Chance,
}

impl Clock {
    /// A clock that shows `now`, and counts `wall` down from the moment it is made.
    pub(crate) fn new(now: Timestamp, wall: Duration, seed: u64) -> Self {
        Self {
            now,
            started: Instant::now(),
            wall,
            chance: Chance::new(seed, "clock"),
        }
    }

    /// What it shows.
    pub(crate) fn shown(&self) -> Timestamp {
        self.now
    }
}

impl HasData for Clock {
    type Data<'a> = &'a mut Self;
}

impl Host for Clock {
    fn now(&mut self) -> u64 {
        instant(self.now)
    }

    fn remaining(&mut self) -> u64 {
        let left = self.wall.saturating_sub(self.started.elapsed());
        u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
    }

    fn random_u64(&mut self) -> u64 {
        self.chance.next_u64()
    }
}
