//! The real executable, killed and started again: it is set up by its own command line, takes webhooks over HTTP, and a played
//! WhatsApp knows the truth about what arrived.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what is not as expected fails the test"
)]

mod commits;
mod kill;
mod process;
mod secrets;
mod site;
mod start;
mod stop;
mod storm;
