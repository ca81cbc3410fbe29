//! The real executable, killed and started again: it is set up by its own command line, takes webhooks over HTTP, and a played
//! WhatsApp knows the truth about what arrived.

mod commits;
mod kill;
mod secrets;
mod site;
mod stop;
mod storm;
