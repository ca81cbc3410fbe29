//! The real executable, killed and started again: it is set up by its own command line, takes webhooks over HTTP, and a played
//! WhatsApp knows the truth about what arrived.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "what is not as expected fails the test"
)]

mod birth;
mod by_hand;
mod campaign;
mod checker;
mod clock;
mod commits;
mod disk;
mod frozen;
mod kill;
mod places;
mod planted;
mod process;
#[path = "../promises/main.rs"]
mod promises;
mod secrets;
mod site;
mod start;
mod stop;
mod storm;
mod world;
