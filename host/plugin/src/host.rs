//! What a guest can call: one file for each import of the world.

pub(super) mod clock;
pub(super) mod config;
pub(super) mod effects;
pub(super) mod history;
pub(super) mod log;
pub(super) mod presence;
pub(super) mod state;
pub(super) mod wasi;
