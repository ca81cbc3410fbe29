//! The lock protocol as a model, of which every state that can be reached is visited.
//!
//! One conversation, one host, its file, the sender of webhooks and the provider that takes replies. What is durable and what
//! is lost with a process stand apart in [`state::System`]; [`commits`] has the store's transactions, in the words of the store;
//! [`steps`] has everything that may happen next, in any order; [`promises`] has what must hold whatever happens. The rules of
//! `model::overlap` are called and not written again.
//!
//! Each guard of the protocol is a switch ([`guards::Guards`]). With all of them on, nothing breaks a promise in any world of
//! [`world`]; without any one of them, the checker finds the shortest story that breaks one.

mod cases;
mod commits;
mod guards;
mod promises;
mod state;
mod steps;
mod tests;
mod world;
