//! Nodepath hosts AI conversations: a webhook goes in, exactly one reply comes out.
//!
//! The life of one message, with the modules in the order in which it meets them:
//!
//! 1. [`cli`] reads the command line, [`config`] the configuration, [`telemetry`] starts the log, and [`app`] puts
//!    everything together and runs it.
//! 2. `http` takes a provider's webhook, [`channel`] verifies and parses it.
//! 3. [`store`] writes it down and claims its conversation (T1). The session lock is a row of the store. Only now is the
//!    webhook answered.
//! 4. [`turn`] runs the tenant's component in [`plugin`]'s sandbox. What the component wants to happen is only noted.
//! 5. [`store`] commits the turn, if its lock still holds (T3): the messages are done, and the reply's parts are rows.
//! 6. [`delivery`] sends the parts through [`channel`], and tells [`store`] what became of each (T5). After the last one the
//!    lock is released, or the next turn begins.
//!
//! [`model`] has the words and the pure rules that all of them share; `disk` gives the disk its work a little at a time.
//!
//! A module uses what stands below it in this list, never the other way; `tests/tidy.rs` holds the table.

pub mod cli;

pub mod app;

pub mod config;
pub mod telemetry;

mod http;

pub mod turn;

pub mod delivery;

pub mod channel;
pub mod store;

mod disk;

/// The sandbox, a crate of its own.
pub use nodepath_plugin as plugin;

/// The shared words and rules, a crate of their own.
pub use nodepath_model as model;
