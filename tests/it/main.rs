//! The whole host, from the outside: webhooks go in over HTTP, a played provider takes what comes out, and plugins are real
//! components. `tests/README.md` says which test shows what.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what a test does not expect ends it, in its helpers too"
)]

mod conversation;
mod delivery;
mod generic;
mod guests;
mod kinds;
mod overlap;
#[path = "../promises/main.rs"]
#[expect(dead_code, unused_imports, reason = "the crash tests ask for more")]
mod promises;
mod release;
mod seed;
mod stop;
mod support;
mod takeover;
mod timers;
mod webhook;
